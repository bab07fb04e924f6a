//! Selection of the forward values that are kept for the backward pass, and of those that it recomputes.
//!
//! A backward pass reads forward values, and each of these has to be kept until then. Element-wise ops and layouts
//! cost next to nothing where they are fused into the loops that read them, so their results can be recomputed
//! from kept values instead. Results of contractions, loops, attends, reductions, softmaxes,
//! embeddings and trigonometric functions are never recomputed.
//!
//! The kept set has the fewest elements from which the backward pass can be computed in this way: a minimum cut
//! of the forward graph, where a value's capacity is its size and parameters and inputs, which stay anyway, are free.
//! Of equal cuts the one with the least recomputation is taken. Results are identical.

use super::cut::{Network, UNCUTTABLE};
use crate::lowered::{Dag, Dim, Extent, Fact, Lowered, Op, Shape, ValueId, remove_dead};

/// Shape at which sizes are compared: only their ratios matter.
const NOMINAL: Shape = Shape { batch: 4, len: 256, carried: 0 };

/// The joint graph with cheap forward values recomputed in its backward part.
pub fn recompute(joint: &Lowered) -> Lowered {
    let kept = kept(joint);
    let count = joint.forward_nodes;
    let mut dag = Dag::new();
    for id in joint.dag.ids().take(count) {
        dag.add(joint.dag.node(id).clone(), joint.dag.operands(id));
    }
    // new ids of backward nodes and of recomputed forward ones
    let mut map: Vec<Option<ValueId>> = vec![None; joint.dag.len()];
    for i in (0..count).filter(|i| kept[*i]) {
        map[i] = Some(ValueId(i as u32));
    }
    for i in count..joint.dag.len() {
        place(&joint.dag, ValueId(i as u32), &mut dag, &mut map);
    }
    let at = |id: ValueId| map[id.0 as usize].unwrap_or(id);
    // gradients are backward values; a gradient that is a forward one (of a constant program) stays where it is
    let lean = Lowered {
        source: joint.source.clone(),
        params: joint.params.clone(),
        dims: joint.dims.clone(),
        dag,
        outputs: joint.outputs.clone(),
        objective: joint.objective,
        carries: joint.carries.clone(),
        param_grads: joint.param_grads.iter().map(|&(param, g)| (param, at(g))).collect(),
        input_grads: joint.input_grads.iter().map(|&(input, g)| (input, at(g))).collect(),
        forward_nodes: joint.forward_nodes,
        update: joint.update,
        careful: joint.careful,
    };
    remove_dead(lean)
}

/// Adds a node after its operands.
fn place(from: &Dag, id: ValueId, dag: &mut Dag, map: &mut [Option<ValueId>]) {
    let mut stack = vec![id];
    while let Some(&id) = stack.last() {
        if map[id.0 as usize].is_some() {
            stack.pop();
            continue;
        }
        let operands = from.operands(id);
        let missing = operands.iter().rev().find(|o| map[o.0 as usize].is_none());
        if let Some(operand) = missing {
            stack.push(*operand);
            continue;
        }
        let operands: Vec<ValueId> = operands.iter().map(|o| map[o.0 as usize].expect("none is missing")).collect();
        map[id.0 as usize] = Some(dag.add(from.node(id).clone(), &operands));
        stack.pop();
    }
}

/// Marks the forward nodes that the backward part may read: all that are not cheap, and the cheap ones on the cut.
fn kept(joint: &Lowered) -> Vec<bool> {
    let (dag, count) = (&joint.dag, joint.forward_nodes);
    let (source, sink) = (2 * count, 2 * count + 1);
    let (before, after) = (|i: usize| 2 * i, |i: usize| 2 * i + 1);
    let mut network = Network::new(2 * count + 2);
    let mut read = vec![false; count];
    // values that are in memory in both passes: operands of kernels, behind aliases
    let mut stored = [vec![false; count], vec![false; count]];
    for id in dag.ids() {
        let backward = id.0 as usize >= count;
        for o in dag.operands(id).iter().map(|o| o.0 as usize).filter(|o| *o < count) {
            read[o] |= backward;
            stored[usize::from(backward)][o] |= dag.node(id).op.is(Fact::Stored);
        }
    }
    // an expanded value is wider than the value kept for it, and is requested by itself
    let behind = |op: &Op| op.is(Fact::Name) && !matches!(op, Op::Expand(_));
    for id in dag.ids().take(count).rev().filter(|id| behind(&dag.node(*id).op)) {
        for pass in &mut stored {
            let read = std::mem::take(&mut pass[id.0 as usize]);
            pass[dag.operands(id)[0].0 as usize] |= read;
        }
    }
    let cheap = |i: usize| dag.nodes()[i].op.is(Fact::Cheap) && !(stored[0][i] && stored[1][i]);
    for id in dag.ids().take(count) {
        let (i, node) = (id.0 as usize, dag.node(id));
        let size = if node.op.is(Fact::Free) { 0 } else { size(&joint.dims, &node.dims) };
        network.edge(before(i), after(i), size);
        if cheap(i) {
            for operand in dag.operands(id) {
                network.edge(after(operand.0 as usize), before(i), UNCUTTABLE);
            }
        } else {
            network.edge(source, before(i), UNCUTTABLE);
        }
        if read[i] {
            network.edge(after(i), sink, UNCUTTABLE);
        }
    }
    let beyond = network.cut(source, sink);
    let on_cut = |i: usize| !beyond[before(i)] && beyond[after(i)];
    (0..count).map(|i| !cheap(i) || on_cut(i)).collect()
}

fn size(table: &[Dim], dims: &[crate::lowered::DimId]) -> u64 {
    let of = |d: &crate::lowered::DimId| match table[d.0 as usize].extent {
        Extent::Fixed(n) => n as u64,
        open => open.at(NOMINAL) as u64,
    };
    dims.iter().map(of).fold(1u64, |a, b| a.saturating_mul(b)).min(UNCUTTABLE >> 12)
}
