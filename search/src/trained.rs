//! The evaluator by the trainer: the tiers of `archc eval`, on a given device.

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

/// A guard against programs that hang, in processor time: far more than any program of the anchors' size needs.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// What an evaluation trains on: the tiers of a search and the text that the task `text` reads.
#[derive(Clone)]
pub struct Setting {
    /// Short: learning rates are tuned and candidates screened on it.
    pub screen: tier::Tier,
    /// What candidates are ranked by.
    pub search: tier::Tier,
    /// What `text` reads.
    pub corpus: Option<Arc<Corpus>>,
}

impl Setting {
    /// The setting of a run, as its evaluator told it.
    ///
    /// # Errors
    /// E1009 if it is none.
    pub fn from_methods(methods: &Value, corpus: Option<Arc<Corpus>>) -> Result<Self, Diagnostic> {
        let tier = |name: &str| {
            let value = methods.get(name).cloned().unwrap_or_default();
            serde_json::from_value::<tier::Tier>(value).map_err(|e| codes::log(format!("its tier `{name}`: {e}")))
        };
        Ok(Self { screen: tier("screen")?, search: tier("search")?, corpus })
    }

    /// Builds every task once, so that what cannot be trained on is refused before a run begins.
    ///
    /// # Errors
    /// E0901 to E0907 and what else a task refuses.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let mut runs = self.screen.tasks.iter().chain(&self.search.tasks);
        runs.try_for_each(|run| task::build(&run.task, self.corpus.as_ref()).map(drop))
    }
}

/// How far behind the best rate's mean loss, in nats, a rate is stopped after half of a task's steps.
const BEHIND: f64 = 0.05;

/// Mean losses of tasks after half of their steps.
#[derive(Default)]
struct Halves {
    /// At the best rate so far.
    best: BTreeMap<String, f64>,
    /// At this one.
    now: BTreeMap<String, f64>,
    /// It was stopped.
    behind: bool,
}

/// Says whether a device has room for a graph on batches of so many tokens.
pub type Holds = Box<dyn Fn(&Graph, usize) -> Result<(), Diagnostic> + Send + Sync>;

/// Trains by the contract of `archc eval`.
pub struct Trained {
    device: SharedDevice,
    holds: Holds,
    setting: Setting,
    /// The finals: the search tier on seeds and data of their own.
    finals: tier::Tier,
    cache: Cache,
}

impl Trained {
    /// On a device. What anchors score is kept in the cache and taken from there.
    pub fn new(device: SharedDevice, holds: Holds, setting: Setting, cache: Cache) -> Self {
        let finals = tier::Tier { seeds: "final".to_owned(), part: Part::Test, ..setting.search.clone() };
        Self { device, holds, setting, finals, cache }
    }

    /// One thread an evaluation: several run side by side, and the thread's own time is limited.
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

    /// One training of all tasks; an anchor's may be known. `halves` is how far the mean loss of each task had come after
    /// half of the steps, at the best rate so far: what is behind that by more than [`BEHIND`] is stopped there.
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
                // All of an anchor's results are kept for later runs, so they are whole.
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
        // The key of a request names the tier's content, the corpus and the contract's version; of no program, it
        // names the evaluator.
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
        // All rates; the best one's report with what all of them took. A rate at which the training diverges is no rate.
        let mut best: Option<Report> = None;
        let (mut rates, mut tokens, mut failed) = (Vec::new(), 0, None);
        // From the middle outwards: what is far off is soon seen to be behind.
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

/// The contract's report as the log keeps it.
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
