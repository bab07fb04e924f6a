//! `share`: an op over the same operands is computed once (common subexpression elimination).

use super::rewrite::{Uses, rebuild};
use crate::lowered::{Builder, Lowered, Node, Op, ValueId};

/// Replaces each op by an earlier equal one of its DAG. Random sites stay apart by their paths, and two parameters are two ops, however
/// alike they look: neither is ever merged with another.
pub fn share(graph: Lowered) -> Lowered {
    rebuild(graph, &mut |b, node, operands, _: Uses<'_>| earlier(b, node, operands))
}

/// An earlier node that computes the same. Control flow is left alone: its values are read through ports.
fn earlier(b: &Builder<'_>, node: &Node, operands: &[ValueId]) -> Option<ValueId> {
    if matches!(node.op, Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Dropout { .. }) {
        return None;
    }
    // an equal node comes after the last operand
    let first = operands.iter().max().map_or(0, |o| o.0 as usize + 1);
    crate::work::spend((b.dag.len() - first) / 64);
    let equal = |n: &Node| n.dims == node.dims && same(&n.op, &node.op);
    b.dag.ids().skip(first).rev().find(|id| b.dag.operands(*id) == operands && equal(b.dag.node(*id)))
}

/// Equality to the last bit: 0 and -0 are two numbers.
fn same(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Const(x), Op::Const(y)) => x.to_bits() == y.to_bits(),
        (Op::Table(d, x), Op::Table(e, y)) => d == e && x.iter().map(|x| x.to_bits()).eq(y.iter().map(|y| y.to_bits())),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_both_signs_are_two_numbers() {
        assert!(!same(&Op::Const(0.0), &Op::Const(-0.0)));
        assert!(same(&Op::Const(f64::NAN), &Op::Const(f64::NAN)));
    }
}
