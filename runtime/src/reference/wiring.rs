//! Data about a DAG that evaluation needs, computed once: operands as indices, live nodes, last uses of values.

use super::attend;
use archc_compiler::graph::{Dag, NodeId, Op};
use std::collections::BTreeMap;

/// The wiring of one DAG and of the bodies in it.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    /// Operands of each node.
    pub operands: Vec<Vec<usize>>,
    /// Whether a root depends on the node.
    pub live: Vec<bool>,
    /// The last node that reads the node; itself if none does, and past the end for roots.
    pub last_use: Vec<usize>,
    /// Whether the value is the same at every token, in the body of a scan.
    pub constant: Vec<bool>,
    /// Bodies of scans and attends by node.
    pub bodies: BTreeMap<usize, Wiring>,
}

impl Wiring {
    pub fn new(dag: &Dag, roots: &[NodeId]) -> Self {
        let operands: Vec<Vec<usize>> =
            dag.ids().map(|id| dag.operands(id).iter().map(|o| o.0 as usize).collect()).collect();
        let live = dag.reachable(roots);
        let mut last_use: Vec<usize> = (0..dag.len()).collect();
        let mut constant = vec![false; dag.len()];
        let mut bodies = BTreeMap::new();
        for id in dag.ids() {
            let i = id.0 as usize;
            if live[i] {
                operands[i].iter().for_each(|&o| last_use[o] = i);
            }
            constant[i] = match dag.op(id) {
                Op::State(_) | Op::Capture(_) | Op::Past(_) | Op::Lag | Op::Dropout { .. } => false,
                _ => operands[i].iter().all(|&o| constant[o]),
            };
            match dag.op(id) {
                Op::Scan(scan) if live[i] => {
                    let roots: Vec<NodeId> = scan.next.iter().copied().chain(scan.emits.iter().map(|e| e.1)).collect();
                    bodies.insert(i, Self::new(&scan.body, &roots));
                }
                Op::Attend(body) if live[i] => {
                    bodies.insert(i, Self::new(&body.body, &attend::roots(body)));
                }
                _ => {}
            }
        }
        roots.iter().for_each(|r| last_use[r.0 as usize] = usize::MAX);
        Self { operands, live, last_use, constant, bodies }
    }

    /// A bound on the length of the longest chain of tape entries, for scans over `tokens` tokens.
    pub fn depth(&self, tokens: usize) -> usize {
        // An operand may be permuted, widened by some axes and broadcast before the op itself: eight entries in a row.
        let bodies: usize = self.bodies.values().map(|b| b.operands.len() * tokens).sum();
        8 * (self.operands.len() + bodies + 2 * tokens)
    }
}
