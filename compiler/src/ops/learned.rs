//! Learned contractions and tables.

use super::{At, Interval, Rules};
use crate::graph::Linear;

impl Linear {
    /// Multiply-adds of input i: each of its elements is multiplied for every output and for every weight set that it lacks.
    fn products(&self, at: At, input: usize) -> f64 {
        let axes = &at.operand(input).axes;
        let missing: Vec<_> = self.per.iter().copied().filter(|a| !axes.contains(a)).collect();
        at.operand_elements(input) * at.numbers(&self.out) * at.numbers(&missing)
    }
}

impl Rules for Linear {
    fn doc(&self) -> &'static str {
        "sum over the inputs of x w, plus the bias"
    }

    fn flops(&self, at: At) -> f64 {
        let inputs = self.contracted.len();
        let products: f64 = (0..inputs).map(|i| 2.0 * self.products(at, i)).sum();
        products + (inputs - 1 + usize::from(self.bias)) as f64 * at.elements()
    }

    fn gradient_flops(&self, at: At, operand: usize) -> f64 {
        let inputs = self.contracted.len();
        if operand < 2 * inputs { 2.0 * self.products(at, operand % inputs) } else { at.elements() }
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    fn range(&self, _: At, _: &[Interval]) -> Interval {
        Interval::ALL
    }
}

/// Rows of a table at the tokens.
pub(super) struct Embed;

impl Rules for Embed {
    fn doc(&self) -> &'static str {
        "the rows of the table at the tokens"
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

    fn range(&self, _: At, _: &[Interval]) -> Interval {
        Interval::ALL
    }
}
