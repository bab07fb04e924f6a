//! What a run does with its candidates: rungs, tasks, seeds. Part of the log, so that a resumed run and a
//! report know it.
//!
//! Rungs are measured in tokens, never in seconds, so that a slow machine tries fewer candidates but
//! never other ones.

use serde::{Deserialize, Serialize};

/// How long and on what an evaluation trains; the meaning belongs to the evaluator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// One or two tasks, just long enough that the anchors leave chance.
    Screen,
    /// All tasks of the search.
    Search,
}

impl Tier {
    /// As in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Search => "search",
        }
    }
}

/// A step of successive halving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// What is trained.
    pub tier: Tier,
    /// The seed index that is added here; every candidate of a rung has the same init and batch stream.
    pub seed: u64,
    /// Share of the candidates of the rung below that come here.
    pub keep: f64,
}

/// The fixed part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Seed of all proposals.
    pub seed: u64,
    /// Slots of a generation.
    pub generation: u32,
    /// Most drafts of a slot.
    pub drafts: u32,
    /// Sound drafts of a slot, of which the one that is expected to do best is trained.
    pub choices: u32,
    /// The rungs, from short to long.
    pub rungs: Vec<Rung>,
    /// A control joins every so many generations; 0: never.
    pub control_every: u32,
    /// Programs that are run again on fresh seeds at the end, besides the anchors.
    pub finalists: u32,
    /// First of the fresh seeds; no search seed reaches it.
    pub fresh_from: u64,
    /// Most fresh seeds.
    pub fresh_seeds: u32,
    /// Which researcher proposes.
    pub researcher: String,
    /// The evaluator and its version: scores of two versions are never compared.
    pub evaluator: String,
    /// Names and texts of the seed programs.
    pub anchors: Vec<(String, String)>,
}

impl Plan {
    /// The plan of the design: generations of 8; a short screen for all; the tasks of the search for the best three,
    /// and if there is time (`patient`) on a second seed for half of those. All anchors climb all rungs, so in ten
    /// minutes a third rung would leave little for candidates. No rung repeats a seed: the tiers share tasks, and a
    /// score seen twice would teach nothing.
    pub fn new(seed: u64, anchors: Vec<(String, String)>, researcher: &str, evaluator: &str, patient: bool) -> Self {
        let rung = |tier, seed, keep| Rung { tier, seed, keep };
        let mut rungs = vec![rung(Tier::Screen, 0, 1.0), rung(Tier::Search, 1, 0.375)];
        rungs.extend(patient.then(|| rung(Tier::Search, 2, 0.5)));
        Self {
            seed,
            generation: 8,
            drafts: 6,
            choices: 2,
            rungs,
            control_every: 3,
            finalists: 3,
            fresh_from: 1_000_000,
            fresh_seeds: 8,
            researcher: researcher.to_owned(),
            evaluator: evaluator.to_owned(),
            anchors,
        }
    }

    /// The plan of a run that was not opened.
    pub(crate) const fn nothing() -> Self {
        Self {
            seed: 0,
            generation: 0,
            drafts: 0,
            choices: 0,
            rungs: Vec::new(),
            control_every: 0,
            finalists: 0,
            fresh_from: u64::MAX,
            fresh_seeds: 0,
            researcher: String::new(),
            evaluator: String::new(),
            anchors: Vec::new(),
        }
    }

    /// The seed index a control uses where others use `seed`: other batches, so that it may win by luck only.
    pub fn control_seed(&self, generation: u32, seed: u64) -> u64 {
        1000 * (u64::from(generation) + 1) + seed
    }

    /// How many of `n` candidates come to a rung from the one below: its share, and at least one.
    pub fn places(rung: &Rung, n: usize) -> usize {
        ((n as f64 * rung.keep).round() as usize).max(1)
    }
}
