//! Seconds per training step of a block in the standard stack:
//! `cargo run --release -p archc-runtime --example steps -- seeds/delta_net.arch D LAYERS TOKENS BATCH`.

use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use archc_runtime::{Batch, BatchShape, Device, Reference, SessionOptions};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    archc_runtime::keep_to_one_thread();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, sizes @ ..] = arguments.as_slice() else { return Err("which program?".into()) };
    let sizes: Vec<usize> = sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let [d, layers, len, batch] = sizes[..] else { return Err("D LAYERS TOKENS BATCH".into()) };
    let mut sources = SourceMap::new();
    let file = sources.add(path.as_str(), std::fs::read_to_string(path)?);
    let mut options = Options::default();
    options.sizes.set.insert("D".into(), d as f64);
    options.sizes.layers = Some(layers);
    options.sizes.vocab = 64;
    let graph = compile(&sources, file, &options).into_graph().map_err(|d| format!("{d:?}"))?;
    let graph = Arc::new(graph);
    let mut session =
        Reference.compile(&graph, BatchShape { batch, len }, &SessionOptions::default()).map_err(|d| d.message)?;
    let ids = |salt: usize| (0..batch * len).map(|i| ((i * 7919 + salt) % 64) as u32).collect();
    let tokens = Batch { batch, len, tokens: ids(0), targets: ids(7919), ..Default::default() };
    let mut times = Vec::new();
    for _ in 0..12 {
        let start = Instant::now();
        session.step(&tokens, 1e-3).map_err(|d| d.message)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("{} parameters, {:.4} s a step (median), {:.4} s at best", graph.param_count(), times[6], times[0]);
    Ok(())
}
