//! The interpreter of lowered graphs as a device.

use super::{CompiledSession, Executor, Held, Leaves, Step};
use crate::checks;
use crate::errors;
use crate::interpret::interpret_in;
use crate::session::{BatchShape, Device, Dtype, Metrics, Number, Session, SessionOptions, Tensor};
use archc_compiler::Target;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};
use archc_compiler::lowered::{Lowered, Shape, ValueId};
use std::sync::Arc;

/// Interprets lowered graphs op by op: slow, a definition of their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Interpreted {
    /// Tokens per chunk of a scan.
    pub chunk: usize,
    /// See [`Target::mapped`].
    pub mapped: bool,
}

impl Default for Interpreted {
    fn default() -> Self {
        Self { chunk: Target::cpu().chunk, mapped: true }
    }
}

impl Device for Interpreted {
    fn name(&self) -> &'static str {
        "lowered"
    }

    fn compile(
        &self,
        graph: &Arc<Graph>,
        shape: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic> {
        shape.check()?;
        let zeros = zeros(graph);
        let target = Target { chunk: self.chunk.max(1), mapped: self.mapped, ..Target::cpu() };
        let executor = Interpreter { dtype: options.dtype, target, held: [zeros.clone(), zeros.clone(), zeros] };
        Ok(Box::new(CompiledSession::new(graph, options, executor)?))
    }
}

struct Interpreter {
    dtype: Dtype,
    target: Target,
    /// Parameters, first and second moments.
    held: [Vec<Vec<f64>>; 3],
}

impl Executor for Interpreter {
    type Compiled = Arc<Lowered>;
    type Number = f64;

    fn target(&self) -> Target {
        self.target
    }

    fn read(&self, what: Held) -> Vec<Vec<f64>> {
        self.held[what as usize].clone()
    }

    fn write(&mut self, what: Held, param: ParamId, values: Vec<f64>) {
        self.held[what as usize][param.0 as usize] = values;
    }

    fn compile(&self, graph: &Arc<Lowered>, _: Shape) -> Result<Self::Compiled, Diagnostic> {
        Ok(graph.clone())
    }

    fn run(
        &mut self,
        graph: &mut Arc<Lowered>,
        leaves: &Leaves,
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor>, Diagnostic> {
        interpret_in(graph, &self.held[0], leaves, wanted, self.dtype)
    }

    fn step(&mut self, graph: &mut Arc<Lowered>, leaves: &Leaves, step: &Step) -> Result<Metrics, Diagnostic> {
        let source = &graph.source;
        let Some((objective, entropy)) = graph.objective else {
            return Err(errors::bug("a training step", "a graph without an objective"));
        };
        let wanted: Vec<ValueId> =
            [objective, entropy].into_iter().chain(graph.param_grads.iter().map(|g| g.1)).collect();
        let mut values = interpret_in(graph, &self.held[0], leaves, &wanted, self.dtype)?;
        let gradients = by_param(graph, values.split_off(2));
        let [params, first, second] = &mut self.held;
        let (loss, objective) = (values[1].data[0], values[0].data[0]);
        let round = checks::rounding(self.dtype);
        Ok(step.follow(source, loss, objective, &gradients, [params, first, second], round))
    }
}

/// A 0 for every element of every parameter.
fn zeros<N: Number>(graph: &Graph) -> Vec<Vec<N>> {
    (0..graph.params.len()).map(|i| vec![N::default(); graph.param_numbers(ParamId(i as u32))]).collect()
}

/// Gradients of all parameters in checkpoint layout; zeros for those on which nothing depends.
pub(super) fn by_param<N: Number>(graph: &Lowered, computed: Vec<Tensor<Vec<N>>>) -> Vec<Vec<N>> {
    let source = &graph.source;
    let mut all = zeros(source);
    for ((param, _), gradient) in graph.param_grads.iter().zip(computed) {
        all[param.0 as usize] = super::leaves::declared_axes(source, gradient, &source.param(*param).axes, 0).data;
    }
    all
}
