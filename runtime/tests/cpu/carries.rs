//! Every device reads the carry of every other one: sequences that change the device in the middle.

use crate::agree::{Bounds, Class, Group, Noise, Quantity, Results, judge, named};
use crate::batches::{packed, random_batch};
use crate::border::sums;
use crate::case::session;
use crate::check::{distance, within};
use crate::device;
use crate::pieces::{in_pieces, piece};
use crate::time;
use crate::whole::{all, each};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Batch, Carry, Device, Dtype, Forward, Reference, Tensor, Tensors};

const LEN: usize = 24;
/// Long enough to run in chunks; the rest runs token by token.
const CUT: usize = 17;

/// The tokens from the cut on.
fn tail(outputs: &Tensors) -> Tensors {
    let of = |t: &Tensor| {
        let token: usize = t.shape[2..].iter().product();
        let rows = t.data.chunks_exact(LEN * token).flat_map(|row| row[CUT * token..].to_vec()).collect();
        Tensor { shape: [&[t.shape[0], LEN - CUT], &t.shape[2..]].concat(), data: rows }
    };
    outputs.iter().map(|(name, t)| (name.clone(), of(t))).collect()
}

fn outputs(tensors: Tensors) -> Results {
    vec![Group::new(Class::Forward, tensors, Quantity::Output)]
}

#[test]
fn sequences_change_the_device() {
    let (cpu, interpreted) = (device(), Interpreted::default());
    let devices: [(&dyn Device, Dtype); 3] = [(&Reference, Dtype::F64), (&interpreted, Dtype::F64), (&cpu, Dtype::F32)];
    each(&all(), |_, graph| {
        let mut found = Vec::new();
        let params = session(&cpu, graph, Dtype::F32).snapshot().unwrap();
        for batch in [random_batch(graph, 2, LEN), packed(random_batch(graph, 2, LEN))] {
            let mut sessions: Vec<_> = devices.iter().map(|(d, dtype)| session(*d, graph, *dtype)).collect();
            sessions.iter_mut().for_each(|s| s.restore(&params).unwrap());
            let wanted = tail(&sessions[0].forward(&batch, None).unwrap().outputs);
            let head = piece(&batch, 0..CUT);
            let heads: Vec<Forward> = sessions.iter_mut().map(|s| s.forward(&head, None).unwrap()).collect();
            for (from, head) in heads.iter().enumerate() {
                for (to, second) in sessions.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                    let [from, to] = [from, to].map(|d| devices[d].0.name());
                    match second.forward(&piece(&batch, CUT..LEN), Some(&head.carry)) {
                        Ok(done) => {
                            let exact = from != "cpu" && to != "cpu";
                            let bounds = if exact { Bounds::F64 } else { Bounds::F32 };
                            let verdict =
                                judge(&outputs(done.outputs), &outputs(wanted.clone()), &bounds, Noise::default);
                            found.extend(named(verdict.findings, &format!("from {from} to {to}")));
                        }
                        Err(e) => panic!("from {from} to {to}: {}", e.message),
                    }
                }
            }
        }
        found
    });
}

/// Decodes on another device for every token, with the carry that the one before left.
#[test]
fn every_token_changes_the_device() {
    let (cpu, interpreted) = (device(), Interpreted::default());
    let devices: [(&dyn Device, Dtype); 3] = [(&cpu, Dtype::F32), (&interpreted, Dtype::F64), (&Reference, Dtype::F64)];
    for (name, graph) in [time::all(), vec![("running sums", sums())]].concat() {
        let batch = random_batch(&graph, 2, 12);
        let params = session(&cpu, &graph, Dtype::F32).snapshot().unwrap();
        let mut sessions: Vec<_> = devices.iter().map(|(d, dtype)| session(*d, &graph, *dtype)).collect();
        sessions.iter_mut().for_each(|s| s.restore(&params).unwrap());
        let wanted = in_pieces(&mut sessions[2], &batch, &[12]).unwrap();
        let mut carry = None;
        for t in 0..batch.len {
            let outputs = sessions[t % 3].advance(&piece(&batch, t..t + 1), &mut carry).unwrap();
            for (output, have) in outputs {
                let want = piece(&Batch { inputs: wanted.clone(), ..batch.clone() }, t..t + 1);
                assert!(distance(&have, &want.inputs[&output]) < within(1e-13), "{name} {output} at {t}");
            }
        }
    }
}

/// A carry that stays on the device has the bits of one that passes through its named tensors, in every shipped program.
#[test]
fn carries_of_programs_are_their_tensors() {
    each(&all(), |_, graph| {
        let mut s = session(&device(), graph, Dtype::F32);
        let batch = packed(random_batch(graph, 2, 12));
        let (mut own, mut named): (Option<Carry>, Option<Carry>) = (None, None);
        for times in [0..9, 9..10, 10..11, 11..12] {
            let piece = piece(&batch, times);
            let outputs = s.advance(&piece, &mut own).unwrap();
            assert_eq!(s.advance(&piece, &mut named).unwrap(), outputs);
            let tensors = named.unwrap().tensors().into_owned();
            assert_eq!(*own.as_ref().unwrap().tensors(), tensors);
            named = Some(tensors.into());
        }
        Vec::new()
    });
}

/// The low part of a running sum stays on the device: its carry has more digits than an f32.
#[test]
fn sums_keep_both_parts() {
    let graph = sums();
    let batch = random_batch(&graph, 2, 200);
    let (mut s, mut carry) = (session(&device(), &graph, Dtype::F32), None);
    for t in 0..batch.len {
        s.advance(&piece(&batch, t..t + 1), &mut carry).unwrap();
    }
    let tensors = carry.unwrap().tensors().into_owned();
    let sum = &tensors.iter().find(|(name, _)| name.starts_with("scan")).unwrap().1.data;
    let x = &batch.inputs["x"].data;
    for (i, have) in sum.iter().enumerate() {
        let terms = x[i / 3 * 600..(i / 3 + 1) * 600].iter().skip(i % 3).step_by(3);
        let want: f64 = terms.map(|x| f64::from(*x as f32)).sum();
        assert!((have - want).abs() < 1e-12, "{have}, not {want}");
    }
}
