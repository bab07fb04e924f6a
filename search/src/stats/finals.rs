//! Finals: a sequential test with three looks.
//!
//! Each finalist is compared, seed by seed, with one anchor that was fixed before the finals; the seeds are fresh, the same for all
//! finalists and in the same order. At 8, 12 and 16 seeds there is a look:
//!
//! 1. Every finalist still open gets the exact one-sided sign-flip p of its differences so far.
//! 2. Holm's procedure over the finalists at this look's share of 5 %: .0125, .0125, .025. A finalist that passes is
//!    *established*, permanently, and leaves the family: the others share the level that it no longer needs.
//! 3. A finalist that is not established and has a mean difference of zero or less, or a conditional power below 10 % (the
//!    probability to be established at 16 seeds alone in its family if its mean stays the same), is *dropped*; it stays in
//!    the family, with p = 1. Finalists left at 16 seeds are not established.
//!
//! Between looks nothing is decided. With fewer than eight seeds there is no p at all.
//!
//! Error. The probability that any finalist that is no better is called established is at most 5 %, for any dependence among finalists
//! (they share the anchor) and among looks. Proof: let I be the set of those that are no better, and consider the first of them to be
//! established, at look k. Before it only others were established, so Holm's share of it was at most a_k / |I|; the probability that some
//! of I has p <= a_k / |I| at look k is at most a_k (Bonferroni), and the a_k sum to .05. Dropping only removes rejections, and the shares
//! do not rely on it, so it cannot raise the error, whatever its rule.
//!
//! Assumption: under the hypothesis "no better" the differences are symmetric about zero or below it, and independent from seed to seed
//! (see `signs`). This holds if finalist and anchor are exchangeable. It does not hold for a finalist that is slightly better on most seeds
//! and fails on a few, so that the means are equal: with failures in 30, 20 or 10 % of the seeds a single one is established in 9, 18 and
//! 33 %, and one of three in 19, 39 and 60 %. Eight seeds without a failure cannot rule that out, by any test. "Established" therefore
//! means better on seeds like those used.
//!
//! Shares. Eight signs give p >= 1/256. Three finalists can only be established under Holm if 3/256 = .0117 <= a_1, so .0125 is the
//! smallest round share that allows it; more at the first look would save few seeds and cost power at the last. Measured in 6,000 finals of
//! three with effects of d = mean / standard deviation (power and seeds of one finalist):
//!
//! | shares | power d .75 | d 1 | d 1.5 | seeds at d 1 |
//! |---|---|---|---|---|
//! | .0125 .0125 .025 | .74 | .95 | 1.00 | 11.9 |
//! | .0157 .0157 .0186 | .70 | .94 | 1.00 | 11.4 |
//! | .0235 .0125 .014 | .66 | .92 | 1.00 | 10.8 |
//! | 0 0 .05 (one look at 16) | .82 | .97 | 1.00 | 15.8 |
//!
//! Dropping costs at most .02 of power at d .75, .01 at d 1, and stops a finalist without effect after 9.3 seeds on average.
//!
//! Effect. A finalist is established because its lead was large on these very seeds, so that lead is biased upwards: for one finalist alone
//! with d .5 by a third, with d .75 by an eighth (the test below), and more for one of three, which needs more to pass. No correction by a
//! formula is needed, because new seeds are available: an established finalist, the anchor and the finalist's ancestors run on `AFTER`
//! further seeds, which were not used to establish it, and the differences there are its effects. They are unbiased if no seed failed;
//! their confidence intervals cover .92 (skewed differences) to .95 (`signs`).
//!
//! Sources: Holm 1979, "A simple sequentially rejective multiple test procedure"; Pocock 1977 and Lan and
//! DeMets 1983 on sharing 5 % over looks; Lan, Simon and Halperin 1982 on conditional power; Zhong and
//! Prentice 2008, "Bias-reduced estimators", on why effects that passed a test are overestimated.

use super::{Interval, deviation, interval, mean, probability_positive, sign_flip};
use serde::{Deserialize, Serialize};

/// Numbers of paired seeds at the looks.
pub const LOOKS: [usize; 3] = [8, 12, 16];

/// Number of seeds of the last look.
pub const LAST: usize = LOOKS[LOOKS.len() - 1];

/// Number of seeds after the last look, on which the effects of established programs are measured.
pub const AFTER: usize = 16;

/// Share of `ERROR` for each look.
pub const SHARES: [f64; 3] = [0.0125, 0.0125, 0.025];

/// Maximum probability of calling any finalist established that is no better.
pub const ERROR: f64 = 0.05;

/// Conditional power below which a finalist is dropped.
pub const HOPE: f64 = 0.1;

/// Standing of a finalist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Better than the anchor.
    Established {
        /// Number of paired seeds of the look that established it.
        look: usize,
        /// Adjusted p of that look, to be compared with 5 %.
        p: f64,
    },
    /// Not shown to be better.
    NotEstablished {
        /// Reason.
        why: Why,
    },
    /// More seeds may decide it.
    Open,
}

/// Reason why a finalist is not established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Not all finalists have the seeds of the first look yet.
    TooFewSeeds,
    /// The finalist has no score on some seed.
    Failed,
    /// Its mean difference is zero or less.
    NotAhead,
    /// It is ahead, but its conditional power is too low.
    Hopeless,
    /// It reached the last look.
    LastLook,
}

impl Why {
    /// Reason in words, to be read after "not established: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::TooFewSeeds => "too few seeds",
            Self::Failed => "no score on some seed",
            Self::NotAhead => "not ahead of the anchor",
            Self::Hopeless => "too little ahead for the seeds left",
            Self::LastLook => "not at the last look either",
        }
    }
}

/// Judgement of a finalist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Standing of the finalist.
    pub standing: Standing,
    /// Number of paired seeds of its last look; none before the first.
    pub look: Option<usize>,
    /// One-sided sign-flip p at that look.
    pub p: Option<f64>,
    /// Adjusted p: after Holm's correction over finalists, times 5 % over the look's share; to be compared with 5 %.
    pub adjusted: Option<f64>,
    /// Mean difference at that look with its 95 % confidence interval; before the first look, of the available seeds. It is the interval of
    /// one finalist at a fixed number of seeds (at the looks' stopping times it covered .95-.97 for effects of d = .75 to 2), and so can
    /// lie above zero for a finalist that is not established. For established finalists the mean is biased upwards: see [`Effect`].
    pub interval: Option<Interval>,
}

impl Judgement {
    /// Whether the finalist is established as better than the anchor.
    pub fn established(&self) -> bool {
        matches!(self.standing, Standing::Established { .. })
    }

    /// Whether more seeds may change the judgement.
    pub fn undecided(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::NotEstablished { why: Why::TooFewSeeds })
    }
}

/// Effect of an established finalist, on seeds that did not establish it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Number of seeds on which both ran.
    pub seeds: usize,
    /// Number of these on which it has no score.
    pub failed: usize,
    /// Mean difference with its 95 % confidence interval; none if it failed on a seed.
    pub over: Option<Interval>,
}

/// Effect from the differences on the seeds after the last look (NaN: no score); none for fewer than the first look's seeds, unless one
/// failed already.
pub fn effect(differences: &[f64]) -> Option<Effect> {
    let failed = differences.iter().filter(|d| !d.is_finite()).count();
    let over = if failed == 0 { interval(differences) } else { None };
    (failed > 0 || differences.len() >= LOOKS[0]).then_some(Effect { seeds: differences.len(), failed, over })
}

/// Number of paired seeds of the next look after this many; none after the last.
pub fn next_look(seeds: usize) -> Option<usize> {
    LOOKS.into_iter().find(|look| *look > seeds)
}

/// Judges the finalists by their differences to the anchor, one row per finalist, one column per seed.
///
/// A seed on which a finalist has no score is NaN (one on which the *anchor* has none is left out for all). A look is taken once every open
/// finalist has its seeds; a decided finalist needs no further ones. The looks are recomputed from the first one on, so the result depends
/// on the differences alone, and more seeds never undo a decision.
pub fn judge(differences: &[Vec<f64>]) -> Vec<Judgement> {
    let mut finals = decide(differences);
    for (judgement, d) in finals.iter_mut().zip(differences) {
        judgement.interval = interval(&d[..judgement.look.unwrap_or(d.len())]);
    }
    finals
}

/// Computes the looks, without the intervals.
fn decide(differences: &[Vec<f64>]) -> Vec<Judgement> {
    let start = Standing::NotEstablished { why: Why::TooFewSeeds };
    let mut finals: Vec<Judgement> = differences
        .iter()
        .map(|_| Judgement { standing: start, look: None, p: None, adjusted: None, interval: None })
        .collect();
    for (look, share) in LOOKS.into_iter().zip(SHARES) {
        let open: Vec<usize> = (0..finals.len()).filter(|&i| finals[i].undecided()).collect();
        if open.is_empty() || open.iter().any(|&i| differences[i].len() < look) {
            break;
        }
        for &i in &open {
            let so_far = &differences[i][..look];
            let finite = so_far.iter().all(|d| d.is_finite());
            finals[i].look = Some(look);
            finals[i].p = if finite { sign_flip(so_far) } else { Some(1.0) };
        }
        adjust(&mut finals, &open, share);
        for i in open {
            finals[i].standing = match finals[i].adjusted {
                // A p value is a count over 2^n: the tolerance is only for rounding.
                Some(p) if p <= ERROR * (1.0 + 1e-9) => Standing::Established { look, p },
                _ => fate(&differences[i][..look]),
            };
        }
    }
    finals
}

/// Computes Holm's adjusted p of the open finalists, in a family of all that are not established.
fn adjust(finals: &mut [Judgement], open: &[usize], share: f64) {
    let mut family = finals.iter().filter(|f| !f.established()).count();
    let mut order: Vec<(f64, usize)> = open.iter().filter_map(|&i| Some((finals[i].p?, i))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut before = 0f64;
    for (p, i) in order {
        before = before.max(p * family as f64 * ERROR / share).min(1.0);
        finals[i].adjusted = Some(before);
        family -= 1;
    }
}

/// Standing of a finalist that was not established at this look.
fn fate(so_far: &[f64]) -> Standing {
    let why = if so_far.iter().any(|d| !d.is_finite()) {
        Why::Failed
    } else if mean(so_far).is_none_or(|m| m <= 0.0) {
        Why::NotAhead
    } else if next_look(so_far.len()).is_none() {
        Why::LastLook
    } else if conditional_power(so_far).is_some_and(|power| power < HOPE) {
        Why::Hopeless
    } else {
        return Standing::Open;
    };
    Standing::NotEstablished { why }
}

/// Conditional power: the probability to pass the last look's share alone in the family, if the mean stays the same.
///
/// With t = n / N and z = mean sqrt(n) / deviation, the last z is about normal with mean
/// z sqrt(t) + z (1 - t) / sqrt(t) = z / sqrt(t) and variance 1 - t (Lan, Simon and Halperin 1982).
fn conditional_power(so_far: &[f64]) -> Option<f64> {
    let n = so_far.len() as f64;
    let t = n / LAST as f64;
    let z = mean(so_far)? * n.sqrt() / deviation(so_far)?;
    // Upper 2.5 % point of the normal distribution: the last share.
    Some(probability_positive(z / t.sqrt() - 1.959_964, (1.0 - t).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::stats::rates::binomial_bounds;

    /// Plays finals of three to their end; returns the judgements and the number of seeds used.
    fn play(mut seed: impl FnMut() -> Vec<f64>) -> (Vec<Judgement>, usize) {
        let mut differences = vec![vec![]; 3];
        for _ in 0..LAST {
            differences.iter_mut().zip(seed()).for_each(|(row, d)| row.push(d));
        }
        let finals = decide(&differences);
        let taken = finals.iter().filter_map(|f| f.look).sum();
        (finals, taken)
    }

    /// Simulates finals of three without effects: the fraction with any established finalist is compared with 5 % (99.9 % point of the
    /// binomial).
    fn null(name: &str, mut seed: impl FnMut(&mut Stream) -> Vec<f64>) {
        let trials = 400;
        let (mut wrong, mut seeds) = (0, 0);
        for trial in 0..trials {
            let mut s = Stream::new(trial, name, &[]);
            let (finals, taken) = play(|| seed(&mut s));
            wrong += u64::from(finals.iter().any(Judgement::established));
            seeds += taken;
        }
        println!(
            "{name}: {:.3} of null finals establish one, {:.1} seeds a finalist",
            wrong as f64 / trials as f64,
            seeds as f64 / (3 * trials) as f64
        );
        assert!(wrong <= binomial_bounds(trials, ERROR).1, "{name}: {wrong} of {trials}");
    }

    #[test]
    fn null_finals_establish_one_in_at_most_a_twentieth() {
        null("independent normal", |s| (0..3).map(|_| s.normal()).collect());
        null("normal, common anchor", |s| {
            let anchor = s.normal();
            (0..3).map(|_| s.normal() - anchor).collect()
        });
        // A score that jumps on 30 % of the seeds: skewed itself, with symmetric differences.
        let jump = |s: &mut Stream| f64::from(u8::from(s.chance(0.3))) + 0.1 * s.normal();
        null("skewed, common anchor", |s| {
            let anchor = jump(s);
            (0..3).map(|_| jump(s) - anchor).collect()
        });
        null("heavy tails", |s| (0..3).map(|_| s.normal() / s.gamma(1.0).sqrt()).collect());
        // One finalist is truly better, and its leaving the family must not raise the others' error above 5 %.
        let trials = 400;
        let wrong = (0..trials)
            .filter(|&trial| {
                let mut s = Stream::new(trial, "one true", &[]);
                let (finals, _) = play(|| vec![s.normal() + 2.0, s.normal(), s.normal()]);
                finals[1..].iter().any(Judgement::established)
            })
            .count() as u64;
        assert!(wrong <= binomial_bounds(trials, ERROR).1, "{wrong} of {trials}");
    }

    #[test]
    fn true_effects_are_found() {
        // Minimum power (per finalist of three, all with the effect, one anchor), less the binomial's .1 % point.
        for (d, least) in [(0.75, 0.68), (1.0, 0.93), (1.5, 0.995), (2.0, 0.999)] {
            let trials = 100;
            let (mut found, mut seeds) = (0, 0);
            for trial in 0..trials {
                let mut s = Stream::new(trial, "power", &[]);
                let (finals, taken) = play(|| {
                    let anchor = s.normal();
                    (0..3).map(|_| d + (s.normal() - anchor) / std::f64::consts::SQRT_2).collect()
                });
                found += finals.iter().filter(|f| f.established()).count() as u64;
                seeds += taken;
            }
            let n = 3 * trials;
            println!("d {d}: power {:.3}, {:.1} seeds", found as f64 / n as f64, seeds as f64 / n as f64);
            // Finalists of one final are correlated, so the bound uses the number of finals as the number of trials.
            assert!(found >= 3 * binomial_bounds(trials, least).0, "d {d}: {found} of {n}");
        }
    }

    #[test]
    fn the_lead_that_establishes_is_too_large_and_the_effect_after_it_is_not() {
        for (d, least) in [(0.5, 1.25), (0.75, 1.08)] {
            let (mut at_look, mut after, mut covered) = (vec![], vec![], 0);
            for trial in 0..400 {
                let mut s = Stream::new(trial, "effect", &[]);
                let mut draw = |n| -> Vec<f64> { (0..n).map(|_| d + s.normal()).collect() };
                let looked = draw(LAST);
                if let Standing::Established { look, .. } = decide(std::slice::from_ref(&looked))[0].standing {
                    let over = effect(&draw(AFTER)).unwrap().over.unwrap();
                    at_look.push(mean(&looked[..look]).unwrap());
                    after.push(over.mean);
                    covered += u64::from(over.low <= d && d <= over.high);
                }
            }
            let n = after.len();
            let (at_look, after) = (mean(&at_look).unwrap() / d, mean(&after).unwrap() / d);
            println!("d {d}: {n} of 400, lead {at_look:.3} d, effect {after:.3} d, covered in {covered}");
            assert!(at_look > least, "d {d}: {at_look}");
            // Four standard errors of a mean of n means of AFTER unit normals.
            assert!((after - 1.0).abs() < 4.0 / d / ((n * AFTER) as f64).sqrt(), "d {d}: {after}");
            assert!(covered >= binomial_bounds(n as u64, 0.95).0, "d {d}: {covered} of {n}");
        }
        let failed = effect(&[&[f64::NAN], &[1.0; 15][..]].concat());
        assert_eq!(failed, Some(Effect { seeds: 16, failed: 1, over: None }));
        assert_eq!(effect(&[f64::NAN]), Some(Effect { seeds: 1, failed: 1, over: None }));
        assert_eq!(effect(&[1.0; 7]), None);
    }

    #[test]
    fn a_decision_is_kept() {
        let rises = [vec![0.1; 8], vec![-0.5; 8]].concat();
        let noisy: Vec<f64> = (0..16).map(|i| if i % 3 == 0 { -0.6 } else { 0.9 }).collect();
        let early = judge(&[rises[..8].to_vec(), noisy[..8].to_vec()]);
        assert_eq!(early[0].standing, Standing::Established { look: 8, p: 2.0 / 256.0 * 4.0 });
        assert_eq!(early[1].standing, Standing::Open);
        assert_eq!(judge(&[rises.clone(), noisy.clone()])[0], early[0]);
        // A decided finalist needs no further seeds, and the judgements of the others are the same without them.
        assert_eq!(judge(&[rises[..8].to_vec(), noisy.clone()]), judge(&[rises, noisy]));
    }

    #[test]
    fn three_can_be_established_by_eight_seeds_and_four_cannot() {
        let all = |m| judge(&vec![vec![0.1; 8]; m]).iter().filter(|f| f.established()).count();
        assert_eq!((all(1), all(3), all(4)), (1, 3, 0));
        assert_eq!(judge(&vec![vec![0.1; 12]; 4]).iter().filter(|f| f.established()).count(), 4);
    }

    #[test]
    fn few_seeds_have_no_p() {
        let few = judge(&[vec![0.1; 7], vec![0.1; 8]]);
        for f in &few {
            assert_eq!(f.standing, Standing::NotEstablished { why: Why::TooFewSeeds });
            assert_eq!((f.look, f.p, f.adjusted), (None, None, None));
            assert!(f.undecided());
        }
        assert_eq!([0, 7, 8, 12, 16].map(next_look), [Some(8), Some(8), Some(12), Some(16), None]);
        assert!(judge(&[]).is_empty());
    }

    #[test]
    fn the_hopeless_go() {
        let why = |d: &[f64]| judge(&[d.to_vec()])[0].standing;
        let wave =
            |height: f64, n| -> Vec<f64> { (0..n).map(|i| height + if i % 2 == 0 { 1.0 } else { -1.0 }).collect() };
        assert_eq!(why(&wave(-0.1, 8)), Standing::NotEstablished { why: Why::NotAhead });
        assert_eq!(why(&wave(0.1, 8)), Standing::NotEstablished { why: Why::Hopeless });
        assert_eq!(why(&wave(0.5, 8)), Standing::Open);
        assert_eq!(why(&wave(0.5, 16)), Standing::NotEstablished { why: Why::LastLook });
        assert_eq!(why(&[&[f64::NAN], &[1.0; 7][..]].concat()), Standing::NotEstablished { why: Why::Failed });
        assert_eq!(why(&[0.0; 8]), Standing::NotEstablished { why: Why::NotAhead });
    }
}
