//! Tests of losses, masks and dropout.

use crate::agree::lines;
use crate::build::Build;
use crate::case::Subject;
use crate::check::{check_gradients, exact, known, noise, packed, random_batch, session, within};
use crate::decode::prefixed;
use crate::device;
use crate::optimizer::model;
use archc_compiler::graph::*;
use archc_runtime::{Batch, Dtype, Objective, Session};
use std::sync::Arc;

/// Compares the derivatives of the training objective with differences, in f64, or with the reference; tolerances as in `check`.
fn check_loss(graph: &Arc<Graph>, batch: &Batch) {
    if exact() == Dtype::F32 {
        let found = Subject::new(&device(), Dtype::F32).compare(graph, batch);
        assert!(found.is_empty(), "{}", lines(&found));
        return;
    }
    let mut s = session(graph, exact());
    let start = s.snapshot().unwrap();
    let gradients = s.gradients(batch, Objective::Loss).unwrap();
    let mut objective = |path: &str, i: usize, by: f64| {
        let mut moved = start.clone();
        moved.params.get_mut(path).unwrap().data[i] += by;
        s.restore(&moved).unwrap();
        s.gradients(batch, Objective::Loss).unwrap().objective
    };
    for (path, gradient) in &gradients.params {
        for (i, &g) in gradient.data.iter().enumerate() {
            let difference = (objective(path, i, 1e-5) - objective(path, i, -1e-5)) / 2e-5;
            assert!((difference - g).abs() < 1e-7, "{path}[{i}]: {g} by gradient, {difference} by difference");
        }
        assert!(gradient.data.iter().any(|g| *g != 0.0), "{path}");
    }
}

#[test]
fn gradients_of_the_objective() {
    let graph = model();
    let mut batch = random_batch(&graph, 2, 5);
    check_loss(&graph, &batch);
    batch.mask = vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
    check_loss(&graph, &batch);
    check_loss(&prefixed(), &packed(random_batch(&prefixed(), 2, 5)));
}

#[test]
fn masked_tokens_do_not_count() {
    let graph = model();
    let mut s = session(&graph, exact());
    let mut batch = random_batch(&graph, 1, 4);
    batch.mask = vec![1.0, 1.0, 0.0, 0.0];
    let masked = s.gradients(&batch, Objective::Loss).unwrap();
    batch.targets[3] = (batch.targets[3] + 1) % 6;
    assert_eq!(s.gradients(&batch, Objective::Loss).unwrap(), masked, "a masked target is not looked at");
    let short = Batch {
        len: 2,
        tokens: batch.tokens[..2].into(),
        targets: batch.targets[..2].into(),
        mask: vec![],
        ..batch.clone()
    };
    let alone = s.gradients(&short, Objective::Loss).unwrap().objective;
    assert!((alone - masked.objective).abs() < within(1e-14));
    batch.mask = vec![0.0; 4];
    assert_eq!(s.gradients(&batch, Objective::Loss).unwrap().objective, 0.0);
}

#[test]
fn the_loss_is_the_mean_cross_entropy() {
    let mut g = Build::new();
    let [d, vocab] = [("D", 2), ("VOCAB", 3)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let logits = g.linear("head", &[d], &[vocab], x);
    g.output(logits);
    let graph = g.done();
    let mut s = session(&graph, exact());
    let batch = random_batch(&graph, 2, 3);
    let y = s.forward(&batch, None).unwrap().outputs.remove("output").unwrap();
    let each = y
        .data
        .chunks(3)
        .zip(&batch.targets)
        .map(|(row, &t)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[t as usize]);
    let want = each.sum::<f64>() / 6.0;
    assert!((s.gradients(&batch, Objective::Loss).unwrap().objective - want).abs() < within(1e-14));
}

#[test]
fn token_means() {
    let mut g = Build::new();
    let [d, vocab] = [("D", 3), ("VOCAB", 4)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let p = g.op(Op::Softmax(vec![d]), &[x]);
    let mean = g.op(Op::TokenMean, &[p]);
    let square = g.mul(mean, mean);
    g.losses.push(square);
    let spread = g.mul(p, mean);
    g.losses.push(spread);
    let logits = g.linear("head", &[d], &[vocab], x);
    g.output(logits);
    let graph = g.done();
    let mut batch = random_batch(&graph, 2, 4);
    batch.mask = vec![1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0];
    check_loss(&graph, &batch);
}

fn dropped(path: &str, p: f64) -> Arc<Graph> {
    let mut g = Build::new();
    let [d, vocab] = [("D", 50), ("VOCAB", 4)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let rate = g.number(p);
    let x = g.op(Op::Dropout { path: path.into() }, &[x, rate]);
    let logits = g.linear("head", &[d], &[vocab], x);
    g.output(logits);
    g.done()
}

#[test]
fn dropout_is_seeded_by_run_step_and_path() {
    let step = |path: &str, p: f64, steps: u64| {
        let graph = dropped(path, p);
        let mut s = session(&graph, exact());
        let mut start = s.snapshot().unwrap();
        start.step = steps;
        s.restore(&start).unwrap();
        s.step(&random_batch(&graph, 2, 3), 0.0).unwrap().loss
    };
    assert_eq!(step("a", 0.5, 0), step("a", 0.5, 0));
    assert_ne!(step("a", 0.5, 0), step("a", 0.5, 1), "another step");
    assert_ne!(step("a", 0.5, 0), step("b", 0.5, 0), "another site");
    // Everything dropped: uniform logits. ln 4 to the last bits.
    assert!((step("a", 1.0, 0) - 4f64.ln()).abs() < within(1e-15));
    let plain = step("a", 0.0, 0);
    let mean = (0..400).map(|i| step("a", 0.5, i)).sum::<f64>() / 400.0;
    // Dropout is unbiased before the softmax; through it the loss grows, but stays near.
    assert!(mean > plain && mean < 4.0 * plain + 2.0, "{mean} with, {plain} without");
}

#[test]
fn evaluation_has_no_dropout() {
    let (with, without) = (dropped("a", 0.5), dropped("a", 0.0));
    let batch = random_batch(&with, 2, 3);
    let run = |g: &Arc<Graph>| session(g, exact()).forward(&batch, None).unwrap().outputs;
    assert_eq!(run(&with), run(&without));
}

#[test]
fn dropout_inside_a_scan_draws_anew_at_each_token() {
    let mut g = Build::new();
    let [d, vocab] = [("D", 40), ("VOCAB", 2)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let zero = g.number(0.0);
    let y = g.scan(&[(&[d], zero)], &[x], |n, s, _| {
        let one = n.number(1.0);
        let moved = n.add(s[0], one);
        let half = n.number(0.5);
        let next = n.op(Op::Dropout { path: "in".into() }, &[moved, half]);
        // No decay: the state grows as 2^t where the same elements were kept at every token.
        (vec![next], vec![next])
    })[0];
    let logits = g.linear("head", &[d], &[vocab], y);
    g.output(logits);
    let graph = g.done();
    let batch = random_batch(&graph, 1, 6);
    let mut s = session(&graph, exact());
    let loss = |s: &mut Box<dyn Session>| s.step(&batch, 0.0).unwrap().loss;
    let (a, b) = (loss(&mut s), loss(&mut s));
    assert!(a.is_finite() && a != b);
}

#[test]
fn a_step_reads_the_number_of_updates() {
    let mut g = Build::new();
    let d = g.axis("D", 2);
    let x = g.input("x", &[d]);
    let step = g.op(Op::Step, &[]);
    let y = g.mul(x, step);
    g.output(y);
    let graph = g.done();
    check_gradients_at_step(&graph);
}

fn check_gradients_at_step(graph: &Arc<Graph>) {
    let mut s = session(graph, exact());
    let mut start = s.snapshot().unwrap();
    start.step = 3;
    s.restore(&start).unwrap();
    let batch = random_batch(graph, 1, 2);
    let y = s.forward(&batch, None).unwrap().outputs.remove("output").unwrap();
    let want: Vec<f64> = noise("x", &[1, 2, 2]).data.iter().map(|x| 3.0 * x).collect();
    known(&y.data, &want, "three times x");
}

#[test]
fn an_embedding_gets_the_gradients_of_its_tokens() {
    let graph = dropped("a", 0.0);
    check_gradients(&graph, &random_batch(&graph, 1, 2));
}
