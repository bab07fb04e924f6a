//! Decomposition of a scan's body: values that depend on a state stay inside, all others are lowered outside.

use super::ordinary::{dims, ordinary};
use super::tokens::Lowering;
use crate::graph::{AxisId, Graph, NodeId, Op as Source, Scan};
use crate::lowered::{BATCH, Builder, DimId, LoopState, Op, TIME, ValueId};
use crate::target::Target;

/// A scan's decomposed body.
pub(super) struct Body<'s> {
    graph: &'s Graph,
    pub scan: &'s Scan,
    /// Whether each node depends on a state; none for nodes that no result needs.
    depends: Vec<Option<bool>>,
    /// Outer value of each node that depends on no state.
    pub outer: Vec<Option<ValueId>>,
    /// Outer mask of each dropout that depends on a state.
    masks: Vec<Option<ValueId>>,
    training: bool,
    target: Target,
}

/// Operands of a loop's body besides the states.
pub(super) struct Reads {
    /// Outer values: those of the body, then with resets the initial values and the mask of document starts, then the mask of valid rows.
    pub captures: Vec<ValueId>,
    /// Index of the first initial value, if documents may start inside of the sequence.
    pub restart: Option<usize>,
    /// Index of the mask of rows that are tokens.
    pub valid: Option<usize>,
}

impl<'s> Body<'s> {
    /// Lowers the nodes that depend on no state.
    pub fn new(l: &mut Lowering<'s>, scan: &'s Scan, captures: &[ValueId]) -> Self {
        let dag = &scan.body;
        let roots: Vec<NodeId> = scan.next.iter().copied().chain(scan.emits.iter().map(|e| e.1)).collect();
        let live = dag.reachable(&roots);
        let mut body = Self {
            graph: l.graph,
            scan,
            depends: vec![None; dag.len()],
            outer: vec![None; dag.len()],
            masks: vec![None; dag.len()],
            training: l.options.training,
            target: l.options.target,
        };
        for id in dag.ids().filter(|id| live[id.0 as usize]) {
            let (i, node, operands) = (id.0 as usize, dag.node(id), dag.operands(id));
            l.b.name.clone_from(&node.name);
            l.b.place = node.place;
            let depends = match &node.op {
                Source::State(_) => true,
                _ => operands.iter().any(|o| body.depends[o.0 as usize] == Some(true)),
            };
            body.depends[i] = Some(depends);
            if !depends {
                body.outer[i] = Some(match &node.op {
                    Source::Capture(c) => captures[*c],
                    op => {
                        let x: Vec<ValueId> = operands.iter().map(|o| body.free(*o)).collect();
                        ordinary(l.graph, &mut l.b, op, &x, body.training)
                    }
                });
            } else if let (Source::Dropout { path }, true) = (&node.op, body.training) {
                let one = l.b.number(1.0);
                let mut all = dims(&node.ty.axes);
                all.extend([BATCH, TIME]);
                let ones = l.b.expand(one, &all);
                let p = body.free(operands[1]);
                body.masks[i] = Some(l.b.op(Op::Dropout { path: path.clone() }, &[ones, p]));
            }
        }
        body
    }

    fn free(&self, id: NodeId) -> ValueId {
        self.outer[id.0 as usize].unwrap_or_else(|| panic!("archc bug: %{} of a scan has no outer value", id.0))
    }

    /// Nodes of the loop's body, in order.
    fn inside(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.scan.body.ids().filter(|id| self.depends[id.0 as usize] == Some(true))
    }

    fn is_number(&self, id: NodeId) -> Option<f64> {
        match self.scan.body.op(id) {
            Source::Const(x) => Some(*x),
            _ => None,
        }
    }

    /// Outer values that the loop's body reads, without duplicates.
    pub fn captures(&self) -> Vec<ValueId> {
        let mut captures = Vec::new();
        let mut add = |value: ValueId| {
            if !captures.contains(&value) {
                captures.push(value);
            }
        };
        for id in self.inside() {
            let mut operands = self.scan.body.operands(id);
            if let (Source::Dropout { .. }, true) = (self.scan.body.op(id), operands.len() == 2) {
                operands = &operands[..1];
            }
            for o in operands {
                if self.depends[o.0 as usize] == Some(false) && self.is_number(*o).is_none() {
                    add(self.free(*o));
                }
            }
            if let Some(mask) = self.masks[id.0 as usize] {
                add(mask);
            }
        }
        for next in &self.scan.next {
            if self.depends[next.0 as usize] == Some(false) {
                add(self.free(*next));
            }
        }
        captures
    }

    /// Dimensions that the loop maps: the batch if the states of one sequence make wide ops, and axes along which body and states are
    /// independent, as long as enough elements remain.
    pub fn map(&self) -> Vec<DimId> {
        let size = |axes: &[AxisId]| axes.iter().fold(1usize, |n, a| n.saturating_mul(self.graph.size(*a)));
        let numbers = self.scan.states.iter().fold(0usize, |n, s| n.saturating_add(size(&s.axes)));
        if numbers < self.target.wide_state {
            return Vec::new();
        }
        let mut map = vec![BATCH];
        let mut left = numbers;
        for axis in self.scan.states[0].axes.iter().copied() {
            let rest = left / self.graph.size(axis);
            if rest >= self.target.wide_body && self.independent(axis) {
                map.push(dims(&[axis])[0]);
                left = rest;
            }
        }
        map
    }

    /// Whether no index along the axis reads another: every value in the body has the axis, and no op works along it.
    fn independent(&self, axis: AxisId) -> bool {
        let dag = &self.scan.body;
        let states = self.scan.states.iter().all(|s| s.axes.contains(&axis));
        states
            && self.inside().all(|id| dag.ty(id).axes.contains(&axis) && !crate::ops::axes(dag.op(id)).contains(&axis))
    }

    /// Whether every value and derivative in the loop's body is finite at a token of zeros.
    pub fn is_finite(&self) -> bool {
        self.inside().all(|id| !crate::ops::has_pole(self.scan.body.op(id)))
    }

    /// Emits the body's ops at one token; returns the next states and the emits that depend on a state.
    pub fn emit(
        &self,
        b: &mut Builder<'_>,
        states: &[LoopState],
        before: &[ValueId],
        reads: &Reads,
        given: &[ValueId],
    ) -> (Vec<ValueId>, Vec<(String, ValueId)>) {
        let mut old = before.to_vec();
        if let Some(base) = reads.restart {
            let starts = given[base + old.len()];
            for (i, state) in old.iter_mut().enumerate() {
                *state = b.op(Op::Select, &[starts, given[base + i], *state]);
            }
        }
        let at = |value: ValueId| {
            let i = reads.captures.iter().position(|c| *c == value);
            given[i.expect("archc bug: a body reads what it does not capture")]
        };
        let dag = &self.scan.body;
        let mut values: Vec<Option<ValueId>> = vec![None; dag.len()];
        let value = |b: &mut Builder<'_>, values: &[Option<ValueId>], o: NodeId| match values[o.0 as usize] {
            Some(value) => value,
            None => match self.is_number(o) {
                Some(x) => b.number(x),
                None => at(self.free(o)),
            },
        };
        for id in self.inside() {
            let node = dag.node(id);
            b.name.clone_from(&node.name);
            b.place = node.place;
            let operands = dag.operands(id);
            let new = match &node.op {
                Source::State(i) => old[*i],
                Source::Dropout { .. } => {
                    let x = value(b, &values, operands[0]);
                    match self.masks[id.0 as usize] {
                        Some(mask) => b.mul(x, at(mask)),
                        None => x,
                    }
                }
                op => {
                    let x: Vec<ValueId> = operands.iter().map(|o| value(b, &values, *o)).collect();
                    ordinary(self.graph, b, op, &x, false)
                }
            };
            values[id.0 as usize] = Some(new);
        }
        let mut next = Vec::with_capacity(states.len());
        for (i, n) in self.scan.next.iter().enumerate() {
            b.name.clone_from(&states[i].name);
            let mut new = value(b, &values, *n);
            if let Some(valid) = reads.valid {
                new = b.op(Op::Select, &[given[valid], new, old[i]]);
            }
            next.push(b.expand(new, &states[i].dims));
        }
        let emits = self.scan.emits.iter().filter(|(_, e)| self.depends[e.0 as usize] == Some(true));
        let emits = emits.map(|(name, e)| (name.clone(), values[e.0 as usize].expect("archc bug: an emit is dead")));
        (next, emits.collect())
    }
}
