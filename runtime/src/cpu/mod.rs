//! The cpu device: executes the plan of a lowered graph in f32.
//!
//! | file | what |
//! |---|---|
//! | `program` | kernels with resolved addresses, in order |
//! | `context` | state that kernels share while they run; threads |
//! | `product`, `loops` | matrix products; loops and their bodies |
//! | `fused` | element-wise ops and sums over blocks that stay in cache |
//! | `attend`, `tile` | attends in tiles with an online softmax |
//! | `convolution`, `single`, `chunk`, `long_conv` | kernels of single ops |
//! | `update` | the norm of all gradients, AdamW |
//! | `executor` | parameters, moments, and the executor interface of a session |
//! | `profile` | time by kind of kernel |
//!
//! Arithmetic is in `archc-kernels`, which selects the instruction set at run time. Results depend neither on the number of threads nor on
//! the other sequences of a batch: every element is computed in an order that the plan fixes.
#![allow(unsafe_code)] // values live in one arena, and kernels write parts of it through pointers that the plan checked

mod attend;
mod chunk;
mod context;
mod convolution;
#[cfg(test)]
mod definitions;
mod executor;
mod fused;
mod long_conv;
mod loops;
mod memory;
mod product;
mod profile;
mod program;
mod single;
mod tile;
mod update;

pub use executor::{Cpu, CpuExecutor};
pub use profile::Profile;
