//! Sizes that exceed the reference device but not others.

use crate::check::{random_batch, session};
use crate::device;
use crate::time::{mixed, scored};
use archc_runtime::{Device, Dtype};

/// The pairs of 50,000 tokens exceed the limit of the reference; devices with tiles materialise no such value.
#[test]
fn more_pairs_than_memory() {
    let (pairs, near) = (mixed(), scored(Some(3.0), false));
    if device().name() == "reference" {
        for graph in [&pairs, &near] {
            let long = random_batch(graph, 1, 50_000);
            assert_eq!(session(graph, Dtype::F32).forward(&long, None).unwrap_err().code, "E0801");
        }
        return;
    }
    // the interpreter takes a second for a thousand tokens
    let len = if device().name() == "lowered" { 2000 } else { 50_000 };
    let long = session(&near, Dtype::F32).forward(&random_batch(&near, 1, len), None).unwrap();
    assert!(long.outputs.values().all(|t| t.data.iter().all(|x| x.is_finite())));
}
