//! The static screen: what a candidate must pass before it may train, in milliseconds.
//!
//! In this order: it parses; its names, axes and sizes check; its output depends on its input and every
//! parameter can learn; its ranges are sane; something in it mixes time, and no worse than the anchors do;
//! it costs no more than they allow. The first check that refuses is recorded, so that a report can say what
//! the search wastes its drafts on.

use crate::record::{Cost, Finding, TimeClass};
use crate::store::History;
use archc_compiler::diag::Diagnostic;

/// Judges programs without running them.
pub trait Screen: Sync {
    /// What the compiler says of a program.
    fn screen(&self, source: &str) -> Screened;
}

/// What the screen found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Screened {
    /// The name of the block; empty if it does not parse.
    pub name: String,
    /// Canonical hash with sizes, of all settings that the search trains in.
    pub hash: String,
    /// Canonical hash without sizes.
    pub family: String,
    /// What it costs, if it checks.
    pub cost: Option<Cost>,
    /// Everything the compiler said.
    pub findings: Vec<Finding>,
    /// Why it is refused.
    pub refusal: Option<Refusal>,
}

/// Why a program may not train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `parse`, `check`, `dataflow`, `ranges`, `time`, `cost`.
    pub check: &'static str,
    /// The code of the finding; empty for the search's own limits.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

impl Refusal {
    /// By a finding of the compiler.
    pub fn by(check: &'static str, finding: &Diagnostic) -> Self {
        Self { check, code: finding.code.to_owned(), message: finding.message.clone() }
    }
}

/// How much a candidate may cost: the most expensive anchor, and some tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    params: f64,
    flops: f64,
    state: f64,
    time: TimeClass,
}

/// More than the anchors' parameters, FLOPs and state by so much is refused.
const TOLERANCE: (f64, f64, f64) = (1.25, 1.5, 1.5);

impl Limits {
    /// From the anchors of a run; without any, there are none.
    pub fn of(history: &History) -> Self {
        let most = |f: fn(&Cost) -> f64| history.anchors().filter_map(|a| a.cost.as_ref()).map(f).fold(0.0, f64::max);
        let (params, flops, state) = TOLERANCE;
        Self {
            params: params * most(|c| c.params as f64),
            flops: flops * most(|c| c.flops_per_token),
            state: state * most(|c| c.state as f64),
            time: history.anchors().filter_map(|a| Some(a.cost.as_ref()?.time)).max().unwrap_or(TimeClass::Quadratic),
        }
    }

    /// Refuses what costs more.
    pub fn refuse(&self, cost: &Cost) -> Option<Refusal> {
        let over = |what, has: f64, may: f64| {
            (has > may).then(|| Refusal {
                check: "cost",
                code: String::new(),
                message: format!("{has:.0} {what}, and the anchors allow {may:.0}"),
            })
        };
        if cost.time > self.time {
            let (has, may) = (cost.time.word(), self.time.word());
            return Some(Refusal {
                check: "time",
                code: String::new(),
                message: format!("{has}, and the anchors are {may}"),
            });
        }
        over("parameters", cost.params as f64, self.params)
            .or_else(|| over("FLOPs a token", cost.flops_per_token, self.flops))
            .or_else(|| over("numbers of state", cost.state as f64, self.state))
    }
}
