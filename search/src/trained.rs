//! The evaluator by the trainer: the tiers of `archc eval`, on a given device.

use crate::compile::Trainable;
use crate::evaluate::{Evaluator, Job};
use crate::plan::Tier;
use crate::record::{Finding, Report, Status, TaskScore};
use archc_compiler::diag::Diagnostic;
use archc_runtime::SharedDevice;
use archc_train::corpus::Corpus;
use archc_train::evaluate::{self as contract, EvalReport, EvalRequest, Flow};
use archc_train::tier::{self, tier};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A guard against programs that hang: far more than any program within the cost limits needs.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Trains by the contract of `archc eval`.
pub struct Trained {
    device: SharedDevice,
    screen: tier::Tier,
    search: tier::Tier,
    corpus: Option<Arc<Corpus>>,
}

impl Trained {
    /// On a device, with the text that the task `text` reads.
    ///
    /// # Errors
    /// E0915 if the trainer has no such tiers.
    pub fn new(device: SharedDevice, corpus: Option<Arc<Corpus>>) -> Result<Self, Diagnostic> {
        Ok(Self::with(device, tier("screen")?, tier("search")?, corpus))
    }

    /// On these tiers.
    pub fn with(device: SharedDevice, screen: tier::Tier, search: tier::Tier, corpus: Option<Arc<Corpus>>) -> Self {
        Self { device, screen, search, corpus }
    }

    /// One thread an evaluation: several run side by side.
    fn request(&self, tier: &tier::Tier, seed: u64) -> EvalRequest {
        EvalRequest {
            tier: tier.clone(),
            seed,
            corpus: self.corpus.clone(),
            rate: None,
            time_limit: Some(TIME_LIMIT),
            clock: contract::Clock::Thread,
            threads: 1,
        }
    }
}

impl Evaluator for Trained {
    fn version(&self) -> String {
        // The key of a request names the tier's content, the corpus and the contract's version; of no program, it
        // names the evaluator.
        let machine = contract::machine(self.device.as_ref());
        let key = |tier: &tier::Tier| self.request(tier, 0).key("", &machine);
        format!("train {} {machine} {} {}", contract::VERSION, &key(&self.screen)[..8], &key(&self.search)[..8])
    }

    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report {
        let tier = match job.tier {
            Tier::Screen => &self.screen,
            Tier::Search => &self.search,
        };
        let request = self.request(tier, job.seed);
        let program = Trainable::new(&job.name, &job.source);
        let mut watch = |_: &contract::Moment<'_>| {
            if cancel.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
        };
        record(contract::evaluate(&program, self.device.as_ref(), &request, &mut watch))
    }
}

/// The contract's report as the log keeps it.
fn record(report: EvalReport) -> Report {
    let score = |t: contract::TaskReport| TaskScore {
        score: t.value,
        quality: t.score,
        metric: t.metric,
        loss: Some(t.loss),
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
        tasks: report.tasks.into_iter().map(|(name, t)| (name, score(t))).collect::<BTreeMap<_, _>>(),
        seconds: report.seconds,
        params: report.params,
        findings: report.diagnostics.iter().map(finding).collect(),
    }
}
