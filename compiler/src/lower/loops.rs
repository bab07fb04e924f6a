//! Recurrences as loops: over time, or over chunks of loops over rows.

use super::body::{Body, Reads};
use super::tokens::Lowering;
use crate::lowered::{Builder, Dag, DimId, Loop, LoopState, Op, TIME, ValueId};
use std::sync::Arc;

/// A scan that runs token by token.
pub(super) struct Recurrence<'r> {
    pub body: &'r Body<'r>,
    /// Dimensions whose indices are independent.
    pub map: Vec<DimId>,
    pub states: Vec<LoopState>,
    /// States before the first token.
    pub first: &'r [ValueId],
    pub reads: Reads,
}

impl Recurrence<'_> {
    /// One loop over time; returns its emits and its final states.
    pub fn over_time(self, l: &mut Lowering<'_>) -> (Vec<ValueId>, Vec<ValueId>) {
        let Self { body, map, states, first, reads } = &self;
        let gone = [map.as_slice(), &[TIME]].concat();
        let own = reads.captures.iter().map(|c| without(l.b.dims_of(*c), &gone)).collect();
        let mut inner = l.b.body();
        let (before, given) = leaves(&mut inner, states, own);
        let (next, emits) = body.emit(&mut inner, states, &before, reads, &given);
        let dag = inner.dag;
        let operands = [*first, &reads.captures].concat();
        add_loop(&mut l.b, the_loop(TIME, map, states, dag, next, emits), &operands)
    }

    /// A loop over chunks of a loop over rows. `hold`: rows past the end leave the states unchanged. Otherwise they are tokens of zeros,
    /// whose results are never read and whose gradients are 0.
    pub fn over_chunks(self, l: &mut Lowering<'_>, tokens: usize, hold: bool) -> (Vec<ValueId>, Vec<ValueId>) {
        let Self { body, map, states, first, mut reads } = self;
        let (chunks, rows) = l.chunks(tokens);
        let base = reads.restart.unwrap_or(reads.captures.len());
        if hold {
            l.b.name.clear();
            let one = l.b.number(1.0);
            let valid = l.b.expand(one, &[TIME]);
            reads.valid = Some(reads.captures.len());
            reads.captures.push(valid);
        }
        let mut operands = first.to_vec();
        for (i, capture) in reads.captures.iter().enumerate() {
            // a loop that holds its states may divide by an operand or take its logarithm: a row past the end is a token of ones
            let fill = if hold && i < base { 1.0 } else { 0.0 };
            let value = match l.b.has(*capture, TIME) {
                true => l.b.op(Op::Chunk { chunks, rows, fill }, &[*capture]),
                false => *capture,
            };
            operands.push(value);
        }
        let gone = [map.as_slice(), &[chunks]].concat();
        let own: Vec<Vec<DimId>> = operands[states.len()..].iter().map(|c| without(l.b.dims_of(*c), &gone)).collect();
        let mut outer = l.b.body();
        let (entry, given) = leaves(&mut outer, &states, own.clone());
        let mut inner = outer.body();
        let (before, row) = leaves(&mut inner, &states, own.iter().map(|o| without(o, &[rows])).collect());
        let (next, emits) = body.emit(&mut inner, &states, &before, &reads, &row);
        let dag = inner.dag;
        let names: Vec<String> = emits.iter().map(|e| e.0.clone()).collect();
        let inner = the_loop(rows, &[], &states, dag, next, emits);
        let (emitted, last) = add_loop(&mut outer, inner, &[entry, given].concat());
        let emits = names.into_iter().zip(emitted).collect();
        let outer = the_loop(chunks, &map, &states, outer.dag, last, emits);
        let (emitted, last) = add_loop(&mut l.b, outer, &operands);
        let emitted = emitted.into_iter().map(|e| l.b.op(Op::Unchunk { chunks, rows }, &[e])).collect();
        (emitted, last)
    }
}

/// Dimensions other than those of a loop.
fn without(dims: &[DimId], gone: &[DimId]) -> Vec<DimId> {
    dims.iter().copied().filter(|d| !gone.contains(d)).collect()
}

/// Leaves of a body: its states, and its captures with these dimensions.
fn leaves(b: &mut Builder<'_>, states: &[LoopState], captures: Vec<Vec<DimId>>) -> (Vec<ValueId>, Vec<ValueId>) {
    let mut before = Vec::with_capacity(states.len());
    for (i, state) in states.iter().enumerate() {
        b.name.clone_from(&state.name);
        before.push(b.op(Op::State(i, state.dims.clone()), &[]));
    }
    b.name.clear();
    let given = captures.into_iter().enumerate().map(|(i, own)| b.op(Op::Capture(i, own), &[])).collect();
    (before, given)
}

/// Adds a loop to a graph; returns its emits and its final states.
fn add_loop(b: &mut Builder<'_>, l: Loop, operands: &[ValueId]) -> (Vec<ValueId>, Vec<ValueId>) {
    let (names, states): (Vec<String>, Vec<String>) =
        (l.emits.iter().map(|e| e.0.clone()).collect(), l.states.iter().map(|s| s.name.clone()).collect());
    b.name.clear();
    let node = b.op(Op::Loop(Arc::new(l)), operands);
    let mut read = |list: Vec<String>, op: fn(usize) -> Op| -> Vec<ValueId> {
        let each = list.into_iter().enumerate();
        each.map(|(i, name)| {
            b.name = name;
            b.op(op(i), &[node])
        })
        .collect()
    };
    (read(names, Op::Emit), read(states, Op::Final))
}

/// A loop that runs forward.
fn the_loop(
    over: DimId,
    map: &[DimId],
    states: &[LoopState],
    body: Dag,
    next: Vec<ValueId>,
    emits: Vec<(String, ValueId)>,
) -> Loop {
    Loop { over, reverse: false, map: map.to_vec(), states: states.to_vec(), body, next, emits }
}
