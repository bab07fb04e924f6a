//! The final table: what the finals established, beside what the search believed.

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

/// What came out of a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The finalists and the fixed anchor. With fewer seeds than the first look this is their order of claim, not of merit.
    pub rows: Vec<Row>,
    /// The anchors on their own seeds, the best first: none of it is a result of the search.
    pub anchors: Vec<Anchor>,
    /// The anchor that all leads are over.
    pub fixed: Option<CandidateId>,
    /// Finalists that are discoveries; those with one carrier count once.
    pub discoveries: usize,
    /// How often nothing looked like something.
    pub controls: Controls,
    /// Programs that none other is at least as good as in lead, FLOPs and state, and better in one.
    #[serde(default)]
    pub front: Vec<FrontPoint>,
}

/// An anchor before the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which.
    pub candidate: CandidateId,
    /// The name of its block.
    pub name: String,
    /// It is a variant of a seed program.
    pub variant: bool,
    /// Mean score on the anchors' seeds.
    pub score: f64,
    /// How many seeds.
    pub seeds: usize,
    /// Difference to the fixed anchor on them, with a 95 % interval.
    pub over_fixed: Option<Interval>,
}

/// A program of the finals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which.
    pub candidate: CandidateId,
    /// The name of its block.
    pub name: String,
    /// It is the fixed anchor.
    pub anchor: bool,
    /// Mean score on the seeds of the finals: of what is established on those after the looks, once there are any; none before they ran.
    pub score: Option<f64>,
    /// How many seeds these are.
    pub seeds: usize,
    /// Lead over the fixed anchor as the search saw it: the mean, and corrected for the choice of the best of many.
    pub searched: Option<f64>,
    /// The corrected one.
    pub corrected: Option<f64>,
    /// What the finals say; the anchor has none.
    pub judgement: Option<Judgement>,
    /// If it is established, its effect on seeds that did not establish it.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Against what it was made from, if it is established.
    pub ablation: Vec<Ablation>,
    /// It is established, and better than the seed program that it descends from; none where that is not known.
    pub discovery: Option<bool>,
    /// The earliest of its ancestors that it is not better than, or itself.
    pub carrier: Option<CandidateId>,
    /// Mean by task on these seeds: score, and value in the task's own metric.
    pub tasks: BTreeMap<String, (f64, f64)>,
}

impl Row {
    /// Difference to the fixed anchor in the finals: of what is established on the seeds that did not establish it, once it ran on them.
    pub fn over(&self) -> Option<Interval> {
        match self.effect {
            Some(effect) => effect.over,
            None => self.judgement?.interval,
        }
    }

    /// Its mean.
    pub fn lead(&self) -> Option<f64> {
        self.over().map(|i| i.mean)
    }

    /// Its lead is the one that established it, which is too large.
    pub fn overrated(&self) -> bool {
        self.effect.is_none() && self.judgement.is_some_and(|j| j.established())
    }

    /// The share of the lead that the search saw which is left in the finals.
    pub fn survival(&self) -> Option<f64> {
        if self.overrated() {
            return None;
        }
        Some(self.lead()? / self.searched.filter(|s| *s > 0.0)?)
    }

    /// `established`, or why not; the same words wherever a result is shown.
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

/// Comparisons on the search tier by the rule of "it helps": the interval over the parent lies above zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// Controls that were compared with the anchor that they are.
    pub tried: u32,
    /// Of them, called better than it: type-I errors.
    pub won: u32,
    /// Candidates that were compared with their parents.
    pub candidates: u32,
    /// Of them, called better.
    pub claims: u32,
    /// Type-I rate of one comparison, with an exact 95 % interval.
    pub type_one: Option<Rate>,
    /// Estimated share of the claims that are false, at most.
    pub false_discovery: Option<f64>,
}

/// The table that follows from the log.
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
    // What is established comes first, by what the search thought of it: chosen by its effect, the first one's would be too large again. The
    // others by their lead in the finals, once all have the seeds of a look; before that their order means nothing.
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

/// Mean score and mean value by task over those of a tier's seeds that are wanted.
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

/// Counts what was called better, on the search tier alone.
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
