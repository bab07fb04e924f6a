//! Application site of a rule: a forward op with its values and the cotangent of its result.
//!
//! A cotangent may lack dimensions of its value: it is then constant along them. This keeps a sum's gradient, for instance, from being
//! broadcast over the summed dimensions.

use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::lowered::{Builder, DimId, Extent, Op, ValueId};

/// A forward op, the values that its rule may use, and its result's cotangent.
pub(super) struct Site<'s, 'd> {
    /// Builder of the backward ops.
    pub b: &'s mut Builder<'d>,
    /// The forward op.
    pub op: &'s Op,
    /// Its operands.
    pub operands: &'s [ValueId],
    /// Its result.
    pub result: ValueId,
    /// The cotangent of the result.
    pub dy: ValueId,
    /// Marks the operands whose cotangents are needed.
    pub wanted: &'s [bool],
}

/// Cotangent of each operand; none where no gradient flows.
pub(super) type Cotangents = Vec<Option<ValueId>>;

impl Site<'_, '_> {
    /// Dimensions of operand i.
    pub fn dims(&self, i: usize) -> Vec<DimId> {
        self.b.dims_of(self.operands[i]).to_vec()
    }

    /// Dimensions along which operand i was broadcast: its cotangent is summed over them.
    pub fn broadcast(&self, i: usize) -> Vec<DimId> {
        let own = self.b.dims_of(self.operands[i]);
        self.b.dims_of(self.result).iter().copied().filter(|d| !own.contains(d)).collect()
    }

    /// Cotangent of operand i from one that has the result's dimensions or fewer.
    pub fn through(&mut self, i: usize, x: ValueId) -> ValueId {
        let over = self.broadcast(i);
        total(self.b, x, &over)
    }

    /// dy times a factor, for operand i. A summed product is one contraction, so that no larger value is built.
    pub fn times(&mut self, i: usize, factor: ValueId) -> ValueId {
        let over = self.broadcast(i);
        product(self.b, self.dy, factor, &over)
    }

    /// dy broadcast along these dimensions.
    pub fn dy_along(&mut self, dims: &[DimId]) -> ValueId {
        self.b.expand(self.dy, dims)
    }

    /// Cotangents by calling `f` for each operand whose cotangent is needed.
    pub fn each(&mut self, mut f: impl FnMut(&mut Self, usize) -> Option<ValueId>) -> Cotangents {
        (0..self.operands.len()).map(|i| if self.wanted[i] { f(self, i) } else { None }).collect()
    }

    /// Cotangents of an op with a single operand.
    pub fn sole(x: ValueId) -> Cotangents {
        vec![Some(x)]
    }
}

/// Sum of x over dimensions, including those that it lacks (it is constant along them).
pub(super) fn total(b: &mut Builder, x: ValueId, over: &[DimId]) -> ValueId {
    let (here, lacked): (Vec<DimId>, Vec<DimId>) = over.iter().partition(|d| b.has(x, **d));
    let sum = b.sum(x, &here);
    match count(b, &lacked) {
        Some(n) => b.mul(sum, n),
        None => sum,
    }
}

/// Sum of dx over the dimensions that x lacks.
pub(super) fn narrow(b: &mut Builder, dx: ValueId, x: ValueId) -> ValueId {
    let own = b.dims_of(x).to_vec();
    let over: Vec<DimId> = b.dims_of(dx).iter().copied().filter(|d| !own.contains(d)).collect();
    b.sum(dx, &over)
}

/// Sum of x y over dimensions, including those that both lack.
pub(super) fn product(b: &mut Builder, x: ValueId, y: ValueId, over: &[DimId]) -> ValueId {
    let (here, lacked): (Vec<DimId>, Vec<DimId>) = over.iter().partition(|d| b.has(x, **d) || b.has(y, **d));
    let sum = b.contract(x, y, &here);
    match count(b, &lacked) {
        Some(n) => b.mul(sum, n),
        None => sum,
    }
}

/// Number of entries of all dimensions together; none for one.
pub(super) fn count(b: &mut Builder, dims: &[DimId]) -> Option<ValueId> {
    let mut fixed = 1;
    let mut open = Vec::new();
    for &dim in dims {
        match b.dims[dim.0 as usize].extent {
            Extent::Fixed(n) => fixed *= n,
            _ => open.push(dim),
        }
    }
    if open.is_empty() {
        return if fixed == 1 { None } else { Some(b.number(fixed as f64)) };
    }
    let one = b.number(fixed as f64);
    let all = b.expand(one, &open);
    Some(b.sum(all, &open))
}

/// Shorthands for the rules.
pub(super) trait Arithmetic {
    /// x times a number.
    fn scale(&mut self, x: ValueId, by: f64) -> ValueId;
    /// x plus a number.
    fn plus(&mut self, x: ValueId, by: f64) -> ValueId;
    /// a / b
    fn div(&mut self, a: ValueId, b: ValueId) -> ValueId;
    /// 1 - x
    fn complement(&mut self, x: ValueId) -> ValueId;
    /// a where c is not 0, else b.
    fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> ValueId;
    /// x where c is not 0, else 0.
    fn only_where(&mut self, c: ValueId, x: ValueId) -> ValueId;
    /// 1 where x is larger than a number, else 0.
    fn above(&mut self, x: ValueId, than: f64) -> ValueId;
    /// Arithmetic mean over dimensions.
    fn mean(&mut self, x: ValueId, over: &[DimId]) -> ValueId;
}

impl Arithmetic for Builder<'_> {
    fn scale(&mut self, x: ValueId, by: f64) -> ValueId {
        let by = self.number(by);
        self.mul(x, by)
    }

    fn plus(&mut self, x: ValueId, by: f64) -> ValueId {
        let by = self.number(by);
        self.add(x, by)
    }

    fn div(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Div, a, b)
    }

    fn complement(&mut self, x: ValueId) -> ValueId {
        self.unary(UnaryOp::Not, x)
    }

    fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Select, &[c, a, b])
    }

    fn only_where(&mut self, c: ValueId, x: ValueId) -> ValueId {
        let zero = self.number(0.0);
        self.select(c, x, zero)
    }

    fn above(&mut self, x: ValueId, than: f64) -> ValueId {
        let than = self.number(than);
        self.binary(BinaryOp::Gt, x, than)
    }

    fn mean(&mut self, x: ValueId, over: &[DimId]) -> ValueId {
        self.op(Op::Reduce(ReduceOp::Mean, over.to_vec()), &[x])
    }
}
