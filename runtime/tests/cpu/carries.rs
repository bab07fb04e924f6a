//! Every device reads the carry of every other one: sequences that change the device in the middle.

use crate::agree::{Bounds, Class, Group, Noise, Quantity, Results, judge, named};
use crate::batches::{packed, random_batch};
use crate::case::session;
use crate::device;
use crate::pieces::piece;
use crate::whole::{all, each};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Device, Dtype, Forward, Reference, Tensor, Tensors};

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
