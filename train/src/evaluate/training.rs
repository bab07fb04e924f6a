//! One task of an evaluation: trainings at every rate, observed step by step.

use super::{Clock, CurvePoint, Failure, Flow, Job, Moment, Status, TaskReport};
use crate::fault;
use crate::score::Score;
use crate::task::Part;
use crate::tier::{Measure, TaskRun};
use crate::trainer::{Observer, Outcome, Record, Trainer};
use archc_compiler::diag::Diagnostic;
use archc_runtime::Device;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of points of a reported curve.
const CURVE_POINTS: usize = 32;

/// Training results other than the score.
pub(super) struct Told {
    pub(super) tokens: u64,
    pub(super) learning_rate: f64,
    pub(super) mean_loss: f64,
    pub(super) curve: Vec<CurvePoint>,
}

impl Default for Told {
    fn default() -> Self {
        Self { tokens: 0, learning_rate: 0.0, mean_loss: f64::NAN, curve: Vec::new() }
    }
}

/// Trains at every rate and keeps the one with the best validation result; or, with `job.first`, stops at the first
/// rate without divergence.
pub(super) fn train(
    device: &dyn Device,
    job: &Job<'_>,
    deadline: Option<(Clock, Duration)>,
    watch: &mut dyn FnMut(&Moment<'_>) -> Flow,
) -> Result<TaskReport, Failure> {
    let run = job.run;
    let mut best: Option<(f64, TaskReport)> = None;
    let mut diverged = None;
    for &rate in &job.rates {
        if job.first && best.is_some() {
            break;
        }
        let config = job.config(rate);
        let learning_rate = config.learning_rate;
        let mut trainer = Trainer::new(device, &job.graph, Arc::clone(&job.task), config)?;
        let mut watcher = Watcher::new(run, watch, deadline, job.uninformed());
        match trainer.run(run.steps, &mut watcher)? {
            Outcome::Diverged { since, loss, finite, .. } => {
                diverged = Some(if finite { fault::far_above(since, loss) } else { fault::not_finite(since) });
                continue;
            }
            Outcome::Stopped if watcher.late => {
                let diagnostics = vec![fault::out_of_time(&run.name, trainer.step())];
                return Err(Failure { status: Status::Timeout, diagnostics });
            }
            Outcome::Stopped if watcher.flow == Flow::Cancel => {
                return Err(Failure { status: Status::Retry, diagnostics: Vec::new() });
            }
            Outcome::Stopped | Outcome::Finished => {}
        }
        let told = watcher.told(learning_rate);
        // The trainer validates after the last step of a training.
        let pick = match watcher.validation {
            Some(score) => score,
            None => trainer.measure(Part::Validation, run.score_batches)?,
        };
        let measured = |final_loss| match run.measure {
            Measure::Curve => told.mean_loss,
            Measure::Final => final_loss,
            Measure::Both => (told.mean_loss + f64::min(final_loss, job.uninformed())) / 2.0,
        };
        if !pick.loss.is_finite() {
            diverged = Some(fault::score_not_finite(Part::Validation, trainer.step(), pick.loss));
            continue;
        }
        let reached = measured(pick.loss);
        if best.as_ref().is_none_or(|(other, _)| reached < *other) {
            let score =
                if job.part == Part::Validation { pick } else { trainer.measure(job.part, run.score_batches)? };
            if !score.loss.is_finite() {
                diverged = Some(fault::score_not_finite(job.part, trainer.step(), score.loss));
                continue;
            }
            best = Some((reached, job.report(score, measured(score.loss), told)));
        }
    }
    match best {
        Some((_, report)) => Ok(report),
        None => Err(Failure { status: Status::Diverged, diagnostics: diverged.into_iter().collect() }),
    }
}

/// Passes steps on to the caller's callback.
struct Watcher<'a> {
    run: &'a TaskRun,
    watch: &'a mut dyn FnMut(&Moment<'_>) -> Flow,
    deadline: Option<(Clock, Duration)>,
    flow: Flow,
    late: bool,
    curve: Vec<CurvePoint>,
    /// Cap on the loss of a step, in nats.
    most: f64,
    /// Sum of the capped losses of all steps so far, in nats.
    sum: f64,
    validation: Option<Score>,
}

impl<'a> Watcher<'a> {
    fn new(
        run: &'a TaskRun,
        watch: &'a mut dyn FnMut(&Moment<'_>) -> Flow,
        deadline: Option<(Clock, Duration)>,
        most: f64,
    ) -> Self {
        let (flow, late, curve, sum, validation) = (Flow::Continue, false, Vec::new(), 0.0, None);
        Self { run, watch, deadline, flow, late, curve, most, sum, validation }
    }

    fn told(&self, learning_rate: f64) -> Told {
        Told {
            tokens: self.curve.last().map_or(0, |point| point.tokens),
            learning_rate,
            mean_loss: self.sum / self.curve.len() as f64,
            curve: thin(&self.curve),
        }
    }
}

impl Observer for Watcher<'_> {
    fn proceed(&mut self, _: u64) -> bool {
        self.late = self.deadline.is_some_and(|(clock, deadline)| clock.now() >= deadline);
        !self.late && self.flow == Flow::Continue
    }

    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        self.curve.push(CurvePoint { tokens: record.tokens, loss: record.loss });
        // A step without a finite loss has learned nothing.
        self.sum += if record.loss.is_finite() { record.loss.min(self.most) } else { self.most };
        self.validation = record.validation;
        let mean_loss = self.sum / self.curve.len() as f64;
        let moment =
            Moment { task: &self.run.name, step: record.step, steps: self.run.steps, loss: record.loss, mean_loss };
        self.flow = (self.watch)(&moment);
        Ok(())
    }
}

/// Reduces a curve to at most [`CURVE_POINTS`] points, each the mean of the points it replaces.
fn thin(curve: &[CurvePoint]) -> Vec<CurvePoint> {
    let size = curve.len().div_ceil(CURVE_POINTS).max(1);
    curve
        .chunks(size)
        .map(|chunk| CurvePoint {
            tokens: chunk[chunk.len() - 1].tokens,
            loss: chunk.iter().map(|point| point.loss).sum::<f64>() / chunk.len() as f64,
        })
        .collect()
}
