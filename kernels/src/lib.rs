//! The arithmetic of the cpu device: f32, one thread per call, deterministic.
//!
//! Every function is compiled for several instruction sets (AVX-512, AVX2 with FMA, and whatever the target always has:
//! SSE2 or NEON) and picks the best one that the machine has at run time ([`Level`]). On one machine the same
//! arguments give the same bits: no result depends on alignment, on the address, or on other threads.
//!
//! # Unsafe
//! Intrinsics are unsafe by nature, and the plan's executor keeps all values in one arena, in which operands are pointers with strides and
//! a result may take the place of an operand. One contract holds for all unsafe functions here:
//! - every element that the arguments describe lies inside of live memory, initialised where it is read;
//! - results overlap no operand, except where a function says that they may be the same memory.
//!
//! Pointers need no alignment beyond that of f32. Strides count elements.
#![allow(clippy::needless_range_loop)] // loops over constant counts unroll into registers
#![allow(clippy::excessive_precision)] // coefficients keep the digits to which they were fitted

mod isa;
mod room;
mod vector;

pub mod attend;
pub mod chunk;
pub mod conv;
pub mod copy;
pub mod cross_entropy;
pub mod elementwise;
pub mod embed;
pub mod gemm;
mod lines;
pub mod long_conv;
pub mod optimizer;
pub mod rows;

pub use isa::{Level, best, level, limit};
