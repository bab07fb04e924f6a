//! Recurrent memory: a scan, token by token.
//!
//! Captures are split into tokens by halving: the gradient of a slice is padded back to the size of its source, so
//! cutting tokens off one by one would cost O(T^2), and halving costs O(T log T).

use super::eval::{Body, Frame, taken};
use super::moved::States;
use super::value::{Dim, Value, axes};
use super::wiring::Wiring;
use crate::batch::Grid;
use archc_compiler::graph::{NodeId, Op, Scan};
use archc_compiler::lower::carried::state_name;
use candle_core::{Result, Tensor, bail};
use std::collections::BTreeMap;

/// The result of a scan.
pub(crate) struct Scanned {
    /// Its emits, over time.
    pub emits: Vec<Value>,
    /// Its states after the last token, by name.
    pub carry: BTreeMap<String, Value>,
}

/// Runs the scan; `initial` are the states' values at the start of a document.
pub(crate) fn scan(
    frame: &Frame<'_>,
    scan: &Scan,
    wiring: &Wiring,
    initial: &[&Value],
    captures: &[&Value],
    node: NodeId,
) -> Result<Scanned> {
    let grid = &frame.tokens.grid;
    let tokens: Vec<Capture> = captures.iter().map(|x| Capture::of(x, grid)).collect::<Result<_>>()?;
    let mut moved = frame.moved.as_ref().map(|moves| States::new(moves.seed, scan, grid.batch));
    let mut fresh = Vec::with_capacity(initial.len());
    let mut states = Vec::with_capacity(initial.len());
    for (i, state) in scan.states.iter().enumerate() {
        let sizes = axes(&state.axes).into_iter().zip(state.axes.iter().map(|&a| frame.graph.size(a)));
        let order: Vec<(Dim, usize)> = [(Dim::Batch, grid.batch)].into_iter().chain(sizes).collect();
        let mut start = initial[i].expanded(&order)?.contiguous()?;
        if let Some(moved) = &moved {
            start = moved.first(i, start)?;
        }
        states.push(frame.carry.get(&state_name(node, state.number)).unwrap_or(&start).clone());
        fresh.push(start);
    }
    let body = Body { dag: &scan.body, wiring, pairs: None, time: None };
    let constants = body.constants(frame)?;
    let mut emitted: Vec<Vec<Value>> = vec![Vec::with_capacity(grid.len); scan.emits.len()];
    for t in 0..grid.len {
        for (state, fresh) in states.iter_mut().zip(&fresh) {
            *state = restarted(state, fresh, grid, t)?;
        }
        let mut leaf = |_: NodeId, op: &Op| {
            Ok(match op {
                Op::State(i) => Some(states[*i].clone()),
                Op::Capture(i) => Some(tokens[*i].at(t).clone()),
                _ => None,
            })
        };
        let mut values = constants.clone();
        let body = Body { dag: &scan.body, wiring, pairs: None, time: Some(t) };
        if let (Some(moves), Some(moved)) = (&frame.moved, &moved) {
            moves.enter(moved, t);
        }
        body.evaluate(frame, &mut leaf, &mut values)?;
        if let Some(moves) = &frame.moved {
            moves.leave();
        }
        if let Some(notes) = frame.notes {
            notes.see_token(node, scan, wiring, &values, t)?;
        }
        for (out, (_, e)) in emitted.iter_mut().zip(&scan.emits) {
            out.push(taken(&values, *e)?.clone());
        }
        for (i, next) in scan.next.iter().enumerate() {
            let next = taken(&values, *next)?;
            // A state that was overwritten by a constant still has one value per sequence.
            let order: Vec<(Dim, usize)> = fresh[i].dims.iter().map(|&d| (d, fresh[i].size(d))).collect();
            states[i] = if next.dims.len() == order.len() { next.clone() } else { next.expanded(&order)? };
            if let Some(moved) = &mut moved {
                let starts: Vec<bool> = (0..grid.batch).map(|b| grid.pos[b * grid.len + t] == 0).collect();
                states[i] = moved.after(i, states[i].clone(), &values, &starts, t)?;
            }
        }
    }
    let emits = emitted.iter().map(|e| over_time(e)).collect::<Result<_>>()?;
    let names = scan.states.iter().map(|s| state_name(node, s.number));
    let carry = names.zip(states).collect();
    Ok(Scanned { emits, carry })
}

/// Replaces the states of the sequences in which a document starts at this token by fresh ones.
fn restarted(state: &Value, fresh: &Value, grid: &Grid, t: usize) -> Result<Value> {
    let starts: Vec<f64> = (0..grid.batch).map(|b| f64::from(u8::from(grid.pos[b * grid.len + t] == 0))).collect();
    if starts.iter().all(|&s| s == 0.0) {
        return Ok(state.clone());
    }
    if starts.iter().all(|&s| s == 1.0) {
        return Ok(fresh.clone());
    }
    let starts = Value::constant(starts, vec![grid.batch], vec![Dim::Batch], state.tensor.dtype())?;
    super::binary::select(&starts, fresh, state)
}

/// A capture, token by token.
enum Capture {
    Same(Value),
    Tokens(Vec<Value>),
}

impl Capture {
    fn of(x: &Value, grid: &Grid) -> Result<Self> {
        if !x.has(Dim::Time) {
            return Ok(Self::Same(x.clone()));
        }
        let order: Vec<Dim> =
            [Dim::Time].into_iter().chain(x.dims.iter().copied().filter(|&d| d != Dim::Time)).collect();
        let x = x.permuted(&order)?.contiguous()?;
        let mut tokens = Vec::with_capacity(grid.len);
        halve(&x.tensor, &mut tokens)?;
        if tokens.len() != grid.len {
            bail!("a capture has {} tokens of {}", tokens.len(), grid.len);
        }
        Ok(Self::Tokens(tokens.into_iter().map(|t| Value::new(t, order[1..].to_vec())).collect()))
    }

    fn at(&self, t: usize) -> &Value {
        match self {
            Self::Same(value) => value,
            Self::Tokens(tokens) => &tokens[t],
        }
    }
}

fn halve(x: &Tensor, tokens: &mut Vec<Tensor>) -> Result<()> {
    match x.dim(0)? {
        1 => tokens.push(x.squeeze(0)?),
        n => {
            halve(&x.narrow(0, 0, n / 2)?, tokens)?;
            halve(&x.narrow(0, n / 2, n - n / 2)?, tokens)?;
        }
    }
    Ok(())
}

/// Stacks tokens along time, which comes first.
fn over_time(tokens: &[Value]) -> Result<Value> {
    let all = Value::union(&tokens.iter().collect::<Vec<_>>());
    let parts: Vec<Tensor> = tokens.iter().map(|x| Ok(x.expanded(&all)?.tensor)).collect::<Result<_>>()?;
    let dims = [Dim::Time].into_iter().chain(all.iter().map(|&(d, _)| d)).collect();
    Ok(Value::new(Tensor::stack(&parts, 0)?, dims))
}
