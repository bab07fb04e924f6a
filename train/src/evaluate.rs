//! The evaluation contract: one program, one tier and one seed in; one report and an exit code out.
//!
//! `archc eval FILE --tier T --seed S --json` runs this function in a process. It is idempotent: the report
//! is a function of (program, weights, tier, seed, corpus, machine), except for the seconds it took, and its key is a hash of
//! them, so that any engine may run it anywhere, twice, and keep either result.
//!
//! Equal keys mean equal bytes. A key therefore covers the graph at every size of the tier with the paths of its parameters, which
//! seed their initial values, and the properties of the machine that results depend on: the device, its instruction set, the system's
//! functions. Two programs that compute the same under different names have two keys; identifying them is up to the caller (the search
//! does so by canonical hash). An evaluation that was not scored to the end has no key: it is not a result.
//!
//! At one seed every program gets the same batches, and parameters of the same path the same initial values (common random numbers):
//! differences between two programs are not caused by the data.

mod training;

use crate::corpus::Corpus;
use crate::fault;
use crate::random::seed_of;
use crate::score::Score;
use crate::task::{self, Part, Task};
use crate::tier::{TaskRun, Tier};
use crate::trainer::{TrainConfig, measure};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId, print_whole};
use archc_runtime::{BatchShape, Device, Dtype, Snapshot, misfits};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use training::{Told, train};

/// Version of the layout of [`EvalReport`].
pub const SCHEMA: &str = "archc.eval/3";

/// Version of the evaluator, part of every key. It changes when scores change: another task definition, optimizer, or device
/// semantics.
pub const VERSION: &str = "3";

/// Sizes at which a program is instantiated as a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelSize {
    /// Vocabulary size VOCAB, from the task.
    pub vocab: usize,
    /// Model width D.
    pub width: usize,
    /// Number of layers of the standard stack, for a block.
    pub layers: usize,
}

/// Cost of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Floating-point operations per token of a forward pass.
    pub flops_per_token: f64,
    /// State size: numbers carried from token to token (at the task's length, for state that grows with it).
    pub state: f64,
}

/// Program that can be evaluated. The caller has the compiler; this crate has none.
pub trait Candidate {
    /// Graph of the program as a model of a size.
    ///
    /// # Errors
    /// The compiler's diagnostics.
    fn graph(&self, size: ModelSize) -> Result<Arc<Graph>, Vec<Diagnostic>>;

    /// Cost of the graph on sequences of length `len`.
    fn cost(&self, graph: &Graph, len: usize) -> Cost;

    /// A diagnostic as JSON, with its locations in the source text.
    fn describe(&self, diagnostic: &Diagnostic) -> Value;
}

/// Outcome of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All tasks are scored.
    Ok,
    /// The program, or the request, is refused; trying again is useless.
    Invalid,
    /// A training diverged.
    Diverged,
    /// The time limit was reached.
    Timeout,
    /// The evaluation was interrupted; the same request may be repeated.
    Retry,
}

impl Status {
    /// Exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Invalid => 2,
            Self::Diverged => 3,
            Self::Timeout => 4,
            // EX_TEMPFAIL of sysexits.h
            Self::Retry => 75,
        }
    }
}

/// Point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Tokens seen so far.
    pub tokens: u64,
    /// Mean training loss since the previous point, in nats.
    #[serde(with = "crate::score::number")]
    pub loss: f64,
}

/// Result of a program on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Width D of the model; none if the model has no such axis.
    pub width: Option<usize>,
    /// Score of the training as the tier defines it: 0 at the uninformed loss, 1 where the measure has fallen by the tier's unit.
    pub score: f64,
    /// Weight in the tier's score, relative to the sum of all weights.
    pub weight: f64,
    /// Mean of the training loss over all steps, each capped at the uninformed loss, in nats; NaN if nothing was trained.
    #[serde(with = "crate::score::number")]
    pub mean_loss: f64,
    /// Result after the last step, in the task's own metric.
    #[serde(with = "crate::score::number")]
    pub value: f64,
    /// `accuracy` or `bits per byte`.
    pub metric: String,
    /// Value of the metric for an uninformed guess.
    #[serde(default)]
    pub chance: f64,
    /// Mean cross-entropy of the scored tokens after the last step, in nats.
    #[serde(with = "crate::score::number")]
    pub loss: f64,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Learning rate chosen by validation; 0 if nothing was trained.
    pub learning_rate: f64,
    /// Training loss at that rate.
    pub curve: Vec<CurvePoint>,
}

/// Answer to an evaluation request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Layout version, [`SCHEMA`].
    pub schema: String,
    /// Key of the result: reports with the same key differ only in `seconds`. None unless all tasks are scored as the tier specifies.
    pub key: Option<String>,
    /// Machine that computed the result: device, instruction set, system.
    pub machine: String,
    /// Outcome of the evaluation.
    pub status: Status,
    /// The tier's name.
    pub tier: String,
    /// Seed of the request.
    pub seed: u64,
    /// Task reports by task name, for the tasks that were reached.
    pub tasks: BTreeMap<String, TaskReport>,
    /// Number of parameters of the first task's model.
    pub params: u64,
    /// Floating-point operations per token of a forward pass of the first task's model.
    pub flops_per_token: f64,
    /// State size of the first task's model: numbers carried from token to token.
    pub state: f64,
    /// Duration in seconds; the only field in which reports of two equal requests may differ.
    pub seconds: f64,
    /// Diagnostics, as JSON.
    pub diagnostics: Vec<Value>,
}

impl EvalReport {
    /// Report before any task is scored.
    fn empty(request: &EvalRequest, machine: String) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            key: None,
            machine,
            status: Status::Ok,
            tier: request.tier.name.clone(),
            seed: request.seed,
            tasks: BTreeMap::new(),
            params: 0,
            flops_per_token: 0.0,
            state: 0.0,
            seconds: 0.0,
            diagnostics: Vec::new(),
        }
    }

    /// Weighted mean of the tasks' scores; none unless all tasks are scored.
    pub fn score(&self) -> Option<f64> {
        weighted(self.tasks.values().map(|t| (t.weight, t.score))).filter(|_| self.status == Status::Ok)
    }
}

/// Weighted mean of scores, each given as `(weight, score)`; none if the weights sum to zero.
pub fn weighted(scores: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (weights, sum) =
        scores.fold((0.0, 0.0), |(weights, sum), (weight, score)| (weights + weight, sum + weight * score));
    (weights > 0.0).then(|| sum / weights)
}

/// Evaluation request.
#[derive(Clone, Debug)]
pub struct EvalRequest {
    /// Tier to evaluate on.
    pub tier: Tier,
    /// Index into the tier's seed space.
    pub seed: u64,
    /// Corpus for the task `text`.
    pub corpus: Option<Arc<Corpus>>,
    /// Learning rates to train at.
    pub rates: Rates,
    /// Guard against programs that hang. It never shortens a training: an evaluation that exceeds it has no score.
    pub time_limit: Option<Duration>,
    /// Clock that measures the time limit.
    pub clock: Clock,
    /// Number of device threads; results do not depend on it.
    pub threads: usize,
}

/// Learning rates of an evaluation, as multiples of the tasks' own rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Rates {
    /// All rates of the tier; validation picks one for each task.
    #[default]
    All,
    /// This rate only.
    Only(f64),
    /// This rate first; a task whose training diverges at it is trained again at half of it, and then at a quarter. Meant for a rate
    /// that was tuned on shorter trainings or other tasks, where divergence of a longer training does not show.
    From(f64),
}

impl Rates {
    /// Starts from a tuned rate, or from the tasks' own rates for a program that learned at none.
    pub fn tuned(rate: Option<f64>) -> Self {
        Self::From(rate.unwrap_or(1.0))
    }
}

/// Clock for the time limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Wall-clock time.
    #[default]
    Wall,
    /// Processor time of the calling thread: a suspended or overloaded machine uses none of it. The device must work on that thread.
    Thread,
}

impl Clock {
    /// Time since an arbitrary fixed moment.
    pub fn now(self) -> Duration {
        let id = match self {
            Self::Wall => ClockId::Monotonic,
            Self::Thread => ClockId::ThreadCPUTime,
        };
        let time = clock_gettime(id);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

impl EvalRequest {
    /// Multiples of the learning rates to train at.
    fn rates(&self) -> Vec<f64> {
        match self.rates {
            Rates::All => self.tier.rates.clone(),
            Rates::Only(rate) => vec![rate],
            Rates::From(rate) => vec![rate, rate / 2.0, rate / 4.0],
        }
    }

    /// Whether the first rate without divergence is taken instead of the best.
    fn takes_first(&self) -> bool {
        matches!(self.rates, Rates::From(_))
    }

    /// The tier with the rates of this request.
    fn tier_as_asked(&self) -> Tier {
        Tier { rates: self.rates(), ..self.tier.clone() }
    }

    /// Hash of (program, evaluator version, machine, tier, seed) and of the data that tasks read: a corpus, a file of rows.
    pub fn key(&self, program: &str, machine: &str) -> String {
        let tier = serde_json::to_string(&self.tier_as_asked()).expect("a tier has only text keys and finite numbers");
        let reads = self.tier.tasks.iter().any(|run| run.task.name == "text");
        let corpus = self.corpus.as_ref().filter(|_| reads).map_or("", |corpus| corpus.digest());
        let mut key = Key::default();
        [program, VERSION, machine, &tier, corpus].into_iter().for_each(|part| key.add(part.as_bytes()));
        let files = self.tier.tasks.iter().filter(|run| run.task.path.is_some());
        let built = files.filter_map(|run| task::build(&run.task, None).ok()?.digest());
        built.for_each(|digest| key.add(digest.as_bytes()));
        key.add(&self.seed.to_le_bytes());
        key.add(&[u8::from(self.takes_first())]);
        key.text()
    }
}

/// Properties that the bits of a device's results depend on: the device, its instruction set, and the system whose functions it calls.
pub fn machine(device: &dyn Device) -> String {
    format!("{} {}-{}", device.arithmetic(), std::env::consts::ARCH, std::env::consts::OS)
}

/// Hash of parts, each with its length.
#[derive(Default)]
struct Key(Sha256);

impl Key {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The first 128 bits, as hex.
    fn text(self) -> String {
        self.0.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Progress of an evaluation, passed to the callback after every step.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Name of the task in the tier.
    pub task: &'a str,
    /// Steps done at this learning rate.
    pub step: u64,
    /// Total number of steps.
    pub steps: u64,
    /// Loss of the step, in nats.
    pub loss: f64,
    /// Mean loss of the steps so far, each capped at the uninformed loss, in nats.
    pub mean_loss: f64,
}

/// Decision of the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End this task: score it as it is and continue with the next one.
    Enough,
    /// Stop; the report says `retry`.
    Cancel,
}

/// Reason why an evaluation has no score.
struct Failure {
    status: Status,
    diagnostics: Vec<Diagnostic>,
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { status: Status::Invalid, diagnostics: vec![diagnostic] }
    }
}

/// Trains a program on a tier's tasks and scores it.
pub fn evaluate(
    candidate: &dyn Candidate,
    device: &dyn Device,
    request: &EvalRequest,
    watch: &mut dyn FnMut(&Moment<'_>) -> Flow,
) -> EvalReport {
    let deadline = request.time_limit.map(|limit| (request.clock, request.clock.now() + limit));
    let mut cut = false;
    let mut watch = |moment: &Moment<'_>| {
        let flow = watch(moment);
        cut |= flow == Flow::Enough;
        flow
    };
    let mut report = for_tasks(candidate, device, request, None, &mut |job| train(device, job, deadline, &mut watch));
    if cut {
        report.key = None;
    }
    report
}

/// Report of a request that could not be processed, for callers without a compiler diagnostic.
pub fn failed(request: &EvalRequest, message: String) -> EvalReport {
    let diagnostics = vec![serde_json::json!({ "message": message })];
    EvalReport { status: Status::Invalid, diagnostics, ..EvalReport::empty(request, String::new()) }
}

/// Key of the report that a request will have if all tasks are scored; none for a program that is refused.
pub fn key(candidate: &dyn Candidate, device: &dyn Device, request: &EvalRequest) -> Option<String> {
    let jobs = jobs(candidate, request).ok()?;
    Some(request.key(&identity(&jobs, None), &machine(device)))
}

/// Scores given weights on a tier's tasks, without training: `archc eval --weights`.
pub fn score_weights(
    candidate: &dyn Candidate,
    device: &dyn Device,
    weights: &Snapshot,
    request: &EvalRequest,
) -> EvalReport {
    for_tasks(candidate, device, request, Some(weights), &mut |job| {
        let &Job { run, ref task, ref graph, seed, part, .. } = job;
        let shape = BatchShape { batch: run.batch, len: task.len(part) };
        let mut session = device.compile(graph, shape, &job.config(1.0).session_options())?;
        if let Err(first) = session.restore(weights) {
            let all = misfits(graph, &weights.params, Dtype::F32);
            let diagnostics = if all.is_empty() { vec![first] } else { all };
            return Err(Failure { status: Status::Invalid, diagnostics });
        }
        let score = measure(session.as_mut(), task.as_ref(), part, seed, run.score_batches, run.batch)?;
        Ok(job.report(score, score.loss, Told::default()))
    })
}

/// Task of an evaluation, ready to run.
struct Job<'a> {
    run: &'a TaskRun,
    task: Arc<dyn Task>,
    graph: Arc<Graph>,
    seed: u64,
    part: Part,
    threads: usize,
    rates: Vec<f64>,
    /// Whether the first rate without divergence is taken instead of the best.
    first: bool,
}

impl Job<'_> {
    fn config(&self, rate: f64) -> TrainConfig {
        TrainConfig { threads: self.threads, ..self.run.config(rate, self.seed) }
    }

    /// Loss in nats of a guess that ignores the sequence.
    fn uninformed(&self) -> f64 {
        self.task.metric().uninformed()
    }

    /// Paths and shapes of the parameters.
    fn params(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        let shape = |i: usize| self.graph.param_shape(ParamId(i as u32));
        self.graph.params.iter().enumerate().map(move |(i, param)| (param.path.as_str(), shape(i)))
    }

    /// Task report from a score and the loss that the tier measures.
    fn report(&self, score: Score, measured: f64, told: Told) -> TaskReport {
        TaskReport {
            width: self.graph.axes.iter().find(|axis| axis.name == "D").map(|axis| axis.size),
            score: self.run.score(self.uninformed(), measured),
            weight: self.run.weight,
            mean_loss: told.mean_loss,
            value: score.value,
            metric: self.task.metric().name().to_owned(),
            chance: self.task.metric().chance(),
            loss: score.loss,
            tokens: told.tokens,
            learning_rate: told.learning_rate,
            curve: told.curve,
        }
    }
}

/// The tasks of a request, each with the program at its size.
fn jobs<'a>(candidate: &dyn Candidate, request: &'a EvalRequest) -> Result<Vec<Job<'a>>, Failure> {
    let seed = seed_of(&request.tier.seeds, request.seed);
    let job = |run: &'a TaskRun| {
        let task = task::build(&run.task, request.corpus.as_ref())?;
        let size = ModelSize { vocab: task.vocab(), width: run.width, layers: run.layers };
        let refused = |diagnostics| Failure { status: Status::Invalid, diagnostics };
        let graph = candidate.graph(size).map_err(refused)?;
        let (part, threads, rates, first) =
            (request.tier.part, request.threads, request.rates(), request.takes_first());
        Ok(Job { run, task, graph, seed, part, threads, rates, first })
    };
    request.tier.tasks.iter().map(job).collect()
}

/// Refuses a tier whose tasks need several models, because weights belong to one model.
fn one_model(jobs: &[Job<'_>], tier: &str) -> Result<(), Diagnostic> {
    for pair in jobs.windows(2) {
        if let Some(((path, a), (_, b))) = pair[0].params().zip(pair[1].params()).find(|(a, b)| a != b) {
            let of = |job: &Job<'_>, shape: Vec<usize>| (job.run.name.clone(), shape);
            return Err(fault::several_models(tier, path, [of(&pair[0], a), of(&pair[1], b)]));
        }
    }
    Ok(())
}

/// Hash of the evaluated model: the program at each size, and given weights.
fn identity(jobs: &[Job<'_>], weights: Option<&Snapshot>) -> String {
    let mut key = Key::default();
    for job in jobs {
        key.add(job.run.name.as_bytes());
        key.add(print_whole(&job.graph).as_bytes());
    }
    for (path, tensor) in weights.iter().flat_map(|weights| &weights.params) {
        key.add(path.as_bytes());
        tensor.data.iter().for_each(|x| key.0.update(x.to_le_bytes()));
    }
    if let Some(weights) = weights {
        key.add(&weights.step.to_le_bytes());
    }
    key.text()
}

/// Fills a report, task by task, until one fails.
fn for_tasks(
    candidate: &dyn Candidate,
    device: &dyn Device,
    request: &EvalRequest,
    weights: Option<&Snapshot>,
    score: &mut dyn FnMut(&Job<'_>) -> Result<TaskReport, Failure>,
) -> EvalReport {
    let began = Instant::now();
    let mut report = EvalReport::empty(request, machine(device));
    let mut fill = || -> Result<(), Failure> {
        let jobs = jobs(candidate, request)?;
        if let Some(first) = jobs.first() {
            let cost = candidate.cost(&first.graph, first.task.len(Part::Train));
            report.params = first.graph.param_count() as u64;
            (report.flops_per_token, report.state) = (cost.flops_per_token, cost.state);
        }
        if weights.is_some() {
            one_model(&jobs, &request.tier.name)?;
        }
        for job in &jobs {
            report.tasks.insert(job.run.name.clone(), score(job)?);
        }
        report.key = Some(request.key(&identity(&jobs, weights), &report.machine));
        Ok(())
    };
    if let Err(failure) = fill() {
        report.status = failure.status;
        report.diagnostics = failure.diagnostics.iter().map(|d| candidate.describe(d)).collect();
    }
    report.seconds = began.elapsed().as_secs_f64();
    report
}
