//! Dependence of a scan's states on each other.

use super::{Node, Op, Scan};

impl Scan {
    /// Strongly connected parts of the states, in order of dependence.
    pub fn parts(&self) -> Vec<Vec<usize>> {
        self.body.parts(&self.next, |node: &Node| match node.op {
            Op::State(state) => Some(state),
            _ => None,
        })
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
