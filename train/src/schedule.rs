//! Learning-rate schedule: linear warm-up, then half a cosine down to a fraction of the peak.

use serde::{Deserialize, Serialize};

/// Learning-rate schedule over steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Peak learning rate, reached at the end of the warm-up.
    pub peak: f64,
    /// Number of warm-up steps.
    pub warmup: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Learning rate of the last step, as a fraction of the peak.
    pub floor: f64,
}

impl Schedule {
    /// Learning rate of a step, counted from 0. Past the end it stays at the floor.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            // The warm-up starts at peak / warmup: a first step at rate 0 would be wasted.
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        // The cosine starts where the warm-up has reached the peak, and ends with the last step.
        let span = self.steps.saturating_sub(self.warmup + 1).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_falls() {
        let schedule = Schedule { peak: 0.01, warmup: 10, steps: 110, floor: 0.1 };
        assert_eq!(schedule.rate(0), 0.001);
        assert_eq!(schedule.rate(9), 0.01);
        assert_eq!(schedule.rate(10), 0.01);
        let rates: Vec<f64> = (10..110).map(|step| schedule.rate(step)).collect();
        assert!(rates.windows(2).all(|w| w[1] < w[0]));
        assert!((schedule.rate(109) - 0.001).abs() < 1e-15); // the cosine of pi is -1 up to rounding
        assert_eq!(schedule.rate(109), schedule.rate(1000));
    }

    #[test]
    fn no_warm_up_and_one_step() {
        let schedule = Schedule { peak: 1.0, warmup: 0, steps: 1, floor: 0.0 };
        assert_eq!(schedule.rate(0), 1.0);
    }
}
