//! What sequences carry from one piece to the next, in terms of the program as it was before its scans were split, so that every way of
//! running it reads what every other one left.
//!
//! `scanN.i` is state i of the scan at node N, `windowN` the last tokens of the operand of the window at node N, `attendN.c` capture c
//! of the attend at node N. What only losses need is not carried.

use crate::graph::{Graph, NodeId, Op};
use crate::passes::{Kept, remove_dead_and_tell};
use std::collections::BTreeMap;

/// The scans, windows and attends of a graph that carry something: the numbers of a scan's states, of an attend's captures those that are
/// needed, none of a window.
pub fn carried(graph: &Graph) -> BTreeMap<NodeId, Vec<usize>> {
    let (_, Kept { at, mut operands }) = remove_dead_and_tell(&without_losses(graph));
    let mut parts = BTreeMap::new();
    for id in graph.dag.ids().filter(|id| at[id.0 as usize].is_some()) {
        let kept = operands.remove(&id).unwrap_or_default();
        let part = match graph.dag.op(id) {
            Op::Scan(scan) => kept.into_iter().filter_map(|i| scan.states.get(i)).map(|s| s.number).collect(),
            Op::Attend(_) => kept,
            Op::Window { .. } => Vec::new(),
            _ => continue,
        };
        parts.insert(id, part);
    }
    parts
}

/// The graph that computes outputs alone.
pub(super) fn without_losses(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    graph.losses.clear();
    graph
}

/// The name of a state.
pub fn state_name(scan: NodeId, number: usize) -> String {
    format!("scan{}.{number}", scan.0)
}

/// The name of a window's last tokens.
pub fn window_name(window: NodeId) -> String {
    format!("window{}", window.0)
}

/// The name of what an attend sees of a capture.
pub fn capture_name(attend: NodeId, capture: usize) -> String {
    format!("attend{}.{capture}", attend.0)
}
