//! The stages in order; this reads as the table of contents of the compiler.

use crate::checks::{CostReport, StateBound, check};
use crate::diag::{self, Diagnostic};
use crate::elaborate::{Sizes, elaborate};
use crate::graph::{Graph, verify};
use crate::hir::{CallableKind, ItemRef, Library, Module, TypeTable, nearest};
use crate::source::{FileId, SourceMap};
use crate::work;
use std::sync::Arc;

/// What to compile, and for which sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The block or model; may be left out where the file has only one.
    pub block: Option<String>,
    /// Sizes, vocabulary, standard stack.
    pub sizes: Sizes,
}

/// Everything that is known about a program after its checks.
#[derive(Debug)]
pub struct Compilation {
    /// The resolved file; none after syntax errors.
    pub module: Option<Arc<Module>>,
    /// What was compiled.
    pub target: Option<ItemRef>,
    /// Types of the target's expressions.
    pub types: TypeTable,
    /// The checked graph; none after an error.
    pub graph: Option<Graph>,
    /// Its cost; none after an error.
    pub cost: Option<CostReport>,
    /// What is known about the growth of each state of a scan.
    pub states: Vec<StateBound>,
    /// Findings, in order of place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Compilation {
    /// Whether something was refused.
    pub fn failed(&self) -> bool {
        self.graph.is_none() || self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The graph, or the findings.
    ///
    /// # Errors
    /// The findings, at least one of them an error.
    pub fn into_graph(self) -> Result<Graph, Vec<Diagnostic>> {
        if self.failed() {
            return Err(self.diagnostics);
        }
        self.graph.ok_or(self.diagnostics)
    }
}

/// The length at which costs are shown.
pub const COST_TOKENS: usize = 1024;

/// Compiles a block or model of a file: parse, resolve, elaborate, simplify, check.
pub fn compile(sources: &SourceMap, file: FileId, options: &Options) -> Compilation {
    let (library, diagnostics) = Library::load(sources, file);
    let module = library.user_module(file);
    let mut result = Compilation {
        module,
        target: None,
        types: TypeTable::new(),
        graph: None,
        cost: None,
        states: Vec::new(),
        diagnostics,
    };
    if let Some(module) = result.module.clone() {
        match select(&module, options.block.as_deref()) {
            Ok(target) => {
                result.target = Some(target);
                // A fault found on the source would only come back in another form.
                if !result.diagnostics.iter().any(Diagnostic::is_error) {
                    instantiate(&library, target, &options.sizes, &mut result);
                }
            }
            Err(d) if result.diagnostics.iter().any(Diagnostic::is_error) => drop(d),
            Err(d) => result.diagnostics.push(*d),
        }
    }
    diag::sort(&mut result.diagnostics);
    result
}

fn instantiate(library: &Library, target: ItemRef, sizes: &Sizes, result: &mut Compilation) {
    let elaborated = elaborate(library, target, sizes);
    result.types = elaborated.types;
    result.diagnostics.extend(elaborated.diagnostics);
    let Some(graph) = elaborated.graph else { return };
    if let Err(problem) = verify(&graph) {
        panic!("archc bug: elaborate made an invalid graph: {problem}\n{}", crate::graph::print(&graph));
    }
    let checked = match work::bounded(|| check(&graph, COST_TOKENS)) {
        Ok(checked) => checked,
        Err(error) => return result.diagnostics.push(error),
    };
    result.diagnostics.extend(checked.diagnostics);
    result.cost = Some(checked.cost);
    result.states = checked.states;
    result.graph = Some(checked.graph);
}

/// The blocks and models of a module.
pub fn targets(module: &Module) -> Vec<ItemRef> {
    let is_target = |(i, c): (usize, &Arc<crate::hir::Callable>)| {
        (c.kind != CallableKind::Fn).then_some(ItemRef { module: module.id, index: i as u32 })
    };
    module.callables.iter().enumerate().filter_map(is_target).collect()
}

/// The block or model that is meant.
fn select(module: &Module, name: Option<&str>) -> Result<ItemRef, Box<Diagnostic>> {
    let targets = targets(module);
    let named = |t: &ItemRef| module.callables[t.index as usize].name.name.as_str();
    let names: Vec<&str> = targets.iter().map(named).collect();
    let error = |message: String, help: String| Err(Box::new(Diagnostic::error("E0314", message).help(help)));
    match (name, targets.as_slice()) {
        (Some(name), _) => match names.iter().position(|n| *n == name) {
            Some(i) => Ok(targets[i]),
            None => {
                let help = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean `--block {near}`?"),
                    None => format!("it has {}", names.join(", ")),
                };
                error(format!("the file has no block or model `{name}`"), help)
            }
        },
        (None, [only]) => Ok(*only),
        (None, []) => {
            error("the file has no block and no model".into(), "write `block Name[D] { input x[D] ... }`".into())
        }
        (None, _) => error(
            format!("the file has {} blocks and models", targets.len()),
            format!("name one: `--block {}`", names.join("`, `--block ")),
        ),
    }
}
