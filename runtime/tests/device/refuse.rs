//! Tests of bad input: it gives an error code, never a panic.

use crate::check::{exact, random_batch, session};
use crate::device;
use crate::optimizer::model;
use crate::time::{mixed, odd_scan};
use archc_runtime::{
    Batch, BatchShape, CODES, Carry, Device, Dtype, Objective, Session, SessionOptions, Snapshot, Tensor, Tensors,
};

fn forward(s: &mut Box<dyn Session>, batch: &Batch) -> &'static str {
    s.forward(batch, None).map_or_else(|e| e.code, |_| "fine")
}

#[test]
fn bad_batches_of_a_model() {
    let mut s = session(&model(), Dtype::F32);
    let good = random_batch(&model(), 2, 3);
    assert_eq!(forward(&mut s, &good), "fine");
    let with = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    for (change, code) in [
        ((|b: &mut Batch| b.len = 0) as fn(&mut Batch), "E0801"),
        (|b| b.batch = 0, "E0801"),
        (|b| (b.batch, b.len) = (usize::MAX, 2), "E0801"),
        (|b| b.tokens.truncate(5), "E0802"),
        (|b| b.reset = vec![true], "E0802"),
        (|b| b.mask = vec![1.0; 7], "E0802"),
        (|b| b.targets.truncate(5), "E0802"),
        (|b| b.tokens[1] = 6, "E0804"),
        (|b| b.targets[1] = u32::MAX, "E0804"),
        (|b| b.mask = vec![f32::NAN; 6], "E0805"),
        (|b| drop(b.inputs.insert("x".into(), Tensor::default())), "E0802"),
    ] {
        let batch = with(change);
        assert_eq!(forward(&mut s, &batch), code);
        assert_eq!(s.step(&batch, 0.1).unwrap_err().code, code);
    }
    assert_eq!(s.step(&with(|b| b.targets.clear()), 0.1).unwrap_err().code, "E0812");
}

#[test]
fn bad_batches_of_a_block() {
    let graph = odd_scan();
    let mut s = session(&graph, exact());
    let good = random_batch(&graph, 1, 2);
    let with = |change: fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    assert_eq!(forward(&mut s, &with(|b| b.inputs.clear())), "E0802");
    assert_eq!(forward(&mut s, &with(|b| b.tokens = vec![1, 2])), "E0802");
    assert_eq!(forward(&mut s, &with(|b| b.inputs.get_mut("x").unwrap().shape[2] = 2)), "E0803");
    assert_eq!(forward(&mut s, &with(|b| b.inputs.get_mut("x").unwrap().data.truncate(5))), "E0803");
    assert_eq!(forward(&mut s, &with(|b| b.inputs.get_mut("x").unwrap().data[0] = f64::NAN)), "E0805");
    assert_eq!(s.step(&good, 0.1).unwrap_err().code, "E0812");
    assert_eq!(s.gradients(&good, Objective::Loss).unwrap_err().code, "E0812");
    let unknown = [("out".to_string(), Tensor::default())].into();
    assert_eq!(s.gradients(&good, Objective::Cotangents(&unknown)).unwrap_err().code, "E0812");
    let shape = [("output".to_string(), Tensor::default())].into();
    assert_eq!(s.gradients(&good, Objective::Cotangents(&shape)).unwrap_err().code, "E0812");
    let none = BatchShape { batch: 1, len: 0 };
    let refused = device().compile(&graph, none, &SessionOptions::default()).err().unwrap();
    assert_eq!(refused.code, "E0801");
}

#[test]
fn bad_weights() {
    let mut s = session(&model(), Dtype::F32);
    let good = s.snapshot().unwrap();
    let mut refused = |change: fn(&mut Snapshot)| {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        let error = s.restore(&snapshot).unwrap_err();
        assert_eq!(s.snapshot().unwrap(), good, "a refused restore changes nothing");
        error
    };
    let missing = refused(|s| drop(s.params.remove("norm.weight")));
    assert_eq!(missing.code, "E0806");
    let unknown = refused(|s| {
        let weight = s.params.remove("head.linear.weight").unwrap();
        s.params.insert("head.linea.weight".into(), weight);
    });
    assert_eq!((unknown.code, unknown.help.as_deref()), ("E0807", Some("did you mean `head.linear.weight`?")));
    assert_eq!(refused(|s| s.params.get_mut("norm.weight").unwrap().shape = vec![2, 2]).code, "E0808");
    assert_eq!(refused(|s| s.params.get_mut("norm.weight").unwrap().data[1] = f64::NAN).code, "E0809");
    // Finite in f64, not in the session's f32.
    assert_eq!(refused(|s| s.params.get_mut("norm.weight").unwrap().data[1] = 1e300).code, "E0809");
    assert_eq!(refused(|s| drop(s.first.remove("norm.weight"))).code, "E0806");
    assert_eq!(refused(|s| s.second.get_mut("norm.weight").unwrap().data[0] = f64::INFINITY).code, "E0809");
}

#[test]
fn bad_carries() {
    let graph = mixed();
    let mut s = session(&graph, exact());
    let batch = random_batch(&graph, 2, 3);
    let good = s.forward(&batch, None).unwrap().carry;
    assert!(s.forward(&batch, Some(&good)).is_ok());
    let tensors = good.tensors();
    let mut refused = |change: &dyn Fn(&mut Tensors), what: &str| {
        let mut changed = tensors.clone().into_owned();
        change(&mut changed);
        assert_eq!(s.forward(&batch, Some(&changed.into())).unwrap_err().code, "E0811", "{what}");
    };
    for name in tensors.keys() {
        refused(&|t| drop(t.remove(name)), &format!("without {name}"));
        refused(&|t| t.get_mut(name).unwrap().shape.push(2), &format!("shape of {name}"));
        refused(&|t| t.get_mut(name).unwrap().data.truncate(0), &format!("length of {name}"));
    }
    for bad in [-1.0, 0.5, f64::NAN, 1e300, 100.0] {
        refused(&|t| t.get_mut("pos").unwrap().data[0] = bad, &format!("pos {bad}"));
    }
    assert_eq!(s.forward(&random_batch(&graph, 3, 3), Some(&good)).unwrap_err().code, "E0811");
    assert_eq!(s.forward(&batch, Some(&Carry::default())).unwrap_err().code, "E0811");
}

#[test]
fn every_code_is_explained_once() {
    let codes: Vec<&str> = CODES.iter().map(|c| c.code).collect();
    let source = include_str!("../../src/errors.rs");
    for code in &codes {
        assert!(source.contains(&format!("\"{code}\"")), "{code} is explained but never given");
    }
    for given in source.split("\"E08").skip(1) {
        let code = format!("E08{}", &given[..2]);
        assert_eq!(codes.iter().filter(|c| **c == code).count(), 1, "{code}");
    }
}
