//! `simplify`: removes ops that cost time and change nothing.

use super::rewrite::{Uses, rebuild};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::lowered::{Builder, DimId, Lowered, Node, Op, ValueId};

/// Removes neutral elements, double negations, chains of renames and broadcasts that other operands imply, and turns sums of products into
/// contractions.
pub fn simplify(graph: Lowered) -> Lowered {
    rebuild(graph, &mut rule)
}

fn rule(b: &mut Builder<'_>, node: &Node, x: &[ValueId], uses: Uses<'_>) -> Option<ValueId> {
    match &node.op {
        Op::Binary(f) => neutral(b, *f, x[0], x[1]).or_else(|| shorter(b, node, x, &[])),
        Op::Select => match number(b, x[0]) {
            Some(c) => {
                let chosen = if c != 0.0 { x[1] } else { x[2] };
                (b.dims_of(chosen) == node.dims).then_some(chosen)
            }
            None => shorter(b, node, x, &[]),
        },
        Op::Contract(over) => shorter(b, node, x, over),
        Op::Unary(UnaryOp::Neg) => match (&b.dag.node(x[0]).op, number(b, x[0])) {
            (Op::Unary(UnaryOp::Neg), _) => Some(b.dag.operands(x[0])[0]),
            (_, Some(n)) => Some(b.number(-n)),
            _ => None,
        },
        Op::Rename(from, to) => match behind(b, x[0]) {
            (Op::Rename(first, middle), &[inner]) if middle == from => {
                let first = *first;
                Some(b.rename(inner, first, *to))
            }
            _ => None,
        },
        Op::Expand(new) => match behind(b, x[0]) {
            (Op::Expand(inner), &[value]) => {
                let all = [inner.as_slice(), new].concat();
                Some(b.expand(value, &all))
            }
            _ => None,
        },
        Op::Pick(dim, index) => match behind(b, x[0]) {
            (Op::Stack(stacked), operands) if stacked == dim => {
                let entry = operands[*index];
                (b.dims_of(entry) == node.dims).then_some(entry)
            }
            _ => None,
        },
        Op::Reduce(ReduceOp::Sum, over) => match behind(b, x[0]) {
            (Op::Binary(BinaryOp::Mul), &[left, right]) if uses.of(x[0]) == 1 => Some(b.contract(left, right, over)),
            _ => None,
        },
        _ => None,
    }
}

/// Op and operands of a value.
fn behind<'b>(b: &'b Builder<'_>, id: ValueId) -> (&'b Op, &'b [ValueId]) {
    (&b.dag.node(id).op, b.dag.operands(id))
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
fn shorter(b: &mut Builder<'_>, node: &Node, operands: &[ValueId], needed: &[DimId]) -> Option<ValueId> {
    let mut x = operands.to_vec();
    for i in 0..x.len() {
        let (Op::Expand(new), &[inner]) = behind(b, x[i]) else { continue };
        let others = |d: &DimId| x.iter().enumerate().any(|(j, o)| j != i && b.has(*o, *d));
        if new.iter().all(|d| others(d) && !needed.contains(d)) {
            x[i] = inner;
        }
    }
    (x != operands).then(|| b.op(node.op.clone(), &x))
}
