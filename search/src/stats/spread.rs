//! Standard deviations by group, for comparisons on too few seeds to estimate their own.
//!
//! The standard deviation between seeds differs ten-fold between families, so a common one is wrong for most; a single
//! group (a tier, a family) has too few replicates. Moderated variances (Smyth 2004, "Linear models and empirical Bayes
//! methods", section 6.2, as in limma) lie between: true variances of groups are modelled as s0^2 d0 / chi^2(d0), and
//! that of a group with s^2 on d degrees of freedom is estimated by
//!
//!   (d0 s0^2 + d s^2) / (d0 + d), with d0 + d degrees of freedom (at most those of all groups together).
//!
//! d0 and s0 come from the groups: log s^2 - psi(d/2) + log(d/2) has mean log s0^2 - psi(d0/2) + log(d0/2), and
//! variance psi'(d/2) + psi'(d0/2). d0 is limited to 1..20: with few groups it is very uncertain, and the prior must
//! neither vanish nor dominate a group. Below three groups they cannot be estimated: d0 is 4, and s0 the standard
//! deviation of all replicates pooled with the caller's `start`.
//!
//! Use one pool for single scores (samples: the scores of one program on one tier) and another for paired
//! differences (samples: the differences of one pair of programs). A mean of n values then has the interval
//! mean +- t(d0 + d) deviation / sqrt(n), which needs normal values, and holds from n = 1 on.

use super::{Interval, mean, student};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::gamma::digamma;
use std::collections::BTreeMap;

/// Weight of the prior, in degrees of freedom, for fewer than [`FEWEST`] groups.
pub const WEIGHT: f64 = 4.0;

/// Minimum and maximum weight otherwise.
pub const WEIGHTS: (f64, f64) = (1.0, 20.0);

/// Minimum number of groups for estimating the variation of standard deviations.
pub const FEWEST: usize = 3;

/// Standard deviation of single values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Standard deviation.
    pub deviation: f64,
    /// Degrees of freedom of the estimate.
    pub freedom: f64,
}

impl Spread {
    /// 95 % confidence interval of the mean of values with this standard deviation, by Student's t; none without
    /// values.
    pub fn interval(&self, values: &[f64]) -> Option<Interval> {
        let m = mean(values)?;
        let half = student(self.freedom) * self.error(values.len());
        Some(Interval { mean: m, low: m - half, high: m + half, count: values.len() })
    }

    /// Probability that the true mean is positive, under a flat prior: Student's t at mean over error.
    pub fn probability_positive(&self, values: &[f64]) -> Option<f64> {
        let (m, error) = (mean(values)?, self.error(values.len()));
        if error <= 0.0 {
            return Some(super::probability_positive(m, 0.0));
        }
        Some(StudentsT::new(0.0, 1.0, self.freedom).map_or(0.5, |t| t.cdf(m / error)))
    }

    /// Standard error of the mean of `count` values.
    pub fn error(&self, count: usize) -> f64 {
        self.deviation / (count as f64).sqrt()
    }
}

/// Standard deviations by group.
#[derive(Clone, Debug, PartialEq)]
pub struct Spreads<K> {
    groups: BTreeMap<K, Spread>,
    prior: Spread,
}

impl<K: Ord> Spreads<K> {
    /// Standard deviation of a group; for an unknown group, that of the prior.
    pub fn of(&self, group: &K) -> Spread {
        self.groups.get(group).copied().unwrap_or(self.prior)
    }

    /// Prior shared by the groups: s0, with d0 degrees of freedom.
    pub fn prior(&self) -> Spread {
        self.prior
    }
}

/// Sum of squares about the means, and degrees of freedom, of one group.
#[derive(Clone, Copy, Default)]
struct Sum {
    squares: f64,
    freedom: f64,
}

/// Pools samples of the same group about each sample's own mean, and moderates the groups.
///
/// `start` is the prior estimate before anything ran; it counts while there are fewer than three groups.
pub fn pool<K: Ord + Clone>(samples: impl IntoIterator<Item = (K, Vec<f64>)>, start: Spread) -> Spreads<K> {
    let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
    for (group, values) in samples {
        let values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        let Some(m) = mean(&values).filter(|_| values.len() > 1) else { continue };
        let sum = sums.entry(group).or_default();
        sum.squares += values.iter().map(|v| (v - m).powi(2)).sum::<f64>();
        sum.freedom += (values.len() - 1) as f64;
    }
    let all = sums
        .values()
        .fold(Sum::default(), |a, b| Sum { squares: a.squares + b.squares, freedom: a.freedom + b.freedom });
    let known: Vec<Sum> = sums.values().copied().collect();
    let (prior, most) = if known.len() < FEWEST || all.squares <= 0.0 {
        let squares = start.freedom * start.deviation.powi(2) + all.squares;
        let freedom = start.freedom + all.freedom;
        (Spread { deviation: (squares / freedom).sqrt(), freedom: WEIGHT }, freedom)
    } else {
        (shared(&known), all.freedom)
    };
    let moderate = |sum: Sum| {
        let freedom = prior.freedom + sum.freedom;
        let squares = prior.freedom * prior.deviation.powi(2) + sum.squares;
        Spread { deviation: (squares / freedom).sqrt(), freedom: freedom.min(most) }
    };
    let prior_alone = Spread { freedom: prior.freedom.min(most), ..prior };
    Spreads { groups: sums.into_iter().map(|(group, sum)| (group, moderate(sum))).collect(), prior: prior_alone }
}

/// Estimates s0 and d0 of three groups or more, by the moments of log s^2.
fn shared(groups: &[Sum]) -> Spread {
    let count = groups.len() as f64;
    let mut variances: Vec<f64> = groups.iter().map(|g| g.squares / g.freedom).collect();
    variances.sort_by(f64::total_cmp);
    // A group without variance would give minus infinity; limma's floor.
    let largest = variances[variances.len() - 1];
    let middle = Some(variances[variances.len() / 2]).filter(|m| *m > 0.0).unwrap_or(largest);
    let logs: Vec<f64> = groups
        .iter()
        .map(|g| (g.squares / g.freedom).max(1e-5 * middle).ln() - digamma(g.freedom / 2.0) + (g.freedom / 2.0).ln())
        .collect();
    let center = logs.iter().sum::<f64>() / count;
    let scatter = logs.iter().map(|l| (l - center).powi(2)).sum::<f64>() / (count - 1.0);
    let own = groups.iter().map(|g| trigamma(g.freedom / 2.0)).sum::<f64>() / count;
    let (mut low, mut high) = WEIGHTS;
    // psi' decreases: the weight is the point where it equals the groups' variation beyond their own errors.
    for _ in 0..60 {
        let weight = 0.5 * (low + high);
        if trigamma(weight / 2.0) > scatter - own { low = weight } else { high = weight }
    }
    let half = low / 2.0;
    Spread { deviation: (0.5 * (center + digamma(half) - half.ln())).exp(), freedom: low }
}

/// Trigamma function psi'(x) for positive x: shifted up to 8, then the asymptotic series (Abramowitz and Stegun
/// 6.4.12).
fn trigamma(x: f64) -> f64 {
    let (mut x, mut sum) = (x, 0.0);
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x + y / 2.0 + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y / 30.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::stats::rates::binomial_bounds;

    const START: Spread = Spread { deviation: 0.2, freedom: 2.0 };

    #[test]
    fn trigamma_is_right() {
        let squared = std::f64::consts::PI.powi(2);
        assert!((trigamma(1.0) - squared / 6.0).abs() < 1e-9);
        assert!((trigamma(0.5) - squared / 2.0).abs() < 1e-9);
    }

    #[test]
    fn intervals_of_two_pairs_cover_in_every_group() {
        // Six families, 2 to 7 samples of three values each; then the mean of two new values of each.
        // Compared with a miss rate of 5 % over all groups and 8 % in any (99.9 % points of the binomial).
        let trials = 300;
        for (name, sds) in [("alike", [0.1; 6]), ("ten-fold", [0.02, 0.03, 0.05, 0.09, 0.15, 0.2])] {
            let mut missed = [0u64; 6];
            for trial in 0..trials {
                let mut s = Stream::new(trial, name, &[]);
                let mut samples = vec![];
                for (i, sd) in sds.iter().enumerate() {
                    for _ in 0..i + 2 {
                        let level = s.unit();
                        samples.push((i, (0..3).map(|_| level + sd * s.normal()).collect()));
                    }
                }
                let spreads = pool(samples, START);
                for (i, sd) in sds.iter().enumerate() {
                    let interval = spreads.of(&i).interval(&[sd * s.normal(), sd * s.normal()]).unwrap();
                    missed[i] += u64::from(interval.low > 0.0 || interval.high < 0.0);
                }
            }
            println!("{name}: covers {:.3?}", missed.map(|m| 1.0 - m as f64 / trials as f64));
            assert!(missed.iter().sum::<u64>() <= binomial_bounds(6 * trials, 0.05).1, "{name} {missed:?}");
            assert!(missed.iter().all(|m| *m <= binomial_bounds(trials, 0.08).1), "{name} {missed:?}");
        }
    }

    #[test]
    fn what_was_never_seen_has_the_prior() {
        let none = pool::<u8>([], START);
        assert_eq!(none.of(&1), Spread { deviation: 0.2, freedom: 2.0 });
        // A group with many data nearly keeps its own standard deviation; another gets the pooled one.
        let one = pool([("a", (0..100).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect())], START);
        assert!((one.of(&"a").deviation - 1.0).abs() < 0.02);
        assert!(one.of(&"b").deviation > 0.9 && one.of(&"b").freedom == WEIGHT);
        // Groups without variance must not cause a NaN.
        let flat = pool((0..4).map(|i| (i, vec![0.5; 4])), START);
        assert!(flat.of(&0).deviation > 0.0);
        let some = pool((0..4).map(|i| (i, vec![0.5, 0.5 + f64::from(i)])), START);
        assert!((0..4).all(|i| some.of(&i).deviation.is_finite() && some.of(&i).deviation > 0.0));
        assert_eq!(START.interval(&[]), None);
        assert_eq!(START.probability_positive(&[0.0]), Some(0.5));
    }
}
