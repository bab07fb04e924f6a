//! Tiers: the tasks and settings of an evaluation, as data.
//!
//! All amounts here are in steps and tokens, none in seconds: a slow machine evaluates fewer programs, but scores each one the same.
//! The sizes suit the cpu device on two cores.

use crate::fault;
use crate::task::{Part, TaskSpec};
use crate::trainer::TrainConfig;
use archc_compiler::diag::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Measured quantity of a training that becomes the score of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The mean of the training loss over all steps, each capped at the uninformed loss: the area under the learning curve. Every
    /// batch is fresh, so it is a loss on unseen data; and it is the mean of many batches, so it distinguishes two programs with fewer
    /// seeds than the final loss.
    #[default]
    Curve,
    /// Loss of the scored part after the last step, capped at the uninformed loss; for tasks whose scored data differ from the
    /// training data, for example longer sequences.
    Final,
    /// Mean of the two.
    Both,
}

/// Training of one task in an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRun {
    /// Name in the report.
    pub name: String,
    /// Task to train on.
    pub task: TaskSpec,
    /// Width D of the model.
    pub width: usize,
    /// Number of layers of the standard stack.
    #[serde(default = "one_layer")]
    pub layers: usize,
    /// Number of optimizer updates.
    pub steps: u64,
    /// Rows per batch.
    #[serde(default = "sixteen_rows")]
    pub batch: usize,
    /// Peak learning rate; the tier's rates are multiples of it.
    pub learning_rate: f64,
    /// Number of batches that are scored after the last step.
    #[serde(default = "eight_batches")]
    pub score_batches: u64,
    /// Measured quantity that becomes the score.
    #[serde(default)]
    pub measure: Measure,
    /// Fall of the measure below the uninformed loss, in nats, at which the score is 1. None: a fall to a loss of 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<f64>,
    /// Weight in the tier's score, relative to the sum of all weights.
    #[serde(default = "full_weight")]
    pub weight: f64,
}

fn one_layer() -> usize {
    1
}

fn sixteen_rows() -> usize {
    16
}

fn eight_batches() -> u64 {
    8
}

fn full_weight() -> f64 {
    1.0
}

impl TaskRun {
    /// Configuration of the training at a multiple of its learning rate.
    pub fn config(&self, rate: f64, seed: u64) -> TrainConfig {
        TrainConfig {
            steps: self.steps,
            batch: self.batch,
            learning_rate: self.learning_rate * rate,
            warmup: (self.steps / 20).max(1),
            seed,
            validate_every: 0,
            validate_batches: self.score_batches,
            ..TrainConfig::default()
        }
    }

    /// Score of a measured loss in nats: 0 at the uninformed loss or above, 1 where it has fallen by the unit. It has no upper bound:
    /// the unit is a constant of the tier, and programs may be better than those it was measured on.
    pub fn score(&self, uninformed: f64, loss: f64) -> f64 {
        let unit = self.unit.unwrap_or(uninformed);
        if loss.is_finite() && unit > 0.0 { (uninformed - loss).max(0.0) / unit } else { 0.0 }
    }
}

/// Definition of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Name of the tier on the command line (`--tier`).
    pub name: String,
    /// Name of its seed space. Tiers that share one have the same initial values and batches at the same seed.
    pub seeds: String,
    /// Part that is reported.
    pub part: Part,
    /// Multiples of the tasks' learning rates; every one is trained, and the best validation score picks one for each task. A request
    /// may name one rate instead.
    #[serde(default = "one_rate")]
    pub rates: Vec<f64>,
    /// Trainings, in order. The first that fails ends the evaluation.
    pub tasks: Vec<TaskRun>,
}

fn one_rate() -> Vec<f64> {
    vec![1.0]
}
/// Built-in tiers. `screen`: two short tasks at several learning rates, of which it picks one. `search`: the tasks that candidates are
/// ranked by. `verify`: fresh seeds, other settings, a held-out task, the test part.
///
/// The units of `search` are constants, measured once on the anchors of seeds/: about the fall of the best anchor's loss on each task.
/// With them the shares of the tasks in the score's variance over the twelve anchors of a search from seeds/, on eight seeds each, are
/// selective copying .35, mqar .28, parity .19, text .18 (30 November 2026). Batches of eight rows learn mqar in fewer tokens than
/// sixteen.
pub fn tiers() -> Vec<Tier> {
    BUILT_IN
        .iter()
        .map(|text| serde_json::from_str(text).expect("the tiers that archc carries are well-formed"))
        .collect()
}

const BUILT_IN: [&str; 3] =
    [include_str!("../tiers/screen.json"), include_str!("../tiers/search.json"), include_str!("../tiers/verify.json")];

/// Loads a tier by name, or from a file of the same layout as the built-in ones (train/tiers).
///
/// # Errors
/// E0915 for an unknown name, E0940 for a file that is not a tier.
pub fn tier(name: &str) -> Result<Tier, Diagnostic> {
    let mut all = tiers();
    if let Some(i) = all.iter().position(|tier| tier.name == name) {
        return Ok(all.swap_remove(i));
    }
    let path = Path::new(name);
    if path.extension().is_none() && !path.is_file() {
        return Err(fault::unknown_tier(name, &all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>()));
    }
    read(path)
}

/// Maximum size of a tier's file in bytes.
const LONGEST: u64 = 1 << 20;

fn read(path: &Path) -> Result<Tier, Diagnostic> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| fault::no_tier(path, error))?;
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| fault::no_tier(path, error))?;
    let tier: Tier = serde_json::from_str(&text).map_err(|error| fault::no_tier(path, error))?;
    tier.check().map_err(|why| fault::no_tier(path, why))?;
    Ok(tier)
}

impl Tier {
    /// Checks that the tier is a valid evaluation.
    fn check(&self) -> Result<(), String> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if self.name.is_empty() || self.tasks.is_empty() {
            return Err("a tier has a name and at least one task".to_owned());
        }
        if self.rates.is_empty() || !self.rates.iter().all(|&rate| positive(rate)) {
            return Err("`rates` is a list of at least one positive number".to_owned());
        }
        for (i, run) in self.tasks.iter().enumerate() {
            let wrong = |what: &str| Err(format!("the task `{}`: {what}", run.name));
            if self.tasks[..i].iter().any(|other| other.name == run.name) {
                return wrong("two tasks have this name");
            }
            if !positive(run.weight) || run.unit.is_some_and(|unit| !positive(unit)) {
                return wrong("`weight` and `unit` are positive");
            }
            if run.width == 0 || run.layers == 0 || run.score_batches == 0 {
                return wrong("`width`, `layers` and `score_batches` are at least 1");
            }
            for &rate in &self.rates {
                run.config(rate, 0).check().or_else(|d| wrong(&d.message))?;
            }
        }
        Ok(())
    }

    /// The same tier with other weights: `[("mqar", 2.0)]`.
    ///
    /// # Errors
    /// Error text that names the unknown task or the invalid weight; a weight of 0 leaves the task out.
    pub fn weighted(mut self, weights: &[(String, f64)]) -> Result<Self, String> {
        for (name, weight) in weights {
            let Some(run) = self.tasks.iter_mut().find(|run| run.name == *name) else {
                let names: Vec<&str> = self.tasks.iter().map(|run| run.name.as_str()).collect();
                return Err(format!("the tier `{}` has no task `{name}`; it has {}", self.name, names.join(", ")));
            };
            if !weight.is_finite() || *weight < 0.0 {
                return Err(format!("the weight {weight} of `{name}` is not 0 or positive"));
            }
            run.weight = *weight;
        }
        self.tasks.retain(|run| run.weight > 0.0);
        if self.tasks.is_empty() {
            return Err(format!("no task of the tier `{}` has a weight above 0", self.name));
        }
        Ok(self)
    }
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
            assert_eq!(tier.check(), Ok(()));
            let json = serde_json::to_string(&tier).unwrap();
            assert_eq!(serde_json::from_str::<Tier>(&json).unwrap(), tier);
            for run in &tier.tasks {
                crate::task::build(&run.task, Some(&corpus)).unwrap();
            }
        }
        assert_eq!(tier("serach").unwrap_err().code, "E0915");
    }

    #[test]
    fn verification_shares_nothing_with_the_search() {
        let (search, verify) = (tier("search").unwrap(), tier("verify").unwrap());
        assert_ne!(search.seeds, verify.seeds);
        assert_eq!((search.part, verify.part), (Part::Validation, Part::Test));
        assert!(verify.tasks.iter().any(|run| search.tasks.iter().all(|s| s.task.name != run.task.name)));
    }

    #[test]
    fn files_are_tiers_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.json");
        let name = path.to_str().unwrap();
        let task = r#""name": "a", "task": "recall:len=32", "width": 16, "steps": 10, "learning_rate": 0.01"#;
        let whole = format!(r#"{{"name": "mine", "seeds": "mine", "part": "validation", "tasks": [{{{task}}}]}}"#);
        std::fs::write(&path, &whole).unwrap();
        let mine = tier(name).unwrap();
        assert_eq!((mine.rates.as_slice(), mine.tasks[0].layers, mine.tasks[0].weight), (&[1.0][..], 1, 1.0));
        for (old, new, said) in [
            ("\"tasks\": [", "\"tasks\": [], \"x\": [", "unknown field `x`"),
            ("0.01", "-1", "lr"),
            ("recall:len=32", "recall:len", "len"),
            (
                "}]",
                "}, {\"name\": \"a\", \"task\": \"recall\", \"width\": 1, \"steps\": 1, \"learning_rate\": 1}]",
                "two tasks",
            ),
        ] {
            std::fs::write(&path, whole.replace(old, new)).unwrap();
            let error = tier(name).unwrap_err();
            assert!(error.code == "E0940" && error.message.contains(said), "{error:?}");
        }
        assert_eq!(tier("missing.json").unwrap_err().code, "E0940");
    }

    #[test]
    fn scores_begin_at_the_uninformed_loss() {
        let mut run = tier("search").unwrap().tasks.remove(0);
        run.unit = Some(0.5);
        assert_eq!([3.0, 2.0, 1.5, f64::NAN].map(|loss| run.score(2.0, loss)), [0.0, 0.0, 1.0, 0.0]);
        run.unit = None;
        assert_eq!(run.score(2.0, 1.0), 0.5);
    }

    #[test]
    fn weights_can_be_others() {
        let tier = || tier("search").unwrap();
        let first = tier().tasks[0].name.clone();
        let weigh = |name: &str, weight| tier().weighted(&[(name.to_owned(), weight)]);
        assert_eq!(weigh(&first, 3.0).unwrap().tasks[0].weight, 3.0);
        assert_eq!(weigh(&first, 0.0).unwrap().tasks.len(), tier().tasks.len() - 1);
        assert!(weigh("no such", 1.0).unwrap_err().contains(&first));
        assert!(weigh(&first, -1.0).is_err());
    }
}
