//! Gradients of the ops of chunk forms.

use super::site::{Arithmetic, Cotangents, Site, product};
use crate::graph::{BinaryOp, UnaryOp};
use crate::lowered::{Builder, DimId, Extent, Op, Pairs, ValueId};

/// Gradient of (I - L) P = X with L = tril(A, -1): that of X is R with (I - L)^T R = dP, that of L is R P^T; no inverse is formed. With the
/// transpose, (I - L)^T P = X: R solves (I - L) R = dP, and the gradient of L is P R^T.
pub(super) fn solve(s: &mut Site) -> Cotangents {
    let Op::SolveUnitLower { rows, cols, transpose } = *s.op else { panic!("archc bug: {:?} is no solve", s.op) };
    let dy = s.dy_along(&[rows]);
    let back = s.b.op(Op::SolveUnitLower { rows, cols, transpose: !transpose }, &[s.operands[0], dy]);
    let a = s.dims(0);
    s.each(|s, i| {
        if i == 1 {
            return Some(s.through(1, back));
        }
        let (by_row, by_col) = if transpose { (s.result, back) } else { (back, s.result) };
        let by_col = s.b.rename(by_col, rows, cols);
        let over: Vec<DimId> = s.b.dims_of(s.result).iter().copied().filter(|d| !a.contains(d)).collect();
        let all = product(s.b, by_row, by_col, &over);
        if masks(s.b, s.operands[0], rows, cols) {
            return Some(all);
        }
        let below = below(s.b, rows, cols);
        Some(s.b.only_where(below, all))
    })
}

/// Whether a matrix is 0 outside of its strict lower triangle because of decays among its factors. Everything that its cotangent is
/// multiplied by is then 0 there too, and it needs no mask of its own.
fn masks(b: &Builder, x: ValueId, rows: DimId, cols: DimId) -> bool {
    let inner = |i: usize| masks(b, b.dag.operands(x)[i], rows, cols);
    match b.dag.node(x).op {
        Op::PairDecay(p) | Op::PairProduct(p) | Op::DecayDot { pairs: p, .. } => {
            (p.strict || p.before) && p.rows == rows && p.cols == cols
        }
        Op::Binary(BinaryOp::Mul) => inner(0) || inner(1),
        Op::Binary(BinaryOp::Add | BinaryOp::Sub) => inner(0) && inner(1),
        Op::Unary(UnaryOp::Neg) => inner(0),
        _ => false,
    }
}

/// 1 where the column is before the row, else 0.
fn below(b: &mut Builder, rows: DimId, cols: DimId) -> ValueId {
    let row = b.op(Op::Index(vec![rows]), &[]);
    let col = b.op(Op::Index(vec![cols]), &[]);
    b.binary(BinaryOp::Gt, row, col)
}

pub(super) fn pair_decay(s: &mut Site) -> Cotangents {
    let Op::PairDecay(pairs) = *s.op else { panic!("archc bug: {:?} is no decay", s.op) };
    let e = s.b.mul(s.result, s.dy);
    Site::sole(s.b.op(Op::PairDecayGrad(pairs), &[e]))
}

pub(super) fn pair_product(s: &mut Site) -> Cotangents {
    let Op::PairProduct(pairs) = *s.op else { panic!("archc bug: {:?} is no product of decays", s.op) };
    let e = s.dy_along(&[pairs.rows, pairs.cols]);
    Site::sole(s.b.op(Op::PairProductGrad(pairs), &[s.operands[0], s.result, e]))
}

/// Gradient of A_ij = sum over K of q_i k_j decay_ij: those by q, k and g are computed together, because they sum the same terms.
pub(super) fn decay_dot(s: &mut Site) -> Cotangents {
    let Op::DecayDot { over, pairs } = *s.op else { panic!("archc bug: {:?} is no decayed product", s.op) };
    let Pairs { rows, cols, .. } = pairs;
    let all = s.b.dims_of(s.result).to_vec();
    let da = s.dy_along(&all);
    // contiguous in memory
    let count = if s.wanted[2] { 3 } else { 2 };
    let parts = s.b.dim("parts", Extent::Fixed(count), s.b.dims[rows.0 as usize].rank - 1);
    let operands = [&[da], s.operands].concat();
    let grad = s.b.op(Op::DecayDotGrad { over, pairs, parts }, &operands);
    s.each(|s, i| {
        let part = s.b.op(Op::Pick(parts, i), &[grad]);
        let part = if i == 1 { s.b.rename(part, rows, cols) } else { part };
        let own = s.dims(i);
        let gone: Vec<DimId> = s.b.dims_of(part).iter().copied().filter(|d| !own.contains(d)).collect();
        Some(s.b.sum(part, &gone))
    })
}
