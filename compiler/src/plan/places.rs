//! Places of values: in-place sums, parts made inside of their stack or concatenation, aliases, buffers for the rest.

use super::Axis;
use super::build::LeafPlace;
use super::contraction::Roles;
use super::memory::View;
use super::planner::Planner;
use super::scope::ScopePlan;
use crate::lowered::{DimId, Fact, Op, TIME, ValueId};

impl<'d> ScopePlan<'d> {
    /// Finds in-place sums: one operand is a contraction, the other a result, and neither has another user, so that the contraction
    /// accumulates into the result.
    pub fn find_adds(&mut self, planner: &Planner<'_>) {
        use crate::graph::BinaryOp;
        for id in self.values.dag.ids().rev().filter(|id| self.values.live[id.0 as usize]) {
            let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
            if !matches!(node.op, Op::Binary(BinaryOp::Add)) || self.values.is_constant(id) {
                continue;
            }
            let (a, b) = (operands[0], operands[1]);
            let whole = |s: &Self, v: ValueId| {
                s.values.uses[v.0 as usize] == 1 && s.values.dag.node(v).dims == node.dims && s.values.made(v)
            };
            if a == b || !whole(self, a) || !whole(self, b) {
                continue;
            }
            // what is made once must not be added to at every call
            if self.values.prepared.as_ref().is_some_and(|p| p[a.0 as usize] != p[b.0 as usize]) {
                continue;
            }
            let product = |s: &Self, v: ValueId| s.is_product(planner, v);
            // the other operand must be in memory of its own anyway; a fused value read by a fused op need not be
            let (base, added) = if product(self, b) {
                (a, b)
            } else if product(self, a) {
                (b, a)
            } else {
                continue;
            };
            if matches!(self.values.dag.node(base).op, Op::Loop(_)) {
                continue;
            }
            self.joins.adds.insert(id, (base, added));
            self.joins.absorbed[added.0 as usize] = true;
            if let Some(view) = self.homes.wishes.remove(&id) {
                self.homes.wishes.insert(base, view);
            }
        }
    }

    /// Whether a value is a contraction that runs as a matrix product.
    pub fn is_product(&self, planner: &Planner<'_>, id: ValueId) -> bool {
        let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
        let Op::Contract(over) = &node.op else { return false };
        let (a, b) = (operands[0], operands[1]);
        let window = |v: ValueId| matches!(self.values.dag.node(v).op, Op::Window { .. });
        !self.values.is_constant(id)
            && !window(a)
            && !window(b)
            && !Roles::new(&self.values.dag.node(a).dims, &self.values.dag.node(b).dims, over)
                .is_dot(&planner.sizes, &planner.target)
    }

    /// Places operands of stacks and concatenations inside of the result, where possible.
    pub fn find_parts(&mut self, planner: &Planner<'_>) {
        for id in self.values.dag.ids().rev() {
            let (node, operands) = (self.values.dag.node(id), self.values.dag.operands(id));
            let joins = matches!(node.op, Op::Stack(_) | Op::Cat(..));
            if !self.values.live[id.0 as usize] || self.values.is_constant(id) || !joins {
                continue;
            }
            let whole = match self.homes.wishes.get(&id) {
                Some(view) => view.clone(),
                None => self.homes.fresh(&node.dims, &planner.sizes, false),
            };
            self.homes.place[id.0 as usize] = Some(whole.clone());
            for (operand, part) in operands.iter().zip(parts(planner, &node.op, operands.len(), &whole)) {
                let dims: Vec<DimId> = part.axes.iter().map(|a| a.dim).collect();
                let once = operands.iter().filter(|o| *o == operand).count() == 1;
                if once && self.values.dag.node(*operand).dims == dims {
                    let target = match self.joins.adds.get(operand) {
                        Some((base, _)) => *base,
                        None => *operand,
                    };
                    self.wish(target, part);
                }
            }
        }
    }

    /// Finds windows that need no memory, because each user reads them as a convolution does; and the products that only a window's
    /// gradient reads.
    pub fn find_absorbed(&mut self, planner: &Planner<'_>) {
        for id in self.values.dag.ids().filter(|id| self.values.live[id.0 as usize]) {
            match &self.values.dag.node(id).op {
                Op::Window { .. } => {
                    let all = self.values.users[id.0 as usize].iter().all(|u| self.as_convolution(planner, *u, id));
                    self.joins.absorbed[id.0 as usize] = all && !self.values.roots.contains(&id);
                }
                Op::Unwindow { .. } => {
                    let operand = self.values.dag.operands(id)[0];
                    if self.values.uses[operand.0 as usize] == 1 && self.back_taps(planner, id).is_some() {
                        self.joins.absorbed[operand.0 as usize] = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// Assigns every live value its place.
    pub fn find_places(&mut self, planner: &mut Planner<'_>, leaf: &mut LeafPlace<'_, 'd>) {
        for id in self.values.dag.ids() {
            let i = id.0 as usize;
            if !self.values.live[i] || self.values.is_constant(id) || self.homes.place[i].is_some() {
                continue;
            }
            let node = self.values.dag.node(id);
            let view = if node.op.is(Fact::Leaf) {
                leaf(self, planner, id)
            } else if matches!(node.op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_)) {
                continue;
            } else if let Some(view) = self.named(planner, id) {
                view
            } else if let Some((base, _)) = self.joins.adds.get(&id).copied() {
                self.read(planner, base)
            } else if let Some(view) = self.homes.wishes.get(&id) {
                view.clone()
            } else {
                self.homes.fresh(&node.dims, &planner.sizes, false)
            };
            self.homes.place[i] = Some(view);
        }
    }

    /// View of a value that is an alias of its operand.
    fn named(&mut self, planner: &mut Planner<'_>, id: ValueId) -> Option<View> {
        let node = self.values.dag.node(id);
        if !node.op.is(Fact::Name) {
            return None;
        }
        let x = self.values.dag.operands(id)[0];
        if self.joins.absorbed[x.0 as usize] {
            return None; // a pick from a window that is never built
        }
        let mut view = self.read(planner, x);
        let axes = &mut view.axes;
        let take = |axes: &mut Vec<Axis>, dim: DimId| -> Option<Axis> {
            let at = axes.iter().position(|a| a.dim == dim)?;
            Some(axes.remove(at))
        };
        match &node.op {
            Op::StopGrad => {}
            Op::Rename(from, to) => {
                let axis = take(axes, *from)?;
                axes.push(Axis { dim: *to, ..axis });
            }
            Op::Pick(dim, index) => {
                let axis = take(axes, *dim)?;
                view.start.offset += index * axis.stride.unsigned_abs();
            }
            Op::Cut { from, offset, into } => {
                let axis = take(axes, *from)?;
                view.start.offset += offset * axis.stride.unsigned_abs();
                axes.push(Axis { dim: *into, size: planner.size(*into), stride: axis.stride });
            }
            Op::Expand(new) => axes.extend(new.iter().map(|&dim| Axis { dim, size: planner.size(dim), stride: 0 })),
            Op::Split(from, into) => {
                let axis = take(axes, *from)?;
                let mut stride = axis.stride;
                for &dim in into.iter().rev() {
                    axes.push(Axis { dim, size: planner.size(dim), stride });
                    stride *= planner.size(dim) as isize;
                }
            }
            Op::Flatten(from, into) => {
                let (size, stride) = view.run(from)?;
                view.axes.retain(|a| !from.contains(&a.dim));
                view.axes.push(Axis { dim: *into, size, stride });
            }
            Op::Chunk { chunks, rows, .. } => {
                let (n, c) = (planner.size(*chunks), planner.size(*rows));
                let axis = take(axes, TIME)?;
                if n * c != axis.size {
                    return None;
                }
                axes.push(Axis { dim: *chunks, size: n, stride: axis.stride * c as isize });
                axes.push(Axis { dim: *rows, size: c, stride: axis.stride });
            }
            Op::Unchunk { chunks, rows } => {
                let (_, stride) = view.run(&[*chunks, *rows])?;
                view.axes.retain(|a| a.dim != *chunks && a.dim != *rows);
                view.axes.push(Axis { dim: TIME, size: planner.shape.len, stride });
            }
            _ => return None,
        }
        planner.sort(&mut view);
        Some(view)
    }

    /// Whether a value that may be an alias is one here: its place is inside of its operand's.
    pub fn is_name_here(&self, planner: &Planner<'_>, id: ValueId) -> bool {
        let node = self.values.dag.node(id);
        let x = self.values.dag.operands(id)[0];
        if self.joins.absorbed[x.0 as usize] {
            return false;
        }
        match &node.op {
            Op::Chunk { chunks, rows, .. } => planner.size(*chunks) * planner.size(*rows) == planner.shape.len,
            Op::Flatten(from, _) => self.homes.place[x.0 as usize].as_ref().is_none_or(|v| v.run(from).is_some()),
            Op::Unchunk { chunks, rows } => {
                self.homes.place[x.0 as usize].as_ref().is_none_or(|v| v.run(&[*chunks, *rows]).is_some())
            }
            _ => true,
        }
    }
}

/// Views of the parts of a stack or concatenation of `count` operands.
pub(super) fn parts(planner: &Planner<'_>, op: &Op, count: usize, whole: &View) -> Vec<View> {
    let part = |i: usize| match op {
        Op::Stack(dim) => {
            let (mut view, strides) = whole.without(&[*dim]);
            view.start.offset += i * strides[0].unsigned_abs();
            view
        }
        Op::Cat(parts, into) => {
            let (mut view, strides) = whole.without(&[*into]);
            let before: usize = parts[..i].iter().map(|d| planner.size(*d)).sum();
            view.start.offset += before * strides[0].unsigned_abs();
            view.axes.push(Axis { dim: parts[i], size: planner.size(parts[i]), stride: strides[0] });
            planner.sort(&mut view);
            view
        }
        op => panic!("archc bug: {op:?} has no parts"),
    };
    (0..count).map(part).collect()
}
