//! Threads share the work without changing the arithmetic: any number of threads gives the same bits.

use crate::batches::{cotangents, random_batch};
use crate::device;
use crate::programs::{files, programs};
use archc_runtime::{BatchShape, Device, Gradients, Objective, SessionOptions};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let names = ["Attention", "GLA", "GatedDeltaNet", "RGLRU"];
    for (name, graph) in files("stdlib").iter().flat_map(|f| programs(f)).filter(|p| names.contains(&p.0.as_str())) {
        // large enough that sharing kernels pays off; of 170 rows, the second share of a product would have two
        for (sequences, len) in [(8, 512), (2, 85)] {
            let batch = random_batch(&graph, sequences, len);
            let run = |threads: usize| -> Gradients {
                let options = SessionOptions { threads, ..SessionOptions::default() };
                let mut session = device().compile(&graph, BatchShape { batch: sequences, len }, &options).unwrap();
                let r = cotangents(&session.forward(&batch, None).unwrap());
                session.gradients(&batch, Objective::Cotangents(&r)).unwrap()
            };
            let one = run(1);
            assert!(run(2) == one && run(3) == one, "{name} at {sequences} x {len}");
        }
    }
}
