//! Removal of everything that no root depends on: values, and unread emits, states and captures of loops.

use super::{AttendGrad, Dag, Loop, Lowered, Op, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The graph without dead values. Unread emits, states and captures of loops are removed too, and unread sums of attend gradients.
pub fn remove_dead(mut graph: Lowered) -> Lowered {
    let roots = graph.roots();
    let (dag, map) = without_dead(std::mem::take(&mut graph.dag), &roots);
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    let forward_nodes = map[..graph.forward_nodes.min(map.len())].iter().flatten().count();
    graph.dag = dag;
    graph.outputs.iter_mut().for_each(|o| o.value = at(o.value));
    graph.objective = graph.objective.map(|(a, b)| (at(a), at(b)));
    graph.carries.iter_mut().flat_map(|c| [Some(&mut c.value), c.low.as_mut()]).flatten().for_each(|v| *v = at(*v));
    graph.param_grads.iter_mut().for_each(|g| g.1 = at(g.1));
    graph.input_grads.iter_mut().for_each(|g| g.1 = at(g.1));
    graph.forward_nodes = forward_nodes;
    graph
}

/// Live parts of a loop or an attend gradient, by old number.
#[derive(Default)]
struct Kept {
    emits: Vec<bool>,
    finals: Vec<bool>,
    operands: Vec<bool>,
}

/// Marks the live values of a DAG, and the live parts of its loops and attend gradients.
fn reached(dag: &Dag, roots: &[ValueId]) -> (Vec<bool>, BTreeMap<ValueId, Kept>) {
    let mut seen = vec![false; dag.len()];
    roots.iter().for_each(|r| seen[r.0 as usize] = true);
    let mut kept: BTreeMap<ValueId, Kept> = BTreeMap::new();
    for id in dag.ids().rev() {
        if !seen[id.0 as usize] {
            continue;
        }
        let node = dag.node(id);
        let operands = dag.operands(id);
        let mut read = vec![true; operands.len()];
        match &node.op {
            // users come later in the DAG, so all reads of the node's results are known
            Op::Loop(l) => {
                let kept = kept.entry(id).or_default();
                kept.emits.resize(l.emits.len(), false);
                kept.finals.resize(l.states.len(), false);
                live_loop(l, kept, operands.len());
                read.clone_from(&kept.operands);
            }
            Op::AttendGrad(g) => {
                let kept = kept.entry(id).or_default();
                kept.emits.resize(g.sums.len(), false);
            }
            Op::Emit(i) => mark(&mut kept.entry(operands[0]).or_default().emits, *i),
            Op::Final(i) => mark(&mut kept.entry(operands[0]).or_default().finals, *i),
            _ => {}
        }
        for (operand, _) in operands.iter().zip(read).filter(|(_, k)| *k) {
            seen[operand.0 as usize] = true;
        }
    }
    (seen, kept)
}

/// The live part of a DAG, and the new ids of its values.
fn without_dead(dag: Dag, roots: &[ValueId]) -> (Dag, Vec<Option<ValueId>>) {
    let (seen, kept) = reached(&dag, roots);
    let mut map: Vec<Option<ValueId>> = vec![None; dag.len()];
    let mut new = Dag::default();
    for (i, (mut node, mut operands)) in dag.into_nodes().enumerate().filter(|(i, _)| seen[*i]) {
        let kept_here = kept.get(&ValueId(i as u32));
        let port = matches!(node.op, Op::Emit(_) | Op::Final(_));
        let kept_there = if port { kept.get(&operands[0]) } else { None };
        if let (Op::Loop(_), Some(kept)) = (&node.op, kept_here) {
            let mut keep = kept.operands.iter();
            operands.retain(|_| *keep.next().expect("one for each operand"));
        }
        for operand in &mut operands {
            *operand = map[operand.0 as usize].expect("an operand of a live value is live");
        }
        node.op = match (node.op, kept_here) {
            (Op::Loop(l), Some(kept)) => Op::Loop(Arc::new(fewer_states(Arc::unwrap_or_clone(l), kept))),
            (Op::AttendGrad(g), Some(kept)) => Op::AttendGrad(Arc::new(fewer_sums(Arc::unwrap_or_clone(g), kept))),
            (op, _) => op,
        };
        // renumber ports after the removal of earlier ones; attends keep all of theirs
        if let Some(kept) = kept_there
            && matches!(new.node(operands[0]).op, Op::Loop(_) | Op::AttendGrad(_))
        {
            match &mut node.op {
                Op::Emit(i) => *i = rank(&kept.emits, *i),
                Op::Final(i) => *i = rank(&kept.finals, *i),
                _ => {}
            }
        }
        map[i] = Some(new.add(node, &operands));
    }
    (new, map)
}

fn mark(flags: &mut Vec<bool>, i: usize) {
    if flags.len() <= i {
        flags.resize(i + 1, false);
    }
    flags[i] = true;
}

/// Number of kept entries before this one.
fn rank(kept: &[bool], i: usize) -> usize {
    kept[..i].iter().filter(|k| **k).count()
}

/// Marks the live states and captures, given the emits and final states that are read.
fn live_loop(l: &Loop, kept: &mut Kept, operands: usize) {
    let mut states = kept.finals.clone();
    let seen = loop {
        let emits = l.emits.iter().zip(&kept.emits).filter(|(_, k)| **k).map(|((_, e), _)| *e);
        let next = l.next.iter().zip(&states).filter(|(_, k)| **k).map(|(n, _)| *n);
        let roots: Vec<ValueId> = emits.chain(next).collect();
        let (seen, _) = reached(&l.body, &roots);
        let mut grown = states.clone();
        for id in l.body.ids().filter(|id| seen[id.0 as usize]) {
            if let Op::State(s, _) = l.body.node(id).op {
                grown[s] = true;
            }
        }
        if grown == states {
            break seen;
        }
        states = grown;
    };
    let mut keep = states.clone();
    keep.resize(operands, false);
    for id in l.body.ids().filter(|id| seen[id.0 as usize]) {
        if let Op::Capture(c, _) = l.body.node(id).op {
            keep[states.len() + c] = true;
        }
    }
    kept.finals = states;
    kept.operands = keep;
}

/// The loop restricted to its live parts.
fn fewer_states(l: Loop, kept: &Kept) -> Loop {
    let states = l.states.len();
    let mut emits = chosen(l.emits, &kept.emits);
    let mut next = chosen(l.next, &kept.finals);
    let roots: Vec<ValueId> = emits.iter().map(|e| e.1).chain(next.iter().copied()).collect();
    let (mut body, map) = without_dead(l.body, &roots);
    for id in body.ids() {
        match &mut body.node_mut(id).op {
            Op::State(s, _) => *s = rank(&kept.finals, *s),
            Op::Capture(c, _) => *c = rank(&kept.operands[states..], *c),
            _ => {}
        }
    }
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    emits.iter_mut().for_each(|e| e.1 = at(e.1));
    next.iter_mut().for_each(|n| *n = at(*n));
    Loop { states: chosen(l.states, &kept.finals), body, next, emits, ..l }
}

/// The attend gradient restricted to its live sums. Its operands stay as they are: the forward body refers to them by number.
fn fewer_sums(g: AttendGrad, kept: &Kept) -> AttendGrad {
    let mut sums = chosen(g.sums, &kept.emits);
    let mut roots: Vec<ValueId> = sums.iter().map(|s| s.1).collect();
    roots.push(g.weighing.value());
    roots.extend(g.visible);
    roots.extend(&g.running);
    let (body, map) = without_dead(g.body, &roots);
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    sums.iter_mut().for_each(|s| s.1 = at(s.1));
    let running = g.running.into_iter().map(at).collect();
    AttendGrad {
        body,
        weighing: g.weighing.with(at(g.weighing.value())),
        visible: g.visible.map(at),
        sums,
        running,
        ..g
    }
}

fn chosen<T>(all: Vec<T>, keep: &[bool]) -> Vec<T> {
    all.into_iter().zip(keep).filter(|(_, k)| **k).map(|(x, _)| x).collect()
}
