//! Random batches, the same on every machine.

use archc_compiler::graph::Graph;
use archc_runtime::random::Stream;
use archc_runtime::{Batch, Forward, Tensor, Tensors};

/// Normal random numbers that depend on the name.
pub fn noise(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(&[name.as_bytes()]);
    let data = (0..shape.iter().product()).map(|_| stream.normal_pair()[0]).collect();
    Tensor { shape: shape.to_vec(), data }
}

/// A batch of random inputs (for a block) or tokens and targets (for a model), every sequence one document.
pub fn random_batch(graph: &Graph, batch: usize, len: usize) -> Batch {
    let mut all = Batch { batch, len, ..Default::default() };
    for input in &graph.inputs {
        let axes = input.axes.iter().map(|&a| graph.size(a));
        let shape: Vec<usize> = [batch, len].into_iter().chain(axes).collect();
        all.inputs.insert(input.name.clone(), noise(&input.name, &shape));
    }
    if let Some(vocab) = graph.vocab {
        let mut stream = Stream::new(&[b"tokens"]);
        let mut ids = || (0..batch * len).map(|_| (stream.uniform() * graph.size(vocab) as f64) as u32).collect();
        (all.tokens, all.targets) = (ids(), ids());
    }
    all
}

/// Packs documents into a batch, at different places in different sequences.
pub fn packed(mut batch: Batch) -> Batch {
    batch.reset = (0..batch.batch * batch.len)
        .map(|i| {
            let (b, t) = (i / batch.len, i % batch.len);
            t == 0 || (b == 0 && t == 3) || (b == 1 && (t == 1 || t == 4))
        })
        .collect();
    batch
}

/// Random cotangents for every output.
pub fn cotangents(forward: &Forward) -> Tensors {
    forward.outputs.iter().map(|(name, t)| (name.clone(), noise(&format!("R {name}"), &t.shape))).collect()
}
