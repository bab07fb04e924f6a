//! Final table: the results of the finals, beside the estimates of the search.

use crate::board::Board;
use crate::finals::{self, Ablation};
use crate::front::{FrontPoint, front};
use crate::plan::Tier;
use crate::record::{CandidateId, Origin};
use crate::stats::finals::{Effect, Judgement, LAST};
use crate::stats::rates::{Rate, false_discovery_rate, rate};
use crate::stats::{self, Interval};
use crate::store::History;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Result of a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The finalists and the fixed anchor. Before the first look their order is that of their claims, not of merit.
    pub rows: Vec<Row>,
    /// Anchors on their own seeds, the best first; these are not results of the search.
    pub anchors: Vec<Anchor>,
    /// Anchor that all leads refer to.
    pub fixed: Option<CandidateId>,
    /// Number of discoveries among the finalists; those with one carrier count once.
    pub discoveries: usize,
    /// Error rates from controls.
    pub controls: Controls,
    /// Pareto front: programs that no other matches in lead, FLOPs and state and beats in one of them.
    #[serde(default)]
    pub front: Vec<FrontPoint>,
}

/// Anchor, as evaluated before the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// Candidate.
    pub candidate: CandidateId,
    /// Name of its block.
    pub name: String,
    /// Whether it is a variant of a seed program.
    pub variant: bool,
    /// Mean score on the anchors' seeds.
    pub score: f64,
    /// Number of seeds.
    pub seeds: usize,
    /// Paired difference to the fixed anchor on these seeds, with a 95 % confidence interval.
    pub over_fixed: Option<Interval>,
}

/// Program of the finals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Candidate.
    pub candidate: CandidateId,
    /// Name of its block.
    pub name: String,
    /// Whether it is the fixed anchor.
    pub anchor: bool,
    /// Mean score on the seeds of the finals; for established programs on the seeds after the looks, once they ran there; none before they
    /// ran.
    pub score: Option<f64>,
    /// Number of these seeds.
    pub seeds: usize,
    /// Mean lead over the fixed anchor in the search.
    pub searched: Option<f64>,
    /// The same lead after correction for selection of the best of many.
    pub corrected: Option<f64>,
    /// Judgement of the finals; none for the anchor.
    pub judgement: Option<Judgement>,
    /// Effect on seeds that did not establish the program, if it is established.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Comparisons with its ancestors, if it is established.
    pub ablation: Vec<Ablation>,
    /// Whether it is established and better than the seed program that it descends from; none if unknown.
    pub discovery: Option<bool>,
    /// Earliest of its ancestors that it is not better than, or itself.
    pub carrier: Option<CandidateId>,
    /// Means by task on these seeds: score, and value in the task's own metric.
    pub tasks: BTreeMap<String, (f64, f64)>,
}

impl Row {
    /// Paired difference to the fixed anchor in the finals; for established programs on the seeds that did not establish them, once they
    /// ran there.
    pub fn over(&self) -> Option<Interval> {
        match self.effect {
            Some(effect) => effect.over,
            None => self.judgement?.interval,
        }
    }

    /// Mean of that difference.
    pub fn lead(&self) -> Option<f64> {
        self.over().map(|i| i.mean)
    }

    /// Whether the lead is the one that established the program, which is biased upwards.
    pub fn overrated(&self) -> bool {
        self.effect.is_none() && self.judgement.is_some_and(|j| j.established())
    }

    /// Fraction of the search's lead that remains in the finals.
    pub fn survival(&self) -> Option<f64> {
        if self.overrated() {
            return None;
        }
        Some(self.lead()? / self.searched.filter(|s| *s > 0.0)?)
    }

    /// Verdict: `established`, or why not; the same words wherever a result is shown.
    pub fn verdict(&self) -> String {
        use stats::finals::Standing;
        match self.judgement.map(|j| j.standing) {
            None => "the anchor".to_owned(),
            Some(Standing::Established { look, .. }) => {
                let what = match self.discovery {
                    Some(true) => match self.carrier.filter(|carrier| *carrier != self.candidate) {
                        Some(carrier) => format!(": a discovery; what follows {carrier} adds nothing shown"),
                        None => ": a discovery".to_owned(),
                    },
                    Some(false) => ", not better than its own seed program".to_owned(),
                    None => String::new(),
                };
                let note = match self.effect {
                    Some(e) if e.failed > 0 => format!("; no score on {} of {} seeds after that", e.failed, e.seeds),
                    Some(_) => String::new(),
                    None => "; its lead is that of these seeds, which is too large".to_owned(),
                };
                format!("established at {look} seeds{what}{note}")
            }
            Some(Standing::NotEstablished { why }) => format!("not established: {}", why.words()),
            Some(Standing::Open) => "not established: the finals did not end".to_owned(),
        }
    }
}

/// Comparisons on the search tier by the rule of "it helps": the confidence interval over the parent lies above zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// Number of controls that were compared with the anchor they are made from.
    pub tried: u32,
    /// Number of these that were called better: type-I errors.
    pub won: u32,
    /// Number of candidates that were compared with their parents.
    pub candidates: u32,
    /// Number of these that were called better.
    pub claims: u32,
    /// Type-I error rate of one comparison, with an exact 95 % confidence interval.
    pub type_one: Option<Rate>,
    /// Estimated upper bound of the false-discovery rate of the claims.
    pub false_discovery: Option<f64>,
}

/// Computes the table from the log.
pub fn rank(history: &History) -> Ranking {
    let board = Board::of(history);
    let fixed = history.fixed();
    let judged = finals::judgements(history);
    let mut rows: Vec<Row> = Vec::new();
    for (&id, judgement) in history.finals().iter().zip(judged) {
        rows.extend(row(history, &board, id, Some(judgement)));
    }
    if !rows.is_empty() {
        rows.extend(fixed.and_then(|id| row(history, &board, id, None)));
    }
    // The established come first, ordered by their estimates from the search: ordered by effect, the first one's would again be biased
    // upwards. The others are ordered by their lead in the finals, once all have the seeds of a look; before that the order is meaningless.
    if rows.iter().filter_map(|r| r.judgement).all(|j| j.look.is_some()) {
        let key = |r: &Row| match (r.judgement.is_some_and(|j| j.established()), r.anchor) {
            (true, _) => (true, r.corrected.unwrap_or(0.0)),
            (false, true) => (false, 0.0),
            (false, false) => (false, r.lead().unwrap_or(f64::NEG_INFINITY)),
        };
        rows.sort_by(|a, b| {
            let (a, b, order) = (key(a), key(b), a.candidate.cmp(&b.candidate));
            b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(order)
        });
    }
    let found = rows.iter().filter(|r| r.discovery == Some(true));
    let discoveries = found.map(|r| r.carrier).collect::<BTreeSet<_>>().len();
    Ranking {
        rows,
        anchors: anchors(history),
        fixed,
        discoveries,
        controls: controls(history),
        front: front(history, &board),
    }
}

fn row(history: &History, board: &Board, id: CandidateId, judgement: Option<Judgement>) -> Option<Row> {
    let stand = board.stand(id).filter(|_| judgement.is_some());
    let established = judgement.is_some_and(|j| j.established());
    let effect = if established { finals::effect(history, id) } else { None };
    let seeds = if effect.is_some() { finals::after(history.plan()) } else { history.plan().fresh(LAST) };
    let scores = history.scores(id, Tier::Final).filter(|(seed, _)| seeds.contains(seed));
    let scores: Vec<f64> = scores.map(|(_, score)| score).collect();
    let (ablation, shown) = if established { finals::ablation(history, id) } else { (Vec::new(), None) };
    Some(Row {
        candidate: id,
        name: history.candidate(id)?.name.clone(),
        anchor: judgement.is_none(),
        score: stats::mean(&scores),
        seeds: scores.len(),
        searched: stand.map(|s| s.lead),
        corrected: stand.map(|s| s.corrected.mean),
        judgement,
        effect,
        ablation,
        discovery: shown.map(|s| s.discovery),
        carrier: shown.filter(|s| s.discovery).map(|s| s.carrier),
        tasks: tasks(history, id, Tier::Final, |seed| seeds.contains(&seed)),
    })
}

fn anchors(history: &History) -> Vec<Anchor> {
    let anchor = |(id, score): (CandidateId, f64)| {
        let c = history.candidate(id)?;
        let seeds = history.plan().anchor_seeds as usize;
        Some(Anchor {
            candidate: id,
            name: c.name.clone(),
            variant: !c.parents.is_empty(),
            score,
            seeds,
            over_fixed: history.fixed().filter(|&fixed| fixed != id).and_then(|fixed| {
                let theirs: BTreeMap<u64, f64> = history.scores(fixed, Tier::Search).collect();
                let seeds = history.plan().seeds(0, Tier::Search);
                let own = history.scores(id, Tier::Search).filter(|(seed, _)| seeds.contains(seed));
                stats::interval(&own.filter_map(|(seed, s)| Some(s - theirs.get(&seed)?)).collect::<Vec<_>>())
            }),
        })
    };
    history.standing_anchors().into_iter().filter_map(anchor).collect()
}

/// Mean score and mean value by task over the selected seeds of a tier.
pub fn tasks(
    history: &History,
    id: CandidateId,
    tier: Tier,
    wanted: impl Fn(u64) -> bool,
) -> BTreeMap<String, (f64, f64)> {
    let mut sums: BTreeMap<String, (f64, f64, f64)> = BTreeMap::new();
    for (_, _, report) in history.results_of(id).filter(|(t, seed, _)| *t == tier && wanted(*seed)) {
        for (task, score) in &report.tasks {
            let sum = sums.entry(task.clone()).or_default();
            *sum = (sum.0 + score.score, sum.1 + score.value, sum.2 + 1.0);
        }
    }
    sums.into_iter().map(|(task, (score, value, n))| (task, (score / n, value / n))).collect()
}

/// Counts comparisons and claims, on the search tier alone.
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
                controls.claims += won;
            }
            Some(Origin::Anchor) | None => {}
        }
    }
    controls.type_one = rate(u64::from(controls.won), u64::from(controls.tried));
    controls.false_discovery = controls
        .type_one
        .and_then(|r| false_discovery_rate(u64::from(controls.candidates), r.rate, u64::from(controls.claims)));
    controls
}
