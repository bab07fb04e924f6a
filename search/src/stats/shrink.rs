//! Empirical Bayes shrinkage: correction of the winner's lead for selection of the best of many.
//!
//! The largest of many measured leads is large partly by chance. If true leads scatter about a common mean,
//! y_i ~ N(theta_i, s_i^2), theta_i ~ N(mu, A), then E[theta_i | y] = y_i - B_i (y_i - mu) with
//! B_i = s_i^2 / (s_i^2 + A), and selection by y does not change that: the corrected winner is unbiased.
//!
//! - A by Paule and Mandel 1982: the A at which sum (y_i - mu)^2 / (s_i^2 + A) = k - 1; mu weighted by
//!   1 / (s_i^2 + A).
//! - B_i times (k - 3) / (k - 1), since A is an estimate, and the posterior standard deviation with the uncertainty of mu
//!   and B: Morris 1983, "Parametric empirical Bayes inference", JASA 78.
//! - Why it corrects selection: Efron 2011, "Tweedie's formula and selection bias", JASA 106, of which this is
//!   the case of a normal marginal.
//!
//! Assumptions: leads are independent given the truth and their standard errors are known (taken from `spread`). An
//! error common to all, such as that of the anchor they are compared with, moves mu and every lead alike and is not
//! detected. Below four leads Morris's factor is zero or less: nothing is shrunk, and `taken` is 0.

use serde::{Deserialize, Serialize};

/// Minimum number of leads for estimating their distribution.
pub const FEWEST: usize = 4;

/// Measured lead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Mean of the lead.
    pub mean: f64,
    /// Standard error of the mean.
    pub error: f64,
}

/// Lead after shrinkage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Posterior mean.
    pub mean: f64,
    /// Posterior standard deviation.
    pub deviation: f64,
    /// Fraction of the distance to the prior's mean that was removed; 0 if nothing was corrected.
    pub taken: f64,
}

/// Prior distribution of true leads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Mean of the true leads.
    pub mean: f64,
    /// Variance of the true leads.
    pub variance: f64,
    /// Number of leads.
    pub count: usize,
}

/// Prior estimated from these leads; none below four. Leads without a finite mean and a positive error are left out.
pub fn prior(leads: &[Lead]) -> Option<Prior> {
    let leads: Vec<Lead> = leads.iter().copied().filter(usable).collect();
    let count = leads.len();
    if count < FEWEST {
        return None;
    }
    let excess = |variance: f64| {
        let mean = center(&leads, variance);
        let q: f64 = leads.iter().map(|l| (l.mean - mean).powi(2) / (l.error * l.error + variance)).sum();
        q - (count - 1) as f64
    };
    let mut variance = 0.0;
    if excess(0.0) > 0.0 {
        // The excess decreases with the variance; at the sum of squares about the mean it is negative.
        let middle = center(&leads, f64::MAX.sqrt());
        let (mut low, mut high) = (0.0, leads.iter().map(|l| (l.mean - middle).powi(2)).sum::<f64>());
        for _ in 0..100 {
            variance = 0.5 * (low + high);
            if excess(variance) > 0.0 { low = variance } else { high = variance }
        }
    }
    Some(Prior { mean: center(&leads, variance), variance, count })
}

/// Shrunk leads, in the order of the leads.
pub fn shrink(leads: &[Lead]) -> Vec<Shrunk> {
    let found = prior(leads);
    let total: f64 = found.map_or(0.0, |p| leads.iter().filter(|l| usable(l)).map(|l| weight(l, p.variance)).sum());
    let squares: f64 = found
        .map_or(0.0, |p| leads.iter().filter(|l| usable(l)).map(|l| weight(l, p.variance) * l.error * l.error).sum());
    leads
        .iter()
        .map(|lead| {
            let Some(prior) = found.filter(|_| usable(lead)) else {
                return Shrunk { mean: lead.mean, deviation: lead.error, taken: 0.0 };
            };
            let k = prior.count as f64;
            let (own, distance) = (lead.error * lead.error, lead.mean - prior.mean);
            let w = weight(lead, prior.variance);
            let taken = (k - 3.0) / (k - 1.0) * own * w;
            let of_taken = 2.0 / (k - 3.0) * taken * taken * (squares / total + prior.variance) * w;
            let variance = own * (1.0 - taken * (1.0 - w / total)) + of_taken * distance * distance;
            Shrunk { mean: lead.mean - taken * distance, deviation: variance.sqrt(), taken }
        })
        .collect()
}

fn usable(lead: &Lead) -> bool {
    lead.mean.is_finite() && lead.error.is_finite() && lead.error > 0.0
}

fn weight(lead: &Lead, variance: f64) -> f64 {
    1.0 / (lead.error * lead.error + variance)
}

/// Weighted mean of leads.
fn center(leads: &[Lead], variance: f64) -> f64 {
    let total: f64 = leads.iter().map(|l| weight(l, variance)).sum();
    leads.iter().map(|l| weight(l, variance) * l.mean).sum::<f64>() / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::stats::{deviation, mean};

    #[test]
    fn the_winner_of_fifty_is_biased_before_and_not_after() {
        // True leads N(-.1, .1^2), errors between .05 and .2: the bias of the winner, over 300 selections.
        let (mut before, mut after, mut inside) = (vec![], vec![], 0);
        let trials = 300;
        for trial in 0..trials {
            let mut s = Stream::new(trial, "winner", &[]);
            let truths: Vec<f64> = (0..50).map(|_| -0.1 + 0.1 * s.normal()).collect();
            let leads: Vec<Lead> = truths
                .iter()
                .map(|t| {
                    let error = 0.05 + 0.15 * s.unit();
                    Lead { mean: t + error * s.normal(), error }
                })
                .collect();
            let shrunk = shrink(&leads);
            let best = (0..50).max_by(|&a, &b| leads[a].mean.total_cmp(&leads[b].mean)).unwrap();
            before.push(leads[best].mean - truths[best]);
            after.push(shrunk[best].mean - truths[best]);
            inside += u64::from((shrunk[best].mean - truths[best]).abs() <= 1.96 * shrunk[best].deviation);
        }
        let (was, is) = (mean(&before).unwrap(), mean(&after).unwrap());
        let error = deviation(&after).unwrap() / (trials as f64).sqrt();
        println!("bias of the winner: {was:.3} before, {is:.3} after (se {error:.3}), covered {inside} of {trials}");
        assert!(was > 0.15, "{was}");
        assert!(is.abs() < 0.02 + 3.0 * error, "{is}");
        assert!(inside >= crate::stats::rates::binomial_bounds(trials, 0.93).0, "{inside}");
    }

    #[test]
    fn without_true_differences_nearly_all_is_taken() {
        let mut s = Stream::new(5, "null leads", &[]);
        let leads: Vec<Lead> = (0..40).map(|_| Lead { mean: 0.1 * s.normal(), error: 0.1 }).collect();
        let best = shrink(&leads).iter().map(|l| l.mean).fold(f64::MIN, f64::max);
        assert!(best < 0.08, "{best}");
        // And with large ones nearly no shrinkage.
        let leads: Vec<Lead> = (0..40).map(|i| Lead { mean: f64::from(i), error: 0.1 }).collect();
        assert!(shrink(&leads).iter().zip(&leads).all(|(s, l)| (s.mean - l.mean).abs() < 0.01));
    }

    #[test]
    fn few_leads_and_unusable_ones_stay_as_they_are() {
        let lead = |mean, error| Lead { mean, error };
        let three = [lead(0.3, 0.1), lead(0.1, 0.1), lead(-0.2, 0.1)];
        assert_eq!(prior(&three), None);
        assert_eq!(shrink(&three)[0], Shrunk { mean: 0.3, deviation: 0.1, taken: 0.0 });
        let mixed = [&three[..], &[lead(0.0, 0.1), lead(9.0, 0.0)]].concat();
        let shrunk = shrink(&mixed);
        assert_eq!(shrunk[4], Shrunk { mean: 9.0, deviation: 0.0, taken: 0.0 });
        assert!(shrunk[0].mean < 0.3 && prior(&mixed).unwrap().count == 4);
        assert!(shrink(&[]).is_empty());
        // Equal leads have no variance and cause no arithmetic error.
        assert!(shrink(&[lead(0.2, 0.1); 6]).iter().all(|s| (s.mean - 0.2).abs() < 1e-12 && s.deviation > 0.0));
    }
}
