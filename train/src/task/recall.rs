//! In-context recall, plain and noisy (MAD, arXiv 2403.17844).
//!
//! Every row has its own random map from keys (the lower half of the vocabulary) to values (the
//! upper half). Pairs follow one another, with keys drawn uniformly; each output predicts the next token,
//! scored where that is the value of a key seen earlier in the row. Noisy recall puts, between pairs,
//! meaningless tokens from a second vocabulary.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct Recall {
    len: usize,
    keys: usize,
    noises: usize,
    noise: f64,
}

/// `recall`: vocab 16, len 32.
pub fn recall(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let vocab = settings.whole("vocab", 16, 2, 1 << 16)?;
    // More pairs than keys, so that some key occurs twice in every row.
    let len = settings.whole("len", 32, vocab / 2 * 2 + 1, 1 << 20)?;
    let rule = Recall { len, keys: vocab / 2, noises: 0, noise: 0.0 };
    Ok(Arc::new(Synthetic::new(settings.finish()?, rule)))
}

/// `noisy-recall`: vocab 32 of which 16 are noise, share of noise 0.2, len 32.
pub fn noisy_recall(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let vocab = settings.whole("vocab", 32, 4, 1 << 16)?;
    let noise = settings.real("noise", 0.2, 0.0, 0.5)?;
    // At least half the events are pairs, so twice the length of plain recall has room for a repeat.
    let len = settings.whole("len", 32, vocab / 2 + 1, 1 << 20)?;
    let keys = vocab / 4;
    let rule = Recall { len, keys, noises: vocab - 2 * keys, noise };
    Ok(Arc::new(Synthetic::new(settings.finish()?, rule)))
}

impl Rule for Recall {
    fn vocab(&self) -> usize {
        2 * self.keys + self.noises
    }

    fn chance(&self) -> f64 {
        1.0 / self.keys as f64
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn row(&self, _: Draw, stream: &mut Stream) -> Row {
        let values: Vec<usize> = (0..self.keys).map(|_| self.keys + stream.below(self.keys)).collect();
        let mut seen = vec![false; self.keys];
        let mut symbols = Vec::with_capacity(self.len + 2);
        while symbols.len() <= self.len {
            if stream.unit() < self.noise {
                symbols.push((2 * self.keys + stream.below(self.noises), false));
            } else {
                let key = stream.below(self.keys);
                symbols.push((key, false));
                symbols.push((values[key], std::mem::replace(&mut seen[key], true)));
            }
        }
        symbols.truncate(self.len + 1);
        Row::continuation(&symbols)
    }
}
