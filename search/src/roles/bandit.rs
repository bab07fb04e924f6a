//! Built-in researcher: selects the program to change, and the change, by Thompson sampling.
//!
//! *Parent.* With probability 1/2, an elite of the archive is drawn by rank of its corrected lead over the fixed anchor
//! (weight 1 / rank), otherwise all cells are equally likely, so that a family that is behind is still explored.
//!
//! *Change.* An arm is a pair (move, kind of site). Its belief is a Beta distribution over "the child beats its
//! parent" that the analyst keeps, discounted so that old generations fade (Raj and Kalyani, arXiv 1707.09727).
//! One number is drawn from each arm available for the parent and the highest wins; with probability [`EXPLORE`] the
//! arm is drawn uniformly, so that every arm continues to be tried.

use super::{Choice, Engineer, Researcher};
use crate::board::Knowledge;
use crate::plan::Tier;
use crate::random::Stream;
use crate::record::{Belief, Candidate, CandidateId, Hypothesis};
use crate::store::History;
use std::collections::BTreeMap;

/// Probability that a proposal's arm is drawn uniformly.
const EXPLORE: f64 = 0.15;

/// Prior belief in a change that was never tried: one success in four.
pub(super) const PRIOR: (f64, f64) = (1.0, 3.0);

/// Discounted Thompson sampling over (move, kind of site), with parents from the archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bandit;

impl Researcher for Bandit {
    fn name(&self) -> &str {
        "bandit"
    }

    fn propose(&self, known: &Knowledge<'_>, engineer: &dyn Engineer, stream: &mut Stream) -> Option<Hypothesis> {
        let history = known.history;
        let parent = parent(known, stream)?;
        let choices = engineer.choices(parent);
        let mut arms: BTreeMap<(&str, &str), Vec<&Choice>> = BTreeMap::new();
        for choice in choices.iter() {
            arms.entry((choice.action, choice.site.kind.as_str())).or_default().push(choice);
        }
        let explore = stream.chance(EXPLORE);
        let mut drawn: Vec<(f64, (&str, &str))> = Vec::new();
        for &arm in arms.keys() {
            let (alpha, beta) = belief(history, arm).map_or(PRIOR, |b| (b.alpha, b.beta));
            let value = stream.beta(alpha, beta);
            drawn.push((if explore { stream.unit() } else { value }, arm));
        }
        let (_, arm) = drawn.into_iter().max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
        let choice = *stream.pick(&arms[&arm])?;
        let mut parents = vec![parent.id];
        if choice.needs_other {
            parents.push(other(known, parent, stream)?);
        }
        Some(Hypothesis {
            researcher: self.name().to_owned(),
            why: why(known, parent, choice, explore),
            tasks: weakest(history, parent.id),
            parents,
            action: choice.action.to_owned(),
            site: choice.site.clone(),
        })
    }
}

/// Selects the program to change.
fn parent<'a>(known: &Knowledge<'a>, stream: &mut Stream) -> Option<&'a Candidate> {
    let elites = known.archive.elites();
    let chosen = if stream.chance(0.5) {
        let weights: Vec<f64> = (1..=elites.len()).map(|rank| 1.0 / rank as f64).collect();
        elites.get(stream.weighted(&weights)?)
    } else {
        stream.pick(&elites)
    };
    known.history.candidate(*chosen?)
}

/// Selects the program to take something from: any elite or anchor of another family.
fn other(known: &Knowledge<'_>, parent: &Candidate, stream: &mut Stream) -> Option<CandidateId> {
    let history = known.history;
    let mut donors: Vec<CandidateId> = known.archive.elites();
    donors.extend(history.anchors().map(|a| a.id));
    donors.sort();
    donors.dedup();
    donors.retain(|&id| history.candidate(id).is_some_and(|c| c.family != parent.family));
    stream.pick(&donors).copied()
}

fn belief<'a>(history: &'a History, (action, site): (&str, &str)) -> Option<&'a Belief> {
    history.beliefs().iter().find(|b| b.action == action && b.site == site)
}

/// Reason of the hypothesis, with its evidence.
fn why(known: &Knowledge<'_>, parent: &Candidate, choice: &Choice, explore: bool) -> String {
    let history = known.history;
    let standing = match (history.fixed().and_then(|id| history.candidate(id)), known.lead(parent.id)) {
        (Some(fixed), _) if fixed.id == parent.id => format!("{} ({}) is the best anchor", parent.name, parent.id),
        (Some(fixed), Some(lead)) => {
            let side = if lead < 0.0 { "is behind" } else { "leads" };
            format!("{} ({}) {side} {} ({}) by {:.3}", parent.name, parent.id, fixed.name, fixed.id, lead.abs())
        }
        _ => format!("{} ({})", parent.name, parent.id),
    };
    let evidence = match belief(history, (choice.action, &choice.site.kind)) {
        Some(b) if b.tries > 0 => format!(
            "`{}` on a {} has been tried {}; it is believed to help in {:.0} % of cases",
            choice.action,
            choice.site.kind,
            if b.tries == 1 { "once".to_owned() } else { format!("{} times", b.tries) },
            100.0 * b.mean()
        ),
        _ => format!("`{}` on a {} has not been tried yet", choice.action, choice.site.kind),
    };
    let explore = if explore { "; drawn to explore" } else { "" };
    format!("{standing}. {evidence}{explore}. {}", choice.doc)
}

/// Task with the parent's lowest score, which has the most room for improvement.
fn weakest(history: &History, parent: CandidateId) -> Vec<String> {
    let mut gaps: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, _, report) in history.results_of(parent).filter(|(tier, _, _)| *tier == Tier::Search) {
        for (task, score) in &report.tasks {
            let gap = gaps.entry(task).or_insert(f64::NEG_INFINITY);
            *gap = gap.max(-score.score);
        }
    }
    let mut tasks: Vec<(&str, f64)> = gaps.into_iter().collect();
    tasks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    tasks.iter().take(1).map(|(task, _)| (*task).to_owned()).collect()
}
