//! Streams of random numbers with an address instead of a state.
//!
//! The address is hashed, and the hash is the key of a ChaCha8 stream. Streams of different addresses are
//! independent for every practical purpose, so parts of a task (training, validation, test) never share
//! one, and batch 1,000,000 costs no more than batch 0.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream at an address: words, then numbers. Words are hashed with their lengths, so that
    /// `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn new(words: &[&str], numbers: &[u64]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"archc stream 1");
        for word in words {
            hash.update((word.len() as u64).to_le_bytes());
            hash.update(word.as_bytes());
        }
        hash.update(u64::MAX.to_le_bytes());
        for number in numbers {
            hash.update(number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in 0..n (0 for n = 0), without bias: draws past the last whole multiple of n are thrown away.
    pub fn below(&mut self, n: usize) -> usize {
        let n = (n as u64).max(1);
        let rest = (u64::MAX % n + 1) % n;
        loop {
            let bits = self.bits();
            if bits <= u64::MAX - rest {
                return (bits % n) as usize;
            }
        }
    }

    /// Uniform in low..=high.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the items in random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `count` different numbers below `n`, in random order; all of them if there are fewer.
    pub fn choose(&mut self, n: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        for i in 0..count.min(n) {
            let j = self.between(i, n - 1);
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }
}

/// The seed that an index stands for in a named space of seeds, so that tiers never share one.
pub fn seed_of(space: &str, index: u64) -> u64 {
    Stream::new(&["seed", space], &[index]).bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_decide() {
        let first = |words: &[&str], numbers: &[u64]| Stream::new(words, numbers).bits();
        assert_eq!(first(&["a"], &[1]), first(&["a"], &[1]));
        assert_ne!(first(&["ab", "c"], &[]), first(&["a", "bc"], &[]));
        assert_ne!(first(&["a"], &[1, 2]), first(&["a"], &[2, 1]));
        assert_ne!(seed_of("search", 0), seed_of("verify", 0));
    }

    #[test]
    fn draws_are_uniform() {
        let mut stream = Stream::new(&["uniform"], &[]);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6)] += 1;
        }
        // 10,000 expected each, standard deviation 91: six of them.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 550), "{counts:?}");
        let mean = (0..60_000).map(|_| stream.unit()).sum::<f64>() / 60_000.0;
        assert!((mean - 0.5).abs() < 0.008, "{mean}"); // standard deviation 0.0012
    }

    #[test]
    fn choices_differ() {
        let mut stream = Stream::new(&["choose"], &[]);
        let mut chosen = stream.choose(10, 7);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 7);
        assert_eq!(stream.choose(3, 9).len(), 3);
    }
}
