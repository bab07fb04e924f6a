//! What crosses the border of a session: f32 slices give the numbers of the same calls in f64, and a carry in a session's own
//! representation is the one that its named tensors are.

use crate::build::Build;
use crate::check::{cotangents, packed, random_batch, session};
use crate::decode::prefixed;
use crate::pieces::piece;
use crate::time::{all, scored, weighed};
use archc_compiler::graph::Graph;
use archc_runtime::{Batch, Carry, Dtype, Forward, Objective, Session, Snapshot, Tensor, Tensors, views};
use std::sync::Arc;

type Singles = Tensors<Vec<f32>>;

/// Tensors rounded to f32.
fn singles(tensors: &Tensors) -> Singles {
    let round = |t: &Tensor| Tensor { shape: t.shape.clone(), data: t.data.iter().map(|x| *x as f32).collect() };
    tensors.iter().map(|(name, t)| (name.clone(), round(t))).collect()
}

/// The same numbers in f64.
fn doubles(tensors: &Singles) -> Tensors {
    let exact =
        |t: &Tensor<Vec<f32>>| Tensor { shape: t.shape.clone(), data: t.data.iter().map(|x| f64::from(*x)).collect() };
    tensors.iter().map(|(name, t)| (name.clone(), exact(t))).collect()
}

/// A batch with these inputs.
fn with<'a>(batch: &Batch, inputs: &'a Singles) -> Batch<&'a [f32]> {
    Batch {
        batch: batch.batch,
        len: batch.len,
        inputs: views(inputs),
        tokens: batch.tokens.clone(),
        reset: batch.reset.clone(),
        targets: batch.targets.clone(),
        mask: batch.mask.clone(),
    }
}

/// The tensors have the same bits.
fn same(singles: &Singles, wanted: &Tensors, what: &str) {
    let bits = |t: &Tensors| -> Vec<(String, Vec<usize>, Vec<u64>)> {
        t.iter().map(|(n, t)| (n.clone(), t.shape.clone(), t.data.iter().map(|x| x.to_bits()).collect())).collect()
    };
    assert_eq!(bits(&doubles(singles)), bits(wanted), "{what}");
}

fn graphs() -> Vec<(&'static str, Arc<Graph>)> {
    [all(), vec![("prefixed", prefixed()), ("running sums", sums())]].concat()
}

/// A running sum, and a value from its past.
pub fn sums() -> Arc<Graph> {
    let mut g = Build::new();
    let d = g.axis("D", 3);
    let x = g.input("x", &[d]);
    let zero = g.number(0.0);
    let sum = g.scan(&[(&[d], zero)], &[x], |n, s, c| {
        let next = n.add(s[0], c[0]);
        (vec![next], vec![next])
    })[0];
    g.output(sum);
    g.done()
}

#[test]
fn f32_gives_the_numbers_of_f64() {
    for (name, graph) in graphs() {
        for batch in [random_batch(&graph, 2, 7), packed(random_batch(&graph, 2, 7))] {
            let (mut double, mut single) = (session(&graph, Dtype::F32), session(&graph, Dtype::F32));
            let (mut by_double, mut by_single) = (None, None);
            for times in [0..4, 4..5, 5..7] {
                let mut piece = piece(&batch, times);
                let inputs = singles(&piece.inputs);
                piece.inputs = doubles(&inputs);
                let wanted = double.advance(&piece, &mut by_double).unwrap();
                same(&single.advance_f32(&with(&piece, &inputs), &mut by_single).unwrap(), &wanted, name);
                assert_eq!(by_single, by_double, "{name}");
            }

            let mut batch = batch;
            let inputs = singles(&batch.inputs);
            batch.inputs = doubles(&inputs);
            let r = singles(&cotangents(&double.forward(&batch, None).unwrap()));
            let wanted = double.gradients(&batch, Objective::Cotangents(&doubles(&r))).unwrap();
            let r = views(&r);
            let have = single.gradients_f32(&with(&batch, &inputs), Objective::Cotangents(&r)).unwrap();
            assert_eq!(have.objective.to_bits(), wanted.objective.to_bits(), "{name}");
            same(&have.params, &wanted.params, name);
            same(&have.inputs, &wanted.inputs, name);
            if graph.has_objective() {
                let wanted = double.gradients(&batch, Objective::Loss).unwrap();
                let have = single.gradients_f32(&with(&batch, &inputs), Objective::Loss).unwrap();
                assert_eq!(have.objective.to_bits(), wanted.objective.to_bits(), "{name}");
                same(&have.params, &wanted.params, name);
                double.step(&batch, 0.1).unwrap();
                single.step(&batch, 0.1).unwrap();
            }

            let wanted = double.snapshot().unwrap();
            let Snapshot { params, first, second, step } = single.snapshot_f32().unwrap();
            same(&params, &wanted.params, name);
            same(&first, &wanted.first, name);
            same(&second, &wanted.second, name);
            assert_eq!(step, wanted.step, "{name}");
            let mut moved = params;
            moved.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = 0.5 * *x + 0.01);
            double.restore(&Snapshot { params: doubles(&moved), step: 3, ..Default::default() }).unwrap();
            single.restore_f32(&Snapshot { params: views(&moved), step: 3, ..Default::default() }).unwrap();
            assert_eq!(single.snapshot().unwrap(), double.snapshot().unwrap(), "{name}");
        }
    }
}

#[test]
fn f32_is_refused_like_f64() {
    let graph = sums();
    let mut s = session(&graph, Dtype::F32);
    let mut batch = random_batch(&graph, 1, 2);
    let mut carry = None;
    for change in [|x: &mut Vec<f64>| x[1] = f64::NAN, |x: &mut Vec<f64>| x.truncate(1)] {
        change(&mut batch.inputs.get_mut("x").unwrap().data);
        let wanted = s.advance(&batch, &mut carry).unwrap_err();
        let inputs = singles(&batch.inputs);
        let have = s.advance_f32(&with(&batch, &inputs), &mut carry).unwrap_err();
        assert_eq!((have.code, have.message), (wanted.code, wanted.message));
        assert_eq!(carry, None);
    }
    let unknown = singles(&unknown().params);
    let unknown_f32 = Snapshot { params: views(&unknown), ..Default::default() };
    assert_eq!(s.restore_f32(&unknown_f32).unwrap_err().code, s.restore(&self::unknown()).unwrap_err().code);
}

/// A snapshot with a parameter that no program here has.
fn unknown() -> Snapshot {
    let params = [("w".into(), Tensor { shape: vec![], data: vec![0.0] })].into();
    Snapshot { params, ..Default::default() }
}

/// A carry that continues in the session's own representation, and one that passes through its named tensors after every token.
#[test]
fn a_carry_is_its_tensors() {
    for (name, graph) in graphs() {
        for batch in [random_batch(&graph, 2, 12), packed(random_batch(&graph, 2, 12))] {
            by_token(name, &graph, &batch);
        }
    }
}

/// Over more tokens than there is room for at first.
#[test]
fn a_long_carry_is_its_tensors() {
    for (name, graph) in
        [("scored", scored(None, false)), ("in a window", scored(Some(70.0), true)), ("weighed", weighed())]
    {
        by_token(name, &graph, &random_batch(&graph, 2, 140));
    }
}

fn by_token(name: &str, graph: &Arc<Graph>, batch: &Batch) {
    let mut s = session(graph, Dtype::F32);
    let (mut own, mut named): (Option<Carry>, Option<Carry>) = (None, None);
    for t in 0..batch.len {
        let token = piece(batch, t..t + 1);
        let before = own.clone();
        let outputs = s.advance(&token, &mut own).unwrap();
        assert_eq!(s.advance(&token, &mut named).unwrap(), outputs, "{name} at {t}");
        let Forward { outputs: again, carry } = s.forward(&token, before.as_ref()).unwrap();
        assert_eq!(again, outputs, "{name} at {t}");
        let tensors = named.unwrap().tensors().into_owned();
        assert_eq!(*own.as_ref().unwrap().tensors(), tensors, "{name} at {t}");
        assert_eq!(*carry.tensors(), tensors, "{name} at {t}");
        named = Some(tensors.into());
    }
}

/// A carry in another session's representation is as good as its tensors, and is refused like them.
#[test]
fn a_carry_goes_to_another_session() {
    for (name, graph) in graphs() {
        let batch = random_batch(&graph, 2, 9);
        let (mut one, mut other) = (session(&graph, Dtype::F32), session(&graph, Dtype::F32));
        let mut whole: Box<dyn Session> = session(&graph, Dtype::F32);
        let (mut carry, mut wanted) = (None, None);
        for (i, times) in [0..6, 6..7, 7..8, 8..9].into_iter().enumerate() {
            let piece = piece(&batch, times);
            let s = if i % 2 == 0 { &mut one } else { &mut other };
            let outputs = s.advance(&piece, &mut carry).unwrap();
            assert_eq!(outputs, whole.advance(&piece, &mut wanted).unwrap(), "{name}");
        }
        assert_eq!(carry, wanted, "{name}");
        // three sequences instead of two, and another program
        let before = carry.clone();
        assert_eq!(one.advance(&random_batch(&graph, 3, 1), &mut carry).unwrap_err().code, "E0811", "{name}");
        for (_, foreign) in graphs().into_iter().filter(|g| g.0 != name) {
            let mut s = session(&foreign, Dtype::F32);
            match s.advance(&random_batch(&foreign, 2, 1), &mut carry) {
                Ok(_) => carry = before.clone(),
                Err(e) => assert_eq!(e.code, "E0811", "{name}"),
            }
            assert_eq!(carry, before, "{name}");
        }
    }
}
