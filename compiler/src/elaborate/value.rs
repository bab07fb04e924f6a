//! Values of expressions during elaboration.

use crate::graph::{AxisId, BinaryOp, Draw, NodeId, Rate, UnaryOp};
use crate::hir::{Argument, Call, Callable, ExprId, LocalId, Module};
use crate::source::Place;
use archc_grammar::Span;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Not bound (the earlier statement did not run).
    Unset,
    /// An error was reported.
    Error,
    /// `none`
    None,
    /// A number known now.
    Number(f64),
    /// A node.
    Tensor(Tensor),
    /// Several values.
    Tuple(Vec<Value>),
    /// A block's named outputs.
    Record(Vec<(String, Value)>),
    /// An option such as `per = [H]`.
    Axes(Vec<AxisId>),
    /// An init that contains a draw.
    Recipe(Rc<Recipe>),
    /// A word as the value of an option.
    Word(String),
    /// `tokens`
    Tokens,
    /// An instance made by `shared`: its call, and the path of its parameters.
    Shared(ExprId, String),
}

/// A node and its type.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The node, in the graph of its level.
    pub node: NodeId,
    /// 0: the outer graph; else the serial number of a context.
    pub level: u32,
    /// Axes, sorted by id.
    pub axes: Vec<AxisId>,
    /// Rate at which it changes.
    pub rate: Rate,
}

/// An expression over draws, without a shape until a parameter uses it.
#[derive(Debug)]
pub struct Recipe {
    /// The operation.
    pub op: RecipeOp,
    /// Arguments or operands.
    pub operands: Vec<Value>,
    /// Its place in the source.
    pub place: Place,
}

/// The ops of a recipe.
#[derive(Clone, Copy, Debug)]
pub enum RecipeOp {
    /// A draw.
    Draw(Draw),
    /// `fan`
    Fan,
    /// A function of the operands.
    Of(Function),
}

/// An element-wise function of recipes and other values.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// One operand.
    Unary(UnaryOp),
    /// Two operands.
    Binary(BinaryOp),
    /// The second or the third operand, selected by the first.
    Select,
}

/// Meaning of an axis name.
#[derive(Clone, Debug)]
pub enum Slot {
    /// An axis.
    Axis(AxisId),
    /// Zero or more axes.
    Pack(Vec<AxisId>),
    /// An axis whose declaration failed; an error was reported.
    Error,
    /// An axis that a callee may still create, under the caller's name; shared between caller and callee.
    Open(String, Rc<Cell<Option<AxisId>>>),
}

/// One call of a callable being elaborated.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its module.
    pub module: Arc<Module>,
    /// The callable.
    pub callable: Arc<Callable>,
    /// Values of its locals.
    pub locals: Vec<Value>,
    /// Axes in scope, innermost last.
    pub axes: Vec<BTreeMap<String, Slot>>,
    /// Declared axes of `mut`s and states.
    pub declared: BTreeMap<LocalId, Vec<AxisId>>,
    /// Path of the instance.
    pub prefix: String,
    /// The binding being elaborated, with its loop indices; empty in `return`.
    pub binding: String,
    /// Loop suffix of paths: `.3` inside `for`.
    pub suffix: String,
    /// Whether the binding stays that of the first emit, in an attend.
    pub locked: bool,
    /// Results of `output` and `return`.
    pub results: Vec<(String, Value)>,
    /// Emits of the scan or attend being elaborated.
    pub emits: Vec<(LocalId, Tensor)>,
    /// Inputs from the caller, in order; empty for the root.
    pub inputs: Vec<Tensor>,
}

impl Frame {
    /// A frame with nothing bound.
    pub fn new(module: Arc<Module>, callable: Arc<Callable>, prefix: String) -> Self {
        let locals = vec![Value::Unset; callable.locals.len()];
        Self {
            module,
            callable,
            locals,
            axes: vec![BTreeMap::new()],
            declared: BTreeMap::new(),
            prefix,
            binding: String::new(),
            suffix: String::new(),
            locked: false,
            results: Vec::new(),
            emits: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// Place of a span in its file.
    pub fn place(&self, span: Span) -> Place {
        self.module.place(span)
    }

    /// The place of an expression.
    pub fn at(&self, e: ExprId) -> Place {
        self.module.place(self.module.expr(e).span)
    }

    /// Text of an expression, as written.
    pub fn text(&self, e: ExprId) -> String {
        crate::hir::expr_text(&self.module, &self.callable, e)
    }

    /// Text of an argument, as written.
    pub fn argument(&self, argument: &Argument) -> String {
        let value = self.text(argument.value);
        argument.name.as_ref().map_or(value.clone(), |name| format!("{} = {value}", name.name))
    }

    /// Text of a call, as written, with further arguments.
    pub fn call_with(&self, call: &Call, needed: &[&str]) -> String {
        let axes = call.brackets.as_ref().map(|b| crate::hir::brackets_text(&b.syntax)).unwrap_or_default();
        self.applied(&format!("{}{axes}", call.name.name), &call.args, needed)
    }

    /// Text of `f(args)`, with further arguments.
    pub fn applied(&self, f: &str, args: &[Argument], needed: &[&str]) -> String {
        let given = args.iter().map(|a| self.argument(a));
        let all: Vec<String> = given.chain(needed.iter().map(|name| format!("{name} = {name}"))).collect();
        format!("{f}({})", all.join(", "))
    }

    /// The name of a local.
    pub fn name(&self, local: LocalId) -> &str {
        &self.callable.locals[local.0 as usize].name
    }

    /// Sets a local.
    pub fn set(&mut self, local: LocalId, value: Value) {
        self.locals[local.0 as usize] = value;
    }

    /// Starts the binding of a local.
    pub fn bind_local(&mut self, local: LocalId) {
        let name = self.name(local).to_string();
        self.bind(&name);
    }

    /// Starts a binding, unless an attend holds the current one.
    pub fn bind(&mut self, name: &str) {
        if !self.locked {
            self.binding = if name.is_empty() { String::new() } else { format!("{name}{}", self.suffix) };
        }
    }
}

/// Joins parts of a path that are not empty.
pub fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join(".")
}
