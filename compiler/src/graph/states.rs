//! Dependence of a scan's states on each other.

use super::{Op, Scan};
use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;
use petgraph::visit::{Dfs, Walker};

impl Scan {
    /// Strongly connected parts of the states, in order of dependence.
    pub fn parts(&self) -> Vec<Vec<usize>> {
        // pairs of a state and one that its next value reads
        let reads = |state: usize| {
            let reached = self.body.reachable(&[self.next[state]]);
            let read =
                self.body.ids().filter(move |id| reached[id.0 as usize]).filter_map(|id| match self.body.op(id) {
                    Op::State(read) => Some(*read),
                    _ => None,
                });
            read.chain([state]).map(move |read| (state as u32, read as u32))
        };
        let reads = DiGraph::<(), ()>::from_edges((0..self.states.len()).flat_map(reads));
        let mut parts: Vec<Vec<usize>> =
            tarjan_scc(&reads).into_iter().map(|part| part.into_iter().map(|state| state.index()).collect()).collect();
        parts.iter_mut().for_each(|part| part.sort_unstable());
        // a part that reads more states comes later
        parts.sort_by_cached_key(|part| (Dfs::new(&reads, (part[0] as u32).into()).iter(&reads).count(), part[0]));
        parts
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{BinaryOp, Dag, NodeId, Op, Scan, State};
    use crate::ops::testing::{binary, node};

    #[test]
    fn a_part_comes_after_what_it_reads_and_after_smaller_ones() {
        let mut body = Dag::new();
        let s: Vec<NodeId> = (0..5).map(|i| node(&mut body, Op::State(i), &[], &[])).collect();
        // 0 reads 1; 1 and 2 read themselves; 3 and 4 read each other, and 4 reads 0
        let four = binary(&mut body, BinaryOp::Add, s[3], s[0]);
        let next = vec![s[1], s[1], s[2], s[4], four];
        let states = (0..5).map(|number| State { name: String::new(), axes: Vec::new(), number }).collect();
        let scan = Scan { states, body, next, emits: Vec::new() };
        assert_eq!(scan.parts(), [vec![1], vec![2], vec![0], vec![3, 4]]);
    }
}
