//! Decision rule of `archc verify`: better than every anchor.

use crate::stats::rates::intersection_union;
use crate::stats::{self, Interval};
use serde::{Deserialize, Serialize};

/// Maximum probability of calling any program established that is not better than every anchor.
pub const ERROR: f64 = 0.05;

/// Comparison of a program with one anchor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Over {
    /// Mean paired difference with a 95 % confidence interval.
    pub interval: Option<Interval>,
    /// One-sided sign-flip p; none if one of the two has no score on some seed.
    pub p: Option<f64>,
}

/// Verdict on a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Comparisons with each anchor, in their order.
    pub over: Vec<Over>,
    /// p of "better than every anchor" (the largest over the anchors: Berger 1982), adjusted by Holm over the programs.
    pub p: Option<f64>,
    /// Whether p is at most 5 %.
    pub established: bool,
}

impl Verdict {
    /// Verdict in words.
    pub fn words(&self) -> &'static str {
        match (self.established, self.p) {
            (true, _) => "established: better than every anchor",
            (false, Some(_)) => "not established",
            (false, None) => "not established: no score on some seed, or nothing to compare with",
        }
    }
}

/// Verdicts from scores by program and seed; all have the same seeds in the same order.
pub fn verdicts(programs: &[Vec<Option<f64>>], anchors: &[Vec<Option<f64>>]) -> Vec<Verdict> {
    let over = |program: &[Option<f64>], anchor: &[Option<f64>]| {
        let differences: Option<Vec<f64>> = program.iter().zip(anchor).map(|(a, b)| Some((*a)? - (*b)?)).collect();
        match differences {
            Some(d) => Over { interval: stats::interval(&d), p: stats::sign_flip(&d) },
            None => Over { interval: None, p: None },
        }
    };
    let mut all: Vec<Verdict> = programs
        .iter()
        .map(|program| {
            let over: Vec<Over> = anchors.iter().map(|anchor| over(program, anchor)).collect();
            let p = intersection_union(&over.iter().map(|o| o.p).collect::<Vec<_>>());
            Verdict { over, p, established: false }
        })
        .collect();
    let mut order: Vec<usize> = (0..all.len()).filter(|&i| all[i].p.is_some()).collect();
    order.sort_by(|&a, &b| all[a].p.unwrap_or(1.0).total_cmp(&all[b].p.unwrap_or(1.0)));
    let (mut before, mut family) = (0f64, all.len());
    for i in order {
        before = before.max(all[i].p.unwrap_or(1.0) * family as f64).min(1.0);
        all[i].p = Some(before);
        all[i].established = before <= ERROR;
        family -= 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn scores(values: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
        values.into_iter().map(Some).collect()
    }

    #[test]
    fn better_than_one_anchor_is_not_enough() {
        let good = scores((0..16).map(|i| 1.0 + 0.01 * f64::from(i)));
        let low = scores((0..16).map(|i| 0.5 + 0.01 * f64::from(i)));
        let high = scores((0..16).map(|i| 1.5 + 0.01 * f64::from(i)));
        let one = verdicts(from_ref(&good), from_ref(&low));
        assert!(one[0].established && one[0].p == Some(2f64.powi(-16)), "{one:?}");
        let both = verdicts(from_ref(&good), &[low.clone(), high]);
        assert!(!both[0].established && both[0].p == Some(1.0), "{both:?}");
        // Two programs share the 5 %.
        let two = verdicts(&[good.clone(), low.clone()], from_ref(&low));
        assert_eq!((two[0].p, two[0].established, two[1].established), (Some(2f64.powi(-15)), true, false));
        let mut failed = good;
        failed[3] = None;
        assert_eq!(verdicts(&[failed], &[low])[0].p, None);
        assert_eq!(verdicts(&[scores([1.0])], &[])[0].p, None);
    }
}
