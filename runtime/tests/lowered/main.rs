//! Tests of lowered graphs: everything that holds for the reference device holds for their interpreter, and the two
//! agree.

mod affine;
mod agree;
mod attends;
#[path = "../device/batches.rs"]
mod batches;
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
#[path = "../device/ops.rs"]
mod ops;
#[path = "../device/optimizer.rs"]
mod optimizer;
#[path = "../device/pieces.rs"]
mod pieces;
#[path = "../device/programs.rs"]
mod programs;
#[path = "../device/refuse.rs"]
mod refuse;
#[path = "../device/time.rs"]
mod time;
#[path = "../device/training.rs"]
mod training;
mod whole;

use agree::Bounds;
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Device, Dtype};

/// The device under test.
fn device() -> Interpreted {
    Interpreted::default()
}

/// The same with other chunks.
fn chunked(chunk: usize) -> Box<dyn Device> {
    Box::new(Interpreted { chunk })
}

/// Both sides sum the same terms in f64 in other orders, and decays are sums of logarithms on one side and products on the
/// other: 1e-16 a term, some thousand terms.
const BOUNDS: Bounds = Bounds { dtype: Dtype::F64, forward: 1e-9, gradient: 1e-9, largest: 1e-8 };

/// A factor of inputs at which gates are at their bounds.
const LARGE: f64 = 30.0;
