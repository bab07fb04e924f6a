//! Tiers: what an evaluation trains on, as data.
//!
//! Every number here is in steps and tokens, none in seconds: a slow machine evaluates fewer programs, but
//! scores each one the same. The sizes are what the cpu device can do on two cores.

use crate::fault;
use crate::task::{Part, TaskSpec};
use crate::trainer::TrainConfig;
use archc_compiler::diag::Diagnostic;
use serde::{Deserialize, Serialize};

/// One training of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRun {
    /// Its name in the report.
    pub name: String,
    /// The task.
    pub task: TaskSpec,
    /// Width D of the model.
    pub width: usize,
    /// Layers of the standard stack.
    pub layers: usize,
    /// Updates.
    pub steps: u64,
    /// Rows a batch.
    pub batch: usize,
    /// Peaks of the learning rate; every one is trained, and validation picks.
    pub learning_rates: Vec<f64>,
    /// Batches that are scored.
    pub score_batches: u64,
}

impl TaskRun {
    fn new(name: &str, task: &str, (width, layers): (usize, usize), steps: u64, learning_rates: &[f64]) -> Self {
        Self {
            name: name.to_owned(),
            task: task.parse().expect("the tiers' tasks are well-formed"),
            width,
            layers,
            steps,
            batch: 16,
            learning_rates: learning_rates.to_vec(),
            score_batches: 8,
        }
    }

    /// The training at one of the learning rates.
    pub fn config(&self, learning_rate: f64, seed: u64) -> TrainConfig {
        TrainConfig {
            steps: self.steps,
            batch: self.batch,
            learning_rate,
            warmup: (self.steps / 20).max(1),
            seed,
            validate_every: 0,
            validate_batches: self.score_batches,
            ..TrainConfig::default()
        }
    }
}

/// What an evaluation does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// What `--tier` takes.
    pub name: String,
    /// Space of its seeds. Tiers that share one see the same first values and batches at the same seed.
    pub seeds: String,
    /// The part that is reported.
    pub part: Part,
    /// The trainings, in order. The first that fails ends the evaluation.
    pub tasks: Vec<TaskRun>,
}

/// A step of successive halving: how the rungs of a search are climbed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The tier that is run here.
    pub tier: String,
    /// Seeds of it in all, lower rungs included.
    pub seeds: u64,
    /// Share of the candidates of the rung below that come here.
    pub keep: f64,
}

/// `screen`: one task, just long enough that the anchors leave chance. `search`: what candidates are
/// ranked by. `verify`: fresh seeds, other settings, a held-out task, a grid of learning rates, the test part.
pub fn tiers() -> Vec<Tier> {
    let tier =
        |name: &str, seeds: &str, part, tasks| Tier { name: name.to_owned(), seeds: seeds.to_owned(), part, tasks };
    // Measured at these sizes, seed 0, cpu device. On copying the accuracy of DeltaNet, Gated DeltaNet, GLA and a Mamba2-like
    // memory is .57 .61 .37 .29, on the text that archc carries they need 3.71 3.41 3.45 3.04 bits a byte (both by `archc
    // train`, whose warm-up is longer). On recall DeltaNet scores .23 and GLA .22. Recall stays narrow: at D = 64 and 48
    // tokens both delta rules are perfect after 100 steps, which leaves no room above them.
    let recall = || TaskRun::new("recall", "recall:len=32", (32, 1), 160, &[5e-3]);
    vec![
        tier("screen", "search", Part::Validation, vec![recall()]),
        tier(
            "search",
            "search",
            Part::Validation,
            vec![
                recall(),
                TaskRun::new("selective-copying", "selective-copying:copies=4,len=48", (64, 1), 250, &[3e-3]),
                TaskRun::new("text", "text:len=64", (64, 1), 200, &[3e-3]),
            ],
        ),
        tier(
            "verify",
            "verify",
            Part::Test,
            vec![
                TaskRun::new("recall", "recall:len=48,vocab=24", (32, 2), 400, &[2.5e-3, 5e-3]),
                TaskRun::new("selective-copying", "selective-copying:copies=6,len=48", (32, 2), 400, &[2.5e-3, 5e-3]),
                TaskRun::new("memorization", "memorization:len=32", (32, 2), 400, &[2.5e-3, 5e-3]),
                TaskRun::new("text", "text:len=64", (32, 2), 400, &[2.5e-3, 5e-3]),
            ],
        ),
    ]
}

/// A tier by name.
///
/// # Errors
/// E0915.
pub fn tier(name: &str) -> Result<Tier, Diagnostic> {
    let mut all = tiers();
    match all.iter().position(|tier| tier.name == name) {
        Some(i) => Ok(all.swap_remove(i)),
        None => Err(fault::unknown_tier(name, &all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>())),
    }
}

/// The rungs of a default search.
pub fn ladder() -> Vec<Rung> {
    let rung = |tier: &str, seeds, keep| Rung { tier: tier.to_owned(), seeds, keep };
    vec![rung("screen", 1, 1.0), rung("search", 1, 0.5), rung("search", 3, 0.25)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;
    use std::sync::Arc;

    #[test]
    fn tiers_are_well_formed() {
        let text: String = (0..4000).map(|i| format!("Line {i}.\n\n")).collect();
        let corpus = Arc::new(Corpus::carried(&text).unwrap().unwrap());
        for tier in tiers() {
            assert_eq!(super::tier(&tier.name).unwrap(), tier);
            let json = serde_json::to_string(&tier).unwrap();
            assert_eq!(serde_json::from_str::<Tier>(&json).unwrap(), tier);
            for run in &tier.tasks {
                crate::task::build(&run.task, Some(&corpus)).unwrap();
                assert!(!run.learning_rates.is_empty());
                run.learning_rates.iter().for_each(|&lr| run.config(lr, 0).check().unwrap());
            }
        }
        assert_eq!(tier("serach").unwrap_err().code, "E0915");
        assert!(ladder().iter().all(|rung| tier(&rung.tier).is_ok()));
    }

    #[test]
    fn verification_shares_nothing_with_the_search() {
        let (search, verify) = (tier("search").unwrap(), tier("verify").unwrap());
        assert_ne!(search.seeds, verify.seeds);
        assert_eq!((search.part, verify.part), (Part::Validation, Part::Test));
        assert!(verify.tasks.iter().any(|run| search.tasks.iter().all(|s| s.task.name != run.task.name)));
    }
}
