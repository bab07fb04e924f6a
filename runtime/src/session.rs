//! The interface of every device: compile a graph for a batch shape, get a session, run it.
//!
//! Values cross this interface as [`Tensor`]s of f64 (exact for f32 sessions too), in row-major order and in the axis
//! order of the checkpoint (parameters) or of the declaration (inputs, outputs).

use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A dense tensor on the host, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Lengths of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of `shape`.
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
    /// Tokens per sequence, at least 1.
    pub len: usize,
    /// Inputs of a block by name, each `[B, T, axes]`.
    pub inputs: Tensors,
    /// Token ids of a model, below the size of the vocabulary; empty for a block.
    pub tokens: Vec<u32>,
    /// Whether a document starts at each token; empty: only at the first token. Without a carry the first token always starts one.
    pub reset: Vec<bool>,
    /// Target of each token; empty where there is no loss.
    pub targets: Vec<u32>,
    /// Weight of each token in the loss, 0 or 1; empty: all 1.
    pub mask: Vec<f32>,
}

/// State carried from one piece of a sequence to the next, made by any session of the same graph on any device.
///
/// It consists of named tensors, so that it can be saved: scan states, the last tokens of windows, the tokens still
/// visible to attends (with the names of [`archc_compiler::lower::carried`]), and `pos`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carry(pub Tensors);

/// Settings of the optimizer (AdamW, arXiv 1711.05101). The learning rate is an argument of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Epsilon, added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay, times the learning rate; only for [`archc_compiler::graph::ParamKind::Weight`].
    pub weight_decay: f64,
    /// Gradients are scaled so that their global L2 norm is at most this; infinite: no clipping.
    pub clip: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 }
    }
}

/// Options for compiling a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionOptions {
    /// Arithmetic of the session.
    pub dtype: Dtype,
    /// Seed of the parameters' initial values and of dropout.
    pub seed: u64,
    /// Optimizer of [`Session::step`].
    pub optimizer: AdamW,
    /// Threads that one call may use, at least 1. Results do not depend on it, bit for bit.
    pub threads: usize,
    /// Whether the compiler's output is checked at every stage; a device panics where an invariant does not hold. On in debug builds.
    pub verify: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { dtype: Dtype::F32, seed: 0, optimizer: AdamW::default(), threads: 1, verify: cfg!(debug_assertions) }
    }
}

/// The shape of a batch, for which a session is specialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchShape {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub len: usize,
}

impl BatchShape {
    /// Checks that the shape is not empty.
    pub(crate) fn check(self) -> Result<(), Diagnostic> {
        if self.batch == 0 || self.len == 0 {
            return Err(crate::errors::empty_batch(self.batch, self.len));
        }
        Ok(())
    }
}

/// Results of a forward pass. A model's `output` is the logits `[B, T, VOCAB]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The outputs by name, each `[B, T, axes]`.
    pub outputs: Tensors,
    /// The carry for the next piece of the sequences.
    pub carry: Carry,
}

/// Gradients of an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The objective itself.
    pub objective: f64,
    /// Gradients by parameter path, in checkpoint shape.
    pub params: Tensors,
    /// Gradients by input name (blocks).
    pub inputs: Tensors,
}

/// The objective that is differentiated.
#[derive(Clone, Copy, Debug)]
pub enum Objective<'a> {
    /// A model's training objective: mean cross-entropy of the unmasked tokens (natural log), plus its `loss` terms.
    Loss,
    /// The sum over outputs of output * R, with R by output name.
    Cotangents(&'a Tensors),
}

/// Metrics of a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Mean cross-entropy of the unmasked tokens, in nats.
    pub loss: f64,
    /// The cross-entropy plus the program's `loss` terms.
    pub objective: f64,
    /// Global L2 norm of the gradients before clipping.
    pub gradient_norm: f64,
}

/// The state of training: parameters, optimizer moments, number of updates done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Parameters by path.
    pub params: Tensors,
    /// First moments by path.
    pub first: Tensors,
    /// Second moments by path.
    pub second: Tensors,
    /// Number of updates done.
    pub step: u64,
}

/// Memory of the buffers of a session, parameters and moments included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes according to the plan, before anything runs.
    pub planned: u64,
    /// Bytes allocated so far.
    pub allocated: u64,
}

/// A device that runs graphs.
pub trait Device {
    /// The name: `reference`, `cpu`, `cuda`.
    fn name(&self) -> &'static str;

    /// The properties that determine the bits of its results beside program and values: its name, and the instructions that it uses.
    fn arithmetic(&self) -> String {
        self.name().to_owned()
    }

    /// Specialises a graph for a batch shape. Parameters start at their seeded initial values.
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

/// A device that several threads can share.
pub type SharedDevice = Arc<dyn Device + Send + Sync>;

/// A compiled graph with its parameters and optimizer state. Deterministic: same seed, same calls, same bits.
pub trait Session {
    /// The graph it runs.
    fn graph(&self) -> &Arc<Graph>;

    /// Copies parameters, moments and step.
    fn snapshot(&self) -> Result<Snapshot, Diagnostic>;

    /// Replaces parameters, moments and step. Empty moment maps mean zeros.
    ///
    /// # Errors
    /// E08xx for a missing or unknown path, a wrong shape, or an element that is not finite.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic>;

    /// Computes the outputs, without dropout, at the current step. Any `batch.batch`, `batch.len` is accepted (a device may specialise
    /// again).
    fn forward(&mut self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic>;

    /// Computes the outputs of the next tokens of sequences: continues from `carry` and updates it for the tokens after them. The carry is
    /// extended in place, so that decoding token by token does not copy the past for each token. On an error the carry is unchanged.
    fn advance(&mut self, batch: &Batch, carry: &mut Option<Carry>) -> Result<Tensors, Diagnostic> {
        let Forward { outputs, carry: after } = self.forward(batch, carry.as_ref())?;
        *carry = Some(after);
        Ok(outputs)
    }

    /// Computes the gradients of the objective, without dropout.
    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic>;

    /// Prepares updates on batches of this shape with one document per sequence, which the first update does otherwise.
    ///
    /// # Errors
    /// As the device's `compile`.
    fn prepare(&mut self, _: BatchShape) -> Result<(), Diagnostic> {
        Ok(())
    }

    /// Runs one update with this learning rate, with dropout. If loss or gradient is not finite, the parameters stay
    /// unchanged and the metrics show it.
    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic>;

    /// The memory of a training step on the shape that the session was compiled for; none from a device that plans no memory.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Returns the seconds that steps took since the last call, by kind of work (`gemm`, `tile`, ...), and starts a new count. It is empty
    /// from a device that does not profile. The first call only starts profiling, since reading clocks takes time.
    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}
