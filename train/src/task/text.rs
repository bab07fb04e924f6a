//! Byte-level language modelling on a corpus.
//!
//! Rows are windows of a part's concatenated documents: `reset` marks where a document starts, and the first byte of a
//! document is never predicted from the document before it. Training windows start anywhere; those of validation and test
//! are adjacent, and a [`Pass`] scores each once: if not all windows are scored, different seeds score different ones.

use super::{Part, Pass, Row, Settings, Task, TaskSpec, assemble};
use crate::corpus::{Bytes, Corpus};
use crate::fault;
use crate::random::Stream;
use crate::score::Metric;
use archc_compiler::diag::Diagnostic;
use archc_runtime::Batch;
use std::sync::Arc;

/// Task `text`.
pub struct Text {
    spec: TaskSpec,
    len: usize,
    corpus: Arc<Corpus>,
    /// Unigram entropy of the training part's bytes, in bits.
    unigram: f64,
}

/// `text`: len 64.
pub(super) fn text(mut settings: Settings<'_>, corpus: Option<&Arc<Corpus>>) -> Result<Arc<dyn Task>, Diagnostic> {
    let len = settings.whole("len", 64, 1, 1 << 20)?;
    let spec = settings.finish()?;
    let corpus = Arc::clone(corpus.ok_or_else(fault::no_corpus)?);
    for part in Part::ALL {
        let needed = if part == Part::Train { 16 * len + 1 } else { len + 1 };
        let bytes = corpus.part(part).bytes.len();
        if bytes < needed {
            return Err(fault::corpus_small(part.name(), bytes, needed));
        }
    }
    let unigram = entropy(&corpus.part(Part::Train).bytes);
    Ok(Arc::new(Text { spec, len, corpus, unigram }))
}

fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    let total = bytes.len() as f64;
    counts.iter().filter(|c| **c > 0).map(|&c| -(c as f64 / total) * (c as f64 / total).log2()).sum()
}

impl Text {
    fn windows(&self, part: Part) -> usize {
        (self.corpus.part(part).bytes.len() - 1) / self.len
    }

    fn window(&self, text: &Bytes, at: usize) -> Row {
        let mut row = Row::default();
        for i in at..at + self.len {
            row.push(usize::from(text.bytes[i]), usize::from(text.bytes[i + 1]), !text.starts[i + 1]);
            if text.starts[i] {
                row.start_document();
            }
        }
        row
    }
}

impl Task for Text {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn vocab(&self) -> usize {
        256
    }

    fn len(&self, _: Part) -> usize {
        self.len
    }

    fn metric(&self) -> Metric {
        Metric::BitsPerByte { chance: self.unigram }
    }

    fn batch(&self, part: Part, seed: u64, index: u64, rows: usize) -> Batch {
        let text = self.corpus.part(part);
        if part == Part::Train {
            let mut stream = Stream::new(&["text", part.name()], &[seed, index]);
            let drawn = (0..rows).map(|_| self.window(text, stream.below(text.bytes.len() - self.len)));
            return assemble(drawn, self.len);
        }
        let pass = Pass::new("text", part, seed, self.windows(part));
        assemble(pass.rows(index, rows, |window| self.window(text, window * self.len)), self.len)
    }

    fn batches(&self, part: Part, rows: usize) -> Option<u64> {
        match part {
            Part::Train => None,
            Part::Validation | Part::Test => Some(Pass::batches(self.windows(part), rows)),
        }
    }

    fn digest(&self) -> Option<String> {
        Some(self.corpus.digest().to_owned())
    }
}
