//! The events of a run's log.

use crate::plan::{Plan, Tier};
use crate::rank::Ranking;
use crate::record::{Analysis, Belief, Candidate, CandidateId, Report};
use serde::{Deserialize, Serialize};

/// One thing that happened. A step of the search is committed as one transaction of one or more events, so
/// a log never holds half a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "the large one is made once a run")]
pub enum Event {
    /// The first event of every run.
    Opened {
        /// What the run does.
        plan: Plan,
        /// Version of archc.
        version: String,
    },
    /// A process began to work on the run.
    Session {
        /// Its id.
        pid: u32,
    },
    /// A whole generation was proposed.
    Proposed {
        /// Its number.
        generation: u32,
        /// All its drafts, the refused ones too.
        candidates: Vec<Candidate>,
    },
    /// An evaluation ended.
    Evaluated {
        /// Of which candidate.
        candidate: CandidateId,
        /// On which tier.
        tier: Tier,
        /// With which seed.
        seed: u64,
        /// hash(canonical program, evaluator version, tier, seed)
        key: String,
        /// What came out.
        report: Report,
        /// Milliseconds that all sessions had worked by then, on a clock that stands still while the machine sleeps.
        #[serde(default)]
        worked: u64,
    },
    /// All evaluations of a generation are in, and the analyst has spoken.
    Closed {
        /// Its number.
        generation: u32,
        /// What was learned, candidate by candidate.
        analyses: Vec<Analysis>,
        /// The beliefs from here on.
        beliefs: Vec<Belief>,
    },
    /// Programs were chosen to run again on fresh seeds.
    Finals {
        /// They, anchors included.
        contenders: Vec<CandidateId>,
    },
    /// The final ranking.
    Ranked {
        /// It.
        ranking: Ranking,
    },
    /// The process stopped working on the run in good order.
    Ended {
        /// Why: `time`, `candidates`, `tokens`, `memory`, `interrupted`.
        reason: String,
        /// Milliseconds that all sessions had worked by then.
        #[serde(default)]
        worked: u64,
    },
}

impl Event {
    /// The name in the log's `kind` column.
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
