//! Ops along one dimension that the reference device lacks: running sums, permutations, padding, chunks.

use super::{Frame, name};
use crate::reference::kernels::host;
use crate::reference::rows::descending;
use crate::reference::value::{Dim, Value};
use archc_compiler::lowered::TIME;
use candle_core::{Result, Tensor, bail};

/// Applies a function of rows along one dimension; operands are broadcast against each other.
pub(super) fn along(dim: Dim, operands: &[&Value], row: impl Fn(&[&[f64]], &mut [f64])) -> Result<Value> {
    let mut order = Value::union(operands);
    let Some(at) = order.iter().position(|(d, _)| *d == dim) else { bail!("no operand has the dimension {dim:?}") };
    let last = order.remove(at);
    order.push(last);
    let data: Vec<Vec<f64>> = operands.iter().map(|x| host(&x.expanded(&order)?.tensor)).collect::<Result<_>>()?;
    let mut out = vec![0.0; data[0].len()];
    for (r, y) in out.chunks_exact_mut(last.1.max(1)).enumerate() {
        let rows: Vec<&[f64]> = data.iter().map(|x| &x[r * last.1..(r + 1) * last.1]).collect();
        row(&rows, y);
    }
    let (dims, shape) = order.into_iter().unzip();
    Value::constant(out, shape, dims, operands[0].tensor.dtype())
}

/// The running sum of the first operand; the second one, if there is one, is not 0 where the sum restarts.
pub(super) fn cumsum(operands: &[&Value], dim: Dim, reverse: bool, exclusive: bool) -> Result<Value> {
    along(dim, operands, |rows, y| {
        let starts = |i: usize| rows.get(1).is_some_and(|starts| starts[i] != 0.0);
        let mut total = 0.0;
        for i in 0..y.len() {
            let i = if reverse { y.len() - 1 - i } else { i };
            if starts(i) && !reverse {
                total = 0.0;
            }
            let before = total;
            total += rows[0][i];
            y[i] = if exclusive { before } else { total };
            if starts(i) && reverse {
                total = 0.0;
            }
        }
    })
}

/// The low part of a running sum: 0, since f64 is taken to be exact.
pub(super) fn cumsum_low(x: &Value, dim: Dim) -> Result<Value> {
    along(dim, &[x], |_, y| y.fill(0.0))
}

/// Applies the inverse of the permutation that sorts x to dy.
pub(super) fn unsort(x: &Value, dy: &Value, dim: Dim) -> Result<Value> {
    along(dim, &[x, dy], |rows, dx| {
        descending(rows[0]).into_iter().zip(rows[1]).for_each(|(i, &d)| dx[i] = d);
    })
}

pub(super) fn topk_mask(x: &Value, dim: Dim, count: usize) -> Result<Value> {
    along(dim, &[x], |rows, y| descending(rows[0]).into_iter().take(count).for_each(|i| y[i] = 1.0))
}

/// Places x at an index of a new dimension, 0 elsewhere.
pub(super) fn put(x: &Value, dim: Dim, index: usize, size: usize) -> Result<Value> {
    let tensor = x.tensor.contiguous()?.unsqueeze(0)?.pad_with_zeros(0, index, size - 1 - index)?;
    Ok(Value::new(tensor, [&[dim], x.dims.as_slice()].concat()))
}

/// Places x at an offset along a longer dimension, 0 elsewhere.
pub(super) fn paste(x: &Value, from: Dim, offset: usize, into: Dim, size: usize) -> Result<Value> {
    let at = x.index(from)?;
    let own = x.tensor.dims()[at];
    let tensor = x.tensor.contiguous()?.pad_with_zeros(at, offset, size - offset - own)?;
    Ok(Value::new(tensor, x.dims.clone()).renamed(from, into))
}

/// Splits time into chunks and rows.
pub(super) fn chunk(
    frame: &Frame<'_>,
    x: &Value,
    chunks: (Dim, usize),
    rows: (Dim, usize),
    fill: f64,
) -> Result<Value> {
    let rest = x.dims.iter().copied().filter(|&d| d != name(TIME));
    let order: Vec<Dim> = [name(TIME)].into_iter().chain(rest).collect();
    let mut tensor = x.permuted(&order)?.tensor.contiguous()?;
    let missing = chunks.1 * rows.1 - frame.shape.len;
    if missing > 0 {
        let shape = [&[missing], &tensor.dims()[1..]].concat();
        let past_the_end = Tensor::full(fill, shape, tensor.device())?.to_dtype(frame.dtype)?;
        tensor = Tensor::cat(&[&tensor, &past_the_end], 0)?;
    }
    let shape = [&[chunks.1, rows.1], &tensor.dims()[1..]].concat();
    Ok(Value::new(tensor.reshape(shape)?, [&[chunks.0, rows.0], &order[1..]].concat()))
}

/// Joins chunks and rows to time.
pub(super) fn unchunk(frame: &Frame<'_>, x: &Value, chunks: Dim, rows: Dim) -> Result<Value> {
    let rest = x.dims.iter().copied().filter(|&d| d != chunks && d != rows);
    let order: Vec<Dim> = [chunks, rows].into_iter().chain(rest).collect();
    let tensor = x.permuted(&order)?.tensor;
    let shape = [&[tensor.dims()[0] * tensor.dims()[1]], &tensor.dims()[2..]].concat();
    let tensor = tensor.reshape(shape)?.narrow(0, 0, frame.shape.len)?;
    Ok(Value::new(tensor, [&[name(TIME)], &order[2..]].concat()))
}
