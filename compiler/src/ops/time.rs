//! The time operators.
//!
//! A scan or attend node does nothing by itself: its body is evaluated once for each token or pair, and
//! the analyses visit it. The additional cost of an attend is stated in [`attend_flops_per_pair`].

use super::{At, Interval, Rules, Storage};
use crate::graph::{AxisId, Graph, Weighing};

/// x at several lags.
pub(super) struct Window;

impl Rules for Window {
    fn doc(&self) -> &'static str {
        "x at lags 0, step, 2 step, ..., zero before the document's start"
    }

    fn flops(&self, _: At) -> f64 {
        0.0
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        at.elements()
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn storage(&self) -> Storage {
        Storage::View
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        x[0].with_zero()
    }
}

macro_rules! memory {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) struct $name;

        impl Rules for $name {
            fn doc(&self) -> &'static str {
                $doc
            }

            fn flops(&self, _: At) -> f64 {
                0.0
            }

            fn gradient_flops(&self, _: At, _: usize) -> f64 {
                0.0
            }

            fn differentiable(&self, _: usize) -> bool {
                true
            }

            fn storage(&self) -> Storage {
                Storage::Free
            }

            fn range(&self, _: At, x: &[Interval]) -> Interval {
                x.first().copied().unwrap_or(Interval::ALL)
            }
        }
    };
}

memory!(Scan, "recurrent memory: its body runs once a token");
memory!(Attend, "pairwise memory: its body runs once a visible pair of tokens");
memory!(Emit, "a value that a scan or attend gives out");

/// FLOPs for each visible pair that an attend needs in addition to its body: 4 for each score (a softmax), and a
/// multiply-add for each product of a weight and an emitted element.
pub fn attend_flops_per_pair(graph: &Graph, attend: &crate::graph::Attend) -> f64 {
    let numbers = |axes: &[AxisId]| axes.iter().map(|a| graph.size(*a) as f64).product::<f64>();
    let (weight, softmax) = match attend.weighing {
        Weighing::Score(n) => (n, 4.0),
        Weighing::Weight(n) => (n, 0.0),
    };
    let weight_axes = &attend.body.ty(weight).axes;
    let reads: f64 = attend
        .emits
        .iter()
        .map(|(_, e)| {
            let mut axes = attend.body.ty(*e).axes.clone();
            axes.extend(weight_axes.iter().filter(|a| !attend.body.ty(*e).axes.contains(a)));
            2.0 * numbers(&axes)
        })
        .sum();
    softmax * numbers(weight_axes) + reads
}
