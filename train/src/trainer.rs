//! The optimizer loop.
//!
//! Step i trains on batch i of the training part at the schedule's rate for i, and depends on nothing else; so a
//! trainer that is restored from a [`Checkpoint`] resumes with the same bits. A progress bar,
//! a run's folder or a search watches it as an [`Observer`], which can also stop the loop between two steps.

use crate::checkpoint::{Checkpoint, Progress};
use crate::fault;
use crate::schedule::Schedule;
use crate::score::{Score, Tally};
use crate::task::{Part, Task};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_runtime::{AdamW, Batch, BatchShape, Device, Dtype, Metrics, Session, SessionOptions};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Training configuration. The defaults learn `recall` at D = 32 to 64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of optimizer updates.
    pub steps: u64,
    /// Rows per batch.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Number of warm-up steps until the peak.
    pub warmup: u64,
    /// Final learning rate, as a fraction of the peak.
    pub floor: f64,
    /// Seed of initial values, dropout and batches.
    pub seed: u64,
    /// Decoupled weight decay of linear and convolution weights.
    pub weight_decay: f64,
    /// Bound on the global norm of the gradient; 0: none.
    pub clip: f64,
    /// Interval between validations, in steps, beside the one after the last step; 0: only that one.
    pub validate_every: u64,
    /// Number of batches of a validation.
    pub validate_batches: u64,
    /// Arithmetic in f64 instead of f32.
    pub double: bool,
    /// Number of device threads. Not part of a run's identity: results do not depend on it.
    #[serde(skip, default = "one")]
    pub threads: usize,
}

fn one() -> usize {
    1
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 16,
            learning_rate: 3e-3,
            warmup: 50,
            floor: 0.05,
            seed: 0,
            weight_decay: 0.1,
            clip: 1.0,
            validate_every: 100,
            validate_batches: 8,
            double: false,
            threads: 1,
        }
    }
}

impl TrainConfig {
    /// Checks that the values describe a training.
    ///
    /// # Errors
    /// E0908.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let refuse = |bad: bool, name: &str, value: &dyn std::fmt::Display, range: &str| {
            if bad { Err(fault::training_range(name, value, range)) } else { Ok(()) }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let natural = |x: f64| x.is_finite() && x >= 0.0;
        refuse(self.steps == 0, "steps", &self.steps, "at least 1")?;
        refuse(self.batch == 0 || self.batch > 1 << 16, "batch", &self.batch, "from 1 to 65536")?;
        refuse(!positive(self.learning_rate), "lr", &self.learning_rate, "positive")?;
        refuse(self.warmup > self.steps, "warmup", &self.warmup, "at most the number of steps")?;
        refuse(!(0.0..=1.0).contains(&self.floor), "floor", &self.floor, "from 0 to 1")?;
        refuse(!natural(self.weight_decay), "weight_decay", &self.weight_decay, "0 or positive")?;
        refuse(!natural(self.clip), "clip", &self.clip, "0 or positive")?;
        refuse(self.threads == 0, "threads", &self.threads, "at least 1")?;
        refuse(self.validate_batches == 0, "validate_batches", &self.validate_batches, "at least 1")
    }

    /// Learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule { peak: self.learning_rate, warmup: self.warmup, steps: self.steps, floor: self.floor }
    }

    /// Options of the device's session.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            dtype: if self.double { Dtype::F64 } else { Dtype::F32 },
            seed: self.seed,
            optimizer: AdamW {
                weight_decay: self.weight_decay,
                clip: if self.clip == 0.0 { f64::INFINITY } else { self.clip },
                ..AdamW::default()
            },
            threads: self.threads,
            ..SessionOptions::default()
        }
    }
}

/// Record of one step: a line of `curve.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Mean cross-entropy of the batch, in nats, before the update.
    #[serde(with = "crate::score::number")]
    pub loss: f64,
    /// Loss plus the program's `loss` terms.
    #[serde(with = "crate::score::number")]
    pub objective: f64,
    /// Global norm of the gradient before clipping.
    #[serde(with = "crate::score::number")]
    pub gradient_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Score on the validation part after the update, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Score>,
}

/// Observer of a training. All methods have defaults that do nothing.
pub trait Observer {
    /// Decides before every step whether to go on. `false` stops the loop with its state kept.
    fn proceed(&mut self, step: u64) -> bool {
        let _ = step;
        true
    }

    /// Is called after every step with its record.
    ///
    /// # Errors
    /// Any error ends the training.
    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        let _ = record;
        Ok(())
    }

    /// Is called after every step and its record; `checkpoint` copies the state, which costs time.
    ///
    /// # Errors
    /// Any error ends the training.
    fn settle(&mut self, step: u64, checkpoint: &dyn Fn() -> Result<Checkpoint, Diagnostic>) -> Result<(), Diagnostic> {
        let _ = (step, checkpoint);
        Ok(())
    }
}

/// Observer that does nothing.
impl Observer for () {}

/// Outcome of a run of the loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The observer stopped it.
    Stopped,
    /// The loss left the range in which learning is possible, or the last loss is not finite.
    Diverged {
        /// Steps done.
        step: u64,
        /// First of the consecutive bad steps that led to this, counted from 1.
        since: u64,
        /// Last loss, in nats.
        loss: f64,
        /// Whether loss and gradient stayed finite: then the loss is far above that of guessing.
        finite: bool,
    },
}

/// Number of consecutive steps with a non-finite loss or gradient after which training stops. One such batch may be
/// chance (the session keeps its parameters); five are not.
const BROKEN_STEPS: u32 = 5;
/// Number of consecutive steps with a loss above [`HIGH_LOSS`] times that of guessing after which training stops.
const HIGH_STEPS: u32 = 50;
const HIGH_LOSS: f64 = 4.0;

/// Numbers of consecutive bad steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Steps with a non-finite loss or gradient.
    pub broken: u32,
    /// Steps with a loss far above guessing.
    pub high: u32,
}

impl Watch {
    fn see(&mut self, metrics: &Metrics, vocab: usize) {
        let broken = !(metrics.objective.is_finite() && metrics.gradient_norm.is_finite());
        let high = metrics.loss > HIGH_LOSS * (vocab.max(2) as f64).ln();
        self.broken = if broken { self.broken + 1 } else { 0 };
        self.high = if high { self.high + 1 } else { 0 };
    }

    fn diverged(&self) -> bool {
        self.broken >= BROKEN_STEPS || self.high >= HIGH_STEPS
    }

    /// First of the consecutive bad steps, when `step` steps are done.
    fn since(&self, step: u64) -> u64 {
        let bad = if self.high >= HIGH_STEPS { self.high.max(self.broken) } else { self.broken };
        step + 1 - u64::from(bad).min(step)
    }
}

/// Training of a session on a task.
pub struct Trainer {
    session: Box<dyn Session>,
    task: Arc<dyn Task>,
    config: TrainConfig,
    schedule: Schedule,
    step: u64,
    watch: Watch,
    last_loss: f64,
}

impl Trainer {
    /// Compiles a graph for a task.
    ///
    /// # Errors
    /// E0908 for bad settings, E0909 for a graph that is not a model over the task's vocabulary, E08xx from the device.
    pub fn new(
        device: &dyn Device,
        graph: &Arc<Graph>,
        task: Arc<dyn Task>,
        config: TrainConfig,
    ) -> Result<Self, Diagnostic> {
        config.check()?;
        let vocab = graph.vocab.ok_or_else(|| fault::no_model(&graph.name))?;
        if graph.size(vocab) != task.vocab() {
            return Err(fault::wrong_vocabulary(&graph.name, graph.size(vocab), &task.spec().name, task.vocab()));
        }
        let shape = BatchShape { batch: config.batch, len: task.len(Part::Train) };
        let session = device.compile(graph, shape, &config.session_options())?;
        let schedule = config.schedule();
        Ok(Self { session, task, config, schedule, step: 0, watch: Watch::default(), last_loss: f64::NAN })
    }

    /// Number of steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Task that is trained.
    pub fn task(&self) -> &Arc<dyn Task> {
        &self.task
    }

    /// Configuration of the training.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Session that runs the training.
    pub fn session(&mut self) -> &mut dyn Session {
        self.session.as_mut()
    }

    /// Trains until `until` steps are done (at most all of them).
    ///
    /// # Errors
    /// Errors of the session or the observer; the state is that after the last whole step.
    pub fn run(&mut self, until: u64, observer: &mut dyn Observer) -> Result<Outcome, Diagnostic> {
        let until = until.min(self.config.steps);
        loop {
            // No step follows the last one to show whether a non-finite loss there was chance.
            if self.watch.diverged() || self.step >= self.config.steps && self.watch.broken > 0 {
                return Ok(Outcome::Diverged {
                    step: self.step,
                    since: self.watch.since(self.step),
                    loss: self.last_loss,
                    finite: self.watch.broken == 0,
                });
            }
            if self.step >= until {
                return Ok(Outcome::Finished);
            }
            if !observer.proceed(self.step) {
                return Ok(Outcome::Stopped);
            }
            let record = self.advance()?;
            observer.record(&record)?;
            observer.settle(self.step, &|| self.checkpoint())?;
        }
    }

    fn advance(&mut self) -> Result<Record, Diagnostic> {
        let batch = self.task.batch(Part::Train, self.config.seed, self.step, self.config.batch);
        let learning_rate = self.schedule.rate(self.step);
        let metrics = self.session.step(&batch, learning_rate)?;
        self.step += 1;
        self.watch.see(&metrics, self.task.vocab());
        self.last_loss = metrics.loss;
        let every = self.config.validate_every;
        let due = self.step == self.config.steps || (every > 0 && self.step.is_multiple_of(every));
        let validation = if due { Some(self.measure(Part::Validation, self.config.validate_batches)?) } else { None };
        Ok(Record {
            step: self.step,
            tokens: self.step * (batch.batch * batch.len) as u64,
            loss: metrics.loss,
            objective: metrics.objective,
            gradient_norm: metrics.gradient_norm,
            learning_rate,
            validation,
        })
    }

    /// Scores the parameters on a part. Its batches do not depend on the run's step, so scores within one run, and of
    /// programs with the same seed, refer to the same tokens.
    ///
    /// # Errors
    /// Errors of the session.
    pub fn measure(&mut self, part: Part, batches: u64) -> Result<Score, Diagnostic> {
        measure(self.session.as_mut(), self.task.as_ref(), part, self.config.seed, batches, self.config.batch)
    }

    /// Copies the state needed to resume.
    ///
    /// # Errors
    /// Errors of the session.
    pub fn checkpoint(&self) -> Result<Checkpoint, Diagnostic> {
        let progress = Progress { step: self.step, watch: self.watch };
        Ok(Checkpoint { progress, snapshot: self.session.snapshot()? })
    }

    /// Moves, forwards or backwards, to a checkpoint of the same program and settings.
    ///
    /// # Errors
    /// E08xx when the tensors are not the program's.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), Diagnostic> {
        self.session.restore(&checkpoint.snapshot)?;
        self.step = checkpoint.progress.step;
        self.watch = checkpoint.progress.watch;
        Ok(())
    }
}

/// First batch of a part whose loss is not finite, among the batches of [`measure`].
///
/// # Errors
/// As [`measure`].
pub fn first_broken(
    session: &mut dyn Session,
    task: &dyn Task,
    part: Part,
    config: &TrainConfig,
    batches: u64,
) -> Result<Option<Batch>, Diagnostic> {
    let available = task.batches(part, config.batch).unwrap_or(u64::MAX);
    for index in 0..batches.min(available) {
        let batch = task.batch(part, config.seed, index, config.batch);
        if !score(session, task, &batch, &mut Tally::default())?.is_finite() {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Adds a batch to a tally; returns the loss so far, in nats.
fn score(session: &mut dyn Session, task: &dyn Task, batch: &Batch, tally: &mut Tally) -> Result<f64, Diagnostic> {
    let forward = session.forward(batch, None)?;
    // A model has one output, the logits; the program chooses its name.
    let logits = forward.outputs.values().next().ok_or_else(|| fault::wrong_logits(&[], [0; 3]))?;
    tally.add(batch, logits, task.vocab())?;
    Ok(tally.score(task.metric()).loss)
}

/// Scores a session on the first batches of a part of a task (on all, if the part has fewer).
///
/// # Errors
/// Errors of the session; E0916 when its logits have the wrong shape.
pub fn measure(
    session: &mut dyn Session,
    task: &dyn Task,
    part: Part,
    seed: u64,
    batches: u64,
    rows: usize,
) -> Result<Score, Diagnostic> {
    let mut tally = Tally::default();
    let available = task.batches(part, rows).unwrap_or(u64::MAX);
    for index in 0..batches.min(available) {
        let batch = task.batch(part, seed, index, rows);
        score(session, task, &batch, &mut tally)?;
    }
    Ok(tally.score(task.metric()))
}
