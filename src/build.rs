//! `archc build`: what the stages of the compiler make of a program, as text.

use crate::load::{self, Program};
use crate::output::{Done, Output};
use crate::sizes::{ModelArgs, SizeArgs};
use crate::tree;
use archc_compiler::gradient::{Seed, Wanted, differentiate, recompute};
use archc_compiler::graph::Graph;
use archc_compiler::hir::{self, Library};
use archc_compiler::lower::{LowerOptions, lower};
use archc_compiler::lowered::{Lowered, Shape};
use archc_compiler::plan;
use archc_compiler::{compile, graph, lowered, work};
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
  lowered the same as tensor ops over batch and time, scans as chunks or loops, with the objective of training
  joint   that with its gradients: of the objective, or of sum(output * R) for a block without one
  plan    the kernels and buffers of a training step for a batch of --batch sequences of --tokens tokens

Examples:
  archc build block.arch
  archc build block.arch --emit hir --set D=32
  archc build block.arch --emit plan --layers 2 --batch 8 --tokens 256
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
            // hir is there, with the types that are known, even where the graph is refused
            (Stage::Hir, _) => compilation.module.as_ref().zip(compilation.target).map(|(module, target)| {
                hir::print(module, &module.callables[target.index as usize], &compilation.types)
            }),
            (Stage::Graph, Some(graph)) => Some(graph::print(graph)),
            (Stage::Dot, Some(graph)) => Some(graph::print_dot(graph)),
            (Stage::Lowered, Some(graph)) => Some(lowered::print(&lowered_for_training(graph, args.tokens.get()))),
            (Stage::Joint, Some(graph)) => Some(lowered::print(&joint(graph, args.tokens.get()))),
            (Stage::Plan, Some(graph)) => {
                let shape = Shape { batch: args.batch.get(), len: args.tokens.get(), carried: 0 };
                Some(plan::print(&plan::plan(&Arc::new(joint(graph, shape.len)), shape)))
            }
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

fn lowered_for_training(graph: &Graph, tokens: usize) -> Lowered {
    lower(&Arc::new(graph.clone()), &LowerOptions::training(tokens))
}

fn joint(graph: &Graph, tokens: usize) -> Lowered {
    let forward = lowered_for_training(graph, tokens);
    let seed = if forward.objective.is_some() { Seed::Loss } else { Seed::Cotangents };
    let wanted = Wanted { seed, inputs: seed == Seed::Cotangents, params: true, exact: false };
    recompute(&differentiate(&forward, &wanted))
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
