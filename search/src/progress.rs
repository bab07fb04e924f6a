//! Progress notices of a running search. Their display is up to the caller.

use crate::plan::Tier;
use crate::record::{CandidateId, Status};
use crate::store::Counts;
use std::time::Duration;

/// Receiver of a search's notices.
pub trait Progress {
    /// Is called with each notice, on the thread that called [`crate::run()`], at least several times per second.
    fn notice(&mut self, notice: &Notice<'_>);
}

/// Receiver that ignores all notices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn notice(&mut self, _: &Notice<'_>) {}
}

/// Notice about a search.
#[derive(Clone, Debug)]
pub enum Notice<'a> {
    /// The run folder is open.
    Started {
        /// Path of the folder.
        folder: &'a std::path::Path,
        /// Number of candidates that are already in its log; 0 for a new run.
        resumed: usize,
    },
    /// A generation was proposed.
    Generation {
        /// Number of the generation; 0 contains the anchors.
        number: u32,
        /// Number of its candidates that will be trained.
        admitted: usize,
    },
    /// An evaluation ended.
    Evaluated {
        /// Candidate that was evaluated.
        candidate: CandidateId,
        /// Name of the candidate.
        name: &'a str,
        /// Whether it is an anchor.
        anchor: bool,
        /// Tier of the evaluation.
        tier: Tier,
        /// Status of the evaluation.
        status: Status,
        /// Score, if any.
        score: Option<f64>,
        /// First finding of the report.
        finding: Option<&'a str>,
    },
    /// Another program is the best now.
    Best {
        /// The new best program.
        candidate: CandidateId,
        /// Name of the program.
        name: &'a str,
        /// Corrected lead over the fixed anchor; none if that anchor is the best.
        lead: Option<f64>,
    },
    /// The search is over, the finals begin.
    Finals {
        /// Number of programs in the finals, including the fixed anchor.
        contenders: usize,
    },
    /// Time has passed.
    Tick(Standing<'a>),
}

/// State of a search.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Time spent in all sessions.
    pub elapsed: Duration,
    /// Time limit, if any.
    pub budget: Option<Duration>,
    /// Maximum number of candidates, if limited.
    pub candidates: Option<u32>,
    /// Numbers of the run so far.
    pub counts: &'a Counts,
    /// Number of running evaluations.
    pub running: usize,
    /// Description of the current activity, before there are candidates and in the finals.
    pub place: Option<&'a str>,
}
