//! Repetition of an evaluation of a run.

use crate::evaluate::Job;
use crate::plan::Tier;
use crate::record::{CandidateId, Report};
use crate::store::History;

/// Evaluation to repeat, with its result from the log.
#[derive(Clone, Debug)]
pub struct Again {
    /// Evaluation to run.
    pub job: Job,
    /// Result from the log.
    pub logged: Report,
}

/// Evaluations of a candidate in the log that `wanted` selects.
pub fn jobs(history: &History, id: CandidateId, wanted: impl Fn(Tier, u64) -> bool) -> Vec<Again> {
    let again = |(tier, seed, report): (Tier, u64, &Report)| {
        Some(Again { job: Job::of(history, (id, tier, seed))?, logged: report.clone() })
    };
    history.results_of(id).filter(|(tier, seed, _)| wanted(*tier, *seed)).filter_map(again).collect()
}

/// Whether two reports are equal except for their time and findings.
pub fn same(a: &Report, b: &Report) -> bool {
    let essence = |r: &Report| {
        // Compared after a round trip through the text of the log, which may have lost a last bit.
        let report = Report { seconds: 0.0, findings: Vec::new(), ..r.clone() };
        serde_json::to_string(&report)
            .ok()
            .and_then(|text| serde_json::from_str::<Report>(&text).ok())
            .and_then(|report| serde_json::to_string(&report).ok())
    };
    essence(a) == essence(b)
}
