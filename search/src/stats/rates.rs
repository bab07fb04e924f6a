//! Error rates, and agreement of two rankings.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

/// Proportion with a 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Hits over trials.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of hits.
    pub hits: u64,
    /// Number of trials.
    pub trials: u64,
}

/// Proportion of hits, for example the type-I error rate of comparisons of a program with itself, with the exact 95 %
/// interval of Clopper and Pearson 1934; none without trials, or for more hits than trials.
///
/// The ends are the 2.5 % point of Beta(hits, misses + 1) and the 97.5 % point of Beta(hits + 1, misses):
/// coverage is at least 95 % for independent trials, and more for few.
pub fn rate(hits: u64, trials: u64) -> Option<Rate> {
    if trials == 0 || hits > trials {
        return None;
    }
    let (h, m) = (hits as f64, (trials - hits) as f64);
    let point = |a, b, p, otherwise| Beta::new(a, b).map_or(otherwise, |beta| beta.inverse_cdf(p));
    Some(Rate {
        rate: h / trials as f64,
        low: if hits == 0 { 0.0 } else { point(h, m + 1.0, 0.025, 0.0) },
        high: if hits == trials { 1.0 } else { point(h + 1.0, m, 0.975, 1.0) },
        hits,
        trials,
    })
}

/// Estimated false-discovery rate of claims: the fraction of them expected by chance alone.
///
/// min(1, comparisons * type_one / claims): Storey 2002, "A direct approach to false discovery rates", with pi0 = 1, as
/// if no comparison involved a better program, which is conservative. It applies to all claims made by one rule, whose
/// type-I rate was measured with the same rule; not to winners selected among them. None without claims.
pub fn false_discovery_rate(comparisons: u64, type_one: f64, claims: u64) -> Option<f64> {
    (claims > 0).then(|| (comparisons as f64 * type_one / claims as f64).min(1.0))
}

/// p value of "better than every one of these" (intersection-union test, Berger 1982): the largest p. No correction is
/// needed, because all must be rejected; none if one is missing or the list is empty.
pub fn intersection_union(ps: &[Option<f64>]) -> Option<f64> {
    ps.iter().copied().collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
}

/// Rank correlation with a 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// Spearman's rho.
    pub rho: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of pairs.
    pub count: usize,
}

/// Spearman's rank correlation, ties at their mean rank; none below five pairs, for unequal lengths, or if all values
/// of one side are equal.
///
/// The interval is tanh(atanh rho +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3))): Bonett and Wright 2000, "Sample size
/// requirements for estimating Pearson, Kendall and Spearman correlations", for monotone relations without
/// many ties. A perfect correlation gets the interval of one with two neighbours swapped, extended to 1.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<Correlation> {
    let n = x.len();
    if n < 5 || n != y.len() || x.iter().chain(y).any(|v| v.is_nan()) {
        return None;
    }
    let rho = pearson(&ranks(x), &ranks(y))?;
    let count = n as f64;
    let most = 1.0 - 12.0 / (count * (count * count - 1.0));
    let held = rho.clamp(-most, most);
    let half = 1.959_964 * ((1.0 + held * held / 2.0) / (count - 3.0)).sqrt();
    let low = if rho < -most { -1.0 } else { (held.atanh() - half).tanh() };
    let high = if rho > most { 1.0 } else { (held.atanh() + half).tanh() };
    Some(Correlation { rho, low, high, count: n })
}

/// Lower and upper bound for the hits of `trials` trials at this rate; each is violated with probability one in a
/// thousand.
///
/// Bounds for tests by simulation: a correct rate violates each of them for one in 1,000 fixed seeds.
pub fn binomial_bounds(trials: u64, rate: f64) -> (u64, u64) {
    Binomial::new(rate, trials).map_or((0, trials), |b| (b.inverse_cdf(0.001), b.inverse_cdf(0.999)))
}

/// Ranks from 1, ties at their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &i in tied {
            ranks[i] = below as f64 + (tied.len() + 1) as f64 / 2.0;
        }
        below += tied.len();
    }
    ranks
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mx, my) = (super::mean(x)?, super::mean(y)?);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 { x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum() };
    let (xx, yy) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    (xx > 0.0 && yy > 0.0).then(|| sum(&|x, y| x * y) / (xx * yy).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn clopper_and_pearson_have_their_ends() {
        let r = rate(0, 3).unwrap();
        assert_eq!(r.low, 0.0);
        assert!((r.high - (1.0 - 0.025f64.powf(1.0 / 3.0))).abs() < 1e-6, "{r:?}");
        assert_eq!(rate(3, 3).unwrap().high, 1.0);
        assert!((rate(3, 3).unwrap().low - 0.025f64.powf(1.0 / 3.0)).abs() < 1e-6);
        // R: binom.test(7, 20).
        let r = rate(7, 20).unwrap();
        assert!((r.low - 0.1539).abs() < 1e-4 && (r.high - 0.5922).abs() < 1e-4, "{r:?}");
        assert_eq!((rate(0, 0), rate(2, 1)), (None, None));
        // The coverage is a sum over the binomial distribution: never below 95 %.
        for p in [0.02, 0.05, 0.3] {
            let b = Binomial::new(p, 20).unwrap();
            use statrs::distribution::Discrete;
            let covered: f64 =
                (0..=20).filter(|&h| rate(h, 20).is_some_and(|r| r.low <= p && p <= r.high)).map(|h| b.pmf(h)).sum();
            assert!(covered >= 0.95, "{p}: {covered}");
        }
    }

    #[test]
    fn false_discoveries_and_unions() {
        assert_eq!(false_discovery_rate(200, 0.02, 16), Some(0.25));
        assert_eq!(false_discovery_rate(200, 0.05, 2), Some(1.0));
        assert_eq!(false_discovery_rate(200, 0.05, 0), None);
        assert_eq!(intersection_union(&[Some(0.01), Some(0.04), Some(0.002)]), Some(0.04));
        assert_eq!(intersection_union(&[Some(0.01), None]), None);
        assert_eq!(intersection_union(&[]), None);
        let (low, high) = binomial_bounds(400, 0.05);
        assert!((7..=9).contains(&low) && (33..=36).contains(&high), "{low} {high}");
    }

    #[test]
    fn rank_correlation_and_its_interval() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [2.5, 1.0, 2.5]);
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let same = spearman(&x, &x.map(f64::exp)).unwrap();
        assert!((same.rho - 1.0).abs() < 1e-12 && same.high == 1.0 && same.low < 0.9, "{same:?}");
        assert_eq!(spearman(&x, &[1.0; 6]), None);
        assert_eq!(spearman(&x[..4], &x[..4]), None);
        // Normal pairs with r = .5 have rho = 6 / pi asin(.25) = .4826; the miss rate is compared with 5 % + 1 % for
        // the approximation.
        let trials = 300;
        let missed = (0..trials)
            .filter(|&trial| {
                let mut s = Stream::new(trial, "ranks", &[]);
                let x: Vec<f64> = (0..20).map(|_| s.normal()).collect();
                let y: Vec<f64> = x.iter().map(|x| 0.5 * x + 0.75f64.sqrt() * s.normal()).collect();
                let c = spearman(&x, &y).unwrap();
                c.low > 0.4826 || c.high < 0.4826
            })
            .count() as u64;
        println!("Spearman, n 20: covers {:.3}", 1.0 - missed as f64 / trials as f64);
        assert!(missed <= binomial_bounds(trials, 0.06).1, "{missed}");
    }
}
