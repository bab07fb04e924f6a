//! Carries of lowered graphs: conversion between the values of a program and named host tensors.
//!
//! Their names are those of [`archc_compiler::lower::carried`], and `pos` is the next token's position. Token dimensions are aligned at
//! their ends: the last entry is the last token. Outside, axes are in the order of their ids, the same for every device; inside, in that of
//! the graph's layout.

use super::Leaves;
use super::leaves::permuted;
use crate::errors;
use crate::session::{Carry, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::lowered::{self, BATCH, DimId, Extent, Keep, Lowered, TIME};

/// Checks a carry for sequences whose next tokens have these positions.
///
/// # Errors
/// E0811 if a part is missing, unknown or of another shape.
pub(super) fn check(graph: &Lowered, carry: &Carry, pos: &[usize]) -> Result<(), Diagnostic> {
    let reach = pos.iter().max().copied().unwrap_or(0);
    for part in &graph.carries {
        let size = |d: &DimId| match (*d, graph.dim(*d).extent, part.keep) {
            (BATCH, ..) => pos.len(),
            (TIME, _, Keep::Last(n)) => n,
            (TIME, _, Keep::Seen(most)) => reach.min(most),
            (_, Extent::Fixed(n), _) => n,
            _ => 1,
        };
        let shape: Vec<usize> = outside(graph, part).iter().map(size).collect();
        let Some(tensor) = carry.0.get(&part.name) else {
            return Err(errors::carry_mismatch(format!("it lacks `{}`", part.name)));
        };
        if tensor.shape != shape || tensor.data.len() != shape.iter().product::<usize>() {
            let why = format!("`{}` has shape {:?}, not {shape:?}", part.name, tensor.shape);
            return Err(errors::carry_mismatch(why));
        }
    }
    match carry.0.keys().find(|k| *k != "pos" && !graph.carries.iter().any(|c| c.name == **k)) {
        Some(unknown) => Err(errors::carry_mismatch(format!("the program carries no `{unknown}`"))),
        None => Ok(()),
    }
}

/// The dimensions of a part in outside order: batch, tokens, axes by id.
fn outside(graph: &Lowered, part: &lowered::Carry) -> Vec<DimId> {
    let mut dims = graph.dag.node(part.value).dims.clone();
    dims.sort_unstable();
    dims
}

/// Permutes the axes of carried tensors to the order of the graph's layout if `inside`, else from it.
pub(super) fn turn(graph: &Lowered, carried: &mut Tensors, inside: bool) {
    for part in &graph.carries {
        let (dims, sorted) = (&graph.dag.node(part.value).dims, outside(graph, part));
        if *dims == sorted {
            continue;
        }
        let (from, to) = if inside { (&sorted, dims) } else { (dims, &sorted) };
        let order: Vec<usize> = to.iter().map(|d| from.iter().position(|f| f == d).unwrap_or(0)).collect();
        if let Some(tensor) = carried.get_mut(&part.name) {
            *tensor = permuted(std::mem::take(tensor), &order);
        }
    }
}

/// The carry after a program. Its tokens are appended in place to those that the leaves hold. `values` are those of
/// [`Lowered::carried`].
pub(super) fn write(graph: &Lowered, leaves: &mut Leaves, values: Vec<Tensor>) -> Carry {
    let ends: Vec<f64> =
        leaves.pos.chunks_exact(leaves.len).map(|row| row.last().map_or(0.0, |&p| f64::from(p) + 1.0)).collect();
    let reach = ends.iter().fold(0.0f64, |m, &p| m.max(p)) as usize;
    let mut tensors = Tensors::new();
    let mut values = values.into_iter();
    for part in &graph.carries {
        let mut value = values.next().expect("archc bug: a carry has no value");
        if part.low.is_some() {
            let low = values.next().expect("archc bug: a carry has no low part");
            value.data.iter_mut().zip(low.data).filter(|(x, _)| x.is_finite()).for_each(|(x, low)| *x += low);
        }
        let before = leaves.carried.remove(&part.name);
        let axis = graph.dag.node(part.value).dims.iter().position(|d| *d == TIME).unwrap_or(0);
        let kept = match part.keep {
            Keep::Whole => value,
            Keep::Last(count) => extended(before, value, axis, count),
            Keep::Seen(most) => {
                let have = value.shape[axis] + before.as_ref().map_or(0, |b| b.shape[axis]);
                extended(before, value, axis, reach.min(most).min(have))
            }
        };
        tensors.insert(part.name.clone(), kept);
    }
    turn(graph, &mut tensors, false);
    tensors.insert("pos".into(), Tensor { shape: vec![ends.len()], data: ends });
    Carry(tensors)
}

/// The last `count` entries along an axis of two tensors, one after the other; zeros where there are fewer. The memory of the first one is
/// reused, so that one more token costs no copy of those before it.
fn extended(before: Option<Tensor>, value: Tensor, axis: usize, count: usize) -> Tensor {
    let new = value.shape[axis];
    let width = value.shape[axis + 1..].iter().product::<usize>();
    let outer = value.shape[..axis].iter().product::<usize>();
    let mut shape = value.shape;
    shape[axis] = count;
    let (old, mut data) = before.map_or((0, Vec::new()), |b| (b.shape[axis], b.data));
    let taken = new.min(count);
    let kept = (count - taken).min(old);
    let empty = count - taken - kept;
    let (from, to) = (old * width, count * width);
    data.resize(data.len().max(outer * to), 0.0);
    // rows that grow are moved from the last one on, so that none is overwritten before it has moved
    for step in 0..outer {
        let row = if count >= old { outer - 1 - step } else { step };
        let at = row * to + empty * width;
        data.copy_within((row + 1) * from - kept * width..(row + 1) * from, at);
        data[row * to..at].fill(0.0);
        let tokens = &value.data[row * new * width..(row + 1) * new * width];
        data[at + kept * width..(row + 1) * to].copy_from_slice(&tokens[(new - taken) * width..]);
    }
    data.truncate(outer * to);
    Tensor { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries `first..` of an axis in the middle: two rows, two elements per entry.
    fn tensor(first: usize, count: usize) -> Tensor {
        let each = |row: usize| (0..count * 2).map(move |i| (100 * row + 2 * first + i) as f64);
        Tensor { shape: vec![2, count, 2], data: (0..2).flat_map(each).collect() }
    }

    #[test]
    fn tokens_are_put_behind_those_before_them() {
        for (old, new, count) in
            [(3, 1, 4), (3, 1, 3), (3, 1, 2), (1, 3, 4), (5, 4, 2), (5, 1, 1), (4, 2, 0), (0, 2, 1)]
        {
            let have = extended((old > 0).then(|| tensor(0, old)), tensor(old, new), 1, count);
            assert_eq!(have, tensor(old + new - count, count), "{old} and {new} tokens, the last {count}");
        }
        let padded = extended(Some(tensor(0, 1)), tensor(1, 1), 1, 3);
        assert_eq!(padded.data, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 100.0, 101.0, 102.0, 103.0]);
    }
}
