//! Scans as loops: over time, or over chunks of loops over rows.
//!
//! Only what depends on a state stays in the body; the rest was or is computed over `[B, T]`. So is the mask of a dropout,
//! whose draws belong to tokens.

use super::ordinary::{dims, names, ordinary};
use super::tokens::Lowering;
use crate::graph::{self, AxisId, Graph, NodeId, Op as Source, Scan};
use crate::lowered::{BATCH, Builder, Carry, Dag, DimId, Loop, LoopState, Op, TIME, ValueId, order};
use crate::scan::{ChunkEnv, Form, ScanClass, lower_chunk};

/// States of at least so many numbers a sequence make a body that is wide enough without the batch.
const WIDE_STATE: usize = 1024;
/// Numbers that must be left in a body from which axes are mapped away.
const WIDE_BODY: usize = 256;

/// A scan's body, taken apart.
struct Body<'s> {
    graph: &'s Graph,
    scan: &'s Scan,
    /// For each node that a result needs: whether it depends on a state; none for the others.
    depends: Vec<Option<bool>>,
    /// The outer value of each node that does not.
    outer: Vec<Option<ValueId>>,
    /// The outer mask of each dropout that does.
    masks: Vec<Option<ValueId>>,
    training: bool,
}

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
        for (i, value) in last.into_iter().enumerate() {
            l.carries.push(Carry { name: format!("scan{}.{i}", id.0), value, last: None });
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
        let before = l.carried(&format!("scan{}.{i}", id.0), own);
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
    let hold = l.options.carry || !own_ways || !body.inside().all(|id| finite(scan.body.op(id)));
    if l.options.resets {
        let starts = l.starts();
        reads.restart = Some(reads.captures.len());
        reads.captures.extend(inits);
        reads.captures.push(starts);
    }
    let (emitted, last) = match l.options.chunk {
        None => over_time(l, &body, &map, &states, first, &reads),
        Some(tokens) => over_chunks(l, &body, &map, &states, first, reads, tokens, hold),
    };
    let mut emitted = emitted.into_iter();
    let emit = |(_, e): &(String, NodeId)| match body.outer[e.0 as usize] {
        Some(outer) => outer,
        None => emitted.next().expect("archc bug: a loop gives fewer values than its scan"),
    };
    (scan.emits.iter().map(emit).collect(), last)
}

/// What a loop's body reads beside the states.
struct Reads {
    /// Outer values: those of the body, then with resets the initial values and the mask of starts, then the mask of rows.
    captures: Vec<ValueId>,
    /// Where the initial values are, if documents may start inside of the sequence.
    restart: Option<usize>,
    /// Where the mask of rows that are tokens is.
    valid: Option<usize>,
}

impl<'s> Body<'s> {
    /// Lowers what does not depend on a state.
    fn new(l: &mut Lowering<'s>, scan: &'s Scan, captures: &[ValueId]) -> Self {
        let dag = &scan.body;
        let roots: Vec<NodeId> = scan.next.iter().copied().chain(scan.emits.iter().map(|e| e.1)).collect();
        let live = dag.reachable(&roots);
        let mut body = Self {
            graph: l.graph,
            scan,
            depends: vec![None; dag.len()],
            outer: vec![None; dag.len()],
            masks: vec![None; dag.len()],
            training: l.options.training,
        };
        for id in dag.ids().filter(|id| live[id.0 as usize]) {
            let (i, node, operands) = (id.0 as usize, dag.node(id), dag.operands(id));
            l.b.name.clone_from(&node.name);
            l.b.place = node.place;
            let depends = match &node.op {
                Source::State(_) => true,
                _ => operands.iter().any(|o| body.depends[o.0 as usize] == Some(true)),
            };
            body.depends[i] = Some(depends);
            if !depends {
                body.outer[i] = Some(match &node.op {
                    Source::Capture(c) => captures[*c],
                    op => {
                        let x: Vec<ValueId> = operands.iter().map(|o| body.free(*o)).collect();
                        ordinary(l.graph, &mut l.b, op, &x, body.training)
                    }
                });
            } else if let (Source::Dropout { path }, true) = (&node.op, body.training) {
                let one = l.b.number(1.0);
                let mut all = dims(&node.ty.axes);
                all.extend([BATCH, TIME]);
                let ones = l.b.expand(one, &all);
                let p = body.free(operands[1]);
                body.masks[i] = Some(l.b.op(Op::Dropout { path: path.clone() }, &[ones, p]));
            }
        }
        body
    }

    fn free(&self, id: NodeId) -> ValueId {
        self.outer[id.0 as usize].unwrap_or_else(|| panic!("archc bug: %{} of a scan has no outer value", id.0))
    }

    /// Nodes of the loop's body, in order.
    fn inside(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.scan.body.ids().filter(|id| self.depends[id.0 as usize] == Some(true))
    }

    fn is_number(&self, id: NodeId) -> Option<f64> {
        match self.scan.body.op(id) {
            Source::Const(x) => Some(*x),
            _ => None,
        }
    }

    /// Outer values that the loop's body reads, each once.
    fn captures(&self) -> Vec<ValueId> {
        let mut captures = Vec::new();
        let mut add = |value: ValueId| {
            if !captures.contains(&value) {
                captures.push(value);
            }
        };
        for id in self.inside() {
            let mut operands = self.scan.body.operands(id);
            if let (Source::Dropout { .. }, true) = (self.scan.body.op(id), operands.len() == 2) {
                operands.truncate(1);
            }
            for o in operands {
                if self.depends[o.0 as usize] == Some(false) && self.is_number(o).is_none() {
                    add(self.free(o));
                }
            }
            if let Some(mask) = self.masks[id.0 as usize] {
                add(mask);
            }
        }
        for next in &self.scan.next {
            if self.depends[next.0 as usize] == Some(false) {
                add(self.free(*next));
            }
        }
        captures
    }

    /// Dimensions whose indices the loop takes apart: the batch where the states alone make wide ops, and axes over which
    /// body and states are independent as long as enough is left.
    fn map(&self) -> Vec<DimId> {
        let size = |axes: &[AxisId]| axes.iter().fold(1usize, |n, a| n.saturating_mul(self.graph.size(*a)));
        let numbers = self.scan.states.iter().fold(0usize, |n, s| n.saturating_add(size(&s.axes)));
        if numbers < WIDE_STATE {
            return Vec::new();
        }
        let mut map = vec![BATCH];
        let mut left = numbers;
        for axis in self.scan.states[0].axes.iter().copied() {
            let rest = left / self.graph.size(axis);
            if rest >= WIDE_BODY && self.independent(axis) {
                map.push(dims(&[axis])[0]);
                left = rest;
            }
        }
        map
    }

    /// Whether no index along the axis reads another: everything in the body has it, and no op is over it.
    fn independent(&self, axis: AxisId) -> bool {
        let dag = &self.scan.body;
        let states = self.scan.states.iter().all(|s| s.axes.contains(&axis));
        states && self.inside().all(|id| dag.ty(id).axes.contains(&axis) && !names(dag.op(id)).contains(&axis))
    }

    /// The body's ops at one token: next states and those emits that depend on a state.
    fn emit(
        &self,
        b: &mut Builder<'_>,
        states: &[LoopState],
        before: &[ValueId],
        reads: &Reads,
        given: &[ValueId],
    ) -> (Vec<ValueId>, Vec<(String, ValueId)>) {
        let mut old = before.to_vec();
        if let Some(base) = reads.restart {
            let starts = given[base + old.len()];
            for (i, state) in old.iter_mut().enumerate() {
                *state = b.op(Op::Select, &[starts, given[base + i], *state]);
            }
        }
        let at = |value: ValueId| {
            let i = reads.captures.iter().position(|c| *c == value);
            given[i.expect("archc bug: a body reads what it does not capture")]
        };
        let dag = &self.scan.body;
        let mut values: Vec<Option<ValueId>> = vec![None; dag.len()];
        let value = |b: &mut Builder<'_>, values: &[Option<ValueId>], o: NodeId| match values[o.0 as usize] {
            Some(value) => value,
            None => match self.is_number(o) {
                Some(x) => b.number(x),
                None => at(self.free(o)),
            },
        };
        for id in self.inside() {
            let node = dag.node(id);
            b.name.clone_from(&node.name);
            b.place = node.place;
            let operands = dag.operands(id);
            let new = match &node.op {
                Source::State(i) => old[*i],
                Source::Dropout { .. } => {
                    let x = value(b, &values, operands[0]);
                    match self.masks[id.0 as usize] {
                        Some(mask) => b.mul(x, at(mask)),
                        None => x,
                    }
                }
                op => {
                    let x: Vec<ValueId> = operands.iter().map(|o| value(b, &values, *o)).collect();
                    ordinary(self.graph, b, op, &x, false)
                }
            };
            values[id.0 as usize] = Some(new);
        }
        let mut next = Vec::with_capacity(states.len());
        for (i, n) in self.scan.next.iter().enumerate() {
            b.name.clone_from(&states[i].name);
            let mut new = value(b, &values, *n);
            if let Some(valid) = reads.valid {
                new = b.op(Op::Select, &[given[valid], new, old[i]]);
            }
            next.push(b.expand(new, &states[i].dims));
        }
        let emits = self.scan.emits.iter().filter(|(_, e)| self.depends[e.0 as usize] == Some(true));
        let emits = emits.map(|(name, e)| (name.clone(), values[e.0 as usize].expect("archc bug: an emit is dead")));
        (next, emits.collect())
    }
}

/// Whether an op has a finite value and derivative wherever its operands are finite and moderate, 0 included.
pub(super) fn finite(op: &Source) -> bool {
    use crate::graph::{BinaryOp, UnaryOp};
    !matches!(
        op,
        Source::Binary(BinaryOp::Div | BinaryOp::Rem | BinaryOp::Pow)
            | Source::Unary(
                UnaryOp::Log | UnaryOp::Log1p | UnaryOp::Sqrt | UnaryOp::Rsqrt | UnaryOp::Powi(i32::MIN..0)
            )
    )
}

/// Dimensions without those of a loop.
fn without(dims: &[DimId], gone: &[DimId]) -> Vec<DimId> {
    dims.iter().copied().filter(|d| !gone.contains(d)).collect()
}

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

/// Adds a loop to a graph; gives what it emits and its states in the end.
fn add_loop(b: &mut Builder<'_>, l: Loop, operands: &[ValueId]) -> (Vec<ValueId>, Vec<ValueId>) {
    let (names, states): (Vec<String>, Vec<String>) =
        (l.emits.iter().map(|e| e.0.clone()).collect(), l.states.iter().map(|s| s.name.clone()).collect());
    b.name.clear();
    let node = b.op(Op::Loop(Box::new(l)), operands);
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

fn over_time(
    l: &mut Lowering<'_>,
    body: &Body<'_>,
    map: &[DimId],
    states: &[LoopState],
    first: &[ValueId],
    reads: &Reads,
) -> (Vec<ValueId>, Vec<ValueId>) {
    let gone = [map, &[TIME]].concat();
    let own = reads.captures.iter().map(|c| without(l.b.dims_of(*c), &gone)).collect();
    let mut inner = l.b.body();
    let (before, given) = leaves(&mut inner, states, own);
    let (next, emits) = body.emit(&mut inner, states, &before, reads, &given);
    let dag = inner.dag;
    let operands = [first, &reads.captures].concat();
    add_loop(&mut l.b, the_loop(TIME, map, states, dag, next, emits), &operands)
}

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

/// A loop over chunks of a loop over rows. `hold`: rows past the end leave the states as they are. Without it they are tokens
/// of zeros, whose results nothing reads and whose gradients are 0.
#[allow(clippy::too_many_arguments)]
fn over_chunks(
    l: &mut Lowering<'_>,
    body: &Body<'_>,
    map: &[DimId],
    states: &[LoopState],
    first: &[ValueId],
    mut reads: Reads,
    tokens: usize,
    hold: bool,
) -> (Vec<ValueId>, Vec<ValueId>) {
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
        // what holds its states may divide by an operand or take its logarithm: a row past the end is a token of ones
        let fill = if hold && i < base { 1.0 } else { 0.0 };
        let value = match l.b.has(*capture, TIME) {
            true => l.b.op(Op::Chunk { chunks, rows, fill }, &[*capture]),
            false => *capture,
        };
        operands.push(value);
    }
    let gone = [map, &[chunks]].concat();
    let own: Vec<Vec<DimId>> = operands[states.len()..].iter().map(|c| without(l.b.dims_of(*c), &gone)).collect();
    let mut outer = l.b.body();
    let (entry, given) = leaves(&mut outer, states, own.clone());
    let mut inner = outer.body();
    let (before, row) = leaves(&mut inner, states, own.iter().map(|o| without(o, &[rows])).collect());
    let (next, emits) = body.emit(&mut inner, states, &before, &reads, &row);
    let dag = inner.dag;
    let names: Vec<String> = emits.iter().map(|e| e.0.clone()).collect();
    let inner = the_loop(rows, &[], states, dag, next, emits);
    let (emitted, last) = add_loop(&mut outer, inner, &[entry, given].concat());
    let emits = names.into_iter().zip(emitted).collect();
    let outer = the_loop(chunks, map, states, outer.dag, last, emits);
    let (emitted, last) = add_loop(&mut l.b, outer, &operands);
    let emitted = emitted.into_iter().map(|e| l.b.op(Op::Unchunk { chunks, rows }, &[e])).collect();
    (emitted, last)
}
