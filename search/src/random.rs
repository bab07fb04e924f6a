//! Random-number streams by name.
//!
//! A proposal must be the same after a crash, on another number of cores and with another order of completion.
//! Therefore no stream is carried along: each decision opens its own, named by its purpose (`(seed, "propose",
//! generation, slot, attempt)`), and reads it from the beginning.

use sha2::{Digest, Sha256};

/// Random-number stream. The same name gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Stream(archc_runtime::random::Stream);

impl Stream {
    /// Opens the stream of this name.
    pub fn new(seed: u64, purpose: &str, numbers: &[u64]) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update((purpose.len() as u64).to_le_bytes());
        hash.update(purpose.as_bytes());
        for n in numbers {
            hash.update(n.to_le_bytes());
        }
        Self(archc_runtime::random::Stream::of(hash.finalize().into()))
    }

    /// Draws 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// Draws uniformly from 0..n, with negligible modulo bias (n is far below 2^32); 0 for n = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Draws uniformly from [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        self.0.uniform()
    }

    /// Draws true with probability p.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Draws one of the items; none if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Draws an index with probability proportional to its weight; none if no weight is positive.
    pub fn weighted(&mut self, weights: &[f64]) -> Option<usize> {
        let total: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        let mut at = self.unit() * total;
        let mut last = None;
        for (i, w) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = Some(i);
            if at < *w {
                break;
            }
            at -= w;
        }
        last
    }

    /// Draws a standard normal number (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Draws from Gamma(shape, 1) (Marsaglia and Tsang 2000; below 1 by the power trick of the same paper).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = (1.0 - self.unit()).powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Draws from Beta(a, b), as a ratio of gammas.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let x = self.gamma(a);
        let y = self.gamma(b);
        x / (x + y).max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_the_same_numbers() {
        let draw = |seed, purpose: &str, n: &[u64]| Stream::new(seed, purpose, n).bits();
        assert_eq!(draw(1, "propose", &[2, 3]), draw(1, "propose", &[2, 3]));
        assert_ne!(draw(1, "propose", &[2, 3]), draw(1, "propose", &[3, 2]));
        assert_ne!(draw(1, "propose", &[2, 3]), draw(2, "propose", &[2, 3]));
        assert_ne!(draw(1, "propose", &[2, 3]), draw(1, "apply", &[2, 3]));
    }

    #[test]
    fn moments_are_right() {
        // 20,000 draws: the standard error of a mean is the standard deviation / 141; five standard errors are allowed.
        let n = 20_000;
        let mean = |f: &mut dyn FnMut(&mut Stream) -> f64| {
            let mut s = Stream::new(7, "moments", &[]);
            (0..n).map(|_| f(&mut s)).sum::<f64>() / n as f64
        };
        assert!((mean(&mut |s| s.unit()) - 0.5).abs() < 5.0 * 0.289 / 141.0);
        assert!(mean(&mut |s| s.normal()).abs() < 5.0 / 141.0);
        assert!((mean(&mut |s| s.normal().powi(2)) - 1.0).abs() < 5.0 * 1.42 / 141.0);
        assert!((mean(&mut |s| s.gamma(0.5)) - 0.5).abs() < 5.0 * 0.71 / 141.0);
        assert!((mean(&mut |s| s.gamma(3.0)) - 3.0).abs() < 5.0 * 1.74 / 141.0);
        assert!((mean(&mut |s| s.beta(2.0, 6.0)) - 0.25).abs() < 5.0 * 0.15 / 141.0);
        assert!((mean(&mut |s| s.below(5) as f64) - 2.0).abs() < 5.0 * 1.42 / 141.0);
        assert!((mean(&mut |s| s.weighted(&[1.0, 0.0, 3.0]).unwrap() as f64) - 1.5).abs() < 5.0 * 0.87 / 141.0);
    }

    #[test]
    fn nothing_to_choose_from_is_none() {
        let mut s = Stream::new(0, "empty", &[]);
        assert_eq!(s.pick::<u8>(&[]), None);
        assert_eq!(s.weighted(&[0.0, 0.0]), None);
    }
}
