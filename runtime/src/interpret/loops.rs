//! Loops: one iteration after the other; mapped indices side by side.

use super::{Frame, Many, Scope, evaluate, name};
use crate::reference::value::{Dim, Value};
use archc_compiler::lowered::{Loop, ValueId};
use candle_core::{Result, Tensor};

pub(super) fn run(frame: &Frame<'_>, scope: &Scope<'_>, body: &Loop, operands: &[Value]) -> Result<Many> {
    let over = name(body.over);
    let count = frame.size(scope, body.over);
    let (initial, captures) = operands.split_at(body.states.len());
    let full = |i: usize, x: &Value| -> Result<Value> {
        let own = frame.order(scope, &body.states[i].dims);
        let beside = x.dims.iter().filter(|d| !own.iter().any(|o| o.0 == **d)).map(|&d| (d, x.size(d)));
        x.expanded(&beside.chain(own.iter().copied()).collect::<Vec<_>>())
    };
    let mut states: Vec<Value> = initial.iter().enumerate().map(|(i, x)| full(i, x)).collect::<Result<_>>()?;
    let captures: Vec<Value> = captures.iter().map(|x| leading(x, over)).collect::<Result<_>>()?;
    let wanted: Vec<ValueId> = body.next.iter().copied().chain(body.emits.iter().map(|e| e.1)).collect();
    let mut emitted: Vec<Vec<Value>> = vec![Vec::with_capacity(count); body.emits.len()];
    for step in 0..count {
        let index = if body.reverse { count - 1 - step } else { step };
        let here: Vec<Value> = captures.iter().map(|x| entry(x, over, index)).collect::<Result<_>>()?;
        let mut inside = Scope { states: &states, captures: &here, ..Scope::default() };
        inside.map = scope.map.iter().chain(&body.map).copied().collect();
        inside.at = scope.at.iter().copied().chain([(body.over, index)]).collect();
        inside.sizes.clone_from(&scope.sizes);
        let mut values = evaluate(frame, &body.body, &inside, &wanted)?.into_iter();
        let next = values.by_ref().take(states.len()).enumerate().map(|(i, x)| full(i, &x)).collect::<Result<_>>()?;
        for (all, value) in emitted.iter_mut().zip(values) {
            all.push(value);
        }
        states = next;
    }
    let mut emits = Vec::with_capacity(emitted.len());
    for (mut all, (_, id)) in emitted.into_iter().zip(&body.emits) {
        if body.reverse {
            all.reverse();
        }
        let map = frame.order(scope, &body.map);
        emits.push(with_all(&stacked(&all, over)?, &[map, frame.order(scope, &body.body.node(*id).dims)].concat())?);
    }
    let finals = states.iter().map(|s| with_all(s, &frame.order(scope, &body.map))).collect::<Result<_>>()?;
    Ok((emits, finals))
}

/// Broadcasts the value along those of the dimensions that it lacks.
pub(super) fn with_all(x: &Value, dims: &[(Dim, usize)]) -> Result<Value> {
    let own = x.dims.iter().map(|&d| (d, x.size(d)));
    let new = dims.iter().copied().filter(|d| !x.has(d.0));
    x.expanded(&new.chain(own).collect::<Vec<_>>())
}

/// Moves a dimension to the front in memory, so that its entries are contiguous.
fn leading(x: &Value, dim: Dim) -> Result<Value> {
    if !x.has(dim) {
        return Ok(x.clone());
    }
    let order: Vec<Dim> = [dim].into_iter().chain(x.dims.iter().copied().filter(|&d| d != dim)).collect();
    x.permuted(&order)?.contiguous()
}

fn entry(x: &Value, dim: Dim, index: usize) -> Result<Value> {
    match x.position(dim) {
        Some(at) => {
            Ok(Value::new(x.tensor.get_on_dim(at, index)?, x.dims.iter().copied().filter(|&d| d != dim).collect()))
        }
        None => Ok(x.clone()),
    }
}

/// Stacks values along a new dimension.
fn stacked(all: &[Value], dim: Dim) -> Result<Value> {
    let union = Value::union(&all.iter().collect::<Vec<_>>());
    let parts: Vec<Tensor> = all.iter().map(|x| Ok(x.expanded(&union)?.tensor)).collect::<Result<_>>()?;
    Ok(Value::new(Tensor::stack(&parts, 0)?, [dim].into_iter().chain(union.iter().map(|u| u.0)).collect()))
}
