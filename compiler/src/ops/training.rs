//! Ops used in training only.

use super::{At, Interval, Rules, Storage};

/// Random zeros.
pub(super) struct Dropout;

impl Rules for Dropout {
    fn doc(&self) -> &'static str {
        "x / (1 - p), or 0 with probability p; the identity in evaluation"
    }

    fn flops(&self, at: At) -> f64 {
        2.0 * at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        at.elements()
    }

    fn differentiable(&self, operand: usize) -> bool {
        operand == 0
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        let keep = (Interval::point(1.0) - x.get(1).copied().unwrap_or(Interval::UNIT)).meet(Interval::UNIT);
        x[0].with_zero().hull(x[0] / keep)
    }
}

/// The identity, without a gradient.
pub(super) struct StopGrad;

impl Rules for StopGrad {
    fn doc(&self) -> &'static str {
        "x, without a gradient"
    }

    fn flops(&self, _: At) -> f64 {
        0.0
    }

    fn gradient_flops(&self, _: At, _: usize) -> f64 {
        0.0
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn storage(&self) -> Storage {
        Storage::View
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        x[0]
    }
}

/// A number that changes with the training step.
pub(super) struct Anneal;

impl Rules for Anneal {
    fn doc(&self) -> &'static str {
        "a, then a move of some steps, then b"
    }

    fn flops(&self, at: At) -> f64 {
        4.0 * at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        2.0 * at.elements()
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        x[0].hull(x[1])
    }
}

/// Mean over the tokens of a batch.
pub(super) struct TokenMean;

impl Rules for TokenMean {
    fn doc(&self) -> &'static str {
        "mean over the unmasked tokens of the batch"
    }

    fn flops(&self, at: At) -> f64 {
        at.elements()
    }

    fn gradient_flops(&self, at: At, _: usize) -> f64 {
        at.elements()
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        x[0]
    }
}
