//! Inexpensive prediction of a program's score without training, from its cost, its kind, its parent, and the belief in
//! the change. It only selects between drafts of one slot; outranked drafts are kept in the record and may be proposed
//! again.
//!
//! Ridge regression of the corrected lead over the fixed anchor. With little data the penalty keeps all weights near zero
//! and the prediction is nearly constant, as it should be.

use crate::board::Knowledge;
use crate::record::{Candidate, Cost};

/// Ridge penalty, in units of one experiment with standard features.
const RIDGE: f64 = 4.0;

/// Features of a program, with the constant last.
type Features = [f64; 8];

/// Regression weights fitted to the experiments of the closed generations.
#[derive(Clone, Debug, PartialEq)]
pub struct Surrogate {
    weights: Features,
    /// Mean logarithm of the anchors' sizes.
    anchors: [f64; 3],
}

impl Surrogate {
    /// Fits the weights.
    pub fn of(known: &Knowledge<'_>) -> Self {
        const N: usize = 8;
        let anchors = SIZES.map(|size| {
            let logs: Vec<f64> = known.history.anchors().filter_map(|a| Some(log(size(a.cost.as_ref()?)))).collect();
            crate::stats::mean(&logs).unwrap_or(0.0)
        });
        let mut normal = [[0.0; N]; N];
        let mut right = [0.0; N];
        for stand in &known.board.standing {
            let lead = stand.corrected.mean;
            let Some(x) = known.history.candidate(stand.id).and_then(|c| features(known, &anchors, c)) else {
                continue;
            };
            for i in 0..N {
                right[i] += x[i] * lead;
                for j in 0..N {
                    normal[i][j] += x[i] * x[j];
                }
            }
        }
        for (i, row) in normal.iter_mut().enumerate() {
            row[i] += RIDGE;
        }
        Self { weights: solve(normal, right), anchors }
    }

    /// Predicted lead of a screened program; none if it has no cost.
    pub fn guess(&self, known: &Knowledge<'_>, candidate: &Candidate) -> Option<f64> {
        let x = features(known, &self.anchors, candidate)?;
        Some(x.iter().zip(self.weights).map(|(x, w)| x * w).sum())
    }
}

/// Sizes that are features.
const SIZES: [fn(&Cost) -> f64; 3] = [|c| c.params as f64, |c| c.flops_per_token, |c| c.state as f64];

fn log(size: f64) -> f64 {
    size.max(1.0).ln()
}

/// Features of a program. Sizes are logarithms relative to the mean of the anchors, so that all features are of order
/// one.
fn features(known: &Knowledge<'_>, anchors: &[f64; 3], c: &Candidate) -> Option<Features> {
    let history = known.history;
    let cost = c.cost.as_ref()?;
    let [params, flops, state] = std::array::from_fn(|i| log(SIZES[i](cost)) - anchors[i]);
    let flag = |yes: bool| f64::from(u8::from(yes));
    let parent = c.parents.first().and_then(|&p| known.lead(p));
    let belief = c.hypothesis.as_ref().and_then(|h| {
        history.beliefs().iter().find(|b| b.action == h.action && b.site == h.site.kind).map(|b| b.mean() - 0.25)
    });
    Some([
        params,
        flops,
        state / 4.0,
        flag(cost.mixer.contains("delta")),
        flag(cost.mixer.contains("attention")),
        parent.unwrap_or(0.0) * 4.0,
        belief.unwrap_or(0.0) * 4.0,
        1.0,
    ])
}

/// Solves a symmetric positive definite system by elimination; the ridge keeps every pivot positive.
fn solve<const N: usize>(mut a: [[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        for j in i + 1..N {
            let factor = a[j][i] / a[i][i];
            let row = a[i];
            a[j].iter_mut().zip(row).for_each(|(x, y)| *x -= factor * y);
            b[j] -= factor * b[i];
        }
    }
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|j| a[i][j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elimination_solves() {
        let a = [[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 5.0]];
        let x = solve(a, [1.0, 2.0, 3.0]);
        for (row, right) in a.iter().zip([1.0, 2.0, 3.0]) {
            let left: f64 = row.iter().zip(x).map(|(a, x)| a * x).sum();
            // Three unknowns, well conditioned: a few units in the last place.
            assert!((left - right).abs() < 1e-12);
        }
    }
}
