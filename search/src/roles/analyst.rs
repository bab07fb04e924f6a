//! The built-in analyst: paired comparisons, effect sizes with intervals, beliefs, and a sentence.
//!
//! Child and parent were trained on the same seeds (one init and one batch stream a seed), so their scores
//! are compared inside each seed. There are one to three such pairs: too few to estimate their spread from
//! themselves. So the spread of a single score is estimated once from all replicates of the run (same
//! program, same tier, other seeds), with a weak prior, and every interval of the search uses it. The final
//! ranking does not: it rests on fresh seeds and bootstraps them.

use super::Analyst;
use super::bandit::PRIOR;
use crate::plan::Tier;
use crate::record::{Analysis, Belief, Candidate, CandidateId, Origin, Verdict};
use crate::stats::{self, Interval};
use crate::store::History;
use std::collections::BTreeMap;

/// What a generation's experiments still count after one more generation.
const DISCOUNT: f64 = 0.97;

/// Weight of a draft that was refused or known already: it cost little, but it taught that the change does not fit.
const REFUSED: f64 = 0.25;

/// Standard deviation of a score between seeds before anything is known, and how many replicates that is worth.
const PRIOR_DEVIATION: (f64, f64) = (0.05, 4.0);

/// Compares on paired seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairedAnalyst;

impl Analyst for PairedAnalyst {
    fn study(&self, history: &History, generation: u32) -> (Vec<Analysis>, Vec<Belief>) {
        let spread = spread(history);
        let analyses: Vec<Analysis> = history
            .admitted(generation)
            .filter(|c| history.results_of(c.id).next().is_some())
            .map(|c| analyse(history, c, spread))
            .collect();
        let beliefs = beliefs(history, generation, &analyses);
        (analyses, beliefs)
    }
}

/// Standard deviation of one quality score between seeds, pooled over all replicates.
fn spread(history: &History) -> f64 {
    let mut groups: BTreeMap<(CandidateId, Tier), Vec<f64>> = BTreeMap::new();
    for c in history.candidates() {
        for (tier, _, report) in history.evidence_of(c.id) {
            // An anchor and its controls are one program.
            let program = if c.origin == Origin::Control { c.parents.first().copied().unwrap_or(c.id) } else { c.id };
            groups.entry((program, tier)).or_default().extend(report.quality());
        }
    }
    let (prior, weight) = PRIOR_DEVIATION;
    let (mut squares, mut freedom) = (weight * prior * prior, weight);
    for values in groups.values() {
        if let Some(deviation) = stats::deviation(values) {
            let n = (values.len() - 1) as f64;
            squares += n * deviation * deviation;
            freedom += n;
        }
    }
    (squares / freedom).sqrt()
}

fn analyse(history: &History, child: &Candidate, spread: f64) -> Analysis {
    let control = child.origin == Origin::Control;
    let compare = |with: CandidateId| -> Option<Interval> {
        let differences = if control { unpaired(history, child.id, with) } else { history.paired(child.id, with) };
        stats::with_deviation(&differences, spread * std::f64::consts::SQRT_2)
    };
    let over_parent = child.parents.first().and_then(|&p| compare(p));
    let best_anchor = history
        .anchors()
        .filter(|a| a.id != child.id)
        .filter_map(|a| Some((history.lead(a.id)?, a.id)))
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let over_anchor = best_anchor.and_then(|(_, id)| compare(id));
    let better = over_parent.map_or(0.0, |i| {
        stats::probability_positive(i.mean, spread * std::f64::consts::SQRT_2 / (i.count as f64).sqrt())
    });
    let text = words(history, child, over_parent, over_anchor, better);
    Analysis { candidate: child.id, over_parent, over_anchor, better, text }
}

/// A control was trained on other seeds than its anchor: the n-th of its scores is held against the n-th of the anchor's.
fn unpaired(history: &History, control: CandidateId, anchor: CandidateId) -> Vec<f64> {
    let scores = |id, tier| -> Vec<f64> {
        history.evidence_of(id).filter(|(t, _, _)| *t == tier).filter_map(|(_, _, r)| r.quality()).collect()
    };
    [Tier::Screen, Tier::Search]
        .into_iter()
        .flat_map(|tier| scores(control, tier).into_iter().zip(scores(anchor, tier)).map(|(c, a)| c - a))
        .collect()
}

/// What was learned.
fn words(
    history: &History,
    child: &Candidate,
    over_parent: Option<Interval>,
    over_anchor: Option<Interval>,
    better: f64,
) -> String {
    if child.origin == Origin::Anchor {
        let lead = history.lead(child.id).unwrap_or(0.0);
        return format!("{} stands at {lead:+.3} against the mean of the anchors.", child.name);
    }
    let Some(effect) = over_parent else {
        let ending = history.results_of(child.id).map(|(_, _, r)| r.status.word()).find(|w| *w != "ok");
        return match ending {
            Some(word) => format!("{}: training ended as {word}, so there is nothing to compare.", child.change),
            None => format!("{}: no seed in common with its parent.", child.change),
        };
    };
    let parent = child.parents.first().and_then(|&p| history.candidate(p));
    let parent = parent.map_or_else(|| "its parent".to_owned(), |p| format!("{} ({})", p.name, p.id));
    let verdict = if child.origin == Origin::Control {
        if effect.positive() {
            "A control that wins: a false discovery"
        } else {
            "A control that does not win, as it should"
        }
    } else if effect.positive() {
        "It helps"
    } else if effect.negative() {
        "It hurts"
    } else {
        "No clear effect"
    };
    let mut text = format!(
        "{verdict}: {:+.3} [{:+.3}, {:+.3}] over {parent} on {} (P(better) = {better:.2}).",
        effect.mean,
        effect.low,
        effect.high,
        if effect.count == 1 { "one seed".to_owned() } else { format!("{} seeds", effect.count) },
    );
    if let Some(a) = over_anchor {
        text.push_str(&format!(" Over the best anchor: {:+.3} [{:+.3}, {:+.3}].", a.mean, a.low, a.high));
    }
    if let Some(h) = &child.hypothesis {
        for task in &h.tasks {
            if let Some(moved) = child.parents.first().and_then(|&p| task_effect(history, child.id, p, task)) {
                let as_thought = if moved > 0.0 { "as was hoped" } else { "against the hypothesis" };
                text.push_str(&format!(" On {task}: {moved:+.3}, {as_thought}."));
            }
        }
    }
    text
}

/// Mean paired difference on one task.
fn task_effect(history: &History, child: CandidateId, parent: CandidateId, task: &str) -> Option<f64> {
    let differences: Vec<f64> = history
        .evidence_of(child)
        .filter_map(|(tier, seed, report)| {
            let theirs = history.result((parent, tier, seed))?.tasks.get(task)?;
            Some(report.tasks.get(task)?.quality - theirs.quality)
        })
        .collect();
    stats::mean(&differences)
}

/// Beliefs from everything that was proposed up to and with this generation.
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
