//! `sink_into_loops`: computes wide, cheap values a chunk at a time, in the loop that reads them.
//!
//! A scan whose state is an outer product, such as `h = exp(-a * dt) * h + dt * u * B` over `[E, N]` with dt, u over `[E]` and
//! B over `[N]`, reads `[B, T, E, N]` elements that are computed element by element from `[B, T, E]` and `[B, T, N]`. Computed for all
//! tokens at once they take N times the program's own memory; computed in the body of the loop over chunks they stay in cache, and the
//! gradient computes them again there.

use super::rewrite::{builder, move_roots, uses};
use crate::lowered::{BATCH, Dag, Dim, DimId, Extent, Loop, Lowered, Op, TIME, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Moves values into loops; see the module's essay. A value moves if it is read by the loop alone and at least twice as wide as the values
/// it is computed from.
pub fn sink_into_loops(mut graph: Lowered) -> Lowered {
    let counts = uses(&graph.dag, &graph.roots());
    let mut all: BTreeMap<ValueId, Moves> = BTreeMap::new();
    for id in graph.dag.ids() {
        if let Op::Loop(l) = &graph.dag.node(id).op
            && matches!(graph.dim(l.over).extent, Extent::Chunks(_))
            && masks_rows(l)
        {
            let moves = Moves::find(&graph, &counts, id, l);
            if !moves.captures.is_empty() {
                all.insert(id, moves);
            }
        }
    }
    if all.is_empty() {
        return graph;
    }
    let mut dims = graph.dims.clone();
    let mut at: Vec<ValueId> = Vec::with_capacity(graph.dag.len());
    let mut dag = Dag::default();
    for id in graph.dag.ids() {
        let old = graph.dag.node(id);
        let mut node = old.clone();
        let mut operands: Vec<ValueId> = graph.dag.operands(id).iter().map(|o| at[o.0 as usize]).collect();
        if let (Op::Loop(l), Some(moves)) = (&old.op, all.get(&id)) {
            let mut b = builder(&mut dims, node.place);
            b.dag = std::mem::take(&mut dag);
            let before = operands.len();
            for (leaf, chunk) in &moves.timed {
                b.name.clone_from(&graph.dag.node(*leaf).name);
                let chunked = b.op(chunk.clone(), &[at[leaf.0 as usize]]);
                operands.push(chunked);
            }
            operands.extend(moves.fixed.iter().map(|leaf| at[leaf.0 as usize]));
            dag = b.dag;
            node.op = Op::Loop(Arc::new(moves.body(&graph, &mut dims, l, before)));
        }
        at.push(dag.add(node, &operands));
    }
    graph.forward_nodes = dag.len();
    (graph.dims, graph.dag) = (dims, dag);
    move_roots(&mut graph, |id| at[id.0 as usize]);
    graph
}

/// Whether the body is a loop over rows, which holds its states in rows past the end. A chunk form instead relies on the values of its
/// operands there.
fn masks_rows(l: &Loop) -> bool {
    l.body.nodes().iter().any(|n| matches!(n.op, Op::Loop(_)))
}

/// Values that move into one loop.
struct Moves {
    /// Captures that are replaced, with the values that they hold.
    captures: Vec<(usize, ValueId)>,
    /// Ops that move, operands first.
    cone: Vec<ValueId>,
    /// Operands of these that differ between tokens, with the op that cuts each into chunks.
    timed: Vec<(ValueId, Op)>,
    /// Other operands, except for constants.
    fixed: Vec<ValueId>,
}

fn width(graph: &Lowered, id: ValueId) -> usize {
    let dims = graph.dag.node(id).dims.iter().filter(|d| **d != BATCH && **d != TIME);
    dims.fold(1usize, |n, d| match graph.dim(*d).extent {
        Extent::Fixed(m) => n.saturating_mul(m),
        _ => n,
    })
}

fn has_time(graph: &Lowered, id: ValueId) -> bool {
    graph.dag.node(id).dims.contains(&TIME)
}

impl Moves {
    fn find(graph: &Lowered, counts: &[usize], id: ValueId, l: &Loop) -> Self {
        let dag = &graph.dag;
        let states = l.states.len();
        let mut candidates: Vec<(usize, ValueId, Op)> = Vec::new();
        // for each value the number of its readers that move or are this loop
        let mut inside = vec![0usize; dag.len()];
        for (i, operand) in dag.operands(id).iter().enumerate().skip(states) {
            let node = dag.node(*operand);
            if matches!(node.op, Op::Chunk { .. }) && counts[operand.0 as usize] == 1 {
                inside[dag.operands(*operand)[0].0 as usize] += 1;
                candidates.push((i - states, dag.operands(*operand)[0], node.op.clone()));
            }
        }
        // rows past the end are tokens of zeros, which must not make non-finite values: 0 times that is no gradient of 0
        let elementwise = |v: ValueId| match &dag.node(v).op {
            op @ (Op::Unary(_) | Op::Binary(_)) => {
                dag.operands(v).iter().enumerate().all(|(i, o)| !op.has_pole_at(i) || !has_time(graph, *o))
            }
            Op::Select | Op::StopGrad => true,
            Op::Expand(new) => !new.contains(&TIME) && !new.contains(&BATCH),
            _ => false,
        };
        let mut free = vec![false; dag.len()];
        for v in dag.ids().rev().filter(|v| *v < id) {
            let i = v.0 as usize;
            if counts[i] > 0 && inside[i] == counts[i] && elementwise(v) && has_time(graph, v) {
                free[i] = true;
                dag.operands(v).iter().for_each(|o| inside[o.0 as usize] += 1);
            }
        }
        let mut moves = Self { captures: Vec::new(), cone: Vec::new(), timed: Vec::new(), fixed: Vec::new() };
        for (capture, value, chunk) in candidates {
            let (mut cone, mut leaves) = (Vec::new(), Vec::new());
            if !free[value.0 as usize] {
                continue;
            }
            let full = width(graph, value);
            let mut stack = vec![value];
            while let Some(v) = stack.pop() {
                let list = match free[v.0 as usize] && width(graph, v) >= full {
                    true => &mut cone,
                    false => &mut leaves,
                };
                if !list.contains(&v) {
                    list.push(v);
                    if free[v.0 as usize] && width(graph, v) >= full {
                        stack.extend(dag.operands(v));
                    }
                }
            }
            let timed = leaves.iter().copied().filter(|v| has_time(graph, *v));
            let read = timed.fold(0usize, |n, v| n.saturating_add(width(graph, v)));
            if read.saturating_mul(2) > full {
                continue;
            }
            moves.captures.push((capture, value));
            moves.cone.extend(cone);
            for leaf in leaves {
                if has_time(graph, leaf) {
                    if !moves.timed.iter().any(|(v, _)| *v == leaf) {
                        let Op::Chunk { chunks, rows, .. } = chunk else { continue };
                        moves.timed.push((leaf, Op::Chunk { chunks, rows, fill: 0.0 }));
                    }
                } else if !matches!(dag.node(leaf).op, Op::Const(_)) && !moves.fixed.contains(&leaf) {
                    moves.fixed.push(leaf);
                }
            }
        }
        moves.cone.sort_unstable();
        moves.cone.dedup();
        moves
    }

    /// The loop with the moved ops before its body. `operands`: its previous number of operands.
    fn body(&self, graph: &Lowered, dims: &mut Vec<Dim>, l: &Loop, operands: usize) -> Loop {
        let states = l.states.len();
        let gone = [l.map.as_slice(), &[l.over]].concat();
        let mut b = builder(dims, graph.dag.node(self.cone[0]).place);
        let mut values: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let leaves = self.timed.iter().map(|(v, chunk)| (*v, Some(chunk))).chain(self.fixed.iter().map(|v| (*v, None)));
        for (i, (leaf, chunk)) in leaves.enumerate() {
            let node = graph.dag.node(leaf);
            let mut own: Vec<DimId> = node.dims.iter().copied().filter(|d| !gone.contains(d) && *d != TIME).collect();
            if let Some(Op::Chunk { rows, .. }) = chunk {
                own.push(*rows);
            }
            crate::lowered::order(b.dims, &mut own);
            b.name.clone_from(&node.name);
            values.insert(leaf, b.op(Op::Capture(operands - states + i, own), &[]));
        }
        for v in &self.cone {
            let node = graph.dag.node(*v);
            b.name.clone_from(&node.name);
            b.place = node.place;
            let mut x: Vec<ValueId> = Vec::with_capacity(graph.dag.operands(*v).len());
            for o in graph.dag.operands(*v) {
                x.push(match (&graph.dag.node(*o).op, values.get(o)) {
                    (_, Some(value)) => *value,
                    (Op::Const(n), _) => b.number(*n),
                    _ => panic!("archc bug: %{} moves without its operand %{}", v.0, o.0),
                });
            }
            let value = match &node.op {
                Op::Expand(dims) => {
                    let dims: Vec<DimId> = dims.iter().copied().filter(|d| !gone.contains(d)).collect();
                    b.expand(x[0], &dims)
                }
                op => b.op(op.clone(), &x),
            };
            values.insert(*v, value);
        }
        let mut dag = b.dag;
        let mut at: Vec<ValueId> = Vec::with_capacity(l.body.len());
        for id in l.body.ids() {
            let node = l.body.node(id).clone();
            let moved = match node.op {
                Op::Capture(c, _) => self.captures.iter().find(|(i, _)| *i == c),
                _ => None,
            };
            if let Some((_, value)) = moved {
                at.push(values[value]);
                continue;
            }
            let operands: Vec<ValueId> = l.body.operands(id).iter().map(|o| at[o.0 as usize]).collect();
            at.push(dag.add(node, &operands));
        }
        Loop {
            over: l.over,
            reverse: l.reverse,
            map: l.map.clone(),
            states: l.states.clone(),
            next: l.next.iter().map(|n| at[n.0 as usize]).collect(),
            emits: l.emits.iter().map(|(name, e)| (name.clone(), at[e.0 as usize])).collect(),
            body: dag,
        }
    }
}
