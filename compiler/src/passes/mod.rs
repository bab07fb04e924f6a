//! Passes from graph to graph, each a free function that preserves the program's results.
//!
//! [`PASSES`] is the list in the order in which [`optimize`] runs it; the verifier runs after each one in
//! debug builds and tests, and a failure names the pass and prints the graph.
//!
//! The smallest example: `sum[K](k * S)` over `[H,K]` and `[H,K,V]` arrives as
//! ```text
//!   %2   = mul %0 %1          : [H, K, V] token
//!   %3   = sum[K] %2          : [H, V] token
//! ```
//! and leaves as `contract[K] %0 %1`, which never builds the product.

mod contract;
mod dead;
pub(crate) mod rewrite;

pub use contract::contract_sums;
pub use dead::remove_dead;
pub(crate) use dead::{Kept, remove_dead_and_tell};

use crate::graph::Graph;

/// A pass: name, purpose, function.
pub type Pass = (&'static str, &'static str, fn(&Graph) -> Graph);

/// All passes, in order.
pub const PASSES: &[Pass] = &[
    (
        "remove_dead",
        "drop ops that no output, loss or emit needs, and captures and states that no body needs",
        remove_dead,
    ),
    ("contract_sums", "sums of products become contractions, which never build the product", contract_sums),
];

/// Runs all passes.
///
/// # Panics
/// In debug builds, if a pass breaks an invariant of the graph: a bug of archc.
pub fn optimize(graph: &Graph) -> Graph {
    PASSES.iter().fold(graph.clone(), |before, (name, _, pass)| {
        let after = pass(&before);
        if cfg!(debug_assertions)
            && let Err(why) = crate::graph::verify(&after)
        {
            panic!("archc bug: after pass {name}: {why}\n{}", crate::graph::print(&after));
        }
        after
    })
}
