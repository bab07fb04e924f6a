//! Sequences processed in pieces: `archc forward` token by token, and carries as files.
//!
//! A carry is the state that a program needs to continue after the last token: states of scans, the last tokens of windows, the
//! visible past of attends, positions. A file names the program that made it and is accepted by no other, but on any device. Its
//! numbers are f64: exact for both arithmetics.

use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::hash::canonical_hash;
use archc_runtime::io::{read_tensors_and_notes, write_tensors_with_notes};
use archc_runtime::{Batch, Carry, Dtype, Forward, Session, Tensor, Tensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Key of the note in a carry's file.
const NOTE: &str = "archc.carry";

/// Program that a carry belongs to.
fn owner(graph: &Graph) -> String {
    format!("program {}", canonical_hash(graph))
}

/// Reads a carry written by [`write()`] for the same program.
///
/// # Errors
/// E0820, E0821, E0822 for the file, E0846 if it is not a carry of this program.
pub fn read(path: &Path, graph: &Graph) -> Result<Carry, Diagnostic> {
    let (tensors, notes) = read_tensors_and_notes(path)?;
    let (wanted, shown) = (owner(graph), path.display());
    match notes.get(NOTE) {
        Some(found) if *found == wanted => Ok(tensors.into()),
        Some(found) => Err(Diagnostic::error("E0846", format!("the carry in `{shown}` belongs to something else"))
            .note(format!("it is of {found}"))
            .note(format!("this is  {wanted}"))
            .help("give the program and the sizes with which it was written")),
        None => Err(Diagnostic::error("E0846", format!("`{shown}` holds no carry"))
            .help("`archc forward --carry-out FILE` writes one")),
    }
}

/// Writes a carry.
///
/// # Errors
/// E0823.
pub fn write(path: &Path, carry: &Carry, graph: &Graph) -> Result<(), Diagnostic> {
    let notes = BTreeMap::from([(NOTE.to_owned(), owner(graph))]);
    write_tensors_with_notes(path, &carry.tensors(), Dtype::F64, &notes)
}

/// Runs forward one token at a time, each with the carry of the previous one.
///
/// # Errors
/// Errors of the session.
pub fn step(session: &mut dyn Session, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
    // The session validates batches, but only when it receives one: a batch without tokens is passed on unchanged.
    if batch.batch == 0 || batch.len == 0 {
        return session.forward(batch, carry);
    }
    let mut pieces = Vec::with_capacity(batch.len);
    let mut carried = carry.cloned();
    for at in 0..batch.len {
        pieces.push(session.advance(&token(batch, at), &mut carried)?);
    }
    Ok(Forward { outputs: joined(&pieces), carry: carried.unwrap_or_default() })
}

/// Token `at` of every sequence. Parts of the wrong length stay wrong, for the session to detect.
fn token(batch: &Batch, at: usize) -> Batch {
    fn column<T: Copy>(all: &[T], len: usize, at: usize) -> Vec<T> {
        all.chunks(len).filter_map(|row| row.get(at).copied()).collect()
    }
    let piece = |(name, tensor): (&String, &Tensor)| {
        let mut shape = tensor.shape.clone();
        let each: usize = shape.iter().skip(2).product();
        if let Some(len) = shape.get_mut(1) {
            *len = 1;
        }
        let rows = tensor.data.chunks(batch.len * each.max(1));
        let data = rows.flat_map(|row| row.chunks(each.max(1)).nth(at).unwrap_or_default()).copied().collect();
        (name.clone(), Tensor { shape, data })
    };
    Batch {
        batch: batch.batch,
        len: 1,
        inputs: batch.inputs.iter().map(piece).collect(),
        tokens: column(&batch.tokens, batch.len, at),
        reset: column(&batch.reset, batch.len, at),
        targets: column(&batch.targets, batch.len, at),
        mask: column(&batch.mask, batch.len, at),
    }
}

/// Concatenates outputs [B, 1, axes] of consecutive tokens to [B, T, axes].
fn joined(pieces: &[Tensors]) -> Tensors {
    let Some(first) = pieces.first() else { return Tensors::new() };
    let join = |(name, like): (&String, &Tensor)| {
        let mut shape = like.shape.clone();
        let batch = shape.first().copied().unwrap_or(1);
        let each = like.data.len() / batch.max(1);
        if let Some(len) = shape.get_mut(1) {
            *len = pieces.len();
        }
        let mut data = Vec::with_capacity(like.data.len() * pieces.len());
        for b in 0..batch {
            let parts = pieces.iter().filter_map(|p| p.get(name)?.data.get(b * each..(b + 1) * each));
            parts.for_each(|part| data.extend_from_slice(part));
        }
        (name.clone(), Tensor { shape, data })
    };
    first.iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_taken_apart_and_joined_are_the_same() {
        let x = Tensor { shape: vec![2, 3, 2], data: (0..12).map(f64::from).collect() };
        let batch = Batch {
            batch: 2,
            len: 3,
            inputs: [("x".to_owned(), x.clone())].into(),
            reset: vec![true, false, false, true, false, true],
            ..Batch::default()
        };
        let pieces: Vec<Batch> = (0..3).map(|at| token(&batch, at)).collect();
        assert_eq!(pieces[2].inputs["x"], Tensor { shape: vec![2, 1, 2], data: vec![4.0, 5.0, 10.0, 11.0] });
        assert_eq!(pieces[2].reset, [false, true]);
        let inputs: Vec<Tensors> = pieces.into_iter().map(|p| p.inputs).collect();
        assert_eq!(joined(&inputs)["x"], x);
    }
}
