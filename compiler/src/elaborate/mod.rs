//! hir -> graph: instantiates one block or model at given sizes.
//!
//! Elaboration runs the program on symbolic tensors: it visits the statements, inlines calls, unrolls
//! loops, evaluates sizes exactly, checks every axis rule of the language, and appends one node to the
//! graph for every tensor op. There are three kinds of numeric values (`Value`): compile-time numbers
//! (sizes, hyperparameters, literals), tensors, and recipes (inits that contain draws, realised once for
//! each parameter).
//!
//! Hoisting is by construction. A tensor has a level: the outer graph, or the body of the scan,
//! attend or init that is being built. An op is built at the level of its operands, so an expression in a
//! `scan` that does not read the state is built outside, and the body captures it.
//!
//! After an error the value is `Value::Error`, which silences everything that follows from it.

mod arguments;
mod attend;
mod axes;
mod builtin;
mod call;
mod codes;
mod context;
mod elementwise;
pub(crate) mod errors;
mod layout;
mod learned;
mod params;
mod scan;
mod size;
mod stmt;
mod value;

pub use codes::CODES;

use crate::diag::Diagnostic;
use crate::graph::{Graph, Rate};
use crate::hir::{Callable, CallableKind, ItemRef, Library, Module, ModuleId, StmtKind, TypeTable};
use crate::source::Place;
use crate::stdlib;
use context::Context;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use value::{Frame, Value};

/// An error was reported; the caller reports nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

type Eval<T> = Result<T, Failed>;

/// Sizes of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// `--set D=64`: axes of the block's brackets, and hyperparameters.
    pub set: BTreeMap<String, f64>,
    /// Size of the vocabulary of models.
    pub vocab: usize,
    /// Number of layers of the standard stack around a block, if it is put into one.
    pub layers: Option<usize>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { set: BTreeMap::new(), vocab: 256, layers: None }
    }
}

/// Default size of `D`.
pub const DEFAULT_D: f64 = 64.0;

/// Maximum number of nodes of one graph, bodies included (loops are unrolled).
pub(crate) const MAX_NODES: usize = 200_000;

/// Reference by which the standard stack calls the trained block.
pub(crate) const MIXER: ItemRef = ItemRef { module: ModuleId(u32::MAX), index: 0 };

/// Results of elaboration.
#[derive(Debug)]
pub struct Elaborated {
    /// The graph; none after an error.
    pub graph: Option<Graph>,
    /// Types of the target's own expressions.
    pub types: TypeTable,
    /// Findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Names that `--set` may use for a block or model: its axes and hyperparameters, and for a block in the standard stack D.
pub fn settable(library: &Library, target: ItemRef, stacked: bool) -> Vec<String> {
    let (_, callable) = library.callable(target);
    let axes = callable.axes.iter().flat_map(|a| &a.left).flat_map(|s| &s.terms).map(|t| t.name.name.clone());
    let mut names: Vec<String> = axes.chain(callable.params.iter().map(|p| p.name.name.clone())).collect();
    if stacked && callable.kind == CallableKind::Block && !names.iter().any(|name| name == "D") {
        names.push("D".to_owned());
    }
    names
}

/// Instantiates a block alone, a block in the standard stack, or a model.
pub fn elaborate(library: &Library, target: ItemRef, sizes: &Sizes) -> Elaborated {
    let (_, callable) = library.callable(target);
    let stacked = callable.kind == CallableKind::Block && sizes.layers.is_some();
    let mut elaborator = Elaborator {
        library,
        sizes,
        target,
        stacked,
        graph: Graph {
            name: callable.name.name.clone(),
            axes: Vec::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            dag: crate::graph::Dag::new(),
            outputs: Vec::new(),
            losses: Vec::new(),
            prefix: None,
            vocab: None,
            derived: crate::graph::Derived::default(),
        },
        contexts: Vec::new(),
        serial: 0,
        nodes: 0,
        diagnostics: Vec::new(),
        types: TypeTable::new(),
        calls: Vec::new(),
        orders: Vec::new(),
        counters: HashMap::new(),
        shared: Vec::new(),
        shared_axes: HashMap::new(),
        paths: HashMap::new(),
        in_loss: false,
        not_taken: false,
    };
    let root = if stacked { stack_item(library) } else { target };
    let done = elaborator.check_stackable(&callable, stacked).and_then(|()| elaborator.root(root));
    let failed = done.is_err() || elaborator.diagnostics.iter().any(Diagnostic::is_error);
    Elaborated {
        graph: (!failed).then_some(elaborator.graph),
        types: elaborator.types,
        diagnostics: elaborator.diagnostics,
    }
}

/// The standard stack, which the library always has.
fn stack_item(library: &Library) -> ItemRef {
    let file =
        stdlib::files("std::stack").next().map(|(index, _)| index).expect("archc bug: the library lost std::stack");
    let id = ModuleId(file as u32);
    let index = library.module(id).callables.iter().position(|c| c.kind == CallableKind::Model);
    ItemRef { module: id, index: index.expect("archc bug: std::stack has no model") as u32 }
}

#[derive(Clone)]
pub(crate) struct Elaborator<'a> {
    library: &'a Library,
    sizes: &'a Sizes,
    target: ItemRef,
    stacked: bool,
    graph: Graph,
    /// Bodies and inits being built, innermost last.
    contexts: Vec<Context>,
    /// Number of contexts opened so far.
    serial: u32,
    /// Nodes made so far.
    nodes: usize,
    diagnostics: Vec<Diagnostic>,
    types: TypeTable,
    /// Callables being elaborated and the places of their calls, outermost first.
    calls: Vec<(ItemRef, Place)>,
    /// Axes of each block being elaborated, in order of declaration.
    orders: Vec<Vec<crate::graph::AxisId>>,
    /// Number of learned calls so far, by path without number.
    counters: HashMap<String, usize>,
    /// Prefixes of the `shared` instances being elaborated.
    shared: Vec<String>,
    /// Axes created by each `shared` instance in its first call, and how many of them the present call has reused.
    shared_axes: HashMap<String, (Vec<crate::graph::AxisId>, usize)>,
    /// Parameters by path.
    paths: HashMap<String, crate::graph::ParamId>,
    in_loss: bool,
    /// Whether the operand of a `select` that is left out is being evaluated.
    not_taken: bool,
}

impl Elaborator<'_> {
    /// Reports a diagnostic and fails.
    fn fail<T>(&mut self, diagnostic: Diagnostic) -> Eval<T> {
        self.report(diagnostic);
        Err(Failed)
    }

    /// Reports a diagnostic; one inside the standard library is shown at the user's call.
    fn report(&mut self, mut diagnostic: Diagnostic) {
        if let Some(primary) = &diagnostic.primary
            && let Some(call) = self.user_call(primary.place)
        {
            let inner = diagnostic.primary.take();
            let name = self.calls.last().map(|(item, _)| self.library.callable(*item).1.name.name.clone());
            diagnostic = diagnostic.at(call, format!("in this call of `{}`", name.unwrap_or_default()));
            diagnostic.labels.splice(0..0, inner);
        }
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Place of the innermost call in a user's file, if `place` itself is in the library.
    fn user_call(&self, place: Place) -> Option<Place> {
        let library = |p: Place| (p.file.0 as usize) < stdlib::FILES.len();
        if !library(place) {
            return None;
        }
        self.calls.iter().rev().map(|(_, p)| *p).find(|p| !library(*p))
    }

    /// Place of a node: in the user's own text if possible.
    fn node_place(&self, place: Place) -> Place {
        self.user_call(place).unwrap_or(place)
    }

    fn check_stackable(&mut self, callable: &Callable, stacked: bool) -> Eval<()> {
        let (module, _) = self.library.callable(self.target);
        if callable.kind == CallableKind::Fn {
            return self.fail(errors::not_a_block(module.place(callable.name.span), &callable.name.name));
        }
        if !stacked {
            return Ok(());
        }
        let inputs = callable.body.iter().filter(|s| matches!(s.kind, StmtKind::Input { .. })).count();
        let outputs = callable.body.iter().filter(|s| matches!(s.kind, StmtKind::Output { .. })).count();
        let axes = callable.axes.as_ref().map_or(0, |a| a.left.len());
        if inputs != 1 || outputs != 1 || axes != 1 {
            return self.fail(errors::not_stackable(module.place(callable.name.span), &callable.name.name));
        }
        Ok(())
    }

    fn root(&mut self, item: ItemRef) -> Eval<()> {
        let (module, callable) = self.library.callable(item);
        self.orders.push(Vec::new());
        let place = module.place(callable.name.span);
        self.calls.push((item, place));
        let mut frame = Frame::new(module, Arc::clone(&callable), String::new());
        self.check_set(&frame)?;
        let Some(brackets) = callable.axes.clone() else {
            return self.fail(errors::no_brackets(place, &callable.name.name));
        };
        for sum in &brackets.left {
            let Some(term) = sum.terms.first() else { continue };
            let size = match self.sizes.set.get(&term.name.name) {
                Some(size) => *size,
                None if term.name.name == "D" || brackets.left.len() == 1 => self.default_width(),
                None => {
                    let place = frame.place(term.name.span);
                    return self.fail(errors::size_not_given(place, &term.name.name));
                }
            };
            self.declare_axis(&mut frame, &term.name, size, None)?;
        }
        let overrides = if self.stacked { BTreeMap::new() } else { self.sizes.set.clone() };
        for parameter in &callable.params {
            let given = if self.stacked && parameter.name.name == "N" {
                self.sizes.layers.map(|n| n as f64)
            } else {
                overrides.get(&parameter.name.name).copied()
            };
            self.bind_parameter(&mut frame, parameter, given.map(Value::Number), place)?;
        }
        if callable.kind == CallableKind::Model {
            let vocab = self.new_axis("VOCAB", self.sizes.vocab, None);
            self.graph.vocab = Some(vocab);
        }
        let body = callable.body.clone();
        self.run(&mut frame, &body)
    }

    /// Size of `D`, for which the standard stack also accepts the block's own bracket name.
    fn default_width(&self) -> f64 {
        let (_, callable) = self.library.callable(self.target);
        let own = callable.axes.as_ref().and_then(|a| a.left.first()).and_then(|s| s.terms.first());
        let own = own.and_then(|t| self.sizes.set.get(&t.name.name));
        own.copied().unwrap_or(DEFAULT_D)
    }

    /// Checks that every `--set` has a target.
    fn check_set(&mut self, _root: &Frame) -> Eval<()> {
        let known = settable(self.library, self.target, self.stacked);
        if let Some(name) = self.sizes.set.keys().find(|name| !known.contains(name)) {
            let (module, callable) = self.library.callable(self.target);
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let place = module.place(callable.name.span);
            return self.fail(errors::unknown_set(place, &callable.name.name, name, &names));
        }
        Ok(())
    }

    /// Whether the frame is that of the program's target, whose types are recorded.
    fn is_target(&self, frame: &Frame) -> bool {
        self.calls.last().is_some_and(|(item, _)| *item == self.target) && frame.module.id == self.target.module
    }

    fn callee(&self, item: ItemRef) -> (ItemRef, Arc<Module>, Arc<Callable>) {
        let item = if item == MIXER { self.target } else { item };
        let (module, callable) = self.library.callable(item);
        (item, module, callable)
    }
}

/// Higher one of two rates.
fn faster(a: Rate, b: Rate) -> Rate {
    a.max(b)
}
