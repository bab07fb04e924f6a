//! Reach of a `where`: bounds on the lag, as far as constants determine them.

use crate::graph::{Attend, BinaryOp, Dag, NodeId, Op};

/// Number of tokens before a piece that an attend may still see: the largest lag that `where` allows, `usize::MAX` if unbounded.
pub fn most_carried(attend: &Attend) -> usize {
    attend.visible.and_then(|v| reach(&attend.body, v).1).unwrap_or(usize::MAX)
}

/// Smallest and largest lag (inclusive) at which a condition may hold; none: unbounded. (1, 0) where it never holds.
pub(super) fn reach(dag: &Dag, condition: NodeId) -> (usize, Option<usize>) {
    let (low, high) = bounds(dag, condition);
    let low = low.max(0.0);
    if low > high {
        return (1, Some(0));
    }
    // a bound that no sequence reaches counts as none
    (low.min(usize::MAX as f64) as usize, (high < 1e15).then_some(high as usize))
}

/// Whether a condition holds at every lag.
pub(super) fn always(dag: &Dag, condition: NodeId) -> bool {
    let operands = dag.operands(condition);
    match dag.op(condition) {
        Op::Const(x) => *x != 0.0,
        Op::Binary(BinaryOp::Min) => operands.iter().all(|o| always(dag, *o)),
        Op::Binary(BinaryOp::Max) => operands.iter().any(|o| always(dag, *o)),
        Op::Binary(op) => match compared(dag, *op, operands) {
            Some((BinaryOp::Lt, n)) => n == f64::INFINITY,
            Some((BinaryOp::Le, n)) => n == f64::INFINITY,
            Some((BinaryOp::Ge, n)) => n <= 0.0,
            Some((BinaryOp::Gt, n)) => n < 0.0,
            _ => false,
        },
        _ => false,
    }
}

fn bounds(dag: &Dag, condition: NodeId) -> (f64, f64) {
    let all = (0.0, f64::INFINITY);
    let operands = dag.operands(condition);
    match dag.op(condition) {
        Op::Binary(BinaryOp::Min | BinaryOp::Mul) => {
            let (a, b) = (bounds(dag, operands[0]), bounds(dag, operands[1]));
            (a.0.max(b.0), a.1.min(b.1))
        }
        Op::Binary(BinaryOp::Max) => {
            let (a, b) = (bounds(dag, operands[0]), bounds(dag, operands[1]));
            (a.0.min(b.0), a.1.max(b.1))
        }
        Op::Binary(op) => match compared(dag, *op, operands) {
            Some((BinaryOp::Lt, n)) => (0.0, n.ceil() - 1.0),
            Some((BinaryOp::Le, n)) => (0.0, n.floor()),
            Some((BinaryOp::Gt, n)) => (n.floor() + 1.0, f64::INFINITY),
            Some((BinaryOp::Ge, n)) => (n.ceil(), f64::INFINITY),
            Some((BinaryOp::Eq, n)) => (n, n),
            _ => all,
        },
        Op::Const(0.0) => (1.0, 0.0),
        _ => all,
    }
}

/// A comparison with a number as one with the lag on its left.
fn compared(dag: &Dag, op: BinaryOp, operands: &[NodeId]) -> Option<(BinaryOp, f64)> {
    match (dag.op(operands[0]), dag.op(operands[1])) {
        (Op::Lag, Op::Const(n)) => Some((op, *n)),
        (Op::Const(n), Op::Lag) => {
            let turned = match op {
                BinaryOp::Lt => BinaryOp::Gt,
                BinaryOp::Le => BinaryOp::Ge,
                BinaryOp::Gt => BinaryOp::Lt,
                BinaryOp::Ge => BinaryOp::Le,
                other => other,
            };
            Some((turned, *n))
        }
        _ => None,
    }
}
