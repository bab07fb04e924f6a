//! What a lowered graph reads beside parameters, laid out as a device keeps it.
//!
//! Token-wise numbers have one entry a token, sequence by sequence. With learned tokens before each document
//! the sequences are longer than the batch's; [`Leaves::given`] says where its tokens went.

use crate::batch::{self, Tokens};
use crate::session::{Batch, Tensor, Tensors};
use archc_compiler::graph::{AxisId, Graph, Output};
use archc_compiler::lowered::Shape;

/// The leaves of a lowered graph for one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves {
    /// Sequences, tokens a sequence (with prefixes), carried tokens that attends may see.
    pub batch: usize,
    /// Tokens a sequence, prefixes included.
    pub len: usize,
    /// Tokens of the same documents that came before, at most.
    pub carried_tokens: usize,
    /// Position of each token in its document.
    pub pos: Vec<u32>,
    /// Number of each token's document in its sequence; with a carry, 0 is the document that goes on.
    pub doc: Vec<u32>,
    /// Row of the embedding table for each token; prefix token m is row VOCAB + m.
    pub ids: Vec<u32>,
    /// What each token should predict (0 where nothing).
    pub targets: Vec<u32>,
    /// Weight of each token in the loss; they sum to 1 or are all 0.
    pub weights: Vec<f64>,
    /// Inputs in the order of the graph: `[B, T, axes]`, axes in [`Graph::layout_order`].
    pub inputs: Vec<Tensor>,
    /// R of each output in the order of the graph, `[B, T, axes]` with axes in [`Graph::layout_order`]; empty where there is none.
    pub cotangents: Vec<Tensor>,
    /// What an earlier piece left, by name, `[B, (tokens), axes]` with axes in [`Graph::layout_order`]. A name that is not here
    /// stands for zeros.
    pub carried: Tensors,
    /// Updates done.
    pub step: u64,
    /// The seed of dropout, in training only.
    pub dropout: Option<u64>,
    /// Where the given tokens are, if prefixes moved them.
    pub given: Option<Vec<usize>>,
}

impl Leaves {
    /// Lays out a checked batch. `before`: positions that the sequences' next tokens have, if they go on.
    pub(crate) fn new(graph: &Graph, batch: &Batch, before: Option<&[usize]>) -> Self {
        let Tokens { grid, carried, ids, targets, weights, given } = batch::lay_out(graph, batch, before);
        let mut doc = Vec::with_capacity(grid.pos.len());
        for row in grid.pos.chunks_exact(grid.len) {
            // With a carry, even a document that starts at the first token is not the one that goes on.
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

    /// The shape that a program must be specialised for.
    pub fn shape(&self) -> Shape {
        Shape { batch: self.batch, len: self.len, carried: self.carried_tokens }
    }

    /// Whether a document starts inside of a sequence: elsewhere than at its first token or, with a carry, there too.
    pub fn restarts(&self, continued: bool) -> bool {
        let starts = |row: &[u32]| row.iter().skip(usize::from(!continued)).any(|&p| p == 0);
        self.pos.chunks_exact(self.len).any(starts)
    }

    /// Takes the R of each output, given by name in the batch's own tokens; tokens of prefixes get zeros.
    pub(crate) fn set_cotangents(&mut self, graph: &Graph, by_name: &Tensors) {
        let spread = |output: &Output| {
            let Some(r) = by_name.get(&output.name) else { return Tensor::default() };
            let r = sorted_axes(graph, r, &output.axes);
            let Some(given) = &self.given else { return r };
            let width = r.shape[2..].iter().product::<usize>();
            let mut data = vec![0.0; self.batch * self.len * width];
            for (row, &at) in r.data.chunks_exact(width).zip(given) {
                data[at * width..(at + 1) * width].copy_from_slice(row);
            }
            Tensor { shape: [&[self.batch, self.len], &r.shape[2..]].concat(), data }
        };
        self.cotangents = graph.outputs.iter().map(spread).collect();
    }

    /// Of `[B, T, axes]`, axes in [`Graph::layout_order`], the tokens that were given, axes in the declared order.
    pub(crate) fn output(&self, graph: &Graph, value: Tensor, axes: &[AxisId]) -> Tensor {
        let mut value = value;
        if let Some(given) = &self.given {
            let width = value.shape[2..].iter().product::<usize>();
            value.data = given.iter().flat_map(|&at| value.data[at * width..(at + 1) * width].to_vec()).collect();
            value.shape[1] = given.len() / self.batch;
        }
        declared_axes(graph, value, axes, 2)
    }
}

/// The axes after the first `skip` ones brought from [`Graph::layout_order`] to the declared one.
pub(super) fn declared_axes(graph: &Graph, tensor: Tensor, axes: &[AxisId], skip: usize) -> Tensor {
    let mut sorted = axes.to_vec();
    graph.layout_order(&mut sorted);
    let from: Vec<usize> = axes.iter().map(|a| sorted.iter().position(|s| s == a).unwrap_or(0)).collect();
    permuted(tensor, &from, skip)
}

/// `[B, T, axes]` with its axes brought from the declared order to [`Graph::layout_order`].
fn sorted_axes(graph: &Graph, tensor: &Tensor, axes: &[AxisId]) -> Tensor {
    let mut sorted = axes.to_vec();
    graph.layout_order(&mut sorted);
    let from: Vec<usize> = sorted.iter().map(|a| axes.iter().position(|x| x == a).unwrap_or(0)).collect();
    permuted(tensor.clone(), &from, 2)
}

/// After the first `skip` ones, axis i of the result is axis `from[i]` of what is given.
fn permuted(tensor: Tensor, from: &[usize], skip: usize) -> Tensor {
    if from.iter().enumerate().all(|(i, &f)| i == f) {
        return tensor;
    }
    let (outer, axes) = tensor.shape.split_at(skip);
    let width = axes.iter().product::<usize>();
    let mut strides = vec![1; axes.len()];
    (0..axes.len().saturating_sub(1)).rev().for_each(|i| strides[i] = strides[i + 1] * axes[i + 1]);
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
