//! Functions of two values, broadcast by name, and contractions, which are summed products.

use super::site::{Arithmetic, Cotangents, Site, product};
use crate::graph::{BinaryOp, UnaryOp};
use crate::lowered::{Op, ValueId};

pub(super) fn binary(s: &mut Site) -> Cotangents {
    let Op::Binary(f) = s.op else { panic!("archc bug: {:?} is not binary", s.op) };
    let f = *f;
    let (x, y) = (s.operands[0], s.operands[1]);
    match f {
        BinaryOp::Mul => products(s),
        BinaryOp::Add => s.each(|s, i| Some(s.through(i, s.dy))),
        BinaryOp::Sub => s.each(|s, i| {
            let dx = s.through(i, s.dy);
            Some(if i == 0 { dx } else { s.b.neg(dx) })
        }),
        BinaryOp::Div => s.each(|s, i| Some(quotient(s, i, y))),
        BinaryOp::Rem => s.each(|s, i| {
            if i == 0 {
                return Some(s.through(0, s.dy));
            }
            let ratio = s.b.div(x, y);
            let whole = s.b.unary(UnaryOp::Floor, ratio);
            let whole = s.b.only_where(y, whole);
            let dx = s.times(1, whole);
            Some(s.b.neg(dx))
        }),
        BinaryOp::Pow => s.each(|s, i| Some(power(s, i, x, y))),
        BinaryOp::Min | BinaryOp::Max => {
            let (small, large) = if f == BinaryOp::Min { (x, y) } else { (y, x) };
            let chosen = s.b.binary(BinaryOp::Lt, small, large);
            let tie = s.b.binary(BinaryOp::Eq, x, y);
            let half = s.b.scale(tie, 0.5);
            let share = s.b.add(chosen, half);
            s.each(|s, i| {
                let share = if i == 0 { share } else { s.b.complement(share) };
                Some(s.times(i, share))
            })
        }
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => vec![None; 2],
    }
}

fn quotient(s: &mut Site, i: usize, y: ValueId) -> ValueId {
    if i == 1 {
        // y is constant along the summed dimensions, so the division comes last
        let finite = s.b.only_where(y, s.result);
        let sum = s.times(1, finite);
        let ratio = s.b.div(sum, y);
        let ratio = s.b.only_where(y, ratio);
        return s.b.neg(ratio);
    }
    if s.broadcast(0).is_empty() {
        let dx = s.b.div(s.dy, y);
        return s.b.only_where(s.dy, dx);
    }
    let one = s.b.number(1.0);
    let inverse = s.b.div(one, y);
    let inverse = s.b.only_where(y, inverse);
    s.times(0, inverse)
}

fn power(s: &mut Site, i: usize, x: ValueId, y: ValueId) -> ValueId {
    if i == 0 {
        // x^0 is constant, even at 0
        let less = s.b.plus(y, -1.0);
        let power = s.b.binary(BinaryOp::Pow, x, less);
        let slope = s.b.mul(y, power);
        let slope = s.b.only_where(y, slope);
        let slope = s.b.only_where(s.dy, slope);
        return s.times(0, slope);
    }
    // at x = 0 the limit: x^y log x -> 0 for y > 0
    let log = s.b.unary(UnaryOp::Log, x);
    let slope = s.b.mul(s.result, log);
    let zero = s.b.number(0.0);
    let at_zero = s.b.binary(BinaryOp::Eq, x, zero);
    let positive = s.b.above(y, 0.0);
    let limit = s.b.mul(at_zero, positive);
    let slope = s.b.select(limit, zero, slope);
    let slope = s.b.only_where(s.dy, slope);
    s.times(1, slope)
}

pub(super) fn select(s: &mut Site) -> Cotangents {
    let condition = s.operands[0];
    s.each(|s, i| {
        let zero = s.b.number(0.0);
        let dx = match i {
            0 => return None,
            1 => s.b.select(condition, s.dy, zero),
            _ => s.b.select(condition, zero, s.dy),
        };
        Some(s.through(i, dx))
    })
}

/// Gradient of the sum over dimensions of a b: the cotangent of a is the sum of dy b over the dimensions that b and dy have and a lacks.
pub(super) fn contract(s: &mut Site) -> Cotangents {
    products(s)
}

fn products(s: &mut Site) -> Cotangents {
    let (x, y) = (s.operands[0], s.operands[1]);
    if x == y {
        // computed once, and doubled where there are fewer elements
        let twice = s.b.scale(s.dy, 2.0);
        let over = s.broadcast(0);
        return vec![Some(product(s.b, twice, x, &over)), None];
    }
    s.each(|s, i| Some(s.times(i, if i == 0 { y } else { x })))
}
