//! Tests of lowered graphs: everything that holds for the reference device holds for their interpreter, and the two
//! agree.

mod agree;
mod attends;
#[path = "../device/build.rs"]
mod build;
#[path = "../device/check.rs"]
mod check;
mod closed;
#[path = "../device/decode.rs"]
mod decode;
#[path = "../device/fixtures.rs"]
mod fixtures;
mod hand;
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

/// The device under test.
fn device() -> Interpreted {
    Interpreted::default()
}
