//! `archc bench train`: tokens per second of whole training steps, beside reference values.
//!
//! The *bound* is the highest rate that the machine could reach: the useful operations of a step at the rate of its own
//! large matrix products, then the optimizer's memory traffic at the rate of its own copies. Useful operations are those
//! of the program as written, token by token (`archc check` counts them), once forward and twice that backward;
//! additional work of a chunk form or of recomputation counts as loss. AdamW reads value, gradient and both moments of a
//! parameter and writes all but the gradient, and reads the gradient once more before for its norm: 32 bytes, which
//! cannot be overlapped with products since the norm needs every gradient first.

use super::machine::Machine;
use super::measure::{self, Clock, Steps, Timing, short, steps, time};
use super::model::{Shape, Subject, batch, shape};
use super::peer::{self, Answer, Peer};
use crate::device::{self, DeviceName};
use crate::output::{Done, Output, Stop};
use crate::sizes::setting;
use crate::threads;
use archc_compiler::checks::CostReport;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::plan::Counts;
use archc_runtime::{Batch, BatchShape, Session, SessionOptions};
use archc_search::compile::training;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Tokens a second of training steps: forward, backward, clipping, AdamW
#[derive(clap::Args)]
#[command(after_help = "\
Each block stands in the standard stack and learns random next tokens. Printed beside it, from the same run:
  bound      the program's operations (forward, and twice that backward) at the machine's own rate of f32
             matrix products, then AdamW's traffic at its rate of copies
  peak       the share of that rate that the operations reach; for the device of the rate measured right before
             and after each step, since a shared machine changes its speed
  reference  the reference device; left out where a step would take too long
  eager, compile  PyTorch, with --torch; the first loss and gradient must be the same, or the row says so

Examples:
  archc bench train block.arch --set H=4 --shape 64,2,512,4
  archc bench train --block GLA --block DeltaNet --shape 64,2,512,4
  archc bench train --torch python3 --torch-compile --seconds 5 --json > bench.json")]
pub struct Args {
    /// A program of your own; `-` for standard input, std::mixers::NAME for a block of the library
    #[arg(value_name = "FILE", conflicts_with = "torch")]
    file: Option<PathBuf>,
    /// Blocks of the standard library, or of FILE [default: eight of the library, from attention to routers]
    #[arg(long, value_name = "NAME")]
    block: Vec<String>,
    /// Size of an axis or value of a hyperparameter of FILE, but for D, e.g. --set H=8
    #[arg(long, value_name = "NAME=NUMBER", value_parser = setting, requires = "file")]
    set: Vec<(String, f64)>,
    /// Width, layers, tokens a sequence, sequences [default: seven, from 32,2,64,4 to 256,4,2048,1]
    #[arg(long, value_name = "D,L,T,B", value_parser = shape, allow_hyphen_values = true)]
    shape: Vec<Shape>,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    vocab: u32,
    /// What trains
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Threads of the device and of PyTorch; the bound and the reference have one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// How long each is timed
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Which time counts: wall, or on a busy machine cpu
    #[arg(long, value_name = "CLOCK", default_value = "wall", hide_possible_values = true)]
    clock: Clock,
    /// Leave the reference device out where one step would take longer; 0 leaves it out always
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    reference_limit: f64,
    /// A Python that has torch, numpy and safetensors, to be measured beside
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,
    /// Measure torch.compile as well, which takes up to minutes a row
    #[arg(long, requires = "torch")]
    torch_compile: bool,
    /// Say which kinds of work the steps' time went to, where the device counts them
    #[arg(long)]
    profile: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Parses a nonnegative number of seconds.
pub fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|s: &f64| (0.0..=86400.0).contains(s));
    number.ok_or_else(|| format!("`{text}` is not a number of seconds"))
}

const SHAPES: [Shape; 7] = [
    Shape { width: 32, layers: 2, len: 64, batch: 4 },
    Shape { width: 64, layers: 2, len: 128, batch: 8 },
    Shape { width: 64, layers: 2, len: 512, batch: 4 },
    Shape { width: 128, layers: 2, len: 128, batch: 32 },
    Shape { width: 128, layers: 2, len: 512, batch: 8 },
    Shape { width: 256, layers: 4, len: 512, batch: 4 },
    Shape { width: 256, layers: 4, len: 2048, batch: 1 },
];

/// Bytes that clipping and AdamW move per parameter.
const BYTES_A_PARAM: f64 = 32.0;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    if args.clock == Clock::Cpu && args.threads > 1 {
        return Err(Diagnostic::error("E0849", "--clock cpu adds up the time of all threads")
            .help("measure several threads by --clock wall, on a quiet machine")
            .into());
    }
    let quiet = args.json || output.is_json();
    let peer = args.torch.as_deref().map(|python| Peer::new(python, args.torch_compile)).transpose()?;
    let threads = threads::capped("--threads", usize::from(args.threads), output)?;
    let subjects = subjects(args)?;
    let shapes = if args.shape.is_empty() { SHAPES.to_vec() } else { args.shape.clone() };
    // Every program is built before anything is measured, so that a wrong name costs no time.
    for (subject, shape) in subjects.iter().flat_map(|b| shapes.iter().map(move |s| (b, *s))) {
        let (graph, _) = subject.build(shape, args.vocab as usize, output)?;
        args.device.holds(&graph, shape.tokens())?;
    }
    let machine = Machine::measure(args.clock);
    if !quiet {
        output.text(&format!("{machine}\n{}\n", conditions(args, threads, peer.as_ref())))?;
        output.text(&heading(args, peer.as_ref()))?;
    }
    let mut rows = Vec::new();
    for subject in &subjects {
        for shape in &shapes {
            let row = row(args, subject, *shape, threads, &machine, peer.as_ref(), output)?;
            if !quiet {
                output.text(&row.text(args, &machine))?;
            }
            output.object("bench_row", row.json())?;
            rows.push(row);
        }
    }
    if args.json {
        let rows: Vec<Value> = rows.iter().map(|r| r.json()).collect();
        let torch = peer.as_ref().map(|p| &p.version);
        let all = json!({
            "machine": machine.json(), "device": args.device.name(), "threads": threads, "clock": args.clock.word(), "vocab": args.vocab,
            "torch": torch, "rows": rows,
        });
        output.raw(&format!("{all}\n"))?;
    }
    Ok(0)
}

/// Measurements of one block at one shape.
struct Row {
    block: String,
    shape: Shape,
    /// Useful operations of a step, forward and backward.
    flops: f64,
    /// Seconds of a step at the machine's own rates.
    bound: f64,
    params: usize,
    /// Steps of archc; none if the device is the reference and a step takes too long.
    ours: Option<Steps>,
    /// Seconds from the graph to the end of the first step.
    ready: f64,
    /// Amount of work in the plan of a step, by kind.
    counts: Counts,
    /// Amount of work as one number, which a search holds equal.
    work: f64,
    /// Fractions of a step's time by kind of work.
    profile: Vec<(&'static str, f64)>,
    reference: Reference,
    torch: Vec<Answer>,
    /// Reason why PyTorch has no result.
    failed: Option<String>,
}

/// Time of the reference device in seconds per step, measured or estimated from a smaller batch.
enum Reference {
    Timed(Timing),
    Estimated(f64),
    None,
}

/// Programs to measure: the blocks of a file, or of the library.
fn subjects(args: &Args) -> Result<Vec<Subject>, Stop> {
    match &args.file {
        Some(file) if args.block.is_empty() => Ok(vec![Subject::of_file(file, None, &args.set)?]),
        Some(file) => args.block.iter().map(|block| Subject::of_file(file, Some(block), &args.set)).collect(),
        None if args.block.is_empty() => {
            Ok(peer::BLOCKS.iter().map(|b| Subject::library(b)).collect::<Result<_, _>>()?)
        }
        None => Ok(args.block.iter().map(|b| Subject::library(b)).collect::<Result<_, _>>()?),
    }
}

fn row(
    args: &Args,
    subject: &Subject,
    shape: Shape,
    threads: usize,
    machine: &Machine,
    peer: Option<&Peer>,
    output: &Output,
) -> Result<Row, Stop> {
    let vocab = args.vocab as usize;
    let (graph, cost) = subject.build(shape, vocab, output)?;
    let block = graph.name.clone();
    let batch = batch(shape, vocab);
    let flops = useful(&cost, shape);
    let bound = flops / machine.sgemm + BYTES_A_PARAM * graph.param_count() as f64 / machine.copy;
    let reference = match args.reference_limit {
        0.0 => Reference::None,
        limit => time_reference(&graph, shape, vocab, args, limit)?,
    };
    let is_reference = args.device.name() == device::EXACT;
    let skipped = is_reference && matches!(reference, Reference::Estimated(_));

    let plan = training(&graph, shape.batch, shape.len);
    let (session, made) = args.clock.time(|| session(args.device, &graph, shape, threads));
    let mut session = session?;
    let params = session.snapshot()?.params;
    let ours = if skipped { None } else { Some(steps(session.as_mut(), &batch, args.seconds, args.clock)?) };
    let profile = if args.profile && !skipped { profile(session.as_mut(), &batch, args.seconds)? } else { Vec::new() };
    drop(session);
    let ready = made + ours.map_or(0.0, |o| o.first_seconds);

    let mut failed = None;
    let torch = match peer.filter(|_| subject.library && peer::BLOCKS.contains(&block.as_str())) {
        Some(peer) => {
            peer.run(&block, shape, vocab, &params, &batch, (args.seconds, threads, args.clock)).unwrap_or_else(|d| {
                failed = Some(d.message);
                Vec::new()
            })
        }
        None => Vec::new(),
    };
    let (params, counts, work) = (graph.param_count(), plan.counts(), plan.work());
    Ok(Row { block, shape, flops, bound, params, ours, ready, counts, work, profile, reference, torch, failed })
}

/// Useful operations of a step: the program's own, forward, and twice that backward.
fn useful(cost: &CostReport, shape: Shape) -> f64 {
    3.0 * (cost.forward.at(shape.len) * shape.tokens() as f64 + cost.per_step)
}

fn session(
    device: DeviceName,
    graph: &Arc<Graph>,
    shape: Shape,
    threads: usize,
) -> Result<Box<dyn Session>, Diagnostic> {
    let options = SessionOptions { threads, ..SessionOptions::default() };
    device.device().compile(graph, BatchShape { batch: shape.batch, len: shape.len }, &options)
}

/// Tokens per sequence, and sequences, of the batch from which the reference's time is estimated.
const PROBE: (usize, usize) = (64, 2);

/// Times the reference, unless a step would take longer than the limit: its time is linear in the tokens (slightly more
/// with attention), so a small batch is enough for an estimate.
fn time_reference(graph: &Arc<Graph>, shape: Shape, vocab: usize, args: &Args, limit: f64) -> Result<Reference, Stop> {
    let device = DeviceName::named(device::EXACT);
    let probe = Shape { len: shape.len.min(PROBE.0), batch: shape.batch.min(PROBE.1), ..shape };
    let mut small = session(device, graph, probe, 1)?;
    let given = batch(probe, vocab);
    small.step(&given, measure::RATE)?;
    let (done, once) = args.clock.time(|| small.step(&given, measure::RATE));
    done?;
    let estimate = once * shape.tokens() as f64 / probe.tokens() as f64;
    if estimate > limit {
        return Ok(Reference::Estimated(estimate));
    }
    let mut whole = session(device, graph, shape, 1)?;
    Ok(Reference::Timed(steps(whole.as_mut(), &batch(shape, vocab), args.seconds, args.clock)?.timing))
}

/// Fractions of the time of some steps by kind of work. They run apart from the timed steps, since reading clocks takes
/// time.
fn profile(session: &mut dyn Session, batch: &Batch, seconds: f64) -> Result<Vec<(&'static str, f64)>, Stop> {
    session.profile();
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < seconds {
        session.step(batch, measure::RATE)?;
    }
    let whole = began.elapsed().as_secs_f64();
    let mut kinds = session.profile();
    kinds.iter_mut().for_each(|(_, seconds)| *seconds /= whole);
    if !kinds.is_empty() {
        kinds.push(("rest", 1.0 - kinds.iter().map(|k| k.1).sum::<f64>()));
    }
    Ok(kinds)
}

impl Row {
    fn rate(&self, seconds: f64) -> f64 {
        self.shape.tokens() as f64 / seconds
    }

    fn of_peak(&self, seconds: f64, machine: &Machine) -> f64 {
        self.flops / seconds / machine.sgemm
    }

    /// Problem of the comparison, if any.
    fn trouble(&self) -> Option<String> {
        let failed = self.torch.iter().find_map(|a| Some(format!("{} failed: {}", a.mode, a.error.as_ref()?)));
        let metrics = &self.ours.as_ref()?.first;
        let differs = || self.torch.iter().filter(|a| a.error.is_none()).find_map(|a| a.differs(metrics));
        self.failed.clone().or(failed).or_else(differs)
    }

    fn json(&self) -> Value {
        let reference = match &self.reference {
            Reference::Timed(t) => t.json(),
            Reference::Estimated(s) => json!({ "estimated_seconds": s }),
            Reference::None => Value::Null,
        };
        let ours = self.ours.as_ref().map(|Steps { first: metrics, timing, worth, .. }| {
            json!({
                "step": timing.json(), "tokens_per_second": self.rate(timing.median),
                "of_peak": self.flops / worth, "ready_seconds": self.ready,
                "loss": metrics.loss, "objective": metrics.objective, "gradient_norm": metrics.gradient_norm,
            })
        });
        let profile: serde_json::Map<String, Value> =
            self.profile.iter().map(|(kind, share)| ((*kind).to_owned(), json!(share))).collect();
        json!({
            "block": self.block, "width": self.shape.width, "layers": self.shape.layers, "len": self.shape.len,
            "batch": self.shape.batch, "params": self.params, "flops": self.flops, "bound_seconds": self.bound,
            "work": self.work, "counts": self.counts.kinds().map(|(kind, count, _)| (kind, count)).into_iter().collect::<BTreeMap<_, _>>(),
            "archc": ours, "profile": profile, "reference": reference,
            "torch": self.torch.iter().map(Answer::json).collect::<Vec<_>>(), "trouble": self.trouble(),
        })
    }

    fn text(&self, args: &Args, machine: &Machine) -> String {
        let Shape { width, layers, len, batch } = self.shape;
        let ours = self.ours.as_ref().map(|o| o.timing.median);
        let mut text = format!("{:<19}{width:>4}{layers:>3}{len:>6}{batch:>4} ", self.block);
        let peak = |seconds: f64| format!("{:.2}", self.of_peak(seconds, machine));
        let ratio = |seconds: f64| ours.map_or_else(|| "-".into(), |o| format!("{:.2}x", seconds / o));
        let mut cell = |width: usize, what: String| {
            let _ = write!(text, "{what:>width$}");
        };
        cell(9, ours.map_or_else(|| "-".into(), |s| short(self.rate(s))));
        cell(9, ours.map_or_else(|| "-".into(), time));
        cell(6, self.ours.as_ref().map_or_else(|| "-".into(), |o| format!("{:.2}", self.flops / o.worth)));
        cell(11, short(self.rate(self.bound)));
        cell(7, ours.map_or_else(|| "-".into(), |o| format!("{:.2}", self.bound / o)));
        match &self.reference {
            Reference::Timed(t) => {
                cell(11, short(self.rate(t.median)));
                cell(8, ratio(t.median));
            }
            Reference::Estimated(s) => {
                cell(11, "-".into());
                cell(8, format!("~{s:.0} s"));
            }
            Reference::None => cell(19, "-".into()),
        }
        for mode in modes(args) {
            match self.torch.iter().find(|a| a.mode == *mode && a.error.is_none()) {
                Some(a) => {
                    cell(11, short(self.rate(a.step_seconds)));
                    cell(6, peak(a.step_seconds));
                    cell(8, ratio(a.step_seconds));
                    if *mode == "compile" {
                        cell(8, time(a.first_step_seconds));
                    }
                }
                None => cell(if *mode == "compile" { 33 } else { 25 }, "-".into()),
            }
        }
        match self.trouble() {
            Some(trouble) => {
                let _ = write!(text, "  NOT COMPARABLE: {trouble}");
            }
            None if self.torch.is_empty() || ours.is_none() => {}
            None => text.push_str("  same loss and gradient"),
        }
        text.push('\n');
        if !self.profile.is_empty() {
            let kinds = self.profile.iter().map(|(kind, share)| format!("{kind} {:.0} %", 100.0 * share));
            let _ = writeln!(text, "{:<19}{}", "", kinds.collect::<Vec<_>>().join(", "));
        }
        text
    }
}

fn modes(args: &Args) -> &'static [&'static str] {
    match (&args.torch, args.torch_compile) {
        (None, _) => &[],
        (Some(_), false) => &["eager"],
        (Some(_), true) => &["eager", "compile"],
    }
}

fn conditions(args: &Args, threads: usize, peer: Option<&Peer>) -> String {
    let torch = peer.map_or_else(String::new, |p| format!(", PyTorch {}", p.version));
    format!(
        "device {}, {} thread{}{torch}; vocabulary {}; {} time, medians over {} s each, the warm-up left out",
        args.device.name(),
        threads,
        if threads == 1 { "" } else { "s" },
        args.vocab,
        if args.clock == Clock::Wall { "wall" } else { "processor" },
        args.seconds
    )
}

fn heading(args: &Args, _: Option<&Peer>) -> String {
    let mut text = format!("{:<19}{:>4}{:>3}{:>6}{:>4} ", "block", "D", "L", "T", "B");
    let _ = write!(text, "{:>9}{:>9}{:>6}", "tokens/s", "step", "peak");
    let _ = write!(text, "{:>11}{:>7}{:>11}{:>8}", "bound", "share", "reference", "ours");
    for mode in modes(args) {
        let _ = write!(text, "{mode:>11}{:>6}{:>8}", "peak", "ours");
        if *mode == "compile" {
            let _ = write!(text, "{:>8}", "first");
        }
    }
    text.push('\n');
    text
}
