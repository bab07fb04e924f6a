//! Random numbers that depend on names alone: (seed, path, ...) hashed to a key, never a shared generator.
//!
//! An edit of one part of a program therefore reseeds no other part, and every device draws the same numbers.

use archc_compiler::lowered::{DimId, Extent, Lowered};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of a stream.
pub type Key = [u8; 32];

/// The key of these parts, each with its length (SHA-256).
fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The key of a dropout site at a training step.
pub(crate) fn dropout_key(seed: u64, step: u64, path: &str) -> Key {
    key(&[b"dropout", &seed.to_le_bytes(), &step.to_le_bytes(), path.as_bytes()])
}

/// A stream of numbers for one purpose (ChaCha8 under the purpose's key): the generator of all draws of the workspace.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of these parts. They are hashed with their lengths, so that no two lists collide.
    pub fn new(parts: &[&[u8]]) -> Self {
        Self::of(key(parts))
    }

    /// The stream of a key.
    pub fn of(key: Key) -> Self {
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Goes to the start of one of 2^64 independent substreams.
    pub fn seek(&mut self, substream: u64) {
        self.0.set_stream(substream);
        self.0.set_word_pos(0);
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform number in [0, 1), 32 bits.
    pub fn uniform_short(&mut self) -> f64 {
        f64::from(self.0.next_u32()) * (1.0 / 4_294_967_296.0)
    }

    /// Two independent standard normal numbers (Box and Muller 1958), computed by functions that give the same bits on
    /// every platform.
    pub fn normal_pair(&mut self) -> [f64; 2] {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = 2.0 * std::f64::consts::PI * self.uniform();
        [radius * libm::cos(angle), radius * libm::sin(angle)]
    }
}

/// The factors of dropout: 0 with probability p, else 1 / (1 - p). There is one stream per token, with its numbers in the order of the
/// token's axes.
pub(crate) struct DropoutMask {
    stream: Stream,
    p: f64,
    keep: f32,
}

impl DropoutMask {
    /// The mask of a site's key ([`dropout_key`]).
    pub fn new(key: Key, p: f64) -> Self {
        Self { stream: Stream::of(key), p, keep: if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 } }
    }

    /// Writes the factors of one token.
    pub fn draw(&mut self, token: u64, into: &mut [f32]) {
        self.stream.seek(token);
        for x in into {
            *x = if self.stream.uniform_short() < self.p { 0.0 } else { self.keep };
        }
    }
}

/// The index, in the batch with `len` tokens per sequence, of the token with these indices of dimensions.
pub(crate) fn token_number(graph: &Lowered, len: usize, at: &[(DimId, usize)]) -> usize {
    let (mut batch, mut start, mut row) = (0, 0, 0);
    for &(d, i) in at {
        let dim = graph.dim(d);
        match (dim.rank, dim.extent) {
            (0, _) => batch = i,
            (1, Extent::Chunks(tokens)) => start = i * tokens,
            (2, _) => row = i,
            _ => {}
        }
    }
    batch * len + start + row
}
