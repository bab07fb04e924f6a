//! Tests of AdamW, clipping, steps that are not finite, and snapshots.

use crate::build::Build;
use crate::check::{exact, random_batch, within};
use crate::{DTYPES, device};
use archc_compiler::graph::*;
use archc_runtime::{AdamW, BatchShape, Device, Dtype, Objective, Session, SessionOptions};
use std::sync::Arc;

/// Embedding, a tanh map, a scan, a head; one parameter of every kind but a prefix.
pub fn model() -> Arc<Graph> {
    let mut g = Build::new();
    let [d, vocab] = [("D", 4), ("VOCAB", 6)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let scale = g.param("norm.weight", &[d], ParamKind::Free);
    let x = g.mul(x, scale);
    let x = g.linear("up.linear.weight", &[d], &[d], x);
    let x = g.unary(UnaryOp::Tanh, x);
    let zero = g.number(0.0);
    let x = g.scan(&[(&[d], zero)], &[x], |n, s, c| {
        let half = n.number(0.5);
        let kept = n.mul(s[0], half);
        let next = n.add(kept, c[0]);
        (vec![next], vec![next])
    })[0];
    let rate = g.number(0.25);
    let x = g.op(Op::Dropout { path: "dropout".into() }, &[x, rate]);
    let logits = g.linear("head.linear.weight", &[d], &[vocab], x);
    let square = g.unary(UnaryOp::Powi(2), logits);
    let small = g.number(1e-3);
    let term = g.mul(square, small);
    g.losses.push(term);
    g.output(logits);
    g.done()
}

fn with(optimizer: AdamW, dtype: Dtype) -> Box<dyn Session> {
    let options = SessionOptions { dtype, seed: 3, optimizer, ..Default::default() };
    device().compile(&model(), BatchShape { batch: 2, len: 5 }, &options).unwrap()
}

/// Compares AdamW with an independent implementation of arXiv 1711.05101, for a model without dropout.
#[test]
fn adamw_by_hand() {
    let mut g = Build::new();
    let [d, vocab] = [("D", 4), ("VOCAB", 6)].map(|(n, s)| g.axis(n, s));
    let x = g.embed(vocab, d, None);
    let logits = g.linear("head", &[d], &[vocab], x);
    g.output(logits);
    let graph = g.done();
    let rule = AdamW { beta1: 0.8, beta2: 0.9, eps: 1e-3, weight_decay: 0.5, clip: 0.05 };
    let options = SessionOptions { dtype: exact(), seed: 1, optimizer: rule, ..Default::default() };
    let mut s = device().compile(&graph, BatchShape { batch: 1, len: 4 }, &options).unwrap();
    let batch = random_batch(&graph, 1, 4);
    let mut params = s.snapshot().unwrap().params;
    let zero: archc_runtime::Tensors = params
        .iter()
        .map(|(n, t)| (n.clone(), archc_runtime::Tensor { shape: t.shape.clone(), data: vec![0.0; t.data.len()] }))
        .collect();
    let (mut m, mut v) = (zero.clone(), zero);
    for t in 1..=3 {
        let gradients = s.gradients(&batch, Objective::Loss).unwrap().params;
        let norm = gradients.values().flat_map(|g| &g.data).map(|x| x * x).sum::<f64>().sqrt();
        assert!(norm > rule.clip, "the clipping is tested too");
        let metrics = s.step(&batch, 0.1).unwrap();
        assert!((metrics.gradient_norm - norm).abs() < within(1e-14));
        for (path, g) in &gradients {
            let decay = if path == "head" { 0.5 } else { 0.0 };
            for i in 0..g.data.len() {
                let g = g.data[i] * rule.clip / norm;
                let (m, v) = (&mut m.get_mut(path).unwrap().data[i], &mut v.get_mut(path).unwrap().data[i]);
                *m = 0.8 * *m + 0.2 * g;
                *v = 0.9 * *v + 0.1 * g * g;
                let p = &mut params.get_mut(path).unwrap().data[i];
                let (mhat, vhat) = (*m / (1.0 - 0.8f64.powi(t)), *v / (1.0 - 0.9f64.powi(t)));
                *p -= 0.1 * decay * *p + 0.1 * mhat / (vhat.sqrt() + 1e-3);
            }
        }
        for (path, want) in &params {
            // The same formula in another order.
            assert!(crate::check::distance(&s.snapshot().unwrap().params[path], want) < within(1e-13), "{path} at {t}");
        }
    }
}

#[test]
fn only_weights_decay() {
    let rule = AdamW { weight_decay: 0.5, clip: 0.0, ..Default::default() };
    let mut s = with(rule, exact());
    let before = s.snapshot().unwrap().params;
    // Clipped to nothing, an update is its decay.
    s.step(&random_batch(&model(), 2, 5), 0.1).unwrap();
    for (path, after) in &s.snapshot().unwrap().params {
        let factor = if path.contains("linear") { 0.95 } else { 1.0 };
        for (a, b) in after.data.iter().zip(&before[path].data) {
            assert!((a - b * factor).abs() < within(1e-15), "{path}");
        }
    }
}

#[test]
fn training_lowers_the_loss() {
    let batch = random_batch(&model(), 2, 5);
    let mut s = with(AdamW::default(), Dtype::F32);
    let first = s.step(&batch, 0.02).unwrap();
    let last = (0..150).map(|_| s.step(&batch, 0.02).unwrap()).last().unwrap();
    // One batch is memorised, up to dropout: far below ln 6 = 1.79.
    assert!(last.loss < 0.5 * first.loss, "{} -> {}", first.loss, last.loss);
    assert!(first.objective > first.loss, "the program's own term is added");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut s = with(AdamW::default(), Dtype::F32);
    let mut start = s.snapshot().unwrap();
    // Finite in f32, but its square is not.
    start.params.get_mut("head.linear.weight").unwrap().data[0] = 3e38;
    start.params.get_mut("norm.weight").unwrap().data.fill(1e30);
    s.restore(&start).unwrap();
    let metrics = s.step(&random_batch(&model(), 2, 5), 0.1).unwrap();
    assert!(!metrics.objective.is_finite() || !metrics.gradient_norm.is_finite());
    let after = s.snapshot().unwrap();
    assert_eq!((after.step, after.params == s.snapshot().unwrap().params), (0, true));
    assert!(after.first.values().all(|t| t.data.iter().all(|x| *x == 0.0)));
}

#[test]
fn a_restored_session_goes_on_bit_by_bit() {
    for &dtype in DTYPES {
        let batch = random_batch(&model(), 2, 5);
        let mut whole = with(AdamW::default(), dtype);
        for _ in 0..3 {
            whole.step(&batch, 0.01).unwrap();
        }
        let saved = whole.snapshot().unwrap();
        let mut resumed = with(AdamW::default(), dtype);
        resumed.restore(&saved).unwrap();
        for _ in 0..3 {
            assert_eq!(whole.step(&batch, 0.01).unwrap(), resumed.step(&batch, 0.01).unwrap());
        }
        assert_eq!(whole.snapshot().unwrap(), resumed.snapshot().unwrap());
    }
}
