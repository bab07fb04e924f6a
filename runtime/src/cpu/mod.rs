//! The cpu device: executes the plan of a lowered graph in f32.
//!
//! | file | what |
//! |---|---|
//! | `program` | kernels with their addresses, in order |
//! | `context` | what kernels share while they run; threads |
//! | `product`, `loops` | matrix products; loops and their bodies |
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
mod context;
mod convolution;
mod executor;
mod fused;
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
