//! Times of training steps, and the format of numbers in the tables.

use super::machine::Pace;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{Batch, Metrics, Session};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Instant;

/// Which time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Clock {
    /// What a watch shows
    Wall,
    /// What the system accounts to this process: on a busy machine, nearly what a quiet one would show
    Cpu,
}

impl Clock {
    /// Seconds since an arbitrary fixed moment.
    pub fn now(self) -> f64 {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        match self {
            #[cfg(unix)]
            Self::Cpu => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
                time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
            }
            _ => BEGAN.elapsed().as_secs_f64(),
        }
    }

    /// Name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
        }
    }

    /// Seconds that a call takes, with its result.
    pub fn time<T>(self, call: impl FnOnce() -> T) -> (T, f64) {
        let at = self.now();
        let value = call();
        (value, self.now() - at)
    }
}

/// Timing of repeated runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median in seconds.
    pub median: f64,
    /// Minimum in seconds.
    pub fastest: f64,
    /// Number of timed runs.
    pub count: usize,
}

impl Timing {
    /// Summarizes times in seconds, at least one.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let (count, middle) = (seconds.len(), seconds.len() / 2);
        let median = if count % 2 == 1 { seconds[middle] } else { (seconds[middle - 1] + seconds[middle]) / 2.0 };
        Self { median, fastest: seconds[0], count }
    }

    /// Timing as JSON.
    pub fn json(&self) -> Value {
        json!({ "median_seconds": self.median, "fastest_seconds": self.fastest, "count": self.count })
    }
}

/// Learning rate of timed trainings: small, so that numbers stay in their usual range.
pub const RATE: f64 = 1e-3;

/// Number of steps before the clock starts, and the minimum number of timed steps.
const WARM: usize = 3;
const FEWEST: usize = 5;

/// Measurements of a session's steps.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Metrics of the first step, computed with the initial parameters.
    pub first: Metrics,
    /// Seconds of the first step, in which a session may compile.
    pub first_seconds: f64,
    /// Timing of the later steps.
    pub timing: Timing,
    /// Median time of a step in units of matrix-product operations: its time multiplied by the machine's rate of matrix products
    /// right before and after it.
    pub worth: f64,
}

/// Times training steps for `seconds` seconds.
///
/// # Errors
/// Errors of the session.
pub fn steps(session: &mut dyn Session, batch: &Batch, seconds: f64, clock: Clock) -> Result<Steps, Diagnostic> {
    let (first, first_seconds) = clock.time(|| session.step(batch, RATE));
    for _ in 1..WARM {
        session.step(batch, RATE)?;
    }
    let mut pace = Pace::new(clock);
    let (mut taken, mut worth, began) = (Vec::new(), Vec::new(), clock.now());
    let mut before = pace.look();
    while taken.len() < FEWEST || clock.now() - began < seconds {
        let (done, seconds) = clock.time(|| session.step(batch, RATE));
        done?;
        let after = pace.look();
        taken.push(seconds);
        worth.push(seconds * (before + after) / 2.0);
        before = after;
    }
    Ok(Steps { first: first?, first_seconds, timing: Timing::of(taken), worth: Timing::of(worth).median })
}

/// Formats a number with three digits: `1.23 M`, `45.6 k`, `789`.
pub fn short(x: f64) -> String {
    let digits = |x: f64| match x {
        x if x >= 99.95 => format!("{x:.0}"),
        x if x >= 9.995 => format!("{x:.1}"),
        x => format!("{x:.2}"),
    };
    match x {
        x if x >= 999_500.0 => format!("{} M", digits(x / 1e6)),
        x if x >= 999.5 => format!("{} k", digits(x / 1e3)),
        x => digits(x),
    }
}

/// Formats a time in a suitable unit.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 0.9995 => format!("{s:.2} s"),
        s if s >= 0.0995 => format!("{:.0} ms", s * 1e3),
        s if s >= 0.00995 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.2} ms", s * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_numbers() {
        assert_eq!(Timing::of(vec![3.0, 1.0, 2.0]), Timing { median: 2.0, fastest: 1.0, count: 3 });
        assert_eq!(Timing::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(
            [0.5, 12.34, 999.6, 45_678.0, 1_234_567.0].map(short),
            ["0.50", "12.3", "1.00 k", "45.7 k", "1.23 M"]
        );
        assert_eq!([0.001_234, 0.0456, 0.5, 2.0].map(time), ["1.23 ms", "45.6 ms", "500 ms", "2.00 s"]);
    }
}
