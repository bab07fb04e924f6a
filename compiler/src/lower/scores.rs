//! Scores of softmaxes, regrouped so that terms of rows only and of columns only are added first.
//!
//! `q . past(k) + c - past(c)`, c a running sum, grows with the sequence on both sides while the difference stays small: added from left to
//! right, every score would be rounded to the digits of c. `(c - past(c)) + q . past(k)` rounds near pairs to their own digits.

use crate::graph::{Attend, BinaryOp, Dag, Graph, Node, NodeId, Op, Rate, UnaryOp, Weighing};

/// A term of a score: its node, and whether it is subtracted.
type Term = (NodeId, bool);

/// Regroups the scores of all attends of a graph.
pub(super) fn regroup(graph: &mut Graph) {
    for id in graph.dag.ids() {
        let Op::Attend(attend) = graph.dag.op(id) else { continue };
        let timed: Vec<bool> = graph.dag.operands(id).iter().map(|o| graph.dag.rate(*o) != Rate::Fixed).collect();
        if let Some(new) = regrouped(attend, &timed) {
            graph.dag.node_mut(id).op = Op::Attend(new.into());
        }
    }
}

/// The attend, if rows and columns both add to its score; `timed` marks the captures that differ between tokens.
fn regrouped(attend: &Attend, timed: &[bool]) -> Option<Attend> {
    let Weighing::Score(score) = attend.weighing else { return None };
    let dag = &attend.body;
    // whether a node depends on the row, and on the column or the lag
    let mut sides: Vec<[bool; 2]> = Vec::with_capacity(dag.len());
    for id in dag.ids() {
        let own = match dag.op(id) {
            Op::Capture(c) => [timed[*c], false],
            Op::Past(c) => [false, timed[*c]],
            Op::Lag => [true, true],
            _ => [false, false],
        };
        let operands = dag.operands(id);
        sides.push(operands.iter().fold(own, |[r, c], o| [r | sides[o.0 as usize][0], c | sides[o.0 as usize][1]]));
    }
    let mut terms = Vec::new();
    collect(dag, score, false, &sides, &mut terms);
    let of = |wanted: [bool; 2]| -> Vec<Term> {
        terms.iter().copied().filter(|t| sides[t.0.0 as usize] == wanted).collect()
    };
    let (rows, cols) = (of([true, false]), of([false, true]));
    if rows.is_empty() || cols.is_empty() {
        return None;
    }
    let rest: Vec<Term> = terms.iter().copied().filter(|t| !rows.contains(t) && !cols.contains(t)).collect();

    let mut new = attend.clone();
    let like = dag.node(score).clone();
    let mut push = |op: Op, operands: &[NodeId]| new.body.add(Node { op, ..like.clone() }, operands);
    let row = sum(&mut push, &rows)?;
    let col = sum(&mut push, &cols)?;
    let both = sum(&mut push, &[row, col])?;
    let all: Vec<Term> = std::iter::once(both).chain(rest).collect();
    let (mut whole, minus) = sum(&mut push, &all)?;
    if minus {
        whole = push(Op::Unary(UnaryOp::Neg), &[whole]);
    }
    new.weighing = Weighing::Score(whole);
    Some(new)
}

/// Collects the terms of a value of pairs; a value that depends on one side only is one term.
fn collect(dag: &Dag, id: NodeId, minus: bool, sides: &[[bool; 2]], terms: &mut Vec<Term>) {
    let operands = dag.operands(id);
    match dag.op(id) {
        Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) if sides[id.0 as usize] == [true, true] => {
            collect(dag, operands[0], minus, sides, terms);
            collect(dag, operands[1], minus ^ (*op == BinaryOp::Sub), sides, terms);
        }
        Op::Unary(UnaryOp::Neg) if sides[id.0 as usize] == [true, true] => {
            collect(dag, operands[0], !minus, sides, terms);
        }
        _ => terms.push((id, minus)),
    }
}

/// Sum of the terms in order; the sum is subtracted if all of them are.
fn sum(push: &mut dyn FnMut(Op, &[NodeId]) -> NodeId, terms: &[Term]) -> Option<Term> {
    let (first, rest) = terms.split_first()?;
    Some(rest.iter().fold(*first, |(sum, minus), (term, less)| match (minus, less) {
        (true, false) => (push(Op::Binary(BinaryOp::Sub), &[*term, sum]), false),
        (_, less) if minus == *less => (push(Op::Binary(BinaryOp::Add), &[sum, *term]), minus),
        _ => (push(Op::Binary(BinaryOp::Sub), &[sum, *term]), false),
    }))
}
