//! Helpers shared by the areas: sessions, random batches, finite differences.

use crate::agree::lines;
pub use crate::batches::{cotangents, noise, packed, random_batch};
use crate::case::Subject;
use crate::{DTYPES, device};
use archc_compiler::graph::Graph;
use archc_runtime::{
    Batch, BatchShape, Device, Dtype, Forward, Objective, Reference, Session, SessionOptions, Tensor, Tensors,
};
use std::sync::Arc;

pub fn session(graph: &Arc<Graph>, dtype: Dtype) -> Box<dyn Session> {
    let options = SessionOptions { dtype, seed: 7, ..Default::default() };
    device().compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
}

/// A session of the reference in f64.
pub fn reference(graph: &Arc<Graph>) -> Box<dyn Session> {
    let options = SessionOptions { dtype: Dtype::F64, seed: 7, ..Default::default() };
    Reference.compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
}

/// The most exact arithmetic of the device under test.
pub fn exact() -> Dtype {
    *DTYPES.last().expect("a device has an arithmetic")
}

/// A bound on errors relative to the largest element: this one in f64; in f32 the bound of every path.
pub fn within(double: f64) -> f64 {
    if exact() == Dtype::F64 { double } else { 1e-5 }
}

/// Asserts values known by hand: exactly in f64; in f32 functions round to a few units of 6e-8 each.
pub fn known(have: &[f64], want: &[f64], what: &str) {
    let share = if exact() == Dtype::F64 { 0.0 } else { 4e-7 };
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= share * b.abs();
    assert!(have.len() == want.len() && have.iter().zip(want).all(near), "{what}: {have:?}, not {want:?}");
}

fn weighed(forward: &Forward, r: &Tensors) -> f64 {
    forward.outputs.iter().map(|(n, t)| t.data.iter().zip(&r[n].data).map(|(a, b)| a * b).sum::<f64>()).sum()
}

/// Compares every derivative of sum(output * R) with central differences, in f64; those of a device without f64 with the reference, whose
/// own derivatives are tested that way.
///
/// With a step of 1e-5 a difference is off by about 1e-10 (curvature) + 1e-11 (rounding) times the size of the
/// function; 1e-6 leaves room for functions that are steep.
pub fn check_gradients(graph: &Arc<Graph>, batch: &Batch) {
    if exact() == Dtype::F32 {
        let found = Subject::new(&device(), Dtype::F32).compare(graph, batch);
        assert!(found.is_empty(), "{}\n{}", lines(&found), archc_compiler::graph::print(graph));
        return;
    }
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

/// The largest difference of two tensors relative to the largest element.
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
