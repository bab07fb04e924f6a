//! What every device offers: compile a graph for a batch shape, get a session, run it.
//!
//! Numbers cross this border as [`Tensor`]s of f64 (exact for f32 sessions too), in row-major order and
//! in the axis order of the checkpoint (parameters) or of the declaration (inputs, outputs).

use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A dense tensor on the host, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Lengths of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many numbers as the product of `shape`.
    pub data: Vec<f64>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The arithmetic of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// 64-bit floats.
    F64,
}

/// Sequences side by side. Token-wise vectors have `batch * len` entries, sequence by sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Number of sequences, at least 1.
    pub batch: usize,
    /// Tokens a sequence, at least 1.
    pub len: usize,
    /// For a block: its inputs by name, each [B, T, axes].
    pub inputs: Tensors,
    /// For a model: token ids, below the size of the vocabulary; empty for a block.
    pub tokens: Vec<u32>,
    /// Where documents start; empty: only at the first token. Without a carry the first token always starts one.
    pub reset: Vec<bool>,
    /// What each token should predict; empty where there is no loss.
    pub targets: Vec<u32>,
    /// Weight of each token in the loss, 0 or 1; empty: all 1.
    pub mask: Vec<f32>,
}

/// What is carried from one piece of a sequence to the next, made by any session of the same graph on any device.
///
/// Named tensors, so that it can be saved: scan states, the last tokens of windows, what attends may still
/// see (with the names of [`archc_compiler::lower::carried`]), and `pos`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carry(pub Tensors);

/// How parameters follow their gradients (AdamW, arXiv 1711.05101). The learning rate is given at each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay, times the learning rate; only for [`archc_compiler::graph::ParamKind::Weight`].
    pub weight_decay: f64,
    /// Gradients are scaled so that their global L2 norm is at most this; infinite: never.
    pub clip: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 }
    }
}

/// How a session is to be compiled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionOptions {
    /// Arithmetic.
    pub dtype: Dtype,
    /// Seed of the parameters' first values and of dropout.
    pub seed: u64,
    /// Optimizer of [`Session::step`].
    pub optimizer: AdamW,
    /// Threads that one call may use, at least 1. Results do not depend on it, to the bit.
    pub threads: usize,
    /// Whether what the compiler makes is checked at every stage; a device panics where an invariant does not hold. On in debug builds.
    pub verify: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { dtype: Dtype::F32, seed: 0, optimizer: AdamW::default(), threads: 1, verify: cfg!(debug_assertions) }
    }
}

/// A batch's shape, for which a session is specialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchShape {
    /// Sequences.
    pub batch: usize,
    /// Tokens a sequence.
    pub len: usize,
}

impl BatchShape {
    /// Whether there is anything to run.
    pub(crate) fn check(self) -> Result<(), Diagnostic> {
        if self.batch == 0 || self.len == 0 {
            return Err(crate::errors::empty_batch(self.batch, self.len));
        }
        Ok(())
    }
}

/// Outputs of a forward pass by name, each [B, T, axes]; a model's `output` is the logits [B, T, VOCAB].
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The outputs.
    pub outputs: Tensors,
    /// What the next piece of the sequences needs.
    pub carry: Carry,
}

/// Derivatives of an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The objective itself.
    pub objective: f64,
    /// By parameter path, in checkpoint shape.
    pub params: Tensors,
    /// By input name (blocks).
    pub inputs: Tensors,
}

/// What is differentiated.
#[derive(Clone, Copy, Debug)]
pub enum Objective<'a> {
    /// A model's training objective: mean cross-entropy of the unmasked tokens (natural log), plus its `loss` terms.
    Loss,
    /// sum over outputs of output * R, R given by output name.
    Cotangents(&'a Tensors),
}

/// What a training step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Mean cross-entropy of the unmasked tokens, in nats.
    pub loss: f64,
    /// The same plus the program's `loss` terms.
    pub objective: f64,
    /// Global L2 norm of the gradients before clipping.
    pub gradient_norm: f64,
}

/// Everything that training needs to go on: parameters, optimizer moments, number of updates done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Parameters by path.
    pub params: Tensors,
    /// First moments by path.
    pub first: Tensors,
    /// Second moments by path.
    pub second: Tensors,
    /// Updates done.
    pub step: u64,
}

/// What the buffers of a session take, parameters and moments included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes by the plan, before anything runs.
    pub planned: u64,
    /// Bytes allocated by now.
    pub allocated: u64,
}

/// A way to run graphs.
pub trait Device {
    /// `reference`, `cpu`, `cuda`.
    fn name(&self) -> &'static str;

    /// What the bits of its results depend on beside program and numbers: its name, and the instructions that it uses.
    fn arithmetic(&self) -> String {
        self.name().to_owned()
    }

    /// Specialises a graph for a batch shape. Parameters start at their seeded inits.
    ///
    /// # Errors
    /// E08xx when the graph or shape cannot run here (a batch of zero tokens, a shape that does not fit memory).
    fn compile(
        &self,
        graph: &Arc<Graph>,
        shape: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic>;
}

/// A device that several threads may ask for sessions.
pub type SharedDevice = Arc<dyn Device + Send + Sync>;

/// A compiled graph with its parameters and optimizer state. Deterministic: same seed, same calls, same bits.
pub trait Session {
    /// The graph it runs.
    fn graph(&self) -> &Arc<Graph>;

    /// Parameters, moments and step, copied out.
    fn snapshot(&self) -> Result<Snapshot, Diagnostic>;

    /// Replaces parameters, moments and step. Empty moment maps mean zeros.
    ///
    /// # Errors
    /// E08xx for a missing or unknown path, a wrong shape, or a number that is not finite.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic>;

    /// Outputs, without dropout, at the snapshot's step. Any `batch.batch`, `batch.len` is accepted (a device may specialise again).
    fn forward(&mut self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic>;

    /// The same for the next tokens of sequences: goes on from `carry` and leaves in it what the tokens after them need. What is carried
    /// is extended where it lies, so that decoding token by token does not copy the past for each. On an error it is as it was.
    fn advance(&mut self, batch: &Batch, carry: &mut Option<Carry>) -> Result<Tensors, Diagnostic> {
        let Forward { outputs, carry: after } = self.forward(batch, carry.as_ref())?;
        *carry = Some(after);
        Ok(outputs)
    }

    /// Derivatives of the objective, without dropout.
    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic>;

    /// Makes ready for updates on batches of this shape without documents, which the first one does otherwise.
    ///
    /// # Errors
    /// As the device's `compile`.
    fn prepare(&mut self, _: BatchShape) -> Result<(), Diagnostic> {
        Ok(())
    }

    /// One update with this learning rate, with dropout. If loss or gradient is not finite, the parameters stay as they
    /// were and the metrics say so.
    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic>;

    /// What a training step on the shape that it was compiled for takes; none from a device that plans no memory.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Seconds that steps took since the last call, by kind of work (`gemm`, `tile`, ...), and starts a new count. Empty
    /// from a device that does not count. The first call only starts it, since clocks cost time.
    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}
