//! Gradients of ops over dimensions: reductions, softmax, sorting and similar ops.

use super::site::{Arithmetic, Cotangents, Site, count};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::lowered::{DimId, Extent, Op, ValueId};

pub(super) fn reduce(s: &mut Site) -> Cotangents {
    let Op::Reduce(f, over) = s.op else { panic!("archc bug: {:?} is no reduction", s.op) };
    let (x, y, dy) = (s.operands[0], s.result, s.dy);
    let dx = match f {
        ReduceOp::Sum => dy,
        ReduceOp::Mean => match count(s.b, over) {
            Some(n) => s.b.div(dy, n),
            None => dy,
        },
        ReduceOp::Max | ReduceOp::Min => {
            // ties share the gradient
            let chosen = s.b.binary(BinaryOp::Eq, x, y);
            let ties = s.b.sum(chosen, over);
            let share = s.b.div(dy, ties);
            s.b.mul(chosen, share)
        }
        ReduceOp::Var { sample } => {
            let centred = centred(s, x, over);
            let twice = s.b.scale(dy, 2.0);
            let scale = per_freedom(s, twice, over, *sample);
            s.b.mul(scale, centred)
        }
        ReduceOp::Std { sample } => {
            let centred = centred(s, x, over);
            let scale = s.b.div(dy, y);
            let scale = per_freedom(s, scale, over, *sample);
            let scale = s.b.only_where(y, scale);
            s.b.mul(scale, centred)
        }
        ReduceOp::Norm => {
            let scale = s.b.div(dy, y);
            let scale = s.b.only_where(y, scale);
            s.b.mul(scale, x)
        }
        ReduceOp::Median => panic!("archc bug: a median that is not sorted"),
        ReduceOp::LogSumExp => {
            // the gradient is 0 where all entries are -inf, or one is inf
            let distance = s.b.sub(x, y);
            let share = s.b.exp(distance);
            let size = s.b.unary(UnaryOp::Abs, y);
            let infinite = s.b.number(f64::INFINITY);
            let finite = s.b.binary(BinaryOp::Lt, size, infinite);
            let share = s.b.only_where(finite, share);
            s.b.mul(dy, share)
        }
    };
    Site::sole(dx)
}

fn centred(s: &mut Site, x: ValueId, over: &[DimId]) -> ValueId {
    let mean = s.b.mean(x, over);
    s.b.sub(x, mean)
}

/// x divided by the divisor of the variance.
fn per_freedom(s: &mut Site, x: ValueId, over: &[DimId], sample: bool) -> ValueId {
    let fixed: Option<usize> = over
        .iter()
        .map(|d| match s.b.dims[d.0 as usize].extent {
            Extent::Fixed(n) => Some(n),
            _ => None,
        })
        .product();
    let less = if sample { 1.0 } else { 0.0 };
    let n = match fixed {
        Some(n) => s.b.number(n as f64 - less),
        None => {
            let one = s.b.number(1.0);
            let all = s.b.expand(one, over);
            let n = s.b.sum(all, over);
            s.b.plus(n, -less)
        }
    };
    s.b.div(x, n)
}

pub(super) fn softmax(s: &mut Site) -> Cotangents {
    let Op::Softmax(over) = s.op else { panic!("archc bug: {:?} is no softmax", s.op) };
    let (y, dy) = (s.result, s.dy);
    let mean = s.b.contract(y, dy, over);
    let distance = s.b.sub(dy, mean);
    Site::sole(s.b.mul(y, distance))
}

pub(super) fn sparsemax(s: &mut Site) -> Cotangents {
    let Op::Sparsemax(dim) = s.op else { panic!("archc bug: {:?} is no sparsemax", s.op) };
    let support = s.b.above(s.result, 0.0);
    let size = s.b.sum(support, &[*dim]);
    let sum = s.b.contract(support, s.dy, &[*dim]);
    let mean = s.b.div(sum, size);
    let distance = s.b.sub(s.dy, mean);
    Site::sole(s.b.mul(support, distance))
}

pub(super) fn cumsum(s: &mut Site) -> Cotangents {
    let Op::Cumsum { dim, reverse, exclusive } = *s.op else { panic!("archc bug: {:?} is no running sum", s.op) };
    // it restarts at the same entries
    let starts = s.operands[1..].to_vec();
    let own = starts.first().map_or_else(|| vec![dim], |starts| s.b.dag.node(*starts).dims.clone());
    let dy = s.dy_along(&own);
    let dx = s.b.op(Op::Cumsum { dim, reverse: !reverse, exclusive }, &[&[dy][..], &starts].concat());
    [vec![Some(dx)], vec![None; starts.len()]].concat()
}

pub(super) fn cumprod(s: &mut Site) -> Cotangents {
    let Op::Cumprod { dim, reverse, exclusive } = *s.op else { panic!("archc bug: {:?} is no running product", s.op) };
    let dy = s.dy_along(&[dim]);
    Site::sole(s.b.op(Op::CumprodGrad { dim, reverse, exclusive }, &[s.operands[0], dy]))
}

pub(super) fn sort(s: &mut Site) -> Cotangents {
    let Op::Sort(dim) = *s.op else { panic!("archc bug: {:?} is no sort", s.op) };
    let dy = s.dy_along(&[dim]);
    Site::sole(s.b.op(Op::Unsort(dim), &[s.operands[0], dy]))
}

pub(super) fn top_k(s: &mut Site) -> Cotangents {
    let Op::TopK(dim, n) = *s.op else { panic!("archc bug: {:?} is no top-k", s.op) };
    let mask = s.b.op(Op::TopKMask(dim, n), &[s.operands[0]]);
    Site::sole(s.b.mul(s.dy, mask))
}
