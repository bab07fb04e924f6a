//! Passes over lowered graphs, each a free function that preserves the graph's results.
//!
//! [`PASSES`] is the list in the order in which lowering runs it; the verifier runs after each one in debug builds and
//! tests, and a failure names the pass and prints the graph.

mod rewrite;
mod share;
mod simplify;
mod sink;

pub use share::share;
pub use simplify::simplify;
pub use sink::sink_into_loops;

use crate::lowered::{Lowered, print, remove_dead, verify};

/// A pass: name, purpose, function.
pub type Pass = (&'static str, &'static str, fn(Lowered) -> Lowered);

/// All passes, in order.
pub const PASSES: &[Pass] = &[
    ("remove_dead", "drop values that no root needs, and what loops carry, read and give out in vain", remove_dead),
    ("simplify", "drop what changes nothing; sums of products become contractions", simplify),
    ("share", "compute equal ops once", share),
    ("sink_into_loops", "compute wide values a chunk at a time, in the loop that reads them", sink_into_loops),
    ("remove_dead", "drop what is left over", remove_dead),
];

/// Runs all passes.
///
/// # Panics
/// In debug builds, if lowering or a pass breaks an invariant of the graph: a bug of archc.
pub fn optimize(lowered: Lowered) -> Lowered {
    checked("lowering", &lowered);
    PASSES.iter().fold(lowered, |before, (name, _, pass)| {
        let after = pass(before);
        checked(name, &after);
        after
    })
}

fn checked(after: &str, lowered: &Lowered) {
    if cfg!(debug_assertions)
        && let Err(why) = verify(lowered)
    {
        panic!("archc bug: after {after}: {why}\n{}", print(lowered));
    }
}
