//! `archc build`: output of the compiler's stages for a program, as text.

use crate::load::{self, Program};
use crate::output::{Done, Output};
use crate::sizes::{ModelArgs, SizeArgs};
use crate::tree;
use archc_compiler::gradient::Seed;
use archc_compiler::graph::Graph;
use archc_compiler::hir::{self, Library};
use archc_compiler::lower::lower;
use archc_compiler::lowered::Shape;
use archc_compiler::{Call, Purpose, Target, compile, graph, joint, lowered, plan, plan_for, work};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// Print what a stage of the compiler makes of a program
#[derive(clap::Args)]
#[command(after_help = "\
Stages:
  ast     the tree as it was parsed, every operator in parentheses
  hir     names resolved, pipes as calls, types where known
  graph   one tensor op a line, at the sizes given, after the checks and passes
  dot     the same for Graphviz
  lowered the same as tensor ops over batch and time, scans as chunks or loops
  joint   that with its gradients: of the objective, or of sum(output * R) for a block without one
  plan    the kernels and buffers for a batch of --batch sequences of --tokens tokens
The last three are those of a session's call (--call); by default of a training step.

Examples:
  archc build block.arch
  archc build block.arch --emit hir --set D=32
  archc build block.arch --emit plan --layers 2 --batch 8 --tokens 256
  archc build block.arch --emit plan --call forward --batch 1 --tokens 1 --carried 256
  archc build block.arch --emit dot | dot -Tsvg > block.svg")]
pub struct Args {
    /// The program; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The stage to print: ast, hir, graph, dot, lowered, joint or plan
    #[arg(long, value_name = "STAGE", default_value = "graph", hide_possible_values = true)]
    emit: Stage,
    /// Sequences of the batch that a plan is made for
    #[arg(long, value_name = "B", default_value = "4")]
    batch: NonZeroUsize,
    /// Tokens a sequence of the batch that a plan is made for
    #[arg(long, value_name = "T", default_value = "128")]
    tokens: NonZeroUsize,
    /// What a session is asked for: step (a training step; without an objective gradients), gradients or forward
    #[arg(long, value_name = "CALL", default_value = "step", hide_possible_values = true)]
    call: Wish,
    /// Documents start inside of the sequences
    #[arg(long)]
    documents: bool,
    /// Tokens before the piece that attends have room for (--call forward)
    #[arg(long, value_name = "N", default_value = "0")]
    carried: usize,
    #[command(flatten)]
    sizes: SizeArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    Ast,
    Hir,
    Graph,
    Dot,
    Lowered,
    Joint,
    Plan,
}

/// See `--call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Wish {
    Step,
    Gradients,
    Forward,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let program = load::load(&args.file)?;
    if args.emit == Stage::Ast {
        return ast(&program, output);
    }
    let compilation = compile(&program.sources, program.file, &args.sizes.with(&args.model));
    let code = output.findings(&compilation.diagnostics, &program.sources)?;
    let made = work::bounded(|| {
        match (args.emit, &compilation.graph) {
            // hir is available, with the known types, even if the graph is refused
            (Stage::Hir, _) => compilation.module.as_ref().zip(compilation.target).map(|(module, target)| {
                hir::print(module, &module.callables[target.index as usize], &compilation.types)
            }),
            (Stage::Graph, Some(graph)) => Some(graph::print(graph)),
            (Stage::Dot, Some(graph)) => Some(graph::print_dot(graph)),
            (stage, Some(graph)) => lowered_stage(stage, graph, args),
            _ => None,
        }
    });
    match made {
        Ok(Some(text)) => output.raw(&text)?,
        Ok(None) => {}
        Err(error) => return output.findings(&[error], &program.sources),
    }
    Ok(code)
}

/// A stage after the checked graph, as a session's call runs it.
fn lowered_stage(stage: Stage, graph: &Graph, args: &Args) -> Option<String> {
    let graph = Arc::new(graph.clone());
    let carried = if args.call == Wish::Forward { args.carried } else { 0 };
    let shape = Shape { batch: args.batch.get(), len: args.tokens.get(), carried };
    let seed = if graph.has_objective() { Seed::Loss } else { Seed::Cotangents };
    let call = match args.call {
        Wish::Step if seed == Seed::Loss => Call::Step,
        Wish::Step | Wish::Gradients => Call::Gradients(seed),
        Wish::Forward => Call::Forward,
    };
    let purpose = Purpose::of(call, Target::cpu(), shape.len, args.documents);
    match stage {
        Stage::Lowered => Some(lowered::print(&lower(&graph, &purpose.options))),
        Stage::Joint => Some(lowered::print(&joint(&graph, &purpose, &mut |_| ()))),
        Stage::Plan => Some(plan::print(&plan_for(&graph, &purpose, shape, &mut |_| ()))),
        Stage::Ast | Stage::Hir | Stage::Graph | Stage::Dot => None,
    }
}

fn ast(program: &Program, output: &Output) -> Done {
    let parsed = archc_grammar::parse(program.text());
    let mut code = 0;
    if !parsed.errors.is_empty() {
        let (_, findings) = Library::load(&program.sources, program.file);
        code = output.findings(&findings, &program.sources)?;
    }
    output.raw(&tree::print(&parsed.file, program.text()))?;
    Ok(code)
}
