//! A session of the reference device: parameters and moments on the host, evaluated anew at each call.

use super::carry;
use super::run::{Aim, Derived, Task};
use super::wiring::Wiring;
use crate::batch::{self, Tokens};
use crate::errors;
use crate::init::initial_params;
use crate::optimizer::{Slot, Update};
use crate::session::{
    Batch, Carry, Dtype, Forward, Gradients, Metrics, Objective, Session, SessionOptions, Snapshot, Tensor, Tensors,
};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, NodeId, Op, ParamId, ParamKind};
use candle_core::DType;
use std::sync::Arc;

pub(crate) struct ReferenceSession {
    graph: Arc<Graph>,
    options: SessionOptions,
    /// What the outputs need, and what the outputs and losses need.
    to_outputs: Wiring,
    to_objective: Wiring,
    /// By parameter, in the order of the graph, rounded to the session's arithmetic.
    params: Vec<Vec<f64>>,
    first: Vec<Vec<f64>>,
    second: Vec<Vec<f64>>,
    step: u64,
}

impl ReferenceSession {
    pub fn new(graph: &Arc<Graph>, options: &SessionOptions) -> Result<Self, Diagnostic> {
        let outputs: Vec<NodeId> = graph.outputs.iter().map(|o| o.value).collect();
        let all: Vec<NodeId> = outputs.iter().chain(&graph.losses).copied().collect();
        let mut init = initial_params(graph, options.seed)?;
        let round = rounding(options.dtype);
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
        Task { graph: &self.graph, wiring, dtype, params, step: self.step, dropout: None, batch, tokens }
    }

    /// Runs one differentiation on a thread whose stack the tape's depth decides.
    fn derive(&self, batch: &Batch, aim: Aim<'_>, inputs: bool, training: bool) -> Result<Derived, Diagnostic> {
        let tokens = batch::lay_out(&self.graph, batch, None);
        let mut task = self.task(&self.to_objective, batch, &tokens);
        task.dropout = training.then_some(self.options.seed);
        let depth = self.to_objective.depth(tokens.grid.len);
        let stack = (16 << 20) + depth * STACK_PER_ENTRY;
        std::thread::scope(|scope| {
            let worker = std::thread::Builder::new()
                .name("reference".into())
                .stack_size(stack)
                .spawn_scoped(scope, || task.derive(aim, inputs))
                .map_err(|e| errors::bug("starting a thread", e))?;
            match worker.join() {
                Ok(derived) => derived.map_err(|e| errors::bug("a gradient", e)),
                Err(_) => Err(errors::bug("a gradient", "it panicked")),
            }
        })
    }

    /// Checks a batch against the graph and against what can be held in memory.
    fn check(&self, batch: &Batch) -> Result<(), Diagnostic> {
        batch::check(&self.graph, batch)?;
        let attends = self.graph.dag.ids().any(|id| matches!(self.graph.dag.op(id), Op::Attend(_)));
        let pairs = batch.batch.saturating_mul(batch.len).saturating_mul(batch.len);
        if attends && pairs > MOST_PAIRS { Err(errors::too_many_pairs(batch.batch, batch.len)) } else { Ok(()) }
    }

    /// Checks that a batch has what a loss needs.
    fn has_objective(&self, batch: &Batch) -> Result<(), Diagnostic> {
        match self.graph.vocab {
            Some(_) if batch.targets.is_empty() => Err(errors::objective(
                "the batch has no targets".into(),
                "give what each token should predict, one id a token",
            )),
            None if self.graph.losses.is_empty() => Err(errors::objective(
                format!("`{}` is a block without a `loss`: there is nothing to train", self.graph.name),
                "train a model, or a file with one block of one input and one output over [D]",
            )),
            _ => Ok(()),
        }
    }

    fn forward_rows(&self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
        let before = match carry {
            Some(c) => Some(carry::read(&self.graph, &self.to_outputs, c, batch.batch, self.dtype())?),
            None => None,
        };
        let tokens = batch::lay_out(&self.graph, batch, before.as_ref().map(|b| b.pos.as_slice()));
        let task = self.task(&self.to_outputs, batch, &tokens);
        task.forward(before.as_ref()).map_err(|e| errors::bug("a forward pass", e))
    }

    fn tensors(&self, values: &[Vec<f64>]) -> Tensors {
        let ids = (0..self.graph.params.len()).map(|i| ParamId(i as u32));
        let tensor = |(id, data): (ParamId, &Vec<f64>)| {
            let tensor = Tensor { shape: self.graph.param_shape(id), data: data.clone() };
            (self.graph.param(id).path.clone(), tensor)
        };
        ids.zip(values).map(tensor).collect()
    }

    /// Tensors by path, checked against the graph, in its order.
    fn checked(&self, tensors: &Tensors) -> Result<Vec<Vec<f64>>, Diagnostic> {
        let paths: Vec<String> = self.graph.params.iter().map(|p| p.path.clone()).collect();
        if let Some(unknown) = tensors.keys().find(|k| !paths.contains(k)) {
            return Err(errors::unknown_param(unknown, paths.iter().filter(|p| !tensors.contains_key(*p))));
        }
        let mut values = Vec::with_capacity(paths.len());
        for (i, path) in paths.iter().enumerate() {
            let Some(tensor) = tensors.get(path) else {
                return Err(errors::missing_param(path, tensors.keys().filter(|k| !paths.contains(k))));
            };
            let want = self.graph.param_shape(ParamId(i as u32));
            if tensor.shape != want || tensor.data.len() != want.iter().product::<usize>() {
                return Err(errors::param_shape(path, &tensor.shape, tensor.data.len(), &want));
            }
            let round = rounding(self.options.dtype);
            let data: Vec<f64> = tensor.data.iter().map(|&x| round(x)).collect();
            if let Some(at) = data.iter().position(|x| !x.is_finite()) {
                return Err(errors::param_not_finite(path, tensor.data[at], at));
            }
            values.push(data);
        }
        Ok(values)
    }
}

/// Pairs of tokens, one head each, that an attend may build: 8 GiB of f32.
const MOST_PAIRS: usize = 1 << 31;

/// Stack that one entry of a tape may take when candle walks or frees the tape: measured at about 200 bytes (820 kB for
/// a delta rule over 2048 tokens, in a debug build; candle itself is always optimised). Only what is used is ever backed
/// by memory.
const STACK_PER_ENTRY: usize = 512;

fn rounding(dtype: Dtype) -> fn(f64) -> f64 {
    match dtype {
        Dtype::F32 => |x| f64::from(x as f32),
        Dtype::F64 => |x| x,
    }
}

impl Session for ReferenceSession {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn snapshot(&self) -> Result<Snapshot, Diagnostic> {
        Ok(Snapshot {
            params: self.tensors(&self.params),
            first: self.tensors(&self.first),
            second: self.tensors(&self.second),
            step: self.step,
        })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        let params = self.checked(&snapshot.params)?;
        let moments = |given: &Tensors| match given.is_empty() {
            true => Ok(params.iter().map(|p| vec![0.0; p.len()]).collect()),
            false => self.checked(given),
        };
        let (first, second) = (moments(&snapshot.first)?, moments(&snapshot.second)?);
        (self.params, self.first, self.second, self.step) = (params, first, second, snapshot.step);
        Ok(())
    }

    fn forward(&mut self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
        self.check(batch)?;
        let starts = batch::starts(batch, carry.is_some());
        if self.graph.prefix.is_none() || starts.iter().all(|&s| s == starts[0]) {
            return self.forward_rows(batch, carry);
        }
        // Prefixes make these sequences differ in length: one at a time, then side by side.
        if let Some(carry) = carry {
            carry::read(&self.graph, &self.to_outputs, carry, batch.batch, self.dtype())?;
        }
        let mut outputs = Tensors::new();
        let mut carries = Vec::with_capacity(batch.batch);
        for b in 0..batch.batch {
            let row = self.forward_rows(&sequence(batch, b), carry.map(|c| carry::row(c, b)).as_ref())?;
            carries.push(row.carry);
            for (name, tensor) in row.outputs {
                let all = outputs.entry(name).or_insert_with(|| Tensor {
                    shape: [&[0], &tensor.shape[1..]].concat(),
                    data: Vec::with_capacity(batch.batch * tensor.data.len()),
                });
                all.shape[0] += 1;
                all.data.extend(tensor.data);
            }
        }
        Ok(Forward { outputs, carry: carry::joined(&carries) })
    }

    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic> {
        self.check(batch)?;
        let aim = match objective {
            Objective::Loss => {
                self.has_objective(batch)?;
                Aim::Loss
            }
            Objective::Cotangents(cotangents) => {
                self.check_cotangents(batch, cotangents)?;
                Aim::Cotangents(cotangents)
            }
        };
        let derived = self.derive(batch, aim, true, false)?;
        let inputs = self.graph.inputs.iter().zip(derived.inputs);
        let inputs = inputs
            .map(|(input, data)| (input.name.clone(), Tensor { shape: batch.inputs[&input.name].shape.clone(), data }));
        Ok(Gradients { objective: derived.objective, params: self.tensors(&derived.params), inputs: inputs.collect() })
    }

    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic> {
        self.check(batch)?;
        self.has_objective(batch)?;
        let Derived { loss, objective, params: gradients, .. } = self.derive(batch, Aim::Loss, false, true)?;
        let square = |g: &Vec<f64>| g.iter().map(|x| x * x).sum::<f64>();
        let gradient_norm = gradients.iter().map(square).sum::<f64>().sqrt();
        let metrics = Metrics { loss, objective, gradient_norm };
        if !objective.is_finite() || !gradient_norm.is_finite() || !learning_rate.is_finite() {
            return Ok(metrics);
        }
        let rule = self.options.optimizer;
        let scale = Update::clipping(&rule, gradient_norm);
        let update = Update { rule, learning_rate, number: self.step + 1, scale };
        for (i, param) in self.graph.params.iter().enumerate() {
            let slot = Slot {
                value: &mut self.params[i],
                first: &mut self.first[i],
                second: &mut self.second[i],
                decays: param.kind == ParamKind::Weight,
            };
            update.apply(slot, &gradients[i], rounding(self.options.dtype));
        }
        self.step += 1;
        Ok(metrics)
    }
}

impl ReferenceSession {
    fn check_cotangents(&self, batch: &Batch, cotangents: &Tensors) -> Result<(), Diagnostic> {
        let outputs = &self.graph.outputs;
        for (name, r) in cotangents {
            let Some(output) = outputs.iter().find(|o| o.name == *name) else {
                let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
                return Err(errors::objective(
                    format!("the program has no output `{name}` to be weighed"),
                    &format!("its outputs are: {}", names.join(", ")),
                ));
            };
            let axes = output.axes.iter().map(|&a| self.graph.size(a));
            let shape: Vec<usize> = [batch.batch, batch.len].into_iter().chain(axes).collect();
            if r.shape != shape || r.data.len() != shape.iter().product::<usize>() {
                return Err(errors::objective(
                    format!("the weights of the output `{name}` have shape {:?}, not {shape:?}", r.shape),
                    "give one number for each number of the output",
                ));
            }
        }
        Ok(())
    }
}

/// One sequence of a batch of tokens.
fn sequence(batch: &Batch, b: usize) -> Batch {
    fn part<T: Clone>(all: &[T], b: usize, len: usize) -> Vec<T> {
        all.get(b * len..(b + 1) * len).map(<[T]>::to_vec).unwrap_or_default()
    }
    Batch {
        batch: 1,
        len: batch.len,
        inputs: Tensors::new(),
        tokens: part(&batch.tokens, b, batch.len),
        reset: part(&batch.reset, b, batch.len),
        targets: part(&batch.targets, b, batch.len),
        mask: part(&batch.mask, b, batch.len),
    }
}
