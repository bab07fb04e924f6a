//! Statistics of small samples, as pure functions of numbers.
//!
//! Scores of one seed on several tasks are not independent, and two programs on one seed share their
//! batches; so the unit is always the seed, and differences are paired by seed.
//!
//! | question | file |
//! |---|---|
//! | is a finalist better than its anchor? | `finals`: a sequential test with three looks, 5 % over finalists and looks
//! |
//! | how much better, with which uncertainty? | `signs`: the sign-flip test and the matching confidence interval |
//! | how much of the winner's lead was luck? | `shrink`: empirical Bayes shrinkage |
//! | what do one to three pairs show? | `spread`: standard deviations by group, moderated towards each other |
//! | how often is nothing called something? | `rates`: type-I error rate, false-discovery rate, rank correlation |

pub mod finals;
pub mod rates;
pub mod shrink;
pub mod signs;
pub mod spread;

pub use signs::{interval, sign_flip};

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean with a 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of values.
    pub count: usize,
}

impl Interval {
    /// Whether the interval lies above zero.
    pub fn positive(&self) -> bool {
        self.low > 0.0
    }

    /// Whether the interval lies below zero.
    pub fn negative(&self) -> bool {
        self.high < 0.0
    }
}

/// Arithmetic mean; none without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (n - 1); none below two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let m = mean(values)?;
    (values.len() > 1).then(|| {
        let squares: f64 = values.iter().map(|v| (v - m).powi(2)).sum();
        (squares / (values.len() - 1) as f64).sqrt()
    })
}

/// Upper 97.5 % point of Student's t; without degrees of freedom there is none.
fn student(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

/// Probability that a normal variable of this mean and standard deviation is positive.
pub fn probability_positive(mean: f64, deviation: f64) -> f64 {
    if deviation <= 0.0 {
        return if mean > 0.0 {
            1.0
        } else if mean < 0.0 {
            0.0
        } else {
            0.5
        };
    }
    0.5 * (1.0 + statrs::function::erf::erf(mean / deviation / std::f64::consts::SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_no_deviation() {
        assert_eq!(deviation(&[1.0]), None);
        assert_eq!(deviation(&[1.0, 3.0]), Some(2f64.sqrt()));
    }

    #[test]
    fn the_normal_tail_is_right() {
        assert!((probability_positive(1.959_964, 1.0) - 0.975).abs() < 1e-6);
        assert_eq!(probability_positive(0.0, 0.0), 0.5);
    }
}
