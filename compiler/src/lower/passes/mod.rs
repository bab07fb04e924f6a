//! Passes over lowered graphs, each a free function that preserves the graph's results.
//!
//! [`PASSES`] is the list in the order in which lowering runs it; the verifier runs after each one in debug builds and
//! tests, and a failure names the pass and prints the graph.

mod rewrite;
mod share;
mod simplify;
mod sink;
mod unmap;

pub use share::share;
pub use simplify::simplify;
pub use sink::sink_into_loops;
pub use unmap::unmap;

use crate::lowered::{Lowered, print, remove_dead, verify};
use crate::target::Target;

/// A pass: name, purpose, function.
pub type Pass = (&'static str, &'static str, fn(Lowered) -> Lowered);

/// All passes for targets that map loops, in order.
pub const PASSES: &[Pass] = &[
    ("remove_dead", "drop values that no root needs, and what loops carry, read and give out in vain", remove_dead),
    ("simplify", "drop what changes nothing; sums of products become contractions", simplify),
    ("share", "compute equal ops once", share),
    ("sink_into_loops", "compute wide values a chunk at a time, in the loop that reads them", sink_into_loops),
    ("remove_dead", "drop what is left over", remove_dead),
];

/// The same for targets that do not.
pub const UNMAPPED: &[Pass] = &[
    PASSES[0],
    PASSES[1],
    PASSES[2],
    (
        "unmap",
        "run loops on all indices of their mapped dimensions at once, and only what depends on their states",
        unmap,
    ),
    PASSES[2],
    PASSES[4],
];

/// Runs all passes for a target.
///
/// # Panics
/// In debug builds, if lowering or a pass breaks an invariant of the graph: a bug of archc.
pub fn optimize(lowered: Lowered, target: Target) -> Lowered {
    checked("lowering", &lowered);
    let passes = if target.mapped { PASSES } else { UNMAPPED };
    passes.iter().fold(lowered, |before, (name, _, pass)| {
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
