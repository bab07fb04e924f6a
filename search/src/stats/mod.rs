//! Small statistics, as pure functions of numbers.
//!
//! Scores of one seed on several tasks are not independent, and two programs on one seed share their
//! batches; so the unit is always the seed, and differences are taken inside a seed.
//!
//! | question | file |
//! |---|---|
//! | is a finalist better than its anchor? | `finals`: a test with three looks, 5 % over finalists and looks |
//! | how much better, within what? | `signs`: the sign-flip test and the interval that goes with it |
//! | how much of the winner's lead was luck? | `shrink`: empirical Bayes |
//! | what do one to three pairs say? | `spread`: deviations by group, moderated towards each other |
//! | how often is nothing called something? | `rates`: type I, false discoveries, rank correlation |

pub mod finals;
pub mod rates;
pub mod shrink;
pub mod signs;
pub mod spread;

pub use signs::{interval, sign_flip};

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean with a 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Number of values behind it.
    pub count: usize,
}

impl Interval {
    /// The interval lies above zero.
    pub fn positive(&self) -> bool {
        self.low > 0.0
    }

    /// The interval lies below zero.
    pub fn negative(&self) -> bool {
        self.high < 0.0
    }
}

/// Arithmetic mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of the sample (n - 1); none below two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let m = mean(values)?;
    (values.len() > 1).then(|| {
        let squares: f64 = values.iter().map(|v| (v - m).powi(2)).sum();
        (squares / (values.len() - 1) as f64).sqrt()
    })
}

/// Upper 97.5 % point of Student's t; without a degree of freedom there is none.
fn student(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

/// Probability that a normal variable of this mean and deviation is positive.
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
