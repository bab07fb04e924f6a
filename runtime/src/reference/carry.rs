//! Carries: the state that one piece of a sequence leaves for the next, as named host tensors.
//!
//! Their names are those of [`archc_compiler::lower::carried`], and `pos` is the next token's position. Token dimensions are aligned at
//! their ends: the last entry is the last token.

use super::eval::seen_captures;
use super::kernels::host;
use super::value::{Dim, Value, axes};
use super::wiring::Wiring;
use crate::errors;
use crate::pieces;
use crate::session::{Carry, Tensor, Tensors};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{AxisId, Graph, NodeId, Op};
use archc_compiler::lower::carried::{capture_name, carried, state_name, window_name};
use archc_compiler::lower::most_carried;
use candle_core::{DType, Result};
use std::collections::BTreeMap;

/// A carry in the form that the device reads.
pub(crate) struct Before {
    /// Positions of the next tokens.
    pub pos: Vec<usize>,
    pub values: BTreeMap<String, Value>,
}

/// One tensor that a graph carries.
struct Part {
    name: String,
    dims: Vec<Dim>,
    tokens: Tokens,
}

/// The number of tokens of a carried tensor.
#[derive(Clone, Copy)]
enum Tokens {
    /// Exactly this number (a state has none).
    Last(usize),
    /// The number of tokens that documents go back, up to this maximum.
    Seen(usize),
}

/// The tensors that a graph carries.
fn expected(graph: &Graph, wiring: &Wiring) -> Vec<Part> {
    let needed = carried(graph);
    let mut list = Vec::new();
    let timed = |of: &[AxisId]| -> Vec<Dim> { [Dim::Batch, Dim::Time].into_iter().chain(axes(of)).collect() };
    for (id, parts) in needed {
        let i = id.0 as usize;
        let operands = &wiring.operands[i];
        let ty = |o: usize| &graph.dag.ty(NodeId(operands[o] as u32)).axes;
        match graph.dag.op(id) {
            Op::Scan(scan) => {
                for state in scan.states.iter().filter(|s| parts.contains(&s.number)) {
                    let mut dims: Vec<Dim> = [Dim::Batch].into_iter().chain(axes(&state.axes)).collect();
                    dims.sort_unstable();
                    list.push(Part { name: state_name(id, state.number), dims, tokens: Tokens::Last(0) });
                }
            }
            Op::Window { axis, step } if graph.size(*axis) > 1 => {
                let tokens = Tokens::Last((graph.size(*axis) - 1) * step);
                list.push(Part { name: window_name(id), dims: timed(ty(0)), tokens });
            }
            Op::Attend(attend) => {
                let tokens = Tokens::Seen(most_carried(attend));
                for c in seen_captures(&graph.dag, wiring, i).into_iter().filter(|c| parts.contains(c)) {
                    list.push(Part { name: capture_name(id, c), dims: timed(ty(c)), tokens });
                }
            }
            _ => {}
        }
    }
    list
}

/// Checks and reads a carry for `batch` sequences.
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
    let carry = carry.tensors();
    let pos = pieces::positions(&carry, batch)?;
    let reach = pos.iter().max().copied().unwrap_or(0);
    let mut values = BTreeMap::new();
    for Part { name, dims, tokens } in expected(graph, wiring) {
        let size = |d: &Dim| match (d, tokens) {
            (Dim::Batch, _) => batch,
            (Dim::Axis(a), _) => graph.size(*a),
            (_, Tokens::Last(n)) => n,
            (_, Tokens::Seen(most)) => reach.min(most),
        };
        let mut shape: Vec<usize> = dims.iter().map(size).collect();
        let Some(tensor) = carry.get(&name) else {
            return Err(errors::carry_mismatch(format!("it lacks `{name}`")));
        };
        if !tensor.has(&shape) {
            return Err(errors::carry_mismatch(format!("`{name}` has shape {:?}, not {shape:?}", tensor.shape)));
        }
        let mut data = tensor.data.clone();
        if let Tokens::Seen(most) = tokens
            && most < reach
        {
            data = at_the_end(&data, &shape, reach);
            shape[1] = reach;
        }
        // An attend none of whose tokens can still be visible carries no tokens.
        if !shape.contains(&0) {
            let value = Value::constant(data, shape, dims, dtype);
            values.insert(name, value.map_err(|e| errors::bug("reading a carry of the reference device", e))?);
        }
    }
    if let Some(unknown) = carry.keys().find(|k| *k != "pos" && !expected(graph, wiring).iter().any(|e| e.name == **k))
    {
        return Err(errors::carry_mismatch(format!("the program carries no `{unknown}`")));
    }
    Ok(Before { pos, values })
}

/// Pads `[B, tokens, ..]` at the front to `more` tokens. The added ones are never visible; they are copies of the first token, values that
/// the program can safely compute with.
fn at_the_end(data: &[f64], shape: &[usize], more: usize) -> Vec<f64> {
    let width: usize = shape[2..].iter().product();
    let mut all = Vec::with_capacity(shape[0] * more * width);
    for b in 0..shape[0] {
        let row = &data[b * shape[1] * width..(b + 1) * shape[1] * width];
        let first = row.get(..width).unwrap_or(&[0.0]);
        all.extend(first.iter().cycle().take((more - shape[1]) * width));
        all.extend(row);
    }
    all
}

/// Builds the carry from named values and the positions of the next tokens; it keeps only the values that the outputs need.
pub(crate) fn write(
    graph: &Graph,
    wiring: &Wiring,
    values: &BTreeMap<String, Value>,
    pos: Vec<usize>,
) -> Result<Carry> {
    let parts = expected(graph, wiring);
    let mut tensors = Tensors::new();
    for (name, value) in values.iter().filter(|v| parts.iter().any(|p| p.name == *v.0)) {
        let mut order = value.dims.clone();
        order.sort_unstable();
        let value = value.permuted(&order)?;
        tensors.insert(name.clone(), Tensor { shape: value.tensor.dims().to_vec(), data: host(&value.tensor)? });
    }
    let data: Vec<f64> = pos.iter().map(|&p| p as f64).collect();
    tensors.insert("pos".into(), Tensor { shape: vec![data.len()], data });
    Ok(tensors.into())
}
