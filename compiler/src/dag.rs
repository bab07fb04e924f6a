//! The DAG of ops under every graph: [`graph::Dag`](crate::graph::Dag) and [`lowered::Dag`](crate::lowered::Dag), their bodies too.
//!
//! Nodes are in one list and the operands of all nodes in another, so that the operands of a node are a slice and nothing is allocated or
//! sorted to read them.
//!
//! Invariants:
//! - ids are 0, 1, 2, ... and a topological order: operands come before their users;
//! - operands never change: a pass that needs others builds another DAG.

use petgraph::algo::tarjan_scc;
use petgraph::graph::DiGraph;
use petgraph::visit::{Dfs, Walker};

/// An op that a [`Dag`] holds, and what ids and nodes of such a DAG are.
pub trait Operation {
    /// Id of a node; each graph has a type of its own.
    type Id: Id;
    /// An op with its type, name and place.
    type Node;
    /// Steps of compile work (see [`crate::work`]) that a visit of a node's operands takes.
    const VISIT: usize;
}

/// Id of a node: its index in the DAG.
pub trait Id: Copy {
    /// The id of an index.
    fn new(index: usize) -> Self;
    /// The index of an id.
    fn index(self) -> usize;
}

/// Nodes in topological order, with their operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Dag<Op: Operation> {
    nodes: Vec<Op::Node>,
    /// Operands of all nodes, one node after the other.
    operands: Vec<Op::Id>,
    /// End of each node's operands in that list.
    ends: Vec<u32>,
}

impl<Op: Operation> Default for Dag<Op> {
    fn default() -> Self {
        Self { nodes: Vec::new(), operands: Vec::new(), ends: Vec::new() }
    }
}

impl<Op: Operation> Dag<Op> {
    /// An empty DAG.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node after its operands.
    pub fn add(&mut self, node: Op::Node, operands: &[Op::Id]) -> Op::Id {
        let id = Op::Id::new(self.len());
        self.nodes.push(node);
        self.operands.extend_from_slice(operands);
        self.ends.push(self.operands.len() as u32);
        id
    }

    /// The node behind an id.
    pub fn node(&self, id: Op::Id) -> &Op::Node {
        &self.nodes[id.index()]
    }

    /// The node behind an id, to rename, retype or renumber it.
    pub fn node_mut(&mut self, id: Op::Id) -> &mut Op::Node {
        &mut self.nodes[id.index()]
    }

    /// All nodes, operands first.
    pub fn nodes(&self) -> &[Op::Node] {
        &self.nodes
    }

    /// Takes the DAG apart: nodes with their operands, operands first.
    pub fn into_nodes(self) -> impl Iterator<Item = (Op::Node, Vec<Op::Id>)> {
        let mut start = 0;
        self.nodes.into_iter().zip(self.ends).map(move |(node, end)| {
            let range = std::mem::replace(&mut start, end as usize)..end as usize;
            (node, self.operands[range].to_vec())
        })
    }

    /// Operands of a node, in order.
    pub fn operands(&self, id: Op::Id) -> &[Op::Id] {
        if Op::VISIT > 0 {
            crate::work::spend(Op::VISIT);
        }
        self.list(id.index())
    }

    fn list(&self, node: usize) -> &[Op::Id] {
        let start = node.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.operands[start as usize..self.ends[node] as usize]
    }

    /// Users of each node in order of id; one that uses it twice is there twice.
    pub fn users(&self) -> Vec<Vec<Op::Id>> {
        let mut users = vec![Vec::new(); self.len()];
        for id in self.ids() {
            self.list(id.index()).iter().for_each(|operand| users[operand.index()].push(id));
        }
        users
    }

    /// All ids, operands first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = Op::Id> + ExactSizeIterator + use<Op> {
        (0..self.len()).map(Op::Id::new)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Strongly connected parts of the states that a body carries on: `next` has the value of each state after an iteration, `state` says
    /// which nodes are states before it. A part comes after those that it reads, and after parts that read fewer states.
    pub fn parts(&self, next: &[Op::Id], state: impl Fn(&Op::Node) -> Option<usize>) -> Vec<Vec<usize>> {
        // pairs of a state and one that its next value reads
        let mut reads: Vec<(u32, u32)> = Vec::new();
        for (i, next) in next.iter().enumerate() {
            let reached = self.reachable(&[*next]);
            let read = self.ids().filter(|id| reached[id.index()]).filter_map(|id| state(self.node(id)));
            reads.extend(read.chain([i]).map(|read| (i as u32, read as u32)));
        }
        let reads = DiGraph::<(), ()>::from_edges(reads);
        let mut parts: Vec<Vec<usize>> =
            tarjan_scc(&reads).into_iter().map(|part| part.into_iter().map(|state| state.index()).collect()).collect();
        parts.iter_mut().for_each(|part| part.sort_unstable());
        parts.sort_by_cached_key(|part| (Dfs::new(&reads, (part[0] as u32).into()).iter(&reads).count(), part[0]));
        parts
    }

    /// Marks every node on which one of the roots depends, roots included.
    pub fn reachable(&self, roots: &[Op::Id]) -> Vec<bool> {
        let mut seen = vec![false; self.len()];
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id.index()], true) {
                stack.extend_from_slice(self.operands(id));
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use crate::lowered::{Dag, Node, Op, ValueId};
    use crate::source::{FileId, Place};

    fn node(op: Op, name: &str) -> Node {
        let place = Place { file: FileId(0), span: archc_grammar::Span::new(0, 0) };
        Node { op, dims: Vec::new(), name: name.into(), place }
    }

    /// x, an unused number, x stacked twice, and the number `last`.
    fn dag(name: &str, last: f64) -> (Dag, [ValueId; 4]) {
        let mut dag = Dag::new();
        let x = dag.add(node(Op::Step, name), &[]);
        let unused = dag.add(node(Op::Const(1.0), name), &[]);
        let twice = dag.add(node(Op::Stack(crate::lowered::TIME), name), &[x, x]);
        let last = dag.add(node(Op::Const(last), name), &[]);
        (dag, [x, unused, twice, last])
    }

    #[test]
    fn operands_are_slices_and_users_their_inverse() {
        let (dag, [x, unused, twice, last]) = dag("", 2.0);
        assert_eq!(
            dag.ids().map(|id| dag.operands(id).to_vec()).collect::<Vec<_>>(),
            [vec![], vec![], vec![x, x], vec![]]
        );
        assert_eq!(dag.users(), [vec![twice, twice], vec![], vec![], vec![]]);
        assert_eq!(dag.reachable(&[twice, last]), [true, false, true, true]);
        assert_eq!(dag.reachable(&[unused]), [false, true, false, false]);
        let mut rebuilt = Dag::new();
        dag.clone().into_nodes().for_each(|(node, operands)| {
            rebuilt.add(node, &operands);
        });
        assert_eq!(rebuilt, dag);
    }

    #[test]
    fn equality_of_lowered_dags_ignores_names() {
        let (a, [x, ..]) = dag("a", 2.0);
        assert_eq!(a, dag("b", 2.0).0);
        assert_ne!(a, dag("a", 3.0).0);
        let mut more = a.clone();
        more.add(node(Op::StopGrad, "a"), &[x]);
        assert_ne!(a, more);
    }
}
