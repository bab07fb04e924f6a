//! Fuzzy in-context recall (MAD, arXiv 2403.17844): keys and values are motifs of one to three tokens.
//!
//! Every row draws a dictionary in which no key is a prefix of another, so the end of a key is known once it has been
//! read. Each output predicts the next token; scored are all tokens of a value whose key occurred earlier in the row.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct FuzzyRecall {
    len: usize,
    half: usize,
    keys: usize,
    longest: usize,
}

/// `fuzzy-recall`: vocab 16, len 64, keys 6 a row, motifs of up to `longest` = 3 tokens.
pub fn fuzzy_recall(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let vocab = settings.whole("vocab", 16, 4, 1 << 16)?;
    let longest = settings.whole("longest", 3, 1, 8)?;
    let keys = settings.whole("keys", 6, 1, vocab / 2)?;
    // Room for one pair more than there are keys, all of maximum length.
    let len = settings.whole("len", 64, 2 * longest * (keys + 1), 1 << 20)?;
    let rule = FuzzyRecall { len, half: vocab / 2, keys, longest };
    Ok(Arc::new(Synthetic::new(settings.finish()?, rule)))
}

impl FuzzyRecall {
    fn motif(&self, offset: usize, stream: &mut Stream) -> Vec<usize> {
        (0..stream.between(1, self.longest)).map(|_| offset + stream.below(self.half)).collect()
    }

    /// Draws a dictionary with prefix-free keys. With fewer than `half` keys, the shares of one-token prefixes that
    /// they take sum to less than 1 (Kraft), so some motif is always free and the search ends.
    fn dictionary(&self, stream: &mut Stream) -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut dictionary: Vec<(Vec<usize>, Vec<usize>)> = Vec::with_capacity(self.keys);
        while dictionary.len() < self.keys {
            let key = self.motif(0, stream);
            if !dictionary.iter().any(|(other, _)| other.starts_with(&key) || key.starts_with(other)) {
                let value = self.motif(self.half, stream);
                dictionary.push((key, value));
            }
        }
        dictionary
    }
}

impl Rule for FuzzyRecall {
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
        let dictionary = self.dictionary(stream);
        let mut seen = vec![false; self.keys];
        let mut symbols = Vec::with_capacity(self.len + 2 * self.longest);
        while symbols.len() <= self.len {
            let pick = stream.below(self.keys);
            let (key, value) = &dictionary[pick];
            let again = std::mem::replace(&mut seen[pick], true);
            symbols.extend(key.iter().map(|&token| (token, false)));
            symbols.extend(value.iter().map(|&token| (token, again)));
        }
        symbols.truncate(self.len + 1);
        Row::continuation(&symbols)
    }
}
