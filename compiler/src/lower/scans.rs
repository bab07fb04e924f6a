//! Scans: chunk forms where the algebra allows it, a plain sum as one op over the sequence, otherwise loops over tokens.
//!
//! Only values that depend on a state stay in a loop; all others are computed over `[B, T]`. This includes the mask of a dropout, whose
//! draws belong to tokens.

use super::body::{Body, Reads};
use super::carried::state_name;
use super::loops::Recurrence;
use super::ordinary::{dims, ordinary};
use super::tokens::Lowering;
use crate::graph::{self, BinaryOp, NodeId, Op as Source, Scan, UnaryOp};
use crate::lowered::{BATCH, Builder, Carry, Keep, LoopState, Lowered, Op, TIME, ValueId, order};
use crate::scan::{ChunkEnv, ChunkStart, Elementwise, Form, ScanClass, lower_chunk, stacked};

/// Lowers a scan together with the others of its loop; returns the emits of each, `[B, T, ..]`.
pub(super) fn lower_scan<'a>(l: &mut Lowering<'a>, id: NodeId, scan: &'a Scan) -> Vec<(NodeId, Vec<ValueId>)> {
    let class = l.classes.parts.get(&id).map(|part| &part.class);
    if let (Some(ScanClass::Chunk(_)), Some(tokens)) = (class, l.options.chunk) {
        return in_chunks(l, id, tokens);
    }
    let operands: Vec<ValueId> = l.graph.dag.operands(id).iter().map(|o| l.value(*o)).collect();
    let (inits, captures) = operands.split_at(scan.states.len());
    if let Some(ScanClass::Elementwise(Elementwise::Sum(term))) = class
        && (l.options.chunk.is_some() || l.options.carry)
    {
        return vec![(id, summed(l, id, scan, captures, inits[0], *term))];
    }
    let first = first_states(l, id, scan, inits);
    let own_ways = matches!(class, Some(ScanClass::Elementwise(_)));
    let (emits, last) = by_token(l, scan, inits, captures, &first, own_ways);
    leave(l, id, scan, last);
    vec![(id, emits)]
}

/// A value in two parts: the low one is the rounding error of the high one. It is 0 for exact values.
#[derive(Clone, Copy, Debug)]
struct Double {
    high: ValueId,
    low: ValueId,
}

impl Double {
    fn exact(l: &mut Lowering<'_>, high: ValueId) -> Self {
        Self { high, low: l.b.number(0.0) }
    }

    /// The sum with its rounding error (TwoSum: Knuth, The Art of Computer Programming 2, 4.2.2, theorem B). Its gradient is that of the
    /// high parts.
    fn plus(self, l: &mut Lowering<'_>, other: Self) -> Self {
        let sum = |l: &mut Lowering<'_>, a: ValueId, b: ValueId, low: Option<ValueId>| {
            let sum = l.b.add(a, b);
            let second = l.b.sub(sum, a);
            let first = l.b.sub(sum, second);
            let [first, second] = [l.b.sub(a, first), l.b.sub(b, second)];
            let mut lost = l.b.add(first, second);
            if let Some(low) = low {
                lost = l.b.add(lost, low);
            }
            // an infinite value has no low part
            let (size, most, none) = (l.b.unary(UnaryOp::Abs, sum), l.b.number(f64::from(f32::MAX)), l.b.number(0.0));
            let finite = l.b.binary(BinaryOp::Le, size, most);
            lost = l.b.op(Op::Select, &[finite, lost, none]);
            [sum, l.b.op(Op::StopGrad, &[lost])]
        };
        let low = l.b.add(self.low, other.low);
        let [high, low] = sum(l, self.high, other.high, Some(low));
        let [high, low] = sum(l, high, low, None);
        Self { high, low }
    }

    /// This value where the condition is not 0, else the other.
    fn where_or(self, l: &mut Lowering<'_>, condition: ValueId, other: Self) -> Self {
        let select = |l: &mut Lowering<'_>, a, b| l.b.op(Op::Select, &[condition, a, b]);
        Self { high: select(l, self.high, other.high), low: select(l, self.low, other.low) }
    }
}

/// A running sum over all tokens that restarts in each document: its emits, and the last sum. `init` is its initial value; with a carry,
/// the sum before the first token is the carried one. All sums are kept in two parts, so that differences of large sums have their digits
/// however long the document is and however it was cut.
fn summed<'a>(
    l: &mut Lowering<'a>,
    id: NodeId,
    scan: &'a Scan,
    captures: &[ValueId],
    init: ValueId,
    term: NodeId,
) -> Vec<ValueId> {
    let body = Body::new(l, scan, captures);
    let x = body.outer[term.0 as usize].expect("archc bug: a term of a running sum depends on it");
    // a term may lack axes of its sum
    let state = dims(&scan.states[0].axes);
    let own = [state.clone(), vec![BATCH, TIME]].concat();
    let x = l.b.expand(x, &own);
    let starts = l.options.resets.then(|| l.starts());
    let sum = |l: &mut Lowering<'_>, reverse: bool, exclusive: bool, x: ValueId| {
        let operands: Vec<ValueId> = [x].into_iter().chain(starts.filter(|_| !reverse)).collect();
        let high = l.b.op(Op::Cumsum { dim: TIME, reverse, exclusive }, &operands);
        Double { high, low: l.b.op(Op::CumsumLow { dim: TIME, reverse, exclusive }, &operands) }
    };
    let init = Double::exact(l, init);
    let name = state_name(l.origin(id).node, scan.states[0].number);
    let (mut first, mut before) = (init, None);
    if l.options.carry {
        let [high, low] =
            [l.carried(&name, [&state[..], &[BATCH]].concat()), l.carried_low(&name, [&state[..], &[BATCH]].concat())];
        let at_first = l.starts();
        let at_first = l.b.op(Op::Pick(TIME, 0), &[at_first]);
        first = init.where_or(l, at_first, Double { high, low });
    }
    if l.options.carry || !is_zero(&l.b, init.high) {
        // sum before each token of a document
        before = Some(match starts {
            Some(starts) => {
                // tokens of the document that starts here or continues
                let others = l.b.op(Op::Cumsum { dim: TIME, reverse: false, exclusive: false }, &[starts]);
                let at_first = l.b.op(Op::Pick(TIME, 0), &[starts]);
                let later = l.b.sub(others, at_first);
                init.where_or(l, later, first)
            }
            None => first,
        });
    }
    let from = |l: &mut Lowering<'_>, before: Option<Double>, sum: Double| match before {
        Some(before) => before.plus(l, sum),
        None => sum,
    };
    let mut emits = Vec::with_capacity(scan.emits.len());
    for (_, emit) in &scan.emits {
        let exclusive = matches!(scan.body.op(*emit), Source::State(_));
        let total = sum(l, false, exclusive, x);
        let total = from(l, before, total);
        l.low_parts.insert(total.high, total.low);
        emits.push(total.high);
    }
    if l.options.carry {
        // restricted to the last document
        let (mut of_last, mut from_there) = (x, first);
        if let Some(starts) = starts {
            let later = l.b.op(Op::Cumsum { dim: TIME, reverse: true, exclusive: true }, &[starts]);
            let none = l.b.number(0.0);
            of_last = l.b.op(Op::Select, &[later, none, x]);
            let later = l.b.op(Op::Pick(TIME, 0), &[later]);
            from_there = init.where_or(l, later, first);
        }
        let all = sum(l, true, false, of_last);
        let all = Double { high: l.b.op(Op::Pick(TIME, 0), &[all.high]), low: l.b.op(Op::Pick(TIME, 0), &[all.low]) };
        let last = from_there.plus(l, all);
        l.carries.push(Carry { name, value: last.high, low: Some(last.low), keep: Keep::Whole });
    }
    emits
}

/// Whether a value is the constant 0.
fn is_zero(b: &Builder<'_>, value: ValueId) -> bool {
    let node = b.dag.node(value);
    match node.op {
        Op::Const(x) => x == 0.0,
        Op::Expand(_) => is_zero(b, b.dag.operands(value)[0]),
        _ => false,
    }
}

/// Carries the last states on to the next piece.
fn leave(l: &mut Lowering<'_>, id: NodeId, scan: &Scan, last: Vec<ValueId>) {
    if l.options.carry {
        for (state, value) in scan.states.iter().zip(last) {
            let name = state_name(l.origin(id).node, state.number);
            // a second hop runs the same recurrence again
            if !l.carries.iter().any(|c| c.name == name) {
                l.carries.push(Carry { name, value, low: None, keep: Keep::Whole });
            }
        }
    }
}

/// States before the first token.
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

/// Emits of the recurrences in normal form that run in one loop.
fn in_chunks(l: &mut Lowering<'_>, id: NodeId, chunk: usize) -> Vec<(NodeId, Vec<ValueId>)> {
    let (graph, training, classes) = (l.graph, l.options.training, l.classes);
    let (mut members, mut forms, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for member in classes.together(id) {
        let class = classes.parts.get(&member).map(|part| &part.class);
        if let (Some(ScanClass::Chunk(form)), Source::Scan(scan)) = (class, graph.dag.op(member))
            && l.is_live(member)
        {
            let operands = [graph.dag.operands(member), &form.leaves_used()].concat();
            l.lower_early(&operands);
            let inits: Vec<ValueId> =
                graph.dag.operands(member)[..scan.states.len()].iter().map(|o| l.value(*o)).collect();
            let first = first_states(l, member, scan, &inits);
            members.push((member, scan));
            forms.push(&**form);
            starts.push(ChunkStart { first: one_state(l, form, &first), fresh: one_state(l, form, &inits) });
        }
    }
    l.at(id);
    // the forms of one loop have one DAG
    let form = forms[0];
    let leaves: Vec<Option<ValueId>> = form.leaves.iter().map(|n| l.lowered(*n)).collect();
    let mut values: Vec<Option<ValueId>> = vec![None; form.dag.len()];
    let mut operand = |b: &mut Builder<'_>, dag: &graph::Dag, root: NodeId| -> ValueId {
        let needed = dag.reachable(&[root]);
        for id in dag.ids().take(root.0 as usize + 1) {
            let i = id.0 as usize;
            if needed[i] && values[i].is_none() {
                let value = match dag.op(id) {
                    Source::Capture(c) => leaves[*c].expect("archc bug: a leaf of a form is not lowered"),
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
    let env = ChunkEnv { chunk, resets: l.options.resets };
    let done = lower_chunk(&mut l.b, &forms, &mut operand, &starts, &env);
    let mut emits = Vec::new();
    for (((member, scan), form), result) in members.into_iter().zip(&forms).zip(done) {
        let last = own_states(l, form, result.state);
        leave(l, member, scan, last);
        emits.push((member, result.reads));
    }
    emits
}

/// The states of a scan as the single state of its form: complex numbers as their parts.
fn one_state(l: &mut Lowering<'_>, form: &Form, states: &[ValueId]) -> ValueId {
    match (form.rotation, states) {
        (Some(_), [re, im]) if re == im && form.from_zero => *re,
        (Some(rotation), [re, im]) => stacked(&mut l.b, [*re, *im], Lowered::axis_dim(rotation.part)),
        _ => states[0],
    }
}

/// The states of a scan from the single state of its form.
fn own_states(l: &mut Lowering<'_>, form: &Form, state: ValueId) -> Vec<ValueId> {
    match form.rotation {
        Some(rotation) => {
            let part = Lowered::axis_dim(rotation.part);
            (0..2).map(|i| l.b.op(Op::Pick(part, i), &[state])).collect()
        }
        None => vec![state],
    }
}

/// A loop over tokens: its emits and its final states. `own_ways`: every element of the state evolves independently, by sums and products.
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
