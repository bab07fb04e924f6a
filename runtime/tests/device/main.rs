//! Tests of the reference device: one binary, one module per area. The same areas are tested on other devices elsewhere.

mod border;
mod build;
mod check;
mod decode;
mod fixtures;
mod init;
mod limits;
mod ops;
mod optimizer;
mod programs;
mod refuse;
mod source;
mod time;
mod training;

use archc_runtime::{Dtype, Reference};
use archc_selftest::{agree, batches, case, pieces};

/// The device under test.
fn device() -> Reference {
    Reference
}

/// The arithmetics of the device, the most exact one last.
const DTYPES: &[Dtype] = &[Dtype::F32, Dtype::F64];
