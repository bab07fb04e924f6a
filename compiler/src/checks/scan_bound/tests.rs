use super::*;
use crate::checks::Flow;
use crate::graph::{BinaryOp, Graph, NodeId, UnaryOp};
use crate::ops::testing::{Build, binary, delta_net, delta_net_with, node, sum};

fn verdict(graph: &Graph) -> (String, Vec<&'static str>) {
    let flow = Flow::new(graph);
    let (bounds, found) = check_scans(&Ranges::new(&flow));
    let text: Vec<String> = bounds.iter().map(StateBound::to_string).collect();
    (text.join("; "), found.iter().map(|d| d.code).collect())
}

#[test]
fn delta_rules() {
    let contraction = ("S: contraction, |A| <= 1 (rank-one steps along bounded keys)".to_string(), vec![]);
    assert_eq!(verdict(&delta_net()), contraction);
    let twice = |b: &mut Build, x| {
        let (two, s) = (b.constant(2.0), b.unary(UnaryOp::Sigmoid, x));
        b.mul(two, s)
    };
    assert_eq!(verdict(&delta_net_with(true, twice)), contraction);
    let (text, codes) = verdict(&delta_net_with(false, |b, x| b.unary(UnaryOp::Sigmoid, x)));
    assert_eq!((text.as_str(), codes), ("S: may grow, |A| is unbounded (keys are not normalised)", vec!["W0707"]));
    let (text, codes) = verdict(&delta_net_with(true, |b, x| b.unary(UnaryOp::Softplus, x)));
    assert_eq!((text.as_str(), codes), ("S: may grow, |A| is unbounded (step in (-inf, 0))", vec!["W0708"]));
    let thrice = |b: &mut Build, x| {
        let (three, s) = (b.constant(3.0), b.unary(UnaryOp::Sigmoid, x));
        b.mul(three, s)
    };
    let (text, codes) = verdict(&delta_net_with(true, thrice));
    assert_eq!((text.as_str(), codes), ("S: may grow, |A| <= 2.000 (step in (-3, 0))", vec!["W0708"]));
}

/// s[D] = update(s, x), with a raw x and a gate sigmoid(x).
fn scan(update: impl FnOnce(&mut crate::graph::Dag, [NodeId; 3]) -> NodeId) -> (String, Vec<&'static str>) {
    let mut b = Build::new();
    let d = b.axis("D", 4);
    let x = b.input(&[d]);
    let gate = b.unary(UnaryOp::Sigmoid, x);
    let zero = b.constant(0.0);
    let scan = b.scan(&[("s", &[d], zero)], &[x, gate], |body| {
        let s = node(body, Op::State(0), &[d], &[]);
        let x = node(body, Op::Capture(0), &[d], &[]);
        let gate = node(body, Op::Capture(1), &[d], &[]);
        let next = update(body, [s, x, gate]);
        (vec![next], vec![("o", next)])
    });
    let o = b.emit(scan, 0);
    b.output(o);
    verdict(&b.graph)
}

#[test]
fn element_wise_updates() {
    use BinaryOp::{Add, Max, Mul, Sub};
    assert_eq!(
        scan(|g, [s, x, _]| binary(g, Add, s, x)),
        ("s: |A| = 1, grows at most linearly (no decay)".into(), vec![])
    );
    let decayed = scan(|g, [s, x, a]| {
        let s = binary(g, Mul, a, s);
        binary(g, Add, s, x)
    });
    assert_eq!(decayed, ("s: contraction, |A| <= 1 (decay in (0, 1))".into(), vec![]));
    // s - a s + x: the parts add up before the norm is taken
    let forgets = scan(|g, [s, x, a]| {
        let gone = binary(g, Mul, a, s);
        let s = binary(g, Sub, s, gone);
        binary(g, Add, s, x)
    });
    assert_eq!(forgets, ("s: contraction, |A| <= 1 (decay in (0, 1))".into(), vec![]));
    let raw = scan(|g, [s, x, _]| {
        let s = binary(g, Mul, x, s);
        binary(g, Add, s, x)
    });
    assert_eq!(raw, ("s: may grow, |A| is unbounded (decay in (-inf, inf))".into(), vec!["W0706"]));
    let tanh = scan(|g, [s, x, _]| {
        let s = binary(g, Add, s, x);
        node(g, Op::Unary(UnaryOp::Tanh), &g.ty(s).axes.clone(), &[s])
    });
    assert_eq!(tanh, ("s: bounded, in [-1, 1] (by the ranges of its ops)".into(), vec![]));
    assert_eq!(scan(|_, [_, x, _]| x), ("s: replaced at every token".into(), vec![]));
    let stabiliser = scan(|g, [s, x, _]| {
        let s = binary(g, Add, s, x);
        binary(g, Max, s, x)
    });
    assert!(stabiliser.1.is_empty() && stabiliser.0.contains("contraction"), "{}", stabiliser.0);
    let square = scan(|g, [s, x, _]| {
        let s = binary(g, Mul, s, s);
        binary(g, Add, s, x)
    });
    assert_eq!(square, ("s: no bound known (a product of states)".into(), vec![]));
}

#[test]
fn a_gated_delta_rule_with_the_decay_first() {
    let mut b = Build::new();
    let (k, v) = (b.axis("K", 4), b.axis("V", 4));
    let (x, y, g) = (b.input(&[k]), b.input(&[v]), b.input(&[]));
    let key = b.l2norm(&[k], x);
    let (decay, beta) = (b.unary(UnaryOp::Sigmoid, g), b.unary(UnaryOp::Sigmoid, g));
    let zero = b.constant(0.0);
    let scan = b.scan(&[("S", &[k, v], zero)], &[key, y, decay, beta], |body| {
        let s = node(body, Op::State(0), &[k, v], &[]);
        let key = node(body, Op::Capture(0), &[k], &[]);
        let y = node(body, Op::Capture(1), &[v], &[]);
        let decay = node(body, Op::Capture(2), &[], &[]);
        let beta = node(body, Op::Capture(3), &[], &[]);
        let s = binary(body, BinaryOp::Mul, decay, s);
        let read = binary(body, BinaryOp::Mul, key, s);
        let read = sum(body, &[k], read);
        let error = binary(body, BinaryOp::Sub, y, read);
        let write = binary(body, BinaryOp::Mul, beta, key);
        let write = binary(body, BinaryOp::Mul, write, error);
        let next = binary(body, BinaryOp::Add, s, write);
        (vec![next], vec![("o", read)])
    });
    let o = b.emit(scan, 0);
    b.output(o);
    assert_eq!(verdict(&b.graph).0, "S: contraction, |A| <= 1 (rank-one steps along bounded keys)");
}

#[test]
fn a_rotated_pair() {
    let pair = |sign: BinaryOp| {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let decay = b.unary(UnaryOp::Sigmoid, x);
        let (cos, sin) = (b.unary(UnaryOp::Cos, x), b.unary(UnaryOp::Sin, x));
        let zero = b.constant(0.0);
        let states: [(&str, &[crate::graph::AxisId], NodeId); 2] = [("r", &[d], zero), ("i", &[d], zero)];
        let scan = b.scan(&states, &[x, decay, cos, sin], |body| {
            let [r, i] = [0, 1].map(|n| node(body, Op::State(n), &[d], &[]));
            let [x, decay, cos, sin] = [0, 1, 2, 3].map(|n| node(body, Op::Capture(n), &[d], &[]));
            // r: the decay outside of the sum; i: inside
            let (p, q) = (binary(body, BinaryOp::Mul, cos, r), binary(body, BinaryOp::Mul, i, sin));
            let turned = binary(body, sign, p, q);
            let turned = binary(body, BinaryOp::Mul, decay, turned);
            let next_r = binary(body, BinaryOp::Add, turned, x);
            let (p, q) = (binary(body, BinaryOp::Mul, sin, r), binary(body, BinaryOp::Mul, cos, i));
            let (p, q) = (binary(body, BinaryOp::Mul, decay, p), binary(body, BinaryOp::Mul, q, decay));
            let next_i = binary(body, BinaryOp::Add, p, q);
            (vec![next_r, next_i], vec![("o", next_r)])
        });
        let o = b.emit(scan, 0);
        b.output(o);
        verdict(&b.graph).0
    };
    assert_eq!(
        pair(BinaryOp::Sub),
        "r: contraction, |A| <= 1 (a rotated pair, decay in (0, 1)); i: contraction, |A| <= 1 (a rotated pair, decay in (0, 1))"
    );
    assert!(pair(BinaryOp::Add).contains("no bound known"), "not a rotation");
}
