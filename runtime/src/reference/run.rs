//! One evaluation: host tensors in, host tensors out.

use super::carry::{self, Before};
use super::eval::{Frame, Outcome, evaluate};
use super::kernels::host;
use super::loss::{add, cross_entropy, inner_product, loss_term};
use super::moved::Moves;
use super::origin::{Notes, Origin};
use super::value::{Dim, Value, axes};
use super::wiring::Wiring;
use crate::batch::Tokens;
use crate::session::{Batch, Forward, Tensor, Tensors};
use archc_compiler::graph::{Graph, NodeId, Output};
use candle_core::{DType, Result, Tensor as Candle, Var};
use std::collections::BTreeMap;

/// The inputs of an evaluation, borrowed from a session.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub graph: &'a Graph,
    pub wiring: &'a Wiring,
    pub dtype: DType,
    /// Parameters in the order of the graph, in checkpoint shape.
    pub params: &'a [Vec<f64>],
    pub step: u64,
    pub dropout: Option<u64>,
    pub moved: Option<u64>,
    pub batch: &'a Batch,
    pub tokens: &'a Tokens,
}

/// The objective of a gradient, beside the program's own `loss` terms.
#[derive(Clone, Copy)]
pub(crate) enum Aim<'a> {
    /// Cross-entropy of the targets, and `loss` terms.
    Loss,
    /// The inner product of the outputs with these tensors.
    Cotangents(&'a Tensors),
}

/// Gradients from the tape.
pub(crate) struct Derived {
    /// The cross-entropy.
    pub loss: f64,
    pub objective: f64,
    /// Gradients of the parameters, in the order of the graph.
    pub params: Vec<Vec<f64>>,
    /// Gradients of the inputs, in the order of the graph; empty unless requested.
    pub inputs: Vec<Vec<f64>>,
}

impl Task<'_> {
    /// Computes outputs and carry.
    pub fn forward(&self, before: Option<&Before>) -> Result<Forward> {
        let leaves = Leaves::new(self, false, false)?;
        let roots: Vec<NodeId> = self.graph.outputs.iter().map(|o| o.value).collect();
        let none = BTreeMap::new();
        let Outcome { values, carry } = leaves.evaluate(self, before.map_or(&none, |b| &b.values), &roots)?;
        let mut outputs = Tensors::new();
        for (output, value) in self.graph.outputs.iter().zip(&values) {
            let value = self.given(&self.laid_out(output, value)?)?;
            let tensor = Tensor { shape: value.tensor.dims().to_vec(), data: host(&value.tensor)? };
            outputs.insert(output.name.clone(), tensor);
        }
        Ok(Forward { outputs, carry: carry::write(self.graph, self.wiring, &carry, self.tokens.grid.ends())? })
    }

    /// Finds the origin of the first value that is not finite in the outputs or `loss` terms.
    pub fn origin(&self) -> Result<Option<Origin>> {
        let notes = Notes::default();
        let roots: Vec<NodeId> =
            self.graph.outputs.iter().map(|o| o.value).chain(self.graph.losses.iter().copied()).collect();
        let leaves = Leaves::new(self, false, false)?;
        leaves.evaluate_noting(self, &BTreeMap::new(), &roots, Some(&notes))?;
        Ok(notes.origin(&self.graph.dag, self.wiring, roots))
    }

    /// Computes the objective and its gradients with respect to the parameters, and to the inputs if requested.
    pub fn derive(&self, aim: Aim<'_>, want_inputs: bool) -> Result<Derived> {
        let leaves = Leaves::new(self, true, want_inputs)?;
        let outputs = self.graph.outputs.iter().map(|o| o.value);
        let roots: Vec<NodeId> = outputs.chain(self.graph.losses.iter().copied()).collect();
        let Outcome { values, .. } = leaves.evaluate(self, &BTreeMap::new(), &roots)?;
        let (outputs, losses) = values.split_at(self.graph.outputs.len());
        let mut total = Value::scalar(0.0, self.dtype)?;
        let mut loss = 0.0;
        match aim {
            Aim::Loss => {
                if let (Some(vocab), Some(output)) = (self.graph.vocab, self.graph.outputs.first()) {
                    let logits = self.laid_out(output, &outputs[0])?;
                    total = cross_entropy(&logits, vocab, &self.tokens.targets, &self.tokens.weights)?;
                    loss = host(&total.tensor)?[0];
                }
                for term in losses {
                    total = add(&total, &loss_term(term, &leaves.weights)?)?;
                }
            }
            Aim::Cotangents(cotangents) => {
                for (output, value) in self.graph.outputs.iter().zip(outputs) {
                    let Some(r) = cotangents.get(&output.name) else { continue };
                    let value = self.given(&self.laid_out(output, value)?)?;
                    let r = Value::constant(r.data.clone(), r.shape.clone(), value.dims.clone(), self.dtype)?;
                    total = add(&total, &inner_product(&value, &r)?)?;
                }
            }
        }
        let mut store = total.tensor.backward()?;
        let mut read = |leaf: &Value| match store.remove(&leaf.tensor) {
            Some(gradient) => host(&gradient),
            None => Ok(vec![0.0; leaf.tensor.elem_count()]),
        };
        let params = leaves.params.iter().map(&mut read).collect::<Result<_>>()?;
        let inputs = if want_inputs { leaves.inputs.iter().map(&mut read).collect::<Result<_>>()? } else { Vec::new() };
        Ok(Derived { loss, objective: host(&total.tensor)?[0], params, inputs })
    }

    /// Lays out an output as `[Batch, Time, its axes in the declared order]`.
    fn laid_out(&self, output: &Output, value: &Value) -> Result<Value> {
        let grid = &self.tokens.grid;
        let axes = output.axes.iter().map(|&a| (Dim::Axis(a), self.graph.size(a)));
        let order: Vec<(Dim, usize)> =
            [(Dim::Batch, grid.batch), (Dim::Time, grid.len)].into_iter().chain(axes).collect();
        value.expanded(&order)
    }

    /// The batch's own tokens of `[Batch, Time, ..]`, without those of the prefix.
    fn given(&self, value: &Value) -> Result<Value> {
        let Some(given) = &self.tokens.given else { return Ok(value.clone()) };
        let grid = &self.tokens.grid;
        let axes = &value.tensor.dims()[2..];
        let flat = value.tensor.reshape([&[grid.batch * grid.len], axes].concat())?;
        let index: Vec<u32> = given.iter().map(|&i| i as u32).collect();
        let index = Candle::from_vec(index, given.len(), value.tensor.device())?;
        let picked = flat.index_select(&index, 0)?;
        let shape = [&[grid.batch, given.len() / grid.batch], axes].concat();
        Ok(Value::new(picked.reshape(shape)?, value.dims.clone()))
    }
}

/// Parameters and inputs as tensors, on the autograd tape if gradients are computed.
struct Leaves {
    params: Vec<Value>,
    inputs: Vec<Value>,
    weights: Value,
}

impl Leaves {
    fn new(task: &Task<'_>, track_params: bool, track_inputs: bool) -> Result<Self> {
        let leaf = |data: &[f64], shape: Vec<usize>, dims: Vec<Dim>, track: bool| -> Result<Value> {
            let value = Value::constant(data.to_vec(), shape, dims, task.dtype)?;
            if !track {
                return Ok(value);
            }
            Ok(Value::new(Var::from_tensor(&value.tensor)?.as_tensor().clone(), value.dims))
        };
        let shape = |of: &[archc_compiler::graph::AxisId]| of.iter().map(|&a| task.graph.size(a)).collect();
        let params = task.graph.params.iter().zip(task.params);
        let params =
            params.map(|(p, data)| leaf(data, shape(&p.axes), axes(&p.axes), track_params)).collect::<Result<_>>()?;
        let mut inputs = Vec::with_capacity(task.graph.inputs.len());
        for input in &task.graph.inputs {
            let tensor = &task.batch.inputs[&input.name];
            let dims = [Dim::Batch, Dim::Time].into_iter().chain(axes(&input.axes)).collect();
            inputs.push(leaf(&tensor.data, tensor.shape.clone(), dims, track_inputs)?);
        }
        let grid = &task.tokens.grid;
        let weights = leaf(&task.tokens.weights, vec![grid.batch, grid.len], vec![Dim::Batch, Dim::Time], false)?;
        Ok(Self { params, inputs, weights })
    }

    fn evaluate(&self, task: &Task<'_>, carry: &BTreeMap<String, Value>, roots: &[NodeId]) -> Result<Outcome> {
        self.evaluate_noting(task, carry, roots, None)
    }

    fn evaluate_noting(
        &self,
        task: &Task<'_>,
        carry: &BTreeMap<String, Value>,
        roots: &[NodeId],
        notes: Option<&Notes>,
    ) -> Result<Outcome> {
        let frame = Frame {
            graph: task.graph,
            dtype: task.dtype,
            tokens: task.tokens,
            step: task.step,
            dropout: task.dropout,
            moved: task.moved.map(Moves::new),
            notes,
            params: &self.params,
            inputs: &self.inputs,
            weights: &self.weights,
            carry,
        };
        evaluate(&frame, task.wiring, roots)
    }
}
