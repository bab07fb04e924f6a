//! The events of a run's log.

use crate::plan::{Plan, Tier};
use crate::rank::Ranking;
use crate::record::{Analysis, Belief, Candidate, CandidateId, Report};
use serde::{Deserialize, Serialize};

/// Event of a run. A step of the search is committed as one transaction of one or more events, so a log never contains
/// half a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "the large one is made once a run")]
pub enum Event {
    /// The first event of every run.
    Opened {
        /// Plan of the run.
        plan: Plan,
        /// Version of archc.
        version: String,
    },
    /// A process started to work on the run.
    Session {
        /// Process id.
        pid: u32,
    },
    /// A whole generation was proposed.
    Proposed {
        /// Number of the generation.
        generation: u32,
        /// All its drafts, including the refused ones.
        candidates: Vec<Candidate>,
    },
    /// An evaluation ended.
    Evaluated {
        /// Candidate that was evaluated.
        candidate: CandidateId,
        /// Tier of the evaluation.
        tier: Tier,
        /// Seed of the evaluation.
        seed: u64,
        /// Key: hash(program text, evaluator version, tier, seed, rate).
        key: String,
        /// Result of the evaluation.
        report: Report,
        /// Working time of all sessions up to this event in milliseconds, on a clock that stops while the machine
        /// sleeps.
        #[serde(default)]
        worked: u64,
    },
    /// All evaluations of a generation are complete and analysed.
    Closed {
        /// Number of the generation.
        generation: u32,
        /// Analyses of its candidates.
        analyses: Vec<Analysis>,
        /// Beliefs from here on.
        beliefs: Vec<Belief>,
    },
    /// Finalists were chosen to run on fresh seeds.
    Finals {
        /// The finalists, without the fixed anchor.
        contenders: Vec<CandidateId>,
    },
    /// The final ranking.
    Ranked {
        /// The ranking.
        ranking: Ranking,
    },
    /// The process stopped working on the run in good order.
    Ended {
        /// Reason, for example `time`, `candidates`, `tokens`, `memory`, `interrupted`.
        reason: String,
        /// Working time of all sessions up to this event in milliseconds.
        #[serde(default)]
        worked: u64,
    },
}

impl Event {
    /// Name in the log's `kind` column.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Session { .. } => "session",
            Self::Proposed { .. } => "proposed",
            Self::Evaluated { .. } => "evaluated",
            Self::Closed { .. } => "closed",
            Self::Finals { .. } => "finals",
            Self::Ranked { .. } => "ranked",
            Self::Ended { .. } => "ended",
        }
    }
}
