//! Tests of attends: scores and weights, sinks, masks, captures that lack batch, heads or time.

use crate::made::{Made, check};
use archc_compiler::graph::{BinaryOp, UnaryOp};
use archc_compiler::lowered::{Attend, BATCH, Builder, DimId, Extent, Op, TIME, ValueId, Weighing};
use std::sync::Arc;

struct Tile {
    present: Vec<ValueId>,
    past: Vec<ValueId>,
    lag: ValueId,
}

struct Parts {
    visible: Option<ValueId>,
    weighing: Weighing,
    sink: Option<ValueId>,
    emits: Vec<ValueId>,
}

fn make(
    b: &mut Builder,
    (rows, cols): (DimId, DimId),
    map: &[DimId],
    captures: &[ValueId],
    build: impl FnOnce(&mut Builder, &Tile) -> Parts,
) -> ValueId {
    let own = |to: DimId, c: ValueId, b: &Builder| -> Vec<DimId> {
        let dims = b.dims_of(c).iter().filter(|d| !map.contains(d));
        dims.map(|d| if *d == TIME { to } else { *d }).collect()
    };
    let leaves: Vec<(Vec<DimId>, Vec<DimId>)> = captures.iter().map(|c| (own(rows, *c, b), own(cols, *c, b))).collect();
    let mut body = b.body();
    let (mut present, mut past) = (Vec::new(), Vec::new());
    for (i, (at_rows, at_cols)) in leaves.into_iter().enumerate() {
        present.push(body.op(Op::Capture(i, at_rows), &[]));
        past.push(body.op(Op::Past(i, at_cols), &[]));
    }
    let lag = body.op(Op::Lag(rows, cols), &[]);
    let parts = build(&mut body, &Tile { present, past, lag });
    let attend = Attend {
        rows,
        cols,
        past: TIME,
        map: map.to_vec(),
        body: body.dag,
        visible: parts.visible,
        weighing: parts.weighing,
        sink: parts.sink,
        emits: parts.emits.into_iter().enumerate().map(|(i, e)| (format!("e{i}"), e)).collect(),
        reach: (0, None),
    };
    b.op(Op::Attend(Arc::new(attend)), captures)
}

fn made(axes: &[usize]) -> (Made, (DimId, DimId)) {
    let mut m = Made::new(axes);
    let rows = m.dim("R", Extent::Fixed(64), 2);
    let cols = m.dim("S", Extent::Fixed(64), 3);
    (m, (rows, cols))
}

/// Softmax attention with shared keys, a slope by lag for each head, a sink and a window.
#[test]
fn scores() {
    let (mut m, tile) = made(&[2, 3, 2]);
    let [h, k, v] = [0, 1, 2].map(|i| m.axis(i));
    let range = (-1.0, 1.0);
    let given = [
        m.input(&[h, k], range),
        m.input(&[k], range),
        m.input(&[h, v], range),
        m.param(&[h], (0.1, 0.5)),
        m.param(&[h], range),
        m.param(&[v], range),
    ];
    let lowered = m.lowered(|b, leaf| {
        let captures = given.map(|g| leaf(b, g));
        let node = make(b, tile, &[BATCH, h], &captures, |b, t| {
            let score = b.contract(t.present[0], t.past[1], &[k]);
            let bias = b.mul(t.lag, t.present[3]);
            let score = b.sub(score, bias);
            let three = b.number(3.0);
            let near = b.binary(BinaryOp::Lt, t.lag, three);
            let value = b.mul(t.past[2], t.present[5]);
            let sink = b.unary(UnaryOp::Sin, t.present[4]);
            Parts {
                visible: Some(near),
                weighing: Weighing::Score(score),
                sink: Some(sink),
                emits: vec![value, t.past[1]],
            }
        });
        vec![b.op(Op::Emit(0), &[node]), b.op(Op::Emit(1), &[node])]
    });
    check(&m, &lowered);
}

/// A sink and a mask that differ from token to token, and an emit of both tokens.
#[test]
fn pairs() {
    let (mut m, tile) = made(&[2, 3]);
    let [h, k] = [0, 1].map(|i| m.axis(i));
    let range = (-1.0, 1.0);
    let given = [m.input(&[k], range), m.input(&[k], range), m.input(&[h], range), m.input(&[], (1.0, 2.0))];
    let lowered = m.lowered(|b, leaf| {
        let captures = given.map(|g| leaf(b, g));
        let node = make(b, tile, &[BATCH, h], &captures, |b, t| {
            let score = b.contract(t.present[0], t.past[1], &[k]);
            let score = b.mul(score, t.past[2]);
            let score = b.unary(UnaryOp::Tanh, score);
            let visible = b.binary(BinaryOp::Le, t.lag, t.present[3]);
            let sink = b.mul(t.present[2], t.present[3]);
            let both = b.mul(t.present[0], t.past[1]);
            let both = b.mul(both, t.lag);
            Parts { visible: Some(visible), weighing: Weighing::Score(score), sink: Some(sink), emits: vec![both] }
        });
        let y = b.op(Op::Emit(0), &[node]);
        // a cotangent that is the same for all tokens
        let over = b.sum(y, &[TIME]);
        vec![y, over]
    });
    check(&m, &lowered);
}

/// Weights that are not normalised, among them 0, which still has a gradient. One element per pair is summed.
#[test]
fn weights() {
    let (mut m, tile) = made(&[2, 3, 2]);
    let [h, k, v] = [0, 1, 2].map(|i| m.axis(i));
    let range = (-1.0, 1.0);
    let given = [
        m.input(&[h, k], range),
        m.input(&[k], range),
        m.input(&[v], range),
        m.param(&[h], (0.1, 0.5)),
        m.param(&[], (0.0, 0.0)),
    ];
    let lowered = m.lowered(|b, leaf| {
        let captures = given.map(|g| leaf(b, g));
        let node = make(b, tile, &[BATCH, h], &captures, |b, t| {
            let product = b.contract(t.present[0], t.past[1], &[k]);
            let rate = b.mul(t.lag, t.present[3]);
            let rate = b.neg(rate);
            let decay = b.exp(rate);
            let weight = b.mul(product, decay);
            // weights of 0 everywhere, by a parameter that is 0
            let weight = b.mul(weight, t.present[4]);
            let one = b.number(1.0);
            let far = b.binary(BinaryOp::Ge, t.lag, one);
            Parts { visible: Some(far), weighing: Weighing::Weight(weight), sink: None, emits: vec![t.past[2], one] }
        });
        vec![b.op(Op::Emit(0), &[node]), b.op(Op::Emit(1), &[node])]
    });
    check(&m, &lowered);
}

/// Weights by lag alone, as a filter has them.
#[test]
fn filters() {
    let (mut m, tile) = made(&[2]);
    let h = m.axis(0);
    let given = [m.input(&[h], (-1.0, 1.0)), m.param(&[h], (0.1, 0.5))];
    let lowered = m.lowered(|b, leaf| {
        let captures = given.map(|g| leaf(b, g));
        let node = make(b, tile, &[BATCH, h], &captures, |b, t| {
            let rate = b.mul(t.lag, t.present[1]);
            let weight = b.unary(UnaryOp::Cos, rate);
            Parts { visible: None, weighing: Weighing::Weight(weight), sink: None, emits: vec![t.past[0]] }
        });
        vec![b.op(Op::Emit(0), &[node])]
    });
    check(&m, &lowered);
}
