//! Windows that are never built: contractions, picks and sums over a window are convolutions, and so are their gradients.

use super::memory::{Kernel, View};
use super::planner::Planner;
use super::scope::ScopePlan;
use super::{Axis, Conv, ConvWork, Work};
use crate::graph::{BinaryOp, ReduceOp};
use crate::lowered::{BATCH, DimId, Op, TIME, ValueId};

/// Taps that weigh a window.
pub(super) enum Taps {
    /// A value with the window's dimension and some of the channels.
    Value(ValueId),
    /// A single entry, of weight 1.
    One(usize),
    /// The same weight for all entries.
    All(f64),
}

impl ScopePlan<'_> {
    /// Whether a user of a window can be computed as a convolution, without the window in memory.
    pub fn as_convolution(&self, planner: &Planner<'_>, user: ValueId, window: ValueId) -> bool {
        self.taps(planner, user, window).is_some() || self.filter_gradient(user, window).is_some()
    }

    /// Taps of a user that is a weighted sum over the window, if the weights depend on no token.
    fn taps(&self, planner: &Planner<'_>, user: ValueId, window: ValueId) -> Option<Taps> {
        let Op::Window { dim, .. } = self.values.dag.node(window).op else { return None };
        let node = self.values.dag.node(user);
        match &node.op {
            Op::Contract(over) if *over == [dim] && !self.joins.adds.values().any(|a| a.1 == user) => {
                let f = other(self.values.dag.operands(user), window)?;
                let fixed = self.values.dag.node(f).dims.iter().all(|d| planner.graph.dim(*d).rank >= 4);
                let inside = self.values.dag.node(f).dims.iter().all(|d| self.values.dag.node(window).dims.contains(d));
                (fixed && inside).then_some(Taps::Value(f))
            }
            Op::Pick(d, i) if *d == dim => Some(Taps::One(*i)),
            Op::Reduce(ReduceOp::Sum, over) if *over == [dim] => Some(Taps::All(1.0)),
            Op::Reduce(ReduceOp::Mean, over) if *over == [dim] => Some(Taps::All(1.0 / planner.size(dim) as f64)),
            _ => None,
        }
    }

    /// dy, if the user is the contraction of the window with dy over batch and time.
    fn filter_gradient(&self, user: ValueId, window: ValueId) -> Option<ValueId> {
        let Op::Window { dim, .. } = self.values.dag.node(window).op else { return None };
        let node = self.values.dag.node(user);
        let Op::Contract(over) = &node.op else { return None };
        let dy = other(self.values.dag.operands(user), window)?;
        let dims = &self.values.dag.node(dy).dims;
        let x = &self.values.dag.node(window).dims;
        let fits = over.contains(&BATCH) && over.contains(&TIME) && !over.contains(&dim) && !dims.contains(&dim);
        // dy has all of x's channels, so that each product is summed once
        let same = x.iter().all(|d| *d == dim || dims.contains(d)) && dims.iter().all(|d| x.contains(d));
        (fits && same && self.values.dag.operands(window).len() == 1).then_some(dy)
    }

    /// The value and the taps whose product the transpose of a window sums, if they are known.
    pub fn back_taps(&self, planner: &Planner<'_>, id: ValueId) -> Option<(ValueId, Taps)> {
        let Op::Unwindow { dim, .. } = self.values.dag.node(id).op else { return None };
        let operand = self.values.dag.operands(id)[0];
        let (node, operands) = (self.values.dag.node(operand), self.values.dag.operands(operand));
        if self.values.is_constant(operand) {
            return None;
        }
        let dims = |v: ValueId| &self.values.dag.node(v).dims;
        let wanted: Vec<DimId> = dims(id).clone();
        match &node.op {
            Op::Binary(BinaryOp::Mul) => {
                let (a, b) = (operands[0], operands[1]);
                let split = |f: ValueId, dy: ValueId| {
                    let fixed = dims(f).iter().all(|d| planner.graph.dim(*d).rank >= 4);
                    (fixed && dims(f).contains(&dim) && *dims(dy) == wanted).then_some((dy, Taps::Value(f)))
                };
                split(a, b).or_else(|| split(b, a))
            }
            Op::Put(d, i) if *d == dim => Some((operands[0], Taps::One(*i))),
            Op::Expand(new) if *new == [dim] => Some((operands[0], Taps::All(1.0))),
            _ => None,
        }
    }

    /// Emits the kernel of a value that is a convolution; false if it is none.
    pub fn emit_convolution(&mut self, planner: &mut Planner<'_>, id: ValueId) -> bool {
        let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
        if let Op::Unwindow { dim, step } = node.op {
            let operand = operands[0];
            if !self.joins.absorbed[operand.0 as usize] {
                return false;
            }
            let Some((dy, taps)) = self.back_taps(planner, id) else { return false };
            let (filter, first) = self.filter(planner, taps, dim);
            let conv = Conv {
                work: ConvWork::Backward,
                x: self.read(planner, dy),
                dy: None,
                filter,
                y: Some(self.read(planner, id)),
                window: dim,
                first,
                step,
                pos: self.homes.positions(planner),
                carried: None,
                accumulate: false,
            };
            self.kernels.push(Kernel { work: Work::Conv(conv), name: node.name.clone() });
            return true;
        }
        let Some(window) = operands
            .iter()
            .copied()
            .find(|o| matches!(self.values.dag.node(*o).op, Op::Window { .. }) && self.joins.absorbed[o.0 as usize])
        else {
            return false;
        };
        let Op::Window { dim, step } = self.values.dag.node(window).op else { return false };
        let inputs = self.values.dag.operands(window);
        let x = self.read(planner, inputs[0]);
        let carried = inputs.get(1).map(|c| self.read(planner, *c));
        let pos = self.homes.positions(planner);
        let conv = if let Some(dy) = self.filter_gradient(id, window) {
            let dy = Some(self.read(planner, dy));
            let filter = self.read(planner, id);
            Conv {
                work: ConvWork::Filter,
                x,
                dy,
                filter,
                y: None,
                window: dim,
                first: 0,
                step,
                pos,
                carried,
                accumulate: false,
            }
        } else {
            let Some(taps) = self.taps(planner, id, window) else { return false };
            let (filter, first) = self.filter(planner, taps, dim);
            let y = Some(self.read(planner, id));
            Conv {
                work: ConvWork::Forward,
                x,
                dy: None,
                filter,
                y,
                window: dim,
                first,
                step,
                pos,
                carried,
                accumulate: false,
            }
        };
        self.kernels.push(Kernel { work: Work::Conv(conv), name: node.name.clone() });
        true
    }

    /// View of the taps as a filter, and the first entry of the window that it weighs.
    fn filter(&mut self, planner: &mut Planner<'_>, taps: Taps, dim: DimId) -> (View, usize) {
        match taps {
            Taps::Value(f) => (self.read(planner, f), 0),
            Taps::One(i) => {
                let mut one = planner.constants.number(1.0);
                one.axes.push(Axis { dim, size: 1, stride: 0 });
                (one, i)
            }
            Taps::All(x) => {
                let mut all = planner.constants.number(x);
                all.axes.push(Axis { dim, size: planner.size(dim), stride: 0 });
                (all, 0)
            }
        }
    }
}

fn other(operands: &[ValueId], one: ValueId) -> Option<ValueId> {
    match operands {
        [a, b] if *a == one && *b != one => Some(*b),
        [a, b] if *b == one && *a != one => Some(*a),
        _ => None,
    }
}
