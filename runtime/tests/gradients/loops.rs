//! Tests of loops: states, captures and emits of every kind; loops in loops.

use crate::made::{Made, check, count, joint};
use archc_compiler::graph::{BinaryOp, UnaryOp};
use archc_compiler::lowered::{BATCH, Builder, DimId, Extent, Loop, LoopState, Lowered, Op, TIME, ValueId};
use std::sync::Arc;

/// Adds a loop whose body is made from its states and captures; returns the node.
pub fn make(
    b: &mut Builder,
    (over, reverse): (DimId, bool),
    map: &[DimId],
    states: &[(&str, &[DimId], ValueId)],
    captures: &[ValueId],
    build: impl FnOnce(&mut Builder, &[ValueId], &[ValueId]) -> (Vec<ValueId>, Vec<ValueId>),
) -> ValueId {
    let own: Vec<Vec<DimId>> = captures
        .iter()
        .map(|c| b.dims_of(*c).iter().copied().filter(|d| *d != over && !map.contains(d)).collect())
        .collect();
    let mut body = b.body();
    let before: Vec<ValueId> =
        states.iter().enumerate().map(|(i, s)| body.op(Op::State(i, s.1.to_vec()), &[])).collect();
    let here: Vec<ValueId> = own.into_iter().enumerate().map(|(i, d)| body.op(Op::Capture(i, d), &[])).collect();
    let (next, emits) = build(&mut body, &before, &here);
    let l = Loop {
        over,
        reverse,
        map: map.to_vec(),
        states: states.iter().map(|s| LoopState { name: s.0.into(), dims: s.1.to_vec() }).collect(),
        body: body.dag,
        next,
        emits: emits.into_iter().enumerate().map(|(i, e)| (format!("e{i}"), e)).collect(),
    };
    let operands: Vec<ValueId> = states.iter().map(|s| s.2).chain(captures.iter().copied()).collect();
    b.op(Op::Loop(Arc::new(l)), &operands)
}

/// h' = a h + x, with an initial value of its own for each sequence or for all; forwards and backwards.
#[test]
fn linear() {
    for reverse in [false, true] {
        let mut m = Made::new(&[2]);
        let h = m.axis(0);
        let given = [m.input(&[h], (0.0, 1.0)), m.input(&[h], (-1.0, 1.0)), m.param(&[h], (-1.0, 1.0))];
        let lowered = m.lowered(|b, leaf| {
            let [a, x, h0] = given.map(|g| leaf(b, g));
            let l = make(b, (TIME, reverse), &[BATCH], &[("h", &[h], h0)], &[a, x], |b, s, c| {
                let decayed = b.mul(s[0], c[0]);
                let next = b.add(decayed, c[1]);
                let read = b.mul(s[0], c[1]);
                (vec![next], vec![next, read])
            });
            vec![b.op(Op::Emit(0), &[l]), b.op(Op::Emit(1), &[l]), b.op(Op::Final(0), &[l])]
        });
        check(&m, &lowered);
    }
}

fn emits_of_first_loop(graph: &Lowered) -> usize {
    let found = graph.dag.nodes().iter().find_map(|n| match &n.op {
        Op::Loop(l) => Some(l.emits.len()),
        _ => None,
    });
    found.expect("a loop")
}

/// The gradient of a running sum reads no state, so none is saved.
#[test]
fn nothing_is_saved_in_vain() {
    let mut m = Made::new(&[2]);
    let h = m.axis(0);
    let given = [m.input(&[h], (-1.0, 1.0)), m.param(&[h], (-1.0, 1.0))];
    let lowered = m.lowered(|b, leaf| {
        let [x, scale] = given.map(|g| leaf(b, g));
        let zero = b.number(0.0);
        let l = make(b, (TIME, false), &[BATCH], &[("h", &[h], zero)], &[x, scale], |b, s, c| {
            let next = b.add(s[0], c[0]);
            (vec![next], vec![next])
        });
        let y = b.op(Op::Emit(0), &[l]);
        vec![b.mul(y, scale)]
    });
    check(&m, &lowered);
    let (joint, _) = joint(&lowered);
    assert_eq!(emits_of_first_loop(&joint), 1);
}

/// h' = tanh(W h + U x): the weights' gradients are one product each after the loop, not a sum of outer products in it.
#[test]
fn recurrent_map() {
    let mut m = Made::new(&[6, 6]);
    let (h, out) = (m.axis(0), m.axis(1));
    let given = [m.input(&[h], (-1.0, 1.0)), m.param(&[h, out], (-0.5, 0.5)), m.param(&[h, out], (-0.5, 0.5))];
    let lowered = m.lowered(|b, leaf| {
        let [x, w, u] = given.map(|g| leaf(b, g));
        let zero = b.number(0.0);
        let l = make(b, (TIME, false), &[BATCH], &[("h", &[h], zero)], &[x, w, u], |b, s, c| {
            let by_state = b.contract(s[0], c[1], &[h]);
            let by_input = b.contract(c[0], c[2], &[h]);
            let sum = b.add(by_state, by_input);
            let next = b.unary(UnaryOp::Tanh, sum);
            let next = b.rename(next, out, h);
            (vec![next], vec![next])
        });
        vec![b.op(Op::Emit(0), &[l])]
    });
    check(&m, &lowered);
    let (joint, _) = joint(&lowered);
    let products = joint.dag.nodes().iter().filter(|n| matches!(&n.op, Op::Contract(over) if over.contains(&TIME)));
    assert_eq!(products.count(), 2, "{}", archc_compiler::lowered::print(&joint));
    // the cotangent of x, and that of the argument of tanh, which is the factor of both
    let reverse = joint.dag.nodes().iter().rev().find_map(|n| match &n.op {
        Op::Loop(l) => Some(l),
        _ => None,
    });
    let reverse = reverse.expect("a reverse loop");
    assert_eq!((reverse.states.len(), reverse.emits.len()), (1, 2), "{}", archc_compiler::lowered::print(&joint));
}

/// A bias that is added at each token: its gradient is a sum of values that are emitted anyway. A batch that is not mapped.
#[test]
fn sums_after_the_loop() {
    let mut m = Made::new(&[3]);
    let h = m.axis(0);
    let range = (-1.0, 1.0);
    let given = [m.input(&[h], range), m.param(&[h], range), m.param(&[], range)];
    let lowered = m.lowered(|b, leaf| {
        let [x, bias, scale] = given.map(|g| leaf(b, g));
        let zero = b.number(0.0);
        let l = make(b, (TIME, false), &[], &[("h", &[BATCH, h], zero)], &[x, bias, scale], |b, s, c| {
            let sum = b.add(s[0], c[0]);
            let sum = b.add(sum, c[1]);
            let next = b.unary(UnaryOp::Tanh, sum);
            let y = b.mul(next, c[2]);
            (vec![next], vec![y])
        });
        vec![b.op(Op::Emit(0), &[l])]
    });
    check(&m, &lowered);
    let (joint, _) = joint(&lowered);
    let reverse = joint.dag.nodes().iter().rev().find_map(|n| match &n.op {
        Op::Loop(l) => Some(l),
        _ => None,
    });
    // the sum for the scale stays inside: neither factor is known outside
    assert_eq!(reverse.expect("a reverse loop").states.len(), 2, "{}", archc_compiler::lowered::print(&joint));
}

/// A matrix state for each head; captures that lack batch, heads or time.
#[test]
fn heads() {
    let mut m = Made::new(&[2, 3, 2]);
    let [h, k, v] = [0, 1, 2].map(|i| m.axis(i));
    let range = (-1.0, 1.0);
    let given = [
        m.input(&[h, k], range),
        m.input(&[k], range),
        m.input(&[h, v], range),
        m.param(&[h], (0.2, 0.9)),
        m.param(&[k, v], range),
        m.param(&[v], range),
    ];
    let lowered = m.lowered(|b, leaf| {
        let [q, key, value, rate, s0, bias] = given.map(|g| leaf(b, g));
        let states: [(&str, &[DimId], ValueId); 2] = [("S", &[k, v], s0), ("n", &[], rate)];
        let l = make(b, (TIME, false), &[BATCH, h], &states, &[q, key, value, rate, bias], |b, s, c| {
            let decayed = b.mul(s[0], c[3]);
            let read = b.contract(s[0], c[1], &[k]);
            let change = b.sub(c[2], read);
            let change = b.add(change, c[4]);
            let write = b.mul(c[1], change);
            let next = b.add(decayed, write);
            let y = b.contract(next, c[0], &[k]);
            let size = b.contract(c[0], c[1], &[k]);
            let count = b.mul(s[1], size);
            let count = b.unary(UnaryOp::Sin, count);
            (vec![next, count], vec![y, count])
        });
        vec![b.op(Op::Emit(0), &[l]), b.op(Op::Emit(1), &[l]), b.op(Op::Final(0), &[l])]
    });
    check(&m, &lowered);
}

/// A state that only another one reads, one that nothing reads after the loop, and one that never changes.
#[test]
fn chains_of_states() {
    let mut m = Made::new(&[2]);
    let h = m.axis(0);
    let range = (-1.0, 1.0);
    let given = [m.input(&[h], range), m.param(&[h], range), m.param(&[h], range), m.param(&[h], range)];
    let lowered = m.lowered(|b, leaf| {
        let [x, a, c, d] = given.map(|g| leaf(b, g));
        let states: [(&str, &[DimId], ValueId); 3] = [("a", &[h], a), ("b", &[h], c), ("c", &[h], d)];
        let l = make(b, (TIME, false), &[BATCH], &states, &[x], |b, s, c| {
            let first = b.mul(s[0], c[0]);
            let second = b.mul(s[1], s[0]);
            let second = b.unary(UnaryOp::Tanh, second);
            let larger = b.binary(BinaryOp::Max, s[2], c[0]);
            (vec![first, second, s[2]], vec![second, larger])
        });
        vec![b.op(Op::Emit(0), &[l]), b.op(Op::Emit(1), &[l])]
    });
    check(&m, &lowered);
}

/// Tokens within chunks: the inner loop is run again inside the reverse of the outer one.
#[test]
fn loops_in_loops() {
    let mut m = Made::new(&[3, 3]);
    let (h, out) = (m.axis(0), m.axis(1));
    let chunks = m.dim("N", Extent::Chunks(2), 1);
    let rows = m.dim("C", Extent::Fixed(2), 2);
    let range = (-1.0, 1.0);
    let given = [m.input(&[h], range), m.param(&[h, out], range), m.param(&[h], range), m.param(&[h], (0.2, 0.9))];
    let lowered = m.lowered(|b, leaf| {
        let [x, w, h0, rate] = given.map(|g| leaf(b, g));
        let x = b.op(Op::Chunk { chunks, rows, fill: 0.0 }, &[x]);
        let l = make(b, (chunks, false), &[BATCH], &[("h", &[h], h0)], &[x, w, rate], |b, s, c| {
            let inner = make(b, (rows, false), &[], &[("h", &[h], s[0])], &[c[0], c[1], c[2]], |b, s, c| {
                let mixed = b.contract(s[0], c[1], &[h]);
                let mixed = b.rename(mixed, out, h);
                let bent = b.unary(UnaryOp::Tanh, mixed);
                let kept = b.mul(bent, c[2]);
                let next = b.add(kept, c[0]);
                (vec![next], vec![next])
            });
            let (y, last) = (b.op(Op::Emit(0), &[inner]), b.op(Op::Final(0), &[inner]));
            let y = b.mul(y, c[2]);
            (vec![last], vec![y])
        });
        let y = b.op(Op::Emit(0), &[l]);
        let y = b.op(Op::Unchunk { chunks, rows }, &[y]);
        vec![y, b.op(Op::Final(0), &[l])]
    });
    check(&m, &lowered);
    let (joint, _) = joint(&lowered);
    let loops = count(&joint.dag, &|op| matches!(op, Op::Loop(_)));
    // forward: outer and inner; backward: outer, inner again, and its reverse
    assert_eq!(loops, 5);
}
