//! Checks before training, as pure functions over the graph.
//!
//! | file | question | codes |
//! |---|---|---|
//! | `dependence` | does the output depend on the input, can every parameter learn, does something mix time? | E06xx, W06xx |
//! | `ranges` | what is the range of every value; do log, sqrt, division and exp stay in their domain? | E07xx, W07xx |
//! | `scan_bound` | is each state's transition a contraction, or may the state grow? | W07xx |
//! | `cost` | parameters, FLOPs, bytes, state, time class | |
//!
//! Dependence and ranges use the graph as elaborated, where every op still has a place in the source
//! and nothing has been removed; cost uses the graph after the [`passes`], which is what
//! devices run. `flow` connects the bodies of scans and attends to the graph around them for the analyses
//! that follow values through them; `equal` numbers values, so that two ways to write the same
//! subexpression are equal.
//!
//! The smallest example, `block Same[D] { input x[D]; output x }`, passes with one lint: nothing in it
//! mixes time (W0604).

mod codes;
mod cost;
mod dependence;
mod equal;
mod flow;
mod ranges;
mod relations;
mod scan_bound;
mod shield;

pub use codes::CODES;
pub use cost::{CostReport, Flops, ParamGroup, StateSize, TimeClass, cost};
pub use dependence::check_dependence;
pub use flow::{Edge, EdgeKind, Flow, Vertex};
pub use ranges::{Fact, Ranges, check_ranges};
pub use scan_bound::{Growth, StateBound, check_scans};
pub use shield::shield;

use crate::diag::Diagnostic;
use crate::graph::Graph;
use crate::passes;

/// A graph with the results of all checks.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The graph after the passes, which devices run.
    pub graph: Graph,
    /// Cost of the program.
    pub cost: CostReport,
    /// Bounds on the growth of each state, in order.
    pub states: Vec<StateBound>,
    /// Diagnostics, sorted by place and code.
    pub diagnostics: Vec<Diagnostic>,
}

/// Runs all checks and passes. `tokens` is the sequence length of the cost report's example.
pub fn check(graph: &Graph, tokens: usize) -> Checked {
    let mut diagnostics = check_dependence(graph);
    let flow = Flow::new(graph);
    let ranges = Ranges::new(&flow);
    diagnostics.extend(check_ranges(&ranges));
    let (states, growing) = check_scans(&ranges);
    diagnostics.extend(growing);
    crate::diag::sort(&mut diagnostics);
    let graph = passes::optimize(graph);
    let cost = cost(&graph, tokens);
    let graph = shield(&graph);
    debug_assert!(crate::graph::verify(&graph).is_ok(), "archc bug: shield: {:?}", crate::graph::verify(&graph));
    Checked { graph, cost, states, diagnostics }
}
