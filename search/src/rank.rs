//! The final ranking: scores on fresh seeds, paired with the best anchor, beside what the search believed.

use crate::plan::Tier;
use crate::random::Stream;
use crate::record::{CandidateId, Origin};
use crate::stats::{self, Interval};
use crate::store::History;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A ranked table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Best first.
    pub rows: Vec<Row>,
    /// The anchor that the others are paired with.
    pub best_anchor: Option<CandidateId>,
    /// Anchors run under other names.
    pub controls: Controls,
}

/// A program of the ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub candidate: CandidateId,
    /// The name of its block.
    pub name: String,
    /// It is a seed program.
    pub anchor: bool,
    /// Mean quality on fresh seeds, or on search seeds if it never ran on a fresh one.
    pub quality: f64,
    /// 95 % bootstrap interval over fresh seeds; none below two.
    pub interval: Option<Interval>,
    /// Fresh seeds behind it.
    pub seeds: usize,
    /// Mean quality that the search saw on its own seeds.
    pub search: Option<f64>,
    /// Paired difference to the best anchor on fresh seeds; none for that anchor and below two seeds.
    pub over_anchor: Option<Interval>,
    /// Sign-flip test of that difference, one-sided.
    pub p: Option<f64>,
    /// Mean score by task, in the task's own metric.
    pub tasks: BTreeMap<String, f64>,
}

/// How often nothing looked like something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controls {
    /// Controls that were trained.
    pub tried: u32,
    /// Of them, "better than the parent" by the rule that holds for candidates.
    pub won: u32,
    /// Candidates that were compared with their parents.
    pub candidates: u32,
    /// Of them, "better than the parent".
    pub discoveries: u32,
}

/// Ranks the contenders (before any are chosen: everything that may claim a place).
pub fn rank(history: &History) -> Ranking {
    let contenders = history.finals().map_or_else(|| crate::schedule::claims(history), <[CandidateId]>::to_vec);
    let fresh_from = history.plan().fresh_from;
    let fresh = |id: CandidateId| -> BTreeMap<u64, f64> {
        let results = history.results_of(id).filter(|(_, seed, _)| *seed >= fresh_from);
        results.filter_map(|(_, seed, r)| Some((seed, r.quality()?))).collect()
    };
    let anchor = |id: CandidateId| history.candidate(id).is_some_and(|c| c.origin == Origin::Anchor);
    let search = |id: CandidateId| {
        let results = history.evidence_of(id).filter(|(tier, _, _)| *tier == Tier::Search);
        stats::mean(&results.filter_map(|(_, _, r)| r.quality()).collect::<Vec<_>>())
    };
    let quality = |id: CandidateId| stats::mean(&fresh(id).into_values().collect::<Vec<_>>()).or_else(|| search(id));
    let best_anchor = contenders
        .iter()
        .filter(|&&id| anchor(id))
        .filter_map(|&id| Some((quality(id)?, id)))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, id)| id);
    let stream = |id: CandidateId, what| Stream::new(history.plan().seed, what, &[u64::from(id.0)]);
    let mut rows: Vec<Row> = contenders
        .iter()
        .filter_map(|&id| {
            let scores = fresh(id);
            let values: Vec<f64> = scores.values().copied().collect();
            let differences: Vec<f64> = best_anchor.filter(|&a| a != id).map_or_else(Vec::new, |a| {
                let theirs = fresh(a);
                scores.iter().filter_map(|(seed, score)| Some(score - theirs.get(seed)?)).collect()
            });
            Some(Row {
                candidate: id,
                name: history.candidate(id)?.name.clone(),
                anchor: anchor(id),
                quality: quality(id)?,
                interval: stats::bootstrap(&values, &mut stream(id, "fresh")),
                seeds: values.len(),
                search: search(id),
                over_anchor: stats::bootstrap(&differences, &mut stream(id, "over anchor")),
                p: stats::sign_flip(&differences),
                tasks: tasks(history, id, if values.is_empty() { 0 } else { fresh_from }),
            })
        })
        .collect();
    // A program that never ran on a fresh seed stands below all that did: its score is what it was chosen for.
    rows.sort_by(|a, b| {
        (b.seeds > 0).cmp(&(a.seeds > 0)).then(b.quality.total_cmp(&a.quality)).then(a.candidate.cmp(&b.candidate))
    });
    Ranking { rows, best_anchor, controls: controls(history) }
}

/// Mean score by task over the search tier's seeds from here on.
fn tasks(history: &History, id: CandidateId, from: u64) -> BTreeMap<String, f64> {
    let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (tier, seed, report) in history.results_of(id) {
        if tier == Tier::Search && seed >= from {
            for (task, score) in &report.tasks {
                scores.entry(task.clone()).or_default().push(score.score);
            }
        }
    }
    scores.into_iter().filter_map(|(task, s)| Some((task, stats::mean(&s)?))).collect()
}

/// Counts what won, by the one rule: the interval over the parent lies above zero.
fn controls(history: &History) -> Controls {
    let mut controls = Controls::default();
    for analysis in history.analyses() {
        let Some(effect) = analysis.over_parent else { continue };
        let won = u32::from(effect.positive());
        match history.candidate(analysis.candidate).map(|c| c.origin) {
            Some(Origin::Control) => {
                controls.tried += 1;
                controls.won += won;
            }
            Some(Origin::Proposed) => {
                controls.candidates += 1;
                controls.discoveries += won;
            }
            Some(Origin::Anchor) | None => {}
        }
    }
    controls
}
