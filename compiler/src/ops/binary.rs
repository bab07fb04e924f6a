//! Element-wise functions of two values, and `select`: one table.

use super::{At, Interval, Rules};

/// Element-wise functions of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BinaryOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b; may form outer products
    Mul,
    /// a / b; may form outer products
    Div,
    /// a - b floor(a / b); gradient 1 to a, -floor(a / b) to b
    Rem,
    /// a^b for a > 0 (at a = 0: the limit)
    Pow,
    /// the smaller; at ties half the gradient each. `and` is this
    Min,
    /// the larger; at ties half the gradient each. `or` is this
    Max,
    /// 1 or 0, no gradient
    Eq,
    /// 1 or 0, no gradient
    Ne,
    /// 1 or 0, no gradient
    Lt,
    /// 1 or 0, no gradient
    Le,
    /// 1 or 0, no gradient
    Gt,
    /// 1 or 0, no gradient
    Ge,
}

/// Properties of a function of two values.
struct Row {
    doc: &'static str,
    gradient: bool,
    range: fn(Interval, Interval) -> Interval,
}

#[deny(clippy::wildcard_enum_match_arm)]
fn row(op: BinaryOp) -> Row {
    let smooth = |doc, range| Row { doc, gradient: true, range };
    let flat = |doc, range| Row { doc, gradient: false, range };
    match op {
        BinaryOp::Add => smooth("a + b", |a, b| a + b),
        BinaryOp::Sub => smooth("a - b", |a, b| a - b),
        BinaryOp::Mul => smooth("a b", |a, b| a * b),
        BinaryOp::Div => smooth("a / b", |a, b| a / b),
        BinaryOp::Rem => smooth("a - b floor(a / b); gradient 1 to a, -floor(a / b) to b", rem),
        BinaryOp::Pow => smooth("a^b for a > 0", pow),
        BinaryOp::Min => smooth("the smaller; at ties half the gradient each", Interval::min),
        BinaryOp::Max => smooth("the larger; at ties half the gradient each", Interval::max),
        BinaryOp::Eq => flat("1 where a = b, else 0; no gradient", |a, b| {
            if a.is_point() && a == b {
                Interval::point(1.0)
            } else if a.hi < b.lo || b.hi < a.lo {
                Interval::point(0.0)
            } else {
                Interval::UNIT
            }
        }),
        BinaryOp::Ne => {
            flat("0 where a = b, else 1; no gradient", |a, b| Interval::point(1.0) - (row(BinaryOp::Eq).range)(a, b))
        }
        BinaryOp::Lt => flat("1 where a < b, else 0; no gradient", less),
        BinaryOp::Le => flat("1 where a <= b, else 0; no gradient", |a, b| Interval::point(1.0) - less(b, a)),
        BinaryOp::Gt => flat("1 where a > b, else 0; no gradient", |a, b| less(b, a)),
        BinaryOp::Ge => flat("1 where a >= b, else 0; no gradient", |a, b| Interval::point(1.0) - less(a, b)),
    }
}

/// Range of a < b.
fn less(a: Interval, b: Interval) -> Interval {
    if a.hi < b.lo {
        Interval::point(1.0)
    } else if a.lo >= b.hi {
        Interval::point(0.0)
    } else {
        Interval::UNIT
    }
}

/// Range of the remainder: between 0 and b, with b's sign.
fn rem(_: Interval, b: Interval) -> Interval {
    let (lo, hi) = (b.lo.min(0.0), b.hi.max(0.0));
    Interval { lo, hi, lo_open: lo < 0.0, hi_open: hi > 0.0 }
}

/// Range of a power, e^(b log a), with the limits at a = 0.
fn pow(a: Interval, b: Interval) -> Interval {
    if a.lo < 0.0 {
        return Interval::ALL;
    }
    let log = a.increasing(f64::ln);
    let log = Interval { lo_open: a.lo_open, ..log };
    let power = b * log;
    let image = power.increasing(f64::exp);
    // e^-inf is 0, which is reached if a reaches 0
    Interval { lo_open: power.lo_open || power.lo.is_infinite() && !a.contains(0.0), ..image }
}

impl BinaryOp {
    /// Whether its values are 1 or 0, without a gradient.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Number of the operand whose 0 is a pole, if there is one.
    pub fn pole(self) -> Option<usize> {
        match self {
            Self::Pow => Some(0),
            Self::Div | Self::Rem => Some(1),
            Self::Add | Self::Sub | Self::Mul | Self::Min | Self::Max => None,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => None,
        }
    }

    /// f(a, b) in f64; comparisons return 0 or 1.
    pub fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Rem => a - b * (a / b).floor(),
            Self::Pow => a.powf(b),
            Self::Min => a.min(b),
            Self::Max => a.max(b),
            Self::Eq => f64::from(a == b),
            Self::Ne => f64::from(a != b),
            Self::Lt => f64::from(a < b),
            Self::Le => f64::from(a <= b),
            Self::Gt => f64::from(a > b),
            Self::Ge => f64::from(a >= b),
        }
    }
}

impl Rules for BinaryOp {
    fn doc(&self) -> &'static str {
        row(*self).doc
    }

    fn flops(&self, at: At) -> f64 {
        at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        match self {
            // the cotangent passes through, summed if the operand was broadcast
            Self::Add | Self::Sub => at.elements(),
            _ => 2.0 * at.elements(),
        }
    }

    fn differentiable(&self, _: usize) -> bool {
        row(*self).gradient
    }

    fn range(&self, at: At, operands: &[Interval]) -> Interval {
        let ids = at.dag.operands(at.id);
        if *self == Self::Mul && ids[0] == ids[1] {
            return operands[0].powi(2);
        }
        if *self == Self::Sub && ids[0] == ids[1] {
            return Interval::point(0.0);
        }
        (row(*self).range)(operands[0], operands[1])
    }
}

/// `select(c, a, b)`.
pub(super) struct Select;

impl Rules for Select {
    fn doc(&self) -> &'static str {
        "a where c is not 0, else b; no gradient to c"
    }

    fn flops(&self, at: At) -> f64 {
        at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        at.elements()
    }

    fn differentiable(&self, operand: usize) -> bool {
        operand != 0
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        if !x[0].contains(0.0) {
            x[1]
        } else if x[0].is_point() {
            x[2]
        } else {
            x[1].hull(x[2])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_enclose_the_functions() {
        type Function = fn(f64, f64) -> f64;
        let functions: [(BinaryOp, Function); 4] = [
            (BinaryOp::Rem, |a, b| a - b * (a / b).floor()),
            (BinaryOp::Pow, f64::powf),
            (BinaryOp::Lt, |a, b| f64::from(u8::from(a < b))),
            (BinaryOp::Ge, |a, b| f64::from(u8::from(a >= b))),
        ];
        for (op, f) in functions {
            for (a, b) in [((0.5, 2.0), (-1.5, 3.0)), ((0.0, 0.8), (0.5, 2.0)), ((1.0, 9.0), (-2.0, -0.5))] {
                let (x, y) = (Interval::closed(a.0, a.1), Interval::closed(b.0, b.1));
                let range = (row(op).range)(x, y);
                for i in 0..=30 {
                    for j in 0..=30 {
                        let (u, w) = (a.0 + (a.1 - a.0) * f64::from(i) / 30.0, b.0 + (b.1 - b.0) * f64::from(j) / 30.0);
                        let v = f(u, w);
                        if v.is_finite() {
                            assert!(
                                range.lo - 1e-9 <= v && v <= range.hi + 1e-9,
                                "{op:?}({u}, {w}) = {v} not in {range}"
                            );
                        }
                    }
                }
            }
        }
    }
}
