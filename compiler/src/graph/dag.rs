//! The DAG under every graph: petgraph holds it, and stays private to this file.

use super::{Node, Op, Rate, Type};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// A node of one [`Dag`]. Ids count up in a topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Nodes and their operands; an edge goes from operand to user and carries the operand's position.
#[derive(Clone, Debug, Default)]
pub struct Dag {
    graph: DiGraph<Node, u16, u32>,
}

impl Dag {
    /// An empty DAG.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node after its operands.
    pub fn add(&mut self, node: Node, operands: &[NodeId]) -> NodeId {
        let id = self.graph.add_node(node);
        for (position, operand) in operands.iter().enumerate() {
            self.graph.add_edge(NodeIndex::new(operand.0 as usize), id, position as u16);
        }
        NodeId(id.index() as u32)
    }

    /// The node behind an id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.graph[NodeIndex::new(id.0 as usize)]
    }

    /// The node behind an id, to rename or retype it; operands never change.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.graph[NodeIndex::new(id.0 as usize)]
    }

    /// The op of a node.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.node(id).ty
    }

    /// The rate of a node.
    pub fn rate(&self, id: NodeId) -> Rate {
        self.node(id).ty.rate
    }

    /// Operands in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        crate::work::spend(1);
        let mut edges: Vec<(u16, NodeId)> = self
            .graph
            .edges_directed(NodeIndex::new(id.0 as usize), Direction::Incoming)
            .map(|e| (*e.weight(), NodeId(e.source().index() as u32)))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, id)| id).collect()
    }

    /// Users in order of id; one that uses the value twice is there twice.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<NodeId> = self
            .graph
            .neighbors_directed(NodeIndex::new(id.0 as usize), Direction::Outgoing)
            .map(|i| NodeId(i.index() as u32))
            .collect();
        users.sort_unstable();
        users
    }

    /// All ids, operands first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.graph.node_count() as u32).map(NodeId)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks every node on which one of the roots depends, roots included.
    pub fn reachable(&self, roots: &[NodeId]) -> Vec<bool> {
        let mut seen = vec![false; self.len()];
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id.0 as usize], true) {
                stack.extend(self.operands(id));
            }
        }
        seen
    }
}
