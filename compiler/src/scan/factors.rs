//! Decay factors of a chunk's rows, on the state at its entry and on the writes of other rows: all parts of a loop share them.

use super::chunk::Past;
use super::form::{Decay, Form, Seen};
use super::rate::{Rate, index};
use super::stack::Stack;
use crate::graph::{BinaryOp, NodeId, ReduceOp};
use crate::lowered::{Builder, DimId, Op, Pairs, ValueId};
use std::collections::BTreeMap;

/// Operands by node and required value past the end.
pub(super) type Operands = BTreeMap<(NodeId, Past), ValueId>;

/// Rows of a chunk.
pub(super) struct Rows {
    pub rows: DimId,
    pub cols: DimId,
    /// 1 for rows that are tokens, if decays are negative.
    pub ones: Option<ValueId>,
    /// Positions in the document, if documents may start inside of the sequence.
    pub pos: Option<ValueId>,
}

/// Cached factors of rows.
pub(super) struct Factors {
    /// Decay of each row.
    pub rate: Option<Rate>,
    /// Factor on the entry's state after the row's decay and before it; none: 1.
    pub kept: [Option<ValueId>; 2],
    /// Factor on a fresh state, likewise.
    pub kept_fresh: [Option<ValueId>; 2],
    /// Factor at the chunk's end on a row's writes; none: 1.
    pub to_end: Option<ValueId>,
    /// Factor at the chunk's end on the entry's state, and on a fresh one.
    pub whole: Option<ValueId>,
    pub whole_fresh: Option<ValueId>,
    /// Signs of the products of decays up to each row, with and without its own.
    pub signs: Option<[ValueId; 2]>,
    /// Mask of pairs of rows in one document.
    pub document: Option<ValueId>,
    /// Row of the document's first token; negative if it lies in an earlier chunk.
    pub start: Option<ValueId>,
    /// Decays between pairs: (strict, before).
    pub pairs: BTreeMap<(bool, bool), ValueId>,
    /// A_ij, by the reader's vector, whether it reads before its decay, the event's key, and how the event is seen.
    pub between: BTreeMap<(Option<NodeId>, bool, NodeId, Seen), ValueId>,
    /// Under decays by key: vectors over K times the factor on the entry's state, and keys times the factor at the end.
    pub faded: BTreeMap<(Option<NodeId>, ValueId), ValueId>,
    /// Successive events with deltas, by their keys, vectors and scales.
    pub stacks: Vec<(Vec<[Option<NodeId>; 3]>, Stack)>,
}

impl Factors {
    /// Decay between pairs of rows, 0 for all other entries.
    pub(super) fn pair(&mut self, b: &mut Builder, pairs: Pairs) -> ValueId {
        let Pairs { strict, before, .. } = pairs;
        if let Some(known) = self.pairs.get(&(strict, before)) {
            return *known;
        }
        let pair = decayed(b, self.rate, pairs);
        let pair = self.masked(b, pairs, pair);
        self.pairs.insert((strict, before), pair);
        pair
    }

    /// Applies signs of decays, and the mask of documents.
    pub(super) fn masked(&self, b: &mut Builder, pairs: Pairs, pair: ValueId) -> ValueId {
        let pair = signed(b, self.signs, pairs, pair);
        times(b, Some(pair), self.document).unwrap_or(pair)
    }
}

/// Decay between pairs of rows, 0 for all other entries, without signs and documents.
pub(super) fn decayed(b: &mut Builder, rate: Option<Rate>, pairs: Pairs) -> ValueId {
    if let Some(rate) = rate {
        return rate.pairs(b, pairs);
    }
    let (row, col) = (index(b, pairs.rows), index(b, pairs.cols));
    b.binary(if pairs.strict { BinaryOp::Gt } else { BinaryOp::Ge }, row, col)
}

/// Pairs times the signs of the decays between them.
pub(super) fn signed(b: &mut Builder, signs: Option<[ValueId; 2]>, pairs: Pairs, pair: ValueId) -> ValueId {
    let Some(signs) = signs else { return pair };
    let col = b.rename(signs[0], pairs.rows, pairs.cols);
    let sign = b.mul(signs[usize::from(pairs.before)], col);
    b.mul(pair, sign)
}

impl Rows {
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

    /// Factors of a form's decay; with `fresh`, also for states from which documents start.
    pub(super) fn factors(&self, b: &mut Builder, form: &Form, nodes: &Operands, fresh: bool) -> Factors {
        let decay = form.decay;
        let rate = decay.node().map(|node| {
            let value = nodes[&(node, decay.past())];
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
            start: None,
            pairs: BTreeMap::new(),
            between: BTreeMap::new(),
            faded: BTreeMap::new(),
            stacks: Vec::new(),
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
            self.documents(b, &mut f, pos, fresh);
        }
        f
    }

    /// Adds masks and factors for documents that start inside of the chunk.
    fn documents(&self, b: &mut Builder, f: &mut Factors, pos: ValueId, fresh: bool) {
        let (row, col) = (index(b, self.rows), index(b, self.cols));
        let start = b.sub(row, pos);
        let (zero, one) = (b.number(0.0), b.number(1.0));
        let goes_on = b.binary(BinaryOp::Lt, start, zero);
        let document = b.binary(BinaryOp::Ge, col, start);
        let last = b.op(Op::Reduce(ReduceOp::Max, vec![self.rows]), &[start]);
        let last_goes_on = b.binary(BinaryOp::Lt, last, zero);
        let in_last = b.binary(BinaryOp::Ge, row, last);
        f.document = Some(document);
        f.start = Some(start);
        if fresh {
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
}

/// Product of the factors that are present.
pub(super) fn times(b: &mut Builder, x: Option<ValueId>, by: Option<ValueId>) -> Option<ValueId> {
    match (x, by) {
        (Some(x), Some(by)) => Some(b.mul(x, by)),
        (x, by) => x.or(by),
    }
}
