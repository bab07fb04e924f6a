//! AdamW on the host: one rule for all devices that keep their parameters there.

use crate::session::AdamW;

/// The state of one parameter under AdamW (arXiv 1711.05101).
pub(crate) struct Slot<'a> {
    /// The parameter.
    pub value: &'a mut [f64],
    /// Running mean of the gradient.
    pub first: &'a mut [f64],
    /// Running mean of its square.
    pub second: &'a mut [f64],
    /// Whether it decays.
    pub decays: bool,
}

/// What one update needs to know beside the gradients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub rule: AdamW,
    pub learning_rate: f64,
    /// Number of this update, from 1.
    pub number: u64,
    /// Factor on the gradients that keeps their global norm under `rule.clip`.
    pub scale: f64,
}

impl Update {
    /// The factor that clips gradients of this global norm.
    pub fn clipping(rule: &AdamW, norm: f64) -> f64 {
        if norm > rule.clip { rule.clip / norm } else { 1.0 }
    }

    /// Moves one parameter; `round` brings numbers to the precision in which the session keeps them.
    pub fn apply(&self, slot: Slot<'_>, gradient: &[f64], round: fn(f64) -> f64) {
        let AdamW { beta1, beta2, eps, weight_decay, .. } = self.rule;
        let correct = |beta: f64| 1.0 - beta.powf(self.number as f64);
        let (c1, c2) = (correct(beta1), correct(beta2));
        let shrink = if slot.decays { 1.0 - self.learning_rate * weight_decay } else { 1.0 };
        let moments = slot.first.iter_mut().zip(slot.second);
        for ((p, (m, v)), g) in slot.value.iter_mut().zip(moments).zip(gradient) {
            let g = g * self.scale;
            *m = round(beta1 * *m + (1.0 - beta1) * g);
            *v = round(beta2 * *v + (1.0 - beta2) * g * g);
            *p = round(*p * shrink - self.learning_rate * (*m / c1) / ((*v / c2).sqrt() + eps));
        }
    }
}
