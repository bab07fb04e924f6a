//! Tests of attends and their gradients against sums over all pairs, with more than one tile.

use crate::hand::{Hand, leaf, same, tokens};
use archc_compiler::graph::BinaryOp;
use archc_compiler::lowered::{Attend, AttendGrad, BATCH, Builder, Extent, Op, TIME, ValueId, Weighing};
use std::sync::Arc;

const LEN: usize = 70;
const DOCUMENT: usize = 67;
const WINDOW: usize = 66;

/// score = q . past(k) - lag / 10, within a window, with a sink; emits past(v) times the present gate.
struct Parts {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    sink: ValueId,
}

/// All values by the definitions: weights, results, and the gradients for cotangents dy.
struct Wanted {
    y: Vec<f64>,
    lse: Vec<f64>,
    dq: Vec<f64>,
    dk: Vec<f64>,
    dv: Vec<f64>,
}

fn by_definition(hand: &Hand, scored: bool) -> Wanted {
    let [q, k, v, dy] = ["q", "k", "v", "dy"].map(|n| hand.numbers(n));
    let sink = hand.numbers("sink");
    let mut w = Wanted {
        y: vec![0.0; 2 * LEN],
        lse: vec![0.0; 2 * LEN],
        dq: vec![0.0; 4 * LEN],
        dk: vec![0.0; 4 * LEN],
        dv: vec![0.0; 2 * LEN],
    };
    for i in 0..2 * LEN {
        let reach = (hand.leaves.pos[i] as usize).min(WINDOW - 1);
        let cols: Vec<usize> = (i - reach..=i).collect();
        let score = |j: usize| q[2 * i] * k[2 * j] + q[2 * i + 1] * k[2 * j + 1] - (i - j) as f64 / 10.0;
        let total = cols.iter().map(|&j| score(j).exp()).sum::<f64>() + sink[i].exp();
        let weight = |j: usize| if scored { score(j).exp() / total } else { score(j) };
        w.lse[i] = total.ln();
        w.y[i] = cols.iter().map(|&j| weight(j) * v[j]).sum();
        for &j in &cols {
            w.dv[j] += weight(j) * dy[i];
            let ds = if scored { weight(j) * (dy[i] * v[j] - dy[i] * w.y[i]) } else { dy[i] * v[j] };
            for c in 0..2 {
                w.dq[2 * i + c] += ds * k[2 * j + c];
                w.dk[2 * j + c] += ds * q[2 * i + c];
            }
        }
    }
    w
}

fn check(scored: bool) {
    let mut hand = Hand::new(LEN, DOCUMENT);
    let axis = hand.axis("K", 2);
    let rows = hand.dim("rows", Extent::Fixed(16), 2);
    let cols = hand.dim("cols", Extent::Fixed(16), 3);
    let results = hand.run(|b| {
        let parts = Parts {
            q: tokens(b, "q", &[axis]),
            k: tokens(b, "k", &[axis]),
            v: tokens(b, "v", &[]),
            sink: tokens(b, "sink", &[]),
        };
        let body = |b: &mut Builder<'_>| {
            let mut inner = b.body();
            let q = inner.op(Op::Capture(0, vec![rows, axis]), &[]);
            let k = inner.op(Op::Past(1, vec![cols, axis]), &[]);
            let v = inner.op(Op::Past(2, vec![cols]), &[]);
            let sink = inner.op(Op::Capture(3, vec![rows]), &[]);
            let lag = inner.op(Op::Lag(rows, cols), &[]);
            let product = inner.contract(q, k, &[axis]);
            let tenth = inner.number(0.1);
            let bias = inner.mul(lag, tenth);
            let score = inner.sub(product, bias);
            let width = inner.number(WINDOW as f64);
            let visible = inner.binary(BinaryOp::Lt, lag, width);
            let mut dag = inner.dag;
            let ids = [q, k, v, sink, score, visible];
            // the additional nodes of a gradient
            let forward = dag.clone();
            let mut inner = b.body();
            std::mem::swap(&mut inner.dag, &mut dag);
            let weight = if scored {
                inner.op(Op::Weight(rows, cols), &[])
            } else {
                let seen = inner.op(Op::Visible(rows, cols), &[]);
                inner.mul(seen, score)
            };
            let dy = inner.op(Op::Cotangent(0, vec![rows]), &[]);
            let dw = inner.mul(dy, v);
            let ds = if scored {
                let delta = inner.op(Op::Delta(rows), &[]);
                let distance = inner.sub(dw, delta);
                inner.mul(weight, distance)
            } else {
                let seen = inner.op(Op::Visible(rows, cols), &[]);
                inner.mul(seen, dw)
            };
            let sums = vec![
                (0, inner.contract(ds, k, &[cols])),
                (1, inner.contract(ds, q, &[rows])),
                (2, inner.contract(weight, dy, &[rows])),
            ];
            (forward, inner.dag, ids, sums)
        };
        let (forward, backward, [_, _, v, sink, score, visible], sums) = body(b);
        let weighing = if scored { Weighing::Score(score) } else { Weighing::Weight(score) };
        let attend = Arc::new(Attend {
            rows,
            cols,
            past: TIME,
            map: vec![BATCH],
            body: forward,
            visible: Some(visible),
            weighing,
            sink: scored.then_some(sink),
            emits: vec![("y".into(), v)],
            reach: (0, Some(WINDOW - 1)),
        });
        let captures = [parts.q, parts.k, parts.v, parts.sink];
        let node = b.op(Op::Attend(attend.clone()), &captures);
        let y = b.op(Op::Emit(0), &[node]);
        let dy = tokens(b, "dy", &[]);
        let mut operands = captures.to_vec();
        let mut out = vec![y];
        if scored {
            // the maximum score, and the logarithm of the sum beside it
            let [top, log] = [1, 2].map(|i| b.op(Op::Emit(i), &[node]));
            operands.extend([top, log, b.mul(y, dy)]);
            out.push(b.add(top, log));
        }
        operands.push(dy);
        let grad =
            AttendGrad { forward: attend, body: backward, weighing, visible: Some(visible), sums, running: Vec::new() };
        let grad = b.op(Op::AttendGrad(Arc::new(grad)), &operands);
        out.extend((0..3).map(|i| b.op(Op::Emit(i), &[grad])));
        out
    });
    let want = by_definition(&hand, scored);
    same(&results[0].data, &want.y);
    let gradients = if scored {
        same(&results[1].data, &want.lse);
        &results[2..]
    } else {
        &results[1..]
    };
    same(&gradients[0].data, &want.dq);
    same(&gradients[1].data, &want.dk);
    same(&gradients[2].data, &want.dv);
}

#[test]
fn scores() {
    check(true);
}

#[test]
fn plain_weights() {
    check(false);
}

#[test]
fn nothing_visible_is_zero_and_minus_infinity() {
    let mut hand = Hand::new(3, 3);
    let rows = hand.dim("rows", Extent::Fixed(16), 2);
    let cols = hand.dim("cols", Extent::Fixed(16), 3);
    let results = hand.run(|b| {
        let v = tokens(b, "v", &[]);
        let mut inner = b.body();
        let past = inner.op(Op::Past(0, vec![cols]), &[]);
        let lag = inner.op(Op::Lag(rows, cols), &[]);
        let zero = inner.number(0.0);
        let score = inner.expand(zero, &[rows, cols]);
        let visible = inner.binary(BinaryOp::Gt, lag, zero);
        let body = inner.dag;
        let attend = Attend {
            rows,
            cols,
            past: TIME,
            map: vec![BATCH],
            body,
            visible: Some(visible),
            weighing: Weighing::Score(score),
            sink: None,
            emits: vec![("y".into(), past)],
            reach: (1, None),
        };
        let node = b.op(Op::Attend(Arc::new(attend)), &[v]);
        let [y, top, log] = [0, 1, 2].map(|i| b.op(Op::Emit(i), &[node]));
        vec![y, b.add(top, log)]
    });
    for (s, v) in hand.numbers("v").chunks(3).enumerate() {
        same(&results[0].data[s * 3..][..3], &[0.0, v[0], (v[0] + v[1]) / 2.0]);
        assert_eq!(results[1].data[s * 3], f64::NEG_INFINITY);
        same(&results[1].data[s * 3 + 1..][..2], &[0.0, 2f64.ln()]);
    }
}

#[test]
fn carried_tokens_are_columns_before_the_piece() {
    // one carried token; the second sequence's document starts at the piece's second token
    let mut hand = Hand::new(2, 2);
    hand.leaves.carried_tokens = 1;
    hand.leaves.pos = vec![1, 2, 1, 0];
    let before = hand.dim("carried", Extent::Carried(usize::MAX), 2);
    let known = hand.dim("known", Extent::Known(usize::MAX), 2);
    let rows = hand.dim("rows", Extent::Fixed(16), 2);
    let cols = hand.dim("cols", Extent::Fixed(16), 3);
    let results = hand.run(|b| {
        let (v, old) = (tokens(b, "v", &[]), leaf(b, "old", &[BATCH, before]));
        let all = b.op(Op::Cat(vec![before, TIME], known), &[old, v]);
        let mut inner = b.body();
        let past = inner.op(Op::Past(0, vec![cols]), &[]);
        let one = inner.number(1.0);
        let weight = inner.expand(one, &[rows, cols]);
        let body = inner.dag;
        let attend = Attend {
            rows,
            cols,
            past: known,
            map: vec![BATCH],
            body,
            visible: None,
            weighing: Weighing::Weight(weight),
            sink: None,
            emits: vec![("y".into(), past)],
            reach: (0, None),
        };
        let node = b.op(Op::Attend(Arc::new(attend)), &[all]);
        vec![b.op(Op::Emit(0), &[node])]
    });
    let (v, old) = (hand.numbers("v"), hand.numbers("old"));
    same(&results[0].data, &[old[0] + v[0], old[0] + v[0] + v[1], old[1] + v[2], v[3]]);
}
