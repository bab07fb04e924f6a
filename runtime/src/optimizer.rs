//! AdamW (arXiv 1711.05101) on the host, for all devices that keep their parameters there as f64.

use crate::session::{AdamW, Metrics};
use archc_compiler::graph::{Graph, ParamKind};

/// One update of the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The settings of AdamW.
    pub rule: AdamW,
    /// The learning rate.
    pub learning_rate: f64,
    /// Number of this update, from 1.
    pub number: u64,
}

impl Step {
    /// Whether parameters may change: objective, gradient norm and learning rate are finite.
    pub fn moves(&self, metrics: &Metrics) -> bool {
        metrics.objective.is_finite() && metrics.gradient_norm.is_finite() && self.learning_rate.is_finite()
    }

    /// Updates all parameters and their moments (`held`: parameters, first and second moments, each by parameter) with their gradients, if
    /// they may change. `round` rounds numbers to the precision in which the session keeps them.
    pub(crate) fn follow(
        &self,
        graph: &Graph,
        loss: f64,
        objective: f64,
        gradients: &[Vec<f64>],
        held: [&mut [Vec<f64>]; 3],
        round: fn(f64) -> f64,
    ) -> Metrics {
        let square = |g: &Vec<f64>| g.iter().map(|x| x * x).sum::<f64>();
        let gradient_norm = gradients.iter().map(square).sum::<f64>().sqrt();
        let metrics = Metrics { loss, objective, gradient_norm };
        if !self.moves(&metrics) {
            return metrics;
        }
        let scale = if gradient_norm > self.rule.clip { self.rule.clip / gradient_norm } else { 1.0 };
        let [params, first, second] = held;
        let moments = first.iter_mut().zip(second);
        for (((param, value), (m, v)), g) in graph.params.iter().zip(params).zip(moments).zip(gradients) {
            self.one(value, [m, v], g, scale, param.kind == ParamKind::Weight, round);
        }
        metrics
    }

    /// Updates one parameter.
    fn one(
        &self,
        value: &mut [f64],
        [first, second]: [&mut Vec<f64>; 2],
        gradient: &[f64],
        scale: f64,
        decays: bool,
        round: fn(f64) -> f64,
    ) {
        let AdamW { beta1, beta2, eps, weight_decay, .. } = self.rule;
        let correct = |beta: f64| 1.0 - beta.powf(self.number as f64);
        let (c1, c2) = (correct(beta1), correct(beta2));
        let shrink = if decays { 1.0 - self.learning_rate * weight_decay } else { 1.0 };
        for ((p, (m, v)), g) in value.iter_mut().zip(first.iter_mut().zip(second)).zip(gradient) {
            let g = g * scale;
            *m = round(beta1 * *m + (1.0 - beta1) * g);
            *v = round(beta2 * *v + (1.0 - beta2) * g * g);
            *p = round(*p * shrink - self.learning_rate * (*m / c1) / ((*v / c2).sqrt() + eps));
        }
    }
}
