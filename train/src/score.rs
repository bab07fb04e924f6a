//! Scores from logits.

use crate::fault;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{Batch, Tensor};
use serde::{Deserialize, Serialize};

/// Metric of a task's predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Fraction of the scored tokens whose most likely prediction is right; higher is better.
    Accuracy {
        /// Accuracy of the best guess that ignores the sequence.
        chance: f64,
    },
    /// Mean cross-entropy in bits; lower is better.
    BitsPerByte {
        /// Bits per byte of a guess based on byte frequencies alone.
        chance: f64,
    },
}

impl Metric {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy { .. } => "accuracy",
            Self::BitsPerByte { .. } => "bits per byte",
        }
    }

    /// Value of an uninformed guess.
    pub fn chance(self) -> f64 {
        match self {
            Self::Accuracy { chance } | Self::BitsPerByte { chance } => chance,
        }
    }

    /// Loss of an uninformed guess, in nats: a uniform guess over 1 / chance answers, or a guess by byte frequencies.
    pub fn uninformed(self) -> f64 {
        match self {
            Self::Accuracy { chance } => -chance.ln(),
            Self::BitsPerByte { chance } => chance * std::f64::consts::LN_2,
        }
    }

    /// Formats a value with its name and the value of an uninformed guess.
    pub fn show(self, value: f64) -> String {
        format!("{} {value:.4} (chance {:.4})", self.name(), self.chance())
    }

    /// Normalises a value to a score: 0 at chance or worse (or not a number), 1 when perfect, linear between.
    pub fn normalise(self, value: f64) -> f64 {
        let score = match self {
            Self::Accuracy { chance } => (value - chance) / (1.0 - chance),
            Self::BitsPerByte { chance } => 1.0 - value / chance,
        };
        if score.is_nan() { 0.0 } else { score.clamp(0.0, 1.0) }
    }
}

/// Score of a program on some batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Normalised score: 0 at chance, 1 when perfect.
    pub score: f64,
    /// Value in the task's own metric.
    #[serde(with = "crate::score::number")]
    pub value: f64,
    /// Mean cross-entropy of the scored tokens, in nats.
    #[serde(with = "crate::score::number")]
    pub loss: f64,
    /// Number of scored tokens.
    pub scored: u64,
}

/// Accumulated sums over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    scored: u64,
    right: u64,
    nats: f64,
}

impl Tally {
    /// Adds a batch and its logits [B, T, VOCAB].
    ///
    /// # Errors
    /// E0916 when the logits have another shape.
    pub fn add(&mut self, batch: &Batch, logits: &Tensor, vocab: usize) -> Result<(), Diagnostic> {
        let wanted = [batch.batch, batch.len, vocab];
        if logits.shape != wanted || logits.data.len() != wanted.iter().product::<usize>() {
            return Err(fault::wrong_logits(&logits.shape, wanted));
        }
        for (token, row) in logits.data.chunks_exact(vocab).enumerate() {
            if batch.mask.get(token).is_some_and(|&m| m == 0.0) {
                continue;
            }
            let target = batch.targets[token] as usize;
            // Ties go to the lowest index, as in most frameworks; a NaN is never the maximum.
            let mut best = 0;
            for (i, &logit) in row.iter().enumerate() {
                if logit > row[best] || (row[best].is_nan() && !logit.is_nan()) {
                    best = i;
                }
            }
            let top = row[best];
            let log_sum = row.iter().map(|&logit| (logit - top).exp()).sum::<f64>().ln() + top;
            self.scored += 1;
            self.right += u64::from(best == target && top.is_finite());
            self.nats += log_sum - row[target];
        }
        Ok(())
    }

    /// Score of all batches so far.
    pub fn score(&self, metric: Metric) -> Score {
        let scored = self.scored.max(1) as f64;
        let loss = self.nats / scored;
        let value = match metric {
            Metric::Accuracy { .. } => self.right as f64 / scored,
            Metric::BitsPerByte { .. } => loss / std::f64::consts::LN_2,
        };
        Score { score: metric.normalise(value), value, loss, scored: self.scored }
    }
}

/// Serialization of numbers: JSON has no NaN and no infinity; both are written as null and read as NaN.
pub(crate) mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_none() }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(targets: &[u32], mask: &[f32]) -> Batch {
        Batch { batch: 1, len: targets.len(), targets: targets.to_vec(), mask: mask.to_vec(), ..Batch::default() }
    }

    fn tensor(shape: &[usize], data: &[f64]) -> Tensor {
        Tensor { shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn masked_tokens_do_not_count() {
        let mut tally = Tally::default();
        let logits = tensor(&[1, 3, 2], &[0.0, 1.0, 5.0, 0.0, f64::NAN, 0.0]);
        tally.add(&batch(&[1, 1, 0], &[1.0, 1.0, 0.0]), &logits, 2).unwrap();
        let score = tally.score(Metric::Accuracy { chance: 0.5 });
        assert_eq!((score.value, score.score, score.scored), (0.5, 0.0, 2));
        let loss = ((1.0 + (-1f64).exp()).ln() + (1.0 + 5f64.exp()).ln()) / 2.0;
        assert!((score.loss - loss).abs() < 1e-12);
    }

    #[test]
    fn equal_logits_cost_the_entropy() {
        let mut tally = Tally::default();
        tally.add(&batch(&[3, 200], &[]), &tensor(&[1, 2, 256], &[0.0; 512]), 256).unwrap();
        let score = tally.score(Metric::BitsPerByte { chance: 8.0 });
        assert!((score.value - 8.0).abs() < 1e-12 && score.score < 1e-12);
    }

    #[test]
    fn nan_is_wrong_and_scores_nothing() {
        let mut tally = Tally::default();
        tally.add(&batch(&[0], &[]), &tensor(&[1, 1, 2], &[f64::NAN; 2]), 2).unwrap();
        assert_eq!(tally.score(Metric::Accuracy { chance: 0.5 }).value, 0.0);
        let score = tally.score(Metric::BitsPerByte { chance: 4.0 });
        assert!(score.loss.is_nan() && score.score == 0.0);
        let json = serde_json::to_string(&score).unwrap();
        assert!(serde_json::from_str::<Score>(&json).unwrap().loss.is_nan());
    }

    #[test]
    fn other_shapes_are_a_bug() {
        let error = Tally::default().add(&batch(&[0], &[]), &tensor(&[1, 2], &[0.0; 2]), 2).unwrap_err();
        assert_eq!(error.code, "E0916");
    }
}
