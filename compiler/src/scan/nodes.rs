//! Construction of nodes while scans are split and rewritten.

use crate::graph::{AxisId, BinaryOp, Dag, Node, NodeId, Op, Rate, Type, UnaryOp};

fn rate(dag: &Dag, operands: &[NodeId]) -> Rate {
    if operands.iter().any(|o| dag.rate(*o) != Rate::Fixed) { Rate::Token } else { Rate::Fixed }
}

/// Adds a node with the name and place of another.
pub(super) fn add(dag: &mut Dag, like: &Node, op: Op, axes: Vec<AxisId>, operands: &[NodeId]) -> NodeId {
    let ty = Type { axes, rate: rate(dag, operands) };
    dag.add(Node { op, ty, name: String::new(), place: like.place }, operands)
}

/// Adds a function of two values.
pub(super) fn binary(dag: &mut Dag, like: &Node, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
    let mut axes = [dag.ty(a).axes.clone(), dag.ty(b).axes.clone()].concat();
    axes.sort_unstable();
    axes.dedup();
    add(dag, like, Op::Binary(op), axes, &[a, b])
}

/// Adds a function of one value.
pub(super) fn unary(dag: &mut Dag, like: &Node, op: UnaryOp, x: NodeId) -> NodeId {
    let axes = dag.ty(x).axes.clone();
    add(dag, like, Op::Unary(op), axes, &[x])
}
