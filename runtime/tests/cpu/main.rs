//! Tests of the cpu device: all tests of the reference device, and the shipped programs compared with the reference in
//! f64.

#[path = "../lowered/affine.rs"]
mod affine;
mod attends;
#[path = "../device/border.rs"]
mod border;
#[path = "../device/build.rs"]
mod build;
mod carries;
#[path = "../device/check.rs"]
mod check;
#[path = "../device/decode.rs"]
mod decode;
#[path = "../device/fixtures.rs"]
mod fixtures;
#[path = "../device/limits.rs"]
mod limits;
mod long;
#[path = "../device/ops.rs"]
mod ops;
#[path = "../device/optimizer.rs"]
mod optimizer;
mod prepared;
#[path = "../device/programs.rs"]
mod programs;
#[path = "../device/refuse.rs"]
mod refuse;
mod threads;
#[path = "../device/time.rs"]
mod time;
#[path = "../device/training.rs"]
mod training;
#[path = "../lowered/whole.rs"]
mod whole;
mod windows;

use archc_runtime::{Cpu, Device, Dtype};
use archc_selftest::{agree, batches, case, pieces};

/// The device under test.
fn device() -> Cpu {
    Cpu::default()
}

/// The device under test with another chunk length.
fn chunked(chunk: usize) -> Box<dyn Device> {
    Box::new(Cpu { chunk })
}

/// The arithmetic of the device.
const DTYPES: &[Dtype] = &[Dtype::F32];

/// A factor of inputs at which gates reach their bounds.
const LARGE: f64 = 30.0;
