//! `archc check`: diagnostics and cost of a program.

use crate::load::{self, Program};
use crate::output::{Done, Output, REFUSED, Stop};
use crate::sizes::{ModelArgs, SizeArgs};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, Op, ParamId};
use archc_compiler::hash::{canonical_hash, family_hash};
use archc_compiler::hir::{CallableKind, Library};
use archc_compiler::scan::{Part, ScanClass, Scans, print_classes};
use archc_compiler::{Compilation, Target, compile, offers, settable, work};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Say what is wrong with programs, and what they cost
#[derive(clap::Args)]
#[command(after_help = "\
Findings go to standard error, the costs of every block and model to standard output. Exit code 2 if
there is an error; warnings alone leave it at 0.

Examples:
  archc check block.arch
  archc check block.arch --set D=128 --set H=8
  archc check seeds/ examples/                    all programs in these folders
  archc check models.arch --block Hybrid --verbose
  archc check block.arch --layers 2               in the standard stack, as `archc train` does
  archc check block.arch --message-format json")]
pub struct Args {
    /// Files and folders; `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Also print hashes, the number of ops of each kind, how each scan runs, and all parameters
    #[arg(long, short)]
    verbose: bool,
    /// Take warnings for errors, as a check in CI does
    #[arg(long)]
    deny_warnings: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let mut worst = 0;
    for path in load::programs(&args.paths)? {
        worst = worst.max(match check(&path, args, output) {
            // An unreadable file does not affect the others.
            Err(Stop::Findings(findings, sources)) => output.findings(&findings, &sources)?,
            other => other?,
        });
    }
    Ok(worst)
}

fn check(path: &Path, args: &Args, output: &Output) -> Done {
    let program = load::load(path)?;
    let (library, findings) = Library::load(&program.sources, program.file);
    let mut worst = told_as(args, output.findings(&findings, &program.sources)?, &findings);
    let mut told = findings;
    let blocks: Vec<(String, Vec<String>)> = match library.user_module(program.file) {
        Some(_) if args.sizes.block.is_none() => {
            let stacked = args.model.layers.is_some();
            let named = |(name, item)| (name, settable(&library, item, stacked));
            offers(&library, program.file).into_iter().map(named).collect()
        }
        // The named block may be missing; the compiler reports that.
        Some(_) => args.sizes.block.iter().map(|name| (name.clone(), Vec::new())).collect(),
        None => Vec::new(),
    };
    if blocks.is_empty() && worst == 0 {
        output.note(&format!("{} has fns only, which are checked where they are called", program.name))?;
    }
    let several = blocks.len() > 1;
    let known: BTreeSet<&str> = blocks.iter().flat_map(|(_, settable)| settable).map(String::as_str).collect();
    for (block, settable) in &blocks {
        let mut options = args.sizes.with(&args.model);
        options.block = Some(block.clone());
        if several {
            // Sizes of one block need not exist in the others; a size that no block has is reported.
            options.sizes.set.retain(|name, _| settable.contains(name) || !known.contains(name.as_str()));
        }
        let compilation = compile(&program.sources, program.file, &options);
        // Diagnostics of the file itself are found again for each of its blocks.
        let new: Vec<Diagnostic> = compilation.diagnostics.iter().filter(|d| !told.contains(*d)).cloned().collect();
        worst = worst.max(told_as(args, output.findings(&new, &program.sources)?, &new));
        told.extend(new);
        report(&program, &compilation, args.verbose, output)?;
    }
    Ok(worst)
}

/// Exit code for diagnostics.
fn told_as(args: &Args, code: u8, findings: &[Diagnostic]) -> u8 {
    if args.deny_warnings && !findings.is_empty() { code.max(REFUSED) } else { code }
}

fn report(program: &Program, compilation: &Compilation, verbose: bool, output: &Output) -> Result<(), Stop> {
    let (Some(graph), Some(cost), Some(target), Some(module)) =
        (&compilation.graph, &compilation.cost, compilation.target, &compilation.module)
    else {
        return Ok(());
    };
    let callable = &module.callables[target.index as usize];
    let kind = if callable.kind == CallableKind::Model { "model" } else { "block" };
    let sizes = sizes(graph);
    if output.is_json() {
        let axes: Vec<Value> = sizes.iter().map(|(n, s)| json!([n, s])).collect();
        let report = json!({
            "file": program.name, "type": kind, "name": callable.name.name, "axes": axes,
            "hash": canonical_hash(graph), "family": family_hash(graph), "cost": cost,
        });
        return output.object("check", report);
    }
    let mut text = format!("{kind} {}", callable.name.name);
    for (i, (name, size)) in sizes.iter().enumerate() {
        let _ = write!(text, "{}{name}={size}", if i == 0 { "  " } else { " " });
    }
    let _ = write!(text, "\n{}", indented(&cost.to_string()));
    if !verbose {
        text.push_str(&indented(&memories(graph)));
    }
    if verbose {
        let (hash, family) = (canonical_hash(graph), family_hash(graph));
        let _ = writeln!(text, "  hash            {hash}, without sizes {family}");
        let _ = writeln!(text, "  ops             {}", ops(graph));
        text.push_str(&indented(&scans(program, graph)));
        for (i, param) in graph.params.iter().enumerate() {
            let _ = writeln!(text, "  param {} {:?}", param.path, graph.param_shape(ParamId(i as u32)));
        }
    }
    text.push('\n');
    output.text(&text)
}

/// The scans of a graph, classified by their execution.
///
/// # Errors
/// A one-line message if the analysis would take too long.
pub fn classified(graph: &Graph) -> Result<Arc<Scans>, String> {
    work::bounded(|| Scans::of(graph)).map_err(|error| format!("scans: {}\n", error.message))
}

/// One line per memory: its execution, with the reason.
fn memories(graph: &Graph) -> String {
    let scans = match classified(graph) {
        Ok(scans) => scans,
        Err(error) => return error,
    };
    // The steps of a solver, or the layers of a model, are executed alike.
    let mut lines: Vec<(String, usize)> = Vec::new();
    for part in scans.classes.parts.values() {
        let line = format!("memory {:<8} {}", part.states.join(", "), how(part));
        match lines.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ => lines.push((line, 1)),
        }
    }
    let mut text = String::new();
    for (line, count) in lines {
        let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
        let _ = writeln!(text, "{line}{times}");
    }
    text
}

/// Execution of a memory, with the reason.
pub fn how(part: &Part) -> String {
    let how = match part.class {
        ScanClass::Chunk(_) => format!("in chunks of {} tokens", Target::cpu().chunk),
        ScanClass::Elementwise(_) => "element by element".to_owned(),
        ScanClass::Sequential(_) => "token by token".to_owned(),
    };
    format!("{how}: {}", part.why)
}

/// Execution of each scan, with the reason.
fn scans(program: &Program, graph: &Graph) -> String {
    let scans = match classified(graph) {
        Ok(scans) => scans,
        Err(error) => return error,
    };
    let place = |part: &Part| {
        let file = program.sources.file(part.place.file);
        let before = &file.text[..(part.place.span.start as usize).min(file.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |i| i + 1) + 1;
        format!("{}:{line}:{column}", file.name)
    };
    print_classes(&scans, Target::cpu().chunk, &place)
}

/// Axes by name, the first of each; axes that calls of fns create are left out if they share a name.
fn sizes(graph: &Graph) -> Vec<(&str, usize)> {
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for axis in &graph.axes {
        if !sizes.iter().any(|(name, _)| *name == axis.name) {
            sizes.push((&axis.name, axis.size));
        }
    }
    sizes
}

/// Number of operations of each kind in the graph, bodies not included.
fn ops(graph: &Graph) -> String {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for id in graph.dag.ids() {
        let kind = match graph.dag.op(id) {
            Op::Scan(_) => "scan",
            Op::Attend(_) => "attend",
            Op::Window { .. } => "window",
            Op::Linear { .. } => "linear",
            Op::Param(_) => "param",
            _ => "other",
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |out, line| out + "  " + line + "\n")
}
