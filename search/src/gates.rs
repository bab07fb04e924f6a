//! Gates: checks that the evaluator reproduces known properties of known architectures.
//!
//! A gate is specified before it runs: task, sizes, seeds, learning rates and rule are in `search/gates.json`. Each program gets the
//! best of the rates on a few separate seeds, then trains on [`SEEDS`] others. A gate that fails stays in the table: it documents a
//! limit of the search's tasks.

use crate::pool::{Ask, Named, Pool, Stopped};
use crate::stats::{self, Interval};
use archc_train::evaluate::{EvalReport, Rates};
use archc_train::task::Part;
use archc_train::tier::{TaskRun, Tier};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of paired seeds of a gate.
pub const SEEDS: u64 = 8;

/// Number of seeds for tuning a gate's learning rates.
pub const TUNINGS: u64 = 2;

/// Multiples of the task's learning rate: the grid extends past the best rate of every program.
pub const RATES: [f64; 4] = [0.25, 0.5, 1.0, 2.0];

/// Significance level of "better": one-sided sign-flip test of the paired differences.
pub const LEVEL: f64 = 0.05;

/// Program of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Name of the program.
    pub name: String,
    /// Source text.
    pub program: String,
}

/// Expected outcome of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The left program scores higher than the right one: p at most [`LEVEL`].
    Better,
    /// Better, and by at least this difference in the mean.
    FarBetter(f64),
    /// The left program's mean value in the task's own metric is at least this.
    AtLeast(f64),
    /// The left program's mean value in the task's own metric is at most this.
    AtMost(f64),
}

impl Rule {
    /// Expectation in words.
    pub fn words(self) -> String {
        match self {
            Self::Better => "left > right".to_owned(),
            Self::FarBetter(by) => format!("left > right by {by}"),
            Self::AtLeast(value) => format!("value >= {value}"),
            Self::AtMost(value) => format!("value <= {value}"),
        }
    }
}

/// Gate: one expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Claim that is tested.
    pub name: String,
    /// Source of the claim, or the reason why the two programs are comparable.
    pub source: String,
    /// Task to train on.
    pub task: TaskRun,
    /// Program under test.
    pub left: Side,
    /// Program that it is compared with.
    #[serde(default)]
    pub right: Option<Side>,
    /// Rule of the comparison.
    pub rule: Rule,
    /// Whether it is quick enough for the test suite.
    pub quick: bool,
    /// Reason why it fails, if it is known to fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
}

/// Built-in gates.
pub fn gates() -> Vec<Gate> {
    serde_json::from_str(include_str!("../gates.json")).expect("the gates that archc carries are well-formed")
}

/// Measurements of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenSide {
    /// Name of the program.
    pub name: String,
    /// Multiple of the learning rate; none if the program learns at no rate.
    pub rate: Option<f64>,
    /// Mean score; none if a training failed.
    pub score: Option<f64>,
    /// Mean value in the task's own metric.
    pub value: Option<f64>,
    /// State size: numbers carried from token to token, all blocks of the stack together.
    pub state: f64,
}

/// Measurements of a gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Measurements of the left program, and of the right one.
    pub sides: Vec<SeenSide>,
    /// Paired difference of the scores with a 95 % confidence interval.
    pub over: Option<Interval>,
    /// One-sided sign-flip p.
    pub p: Option<f64>,
    /// Whether the expectation holds.
    pub holds: bool,
}

/// Runs a gate.
///
/// # Errors
/// If the gate was stopped.
pub fn run(gate: &Gate, pool: &Pool<'_>, told: &(dyn Fn(usize) + Sync)) -> Result<Seen, Stopped> {
    let tier = |seeds: &str, part| Tier {
        name: "gate".to_owned(),
        seeds: seeds.to_owned(),
        part,
        rates: RATES.to_vec(),
        tasks: vec![gate.task.clone()],
    };
    // The gates were revised after a first table, so they use seeds that no earlier table used.
    let (tuning, trial) = (tier("gate tuning 2", Part::Validation), tier("gate 2", Part::Test));
    let named = |side: &Side| Named { name: side.name.clone(), source: Arc::from(side.program.as_str()) };
    let programs: Vec<Named> = std::iter::once(&gate.left).chain(&gate.right).map(named).collect();
    let all: Vec<&Named> = programs.iter().collect();
    let rates = pool.tune(&all, &tuning, TUNINGS, told)?;
    let mut asks = Vec::new();
    for (program, rate) in programs.iter().zip(&rates) {
        let rates = Rates::tuned(*rate);
        asks.extend((0..SEEDS).map(|seed| Ask { program, tier: &trial, seed, rates }));
    }
    let reports = pool.run(&asks, told)?;
    let mut sides = Vec::new();
    let mut scores: Vec<Option<Vec<f64>>> = Vec::new();
    for ((program, rate), reports) in programs.iter().zip(rates).zip(reports.chunks(SEEDS as usize)) {
        let own: Option<Vec<f64>> = reports.iter().map(EvalReport::score).collect();
        let value = |r: &EvalReport| r.tasks.values().next().map(|task| task.value);
        let values: Option<Vec<f64>> = reports.iter().map(value).collect();
        let state = reports.first().map_or(0.0, |r| r.state);
        let mean = |all: &Option<Vec<f64>>| stats::mean(all.as_ref()?);
        sides.push(SeenSide { name: program.name.clone(), rate, score: mean(&own), value: mean(&values), state });
        scores.push(own);
    }
    let differences: Option<Vec<f64>> = match scores.as_slice() {
        [Some(left), Some(right)] => Some(left.iter().zip(right).map(|(a, b)| a - b).collect()),
        _ => None,
    };
    let over = differences.as_deref().and_then(stats::interval);
    let p = differences.as_deref().and_then(stats::sign_flip);
    let better = p.is_some_and(|p| p <= LEVEL);
    let value = sides[0].value;
    let holds = match gate.rule {
        Rule::Better => better,
        Rule::FarBetter(by) => better && differences.as_deref().and_then(stats::mean).is_some_and(|mean| mean >= by),
        Rule::AtLeast(bound) => value.is_some_and(|value| value >= bound),
        Rule::AtMost(bound) => value.is_some_and(|value| value <= bound),
    };
    Ok(Seen { sides, over, p, holds })
}
