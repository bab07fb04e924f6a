//! Long sequences: many chunks and tiles, the last one ragged.
//!
//! At 200 tokens both the device and the f64 interpreter of lowered graphs are held against the reference. That runs token by token
//! and builds T x T pairs, so that 500 and 1000 tokens would take it minutes; there the device is held against the interpreter, which has the
//! same chunks but neither the plan, nor the kernels, nor the arithmetic.
//!
//! One program amplifies rounding at 1000 tokens: Momentum is a recurrence of second order that follows its own error; it swings.

use crate::agree::{Bounds, Subject, Wanted};
use crate::batches::random_batch;
use crate::whole::{all, each};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Dtype, Reference};

/// As the interpreter's own tests have them: the same terms in f64 in another order.
const EXACT: Bounds = Bounds { dtype: Dtype::F64, forward: 1e-9, gradient: 1e-9, largest: 1e-8 };

#[test]
fn hundreds_of_tokens() {
    let interpreted = Interpreted::default();
    let exact = Subject { device: &interpreted, bounds: EXACT, amplifying: &[] };
    each(&all(), |subject, graph| {
        let mut found = Vec::new();
        for len in [200, 500, 1000] {
            let subject = subject.but(if len == 1000 { &["Momentum"] } else { &[] });
            let batch = random_batch(graph, 1, len);
            let mut here = Vec::new();
            let wanted = if len == 200 {
                let wanted = Wanted::of(&Reference, Dtype::F32, graph, &batch);
                here.extend(exact.compare_with(&wanted).into_iter().map(|f| format!("interpreted, {f}")));
                wanted
            } else {
                Wanted::of(&interpreted, Dtype::F32, graph, &batch)
            };
            here.extend(subject.compare_with(&wanted));
            found.extend(here.into_iter().map(|f| format!("length {len}, {f}")));
        }
        found
    });
}
