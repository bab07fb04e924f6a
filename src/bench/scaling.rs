//! `archc bench scaling`: whether the time per token stays constant as sequences grow, and memory within the plan.
//!
//! Each length runs in a process of its own, so that the system's high-water mark of resident memory belongs to one session, after
//! a small one that has been dropped by then. The session's addition to the process memory is compared with the prediction of the
//! plan, made before anything ran.

use super::measure::{Steps, steps, time};
use super::model::{Shape, Stack};
use crate::output::{Done, Output, Stop};
use archc_compiler::checks::TimeClass;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{BatchShape, SessionOptions};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::{Command, Stdio};

/// Time of a token and memory, as sequences grow
#[derive(clap::Args)]
#[command(after_help = "\
Time of a token: of a whole training step, divided by its tokens, and beside it how it grew since the shortest
sequences. Process: resident memory of a process that has compiled and run a narrow model of as many layers: code, the
compiler's own memory, work space of kernels. Peak: what the session then adds to it at most, and beside it the plan's
own prediction.

Examples:
  archc bench scaling
  archc bench scaling --block GLA --block Attention --len 512 --len 4096")]
pub struct Args {
    /// Blocks of the standard library [default: those of the eight of `bench train` that cost O(T)]
    #[arg(long, value_name = "NAME")]
    block: Vec<String>,
    /// Tokens a sequence [default: 512, 1024, 2048, 4096, 8192]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    len: Vec<u32>,
    #[command(flatten)]
    stack: Stack,
    /// How long each is timed
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = super::train::seconds)]
    seconds: f64,
    /// Measure one length in this process; what the command starts for each
    #[arg(long, hide = true)]
    one: bool,
}

const BLOCKS: [&str; 7] = ["GLA", "DeltaNet", "GatedDeltaNet", "KDA", "MLSTM", "RGLRU", "ContentSharpRouter"];
const LENGTHS: [u32; 5] = [512, 1024, 2048, 4096, 8192];

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    if args.one {
        return one(args, output);
    }
    let quiet = args.stack.json || output.is_json();
    let blocks: Vec<&str> =
        if args.block.is_empty() { BLOCKS.to_vec() } else { args.block.iter().map(String::as_str).collect() };
    let lengths = if args.len.is_empty() { LENGTHS.to_vec() } else { args.len.clone() };
    for block in &blocks {
        for len in &lengths {
            args.stack.build(block, args.stack.shape(*len as usize), output)?;
        }
    }
    if !quiet {
        output.text(&format!(
            "{}\n{:<19}{:>7}{:>8}{:>12}{:>7}{:>12}{:>12}{:>12}{:>7}\n",
            args.stack.heading(),
            "block",
            "class",
            "T",
            "a token",
            "",
            "process",
            "peak",
            "plan",
            ""
        ))?;
    }
    let mut rows = Vec::new();
    for block in &blocks {
        let mut first = None;
        for len in &lengths {
            let row = child(args, block, *len)?;
            let seconds = row["token_seconds"].as_f64().unwrap_or(f64::NAN);
            let base = *first.get_or_insert(seconds);
            if !quiet {
                output.text(&text(block, *len, &row, seconds / base))?;
            }
            output.object("bench_row", row.clone())?;
            rows.push(row);
        }
    }
    if args.stack.json {
        output.raw(&format!("{}\n", json!({ "device": args.stack.device.name(), "rows": rows })))?;
    }
    Ok(0)
}

/// Runs the same command for one block and length in a process of its own.
fn child(args: &Args, block: &str, len: u32) -> Result<Value, Stop> {
    let failed = |why: String| {
        Diagnostic::error("E0849", format!("measuring {block} at T={len} failed: {why}"))
            .help("the same command with --block and --len alone shows more")
    };
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let answer = Command::new(program)
        .args(["bench", "scaling", "--one", "--block", block, "--len", &len.to_string()])
        .args(["--width", &args.stack.width.to_string(), "--layers", &args.stack.layers.to_string()])
        .args(["--batch", &args.stack.batch.to_string(), "--vocab", &args.stack.vocab.to_string()])
        .args(["--device", args.stack.device.name(), "--seconds", &args.seconds.to_string()])
        .args(["--clock", args.stack.clock.word()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if !answer.status.success() {
        return Err(failed(format!("it ended with {}", answer.status)).into());
    }
    serde_json::from_slice(&answer.stdout).map_err(|e| failed(e.to_string()).into())
}

fn one(args: &Args, output: &Output) -> Done {
    let (Some(block), Some(len)) = (args.block.first(), args.len.first()) else {
        return Err(Diagnostic::error("E0849", "--one measures one --block at one --len")
            .help("leave --one out")
            .into());
    };
    let shape = args.stack.shape(*len as usize);
    let (graph, cost) = args.stack.build(block, shape, output)?;
    let batch = args.stack.tokens(shape);
    let options = SessionOptions::default();
    settle(args, block, &options, output)?;
    let before = resident("VmRSS");
    let mut session =
        args.stack.device.device().compile(&graph, BatchShape { batch: shape.batch, len: shape.len }, &options)?;
    let Steps { first, timing, .. } = steps(session.as_mut(), &batch, args.seconds, args.stack.clock)?;
    let memory = session.memory();
    let peak = resident("VmHWM").zip(before).map(|(most, before)| most.saturating_sub(before));
    let class = match cost.time {
        TimeClass::Linear => "O(T)",
        TimeClass::Windowed(_) => "O(T w)",
        TimeClass::Quadratic => "O(T^2)",
    };
    let row = json!({
        "block": block, "class": class, "len": len, "batch": shape.batch, "step": timing.json(), "loss": first.loss,
        "token_seconds": timing.median / shape.tokens() as f64, "process_bytes": before, "peak_bytes": peak,
        "planned_bytes": memory.map(|m| m.planned), "allocated_bytes": memory.map(|m| m.allocated),
    });
    output.raw(&format!("{row}\n"))?;
    Ok(0)
}

/// Runs a narrow model with the same number of layers first, so that one-time allocations of any session do not count as memory of
/// the measured one: code, memory of the compiler, work space of kernels.
fn settle(args: &Args, block: &str, options: &SessionOptions, output: &Output) -> Result<(), Stop> {
    let least = |n: u32, most: u32| n.min(most) as usize;
    let len = args.len.first().copied().unwrap_or(1);
    let small = Shape {
        width: least(args.stack.width, 16),
        layers: usize::from(args.stack.layers),
        len: least(len, 64),
        batch: 1,
    };
    let (graph, _) = args.stack.build(block, small, output)?;
    let batch = args.stack.tokens(small);
    let shape = BatchShape { batch: small.batch, len: small.len };
    let mut session = args.stack.device.device().compile(&graph, shape, options)?;
    steps(session.as_mut(), &batch, 0.0, args.stack.clock)?;
    Ok(())
}

/// Field of this process's status in bytes, if the system provides it.
fn resident(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

fn text(block: &str, len: u32, row: &Value, grown: f64) -> String {
    let bytes = |key: &str| row[key].as_u64();
    let mib = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| format!("{:.1} MiB", n as f64 / 1048576.0));
    let (peak, planned) = (bytes("peak_bytes"), bytes("planned_bytes"));
    let class = row["class"].as_str().unwrap_or_default();
    let seconds = row["token_seconds"].as_f64().unwrap_or(f64::NAN);
    let mut text = format!("{block:<19}{class:>7}{len:>8}{:>12}{:>7}", micro(seconds), format!("{grown:.2}x"));
    let _ = write!(text, "{:>12}{:>12}{:>12}", mib(bytes("process_bytes")), mib(peak), mib(planned));
    if let (Some(peak), Some(planned)) = (peak, planned) {
        let _ = write!(text, "{:>7}", format!("{:.2}x", peak as f64 / planned as f64));
    }
    text.push('\n');
    text
}

/// Formats the time per token.
fn micro(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.2} us", seconds * 1e6) } else { time(seconds) }
}
