//! Scans: chunk forms where the algebra allows it, else loops over tokens.
//!
//! Only what depends on a state stays in a loop; the rest was or is computed over `[B, T]`. So is the mask of a dropout,
//! whose draws belong to tokens.

use super::body::{Body, Reads};
use super::carried::state_name;
use super::loops::Recurrence;
use super::ordinary::{dims, ordinary};
use super::tokens::Lowering;
use crate::graph::{self, NodeId, Op as Source, Scan};
use crate::lowered::{BATCH, Builder, Carry, Keep, LoopState, Op, TIME, ValueId, order};
use crate::scan::{ChunkEnv, Form, ScanClass, lower_chunk};

/// Lowers a scan; gives its emits, `[B, T, ..]`.
pub(super) fn lower_scan<'a>(l: &mut Lowering<'a>, id: NodeId, scan: &'a Scan) -> Vec<ValueId> {
    let operands: Vec<ValueId> = l.graph.dag.operands(id).iter().map(|o| l.value(*o)).collect();
    let (inits, captures) = operands.split_at(scan.states.len());
    let first = first_states(l, id, scan, inits);
    let class = l.classes.parts.get(&id).map(|part| &part.class);
    let (emits, last) = match (class, l.options.chunk) {
        (Some(ScanClass::Chunk(form)), Some(tokens)) => in_chunks(l, form, tokens, inits[0], first[0]),
        (class, _) => {
            let own_ways = matches!(class, Some(ScanClass::Elementwise(_)));
            by_token(l, scan, inits, captures, &first, own_ways)
        }
    };
    if l.options.carry {
        for (state, value) in scan.states.iter().zip(last) {
            let name = state_name(l.origin(id).node, state.number);
            // a second hop runs the same recurrence again
            if !l.carries.iter().any(|c| c.name == name) {
                l.carries.push(Carry { name, value, keep: Keep::Whole });
            }
        }
    }
    emits
}

/// The states before the first token.
fn first_states(l: &mut Lowering<'_>, id: NodeId, scan: &Scan, inits: &[ValueId]) -> Vec<ValueId> {
    if !l.options.carry {
        return inits.to_vec();
    }
    let starts = l.starts();
    let starts = l.b.op(Op::Pick(TIME, 0), &[starts]);
    let mut first = Vec::with_capacity(inits.len());
    for (i, init) in inits.iter().enumerate() {
        let mut own = dims(&scan.states[i].axes);
        own.push(BATCH);
        let before = l.carried(&state_name(l.origin(id).node, scan.states[i].number), own);
        first.push(l.b.op(Op::Select, &[starts, *init, before]));
    }
    first
}

/// A recurrence in normal form: its emits, and its state in the end.
fn in_chunks(
    l: &mut Lowering<'_>,
    form: &Form,
    chunk: usize,
    fresh: ValueId,
    first: ValueId,
) -> (Vec<ValueId>, Vec<ValueId>) {
    let leaves: Vec<ValueId> = form.leaves.iter().map(|n| l.value(*n)).collect();
    let (graph, training) = (l.graph, l.options.training);
    let mut values: Vec<Option<ValueId>> = vec![None; form.dag.len()];
    let mut operand = |b: &mut Builder<'_>, dag: &graph::Dag, root: NodeId| -> ValueId {
        let needed = dag.reachable(&[root]);
        for id in dag.ids().take(root.0 as usize + 1) {
            let i = id.0 as usize;
            if needed[i] && values[i].is_none() {
                let value = match dag.op(id) {
                    Source::Capture(c) => leaves[*c],
                    op => {
                        let x: Vec<ValueId> = dag
                            .operands(id)
                            .iter()
                            .map(|o| values[o.0 as usize].expect("archc bug: an operand comes after its user"))
                            .collect();
                        ordinary(graph, b, op, &x, training)
                    }
                };
                values[i] = Some(value);
            }
        }
        values[root.0 as usize].expect("archc bug: a root of a form is not in it")
    };
    let env = ChunkEnv { chunk, resets: l.options.resets, fresh };
    let done = lower_chunk(&mut l.b, form, &mut operand, first, &env);
    (done.reads, vec![done.state])
}

/// A loop: its emits, and its states in the end. `own_ways`: every number of the state goes its own way, by sums and products.
fn by_token<'a>(
    l: &mut Lowering<'a>,
    scan: &'a Scan,
    inits: &[ValueId],
    captures: &[ValueId],
    first: &[ValueId],
    own_ways: bool,
) -> (Vec<ValueId>, Vec<ValueId>) {
    let body = Body::new(l, scan, captures);
    let map = body.map();
    let states: Vec<LoopState> = scan
        .states
        .iter()
        .map(|state| {
            let mut own = dims(&state.axes);
            own.push(BATCH);
            own.retain(|d| !map.contains(d));
            order(l.b.dims, &mut own);
            LoopState { name: state.name.clone(), dims: own }
        })
        .collect();
    let mut reads = Reads { captures: body.captures(), restart: None, valid: None };
    if l.options.resets {
        let starts = l.starts();
        reads.restart = Some(reads.captures.len());
        reads.captures.extend(inits);
        reads.captures.push(starts);
    }
    let hold = l.options.carry || !own_ways || !body.is_finite();
    let recurrence = Recurrence { body: &body, map, states, first, reads };
    let (emitted, last) = match l.options.chunk {
        None => recurrence.over_time(l),
        Some(tokens) => recurrence.over_chunks(l, tokens, hold),
    };
    let mut emitted = emitted.into_iter();
    let emit = |(_, e): &(String, NodeId)| match body.outer[e.0 as usize] {
        Some(outer) => outer,
        None => emitted.next().expect("archc bug: a loop gives fewer values than its scan"),
    };
    (scan.emits.iter().map(emit).collect(), last)
}
