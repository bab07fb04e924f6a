//! The interface of every device: compile a graph for a batch shape, get a session, run it.
//!
//! Values cross this interface as [`Tensor`]s, in row-major order and in the axis order of the checkpoint (parameters) or of the declaration
//! (inputs, outputs). Their elements are f64, exact for f32 sessions too; the calls whose names end in `_f32` take borrowed f32 slices and
//! return f32, which an f32 session of a compiled device never converts.

pub use crate::carry::{Carry, DeviceCarry};
pub use crate::number::{Number, Numbers};

use crate::number::copied;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A dense tensor on the host, row-major. `D` stores its elements: see [`Numbers`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor<D = Vec<f64>> {
    /// Lengths of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of `shape`.
    pub data: D,
}

impl<D: Numbers> Tensor<D> {
    /// A view of the same elements.
    pub fn view(&self) -> Tensor<&[D::Number]> {
        Tensor { shape: self.shape.clone(), data: self.data.numbers() }
    }

    /// Whether this is its shape, and the number of its elements fits it.
    pub(crate) fn has(&self, shape: &[usize]) -> bool {
        self.shape == shape && self.data.numbers().len() == shape.iter().product::<usize>()
    }
}

/// Tensors by name.
pub type Tensors<D = Vec<f64>> = BTreeMap<String, Tensor<D>>;

/// Views of tensors by name.
pub fn views<D: Numbers>(tensors: &Tensors<D>) -> Tensors<&[D::Number]> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.view())).collect()
}

/// Copies tensors to another element type, each number rounded to the nearest.
fn rounded<D: Numbers, N: Number>(tensors: &Tensors<D>) -> Tensors<Vec<N>> {
    let copy = |t: &Tensor<D>| Tensor { shape: t.shape.clone(), data: copied(t.data.numbers()) };
    tensors.iter().map(|(name, t)| (name.clone(), copy(t))).collect()
}

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
pub struct Batch<D = Vec<f64>> {
    /// Number of sequences, at least 1.
    pub batch: usize,
    /// Tokens per sequence, at least 1.
    pub len: usize,
    /// Inputs of a block by name, each `[B, T, axes]`.
    pub inputs: Tensors<D>,
    /// Token ids of a model, below the size of the vocabulary; empty for a block.
    pub tokens: Vec<u32>,
    /// Whether a document starts at each token; empty: only at the first token. Without a carry the first token always starts one.
    pub reset: Vec<bool>,
    /// Target of each token; empty where there is no loss.
    pub targets: Vec<u32>,
    /// Weight of each token in the loss, 0 or 1; empty: all 1.
    pub mask: Vec<f32>,
}

impl Batch<&[f32]> {
    /// The same batch with inputs in f64.
    fn doubled(&self) -> Batch {
        let Self { batch, len, inputs, tokens, reset, targets, mask } = self;
        Batch {
            batch: *batch,
            len: *len,
            inputs: rounded(inputs),
            tokens: tokens.clone(),
            reset: reset.clone(),
            targets: targets.clone(),
            mask: mask.clone(),
        }
    }
}

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
pub struct Forward<D = Vec<f64>> {
    /// The outputs by name, each `[B, T, axes]`.
    pub outputs: Tensors<D>,
    /// The carry for the next piece of the sequences.
    pub carry: Carry,
}

/// Gradients of an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<D = Vec<f64>> {
    /// The objective itself.
    pub objective: f64,
    /// Gradients by parameter path, in checkpoint shape.
    pub params: Tensors<D>,
    /// Gradients by input name (blocks).
    pub inputs: Tensors<D>,
}

/// The objective that is differentiated.
#[derive(Debug)]
pub enum Objective<'a, D = Vec<f64>> {
    /// A model's training objective: mean cross-entropy of the unmasked tokens (natural log), plus its `loss` terms.
    Loss,
    /// The sum over outputs of output * R, with R by output name.
    Cotangents(&'a Tensors<D>),
}

impl<D> Clone for Objective<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Objective<'_, D> {}

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
pub struct Snapshot<D = Vec<f64>> {
    /// Parameters by path.
    pub params: Tensors<D>,
    /// First moments by path.
    pub first: Tensors<D>,
    /// Second moments by path.
    pub second: Tensors<D>,
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
    /// extended in place and may stay in the session's own representation, so that decoding token by token neither copies nor converts the
    /// past for each token. On an error the carry is unchanged.
    fn advance(&mut self, batch: &Batch, carry: &mut Option<Carry>) -> Result<Tensors, Diagnostic> {
        let Forward { outputs, carry: after } = self.forward(batch, carry.as_ref())?;
        *carry = Some(after);
        Ok(outputs)
    }

    /// Computes the gradients of the objective, without dropout.
    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic>;

    /// Copies parameters, moments and step as [`Session::snapshot`] does, in f32: exact for an f32 session, rounded to nearest for another.
    fn snapshot_f32(&self) -> Result<Snapshot<Vec<f32>>, Diagnostic> {
        let Snapshot { params, first, second, step } = self.snapshot()?;
        Ok(Snapshot { params: rounded(&params), first: rounded(&first), second: rounded(&second), step })
    }

    /// Replaces parameters, moments and step as [`Session::restore`] does, from f32.
    ///
    /// # Errors
    /// Those of [`Session::restore`].
    fn restore_f32(&mut self, snapshot: &Snapshot<&[f32]>) -> Result<(), Diagnostic> {
        let Snapshot { params, first, second, step } = snapshot;
        let [params, first, second] = [params, first, second].map(rounded);
        self.restore(&Snapshot { params, first, second, step: *step })
    }

    /// Computes the outputs of the next tokens as [`Session::advance`] does, from f32 inputs, in f32: the same numbers as from the same
    /// inputs in f64, rounded to nearest by a session that computes in f64.
    ///
    /// # Errors
    /// Those of [`Session::advance`].
    fn advance_f32(
        &mut self,
        batch: &Batch<&[f32]>,
        carry: &mut Option<Carry>,
    ) -> Result<Tensors<Vec<f32>>, Diagnostic> {
        Ok(rounded(&self.advance(&batch.doubled(), carry)?))
    }

    /// Computes the gradients of the objective as [`Session::gradients`] does, from f32 inputs and cotangents, in f32: the same numbers as
    /// from the same inputs in f64, rounded to nearest by a session that computes in f64.
    ///
    /// # Errors
    /// Those of [`Session::gradients`].
    fn gradients_f32(
        &mut self,
        batch: &Batch<&[f32]>,
        objective: Objective<'_, &[f32]>,
    ) -> Result<Gradients<Vec<f32>>, Diagnostic> {
        let batch = batch.doubled();
        let Gradients { objective, params, inputs } = match objective {
            Objective::Loss => self.gradients(&batch, Objective::Loss),
            Objective::Cotangents(r) => self.gradients(&batch, Objective::Cotangents(&rounded(r))),
        }?;
        Ok(Gradients { objective, params: rounded(&params), inputs: rounded(&inputs) })
    }

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
