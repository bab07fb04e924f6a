//! One chunk of one head: a form's equations over rows.
//!
//! With g the log decays, G_i their sum over the rows up to i, S the state at the chunk's entry:
//! - row i keeps exp(G_i) of S, or exp(G_{i-1}) before its own decay;
//! - the writes of row j have decayed by exp(G_i - G_j) when row i reads them, and by exp(G_C - G_j) at the chunk's end. Neither factor is
//!   formed as a quotient: 1 / exp(G_j) would overflow;
//! - a reader a and an event with key b have A_ij = a_i . b_j times that decay, for the rows j that i sees;
//! - events without a delta have u = v. Those with one have u = v + a^T (the state that their row sees), which is
//!   (I - A) u = v + decayed a^T S + the other events' A u: a unit lower triangular solve, and no matrix W or T is ever formed
//!   (arXiv 2406.06484 and 2412.06464 form them);
//! - a decay that has no logarithm is multiplied instead, by running products and products of pairs of rows: exp(G_i) stands for the
//!   product of the rows up to i, exp(G_i - G_j) for that of the rows after j up to i;
//! - a read is decayed q^T S + sum of A u, the next state is decayed S + sum of decayed b u^T.
//!
//! If the state rotates, its keys and queries are rotated into the frame of the entry beforehand, and the next state is rotated out of it.
//!
//! Documents that start inside of the chunk: row i sees the rows from its document's first one on; if that is not the entry's document, the
//! state at a document's start replaces S, and decays count from there.

use super::chunk::Past;
use super::factors::{Factors, Operands, times};
use super::form::{Decay, Delta, Form, Scaled, Seen, Side, Sight};
use super::rate::{Rate, index};
use super::stack::{Flat, Stack};
use super::turned::Turned;
use crate::graph::{BinaryOp, NodeId};
use crate::lowered::{Builder, DimId, Extent, FIXED, Op, Pairs, ValueId};

/// A tile under construction, with its captures.
pub(super) struct Tile<'a> {
    pub form: &'a Form,
    pub rows: DimId,
    pub cols: DimId,
    pub keys: Vec<DimId>,
    pub values: Vec<DimId>,
    /// State at the chunk's entry.
    pub state: ValueId,
    /// Operands by node and required value past the end.
    pub nodes: &'a Operands,
    /// Keys and queries in the frame of the chunk, if the state rotates.
    pub turned: Option<&'a Turned>,
    /// State at a document's start, if it is not 0.
    pub fresh: Option<ValueId>,
}

/// Results of a tile.
pub(super) struct Tiled {
    pub reads: Vec<ValueId>,
    pub next: ValueId,
}

/// A reader: its vector over K (none: ones), and the time of its read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub vector: Option<NodeId>,
    pub sight: &'a Sight,
}

/// Values that the events of a chunk write.
struct Solved {
    /// u of every separate event, `[rows, V]`; none for one that writes nothing or is in the stack.
    alone: Vec<Option<ValueId>>,
    /// Successive events with deltas, with their u.
    stack: Option<(Stack, ValueId)>,
}

impl Tile<'_> {
    /// Builds the tile's values; `factors` are those of its decay, including factors cached by earlier tiles.
    pub(super) fn build(&self, b: &mut Builder, factors: &mut Factors) -> Tiled {
        let solved = self.solve(b, factors);
        let reads = self.form.reads.iter().map(|read| match read.side {
            Side::Key => {
                let reader = Reader { vector: Some(read.query), sight: &read.sight };
                let mut sum = self.entry(b, factors, reader);
                for (e, u) in solved.alone.iter().enumerate() {
                    if let Some(u) = u {
                        let a = self.between(b, factors, reader, e);
                        let part = self.mixed(b, a, *u);
                        sum = b.add(sum, part);
                    }
                }
                if let Some((stack, u)) = &solved.stack {
                    let part = self.read_stack(b, factors, reader, stack, *u);
                    sum = b.add(sum, part);
                }
                sum
            }
            Side::Value => self.read_by_value(b, factors, read.query, &read.sight, &solved),
        });
        let reads = reads.collect();
        let next = self.next(b, factors, &solved);
        Tiled { reads, next }
    }

    // ---- operands

    pub(super) fn operand(&self, node: NodeId) -> ValueId {
        self.nodes[&(node, Past::Any)]
    }

    /// Key of an event, broadcast along all of K.
    pub(super) fn key(&self, b: &mut Builder, event: usize) -> ValueId {
        let node = self.form.events[event].key;
        let key = match self.turned {
            Some(turned) => turned.vectors[&(node, false)],
            None => self.nodes[&(node, Past::Zero)],
        };
        b.expand(key, &self.keys)
    }

    fn scaled(&self, b: &mut Builder, s: &Scaled) -> Option<ValueId> {
        let (scale, vector) = (s.scale.map(|n| self.operand(n)), s.vector.map(|n| self.operand(n)));
        match (scale, vector) {
            (Some(a), Some(v)) => Some(b.mul(a, v)),
            (a, v) => a.or(v),
        }
    }

    /// Sum of the values that an event writes, without its delta.
    pub(super) fn written(&self, b: &mut Builder, event: usize) -> Option<ValueId> {
        let mut sum: Option<ValueId> = None;
        for value in &self.form.events[event].values {
            let value = self.scaled(b, value).unwrap_or_else(|| b.number(1.0));
            sum = Some(match sum {
                Some(sum) => b.add(sum, value),
                None => value,
            });
        }
        sum
    }

    /// Whether factors have key axes, so that they must be multiplied before a contraction.
    pub(super) fn by_key(&self) -> bool {
        matches!(self.form.decay, Decay::Key(_))
    }

    // ---- the entry's state

    /// Contribution of the entry's state (and of a fresh one) to a read: `[rows, V]`.
    fn entry(&self, b: &mut Builder, f: &mut Factors, reader: Reader) -> ValueId {
        let i = usize::from(reader.sight.before);
        let mut sum = self.kept_read(b, f, reader, f.kept[i], None);
        if let (Some(fresh), Some(kept)) = (self.fresh, f.kept_fresh[i]) {
            let part = self.kept_read(b, f, reader, Some(kept), Some(fresh));
            sum = b.add(sum, part);
        }
        sum
    }

    pub(super) fn vector(&self, b: &mut Builder, reader: Reader) -> ValueId {
        let vector = match (reader.vector, self.turned) {
            (Some(node), Some(turned)) => turned.vectors[&(node, reader.sight.before)],
            (Some(node), None) => self.operand(node),
            (None, _) => b.number(1.0),
        };
        b.expand(vector, &self.keys)
    }

    /// Contribution of the entry's state or of a `fresh` one to a read, scaled by `kept`.
    fn kept_read(
        &self,
        b: &mut Builder,
        f: &mut Factors,
        reader: Reader,
        kept: Option<ValueId>,
        fresh: Option<ValueId>,
    ) -> ValueId {
        let state = b.expand(fresh.unwrap_or(self.state), &self.keys);
        match kept {
            Some(kept) if self.by_key() => {
                let vector = match f.faded.get(&(reader.vector, kept)) {
                    Some(known) => *known,
                    None => {
                        let own = self.vector(b, reader);
                        let faded = b.mul(own, kept);
                        f.faded.insert((reader.vector, kept), faded);
                        faded
                    }
                };
                b.contract(vector, state, &self.keys)
            }
            _ => {
                let vector = self.vector(b, reader);
                let read = b.contract(vector, state, &self.keys);
                times(b, Some(read), kept).unwrap_or(read)
            }
        }
    }

    // ---- pairs of rows

    pub(super) fn pairs(&self, strict: bool, before: bool) -> Pairs {
        Pairs { rows: self.rows, cols: self.cols, strict, before }
    }

    /// A_ij of a reader and an event: `[rows, cols]`, also with V if each value decays by itself.
    fn between(&self, b: &mut Builder, f: &mut Factors, reader: Reader, event: usize) -> ValueId {
        let seen = reader.sight.sees[event];
        let before = reader.sight.before;
        let this = (reader.vector, before, self.form.events[event].key, seen);
        if let Some(known) = f.between.get(&this) {
            return *known;
        }
        let pairs = self.pairs(before || seen != Seen::Yes, before);
        let vector = self.vector(b, reader);
        let key = self.key(b, event);
        let key = b.rename(key, self.rows, self.cols);
        let mut a = if let (true, Some(Rate::Log(g))) = (self.by_key(), f.rate) {
            let g = b.expand(g, &self.keys);
            let (over, [vector, key, g]) = self.flat(b, [vector, key, g]);
            let a = b.op(Op::DecayDot { over, pairs }, &[vector, key, g]);
            f.masked(b, pairs, a)
        } else {
            let products = b.contract(vector, key, &self.keys);
            let pair = f.pair(b, pairs);
            b.mul(products, pair)
        };
        if let Seen::Dot(dot) = seen {
            let (row, col) = (index(b, self.rows), index(b, self.cols));
            let same = b.binary(BinaryOp::Eq, row, col);
            let dot = self.operand(dot);
            let own = b.mul(same, dot);
            a = b.add(a, own);
        }
        f.between.insert(this, a);
        a
    }

    /// Flattens K to one dimension.
    fn flat(&self, b: &mut Builder, values: [ValueId; 3]) -> (DimId, [ValueId; 3]) {
        if let [one] = self.keys.as_slice() {
            return (*one, values);
        }
        let size = self.keys.iter().map(|d| match b.dims[d.0 as usize].extent {
            Extent::Fixed(n) => n,
            other => panic!("archc bug: an axis of extent {other:?}"),
        });
        let size = size.product();
        let flat = b.dim("keys", Extent::Fixed(size), FIXED);
        (flat, values.map(|x| b.op(Op::Flatten(self.keys.clone(), flat), &[x])))
    }

    /// Sum over columns of A_ij u_j.
    fn mixed(&self, b: &mut Builder, a: ValueId, u: ValueId) -> ValueId {
        let u = b.rename(u, self.rows, self.cols);
        b.contract(a, u, &[self.cols])
    }

    // ---- events

    fn solve(&self, b: &mut Builder, f: &mut Factors) -> Solved {
        let events = &self.form.events;
        let mut alone: Vec<Option<ValueId>> = Vec::new();
        for (e, event) in events.iter().enumerate() {
            let plain = if event.delta.is_none() { self.written(b, e) } else { None };
            alone.push(plain);
        }
        let deltas: Vec<usize> = (0..events.len()).filter(|e| events[*e].delta.is_some()).collect();
        if deltas.is_empty() {
            return Solved { alone, stack: None };
        }
        if let Some(stack) = self.stack(b, f, &deltas) {
            let u = self.solve_stack(b, f, &stack, &alone);
            return Solved { alone, stack: Some((stack, u)) };
        }
        let (mut right, mut left) = (Vec::new(), Vec::new());
        for &e in &deltas {
            let delta = self.delta(e);
            let reader = Reader { vector: delta.key.vector, sight: &delta.sight };
            let scale = delta.key.scale.map(|s| self.operand(s));
            let mut sum = self.entry(b, f, reader);
            for (w, u) in alone.iter().enumerate() {
                if let Some(u) = u {
                    let a = self.between(b, f, reader, w);
                    let part = self.mixed(b, a, *u);
                    sum = b.add(sum, part);
                }
            }
            let sum = times(b, Some(sum), scale).unwrap_or(sum);
            let sum = match self.written(b, e) {
                Some(own) => b.add(own, sum),
                None => sum,
            };
            right.push(b.expand(sum, &[self.rows]));
            let mut row = Vec::new();
            for &d in &deltas {
                let a = self.between(b, f, reader, d);
                row.push(times(b, Some(a), scale).unwrap_or(a));
            }
            left.push(row);
        }
        let found = match (left.as_slice(), right.as_slice()) {
            ([row], [x]) => {
                let solve = Op::SolveUnitLower { rows: self.rows, cols: self.cols, transpose: false };
                vec![b.op(solve, &[row[0], *x])]
            }
            _ => self.solve_in_turn(b, left, right),
        };
        for (e, u) in deltas.into_iter().zip(found) {
            alone[e] = Some(u);
        }
        Solved { alone, stack: None }
    }

    pub(super) fn delta(&self, event: usize) -> &Delta {
        self.form.events[event].delta.as_ref().expect("archc bug: an event without a delta among those with one")
    }

    /// Solves several deltas of any kind per token: their rows in sequence make one triangular system.
    fn solve_in_turn(&self, b: &mut Builder, left: Vec<Vec<ValueId>>, right: Vec<ValueId>) -> Vec<ValueId> {
        let flat = Flat::new(b, self, right.len());
        let lines: Vec<ValueId> = left.into_iter().map(|row| b.op(Op::Stack(flat.other_steps), &row)).collect();
        let a = b.op(Op::Stack(flat.steps), &lines);
        let a = flat.flatten(b, a);
        let x = flat.stacked(b, right);
        let u = b.op(Op::SolveUnitLower { rows: flat.rows, cols: flat.cols, transpose: false }, &[a, x]);
        flat.apart(b, u)
    }

    // ---- the next state and reads over values

    fn next(&self, b: &mut Builder, f: &mut Factors, solved: &Solved) -> ValueId {
        let mut next = times(b, Some(self.state), f.whole).unwrap_or(self.state);
        if let (Some(fresh), Some(whole)) = (self.fresh, f.whole_fresh) {
            let part = b.mul(fresh, whole);
            next = b.add(next, part);
        }
        for (e, u) in solved.alone.iter().enumerate() {
            let Some(mut u) = *u else { continue };
            let mut key = self.key(b, e);
            if let (true, Some(to_end)) = (self.by_key(), f.to_end) {
                let this = (Some(self.form.events[e].key), to_end);
                key = *f.faded.entry(this).or_insert_with(|| b.mul(key, to_end));
            } else {
                u = times(b, Some(u), f.to_end).unwrap_or(u);
            }
            let part = b.contract(key, u, &[self.rows]);
            next = b.add(next, part);
        }
        if let Some((stack, u)) = &solved.stack {
            let kept = f.to_end.map(|kept| stack.flat.flatten(b, kept));
            let u = times(b, Some(*u), kept).unwrap_or(*u);
            let part = b.contract(stack.keys, u, &[stack.flat.rows]);
            next = b.add(next, part);
        }
        match self.turned {
            Some(turned) => turned.end.whole(b, next, turned.part, false),
            None => next,
        }
    }

    /// S p: result of a read over V, `[rows, K]`.
    fn read_by_value(
        &self,
        b: &mut Builder,
        f: &mut Factors,
        query: NodeId,
        sight: &Sight,
        solved: &Solved,
    ) -> ValueId {
        let mut each = solved.alone.clone();
        if let Some((stack, u)) = &solved.stack {
            let apart = stack.flat.apart(b, *u);
            stack.deltas.iter().zip(apart).for_each(|(e, u)| each[*e] = Some(u));
        }
        let query = self.operand(query);
        let query = b.expand(query, &self.values);
        let i = usize::from(sight.before);
        let read = |b: &mut Builder, kept: Option<ValueId>, state: ValueId| {
            let state = b.expand(state, &self.values);
            let read = b.contract(query, state, &self.values);
            times(b, Some(read), kept).unwrap_or(read)
        };
        let mut sum = read(b, f.kept[i], self.state);
        if let (Some(fresh), Some(kept)) = (self.fresh, f.kept_fresh[i]) {
            let part = read(b, Some(kept), fresh);
            sum = b.add(sum, part);
        }
        for (e, u) in each.into_iter().enumerate() {
            let Some(u) = u else { continue };
            let u = b.expand(u, &self.values);
            let u = b.rename(u, self.rows, self.cols);
            let strict = sight.before || sight.sees[e] != Seen::Yes;
            let pair = f.pair(b, self.pairs(strict, sight.before));
            let products = b.contract(query, u, &self.values);
            let a = b.mul(products, pair);
            let key = self.key(b, e);
            let part = self.mixed(b, a, key);
            sum = b.add(sum, part);
        }
        sum
    }
}
