//! `archc params`: parameters of a program by path, as in checkpoints.

use crate::load;
use crate::output::{Done, Output};
use crate::sizes::{ModelArgs, SizeArgs};
use archc_compiler::compile;
use archc_compiler::graph::{Graph, ParamId, ParamKind};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// List parameters: paths, shapes, kinds
#[derive(clap::Args)]
#[command(after_help = "\
The paths and shapes are those of safetensors files: what `archc forward --weights` reads and what
`archc train` writes.

Examples:
  archc params block.arch
  archc params block.arch --set D=128
  archc params block.arch --layers 2              the model that `archc train` makes of a block
  archc params block.arch --message-format json")]
pub struct Args {
    /// The program; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let program = load::load(&args.file)?;
    let compilation = compile(&program.sources, program.file, &args.sizes.with(&args.model));
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let Some(graph) = &compilation.graph else { return Ok(code) };
    let rows: Vec<Row> = (0..graph.params.len()).map(|i| Row::new(graph, ParamId(i as u32))).collect();
    for row in &rows {
        let axes: Vec<Value> = row.axes.iter().map(|(n, s)| json!([n, s])).collect();
        output.object(
            "param",
            json!({ "path": row.path, "shape": row.shape(), "axes": axes, "numbers": row.numbers(), "type": row.kind }),
        )?;
    }
    output.text(&table(&rows))?;
    Ok(code)
}

struct Row<'a> {
    path: &'a str,
    axes: Vec<(&'a str, usize)>,
    kind: &'static str,
}

impl<'a> Row<'a> {
    fn new(graph: &'a Graph, id: ParamId) -> Self {
        let param = graph.param(id);
        let axes = param.axes.iter().map(|a| (graph.axis(*a).name.as_str(), graph.size(*a))).collect();
        let kind = match param.kind {
            ParamKind::Weight => "weight",
            ParamKind::Bias => "bias",
            ParamKind::Embedding => "embedding",
            ParamKind::Free => "param",
            ParamKind::Prefix => "prefix",
        };
        Self { path: &param.path, axes, kind }
    }

    fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|(_, size)| *size).collect()
    }

    fn numbers(&self) -> usize {
        self.shape().into_iter().fold(1, usize::saturating_mul)
    }

    fn shape_text(&self) -> String {
        let axes: Vec<String> = self.axes.iter().map(|(name, size)| format!("{name}={size}")).collect();
        format!("[{}]", axes.join(", "))
    }
}

fn table(rows: &[Row<'_>]) -> String {
    let width = |f: &dyn Fn(&Row<'_>) -> usize, least: usize| rows.iter().map(f).fold(least, usize::max);
    let path = width(&|r| r.path.len(), 5);
    let shape = width(&|r| r.shape_text().len(), 5);
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{:path$}  {:shape$}  {:>9}  {}", row.path, row.shape_text(), row.numbers(), row.kind);
    }
    let total = rows.iter().map(Row::numbers).fold(0, usize::saturating_add);
    let _ = writeln!(text, "{:path$}  {:shape$}  {total:>9}", "total", "");
    text
}
