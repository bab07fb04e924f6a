//! A session over lowered graphs: it selects the graph of a call, lays out its leaves, and converts the results.
//!
//! One program of the source becomes several lowered graphs: with and without documents that start inside of a sequence, with and without a
//! carry, chunked or token by token, with or without gradients. They are made when they are first needed and cached, as are the programs
//! that the executor compiles from them for a shape.

use super::carry::Kept;
use super::interpreted::by_param;
use super::{Executor, Held, Leaves, Step, carry};
use crate::batch;
use crate::checks;
use crate::init::initial_param;
use crate::number::moved;
use crate::pieces;
use crate::session::{
    Batch, BatchShape, Carry, Dtype, Forward, Gradients, Memory, Metrics, Number, Numbers, Objective, Session,
    SessionOptions, Snapshot, Tensor, Tensors,
};
use archc_compiler::diag::Diagnostic;
use archc_compiler::gradient::Seed;
use archc_compiler::graph::{self, Graph, ParamId};
use archc_compiler::lowered::{self, BATCH, Lowered, Shape, TIME, ValueId, print, verify};
use archc_compiler::{Call, Purpose, joint, work};
use std::sync::Arc;

/// Maximum number of cached programs. Decoding with an attend needs a new one whenever the known tokens have outgrown their room.
const PROGRAMS: usize = 8;

/// A session that runs lowered graphs on an executor.
pub struct CompiledSession<E: Executor> {
    graph: Arc<Graph>,
    options: SessionOptions,
    executor: E,
    step: u64,
    lowered: Vec<(Purpose, Arc<Lowered>)>,
    /// Compiled programs, the most recently used last.
    programs: Vec<(Purpose, Shape, E::Compiled)>,
}

impl<E: Executor> CompiledSession<E> {
    /// Creates a session with seeded initial parameters, on an executor whose moments are zero.
    ///
    /// # Errors
    /// E0810 and E0813 if the inits cannot be drawn.
    pub fn new(graph: &Arc<Graph>, options: &SessionOptions, mut executor: E) -> Result<Self, Diagnostic> {
        let round = checks::rounding(options.dtype);
        for (i, param) in graph.params.iter().enumerate() {
            let first = initial_param(graph, param, options.seed)?;
            executor.write(
                Held::Param,
                ParamId(i as u32),
                first.data.into_iter().map(|x| E::Number::nearest(round(x))).collect(),
            );
        }
        Ok(Self {
            graph: graph.clone(),
            options: *options,
            executor,
            step: 0,
            lowered: Vec::new(),
            programs: Vec::new(),
        })
    }

    /// The executor that runs the graphs.
    pub fn executor(&self) -> &E {
        &self.executor
    }

    /// The executor, mutable, to change how it runs.
    pub fn executor_mut(&mut self) -> &mut E {
        &mut self.executor
    }

    /// The purpose of a call on a piece of `len` tokens.
    fn purpose(&self, call: Call, len: usize, resets: bool) -> Purpose {
        let purpose = Purpose::of(call, self.executor.target(), len, resets);
        if self.options.dtype == Dtype::F64 { purpose.exact() } else { purpose }
    }

    fn lowered(&mut self, purpose: Purpose) -> Result<Arc<Lowered>, Diagnostic> {
        if let Some((_, done)) = self.lowered.iter().find(|(p, _)| *p == purpose) {
            return Ok(done.clone());
        }
        let made = work::bounded(|| joint(&self.graph, &purpose, &mut |_| ()))?;
        if self.options.verify
            && let Err(why) = verify(&made)
        {
            panic!("archc bug: {why}\n{}", print(&made));
        }
        let made = Arc::new(made);
        self.lowered.push((purpose, made.clone()));
        Ok(made)
    }

    /// The graph for a purpose and its program for a shape, which becomes the last one in the cache.
    fn compiled(
        &mut self,
        purpose: Purpose,
        shape: Shape,
    ) -> Result<(Arc<Lowered>, &mut E, &mut E::Compiled), Diagnostic> {
        let graph = self.lowered(purpose)?;
        let program = match self.programs.iter().position(|p| p.0 == purpose && p.1 == shape) {
            Some(at) => self.programs.remove(at),
            None => {
                if self.programs.len() >= PROGRAMS {
                    self.programs.remove(0);
                }
                (purpose, shape, work::bounded(|| self.executor.compile(&graph, shape))??)
            }
        };
        let last = self.programs.len();
        self.programs.push(program);
        Ok((graph, &mut self.executor, &mut self.programs[last].2))
    }

    /// The purpose and the leaves of a forward pass that continues from a carry, without the carried values.
    fn continuing<D: Numbers>(
        &mut self,
        batch: &Batch<D>,
        carry: Option<&Carry>,
    ) -> Result<(Purpose, Leaves<E::Number>), Diagnostic> {
        let pos = carry.map(|c| carry::next::<E::Number>(c, batch.batch)).transpose()?;
        let mut leaves = Leaves::new(&self.graph, batch, pos.as_deref());
        leaves.step = self.step;
        let purpose = self.purpose(Call::Forward, leaves.len, leaves.restarts(carry.is_some()));
        let graph = self.lowered(purpose)?;
        if let (Some(carry), Some(pos)) = (carry, &pos) {
            carry::check::<E::Number>(&graph, carry, pos)?;
        }
        leaves.make_room(&graph);
        Ok((purpose, leaves))
    }

    /// Advances sequences by a checked batch.
    fn advance_in<D: Numbers>(
        &mut self,
        batch: &Batch<D>,
        carry: &mut Option<Carry>,
    ) -> Result<Tensors<Vec<D::Number>>, Diagnostic> {
        batch::check(&self.graph, batch)?;
        if self.graph.prefix.is_none() || pieces::even(batch, carry.is_some()) {
            return self.advance_rows(batch, carry);
        }
        self.continuing(batch, carry.as_ref())?;
        let done = pieces::one_by_one(batch, carry.as_ref(), |batch, mut carry| {
            let outputs = self.advance_rows(batch, &mut carry)?;
            Ok(Forward { outputs, carry: carry.unwrap_or_default() })
        })?;
        *carry = Some(done.carry);
        Ok(done.outputs)
    }

    /// Advances sequences that keep the same length as each other.
    fn advance_rows<D: Numbers>(
        &mut self,
        batch: &Batch<D>,
        carry: &mut Option<Carry>,
    ) -> Result<Tensors<Vec<D::Number>>, Diagnostic> {
        let (mut purpose, mut leaves) = self.continuing(batch, carry.as_ref())?;
        let graph = self.lowered(purpose)?;
        // what is in the session's representation is extended in place, and anything else stays until this has succeeded
        let (mut own, mut other) = (None, None);
        match carry.take().map(Carry::into_device::<Kept<E::Number>>) {
            Some(Ok(kept)) => (own, leaves.carried) = (Some(kept.pos), kept.values),
            Some(Err(named)) => {
                leaves.carried = carry::read(&graph, &named.tensors());
                other = Some(named);
            }
            None => {}
        }
        let mut done = self.run_on(purpose, &mut leaves);
        // In a chunk, an overflow is multiplied by the masks of earlier tokens and later documents, and 0 times infinity is NaN. Token by
        // token it stays where the program puts it.
        if done.as_ref().is_ok_and(|(_, values)| values.iter().flat_map(|t| &t.data).any(|x| !x.finite())) {
            purpose.options.chunk = None;
            purpose.options.careful = true;
            done = self.run_on(purpose, &mut leaves);
        }
        match done {
            Ok((graph, mut values)) => {
                let carried = values.split_off(graph.outputs.len());
                *carry = Some(Carry::on_device(carry::write(&graph, &mut leaves, carried)));
                let outputs = outputs_of(&graph, &leaves, values).into_iter();
                Ok(outputs.map(|(name, t)| (name, converted(t))).collect())
            }
            Err(error) => {
                *carry = own.map(|pos| Carry::on_device(Kept { pos, values: leaves.carried })).or(other);
                Err(error)
            }
        }
    }

    /// Runs a forward pass: the values are the outputs, then those of the carry. The numbers of the leaves are left unchanged.
    fn run_on(&mut self, purpose: Purpose, leaves: &mut Leaves<E::Number>) -> Result<Ran<E::Number>, Diagnostic> {
        let (graph, executor, program) = self.compiled(purpose, leaves.shape())?;
        let outputs = graph.outputs.iter().map(|o| o.value);
        let wanted: Vec<ValueId> = outputs.chain(graph.carried()).collect();
        carry::turn(&graph, &mut leaves.carried);
        let values = executor.run(program, leaves, &wanted)?;
        Ok((graph, values))
    }

    /// Computes the gradients of the objective.
    fn gradients_in<D: Numbers>(
        &mut self,
        batch: &Batch<D>,
        objective: Objective<'_, D>,
    ) -> Result<Gradients<Vec<D::Number>>, Diagnostic> {
        batch::check(&self.graph, batch)?;
        let mut leaves = Leaves::new(&self.graph, batch, None);
        leaves.step = self.step;
        let seed = match objective {
            Objective::Loss => {
                checks::has_objective(&self.graph, batch)?;
                Seed::Loss
            }
            Objective::Cotangents(r) => {
                checks::cotangents(&self.graph, batch, r)?;
                leaves.set_cotangents(&self.graph, r);
                Seed::Cotangents
            }
        };
        let purpose = self.purpose(Call::Gradients(seed), leaves.len, leaves.restarts(false));
        let (graph, executor, program) = self.compiled(purpose, leaves.shape())?;
        let values: Vec<ValueId> = match (objective, graph.objective) {
            (Objective::Loss, Some((objective, _))) => vec![objective],
            (Objective::Loss, None) => Vec::new(),
            (Objective::Cotangents(_), _) => graph.outputs.iter().map(|o| o.value).collect(),
        };
        let count = values.len();
        let derivatives = graph.param_grads.iter().map(|g| g.1).chain(graph.input_grads.iter().map(|g| g.1));
        let wanted: Vec<ValueId> = values.into_iter().chain(derivatives).collect();
        let mut values = executor.run(program, &leaves, &wanted)?;
        let mut params = values.split_off(count);
        let by_input = params.split_off(graph.param_grads.len());
        let total = match objective {
            Objective::Loss => values.first().map_or(0.0, |t| t.data[0].exact()),
            Objective::Cotangents(r) => inner_product(&outputs_of(&graph, &leaves, values), r),
        };
        let zeros = |t: &Tensor<D>| vec![D::Number::default(); t.data.numbers().len()];
        let zeros = |t: &Tensor<D>| Tensor { shape: t.shape.clone(), data: zeros(t) };
        let mut inputs: Tensors<_> = batch.inputs.iter().map(|(name, t)| (name.clone(), zeros(t))).collect();
        for ((i, _), gradient) in graph.input_grads.iter().zip(by_input) {
            let input = &self.graph.inputs[*i];
            inputs.insert(input.name.clone(), converted(leaves.output(&self.graph, gradient, &input.axes)));
        }
        let params = checks::by_path(&self.graph, by_param(&graph, params));
        Ok(Gradients { objective: total, params, inputs })
    }

    /// Copies parameters, moments and step.
    fn snapshot_in<T: Number>(&self) -> Snapshot<Vec<T>> {
        let read = |what| checks::by_path(&self.graph, self.executor.read(what));
        Snapshot { params: read(Held::Param), first: read(Held::First), second: read(Held::Second), step: self.step }
    }

    /// Replaces parameters, moments and step.
    fn restore_in<D: Numbers>(&mut self, snapshot: &Snapshot<D>) -> Result<(), Diagnostic> {
        let params = checks::params(&self.graph, &snapshot.params, self.options.dtype)?;
        let moments = |given: &Tensors<D>| match given.is_empty() {
            true => Ok(params.iter().map(|p: &Vec<E::Number>| vec![E::Number::default(); p.len()]).collect()),
            false => checks::params(&self.graph, given, self.options.dtype),
        };
        let (first, second) = (moments(&snapshot.first)?, moments(&snapshot.second)?);
        for (what, values) in [(Held::Param, params), (Held::First, first), (Held::Second, second)] {
            for (i, values) in values.into_iter().enumerate() {
                self.executor.write(what, ParamId(i as u32), values);
            }
        }
        self.step = snapshot.step;
        Ok(())
    }
}

/// A graph that ran, and the values that were requested.
type Ran<N> = (Arc<Lowered>, Vec<Tensor<Vec<N>>>);

/// Converts a tensor to another element type; moves it if it has this one.
fn converted<A: Number, B: Number>(tensor: Tensor<Vec<A>>) -> Tensor<Vec<B>> {
    Tensor { shape: tensor.shape, data: moved(tensor.data) }
}

/// The outputs by name, each `[B, T, axes]`.
fn outputs_of<N: Number>(graph: &Lowered, leaves: &Leaves<N>, values: Vec<Tensor<Vec<N>>>) -> Tensors<Vec<N>> {
    type Output<'a, N> = ((&'a graph::Output, &'a lowered::Output), Tensor<Vec<N>>);
    let output = |((declared, output), value): Output<'_, N>| {
        let mut all = vec![BATCH, TIME];
        all.extend(&output.axes);
        graph.order(&mut all);
        let size = |d: &lowered::DimId| graph.dim(*d).extent.at(leaves.shape());
        let has: Vec<bool> = all.iter().map(|d| graph.dag.node(output.value).dims.contains(d)).collect();
        let value = broadcast(value, &all.iter().map(size).collect::<Vec<_>>(), &has);
        (output.name.clone(), leaves.output(&graph.source, value, &declared.axes))
    };
    graph.source.outputs.iter().zip(&graph.outputs).zip(values).map(output).collect()
}

/// Broadcasts a tensor that has some of these dimensions along the others.
fn broadcast<N: Number>(tensor: Tensor<Vec<N>>, shape: &[usize], has: &[bool]) -> Tensor<Vec<N>> {
    if has.iter().all(|h| *h) {
        return tensor;
    }
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for i in (0..shape.len()).rev().filter(|&i| has[i]) {
        strides[i] = stride;
        stride *= shape[i];
    }
    let number = |mut n: usize| {
        let mut at = 0;
        for (size, stride) in shape.iter().zip(&strides).rev() {
            at += n % size * stride;
            n /= size;
        }
        tensor.data[at]
    };
    Tensor { shape: shape.to_vec(), data: (0..shape.iter().product()).map(number).collect() }
}

impl<E: Executor> Session for CompiledSession<E> {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn snapshot(&self) -> Result<Snapshot, Diagnostic> {
        Ok(self.snapshot_in())
    }

    fn snapshot_f32(&self) -> Result<Snapshot<Vec<f32>>, Diagnostic> {
        Ok(self.snapshot_in())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        self.restore_in(snapshot)
    }

    fn restore_f32(&mut self, snapshot: &Snapshot<&[f32]>) -> Result<(), Diagnostic> {
        self.restore_in(snapshot)
    }

    fn forward(&mut self, batch: &Batch, carry: Option<&Carry>) -> Result<Forward, Diagnostic> {
        let mut carry = carry.cloned();
        let outputs = self.advance(batch, &mut carry)?;
        Ok(Forward { outputs, carry: carry.unwrap_or_default() })
    }

    fn advance(&mut self, batch: &Batch, carry: &mut Option<Carry>) -> Result<Tensors, Diagnostic> {
        self.advance_in(batch, carry)
    }

    fn advance_f32(
        &mut self,
        batch: &Batch<&[f32]>,
        carry: &mut Option<Carry>,
    ) -> Result<Tensors<Vec<f32>>, Diagnostic> {
        self.advance_in(batch, carry)
    }

    fn gradients(&mut self, batch: &Batch, objective: Objective<'_>) -> Result<Gradients, Diagnostic> {
        self.gradients_in(batch, objective)
    }

    fn gradients_f32(
        &mut self,
        batch: &Batch<&[f32]>,
        objective: Objective<'_, &[f32]>,
    ) -> Result<Gradients<Vec<f32>>, Diagnostic> {
        self.gradients_in(batch, objective)
    }

    fn prepare(&mut self, shape: BatchShape) -> Result<(), Diagnostic> {
        let shape = Shape { batch: shape.batch, len: shape.len, carried: 0 };
        self.compiled(self.purpose(Call::Step, shape.len, false), shape).map(|_| ())
    }

    fn step(&mut self, batch: &Batch, learning_rate: f64) -> Result<Metrics, Diagnostic> {
        batch::check(&self.graph, batch)?;
        checks::has_objective(&self.graph, batch)?;
        let mut leaves = Leaves::new(&self.graph, batch, None);
        leaves.step = self.step;
        leaves.dropout = Some(self.options.seed);
        let purpose = self.purpose(Call::Step, leaves.len, leaves.restarts(false));
        let step = Step { rule: self.options.optimizer, learning_rate, number: self.step + 1 };
        let (_, executor, program) = self.compiled(purpose, leaves.shape())?;
        let metrics = executor.step(program, &leaves, &step)?;
        self.step += u64::from(step.moves(&metrics));
        Ok(metrics)
    }

    fn memory(&self) -> Option<Memory> {
        self.programs.last().and_then(|(_, _, program)| self.executor.memory(program))
    }

    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        self.executor.profile()
    }
}

/// The sum of output * R over the outputs that have an R.
fn inner_product<N: Number, D: Numbers>(outputs: &Tensors<Vec<N>>, r: &Tensors<D>) -> f64 {
    let one = |(name, r): (&String, &Tensor<D>)| -> f64 {
        let product = |y: &Vec<N>| y.iter().zip(r.data.numbers()).map(|(y, r)| y.exact() * r.exact()).sum();
        outputs.get(name).map_or(0.0, |y| product(&y.data))
    };
    r.iter().map(one).sum()
}
