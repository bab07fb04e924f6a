//! What a search tells while it runs. How it looks is the caller's affair.

use crate::plan::Tier;
use crate::record::{CandidateId, Status};
use crate::store::Counts;
use std::time::Duration;

/// Listens to a search.
pub trait Progress {
    /// Something happened. Called on the thread that called [`crate::run()`], and at least some times a second.
    fn notice(&mut self, notice: &Notice<'_>);
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn notice(&mut self, _: &Notice<'_>) {}
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Notice<'a> {
    /// The run folder is open.
    Started {
        /// It.
        folder: &'a std::path::Path,
        /// Candidates that are in its log already; 0 for a new run.
        resumed: usize,
    },
    /// A generation was proposed.
    Generation {
        /// Its number; 0 are the anchors.
        number: u32,
        /// How many of it will train.
        admitted: usize,
    },
    /// An evaluation ended.
    Evaluated {
        /// Of which candidate.
        candidate: CandidateId,
        /// Its name.
        name: &'a str,
        /// It is an anchor.
        anchor: bool,
        /// On which tier.
        tier: Tier,
        /// How.
        status: Status,
        /// Its score.
        score: Option<f64>,
        /// What there was to say, first of all.
        finding: Option<&'a str>,
    },
    /// The best is another one now.
    Best {
        /// It.
        candidate: CandidateId,
        /// Its name.
        name: &'a str,
        /// Its corrected lead over the fixed anchor; none while that is the best.
        lead: Option<f64>,
    },
    /// The search is over, the finals begin.
    Finals {
        /// How many programs.
        contenders: usize,
    },
    /// Time passes.
    Tick(Standing<'a>),
}

/// Where a search is.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Time spent, all sessions.
    pub elapsed: Duration,
    /// Time there is, if it is limited.
    pub budget: Option<Duration>,
    /// Candidates there may be, if they are limited.
    pub candidates: Option<u32>,
    /// Numbers so far.
    pub counts: &'a Counts,
    /// Evaluations running.
    pub running: usize,
    /// What is going on, in words, before there are candidates and in the finals.
    pub place: Option<&'a str>,
}
