//! Tasks: training data of a program, and the metric of its predictions.
//!
//! A task turns an address (part, seed, batch number) into a batch. **Alignment**: `targets[t]` is the token that the output at token t
//! must predict, having seen tokens 0..=t. Tasks that continue a sequence (recall, noisy and fuzzy recall, text, and rows of a file that
//! state no targets) set `targets[t] = tokens[t + 1]`; tasks that answer at the token itself (selective copying, memorization, MQAR,
//! parity, S3, S5, induction) set it to the answer. `mask[t]` is 1 where the prediction is trained and scored, 0 elsewhere, where
//! `targets[t]` is below the vocabulary but has no meaning. `reset[t]` is set where a document starts.
//!
//! **Parts**: training, validation and test are separate streams of random numbers (for text: separate
//! documents; for a file: separate rows). A validation part is used for selection, a test part for reporting.
//!
//! A synthetic task is a [`Rule`] that makes one row from random numbers. [`Synthetic`] makes a
//! [`Task`] of it. The registry is [`TASKS`]; a task is named with its settings, all of them numbers:
//! `recall:len=64,vocab=32`. A user's own task is a file of rows, named with its path: `jsonl:rows.jsonl`.

mod copying;
mod fuzzy;
mod group;
mod induction;
mod jsonl;
mod memorization;
mod mqar;
mod recall;
mod settings;
mod text;

pub(crate) use jsonl::MOST_TOKENS;
pub use settings::{Settings, TaskSpec};
pub use text::Text;

use crate::corpus::Corpus;
use crate::fault;
use crate::random::{Order, Stream};
use crate::score::Metric;
use archc_compiler::diag::Diagnostic;
use archc_runtime::Batch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Part of a task's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Data that the optimizer sees.
    Train,
    /// Data for selecting checkpoints, learning rates and candidates.
    Validation,
    /// Data for reported scores.
    Test,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Name in addresses and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Learning task with its score.
pub trait Task: Send + Sync {
    /// Name and settings, defaults filled in; part of the identity of a run.
    fn spec(&self) -> &TaskSpec;

    /// Vocabulary size in tokens; targets are below it too.
    fn vocab(&self) -> usize;

    /// Row length of a part, in tokens.
    fn len(&self, part: Part) -> usize;

    /// Metric of the predictions.
    fn metric(&self) -> Metric;

    /// Makes a batch of `rows` rows of `len(part)` tokens: a function of its arguments alone.
    fn batch(&self, part: Part, seed: u64, index: u64, rows: usize) -> Batch;

    /// Number of whole batches of a finite part; none if the task is unlimited.
    fn batches(&self, part: Part, rows: usize) -> Option<u64> {
        let _ = (part, rows);
        None
    }

    /// Digest of the data that the task reads beside its settings (the text of a corpus, the rows of a file): tasks of equal spec and
    /// digest have equal batches. None if the spec determines everything.
    fn digest(&self) -> Option<String> {
        None
    }
}

/// Sequence of tokens with targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    tokens: Vec<u32>,
    targets: Vec<u32>,
    mask: Vec<f32>,
    reset: Vec<bool>,
}

impl Row {
    /// Appends an unscored token.
    fn tell(&mut self, token: usize) {
        self.push(token, 0, false);
    }

    /// Appends a token whose output must be `answer`.
    fn ask(&mut self, token: usize, answer: usize) {
        self.push(token, answer, true);
    }

    fn push(&mut self, token: usize, target: usize, scored: bool) {
        self.reset.push(self.tokens.is_empty());
        self.tokens.push(token as u32);
        self.targets.push(target as u32);
        self.mask.push(if scored { 1.0 } else { 0.0 });
    }

    /// Marks the last token as the start of a document.
    fn start_document(&mut self) {
        if let Some(reset) = self.reset.last_mut() {
            *reset = true;
        }
    }

    /// Row that continues a sequence: every output predicts the next symbol, scored if that symbol is.
    fn continuation(symbols: &[(usize, bool)]) -> Self {
        let mut row = Self::default();
        for pair in symbols.windows(2) {
            row.push(pair[0].0, pair[1].0, pair[1].1);
        }
        row
    }

    fn scored(&self) -> bool {
        self.mask.iter().any(|&m| m != 0.0)
    }

    fn unscored(mut self) -> Self {
        self.mask.fill(0.0);
        self
    }
}

/// Pass over the items of a finite part, each scored once, in an order drawn from (task, part, seed).
struct Pass {
    order: Order,
    items: usize,
}

impl Pass {
    /// Starts a pass over a part of `items` items, at least one.
    fn new(task: &str, part: Part, seed: u64, items: usize) -> Self {
        Self { order: Order::new(items, &mut Stream::new(&[task, part.name(), "order"], &[seed])), items }
    }

    /// Number of batches of a whole pass.
    fn batches(items: usize, rows: usize) -> u64 {
        items.div_ceil(rows.max(1)) as u64
    }

    /// Rows of a batch; after the last batch the pass starts again. Surplus rows of the last batch repeat the first items, unscored.
    fn rows(&self, index: u64, rows: usize, item: impl Fn(usize) -> Row) -> impl Iterator<Item = Row> {
        let first = (index % Self::batches(self.items, rows)) as usize * rows;
        (first..first + rows).map(move |place| {
            let row = item(self.order.at(place % self.items));
            if place < self.items { row } else { row.unscored() }
        })
    }
}

/// Address of a row: rules may treat parts differently, and may start training with easier rows.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The part.
    pub part: Part,
    /// Batch number.
    pub index: u64,
}

/// Generator of rows of a synthetic task.
pub trait Rule: Send + Sync {
    /// Vocabulary size in tokens.
    fn vocab(&self) -> usize;

    /// Accuracy of the best guess that ignores the sequence.
    fn chance(&self) -> f64;

    /// Row length in tokens.
    fn len(&self, part: Part) -> usize;

    /// Draws one row of exactly `len(draw.part)` tokens.
    fn row(&self, draw: Draw, stream: &mut Stream) -> Row;
}

/// Task made from a rule.
pub struct Synthetic<R> {
    spec: TaskSpec,
    rule: R,
}

impl<R: Rule> Synthetic<R> {
    /// Wraps a rule.
    pub fn new(spec: TaskSpec, rule: R) -> Self {
        Self { spec, rule }
    }
}

impl<R: Rule> Task for Synthetic<R> {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn vocab(&self) -> usize {
        self.rule.vocab()
    }

    fn len(&self, part: Part) -> usize {
        self.rule.len(part)
    }

    fn metric(&self) -> Metric {
        Metric::Accuracy { chance: self.rule.chance() }
    }

    fn batch(&self, part: Part, seed: u64, index: u64, rows: usize) -> Batch {
        let mut stream = Stream::new(&[&self.spec.name, part.name()], &[seed, index]);
        let draw = Draw { part, index };
        let drawn = (0..rows).map(|_| {
            // A row in which nothing is scored (no key occurred twice) teaches nothing. Settings that would make this common are out of
            // range, so a limited number of retries is enough.
            let mut row = self.rule.row(draw, &mut stream);
            for _ in 0..100 {
                if row.scored() {
                    break;
                }
                row = self.rule.row(draw, &mut stream);
            }
            row
        });
        assemble(drawn, self.len(part))
    }
}

/// Assembles rows of `len` tokens into a batch.
fn assemble(rows: impl Iterator<Item = Row>, len: usize) -> Batch {
    let mut batch = Batch { len, ..Batch::default() };
    for row in rows {
        debug_assert_eq!(row.tokens.len(), len, "archc bug: a rule made a row of another length");
        batch.batch += 1;
        batch.tokens.extend(row.tokens);
        batch.targets.extend(row.targets);
        batch.mask.extend(row.mask);
        batch.reset.extend(row.reset);
    }
    batch
}

type Make = fn(Settings<'_>, Option<&Arc<Corpus>>) -> Result<Arc<dyn Task>, Diagnostic>;

/// Entry of the registry.
pub struct Entry {
    /// Name of the task on the command line (`--task`).
    pub name: &'static str,
    /// One-line summary for the help.
    pub summary: &'static str,
    make: Make,
}

/// All tasks.
pub const TASKS: &[Entry] = &[
    Entry {
        name: "recall",
        summary: "key value pairs; predict the values of keys seen before",
        make: |s, _| recall::recall(s),
    },
    Entry {
        name: "noisy-recall",
        summary: "recall with noise tokens between the pairs",
        make: |s, _| recall::noisy_recall(s),
    },
    Entry {
        name: "fuzzy-recall",
        summary: "recall with keys and values of one to three tokens",
        make: |s, _| fuzzy::fuzzy_recall(s),
    },
    Entry {
        name: "selective-copying",
        summary: "repeat, in order, the data tokens hidden among blanks",
        make: |s, _| copying::selective_copying(s),
    },
    Entry {
        name: "memorization",
        summary: "answer keys from a fixed random map, learned into the weights",
        make: |s, _| memorization::memorization(s),
    },
    Entry {
        name: "mqar",
        summary: "many queries after many pairs, at power-law distances",
        make: |s, _| mqar::mqar(s),
    },
    Entry {
        name: "parity",
        summary: "running parity of bits, tested on longer sequences than trained",
        make: |s, _| group::product(s, 2),
    },
    Entry {
        name: "s3",
        summary: "running product in the permutation group S3, tested on longer sequences",
        make: |s, _| group::product(s, 3),
    },
    Entry {
        name: "s5",
        summary: "running product in the permutation group S5, tested on longer sequences",
        make: |s, _| group::product(s, 5),
    },
    Entry {
        name: "induction",
        summary: "one special token; its follower is asked at the end",
        make: |s, _| induction::induction(s),
    },
    Entry { name: "text", summary: "bytes of a corpus, or of a novel that archc carries", make: text::text },
    Entry { name: "jsonl", summary: "rows of a file of your own: jsonl:PATH", make: |s, _| jsonl::jsonl(s) },
];

/// Makes a task. `corpus` is the input of `text`; the other tasks ignore it.
///
/// # Errors
/// E0901 for an unknown name, E0902 and E0903 for bad settings, E0906 and E0907 for the corpus, E0927 to E0933
/// for a file of rows.
pub fn build(spec: &TaskSpec, corpus: Option<&Arc<Corpus>>) -> Result<Arc<dyn Task>, Diagnostic> {
    let Some(entry) = TASKS.iter().find(|entry| entry.name == spec.name) else {
        let known: Vec<&str> = TASKS.iter().map(|entry| entry.name).collect();
        return Err(fault::unknown_task(&spec.name, &known));
    };
    (entry.make)(Settings::new(spec), corpus)
}

#[cfg(test)]
mod tests;
