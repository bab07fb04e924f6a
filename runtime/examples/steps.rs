//! Seconds per training step of a block in the standard stack, and the device's error relative to the reference in f64:
//! `cargo run --release -p archc-runtime --example steps -- FILE BLOCK D LAYERS TOKENS BATCH DEVICE [compare]`.

use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Batch, BatchShape, Cpu, Device, Dtype, Objective, Reference, Session, SessionOptions};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    archc_runtime::keep_to_one_thread();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, block, sizes @ .., device, compare] = arguments.as_slice() else { return Err("which program?".into()) };
    let sizes: Vec<usize> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let [d, layers, len, batch] = sizes[..] else { return Err("D LAYERS TOKENS BATCH".into()) };
    let mut sources = SourceMap::new();
    let file = sources.add(path.as_str(), std::fs::read_to_string(path)?);
    let mut options = Options { block: Some(block.clone()), ..Options::default() };
    options.sizes.set.insert("D".into(), d as f64);
    options.sizes.layers = Some(layers);
    options.sizes.vocab = 64;
    let graph = compile(&sources, file, &options).into_graph().map_err(|d| format!("{d:?}"))?;
    let graph = Arc::new(graph);
    let shape = BatchShape { batch, len };
    let device: Box<dyn Device> = match device.as_str() {
        "cpu" => Box::new(Cpu::default()),
        "cpu16" => Box::new(Cpu { chunk: 16 }),
        "cpu32" => Box::new(Cpu { chunk: 32 }),
        "lowered" => Box::new(Interpreted::default()),
        _ => Box::new(Reference),
    };
    let ids = |salt: usize| (0..batch * len).map(|i| ((i * 7919 + i / 3 + salt) % 64) as u32).collect();
    let tokens = Batch { batch, len, tokens: ids(0), targets: ids(7919), ..Default::default() };
    if compare.starts_with("profile") {
        let mut session = Cpu::default().session(&graph, &SessionOptions::default()).map_err(|d| d.message)?;
        session.step(&tokens, 1e-3).map_err(|d| d.message)?;
        session.executor_mut().profile = Some(archc_runtime::cpu::Profile::new(compare == "profile-each"));
        let start = Instant::now();
        for _ in 0..10 {
            session.step(&tokens, 1e-3).map_err(|d| d.message)?;
        }
        println!("{:.3} ms a step", start.elapsed().as_secs_f64() * 100.0);
        for (inside, kind, seconds, calls) in session.executor().profile.iter().flat_map(|p| p.totals()) {
            let place = if inside { "inside" } else { "" };
            println!("{:8.3} ms {:6} calls {place:7} {kind}", seconds * 100.0, calls / 10);
        }
        return Ok(());
    }
    let start = Instant::now();
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(1);
    let mut session = device
        .compile(&graph, shape, &SessionOptions { threads, ..SessionOptions::default() })
        .map_err(|d| d.message)?;
    if compare == "compare" {
        let mut exact = Reference
            .compile(&graph, shape, &SessionOptions { dtype: Dtype::F64, ..SessionOptions::default() })
            .map_err(|d| d.message)?;
        let (a, b) = (session.forward(&tokens, None), exact.forward(&tokens, None));
        let (a, b) = (a.map_err(|d| d.message)?, b.map_err(|d| d.message)?);
        for (name, x) in &a.outputs {
            println!("{name:40} {:.2e}", error(&x.data, &b.outputs[name].data));
        }
        let a = session.gradients(&tokens, Objective::Loss).map_err(|d| d.message)?;
        let b = exact.gradients(&tokens, Objective::Loss).map_err(|d| d.message)?;
        println!("objective {} {}", a.objective, b.objective);
        for (name, x) in &a.params {
            println!("{name:40} {:.2e}", error(&x.data, &b.params[name].data));
        }
        return Ok(());
    }
    session.step(&tokens, 1e-3).map_err(|d| d.message)?;
    println!("compiled and first step {:.4} s", start.elapsed().as_secs_f64());
    // the rate of a product that stays in cache is measured beside each step: the machine's speed changes while others use it
    let (mut times, mut worth) = (Vec::new(), Vec::new());
    let mut before = rate();
    for _ in 0..std::env::var("STEPS").ok().and_then(|s| s.parse().ok()).unwrap_or(40) {
        let start = Instant::now();
        session.step(&tokens, 1e-3).map_err(|d| d.message)?;
        let seconds = start.elapsed().as_secs_f64();
        let after = rate();
        times.push(seconds);
        worth.push(seconds * (before + after) / 2.0);
        before = after;
    }
    for list in [&mut times, &mut worth] {
        list.sort_by(f64::total_cmp);
    }
    println!(
        "{} parameters, {:.3} ms a step (median), {:.3} ms at best; worth {:.2} Mflop of matrix product (median), {:.2} at best",
        graph.param_count(),
        times[times.len() / 2] * 1e3,
        times[0] * 1e3,
        worth[worth.len() / 2] / 1e6,
        worth[worth.len() / 10] / 1e6
    );
    Ok(())
}

/// Operations per second of a small matrix product.
fn rate() -> f64 {
    if std::env::var_os("BARE").is_some() {
        return 1.0;
    }
    const N: usize = 96;
    let (a, b) = ([0.5f32; N * N], [0.25f32; N * N]);
    let mut c = [0.0f32; N * N];
    let start = Instant::now();
    for _ in 0..20 {
        archc_kernels::gemm::multiply((N, N, N), (&a, false), (&b, false), &mut c);
    }
    20.0 * 2.0 * (N * N * N) as f64 / start.elapsed().as_secs_f64()
}

/// Root mean square of the difference relative to that of the reference values `b`.
fn error(a: &[f64], b: &[f64]) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    (square / b.iter().map(|y| y * y).sum::<f64>().max(1e-300)).sqrt()
}
