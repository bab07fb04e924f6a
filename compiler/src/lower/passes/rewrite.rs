//! Rebuilding a lowered graph node by node, bodies first.

use crate::lowered::{Builder, Dag, Dim, Lowered, Node, Op, ValueId};
use crate::source::Place;
use std::sync::Arc;

/// A new DAG and the new ids of the old values.
pub(super) struct Rebuilt {
    pub dag: Dag,
    pub at: Vec<ValueId>,
}

/// Rewrite rule for a node, with operands that are already new: returns another value for it, or none to keep it. `uses` counts the readers
/// of the old value.
pub(super) type Rule<'r> = &'r mut dyn FnMut(&mut Builder<'_>, &Node, &[ValueId], Uses<'_>) -> Option<ValueId>;

/// Number of readers in the old DAG of each value of the new one; values that a rule adds count as read once.
pub(super) struct Uses<'u>(&'u [usize]);

impl Uses<'_> {
    /// Number of readers of a value.
    pub fn of(&self, id: ValueId) -> usize {
        self.0.get(id.0 as usize).copied().unwrap_or(1)
    }
}

/// Rebuilds a graph and all bodies in it.
pub(super) fn rebuild(mut graph: Lowered, rule: Rule<'_>) -> Lowered {
    let (dag, roots) = (std::mem::take(&mut graph.dag), graph.roots());
    let Rebuilt { dag, at } = rebuild_dag(&mut graph.dims, dag, &roots, rule);
    graph.forward_nodes = dag.len();
    graph.dag = dag;
    move_roots(&mut graph, |id| at[id.0 as usize]);
    graph
}

/// Updates the ids of a graph's outputs, objective and carries.
pub(super) fn move_roots(graph: &mut Lowered, at: impl Fn(ValueId) -> ValueId) {
    graph.outputs.iter_mut().for_each(|o| o.value = at(o.value));
    graph.objective = graph.objective.map(|(a, b)| (at(a), at(b)));
    graph.carries.iter_mut().flat_map(|c| [Some(&mut c.value), c.low.as_mut()]).flatten().for_each(|v| *v = at(*v));
}

/// Number of readers of each value of a DAG, roots included.
pub(super) fn uses(dag: &Dag, roots: &[ValueId]) -> Vec<usize> {
    let mut uses = vec![0; dag.len()];
    let reads = dag.ids().flat_map(|id| dag.operands(id));
    reads.chain(roots).for_each(|o| uses[o.0 as usize] += 1);
    uses
}

/// A builder over a table of dimensions.
pub(super) fn builder(dims: &mut Vec<Dim>, place: Place) -> Builder<'_> {
    Builder::new(dims, place)
}

fn rebuild_dag(dims: &mut Vec<Dim>, dag: Dag, roots: &[ValueId], rule: Rule<'_>) -> Rebuilt {
    let old_uses = uses(&dag, roots);
    let mut at: Vec<ValueId> = Vec::with_capacity(dag.len());
    let mut new = Dag::default();
    let mut new_uses: Vec<usize> = Vec::new();
    for ((mut node, mut operands), reads) in dag.into_nodes().zip(old_uses) {
        operands.iter_mut().for_each(|o| *o = at[o.0 as usize]);
        node.op = rebuild_bodies(dims, node.op, rule);
        let mut b = builder(dims, node.place);
        b.name.clone_from(&node.name);
        b.dag = std::mem::take(&mut new);
        let value = rule(&mut b, &node, &operands, Uses(&new_uses));
        let value = value.unwrap_or_else(|| b.dag.add(node, &operands));
        new = b.dag;
        new_uses.resize(new.len(), 1);
        let read = &mut new_uses[value.0 as usize];
        // a value that replaces two is read by the readers of both
        *read = if (value.0 as usize) + 1 == new.len() { reads } else { *read + reads };
        at.push(value);
    }
    Rebuilt { dag: new, at }
}

fn rebuild_bodies(dims: &mut Vec<Dim>, op: Op, rule: Rule<'_>) -> Op {
    match op {
        Op::Loop(l) => {
            let mut l = Arc::unwrap_or_clone(l);
            let roots: Vec<ValueId> = l.next.iter().copied().chain(l.emits.iter().map(|e| e.1)).collect();
            let Rebuilt { dag, at } = rebuild_dag(dims, std::mem::take(&mut l.body), &roots, rule);
            let at = |id: ValueId| at[id.0 as usize];
            l.body = dag;
            l.next.iter_mut().for_each(|n| *n = at(*n));
            l.emits.iter_mut().for_each(|e| e.1 = at(e.1));
            Op::Loop(Arc::new(l))
        }
        Op::Attend(a) => {
            let mut a = Arc::unwrap_or_clone(a);
            let single = [a.visible, Some(a.weighing.value()), a.sink];
            let roots: Vec<ValueId> = single.into_iter().flatten().chain(a.emits.iter().map(|e| e.1)).collect();
            let Rebuilt { dag, at } = rebuild_dag(dims, std::mem::take(&mut a.body), &roots, rule);
            let at = |id: ValueId| at[id.0 as usize];
            a.body = dag;
            a.visible = a.visible.map(at);
            a.weighing = a.weighing.with(at(a.weighing.value()));
            a.sink = a.sink.map(at);
            a.emits.iter_mut().for_each(|e| e.1 = at(e.1));
            Op::Attend(Arc::new(a))
        }
        other => other,
    }
}
