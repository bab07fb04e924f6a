//! Element-wise functions of one value: one table.

use super::{At, Interval, Rules};
use crate::graph::UnaryOp;

/// A row of the table.
struct Row {
    doc: &'static str,
    gradient: bool,
    range: fn(Interval) -> Interval,
}

/// The smallest value of silu, at -1.2785; rounded down.
const SILU_MIN: f64 = -0.278_464_6;
/// The smallest value of gelu, at -0.7518; rounded down.
const GELU_MIN: f64 = -0.169_972;

fn row(op: UnaryOp) -> Row {
    let smooth = |doc, range| Row { doc, gradient: true, range };
    let flat = |doc, range| Row { doc, gradient: false, range };
    match op {
        UnaryOp::Neg => smooth("-x", |x| -x),
        UnaryOp::Abs => smooth("|x|, gradient 0 at 0", Interval::abs),
        UnaryOp::Sign => flat("-1, 0 or 1; no gradient", |x| {
            let lo = if x.above(0.0) { 1.0 } else { sign(x.lo) };
            let hi = if (-x).above(0.0) { -1.0 } else { sign(x.hi) };
            Interval::closed(lo, hi)
        }),
        UnaryOp::Floor => {
            flat("the largest integer not above x; no gradient", |x| Interval::closed(x.lo.floor(), x.hi.floor()))
        }
        UnaryOp::Exp => smooth("e^x", |x| x.increasing(f64::exp)),
        UnaryOp::Expm1 => smooth("e^x - 1", |x| x.increasing(f64::exp_m1)),
        UnaryOp::Log => {
            smooth("natural logarithm", |x| if x.hi <= 0.0 { Interval::ALL } else { x.increasing(|v| v.max(0.0).ln()) })
        }
        UnaryOp::Log1p => {
            smooth("log(1 + x)", |x| if x.hi <= -1.0 { Interval::ALL } else { x.increasing(|v| v.max(-1.0).ln_1p()) })
        }
        UnaryOp::Sqrt => smooth("square root; gradient 0 at 0", |x| x.increasing(|v| v.max(0.0).sqrt())),
        UnaryOp::Rsqrt => {
            smooth(
                "1 / sqrt(x)",
                |x| {
                    if x.hi <= 0.0 { Interval::ALL } else { x.increasing(|v| v.max(0.0).sqrt()).recip() }
                },
            )
        }
        UnaryOp::Sigmoid => smooth("1 / (1 + e^-x)", |x| x.increasing(|v| UnaryOp::Sigmoid.of(v))),
        UnaryOp::Tanh => smooth("hyperbolic tangent", |x| x.increasing(f64::tanh)),
        UnaryOp::Silu => smooth("x sigmoid(x)", |x| bowl(x, |v| UnaryOp::Silu.of(v), -1.278_464_5, SILU_MIN)),
        UnaryOp::Gelu => smooth("x Phi(x), erf form", |x| bowl(x, |v| UnaryOp::Gelu.of(v), -0.751_791_5, GELU_MIN)),
        UnaryOp::Relu => smooth("max(x, 0), gradient 0 at 0", |x| x.max(Interval::point(0.0))),
        UnaryOp::Elu => smooth("x for x > 0, else e^x - 1", |x| x.increasing(|v| UnaryOp::Elu.of(v))),
        UnaryOp::Softplus => smooth("log(1 + e^x)", |x| x.increasing(|v| UnaryOp::Softplus.of(v))),
        UnaryOp::Sin => smooth("sine", |x| wave(x, std::f64::consts::FRAC_PI_2, f64::sin)),
        UnaryOp::Cos => smooth("cosine", |x| wave(x, 0.0, f64::cos)),
        UnaryOp::Atan => smooth("arc tangent", |x| x.increasing(f64::atan)),
        UnaryOp::Erf => smooth("error function", |x| x.increasing(libm::erf)),
        UnaryOp::Not => smooth("1 - x, of a 0/1 value", |x| Interval::point(1.0) - x),
        UnaryOp::Powi(0) => flat("x^0, which is 1", |_| Interval::point(1.0)),
        UnaryOp::Powi(_) => smooth("x^n with an integer n, for any sign of x", |x| x),
    }
}

impl UnaryOp {
    /// f(x) in f64.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Neg => -x,
            Self::Abs => x.abs(),
            Self::Sign => sign(x),
            Self::Floor => x.floor(),
            Self::Exp => x.exp(),
            Self::Expm1 => x.exp_m1(),
            Self::Log => x.ln(),
            Self::Log1p => x.ln_1p(),
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => 1.0 / x.sqrt(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            // the limit, where the quotient would be -inf / inf
            Self::Silu if x == f64::NEG_INFINITY => 0.0,
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::Gelu if x == f64::NEG_INFINITY => 0.0,
            Self::Gelu => 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
            Self::Relu => x.max(0.0),
            Self::Elu if x > 0.0 => x,
            Self::Elu => x.exp_m1(),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Atan => x.atan(),
            Self::Erf => libm::erf(x),
            Self::Not => 1.0 - x,
            Self::Powi(n) => x.powi(n),
        }
    }
}

/// -1, 0 or 1.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

impl Rules for UnaryOp {
    fn doc(&self) -> &'static str {
        row(*self).doc
    }

    fn flops(&self, at: At) -> f64 {
        at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        2.0 * at.elements()
    }

    fn differentiable(&self, _: usize) -> bool {
        row(*self).gradient
    }

    fn range(&self, _: At, operands: &[Interval]) -> Interval {
        match self {
            Self::Powi(n) => operands[0].powi(*n),
            _ => (row(*self).range)(operands[0]),
        }
    }
}

/// A function that falls to its minimum and then rises; 0 at -inf.
fn bowl(x: Interval, f: impl Fn(f64) -> f64, at: f64, min: f64) -> Interval {
    if x.lo >= at {
        x.increasing(f)
    } else if x.hi <= at {
        x.decreasing(f)
    } else {
        let (left, right) = (f(x.lo), f(x.hi));
        Interval { lo: min, hi: left.max(right), lo_open: false, hi_open: x.hi.is_infinite() || left > right }
    }
}

/// A wave of period 2 pi with a crest (value 1) at `crest` and a trough half a period later.
fn wave(x: Interval, crest: f64, f: impl Fn(f64) -> f64) -> Interval {
    use std::f64::consts::PI;
    if (x.hi - x.lo).is_nan() || x.hi - x.lo >= 2.0 * PI {
        return Interval::symmetric(1.0);
    }
    // the first point of the form `at + 2 pi n` that is not left of x.lo
    let reaches = |at: f64| at + 2.0 * PI * ((x.lo - at) / (2.0 * PI)).ceil() <= x.hi;
    let (a, b) = (f(x.lo), f(x.hi));
    let hi = if reaches(crest) { 1.0 } else { a.max(b) };
    let lo = if reaches(crest + PI) { -1.0 } else { a.min(b) };
    Interval::closed(lo, hi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_enclose_the_functions() {
        type Function = fn(f64) -> f64;
        let functions: [(UnaryOp, Function); 14] = [
            (UnaryOp::Neg, |x| -x),
            (UnaryOp::Abs, f64::abs),
            (UnaryOp::Sign, |x| if x == 0.0 { 0.0 } else { x.signum() }),
            (UnaryOp::Floor, f64::floor),
            (UnaryOp::Exp, f64::exp),
            (UnaryOp::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (UnaryOp::Tanh, f64::tanh),
            (UnaryOp::Silu, |x| x / (1.0 + (-x).exp())),
            (UnaryOp::Gelu, |x| 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2)),
            (UnaryOp::Elu, |x| if x > 0.0 { x } else { x.exp_m1() }),
            (UnaryOp::Softplus, |x| x.exp().ln_1p()),
            (UnaryOp::Sin, f64::sin),
            (UnaryOp::Cos, f64::cos),
            (UnaryOp::Powi(2), |x| x * x),
        ];
        for (op, f) in functions {
            for (lo, hi) in [(-3.0, 5.0), (-2.0, -0.5), (0.25, 1.5), (-0.4, 0.1), (2.0, 2.5), (-9.0, -4.0)] {
                let x = Interval::closed(lo, hi);
                let y = match op {
                    UnaryOp::Powi(n) => x.powi(n),
                    _ => (row(op).range)(x),
                };
                for i in 0..=100 {
                    let v = f(lo + (hi - lo) * f64::from(i) / 100.0);
                    assert!(y.lo - 1e-6 <= v && v <= y.hi + 1e-6, "{op:?} of {x}: {v} outside of {y}");
                }
            }
        }
    }
}
