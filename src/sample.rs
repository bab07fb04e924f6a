//! `archc sample`: text sampled from a model that was trained on text.

use crate::device::{self, DeviceName};
use crate::number;
use crate::output::{Done, Output, Stop};
use crate::trained::{self, idle};
use archc_compiler::compile;
use archc_compiler::diag::Diagnostic;
use archc_runtime::{BatchShape, Session, SessionOptions};
use archc_train::folder::read_weights;
use archc_train::sample::{Sampling, sample};
use archc_train::task::Task;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Print text that a trained model writes
#[derive(clap::Args)]
#[command(after_help = "\
The model reads the prompt and writes byte after byte, each with what the bytes before it left in its
memories, as a program that decodes does. The same seed gives the same text.

Examples:
  archc sample runs/train-1
  archc sample runs/train-1 --prompt \"The state \" --sample 500 --temperature 0.7
  archc sample runs/train-1 --temperature 0          the most likely byte at each place")]
pub struct Args {
    /// The folder of a training on the task `text`
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// What runs it
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Bytes to write
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = number::count::<usize>)]
    sample: usize,
    /// What it goes on from [default: a line's end]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// 1: as the model says; lower: likelier bytes more often; 0: the likeliest only
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
}

/// The same after a training.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// After a training on `text`, print this number of bytes that the model writes
    #[arg(long, value_name = "N", value_parser = number::count::<usize>)]
    sample: Option<usize>,
    /// What the sample goes on from [default: a line's end]
    #[arg(long, value_name = "TEXT", requires = "sample")]
    prompt: Option<String>,
    /// Of the sample; at 0 the likeliest bytes [default: 1]
    #[arg(long, value_name = "X", requires = "sample", value_parser = temperature)]
    temperature: Option<f64>,
}

fn temperature(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| format!("`{text}` is not a number from 0"))
}

/// Default prompt; a model has to read at least one token.
const PROMPT: &str = "\n";

impl SamplingArgs {
    /// Whether a sample is requested.
    pub fn wanted(&self) -> bool {
        self.sample.is_some()
    }

    /// Refuses a sample for a task without text.
    ///
    /// # Errors
    /// E0920.
    pub fn check(&self, task: &dyn Task) -> Result<(), Diagnostic> {
        if self.wanted() { text_only(&task.spec().name) } else { Ok(()) }
    }

    /// Prints the sample.
    ///
    /// # Errors
    /// Errors of the session, or if the sample cannot be written.
    pub fn print(&self, session: &mut dyn Session, seed: u64, output: &Output) -> Result<(), Stop> {
        let tokens = self.sample.unwrap_or(0);
        let sampling = Sampling { tokens, temperature: self.temperature.unwrap_or(1.0), seed };
        print(session, self.prompt.as_deref(), &sampling, output)
    }
}

fn text_only(task: &str) -> Result<(), Diagnostic> {
    if task == "text" {
        return Ok(());
    }
    Err(Diagnostic::error("E0920", format!("the task `{task}` has no text to sample"))
        .help("train on `--task text`, whose tokens are bytes"))
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let Some(run) = trained::open(&args.run)? else {
        let message = format!("`{}` is no folder of a training", args.run.display());
        return Err(Diagnostic::error("E0912", message).help("`archc train FILE --task text` makes one").into());
    };
    text_only(&run.found.identity.task.name)?;
    let program = run.program()?;
    let sizes = run.sizes(&Default::default(), false)?;
    let compilation = compile(&program.sources, program.file, &sizes.options(run.recipe.layers, run.recipe.vocab));
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let graph = match compilation.into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(_) => return Ok(code),
    };
    let prompt = args.prompt.as_deref();
    let len = prompt.unwrap_or(PROMPT).len().max(1);
    args.device.holds(&graph, len)?;
    let shape = BatchShape { batch: 1, len };
    let mut session = args.device.device().compile(&graph, shape, &SessionOptions::default())?;
    session.restore(&read_weights(&run.path)?)?;
    let sampling = Sampling { tokens: args.sample, temperature: args.temperature, seed: args.seed };
    print(session.as_mut(), prompt, &sampling, output)?;
    Ok(code)
}

/// Prints the prompt and its continuation. Bytes that are not UTF-8 are shown as its replacement character.
fn print(session: &mut dyn Session, prompt: Option<&str>, sampling: &Sampling, output: &Output) -> Result<(), Stop> {
    if prompt == Some("") {
        return Err(idle("--prompt", "it is empty", "leave it out, or give at least one character").into());
    }
    let read: Vec<u32> = prompt.unwrap_or(PROMPT).bytes().map(u32::from).collect();
    let drawn = sample(session, &read, sampling)?;
    let bytes: Vec<u8> = drawn.iter().map(|t| *t as u8).collect();
    let text = String::from_utf8_lossy(&bytes);
    output.object("sample", json!({ "prompt": prompt.unwrap_or(PROMPT), "text": text, "bytes": bytes }))?;
    output.text(&format!("{}{text}\n", prompt.unwrap_or_default()))
}
