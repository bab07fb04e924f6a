//! Ops that rearrange elements without changing them: stack, pick, split, flatten, cat, cut, expand, rename.
//!
//! These are candle's own view ops, so their gradients are candle's. `size` gives the length of a new axis.

use super::value::{Dim, Value, axes};
use archc_compiler::graph::AxisId;
use candle_core::{Result, Tensor};

/// Stacks operands along a new axis, each broadcast to the widest.
pub(crate) fn stack(axis: AxisId, operands: &[&Value]) -> Result<Value> {
    let all = Value::union(operands);
    let entries: Vec<Tensor> = operands.iter().map(|x| Ok(x.expanded(&all)?.tensor)).collect::<Result<_>>()?;
    // The new axis is the last one: rows of a router's statistics are then contiguous.
    let tensor = Tensor::stack(&entries, all.len())?;
    Ok(Value::new(tensor, all.iter().map(|&(d, _)| d).chain([Dim::Axis(axis)]).collect()))
}

/// Selects the entry at an index; the axis is removed.
pub(crate) fn pick(axis: AxisId, index: usize, x: &Value) -> Result<Value> {
    let at = x.index(Dim::Axis(axis))?;
    let mut dims = x.dims.clone();
    dims.remove(at);
    Ok(Value::new(x.tensor.narrow(at, index, 1)?.squeeze(at)?, dims))
}

/// Splits one axis into several, row-major.
pub(crate) fn split(size: impl Fn(AxisId) -> usize, axis: AxisId, into: &[AxisId], x: &Value) -> Result<Value> {
    let at = x.index(Dim::Axis(axis))?;
    let mut dims = x.dims.clone();
    dims.splice(at..=at, axes(into));
    let mut shape = x.tensor.dims().to_vec();
    shape.splice(at..=at, into.iter().map(|&a| size(a)));
    Ok(Value::new(x.tensor.reshape(shape)?, dims))
}

/// Flattens several axes into one, row-major in this order.
pub(crate) fn flatten(from: &[AxisId], into: AxisId, x: &Value) -> Result<Value> {
    let x = x.with_last(&axes(from))?;
    let kept = x.dims.len() - from.len();
    let mut shape = x.tensor.dims()[..kept].to_vec();
    shape.push(x.tensor.dims()[kept..].iter().product());
    let dims = x.dims[..kept].iter().copied().chain([Dim::Axis(into)]).collect();
    Ok(Value::new(x.tensor.reshape(shape)?, dims))
}

/// Concatenates operands along a new axis, which replaces one axis of each.
pub(crate) fn cat(
    size: impl Fn(AxisId) -> usize,
    parts: &[AxisId],
    into: AxisId,
    operands: &[&Value],
) -> Result<Value> {
    let named: Vec<Value> =
        operands.iter().zip(parts).map(|(x, &p)| (*x).clone().renamed(Dim::Axis(p), Dim::Axis(into))).collect();
    let mut all = Value::union(&named.iter().collect::<Vec<_>>());
    all.retain(|&(d, _)| d != Dim::Axis(into));
    let mut tensors = Vec::with_capacity(named.len());
    for (x, &part) in named.iter().zip(parts) {
        let order: Vec<(Dim, usize)> = all.iter().copied().chain([(Dim::Axis(into), size(part))]).collect();
        tensors.push(x.expanded(&order)?.tensor);
    }
    let dims = all.iter().map(|&(d, _)| d).chain([Dim::Axis(into)]).collect();
    Ok(Value::new(Tensor::cat(&tensors, all.len())?, dims))
}

/// Cuts a part out of an axis.
pub(crate) fn cut(
    size: impl Fn(AxisId) -> usize,
    from: AxisId,
    offset: usize,
    into: AxisId,
    x: &Value,
) -> Result<Value> {
    let at = x.index(Dim::Axis(from))?;
    let part = Value::new(x.tensor.narrow(at, offset, size(into))?, x.dims.clone());
    Ok(part.renamed(Dim::Axis(from), Dim::Axis(into)))
}

/// Broadcasts along new axes.
pub(crate) fn expand(size: impl Fn(AxisId) -> usize, new: &[AxisId], x: &Value) -> Result<Value> {
    let old = x.dims.iter().copied().zip(x.tensor.dims().iter().copied());
    let order: Vec<(Dim, usize)> = old.chain(new.iter().map(|&a| (Dim::Axis(a), size(a)))).collect();
    x.expanded(&order)
}
