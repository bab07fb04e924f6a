//! Static screen: checks that a candidate must pass before it may be trained, in milliseconds.
//!
//! In this order: it parses; its names, axes and sizes check; its output depends on its input and every parameter can learn; its ranges are
//! valid; something in it mixes time, with a time class no worse than the anchors'; its state does not grow (unless that is allowed); it is
//! no larger than the fixed anchor (a larger one is shrunk first, see [`crate::propose`]). The first check that refuses is recorded, so
//! that a report can show why drafts are wasted.

use crate::record::{Cost, Finding, TimeClass};
use crate::store::History;
use archc_compiler::diag::Diagnostic;

/// Screen that checks programs without running them.
pub trait Screen: Sync {
    /// Result of the compiler for a program.
    fn screen(&self, source: &str) -> Screened;
}

/// Result of the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Screened {
    /// Name of the block; empty if it does not parse.
    pub name: String,
    /// Combined canonical hash with sizes, at all sizes that the search trains at.
    pub hash: String,
    /// Canonical hash without sizes.
    pub family: String,
    /// Cost, if it checks.
    pub cost: Option<Cost>,
    /// All diagnostics of the compiler.
    pub findings: Vec<Finding>,
    /// Refusal, if any.
    pub refusal: Option<Refusal>,
}

/// Reason why a program may not be trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Check that refused it: `parse`, `check`, `dataflow`, `ranges`, `time`, `growth`, `cost`.
    pub check: &'static str,
    /// Code of the finding; empty for the search's own limits.
    pub code: String,
    /// Description of the problem.
    pub message: String,
}

impl Refusal {
    /// Refusal by a compiler diagnostic.
    pub fn by(check: &'static str, finding: &Diagnostic) -> Self {
        Self { check, code: finding.code.to_owned(), message: finding.message.clone() }
    }
}

/// Limits on a candidate: no larger than the fixed anchor, and within the anchors' time class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    params: f64,
    work: f64,
    state: f64,
    time: TimeClass,
    allow_growing: bool,
}

/// Allowed ratio to the fixed anchor's parameters and work per token; for the state the ratio is 1.
pub const EQUAL: f64 = 1.02;

/// Code of the warning that a state may grow without bound.
const GROWS: &str = "W0707";

impl Limits {
    /// Limits from the fixed anchor of a run; no limits on sizes before there is one.
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

    /// Refuses programs that are invalid for this search, whatever their size.
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

    /// Refuses programs that are larger than the fixed anchor.
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
