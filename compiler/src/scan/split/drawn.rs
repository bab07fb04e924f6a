//! Values that a part's body takes from the graph around it: captured, or computed inside if they are larger than their operands.

use super::build::Body;
use super::{Plan, Splitter};
use crate::graph::{Dag, NodeId, Op, Rate};
use crate::scan::algebra::Ref;

impl Splitter<'_> {
    /// An outer value inside of a body: captured, or computed there if it is larger than its operands.
    pub(super) fn drawn_in(&mut self, new: &mut Dag, at: &[NodeId], body: &mut Body, r: Ref) -> NodeId {
        if let Some(known) = body.at.get(&r) {
            return *known;
        }
        let value = if self.grows(r) {
            let operands: Vec<NodeId> =
                self.algebra.operands(r).into_iter().map(|o| self.drawn_in(new, at, body, o)).collect();
            body.dag.add(self.algebra.node(r).clone(), &operands)
        } else {
            let outer = self.reference(new, at, r);
            body.capture(new, outer)
        };
        body.at.insert(r, value);
        value
    }

    /// Whether a value is larger than the operands from which element-wise ops compute it.
    pub(super) fn grows(&self, r: Ref) -> bool {
        match &self.algebra.node(r).op {
            Op::Const(_) => true,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Expand(_) => {
                self.plain(r) && self.price(r, DEPTH) < self.numbers(r)
            }
            _ => false,
        }
    }

    /// Whether it is computed from its operands, not read out of a state.
    pub(super) fn plain(&self, r: Ref) -> bool {
        match r {
            Ref::Body(id) => !self.dependent(id) || matches!(self.plans[id.0 as usize], Plan::Computed),
            Ref::Outer(_) => true,
        }
    }

    /// Elements per token of a captured value.
    pub(super) fn numbers(&self, r: Ref) -> usize {
        let ty = &self.algebra.node(r).ty;
        if ty.rate == Rate::Fixed { 0 } else { self.size(&ty.axes) }
    }

    /// Minimum number of elements per token from which a value can be computed inside.
    pub(super) fn price(&self, r: Ref, depth: usize) -> usize {
        let whole = self.numbers(r);
        match &self.algebra.node(r).op {
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Expand(_) if self.plain(r) && depth > 0 => {
                let operands = self.algebra.operands(r);
                let parts = operands.into_iter().map(|o| self.price(o, depth - 1)).sum::<usize>();
                whole.min(parts)
            }
            _ => whole,
        }
    }

    /// Body nodes captured by an outer value in a group's body.
    pub(super) fn frontier(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut stack = vec![self.algebra.free(id)];
        while let Some(r) = stack.pop() {
            match r {
                Ref::Body(_) if self.grows(r) => stack.extend(self.algebra.operands(r)),
                Ref::Body(id) => found.push(id),
                Ref::Outer(_) => {}
            }
        }
        found
    }
}

/// Depth to which an expression is searched for outer products.
const DEPTH: usize = 8;
