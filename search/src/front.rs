//! Pareto front: programs that no other beats in score without higher cost.
//!
//! The score is the corrected lead over the fixed anchor on the search tier: mean scores of the tier come from other seeds for
//! every generation and cannot be compared, and the largest raw leads are large by chance. The costs are FLOPs per token and state
//! size.

use crate::board::Board;
use crate::plan::Tier;
use crate::record::{CandidateId, Cost, Origin, TimeClass};
use crate::stats;
use crate::store::History;
use serde::{Deserialize, Serialize};

/// Program with its score and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// Candidate.
    pub candidate: CandidateId,
    /// Name of its block.
    pub name: String,
    /// Whether it is an anchor.
    pub anchor: bool,
    /// Mean score on the search tier's seeds that it ran on; other programs ran on other seeds.
    pub score: Option<f64>,
    /// Mean difference to the fixed anchor on common seeds; 0 for that anchor.
    pub lead: f64,
    /// Lead after correction for selection of the best of many, which defines the front.
    pub corrected: f64,
    /// Number of common seeds behind the lead.
    pub seeds: usize,
    /// Floating-point operations per token of a forward pass.
    pub flops_per_token: f64,
    /// Predicted work per token of a training step, in operations.
    pub work: f64,
    /// State size: numbers carried from one token to the next.
    pub state: u64,
    /// Growth of its time with the sequence length.
    pub time: TimeClass,
    /// Whether no other program is at least as good in lead, FLOPs and state and better in one of them.
    pub on_front: bool,
}

/// Programs on the front, the cheapest first.
pub fn front(history: &History, board: &Board) -> Vec<FrontPoint> {
    points(history, board).into_iter().filter(|p| p.on_front).collect()
}

/// All programs with a lead and a cost, on the front or not, the cheapest first.
pub fn points(history: &History, board: &Board) -> Vec<FrontPoint> {
    let mut points: Vec<FrontPoint> = board
        .standing
        .iter()
        .filter_map(|stand| {
            let c = history.candidate(stand.id)?;
            let &Cost { flops_per_token, work, state, time, .. } = c.cost.as_ref()?;
            let scores: Vec<f64> = history.scores(c.id, Tier::Search).map(|(_, score)| score).collect();
            let (anchor, name) = (c.origin == Origin::Anchor, c.name.clone());
            let (lead, corrected, seeds) = (stand.lead, stand.corrected.mean, stand.seeds);
            let score = stats::mean(&scores);
            let on_front = false;
            let candidate = c.id;
            Some(FrontPoint {
                candidate,
                name,
                anchor,
                score,
                lead,
                corrected,
                seeds,
                flops_per_token,
                work,
                state,
                time,
                on_front,
            })
        })
        .collect();
    let beaten: Vec<bool> = points.iter().map(|p| points.iter().any(|other| beats(other, p))).collect();
    for (point, beaten) in points.iter_mut().zip(beaten) {
        point.on_front = !beaten;
    }
    points.sort_by(|a, b| {
        let flops = a.flops_per_token.total_cmp(&b.flops_per_token);
        flops.then(a.state.cmp(&b.state)).then(a.candidate.cmp(&b.candidate))
    });
    points
}

/// Dominance: at least as good in everything, and better in something.
fn beats(a: &FrontPoint, b: &FrontPoint) -> bool {
    let no_worse = a.corrected >= b.corrected && a.flops_per_token <= b.flops_per_token && a.state <= b.state;
    no_worse && (a.corrected > b.corrected || a.flops_per_token < b.flops_per_token || a.state < b.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_better_and_dearer_is_beaten() {
        let point = |corrected, flops_per_token, state| FrontPoint {
            candidate: CandidateId(0),
            name: String::new(),
            anchor: false,
            score: None,
            lead: corrected,
            corrected,
            seeds: 1,
            flops_per_token,
            work: 0.0,
            state,
            time: TimeClass::Linear,
            on_front: false,
        };
        let best = point(0.1, 100.0, 64);
        assert!(beats(&best, &point(0.1, 100.0, 65)) && beats(&best, &point(0.0, 100.0, 64)));
        assert!(!beats(&best, &best) && !beats(&best, &point(-0.5, 99.0, 64)) && !beats(&best, &point(0.2, 900.0, 64)));
    }
}
