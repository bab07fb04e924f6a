//! Successive events with deltas in each token, any number of them: their rows are rows of one sequence that is longer by that factor
//! (DeltaProduct, arXiv 2502.10297). So the number of ops of a tile is the same for one of them and for a hundred.

use super::factors::{Factors, decayed, signed, times};
use super::form::Seen;
use super::rate::{count, index};
use super::tile::{Reader, Tile};
use crate::graph::{BinaryOp, NodeId};
use crate::lowered::{Builder, DimId, Extent, Op, Pairs, ValueId};

/// Dimensions of rows and steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flat {
    token: [DimId; 2],
    pub steps: DimId,
    pub other_steps: DimId,
    /// Rows and their steps, flattened.
    pub rows: DimId,
    /// Columns and their steps, flattened.
    pub cols: DimId,
    count: usize,
}

impl Flat {
    pub fn new(b: &mut Builder, tile: &Tile<'_>, count_of_steps: usize) -> Self {
        let tokens = count(b, tile.rows);
        Self {
            token: [tile.rows, tile.cols],
            steps: b.dim("steps", Extent::Fixed(count_of_steps), 2),
            other_steps: b.dim("other steps", Extent::Fixed(count_of_steps), 3),
            rows: b.dim("rows and steps", Extent::Fixed(tokens * count_of_steps), 2),
            cols: b.dim("cols and steps", Extent::Fixed(tokens * count_of_steps), 3),
            count: count_of_steps,
        }
    }

    /// Flattens the rows of `[rows, (steps), (cols, other steps), ..]` with their steps, and the columns with theirs; a value without steps
    /// is the same for all of them.
    pub fn flatten(&self, b: &mut Builder, x: ValueId) -> ValueId {
        let x = b.expand(x, &[self.token[0], self.steps]);
        let x = b.op(Op::Flatten(vec![self.token[0], self.steps], self.rows), &[x]);
        self.flatten_cols(b, x)
    }

    fn flatten_cols(&self, b: &mut Builder, x: ValueId) -> ValueId {
        if !b.has(x, self.token[1]) || !b.has(x, self.other_steps) {
            return x;
        }
        b.op(Op::Flatten(vec![self.token[1], self.other_steps], self.cols), &[x])
    }

    /// Values of the steps, `[rows, ..]` or fewer dimensions, as `[rows and steps, ..]`.
    pub fn stacked(&self, b: &mut Builder, values: Vec<ValueId>) -> ValueId {
        let mut all = vec![self.token[0]];
        values.iter().for_each(|v| all.extend(b.dims_of(*v)));
        let values: Vec<ValueId> = values.into_iter().map(|v| b.expand(v, &all)).collect();
        let x = b.op(Op::Stack(self.steps), &values);
        self.flatten(b, x)
    }

    /// Splits flattened rows into the values of each step.
    pub fn apart(&self, b: &mut Builder, x: ValueId) -> Vec<ValueId> {
        (0..self.count).map(|i| self.at(b, x, i)).collect()
    }

    /// Values of one step.
    fn at(&self, b: &mut Builder, x: ValueId, step: usize) -> ValueId {
        let x = b.op(Op::Split(self.rows, vec![self.token[0], self.steps]), &[x]);
        b.op(Op::Pick(self.steps, step), &[x])
    }

    /// Decay between pairs of rows and steps, where each token decays before its first step: strictly lower triangular.
    fn kept(&self, b: &mut Builder, f: &Factors) -> ValueId {
        let pairs = Pairs { rows: self.rows, cols: self.cols, strict: true, before: false };
        let mut first = |x: ValueId, none: f64| {
            let mut values = vec![b.number(none); self.count];
            values[0] = x;
            self.stacked(b, values)
        };
        let rate = f.rate.map(|rate| rate.spread(&mut first));
        let pair = decayed(b, rate, pairs);
        let signs = f.signs.map(|s| [self.flatten(b, s[0]); 2]);
        let pair = signed(b, signs, pairs, pair);
        let Some(start) = f.start else { return pair };
        let steps = b.number(self.count as f64);
        let start = b.mul(start, steps);
        let start = self.flatten(b, start);
        let col = index(b, self.cols);
        let document = b.binary(BinaryOp::Ge, col, start);
        b.mul(pair, document)
    }
}

/// Successive events with deltas.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    pub flat: Flat,
    pub deltas: Vec<usize>,
    /// Keys of the events, `[rows and steps, K]`.
    pub keys: ValueId,
    /// Keys by columns.
    key_cols: ValueId,
    /// Vectors by which the events read.
    readers: ValueId,
    /// Scales of their reads, if there are any.
    scale: Option<ValueId>,
    /// Decay between them: strictly lower triangular.
    kept: ValueId,
    /// Scaled products of readers and keys, times that decay.
    products: ValueId,
}

impl Tile<'_> {
    /// Stack of the events with deltas, if there are several and each sees exactly those before it. Not under decays by key, where the
    /// value of a pair is no product.
    pub(super) fn stack(&self, b: &mut Builder, f: &mut Factors, deltas: &[usize]) -> Option<Stack> {
        let dot = |seen: &Seen| matches!(seen, Seen::Dot(_));
        let in_turn = |(i, e): (usize, &usize)| {
            let sight = &self.delta(*e).sight;
            let sees = |(j, d): (usize, &usize)| sight.sees[*d] == if j < i { Seen::Yes } else { Seen::No };
            !sight.before && deltas.iter().enumerate().all(sees) && !sight.sees.iter().any(dot)
        };
        let dots = self.form.reads.iter().any(|r| deltas.iter().any(|e| dot(&r.sight.sees[*e])));
        if deltas.len() < 2 || self.by_key() || dots || !deltas.iter().enumerate().all(in_turn) {
            return None;
        }
        // forms of one loop have the same keys
        let of: Vec<[Option<NodeId>; 3]> = deltas
            .iter()
            .map(|e| [Some(self.form.events[*e].key), self.delta(*e).key.vector, self.delta(*e).key.scale])
            .collect();
        if let Some((_, known)) = f.stacks.iter().find(|s| s.0 == of) {
            return Some(Stack { deltas: deltas.to_vec(), ..known.clone() });
        }
        let flat = Flat::new(b, self, deltas.len());
        let each: Vec<ValueId> = deltas.iter().map(|e| self.key(b, *e)).collect();
        let keys = flat.stacked(b, each.clone());
        let key_cols = b.rename(keys, flat.rows, flat.cols);
        let readers = deltas.iter().map(|e| {
            let delta = self.delta(*e);
            self.vector(b, Reader { vector: delta.key.vector, sight: &delta.sight })
        });
        let readers: Vec<ValueId> = readers.collect();
        let readers = if readers == each { keys } else { flat.stacked(b, readers) };
        let scaled = deltas.iter().any(|e| self.delta(*e).key.scale.is_some());
        let scale = scaled.then(|| {
            let scales = deltas.iter().map(|e| match self.delta(*e).key.scale {
                Some(scale) => self.operand(scale),
                None => b.number(1.0),
            });
            let scales = scales.collect();
            flat.stacked(b, scales)
        });
        let kept = flat.kept(b, f);
        let products = b.contract(readers, key_cols, &self.keys);
        let products = b.mul(products, kept);
        let products = times(b, Some(products), scale).unwrap_or(products);
        let stack = Stack { flat, deltas: deltas.to_vec(), keys, key_cols, readers, scale, kept, products };
        f.stacks.push((of, stack.clone()));
        Some(stack)
    }

    /// u of the stack, `[rows and steps, V]`, from those of the events without deltas.
    pub(super) fn solve_stack(
        &self,
        b: &mut Builder,
        f: &mut Factors,
        stack: &Stack,
        alone: &[Option<ValueId>],
    ) -> ValueId {
        let flat = stack.flat;
        let entry = |b: &mut Builder, state: ValueId, kept: Option<ValueId>| {
            let state = b.expand(state, &self.keys);
            let read = b.contract(stack.readers, state, &self.keys);
            let kept = kept.map(|kept| flat.flatten(b, kept));
            times(b, Some(read), kept).unwrap_or(read)
        };
        let mut sum = entry(b, self.state, f.kept[0]);
        if let (Some(fresh), Some(kept)) = (self.fresh, f.kept_fresh[0]) {
            let part = entry(b, fresh, Some(kept));
            sum = b.add(sum, part);
        }
        for (w, u) in alone.iter().enumerate() {
            let Some(u) = u else { continue };
            let seen: Vec<bool> = stack.deltas.iter().map(|e| self.delta(*e).sight.sees[w] == Seen::Yes).collect();
            let kept = self.kept_of(b, f, flat.steps, &seen, false);
            let kept = flat.flatten(b, kept);
            let key = self.key(b, w);
            let key = b.rename(key, self.rows, self.cols);
            let products = b.contract(stack.readers, key, &self.keys);
            let products = b.mul(products, kept);
            let u = b.rename(*u, self.rows, self.cols);
            let part = b.contract(products, u, &[self.cols]);
            sum = b.add(sum, part);
        }
        sum = times(b, Some(sum), stack.scale).unwrap_or(sum);
        let written: Vec<Option<ValueId>> = stack.deltas.iter().map(|e| self.written(b, *e)).collect();
        if written.iter().any(Option::is_some) {
            let none = b.number(0.0);
            let written = flat.stacked(b, written.into_iter().map(|w| w.unwrap_or(none)).collect());
            sum = b.add(written, sum);
        }
        let sum = b.expand(sum, &[flat.rows]);
        b.op(Op::SolveUnitLower { rows: flat.rows, cols: flat.cols, transpose: false }, &[stack.products, sum])
    }

    /// Contribution of the stack's writes to a read.
    pub(super) fn read_stack(
        &self,
        b: &mut Builder,
        f: &mut Factors,
        reader: Reader,
        stack: &Stack,
        u: ValueId,
    ) -> ValueId {
        let flat = stack.flat;
        let before = reader.sight.before;
        let seen: Vec<bool> = stack.deltas.iter().map(|e| !before && reader.sight.sees[*e] == Seen::Yes).collect();
        let first = seen.iter().take_while(|s| **s).count();
        let in_turn = !before && !seen[first..].contains(&true);
        let kept = if in_turn {
            // same as for the next step; the last step sees all but its own
            flat.at(b, stack.kept, first.min(flat.count - 1))
        } else {
            let kept = self.kept_of(b, f, flat.other_steps, &seen, before);
            let kept = b.expand(kept, &[flat.other_steps]);
            flat.flatten_cols(b, kept)
        };
        let vector = self.vector(b, reader);
        let products = b.contract(vector, stack.key_cols, &self.keys);
        let products = b.mul(products, kept);
        let cols = b.rename(u, flat.rows, flat.cols);
        let read = b.contract(products, cols, &[flat.cols]);
        let Some(last) = stack.deltas.last().filter(|_| in_turn && first == flat.count) else { return read };
        let key = self.key(b, *last);
        let own = b.contract(vector, key, &self.keys);
        let u = flat.at(b, u, flat.count - 1);
        let own = b.mul(own, u);
        b.add(read, own)
    }

    /// Decay between pairs of rows, including the row itself at the steps where it is seen: `[rows, cols]`, with the steps if these differ.
    fn kept_of(&self, b: &mut Builder, f: &mut Factors, steps: DimId, seen: &[bool], before: bool) -> ValueId {
        let mut pair = |b: &mut Builder, seen: bool| f.pair(b, self.pairs(!seen, before));
        if seen.iter().all(|s| *s == seen[0]) {
            return pair(b, seen[0]);
        }
        let numbers = seen.iter().map(|s| f64::from(u8::from(*s))).collect();
        let seen = b.op(Op::Table(steps, numbers), &[]);
        let [own, strict] = [true, false].map(|seen| pair(b, seen));
        b.op(Op::Select, &[seen, own, strict])
    }
}
