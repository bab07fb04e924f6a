//! `lower`: from a program for one token to tensor ops over whole batches.
//!
//! Every value that differs between tokens becomes `[B, T, ..]`; parameters and values computed from them alone keep their dimensions.
//! A learned map becomes a contraction of an activation and a parameter, a loss a contraction with the weights of the
//! tokens, a scan a chunk form, a running sum or a loop, an attend a tile. Parts of a body that do not depend on its state, or that depend
//! on one side of a pair only, are computed outside of it, once.
//!
//! A sequential scan is a loop over chunks of a loop over rows, so that its gradient keeps one state for each chunk and recomputes the
//! others. Rows past the end of the sequence leave the states unchanged.
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
use crate::scan::{Scans, is_part_axis};
use crate::target::Target;
use std::sync::Arc;

/// Purpose and target of a lowered graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LowerOptions {
    /// The device that will run it.
    pub target: Target,
    /// Length of a scan's chunk and of a side of an attend's tile, in tokens. None: every scan runs token by token, for decoding a few
    /// tokens.
    pub chunk: Option<usize>,
    /// Whether documents may start inside of the sequence.
    pub resets: bool,
    /// Whether the sequences continue from a carry, and leave one.
    pub carry: bool,
    /// Whether to build the objective: the cross-entropy of a model, and the loss terms.
    pub losses: bool,
    /// Whether dropout is applied.
    pub training: bool,
    /// Whether values have overflowed: an attend then leaves emits of weight 0 out of its sums even if they are not finite, where a product
    /// would be NaN.
    pub careful: bool,
}

impl LowerOptions {
    /// Options for sequences of `len` tokens, each one document, without losses and dropout.
    pub fn plain(target: Target, len: usize) -> Self {
        let chunk = target.chunk_of(len);
        Self { target, chunk, resets: false, carry: false, losses: false, training: false, careful: false }
    }
}

/// A graph as every lowering of it begins.
struct Prepared {
    /// The graph with split scans and regrouped scores.
    graph: Arc<Graph>,
    scans: Arc<Scans>,
}

/// The same without losses.
struct PreparedForOutputs(Arc<Prepared>);

impl Prepared {
    fn of(graph: &Graph, losses: bool) -> Arc<Self> {
        if losses || graph.losses.is_empty() {
            return graph.derived.get(|| Self::new(Scans::of(graph)));
        }
        let outputs = || Self::new(Arc::new(Scans::new(&carried::without_losses(graph))));
        graph.derived.get(|| PreparedForOutputs(Arc::new(outputs()))).0.clone()
    }

    fn new(scans: Arc<Scans>) -> Self {
        let mut graph = scans.graph.clone();
        scores::regroup(&mut graph);
        Self { graph: Arc::new(graph), scans }
    }
}

/// Lowers a graph.
///
/// # Panics
/// If the graph breaks an invariant of graphs: a bug of archc.
pub fn lower(graph: &Arc<Graph>, options: &LowerOptions) -> Lowered {
    let params = graph.param_layout();
    let Prepared { graph, scans } = &*Prepared::of(graph, options.losses);
    let mut dims = vec![
        Dim { name: "B".into(), extent: Extent::Batch, rank: 0 },
        Dim { name: "T".into(), extent: Extent::Time, rank: 2 },
    ];
    dims.extend(graph.axes.iter().zip(graph.stacked()).map(|(a, stacked)| {
        let rank = if stacked || is_part_axis(a) { STACKED } else { FIXED };
        Dim { name: a.name.clone(), extent: Extent::Fixed(a.size), rank }
    }));
    let done = tokens::Lowering::new(graph, options, &scans.classes, &scans.origins, &mut dims).run();
    let outputs = graph.outputs.iter().zip(done.outputs);
    let outputs = outputs.map(|(output, value)| {
        let axes = output.axes.iter().map(|a| Lowered::axis_dim(*a)).collect();
        Output { name: output.name.clone(), value, axes }
    });
    let outputs = outputs.collect();
    let lowered = Lowered {
        source: graph.clone(),
        params,
        outputs,
        dims,
        forward_nodes: done.dag.len(),
        dag: done.dag,
        objective: done.objective,
        carries: done.carries,
        param_grads: Vec::new(),
        input_grads: Vec::new(),
        update: false,
        careful: options.careful,
    };
    passes::optimize(lowered, options.target)
}
