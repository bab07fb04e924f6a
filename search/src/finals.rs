//! Finals: a few candidates and the fixed anchor, on seeds and data that nothing before has used.
//!
//! Participants: the candidates with the largest corrected leads, at first only the best of every family of relatives (one lineage down to
//! its seed program), so that one idea does not take all places. Length: determined by the sequential test [`crate::stats::finals`], which
//! looks at 8, 12 and 16 paired seeds and is the only function that says "established". Then the established run on further seeds that were
//! not used to establish them, which removes the selection bias: beside the anchor, which gives their effect, and beside programs that they
//! descend from, which are themselves with the last changes taken back (the ablation). A finalist is a *discovery* if it is better than the
//! program without any of its changes. Its carrier is the earliest of these programs that it is not better than: finalists with one carrier
//! are one discovery, so edits without effect do not count.
//!
//! The finals are a pure function of the log: they can be stopped and resumed at any time.

use crate::board::Board;
use crate::plan::{Plan, Tier};
use crate::record::{CandidateId, Origin};
use crate::schedule::{self, Trial};
use crate::stats::finals::{self, AFTER, Effect, Judgement, LAST, LOOKS, judge, next_look};
use crate::stats::{Interval, interval, sign_flip};
use crate::store::History;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Maximum number of ancestors that a finalist is compared with: the nearest ones and its seed program.
const ANCESTORS: usize = 4;

/// Significance level of the comparison with each ancestor.
const LEVEL: f64 = 0.05;

/// Candidates for the finals, best first, at most as many as the plan has places: those that are ahead of the anchor in the search (each
/// additional one reduces the power for the others), or the nearest to it if none is ahead.
pub fn claims(history: &History, board: &Board) -> Vec<CandidateId> {
    let candidate =
        |id: CandidateId| history.candidate(id).filter(|c| c.origin == Origin::Proposed && schedule::counts(c));
    let mut standing = board.standing.iter().filter(|s| candidate(s.id).is_some()).peekable();
    let nearest = standing.peek().map(|s| s.id);
    let mut standing: Vec<CandidateId> = standing.filter(|s| s.lead > 0.0).map(|s| s.id).collect();
    if standing.is_empty() {
        standing.extend(nearest);
    }
    let places = history.plan().finalists as usize;
    let mut chosen: Vec<CandidateId> = Vec::new();
    let mut rest: Vec<CandidateId> = Vec::new();
    for id in standing {
        let related = |&other: &CandidateId| descends(history, id, other) || descends(history, other, id);
        if chosen.iter().any(related) {
            rest.push(id)
        } else {
            chosen.push(id)
        }
        if chosen.len() == places {
            break;
        }
    }
    chosen.extend(rest.into_iter().take(places - chosen.len().min(places)));
    chosen
}

/// Maximum number of evaluations of the finals: the finalists and the anchor up to the last look, then these and the finalists' ancestors
/// on the additional seeds.
pub fn most(plan: &Plan) -> usize {
    let finalists = plan.finalists as usize;
    (finalists + 1) * LAST + (finalists * (1 + ANCESTORS) + 1) * AFTER
}

/// Whether one program descends from another through first parents.
fn descends(history: &History, id: CandidateId, from: CandidateId) -> bool {
    lineage(history, id).contains(&from)
}

/// Ancestors of a program through first parents, the nearest first.
pub fn lineage(history: &History, id: CandidateId) -> Vec<CandidateId> {
    let mut all = Vec::new();
    let mut at = id;
    // Parents precede their children in every log; the check ends the loop on a log that violates this.
    while let Some(&parent) = history.candidate(at).and_then(|c| c.parents.first()).filter(|&&parent| parent < at) {
        all.push(parent);
        at = parent;
    }
    all
}

/// Paired differences between two programs on the first seeds of the finals that both ran on, in order; NaN if the first has no score. A
/// seed without a score of the second is left out.
pub fn differences(history: &History, id: CandidateId, other: CandidateId) -> Vec<f64> {
    paired(history, id, other, history.plan().fresh(LAST))
}

/// Paired differences on these seeds.
fn paired(history: &History, id: CandidateId, other: CandidateId, seeds: Range<u64>) -> Vec<f64> {
    let result = |id, seed| history.result((id, Tier::Final, seed));
    let both = seeds.map_while(|seed| Some((result(id, seed)?, result(other, seed)?)));
    both.filter_map(|(a, b)| Some(a.score().unwrap_or(f64::NAN) - b.score()?)).collect()
}

/// Seeds after those of the looks.
pub(crate) fn after(plan: &Plan) -> Range<u64> {
    plan.fresh(LAST).end..plan.fresh(LAST + AFTER).end
}

/// Effect of an established finalist, once there are enough seeds after the looks.
pub fn effect(history: &History, id: CandidateId) -> Option<Effect> {
    finals::effect(&paired(history, id, history.fixed()?, after(history.plan())))
}

/// Judgements of the finalists, in their order.
pub fn judgements(history: &History) -> Vec<Judgement> {
    let Some(fixed) = history.fixed() else { return Vec::new() };
    judge(&history.finals().iter().map(|&id| differences(history, id, fixed)).collect::<Vec<_>>())
}

/// Due evaluations of the finals: up to the next look for the undecided finalists; then, on the seeds after the looks, for the established
/// and the anchor, then for the ancestors of the established.
pub fn due(history: &History) -> Vec<Trial> {
    let Some(fixed) = history.fixed() else { return Vec::new() };
    let judged = judgements(history);
    let of = |wanted: &dyn Fn(&Judgement) -> bool| -> Vec<CandidateId> {
        history.finals().iter().zip(&judged).filter(|(_, j)| wanted(j)).map(|(&id, _)| id).collect()
    };
    let undone_of = |ids: &[CandidateId], seeds: Range<u64>| -> Vec<Trial> {
        let all = seeds.flat_map(|seed| ids.iter().map(move |&id| (id, Tier::Final, seed)));
        all.filter(|&trial| history.result(trial).is_none()).collect()
    };
    let undone = |ids: &[CandidateId], seeds: usize| undone_of(ids, history.plan().fresh(seeds));
    let mut open = of(&Judgement::undecided);
    if !open.is_empty() {
        let reached = open.iter().map(|&id| differences(history, id, fixed).len()).min().unwrap_or(0);
        open.push(fixed);
        // A seed on which the anchor has no score counts for no finalist: the next one replaces it, as far as there are seeds.
        let missing = undone(&open, next_look(reached).unwrap_or(0));
        if !missing.is_empty() {
            return missing;
        }
        if let Some(more) = (1..=LAST).map(|seeds| undone(&open, seeds)).find(|trials| !trials.is_empty()) {
            return more;
        }
    }
    let mut established = of(&Judgement::established);
    if established.is_empty() {
        return Vec::new();
    }
    let made_from: Vec<Vec<CandidateId>> = established.iter().map(|&id| ancestors(history, id)).collect();
    established.push(fixed);
    let groups = std::iter::once(established).chain(made_from);
    groups.map(|ids| undone_of(&ids, after(history.plan()))).find(|trials| !trials.is_empty()).unwrap_or_default()
}

/// Programs that a finalist is compared with: its nearest ancestors and its seed program, if they can be trained.
fn ancestors(history: &History, id: CandidateId) -> Vec<CandidateId> {
    let all: Vec<CandidateId> = lineage(history, id).into_iter().filter(|&a| history.rate(a).is_some()).collect();
    let mut near: Vec<CandidateId> = all.iter().copied().take(ANCESTORS - 1).collect();
    near.extend(all.last().filter(|last| !near.contains(last)));
    near
}

/// Comparison of a finalist with one of its ancestors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// Ancestor: the program without the last changes.
    pub ancestor: CandidateId,
    /// Paired difference of finalist and ancestor, with a 95 % confidence interval.
    pub over: Option<Interval>,
    /// One-sided sign-flip p; none below eight seeds.
    pub p: Option<f64>,
}

/// Result of the ablation of an established finalist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Whether it is better than the seed program that it descends from.
    pub discovery: bool,
    /// Earliest of its ancestors that it is not better than, or itself if it is better than all: later changes have no demonstrated effect,
    /// so finalists with the same carrier are one discovery.
    pub carrier: CandidateId,
}

/// Ablation of an established finalist, as far as it was run, and its result; no result before it is complete. It uses only the seeds after
/// the looks: on the seeds that established the finalist, its leads are biased upwards.
pub fn ablation(history: &History, id: CandidateId) -> (Vec<Ablation>, Option<Shown>) {
    let wanted = ancestors(history, id);
    let (fixed, seeds) = (history.fixed(), after(history.plan()));
    let rows: Vec<Ablation> = wanted
        .iter()
        .map(|&ancestor| {
            let differences = paired(history, id, ancestor, seeds.clone());
            let enough = differences.len() >= LOOKS[0] && differences.iter().all(|d| d.is_finite());
            Ablation { ancestor, over: interval(&differences), p: if enough { sign_flip(&differences) } else { None } }
        })
        .collect();
    let ran = |id: CandidateId| seeds.clone().all(|seed| history.result((id, Tier::Final, seed)).is_some());
    let complete = ran(id) && wanted.iter().all(|&ancestor| ran(ancestor));
    // "Established" already means better than the fixed anchor.
    let beaten = |row: &Ablation| Some(row.ancestor) == fixed || row.p.is_some_and(|p| p <= LEVEL);
    let shown = Shown {
        discovery: rows.last().is_none_or(beaten),
        carrier: rows.iter().rev().find(|row| !beaten(row)).map_or(id, |row| row.ancestor),
    };
    (rows, complete.then_some(shown))
}
