//! `archc train`: a program learns one task, into a folder from which a killed run goes on.

use crate::device::{self, DeviceName};
use crate::output::{DIVERGED, Done, INTERRUPTED, Output, Stop};
use crate::sizes::SizeArgs;
use crate::{carried, interrupt, load, number, threads};
use archc_compiler::compile;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::hash::canonical_hash;
use archc_train::folder::{Identity, RunFolder};
use archc_train::score::Score;
use archc_train::task::{self, Part, TASKS, TaskSpec};
use archc_train::trainer::{Observer, Outcome, Record, TrainConfig, Trainer};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Train a program on a task
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// The program: one block of one input and one output over [D], or a model; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The task, with settings: recall or recall:len=64,vocab=32
    #[arg(long, value_name = "TASK", default_value = "recall")]
    task: String,
    /// What the task `text` reads: a file, or a folder of files [default: the text that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// Layers of the standard stack around a block; a model has its own
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    layers: u16,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = number::count::<u64>)]
    steps: u64,
    /// Sequences a batch
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = number::count::<usize>)]
    batch: usize,
    /// Peak of the learning rate
    #[arg(long, value_name = "RATE", default_value_t = 3e-3)]
    lr: f64,
    /// Decoupled decay of the weights of linear and conv, times the learning rate
    #[arg(long, value_name = "RATE", default_value_t = TrainConfig::default().weight_decay)]
    weight_decay: f64,
    /// Seed of first values, dropout and batches
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
    /// The run's folder; a run that is in it goes on [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number::positive::<u64>)]
    checkpoint_every: u64,
    /// What trains it
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Threads; the results are the same with any number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    #[command(flatten)]
    sizes: SizeArgs,
}

fn after_help() -> String {
    let tasks: Vec<String> = TASKS.iter().map(|t| format!("  {:<18}{}", t.name, t.summary)).collect();
    format!(
        "Tasks:\n{}\n\n\
         A killed or interrupted run goes on from its last checkpoint when the same command is given with\n\
         the same --out, to the same loss curve. The folder holds curve.jsonl and weights.safetensors.\n\n\
         Examples:\n  \
         archc train seeds/delta_net.arch --task recall --set D=32 --layers 1 --steps 500\n  \
         archc train block.arch --task parity --steps 2000 --lr 1e-3 --out runs/parity\n  \
         archc train block.arch --task text --corpus books/ --layers 4",
        tasks.join("\n")
    )
}

/// Batches of the test part that the finished model is scored on.
const TEST_BATCHES: u64 = 16;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let program = load::load(&args.file)?;
    let spec: TaskSpec = args.task.parse()?;
    let corpus = if spec.name == "text" { carried::corpus(args.corpus.as_deref())? } else { None };
    let task = task::build(&spec, corpus.as_ref())?;

    let options = args.sizes.options(Some(usize::from(args.layers)), task.vocab());
    let compilation = compile(&program.sources, program.file, &options);
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let graph = match compilation.into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(_) => return Ok(code),
    };
    args.device.holds(&graph, args.batch.saturating_mul(task.len(Part::Train)))?;
    let config = TrainConfig {
        steps: args.steps,
        batch: args.batch,
        learning_rate: args.lr,
        weight_decay: args.weight_decay,
        warmup: TrainConfig::default().warmup.min(args.steps / 10),
        seed: args.seed,
        threads: threads::capped("--threads", usize::from(args.threads), output)?,
        ..TrainConfig::default()
    };
    let device = args.device.device();
    let identity = Identity {
        program: canonical_hash(&graph).to_string(),
        task: task.spec().clone(),
        corpus: corpus.as_ref().map(|c| c.digest().to_owned()),
        device: device.name().to_owned(),
        config: config.clone(),
    };
    let mut trainer = Trainer::new(device.as_ref(), &graph, task, config)?;
    let path = args.out.clone().unwrap_or_else(|| fresh(Path::new("runs")));
    let mut folder = RunFolder::open(&path)?;
    output.note(&heading(&graph, &trainer, &path))?;

    let mut watcher = Watcher::new(output, args.steps, trainer.task().metric().name());
    let trained = folder.train(&mut trainer, &identity, args.checkpoint_every, TEST_BATCHES, &mut watcher)?;
    watcher.bar.finish_and_clear();
    if let Some(step) = trained.resumed {
        output.note(&format!("went on from step {step}"))?;
    }
    let status = match trained.outcome {
        Outcome::Finished => "finished",
        Outcome::Stopped => "stopped",
        Outcome::Diverged { .. } => "diverged",
    };
    output.object(
        "trained",
        json!({ "folder": path.display().to_string(), "status": status, "step": trained.step, "test": trained.test }),
    )?;
    match trained.outcome {
        Outcome::Finished => {
            if let Some(test) = trained.test {
                let metric = trainer.task().metric().name();
                output.text(&format!("test: {} after {} steps\n", score(&test, metric), trained.step))?;
            }
            output.text(&format!("weights: {}\n", path.join("weights.safetensors").display()))?;
            Ok(code)
        }
        Outcome::Stopped => {
            let shown = path.display();
            output.note(&format!("stopped at step {}; the same command with --out {shown} goes on", trained.step))?;
            Ok(INTERRUPTED)
        }
        Outcome::Diverged { step, loss } => {
            let message = format!("training diverged at step {step} (loss {loss})");
            let help = "lower --lr, or bound the decay and normalise the keys";
            output.findings(&[Diagnostic::error("E0910", message).help(help)], &program.sources)?;
            Ok(DIVERGED)
        }
    }
}

fn heading(graph: &Graph, trainer: &Trainer, path: &Path) -> String {
    let task = trainer.task().spec();
    format!("{} on {task}: {} parameters, into {}", graph.name, graph.param_count(), path.display())
}

/// `runs/train-1`, or the next number that is free.
fn fresh(runs: &Path) -> PathBuf {
    let named = (1u32..).map(|n| runs.join(format!("train-{n}")));
    named.into_iter().find(|path| !path.exists()).unwrap_or_else(|| runs.join("train"))
}

fn score(score: &Score, metric: &str) -> String {
    format!("{metric} {:.4}, loss {:.4}", score.value, score.loss)
}

/// Shows the training and stops it on Ctrl-C.
struct Watcher<'a> {
    output: &'a Output,
    bar: ProgressBar,
    metric: &'static str,
    stop: Arc<AtomicBool>,
}

impl<'a> Watcher<'a> {
    fn new(output: &'a Output, steps: u64, metric: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() && !output.is_json() {
            ProgressBar::new(steps)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} [{elapsed} of about {duration}]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { output, bar, metric, stop: interrupt::flag() }
    }

    fn tell(&self, record: &Record) -> Result<(), Stop> {
        let Some(validation) = &record.validation else { return Ok(()) };
        let text =
            format!("step {:>6}  loss {:.4}  validation {}", record.step, record.loss, score(validation, self.metric));
        self.output.object("step", json!({ "step": record.step, "loss": record.loss, "validation": validation }))?;
        self.bar.suspend(|| self.output.text(&format!("{text}\n")))
    }
}

impl Observer for Watcher<'_> {
    fn proceed(&mut self, _: u64) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        self.bar.set_position(record.step);
        self.bar.set_message(format!("loss {:.4}", record.loss));
        // A reader that has gone is no reason to throw a training away: what it shows is in the folder.
        let _ = self.tell(record);
        Ok(())
    }
}
