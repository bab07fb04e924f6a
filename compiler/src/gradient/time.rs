//! Gradients of ops that look back over time by fixed lags.

use super::site::{Cotangents, Site, total};
use crate::lowered::{BATCH, DimId, Op, TIME};

pub(super) fn window(s: &mut Site) -> Cotangents {
    let Op::Window { dim, step } = *s.op else { panic!("archc bug: {:?} is no window", s.op) };
    // document starts differ between sequences, so batch and time are broadcast
    let dy = s.dy_along(&[BATCH, TIME, dim]);
    let dx = s.b.op(Op::Unwindow { dim, step }, &[dy]);
    s.each(|s, i| {
        let over: Vec<DimId> = s.broadcast(i).into_iter().filter(|d| *d != dim).collect();
        (i == 0).then(|| total(s.b, dx, &over))
    })
}

pub(super) fn long_conv(s: &mut Site) -> Cotangents {
    let Op::LongConv { lag } = *s.op else { panic!("archc bug: {:?} is no convolution", s.op) };
    let (filter, x) = (s.operands[0], s.operands[1]);
    let dy = s.dy_along(&[BATCH, TIME]);
    s.each(|s, i| {
        let dx = match i {
            0 => s.b.op(Op::LongConvFilter { lag }, &[x, dy]),
            _ => s.b.op(Op::LongConvBack { lag }, &[filter, dy]),
        };
        let over: Vec<DimId> = s.broadcast(i).into_iter().filter(|d| ![BATCH, TIME].contains(d)).collect();
        Some(total(s.b, dx, &over))
    })
}
