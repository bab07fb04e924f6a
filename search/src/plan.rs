//! Plan of a run: rungs, seeds, fractions of candidates that advance. Part of the log, so that a resumed run and a report have it.
//!
//! Rungs are measured in steps and tokens, never in seconds, so that a slow machine tries fewer candidates but never different ones.

use serde::{Deserialize, Serialize};

/// Tier of an evaluation; the evaluator defines its tasks and lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The screen's task at every learning rate; determines the rate at which a program is trained from then on.
    Tune,
    /// The screen's task: short.
    Screen,
    /// The tasks by which candidates are ranked.
    Search,
    /// The same tasks on separate seeds and on held-out data that no other tier uses.
    Final,
}

impl Tier {
    /// All tiers.
    pub const ALL: [Self; 4] = [Self::Tune, Self::Screen, Self::Search, Self::Final];

    /// Name in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tune => "tune",
            Self::Screen => "screen",
            Self::Search => "search",
            Self::Final => "final",
        }
    }
}

/// Options of the command beside the seed programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Path of the corpus for the task `text`; none: the built-in text.
    pub corpus: Option<String>,
    /// Name of the device.
    pub device: String,
    /// Time limit of all sessions in seconds, if any.
    pub seconds: Option<f64>,
    /// Maximum number of proposals.
    pub candidates: Option<u32>,
    /// Maximum number of tokens.
    pub tokens: Option<u64>,
    /// Number of parallel evaluations; 0: one per core.
    pub jobs: usize,
    /// The command, word by word.
    pub command: Vec<String>,
}

impl Settings {
    const fn nothing() -> Self {
        Self {
            corpus: None,
            device: String::new(),
            seconds: None,
            candidates: None,
            tokens: None,
            jobs: 0,
            command: Vec::new(),
        }
    }
}

/// Fixed part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Seed of all proposals.
    pub seed: u64,
    /// Number of slots of a generation.
    pub generation: u32,
    /// Maximum number of drafts of a slot.
    pub drafts: u32,
    /// Number of sound drafts of a slot, of which the one with the highest expected score is trained.
    pub choices: u32,
    /// Number of seeds on which an anchor's learning rate is tuned.
    pub anchor_tunings: u32,
    /// Number of seeds of the search tier on which an anchor is evaluated.
    pub anchor_seeds: u32,
    /// Number of short screening seeds of a candidate, in addition to its tuning seed.
    pub screens: u32,
    /// Fraction of a generation that advances from tuning to the screening seeds.
    pub keep_tuned: f64,
    /// Fraction of a generation that advances to the search tier.
    pub keep_screened: f64,
    /// Number of seeds of the search tier on which a generation is evaluated.
    pub searches: u32,
    /// Number of controls of a generation: anchors with a change without effect. The first generations have a few more.
    pub controls: u32,
    /// Maximum number of candidates in the finals.
    pub finalists: u32,
    /// Whether programs whose state may grow (W0707) may be trained.
    pub allow_growing: bool,
    /// Name of the researcher.
    pub researcher: String,
    /// The evaluator and its version: scores of two versions are never compared.
    pub evaluator: String,
    /// Description of the evaluator for users: the tiers as JSON.
    pub methods: serde_json::Value,
    /// Options of the command, for a resumed run.
    pub settings: Settings,
    /// Names and texts of the seed programs.
    pub anchors: Vec<(String, String)>,
}

/// Number of seeds of one tier reserved for a generation. No two generations share a seed.
const SEEDS_A_GENERATION: u64 = 64;

impl Plan {
    /// Default plan: generations of eight and three controls; all are tuned, the best two thirds are screened on two more seeds, the
    /// best third is evaluated on the tasks of the search, on a seed that no generation before has used.
    pub fn new(seed: u64, anchors: Vec<(String, String)>, researcher: &str, evaluator: &str) -> Self {
        Self {
            seed,
            generation: 8,
            drafts: 6,
            choices: 2,
            anchor_tunings: 3,
            anchor_seeds: 8,
            screens: 2,
            keep_tuned: 0.67,
            keep_screened: 0.34,
            searches: 1,
            controls: 3,
            finalists: 3,
            allow_growing: false,
            researcher: researcher.to_owned(),
            evaluator: evaluator.to_owned(),
            methods: serde_json::Value::Null,
            settings: Settings::nothing(),
            anchors,
        }
    }

    /// Plan of a run that was not opened.
    pub(crate) const fn nothing() -> Self {
        Self {
            seed: 0,
            generation: 0,
            drafts: 0,
            choices: 0,
            anchor_tunings: 0,
            anchor_seeds: 0,
            screens: 0,
            keep_tuned: 0.0,
            keep_screened: 0.0,
            searches: 0,
            controls: 0,
            finalists: 0,
            allow_growing: false,
            researcher: String::new(),
            evaluator: String::new(),
            methods: serde_json::Value::Null,
            settings: Settings::nothing(),
            anchors: Vec::new(),
        }
    }

    /// Seeds of a tier on which a generation is evaluated. Those of the finals belong to no generation.
    pub fn seeds(&self, generation: u32, tier: Tier) -> std::ops::Range<u64> {
        // All runs share the anchors' seeds, so that cached results of anchors can be reused by the next run. The other seeds belong
        // to this run: two runs with different seeds share none.
        let anchors = generation == 0;
        let first =
            if anchors { 0 } else { self.seed.wrapping_mul(1 << 32) + SEEDS_A_GENERATION * u64::from(generation) };
        // Tuning and screening seeds differ from those of the search tier, whose first task may be the screen's.
        let (from, count) = match tier {
            Tier::Tune => (0, if anchors { self.anchor_tunings } else { 1 }),
            Tier::Screen => (8, if anchors { 0 } else { self.screens }),
            Tier::Search => (16, if anchors { self.anchor_seeds } else { self.searches }),
            Tier::Final => (0, 0),
        };
        first + from..first + from + u64::from(count)
    }

    /// First seeds of the finals, which have a separate seed space.
    pub fn fresh(&self, count: usize) -> std::ops::Range<u64> {
        let first = self.seed.wrapping_mul(1 << 32);
        first..first + count as u64
    }

    /// Number of candidates out of `n` that advance by a fraction, at least one.
    pub fn places(share: f64, n: usize) -> usize {
        ((n as f64 * share).round() as usize).clamp(1, n.max(1))
    }
}
