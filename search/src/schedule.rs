//! Which evaluations are due: a pure function of the log.
//!
//! A generation climbs the rungs of the plan. All of it is trained on a rung before the better part goes on
//! to the next (successive halving, Jamieson and Talwalkar, arXiv 1502.07943), so who goes on depends on
//! scores alone and never on who was faster. Anchors climb all rungs: everything is compared with them.
//! A control is trained on its own seeds on the first two rungs and displaces nobody.

use crate::plan::{Plan, Rung, Tier};
use crate::record::{Candidate, CandidateId, Origin};
use crate::stats;
use crate::store::History;

/// Names an evaluation.
pub type Trial = (CandidateId, Tier, u64);

/// Evaluations of a generation that can run now; none when all of it is in.
pub fn due(history: &History, generation: u32) -> Vec<Trial> {
    let plan = history.plan();
    let undone = |trial: Trial| history.result(trial).is_none().then_some(trial);
    let mut due: Vec<Trial> = Vec::new();
    let mut field: Vec<&Candidate> = Vec::new();
    for c in history.admitted(generation) {
        if c.origin == Origin::Control {
            let mut rungs = plan.rungs.iter().take(2);
            due.extend(rungs.by_ref().filter_map(|r| undone((c.id, r.tier, plan.control_seed(generation, r.seed)))));
        } else {
            field.push(c);
        }
    }
    for (at, rung) in plan.rungs.iter().enumerate() {
        let waiting: Vec<Trial> = field.iter().filter_map(|c| undone((c.id, rung.tier, rung.seed))).collect();
        if !waiting.is_empty() {
            due.extend(waiting);
            break;
        }
        let Some(next) = plan.rungs.get(at + 1) else { break };
        field = survivors(history, &plan.rungs[..=at], next, field);
    }
    due
}

/// Who goes on to the next rung: all anchors, and the best of the others; a program without a score never does.
fn survivors<'a>(history: &History, done: &[Rung], next: &Rung, field: Vec<&'a Candidate>) -> Vec<&'a Candidate> {
    let (mut kept, others): (Vec<_>, Vec<_>) = field.into_iter().partition(|c| c.origin == Origin::Anchor);
    let places = Plan::places(next, others.len());
    let mut scored: Vec<(f64, &Candidate)> =
        others.into_iter().filter_map(|c| Some((score(history, c.id, done)?, c))).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    kept.extend(scored.into_iter().take(places).map(|(_, c)| c));
    kept.sort_by_key(|c| c.id);
    kept
}

/// Mean quality over the seeds of the last rung's tier; none if one of them did not end well.
fn score(history: &History, id: CandidateId, rungs: &[Rung]) -> Option<f64> {
    let tier = rungs.last()?.tier;
    let scores: Option<Vec<f64>> =
        rungs.iter().filter(|r| r.tier == tier).map(|r| history.result((id, r.tier, r.seed))?.quality()).collect();
    stats::mean(&scores?)
}

/// Who may run again on fresh seeds, in order of claim: the best candidate, the best anchor, the second of each, ...
///
/// Claims rest on search scores only. Of candidates, those that reached the search tier come first.
pub fn claims(history: &History) -> Vec<CandidateId> {
    let searched =
        |id: CandidateId| history.evidence_of(id).any(|(tier, _, r)| tier == Tier::Search && r.quality().is_some());
    let (anchors, mut others): (Vec<_>, Vec<_>) = history
        .standing()
        .into_iter()
        .map(|(id, _)| id)
        .partition(|&id| history.candidate(id).is_some_and(|c| c.origin == Origin::Anchor));
    others.sort_by_key(|&id| !searched(id));
    others.truncate(history.plan().finalists as usize);
    let mut claims = Vec::new();
    let (mut anchors, mut others) = (anchors.into_iter(), others.into_iter());
    loop {
        let (a, b) = (others.next(), anchors.next());
        if a.is_none() && b.is_none() {
            return claims;
        }
        claims.extend(a);
        claims.extend(b);
    }
}

/// Evaluations of one fresh seed that are still to be run.
pub fn fresh(history: &History, round: u32) -> Vec<Trial> {
    let seed = history.plan().fresh_from + u64::from(round);
    let contenders = history.finals().unwrap_or(&[]);
    contenders.iter().map(|&id| (id, Tier::Search, seed)).filter(|&t| history.result(t).is_none()).collect()
}
