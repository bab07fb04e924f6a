//! The compiler: source -> ast -> hir -> graph -> checked graph.
//!
//! Pure: (sources, options) -> (output, diagnostics). No IO, no environment, no clock, no device.

pub mod checks;
pub mod diag;
pub mod graph;
pub mod ops;
pub mod passes;
pub mod source;
