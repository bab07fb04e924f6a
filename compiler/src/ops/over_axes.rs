//! Ops over named axes: reductions, contractions, softmax and similar ops.

use super::{At, Interval, Rules};
use crate::graph::Op;

/// Reductions over named axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceOp {
    /// sum
    Sum,
    /// arithmetic mean
    Mean,
    /// largest; ties share the gradient equally
    Max,
    /// smallest; ties share the gradient equally
    Min,
    /// variance: of the population, or with `sample` divided by n - 1
    Var {
        /// Divide by n - 1.
        sample: bool,
    },
    /// square root of the variance; gradient 0 where it is 0
    Std {
        /// Divide by n - 1.
        sample: bool,
    },
    /// L2 norm; gradient 0 at 0
    Norm,
    /// log of the sum of exponentials
    LogSumExp,
    /// median; of an even count the mean of the middle two, which share the gradient equally. Equal entries are ordered by index
    Median,
}

/// Properties of a reduction.
pub struct Row {
    /// Name in printed graphs.
    pub name: &'static str,
    /// Name in hashes, distinct from all element-wise functions.
    pub tag: &'static str,
    /// Signature in the language, if it has a name of its own there.
    pub signature: Option<&'static str>,
    /// Its meaning, in a line.
    pub doc: &'static str,
    /// FLOPs per element of the operand, by the number of elements that are reduced to one.
    pub flops: fn(f64) -> f64,
    /// Result of reducing a single entry.
    pub of_one: OfOne,
    /// Range of the result, from the operand's range and the number of elements that are reduced to one.
    range: fn(Interval, f64) -> Interval,
}

/// Result of reducing a single entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfOne {
    /// The entry.
    Itself,
    /// Its absolute value.
    Size,
    /// 0
    Zero,
}

impl ReduceOp {
    /// Reductions with a name of their own in the language, in the order of its reference.
    pub const CALLED: &[Self] = &[
        Self::Sum,
        Self::Mean,
        Self::Var { sample: false },
        Self::Std { sample: false },
        Self::Norm,
        Self::LogSumExp,
        Self::Median,
    ];

    /// All that is known of it.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub fn row(self) -> Row {
        use OfOne::{Itself, Size, Zero};
        match self {
            Self::Sum => Row {
                name: "sum",
                tag: "reduce_sum",
                signature: Some("sum[A](x)"),
                doc: "the sum along A; of a product, a contraction: sum[K](k * S)",
                flops: |_| 1.0,
                of_one: Itself,
                range: Interval::sum_of,
            },
            Self::Mean => Row {
                name: "mean",
                tag: "reduce_mean",
                signature: Some("mean[A](x)"),
                doc: "the mean along A",
                flops: |_| 1.0,
                of_one: Itself,
                range: |x, _| x,
            },
            Self::Max => Row {
                name: "max",
                tag: "reduce_max",
                signature: None,
                doc: "the largest along A; ties share the gradient equally",
                flops: |_| 1.0,
                of_one: Itself,
                range: |x, _| x,
            },
            Self::Min => Row {
                name: "min",
                tag: "reduce_min",
                signature: None,
                doc: "the smallest along A; ties share the gradient equally",
                flops: |_| 1.0,
                of_one: Itself,
                range: |x, _| x,
            },
            Self::Var { sample } => Row {
                name: if sample { "var_sample" } else { "var" },
                tag: if sample { "var_sample" } else { "var" },
                signature: Some("var[A](x, sample = 0)"),
                doc: "the variance along A; with sample = 1 divided by n - 1",
                flops: |_| 4.0,
                of_one: Zero,
                range: if sample { |x, n| variance(x, n / (n - 1.0).max(1.0)) } else { |x, _| variance(x, 1.0) },
            },
            Self::Std { sample } => Row {
                name: if sample { "std_sample" } else { "std" },
                tag: if sample { "std_sample" } else { "std" },
                signature: Some("std[A](x, sample = 0)"),
                doc: "the root of the variance; gradient 0 at 0",
                flops: |_| 4.0,
                of_one: Zero,
                range: if sample {
                    |x, n| root(variance(x, n / (n - 1.0).max(1.0)))
                } else {
                    |x, _| root(variance(x, 1.0))
                },
            },
            Self::Norm => Row {
                name: "norm",
                tag: "norm",
                signature: Some("norm[A](x)"),
                doc: "the root of the sum of squares along A; gradient 0 at 0",
                flops: |_| 2.0,
                of_one: Size,
                range: |x, n| {
                    let x = x.abs();
                    Interval { lo: x.lo * n.sqrt(), hi: x.hi * n.sqrt(), ..x }
                },
            },
            Self::LogSumExp => Row {
                name: "logsumexp",
                tag: "logsumexp",
                signature: Some("logsumexp[A](x)"),
                doc: "the logarithm of the sum of exponentials along A",
                flops: |_| 4.0,
                of_one: Itself,
                range: |x, n| x + Interval::point(n.ln()),
            },
            Self::Median => Row {
                name: "median",
                tag: "median",
                signature: Some("median[A](x)"),
                doc: "the median along A; of an even count the mean of the middle two, which share the gradient equally",
                flops: |n| n.log2().max(1.0),
                of_one: Itself,
                range: |x, _| x,
            },
        }
    }
}

/// Range of a variance: at most a quarter of the width squared (Popoviciu).
fn variance(x: Interval, factor: f64) -> Interval {
    Interval::closed(0.0, factor * (x.hi - x.lo).powi(2) / 4.0)
}

fn root(x: Interval) -> Interval {
    Interval::closed(0.0, x.hi.sqrt())
}

impl Rules for ReduceOp {
    fn doc(&self) -> &'static str {
        self.row().doc
    }

    fn flops(&self, at: At) -> f64 {
        (self.row().flops)(at.operand_elements(0) / at.elements()) * at.operand_elements(0)
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        let per_element = if matches!(self, Self::Sum | Self::Mean) { 1.0 } else { 2.0 };
        per_element * at.operand_elements(0)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn range(&self, at: At, x: &[Interval]) -> Interval {
        (self.row().range)(x[0], at.operand_elements(0) / at.elements())
    }
}

/// Sum of a product over axes.
pub(super) struct Contract;

impl Contract {
    /// Number of elements of the product, which is never built.
    fn products(at: At) -> f64 {
        let mut axes = at.operand(0).axes.clone();
        axes.extend(at.operand(1).axes.iter().filter(|a| !at.operand(0).axes.contains(a)));
        at.numbers(&axes)
    }
}

impl Rules for Contract {
    fn doc(&self) -> &'static str {
        "sum over the axes of a b"
    }

    fn flops(&self, at: At) -> f64 {
        2.0 * Self::products(at)
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        2.0 * Self::products(at)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn range(&self, at: At, x: &[Interval]) -> Interval {
        let ids = at.dag.operands(at.id);
        let product = if ids[0] == ids[1] { x[0].powi(2) } else { x[0] * x[1] };
        product.sum_of(Self::products(at) / at.elements())
    }
}

/// An op from an axis to the same axis; FLOPs per element as a function of the axis' length.
macro_rules! along {
    ($name:ident, $doc:literal, $flops:expr, $gradient:expr, $range:expr) => {
        #[doc = $doc]
        pub(super) struct $name;

        impl Rules for $name {
            fn doc(&self) -> &'static str {
                $doc
            }

            fn flops(&self, at: At) -> f64 {
                let per_element: fn(f64) -> f64 = $flops;
                per_element(length(at)) * at.elements()
            }

            fn gradient_flops(&self, at: At, _: usize) -> f64 {
                $gradient * at.elements()
            }

            fn differentiable(&self, _: usize) -> bool {
                true
            }

            fn range(&self, at: At, x: &[Interval]) -> Interval {
                let range: fn(At, Interval) -> Interval = $range;
                range(at, x[0])
            }
        }
    };
}

/// Length of the axes that the op runs along.
fn length(at: At) -> f64 {
    match at.op() {
        Op::Softmax(axes) => at.numbers(axes),
        Op::Sparsemax(a) | Op::Cumsum(a) | Op::Sort(a) | Op::TopK(a, _) => at.numbers(&[*a]),
        _ => 1.0,
    }
}

along!(Softmax, "exp(x) / sum exp(x)", |_| 4.0, 4.0, |at, x| {
    // the smallest share: this logit lowest, all others highest
    let n = length(at);
    if n == 1.0 {
        return Interval::point(1.0);
    }
    let spread = x.hi - x.lo;
    if spread.is_finite() {
        Interval::closed(1.0 / (1.0 + (n - 1.0) * spread.exp()), 1.0 / (1.0 + (n - 1.0) * (-spread).exp()))
    } else {
        Interval::open(0.0, 1.0)
    }
});
along!(Sparsemax, "projection onto the simplex", |n| 2.0 + n.log2(), 2.0, |_, _| Interval::UNIT);
along!(Cumsum, "running sum along the axis", |_| 1.0, 1.0, |at, x| x.hull(x.sum_of(length(at))));
along!(Sort, "descending", |n| n.log2().max(1.0), 1.0, |_, x| x);
along!(TopK, "x among the n largest, else 0; the mask has no gradient", |n| n.log2().max(1.0), 1.0, |_, x| x
    .with_zero());
