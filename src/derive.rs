//! `archc derive`: derivation of each scan's chunk form, with its own check.

use crate::load;
use crate::output::{Done, Output};
use crate::sizes::{ModelArgs, SizeArgs};
use archc_compiler::hir::Library;
use archc_compiler::scan::{ScanClass, Scans, derive};
use archc_compiler::{compile, offers, work};
use serde_json::json;
use std::path::PathBuf;

/// Show how each scan of a program becomes chunks
#[derive(clap::Args)]
#[command(after_help = "\
For every scan that runs in chunks: the recurrence as it was classified, the equations of a chunk, their gradients,
and how far the chunk form is from the token loop in f64 on random numbers. For the others: why they do not.

Examples:
  archc derive block.arch
  archc derive models.arch --block GatedDeltaNet --latex")]
pub struct Args {
    /// The program; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// As LaTeX
    #[arg(long)]
    latex: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let program = load::load(&args.file)?;
    let (library, _) = Library::load(&program.sources, program.file);
    let blocks: Vec<String> = match &args.sizes.block {
        None => offers(&library, program.file).into_iter().map(|(name, _)| name).collect(),
        Some(block) => vec![block.clone()],
    };
    let mut worst = 0;
    for block in blocks {
        let mut options = args.sizes.with(&args.model);
        options.block = Some(block.clone());
        let compilation = compile(&program.sources, program.file, &options);
        worst = worst.max(output.findings(&compilation.diagnostics, &program.sources)?);
        let Some(graph) = &compilation.graph else { continue };
        let scans = match work::bounded(|| Scans::of(graph)) {
            Ok(scans) => scans,
            Err(error) => {
                worst = worst.max(output.findings(&[error], &program.sources)?);
                continue;
            }
        };
        for part in scans.classes.parts.values() {
            let head = format!("{block}, scan {}: {}, {}", part.states.join(", "), part.class.name(), part.why);
            let comment = if args.latex { "% " } else { "" };
            match &part.class {
                ScanClass::Chunk(form) => {
                    let derivation = derive(&scans.graph, form);
                    let (text, latex) = (derivation.text(), derivation.latex());
                    output.object(
                        "derivation",
                        json!({ "block": block, "states": part.states, "class": part.class.name(), "why": part.why,
                                "text": text, "latex": latex, "difference": derivation.difference }),
                    )?;
                    output.text(&format!("{comment}{head}\n{}\n", if args.latex { latex } else { text }))?;
                }
                _ => {
                    output.object(
                        "derivation",
                        json!({ "block": block, "states": part.states, "class": part.class.name(), "why": part.why }),
                    )?;
                    output.text(&format!("{comment}{head}\n\n"))?;
                }
            }
        }
    }
    Ok(worst)
}
