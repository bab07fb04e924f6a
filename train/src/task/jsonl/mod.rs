//! Rows of a user's file: `jsonl:PATH`.
//!
//! Every line is a row, `{"tokens": [..], "targets": [..], "mask": [..], "part": ".."}`; [`read()`] documents the optional
//! fields. Rows that are equal count once; one that is stated for several parts is in the one that is held out furthest: test,
//! then validation. Rows that state no part are put in the order of the hashes of their tokens, and from its start the test
//! part takes a tenth of them, then validation a tenth, then training the rest; rows of equal tokens stay together. So neither
//! the order of the lines nor the path affects the split, and no row is in two parts.
//!
//! A row that is shorter than the longest one of its part is padded at its end with tokens 0, unscored. Training draws rows
//! with replacement; a validation or test part is scored in passes, each row once.

mod read;
#[cfg(test)]
mod tests;

pub use read::MOST_TOKENS;

use super::{Part, Pass, Row, Settings, Task, TaskSpec, assemble};
use crate::fault;
use crate::random::Stream;
use crate::score::Metric;
use archc_compiler::diag::Diagnostic;
use archc_runtime::Batch;
use read::{Line, read};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Maximum size of a file in bytes.
const LARGEST: u64 = 256 << 20;

/// The task `jsonl`.
struct Rows {
    spec: TaskSpec,
    vocab: usize,
    /// Rows by part, in the order of [`Part::ALL`].
    parts: [Vec<Line>; 3],
    /// Number of tokens of the longest row of each part.
    lens: [usize; 3],
    /// Fraction of the most frequent target among the scored ones of the training part.
    chance: f64,
    digest: String,
}

/// Makes the task `jsonl:PATH`: reads the file.
///
/// # Errors
/// E0902 without a path; E0927 to E0933 for the file.
pub(super) fn jsonl(mut settings: Settings<'_>) -> Result<Arc<dyn Task>, Diagnostic> {
    let path = Path::new(settings.path()?);
    let spec = settings.finish()?;
    let (vocab, lines) = read(path, LARGEST)?;
    let parts = split(lines);
    let rows = parts.iter().map(Vec::len).sum();
    if let Some((part, _)) = Part::ALL.into_iter().zip(&parts).find(|(_, rows)| rows.is_empty()) {
        return Err(fault::few_rows(path, part, rows));
    }
    let lens = std::array::from_fn(|i| parts[i].iter().map(|line| line.tokens.len()).max().unwrap_or(0));
    let (chance, digest) = (chance(&parts[Part::Train as usize]), digest(vocab, &parts));
    Ok(Arc::new(Rows { spec, vocab, parts, lens, chance, digest }))
}

/// Splits rows into parts, each row once.
fn split(lines: Vec<Line>) -> [Vec<Line>; 3] {
    // Rows grouped by the hash of their tokens, then by their own hash.
    let mut groups: BTreeMap<[u8; 32], BTreeMap<[u8; 32], Line>> = BTreeMap::new();
    for line in lines {
        let (tokens, all) = line.hashes();
        let part = line.part;
        let one = groups.entry(tokens).or_default().entry(all).or_insert(line);
        one.part = one.part.max(part);
    }
    let free = |line: &&Line| line.part.is_none();
    let all = groups.values().flat_map(BTreeMap::values).filter(free).count();
    // A tenth, rounded up: one of a few rows.
    let share = all.div_ceil(10);
    let mut parts: [Vec<Line>; 3] = Default::default();
    let mut held_out = [0, 0];
    for group in groups.into_values() {
        let open = [Part::Test, Part::Validation].into_iter().zip(&mut held_out).find(|(_, has)| **has < share);
        // Rows without a part join rows of equal tokens that state one.
        let stated = group.values().filter_map(|line| line.part).max();
        let part = match (stated, open) {
            (Some(part), _) => part,
            (None, Some((part, has))) => {
                *has += group.len();
                part
            }
            (None, None) => Part::Train,
        };
        for line in group.into_values() {
            parts[line.part.unwrap_or(part) as usize].push(line);
        }
    }
    parts
}

/// Accuracy of the best guess that ignores the row: always the most frequent target.
fn chance(rows: &[Line]) -> f64 {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for target in rows.iter().flat_map(Line::scored_targets) {
        *counts.entry(target).or_default() += 1;
    }
    let total: u64 = counts.values().sum();
    counts.values().max().map_or(1.0, |&most| most as f64 / total as f64)
}

fn digest(vocab: usize, parts: &[Vec<Line>; 3]) -> String {
    let mut hash = Sha256::new();
    hash.update((vocab as u64).to_le_bytes());
    for rows in parts {
        hash.update((rows.len() as u64).to_le_bytes());
        rows.iter().for_each(|row| hash.update(row.hashes().1));
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Rows {
    fn row(&self, part: Part, number: usize) -> Row {
        let line = &self.parts[part as usize][number];
        let mut row = Row::default();
        for ((&token, &target), &scored) in line.tokens.iter().zip(&line.targets).zip(&line.scored) {
            row.push(token as usize, target as usize, scored);
        }
        while row.tokens.len() < self.len(part) {
            row.tell(0);
        }
        row
    }
}

impl Task for Rows {
    fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn len(&self, part: Part) -> usize {
        self.lens[part as usize]
    }

    fn metric(&self) -> Metric {
        Metric::Accuracy { chance: self.chance }
    }

    fn batch(&self, part: Part, seed: u64, index: u64, rows: usize) -> Batch {
        let all = self.parts[part as usize].len();
        if part == Part::Train {
            let mut stream = Stream::new(&[&self.spec.name, part.name()], &[seed, index]);
            return assemble((0..rows).map(|_| self.row(part, stream.below(all))), self.len(part));
        }
        let pass = Pass::new(&self.spec.name, part, seed, all);
        assemble(pass.rows(index, rows, |number| self.row(part, number)), self.len(part))
    }

    fn batches(&self, part: Part, rows: usize) -> Option<u64> {
        (part != Part::Train).then(|| Pass::batches(self.parts[part as usize].len(), rows))
    }

    fn digest(&self) -> Option<String> {
        Some(self.digest.clone())
    }
}
