//! The ops of chunk forms.

use super::site::{Arithmetic, Cotangents, Site, product};
use crate::graph::{BinaryOp, UnaryOp};
use crate::lowered::{Builder, DimId, Op, Pairs, ValueId};

/// (I - L) P = X with L = tril(A, -1): X gets R with (I - L)^T R = dP, and L gets R P^T; no inverse is formed.
/// With the transpose, (I - L)^T P = X: R solves (I - L) R = dP, and L gets P R^T.
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

/// Whether a matrix is 0 outside of its strict lower triangle by decays among its factors. All that its cotangent is
/// multiplied by on the way to anything is then 0 there too, and it needs no mask of its own.
fn masks(b: &Builder, x: ValueId, rows: DimId, cols: DimId) -> bool {
    let node = b.dag.node(x);
    let inner = |i: usize| masks(b, node.operands[i], rows, cols);
    match node.op {
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

/// A_ij = sum over K of q_i k_j decay_ij. With E_ij the terms of dA_ij A_ij, row l of g has sum of E_ij over
/// j < l <= i. All pairs with i >= l are q_i dq_i summed over i >= l; of those, the ones with j >= l are k_j dk_j summed
/// over j >= l. With `before` the pairs are j < l < i: the first sum is over i > l, the second the same, as j < i.
pub(super) fn decay_dot(s: &mut Site) -> Cotangents {
    let Op::DecayDot { over, pairs } = *s.op else { panic!("archc bug: {:?} is no decayed product", s.op) };
    let Pairs { rows, cols, before, .. } = pairs;
    let (q, k, g) = (s.operands[0], s.operands[1], s.operands[2]);
    let all = s.b.dims_of(s.result).to_vec();
    let da = s.dy_along(&all);
    let mix = |s: &mut Site, by_cols: bool| {
        s.b.op(Op::DecayMix { over, pairs, by_cols }, &[da, if by_cols { q } else { k }, g])
    };
    let by_g = s.wanted[2];
    let dq = (s.wanted[0] || by_g).then(|| mix(s, false));
    let dk = (s.wanted[1] || by_g).then(|| mix(s, true));
    let fit = |s: &mut Site, x: ValueId, i: usize| {
        let own = s.dims(i);
        let gone: Vec<DimId> = s.b.dims_of(x).iter().copied().filter(|d| !own.contains(d)).collect();
        s.b.sum(x, &gone)
    };
    let dg = by_g.then(|| {
        let (dq, dk) = (dq.expect("made for g"), dk.expect("made for g"));
        let own = s.dims(2);
        let part = |s: &mut Site, x: ValueId, dx: ValueId| {
            let gone: Vec<DimId> = s.b.dims_of(dx).iter().copied().filter(|d| !own.contains(d) && *d != cols).collect();
            let part = product(s.b, x, dx, &gone);
            s.b.rename(part, cols, rows)
        };
        let (read, written) = (part(s, q, dq), part(s, k, dk));
        let back = |s: &mut Site, x: ValueId, exclusive: bool| {
            let own = s.dims(2);
            let x = s.b.expand(x, &own);
            s.b.op(Op::Cumsum { dim: rows, reverse: true, exclusive }, &[x])
        };
        if before {
            let (read, written) = (back(s, read, true), back(s, written, false));
            s.b.sub(read, written)
        } else {
            // one sum of the differences: what cancels does so before it is summed
            let change = s.b.sub(read, written);
            back(s, change, false)
        }
    });
    let dq = dq.filter(|_| s.wanted[0]).map(|x| fit(s, x, 0));
    let dk = dk.filter(|_| s.wanted[1]).map(|x| fit(s, x, 1));
    vec![dq, dk, dg]
}
