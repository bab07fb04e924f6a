//! Tests of the cpu device: the programs that ship, against the reference in f64.

#[path = "../lowered/affine.rs"]
mod affine;
#[path = "../lowered/agree.rs"]
mod agree;
mod attends;
#[path = "../device/batches.rs"]
mod batches;
mod carries;
mod long;
#[path = "../device/pieces.rs"]
mod pieces;
mod prepared;
#[path = "../device/programs.rs"]
mod programs;
mod threads;
#[path = "../lowered/whole.rs"]
mod whole;
mod windows;

use agree::Bounds;
use archc_runtime::{Cpu, Device, Dtype};

/// The device under test.
fn device() -> Cpu {
    Cpu::default()
}

/// The same with other chunks.
fn chunked(chunk: usize) -> Box<dyn Device> {
    Box::new(Cpu { chunk })
}

/// What every f32 path has to hold: f32 rounds at 6e-8, and some hundred roundings add up; gates sum terms that nearly
/// cancel, so their largest error counts too.
const BOUNDS: Bounds = Bounds { dtype: Dtype::F32, forward: 1e-5, gradient: 1e-4, largest: 1e-3 };

/// A factor of inputs at which gates are at their bounds.
const LARGE: f64 = 30.0;
