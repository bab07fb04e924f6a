//! Programs on which a device was once wrong, named by the fault: all devices against the reference.
//!
//! The first line of each gives its run: the batch in the syntax of `archc selftest --batch`, then sizes.

use archc_compiler::graph::Graph;
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Cpu, Device, Dtype, Objective, Reference, Session};
use archc_selftest::agree::errors;
use archc_selftest::batches::{cotangents, packed, random_batch};
use archc_selftest::battery::hold;
use archc_selftest::case::{Subject, round, session};
use archc_selftest::generate::Program;
use archc_selftest::pieces::in_pieces;
use archc_selftest::run::{graph, library};
use archc_selftest::setting::Setting;
use std::path::Path;
use std::sync::Arc;

/// The vocabulary of the models among them.
const VOCAB: usize = 7;

fn found() -> Vec<(String, Program, Setting)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/found");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut words = text.lines().next().unwrap().trim_start_matches("// ").split(' ');
        let setting = words.next().unwrap().parse().unwrap();
        let set = words.map(|w| w.split_once('=').unwrap()).map(|(n, size)| (n.into(), size.parse().unwrap()));
        let set = set.collect();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.push((name, Program { text, block: "Drawn".into(), set, vocab: VOCAB }, setting));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn holds(device: &dyn Device, dtype: Dtype) {
    let mut wrong = Vec::new();
    for (name, program, setting) in found() {
        let graph = graph(&program).unwrap_or_else(|e| panic!("{name}: {}", e[0].message));
        let outcome = hold(&Subject::new(device, dtype), &graph, &setting, dtype == Dtype::F64);
        assert!(!outcome.without_values, "{name} says nothing");
        wrong.extend(outcome.findings.iter().map(|f| format!("{name}: {f}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn on_the_cpu() {
    holds(&Cpu::default(), Dtype::F32);
}

#[test]
fn on_the_lowered_graph() {
    holds(&Interpreted::default(), Dtype::F64);
}

#[test]
fn on_the_reference() {
    holds(&Reference, Dtype::F32);
}

/// A block of the library, D = 16.
fn block(name: &str) -> Arc<Graph> {
    library().into_iter().find(|b| b.0 == name).unwrap().1
}

/// A session in which some parameters are shifted.
fn moved(device: &dyn Device, graph: &Arc<Graph>, dtype: Dtype, by: &[(&str, f64)]) -> Box<dyn Session> {
    let mut session = session(device, graph, dtype);
    let mut snapshot = session.snapshot().unwrap();
    for (path, by) in by {
        snapshot.params.get_mut(*path).unwrap().data.iter_mut().for_each(|x| *x += by);
    }
    session.restore(&snapshot).unwrap();
    session
}

#[test]
fn the_scalar_memory_does_not_depend_on_the_offset_of_its_input_gates() {
    let graph = block("SLSTM");
    let batch = packed(random_batch(&graph, 2, 20));
    let outputs = |offset: f64| {
        let mut session = moved(&Reference, &graph, Dtype::F64, &[("ix.linear.bias", offset)]);
        session.forward(&batch, None).unwrap().outputs
    };
    let wanted = outputs(0.0);
    for offset in [-60.0, -20.0, 20.0] {
        for (name, have) in outputs(offset) {
            // gates of 60 have an error of 1e-14
            let [_, top] = errors(&have, &wanted[&name], 0.0);
            assert!(top < 1e-12, "{offset}: {top:e}");
        }
    }
}

#[test]
fn gradients_of_the_matrix_memory_are_finite_at_any_gate() {
    let graph = block("MLSTM");
    let batch = packed(random_batch(&graph, 2, 40));
    for (i, f) in [(-100.0, -100.0), (-1e4, -100.0), (1e4, 0.0), (200.0, -1e3), (0.0, -1e4)] {
        let mut session = moved(&Cpu::default(), &graph, Dtype::F32, &[("i.linear.bias", i), ("f.linear.bias", f)]);
        let outputs = session.forward(&batch, None).unwrap().outputs;
        let got = session.gradients(&batch, Objective::Cotangents(&outputs)).unwrap();
        let mut numbers = outputs.values().chain(got.params.values()).chain(got.inputs.values()).flat_map(|t| &t.data);
        assert!(numbers.all(|x| x.is_finite()), "i {i}, f {f}");
    }
}

#[test]
fn windows_of_forgetting_attention_keep_their_digits_in_decoding() {
    let text = "block Drawn[K] {
        input q[K]
        input k[K]
        input f[]
        let c = running_sum(logsigmoid(f - 5))
        attend {
            where lag < 64
            score sum[K](q * past(k)) + c - past(c)
            emit o = past(k)
        }
        output o
    }";
    let program = Program { text: text.into(), block: "Drawn".into(), set: vec![("K".into(), 2)], vocab: VOCAB };
    let graph = graph(&program).unwrap();
    let batch = random_batch(&graph, 1, 2000);
    let mut session = session(&Cpu::default(), &graph, Dtype::F32);
    let whole = session.forward(&batch, None).unwrap().outputs;
    let ends: Vec<usize> = (1..=2000).collect();
    for (name, have) in in_pieces(&mut session, &batch, &ends).unwrap() {
        // the sum comes to -10,000: kept in f32 alone, its differences have an error of 1e-3
        let [square, _] = errors(&have, &whole[&name], 0.0);
        assert!(square < 1e-6, "{square:e}");
    }
}

/// The decay of each key, shifted so that a token keeps almost nothing.
#[test]
fn gradients_of_strong_key_decays_keep_their_digits() {
    for (name, path, by) in [
        ("GLA", "a.linear_2.bias", [0.0, -80.0, -270.0]),
        ("KDA", "dt_bias", [0.0, 3.0, 5.0]),
        ("RWKV6", "w_base", [0.0, 3.0, 5.0]),
    ] {
        let graph = block(name);
        let mut batch = packed(random_batch(&graph, 2, 130));
        round(&mut batch);
        for by in by {
            let mut cpu = moved(&Cpu::default(), &graph, Dtype::F32, &[(path, by)]);
            let mut reference = session(&Reference, &graph, Dtype::F64);
            reference.restore(&cpu.snapshot().unwrap()).unwrap();
            let r = cotangents(&reference.forward(&batch, None).unwrap());
            let [have, wanted] =
                [&mut cpu, &mut reference].map(|s| s.gradients(&batch, Objective::Cotangents(&r)).unwrap());
            for (of, have) in have.params.iter().chain(&have.inputs) {
                let wanted = wanted.params.get(of).unwrap_or_else(|| &wanted.inputs[of]);
                let [square, _] = errors(have, wanted, 0.0);
                // some hundred roundings; a gradient of the decay that included the pair of a token with itself lost two digits more
                assert!(square < 2e-5, "{name}, {path} moved by {by}, {of}: {square:.1e}");
            }
        }
    }
}
