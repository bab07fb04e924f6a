//! The leaves of a lowered graph beside parameters, in the layout of a device.
//!
//! Token-wise vectors have one entry per token, sequence by sequence. With learned tokens before each document the
//! sequences are longer than the batch's; [`Leaves::given`] holds the new places of its tokens.

use super::carried::{Carried, Part};
use crate::batch::{self, Tokens};
use crate::number::copied;
use crate::session::{Batch, Number, Numbers, Tensor, Tensors};
use archc_compiler::graph::{AxisId, Graph, Output};
use archc_compiler::lowered::{Dim, Extent, Lowered, Shape};
use std::collections::BTreeMap;

/// The smallest number of carried tokens that a graph has room for, if any: a tile of an attend.
const SMALLEST_ROOM: usize = 64;

/// The number of tokens to allocate for `tokens` carried ones: up to a quarter more, in whole tiles.
fn room(tokens: usize) -> usize {
    let step = (tokens.next_power_of_two() / 8).max(SMALLEST_ROOM);
    tokens.next_multiple_of(step)
}

/// The leaves of a lowered graph for one batch, with numbers in the executor's arithmetic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves<N = f64> {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens per sequence, prefixes included.
    pub len: usize,
    /// Maximum number of earlier tokens of the same documents; from [`Leaves::make_room`] on, the number of tokens that there is room for.
    pub carried_tokens: usize,
    /// Position of each token in its document.
    pub pos: Vec<u32>,
    /// Number of each token's document in its sequence; with a carry, 0 is the continued document.
    pub doc: Vec<u32>,
    /// Row of the embedding table for each token; prefix token m is row VOCAB + m.
    pub ids: Vec<u32>,
    /// Target of each token (0 where it has none).
    pub targets: Vec<u32>,
    /// Weight of each token in the loss; they sum to 1 or are all 0.
    pub weights: Vec<f64>,
    /// Inputs in the order of the graph: `[B, T, axes]`, axes in [`Graph::layout_order`].
    pub inputs: Vec<Tensor<Vec<N>>>,
    /// Cotangent of each output in the order of the graph, `[B, T, axes]` with axes in [`Graph::layout_order`]; empty where there is none.
    pub cotangents: Vec<Tensor<Vec<N>>>,
    /// Values carried from an earlier piece, by name, `[B, (tokens), axes]` with axes in [`Graph::layout_order`], possibly of fewer tokens
    /// than there is room for. A missing name stands for zeros.
    pub carried: BTreeMap<String, Carried<N>>,
    /// Number of updates done.
    pub step: u64,
    /// The seed of dropout, in training only.
    pub dropout: Option<u64>,
    /// Places of the batch's tokens, if prefixes moved them.
    pub given: Option<Vec<usize>>,
}

impl<N: Number> Leaves<N> {
    /// Lays out a checked batch. `before` are the positions of the sequences' next tokens, if they continue from a carry.
    pub(crate) fn new<D: Numbers>(graph: &Graph, batch: &Batch<D>, before: Option<&[usize]>) -> Self {
        let Tokens { grid, carried, ids, targets, weights, given } = batch::lay_out(graph, batch, before);
        let mut doc = Vec::with_capacity(grid.pos.len());
        for row in grid.pos.chunks_exact(grid.len) {
            // With a carry, even a document that starts at the first token is not the continued one.
            let mut starts = 0;
            for &pos in row {
                starts += u32::from(pos == 0);
                doc.push(if before.is_some() { starts } else { starts.saturating_sub(1) });
            }
        }
        let inputs = graph.inputs.iter().map(|i| sorted_axes(graph, &batch.inputs[&i.name], &i.axes)).collect();
        Self {
            batch: grid.batch,
            len: grid.len,
            carried_tokens: carried,
            pos: grid.pos.iter().map(|&p| u32::try_from(p).unwrap_or(u32::MAX)).collect(),
            doc,
            ids,
            targets,
            weights,
            inputs,
            given,
            ..Self::default()
        }
    }

    /// The shape for which a program must be specialised.
    pub fn shape(&self) -> Shape {
        Shape { batch: self.batch, len: self.len, carried: self.carried_tokens }
    }

    /// Rounds the number of carried tokens up to the number that is allocated for them, so that a graph is compiled a few times and not for
    /// every decoded token. There are four sizes per octave, since unused tokens cost as much as used ones. The size is 0 where the graph
    /// carries no tokens, and at most the number of tokens that its attends may look back.
    pub(crate) fn make_room(&mut self, graph: &Lowered) {
        let most = |d: &Dim| match d.extent {
            Extent::Carried(most) | Extent::Known(most) => Some(most),
            _ => None,
        };
        let most = graph.dims.iter().filter_map(most).max().unwrap_or(0);
        let tokens = self.carried_tokens.min(most);
        self.carried_tokens = room(tokens).min(most);
    }

    /// Passes the `count` elements of the leaf that holds a part of the values carried under a name to `put`, in order, piece by piece;
    /// nothing for zeros.
    ///
    /// Where there is room for more tokens than were carried, each sequence begins with copies of its first one. They are never visible;
    /// but unlike zeros they are values that the program can safely compute with.
    pub(crate) fn carried_numbers(&self, name: &str, part: Part, count: usize, put: impl FnMut(&[N])) {
        if let Some(value) = self.carried.get(name) {
            value.read(part, count, put);
        }
    }

    /// Whether a document starts inside of a sequence: after its first token or, with a carry, at the first one too.
    pub fn restarts(&self, continued: bool) -> bool {
        let starts = |row: &[u32]| row.iter().skip(usize::from(!continued)).any(|&p| p == 0);
        self.pos.chunks_exact(self.len).any(starts)
    }

    /// Sets the cotangent of each output, given by name over the batch's own tokens; tokens of prefixes get zeros.
    pub(crate) fn set_cotangents<D: Numbers>(&mut self, graph: &Graph, by_name: &Tensors<D>) {
        let spread = |output: &Output| {
            let Some(r) = by_name.get(&output.name) else { return Tensor::default() };
            let r = sorted_axes(graph, r, &output.axes);
            let Some(given) = &self.given else { return r };
            let width = r.shape[2..].iter().product::<usize>();
            let mut data = vec![N::default(); self.batch * self.len * width];
            for (row, &at) in r.data.chunks_exact(width).zip(given) {
                data[at * width..(at + 1) * width].copy_from_slice(row);
            }
            Tensor { shape: [&[self.batch, self.len], &r.shape[2..]].concat(), data }
        };
        self.cotangents = graph.outputs.iter().map(spread).collect();
    }

    /// The batch's own tokens of an output `[B, T, axes]`: from axes in [`Graph::layout_order`] to axes in the declared order.
    pub(crate) fn output(&self, graph: &Graph, value: Tensor<Vec<N>>, axes: &[AxisId]) -> Tensor<Vec<N>> {
        let mut value = value;
        if let Some(given) = &self.given {
            let width = value.shape[2..].iter().product::<usize>();
            value.data = given.iter().flat_map(|&at| value.data[at * width..(at + 1) * width].to_vec()).collect();
            value.shape[1] = given.len() / self.batch;
        }
        declared_axes(graph, value, axes, 2)
    }
}

/// Permutes the axes after the first `skip` ones from [`Graph::layout_order`] to the declared order.
pub(super) fn declared_axes<N: Number>(
    graph: &Graph,
    tensor: Tensor<Vec<N>>,
    axes: &[AxisId],
    skip: usize,
) -> Tensor<Vec<N>> {
    let mut sorted = axes.to_vec();
    graph.layout_order(&mut sorted);
    let place = |a: &AxisId| skip + sorted.iter().position(|s| s == a).unwrap_or(0);
    let from: Vec<usize> = (0..skip).chain(axes.iter().map(place)).collect();
    permuted(tensor, &from)
}

/// Copies `[B, T, axes]` to the executor's arithmetic, its axes permuted from the declared order to [`Graph::layout_order`].
fn sorted_axes<D: Numbers, N: Number>(graph: &Graph, tensor: &Tensor<D>, axes: &[AxisId]) -> Tensor<Vec<N>> {
    let mut sorted = axes.to_vec();
    graph.layout_order(&mut sorted);
    let place = |a: &AxisId| 2 + axes.iter().position(|x| x == a).unwrap_or(0);
    let from: Vec<usize> = [0, 1].into_iter().chain(sorted.iter().map(place)).collect();
    permuted(Tensor { shape: tensor.shape.clone(), data: copied(tensor.data.numbers()) }, &from)
}

/// Permutes axes: axis i of the result is axis `from[i]` of the tensor. Leading axes that stay in place are handled as one.
pub(super) fn permuted<N: Number>(tensor: Tensor<Vec<N>>, from: &[usize]) -> Tensor<Vec<N>> {
    let skip = from.iter().enumerate().take_while(|(i, f)| i == *f).count();
    if skip == from.len() {
        return tensor;
    }
    let (outer, axes) = tensor.shape.split_at(skip);
    let width = axes.iter().product::<usize>();
    let mut strides = vec![1; axes.len()];
    (0..axes.len().saturating_sub(1)).rev().for_each(|i| strides[i] = strides[i + 1] * axes[i + 1]);
    let from: Vec<usize> = from[skip..].iter().map(|f| f - skip).collect();
    let order: Vec<usize> = (0..width)
        .map(|mut n| {
            let mut at = 0;
            for &f in from.iter().rev() {
                at += n % axes[f] * strides[f];
                n /= axes[f];
            }
            at
        })
        .collect();
    let data = tensor.data.chunks_exact(width.max(1)).flat_map(|row| order.iter().map(|&i| row[i])).collect();
    let shape = outer.iter().copied().chain(from.iter().map(|&f| axes[f])).collect();
    Tensor { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_few_and_not_much_too_large() {
        let rooms: std::collections::BTreeSet<usize> = (0..=1 << 16).map(room).collect();
        assert!(rooms.len() <= 4 * 8 + 8, "{rooms:?}");
        assert_eq!([0, 1, 64, 65, 600, 1025].map(room), [0, 64, 64, 128, 640, 1280]);
        assert!((0..=1 << 16).all(|n| n <= room(n) && room(n) <= n + (n / 4).max(SMALLEST_ROOM)));
    }
}
