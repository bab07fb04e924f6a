//! Loops as tensor libraries run them.
//!
//! A loop's mapped dimensions become ordinary dimensions of its states and values, so that one iteration works on the whole batch. What does
//! not depend on a state leaves the loop and is computed for all iterations at once: it gains the dimension that the loop runs over.

use super::rewrite::{builder, move_roots};
use crate::lowered::{Builder, Dag, DimId, Loop, LoopState, Lowered, Op, ValueId, order};
use std::sync::Arc;

/// Rewrites all loops of a forward graph; see the module's essay.
pub fn unmap(graph: Lowered) -> Lowered {
    let mut graph = graph;
    let dag = std::mem::take(&mut graph.dag);
    let Some(place) = dag.nodes().first().map(|n| n.place) else { return graph };
    let mut b = builder(&mut graph.dims, place);
    let mut at: Vec<ValueId> = Vec::with_capacity(dag.len());
    let mut loops = Loops::of(&dag);
    for id in dag.ids() {
        let node = dag.node(id);
        let operands: Vec<ValueId> = dag.operands(id).iter().map(|o| at[o.0 as usize]).collect();
        b.name.clone_from(&node.name);
        b.place = node.place;
        let changed = matches!(node.op, Op::Loop(_) | Op::Emit(_) | Op::Final(_));
        at.push(match changed {
            true => {
                let value = loops.place(&mut b, &dag, id, &operands, &[]);
                b.expand(value, &node.dims)
            }
            false => b.dag.add(node.clone(), &operands),
        });
    }
    graph.dag = b.dag;
    move_roots(&mut graph, |id| at[id.0 as usize]);
    graph.forward_nodes = graph.dag.len();
    graph
}

/// A rewritten loop.
struct Copied {
    node: ValueId,
    /// Each emit: its number, or its value for all iterations where it does not depend on a state.
    emits: Vec<Result<usize, ValueId>>,
}

impl Copied {
    /// An emit or a final state.
    fn read(&self, b: &mut Builder<'_>, op: &Op) -> ValueId {
        match op {
            Op::Emit(i) => match self.emits[*i] {
                Ok(number) => b.op(Op::Emit(number), &[self.node]),
                Err(value) => value,
            },
            op => b.op(op.clone(), &[self.node]),
        }
    }
}

/// The rewritten loops of a DAG, by old id.
struct Loops(Vec<Option<Copied>>);

impl Loops {
    fn of(dag: &Dag) -> Self {
        Self((0..dag.len()).map(|_| None).collect())
    }

    /// Adds a node of the DAG with operands that are already new. `lead`: see [`copy_loop`].
    fn place(&mut self, b: &mut Builder<'_>, dag: &Dag, id: ValueId, x: &[ValueId], lead: &[DimId]) -> ValueId {
        let of = dag.operands(id).first().and_then(|o| self.0[o.0 as usize].as_ref());
        match (&dag.node(id).op, of) {
            (Op::Loop(l), _) => {
                let done = copy_loop(b, l, x, lead);
                self.0[id.0 as usize].insert(done).node
            }
            (op @ (Op::Emit(_) | Op::Final(_)), Some(done)) => done.read(b, op),
            (Op::Expand(new), _) => b.expand(x[0], new),
            (op, _) => b.op(op.clone(), x),
        }
    }
}

/// Adds a loop without mapped dimensions. `lead`: dimensions beside those that the loop knows of, which its operands may have.
fn copy_loop(b: &mut Builder<'_>, l: &Loop, operands: &[ValueId], lead: &[DimId]) -> Copied {
    let lead = [lead, &l.map].concat();
    let (first, captures) = operands.split_at(l.states.len());
    let states: Vec<LoopState> = l
        .states
        .iter()
        .map(|state| LoopState {
            name: state.name.clone(),
            dims: {
                let mut dims = [state.dims.as_slice(), &lead].concat();
                order(b.dims, &mut dims);
                dims
            },
        })
        .collect();
    let mut depends: Vec<bool> = Vec::with_capacity(l.body.len());
    for id in l.body.ids() {
        let own = matches!(l.body.node(id).op, Op::State(..));
        depends.push(own || l.body.operands(id).iter().any(|o| depends[o.0 as usize]));
    }
    let outside = outside(b, l, captures, &depends, &lead);

    // captures are numbered before the body is built, since both need the builder
    let mut held: Vec<ValueId> = Vec::new();
    let mut numbers: Vec<Option<usize>> = vec![None; l.body.len()];
    let emitted = l.emits.iter().map(|e| e.1).filter(|e| depends[e.0 as usize]);
    let inside = l.body.ids().filter(|id| depends[id.0 as usize]).flat_map(|id| l.body.operands(id).iter().copied());
    for id in inside.chain(l.next.iter().copied()).chain(emitted) {
        let i = id.0 as usize;
        let Some(value) = outside[i].filter(|_| !matches!(l.body.node(id).op, Op::Const(_))) else { continue };
        numbers[i] = Some(held.iter().position(|h| *h == value).unwrap_or_else(|| {
            held.push(value);
            held.len() - 1
        }));
    }
    let dims = |value: &ValueId| b.dims_of(*value).iter().copied().filter(|d| *d != l.over).collect();
    let own: Vec<Vec<DimId>> = held.iter().map(dims).collect();

    let name = std::mem::take(&mut b.name);
    let mut inner = b.body();
    let given: Vec<ValueId> =
        own.into_iter().enumerate().map(|(i, dims)| inner.op(Op::Capture(i, dims), &[])).collect();
    let mut at: Vec<Option<ValueId>> = vec![None; l.body.len()];
    let mut loops = Loops::of(&l.body);
    let value = |inner: &mut Builder<'_>, at: &[Option<ValueId>], id: ValueId| -> ValueId {
        let i = id.0 as usize;
        match (at[i], numbers[i], &l.body.node(id).op) {
            (Some(value), ..) => value,
            (None, Some(number), _) => given[number],
            (None, None, Op::Const(x)) => inner.number(*x),
            (None, None, op) => panic!("archc bug: {op:?} of a loop has no value"),
        }
    };
    for id in l.body.ids().filter(|id| depends[id.0 as usize]) {
        let (i, node) = (id.0 as usize, l.body.node(id));
        inner.name.clone_from(&node.name);
        inner.place = node.place;
        at[i] = Some(match &node.op {
            Op::State(s, _) => inner.op(Op::State(*s, states[*s].dims.clone()), &[]),
            // reads of loops need no operand
            Op::Emit(_) | Op::Final(_) => loops.place(&mut inner, &l.body, id, &[], &lead),
            _ => {
                let x: Vec<ValueId> = l.body.operands(id).iter().map(|o| value(&mut inner, &at, *o)).collect();
                loops.place(&mut inner, &l.body, id, &x, &lead)
            }
        });
    }
    let next = l.next.iter().zip(&states).map(|(n, state)| {
        let value = value(&mut inner, &at, *n);
        inner.expand(value, &state.dims)
    });
    let next = next.collect();
    let mut emits: Vec<(String, ValueId)> = Vec::new();
    let mut numbered: Vec<Result<usize, ValueId>> = Vec::new();
    for (name, e) in &l.emits {
        numbered.push(match outside[e.0 as usize] {
            Some(value) if !depends[e.0 as usize] => Err(value),
            _ => {
                emits.push((name.clone(), value(&mut inner, &at, *e)));
                Ok(emits.len() - 1)
            }
        });
    }
    let body = inner.dag;
    b.name = name;
    let new = Loop { over: l.over, reverse: l.reverse, map: Vec::new(), states, body, next, emits };
    let node = b.op(Op::Loop(Arc::new(new)), &[first, &held].concat());
    Copied { node, emits: numbered }
}

/// Values of a body that depend on no state, computed before the loop.
fn outside(
    b: &mut Builder<'_>,
    l: &Loop,
    captures: &[ValueId],
    depends: &[bool],
    lead: &[DimId],
) -> Vec<Option<ValueId>> {
    let mut values: Vec<Option<ValueId>> = vec![None; l.body.len()];
    let mut loops = Loops::of(&l.body);
    let over = [lead, &[l.over]].concat();
    for id in l.body.ids().filter(|id| !depends[id.0 as usize]) {
        let node = l.body.node(id);
        b.name.clone_from(&node.name);
        b.place = node.place;
        let x: Vec<ValueId> = l.body.operands(id).iter().filter_map(|o| values[o.0 as usize]).collect();
        values[id.0 as usize] = Some(match node.op {
            Op::Capture(c, _) => captures[c],
            _ => loops.place(b, &l.body, id, &x, &over),
        });
    }
    values
}
