//! Tests of the reference device: one binary, a module an area. The same areas are held to other devices elsewhere.

mod batches;
mod build;
mod check;
mod decode;
mod fixtures;
mod init;
mod limits;
mod ops;
mod optimizer;
mod pieces;
mod programs;
mod refuse;
mod source;
mod time;
mod training;

use archc_runtime::Reference;

/// The device under test.
fn device() -> Reference {
    Reference
}
