//! Carries, in the parts that all sessions share: positions, and batches whose sequences differ in length after learned
//! prefixes are inserted.

use crate::batch;
use crate::errors;
use crate::session::{Batch, Carry, Forward, Number, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;

/// The positions of the sequences' next tokens, from the tensors of a carry.
///
/// # Errors
/// E0811 if they are missing or invalid.
pub(crate) fn positions(carry: &Tensors, batch: usize) -> Result<Vec<usize>, Diagnostic> {
    let Some(pos) = carry.get("pos") else { return Err(errors::carry_mismatch("it lacks `pos`".into())) };
    let whole = |p: &f64| *p >= 0.0 && *p <= f64::from(u32::MAX) && p.fract() == 0.0;
    if pos.shape != [batch] || pos.data.len() != batch || !pos.data.iter().all(whole) {
        return Err(errors::carry_mismatch(format!("`pos` is not {batch} positions")));
    }
    Ok(pos.data.iter().map(|&p| p as usize).collect())
}

/// Whether the same number of documents starts in every sequence, so that all have the same length with prefixes.
pub(crate) fn even<D>(batch: &Batch<D>, continued: bool) -> bool {
    let starts = batch::starts(batch, continued);
    starts.iter().all(|&s| s == starts[0])
}

/// Runs sequences to which prefixes give different lengths: one at a time, with the results joined afterwards. Carries are taken apart as
/// tensors.
pub(crate) fn one_by_one<D, N: Number>(
    batch: &Batch<D>,
    carry: Option<&Carry>,
    mut forward: impl FnMut(&Batch<D>, Option<Carry>) -> Result<Forward<Vec<N>>, Diagnostic>,
) -> Result<Forward<Vec<N>>, Diagnostic> {
    let carry = carry.map(Carry::tensors);
    let mut outputs = Tensors::new();
    let mut carries: Vec<Tensors> = Vec::with_capacity(batch.batch);
    for b in 0..batch.batch {
        let done = forward(&sequence(batch, b), carry.as_ref().map(|c| row(c, b).into()))?;
        carries.push(done.carry.tensors().into_owned());
        for (name, tensor) in done.outputs {
            let all = outputs.entry(name).or_insert_with(|| Tensor {
                shape: [&[0], &tensor.shape[1..]].concat(),
                data: Vec::with_capacity(batch.batch * tensor.data.len()),
            });
            all.shape[0] += 1;
            all.data.extend(tensor.data);
        }
    }
    Ok(Forward { outputs, carry: joined(&carries).into() })
}

/// One sequence of a batch of tokens.
fn sequence<D>(batch: &Batch<D>, b: usize) -> Batch<D> {
    fn part<T: Clone>(all: &[T], b: usize, len: usize) -> Vec<T> {
        all.get(b * len..(b + 1) * len).map(<[T]>::to_vec).unwrap_or_default()
    }
    Batch {
        batch: 1,
        len: batch.len,
        inputs: Tensors::new(),
        tokens: part(&batch.tokens, b, batch.len),
        reset: part(&batch.reset, b, batch.len),
        targets: part(&batch.targets, b, batch.len),
        mask: part(&batch.mask, b, batch.len),
    }
}

/// The part of a carry that belongs to one sequence.
fn row(carry: &Tensors, b: usize) -> Tensors {
    let reach = carry.get("pos").and_then(|p| p.data.get(b)).map_or(0, |&p| p as usize);
    let part = |(name, tensor): (&String, &Tensor)| {
        let batch = tensor.shape.first().copied().unwrap_or(1).max(1);
        let width = tensor.data.len() / batch;
        let mut shape = tensor.shape.clone();
        let mut data = tensor.data.get(b * width..(b + 1) * width).unwrap_or(&[]).to_vec();
        if let Some(first) = shape.first_mut() {
            *first = 1;
        }
        if name.starts_with("attend") && shape.len() > 1 && shape[1] > reach {
            let token: usize = shape[2..].iter().product();
            data.drain(..(shape[1] - reach) * token);
            shape[1] = reach;
        }
        (name.clone(), Tensor { shape, data })
    };
    carry.iter().map(part).collect()
}

/// Joins the carries of single sequences. Shorter carries of attends are padded with copies of their first token before it: these are never
/// visible, but unlike zeros they are values that the program can safely compute with.
fn joined(rows: &[Tensors]) -> Tensors {
    let mut tensors = Tensors::new();
    let Some(first) = rows.first() else { return tensors };
    for (name, like) in first {
        let parts = || rows.iter().filter_map(|r| r.get(name));
        let mut shape = like.shape.clone();
        shape[0] = rows.len();
        let timed = name.starts_with("attend");
        if timed {
            shape[1] = parts().map(|p| p.shape[1]).max().unwrap_or(0);
        }
        let width = shape[1..].iter().product::<usize>();
        let mut data = Vec::with_capacity(rows.len() * width);
        for part in parts() {
            let missing = width - part.data.len();
            if missing > 0 {
                let token = shape.iter().skip(2).product();
                let first = part.data.get(..token).filter(|_| timed).unwrap_or(&[0.0]);
                data.extend(first.iter().cycle().take(missing));
            }
            data.extend(&part.data);
        }
        tensors.insert(name.clone(), Tensor { shape, data });
    }
    tensors
}
