//! Carries: what one piece of a sequence leaves for the next, as named host tensors.
//!
//! `scanN.i` is state i of the scan at node N, `windowN` the last tokens before the piece, `attendN.c` capture c
//! at the tokens that may still be seen, `pos` the next token's position. Times end together: the last entry is
//! the last token.

use super::eval::seen_captures;
use super::kernels::host;
use super::value::{Dim, Value, axes};
use super::wiring::Wiring;
use crate::errors;
use crate::pieces;
use crate::session::{Carry, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{AxisId, Graph, NodeId, Op};
use candle_core::{DType, Result};
use std::collections::BTreeMap;

/// A carry as the device reads it.
pub(crate) struct Before {
    /// Positions of the next tokens.
    pub pos: Vec<usize>,
    pub values: BTreeMap<String, Value>,
}

/// What a graph carries: name, dimensions, shape. Times of attends are `None`: as many tokens as documents go back.
fn expected(graph: &Graph, wiring: &Wiring) -> Vec<(String, Vec<Dim>, Option<usize>)> {
    let mut list = Vec::new();
    let timed = |of: &[AxisId]| -> Vec<Dim> { [Dim::Batch, Dim::Time].into_iter().chain(axes(of)).collect() };
    for id in graph.dag.ids().filter(|id| wiring.live[id.0 as usize]) {
        let i = id.0 as usize;
        let operands = &wiring.operands[i];
        let ty = |o: usize| &graph.dag.ty(NodeId(operands[o] as u32)).axes;
        match graph.dag.op(id) {
            Op::Scan(scan) => {
                for (s, state) in scan.states.iter().enumerate() {
                    let mut dims: Vec<Dim> = [Dim::Batch].into_iter().chain(axes(&state.axes)).collect();
                    dims.sort_unstable();
                    list.push((format!("scan{i}.{s}"), dims, None));
                }
            }
            Op::Window { axis, step } if graph.size(*axis) > 1 => {
                list.push((format!("window{i}"), timed(ty(0)), Some((graph.size(*axis) - 1) * step)));
            }
            Op::Attend(_) => {
                for c in seen_captures(&graph.dag, wiring, i) {
                    list.push((format!("attend{i}.{c}"), timed(ty(c)), None));
                }
            }
            _ => {}
        }
    }
    list
}

/// Checks and reads a carry for so many sequences.
///
/// # Errors
/// E0811 if a part is missing, unknown or of another shape.
pub(crate) fn read(
    graph: &Graph,
    wiring: &Wiring,
    carry: &Carry,
    batch: usize,
    dtype: DType,
) -> std::result::Result<Before, Diagnostic> {
    let pos = pieces::positions(carry, batch)?;
    let reach = pos.iter().max().copied().unwrap_or(0);
    let mut values = BTreeMap::new();
    for (name, dims, width) in expected(graph, wiring) {
        let size = |d: &Dim| match d {
            Dim::Batch => batch,
            Dim::Axis(a) => graph.size(*a),
            _ => width.unwrap_or(reach),
        };
        let shape: Vec<usize> = dims.iter().map(size).collect();
        let Some(tensor) = carry.0.get(&name) else {
            return Err(errors::carry_mismatch(format!("it lacks `{name}`")));
        };
        if tensor.shape != shape || tensor.data.len() != shape.iter().product::<usize>() {
            return Err(errors::carry_mismatch(format!("`{name}` has shape {:?}, not {shape:?}", tensor.shape)));
        }
        // An attend of which nothing can be seen any more carries no tokens.
        if !shape.contains(&0) {
            let value = Value::constant(tensor.data.clone(), shape, dims, dtype);
            values.insert(name, value.map_err(|e| errors::bug("reading a carry of the reference device", e))?);
        }
    }
    if let Some(unknown) = carry.0.keys().find(|k| *k != "pos" && !expected(graph, wiring).iter().any(|e| e.0 == **k)) {
        return Err(errors::carry_mismatch(format!("the program carries no `{unknown}`")));
    }
    Ok(Before { pos, values })
}

/// The carry of named values and the positions of the next tokens.
pub(crate) fn write(values: &BTreeMap<String, Value>, pos: Vec<usize>) -> Result<Carry> {
    let mut tensors = Tensors::new();
    for (name, value) in values {
        let mut order = value.dims.clone();
        order.sort_unstable();
        let value = value.permuted(&order)?;
        tensors.insert(name.clone(), Tensor { shape: value.tensor.dims().to_vec(), data: host(&value.tensor)? });
    }
    let data: Vec<f64> = pos.iter().map(|&p| p as f64).collect();
    tensors.insert("pos".into(), Tensor { shape: vec![data.len()], data });
    Ok(Carry(tensors))
}
