//! Due evaluations: a pure function of the log.
//!
//! Generation 0, the anchors: each is tuned on some seeds, then evaluated on the search tier, on more seeds than any candidate gets.
//! The best of them is fixed ([`History::fixed`]): every lead of the run refers to it.
//!
//! A later generation climbs rungs (successive halving, Jamieson and Talwalkar, arXiv 1502.07943): all are tuned; the better part is
//! screened on more seeds; the best of that is evaluated on the search tier, on a seed that no other generation has used, together with
//! the fixed anchor and their parents. So luck on a seed is not inherited, and a program that became a parent by luck loses its
//! advantage: it is evaluated again with each of its children. A rung is completed before the next begins, so selection depends on
//! scores alone and never on the order of completion. A control is treated like a candidate, but is always kept: every generation
//! compares at least one.
//!
//! The finals have separate seeds and data; their participants, and when they end, are described in [`crate::finals`].

use crate::moves::VARIATIONS;
use crate::plan::{Plan, Tier};
use crate::record::{Candidate, CandidateId, Origin};
use crate::stats;
use crate::store::History;
use std::collections::BTreeSet;

/// Evaluation: candidate, tier and seed.
pub type Trial = (CandidateId, Tier, u64);

/// Evaluations of a generation that can run now; none when it is complete.
pub fn due(history: &History, generation: u32) -> Vec<Trial> {
    if generation == 0 { anchors(history) } else { candidates(history, generation) }
}

fn undone(history: &History, trials: impl Iterator<Item = Trial>) -> Vec<Trial> {
    trials.filter(|&trial| history.result(trial).is_none()).collect()
}

fn all(ids: &[CandidateId], tier: Tier, seeds: std::ops::Range<u64>) -> impl Iterator<Item = Trial> {
    seeds.flat_map(move |seed| ids.iter().map(move |&id| (id, tier, seed)))
}

/// Evaluations of the anchors: all are tuned; those selected by `worthwhile` go on to the search tier.
fn anchors(history: &History) -> Vec<Trial> {
    let plan = history.plan();
    let field: Vec<CandidateId> = history.admitted(0).map(|c| c.id).collect();
    let tunings = undone(history, all(&field, Tier::Tune, plan.seeds(0, Tier::Tune)));
    if !tunings.is_empty() {
        return tunings;
    }
    let mut field: Vec<CandidateId> = field.into_iter().filter(|&id| history.rate(id).is_some()).collect();
    let kept = worthwhile(history, &field);
    field.retain(|id| kept.contains(id));
    undone(history, all(&field, Tier::Search, plan.seeds(0, Tier::Search)))
}

/// Anchors evaluated on the search tier: the seed programs, and each one's best variant of a kind; where the screen's tasks show the
/// effect, only if it is better than the seed program.
fn worthwhile(history: &History, field: &[CandidateId]) -> BTreeSet<CandidateId> {
    let tuned = |id: CandidateId| history.tuned(id).unwrap_or(f64::NEG_INFINITY);
    let mut kept = BTreeSet::new();
    for id in field.iter().copied().filter(|&id| history.candidate(id).is_some_and(|c| c.parents.is_empty())) {
        kept.insert(id);
        for variation in VARIATIONS {
            let made = |c: &Candidate| {
                c.parents.first() == Some(&id) && c.hypothesis.as_ref().is_some_and(|h| h.action == variation.action)
            };
            let variants = field.iter().copied().filter(|&v| history.candidate(v).is_some_and(made));
            let best = variants.max_by(|&a, &b| tuned(a).total_cmp(&tuned(b)).then(b.cmp(&a)));
            kept.extend(best.filter(|&v| !variation.screened || tuned(v) > tuned(id)));
        }
    }
    kept
}

fn candidates(history: &History, generation: u32) -> Vec<Trial> {
    let plan = history.plan();
    let field: Vec<&Candidate> = history.admitted(generation).collect();
    let ids = |field: &[&Candidate]| field.iter().map(|c| c.id).collect::<Vec<_>>();
    let tunings = undone(history, all(&ids(&field), Tier::Tune, plan.seeds(generation, Tier::Tune)));
    if !tunings.is_empty() {
        return tunings;
    }
    let size = field.iter().filter(|c| c.origin != Origin::Control).count();
    let tuned = best(field, Plan::places(plan.keep_tuned, size), |id| history.tuned(id));
    let screens = plan.seeds(generation, Tier::Screen);
    let screenings = undone(history, all(&ids(&tuned), Tier::Screen, screens.clone()));
    if !screenings.is_empty() {
        return screenings;
    }
    let mean = |id: CandidateId| -> Option<f64> {
        let scores: Option<Vec<f64>> =
            screens.clone().map(|seed| history.result((id, Tier::Screen, seed))?.score()).collect();
        // A plan without screening seeds selects by tuning.
        stats::mean(&scores?).or_else(|| history.tuned(id))
    };
    let screened = best(tuned, Plan::places(plan.keep_screened, size), mean);
    let mut running = with_parents(history, &screened);
    running.extend(history.fixed().filter(|id| !running.contains(id)));
    undone(history, all(&running, Tier::Search, plan.seeds(generation, Tier::Search)))
}

/// These candidates and their parents.
fn with_parents(history: &History, field: &[&Candidate]) -> Vec<CandidateId> {
    let parents = field.iter().filter_map(|c| c.parents.first().copied());
    let all: BTreeSet<CandidateId> = field.iter().map(|c| c.id).chain(parents).collect();
    all.into_iter().filter(|&id| history.rate(id).is_some()).collect()
}

/// The best by a score, and all controls; a candidate without a score never advances. Controls do not take places of others.
fn best(field: Vec<&Candidate>, places: usize, score: impl Fn(CandidateId) -> Option<f64>) -> Vec<&Candidate> {
    let mut scored: Vec<(f64, &Candidate)> = field.into_iter().filter_map(|c| Some((score(c.id)?, c))).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    let (controls, mut others): (Vec<_>, Vec<_>) = scored.into_iter().partition(|(_, c)| c.origin == Origin::Control);
    others.truncate(places);
    let mut kept: Vec<&Candidate> = controls.into_iter().chain(others).map(|(_, c)| c).collect();
    kept.sort_by_key(|c| c.id);
    kept
}

/// Whether a candidate may be a parent or a finalist: controls may not.
pub fn counts(candidate: &Candidate) -> bool {
    candidate.verdict.admitted() && candidate.origin != Origin::Control
}
