//! Devices: they run the graphs of the compiler.
//!
//! One trait for all: [`Device::compile`] specialises a graph for a batch shape and returns a [`Session`], which has
//! parameters, runs forward (with a carry, so that decoding is forward on one token), differentiates and trains. The
//! parts that all devices share are here too: initial values of parameters ([`initial_params`]), random numbers that
//! depend on names alone ([`random`]), AdamW, and safetensors files ([`io`]).
//!
//! The [`Reference`] device runs the source graph, slow and obviously right. [`compiled`] devices run lowered graphs;
//! [`compiled::Interpreted`] does so op by op.

mod batch;
mod carry;
mod checks;
mod codes;
pub mod compiled;
pub mod cpu;
mod errors;
pub mod guard;
mod init;
pub mod interpret;
pub mod io;
mod number;
mod optimizer;
mod pieces;
pub mod random;
pub mod reference;
pub mod session;

pub use checks::misfits;
pub use codes::CODES;
pub use cpu::Cpu;
pub use init::initial_params;
pub use io::{read_tensors, write_tensors};
pub use reference::{Moved, Origin, Reference, keep_to_one_thread};
pub use session::*;
