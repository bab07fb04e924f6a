//! Tests of long sequences: many chunks and tiles, the last one ragged.
//!
//! At 200 tokens both the device and the f64 interpreter of lowered graphs are compared with the reference. The reference runs token by
//! token and builds T x T pairs, so that 500 and 1000 tokens would take it minutes; there the device is compared with the interpreter,
//! which has the same chunks but a different plan, kernels and arithmetic.

use crate::agree::named;
use crate::batches::random_batch;
use crate::case::{Subject, Wanted};
use crate::whole::{all, each};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Dtype, Reference};

#[test]
fn hundreds_of_tokens() {
    let interpreted = Interpreted::default();
    let exact = Subject::new(&interpreted, Dtype::F64);
    each(&all(), |subject, graph| {
        let mut found = Vec::new();
        for len in [200, 500, 1000] {
            let batch = random_batch(graph, 1, len);
            let mut here = Vec::new();
            let wanted = if len == 200 {
                let wanted = Wanted::of(&Reference, Dtype::F32, graph, &batch);
                here.extend(named(exact.compare_with(&wanted), "interpreted"));
                wanted
            } else {
                Wanted::of(&interpreted, Dtype::F32, graph, &batch)
            };
            here.extend(subject.compare_with(&wanted));
            found.extend(named(here, &format!("length {len}")));
        }
        found
    });
}
