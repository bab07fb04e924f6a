//! Reads the rows of a file of JSON lines.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `tokens` | input tokens | required |
//! | `targets` | target of the output at each token | the next token; the last token is not scored |
//! | `mask` | 1 where the target is learned and scored, else 0 | all are |
//! | `part` | `train`, `validation` or `test` | by the contents |
//!
//! The first line may be `{"vocab": N}`; without it the vocabulary is 1 + the largest token or target. Blank lines are left out.

use super::Part;
use crate::fault::{self, Place};
use archc_compiler::diag::Diagnostic;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Maximum vocabulary size; with a larger one the embedding alone would fill the memory.
pub const MOST_TOKENS: usize = 1 << 20;

/// Maximum number of tokens of a row.
const LONGEST: usize = 1 << 20;

/// Row as read from the file: `targets` and `scored` are as long as `tokens`.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
    pub scored: Vec<bool>,
    /// Part stated by the row.
    pub part: Option<Part>,
}

impl Line {
    /// Scored targets of the row.
    pub fn scored_targets(&self) -> impl Iterator<Item = u32> {
        self.targets.iter().zip(&self.scored).filter(|(_, scored)| **scored).map(|(&target, _)| target)
    }

    /// Hash of the tokens, and hash of everything but the part. Unscored targets have no meaning and are left out.
    pub fn hashes(&self) -> ([u8; 32], [u8; 32]) {
        let mut hash = Sha256::new();
        self.tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let tokens: [u8; 32] = hash.finalize().into();
        let mut hash = Sha256::new();
        hash.update(tokens);
        for (target, scored) in self.targets.iter().zip(&self.scored) {
            hash.update(if *scored { target.to_le_bytes() } else { [0xff; 4] });
        }
        (tokens, hash.finalize().into())
    }
}

/// Line as JSON. Numbers are read as written, so that the message about one that is not a token can show it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    vocab: Option<f64>,
    tokens: Option<Vec<f64>>,
    targets: Option<Vec<f64>>,
    mask: Option<Vec<f64>>,
    part: Option<Part>,
}

/// Reads the vocabulary size and the rows of a file of at most `largest` bytes.
///
/// # Errors
/// E0927 for a larger file, E0928 for a file that cannot be read, E0929 to E0932 for a line.
pub fn read(path: &Path, largest: u64) -> Result<(usize, Vec<Line>), Diagnostic> {
    let unreadable = |error| fault::rows_unreadable(path, &error);
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?.take(largest + 1));
    let (mut bytes, mut lines, mut vocab) = (Vec::new(), Vec::new(), None);
    let (mut total, mut number, mut begun) = (0, 0, false);
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        total += read as u64;
        if total > largest {
            return Err(fault::rows_large(path, largest));
        }
        number += 1;
        let place = Place { path, line: number };
        // Skip a byte order mark, which some editors write.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1).unwrap_or(&bytes).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let object = object(text, &place)?;
        match object.vocab {
            Some(n) if !begun => vocab = Some(stated(n, &object, &place)?),
            Some(_) => return Err(fault::no_row(&place, "`vocab` stands on the first line alone")),
            None => lines.push(line(object, vocab, &place)?),
        }
        begun = true;
    }
    let largest = lines.iter().flat_map(|line| line.tokens.iter().chain(&line.targets)).max();
    Ok((vocab.unwrap_or_else(|| largest.map_or(1, |&token| token as usize + 1)), lines))
}

fn object(text: &[u8], place: &Place<'_>) -> Result<Object, Diagnostic> {
    // serde would accept a list of the fields' values as an object.
    if text[0] != b'{' {
        return Err(fault::no_row(place, "it is no JSON object"));
    }
    serde_json::from_slice(text).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        fault::no_row(place, format!("{why}, at character {}", error.column()))
    })
}

/// Vocabulary size stated by the first line.
fn stated(n: f64, object: &Object, place: &Place<'_>) -> Result<usize, Diagnostic> {
    if object.tokens.is_some() || object.targets.is_some() || object.mask.is_some() || object.part.is_some() {
        return Err(fault::no_row(place, "`vocab` stands on a line of its own, the first"));
    }
    if n.fract() != 0.0 || !(1.0..=MOST_TOKENS as f64).contains(&n) {
        return Err(fault::no_row(place, format!("`vocab` is {n}, not a whole number from 1 to {MOST_TOKENS}")));
    }
    Ok(n as usize)
}

fn line(object: Object, vocab: Option<usize>, place: &Place<'_>) -> Result<Line, Diagnostic> {
    let Some(tokens) = object.tokens else { return Err(fault::no_row(place, "it has no `tokens`")) };
    let len = tokens.len();
    if len == 0 || len > LONGEST {
        return Err(fault::row_length(place, len, LONGEST));
    }
    for (field, numbers) in [("targets", &object.targets), ("mask", &object.mask)] {
        if let Some(has) = numbers.as_ref().map(Vec::len).filter(|has| *has != len) {
            return Err(fault::unequal(place, field, has, len));
        }
    }
    let tokens = numbers_of("tokens", &tokens, vocab, place)?;
    let next = object.targets.is_none();
    let targets = match object.targets {
        Some(targets) => numbers_of("targets", &targets, vocab, place)?,
        None => tokens.iter().skip(1).copied().chain([0]).collect(),
    };
    let mut scored = match object.mask {
        Some(mask) => mask.iter().enumerate().map(|(i, &m)| marked(i, m, place)).collect::<Result<_, _>>()?,
        None => vec![true; len],
    };
    if next {
        scored[len - 1] = false;
    }
    if !scored.contains(&true) {
        return Err(fault::nothing_scored(place, next && len == 1));
    }
    Ok(Line { tokens, targets, scored, part: object.part })
}

fn numbers_of(field: &str, all: &[f64], vocab: Option<usize>, place: &Place<'_>) -> Result<Vec<u32>, Diagnostic> {
    let most = vocab.unwrap_or(MOST_TOKENS) as f64;
    let token = |(i, &x): (usize, &f64)| match x.fract() == 0.0 && x >= 0.0 && x < most {
        true => Ok(x as u32),
        false => Err(fault::no_such_token(place, (field, i), x, vocab)),
    };
    all.iter().enumerate().map(token).collect()
}

fn marked(index: usize, mark: f64, place: &Place<'_>) -> Result<bool, Diagnostic> {
    match mark {
        0.0 => Ok(false),
        1.0 => Ok(true),
        other => Err(fault::no_row(place, format!("`mask[{index}]` is {other}, neither 0 nor 1"))),
    }
}
