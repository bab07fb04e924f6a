//! Removal of what no root depends on: values, and in loops what they give out, carry and read in vain.

use super::{AttendGrad, Dag, Loop, Lowered, Op, ValueId};
use std::collections::BTreeMap;

/// The graph without dead values. Emits, states and captures of loops that nothing reads go too, and sums of attend
/// gradients.
pub fn remove_dead(graph: &Lowered) -> Lowered {
    let (dag, map) = live(&graph.dag, &graph.roots());
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    let forward_nodes = map[..graph.forward_nodes.min(map.len())].iter().flatten().count();
    let mut live = graph.clone();
    live.dag = dag;
    live.outputs.iter_mut().for_each(|o| o.value = at(o.value));
    live.objective = live.objective.map(|(a, b)| (at(a), at(b)));
    live.carries.iter_mut().for_each(|c| c.value = at(c.value));
    live.param_grads.iter_mut().for_each(|g| g.1 = at(g.1));
    live.input_grads.iter_mut().for_each(|g| g.1 = at(g.1));
    live.forward_nodes = forward_nodes;
    live
}

/// What of a loop or an attend gradient stays, by old number.
#[derive(Default)]
struct Kept {
    emits: Vec<bool>,
    finals: Vec<bool>,
    operands: Vec<bool>,
}

/// The live part of a DAG, and where its values went.
fn live(dag: &Dag, roots: &[ValueId]) -> (Dag, Vec<Option<ValueId>>) {
    let mut seen = vec![false; dag.nodes.len()];
    roots.iter().for_each(|r| seen[r.0 as usize] = true);
    let mut kept: BTreeMap<ValueId, Kept> = BTreeMap::new();
    for id in dag.ids().rev() {
        if !seen[id.0 as usize] {
            continue;
        }
        let node = dag.node(id);
        let mut operands = vec![true; node.operands.len()];
        match &node.op {
            // users come after: what is read of the node is known
            Op::Loop(l) => {
                let kept = kept.entry(id).or_default();
                kept.emits.resize(l.emits.len(), false);
                kept.finals.resize(l.states.len(), false);
                live_loop(l, kept, node.operands.len());
                operands.clone_from(&kept.operands);
            }
            Op::AttendGrad(g) => {
                let kept = kept.entry(id).or_default();
                kept.emits.resize(g.sums.len(), false);
            }
            Op::Emit(i) => mark(&mut kept.entry(node.operands[0]).or_default().emits, *i),
            Op::Final(i) => mark(&mut kept.entry(node.operands[0]).or_default().finals, *i),
            _ => {}
        }
        for (operand, _) in node.operands.iter().zip(operands).filter(|(_, k)| *k) {
            seen[operand.0 as usize] = true;
        }
    }
    let mut map: Vec<Option<ValueId>> = vec![None; dag.nodes.len()];
    let mut new = Dag::default();
    for id in dag.ids().filter(|id| seen[id.0 as usize]) {
        let mut node = dag.node(id).clone();
        match (&mut node.op, kept.get(&id)) {
            (Op::Loop(l), Some(kept)) => {
                **l = without(l, kept);
                let mut keep = kept.operands.iter();
                node.operands.retain(|_| *keep.next().expect("one for each operand"));
            }
            (Op::AttendGrad(g), Some(kept)) => **g = fewer_sums(g, kept),
            (Op::Emit(i), _) => {
                renumber(i, kept.get(&node.operands[0]).map(|k| &k.emits), &dag.node(node.operands[0]).op)
            }
            (Op::Final(i), _) => {
                renumber(i, kept.get(&node.operands[0]).map(|k| &k.finals), &dag.node(node.operands[0]).op)
            }
            _ => {}
        }
        for operand in &mut node.operands {
            *operand = map[operand.0 as usize].expect("an operand of a live value is live");
        }
        map[id.0 as usize] = Some(ValueId(new.nodes.len() as u32));
        new.nodes.push(node);
    }
    (new, map)
}

fn mark(flags: &mut Vec<bool>, i: usize) {
    if flags.len() <= i {
        flags.resize(i + 1, false);
    }
    flags[i] = true;
}

/// The number of a port once those before it that are dead are gone. Attends keep all of theirs.
fn renumber(i: &mut usize, kept: Option<&Vec<bool>>, op: &Op) {
    if let (Op::Loop(_) | Op::AttendGrad(_), Some(kept)) = (op, kept) {
        *i = kept[..*i].iter().filter(|k| **k).count();
    }
}

/// Which states and captures live on, given the emits and final states that are read.
fn live_loop(l: &Loop, kept: &mut Kept, operands: usize) {
    let mut states = kept.finals.clone();
    let seen = loop {
        let emits = l.emits.iter().zip(&kept.emits).filter(|(_, k)| **k).map(|((_, e), _)| *e);
        let next = l.next.iter().zip(&states).filter(|(_, k)| **k).map(|(n, _)| *n);
        let roots: Vec<ValueId> = emits.chain(next).collect();
        let (dag, map) = live(&l.body, &roots);
        drop(dag);
        let read = |id: &ValueId| map[id.0 as usize].is_some();
        let mut grown = states.clone();
        for id in l.body.ids().filter(read) {
            if let Op::State(s, _) = l.body.node(id).op {
                grown[s] = true;
            }
        }
        if grown == states {
            break map;
        }
        states = grown;
    };
    let mut keep = states.clone();
    keep.resize(operands, false);
    for id in l.body.ids().filter(|id| seen[id.0 as usize].is_some()) {
        if let Op::Capture(c, _) = l.body.node(id).op {
            keep[states.len() + c] = true;
        }
    }
    kept.finals = states;
    kept.operands = keep;
}

/// The loop with what is kept.
fn without(l: &Loop, kept: &Kept) -> Loop {
    let states = l.states.len();
    let emits: Vec<(String, ValueId)> = chosen(&l.emits, &kept.emits);
    let next: Vec<ValueId> = chosen(&l.next, &kept.finals);
    let roots: Vec<ValueId> = emits.iter().map(|e| e.1).chain(next.iter().copied()).collect();
    let (mut body, map) = live(&l.body, &roots);
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    let rank = |flags: &[bool], i: usize| flags[..i].iter().filter(|k| **k).count();
    for node in &mut body.nodes {
        match &mut node.op {
            Op::State(s, _) => *s = rank(&kept.finals, *s),
            Op::Capture(c, _) => *c = rank(&kept.operands[states..], *c),
            _ => {}
        }
    }
    Loop {
        over: l.over,
        reverse: l.reverse,
        map: l.map.clone(),
        states: chosen(&l.states, &kept.finals),
        body,
        next: next.into_iter().map(at).collect(),
        emits: emits.into_iter().map(|(name, e)| (name, at(e))).collect(),
    }
}

/// The attend gradient with the sums that are kept. Its operands stay as they are: the forward body counts them.
fn fewer_sums(g: &AttendGrad, kept: &Kept) -> AttendGrad {
    let sums = chosen(&g.sums, &kept.emits);
    let mut roots: Vec<ValueId> = sums.iter().map(|s| s.1).collect();
    roots.push(g.weighing.value());
    roots.extend(g.visible);
    let (body, map) = live(&g.body, &roots);
    let at = |id: ValueId| map[id.0 as usize].expect("a root is live");
    AttendGrad {
        forward: g.forward.clone(),
        body,
        weighing: g.weighing.with(at(g.weighing.value())),
        visible: g.visible.map(at),
        sums: sums.into_iter().map(|(c, s)| (c, at(s))).collect(),
    }
}

fn chosen<T: Clone>(all: &[T], keep: &[bool]) -> Vec<T> {
    all.iter().zip(keep).filter(|(_, k)| **k).map(|(x, _)| x.clone()).collect()
}
