//! Recorded data of experiments.
//!
//! These types are the body of the log ([`crate::store::Event`]), so their serde form is the format of a run on disk;
//! [`crate::store::SCHEMA`] is incremented when it changes.

use archc_compiler::diag::Diagnostic;
use archc_train::evaluate::weighted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Number of a candidate of a run, from 0 in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CandidateId(pub u32);

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:04}", self.0)
    }
}

/// Hypothesis of the researcher: the change to try, and the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Name of the researcher.
    pub researcher: String,
    /// The program that is changed, then the programs from which parts are taken.
    pub parents: Vec<CandidateId>,
    /// Name of the move.
    pub action: String,
    /// Site in the first parent.
    pub site: Site,
    /// Reason why this should help, with the evidence.
    pub why: String,
    /// Tasks whose score should change.
    pub tasks: Vec<String>,
}

/// Place in a program where a move applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// Kind of place: `gate`, `decay`, `router path`; beliefs are kept per (move, kind).
    pub kind: String,
    /// Index among the move's sites in this program, in the order of its text.
    pub index: usize,
    /// Label for users: `a = exp(...)`, `softmax[P] over paths`.
    pub label: String,
}

/// Origin of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Seed program or a variant of one, with which the others are compared.
    Anchor,
    /// Anchor with a change without effect, evaluated like a candidate: measures the type-I error rate.
    Control,
    /// Proposed by a researcher.
    Proposed,
}

/// Verdict on a candidate before training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum Verdict {
    /// It may be trained.
    Admitted,
    /// The same program exists already.
    Duplicate {
        /// The existing candidate.
        of: CandidateId,
    },
    /// Sound, but another draft of the same slot had a higher expected score.
    Outranked {
        /// The other draft.
        by: CandidateId,
    },
    /// Refused.
    Rejected {
        /// Check that refused it: `edit`, `parse`, `check`, `dataflow`, `ranges`, `time`, `growth`, `cost`, `bug`.
        check: String,
        /// Code of the first error; empty if it has none.
        code: String,
        /// Message of the error.
        message: String,
    },
}

impl Verdict {
    /// Whether it may be trained.
    pub fn admitted(&self) -> bool {
        matches!(self, Self::Admitted)
    }
}

/// Compiler diagnostic, as kept in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Code, for example `W0702`.
    pub code: String,
    /// Severity: `error`, `warning`, `note`.
    pub severity: String,
    /// Message text.
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

/// Cost of a program at the sizes of the search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Number of parameters.
    pub params: u64,
    /// Floating-point operations per token of a forward pass.
    pub flops_per_token: f64,
    /// Work per token of a training step in operations, from which the plan predicts its time: products at the rate of matrix
    /// products, other operations weighted by their slowdown. Programs are compared at equal work, never at equal measured
    /// seconds.
    #[serde(default)]
    pub work: f64,
    /// State size: numbers carried from one token to the next.
    pub state: u64,
    /// Growth of its time with the sequence length T.
    pub time: TimeClass,
    /// Time-mixing mechanism, for the archive: `delta rule`, `attention`, `filter`.
    pub mixer: String,
}

/// Growth of the time of a sequence with its length T; cheaper classes compare as smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimeClass {
    /// Linear, O(T).
    #[default]
    #[serde(rename = "O(T)")]
    Linear,
    /// O(T*w): a window of w tokens.
    #[serde(rename = "O(T*w)")]
    Windowed,
    /// Quadratic, O(T^2).
    #[serde(rename = "O(T^2)")]
    Quadratic,
}

impl TimeClass {
    /// Name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Linear => "O(T)",
            Self::Windowed => "O(T*w)",
            Self::Quadratic => "O(T^2)",
        }
    }
}

/// Candidate: a program and all data known about it when it was committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Number of the candidate.
    pub id: CandidateId,
    /// Generation in which it was proposed; 0 contains the anchors.
    pub generation: u32,
    /// Slot in the generation.
    pub slot: u32,
    /// Number of earlier drafts of this slot.
    pub attempt: u32,
    /// Origin of the candidate.
    pub origin: Origin,
    /// Name of its block.
    pub name: String,
    /// Source text; that of the parent if an edit could not be made.
    pub source: String,
    /// Hypothesis; none for seed programs and controls.
    pub hypothesis: Option<Hypothesis>,
    /// Parents; that of a control is its anchor.
    pub parents: Vec<CandidateId>,
    /// Description of the engineer's change.
    pub change: String,
    /// Unified diff from the first parent.
    pub diff: String,
    /// Combined canonical hash with sizes, at all sizes that the search trains at; empty if it did not check.
    pub hash: String,
    /// Canonical hash without sizes; empty if it did not check.
    pub family: String,
    /// Verdict of the static screen.
    pub verdict: Verdict,
    /// Diagnostics of the compiler.
    pub findings: Vec<Finding>,
    /// Cost, if it checks.
    pub cost: Option<Cost>,
}

/// Status of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Completed with scores.
    Ok,
    /// The program cannot be trained.
    Invalid,
    /// Loss or gradients were not finite, or the loss diverged.
    Diverged,
    /// The time limit was reached.
    Timeout,
    /// It was stopped from outside and has to run again; never committed.
    Cancelled,
    /// archc itself failed; the message has the details.
    Bug,
    /// The process died repeatedly while it ran.
    Died,
}

impl Status {
    /// Name in JSON.
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

/// Result of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Value in the task's own metric (accuracy, or bits per byte) on the scored part after the last step.
    pub value: f64,
    /// Value of the metric for an uninformed guess.
    pub chance: f64,
    /// Score for comparisons: 0 if nothing was learned, 1 where the loss measured by the tier has fallen by the tier's unit.
    pub score: f64,
    /// Weight in the tier's score, relative to the sum of all weights.
    pub weight: f64,
    /// Name of the metric: `accuracy`, `bits per byte`.
    pub metric: String,
    /// Loss of the scored part after the last step, in nats, if it was finite.
    pub loss: Option<f64>,
    /// Mean training loss of all steps, in nats.
    pub mean_loss: Option<f64>,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Learning curve, thinned out: (tokens seen, loss in nats).
    pub curve: Vec<(u64, f64)>,
}

/// Result of one evaluation: one program, one tier, one seed, some tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Status of the evaluation.
    pub status: Status,
    /// Results by task; for a tuning, at the best rate.
    pub tasks: BTreeMap<String, TaskScore>,
    /// For a tuning: the tier's score at each multiple of the learning rates that did not diverge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<(f64, f64)>,
    /// Number of tokens trained on.
    pub tokens: u64,
    /// Processor time in seconds; recorded, and never used to decide anything about a program.
    pub seconds: f64,
    /// Number of parameters of the whole trained model.
    pub params: u64,
    /// Findings about the evaluation.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Report without scores.
    pub fn failed(status: Status, message: impl Into<String>) -> Self {
        let finding = Finding { code: String::new(), severity: "error".to_owned(), message: message.into() };
        let (tasks, rates) = (BTreeMap::new(), Vec::new());
        Self { status, tasks, rates, tokens: 0, seconds: 0.0, params: 0, findings: vec![finding] }
    }

    /// Report restricted to finite numbers, as JSON requires: a score that is not finite counts as divergence.
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

    /// Weighted mean of the tasks' scores; none unless the evaluation completed.
    pub fn score(&self) -> Option<f64> {
        let mean = weighted(self.tasks.values().map(|t| (t.weight, t.score)));
        mean.filter(|score| self.status == Status::Ok && score.is_finite())
    }
}

/// Analysis of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Candidate that was analysed.
    pub candidate: CandidateId,
    /// Paired difference to its first parent, on their common seeds of the search tier; none without common seeds.
    pub over_parent: Option<crate::stats::Interval>,
    /// Paired difference to the fixed anchor, on their common seeds of the search tier.
    pub over_anchor: Option<crate::stats::Interval>,
    /// Probability that it is better than its parent.
    pub better: f64,
    /// Conclusion in words.
    pub text: String,
}

/// Success rate of a kind of change: a Beta distribution over "the child is better than its parent".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    /// Name of the move.
    pub action: String,
    /// Kind of site.
    pub site: String,
    /// Discounted successes plus those of the prior.
    pub alpha: f64,
    /// Discounted failures plus those of the prior.
    pub beta: f64,
    /// Number of experiments, undiscounted.
    pub tries: u32,
}

impl Belief {
    /// Expected probability of success.
    pub fn mean(&self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }
}
