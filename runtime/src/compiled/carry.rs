//! Carries of lowered graphs: from what a program gives to named host tensors and back.
//!
//! `scanN.i` is state i of the scan at node N, `windowN` the last tokens before the piece, `attendN.c` capture c
//! at the tokens that may still be seen, `pos` the next token's position. Times end together: the last entry is
//! the last token.

use super::Leaves;
use crate::errors;
use crate::session::{Carry, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::lowered::{self, BATCH, Extent, Lowered};

/// The dimension of tokens of what is carried, as an index into its dimensions.
fn time(graph: &Lowered, carry: &lowered::Carry) -> Option<usize> {
    let dims = &graph.dag.node(carry.value).dims;
    carry.last.and_then(|_| dims.iter().position(|d| matches!(graph.dim(*d).extent, Extent::Time | Extent::Known)))
}

/// Checks and reads a carry for sequences of which the next tokens have these positions.
///
/// # Errors
/// E0811 if a part is missing, unknown or of another shape.
pub(super) fn read(
    graph: &Lowered,
    carry: &Carry,
    pos: &[usize],
    round: fn(f64) -> f64,
) -> Result<Tensors, Diagnostic> {
    let reach = pos.iter().max().copied().unwrap_or(0);
    let mut values = Tensors::new();
    for part in &graph.carries {
        let time = time(graph, part);
        let size = |(i, d): (usize, &lowered::DimId)| match (graph.dim(*d).extent, part.last) {
            _ if Some(i) == time => part.last.filter(|&n| n != usize::MAX).unwrap_or(reach),
            _ if *d == BATCH => pos.len(),
            (Extent::Fixed(n), _) => n,
            _ => 1,
        };
        let shape: Vec<usize> = graph.dag.node(part.value).dims.iter().enumerate().map(size).collect();
        let Some(tensor) = carry.0.get(&part.name) else {
            return Err(errors::carry_mismatch(format!("it lacks `{}`", part.name)));
        };
        if tensor.shape != shape || tensor.data.len() != shape.iter().product::<usize>() {
            let why = format!("`{}` has shape {:?}, not {shape:?}", part.name, tensor.shape);
            return Err(errors::carry_mismatch(why));
        }
        values.insert(part.name.clone(), Tensor { shape, data: tensor.data.iter().map(|&x| round(x)).collect() });
    }
    match carry.0.keys().find(|k| *k != "pos" && !values.contains_key(*k)) {
        Some(unknown) => Err(errors::carry_mismatch(format!("the program carries no `{unknown}`"))),
        None => Ok(values),
    }
}

/// The carry that a program leaves; `values` are those of [`Lowered::carries`], in order.
pub(super) fn write(graph: &Lowered, leaves: &Leaves, values: Vec<Tensor>) -> Carry {
    let ends: Vec<f64> =
        leaves.pos.chunks_exact(leaves.len).map(|row| row.last().map_or(0.0, |&p| f64::from(p) + 1.0)).collect();
    let reach = ends.iter().fold(0.0f64, |m, &p| m.max(p)) as usize;
    let mut tensors = Tensors::new();
    for (part, value) in graph.carries.iter().zip(values) {
        let kept = match (time(graph, part), part.last) {
            (Some(axis), Some(last)) => {
                let dim = graph.dag.node(part.value).dims[axis];
                // A value over all known tokens holds the carried ones already.
                let before = leaves.carried.get(&part.name).filter(|_| graph.dim(dim).extent == Extent::Time);
                match last {
                    usize::MAX => {
                        let have = value.shape[axis] + before.map_or(0, |b| b.shape[axis]);
                        tail(before, &value, axis, reach.min(have))
                    }
                    last => tail(before, &value, axis, last),
                }
            }
            _ => value,
        };
        tensors.insert(part.name.clone(), kept);
    }
    tensors.insert("pos".into(), Tensor { shape: vec![ends.len()], data: ends });
    Carry(tensors)
}

/// The last entries along an axis of two tensors, one after the other; zeros where there are fewer.
fn tail(before: Option<&Tensor>, value: &Tensor, axis: usize, count: usize) -> Tensor {
    let width = value.shape[axis + 1..].iter().product::<usize>();
    let outer = value.shape[..axis].iter().product::<usize>();
    let mut shape = value.shape.clone();
    shape[axis] = count;
    let mut data = Vec::with_capacity(outer * count * width);
    for row in 0..outer {
        let part = |t: &Tensor| t.data[row * t.shape[axis] * width..(row + 1) * t.shape[axis] * width].to_vec();
        let all = [before.map(part).unwrap_or_default(), part(value)].concat();
        let skipped = all.len().saturating_sub(count * width);
        data.extend(std::iter::repeat_n(0.0, (count * width).saturating_sub(all.len())));
        data.extend(&all[skipped..]);
    }
    Tensor { shape, data }
}
