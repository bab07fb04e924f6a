//! hir: functions, blocks and models as written, with every name resolved.
//!
//! Still generic: a fn is checked at each call, because its axes and sizes are the caller's. `resolve`
//! makes it from the tree: pipes become calls, parentheses are removed, a name is a local, an axis's size or a
//! call without arguments, and a callee is one definite item or built-in. Properties of the
//! source alone are checked there: unknown names, misplaced statements, unused and shadowed names.
//! `elaborate` runs it and records the type of every expression of the compiled block ([`TypeTable`]);
//! diagnostics point to it, and the search's typed edits query it.
//!
//! Invariants:
//! - expression ids are local to a [`Module`] and increase in source order of completion;
//! - a [`LocalId`] is local to its [`Callable`]; an `emit` is a local of the callable, not of the scan;
//! - axis names stay names: the axis that they mean depends on the call.
//!
//! The smallest example, `block Twice[D]() { input x[D]; output x + x }`, prints as
//! ```text
//! block Twice[D]
//!   input x[D]
//!   output x + x : [D]
//! ```

pub mod builtins;
mod flatten;
mod library;
mod print;
mod resolve;
mod scope;

pub use builtins::Builtin;
pub use flatten::{flatten, references, rename_references};
pub use library::{Library, ModuleId, uses};
pub use print::print;
pub use print::{brackets_text, expr_text, signature};
pub(crate) use resolve::emits;
pub use resolve::{CODES, resolve_module};
pub use scope::nearest;

use crate::source::{FileId, Place};
use archc_grammar::Span;
use archc_grammar::ast::{BinaryOp, Brackets, Ident, UnaryOp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A resolved file.
#[derive(Clone, Debug)]
pub struct Module {
    /// Id of the module.
    pub id: ModuleId,
    /// Its text.
    pub file: FileId,
    /// All expressions of the file.
    pub exprs: Vec<Expr>,
    /// Its fns, blocks and models.
    pub callables: Vec<Arc<Callable>>,
}

/// Index into [`Module::exprs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub u32);

/// Index into [`Callable::locals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u32);

/// A fn, block or model somewhere in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemRef {
    /// Its module.
    pub module: ModuleId,
    /// Index into [`Module::callables`].
    pub index: u32,
}

/// Kind of a callable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallableKind {
    /// `fn`
    Fn,
    /// `block`
    Block,
    /// `model`
    Model,
}

/// A fn, block or model.
#[derive(Clone, Debug)]
pub struct Callable {
    /// Kind of the callable.
    pub kind: CallableKind,
    /// Its name.
    pub name: Ident,
    /// `///` lines.
    pub docs: Vec<String>,
    /// `#[cite("...")]` values.
    pub cites: Vec<String>,
    /// Codes in `#[allow(...)]`: warnings that are not reported.
    pub allows: Vec<String>,
    /// `[AXES]`
    pub axes: Option<Brackets>,
    /// Arguments of a fn, hyperparameters of a block or model.
    pub params: Vec<Parameter>,
    /// The statements; a fn with `= expr` is one `return`.
    pub body: Vec<Stmt>,
    /// All named values.
    pub locals: Vec<Local>,
    /// Span of the whole item.
    pub span: Span,
}

/// A declared argument or hyperparameter. An upper-case one is an axis; then `local` is none.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Ident,
    /// The value it binds; none for an axis.
    pub local: Option<LocalId>,
    /// Its default.
    pub default: Option<ExprId>,
}

/// A named value.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name.
    pub name: String,
    /// Construct that declares it.
    pub kind: LocalKind,
    /// Span of its declaration.
    pub span: Span,
}

/// Construct that declares a local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    /// `input`
    Input,
    /// `let`
    Let,
    /// `mut`
    Mut,
    /// `param`
    Param,
    /// An argument or lower-case hyperparameter.
    Argument,
    /// The index of a `for`.
    Index,
    /// `state`
    State,
    /// `emit`
    Emit,
    /// `prefix`
    Prefix,
    /// `shared`
    Shared,
}

/// An expression and its place.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Kind of the expression.
    pub kind: ExprKind,
    /// Span of the expression, without parentheses around it.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A literal.
    Number(f64),
    /// A local's value.
    Local(LocalId),
    /// The size of an axis, as a number.
    AxisSize(String),
    /// A label, or a word as the value of an option.
    Word(String),
    /// `-x`, `not x`
    Unary(UnaryOp, ExprId),
    /// `x + y`
    Binary(BinaryOp, ExprId, ExprId),
    /// An application, or a name without arguments that means one.
    Call(Call),
    /// `x[P = label]`
    Pick {
        /// The value.
        base: ExprId,
        /// The axis.
        axis: Ident,
        /// A [`ExprKind::Word`] or an index.
        at: ExprId,
    },
    /// `P{a = 1}`
    Labels {
        /// The axis.
        axis: Ident,
        /// Labels and numbers.
        entries: Vec<(Ident, ExprId)>,
    },
    /// `t.name`
    Field(ExprId, Ident),
    /// `[H, x..]`
    AxisList(BoundBrackets),
    /// Did not resolve; an error was reported.
    Error,
}

/// Brackets with the locals behind `x..` resolved.
#[derive(Clone, Debug)]
pub struct BoundBrackets {
    /// As written.
    pub syntax: Brackets,
    /// Local of each spread term that names a value, by its name.
    pub values: BTreeMap<String, LocalId>,
}

impl BoundBrackets {
    /// Whether they are empty.
    pub fn is_empty(&self) -> bool {
        self.syntax.left.is_empty() && self.syntax.right.is_none()
    }
}

/// Target of an application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Callee {
    /// A built-in function.
    Builtin(Builtin),
    /// A fn or block.
    Item(ItemRef),
    /// An instance made by `shared`.
    Shared(LocalId),
}

/// An application.
#[derive(Clone, Debug)]
pub struct Call {
    /// The applied function or block.
    pub callee: Callee,
    /// Its name as written.
    pub name: Ident,
    /// `[AXES]`
    pub brackets: Option<BoundBrackets>,
    /// Arguments; a piped value is the first.
    pub args: Vec<Argument>,
    /// `name = up`: pins the last part of the path of its parameters.
    pub pin: Option<String>,
}

/// An argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// `name =`
    pub name: Option<Ident>,
    /// The value.
    pub value: ExprId,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// Kind of the statement.
    pub kind: StmtKind,
    /// Span of the statement.
    pub span: Span,
}

/// The kinds of statement; see `archc_grammar::ast::StmtKind` for how each is written.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are those of the syntax tree
pub enum StmtKind {
    Input { local: LocalId, axes: BoundBrackets },
    Axis { name: Ident, size: ExprId },
    Let { targets: Vec<LocalId>, axes: Option<BoundBrackets>, values: Vec<ExprId> },
    Mut { local: LocalId, axes: Option<BoundBrackets>, value: ExprId },
    Assign { targets: Vec<LocalId>, values: Vec<ExprId> },
    Param { local: LocalId, axes: Option<BoundBrackets>, init: ExprId },
    Scan(Vec<Stmt>),
    Attend(Vec<Stmt>),
    State { local: LocalId, axes: Option<BoundBrackets>, init: ExprId },
    Emit { local: LocalId, value: ExprId },
    For { index: LocalId, from: ExprId, to: ExprId, body: Vec<Stmt> },
    If { arms: Vec<(ExprId, Vec<Stmt>)>, otherwise: Vec<Stmt> },
    Prefix { local: LocalId, axes: BoundBrackets, init: ExprId },
    Shared { local: LocalId, call: ExprId },
    Loss(ExprId),
    Output { name: Option<Ident>, value: ExprId },
    Return(Vec<ExprId>),
    Where(ExprId),
    Score(ExprId),
    Weight(ExprId),
    Sink(ExprId),
}

impl Module {
    /// An expression by id.
    pub fn expr(&self, id: ExprId) -> &Expr {
        &self.exprs[id.0 as usize]
    }

    /// Place of a span of this file.
    pub fn place(&self, span: Span) -> Place {
        Place { file: self.file, span }
    }
}

/// The type of an expression, with the axes' names as the program sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeNote {
    /// Names of the axes, in order of declaration.
    pub axes: Vec<String>,
    /// Their sizes.
    pub sizes: Vec<usize>,
    /// Whether it differs between tokens.
    pub token: bool,
    /// Whether it depends on the state of the surrounding scan (or on the past token of the surrounding attend).
    pub inner: bool,
}

/// Types of the expressions of one module that were elaborated and are tensors or numbers.
pub type TypeTable = BTreeMap<ExprId, TypeNote>;
