//! Boundedness of a scan's state: a norm bound for the linear part of each state's update.
//!
//! The update is read as S <- A S + (terms that do not depend on S), and |A| is bounded by parts:
//! - element-wise decay: |A| <= the largest |a|, by the range analysis;
//! - a rank-one step `a * Y + b * k * sum[K](k * Y)` with the same k twice: A = a + b k k^T, symmetric, whose
//!   eigenvalues lie in a + b |k|^2 [0, 1]; so a delta rule with normalised keys and beta in [0, 2] is a
//!   contraction, and so is `a * S - beta * k * sum[K](k * S)` with a and beta in [0, 1];
//! - steps one after the other: the product of their bounds (gated delta rules, DeltaProduct).
//!
//! Where erase and write directions differ (RWKV-7, Comba with its own read key) the norm may exceed 1
//! though the eigenvalues do not: no verdict. Non-linear updates are bounded by their range or not at all.
//!
//! A pair of states that rotates by an angle (`rotation`) has the norm of its common decay.

mod rotation;
mod transition;

#[cfg(test)]
mod tests;

use super::ranges::Ranges;
use crate::diag::Diagnostic;
use crate::graph::Op;
use crate::ops::Interval;
use crate::source::Place;
use serde::Serialize;
use std::fmt;
use transition::Transition;

/// Known bound on the growth of a state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Growth {
    /// |A| <= 1: the state decays, or at least is not amplified.
    Contraction,
    /// A is the identity: summands stay; the state grows at most linearly with T.
    Adds,
    /// Every value is between these two.
    Bounded(f64, f64),
    /// The new value does not depend on the old one.
    Replaced,
    /// |A| may exceed 1, at most by this factor per token (infinite: no bound).
    MayGrow(f64),
    /// No bound is known, and no warning is due: the update is not linear in the state, or its norm is not informative.
    Unknown,
}

/// Verdict on one state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateBound {
    /// Name of the state.
    pub state: String,
    /// Bound on its growth.
    pub growth: Growth,
    /// Reason, in a few words.
    pub why: String,
}

impl fmt::Display for StateBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.state)?;
        match self.growth {
            Growth::Contraction => write!(f, "contraction, |A| <= 1")?,
            Growth::Adds => write!(f, "|A| = 1, grows at most linearly")?,
            Growth::Bounded(lo, hi) => write!(f, "bounded, in {}", Interval::closed(lo, hi))?,
            Growth::Replaced => write!(f, "replaced at every token")?,
            Growth::MayGrow(norm) if norm.is_finite() => write!(f, "may grow, |A| <= {norm:.3}")?,
            Growth::MayGrow(_) => write!(f, "may grow, |A| is unbounded")?,
            Growth::Unknown => write!(f, "no bound known")?,
        }
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// Verdicts on all states, in order, and W0706, W0707, W0708 for those that may grow.
pub fn check_scans(ranges: &Ranges) -> (Vec<StateBound>, Vec<Diagnostic>) {
    let (mut bounds, mut found) = (Vec::new(), Vec::new());
    for (vertex, v) in ranges.flow.vertices.iter().enumerate() {
        let Op::Scan(scan) = v.op() else { continue };
        for (i, state) in scan.states.iter().enumerate() {
            let transition = Transition::new(ranges, vertex, scan, i);
            let next = ranges.flow.inner(vertex, scan.next[i]);
            let (growth, why, reason) = transition.verdict(ranges.values.of[next]);
            if let (Growth::MayGrow(_), Some(reason)) = (&growth, reason) {
                let place = scan.body.node(scan.next[i]).place;
                found.push(reason.diagnostic(&state.name, place));
            }
            bounds.push(StateBound { state: state.name.clone(), growth, why });
        }
    }
    (bounds, found)
}

/// Reason why a state may grow.
enum Reason {
    Decay(Interval),
    Keys(f64),
    Step(Interval),
}

impl Reason {
    fn diagnostic(&self, state: &str, place: Place) -> Diagnostic {
        let (code, why, help) = match self {
            Self::Decay(range) => (
                "W0706",
                format!("its decay lies in {range}"),
                "keep the decay in [0, 1]: `sigmoid(x)`, `exp(-softplus(x))`, or a constant below 1",
            ),
            Self::Keys(norm) => (
                "W0707",
                if norm.is_finite() {
                    format!("the norm of its key is only known to be at most {norm:.3}")
                } else {
                    "its keys are not normalised".into()
                },
                "normalise the key: `k |> l2norm[K]`",
            ),
            Self::Step(range) => (
                "W0708",
                format!("the factor of its rank-one step lies in {range}, and is a contraction in [-2, 0] only"),
                "use a step size in [0, 2] and subtract what was read: `beta * k * (v - sum[K](k * S))` with `beta = sigmoid(..)`",
            ),
        };
        Diagnostic::warning(code, format!("the state `{state}` may grow from token to token: {why}"))
            .at(place, format!("the next value of `{state}`"))
            .help(help)
    }
}
