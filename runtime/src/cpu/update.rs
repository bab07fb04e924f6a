//! The end of a training step: the norm of all gradients, and AdamW updates.

use super::memory::{Bases, Slot};
use archc_compiler::plan::{AdamW, Norm};
use archc_kernels::optimizer::{Rule, adamw, sum_squares};

/// The joint L2 norm of several gradients.
#[derive(Clone, Debug)]
pub(super) struct NormStep {
    gradients: Vec<(Slot, usize)>,
    norm: Slot,
}

impl NormStep {
    pub fn new(norm: &Norm) -> Self {
        let gradients = norm.gradients.iter().map(|v| (Slot::of(v), v.len())).collect();
        Self { gradients, norm: Slot::of(&norm.norm) }
    }

    /// Computes the norm.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases) {
        // SAFETY: the plan's views lie inside of their buffers, and are contiguous
        unsafe {
            let square = |(slot, len): &(Slot, usize)| sum_squares(std::slice::from_raw_parts(bases.at(*slot), *len));
            *bases.at(self.norm).cast::<f64>() = self.gradients.iter().map(square).sum::<f64>().sqrt();
        }
    }
}

/// The AdamW update of a parameter.
#[derive(Clone, Debug)]
pub(super) struct AdamWStep {
    len: usize,
    decays: bool,
    /// Parameter, first and second moment, gradient.
    own: [Slot; 4],
    rule: Slot,
    objective: Slot,
    norm: Slot,
}

impl AdamWStep {
    pub fn new(kernel: &AdamW) -> Self {
        Self {
            len: kernel.param.len(),
            decays: kernel.decays,
            own: [&kernel.param, &kernel.first, &kernel.second, &kernel.gradient].map(Slot::of),
            rule: Slot::of(&kernel.rule),
            objective: Slot::of(&kernel.objective),
            norm: Slot::of(&kernel.norm),
        }
    }

    /// Runs the update, if objective, norm and learning rate are finite.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases) {
        // SAFETY: the plan's views lie inside of their buffers; parameter, moments and gradient are contiguous and do not overlap
        unsafe {
            let rule = *bases.at(self.rule).cast::<Rule>();
            let (objective, norm) = (f64::from(*bases.at(self.objective)), *bases.at(self.norm).cast::<f64>());
            if let Some(update) = rule.update(objective, norm, self.decays) {
                let [p, m, v, g] = self.own.map(|slot| bases.at(slot));
                adamw(update, self.len, p, m, v, g);
            }
        }
    }
}
