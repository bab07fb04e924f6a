//! `archc bench compile`: time from source text to a session that is ready to train, by stage.
//!
//! The stages up to the check are called as the driver calls them, except for a verifier that debug builds add; then a session is created
//! (initial values of parameters) and prepared for its first step, as on every device. The stages that a compiling device runs for that
//! (lower, gradient, recompute, plan, verify) are also called individually, so that their shares can be shown: `program` is the remainder,
//! preparation of kernels and of their memory. The total counts nothing twice. Each block is compiled like a user's own file, inside the
//! standard stack, for a batch shape. The library's files are read once per process; that cost is printed separately, since one block pays
//! it for all.

use super::measure::{Clock, Timing};
use super::model::{Item, Shape, blocks, options, shape};
use crate::device::{self, DeviceName};
use crate::output::{Done, Output, Stop};
use archc_compiler::checks::check;
use archc_compiler::diag::Diagnostic;
use archc_compiler::elaborate::elaborate;
use archc_compiler::graph::{Graph, verify};
use archc_compiler::hir::Library;
use archc_compiler::lowered;
use archc_compiler::source::SourceMap;
use archc_compiler::{COST_TOKENS, Purpose, Target, plan_for, targets};
use archc_runtime::{BatchShape, SessionOptions};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// Milliseconds from source text to ready-to-train, for every block of the standard library
#[derive(clap::Args)]
pub struct Args {
    /// Blocks and models of the standard library [default: all]
    #[arg(long, value_name = "NAME")]
    block: Vec<String>,
    /// Width, layers, tokens a sequence, sequences
    #[arg(long, value_name = "D,L,T,B", default_value = "64,2,512,4", value_parser = shape, allow_hyphen_values = true)]
    shape: Shape,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    vocab: u32,
    /// What it is made ready for
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Compilations of each block
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Which time counts: wall, or on a busy machine cpu
    #[arg(long, value_name = "CLOCK", default_value = "wall", hide_possible_values = true)]
    clock: Clock,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Limit on the total time for any block of the library, in milliseconds.
const PROMISED: f64 = 20.0;

const STAGES: [&str; 11] =
    ["parse", "resolve", "elaborate", "check", "values", "lower", "gradient", "recompute", "plan", "verify", "program"];

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let mut items = blocks();
    for name in &args.block {
        if !items.iter().any(|item| item.name == *name) {
            return Err(Diagnostic::error("E0848", format!("the standard library has no block `{name}`"))
                .help("`archc bench compile` without --block lists all")
                .into());
        }
    }
    items.retain(|item| args.block.is_empty() || args.block.contains(&item.name));
    let (first, cold) = args.clock.time(|| once(&items[0], args));
    first?;
    let warm = once(&items[0], args)?.iter().sum::<f64>();
    if !quiet {
        let Shape { width, layers, len, batch } = args.shape;
        output.text(&format!(
            "D={width}, {layers} layers, T={len}, B={batch}, for the device {}; median milliseconds ({} time) of {} rounds\n\
             reading the library, once a process: {:.1} ms\n{}",
            args.device.name(),
            args.clock.word(),
            args.rounds,
            (cold - warm).max(0.0) * 1e3,
            heading()
        ))?;
    }
    let mut rows = Vec::new();
    let mut over = 0;
    for item in &items {
        let rounds: Vec<[f64; STAGES.len()]> = (0..args.rounds).map(|_| once(item, args)).collect::<Result<_, _>>()?;
        let stages: Vec<Timing> =
            (0..STAGES.len()).map(|s| Timing::of(rounds.iter().map(|r| r[s] * 1e3).collect())).collect();
        let total = Timing::of(rounds.iter().map(|r| r.iter().sum::<f64>() * 1e3).collect());
        over += usize::from(total.median > PROMISED);
        if !quiet {
            output.text(&text(&item.name, &stages, &total))?;
        }
        let row = json(&item.name, &stages, &total);
        output.object("bench_row", row.clone())?;
        rows.push(row);
    }
    if args.json {
        output.raw(&format!("{}\n", json!({ "device": args.device.name(), "promised_ms": PROMISED, "rows": rows })))?;
    } else {
        output.text(&match over {
            0 => format!("all {} are ready within {PROMISED} ms\n", items.len()),
            n => format!("{n} of {} take longer than {PROMISED} ms\n", items.len()),
        })?;
    }
    Ok(0)
}

/// Compiles once; returns the seconds of each stage.
fn once(item: &Item, args: &Args) -> Result<[f64; STAGES.len()], Stop> {
    let options = options(args.shape, args.vocab as usize);
    let mut at = args.clock.now();
    let mut lap = || {
        let before = std::mem::replace(&mut at, args.clock.now());
        at - before
    };
    let refused = |findings: Vec<Diagnostic>| Stop::Findings(findings, Box::default());
    drop(archc_grammar::parse(&item.text));
    let parse = lap();
    let mut sources = SourceMap::new();
    let file = sources.add(format!("{}.arch", item.name), item.text.as_str());
    let (library, findings) = Library::load(&sources, file);
    // Loading parses a second time.
    let resolve = (lap() - parse).max(0.0);
    let module = library.user_module(file).ok_or_else(|| refused(findings))?;
    let target = targets(&module)[0];
    let elaborated = elaborate(&library, target, &options.sizes);
    let graph = elaborated.graph.ok_or_else(|| refused(elaborated.diagnostics))?;
    if let Err(problem) = verify(&graph) {
        panic!("archc bug: elaborate made an invalid graph: {problem}");
    }
    let elaborate = lap();
    let graph = Arc::new(check(&graph, COST_TOKENS).graph);
    let check = lap();
    args.device.holds(&graph, args.shape.tokens())?;
    let shape = BatchShape { batch: args.shape.batch, len: args.shape.len };
    lap();
    let purpose = Purpose::training(&graph, Target::cpu(), shape.len);
    let whole = lowered::Shape { batch: shape.batch, len: shape.len, carried: 0 };
    let mut laps = Vec::new();
    drop(plan_for(&graph, &purpose, whole, &mut |_| laps.push(lap())));
    let [lower, gradient, recompute, planned, verified] = laps[..] else {
        panic!("archc bug: a training step has five stages")
    };
    // a copy knows nothing of what the stages found out about the graph
    let graph = Arc::new(Graph::clone(&graph));
    lap();
    let mut session = args.device.device().compile(&graph, shape, &SessionOptions::default())?;
    let values = lap();
    session.prepare(shape)?;
    let ready = lap();
    // a device that compiles nothing is ready immediately
    let parts = if ready < planned { [0.0; 5] } else { [lower, gradient, recompute, planned, verified] };
    let program = (ready - parts.iter().sum::<f64>()).max(0.0);
    let [lower, gradient, recompute, planned, verified] = parts;
    Ok([parse, resolve, elaborate, check, values, lower, gradient, recompute, planned, verified, program])
}

fn heading() -> String {
    let mut text = format!("{:<24}", "block");
    for stage in STAGES {
        let _ = write!(text, "{stage:>10}");
    }
    let _ = writeln!(text, "{:>9}{:>9}", "total", "fastest");
    text
}

fn text(name: &str, stages: &[Timing], total: &Timing) -> String {
    let mut text = format!("{name:<24}");
    for stage in stages {
        let _ = write!(text, "{:>10.2}", stage.median);
    }
    let late = if total.median > PROMISED { "  over" } else { "" };
    let _ = writeln!(text, "{:>9.2}{:>9.2}{late}", total.median, total.fastest);
    text
}

fn json(name: &str, stages: &[Timing], total: &Timing) -> Value {
    let ms = |t: &Timing| json!({ "median_ms": t.median, "fastest_ms": t.fastest });
    let stages: serde_json::Map<String, Value> =
        STAGES.iter().zip(stages).map(|(name, t)| ((*name).to_owned(), ms(t))).collect();
    json!({ "block": name, "stages": stages, "total": ms(total) })
}
