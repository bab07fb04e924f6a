//! `simplify`: removes ops that cost time and change nothing.

use super::rewrite::{Uses, rebuild};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::lowered::{Builder, DimId, Lowered, Node, Op, ValueId};

/// Removes neutral elements, double negations, chains of renames and broadcasts that other operands imply, and turns sums of products into
/// contractions.
pub fn simplify(graph: Lowered) -> Lowered {
    rebuild(graph, &mut rule)
}

fn rule(b: &mut Builder<'_>, node: &Node, uses: Uses<'_>) -> Option<ValueId> {
    let x = &node.operands;
    match &node.op {
        Op::Binary(f) => neutral(b, *f, x[0], x[1]).or_else(|| shorter(b, node, &[])),
        Op::Select => match number(b, x[0]) {
            Some(c) => {
                let chosen = if c != 0.0 { x[1] } else { x[2] };
                (b.dims_of(chosen) == node.dims).then_some(chosen)
            }
            None => shorter(b, node, &[]),
        },
        Op::Contract(over) => shorter(b, node, over),
        Op::Unary(UnaryOp::Neg) => match (&b.dag.node(x[0]).op, number(b, x[0])) {
            (Op::Unary(UnaryOp::Neg), _) => Some(b.dag.node(x[0]).operands[0]),
            (_, Some(n)) => Some(b.number(-n)),
            _ => None,
        },
        Op::Rename(from, to) => match b.dag.node(x[0]) {
            Node { op: Op::Rename(first, middle), operands, .. } if middle == from => {
                let (first, inner) = (*first, operands[0]);
                Some(b.rename(inner, first, *to))
            }
            _ => None,
        },
        Op::Expand(new) => match b.dag.node(x[0]) {
            Node { op: Op::Expand(inner), operands, .. } => {
                let (all, value) = ([inner.as_slice(), new].concat(), operands[0]);
                Some(b.expand(value, &all))
            }
            _ => None,
        },
        Op::Pick(dim, index) => match b.dag.node(x[0]) {
            Node { op: Op::Stack(stacked), operands, .. } if stacked == dim => {
                let entry = operands[*index];
                (b.dims_of(entry) == node.dims).then_some(entry)
            }
            _ => None,
        },
        Op::Reduce(ReduceOp::Sum, over) => match b.dag.node(x[0]) {
            Node { op: Op::Binary(BinaryOp::Mul), operands, .. } if uses.of(x[0]) == 1 => {
                let (left, right) = (operands[0], operands[1]);
                Some(b.contract(left, right, over))
            }
            _ => None,
        },
        _ => None,
    }
}

fn number(b: &Builder<'_>, id: ValueId) -> Option<f64> {
    match b.dag.node(id).op {
        Op::Const(x) => Some(x),
        _ => None,
    }
}

/// x + 0, x - 0, 1 x, x / 1, x^1.
fn neutral(b: &Builder<'_>, f: BinaryOp, left: ValueId, right: ValueId) -> Option<ValueId> {
    let is = |id: ValueId, n: f64| number(b, id) == Some(n);
    match f {
        BinaryOp::Add if is(left, 0.0) => Some(right),
        BinaryOp::Mul if is(left, 1.0) => Some(right),
        BinaryOp::Add | BinaryOp::Sub if is(right, 0.0) => Some(left),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow if is(right, 1.0) => Some(left),
        _ => None,
    }
}

/// The same op without broadcasts of its operands along dimensions that another operand has too.
fn shorter(b: &mut Builder<'_>, node: &Node, needed: &[DimId]) -> Option<ValueId> {
    let mut x = node.operands.clone();
    for i in 0..x.len() {
        let Node { op: Op::Expand(new), operands, .. } = b.dag.node(x[i]) else { continue };
        let inner = operands[0];
        let others = |d: &DimId| x.iter().enumerate().any(|(j, o)| j != i && b.has(*o, *d));
        if new.iter().all(|d| others(d) && !needed.contains(d)) {
            x[i] = inner;
        }
    }
    (x != node.operands).then(|| b.op(node.op.clone(), &x))
}
