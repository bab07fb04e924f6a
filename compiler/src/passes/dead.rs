//! `remove_dead`: removes everything that no output and no loss needs, inside of bodies too.
//!
//! A scan keeps the emits that are read, the states on which these depend, and the remaining
//! captures; an attend likewise. Parameters and inputs stay in the graph's tables: a checkpoint's
//! layout never depends on use.

use super::rewrite::{Copied, graph_roots, with_dag};
use crate::graph::{Attend, Dag, Graph, NodeId, Op, Scan, Weighing};
use std::collections::BTreeMap;

/// Removes dead nodes; see the module's essay.
pub fn remove_dead(graph: &Graph) -> Graph {
    remove_dead_and_tell(graph).0
}

/// Record of the nodes and operands that `remove_dead` kept.
pub(crate) struct Kept {
    /// New id of each old node.
    pub at: Vec<Option<NodeId>>,
    /// Remaining operands of each kept scan and attend, by its old id.
    pub operands: BTreeMap<NodeId, Vec<usize>>,
}

/// Removes dead nodes, and returns a record of the kept ones.
pub(crate) fn remove_dead_and_tell(graph: &Graph) -> (Graph, Kept) {
    let dag = &graph.dag;
    let mut operands_left = BTreeMap::new();
    // users come after their operands, so one walk from the end finds all readers of a node
    let mut needed = vec![false; dag.len()];
    let mut read: Vec<Vec<usize>> = vec![Vec::new(); dag.len()];
    for root in graph_roots(graph) {
        needed[root.0 as usize] = true;
    }
    let mut bodies: Vec<Option<Body>> = (0..dag.len()).map(|_| None).collect();
    for id in dag.ids().rev() {
        if !needed[id.0 as usize] {
            continue;
        }
        let operands = dag.operands(id);
        let body = match dag.op(id) {
            Op::Emit(i) => {
                read[operands[0].0 as usize].push(*i);
                None
            }
            Op::Scan(scan) => Some(shrink_scan(scan, sorted(&read[id.0 as usize]), operands.len())),
            Op::Attend(attend) => Some(shrink_attend(attend, sorted(&read[id.0 as usize]), operands.len())),
            _ => None,
        };
        let kept = body.as_ref().map_or_else(|| (0..operands.len()).collect(), |b| b.operands.clone());
        for i in kept {
            needed[operands[i].0 as usize] = true;
        }
        bodies[id.0 as usize] = body;
    }

    let mut new = Copied::of(dag);
    for id in dag.ids().filter(|id| needed[id.0 as usize]) {
        match (bodies[id.0 as usize].take(), dag.op(id)) {
            (Some(body), _) => {
                let operands = dag.operands(id);
                let kept: Vec<NodeId> = body.operands.iter().map(|i| new.get(operands[*i])).collect();
                let mut node = dag.node(id).clone();
                node.op = body.op;
                new.at[id.0 as usize] = Some(new.dag.add(node, &kept));
                operands_left.insert(id, body.operands);
            }
            (None, Op::Emit(i)) => {
                let emits = sorted(&read[dag.operands(id)[0].0 as usize]);
                let i = emits.binary_search(i).unwrap_or(0);
                new.copy(dag, id, Op::Emit(i));
            }
            (None, op) => {
                new.copy(dag, id, op.clone());
            }
        }
    }
    let at = new.at.clone();
    (with_dag(graph, new), Kept { at, operands: operands_left })
}

/// A scan or attend without its dead parts, and its remaining operands.
struct Body {
    op: Op,
    operands: Vec<usize>,
}

fn sorted(numbers: &[usize]) -> Vec<usize> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn shrink_scan(scan: &Scan, emits: Vec<usize>, operands: usize) -> Body {
    let states = scan.states.len();
    let mut live_states = vec![false; states];
    let mut roots: Vec<NodeId> = emits.iter().map(|e| scan.emits[*e].1).collect();
    // a state that is read needs its next value, which may read further states
    let reached = loop {
        let reached = scan.body.reachable(&roots);
        let before = live_states.clone();
        for id in scan.body.ids().filter(|id| reached[id.0 as usize]) {
            if let Op::State(i) = scan.body.op(id) {
                live_states[*i] = true;
            }
        }
        if live_states == before {
            break reached;
        }
        roots.extend((0..states).filter(|i| live_states[*i]).map(|i| scan.next[i]));
    };
    let kept_states: Vec<usize> = (0..states).filter(|i| live_states[*i]).collect();
    let (captures, new) = shrink_body(&scan.body, &reached, operands - states, &kept_states);
    let op = Op::Scan(Box::new(Scan {
        states: kept_states.iter().map(|i| scan.states[*i].clone()).collect(),
        next: kept_states.iter().map(|i| new.get(scan.next[*i])).collect(),
        emits: emits.iter().map(|e| (scan.emits[*e].0.clone(), new.get(scan.emits[*e].1))).collect(),
        body: new.dag,
    }));
    let kept = kept_states.into_iter().chain(captures.into_iter().map(|c| c + states)).collect();
    Body { op, operands: kept }
}

fn shrink_attend(attend: &Attend, emits: Vec<usize>, operands: usize) -> Body {
    let (Weighing::Score(weight) | Weighing::Weight(weight)) = attend.weighing;
    let mut roots: Vec<NodeId> = [attend.visible, Some(weight), attend.sink].into_iter().flatten().collect();
    roots.extend(emits.iter().map(|e| attend.emits[*e].1));
    let (captures, new) = shrink_body(&attend.body, &attend.body.reachable(&roots), operands, &[]);
    let op = Op::Attend(Box::new(Attend {
        visible: attend.visible.map(|n| new.get(n)),
        weighing: match attend.weighing {
            Weighing::Score(n) => Weighing::Score(new.get(n)),
            Weighing::Weight(n) => Weighing::Weight(new.get(n)),
        },
        sink: attend.sink.map(|n| new.get(n)),
        emits: emits.iter().map(|e| (attend.emits[*e].0.clone(), new.get(attend.emits[*e].1))).collect(),
        body: new.dag,
    }));
    Body { op, operands: captures }
}

/// The reached part of a body with states and captures renumbered; returns the kept captures.
fn shrink_body(body: &Dag, reached: &[bool], captures: usize, states: &[usize]) -> (Vec<usize>, Copied) {
    let live = |id: &NodeId| reached[id.0 as usize];
    let mut used = vec![false; captures];
    for id in body.ids().filter(live) {
        if let Op::Capture(i) | Op::Past(i) = body.op(id) {
            used[*i] = true;
        }
    }
    let kept: Vec<usize> = (0..captures).filter(|i| used[*i]).collect();
    let place = |list: &[usize], i: usize| list.binary_search(&i).unwrap_or(0);
    let mut new = Copied::of(body);
    for id in body.ids().filter(live) {
        let op = match body.op(id) {
            Op::Capture(i) => Op::Capture(place(&kept, *i)),
            Op::Past(i) => Op::Past(place(&kept, *i)),
            Op::State(i) => Op::State(place(states, *i)),
            other => other.clone(),
        };
        new.copy(body, id, op);
    }
    (kept, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{BinaryOp, print, verify};
    use crate::ops::testing::{Build, node};

    #[test]
    fn dead_states_captures_emits_and_nodes_go() {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let (x, y, dead) = (b.input(&[d]), b.input(&[d]), b.input(&[d]));
        let zero = b.constant(0.0);
        let _ = b.add(dead, x);
        let scan = b.scan(&[("s", &[d], zero), ("t", &[d], zero)], &[x, y], |body| {
            let (s, t) = (node(body, Op::State(0), &[d], &[]), node(body, Op::State(1), &[d], &[]));
            let (x, y) = (node(body, Op::Capture(0), &[d], &[]), node(body, Op::Capture(1), &[d], &[]));
            let s_next = node(body, Op::Binary(BinaryOp::Add), &[d], &[s, x]);
            let t_next = node(body, Op::Binary(BinaryOp::Add), &[d], &[t, y]);
            (vec![s_next, t_next], vec![("a", s_next), ("b", t_next)])
        });
        let second = b.emit(scan, 1);
        b.output(second);
        verify(&b.graph).unwrap();
        let after = remove_dead(&b.graph);
        verify(&after).unwrap();
        let text = print(&after);
        assert!(text.contains("state 0 t[D]") && !text.contains("emit a"), "{text}");
        assert_eq!(after.dag.len(), 4, "{text}"); // y, 0, the scan, its emit
        assert_eq!(after.inputs.len(), 3);
        assert_eq!(print(&remove_dead(&after)), text);
    }

    #[test]
    fn a_state_read_by_a_live_state_lives() {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let zero = b.constant(0.0);
        let scan = b.scan(&[("s", &[d], zero), ("t", &[d], zero)], &[x], |body| {
            let (s, t) = (node(body, Op::State(0), &[d], &[]), node(body, Op::State(1), &[d], &[]));
            let x = node(body, Op::Capture(0), &[d], &[]);
            let s_next = node(body, Op::Binary(BinaryOp::Add), &[d], &[s, t]);
            (vec![s_next, x], vec![("a", s_next)])
        });
        let first = b.emit(scan, 0);
        b.output(first);
        let after = remove_dead(&b.graph);
        verify(&after).unwrap();
        assert!(print(&after).contains("state 1 t[D]"), "{}", print(&after));
    }
}
