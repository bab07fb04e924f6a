//! Multi-query associative recall (Zoology, arXiv 2312.04927).
//!
//! A row starts with pairs of different keys and their values; then come the queries, each key once,
//! at positions drawn from a power law, among fillers. The output at a query must be its value.
//!
//! Fillers are drawn from the tokens that are neither keys nor values of the row: a key among them would look like a query that
//! is not scored, and a value after a query might contradict its pair. Where no such token is left (a vocabulary of two tokens
//! a pair, whose values are all different), a filler is a value of the row: the query's own value after a query, any value
//! elsewhere.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct Mqar {
    len: usize,
    pairs: usize,
    half: usize,
    /// Weight of each position for a query, nearest first: position^(power - 1).
    weights: Vec<f64>,
}

/// `mqar`: vocab 8192, pairs 4, len 64, power 0.01 (Zoology's).
pub fn mqar(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let pairs = settings.whole("pairs", 4, 1, 1 << 12)?;
    let vocab = settings.whole("vocab", 8192, 2 * pairs, 1 << 16)?;
    let len = settings.whole("len", 64.max(4 * pairs), 4 * pairs, 1 << 20)?;
    let power = settings.real("power", 0.01, 0.0, 1.0)?;
    let weights = (1..=(len - 2 * pairs) / 2).map(|place| (place as f64).powf(power - 1.0)).collect();
    Ok(Arc::new(Synthetic::new(settings.finish()?, Mqar { len, pairs, half: vocab / 2, weights })))
}

impl Mqar {
    /// Draws different positions, one per pair, one after the other, each with the weights of the remaining positions.
    fn places(&self, stream: &mut Stream) -> Vec<usize> {
        let mut weights = self.weights.clone();
        (0..self.pairs)
            .map(|_| {
                let mut left = stream.unit() * weights.iter().sum::<f64>();
                let mut place = 0;
                for (i, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
                    // Rounding may leave a remainder after the last weight: the last free position takes it.
                    place = i;
                    left -= weight;
                    if left < 0.0 {
                        break;
                    }
                }
                weights[place] = 0.0;
                place
            })
            .collect()
    }
}

impl Mqar {
    /// Tokens that are neither keys nor values of a row, in order.
    fn free(&self, keys: &[usize], values: &[usize]) -> Vec<usize> {
        let mut taken = vec![false; 2 * self.half];
        keys.iter().chain(values).for_each(|&token| taken[token] = true);
        (0..taken.len()).filter(|&token| !taken[token]).collect()
    }
}

impl Rule for Mqar {
    fn vocab(&self) -> usize {
        2 * self.half
    }

    fn chance(&self) -> f64 {
        1.0 / self.half as f64
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn row(&self, _: Draw, stream: &mut Stream) -> Row {
        let keys = stream.choose(self.half, self.pairs);
        let values: Vec<usize> = keys.iter().map(|_| self.half + stream.below(self.half)).collect();
        let mut asked = vec![None; self.len];
        for (pair, place) in self.places(stream).into_iter().enumerate() {
            asked[2 * self.pairs + 2 * place] = Some(pair);
        }
        let free = self.free(&keys, &values);
        let mut row = Row::default();
        for (&key, &value) in keys.iter().zip(&values) {
            row.tell(key);
            row.tell(value);
        }
        for place in 2 * self.pairs..self.len {
            match asked[place] {
                Some(pair) => row.ask(keys[pair], values[pair]),
                None if free.is_empty() => {
                    row.tell(values[asked[place - 1].unwrap_or_else(|| stream.below(self.pairs))]);
                }
                None => row.tell(free[stream.below(free.len())]),
            }
        }
        row
    }
}
