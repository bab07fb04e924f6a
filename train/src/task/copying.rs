//! Selective copying (MAD, arXiv 2403.17844; Mamba, arXiv 2312.00752).
//!
//! Data tokens stand at random positions among blanks; the same number of marks follows, and the output at the i-th
//! mark must be the i-th data token.

use super::{Draw, Part, Row, Rule, Settings, Synthetic, Task};
use crate::random::Stream;
use archc_compiler::diag::Diagnostic;
use std::sync::Arc;

struct SelectiveCopying {
    len: usize,
    copies: usize,
    data: usize,
}

/// `selective-copying`: vocab 16 (14 data tokens, blank, mark), copies 16, len 64.
pub fn selective_copying(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let vocab = settings.whole("vocab", 16, 4, 1 << 16)?;
    let copies = settings.whole("copies", 16, 1, 1 << 16)?;
    let len = settings.whole("len", 64.max(2 * copies), 2 * copies, 1 << 20)?;
    let rule = SelectiveCopying { len, copies, data: vocab - 2 };
    Ok(Arc::new(Synthetic::new(settings.finish()?, rule)))
}

impl SelectiveCopying {
    fn blank(&self) -> usize {
        self.data
    }

    fn mark(&self) -> usize {
        self.data + 1
    }
}

impl Rule for SelectiveCopying {
    fn vocab(&self) -> usize {
        self.data + 2
    }

    fn chance(&self) -> f64 {
        1.0 / self.data as f64
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn row(&self, _: Draw, stream: &mut Stream) -> Row {
        let field = self.len - self.copies;
        let mut places = stream.choose(field, self.copies);
        places.sort_unstable();
        let data: Vec<usize> = places.iter().map(|_| stream.below(self.data)).collect();
        let mut row = Row::default();
        let mut next = 0;
        for place in 0..field {
            if places.get(next) == Some(&place) {
                row.tell(data[next]);
                next += 1;
            } else {
                row.tell(self.blank());
            }
        }
        for &answer in &data {
            row.ask(self.mark(), answer);
        }
        row
    }
}
