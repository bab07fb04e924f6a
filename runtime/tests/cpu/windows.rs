//! Tests of convolutions whose taps are further apart than the sequence is long.

use crate::agree::lines;
use crate::batches::{packed, random_batch};
use crate::case::Subject;
use crate::device;
use crate::programs::compiled;
use archc_runtime::Dtype;

/// A convolution with this step between taps: from some step on, only the first tap reads a token.
fn far(taps: usize, step: usize) -> String {
    format!(
        "block Far[D](W = {taps}) {{
    input x[D]

    param filter[D, W] = normal(0.5)
    output sum[W](filter * window[W](x, step = {step}))
}}"
    )
}

#[test]
fn steps_beyond_the_sequence() {
    let tested = device();
    let subject = Subject::new(&tested, Dtype::F32);
    for (taps, step) in [(3, 2), (3, 40), (9, 8), (3, 3000)] {
        let text = far(taps, step);
        let graph = compiled("window.arch", &text, &[("D", 16)]);
        for len in [1, 20, 70] {
            let batch = random_batch(&graph, 2, len);
            let mut found = subject.compare(&graph, &batch);
            found.extend(subject.compare(&graph, &packed(batch)));
            assert!(found.is_empty(), "length {len} of\n{text}\n{}", lines(&found));
        }
    }
}
