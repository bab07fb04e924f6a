//! What a run does with its candidates: rungs, seeds, shares. Part of the log, so that a resumed run and a report know it.
//!
//! Rungs are measured in steps and tokens, never in seconds, so that a slow machine tries fewer candidates but never other ones.

use serde::{Deserialize, Serialize};

/// How long and on what an evaluation trains; the meaning belongs to the evaluator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The screen's task at every learning rate; says which rate a program is trained at from then on.
    Tune,
    /// The screen's task: short.
    Screen,
    /// The tasks that candidates are ranked by.
    Search,
    /// The same tasks on seeds and on held-out data that nothing else sees.
    Final,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tune, Self::Screen, Self::Search, Self::Final];

    /// As in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tune => "tune",
            Self::Screen => "screen",
            Self::Search => "search",
            Self::Final => "final",
        }
    }
}

/// What a command was given beside the seed programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What the task `text` reads; none: the text that archc carries.
    pub corpus: Option<String>,
    /// What trains.
    pub device: String,
    /// Time of all sessions, if it is limited.
    pub seconds: Option<f64>,
    /// Most proposals.
    pub candidates: Option<u32>,
    /// Most tokens.
    pub tokens: Option<u64>,
    /// Evaluations side by side; 0: one a core.
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
    /// Seeds that an anchor's learning rate is tuned on.
    pub anchor_tunings: u32,
    /// Seeds of the search tier that an anchor is evaluated on.
    pub anchor_seeds: u32,
    /// Short screening seeds of a candidate, beside the one that its rate is tuned on.
    pub screens: u32,
    /// Share of a generation that comes from tuning to the screening seeds.
    pub keep_tuned: f64,
    /// Share of a generation that comes to the search tier.
    pub keep_screened: f64,
    /// Seeds of the search tier that a generation is evaluated on.
    pub searches: u32,
    /// Controls of a generation: anchors with a change that changes nothing. The first generations have a few more.
    pub controls: u32,
    /// Candidates that come to the finals.
    pub finalists: u32,
    /// Whether programs whose state may grow (W0707) may train.
    pub allow_growing: bool,
    /// Which researcher proposes.
    pub researcher: String,
    /// The evaluator and its version: scores of two versions are never compared.
    pub evaluator: String,
    /// What the evaluator does, for people: the tiers as JSON.
    pub methods: serde_json::Value,
    /// What the command was given, for a resumed run.
    pub settings: Settings,
    /// Names and texts of the seed programs.
    pub anchors: Vec<(String, String)>,
}

/// Seeds of one tier that belong to a generation. No two generations share one.
const SEEDS_A_GENERATION: u64 = 64;

impl Plan {
    /// The plan of the design: generations of eight and three controls; all are tuned, the better two thirds are screened on two more
    /// seeds, the best third is evaluated on the tasks of the search, on a seed that no generation before has seen.
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

    /// The plan of a run that was not opened.
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

    /// The seeds of a tier that a generation is evaluated on. Those of the finals belong to no generation.
    pub fn seeds(&self, generation: u32, tier: Tier) -> std::ops::Range<u64> {
        // The anchors' seeds are those of every run, so that what is known of an anchor is of use to the next run. The others are this
        // run's own: two runs with different seeds share none.
        let anchors = generation == 0;
        let first =
            if anchors { 0 } else { self.seed.wrapping_mul(1 << 32) + SEEDS_A_GENERATION * u64::from(generation) };
        // Tuning and screening seeds are not those of the search tier: its first task may be the screen's.
        let (from, count) = match tier {
            Tier::Tune => (0, if anchors { self.anchor_tunings } else { 1 }),
            Tier::Screen => (8, if anchors { 0 } else { self.screens }),
            Tier::Search => (16, if anchors { self.anchor_seeds } else { self.searches }),
            Tier::Final => (0, 0),
        };
        first + from..first + from + u64::from(count)
    }

    /// The first seeds of the finals; the finals have their own space of seeds.
    pub fn fresh(&self, count: usize) -> std::ops::Range<u64> {
        let first = self.seed.wrapping_mul(1 << 32);
        first..first + count as u64
    }

    /// How many of `n` candidates go on by a share, and at least one.
    pub fn places(share: f64, n: usize) -> usize {
        ((n as f64 * share).round() as usize).clamp(1, n.max(1))
    }
}
