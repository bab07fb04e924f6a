//! Gradients of element-wise functions of one value. They use the result where possible, so that no function is computed twice.
//!
//! A cotangent of 0 gives 0, whatever the slope: values hidden by a `select`, a `max` or a weight of 0 may lie at a pole or have
//! overflowed, and 0 times infinity would be NaN.

use super::site::{Arithmetic, Cotangents, Site};
use crate::graph::UnaryOp;
use crate::lowered::{Op, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E, PI};

pub(super) fn unary(s: &mut Site) -> Cotangents {
    let Op::Unary(f) = s.op else { panic!("archc bug: {:?} is not unary", s.op) };
    let (x, y, dy) = (s.operands[0], s.result, s.dy);
    Site::sole(chain(s, *f, x, y, dy))
}

fn chain(s: &mut Site, f: UnaryOp, x: ValueId, y: ValueId, dy: ValueId) -> ValueId {
    let b = &mut *s.b;
    match f {
        UnaryOp::Neg | UnaryOp::Not => b.neg(dy),
        UnaryOp::Abs => {
            let sign = b.unary(UnaryOp::Sign, x);
            b.mul(dy, sign)
        }
        UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Powi(0) => panic!("archc bug: {f:?} has no gradient"),
        UnaryOp::Exp => {
            let dx = b.mul(dy, y);
            b.only_where(dy, dx)
        }
        UnaryOp::Expm1 => {
            let slope = b.plus(y, 1.0);
            let dx = b.mul(dy, slope);
            b.only_where(dy, dx)
        }
        UnaryOp::Log => {
            let dx = b.div(dy, x);
            b.only_where(dy, dx)
        }
        UnaryOp::Log1p => {
            let x = b.plus(x, 1.0);
            let dx = b.div(dy, x);
            b.only_where(dy, dx)
        }
        UnaryOp::Log2 => {
            let scaled = b.scale(dy, LOG2_E);
            let dx = b.div(scaled, x);
            b.only_where(dy, dx)
        }
        UnaryOp::Sqrt => {
            let half = b.scale(dy, 0.5);
            let dx = b.div(half, y);
            b.only_where(y, dx)
        }
        UnaryOp::Rsqrt => {
            let square = b.mul(y, y);
            let cube = b.mul(square, y);
            let slope = b.scale(cube, -0.5);
            let dx = b.mul(dy, slope);
            b.only_where(dy, dx)
        }
        UnaryOp::Sigmoid => {
            // 1 - y by its own function: near 1, where gates of long memories lie, the difference has no digits left
            let opposite = b.neg(x);
            let other = b.unary(UnaryOp::Sigmoid, opposite);
            let slope = b.mul(y, other);
            b.mul(dy, slope)
        }
        UnaryOp::Tanh => {
            let square = b.mul(y, y);
            let slope = b.complement(square);
            b.mul(dy, slope)
        }
        UnaryOp::Silu => {
            let gate = b.unary(UnaryOp::Sigmoid, x);
            let other = b.complement(gate);
            let bent = b.mul(y, other);
            let slope = b.add(gate, bent);
            b.mul(dy, slope)
        }
        UnaryOp::Gelu => {
            let scaled = b.scale(x, FRAC_1_SQRT_2);
            let erf = b.unary(UnaryOp::Erf, scaled);
            let twice = b.plus(erf, 1.0);
            let phi = b.scale(twice, 0.5);
            let square = b.mul(x, x);
            let exponent = b.scale(square, -0.5);
            let bell = b.exp(exponent);
            let density = b.scale(bell, 1.0 / (2.0 * PI).sqrt());
            let bent = b.mul(x, density);
            let slope = b.add(phi, bent);
            b.mul(dy, slope)
        }
        UnaryOp::Relu => {
            let positive = b.above(x, 0.0);
            b.only_where(positive, dy)
        }
        UnaryOp::Elu => {
            let positive = b.above(x, 0.0);
            let slope = b.plus(y, 1.0);
            let below = b.mul(dy, slope);
            b.select(positive, dy, below)
        }
        UnaryOp::Softplus => {
            let slope = b.unary(UnaryOp::Sigmoid, x);
            b.mul(dy, slope)
        }
        UnaryOp::Sin => {
            let slope = b.unary(UnaryOp::Cos, x);
            b.mul(dy, slope)
        }
        UnaryOp::Cos => {
            let sin = b.unary(UnaryOp::Sin, x);
            let slope = b.neg(sin);
            b.mul(dy, slope)
        }
        UnaryOp::Atan => {
            let square = b.mul(x, x);
            let one = b.plus(square, 1.0);
            b.div(dy, one)
        }
        UnaryOp::Erf => {
            let square = b.mul(x, x);
            let exponent = b.neg(square);
            let bell = b.exp(exponent);
            let slope = b.scale(bell, FRAC_2_SQRT_PI);
            b.mul(dy, slope)
        }
        UnaryOp::Powi(1) => dy,
        // twice dy rather than twice x: after a norm's sum dy is one element per row
        UnaryOp::Powi(2) => {
            let twice = b.scale(dy, 2.0);
            b.mul(twice, x)
        }
        UnaryOp::Powi(n) => {
            let power = b.unary(UnaryOp::Powi(n - 1), x);
            let slope = b.scale(power, n.into());
            let dx = b.mul(dy, slope);
            if n < 0 { b.only_where(dy, dx) } else { dx }
        }
    }
}
