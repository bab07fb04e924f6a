//! Random-number streams with an address instead of a state.
//!
//! The address is hashed, and the hash is the key of a ChaCha8 stream. Streams of different addresses are
//! independent for every practical purpose, so parts of a task (training, validation, test) never share
//! one, and batch 1,000,000 costs no more than batch 0.

use sha2::{Digest, Sha256};

/// Random-number stream.
#[derive(Clone, Debug)]
pub struct Stream(archc_runtime::random::Stream);

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
        Self(archc_runtime::random::Stream::of(hash.finalize().into()))
    }

    /// Draws 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }

    /// Draws uniformly from 0..n (0 for n = 0), without bias: draws past the last whole multiple of n are rejected.
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

    /// Draws uniformly from low..=high.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Draws uniformly from [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        self.0.uniform()
    }

    /// Draws `count` different numbers below `n`, in random order; all of them if there are fewer.
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

/// Permutation of the numbers below n with random access: a Feistel network over the next power of four, with cycle walking where it
/// leaves the range (Black and Rogaway, Ciphers with arbitrary finite domains, 2002).
#[derive(Clone, Debug)]
pub struct Order {
    n: u64,
    half: u32,
    keys: [u64; ROUNDS],
}

/// Number of Feistel rounds. Four look random over large ranges; small ones need more.
const ROUNDS: usize = 8;

impl Order {
    /// Draws a permutation of 0..n (of 0..1 for n = 0) from a stream.
    pub fn new(n: usize, stream: &mut Stream) -> Self {
        let n = (n as u64).max(1);
        let bits = u64::BITS - (n - 1).leading_zeros();
        Self { n, half: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| stream.bits()) }
    }

    /// The number at a place below n.
    pub fn at(&self, place: usize) -> usize {
        let mut number = self.step(place as u64 % self.n);
        // A walk along a cycle of the permutation returns to the range that it started in, on average after at most four steps.
        while number >= self.n {
            number = self.step(number);
        }
        number as usize
    }

    /// Permutes the numbers of 2 `half` bits.
    fn step(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        left << self.half | right
    }
}

/// Finalizer of `SplitMix64`: every bit of the argument affects every bit of the result.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Seed at an index of a named seed space, so that tiers with different spaces never share a seed.
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
        // 10,000 expected each, standard deviation 91; the bound is six standard deviations.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 550), "{counts:?}");
        let mean = (0..60_000).map(|_| stream.unit()).sum::<f64>() / 60_000.0;
        assert!((mean - 0.5).abs() < 0.008, "{mean}"); // standard deviation 0.0012
    }

    #[test]
    fn orders_have_every_number_once() {
        for n in (1..200).chain([1023, 1024, 1025]) {
            let order = Order::new(n, &mut Stream::new(&["order"], &[n as u64]));
            let mut all: Vec<usize> = (0..n).map(|place| order.at(place)).collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..n), "{n}");
        }
        assert_eq!(Order::new(0, &mut Stream::new(&["order"], &[])).at(0), 0);
    }

    #[test]
    fn orders_are_drawn() {
        // How often each of five numbers is first: 2,000 expected each, standard deviation 40; the bound is six standard deviations.
        let mut first = [0u32; 5];
        for seed in 0..10_000 {
            first[Order::new(5, &mut Stream::new(&["order"], &[seed])).at(0)] += 1;
        }
        assert!(first.iter().all(|c| c.abs_diff(2000) < 240), "{first:?}");
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
