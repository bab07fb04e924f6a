//! Evaluator that trains: the tiers of `archc eval`, on a given device.

use crate::cache::Cache;
use crate::codes;
use crate::compile::Trainable;
use crate::evaluate::{Evaluator, Job};
use crate::plan::Tier;
use crate::record::{Finding, Report, Status, TaskScore};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_runtime::SharedDevice;
use archc_train::corpus::Corpus;
use archc_train::evaluate::{self as contract, EvalReport, EvalRequest, Flow, Rates};
use archc_train::task::{self, Part};
use archc_train::tier;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Processor-time limit per evaluation that guards against programs that hang: far more than any program of the anchors'
/// size needs.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Data and tasks of evaluations: the tiers of a search and the corpus of the task `text`.
#[derive(Clone)]
pub struct Setting {
    /// Short tier on which learning rates are tuned and candidates screened.
    pub screen: tier::Tier,
    /// Tier by which candidates are ranked.
    pub search: tier::Tier,
    /// Corpus of the task `text`.
    pub corpus: Option<Arc<Corpus>>,
}

impl Setting {
    /// Setting of a run, from its evaluator's description.
    ///
    /// # Errors
    /// E1009 if it is not a valid setting.
    pub fn from_methods(methods: &Value, corpus: Option<Arc<Corpus>>) -> Result<Self, Diagnostic> {
        let tier = |name: &str| {
            let value = methods.get(name).cloned().unwrap_or_default();
            serde_json::from_value::<tier::Tier>(value).map_err(|e| codes::log(format!("its tier `{name}`: {e}")))
        };
        Ok(Self { screen: tier("screen")?, search: tier("search")?, corpus })
    }

    /// Builds every task once, so that invalid tasks are refused before a run begins.
    ///
    /// # Errors
    /// E0901 to E0907 and any other error of a task.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let mut runs = self.screen.tasks.iter().chain(&self.search.tasks);
        runs.try_for_each(|run| task::build(&run.task, self.corpus.as_ref()).map(drop))
    }
}

/// Gap to the best rate's mean loss, in nats, at which a rate is stopped after half of a task's steps.
const BEHIND: f64 = 0.05;

/// Mean losses of tasks after half of their steps, in nats.
#[derive(Default)]
struct Halves {
    /// Losses at the best rate so far.
    best: BTreeMap<String, f64>,
    /// Losses at this rate.
    now: BTreeMap<String, f64>,
    /// Whether this rate was stopped.
    behind: bool,
}

/// Check whether a device has room for a graph on batches of a number of tokens.
pub type Holds = Box<dyn Fn(&Graph, usize) -> Result<(), Diagnostic> + Send + Sync>;

/// Evaluator that trains by the contract of `archc eval`.
pub struct Trained {
    device: SharedDevice,
    holds: Holds,
    setting: Setting,
    /// Tier of the finals: the search tier on separate seeds and data.
    finals: tier::Tier,
    cache: Cache,
}

impl Trained {
    /// Evaluator on a device. Results of anchors are stored in the cache and taken from there.
    pub fn new(device: SharedDevice, holds: Holds, setting: Setting, cache: Cache) -> Self {
        let finals = tier::Tier { seeds: "final".to_owned(), part: Part::Test, ..setting.search.clone() };
        Self { device, holds, setting, finals, cache }
    }

    /// Request with one thread: several evaluations run in parallel, and the thread's own time is limited.
    fn request(&self, tier: &tier::Tier, seed: u64, rates: Rates) -> EvalRequest {
        EvalRequest {
            tier: tier.clone(),
            seed,
            corpus: self.setting.corpus.clone(),
            rates,
            time_limit: Some(TIME_LIMIT),
            clock: contract::Clock::Thread,
            threads: 1,
        }
    }

    fn tier(&self, tier: Tier) -> &tier::Tier {
        match tier {
            Tier::Tune | Tier::Screen => &self.setting.screen,
            Tier::Search => &self.setting.search,
            Tier::Final => &self.finals,
        }
    }

    /// Trains all tasks once; an anchor's result may be cached. `halves` has the mean loss of each task after half of the
    /// steps, at the best rate so far: a training that is worse by more than [`BEHIND`] is stopped there.
    fn train(&self, job: &Job, rates: Rates, cancel: &AtomicBool, halves: &mut Halves) -> EvalReport {
        let request = self.request(self.tier(job.tier), job.seed, rates);
        let program = Trainable::new(&job.name, &job.source, &self.holds);
        let key = job.anchor.then(|| contract::key(&program, self.device.as_ref(), &request)).flatten();
        if let Some(known) = key.as_deref().and_then(|key| self.cache.get(key)) {
            return EvalReport { seconds: 0.0, ..known };
        }
        let mut watch = |moment: &contract::Moment<'_>| {
            if 2 * moment.step == moment.steps {
                let best = halves.best.get(moment.task).copied().unwrap_or(f64::INFINITY);
                halves.now.insert(moment.task.to_owned(), moment.mean_loss);
                // All results of an anchor are cached for later runs, so they must be complete.
                if moment.mean_loss > best + BEHIND && !job.anchor {
                    halves.behind = true;
                    return Flow::Cancel;
                }
            }
            if cancel.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
        };
        let report = contract::evaluate(&program, self.device.as_ref(), &request, &mut watch);
        if job.anchor {
            self.cache.put(&report);
        }
        report
    }
}

impl Evaluator for Trained {
    fn version(&self) -> String {
        // The key of a request covers the tier's content, the corpus and the contract's version; without a program, it
        // identifies the evaluator.
        let machine = contract::machine(self.device.as_ref());
        let key = |tier: &tier::Tier| self.request(tier, 0, Rates::All).key("", &machine)[..8].to_owned();
        format!("train {} {machine} {} {}", contract::VERSION, key(&self.setting.screen), key(&self.setting.search))
    }

    fn methods(&self) -> Value {
        json!({
            "machine": contract::machine(self.device.as_ref()),
            "screen": self.setting.screen,
            "search": self.setting.search,
            "final": self.finals,
            "corpus": self.setting.corpus.as_ref().map(|corpus| corpus.digest()),
        })
    }

    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report {
        if job.tier != Tier::Tune {
            return record(self.train(job, Rates::tuned(job.rate), cancel, &mut Halves::default()));
        }
        // All rates are tried; the result is the best one's report with the tokens of all. A rate at which the training
        // diverges is excluded.
        let mut best: Option<Report> = None;
        let (mut rates, mut tokens, mut failed) = (Vec::new(), 0, None);
        // From the middle outwards: a rate that is far off is soon recognised.
        let mut order = self.setting.screen.rates.clone();
        order.sort_by(|a, b| a.ln().abs().total_cmp(&b.ln().abs()));
        let mut halves = Halves::default();
        for rate in order {
            (halves.now, halves.behind) = (BTreeMap::new(), false);
            let report = record(self.train(job, Rates::Only(rate), cancel, &mut halves));
            if halves.behind {
                continue;
            }
            tokens += report.tokens;
            match (report.status, report.score()) {
                (Status::Ok, Some(score)) => {
                    rates.push((rate, score));
                    if best.as_ref().is_none_or(|b| b.score().is_none_or(|other| score > other)) {
                        best = Some(report);
                        halves.best.clone_from(&halves.now);
                    }
                }
                (Status::Diverged, _) => failed = Some(report),
                _ => return report,
            }
        }
        best.or(failed).map_or_else(
            || Report::failed(Status::Invalid, "the screen has no rates"),
            |r| Report { rates, tokens, ..r },
        )
    }
}

/// Converts the contract's report to that of the log.
fn record(report: EvalReport) -> Report {
    let score = |t: contract::TaskReport| TaskScore {
        value: t.value,
        chance: t.chance,
        score: t.score,
        weight: t.weight,
        metric: t.metric,
        loss: Some(t.loss),
        mean_loss: Some(t.mean_loss),
        tokens: t.tokens,
        curve: t.curve.iter().map(|p| (p.tokens, p.loss)).collect(),
    };
    let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let finding =
        |v: &Value| Finding { code: word(v, "code"), severity: word(v, "severity"), message: word(v, "message") };
    Report {
        status: match report.status {
            contract::Status::Ok => Status::Ok,
            contract::Status::Invalid => Status::Invalid,
            contract::Status::Diverged => Status::Diverged,
            contract::Status::Timeout => Status::Timeout,
            contract::Status::Retry => Status::Cancelled,
        },
        tokens: report.tasks.values().map(|t| t.tokens).sum(),
        tasks: report.tasks.into_iter().map(|(name, t)| (name, score(t))).collect::<BTreeMap<_, _>>(),
        rates: Vec::new(),
        seconds: report.seconds,
        params: report.params,
        findings: report.diagnostics.iter().map(finding).collect(),
    }
}
