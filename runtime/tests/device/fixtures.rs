//! Two published designs against the numbers that the original programs gave.

use crate::check::{distance, relative_rms};
use crate::programs::compiled;
use crate::{DTYPES, device};
use archc_runtime::{
    Batch, BatchShape, Device, Dtype, Objective, SessionOptions, Snapshot, Tensor, Tensors, read_tensors,
};
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
        return; // f32 is held below
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
        // What the design asks of every f32 path.
        assert!(forward < 1e-5 && gradients < 1e-4, "{name}: {forward} {gradients}");
    }
}
