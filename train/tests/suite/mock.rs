//! Mock device on which every graph is one model: logits at a token are a row of a table, looked up by the token and
//! (so that memory helps) the previous token. Softmax regression with a hand-written gradient, and AdamW.

use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Axis, AxisId, Dag, Derived, Graph};
use archc_runtime::{
    Batch, BatchShape, Carry, Device, Dtype, Forward, Gradients, Metrics, Objective, Session, SessionOptions, Snapshot,
    Tensor, Tensors,
};
use std::sync::Arc;

/// Model graph without operations: the mock uses only the size of its vocabulary.
pub fn graph(vocab: usize) -> Arc<Graph> {
    Arc::new(Graph {
        name: "Table".to_owned(),
        axes: vec![Axis { name: "VOCAB".to_owned(), size: vocab, labels: None }],
        params: Vec::new(),
        inputs: Vec::new(),
        dag: Dag::new(),
        outputs: Vec::new(),
        losses: Vec::new(),
        prefix: None,
        vocab: Some(AxisId(0)),
        derived: Derived::default(),
    })
}

/// Fault that the mock simulates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Losses are NaN from this step on.
    NanFrom(u64),
    /// Panics at this step.
    PanicAt(u64),
    /// Logits of another shape.
    WrongShape,
}

#[derive(Default)]
pub struct MockDevice {
    pub fault: Fault,
}

impl Device for MockDevice {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn compile(
        &self,
        graph: &Arc<Graph>,
        _: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic> {
        let vocab = graph.size(graph.vocab.unwrap());
        // Initial values depend on the seed.
        let mut state = options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let data: Vec<f64> = (0..2 * vocab * vocab)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                f64::from(((state >> 40) as f64 / (1u64 << 24) as f64 - 0.5) as f32 * 0.1)
            })
            .collect();
        let table = Tensor { shape: vec![2, vocab, vocab], data };
        let zero = Tensor { shape: table.shape.clone(), data: vec![0.0; table.data.len()] };
        Ok(Box::new(MockSession {
            graph: Arc::clone(graph),
            vocab,
            options: *options,
            first: zero.clone(),
            second: zero,
            table,
            updates: 0,
            fault: self.fault,
        }))
    }
}

struct MockSession {
    graph: Arc<Graph>,
    vocab: usize,
    options: SessionOptions,
    table: Tensor,
    first: Tensor,
    second: Tensor,
    updates: u64,
    fault: Fault,
}

const PATH: &str = "table.weight";

impl MockSession {
    /// Offsets of the rows whose sum is the logits of a token.
    fn rows(&self, batch: &Batch, i: usize) -> Vec<usize> {
        let mut rows = vec![batch.tokens[i] as usize * self.vocab];
        if !i.is_multiple_of(batch.len) && !batch.reset.get(i).is_some_and(|r| *r) {
            rows.push((self.vocab + batch.tokens[i - 1] as usize) * self.vocab);
        }
        rows
    }

    fn logits(&self, batch: &Batch, i: usize) -> Vec<f64> {
        let rows = self.rows(batch, i);
        (0..self.vocab).map(|v| rows.iter().map(|row| self.table.data[row + v]).sum()).collect()
    }

    fn loss_and_gradient(&self, batch: &Batch) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; self.table.data.len()];
        let scored: Vec<usize> = (0..batch.tokens.len()).filter(|&i| batch.mask[i] != 0.0).collect();
        let n = scored.len() as f64;
        let mut loss = 0.0;
        for i in scored {
            let mut p = self.logits(batch, i);
            let top = p.iter().copied().fold(f64::MIN, f64::max);
            p.iter_mut().for_each(|x| *x = (*x - top).exp());
            let sum: f64 = p.iter().sum();
            let target = batch.targets[i] as usize;
            loss -= (p[target] / sum).ln() / n;
            for row in self.rows(batch, i) {
                for v in 0..self.vocab {
                    gradient[row + v] += (p[v] / sum - f64::from(u8::from(v == target))) / n;
                }
            }
        }
        (loss, gradient)
    }
}

impl Session for MockSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn snapshot(&self) -> Result<Snapshot, Diagnostic> {
        let one = |t: &Tensor| Tensors::from([(PATH.to_owned(), t.clone())]);
        Ok(Snapshot {
            params: one(&self.table),
            first: one(&self.first),
            second: one(&self.second),
            step: self.updates,
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        let missing = || Diagnostic::error("E0801", "no table.weight");
        self.table = snapshot.params.get(PATH).ok_or_else(missing)?.clone();
        let zero = Tensor { shape: self.table.shape.clone(), data: vec![0.0; self.table.data.len()] };
        self.first = snapshot.first.get(PATH).unwrap_or(&zero).clone();
        self.second = snapshot.second.get(PATH).unwrap_or(&zero).clone();
        self.updates = snapshot.step;
        Ok(())
    }

    fn forward(&mut self, batch: &Batch, _: Option<&Carry>) -> Result<Forward, Diagnostic> {
        let data = (0..batch.tokens.len()).flat_map(|i| self.logits(batch, i)).collect();
        let mut shape = vec![batch.batch, batch.len, self.vocab];
        if self.fault == Fault::WrongShape {
            shape.pop();
        }
        let logits = Tensor { shape, data };
        Ok(Forward { outputs: Tensors::from([("output".to_owned(), logits)]), carry: Carry::default() })
    }

    fn gradients(&mut self, batch: &Batch, _: Objective<'_>) -> Result<Gradients, Diagnostic> {
        let (objective, gradient) = self.loss_and_gradient(batch);
        let tensor = Tensor { shape: self.table.shape.clone(), data: gradient };
        Ok(Gradients { objective, params: Tensors::from([(PATH.to_owned(), tensor)]), inputs: Tensors::new() })
    }

    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic> {
        assert_ne!(self.fault, Fault::PanicAt(self.updates), "the mock was told to panic");
        let (mut loss, gradient) = self.loss_and_gradient(batch);
        if matches!(self.fault, Fault::NanFrom(step) if self.updates >= step) {
            loss = f64::NAN;
        }
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let metrics = Metrics { loss, objective: loss, gradient_norm: norm };
        if !loss.is_finite() {
            return Ok(metrics);
        }
        let adam = self.options.optimizer;
        let scale = (adam.clip / norm).min(1.0);
        self.updates += 1;
        let t = self.updates as i32;
        let round = |x: f64| if self.options.dtype == Dtype::F32 { f64::from(x as f32) } else { x };
        for (i, g) in gradient.iter().map(|g| g * scale).enumerate() {
            let m = &mut self.first.data[i];
            *m = round(adam.beta1 * *m + (1.0 - adam.beta1) * g);
            let v = &mut self.second.data[i];
            *v = round(adam.beta2 * *v + (1.0 - adam.beta2) * g * g);
            let step = (*m / (1.0 - adam.beta1.powi(t))) / ((*v / (1.0 - adam.beta2.powi(t))).sqrt() + adam.eps);
            let w = &mut self.table.data[i];
            *w = round(*w - learning_rate * (step + adam.weight_decay * *w));
        }
        Ok(metrics)
    }
}
