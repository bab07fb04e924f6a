//! `archc forward`: a program on given weights and inputs, for comparison with any other implementation.
//!
//! The input file holds `input` [B, T, axes] (a block of several inputs: each by its name; a model: `tokens` [B, T])
//! and optionally `reset` [B, T]. The output file holds `output` (of several: each by its name). With `R` of the
//! output's shape in the input file, `--grads` writes the gradients of sum(output * R): of the parameters by their
//! paths, of the inputs by their names. Other tensors of the input file are ignored, so one file can also hold the
//! results of another implementation on the same input.
//!
//! `--random` generates such an input instead of reading a file: standard normal inputs (of a model, tokens), and R.

use crate::device::{self, DeviceName};
use crate::output::{Done, Output, Stop};
use crate::sizes::{ModelArgs, SizeArgs};
use crate::{carry, load, names, number, trained};
use archc_compiler::compile;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{AxisId, Graph};
use archc_runtime::io::read_tensors_and_notes;
use archc_runtime::random::Stream;
use archc_runtime::{
    Batch, BatchShape, Dtype, Objective, SessionOptions, Snapshot, Tensor, Tensors, misfits, read_tensors,
    write_tensors,
};
use archc_train::checkpoint::decode_weights;
use archc_train::folder::weights_file;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Run a program on given weights and inputs, and differentiate it
#[derive(clap::Args)]
#[command(after_help = "\
The input file holds `input` [batch, tokens, axes] (several inputs: each by its name; a model: `tokens`
[batch, tokens]), and if wanted `reset` [batch, tokens], 1 where a document starts. The output file
holds `output`. With a tensor `R` of the output's shape in the input file, --grads writes the gradients
of sum(output * R), by path for the parameters and by name for the inputs.

Without such a file --random makes one: standard normal inputs and R, or for a model tokens, the same for
the same seed. --save-input keeps it, for another program.

Weights of other programs are read by --names: a JSON object from paths to names in the weights file, with
what is done to a tensor first, as in { \"q.linear.weight\": [\"attn.q.weight\", { \"reshape\": [2, 32, 64] }] }.
`archc explain E0841` has all of it.

A sequence may come in pieces: --carry-out keeps what its next tokens need (memories, windows, keys and
values, positions), --carry-in goes on from there. --step runs every token by itself, so that a program
that decodes can be held against the one that trained.

Examples:
  archc forward block.arch --random --output y.safetensors
  archc forward block.arch --random --length 64 --batch 4 --save-input x.safetensors --output y.safetensors
  archc forward block.arch --weights w.safetensors --input x.safetensors --output y.safetensors
  archc forward block.arch --weights w.safetensors --input x.safetensors --output y.safetensors \\
      --dtype f64 --grads g.safetensors --set D=32 --set H=2
  archc forward runs/train-1 --input tokens.safetensors --output logits.safetensors
  archc forward block.arch --weights w.safetensors --step --input head.safetensors \\
      --output y.safetensors --carry-out c.safetensors
  archc forward block.arch --weights w.safetensors --step --input tail.safetensors \\
      --output z.safetensors --carry-in c.safetensors")]
pub struct Args {
    /// The program, or the folder of a training, with its sizes and weights; `-` for standard input
    #[arg(value_name = "FILE|RUN")]
    file: PathBuf,
    /// Parameters by path (see `archc params`); without it their first values by --seed
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Inputs
    #[arg(long, value_name = "FILE", required_unless_present = "random")]
    input: Option<PathBuf>,
    /// Make random inputs, by --seed
    #[arg(long, conflicts_with = "input")]
    random: bool,
    /// Tokens a sequence of random inputs
    #[arg(long, value_name = "T", default_value_t = 16, conflicts_with = "input", value_parser = number::positive::<usize>)]
    length: usize,
    /// Sequences of random inputs
    #[arg(long, value_name = "B", default_value_t = 2, conflicts_with = "input", value_parser = number::positive::<usize>)]
    batch: usize,
    /// Where to write the random inputs
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    save_input: Option<PathBuf>,
    /// Where to write the outputs
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Where to write the gradients of sum(output * R)
    #[arg(long, value_name = "FILE")]
    grads: Option<PathBuf>,
    /// Advance one token at a time, as in decoding; the numbers are those of the whole sequences
    #[arg(long, conflicts_with = "grads")]
    step: bool,
    /// Go on from a carry that --carry-out wrote: the tokens are the next ones of the same sequences
    #[arg(long, value_name = "FILE", conflicts_with = "grads")]
    carry_in: Option<PathBuf>,
    /// Where to write what the next tokens need
    #[arg(long, value_name = "FILE")]
    carry_out: Option<PathBuf>,
    /// A JSON object from paths to the names that the weights file uses, and what is done to its tensors
    #[arg(long, value_name = "FILE", requires = "weights")]
    names: Option<PathBuf>,
    /// Arithmetic, and the type of the numbers written: f32 or f64
    #[arg(long, value_name = "TYPE", default_value = "f32", hide_possible_values = true)]
    dtype: Float,
    /// What runs it
    #[arg(long, value_name = "NAME", default_value = device::EXACT, value_parser = device::parser())]
    device: DeviceName,
    /// Seed of the first values, without --weights, and of random inputs
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Float {
    F32,
    F64,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let (program, options, own) = trained::resolve(&args.file, &args.sizes, &args.model)?;
    let compilation = compile(&program.sources, program.file, &options);
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let graph = match compilation.into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(_) => return Ok(code),
    };
    let dtype = match args.dtype {
        Float::F32 => Dtype::F32,
        Float::F64 => Dtype::F64,
    };
    let device = args.device.computing(dtype, output)?;
    let given = match &args.input {
        Some(path) => read_tensors(path)?,
        None => {
            device.holds(&graph, args.batch.saturating_mul(args.length))?;
            random(args, &graph, dtype, output)?
        }
    };
    let batch = batch(&graph, &given)?;
    device.holds(&graph, batch.batch.saturating_mul(batch.len))?;
    let cotangents = args.grads.is_some().then(|| cotangents(&graph, &given)).transpose()?;

    let carry = args.carry_in.as_deref().map(|path| carry::read(path, &graph)).transpose()?;
    let shape = BatchShape { batch: batch.batch, len: if args.step { batch.len.min(1) } else { batch.len } };
    let options = SessionOptions { dtype, seed: args.seed, ..SessionOptions::default() };
    let mut session = device.device().compile(&graph, shape, &options)?;
    if let Some(path) = args.weights.as_deref().map(weights_file).or(own) {
        session.restore(&weights(&graph, &path, args.names.as_deref(), dtype, output)?)?;
    }
    let forward = if args.step {
        carry::step(session.as_mut(), &batch, carry.as_ref())?
    } else {
        session.forward(&batch, carry.as_ref())?
    };
    write(&args.output, &forward.outputs, dtype, output)?;
    if let Some(path) = &args.carry_out {
        carry::write(path, &forward.carry, &graph)?;
        wrote(path, &forward.carry.tensors(), output)?;
    }
    if let (Some(path), Some(cotangents)) = (&args.grads, cotangents) {
        let mut gradients = session.gradients(&batch, Objective::Cotangents(&cotangents))?;
        let own = only_input(&graph).and_then(|name| gradients.inputs.remove(name));
        let mut all = gradients.params;
        all.extend(own.map(|tensor| (INPUT.to_owned(), tensor)));
        all.extend(gradients.inputs);
        write(path, &all, dtype, output)?;
    }
    Ok(code)
}

/// Name of a block's only input in files, independent of the program.
const INPUT: &str = "input";

fn only_input(graph: &Graph) -> Option<&str> {
    match graph.inputs.as_slice() {
        [only] => Some(&only.name),
        _ => None,
    }
}

/// Batch from the tensors of a file. The session checks it against the program.
fn batch(graph: &Graph, given: &Tensors) -> Result<Batch, Diagnostic> {
    let mut batch = Batch::default();
    let names = || given.keys().cloned().collect::<Vec<_>>().join(", ");
    if graph.vocab.is_some() {
        let Some(tokens) = given.get("tokens") else {
            return Err(Diagnostic::error("E0802", "the input file has no `tokens`")
                .note(format!("it holds: {}", names()))
                .help("a model reads a tensor `tokens` of shape [batch, tokens]"));
        };
        batch.tokens = ids(tokens)?;
        (batch.batch, batch.len) = leading("tokens", tokens)?;
    }
    for input in &graph.inputs {
        // A single input may also have its name from the program; several inputs must.
        let plain = only_input(graph).and_then(|_| given.get(INPUT));
        let Some(tensor) = plain.or_else(|| given.get(&input.name)) else {
            let wanted = if only_input(graph).is_some() { INPUT } else { &input.name };
            return Err(Diagnostic::error("E0802", format!("the input file has no `{wanted}`"))
                .note(format!("it holds: {}", names()))
                .help(format!("add a tensor `{wanted}` of shape [batch, tokens, axes of `{}`]", input.name)));
        };
        (batch.batch, batch.len) = leading(&input.name, tensor)?;
        batch.inputs.insert(input.name.clone(), tensor.clone());
    }
    if let Some(reset) = given.get("reset") {
        if reset.shape != [batch.batch, batch.len] {
            let message = format!("`reset` has shape {:?}, not {:?}", reset.shape, [batch.batch, batch.len]);
            return Err(Diagnostic::error("E0803", message).help("give one number a token, 1 where a document starts"));
        }
        batch.reset = reset.data.iter().map(|x| *x != 0.0).collect();
    }
    Ok(batch)
}

/// Batch size and number of tokens, the first two lengths of a shape.
fn leading(name: &str, tensor: &Tensor) -> Result<(usize, usize), Diagnostic> {
    match tensor.shape.as_slice() {
        [batch, len, ..] => Ok((*batch, *len)),
        other => Err(Diagnostic::error("E0803", format!("the input `{name}` has shape {other:?}"))
            .help("the first two lengths are batch and tokens, as in [1, 64, D]")),
    }
}

/// Converts numbers to token ids.
fn ids(tokens: &Tensor) -> Result<Vec<u32>, Diagnostic> {
    let id = |(at, x): (usize, &f64)| {
        if x.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(x) {
            return Ok(*x as u32);
        }
        Err(Diagnostic::error("E0804", format!("`tokens` holds {x} at element {at}, which is no token id"))
            .help("token ids are whole numbers from 0"))
    };
    tokens.data.iter().enumerate().map(id).collect()
}

/// Name of an output's weights: `R`, or `R.NAME` for each of several outputs.
fn weight_name(graph: &Graph, output: &str) -> String {
    if graph.outputs.len() > 1 { format!("R.{output}") } else { "R".to_owned() }
}

/// Weights (cotangents) of the outputs, by output.
fn cotangents(graph: &Graph, given: &Tensors) -> Result<Tensors, Diagnostic> {
    let names: Vec<String> = graph.outputs.iter().map(|o| weight_name(graph, &o.name)).collect();
    let found: Tensors = graph
        .outputs
        .iter()
        .zip(&names)
        .filter_map(|(o, name)| Some((o.name.clone(), given.get(name)?.clone())))
        .collect();
    if found.is_empty() {
        let wanted = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        return Err(Diagnostic::error("E0844", format!("the input file has no {wanted} to differentiate with"))
            .help("--grads writes the gradients of sum(output * R): add R, of the output's shape"));
    }
    Ok(found)
}

/// Random inputs for `--random`, in the layout of an input file.
fn random(args: &Args, graph: &Graph, dtype: Dtype, output: &Output) -> Result<Tensors, Stop> {
    let (batch, len) = (args.batch, args.length);
    let stream = |name: &str| Stream::new(&[b"forward", &args.seed.to_le_bytes(), name.as_bytes()]);
    let normal = |name: &str, axes: &[AxisId]| {
        let shape: Vec<usize> = [batch, len].into_iter().chain(axes.iter().map(|&a| graph.size(a))).collect();
        let mut stream = stream(name);
        let count = shape.iter().product();
        let numbers = std::iter::repeat_with(|| stream.normal_pair()).flatten().take(count);
        // Rounded as a file of this type stores them, so that a saved file gives the same outputs.
        let data = numbers.map(|x| if dtype == Dtype::F32 { f64::from(x as f32) } else { x }).collect();
        (name.to_owned(), Tensor { shape, data })
    };
    let mut made = Tensors::new();
    if let Some(vocab) = graph.vocab.map(|axis| graph.size(axis)) {
        let mut stream = stream("tokens");
        let data = (0..batch * len).map(|_| (stream.uniform() * vocab as f64).floor()).collect();
        made.insert("tokens".to_owned(), Tensor { shape: vec![batch, len], data });
    }
    made.extend(graph.inputs.iter().map(|i| normal(only_input(graph).map_or(&i.name, |_| INPUT), &i.axes)));
    if args.grads.is_some() {
        made.extend(graph.outputs.iter().map(|o| normal(&weight_name(graph, &o.name), &o.axes)));
    }
    let list: Vec<String> = made.iter().map(|(name, tensor)| format!("{name} {:?}", tensor.shape)).collect();
    let what = if graph.vocab.is_some() { "uniform tokens, else standard normal" } else { "standard normal" };
    output.note(&format!("random inputs of seed {}, {what}: {}", args.seed, list.join(", ")))?;
    let shapes: Vec<Value> = made.iter().map(|(n, t)| json!({ "name": n, "shape": t.shape })).collect();
    output.object("random", json!({ "seed": args.seed, "tensors": shapes }))?;
    if let Some(path) = &args.save_input {
        write(path, &made, dtype, output)?;
    }
    Ok(made)
}

/// Parameters from a file: weights of any program, or a checkpoint of `archc train`.
fn weights(graph: &Graph, path: &Path, names: Option<&Path>, dtype: Dtype, output: &Output) -> Result<Snapshot, Stop> {
    let (tensors, notes) = read_tensors_and_notes(path)?;
    let mut snapshot = if notes.contains_key("archc") {
        decode_weights(&load::bytes(path)?, path)?
    } else {
        Snapshot { params: tensors, ..Snapshot::default() }
    };
    let mut findings = Vec::new();
    if let Some(map) = names {
        let renamed = names::rename(graph, std::mem::take(&mut snapshot.params), path, map)?;
        renamed.tell(output)?;
        (snapshot.params, findings) = (renamed.tensors, renamed.findings);
    }
    findings.extend(misfits(graph, &snapshot.params, dtype));
    if findings.is_empty() { Ok(snapshot) } else { Err(Stop::Findings(findings, Box::default())) }
}

fn write(path: &Path, tensors: &Tensors, dtype: Dtype, output: &Output) -> Result<(), Stop> {
    write_tensors(path, tensors, dtype)?;
    wrote(path, tensors, output)
}

fn wrote(path: &Path, tensors: &Tensors, output: &Output) -> Result<(), Stop> {
    let shapes: Vec<Value> = tensors.iter().map(|(n, t)| json!({ "name": n, "shape": t.shape })).collect();
    output.object("wrote", json!({ "file": path.display().to_string(), "tensors": shapes }))?;
    let list: Vec<String> = tensors.iter().map(|(n, t)| format!("{n} {:?}", t.shape)).collect();
    match list.len() {
        0..=4 => output.text(&format!("wrote {}: {}\n", path.display(), list.join(", "))),
        n => output.text(&format!("wrote {}: {n} tensors\n", path.display())),
    }
}
