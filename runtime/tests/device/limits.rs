//! What the reference device cannot hold.

use crate::check::{random_batch, session};
use crate::time::mixed;
use archc_runtime::Dtype;

#[test]
fn more_pairs_than_memory() {
    let graph = mixed();
    let long = random_batch(&graph, 1, 50_000);
    assert_eq!(session(&graph, Dtype::F32).forward(&long, None).unwrap_err().code, "E0801");
}
