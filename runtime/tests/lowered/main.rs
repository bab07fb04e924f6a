//! Tests of lowered graphs: all tests of the reference device on their interpreter, and the agreement of the two.

mod affine;
mod attends;
#[path = "../device/border.rs"]
mod border;
#[path = "../device/build.rs"]
mod build;
#[path = "../device/check.rs"]
mod check;
mod closed;
mod coverage;
#[path = "../device/decode.rs"]
mod decode;
#[path = "../device/fixtures.rs"]
mod fixtures;
mod hand;
#[path = "../device/limits.rs"]
mod limits;
#[path = "../device/ops.rs"]
mod ops;
#[path = "../device/optimizer.rs"]
mod optimizer;
#[path = "../device/programs.rs"]
mod programs;
#[path = "../device/refuse.rs"]
mod refuse;
#[path = "../device/time.rs"]
mod time;
#[path = "../device/training.rs"]
mod training;
mod whole;

use archc_runtime::compiled::Interpreted;
use archc_runtime::{Device, Dtype};
use archc_selftest::{agree, batches, case, pieces};

/// The device under test.
fn device() -> Interpreted {
    Interpreted::default()
}

/// The device under test with another chunk length.
fn chunked(chunk: usize) -> Box<dyn Device> {
    Box::new(Interpreted { chunk, ..Interpreted::default() })
}

/// The arithmetics of the device, the most exact one last.
const DTYPES: &[Dtype] = &[Dtype::F32, Dtype::F64];

/// A factor of inputs at which gates reach their bounds.
const LARGE: f64 = 30.0;
