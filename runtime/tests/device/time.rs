//! Tests of windows, scans and attends: gradients, documents, causality, long sequences.

use crate::build::{Build, Nodes, Paired};
use crate::check::{
    check_gradients, cotangents, distance, exact, packed, random_batch, reference, relative_rms, session, within,
};
use archc_compiler::graph::*;
use archc_runtime::{Batch, Dtype, Objective, Tensor};
use std::sync::Arc;

/// Every way to read a window: filtered, summed, picked, filtered per token, and materialised.
pub fn windows() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, w, f] = [("D", 2), ("W", 3), ("F", 2)].map(|(n, s)| g.axis(n, s));
    let x = g.input("x", &[d]);
    let y = g.input("y", &[w]);
    let per_channel = g.param("conv", &[d, w], ParamKind::Weight);
    let mixing = g.param("mix", &[f, w, d], ParamKind::Weight);
    let window = g.op(Op::Window { axis: w, step: 2 }, &[x]);
    let conv = Linear { contracted: vec![vec![w]], per: vec![d], out: vec![], bias: false };
    let conv = g.op(Op::Linear(conv), &[window, per_channel]);
    g.output(conv);
    let mix = Linear { contracted: vec![vec![w, d]], per: vec![], out: vec![f], bias: false };
    let mixed = g.op(Op::Linear(mix), &[window, mixing]);
    g.output(mixed);
    let per_token = g.contract(&[w], y, window);
    g.output(per_token);
    let next = g.op(Op::Window { axis: w, step: 1 }, &[x]);
    let total = g.reduce(ReduceOp::Sum, &[w], next);
    g.output(total);
    let shifted = g.op(Op::Pick(w, 2), &[next]);
    g.output(shifted);
    let norm = g.reduce(ReduceOp::Norm, &[d], next);
    g.output(norm);
    g.done()
}

/// The delta rule with a decay, a read before and after the update, and a learned initial state.
pub fn delta_rule(h: usize, k: usize, v: usize) -> Arc<Graph> {
    let mut g = Build::new();
    let [h, k, v] = [("H", h), ("K", k), ("V", v)].map(|(n, s)| g.axis(n, s));
    let key = g.input("k", &[h, k]);
    let key = l2norm(&mut g, k, key);
    let query = g.input("q", &[h, k]);
    let value = g.input("v", &[h, v]);
    let gates = g.input("b", &[h]);
    let beta = g.unary(UnaryOp::Sigmoid, gates);
    let rate = g.param("rate", &[h], ParamKind::Free);
    let decay = g.unary(UnaryOp::Sigmoid, rate);
    let start = g.param("start", &[v, h, k], ParamKind::Free);
    let reads = g.scan(&[(&[h, k, v], start)], &[key, query, value, beta, decay], |n, s, c| {
        let &[key, query, value, beta, decay] = c else { unreachable!() };
        let before = n.contract(&[k], query, s[0]);
        let kept = n.mul(decay, s[0]);
        let old = n.contract(&[k], key, kept);
        let change = n.sub(value, old);
        let scaled = n.mul(beta, key);
        let write = n.mul(scaled, change);
        let next = n.add(kept, write);
        let after = n.contract(&[k], query, next);
        (vec![next], vec![after, before])
    });
    reads.into_iter().for_each(|r| g.output(r));
    g.done()
}

fn l2norm(g: &mut Build, k: AxisId, x: NodeId) -> NodeId {
    let square = g.contract(&[k], x, x);
    let eps = g.number(1e-6);
    let sum = g.add(square, eps);
    let scale = g.unary(UnaryOp::Rsqrt, sum);
    g.mul(x, scale)
}

/// Several states that read each other, a maximum, a tanh with a learned map, an emit of a token-free value.
pub fn odd_scan() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, e] = [("D", 3), ("D'", 3)].map(|(n, s)| g.axis(n, s));
    let x = g.input("x", &[d]);
    let weight = g.param("w", &[e, d], ParamKind::Weight);
    let zero = g.number(0.0);
    let low = g.number(-5.0);
    let start = g.param("start", &[d], ParamKind::Free);
    let out = g.scan(&[(&[d], start), (&[], low), (&[d], zero)], &[x, weight], |n, s, c| {
        let map = Linear { contracted: vec![vec![d]], per: vec![], out: vec![d], bias: false };
        let mixed = n.op(Op::Linear(map), &[s[0], c[1]]);
        let sum = n.add(mixed, c[0]);
        let h = n.unary(UnaryOp::Tanh, sum);
        let size = n.reduce(ReduceOp::LogSumExp, &[d], c[0]);
        let top = n.binary(BinaryOp::Max, s[1], size);
        let scale = n.unary(UnaryOp::Exp, s[1]);
        let scaled = n.mul(h, scale);
        let third = n.add(s[2], scaled);
        let half = n.number(0.5);
        let kept = n.mul(third, half);
        (vec![h, top, kept], vec![h, top, third])
    });
    out.into_iter().for_each(|o| g.output(o));
    g.done()
}

/// Grouped queries with ALiBi, a learned sink and a window; every part of a score body.
pub fn scored(window: Option<f64>, sink: bool) -> Arc<Graph> {
    let mut g = Build::new();
    let [r, h, k, v] = [("R", 2), ("H", 2), ("K", 3), ("V", 2)].map(|(n, s)| g.axis(n, s));
    let q = g.input("q", &[h, r, k]);
    let key = g.input("k", &[h, k]);
    let value = g.input("v", &[h, v]);
    let slope = g.param("slope", &[h], ParamKind::Free);
    let sinks = g.param("sink", &[h], ParamKind::Free);
    let out = g.attend(&[q, key, value, slope, sinks], |n, present, past, lag| {
        let score = n.contract(&[k], present[0], past[1]);
        let bias = n.mul(present[3], lag);
        let score = n.sub(score, bias);
        let visible = window.map(|w| {
            let width = n.number(w);
            n.binary(BinaryOp::Lt, lag, width)
        });
        let twist = n.mul(past[2], present[2]);
        Paired {
            visible,
            weighing: Weighing::Score(score),
            sink: sink.then_some(present[4]),
            emits: vec![past[2], present[2], twist],
        }
    });
    out.into_iter().for_each(|o| g.output(o));
    g.done()
}

/// A plain weight, of the lag alone (a long filter, learned) and of the pair.
pub fn weighed() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, f] = [("D", 2), ("F", 3)].map(|(n, s)| g.axis(n, s));
    let x = g.input("x", &[d]);
    let w0 = g.param("w0", &[f], ParamKind::Free);
    let w1 = g.param("w1", &[d, f], ParamKind::Weight);
    let filtered = g.attend(&[x, w0, w1], |n, present, past, lag| {
        let phase = n.mul(present[1], lag);
        let wave = n.unary(UnaryOp::Sin, phase);
        let map = Linear { contracted: vec![vec![f]], per: vec![], out: vec![d], bias: false };
        let filter = n.op(Op::Linear(map), &[wave, present[2]]);
        Paired { visible: None, weighing: Weighing::Weight(filter), sink: None, emits: vec![past[0], lag] }
    });
    filtered.into_iter().for_each(|o| g.output(o));
    let paired = g.attend(&[x], |n, present, past, lag| {
        let product = n.contract(&[d], present[0], past[0]);
        let two = n.number(2.0);
        let rest = n.binary(BinaryOp::Rem, lag, two);
        Paired { visible: Some(rest), weighing: Weighing::Weight(product), sink: None, emits: vec![past[0]] }
    });
    paired.into_iter().for_each(|o| g.output(o));
    g.done()
}

/// Positions, and a carry of every kind in one graph.
pub fn mixed() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, w] = [("D", 3), ("W", 4)].map(|(n, s)| g.axis(n, s));
    let x = g.input("x", &[d]);
    let pos = g.op(Op::Pos, &[]);
    let angle = g.unary(UnaryOp::Sin, pos);
    let moved = g.mul(x, angle);
    let window = g.op(Op::Window { axis: w, step: 1 }, &[moved]);
    let filter = g.param("conv", &[d, w], ParamKind::Weight);
    let y = g.contract(&[w], window, filter);
    let half = g.number(0.5);
    let zero = g.number(0.0);
    let scanned = g.scan(&[(&[d], zero)], &[y, half], |n: &mut Nodes, s, c| {
        let kept = n.mul(s[0], c[1]);
        let next = n.add(kept, c[0]);
        (vec![next], vec![next])
    })[0];
    let seen = g.attend(&[scanned, y], |n, present, past, _| {
        let score = n.contract(&[d], present[0], past[0]);
        Paired { visible: None, weighing: Weighing::Score(score), sink: None, emits: vec![past[1]] }
    })[0];
    g.output(seen);
    g.done()
}

/// All graphs above, by name.
pub fn all() -> Vec<(&'static str, Arc<Graph>)> {
    vec![
        ("windows", windows()),
        ("delta rule", delta_rule(2, 3, 2)),
        ("odd scan", odd_scan()),
        ("scored", scored(None, false)),
        ("scored with a sink", scored(None, true)),
        ("scored in a window, with a sink", scored(Some(2.0), true)),
        ("weighed", weighed()),
        ("mixed", mixed()),
    ]
}

#[test]
fn gradients() {
    for (name, graph) in all() {
        eprintln!("{name}");
        check_gradients(&graph, &random_batch(&graph, 2, 4));
    }
}

#[test]
fn gradients_of_packed_documents() {
    for (name, graph) in all() {
        eprintln!("{name}");
        check_gradients(&graph, &packed(random_batch(&graph, 2, 5)));
    }
}

/// Cuts some tokens of some sequences out of every input.
fn part(batch: &Batch, rows: std::ops::Range<usize>, times: std::ops::Range<usize>) -> Batch {
    let cut = |t: &Tensor| {
        let token: usize = t.shape[2..].iter().product();
        let each = rows.clone().flat_map(|b| {
            let at = |t: usize| (b * batch.len + t) * token;
            t.data[at(times.start)..at(times.end)].to_vec()
        });
        Tensor { shape: [&[rows.len(), times.len()], &t.shape[2..]].concat(), data: each.collect() }
    };
    Batch {
        batch: rows.len(),
        len: times.len(),
        inputs: batch.inputs.iter().map(|(n, t)| (n.clone(), cut(t))).collect(),
        ..Default::default()
    }
}

fn output_part(t: &Tensor, b: usize, times: std::ops::Range<usize>) -> Tensor {
    let (len, token) = (t.shape[1], t.shape[2..].iter().product::<usize>());
    let data = t.data[(b * len + times.start) * token..(b * len + times.end) * token].to_vec();
    Tensor { shape: [&[1, times.len()], &t.shape[2..]].concat(), data }
}

#[test]
fn a_packed_document_is_a_document_alone() {
    for (name, graph) in all() {
        let batch = packed(random_batch(&graph, 2, 7));
        let mut s = session(&graph, exact());
        let whole = s.forward(&batch, None).unwrap().outputs;
        for (b, times) in [(0, 0..3), (0, 3..7), (1, 0..1), (1, 1..4), (1, 4..7)] {
            let alone = s.forward(&part(&batch, b..b + 1, times.clone()), None).unwrap().outputs;
            for (output, want) in &alone {
                let have = output_part(&whole[output], b, times.clone());
                // Sums of the same terms, in another order at most.
                assert!(distance(&have, want) < within(1e-13), "{name} {output}: sequence {b}, tokens {times:?}");
            }
        }
    }
}

#[test]
fn the_future_and_other_sequences_change_nothing() {
    for (name, graph) in all() {
        let batch = random_batch(&graph, 2, 6);
        let mut moved = batch.clone();
        for t in moved.inputs.values_mut() {
            let (row, token) = (t.data.len() / 2, t.data.len() / 12);
            // The last two tokens of the first sequence, and all of the second.
            t.data[4 * token..2 * row].iter_mut().for_each(|x| *x = 3.0 - *x * *x);
        }
        let mut s = session(&graph, exact());
        let (a, b) = (s.forward(&batch, None).unwrap(), s.forward(&moved, None).unwrap());
        for (output, t) in &a.outputs {
            assert_eq!(output_part(t, 0, 0..4), output_part(&b.outputs[output], 0, 0..4), "{name} {output}");
        }
        assert_ne!(a.outputs, b.outputs, "{name} ignores its input");
    }
}

#[test]
fn nothing_visible_gives_zero() {
    let mut g = Build::new();
    let d = g.axis("D", 2);
    let x = g.input("x", &[d]);
    let out = g.attend(&[x], |n, present, past, lag| {
        let score = n.contract(&[d], present[0], past[0]);
        // The present token is not visible, so no token is visible to the first of a document.
        Paired { visible: Some(lag), weighing: Weighing::Score(score), sink: None, emits: vec![past[0]] }
    });
    g.output(out[0]);
    let graph = g.done();
    let y = session(&graph, exact()).forward(&packed(random_batch(&graph, 2, 5)), None).unwrap();
    let y = &y.outputs["output"];
    for (b, t) in [(0, 0), (0, 3), (1, 0), (1, 1), (1, 4)] {
        assert_eq!(output_part(y, b, t..t + 1).data, [0.0, 0.0]);
    }
    assert_ne!(output_part(y, 0, 1..2).data, [0.0, 0.0]);
    check_gradients(&graph, &packed(random_batch(&graph, 2, 5)));
}

#[test]
fn a_window_by_hand() {
    let mut g = Build::new();
    let w = g.axis("W", 3);
    let x = g.input("x", &[]);
    let window = g.op(Op::Window { axis: w, step: 2 }, &[x]);
    g.output(window);
    let graph = g.done();
    let tensor = Tensor { shape: vec![1, 7], data: (1..=7).map(f64::from).collect() };
    let mut batch = Batch { batch: 1, len: 7, inputs: [("x".to_string(), tensor)].into(), ..Default::default() };
    batch.reset = vec![true, false, true, false, false, false, false];
    let y = session(&graph, exact()).forward(&batch, None).unwrap().outputs.remove("output").unwrap();
    let rows: Vec<&[f64]> = y.data.chunks(3).collect();
    assert_eq!(rows[1], [2.0, 0.0, 0.0]);
    assert_eq!(rows[3], [4.0, 0.0, 0.0]);
    assert_eq!(rows[4], [5.0, 3.0, 0.0]);
    assert_eq!(rows[6], [7.0, 5.0, 3.0]);
}

#[test]
fn f32_is_near_f64() {
    for (name, graph) in all() {
        let batch = packed(random_batch(&graph, 2, 40));
        let (mut exact, mut short) = (reference(&graph), session(&graph, Dtype::F32));
        // The same values for both: rounded once.
        exact.restore(&short.snapshot().unwrap()).unwrap();
        let mut batch = batch;
        batch.inputs.values_mut().for_each(|t| t.data.iter_mut().for_each(|x| *x = f64::from(*x as f32)));
        let (want, have) = (exact.forward(&batch, None).unwrap(), short.forward(&batch, None).unwrap());
        let r = cotangents(&want);
        for (output, t) in &want.outputs {
            // The design's bound on every f32 path.
            assert!(relative_rms(&have.outputs[output], t) < 1e-5, "{name} {output}");
        }
        let objective = Objective::Cotangents(&r);
        let (want, have) = (exact.gradients(&batch, objective).unwrap(), short.gradients(&batch, objective).unwrap());
        for (path, t) in want.params.iter().chain(&want.inputs) {
            if t.data.iter().all(|x| *x == 0.0) {
                continue;
            }
            let near = have.params.get(path).or_else(|| have.inputs.get(path)).unwrap();
            assert!(relative_rms(near, t) < 1e-4, "{name} {path}: {}", relative_rms(near, t));
        }
    }
}

#[test]
fn a_long_scan_does_not_overflow_the_stack() {
    let graph = delta_rule(1, 4, 4);
    let batch = random_batch(&graph, 1, 2048);
    let mut s = session(&graph, Dtype::F32);
    let r = cotangents(&s.forward(&batch, None).unwrap());
    let gradients = s.gradients(&batch, Objective::Cotangents(&r)).unwrap();
    assert!(gradients.params["start"].data.iter().any(|x| *x != 0.0));
}

#[test]
fn same_calls_same_bits() {
    for (name, graph) in all() {
        let batch = packed(random_batch(&graph, 2, 9));
        let run = || {
            let mut s = session(&graph, Dtype::F32);
            let out = s.forward(&batch, None).unwrap();
            let gradients = s.gradients(&batch, Objective::Cotangents(&cotangents(&out))).unwrap();
            (out, gradients)
        };
        assert_eq!(run(), run(), "{name}");
    }
}
