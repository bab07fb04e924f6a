//! Values that sequences carry from one piece to the next, named after the program before its scans were split, so that every way of
//! running it can read the carries of every other one.
//!
//! `scanN.i` is state i of the scan at node N, `windowN` the last tokens of the operand of the window at node N, `attendN.c` capture c of
//! the attend at node N. Values that only losses need are not carried.

use crate::graph::{Graph, NodeId, Op};
use crate::passes::{Kept, remove_dead_and_tell};
use std::collections::BTreeMap;

/// The scans, windows and attends of a graph that carry values: for a scan the numbers of its states, for an attend the numbers of its
/// needed captures, for a window no numbers.
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

/// The graph restricted to its outputs.
pub(super) fn without_losses(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    graph.losses.clear();
    graph
}

/// Name of a carried state.
pub fn state_name(scan: NodeId, number: usize) -> String {
    format!("scan{}.{number}", scan.0)
}

/// Name of a window's carried tokens.
pub fn window_name(window: NodeId) -> String {
    format!("window{}", window.0)
}

/// Name of the carried tokens of an attend's capture.
pub fn capture_name(attend: NodeId, capture: usize) -> String {
    format!("attend{}.{capture}", attend.0)
}
