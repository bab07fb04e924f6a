//! `archc eval`: one program, one tier and one seed in; one report out. The contract holds for any engine on any machine (see
//! [`archc_train::evaluate`]).

use crate::device::{self, DeviceName};
use crate::load::{self, Program};
use crate::output::{BUG, Done, Output, REFUSED, Stop};
use crate::search::duration;
use crate::sizes::SizeArgs;
use crate::{carried, interrupt, number, threads, trained};
use archc_compiler::checks;
use archc_compiler::compile;
use archc_compiler::diag::{Diagnostic, to_json};
use archc_compiler::graph::Graph;
use archc_train::checkpoint::decode_weights;
use archc_train::evaluate::{
    Candidate, Clock, Cost, EvalReport, EvalRequest, Flow, ModelSize, Moment, Rates, Status, evaluate, score_weights,
};
use archc_train::folder::weights_file;
use archc_train::tier::{Tier, tier};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Train a program on a tier's tasks and score it; or score given weights
#[derive(clap::Args)]
#[command(after_help = "\
Tiers: screen (two short tasks at three learning rates), search (the tasks that candidates are ranked by),
verify (fresh seeds, other settings, a held-out task, the test part). A task's score is 0 where the loss is that
of a guess that does not look at the sequence, and 1 where it has fallen below that by the tier's unit.

The report is a function of program, weights, tier, seed, corpus and machine (device, instruction set,
system), but for the seconds it took; its key names them, so that equal keys are equal results. Without a
result there is no key. ARCHC_ISA=avx2 (avx512, sse2, neon) gives the bits of a machine with no more than that.
Exit codes: 0 ok, 2 invalid, 3 diverged, 4 timeout, 75 interrupted (try again).

Examples:
  archc eval block.arch --tier screen
  archc eval block.arch --tier search --seed 3 --json
  archc eval block.arch --tier mine.json --task-weights recall=2
  archc eval runs/train-1                           what was trained, as it is, on its own task")]
pub struct Args {
    /// The program: one block of one input and one output over [D], or a model; `-` for standard input. Or the folder of a training,
    /// whose weights are scored
    #[arg(value_name = "FILE|RUN")]
    file: PathBuf,
    /// What to train on and score: a name, or a file with a tier of your own (`archc explain E0940`) [default: screen; of a training
    /// the test part of its own task]
    #[arg(long, value_name = "TIER|FILE")]
    tier: Option<String>,
    /// Weights of tasks in the score in place of the tier's, as in mqar=2,text=0 (0 leaves a task out)
    #[arg(long, value_name = "TASK=W,..", value_delimiter = ',', value_parser = weight)]
    task_weights: Vec<(String, f64)>,
    /// Train at this multiple of the tasks' learning rates, in place of the tier's rates
    #[arg(long, value_name = "X", value_parser = number::above_zero)]
    rate: Option<f64>,
    /// Index into the tier's seeds
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
    /// Score these weights, without training
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What the task `text` reads: a file, or a folder of files [default: the text that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// Give up after so long, as in 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = duration, allow_hyphen_values = true)]
    time_limit: Option<Duration>,
    /// What trains it
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Threads; the results are the same with any number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    match report(args, output) {
        // The contract has no other code for a request that cannot be met.
        Err(Stop::Findings(findings, sources)) => {
            let code = output.findings(&findings, &sources)?;
            Ok(if code == BUG { BUG } else { REFUSED })
        }
        other => other,
    }
}

fn report(args: &Args, output: &Output) -> Done {
    let run = trained::open(&args.file)?;
    let wanted = match (&args.tier, &run) {
        (Some(name), _) => tier(name)?,
        (None, Some(run)) => run.own_tier(),
        (None, None) => tier("screen")?,
    };
    let of_run = run.as_ref().filter(|_| args.tier.is_none()).and_then(|run| run.recipe.corpus.as_ref());
    let request = EvalRequest {
        tier: weighted(wanted, &args.task_weights)?,
        seed: args.seed,
        rates: args.rate.map_or(Rates::All, Rates::Only),
        corpus: carried::corpus(args.corpus.as_deref().or(of_run.map(Path::new)))?,
        time_limit: args.time_limit,
        clock: Clock::Wall,
        threads: threads::capped("--threads", usize::from(args.threads), output)?,
    };
    useful(args, run.is_some(), &request.tier)?;
    let candidate = match &run {
        Some(run) => Loaded {
            program: run.program()?,
            sizes: run.scored(&args.sizes)?,
            device: args.device,
            layers: run.recipe.layers,
        },
        None => {
            Loaded { program: load::load(&args.file)?, sizes: args.sizes.clone(), device: args.device, layers: None }
        }
    };
    let weights = args.weights.as_deref().map(weights_file).or(run.map(|run| run.weights()));
    let device = args.device.device();
    let report = match &weights {
        Some(path) => {
            let weights = decode_weights(&load::bytes(path)?, path)?;
            score_weights(&candidate, device.as_ref(), &weights, &request)
        }
        None => {
            let stop = interrupt::flag();
            let rates = if request.rates == Rates::All { request.tier.rates.len() } else { 1 };
            let bar = bar(args.json || output.is_json(), &request.tier, rates);
            let mut watch = |moment: &Moment<'_>| {
                bar.inc(1);
                bar.set_message(format!("{} {}/{} loss {:.3}", moment.task, moment.step, moment.steps, moment.loss));
                if stop.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue }
            };
            let report = evaluate(&candidate, device.as_ref(), &request, &mut watch);
            bar.finish_and_clear();
            report
        }
    };
    if args.json || output.is_json() {
        let shown = Shown { score: report.score(), report: &report };
        let json = serde_json::to_string(&shown).unwrap_or_else(|e| panic!("archc bug: a report is not JSON: {e}"));
        output.raw(&format!("{json}\n"))?;
    } else {
        for finding in candidate.findings(&report, &request.tier) {
            output.findings(&[finding], &candidate.program.sources)?;
        }
        output.text(&table(&report))?;
    }
    Ok(report.status.exit_code())
}

/// Report as JSON, with the score that searches compare.
#[derive(Serialize)]
struct Shown<'a> {
    /// Weighted mean of the tasks' scores; none unless all are scored.
    score: Option<f64>,
    #[serde(flatten)]
    report: &'a EvalReport,
}

fn bar(quiet: bool, tier: &Tier, rates: usize) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let steps = tier.tasks.iter().map(|t| t.steps).sum::<u64>() * rates as u64;
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{bar:30} {msg} [{elapsed} of about {duration}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn table(report: &EvalReport) -> String {
    let status = match report.status {
        Status::Ok => "ok",
        Status::Invalid => "invalid",
        Status::Diverged => "diverged",
        Status::Timeout => "timeout",
        Status::Retry => "retry",
    };
    let mut text = format!("{status}: tier {}, seed {}, {:.1} s\n", report.tier, report.seed, report.seconds);
    if let Some(key) = &report.key {
        let _ = writeln!(text, "key {key} ({})", report.machine);
    }
    if report.params > 0 {
        let _ = writeln!(
            text,
            "{} parameters, {:.0} FLOPs a token, state of {:.0} numbers",
            report.params, report.flops_per_token, report.state
        );
    }
    for (name, task) in &report.tasks {
        let _ = writeln!(
            text,
            "  {name:<20}score {:.4}, mean loss {:.4}, in the end {} {:.4} (chance {:.4}), loss {:.4}, at rate {}{}",
            task.score,
            task.mean_loss,
            task.metric,
            task.value,
            task.chance,
            task.loss,
            task.learning_rate,
            task.width.map_or_else(String::new, |width| format!(", at D={width}"))
        );
    }
    if let Some(score) = report.score() {
        let _ = writeln!(text, "score {score:.4}");
    }
    text
}

/// Parses a task weight: `mqar=2`.
pub fn weight(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("`{text}` is not a task with a weight; write mqar=2");
    let (name, weight) = text.split_once('=').ok_or_else(wrong)?;
    Ok((name.trim().to_owned(), weight.trim().parse().map_err(|_| wrong())?))
}

/// Tier with the weights of `--task-weights`.
///
/// # Errors
/// E0941.
pub fn weighted(tier: Tier, weights: &[(String, f64)]) -> Result<Tier, Diagnostic> {
    tier.weighted(weights).map_err(|why| {
        Diagnostic::error("E0941", why).help("name tasks of the tier with numbers, as in --task-weights mqar=2,text=0")
    })
}

/// Refuses options without effect.
fn useful(args: &Args, trained: bool, tier: &Tier) -> Result<(), Diagnostic> {
    if args.corpus.is_some() && !tier.tasks.iter().any(|run| run.task.name == "text") {
        let why = format!("no task of the tier `{}` reads a text", tier.name);
        return Err(trained::idle(
            "--corpus",
            &why,
            "leave it out, or give a tier with the task `text`: search, verify",
        ));
    }
    if args.rate.is_some() && (trained || args.weights.is_some()) {
        return Err(trained::idle("--rate", "given weights are scored without training", "leave it out"));
    }
    if args.time_limit.is_some() && (trained || args.weights.is_some()) {
        return Err(trained::idle("--time-limit", "given weights are scored without training", "leave it out"));
    }
    Ok(())
}

/// Size at which programs are named: that of the search's screen.
const SETTING: ModelSize = ModelSize { vocab: 16, width: 32, layers: 1 };

/// Maximum number of tokens of a tier's batch.
const TOKENS: usize = 1024;

/// Program as a candidate of the evaluation contract.
struct Loaded {
    program: Program,
    sizes: SizeArgs,
    device: DeviceName,
    /// Layers of a trained run; none: those of the task.
    layers: Option<usize>,
}

impl Loaded {
    fn compile(&self, size: ModelSize) -> archc_compiler::Compilation {
        let mut options = self.sizes.options(Some(self.layers.unwrap_or(size.layers)), size.vocab);
        options.sizes.set.entry("D".into()).or_insert(size.width as f64);
        compile(&self.program.sources, self.program.file, &options)
    }

    /// Diagnostics of a report's JSON: with places for a refused program, else as text.
    fn findings(&self, report: &EvalReport, tier: &Tier) -> Vec<Diagnostic> {
        if report.diagnostics.is_empty() {
            return Vec::new();
        }
        let size = tier.tasks.first().map_or(SETTING, |t| ModelSize { width: t.width, layers: t.layers, ..SETTING });
        let own: Vec<Diagnostic> = self.compile(size).diagnostics.into_iter().filter(Diagnostic::is_error).collect();
        if !own.is_empty() {
            return own;
        }
        let known = crate::codes::all();
        let word = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let told = report.diagnostics.iter().filter_map(|value| {
            let code = known.iter().find(|c| value.get("code").is_some_and(|v| v == c.code))?.code;
            let finding = Diagnostic::error(code, word(value, "message")).help(word(value, "help"));
            let notes = value.get("notes").and_then(Value::as_array);
            let notes = notes.into_iter().flatten().filter_map(Value::as_str);
            Some(notes.fold(finding, |finding, note| finding.note(note)))
        });
        told.collect()
    }
}

impl Candidate for Loaded {
    fn graph(&self, size: ModelSize) -> Result<Arc<Graph>, Vec<Diagnostic>> {
        let graph = self.compile(size).into_graph()?;
        self.device.holds(&graph, TOKENS).map_err(|d| vec![d])?;
        Ok(Arc::new(graph))
    }

    fn cost(&self, graph: &Graph, len: usize) -> Cost {
        let report = checks::cost(graph, len);
        Cost { flops_per_token: report.forward.at(len), state: report.state.at(len) as f64 }
    }

    fn describe(&self, diagnostic: &Diagnostic) -> Value {
        to_json(diagnostic, &self.program.sources)
    }
}
