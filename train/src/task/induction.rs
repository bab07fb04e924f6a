//! Induction heads (H3, arXiv 2212.14052): one special token in a random sequence; at its second occurrence, at the
//! end, the output must be the token that followed the first.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct Induction {
    len: usize,
    symbols: usize,
}

/// `induction`: symbols 16 beside the special token, len 64.
pub fn induction(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let symbols = settings.whole("symbols", 16, 2, 1 << 16)?;
    let len = settings.whole("len", 64, 3, 1 << 20)?;
    Ok(Arc::new(Synthetic::new(settings.finish()?, Induction { len, symbols })))
}

impl Rule for Induction {
    fn vocab(&self) -> usize {
        self.symbols + 1
    }

    fn chance(&self) -> f64 {
        1.0 / self.symbols as f64
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn row(&self, _: Draw, stream: &mut Stream) -> Row {
        let special = self.symbols;
        // Its follower must come before the last token.
        let place = stream.below(self.len - 2);
        let mut tokens: Vec<usize> = (0..self.len - 1).map(|_| stream.below(self.symbols)).collect();
        tokens[place] = special;
        let mut row = Row::default();
        for &token in &tokens {
            row.tell(token);
        }
        row.ask(special, tokens[place + 1]);
        row
    }
}
