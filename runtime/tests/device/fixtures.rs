//! Published designs and mixers of the literature, compared with the results of the original programs.

use crate::check::{distance, relative_rms};
use crate::programs::compiled;
use crate::{DTYPES, device};
use archc_runtime::{
    Batch, BatchShape, Device, Dtype, Objective, SessionOptions, Snapshot, Tensor, Tensors, read_tensors,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/fixtures", name].iter().collect()
}

/// The largest value of `error(have, want)` over outputs, and over gradients.
fn errors(name: &str, dtype: Dtype, error: fn(&Tensor, &Tensor) -> f64) -> (f64, f64) {
    let text = std::fs::read_to_string(fixture(&format!("{name}.arch"))).unwrap();
    let graph = compiled(name, &text, &[("D", 32), ("H", 2)]);
    let options = SessionOptions { dtype, ..Default::default() };
    let mut session = device().compile(&graph, BatchShape { batch: 2, len: 70 }, &options).unwrap();
    let params = read_tensors(&fixture(&format!("{name}.weights.safetensors"))).unwrap();
    session.restore(&Snapshot { params, ..Default::default() }).unwrap();
    let io = read_tensors(&fixture(&format!("{name}.io.safetensors"))).unwrap();
    let inputs: Tensors = [("x".to_string(), io["input"].clone())].into();
    let batch = Batch { batch: 2, len: 70, inputs, ..Default::default() };
    let forward = session.forward(&batch, None).unwrap();
    let r = [("output".to_string(), io["R"].clone())].into();
    let gradients = session.gradients(&batch, Objective::Cotangents(&r)).unwrap();
    let mut worst = error(&gradients.inputs["x"], &io["grad/input"]);
    let mut seen = 0;
    for (path, gradient) in &gradients.params {
        let e = error(gradient, &io[&format!("grad/{path}")]);
        assert!(e.is_finite(), "{path}");
        worst = worst.max(e);
        seen += 1;
    }
    assert_eq!(seen + 4, io.len(), "every gradient of the original is compared");
    (error(&forward.outputs["output"], &io["output"]), worst)
}

#[test]
fn published_designs_in_f64() {
    if !DTYPES.contains(&Dtype::F64) {
        return; // f32 is compared below
    }
    for name in ["adaptive_mix_gate", "content_aware_fusion"] {
        let (forward, gradients) = errors(name, Dtype::F64, distance);
        eprintln!("{name}: forward {forward:.1e}, gradients {gradients:.1e}");
        // Sums of some hundred terms in another order.
        assert!(forward < 1e-10 && gradients < 1e-10, "{name}: {forward} {gradients}");
    }
}

#[test]
fn published_designs_in_f32() {
    for name in ["adaptive_mix_gate", "content_aware_fusion"] {
        let (forward, gradients) = errors(name, Dtype::F32, relative_rms);
        eprintln!("{name}: forward {forward:.1e}, gradients {gradients:.1e}");
        // The design's bound on every f32 path.
        assert!(forward < 1e-5 && gradients < 1e-4, "{name}: {forward} {gradients}");
    }
}

/// The contents of `tests/fixtures/mixers/manifest.json`.
#[derive(Deserialize)]
struct Manifest {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// A block of the library; without one the case has its own program.
    block: Option<String>,
    set: BTreeMap<String, usize>,
    tolerance: f64,
    /// Parameters whose gradient has no reference, or no meaningful one.
    without: Vec<String>,
}

impl Case {
    /// The largest errors of the output and of a gradient, relative in the norm, and the name of the worst one.
    fn errors(&self) -> (f64, f64, String) {
        let file = |end: &str| fixture(&format!("mixers/{}.{end}", self.name));
        let text = match &self.block {
            Some(block) => format!("use std::mixers::{{{block}}}\n"),
            None => std::fs::read_to_string(file("arch")).unwrap(),
        };
        let sizes: Vec<(&str, usize)> = self.set.iter().map(|(name, size)| (name.as_str(), *size)).collect();
        let graph = compiled(&self.name, &text, &sizes);
        let io = read_tensors(&file("io.safetensors")).unwrap();
        let &[batch, len, ..] = io["input"].shape.as_slice() else { panic!("{}: no tokens", self.name) };
        let options = SessionOptions { dtype: Dtype::F64, ..Default::default() };
        let mut session = device().compile(&graph, BatchShape { batch, len }, &options).unwrap();
        let params = read_tensors(&file("weights.safetensors")).unwrap();
        session.restore(&Snapshot { params, ..Default::default() }).unwrap();
        let inputs: Tensors = [("x".to_string(), io["input"].clone())].into();
        let given = Batch { batch, len, inputs, ..Default::default() };
        let output = relative_rms(&session.forward(&given, None).unwrap().outputs["output"], &io["output"]);
        let r = [("output".to_string(), io["R"].clone())].into();
        let gradients = session.gradients(&given, Objective::Cotangents(&r)).unwrap();
        let mut worst = (relative_rms(&gradients.inputs["x"], &io["grad.input"]), "input".to_string());
        for (path, gradient) in gradients.params.iter().filter(|(path, _)| !self.without.contains(path)) {
            let e = relative_rms(gradient, &io[&format!("grad.{path}")]);
            if e.is_nan() || e > worst.0 {
                worst = (e, path.clone());
            }
        }
        (output, worst.0, worst.1)
    }
}

#[test]
fn mixers_give_the_numbers_of_the_literature_s_code() {
    if !DTYPES.contains(&Dtype::F64) {
        return; // the reference is compared here; f32 is compared with the reference elsewhere
    }
    let text = std::fs::read_to_string(fixture("mixers/manifest.json")).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in &manifest.cases {
        let (output, gradient, path) = case.errors();
        println!("{:40} output {output:.1e}, gradients {gradient:.1e} ({path})", case.name);
        if !(output < case.tolerance && gradient < case.tolerance) {
            wrong.push(format!("{}: output {output:.1e}, gradient of {path} {gradient:.1e}", case.name));
        }
    }
    assert!(manifest.cases.len() >= 17 && wrong.is_empty(), "{}", wrong.join("\n"));
}
