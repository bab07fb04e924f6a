//! `lower_chunk`: a form as a loop over chunks, whose body is a graph over the chunk's rows ([`super::tile`]).
//!
//! Outside of the loop time becomes chunks and rows. Rows past a ragged end have keys of 0 and decays of 1, so that they leave the state
//! unchanged. Rotations are applied there too ([`super::turned`]). Parts that share their pairs of rows are states of one loop. The loop is
//! mapped over the batch and the heads: its body sees one head of one sequence.

use super::Form;
use super::factors::Rows;
use super::form::{Decay, Scaled, Seen};
use super::tile::Tile;
use super::turned::Frame;
use crate::graph::{AxisId, BinaryOp, Dag, NodeId};
use crate::lowered::{BATCH, Builder, DimId, Extent, Loop, LoopState, Lowered, Op, TIME, ValueId, order};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parameters of chunked lowering.
#[derive(Clone, Copy, Debug)]
pub struct ChunkEnv {
    /// Tokens per chunk.
    pub chunk: usize,
    /// Whether documents may start inside of the sequence: a state is `fresh` before their first token.
    pub resets: bool,
}

/// Initial values of a state.
#[derive(Clone, Copy, Debug)]
pub struct ChunkStart {
    /// Value before the first token: `[B, heads, K, V]` or fewer dimensions.
    pub first: ValueId,
    /// Value at a document's start: `[heads, K, V]` or fewer dimensions.
    pub fresh: ValueId,
}

/// Results of a chunked scan.
#[derive(Clone, Debug)]
pub struct ChunkResult {
    /// The emits, `[B, T, axes]`.
    pub reads: Vec<ValueId>,
    /// The state after the last token, `[B, heads, K, V]`.
    pub state: ValueId,
}

/// Position assigned to rows past the end: far inside of the last document.
const PAST_END: f64 = 1e9;

/// Lowers forms that run in one loop: one, or several with the same decay, angle, heads and DAG. `operand` returns the value of a node of
/// the DAG at the outer level, `[B, T, axes]` or without time; `starts` has each state's initial values.
pub fn lower_chunk(
    b: &mut Builder,
    forms: &[&Form],
    operand: &mut dyn FnMut(&mut Builder, &Dag, NodeId) -> ValueId,
    starts: &[ChunkStart],
    env: &ChunkEnv,
) -> Vec<ChunkResult> {
    let chunks = shared_dim(b, "chunks", Extent::Chunks(env.chunk), 1);
    let rows = shared_dim(b, "rows", Extent::Fixed(env.chunk), 2);
    let cols = shared_dim(b, "cols", Extent::Fixed(env.chunk), 3);
    let heads = dims_of(&forms[0].heads);
    let mut outer = Outer { chunks, rows, captures: Vec::new(), nodes: BTreeMap::new() };
    for form in forms {
        for (node, past) in operands(form) {
            outer.node(b, form, operand, node, past);
        }
    }
    let pos = env.resets.then(|| {
        let pos = b.op(Op::Pos, &[]);
        b.op(Op::Chunk { chunks, rows, fill: PAST_END }, &[pos])
    });
    let frame = forms[0].rotation.map(|rotation| {
        let starts = pos.map(|pos| {
            let zero = b.number(0.0);
            b.binary(BinaryOp::Eq, pos, zero)
        });
        let mut frame = Frame::new(b, &mut outer, forms[0], rotation, starts, operand);
        forms.iter().for_each(|form| frame.take(b, &mut outer, form, operand));
        frame
    });
    let ones = forms[0].negative.then(|| outer.ones(b));
    let pos = pos.map(|pos| outer.capture(pos));
    let restarts = |form: &Form| env.resets && !form.from_zero;
    let fresh: Vec<Option<usize>> =
        forms.iter().zip(starts).map(|(form, start)| restarts(form).then(|| outer.capture(start.fresh))).collect();

    let mut map = vec![BATCH];
    map.extend(&heads);
    order(b.dims, &mut map);
    let states = forms.iter().map(|form| {
        let mut dims = dims_of(&[form.keys.as_slice(), form.values.as_slice()].concat());
        order(b.dims, &mut dims);
        LoopState { name: form.state.name.clone(), dims }
    });
    let states: Vec<LoopState> = states.collect();

    let own: Vec<Vec<DimId>> = outer
        .captures
        .iter()
        .map(|c| b.dims_of(*c).iter().copied().filter(|d| *d != chunks && !map.contains(d)).collect())
        .collect();
    let mut body = b.body();
    let entries: Vec<ValueId> =
        states.iter().enumerate().map(|(i, s)| body.op(Op::State(i, s.dims.clone()), &[])).collect();
    let captured: Vec<ValueId> =
        own.into_iter().enumerate().map(|(i, dims)| body.op(Op::Capture(i, dims), &[])).collect();
    let nodes = outer.nodes.iter().map(|(key, i)| (*key, captured[*i])).collect();
    let turned = frame.map(|frame| frame.inside(&captured));
    let rates = Rows { rows, cols, ones: ones.map(|i| captured[i]), pos: pos.map(|i| captured[i]) };
    let mut factors = rates.factors(&mut body, forms[0], &nodes, forms.iter().any(|form| restarts(form)));
    let (mut next, mut emits) = (Vec::new(), Vec::new());
    for (i, form) in forms.iter().enumerate() {
        let tile = Tile {
            form,
            rows,
            cols,
            keys: dims_of(&form.keys),
            values: dims_of(&form.values),
            state: entries[i],
            nodes: &nodes,
            turned: turned.as_ref(),
            fresh: fresh[i].map(|c| captured[c]),
        };
        let tiled = tile.build(&mut body, &mut factors);
        next.push(body.expand(tiled.next, &states[i].dims));
        for read in tiled.reads {
            emits.push((format!("read{}", emits.len()), body.expand(read, &[rows])));
        }
    }
    let dag = body.dag;

    let op = Loop { over: chunks, reverse: false, map, states, body: dag, next, emits };
    let mut given: Vec<ValueId> = starts.iter().map(|s| s.first).collect();
    given.extend(&outer.captures);
    let node = b.op(Op::Loop(Arc::new(op)), &given);
    let mut number = 0;
    let mut results = Vec::new();
    for (i, form) in forms.iter().enumerate() {
        let mut reads = Vec::new();
        for read in &form.reads {
            let value = b.op(Op::Emit(number), &[node]);
            number += 1;
            let value = b.op(Op::Unchunk { chunks, rows }, &[value]);
            let kept = match read.side {
                super::Side::Key => dims_of(&form.values),
                super::Side::Value => dims_of(&form.keys),
            };
            let value = b.expand(value, &kept);
            reads.push(b.sum(value, &dims_of(&read.summed)));
        }
        results.push(ChunkResult { reads, state: b.op(Op::Final(i), &[node]) });
    }
    results
}

fn dims_of(axes: &[AxisId]) -> Vec<DimId> {
    axes.iter().map(|a| Lowered::axis_dim(*a)).collect()
}

/// A dimension shared by all chunked scans of a graph, so that they chunk a common operand once.
fn shared_dim(b: &mut Builder, name: &str, extent: Extent, rank: u8) -> DimId {
    let known = b.dims.iter().position(|d| d.name == name && d.extent == extent && d.rank == rank);
    known.map_or_else(|| b.dim(name, extent, rank), |i| DimId(i as u32))
}

/// Required value of an operand in rows past the end of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Past {
    /// Any value: its factors vanish there.
    Any,
    /// 0: a key, or the logarithm of a decay.
    Zero,
    /// 1: a decay itself.
    One,
}

/// Nodes of the form's DAG that the tile reads, with their required values past the end.
fn operands(form: &Form) -> Vec<(NodeId, Past)> {
    let mut nodes = Vec::new();
    let scaled = |s: &Scaled, nodes: &mut Vec<(NodeId, Past)>| {
        nodes.extend(s.scale.iter().chain(&s.vector).map(|n| (*n, Past::Any)));
    };
    nodes.extend(form.decay.node().map(|n| (n, form.decay.past())));
    let dots = |sees: &[Seen], nodes: &mut Vec<(NodeId, Past)>| {
        nodes.extend(sees.iter().filter_map(|s| if let Seen::Dot(n) = s { Some((*n, Past::Any)) } else { None }));
    };
    // rotated operands are captured after the rotation
    let turned = form.rotation.is_some();
    for event in &form.events {
        nodes.extend((!turned).then_some((event.key, Past::Zero)));
        event.values.iter().for_each(|v| scaled(v, &mut nodes));
        if let Some(delta) = &event.delta {
            scaled(&delta.key, &mut nodes);
            dots(&delta.sight.sees, &mut nodes);
        }
    }
    for read in &form.reads {
        nodes.extend((!turned).then_some((read.query, Past::Any)));
        dots(&read.sight.sees, &mut nodes);
    }
    nodes
}

impl Decay {
    /// Required value of its node past the end, so that the state stays unchanged.
    pub(super) fn past(self) -> Past {
        if let Self::Product(_) = self { Past::One } else { Past::Zero }
    }
}

/// Operands that the loop captures.
pub(super) struct Outer {
    chunks: DimId,
    pub rows: DimId,
    captures: Vec<ValueId>,
    nodes: BTreeMap<(NodeId, Past), usize>,
}

impl Outer {
    pub(super) fn capture(&mut self, value: ValueId) -> usize {
        self.captures.iter().position(|c| *c == value).unwrap_or_else(|| {
            self.captures.push(value);
            self.captures.len() - 1
        })
    }

    fn node(
        &mut self,
        b: &mut Builder,
        form: &Form,
        operand: &mut dyn FnMut(&mut Builder, &Dag, NodeId) -> ValueId,
        node: NodeId,
        past: Past,
    ) {
        let this = (node, past);
        if self.nodes.contains_key(&this) {
            return;
        }
        let value = operand(b, &form.dag, node);
        let timed = b.has(value, TIME);
        // an operand with time that may have any value vanishes as well
        let other = match past {
            Past::Any => Some(Past::Zero),
            Past::Zero => Some(Past::Any),
            Past::One => None,
        };
        let i = match other.and_then(|other| self.nodes.get(&(node, other))) {
            Some(i) if timed => *i,
            _ if timed || past != Past::Any => {
                let value = self.by_rows(b, value, if past == Past::One { 1.0 } else { 0.0 });
                self.capture(value)
            }
            _ => self.capture(value),
        };
        self.nodes.insert(this, i);
    }

    /// A value by chunks and rows, with a fill value past the end.
    pub(super) fn by_rows(&self, b: &mut Builder, value: ValueId, fill: f64) -> ValueId {
        let value = b.expand(value, &[TIME]);
        b.op(Op::Chunk { chunks: self.chunks, rows: self.rows, fill }, &[value])
    }

    /// 1 for every token, 0 past the end.
    fn ones(&mut self, b: &mut Builder) -> usize {
        let one = b.number(1.0);
        let ones = self.by_rows(b, one, 0.0);
        self.capture(ones)
    }
}
