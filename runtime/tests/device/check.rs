//! What the areas share: sessions, random batches, finite differences.

pub use crate::batches::{cotangents, noise, packed, random_batch};
use crate::device;
use archc_compiler::graph::Graph;
use archc_runtime::{Batch, BatchShape, Device, Dtype, Forward, Objective, Session, SessionOptions, Tensor, Tensors};
use std::sync::Arc;

pub fn session(graph: &Arc<Graph>, dtype: Dtype) -> Box<dyn Session> {
    let options = SessionOptions { dtype, seed: 7, ..Default::default() };
    device().compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
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
