//! What every device that runs lowered graphs shares.
//!
//! A [`CompiledSession`] turns the calls of a session into lowered graphs, their leaves and the values wanted of
//! them; an [`Executor`] owns parameters and moments and runs one graph at one shape. So devices differ only in
//! how they run a graph. [`Interpreted`] is the plainest one: it interprets in f64.

mod carry;
mod interpreted;
mod leaves;
mod session;

pub use interpreted::Interpreted;
pub use leaves::Leaves;
pub use session::CompiledSession;

pub use crate::optimizer::Step;

use crate::session::{Memory, Metrics, Tensor};
use archc_compiler::Target;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::ParamId;
use archc_compiler::lowered::{Lowered, Shape, ValueId};
use std::sync::Arc;

/// A tensor that a session holds for each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The parameter itself.
    Param,
    /// The running mean of its gradient.
    First,
    /// The running mean of its gradient's square.
    Second,
}

/// Runs lowered graphs. It owns the parameters and their moments, in whatever arithmetic and layout it likes.
pub trait Executor {
    /// A graph made ready for a shape.
    type Compiled;

    /// What graphs are lowered and planned for.
    fn target(&self) -> Target;

    /// Copies one tensor a parameter out, in the order of the source graph, in checkpoint layout.
    fn read(&self, what: Held) -> Vec<Vec<f64>>;

    /// Replaces the tensor of a parameter; the numbers are exact in the session's arithmetic.
    fn write(&mut self, what: Held, param: ParamId, values: Vec<f64>);

    /// Makes a graph ready for a shape.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn compile(&self, graph: &Arc<Lowered>, shape: Shape) -> Result<Self::Compiled, Diagnostic>;

    /// Evaluates some of the graph's roots; each has the dimensions of its value, row-major in canonical order.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn run(
        &mut self,
        program: &mut Self::Compiled,
        leaves: &Leaves,
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor>, Diagnostic>;

    /// Gradients of the objective of a joint graph, clipping and AdamW. Nothing moves unless [`Step::moves`] says so.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn step(&mut self, program: &mut Self::Compiled, leaves: &Leaves, step: &Step) -> Result<Metrics, Diagnostic>;

    /// What the buffers of a program take, parameters and moments included; none where nothing is planned.
    fn memory(&self, program: &Self::Compiled) -> Option<Memory> {
        let _ = program;
        None
    }

    /// Seconds by kind of work since the last call, as [`crate::Session::profile`] says.
    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}
