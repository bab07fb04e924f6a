//! Built-in analyst: paired comparisons, effect sizes with confidence intervals, beliefs, and a sentence.
//!
//! Child and parent are compared on each seed of the search tier that both were trained on. There are one to three such pairs, too few
//! to estimate their standard deviation, so the board's estimate for the time-mixing mechanism is used, with its degrees of freedom. A
//! child that did not reach the search tier is not compared.

use super::Analyst;
use super::bandit::PRIOR;
use crate::board::Board;
use crate::plan::Tier;
use crate::record::{Analysis, Belief, Candidate, CandidateId, Origin, Verdict};
use crate::stats::{self, Interval};
use crate::store::History;
use std::collections::BTreeMap;

/// Discount per generation of the weight of earlier experiments.
const DISCOUNT: f64 = 0.97;

/// Weight of a refused or duplicate draft: it cost little, but it showed that the change does not fit.
const REFUSED: f64 = 0.25;

/// Analyst that compares programs on paired seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairedAnalyst;

impl Analyst for PairedAnalyst {
    fn study(&self, history: &History, generation: u32) -> (Vec<Analysis>, Vec<Belief>) {
        let board = Board::of(history);
        let studied = history.admitted(generation).filter(|c| history.results_of(c.id).next().is_some());
        let analyses: Vec<Analysis> = studied.map(|c| analyse(history, &board, c)).collect();
        let beliefs = beliefs(history, generation, &analyses);
        (analyses, beliefs)
    }
}

fn analyse(history: &History, board: &Board, child: &Candidate) -> Analysis {
    let differences = child.parents.first().map_or_else(Vec::new, |&p| history.paired(child.id, p, Tier::Search));
    let spread = board.spread(child, true);
    let over_parent = spread.interval(&differences);
    let better = spread.probability_positive(&differences).unwrap_or(0.0);
    let over_anchor = board.spread(child, false).interval(&history.leads(child.id));
    let text = words(history, child, over_parent, over_anchor, better);
    Analysis { candidate: child.id, over_parent, over_anchor, better, text }
}

/// Conclusion in words.
fn words(
    history: &History,
    child: &Candidate,
    over_parent: Option<Interval>,
    over_anchor: Option<Interval>,
    better: f64,
) -> String {
    if child.origin == Origin::Anchor {
        return match stats::mean(&history.scores(child.id, Tier::Search).map(|(_, score)| score).collect::<Vec<_>>()) {
            Some(mean) => format!("{} scores {mean:.3} on the anchors' seeds.", child.name),
            None => {
                format!("{} was tuned and not evaluated: it is no better than the seed program it varies.", child.name)
            }
        };
    }
    let Some(effect) = over_parent else {
        let ending = history.results_of(child.id).map(|(_, _, r)| r.status.word()).find(|w| *w != "ok");
        return match ending {
            Some(word) => format!("{}: training ended as {word}, so there is nothing to compare.", child.change),
            None => format!("{}: left behind on the screen.", child.change),
        };
    };
    let parent = child.parents.first().and_then(|&p| history.candidate(p));
    let parent = parent.map_or_else(|| "its parent".to_owned(), |p| format!("{} ({})", p.name, p.id));
    let verdict = match child.origin {
        Origin::Control if effect.positive() => "A control that wins: a type-I error",
        Origin::Control => "A control that does not win, as it should",
        _ if effect.positive() => "It helps",
        _ if effect.negative() => "It hurts",
        _ => "No clear effect",
    };
    let on = if effect.count == 1 { "one seed".to_owned() } else { format!("{} seeds", effect.count) };
    let mut text = format!(
        "{verdict}: {:+.3} [{:+.3}, {:+.3}] over {parent} on {on} (P(better) = {better:.2}).",
        effect.mean, effect.low, effect.high,
    );
    if let (Some(a), Some(fixed)) = (over_anchor, history.fixed().and_then(|id| history.candidate(id))) {
        text.push_str(&format!(" Over {} ({}): {:+.3} [{:+.3}, {:+.3}].", fixed.name, fixed.id, a.mean, a.low, a.high));
    }
    if let Some(h) = &child.hypothesis {
        for task in &h.tasks {
            if let Some(moved) = child.parents.first().and_then(|&p| task_effect(history, child.id, p, task)) {
                let as_thought = match moved {
                    _ if better > 0.1 && better < 0.9 => "which says little",
                    m if m > 0.0 => "as was hoped",
                    _ => "against the hypothesis",
                };
                text.push_str(&format!(" On {task}: {moved:+.3}, {as_thought}."));
            }
        }
    }
    text
}

/// Mean paired difference on one task of the search tier.
fn task_effect(history: &History, child: CandidateId, parent: CandidateId, task: &str) -> Option<f64> {
    let differences: Vec<f64> = history
        .results_of(child)
        .filter(|(tier, _, _)| *tier == Tier::Search)
        .filter_map(|(_, seed, report)| {
            let theirs = history.result((parent, Tier::Search, seed))?.tasks.get(task)?;
            Some(report.tasks.get(task)?.score - theirs.score)
        })
        .collect();
    stats::mean(&differences)
}

/// Beliefs from everything that was proposed up to and including this generation.
fn beliefs(history: &History, generation: u32, fresh: &[Analysis]) -> Vec<Belief> {
    let mut beliefs: BTreeMap<(&str, &str), Belief> = BTreeMap::new();
    for c in history.candidates() {
        let Some(h) = &c.hypothesis else { continue };
        let age = f64::from(generation.saturating_sub(c.generation));
        let belief = beliefs.entry((&h.action, &h.site.kind)).or_insert_with(|| Belief {
            action: h.action.clone(),
            site: h.site.kind.clone(),
            alpha: PRIOR.0,
            beta: PRIOR.1,
            tries: 0,
        });
        let analysis = history.analysis(c.id).or_else(|| fresh.iter().find(|a| a.candidate == c.id));
        let (better, weight) = match (&c.verdict, analysis) {
            (Verdict::Admitted, Some(a)) => (a.better, 1.0),
            (Verdict::Admitted, None) | (Verdict::Outranked { .. }, _) => continue,
            (Verdict::Duplicate { .. } | Verdict::Rejected { .. }, _) => (0.0, REFUSED),
        };
        let weight = weight * DISCOUNT.powf(age);
        belief.alpha += weight * better;
        belief.beta += weight * (1.0 - better);
        belief.tries += 1;
    }
    beliefs.into_values().collect()
}
