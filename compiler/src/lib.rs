//! The compiler: source -> ast -> hir -> graph -> checked graph.
//!
//! Pure: (sources, options) -> (output, diagnostics). No IO, no environment, no clock, no device.

pub mod checks;
pub mod diag;
mod driver;
pub mod elaborate;
pub mod graph;
pub mod hir;
pub mod hash;
pub mod ops;
pub mod passes;
pub mod source;
pub mod stdlib;

pub use driver::{COST_TOKENS, Compilation, Options, compile, targets};
pub use elaborate::{DEFAULT_D, Sizes};
