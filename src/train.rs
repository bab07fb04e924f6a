//! `archc train`: training of a program on one task, into a folder from which a killed run resumes.

use crate::device::{self, DeviceName};
use crate::load::Program;
use crate::output::{DIVERGED, Done, INTERRUPTED, Output, Stop};
use crate::sample::SamplingArgs;
use crate::sizes::SizeArgs;
use crate::{carried, interrupt, load, number, threads, trained};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::hash::canonical_hash;
use archc_compiler::{Options, compile};
use archc_runtime::{Dtype, Origin, Reference, Snapshot};
use archc_train::checkpoint::{decode_weights, digest};
use archc_train::folder::{Identity, RunFolder, Trained, read_run, weights_file};
use archc_train::score::{Metric, Score};
use archc_train::task::{self, Part, TASKS, Task, TaskSpec};
use archc_train::trainer::{Observer, Outcome, Record, TrainConfig, Trainer, first_broken};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Train a program on a task
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// The program: one block of one input and one output over [D], or a model; `-` for standard input. Or the folder of a training, which
    /// goes on with its own options, or with --out is the model for a new one
    #[arg(value_name = "FILE|RUN")]
    file: PathBuf,
    /// The task, with settings: recall or recall:len=64,vocab=32; or rows of your own: jsonl:PATH [default: recall]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// What the task `text` reads: a file, or a folder of files [default: a novel that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// Layers of the standard stack around a block; a model has its own [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    layers: Option<u16>,
    /// Updates; more than a run in the folder has stretch its schedule to the new end [default: 1000]
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    steps: Option<u64>,
    /// Sequences a batch [default: 16]
    #[arg(long, value_name = "N", value_parser = number::count::<usize>)]
    batch: Option<usize>,
    /// Peak of the learning rate [default: 0.003]
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Decoupled decay of the weights of linear and conv, times the learning rate [default: 0.1]
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Seed of first values, dropout and batches [default: 0]
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    seed: Option<u64>,
    /// Start from these parameters instead of first values: a file, or the folder of a training
    #[arg(long, value_name = "FILE|RUN")]
    weights: Option<PathBuf>,
    /// The run's folder; a run that is in it goes on [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Steps between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number::positive::<u64>)]
    checkpoint_every: u64,
    /// What trains it [default: cpu]
    #[arg(long, value_name = "NAME", value_parser = device::parser())]
    device: Option<DeviceName>,
    /// Threads; the results are the same with any number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    sizes: SizeArgs,
}

fn after_help() -> String {
    let tasks: Vec<String> = TASKS.iter().map(|t| format!("  {:<18}{}", t.name, t.summary)).collect();
    format!(
        "Tasks:\n{}\n\n\
         A killed or interrupted run goes on from its last checkpoint when its folder is given as FILE, or the\n\
         same command with the same --out, to the same loss curve. The folder holds the program, run.json,\n\
         curve.jsonl, weights.safetensors and report.html, the page of its curves.\n\n\
         Examples:\n  \
         archc train seeds/delta_net.arch --task recall --set D=32 --layers 1 --steps 500\n  \
         archc train block.arch --task parity --steps 2000 --lr 1e-3 --out runs/parity\n  \
         archc train runs/parity                        goes on\n  \
         archc train runs/parity --steps 4000           goes on to 4000 steps\n  \
         archc train runs/parity --lr 3e-4 --out runs/slower    the same with another option\n  \
         archc train block.arch --task text --corpus books/ --layers 4 --sample 300 --prompt \"Once \"",
        tasks.join("\n")
    )
}

/// Number of batches of the test part that the finished model is scored on.
const TEST_BATCHES: u64 = 16;

/// Training request, from the options and the run's folder.
struct Request {
    program: Program,
    options: Options,
    task: Arc<dyn Task>,
    corpus: Option<PathBuf>,
    weights: Option<(Snapshot, String)>,
    device: DeviceName,
    config: TrainConfig,
    out: PathBuf,
}

impl Request {
    fn new(args: &Args, threads: usize) -> Result<Self, Stop> {
        let model = trained::open(&args.file)?;
        // With a separate output folder this is a new run, which takes unspecified options from RUN.
        let goes_on = args.out.as_ref().is_none_or(|out| *out == args.file);
        let found = model.as_ref().map(|run| &run.found.identity);
        let spec: TaskSpec = match (&args.task, found) {
            (Some(text), _) => text.parse()?,
            (None, Some(identity)) => identity.task.clone(),
            (None, None) => TaskSpec::new("recall"),
        };
        let of_model = model.as_ref().and_then(|run| run.recipe.corpus.as_ref()).map(PathBuf::from);
        if args.corpus.is_some() && spec.name != "text" {
            let why = format!("the task `{}` reads no text", spec.name);
            return Err(trained::idle("--corpus", &why, "leave it out, or give `--task text`").into());
        }
        let path = args.corpus.clone().or(of_model).filter(|_| spec.name == "text");
        let corpus = if spec.name == "text" { carried::corpus(path.as_deref())? } else { None };
        let task = task::build(&spec, corpus.as_ref())?;
        args.sampling.check(task.as_ref())?;

        let sizes = match &model {
            Some(run) => run.sizes(&args.sizes, !goes_on)?,
            None => args.sizes.clone(),
        };
        let layers = args.layers.map(usize::from);
        let layers = layers.or(model.as_ref().and_then(|run| run.recipe.layers)).unwrap_or(LAYERS);
        let out = match &args.out {
            Some(out) => out.clone(),
            None if model.is_some() => args.file.clone(),
            None => fresh(Path::new("runs")),
        };
        let steps = args.steps.or(found.map(|i| i.config.steps));
        let weights = args.weights.as_deref().map(read_start).transpose()?;
        Ok(Self {
            program: match &model {
                Some(run) => run.program()?,
                None => load::load(&args.file)?,
            },
            options: sizes.options(Some(layers), task.vocab()),
            config: config(args, found.map(|i| &i.config), steps, threads, &out)?,
            device: match (args.device, found) {
                (Some(device), _) => device,
                (None, Some(identity)) => DeviceName::find(&identity.device)?,
                (None, None) => DeviceName::named(device::FAST),
            },
            task,
            corpus: path,
            weights,
            out,
        })
    }
}

/// Default number of layers.
const LAYERS: usize = 2;

/// Training configuration: the options, then the run's settings, then the defaults.
fn config(
    args: &Args,
    found: Option<&TrainConfig>,
    steps: Option<u64>,
    threads: usize,
    out: &Path,
) -> Result<TrainConfig, Diagnostic> {
    let base = found.cloned().unwrap_or_default();
    let steps = steps.unwrap_or(base.steps);
    // A resumed run keeps its own warm-up.
    let begun = read_run(out)?.filter(|run| run.begun && run.identity.config.steps <= steps);
    Ok(TrainConfig {
        steps,
        batch: args.batch.unwrap_or(base.batch),
        learning_rate: args.lr.unwrap_or(base.learning_rate),
        weight_decay: args.weight_decay.unwrap_or(base.weight_decay),
        warmup: begun.map_or(TrainConfig::default().warmup.min(steps / 10), |run| run.identity.config.warmup),
        seed: args.seed.unwrap_or(base.seed),
        threads,
        ..base
    })
}

/// Initial parameters, and the digest of their file.
fn read_start(path: &Path) -> Result<(Snapshot, String), Diagnostic> {
    let file = weights_file(path);
    let bytes = load::bytes(&file).map_err(|e| e.help("give weights.safetensors of a run, or its folder"))?;
    Ok((Snapshot { step: 0, ..decode_weights(&bytes, &file)? }, digest(&bytes)))
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let began = Instant::now();
    let request = Request::new(args, threads::capped("--threads", usize::from(args.threads), output)?)?;
    let Request { program, task, config, .. } = &request;
    let compilation = compile(&program.sources, program.file, &request.options);
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let model = compilation.is_model();
    let graph = match compilation.into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(_) => return Ok(code),
    };
    let mut options = request.options.clone();
    if model {
        if let Some(layers) = args.layers {
            let why = format!("`{}` is a model, which has its own layers", graph.name);
            return Err(trained::idle(&format!("--layers {layers}"), &why, "leave it out, or change the model").into());
        }
        options.sizes.layers = None;
    }
    request.device.holds(&graph, config.batch.saturating_mul(task.len(Part::Train)))?;
    let device = request.device.device();
    let mut identity = Identity {
        program: canonical_hash(&graph).to_string(),
        task: task.spec().clone(),
        corpus: task.digest(),
        device: device.name().to_owned(),
        weights: request.weights.as_ref().map(|(_, digest)| digest.clone()),
        stretched: Vec::new(),
        config: config.clone(),
    };
    let mut trainer = Trainer::new(device.as_ref(), &graph, Arc::clone(task), config.clone())?;
    if let Some((snapshot, _)) = &request.weights {
        let misfits = archc_runtime::misfits(&graph, &snapshot.params, Dtype::F32);
        if !misfits.is_empty() {
            return Err(Stop::Findings(misfits, Box::default()));
        }
        trainer.session().restore(snapshot)?;
    }
    let path = &request.out;
    let mut folder = RunFolder::open(path)?;
    let there = read_run(path)?.filter(|run| run.begun).map(|run| run.identity);
    if let Some(there) = &there {
        identity.weights = identity.weights.or(there.weights.clone());
    }
    folder.keeps(trained::recipe(program, &graph, &options, request.corpus.as_deref()));
    let from = folder.begun(&identity)?;
    head(&graph, &request, from, there.map(|there| there.config.steps), output)?;

    let mut watcher = Watcher::new(output, config.steps, task.metric());
    let done = folder.train(&mut trainer, &identity, args.checkpoint_every, TEST_BATCHES, &mut watcher)?;
    watcher.bar.finish_and_clear();
    let pace = Pace::new(&done, &request, &watcher, began.elapsed());
    let ended = end(&done, &mut trainer, &request, &graph, &pace, output)?;
    if ended == 0 && args.sampling.wanted() {
        args.sampling.print(trainer.session(), config.seed, output)?;
    }
    Ok(code.max(ended))
}

/// Reports the start of a training, or the step at which a run of `had` steps resumes.
fn head(graph: &Graph, request: &Request, from: Option<u64>, had: Option<u64>, output: &Output) -> Result<(), Stop> {
    let (task, path, steps) = (request.task.spec(), request.out.display().to_string(), request.config.steps);
    let metric = request.task.metric();
    let parameters = graph.param_count();
    output.object(
        "training",
        json!({
            "folder": path, "program": graph.name, "file": request.program.name, "parameters": parameters,
            "task": task, "metric": metric.name(), "chance": metric.chance(), "steps": steps,
            "device": request.device.name(), "archc": env!("CARGO_PKG_VERSION"), "from": from,
        }),
    )?;
    output.note(&format!("{} on {task}: {parameters} parameters, into {path}", graph.name))?;
    match (from, had) {
        (Some(from), Some(had)) if had < steps => {
            output.note(&format!("goes on from step {from}, under a schedule of {steps} steps instead of {had}"))
        }
        (Some(from), _) => output.note(&format!("goes on from step {from}")),
        (None, _) => Ok(()),
    }
}

/// Speed of a training: total seconds, number of tokens, tokens per second.
struct Pace {
    seconds: f64,
    tokens: u64,
    rate: f64,
}

impl Pace {
    /// Computes the speed. The rate is that of the steps alone, without validations and checkpoints.
    fn new(trained: &Trained, request: &Request, watcher: &Watcher<'_>, whole: Duration) -> Self {
        let step = (request.config.batch * request.task.len(Part::Train)) as u64;
        let tokens = (trained.step - trained.resumed.unwrap_or(0)) * step;
        let rate = match watcher.timed {
            0 => tokens as f64 / whole.as_secs_f64(),
            timed => f64::from(timed) * step as f64 / watcher.spent.as_secs_f64(),
        };
        Self { seconds: whole.as_secs_f64(), tokens, rate }
    }
}

/// Reports the end of a training. Returns the exit code.
fn end(
    trained: &Trained,
    trainer: &mut Trainer,
    request: &Request,
    graph: &Arc<Graph>,
    pace: &Pace,
    output: &Output,
) -> Done {
    let path = &request.out;
    let status = match trained.outcome {
        Outcome::Finished => "finished",
        Outcome::Stopped => "stopped",
        Outcome::Diverged { .. } => "diverged",
    };
    let metric = request.task.metric();
    output.object(
        "trained",
        json!({
            "folder": path.display().to_string(), "status": status, "step": trained.step, "test": trained.test,
            "metric": metric.name(), "chance": metric.chance(), "seconds": pace.seconds, "tokens": pace.tokens,
            "tokens_per_second": pace.rate,
        }),
    )?;
    match trained.outcome {
        Outcome::Finished => {
            if let Some(test) = trained.test {
                output.text(&format!("test: {} after {} steps\n", score(&test, metric), trained.step))?;
            }
            if pace.tokens > 0 {
                let Pace { tokens, seconds, rate } = pace;
                output.note(&format!("{tokens} tokens in {seconds:.1} s, {rate:.0} a second"))?;
            }
            output.text(&format!("weights: {}\n", path.join("weights.safetensors").display()))?;
            Ok(0)
        }
        Outcome::Stopped => {
            output.note(&format!("stopped at step {}; `archc train {}` goes on", trained.step, path.display()))?;
            Ok(INTERRUPTED)
        }
        Outcome::Diverged { since, loss, finite, .. } => {
            let finding = diverged(trained, trainer, request, graph, (since, loss, finite));
            output.findings(&[finding], &request.program.sources)?;
            Ok(DIVERGED)
        }
    }
}

/// Diagnostic of a training that diverged: the step, and the place where the program computes a non-finite number.
fn diverged(
    trained: &Trained,
    trainer: &mut Trainer,
    request: &Request,
    graph: &Arc<Graph>,
    (since, loss, finite): (u64, f64, bool),
) -> Diagnostic {
    let Request { task, config, .. } = request;
    let rate = config.learning_rate;
    let lower = format!("lower --lr, which is {rate}");
    if finite {
        let times = "far above that of guessing";
        return Diagnostic::error("E0910", format!("training diverged: the loss is {times} since step {since}"))
            .note(format!("the last loss is {loss:.4}"))
            .help(lower);
    }
    let (message, batch) = match trained.test {
        Some(_) => {
            let batch = first_broken(trainer.session(), task.as_ref(), Part::Test, config, TEST_BATCHES);
            (format!("training diverged: after {} steps the test loss is {loss}", trained.step), batch.ok().flatten())
        }
        None => {
            let batch = task.batch(Part::Train, config.seed, since - 1, config.batch);
            (format!("training diverged at step {since}: the loss or its gradient is not finite"), Some(batch))
        }
    };
    let finding = Diagnostic::error("E0910", message);
    // The parameters are those before the first bad step, so that its forward pass can be repeated.
    let snapshot = trainer.session().snapshot().ok();
    let options = config.session_options();
    let origin = batch
        .zip(snapshot)
        .and_then(|(batch, parameters)| Reference.origin(graph, &options, &parameters, &batch).ok().flatten());
    let first = since == 1 && trained.test.is_none();
    match origin {
        Some(Origin { place, nan, token }) => {
            let what = if nan { "NaN" } else { "an infinity" };
            let at = token.map_or_else(String::new, |t| format!(", first at token {t} of a sequence"));
            let finding = finding.at(place, format!("gives {what} of finite operands{at}"));
            if first {
                finding.help("no update has been done yet: it is the program that computes this, whatever --lr is")
            } else {
                finding.help(format!("bound what goes in here, or {lower}"))
            }
        }
        None => finding
            .note("the reference device computes finite outputs there: a gradient is not finite, or only in the device's arithmetic")
            .help(if first { "no update has been done yet: bound what the program computes".to_owned() } else { lower }),
    }
}

/// Path `runs/train-1`, or with the next free number.
fn fresh(runs: &Path) -> PathBuf {
    let named = (1u32..).map(|n| runs.join(format!("train-{n}")));
    named.into_iter().find(|path| !path.exists()).unwrap_or_else(|| runs.join("train"))
}

fn score(score: &Score, metric: Metric) -> String {
    format!("{}, loss {:.4}", metric.show(score.value), score.loss)
}

/// Observer that shows the training and stops it on Ctrl-C.
struct Watcher<'a> {
    output: &'a Output,
    bar: ProgressBar,
    metric: Metric,
    stop: Arc<AtomicBool>,
    /// Start of the current step; number of timed steps, and their total duration.
    step: Instant,
    timed: u32,
    spent: Duration,
}

impl<'a> Watcher<'a> {
    fn new(output: &'a Output, steps: u64, metric: Metric) -> Self {
        let bar = if std::io::stderr().is_terminal() && !output.is_json() {
            ProgressBar::new(steps)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} [{elapsed} of about {duration}]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { output, bar, metric, stop: interrupt::flag(), step: Instant::now(), timed: 0, spent: Duration::ZERO }
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
        self.step = Instant::now();
        !self.stop.load(Ordering::Relaxed)
    }

    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        // Validations do not count towards the speed.
        if record.validation.is_none() {
            self.timed += 1;
            self.spent += self.step.elapsed();
        }
        self.bar.set_position(record.step);
        self.bar.set_message(format!("loss {:.4}", record.loss));
        // A closed output is no reason to abort a training: its results are in the folder.
        let _ = self.tell(record);
        Ok(())
    }
}
