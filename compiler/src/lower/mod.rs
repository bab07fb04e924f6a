//! `lower`: from what a program computes at one token to tensor ops over whole batches.
//!
//! Every value that differs per token becomes `[B, T, ..]`; parameters and what is made of them alone stay as they are.
//! A learned map becomes a contraction of an activation and a parameter, a loss a contraction with the weights of the
//! tokens, a scan a chunk form, a running sum or a loop, an attend a tile. What a body computes without its state, or from one side of
//! a pair, is computed outside of it, once.
//!
//! A sequential scan is a loop over chunks of a loop over rows, so that its gradient keeps one state a chunk and computes
//! the rest again. Rows past the end of the sequence leave the states as they are.
//!
//! The smallest example, `output linear[D -> D](x)`, where the weight has the axes `D'` and `D`:
//! ```text
//!   %2 output = contract[D] %0 %1    : [B, T, D']
//!   %3 output = rename[D' -> D] %2   : [B, T, D]
//! ```

mod attends;
mod body;
pub mod carried;
mod filters;
mod loops;
mod ordinary;
pub mod passes;
mod reach;
mod scans;
mod scores;
mod tile;
mod tokens;

#[cfg(test)]
mod tests;

pub use reach::most_carried;

use crate::graph::Graph;
use crate::lowered::{Dim, Extent, FIXED, Lowered, Output, STACKED};
use crate::scan::{Classes, classify_scans, is_part_axis, split_scans_and_tell};
use crate::target::Target;
use std::sync::Arc;

/// What a graph is lowered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LowerOptions {
    /// What will run it.
    pub target: Target,
    /// Tokens a chunk of a scan and a side of an attend's tile. None: every scan runs token by token, as decoding a few tokens wants it.
    pub chunk: Option<usize>,
    /// Documents may start inside of the sequence.
    pub resets: bool,
    /// The sequences go on from a carry, and leave one.
    pub carry: bool,
    /// Build the objective: the cross-entropy of a model, and the loss terms.
    pub losses: bool,
    /// Dropout acts.
    pub training: bool,
    /// Values have overflowed: an attend leaves what has weight 0 out of its sums, whatever it is, where a product would make it no
    /// number.
    pub careful: bool,
}

impl LowerOptions {
    /// For sequences of `len` tokens, each one document, without losses and dropout.
    pub fn plain(target: Target, len: usize) -> Self {
        let chunk = target.chunk_of(len);
        Self { target, chunk, resets: false, carry: false, losses: false, training: false, careful: false }
    }
}

/// Lowers a graph.
///
/// # Panics
/// If the graph breaks an invariant of graphs: a bug of archc.
pub fn lower(graph: &Arc<Graph>, options: &LowerOptions) -> Lowered {
    let params = graph.param_layout();
    let (mut graph, origins) = match options.losses {
        true => split_scans_and_tell(graph),
        false => split_scans_and_tell(&carried::without_losses(graph)),
    };
    scores::regroup(&mut graph);
    let graph = Arc::new(graph);
    // without chunks, which scans are sums: what is carried of these has a low part
    let classes = match options.chunk.or(options.carry.then_some(1)) {
        Some(tokens) => classify_scans(&graph, tokens),
        None => Classes::default(),
    };
    let mut dims = vec![
        Dim { name: "B".into(), extent: Extent::Batch, rank: 0 },
        Dim { name: "T".into(), extent: Extent::Time, rank: 2 },
    ];
    dims.extend(graph.axes.iter().zip(graph.stacked()).map(|(a, stacked)| {
        let rank = if stacked || is_part_axis(a) { STACKED } else { FIXED };
        Dim { name: a.name.clone(), extent: Extent::Fixed(a.size), rank }
    }));
    let done = tokens::Lowering::new(&graph, options, &classes, &origins, &mut dims).run();
    let outputs = graph.outputs.iter().zip(done.outputs);
    let outputs = outputs.map(|(output, value)| {
        let axes = output.axes.iter().map(|a| Lowered::axis_dim(*a)).collect();
        Output { name: output.name.clone(), value, axes }
    });
    let outputs = outputs.collect();
    let lowered = Lowered {
        source: graph,
        params,
        outputs,
        dims,
        forward_nodes: done.dag.nodes.len(),
        dag: done.dag,
        objective: done.objective,
        carries: done.carries,
        param_grads: Vec::new(),
        input_grads: Vec::new(),
        update: false,
        careful: options.careful,
    };
    passes::optimize(lowered)
}
