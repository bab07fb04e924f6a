//! Memorization (MAD, arXiv 2403.17844): one fixed random map from key to value, queried without showing the values.
//!
//! Rows are `key blank key blank ...`; the output at a blank must be the value of the key before it. No
//! value is ever in the input, so the map must be stored in the weights. The map does not depend
//! on the seed (validation and test query the same one); the setting `map` selects another.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct Memorization {
    len: usize,
    /// Value of each key.
    map: Vec<usize>,
    vocab: usize,
}

/// `memorization`: vocab 256 (127 keys, 128 values, blank), len 32, map 0.
pub fn memorization(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let vocab = settings.whole("vocab", 256, 4, 1 << 16)?;
    let len = settings.whole("len", 32, 2, 1 << 20)?;
    let number = settings.whole("map", 0, 0, 1 << 30)?;
    let keys = (vocab - 1) / 2;
    let mut stream = Stream::new(&["memorization", "map"], &[number as u64, vocab as u64]);
    let map = (0..keys).map(|_| keys + stream.below(vocab - 1 - keys)).collect();
    Ok(Arc::new(Synthetic::new(settings.finish()?, Memorization { len, map, vocab })))
}

impl Rule for Memorization {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn chance(&self) -> f64 {
        1.0 / (self.vocab - 1 - self.map.len()) as f64
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn row(&self, _: Draw, stream: &mut Stream) -> Row {
        let blank = self.vocab - 1;
        let mut row = Row::default();
        let mut key = 0;
        for place in 0..self.len {
            if place % 2 == 0 {
                key = stream.below(self.map.len());
                row.tell(key);
            } else {
                row.ask(blank, self.map[key]);
            }
        }
        row
    }
}
