//! What the areas share: sessions, random batches, finite differences.

use crate::device;
use archc_compiler::graph::Graph;
use archc_runtime::random::Stream;
use archc_runtime::{Batch, BatchShape, Device, Dtype, Forward, Objective, Session, SessionOptions, Tensor, Tensors};
use std::sync::Arc;

pub fn session(graph: &Arc<Graph>, dtype: Dtype) -> Box<dyn Session> {
    let options = SessionOptions { dtype, seed: 7, ..Default::default() };
    device().compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
}

/// Normal numbers that depend on the name.
pub fn noise(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(&[name.as_bytes()]);
    let data = (0..shape.iter().product()).map(|_| stream.normal_pair()[0]).collect();
    Tensor { shape: shape.to_vec(), data }
}

/// Random inputs (for a block) or tokens and targets (for a model), every sequence one document.
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

/// The same with documents packed at different places in different sequences.
pub fn packed(mut batch: Batch) -> Batch {
    batch.reset = (0..batch.batch * batch.len)
        .map(|i| {
            let (b, t) = (i / batch.len, i % batch.len);
            t == 0 || (b == 0 && t == 3) || (b == 1 && (t == 1 || t == 4))
        })
        .collect();
    batch
}

/// Weights for every output.
pub fn cotangents(forward: &Forward) -> Tensors {
    forward.outputs.iter().map(|(name, t)| (name.clone(), noise(&format!("R {name}"), &t.shape))).collect()
}

fn weighed(forward: &Forward, r: &Tensors) -> f64 {
    forward.outputs.iter().map(|(n, t)| t.data.iter().zip(&r[n].data).map(|(a, b)| a * b).sum::<f64>()).sum()
}

/// Holds every derivative of sum(output * R) against central differences, in f64.
///
/// With a step of 1e-5 a difference is off by about 1e-10 (curvature) + 1e-11 (rounding) times the size of the
/// function; 1e-6 leaves room for functions that are steep.
pub fn check_gradients(graph: &Arc<Graph>, batch: &Batch) {
    let mut session = session(graph, Dtype::F64);
    let r = cotangents(&session.forward(batch, None).unwrap());
    let gradients = session.gradients(batch, Objective::Cotangents(&r)).unwrap();
    let start = session.snapshot().unwrap();
    let objective = |s: &mut Box<dyn Session>, b: &Batch| weighed(&s.forward(b, None).unwrap(), &r);
    assert!((gradients.objective - objective(&mut session, batch)).abs() < 1e-9 * (1.0 + gradients.objective.abs()));
    let step = 1e-5;
    let largest = gradients.params.values().chain(gradients.inputs.values()).flat_map(|t| &t.data);
    let scale = largest.fold(1.0f64, |m, x| m.max(x.abs()));
    let mut nonzero = 0;
    for (path, gradient) in &gradients.params {
        for i in 0..gradient.data.len() {
            let mut at = |by: f64| {
                let mut moved = start.clone();
                moved.params.get_mut(path).unwrap().data[i] += by;
                session.restore(&moved).unwrap();
                objective(&mut session, batch)
            };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            let error = (difference - gradient.data[i]).abs();
            assert!(error < 1e-6 * scale, "{path}[{i}]: {} by gradient, {difference} by difference", gradient.data[i]);
            nonzero += usize::from(gradient.data[i] != 0.0);
        }
    }
    session.restore(&start).unwrap();
    for (name, gradient) in &gradients.inputs {
        for i in 0..gradient.data.len() {
            let mut at = |by: f64| {
                let mut moved = batch.clone();
                moved.inputs.get_mut(name).unwrap().data[i] += by;
                objective(&mut session, &moved)
            };
            let difference = (at(step) - at(-step)) / (2.0 * step);
            let error = (difference - gradient.data[i]).abs();
            assert!(error < 1e-6 * scale, "{name}[{i}]: {} by gradient, {difference} by difference", gradient.data[i]);
            nonzero += usize::from(gradient.data[i] != 0.0);
        }
    }
    assert!(nonzero > 0, "a gradient of zeros tests nothing");
}

/// The largest difference of two tensors relative to the largest number.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape, b.shape);
    let size = a.data.iter().chain(&b.data).fold(1e-300f64, |m, x| m.max(x.abs()));
    a.data.iter().zip(&b.data).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / size
}

/// Root mean square of the difference relative to that of `b`.
pub fn relative_rms(a: &Tensor, b: &Tensor) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = a.data.iter().zip(&b.data).map(|(x, y)| square(x - y)).sum();
    (error / b.data.iter().map(|x| square(*x)).sum::<f64>()).sqrt()
}
