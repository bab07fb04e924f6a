//! What is written down about an experiment.
//!
//! These types are the body of the log ([`crate::store::Event`]), so their serde form is the format of a
//! run on disk; [`crate::store::SCHEMA`] is raised when it changes.

use archc_compiler::diag::Diagnostic;
use archc_train::evaluate::weighted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A candidate of a run, numbered from 0 in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CandidateId(pub u32);

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:04}", self.0)
    }
}

/// What is to be tried, and why: the researcher's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Which researcher had it.
    pub researcher: String,
    /// The program that is changed, then the ones it takes something from.
    pub parents: Vec<CandidateId>,
    /// The move, by name.
    pub action: String,
    /// Where in the first parent.
    pub site: Site,
    /// Why this should help, with the evidence.
    pub why: String,
    /// Tasks whose score should move.
    pub tasks: Vec<String>,
}

/// A place in a program where a move applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// What kind of place: `gate`, `decay`, `router path`; beliefs are kept per (move, kind).
    pub kind: String,
    /// The n-th of the move's sites in this program, in the order of its text.
    pub index: usize,
    /// For people: `a = exp(...)`, `softmax[P] over paths`.
    pub label: String,
}

/// How a candidate came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A seed program, which the others are compared with.
    Anchor,
    /// An anchor with a change that changes nothing, evaluated as candidates are: measures how often nothing looks like something.
    Control,
    /// Proposed by a researcher.
    Proposed,
}

/// What became of a candidate before training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum Verdict {
    /// It may train.
    Admitted,
    /// The same program is there already.
    Duplicate {
        /// That one.
        of: CandidateId,
    },
    /// Sound, but another draft of the same slot was expected to do better.
    Outranked {
        /// That one.
        by: CandidateId,
    },
    /// Refused.
    Rejected {
        /// By which check: `edit`, `parse`, `check`, `dataflow`, `ranges`, `time`, `cost`, `bug`.
        check: String,
        /// The code of the first error; empty if it has none.
        code: String,
        /// What was wrong.
        message: String,
    },
}

impl Verdict {
    /// It may train.
    pub fn admitted(&self) -> bool {
        matches!(self, Self::Admitted)
    }
}

/// A finding of the compiler, as kept in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `W0702`
    pub code: String,
    /// `error`, `warning`, `note`
    pub severity: String,
    /// What it says.
    pub message: String,
}

impl From<&Diagnostic> for Finding {
    fn from(d: &Diagnostic) -> Self {
        let severity = match d.severity {
            archc_compiler::diag::Severity::Error => "error",
            archc_compiler::diag::Severity::Warning => "warning",
            archc_compiler::diag::Severity::Note => "note",
        };
        Self { code: d.code.to_owned(), severity: severity.to_owned(), message: d.message.clone() }
    }
}

/// What a program costs in the setting of the search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Learned numbers.
    pub params: u64,
    /// Floating-point operations a token, forward.
    pub flops_per_token: f64,
    /// Operations a token of a training step, as the plan of the step predicts its time: products at the rate of matrix products,
    /// everything else by what it is slower. What is held equal; measured seconds never are.
    #[serde(default)]
    pub work: f64,
    /// Numbers carried from one token to the next.
    pub state: u64,
    /// How its time grows with the length T.
    pub time: TimeClass,
    /// What mixes time, for the archive: `delta rule`, `attention`, `filter`.
    pub mixer: String,
}

/// How the time of a sequence grows with its length T; a cheaper class is a smaller one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimeClass {
    /// O(T)
    #[default]
    #[serde(rename = "O(T)")]
    Linear,
    /// O(T*w): a window of w tokens.
    #[serde(rename = "O(T*w)")]
    Windowed,
    /// O(T^2)
    #[serde(rename = "O(T^2)")]
    Quadratic,
}

impl TimeClass {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Linear => "O(T)",
            Self::Windowed => "O(T*w)",
            Self::Quadratic => "O(T^2)",
        }
    }
}

/// A program and everything that was known about it when it was committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number.
    pub id: CandidateId,
    /// The generation it was proposed in; 0 holds the anchors.
    pub generation: u32,
    /// Its place in the generation.
    pub slot: u32,
    /// How many drafts of this slot were refused before it.
    pub attempt: u32,
    /// How it came to be.
    pub origin: Origin,
    /// The name of its block.
    pub name: String,
    /// Its text; the last good one if an edit could not be made.
    pub source: String,
    /// What it is to try; anchors and controls have none.
    pub hypothesis: Option<Hypothesis>,
    /// Parents; a control's is its anchor.
    pub parents: Vec<CandidateId>,
    /// What the engineer changed, in words.
    pub change: String,
    /// Unified diff from the first parent.
    pub diff: String,
    /// Canonical hash with sizes, of all settings that the search trains in; empty if it did not check.
    pub hash: String,
    /// Canonical hash without sizes; empty if it did not check.
    pub family: String,
    /// Whether it may train.
    pub verdict: Verdict,
    /// What the compiler had to say.
    pub findings: Vec<Finding>,
    /// What it costs, if it checks.
    pub cost: Option<Cost>,
}

/// How an evaluation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// With scores.
    Ok,
    /// The program cannot be trained.
    Invalid,
    /// Loss or gradients were not finite, or the loss ran away.
    Diverged,
    /// It took too long.
    Timeout,
    /// It was stopped from outside and has to be run again; never committed.
    Cancelled,
    /// archc itself failed; the message says how.
    Bug,
    /// The process died while it ran, more than once.
    Died,
}

impl Status {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Diverged => "diverged",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Bug => "bug",
            Self::Died => "died",
        }
    }
}

/// One task's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The task's own metric on the scored part after the last step (accuracy, or bits per byte).
    pub value: f64,
    /// The metric of an uninformed guess.
    pub chance: f64,
    /// What is compared: 0 where nothing was learned, 1 where the loss that the tier measures has fallen by the tier's unit.
    pub score: f64,
    /// Its part in the tier's score, against the sum of all weights.
    pub weight: f64,
    /// The metric's name: `accuracy`, `bits per byte`.
    pub metric: String,
    /// Loss of the scored part after the last step, in nats, if it was finite.
    pub loss: Option<f64>,
    /// Mean training loss of all steps, in nats.
    pub mean_loss: Option<f64>,
    /// Tokens trained on.
    pub tokens: u64,
    /// (tokens seen, loss), thinned out.
    pub curve: Vec<(u64, f64)>,
}

/// The result of one evaluation: one program, one tier, one seed, some tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub status: Status,
    /// By task; of a tuning, at the best rate.
    pub tasks: BTreeMap<String, TaskScore>,
    /// Of a tuning: the tier's score at each multiple of the learning rates that did not diverge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<(f64, f64)>,
    /// Tokens trained on.
    pub tokens: u64,
    /// Processor time it took; recorded, and never used to decide anything about a program.
    pub seconds: f64,
    /// Learned numbers of the whole model that was trained.
    pub params: u64,
    /// What there was to say about it.
    pub findings: Vec<Finding>,
}

impl Report {
    /// A report without scores.
    pub fn failed(status: Status, message: impl Into<String>) -> Self {
        let finding = Finding { code: String::new(), severity: "error".to_owned(), message: message.into() };
        let (tasks, rates) = (BTreeMap::new(), Vec::new());
        Self { status, tasks, rates, tokens: 0, seconds: 0.0, params: 0, findings: vec![finding] }
    }

    /// With finite numbers only, which is what JSON can hold: a score that is not finite is a divergence.
    pub fn settled(mut self) -> Self {
        if self.tasks.values().any(|t| !t.score.is_finite() || !t.value.is_finite()) {
            self.tasks.retain(|_, t| t.score.is_finite() && t.value.is_finite());
            if self.status == Status::Ok {
                self.status = Status::Diverged;
            }
        }
        for task in self.tasks.values_mut() {
            task.loss = task.loss.filter(|l| l.is_finite());
            task.mean_loss = task.mean_loss.filter(|l| l.is_finite());
            task.curve.retain(|(_, loss)| loss.is_finite());
        }
        if !self.seconds.is_finite() {
            self.seconds = 0.0;
        }
        self
    }

    /// Mean score of the tasks by their weights; none unless it ended well.
    pub fn score(&self) -> Option<f64> {
        let mean = weighted(self.tasks.values().map(|t| (t.weight, t.score)));
        mean.filter(|score| self.status == Status::Ok && score.is_finite())
    }
}

/// What the analyst made of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Of which candidate.
    pub candidate: CandidateId,
    /// Against its first parent, on their common seeds of the search tier; none if there is none.
    pub over_parent: Option<crate::stats::Interval>,
    /// Against the fixed anchor on the same seeds of the search tier.
    pub over_anchor: Option<crate::stats::Interval>,
    /// Probability that it is better than its parent.
    pub better: f64,
    /// What was learned, in words.
    pub text: String,
}

/// How well a kind of change has done: a Beta distribution over "the child is better than its parent".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    /// The move.
    pub action: String,
    /// The kind of site.
    pub site: String,
    /// Discounted successes plus the prior's.
    pub alpha: f64,
    /// Discounted failures plus the prior's.
    pub beta: f64,
    /// Experiments behind it, undiscounted.
    pub tries: u32,
}

impl Belief {
    /// Expected probability of success.
    pub fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }
}
