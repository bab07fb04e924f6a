//! Stages of the compiler in order; a table of contents.
//!
//! [`compile`]: parse, resolve, elaborate, simplify, check. Accepted programs become a [`Graph`]. [`joint`]: lower, and where gradients are
//! wanted differentiate and recompute, for one [`Purpose`]. [`plan_for`]: the plan of the result at one batch shape. Sessions,
//! `archc build --emit`, snapshots, the search and the benchmarks use these stages, so the printed program is the one that runs.

use crate::checks::{CostReport, StateBound, check};
use crate::diag::{self, Diagnostic};
use crate::elaborate::{Sizes, elaborate, errors};
use crate::gradient::{Seed, Wanted, differentiate, recompute};
use crate::graph::{Graph, verify};
use crate::hir::{CallableKind, Callee, ExprKind, ItemRef, Library, Module, TypeTable, nearest};
use crate::lower::{LowerOptions, lower};
use crate::lowered::{Lowered, Shape};
use crate::plan::{self, Plan};
use crate::source::{FileId, SourceMap};
use crate::target::Target;
use crate::work;
use std::sync::Arc;

/// Target of a compilation, and its sizes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Name of the block or model; optional if the file has only one.
    pub block: Option<String>,
    /// Sizes, vocabulary, standard stack.
    pub sizes: Sizes,
}

/// Results of compiling a program up to its checks.
#[derive(Debug)]
pub struct Compilation {
    /// The resolved file, or that of the target where it is imported; none after syntax errors.
    pub module: Option<Arc<Module>>,
    /// The compiled block or model.
    pub target: Option<ItemRef>,
    /// Types of the target's expressions.
    pub types: TypeTable,
    /// The checked graph; none after an error.
    pub graph: Option<Graph>,
    /// Its cost; none after an error.
    pub cost: Option<CostReport>,
    /// Bounds on the growth of each state of a scan.
    pub states: Vec<StateBound>,
    /// Diagnostics, in order of place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Compilation {
    /// Whether there is an error.
    pub fn failed(&self) -> bool {
        self.graph.is_none() || self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Whether the target is a model, which has its own layers and vocabulary.
    pub fn is_model(&self) -> bool {
        let callable = self.module.as_ref().zip(self.target).map(|(m, target)| &m.callables[target.index as usize]);
        callable.is_some_and(|callable| callable.kind == CallableKind::Model)
    }

    /// The graph, or the diagnostics.
    ///
    /// # Errors
    /// The diagnostics, at least one of them an error.
    pub fn into_graph(self) -> Result<Graph, Vec<Diagnostic>> {
        if self.failed() {
            return Err(self.diagnostics);
        }
        self.graph.ok_or(self.diagnostics)
    }
}

/// Sequence length at which costs are shown, in tokens.
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
    if result.module.is_some() {
        match select(&library, file, options.block.as_deref()) {
            Ok(target) => {
                result.target = Some(target);
                result.module = Some(library.module(target.module));
                // a fault found in the source would only be reported again in another form
                if !result.diagnostics.iter().any(Diagnostic::is_error) {
                    instantiate(&library, target, &options.sizes, &mut result);
                }
            }
            Err(d) if result.diagnostics.iter().any(Diagnostic::is_error) => drop(d),
            Err(d) => result.diagnostics.push(*d),
        }
    }
    let target = result.target;
    result.diagnostics.retain(|d| !library.allows(target, d));
    diag::sort(&mut result.diagnostics);
    result
}

/// What a session is asked to do with a graph, and for which batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Outputs, going on from a carry and leaving one.
    Forward,
    /// Gradients by parameters and inputs.
    Gradients(Seed),
    /// A training step: gradients of the objective by parameters, with dropout, then the update.
    Step,
}

/// One call of a session: what a graph is lowered and differentiated for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Purpose {
    /// Options of lowering.
    pub options: LowerOptions,
    /// Requested gradients; none: the forward pass only.
    pub gradients: Option<Wanted>,
}

impl Purpose {
    /// A call on sequences of `len` tokens, in f32. `resets`: documents may start inside of the sequences.
    pub fn of(call: Call, target: Target, len: usize, resets: bool) -> Self {
        let plain = LowerOptions { resets, ..LowerOptions::plain(target, len) };
        let wanted = |seed| Wanted { seed, inputs: true, params: true, update: false, exact: false };
        match call {
            Call::Forward => Self { options: LowerOptions { carry: true, ..plain }, gradients: None },
            Call::Gradients(seed) => {
                let options = LowerOptions { losses: seed == Seed::Loss, ..plain };
                Self { options, gradients: Some(wanted(seed)) }
            }
            Call::Step => Self {
                options: LowerOptions { losses: true, training: true, ..plain },
                gradients: Some(Wanted { inputs: false, update: true, ..wanted(Seed::Loss) }),
            },
        }
    }

    /// A training step in f32 on sequences of `len` tokens, each one document. A graph without an objective cannot be trained alone: for it,
    /// the gradients of sum(output * R) by parameters and inputs.
    pub fn training(graph: &Graph, target: Target, len: usize) -> Self {
        let call = if graph.has_objective() { Call::Step } else { Call::Gradients(Seed::Cotangents) };
        Self::of(call, target, len, false)
    }

    /// The same for f64, where gradients keep digits that f32 rounds away.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.gradients = self.gradients.map(|wanted| Wanted { exact: true, ..wanted });
        self
    }
}

/// A stage after the checked graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Turns scans into chunks, attends into tiles.
    Lower,
    /// Appends the gradients.
    Differentiate,
    /// Chooses the values that the backward pass computes again.
    Recompute,
    /// Plans kernels over buffers.
    Plan,
    /// Checks the plan's invariants.
    Verify,
}

/// Lowers a checked graph and appends the requested gradients. `after` is called with each completed stage.
pub fn joint(graph: &Arc<Graph>, purpose: &Purpose, after: &mut dyn FnMut(Stage)) -> Lowered {
    let forward = lower(graph, &purpose.options);
    after(Stage::Lower);
    let Some(wanted) = &purpose.gradients else { return forward };
    let joint = differentiate(&forward, wanted);
    after(Stage::Differentiate);
    let joint = recompute(&joint);
    after(Stage::Recompute);
    joint
}

/// Plan of a checked graph for a purpose and a batch shape. `after` is called with each completed stage.
pub fn plan_for(graph: &Arc<Graph>, purpose: &Purpose, shape: Shape, after: &mut dyn FnMut(Stage)) -> Plan {
    let joint = Arc::new(joint(graph, purpose, after));
    planned(&joint, shape, &purpose.options.target, after)
}

/// Plan of a lowered or joint graph, with its invariants verified. `after` is called with each completed stage.
///
/// # Panics
/// If an invariant is broken: a bug of archc.
pub fn planned(graph: &Arc<Lowered>, shape: Shape, target: &Target, after: &mut dyn FnMut(Stage)) -> Plan {
    let plan = plan::plan(graph, shape, target);
    after(Stage::Plan);
    if let Err(why) = plan::verify(&plan) {
        panic!("archc bug: {why}\n{}", plan::print(&plan));
    }
    after(Stage::Verify);
    plan
}

fn instantiate(library: &Library, target: ItemRef, sizes: &Sizes, result: &mut Compilation) {
    let elaborated = elaborate(library, target, sizes);
    result.types = elaborated.types;
    result.diagnostics.extend(elaborated.diagnostics);
    let Some(graph) = elaborated.graph else {
        if !result.diagnostics.iter().any(Diagnostic::is_error) {
            result.diagnostics.push(errors::silent(target_place(library, target)));
        }
        return;
    };
    if let Err(problem) = verify(&graph) {
        panic!("archc bug: elaborate made an invalid graph: {problem}\n{}", crate::graph::print(&graph));
    }
    let checked = match work::bounded(|| check(&graph, COST_TOKENS)) {
        Ok(checked) => checked,
        Err(error) => return result.diagnostics.push(error),
    };
    // a helper need not mix time: its callers do
    let helper = is_called(library, target);
    result.diagnostics.extend(checked.diagnostics.into_iter().filter(|d| !(helper && d.code == "W0604")));
    result.cost = Some(checked.cost);
    result.states = checked.states;
    result.graph = Some(checked.graph);
}

/// Whether an expression of its file calls the target.
fn is_called(library: &Library, target: ItemRef) -> bool {
    let (module, _) = library.callable(target);
    let calls = |kind: &ExprKind| matches!(kind, ExprKind::Call(call) if call.callee == Callee::Item(target));
    module.exprs.iter().any(|e| calls(&e.kind))
}

/// Place of the target's name.
fn target_place(library: &Library, target: ItemRef) -> crate::source::Place {
    let (module, callable) = library.callable(target);
    module.place(callable.name.span)
}

/// The blocks and models of a module.
pub fn targets(module: &Module) -> Vec<ItemRef> {
    let is_target = |(i, c): (usize, &Arc<crate::hir::Callable>)| {
        (c.kind != CallableKind::Fn).then_some(ItemRef { module: module.id, index: i as u32 })
    };
    module.callables.iter().enumerate().filter_map(is_target).collect()
}

/// Compilable items of a file: its blocks and models by name, or if it has none, those that it imports.
pub fn offers(library: &Library, file: FileId) -> Vec<(String, ItemRef)> {
    let Some(module) = library.user_module(file) else { return Vec::new() };
    let named = |t: ItemRef| (module.callables[t.index as usize].name.name.clone(), t);
    let own: Vec<(String, ItemRef)> = targets(&module).into_iter().map(named).collect();
    if own.is_empty() { library.imports(file) } else { own }
}

/// Selects the block or model: the named one, the only one, or the only model among helpers.
fn select(library: &Library, file: FileId, name: Option<&str>) -> Result<ItemRef, Box<Diagnostic>> {
    let targets = offers(library, file);
    let names: Vec<&str> = targets.iter().map(|t| t.0.as_str()).collect();
    let error = |message: String, help: String| Err(Box::new(Diagnostic::error("E0314", message).help(help)));
    if let Some(name) = name {
        let imports = library.imports(file);
        if let Some((_, item)) = targets.iter().chain(&imports).find(|t| t.0 == name) {
            return Ok(*item);
        }
        let all = names.iter().copied().chain(imports.iter().map(|i| i.0.as_str()));
        let help = match nearest(name, all.clone()) {
            Some(near) => format!("did you mean `--block {near}`?"),
            None => format!("it has {}", all.collect::<Vec<_>>().join(", ")),
        };
        return error(format!("the file has no block or model `{name}`"), help);
    }
    let is_model = |t: &&(String, ItemRef)| library.callable(t.1).1.kind == CallableKind::Model;
    let models: Vec<&(String, ItemRef)> = targets.iter().filter(is_model).collect();
    match (targets.as_slice(), models.as_slice()) {
        ([only], _) => Ok(only.1),
        (_, [model]) => Ok(model.1),
        ([], _) => {
            error("the file has no block and no model".into(), "write `block Name[D] { input x[D] ... }`".into())
        }
        _ => error(
            format!("the file has {} blocks and models", targets.len()),
            format!("name one: `--block {}`", names.join("`, `--block ")),
        ),
    }
}
