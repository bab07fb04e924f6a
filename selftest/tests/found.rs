//! Programs on which a device was wrong once, by what was wrong: all devices against the reference.
//!
//! The first line of each says how it runs: the batch as `archc selftest --batch` takes it, then sizes.

use archc_runtime::compiled::Interpreted;
use archc_runtime::{Cpu, Device, Dtype, Reference};
use archc_selftest::agree::Subject;
use archc_selftest::battery::hold;
use archc_selftest::generate::Program;
use archc_selftest::run::graph;
use archc_selftest::setting::Setting;
use std::path::Path;

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
