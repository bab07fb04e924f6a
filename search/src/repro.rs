//! An evaluation of a run once more.

use crate::evaluate::Job;
use crate::plan::Tier;
use crate::record::{CandidateId, Report};
use crate::store::History;

/// An evaluation that is to be run again, and what the log has of it.
#[derive(Clone, Debug)]
pub struct Again {
    /// What is run.
    pub job: Job,
    /// What came out.
    pub logged: Report,
}

/// The evaluations of a candidate that are in the log, those that are wanted.
pub fn jobs(history: &History, id: CandidateId, wanted: impl Fn(Tier, u64) -> bool) -> Vec<Again> {
    let again = |(tier, seed, report): (Tier, u64, &Report)| {
        Some(Again { job: Job::of(history, (id, tier, seed))?, logged: report.clone() })
    };
    history.results_of(id).filter(|(tier, seed, _)| wanted(*tier, *seed)).filter_map(again).collect()
}

/// Whether two reports say the same, but for the time they took.
pub fn same(a: &Report, b: &Report) -> bool {
    let essence = |r: &Report| {
        // Through the text of the log: what was read from it may have lost a last bit on the way.
        let report = Report { seconds: 0.0, findings: Vec::new(), ..r.clone() };
        serde_json::to_string(&report)
            .ok()
            .and_then(|text| serde_json::from_str::<Report>(&text).ok())
            .and_then(|report| serde_json::to_string(&report).ok())
    };
    essence(a) == essence(b)
}
