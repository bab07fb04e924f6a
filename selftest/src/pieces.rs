//! Sequences in pieces, each continuing from the carry of the one before.

use archc_compiler::diag::Diagnostic;
use archc_runtime::{Batch, Carry, Session, Tensor, Tensors};

/// The tokens `times` of all sequences.
pub fn piece(batch: &Batch, times: std::ops::Range<usize>) -> Batch {
    let rows = 0..batch.batch;
    let of = |t: &Tensor| {
        let token: usize = t.shape[2..].iter().product();
        let each = rows
            .clone()
            .flat_map(|b| t.data[(b * batch.len + times.start) * token..(b * batch.len + times.end) * token].to_vec());
        Tensor { shape: [&[batch.batch, times.len()], &t.shape[2..]].concat(), data: each.collect() }
    };
    fn some<T: Clone>(all: &[T], batch: &Batch, times: &std::ops::Range<usize>) -> Vec<T> {
        if all.is_empty() {
            return Vec::new();
        }
        (0..batch.batch).flat_map(|b| all[b * batch.len..][times.clone()].to_vec()).collect()
    }
    Batch {
        batch: batch.batch,
        len: times.len(),
        inputs: batch.inputs.iter().map(|(n, t)| (n.clone(), of(t))).collect(),
        tokens: some(&batch.tokens, batch, &times),
        reset: some(&batch.reset, batch, &times),
        ..Default::default()
    }
}

/// Runs the pieces that end at `ends` and joins their outputs.
///
/// # Errors
/// Those of the session.
pub fn in_pieces(s: &mut Box<dyn Session>, batch: &Batch, ends: &[usize]) -> Result<Tensors, Diagnostic> {
    let mut carry: Option<Carry> = None;
    let mut pieces = Vec::new();
    let mut start = 0;
    for &end in ends {
        let done = s.forward(&piece(batch, start..end), carry.as_ref())?;
        pieces.push(done.outputs);
        carry = Some(done.carry);
        start = end;
    }
    let join = |name: &String| {
        let parts: Vec<&Tensor> = pieces.iter().map(|p| &p[name]).collect();
        let token: usize = parts[0].shape[2..].iter().product();
        let row = |b: usize| parts.iter().flat_map(move |p| &p.data[b * p.shape[1] * token..][..p.shape[1] * token]);
        let data = (0..batch.batch).flat_map(row).copied().collect();
        Tensor { shape: [&[batch.batch, batch.len], &parts[0].shape[2..]].concat(), data }
    };
    Ok(pieces[0].keys().map(|n| (n.clone(), join(n))).collect())
}
