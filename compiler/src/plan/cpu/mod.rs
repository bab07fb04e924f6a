//! Bodies of loops and attends on the cpu device: scopes of kernels over an arena of their own, one for each index of the mapped
//! dimensions.
//!
//! The rest of a plan holds for every device; the body of a [`LoopKernel`](super::LoopKernel) and all of an [`AttendKernel`] are specific
//! to this device.

mod attend;
mod attend_kernel;
mod loops;

pub use attend_kernel::{AttendGradKernel, AttendKernel, TileEmit, TilePort, TileSum};
