//! Devices: they run what the compiler gives.
//!
//! One trait for all: [`Device::compile`] specialises a graph for a batch shape and gives a [`Session`].

pub mod session;

pub use session::*;
