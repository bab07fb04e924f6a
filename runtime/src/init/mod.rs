//! Initial values of parameters, the same on every device.
//!
//! Each recipe is evaluated in f64. Its draws are numbered, and each is seeded by (seed, path of the parameter,
//! number of the draw), so that an edit elsewhere in the program reseeds nothing.

mod draw;

use crate::batch::{Grid, Tokens};
use crate::errors;
use crate::reference::eval::{Frame, apply, taken};
use crate::reference::value::{Dim, Value, axes};
use crate::session::{Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, NodeId, Op, Param};
use candle_core::DType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parameters of a graph before the first update, by path, in checkpoint shape.
///
/// # Errors
/// E0810 if a recipe results in a number that is not finite, E0813 if it cannot be drawn.
pub fn initial_params(graph: &Graph, seed: u64) -> Result<Tensors, Diagnostic> {
    graph.params.iter().map(|param| Ok((param.path.clone(), initial_param(graph, param, seed)?))).collect()
}

/// The initial value of one parameter: large models have more elements than should be held twice.
///
/// # Errors
/// As for [`initial_params`].
pub(crate) fn initial_param(graph: &Graph, param: &Param, seed: u64) -> Result<Tensor, Diagnostic> {
    let data = first_value(graph, param, seed)?;
    if let Some(bad) = data.iter().find(|x| !x.is_finite()) {
        return Err(errors::init_not_finite(&param.path, *bad).at(param.place, "declared here"));
    }
    Ok(Tensor { shape: param.axes.iter().map(|&a| graph.size(a)).collect(), data })
}

fn first_value(graph: &Graph, param: &Param, seed: u64) -> Result<Vec<f64>, Diagnostic> {
    let bug = |e: candle_core::Error| errors::bug("an init", e);
    let tokens = Tokens {
        grid: Grid { batch: 1, len: 1, pos: Arc::new([0]) },
        carried: 0,
        ids: Vec::new(),
        targets: Vec::new(),
        weights: Vec::new(),
        given: None,
    };
    let weights = Value::scalar(1.0, DType::F64).map_err(bug)?;
    let frame = Frame {
        graph,
        dtype: DType::F64,
        tokens: &tokens,
        step: 0,
        dropout: None,
        moved: None,
        notes: None,
        params: &[],
        inputs: &[],
        weights: &weights,
        carry: &BTreeMap::new(),
    };
    let dag = &param.init;
    let live = dag.reachable(&[param.init_value]);
    let mut values: Vec<Option<Value>> = vec![None; dag.len()];
    let mut number = 0;
    for id in dag.ids().filter(|id| live[id.0 as usize]) {
        let operands = dag.operands(id);
        let x: Vec<&Value> =
            operands.iter().map(|o| taken(&values, *o)).collect::<candle_core::Result<_>>().map_err(bug)?;
        let value = match dag.op(id) {
            Op::Draw(kind) => {
                let value = draw::draw(graph, param, *kind, &x, seed, number)?;
                number += 1;
                value
            }
            op => apply(&frame, None, op, &x).map_err(bug)?,
        };
        values[id.0 as usize] = Some(value);
    }
    broadcast(graph, param, &values, param.init_value).map_err(bug)
}

/// The value of a node broadcast along all axes of its parameter, in the order of the checkpoint.
fn broadcast(graph: &Graph, param: &Param, values: &[Option<Value>], id: NodeId) -> candle_core::Result<Vec<f64>> {
    let order: Vec<(Dim, usize)> =
        axes(&param.axes).into_iter().zip(param.axes.iter().map(|&a| graph.size(a))).collect();
    crate::reference::host(&taken(values, id)?.expanded(&order)?.tensor)
}
