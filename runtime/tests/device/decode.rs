//! Tests of carries: a sequence run in pieces gives the results of the whole sequence.

use crate::build::{Build, Paired};
use crate::check::{check_gradients, distance, exact, packed, random_batch, reference, session, within};
use crate::pieces::in_pieces;
use crate::time::all;
use archc_compiler::graph::*;
use archc_runtime::{Batch, Carry};
use std::sync::Arc;

pub fn check_pieces(name: &str, graph: &Arc<Graph>, batch: &Batch) {
    let mut s = session(graph, exact());
    let whole = s.forward(batch, None).unwrap().outputs;
    let every: Vec<usize> = (1..=batch.len).collect();
    let mut splits: Vec<Vec<usize>> = (1..batch.len).map(|n| vec![n, batch.len]).collect();
    splits.push(every);
    for ends in splits {
        for (output, t) in in_pieces(&mut s, batch, &ends).unwrap() {
            // The same sums, split elsewhere.
            assert!(distance(&t, &whole[&output]) < within(1e-13), "{name} {output} split at {ends:?}");
        }
    }
}

#[test]
fn pieces_of_every_construct() {
    for (name, graph) in all() {
        check_pieces(name, &graph, &random_batch(&graph, 2, 6));
        check_pieces(name, &graph, &packed(random_batch(&graph, 2, 6)));
    }
}

/// A model with learned tokens before each document.
pub fn prefixed() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, m, vocab, w] = [("D", 3), ("M", 2), ("VOCAB", 5), ("W", 2)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, Some(m));
    let window = g.op(Op::Window { axis: w, step: 1 }, &[x]);
    let x = g.reduce(ReduceOp::Sum, &[w], window);
    let zero = g.number(0.0);
    let x = g.scan(&[(&[d], zero)], &[x], |n, s, c| {
        let half = n.number(0.5);
        let kept = n.mul(s[0], half);
        let next = n.add(kept, c[0]);
        (vec![next], vec![next])
    })[0];
    let seen = g.attend(&[x], |n, present, past, _| {
        let score = n.contract(&[d], present[0], past[0]);
        Paired { visible: None, weighing: Weighing::Score(score), sink: None, emits: vec![past[0]] }
    })[0];
    let pos = g.op(Op::Pos, &[]);
    let placed = g.mul(seen, pos);
    let logits = g.linear("head", &[d], &[vocab], placed);
    g.output(logits);
    g.done()
}

/// Sums over values that are not finite for missing tokens of zeros: the logarithm of 0.
fn logarithms() -> Arc<Graph> {
    let mut g = Build::new();
    let h = g.axis("H", 2);
    let x = g.input("x", &[h]);
    let positive = g.unary(UnaryOp::Exp, x);
    let seen = g.attend(&[x, positive], |n, present, past, lag| {
        let near = n.binary(BinaryOp::Sub, present[0], lag);
        let weight = n.unary(UnaryOp::Exp, near);
        let log = n.unary(UnaryOp::Log, past[1]);
        Paired { visible: None, weighing: Weighing::Weight(weight), sink: None, emits: vec![log] }
    })[0];
    g.output(seen);
    g.done()
}

#[test]
fn what_nobody_sees_may_be_anything() {
    let graph = logarithms();
    check_pieces("one document", &graph, &random_batch(&graph, 2, 6));
    check_pieces("packed", &graph, &packed(random_batch(&graph, 2, 6)));
}

/// Decodes token by token over more known tokens than are allocated at once.
#[test]
fn many_tokens_one_by_one() {
    for (name, graph) in all().into_iter().filter(|(name, _)| name.contains("scored") || name.contains("weighed")) {
        for batch in [random_batch(&graph, 2, 140), packed(random_batch(&graph, 2, 140))] {
            let mut s = session(&graph, exact());
            let whole = s.forward(&batch, None).unwrap().outputs;
            let ends: Vec<usize> = (1..=140).collect();
            for (output, t) in in_pieces(&mut s, &batch, &ends).unwrap() {
                assert!(distance(&t, &whole[&output]) < within(1e-13), "{name} {output}");
            }
        }
    }
}

#[test]
fn pieces_with_a_prefix() {
    let graph = prefixed();
    check_pieces("one document", &graph, &random_batch(&graph, 2, 6));
    // Sequences with two and three documents: their prefixes make them differ in length.
    check_pieces("packed", &graph, &packed(random_batch(&graph, 2, 6)));
}

#[test]
fn a_prefix_is_tokens_before_the_document() {
    let graph = prefixed();
    let mut s = session(&graph, exact());
    let batch = random_batch(&graph, 1, 3);
    let y = s.forward(&batch, None).unwrap();
    assert_eq!(y.outputs["output"].shape, [1, 3, 5]);
    assert_eq!(y.carry.tensors()["pos"].data, [5.0], "two prefix tokens, three of the document");
    let mut moved = s.snapshot().unwrap();
    moved.params.get_mut("meta").unwrap().data[0] += 1.0;
    s.restore(&moved).unwrap();
    assert_ne!(s.forward(&batch, None).unwrap().outputs, y.outputs);
}

/// A second table of a model with a prefix has no rows for the prefix's tokens: there it gives zeros, and gets no gradient.
#[test]
fn a_second_table_gives_zeros_for_a_prefix() {
    let mut g = Build::new();
    let [d, m, vocab] = [("D", 3), ("M", 2), ("VOCAB", 5)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, Some(m));
    let table = g.param("second", &[vocab, d], ParamKind::Embedding);
    let second = g.op(Op::Embed { vocab }, &[table]);
    // the running sum carries what the prefix gives to the tokens
    let zero = g.number(0.0);
    let sum = g.scan(&[(&[d], zero)], &[second], |n, s, c| {
        let next = n.add(s[0], c[0]);
        (vec![next], vec![next])
    })[0];
    let y = g.add(x, sum);
    let logits = g.linear("head", &[d], &[vocab], y);
    g.output(logits);
    let graph = g.done();
    let batch = random_batch(&graph, 2, 6);
    check_pieces("two tables", &graph, &batch);
    let outputs = session(&graph, exact()).forward(&batch, None).unwrap().outputs;
    let expected = reference(&graph).forward(&batch, None).unwrap().outputs;
    assert!(distance(&outputs["output"], &expected["output"]) < within(1e-14));
    check_gradients(&graph, &batch);
}

#[test]
fn a_carry_keeps_what_can_still_be_seen() {
    let graph = crate::time::scored(None, false);
    let mut batch = random_batch(&graph, 1, 6);
    batch.reset = vec![true, false, false, false, true, false];
    let carry = session(&graph, exact()).forward(&batch, None).unwrap().carry;
    let carry = carry.tensors();
    let pasts: Vec<_> = carry.iter().filter(|(n, _)| n.starts_with("attend")).collect();
    assert_eq!(pasts.len(), 2, "key and value: {:?}", carry.keys());
    pasts.iter().for_each(|(_, t)| assert_eq!(t.shape[1], 2, "the last document has two tokens"));
}

#[test]
fn a_carry_ends_where_nothing_is_visible() {
    let graph = crate::time::scored(Some(3.0), false);
    let mut s = session(&graph, exact());
    let carry = s.forward(&random_batch(&graph, 1, 6), None).unwrap().carry;
    let pasts = |c: &Carry| c.tensors().into_owned().into_iter().filter(|(n, _)| n.starts_with("attend"));
    let tokens = |c: &Carry| pasts(c).map(|(_, t)| t.shape[1]).collect();
    let counts: Vec<usize> = tokens(&carry);
    assert_eq!(counts, [2, 2], "lags 0, 1 and 2 are visible, of key and value");
    let after = s.forward(&random_batch(&graph, 1, 1), Some(&carry)).unwrap().carry;
    assert_eq!(tokens(&after), counts);
}

#[test]
fn a_carry_that_is_advanced_is_the_one_that_forward_returns() {
    for (name, graph) in all() {
        let batch = packed(random_batch(&graph, 2, 3));
        let mut s = session(&graph, exact());
        let first = s.forward(&batch, None).unwrap();
        let second = s.forward(&batch, Some(&first.carry)).unwrap();
        let mut carry = None;
        assert_eq!(s.advance(&batch, &mut carry).unwrap(), first.outputs, "{name}");
        assert_eq!(s.advance(&batch, &mut carry).unwrap(), second.outputs, "{name}");
        assert_eq!(carry, Some(second.carry.clone()), "{name}");
        // a batch that is refused leaves it alone
        assert!(s.advance(&Batch::default(), &mut carry).is_err());
        assert_eq!(carry, Some(second.carry), "{name}");
    }
}
