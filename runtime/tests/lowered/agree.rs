//! Agreement of a device with the reference: outputs, every gradient, pieces, training steps.
#![allow(clippy::neg_cmp_op_on_partial_ord)] // not a number is off, too

use crate::batches::{cotangents, random_batch};
use crate::pieces::in_pieces;
use archc_compiler::graph::Graph;
use archc_runtime::{
    Batch, BatchShape, Device, Dtype, Forward, Gradients, Objective, Reference, Session, SessionOptions, Snapshot,
    Tensor, Tensors,
};
use std::sync::Arc;

/// How far a device may be off.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub dtype: Dtype,
    /// Of outputs: root mean square of the error relative to that of the output.
    pub forward: f64,
    /// Of each gradient, likewise.
    pub gradient: f64,
    /// Of each gradient: the largest error relative to the largest number.
    pub largest: f64,
}

/// A device under test with its bounds.
pub struct Subject<'a> {
    pub device: &'a dyn Device,
    pub bounds: Bounds,
    /// Programs that amplify rounding so much that the reference in f32 misses the bounds, too. Of these, and of no others, what f32 does
    /// to the reference itself is no fault of a device, nor is [`AMPLIFIED`] times that: its functions round to a few units where candle's
    /// round to one. Each test that names one says why.
    pub amplifying: &'static [&'static str],
}

impl<'a> Subject<'a> {
    /// With programs that amplify rounding.
    pub fn but(&self, amplifying: &'static [&'static str]) -> Subject<'a> {
        Subject { device: self.device, bounds: self.bounds, amplifying }
    }
}

/// Root mean square and largest number of the difference, each relative to that of what is wanted.
///
/// What should be 0 by cancellation is not to the last bit: numbers below `floor` count as `floor`.
fn errors(have: &Tensor, want: &Tensor, floor: f64) -> [f64; 2] {
    assert_eq!(have.shape, want.shape);
    let count = want.data.len().max(1) as f64;
    let rms = |x: &mut dyn Iterator<Item = f64>| (x.map(|x| x * x).sum::<f64>() / count).sqrt();
    let top = |x: &mut dyn Iterator<Item = f64>| x.fold(0.0f64, |m, x| if x.is_nan() { x } else { m.max(x.abs()) });
    let mut difference = have.data.iter().zip(&want.data).map(|(a, b)| a - b);
    let mut wanted = want.data.iter().copied();
    let square = rms(&mut difference.clone()) / rms(&mut wanted.clone()).max(floor);
    [square, top(&mut difference) / top(&mut wanted).max(floor)]
}

/// See [`Subject::amplifying`].
const AMPLIFIED: f64 = 4.0;

/// What a finding is about, and its two errors.
fn measured(finding: &str) -> Option<(&str, f64, f64)> {
    let (what, numbers) = finding.split_once(": relative RMS ")?;
    let (square, top) = numbers.split_once(", largest ")?;
    Some((what, square.parse().ok()?, top.parse().ok()?))
}

fn largest(all: &Tensors) -> f64 {
    all.values().flat_map(|t| &t.data).fold(0.0f64, |m, x| m.max(x.abs()))
}

pub fn session(device: &dyn Device, graph: &Arc<Graph>, dtype: Dtype) -> Box<dyn Session> {
    let options = SessionOptions { dtype, seed: 7, ..Default::default() };
    device.compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
}

fn round(batch: &mut Batch, dtype: Dtype) {
    if dtype == Dtype::F32 {
        batch.inputs.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = f64::from(*x as f32));
    }
}

fn objective<'a>(what: &str, r: &'a Tensors) -> Objective<'a> {
    if what == "R" { Objective::Cotangents(r) } else { Objective::Loss }
}

/// What a device computes for one batch in f64: what others are held against.
pub struct Wanted<'a> {
    device: &'a dyn Device,
    graph: Arc<Graph>,
    batch: Batch,
    params: Snapshot,
    forward: Forward,
    /// Weights of the outputs.
    r: Tensors,
    /// By objective.
    gradients: Vec<(&'static str, Gradients)>,
}

impl<'a> Wanted<'a> {
    /// Of numbers that are exact in an arithmetic.
    pub fn of(device: &'a dyn Device, dtype: Dtype, graph: &Arc<Graph>, batch: &Batch) -> Self {
        let mut batch = batch.clone();
        round(&mut batch, dtype);
        let params = session(device, graph, dtype).snapshot().unwrap();
        let mut reference = session(device, graph, Dtype::F64);
        reference.restore(&params).unwrap();
        let forward = reference.forward(&batch, None).unwrap();
        let mut r = cotangents(&forward);
        r.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = f64::from(*x as f32));
        let mut objectives = vec!["R"];
        if graph.vocab.is_some() || !graph.losses.is_empty() {
            objectives.push("loss");
        }
        let gradients = objectives
            .into_iter()
            .map(|what| (what, reference.gradients(&batch, objective(what, &r)).unwrap()))
            .collect();
        Self { device, graph: graph.clone(), batch, params, forward, r, gradients }
    }
}

impl Subject<'_> {
    /// Sessions of the reference in f64 and of the device, at the same parameters.
    fn sessions(&self, graph: &Arc<Graph>) -> (Box<dyn Session>, Box<dyn Session>) {
        let have = self.session(graph);
        let mut want = session(&Reference, graph, Dtype::F64);
        want.restore(&have.snapshot().unwrap()).unwrap();
        (want, have)
    }

    fn session(&self, graph: &Arc<Graph>) -> Box<dyn Session> {
        session(self.device, graph, self.bounds.dtype)
    }

    fn round(&self, batch: &mut Batch) {
        round(batch, self.bounds.dtype);
    }

    pub fn check_all(
        &self,
        what: &str,
        have: &Tensors,
        want: &Tensors,
        bound: f64,
        largest_bound: f64,
        found: &mut Vec<String>,
    ) {
        // In f64 1e-16 of the largest number around is what a sum that cancels may leave; 1e-9 of this floor is less.
        let floor = largest(want) * if self.bounds.dtype == Dtype::F64 { 1e-6 } else { 1e-3 };
        assert_eq!(have.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
        for (name, want) in want {
            let [square, top] = errors(&have[name], want, floor.max(1e-300));
            if !(square <= bound && top <= largest_bound) {
                found.push(format!("{what} {name}: relative RMS {square:.1e}, largest {top:.1e}"));
            }
        }
    }

    /// Outputs, carries and every gradient for one batch against the reference; gives what is off.
    pub fn compare(&self, graph: &Arc<Graph>, batch: &Batch) -> Vec<String> {
        self.compare_with(&Wanted::of(&Reference, self.bounds.dtype, graph, batch))
    }

    /// The same against what was computed before.
    pub fn compare_with(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let mut found = self.compared(wanted);
        if self.bounds.dtype == Dtype::F32 && !found.is_empty() && self.amplifying.contains(&wanted.graph.name.as_str())
        {
            let everything = Bounds { forward: -1.0, gradient: -1.0, largest: -1.0, ..self.bounds };
            let own = Subject { device: wanted.device, bounds: everything, amplifying: &[] }.compared(wanted);
            let excused = |f: &String| {
                let Some((what, square, top)) = measured(f) else { return false };
                own.iter()
                    .filter_map(|o| measured(o))
                    .any(|(of, s, t)| of == what && square <= AMPLIFIED * s && top <= AMPLIFIED * t)
            };
            found.retain(|f| !excused(f));
        }
        found
    }

    fn compared(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let Wanted { graph, batch, forward: want, r, .. } = wanted;
        let mut found = Vec::new();
        let mut device = self.session(graph);
        device.restore(&wanted.params).unwrap();
        let have = match device.forward(batch, None) {
            Ok(have) => have,
            Err(e) => return vec![format!("forward: {}", e.message)],
        };
        let Bounds { forward, gradient, largest, .. } = self.bounds;
        self.check_all("output", &have.outputs, &want.outputs, forward, f64::INFINITY, &mut found);
        assert_eq!(have.carry.0["pos"], want.carry.0["pos"]);
        // Outputs off by a fraction of their norm move the sum of output * R by that fraction of this, at most.
        let norm = |all: &Tensors| all.values().flat_map(|t| &t.data).map(|x| x * x).sum::<f64>().sqrt();
        let reach = norm(&want.outputs) * norm(r);
        for (what, want) in &wanted.gradients {
            match device.gradients(batch, objective(what, r)) {
                Ok(have) => {
                    let scale = want.objective.abs().max(if *what == "R" { reach } else { 0.0 });
                    if !((have.objective - want.objective).abs() <= forward * scale) {
                        found.push(format!("{what}: the objective is {}, not {}", have.objective, want.objective));
                    }
                    self.check_all(&format!("d{what}/d"), &have.params, &want.params, gradient, largest, &mut found);
                    self.check_all(&format!("d{what}/d"), &have.inputs, &want.inputs, gradient, largest, &mut found);
                }
                Err(e) => found.push(format!("gradients of {what}: {}", e.message)),
            }
        }
        found
    }

    /// The sequence in pieces that end at `ends` against the whole sequence of the reference.
    pub fn compare_pieces(&self, graph: &Arc<Graph>, batch: &Batch, ends: &[usize]) -> Vec<String> {
        let mut batch = batch.clone();
        self.round(&mut batch);
        let (mut reference, mut device) = self.sessions(graph);
        let want = reference.forward(&batch, None).unwrap().outputs;
        let mut found = Vec::new();
        let have = in_pieces(&mut device, &batch, ends);
        self.check_all(&format!("pieces {ends:?}"), &have, &want, self.bounds.forward, f64::INFINITY, &mut found);
        found
    }

    /// What comes later and what other sequences hold changes nothing.
    pub fn independent(&self, graph: &Arc<Graph>, len: usize) -> Vec<String> {
        let mut batch = random_batch(graph, 2, len);
        self.round(&mut batch);
        let mut other = batch.clone();
        let keep = len / 2;
        // the second half of the first sequence and all of the second become something else
        for tensor in other.inputs.values_mut() {
            let width = tensor.data.len() / (2 * len);
            tensor.data[keep * width..].iter_mut().for_each(|x| *x = 0.5 - *x);
        }
        let vocab = graph.vocab.map_or(1, |v| graph.size(v)) as u32;
        other.tokens.iter_mut().skip(keep).for_each(|t| *t = (*t + 1) % vocab);
        let (_, mut device) = self.sessions(graph);
        let [first, second] = [&batch, &other].map(|b| {
            let outputs = device.forward(b, None).unwrap().outputs;
            let head = |t: Tensor| {
                let width = t.data.len() / (2 * len);
                Tensor { shape: vec![keep * width], data: t.data[..keep * width].to_vec() }
            };
            outputs.into_iter().map(|(n, t)| (n, head(t))).collect::<Tensors>()
        });
        let mut found = Vec::new();
        self.check_all("with another future,", &first, &second, self.bounds.forward, f64::INFINITY, &mut found);
        found
    }

    /// Two training steps with dropout: metrics and what becomes of the parameters.
    pub fn compare_steps(&self, graph: &Arc<Graph>, len: usize) -> Vec<String> {
        let batch = random_batch(graph, 2, len);
        let (mut reference, mut device) = self.sessions(graph);
        let mut found = Vec::new();
        for number in 0..2 {
            let want = reference.step(&batch, 1e-2).unwrap();
            let have = match device.step(&batch, 1e-2) {
                Ok(have) => have,
                Err(e) => return vec![format!("step: {}", e.message)],
            };
            for (what, have, want) in [
                ("loss", have.loss, want.loss),
                ("objective", have.objective, want.objective),
                ("gradient norm", have.gradient_norm, want.gradient_norm),
            ] {
                if !((have - want).abs() <= self.bounds.gradient * want.abs().max(1e-3)) {
                    found.push(format!("step {number}: the {what} is {have}, not {want}"));
                }
            }
        }
        let (Snapshot { first: have, step, .. }, want) = (device.snapshot().unwrap(), reference.snapshot().unwrap());
        assert_eq!((step, want.step), (2, 2));
        // The first moment holds the gradients; parameters move by its sign almost, which rounding may turn.
        self.check_all(
            "after two steps, moment of",
            &have,
            &want.first,
            10.0 * self.bounds.gradient,
            f64::INFINITY,
            &mut found,
        );
        found
    }
}

#[test]
fn errors_are_relative_to_what_is_wanted() {
    let tensor = |data: &[f64]| Tensor { shape: vec![data.len()], data: data.to_vec() };
    let [square, top] = errors(&tensor(&[3.0, 4.5]), &tensor(&[3.0, 4.0]), 1e-9);
    assert!((square - 0.1).abs() < 1e-15 && (top - 0.125).abs() < 1e-15);
    assert_eq!(errors(&tensor(&[1e-9]), &tensor(&[0.0]), 1e-3), [1e-6; 2]);
    assert!(errors(&tensor(&[f64::NAN]), &tensor(&[0.0]), 1e-3).iter().all(|e| e.is_nan()));
}
