//! Element-wise functions of one value: one row each, with all properties that any stage uses. Their gradients are in `gradient::unary`,
//! their kernels in the devices.

use super::{At, Domain, Interval, Rules};

/// Element-wise functions of one value. Gradients of the non-smooth ones are stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnaryOp {
    /// -x
    Neg,
    /// |x|, gradient 0 at 0
    Abs,
    /// -1, 0, 1; gradient 0
    Sign,
    /// gradient 0
    Floor,
    /// e^x
    Exp,
    /// e^x - 1
    Expm1,
    /// natural logarithm
    Log,
    /// log(1 + x)
    Log1p,
    /// binary logarithm
    Log2,
    /// square root; gradient 0 at 0
    Sqrt,
    /// 1 / sqrt(x)
    Rsqrt,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// hyperbolic tangent
    Tanh,
    /// x sigmoid(x)
    Silu,
    /// x Phi(x), erf form
    Gelu,
    /// max(x, 0), gradient 0 at 0
    Relu,
    /// x for x > 0, else e^x - 1
    Elu,
    /// log(1 + e^x)
    Softplus,
    /// sine
    Sin,
    /// cosine
    Cos,
    /// arc tangent
    Atan,
    /// error function
    Erf,
    /// 1 - x, of a 0/1 value
    Not,
    /// x^n with an integer literal n: holds for any sign
    Powi(i32),
}

/// Properties of a function of one value.
pub struct Row {
    /// Its name: in the language, if it is a function there, and in hashes.
    pub name: &'static str,
    /// Its meaning, in a line.
    pub doc: &'static str,
    /// f(x).
    pub of: fn(f64) -> f64,
    /// Range of the result, from that of the operand.
    pub range: fn(Interval) -> Interval,
    /// Domain in which the function and its derivative are finite.
    pub domain: Domain,
    /// Codes for an operand that is outside of the domain, or may be, and advice how to keep it inside.
    pub outside: ([&'static str; 2], &'static str),
    /// Further properties. Unlisted ones are not assumed.
    pub traits: &'static [Trait],
}

/// A property of a function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// It is a function of the language, by its name.
    Called,
    /// A gradient flows to its operand.
    Smooth,
    /// It is so cheap that the backward pass may compute it again.
    Cheap,
    /// A processor has an instruction for it.
    Native,
    /// It is constant to f32's precision where its operand is large, on either side.
    Saturates,
    /// |f(x)| <= |x|.
    Contracts,
}

/// Minimum of silu, at -1.2785; rounded down.
const SILU_MIN: f64 = -0.278_464_6;
/// Minimum of gelu, at -0.7518; rounded down.
const GELU_MIN: f64 = -0.169_972;

/// Codes and advice for a function that is defined everywhere.
const NOWHERE: ([&str; 2], &str) = (["E0709", "W0703"], "keep it away from 0");

/// The row of a function.
#[deny(clippy::wildcard_enum_match_arm)]
fn row(op: UnaryOp) -> Row {
    use Trait::{Called, Cheap, Contracts, Native, Saturates, Smooth};
    let everywhere =
        |name, doc, of, range, traits| Row { name, doc, of, range, domain: Domain::All, outside: NOWHERE, traits };
    match op {
        UnaryOp::Neg => everywhere("neg", "-x", |x| -x, |x| -x, &[Smooth, Cheap, Native, Contracts]),
        UnaryOp::Abs => everywhere(
            "abs",
            "the absolute value; no gradient at 0",
            f64::abs,
            Interval::abs,
            &[Called, Smooth, Cheap, Native, Contracts],
        ),
        UnaryOp::Sign => everywhere(
            "sign",
            "-1, 0 or 1; no gradient",
            sign,
            |x| {
                let lo = if x.above(0.0) { 1.0 } else { sign(x.lo) };
                let hi = if (-x).above(0.0) { -1.0 } else { sign(x.hi) };
                Interval::closed(lo, hi)
            },
            &[Called, Cheap, Native],
        ),
        UnaryOp::Floor => everywhere(
            "floor",
            "the largest integer that is not above x; no gradient. In sizes: floor(a / b)",
            f64::floor,
            |x| Interval::closed(x.lo.floor(), x.hi.floor()),
            &[Called, Cheap, Native],
        ),
        UnaryOp::Exp => Row {
            name: "exp",
            doc: "e^x",
            of: f64::exp,
            range: |x| x.increasing(f64::exp),
            domain: Domain::Exponent,
            outside: EXPONENT,
            traits: &[Called, Smooth, Cheap],
        },
        UnaryOp::Expm1 => Row {
            name: "expm1",
            doc: "e^x - 1, exact near 0",
            of: f64::exp_m1,
            range: |x| x.increasing(f64::exp_m1),
            domain: Domain::Exponent,
            outside: EXPONENT,
            traits: &[Called, Smooth, Cheap],
        },
        UnaryOp::Log => Row {
            name: "log",
            doc: "the natural logarithm; x must be above 0",
            of: f64::ln,
            range: |x| if x.hi <= 0.0 { Interval::ALL } else { x.increasing(|v| v.max(0.0).ln()) },
            domain: Domain::Above(0.0),
            outside: (
                ["E0701", "W0701"],
                "keep it positive: `log(softplus(x) + 1e-6)`, or for a log of probabilities `-softplus(-x)` and \
                 `x - logsumexp[A](x)`",
            ),
            traits: &[Called, Smooth, Cheap],
        },
        UnaryOp::Log1p => Row {
            name: "log1p",
            doc: "log(1 + x), exact near 0; x must be above -1",
            of: f64::ln_1p,
            range: |x| if x.hi <= -1.0 { Interval::ALL } else { x.increasing(|v| v.max(-1.0).ln_1p()) },
            domain: Domain::Above(-1.0),
            outside: (["E0701", "W0701"], "keep it above -1, for example `log1p(abs(x))` or `log1p(x ^ 2)`"),
            traits: &[Called, Smooth, Cheap],
        },
        UnaryOp::Log2 => Row {
            name: "log2",
            doc: "the binary logarithm; x must be above 0",
            of: f64::log2,
            range: |x| if x.hi <= 0.0 { Interval::ALL } else { x.increasing(|v| v.max(0.0).log2()) },
            domain: Domain::Above(0.0),
            outside: (["E0701", "W0701"], "keep it positive: `log2(softplus(x) + 1e-6)`"),
            traits: &[Called, Smooth, Cheap],
        },
        UnaryOp::Sqrt => Row {
            name: "sqrt",
            doc: "the square root; x must not be below 0; no gradient at 0",
            of: f64::sqrt,
            range: |x| x.increasing(|v| v.max(0.0).sqrt()),
            domain: Domain::From(0.0),
            outside: (["E0702", "W0702"], "take it of a square, or of `max(x, 0)`"),
            traits: &[Called, Smooth, Cheap, Native],
        },
        UnaryOp::Rsqrt => Row {
            name: "rsqrt",
            doc: "1 / sqrt(x); x must be above 0",
            of: |x| 1.0 / x.sqrt(),
            range: |x| {
                if x.hi <= 0.0 { Interval::ALL } else { x.increasing(|v| v.max(0.0).sqrt()).recip() }
            },
            domain: Domain::Above(0.0),
            outside: (
                ["E0702", "W0702"],
                "add a small number to something that is not negative: `rsqrt(mean[A](x ^ 2) + 1e-5)`",
            ),
            traits: &[Called, Smooth, Cheap, Native],
        },
        UnaryOp::Sigmoid => everywhere(
            "sigmoid",
            "1 / (1 + e^-x), in (0, 1)",
            sigmoid,
            |x| x.increasing(sigmoid),
            &[Called, Smooth, Cheap, Saturates],
        ),
        UnaryOp::Tanh => everywhere(
            "tanh",
            "the hyperbolic tangent, in (-1, 1)",
            f64::tanh,
            |x| x.increasing(f64::tanh),
            &[Called, Smooth, Cheap, Saturates, Contracts],
        ),
        UnaryOp::Silu => everywhere(
            "silu",
            "x * sigmoid(x)",
            silu,
            |x| bowl(x, silu, -1.278_464_5, SILU_MIN),
            &[Called, Smooth, Cheap, Contracts],
        ),
        UnaryOp::Gelu => everywhere(
            "gelu",
            "x Phi(x), with the error function",
            gelu,
            |x| bowl(x, gelu, -0.751_791_5, GELU_MIN),
            &[Called, Smooth, Cheap, Contracts],
        ),
        UnaryOp::Relu => everywhere(
            "relu",
            "the larger of x and 0; no gradient at 0",
            |x| if x < 0.0 { 0.0 } else { x },
            |x| x.max(Interval::point(0.0)),
            &[Called, Smooth, Cheap, Native, Contracts],
        ),
        UnaryOp::Elu => {
            everywhere("elu", "x above 0, e^x - 1 below", elu, |x| x.increasing(elu), &[Called, Smooth, Cheap])
        }
        UnaryOp::Softplus => everywhere(
            "softplus",
            "log(1 + e^x), positive",
            softplus,
            |x| x.increasing(softplus),
            &[Called, Smooth, Cheap],
        ),
        UnaryOp::Sin => everywhere(
            "sin",
            "the sine, x in radians",
            f64::sin,
            |x| wave(x, std::f64::consts::FRAC_PI_2, f64::sin),
            &[Called, Smooth, Contracts],
        ),
        UnaryOp::Cos => {
            everywhere("cos", "the cosine, x in radians", f64::cos, |x| wave(x, 0.0, f64::cos), &[Called, Smooth])
        }
        UnaryOp::Atan => everywhere(
            "atan",
            "the inverse tangent, in (-pi/2, pi/2)",
            f64::atan,
            |x| x.increasing(f64::atan),
            &[Called, Smooth, Saturates, Contracts],
        ),
        UnaryOp::Erf => everywhere(
            "erf",
            "the error function",
            libm::erf,
            |x| x.increasing(libm::erf),
            &[Called, Smooth, Cheap, Saturates],
        ),
        UnaryOp::Not => {
            everywhere("not", "1 - x, of a 0/1 value", |x| 1.0 - x, |x| Interval::point(1.0) - x, &[Smooth, Cheap])
        }
        UnaryOp::Powi(n) => Row {
            name: "powi",
            doc: "x^n with an integer n, for any sign of x",
            // these two need the exponent: see `UnaryOp::of` and `range`
            of: |x| x,
            range: |x| x,
            domain: if n < 0 { Domain::NonZero } else { Domain::All },
            outside: NOWHERE,
            traits: if n == 0 { &[Cheap, Native] } else { &[Smooth, Cheap, Native] },
        },
    }
}

/// Codes and advice for the exponentials.
const EXPONENT: ([&str; 2], &str) = (
    ["E0705", "W0705"],
    "bound it from above: `exp(x - max[A](x))`, `exp(-softplus(x))`, `exp(min(x, 10))`; or use `softplus`, `sigmoid`, \
     `softmax`",
);

/// See [`UnaryOp::CALLED`].
const CALLED: &[UnaryOp] = &[
    UnaryOp::Abs,
    UnaryOp::Sign,
    UnaryOp::Floor,
    UnaryOp::Exp,
    UnaryOp::Expm1,
    UnaryOp::Log,
    UnaryOp::Log1p,
    UnaryOp::Log2,
    UnaryOp::Sqrt,
    UnaryOp::Rsqrt,
    UnaryOp::Sigmoid,
    UnaryOp::Tanh,
    UnaryOp::Silu,
    UnaryOp::Gelu,
    UnaryOp::Relu,
    UnaryOp::Elu,
    UnaryOp::Softplus,
    UnaryOp::Sin,
    UnaryOp::Cos,
    UnaryOp::Atan,
    UnaryOp::Erf,
];

impl UnaryOp {
    /// The functions of the language, in the order of its reference.
    pub const CALLED: &[Self] = CALLED;

    /// All properties of the function.
    pub fn row(self) -> Row {
        row(self)
    }

    /// f(x) in f64.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Powi(n) => x.powi(n),
            op => (row(op).of)(x),
        }
    }

    /// Range of the result, from that of the operand.
    pub fn range(self, x: Interval) -> Interval {
        match self {
            Self::Powi(0) => Interval::point(1.0),
            Self::Powi(n) => x.powi(n),
            op => (row(op).range)(x),
        }
    }

    /// Whether it has a property.
    pub fn is(self, what: Trait) -> bool {
        row(self).traits.contains(&what)
    }

    /// Domain in which it and its derivative are finite.
    pub fn domain(self) -> Domain {
        row(self).domain
    }
}

/// -1, 0 or 1.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x sigmoid(x), with its limit at -inf, where the quotient would be -inf / inf.
fn silu(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { x / (1.0 + (-x).exp()) }
}

/// x Phi(x), with its limit at -inf.
fn gelu(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { 0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)) }
}

fn elu(x: f64) -> f64 {
    if x > 0.0 { x } else { x.exp_m1() }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
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
        self.is(Trait::Smooth)
    }

    fn range(&self, _: At, operands: &[Interval]) -> Interval {
        (*self).range(operands[0])
    }
}

/// Range of a function that falls to its minimum and then rises; 0 at -inf.
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

/// Range of a wave of period 2 pi with a crest (value 1) at `crest` and a trough half a period later.
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
                let y = op.range(x);
                for i in 0..=100 {
                    let v = f(lo + (hi - lo) * f64::from(i) / 100.0);
                    assert!(y.lo - 1e-6 <= v && v <= y.hi + 1e-6, "{op:?} of {x}: {v} outside of {y}");
                }
            }
        }
    }

    #[test]
    fn called_functions_are_listed_once() {
        let names: std::collections::BTreeSet<&str> = CALLED.iter().map(|op| row(*op).name).collect();
        assert_eq!(names.len(), CALLED.len());
        assert!(CALLED.iter().all(|op| op.is(Trait::Called)));
    }

    /// Checks the traits of the rows on a grid of operands.
    #[test]
    fn traits_hold() {
        let grid = (-4000..=4000).map(|i| f64::from(i) / 100.0);
        for op in CALLED.iter().copied().chain([UnaryOp::Neg, UnaryOp::Not, UnaryOp::Powi(-1), UnaryOp::Powi(3)]) {
            for x in grid.clone().filter(|x| op.domain().is_regular(Interval::point(*x))) {
                let (y, step) = (op.of(x), 1e-6);
                assert!(y.is_finite(), "{op:?}({x}) = {y}");
                let slope = (op.of(x + step) - op.of(x - step)) / (2.0 * step);
                let inside = op.domain().is_regular(Interval::closed(x - step, x + step));
                assert!(!inside || slope.is_finite(), "{op:?} has the slope {slope} at {x}");
                assert!(!op.is(Trait::Contracts) || y.abs() <= x.abs(), "|{op:?}({x})| = {y}");
            }
            for far in [-1e4, 1e4] {
                let moved = (op.of(far) - op.of(2.0 * far)).abs();
                assert!(!op.is(Trait::Saturates) || moved < 1e-4, "{op:?} moves by {moved} beyond {far}");
            }
        }
    }
}
