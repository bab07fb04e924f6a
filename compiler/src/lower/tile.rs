//! The tile of an attend: rows times columns of one head.
//!
//! The batch and all axes of the weights are mapped. An axis of the weights that the body itself works along (scores that mix their heads)
//! stays inside, and the current head is selected by a contraction with a one-hot vector.

use super::attends::{Pairs, Sides, weight};
use super::ordinary::{dims, ordinary};
use super::reach::{always, most_carried, reach};
use super::tokens::Lowering;
use crate::graph::{self, AxisId, BinaryOp, NodeId, Op as Source};
use crate::lowered::{Attend, BATCH, Builder, DimId, Extent, FIXED, Op, TIME, ValueId, Weighing, order};
use crate::ops::axes;
use std::collections::BTreeMap;
use std::sync::Arc;

impl<'a> Pairs<'a> {
    /// Nodes computed in a tile, operands first.
    fn inside(&self) -> Vec<NodeId> {
        let dag = &self.attend.body;
        let mut needed = vec![false; dag.len()];
        let mut stack = self.roots();
        while let Some(id) = stack.pop() {
            let id = self.resolved(id);
            let number = matches!(dag.op(id), Source::Const(_));
            if self.outer[id.0 as usize].is_none() && !number && !std::mem::replace(&mut needed[id.0 as usize], true) {
                stack.extend(dag.operands(id));
            }
        }
        dag.ids().filter(|id| needed[id.0 as usize]).collect()
    }

    /// Builds the attend and reads its emits.
    pub fn tile(&self, l: &mut Lowering<'a>) -> Vec<ValueId> {
        let (attend, dag) = (self.attend, &self.attend.body);
        let inside = self.inside();
        let (rows, cols) = l.tile();
        let own = &dag.ty(weight(attend)).axes;
        let (mixed, free): (Vec<AxisId>, Vec<AxisId>) =
            own.iter().copied().partition(|a| inside.iter().any(|id| works_along(dag.op(*id), *a)));
        let mut map = vec![BATCH];
        map.extend(dims(&free));
        // for an axis that stays inside: itself, the mapped copy, and the one-hot vector of the copy's index
        let mut copies: Vec<(DimId, DimId, ValueId)> = Vec::new();
        for axis in mixed {
            let inner = dims(&[axis])[0];
            let copy = l.b.dim(&l.graph.axis(axis).name, Extent::Fixed(l.graph.size(axis)), FIXED);
            let (a, b) = (l.b.op(Op::Index(vec![inner]), &[]), l.b.op(Op::Index(vec![copy]), &[]));
            copies.push((inner, copy, l.b.binary(BinaryOp::Eq, a, b)));
            map.push(copy);
        }

        let mut reads = Reads { operands: Vec::new(), leaves: Vec::new() };
        for id in &inside {
            for (which, o) in dag.operands(*id).iter().enumerate() {
                match self.scaled.get(&(*id, which)) {
                    Some((value, sides)) => reads.add(l, *value, *sides),
                    None => self.read(l, *o, &mut reads),
                }
            }
        }
        for [row, col] in inside.iter().filter_map(|id| self.low_parts.get(id)) {
            reads.add(l, *row, Sides::ROW);
            reads.add(l, *col, Sides::COL);
        }
        self.roots().into_iter().for_each(|r| self.read(l, r, &mut reads));
        copies.iter().for_each(|(_, _, one)| reads.add(l, *one, Sides::NONE));

        let visible = attend.visible.filter(|v| !always(dag, *v));
        let past = l.past(most_carried(attend));
        let training = l.options.training;
        let mut b = l.b.body();
        let mut at: BTreeMap<(ValueId, bool), ValueId> = BTreeMap::new();
        for leaf in &reads.leaves {
            let time = |d: &DimId| *d == TIME || *d == past;
            let mut own: Vec<DimId> = leaf.dims.iter().copied().filter(|d| !time(d) && !map.contains(d)).collect();
            if leaf.dims.iter().any(time) {
                own.push(if leaf.past { cols } else { rows });
            }
            order(b.dims, &mut own);
            let op = if leaf.past { Op::Past(leaf.operand, own) } else { Op::Capture(leaf.operand, own) };
            at.insert((leaf.value, leaf.past), b.op(op, &[]));
        }
        let mut values: Vec<Option<ValueId>> = vec![None; dag.len()];
        for id in &inside {
            let node = dag.node(*id);
            b.name.clone_from(&node.name);
            b.place = node.place;
            let x: Vec<ValueId> = (dag.operands(*id).iter().enumerate())
                .map(|(which, o)| match self.scaled.get(&(*id, which)) {
                    Some((value, sides)) => at[&(*value, *sides == Sides::COL)],
                    None => self.inner(&mut b, &values, &at, *o),
                })
                .collect();
            let new = match &node.op {
                Source::Lag => match inside.iter().find(|i| matches!(dag.op(**i), Source::Lag)) {
                    Some(first) if first < id => values[first.0 as usize].expect("archc bug: a lag that comes later"),
                    _ => b.op(Op::Lag(rows, cols), &[]),
                },
                // along mapped axes every value is constant anyway
                Source::Expand(new) => {
                    let new: Vec<DimId> = dims(new).into_iter().filter(|d| !map.contains(d)).collect();
                    b.expand(x[0], &new)
                }
                op => {
                    let value = ordinary(l.graph, &mut b, op, &x, training);
                    match self.low_parts.get(id) {
                        Some([row, col]) => {
                            let low = b.sub(at[&(*row, false)], at[&(*col, true)]);
                            b.add(value, low)
                        }
                        None => value,
                    }
                }
            };
            values[id.0 as usize] = Some(new);
        }
        let root = |b: &mut Builder<'_>, id: NodeId| {
            b.name.clone_from(&dag.node(id).name);
            let value = self.inner(b, &values, &at, id);
            copies.iter().fold(value, |x, (inner, _, one)| match b.has(x, *inner) {
                true => b.contract(x, at[&(*one, false)], &[*inner]),
                false => x,
            })
        };
        let visible_value = visible.map(|v| root(&mut b, v));
        let weighing = match attend.weighing {
            graph::Weighing::Score(n) => Weighing::Score(root(&mut b, n)),
            graph::Weighing::Weight(n) => Weighing::Weight(root(&mut b, n)),
        };
        let sink = attend.sink.map(|s| root(&mut b, s));
        let mut emits: Vec<(String, ValueId)> = Vec::with_capacity(self.emits.len());
        for emit in &self.emits {
            let value = root(&mut b, emit.node);
            emits.push((emit.name.clone(), b.expand(value, &[cols])));
        }
        let body = b.dag;
        let reach = visible.map_or((0, None), |v| reach(dag, v));
        let tile = Attend { rows, cols, past, map, body, visible: visible_value, weighing, sink, emits, reach };
        l.b.name.clear();
        let node = l.b.op(Op::Attend(Arc::new(tile)), &reads.operands);
        let mut emitted = Vec::with_capacity(self.emits.len());
        for (i, emit) in self.emits.iter().enumerate() {
            l.b.name.clone_from(&emit.name);
            let value = l.b.op(Op::Emit(i), &[node]);
            let value = copies.iter().fold(value, |x, (inner, copy, _)| l.b.rename(x, *copy, *inner));
            emitted.push(emit.finish(l, value));
        }
        emitted
    }

    /// Value of a node in the tile.
    fn inner(
        &self,
        b: &mut Builder<'_>,
        values: &[Option<ValueId>],
        at: &BTreeMap<(ValueId, bool), ValueId>,
        id: NodeId,
    ) -> ValueId {
        let id = self.resolved(id);
        if let Some(value) = values[id.0 as usize] {
            return value;
        }
        match (self.attend.body.op(id), self.outer[id.0 as usize]) {
            (Source::Const(x), _) => b.number(*x),
            (_, Some(outer)) => at[&(outer, self.sides(id) == Sides::COL)],
            _ => panic!("archc bug: %{} of an attend is not in its tile", id.0),
        }
    }

    /// Records the outer values that the tile reads.
    fn read(&self, l: &Lowering<'_>, id: NodeId, reads: &mut Reads) {
        let id = self.resolved(id);
        if let (Some(outer), false) = (self.outer[id.0 as usize], matches!(self.attend.body.op(id), Source::Const(_))) {
            reads.add(l, outer, self.sides(id));
        }
    }
}

/// Outer values that a tile reads.
struct Reads {
    /// Operands of the attend.
    operands: Vec<ValueId>,
    leaves: Vec<Leaf>,
}

struct Leaf {
    value: ValueId,
    /// Whether it is read at the columns' tokens.
    past: bool,
    operand: usize,
    dims: Vec<DimId>,
}

impl Reads {
    fn add(&mut self, l: &Lowering<'_>, value: ValueId, sides: Sides) {
        let past = sides == Sides::COL;
        if self.leaves.iter().any(|r| r.value == value && r.past == past) {
            return;
        }
        let operand = self.operands.iter().position(|o| *o == value).unwrap_or_else(|| {
            self.operands.push(value);
            self.operands.len() - 1
        });
        self.leaves.push(Leaf { value, past, operand, dims: l.b.dims_of(value).to_vec() });
    }
}

/// Whether an op reads across an axis or creates it, other than by broadcasting.
fn works_along(op: &Source, axis: AxisId) -> bool {
    !matches!(op, Source::Expand(_)) && axes(op).contains(&axis)
}
