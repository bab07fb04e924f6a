//! The cpu device: executes the plan of a lowered graph in f32.
//!
//! | file | what |
//! |---|---|
//! | `program` | kernels with their addresses; products, copies, loops |
//! | `fused` | element-wise ops and sums over blocks that stay in cache |
//! | `attend`, `tile` | tiles with a running softmax |
//! | `convolution`, `single`, `chunk` | kernels of single ops |
//! | `executor` | parameters, moments, and what a session asks of a device |
//! | `profile` | where the time goes |
//!
//! Arithmetic is in `archc-kernels`, which chooses instructions when it runs. Results depend neither on threads nor on what else
//! is in a batch: every number is computed in an order that the plan fixes.
#![allow(unsafe_code)] // values live in one arena, and kernels write parts of it through pointers that the plan checked

mod attend;
mod chunk;
mod convolution;
mod executor;
mod fused;
mod memory;
mod profile;
mod program;
mod single;
mod tile;

pub use executor::{Cpu, CpuExecutor};
pub use profile::Profile;
