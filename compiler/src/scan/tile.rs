//! One chunk of one head: a form's equations over rows.
//!
//! With g the log decays, G_i their sum over the rows up to i, S the state at the chunk's entry:
//! - row i keeps exp(G_i) of what S held, or exp(G_{i-1}) before its own decay;
//! - what row j wrote has decayed by exp(G_i - G_j) when row i reads it, and by exp(G_C - G_j) at the chunk's end. Neither factor
//!   is formed as a quotient: 1 / exp(G_j) would leave the range of numbers;
//! - a reader a and an event with key b give A_ij = a_i . b_j times that decay, for the rows j that i sees;
//! - events without a delta have u = v. Those with one have u = v + a^T (the state that their row sees), which is
//!   (I - A) u = v + decayed a^T S + the other events' A u: a unit lower triangular solve, and no matrix W or T is ever formed
//!   (arXiv 2406.06484 and 2412.06464 form them);
//! - a decay that has no logarithm is multiplied instead, by running products and products of pairs of rows: exp(G_i) stands for the
//!   product of the rows up to i, exp(G_i - G_j) for that of the rows after j up to i;
//! - a read gives decayed q^T S + sum of A u, the next state is decayed S + sum of decayed b u^T.
//!
//! Documents that start inside of the chunk: row i sees the rows from its document's first one on; where that is not the
//! entry's document, the state at a document's start stands in for S, and decays count from there.

use super::chunk::Past;
use super::form::{Decay, Form, Scaled, Seen, Side, Sight};
use super::rate::{Rate, count};
use crate::graph::{BinaryOp, NodeId, ReduceOp};
use crate::lowered::{Builder, DimId, Extent, FIXED, Op, Pairs, ValueId};
use std::collections::BTreeMap;

/// A tile to be built, with its captures.
pub(super) struct Tile<'a> {
    pub form: &'a Form,
    pub rows: DimId,
    pub cols: DimId,
    pub keys: Vec<DimId>,
    pub values: Vec<DimId>,
    /// The state at the entry.
    pub state: ValueId,
    /// Operands by node, and what they are past the end.
    pub nodes: BTreeMap<(NodeId, Past), ValueId>,
    /// 1 for rows that are tokens.
    pub ones: Option<ValueId>,
    /// Positions in the document, if documents may start inside.
    pub pos: Option<ValueId>,
    /// The state at a document's start, if it is not 0.
    pub fresh: Option<ValueId>,
}

/// What a tile gives.
pub(super) struct Tiled {
    pub reads: Vec<ValueId>,
    pub next: ValueId,
}

/// A reader: its vector over K (none: ones), when it reads.
#[derive(Clone, Copy)]
struct Reader<'a> {
    vector: Option<NodeId>,
    sight: &'a Sight,
}

/// Factors of rows that are asked for once and again.
struct Factors {
    /// What each row decays by.
    rate: Option<Rate>,
    /// What is kept of the entry's state after the row's decay and before it; none: all.
    kept: [Option<ValueId>; 2],
    /// The same of a fresh state.
    kept_fresh: [Option<ValueId>; 2],
    /// What is kept to the end of what a row wrote; none: all.
    to_end: Option<ValueId>,
    /// What is kept of the entry's state to the end, and of a fresh one.
    whole: Option<ValueId>,
    whole_fresh: Option<ValueId>,
    /// Signs of decays after and before each row's own.
    signs: Option<[ValueId; 2]>,
    /// Pairs of rows of one document.
    document: Option<ValueId>,
    /// Decays between pairs: (strict, before).
    pairs: BTreeMap<(bool, bool), ValueId>,
}

impl Tile<'_> {
    pub(super) fn build(&self, b: &mut Builder) -> Tiled {
        let mut factors = self.factors(b);
        let solved = self.solve(b, &mut factors);
        let reads = self.form.reads.iter().map(|read| match read.side {
            Side::Key => {
                let reader = Reader { vector: Some(read.query), sight: &read.sight };
                let mut sum = self.entry(b, &factors, reader);
                for (e, u) in solved.iter().enumerate() {
                    if let Some(u) = u {
                        let a = self.between(b, &mut factors, reader, e);
                        let part = self.mixed(b, a, *u);
                        sum = b.add(sum, part);
                    }
                }
                sum
            }
            Side::Value => self.read_by_value(b, &mut factors, read.query, &read.sight, &solved),
        });
        let reads = reads.collect();
        let next = self.next(b, &factors, &solved);
        Tiled { reads, next }
    }

    // ---- operands

    fn operand(&self, node: NodeId) -> ValueId {
        self.nodes[&(node, Past::Any)]
    }

    /// An event's key, with all of K.
    fn key(&self, b: &mut Builder, event: usize) -> ValueId {
        let key = self.nodes[&(self.form.events[event].key, Past::Zero)];
        b.expand(key, &self.keys)
    }

    fn scaled(&self, b: &mut Builder, s: &Scaled) -> Option<ValueId> {
        let (scale, vector) = (s.scale.map(|n| self.operand(n)), s.vector.map(|n| self.operand(n)));
        match (scale, vector) {
            (Some(a), Some(v)) => Some(b.mul(a, v)),
            (a, v) => a.or(v),
        }
    }

    /// The sum of what an event writes by itself.
    fn written(&self, b: &mut Builder, event: usize) -> Option<ValueId> {
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

    // ---- factors

    fn index(&self, b: &mut Builder, dim: DimId) -> ValueId {
        b.op(Op::Index(vec![dim]), &[])
    }

    fn cumsum(&self, b: &mut Builder, x: ValueId, reverse: bool, exclusive: bool) -> ValueId {
        b.op(Op::Cumsum { dim: self.rows, reverse, exclusive }, &[x])
    }

    /// 1 for an even number, -1 for an odd one.
    fn sign(&self, b: &mut Builder, count: ValueId) -> ValueId {
        let two = b.number(2.0);
        let odd = b.binary(BinaryOp::Rem, count, two);
        let twice = b.mul(odd, two);
        let one = b.number(1.0);
        b.sub(one, twice)
    }

    fn factors(&self, b: &mut Builder) -> Factors {
        let decay = self.form.decay;
        let rate = decay.node().map(|node| {
            let value = self.nodes[&(node, decay.past())];
            if let Decay::Product(_) = decay { Rate::Factor(value) } else { Rate::Log(value) }
        });
        let mut f = Factors {
            rate,
            kept: [None; 2],
            kept_fresh: [None; 2],
            to_end: None,
            whole: None,
            whole_fresh: None,
            signs: None,
            document: None,
            pairs: BTreeMap::new(),
        };
        let mut sign_to_end = None;
        let mut sign_whole = None;
        if let Some(ones) = self.ones {
            let count = self.cumsum(b, ones, false, false);
            let earlier = self.cumsum(b, ones, false, true);
            let later = self.cumsum(b, ones, true, true);
            let all = b.sum(ones, &[self.rows]);
            f.signs = Some([self.sign(b, count), self.sign(b, earlier)]);
            sign_to_end = Some(self.sign(b, later));
            sign_whole = Some(self.sign(b, all));
        }
        if let Some(rate) = rate {
            f.kept = [false, true].map(|exclusive| Some(rate.running(b, self.rows, false, exclusive)));
            f.to_end = Some(rate.running(b, self.rows, true, true));
            f.whole = Some(rate.all_rows(b, self.rows));
        }
        let signs = f.signs;
        for i in 0..2 {
            f.kept[i] = times(b, f.kept[i], signs.map(|s| s[i]));
        }
        f.to_end = times(b, f.to_end, sign_to_end);
        f.whole = times(b, f.whole, sign_whole);
        if let Some(pos) = self.pos {
            self.documents(b, &mut f, pos);
        }
        f
    }

    /// Masks and factors for documents that start inside of the chunk.
    fn documents(&self, b: &mut Builder, f: &mut Factors, pos: ValueId) {
        let (row, col) = (self.index(b, self.rows), self.index(b, self.cols));
        // the row of the document's first token; below 0 if it lies in an earlier chunk
        let start = b.sub(row, pos);
        let (zero, one) = (b.number(0.0), b.number(1.0));
        let goes_on = b.binary(BinaryOp::Lt, start, zero);
        let document = b.binary(BinaryOp::Ge, col, start);
        let last = b.op(Op::Reduce(ReduceOp::Max, vec![self.rows]), &[start]);
        let last_goes_on = b.binary(BinaryOp::Lt, last, zero);
        let in_last = b.binary(BinaryOp::Ge, row, last);
        f.document = Some(document);
        if self.fresh.is_some() {
            let new = b.sub(one, goes_on);
            let last_new = b.sub(one, last_goes_on);
            for i in 0..2 {
                let mut factor = new;
                if let Some(rate) = f.rate {
                    let kept = rate.since_start(b, [self.rows, self.cols], document, start, i == 1);
                    factor = b.mul(kept, factor);
                }
                if self.ones.is_some() {
                    let count = if i == 0 { b.add(pos, one) } else { pos };
                    let sign = self.sign(b, count);
                    factor = b.mul(factor, sign);
                }
                f.kept_fresh[i] = Some(factor);
            }
            let mut factor = last_new;
            if let Some(rate) = f.rate {
                let kept = rate.rows_within(b, self.rows, in_last);
                factor = b.mul(kept, factor);
            }
            if let Some(ones) = self.ones {
                let count = b.contract(in_last, ones, &[self.rows]);
                let sign = self.sign(b, count);
                factor = b.mul(factor, sign);
            }
            f.whole_fresh = Some(factor);
        }
        for kept in &mut f.kept {
            *kept = times(b, *kept, Some(goes_on));
        }
        f.to_end = times(b, f.to_end, Some(in_last));
        f.whole = times(b, f.whole, Some(last_goes_on));
    }

    /// Whether factors go to K, so that they must be multiplied before a contraction.
    fn by_key(&self) -> bool {
        matches!(self.form.decay, Decay::Key(_))
    }

    // ---- the entry's state

    /// What a reader gets of the entry's state (or of a fresh one): `[rows, V]`.
    fn entry(&self, b: &mut Builder, f: &Factors, reader: Reader) -> ValueId {
        let vector = self.vector(b, reader.vector);
        let i = usize::from(reader.sight.before);
        let mut sum = self.kept_read(b, vector, f.kept[i], self.state);
        if let (Some(fresh), Some(kept)) = (self.fresh, f.kept_fresh[i]) {
            let part = self.kept_read(b, vector, Some(kept), fresh);
            sum = b.add(sum, part);
        }
        sum
    }

    fn vector(&self, b: &mut Builder, node: Option<NodeId>) -> ValueId {
        let vector = match node {
            Some(node) => self.operand(node),
            None => b.number(1.0),
        };
        b.expand(vector, &self.keys)
    }

    fn kept_read(&self, b: &mut Builder, vector: ValueId, kept: Option<ValueId>, state: ValueId) -> ValueId {
        let state = b.expand(state, &self.keys);
        match kept {
            Some(kept) if self.by_key() => {
                let vector = b.mul(vector, kept);
                b.contract(vector, state, &self.keys)
            }
            _ => {
                let read = b.contract(vector, state, &self.keys);
                times(b, Some(read), kept).unwrap_or(read)
            }
        }
    }

    // ---- pairs of rows

    /// The decay between pairs of rows, 0 for pairs that are not meant.
    fn pair(&self, b: &mut Builder, f: &mut Factors, strict: bool, before: bool) -> ValueId {
        if let Some(known) = f.pairs.get(&(strict, before)) {
            return *known;
        }
        let pairs = Pairs { rows: self.rows, cols: self.cols, strict, before };
        let pair = match f.rate {
            Some(rate) if !self.by_key() => rate.pairs(b, pairs),
            _ => {
                let (row, col) = (self.index(b, self.rows), self.index(b, self.cols));
                b.binary(if strict { BinaryOp::Gt } else { BinaryOp::Ge }, row, col)
            }
        };
        let pair = self.masked(b, f, pair, before);
        f.pairs.insert((strict, before), pair);
        pair
    }

    /// With signs of decays, within documents.
    fn masked(&self, b: &mut Builder, f: &Factors, mut pair: ValueId, before: bool) -> ValueId {
        if let Some(signs) = f.signs {
            let col = b.rename(signs[0], self.rows, self.cols);
            let sign = b.mul(signs[usize::from(before)], col);
            pair = b.mul(pair, sign);
        }
        if let Some(document) = f.document {
            pair = b.mul(pair, document);
        }
        pair
    }

    /// A_ij of a reader and an event: `[rows, cols]`, with V as well where each value decays by itself.
    fn between(&self, b: &mut Builder, f: &mut Factors, reader: Reader, event: usize) -> ValueId {
        let seen = reader.sight.sees[event];
        let before = reader.sight.before;
        let strict = before || seen != Seen::Yes;
        let vector = self.vector(b, reader.vector);
        let key = self.key(b, event);
        let key = b.rename(key, self.rows, self.cols);
        let mut a = if let (true, Some(Rate::Log(g))) = (self.by_key(), f.rate) {
            let g = b.expand(g, &self.keys);
            let pairs = Pairs { rows: self.rows, cols: self.cols, strict, before };
            let (over, [vector, key, g]) = self.flat(b, [vector, key, g]);
            let a = b.op(Op::DecayDot { over, pairs }, &[vector, key, g]);
            self.masked(b, f, a, before)
        } else {
            let products = b.contract(vector, key, &self.keys);
            let pair = self.pair(b, f, strict, before);
            b.mul(products, pair)
        };
        if let Seen::Dot(dot) = seen {
            let (row, col) = (self.index(b, self.rows), self.index(b, self.cols));
            let same = b.binary(BinaryOp::Eq, row, col);
            let dot = self.operand(dot);
            let own = b.mul(same, dot);
            a = b.add(a, own);
        }
        a
    }

    /// K as one dimension.
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

    /// u of every event, `[rows, V]`; none for one that writes nothing.
    fn solve(&self, b: &mut Builder, f: &mut Factors) -> Vec<Option<ValueId>> {
        let events = &self.form.events;
        let mut solved: Vec<Option<ValueId>> = Vec::new();
        for (e, event) in events.iter().enumerate() {
            let plain = if event.delta.is_none() { self.written(b, e) } else { None };
            solved.push(plain);
        }
        let deltas: Vec<usize> = (0..events.len()).filter(|e| events[*e].delta.is_some()).collect();
        if deltas.is_empty() {
            return solved;
        }
        let (mut right, mut left) = (Vec::new(), Vec::new());
        for &e in &deltas {
            let delta = events[e].delta.as_ref().expect("just filtered");
            let reader = Reader { vector: delta.key.vector, sight: &delta.sight };
            let scale = delta.key.scale.map(|s| self.operand(s));
            let mut sum = self.entry(b, f, reader);
            for (w, u) in solved.iter().enumerate() {
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
            solved[e] = Some(u);
        }
        solved
    }

    /// Several deltas a token: their rows one after the other make one triangular system.
    fn solve_in_turn(&self, b: &mut Builder, left: Vec<Vec<ValueId>>, right: Vec<ValueId>) -> Vec<ValueId> {
        let n = right.len();
        let tokens = count(b, self.rows);
        let steps = b.dim("steps", Extent::Fixed(n), 2);
        let other_steps = b.dim("other steps", Extent::Fixed(n), 3);
        let rows = b.dim("rows and steps", Extent::Fixed(tokens * n), 2);
        let cols = b.dim("cols and steps", Extent::Fixed(tokens * n), 3);
        let lines: Vec<ValueId> = left.into_iter().map(|row| b.op(Op::Stack(other_steps), &row)).collect();
        let a = b.op(Op::Stack(steps), &lines);
        let a = b.op(Op::Flatten(vec![self.rows, steps], rows), &[a]);
        let a = b.op(Op::Flatten(vec![self.cols, other_steps], cols), &[a]);
        let x = b.op(Op::Stack(steps), &right);
        let x = b.op(Op::Flatten(vec![self.rows, steps], rows), &[x]);
        let u = b.op(Op::SolveUnitLower { rows, cols, transpose: false }, &[a, x]);
        let u = b.op(Op::Split(rows, vec![self.rows, steps]), &[u]);
        (0..n).map(|i| b.op(Op::Pick(steps, i), &[u])).collect()
    }

    // ---- the next state and reads over values

    fn next(&self, b: &mut Builder, f: &Factors, solved: &[Option<ValueId>]) -> ValueId {
        let mut next = times(b, Some(self.state), f.whole).unwrap_or(self.state);
        if let (Some(fresh), Some(whole)) = (self.fresh, f.whole_fresh) {
            let part = b.mul(fresh, whole);
            next = b.add(next, part);
        }
        for (e, u) in solved.iter().enumerate() {
            let Some(mut u) = *u else { continue };
            let mut key = self.key(b, e);
            if self.by_key() {
                key = times(b, Some(key), f.to_end).unwrap_or(key);
            } else {
                u = times(b, Some(u), f.to_end).unwrap_or(u);
            }
            let part = b.contract(key, u, &[self.rows]);
            next = b.add(next, part);
        }
        next
    }

    /// S p: what a read over V gets, `[rows, K]`.
    fn read_by_value(
        &self,
        b: &mut Builder,
        f: &mut Factors,
        query: NodeId,
        sight: &Sight,
        solved: &[Option<ValueId>],
    ) -> ValueId {
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
        for (e, u) in solved.iter().enumerate() {
            let Some(u) = *u else { continue };
            let u = b.expand(u, &self.values);
            let u = b.rename(u, self.rows, self.cols);
            let strict = sight.before || sight.sees[e] != Seen::Yes;
            let pair = self.pair(b, f, strict, sight.before);
            let products = b.contract(query, u, &self.values);
            let a = b.mul(products, pair);
            let key = self.key(b, e);
            let part = self.mixed(b, a, key);
            sum = b.add(sum, part);
        }
        sum
    }
}

/// A product of what is there.
fn times(b: &mut Builder, x: Option<ValueId>, by: Option<ValueId>) -> Option<ValueId> {
    match (x, by) {
        (Some(x), Some(by)) => Some(b.mul(x, by)),
        (x, by) => x.or(by),
    }
}
