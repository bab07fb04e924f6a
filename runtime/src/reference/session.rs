//! A session of the reference device: parameters and moments on the host, evaluated from scratch at each call.

use super::carry;
use super::origin::Origin;
use super::run::{Aim, Derived, Task};
use super::wiring::Wiring;
use crate::batch::{self, Tokens};
use crate::checks;
use crate::errors;
use crate::guard;
use crate::init::initial_params;
use crate::optimizer::Step;
use crate::pieces;
use crate::session::{
    Batch, Carry, Dtype, Forward, Gradients, Metrics, Objective, Session, SessionOptions, Snapshot, Tensor, Tensors,
};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, NodeId, Op};
use candle_core::DType;
use std::sync::Arc;

pub(crate) struct ReferenceSession {
    graph: Arc<Graph>,
    options: SessionOptions,
    /// Seed of the perturbations; see [`super::Moved`].
    moved: Option<u64>,
    /// The wiring for the outputs, and that for the outputs and losses.
    to_outputs: Wiring,
    to_objective: Wiring,
    /// Values by parameter, in the order of the graph, rounded to the session's arithmetic.
    params: Vec<Vec<f64>>,
    first: Vec<Vec<f64>>,
    second: Vec<Vec<f64>>,
    step: u64,
}

impl ReferenceSession {
    pub fn new(graph: &Arc<Graph>, options: &SessionOptions, moved: Option<u64>) -> Result<Self, Diagnostic> {
        let outputs: Vec<NodeId> = graph.outputs.iter().map(|o| o.value).collect();
        let all: Vec<NodeId> = outputs.iter().chain(&graph.losses).copied().collect();
        let mut init = initial_params(graph, options.seed)?;
        let round = checks::rounding(options.dtype);
        let params: Vec<Vec<f64>> = graph
            .params
            .iter()
            .map(|p| init.remove(&p.path).unwrap_or_default().data.into_iter().map(round).collect())
            .collect();
        let zeros: Vec<Vec<f64>> = params.iter().map(|p| vec![0.0; p.len()]).collect();
        Ok(Self {
            to_outputs: Wiring::new(&graph.dag, &outputs),
            to_objective: Wiring::new(&graph.dag, &all),
            graph: graph.clone(),
            options: *options,
            moved,
            params,
            first: zeros.clone(),
            second: zeros,
            step: 0,
        })
    }

    fn dtype(&self) -> DType {
        match self.options.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
        }
    }

    fn task<'a>(&'a self, wiring: &'a Wiring, batch: &'a Batch, tokens: &'a Tokens) -> Task<'a> {
        let (dtype, params) = (self.dtype(), self.params.as_slice());
        let (moved, step) = (self.moved, self.step);
        Task { graph: &self.graph, wiring, dtype, params, step, dropout: None, moved, batch, tokens }
    }

    /// Runs one differentiation on a thread whose stack size follows from the depth of the tape.
    fn derive(&self, batch: &Batch, aim: Aim<'_>, inputs: bool, training: bool) -> Result<Derived, Diagnostic> {
        let tokens = batch::lay_out(&self.graph, batch, None);
        let mut task = self.task(&self.to_objective, batch, &tokens);
        task.dropout = training.then_some(self.options.seed);
        let depth = self.to_objective.depth(tokens.grid.len);
        let stack = (16 << 20) + depth * STACK_PER_ENTRY;
        std::thread::scope(|scope| {
            let worker = guard::worker("reference")
                .stack_size(stack)
                .spawn_scoped(scope, || guard::caught(|| task.derive(aim, inputs)))
                .map_err(|e| errors::bug("starting a thread of the reference device", e))?;
            match worker.join() {
                Ok(Ok(derived)) => derived.map_err(|e| errors::bug("a gradient of the reference device", e)),
                Ok(Err(panic)) => Err(errors::bug("a gradient of the reference device", panic)),
                Err(_) => Err(errors::bug("a gradient of the reference device", "it panicked")),
            }
        })
    }

    /// Checks a batch against the graph and against the memory limit of attends.
    fn check(&self, batch: &Batch) -> Result<(), Diagnostic> {
        batch::check(&self.graph, batch)?;
        let attends = self.graph.dag.ids().any(|id| matches!(self.graph.dag.op(id), Op::Attend(_)));
        let pairs = batch.batch.saturating_mul(batch.len).saturating_mul(batch.len);
        if attends && pairs > MOST_PAIRS { Err(errors::too_many_pairs(batch.batch, batch.len)) } else { Ok(()) }
    }

    /// Finds the origin of a value that is not finite; see [`super::origin`].
    pub fn origin(&self, batch: &Batch) -> Result<Option<Origin>, Diagnostic> {
        self.check(batch)?;
        let tokens = batch::lay_out(&self.graph, batch, None);
        let task = self.task(&self.to_objective, batch, &tokens);
        task.origin().map_err(|e| errors::bug("a forward pass of the reference device", e))
    }

    fn forward_rows(&self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
        let before = match carry {
            Some(c) => Some(carry::read(&self.graph, &self.to_outputs, c, batch.batch, self.dtype())?),
            None => None,
        };
        let tokens = batch::lay_out(&self.graph, batch, before.as_ref().map(|b| b.pos.as_slice()));
        let task = self.task(&self.to_outputs, batch, &tokens);
        task.forward(before.as_ref()).map_err(|e| errors::bug("a forward pass of the reference device", e))
    }
}

/// Maximum number of pairs of tokens, for one head, that an attend may materialise: 8 GiB of f32.
const MOST_PAIRS: usize = 1 << 31;

/// Stack that one entry of a tape may take when candle walks or frees the tape: measured at about 200 bytes (820 kB for a delta rule over
/// 2048 tokens, in a debug build; candle itself is always optimised). Only the used part is ever backed by memory.
const STACK_PER_ENTRY: usize = 512;

impl Session for ReferenceSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn snapshot(&self) -> Result<Snapshot, Diagnostic> {
        Ok(Snapshot {
            params: checks::by_path(&self.graph, self.params.iter().cloned()),
            first: checks::by_path(&self.graph, self.first.iter().cloned()),
            second: checks::by_path(&self.graph, self.second.iter().cloned()),
            step: self.step,
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        let params: Vec<Vec<f64>> = checks::params(&self.graph, &snapshot.params, self.options.dtype)?;
        let moments = |given: &Tensors| match given.is_empty() {
            true => Ok(params.iter().map(|p| vec![0.0; p.len()]).collect()),
            false => checks::params(&self.graph, given, self.options.dtype),
        };
        let (first, second) = (moments(&snapshot.first)?, moments(&snapshot.second)?);
        (self.params, self.first, self.second, self.step) = (params, first, second, snapshot.step);
        Ok(())
    }

    fn forward(&mut self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
        self.check(batch)?;
        if self.graph.prefix.is_none() || pieces::even(batch, carry.is_some()) {
            return self.forward_rows(batch, carry);
        }
        if let Some(carry) = carry {
            carry::read(&self.graph, &self.to_outputs, carry, batch.batch, self.dtype())?;
        }
        pieces::one_by_one(batch, carry, |batch, carry| self.forward_rows(batch, carry.as_ref()))
    }

    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic> {
        self.check(batch)?;
        let aim = match objective {
            Objective::Loss => {
                checks::has_objective(&self.graph, batch)?;
                Aim::Loss
            }
            Objective::Cotangents(cotangents) => {
                checks::cotangents(&self.graph, batch, cotangents)?;
                Aim::Cotangents(cotangents)
            }
        };
        let derived = self.derive(batch, aim, true, false)?;
        let inputs = self.graph.inputs.iter().zip(derived.inputs);
        let inputs = inputs
            .map(|(input, data)| (input.name.clone(), Tensor { shape: batch.inputs[&input.name].shape.clone(), data }));
        Ok(Gradients {
            objective: derived.objective,
            params: checks::by_path(&self.graph, derived.params),
            inputs: inputs.collect(),
        })
    }

    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic> {
        self.check(batch)?;
        checks::has_objective(&self.graph, batch)?;
        let Derived { loss, objective, params: gradients, .. } = self.derive(batch, Aim::Loss, false, true)?;
        let step = Step { rule: self.options.optimizer, learning_rate, number: self.step + 1 };
        let held = [&mut self.params[..], &mut self.first, &mut self.second];
        let round = checks::rounding(self.options.dtype);
        let metrics = step.follow(&self.graph, loss, objective, &gradients, held, round);
        self.step += u64::from(step.moves(&metrics));
        Ok(metrics)
    }
}
