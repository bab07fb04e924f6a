//! The static screen: what a candidate must pass before it may train, in milliseconds.
//!
//! In this order: it parses; its names, axes and sizes check; its output depends on its input and every
//! parameter can learn; its ranges are sane; something in it mixes time, and no worse than the anchors do; its state does not grow
//! (unless that is allowed); it is no larger than the fixed anchor (what is, is made smaller first, see [`crate::propose`]). The first check that refuses is recorded, so that a report can say what
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

/// What a candidate may be: of equal size with the fixed anchor, and as fast in its class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    params: f64,
    work: f64,
    state: f64,
    time: TimeClass,
    allow_growing: bool,
}

/// Of the fixed anchor's parameters and work a token, so much is allowed; of its state, no more than all.
pub const EQUAL: f64 = 1.02;

/// The warning that a state may grow without end.
const GROWS: &str = "W0707";

impl Limits {
    /// From the fixed anchor of a run; before there is one, there are none.
    pub fn of(history: &History) -> Self {
        let fixed = history.fixed().and_then(|id| history.candidate(id)?.cost.as_ref());
        Self {
            params: fixed.map_or(f64::INFINITY, |c| EQUAL * c.params as f64),
            work: fixed.map_or(f64::INFINITY, |c| EQUAL * c.work),
            state: fixed.map_or(f64::INFINITY, |c| c.state as f64),
            time: history.anchors().filter_map(|a| Some(a.cost.as_ref()?.time)).max().unwrap_or(TimeClass::Quadratic),
            allow_growing: history.plan().allow_growing,
        }
    }

    /// Refuses what is no program of this search, whatever its size.
    pub fn refuse(&self, screened: &Screened) -> Option<Refusal> {
        let cost = screened.cost.as_ref()?;
        let grows = screened.findings.iter().find(|f| f.code == GROWS);
        if let Some(finding) = grows.filter(|_| !self.allow_growing) {
            let message = finding.message.clone();
            return Some(Refusal { check: "growth", code: finding.code.clone(), message });
        }
        (cost.time > self.time).then(|| Refusal {
            check: "time",
            code: String::new(),
            message: format!("{}, and the anchors are {}", cost.time.word(), self.time.word()),
        })
    }

    /// Refuses what is larger than the fixed anchor.
    pub fn too_large(&self, cost: &Cost) -> Option<Refusal> {
        let over = |what, has: f64, may: f64| {
            (has > may).then(|| Refusal {
                check: "cost",
                code: String::new(),
                message: format!("{has:.0} {what}, and the fixed anchor allows {may:.0}"),
            })
        };
        over("numbers of state", cost.state as f64, self.state)
            .or_else(|| over("parameters", cost.params as f64, self.params))
            .or_else(|| over("operations a token", cost.work, self.work))
    }
}
