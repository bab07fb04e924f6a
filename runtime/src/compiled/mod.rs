//! The common part of all devices that run lowered graphs.
//!
//! A [`CompiledSession`] turns the calls of a session into lowered graphs, their leaves and the requested values; an
//! [`Executor`] owns parameters and moments and runs one graph at one shape. Devices thus differ only in how they run a
//! graph. [`Interpreted`] is the simplest one: it interprets in f64.

mod carried;
mod carry;
mod interpreted;
mod leaves;
mod session;
#[cfg(test)]
mod tests;

pub use carried::{Carried, Part};
pub use interpreted::Interpreted;
pub use leaves::Leaves;
pub use session::CompiledSession;

pub use crate::optimizer::Step;

use crate::session::{Memory, Metrics, Number, Tensor};
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

/// Runs lowered graphs. It owns the parameters and their moments, in an arithmetic and layout of its choice.
pub trait Executor {
    /// A graph compiled for a shape.
    type Compiled;

    /// The elements of the tensors that it takes and returns: its own, so that they are not converted. A session converts where the caller's
    /// are others.
    type Number: Number;

    /// The target for which graphs are lowered and planned.
    fn target(&self) -> Target;

    /// Copies one tensor per parameter, in the order of the source graph, in checkpoint layout.
    fn read(&self, what: Held) -> Vec<Vec<Self::Number>>;

    /// Replaces the tensor of a parameter; the values are exact in the session's arithmetic.
    fn write(&mut self, what: Held, param: ParamId, values: Vec<Self::Number>);

    /// Compiles a graph for a shape.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn compile(&self, graph: &Arc<Lowered>, shape: Shape) -> Result<Self::Compiled, Diagnostic>;

    /// Evaluates some of the graph's roots; each result has the dimensions of its value, row-major in canonical order.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn run(
        &mut self,
        program: &mut Self::Compiled,
        leaves: &Leaves<Self::Number>,
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor<Vec<Self::Number>>>, Diagnostic>;

    /// Runs a training step: gradients of the objective of a joint graph, clipping and AdamW. Parameters and moments change only if
    /// [`Step::moves`] is true.
    ///
    /// # Errors
    /// E08xx if it cannot run here.
    fn step(
        &mut self,
        program: &mut Self::Compiled,
        leaves: &Leaves<Self::Number>,
        step: &Step,
    ) -> Result<Metrics, Diagnostic>;

    /// The memory that the buffers of a program take, parameters and moments included; none where no memory is planned.
    fn memory(&self, program: &Self::Compiled) -> Option<Memory> {
        let _ = program;
        None
    }

    /// Seconds by kind of work since the last call, as in [`crate::Session::profile`].
    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}
