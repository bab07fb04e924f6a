//! Carries of lowered graphs: between pieces they stay as [`Kept`], the values that a program left, in the arithmetic of the executor and
//! the layout of the graph.
//!
//! Their names are those of [`archc_compiler::lower::carried`], and `pos` is the next token's position. Token dimensions are aligned at
//! their ends: the last entry is the last token. In named tensors, axes are in the order of their ids, the same for every device.

use super::Leaves;
use super::carried::Carried;
use super::leaves::permuted;
use crate::errors;
use crate::pieces;
use crate::session::{Carry, DeviceCarry, Number, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::lowered::{self, BATCH, DimId, Extent, Keep, Lowered, TIME};
use std::collections::BTreeMap;

/// A carry in the representation of a compiled session.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept<N> {
    /// The next token's position in each sequence.
    pub pos: Vec<usize>,
    /// The values by name.
    pub values: BTreeMap<String, Carried<N>>,
}

impl<N: Number> DeviceCarry for Kept<N> {
    fn tensors(&self) -> Tensors {
        let named = |(name, value): (&String, &Carried<N>)| {
            let order = positions(&value.dims, &sorted(&value.dims));
            (name.clone(), permuted(value.joined(), &order))
        };
        let mut tensors: Tensors = self.values.iter().map(named).collect();
        let data: Vec<f64> = self.pos.iter().map(|&p| p as f64).collect();
        tensors.insert("pos".into(), Tensor { shape: vec![data.len()], data });
        tensors
    }

    fn duplicate(&self) -> Box<dyn DeviceCarry> {
        Box::new(self.clone())
    }
}

/// The positions of the sequences' next tokens.
///
/// # Errors
/// E0811 if they are missing or invalid.
pub(super) fn next<N: Number>(carry: &Carry, batch: usize) -> Result<Vec<usize>, Diagnostic> {
    match carry.device::<Kept<N>>() {
        Some(kept) if kept.pos.len() == batch && kept.pos.iter().all(|&p| u32::try_from(p).is_ok()) => {
            Ok(kept.pos.clone())
        }
        _ => pieces::positions(&carry.tensors(), batch),
    }
}

/// Checks a carry for sequences whose next tokens have these positions.
///
/// # Errors
/// E0811 if a part is missing, unknown or of another shape.
pub(super) fn check<N: Number>(graph: &Lowered, carry: &Carry, pos: &[usize]) -> Result<(), Diagnostic> {
    match carry.device::<Kept<N>>() {
        Some(kept) => {
            let shape = |value: &Carried<N>| {
                let order = positions(&value.dims, &sorted(&value.dims));
                order.into_iter().map(|i| value.shape()[i]).collect()
            };
            check_shapes(graph, kept.values.iter().map(|(name, value)| (name, shape(value), true)).collect(), pos)
        }
        None => {
            let tensors = carry.tensors();
            let all = tensors.iter().filter(|(name, _)| *name != "pos");
            check_shapes(graph, all.map(|(name, t)| (name, t.shape.clone(), t.has(&t.shape))).collect(), pos)
        }
    }
}

/// Checks values by name: the shape of each in the order of named tensors, and whether it has as many numbers.
fn check_shapes(graph: &Lowered, have: Vec<(&String, Vec<usize>, bool)>, pos: &[usize]) -> Result<(), Diagnostic> {
    let reach = pos.iter().max().copied().unwrap_or(0);
    for part in &graph.carries {
        let size = |d: &DimId| match (*d, graph.dim(*d).extent, part.keep) {
            (BATCH, ..) => pos.len(),
            (TIME, _, Keep::Last(n)) => n,
            (TIME, _, Keep::Seen(most)) => reach.min(most),
            (_, Extent::Fixed(n), _) => n,
            _ => 1,
        };
        let want: Vec<usize> = sorted(dims(graph, part)).iter().map(size).collect();
        let Some((_, shape, whole)) = have.iter().find(|h| *h.0 == part.name) else {
            return Err(errors::carry_mismatch(format!("it lacks `{}`", part.name)));
        };
        if *shape != want || !whole {
            return Err(errors::carry_mismatch(format!("`{}` has shape {shape:?}, not {want:?}", part.name)));
        }
    }
    match have.iter().find(|h| !graph.carries.iter().any(|c| c.name == *h.0)) {
        Some((unknown, ..)) => Err(errors::carry_mismatch(format!("the program carries no `{unknown}`"))),
        None => Ok(()),
    }
}

/// The dimensions of a part in the order of the graph's layout.
fn dims<'a>(graph: &'a Lowered, part: &lowered::Carry) -> &'a [DimId] {
    &graph.dag.node(part.value).dims
}

/// The axis of a part's tokens.
fn axis(graph: &Lowered, part: &lowered::Carry) -> usize {
    match part.keep {
        Keep::Whole => 0,
        Keep::Last(_) | Keep::Seen(_) => dims(graph, part).iter().position(|d| *d == TIME).unwrap_or(0),
    }
}

/// Dimensions in the order of named tensors: batch, tokens, axes by id.
fn sorted(dims: &[DimId]) -> Vec<DimId> {
    let mut sorted = dims.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The index in `from` of each of these dimensions.
fn positions(from: &[DimId], dims: &[DimId]) -> Vec<usize> {
    dims.iter().map(|d| from.iter().position(|f| f == d).unwrap_or(0)).collect()
}

/// Reads the named tensors of a checked carry.
pub(super) fn read<N: Number>(graph: &Lowered, tensors: &Tensors) -> BTreeMap<String, Carried<N>> {
    let named = |part: &lowered::Carry| {
        let value = Carried::split(sorted(dims(graph, part)), &tensors[&part.name], axis(graph, part));
        (part.name.clone(), value)
    };
    let mut values = graph.carries.iter().map(named).collect();
    turn(graph, &mut values);
    values
}

/// Permutes the axes of values to the order of the graph's layout, if they were laid out for a graph with another one.
pub(super) fn turn<N: Number>(graph: &Lowered, values: &mut BTreeMap<String, Carried<N>>) {
    for part in &graph.carries {
        let dims = dims(graph, part);
        let Some(value) = values.get_mut(&part.name).filter(|v| v.dims != dims) else { continue };
        let named = positions(&value.dims, &sorted(&value.dims));
        let order: Vec<usize> = positions(&sorted(dims), dims).into_iter().map(|i| named[i]).collect();
        *value = std::mem::take(value).permuted(dims.to_vec(), &order);
    }
}

/// The carry after a program. Its tokens are appended in place to those that the leaves hold. `values` are those of
/// [`Lowered::carried`].
pub(super) fn write<N: Number>(graph: &Lowered, leaves: &mut Leaves<N>, values: Vec<Tensor<Vec<N>>>) -> Kept<N> {
    let end = |row: &[u32]| row.last().map_or(0, |&p| p as usize + 1);
    let pos: Vec<usize> = leaves.pos.chunks_exact(leaves.len).map(end).collect();
    let reach = pos.iter().max().copied().unwrap_or(0);
    let mut all = BTreeMap::new();
    let mut values = values.into_iter();
    for part in &graph.carries {
        let mut value = values.next().expect("archc bug: a carry has no value");
        let mut low = Vec::new();
        if part.low.is_some() {
            low = values.next().expect("archc bug: a carry has no low part").data;
            value.data.iter_mut().zip(&mut low).for_each(|(x, low)| (*x, *low) = normal(*x, *low));
        }
        let before = leaves.carried.remove(&part.name);
        let value = Carried::new(dims(graph, part).to_vec(), value, low, axis(graph, part));
        let count = match part.keep {
            Keep::Whole => None,
            Keep::Last(count) => Some(count),
            Keep::Seen(most) => {
                let have = value.tokens() + before.as_ref().map_or(0, Carried::tokens);
                Some(reach.min(most).min(have))
            }
        };
        let kept = match (before, count) {
            (None, Some(count)) if count != value.tokens() => value.none().extended(&value, count),
            (Some(before), Some(count)) => before.extended(&value, count),
            _ => value,
        };
        all.insert(part.name.clone(), kept);
    }
    Kept { pos, values: all }
}

/// The parts of a sum of two parts whose low one is the rounding error of the high one, as the sum in f64 is split. What has no finite
/// high part has no low one.
fn normal<N: Number>(high: N, low: N) -> (N, N) {
    if !high.finite() {
        return (high, N::default());
    }
    let sum = high.exact() + low.exact();
    (N::nearest(sum), N::lost(sum))
}
