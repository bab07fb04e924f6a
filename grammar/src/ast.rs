//! The abstract syntax tree: the source as written, with spans and comments.
//!
//! The tree keeps everything the formatter needs (comments, blank lines, redundant parentheses,
//! the spelling of numbers) and nothing else; `|>` is still a pipe here. The compiler decides where a
//! statement may stand, so that the message can give the reason; the grammar only knows that
//! `where score sink weight` open statements inside `attend`.
//!
//! Edits are made on this tree (`edit`), never on text.

use crate::span::Span;

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Its place.
    pub span: Span,
}

/// A whole source file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// The items, in order.
    pub items: Vec<Item>,
    /// Comments after the last item; an empty string is a blank line.
    pub dangling: Vec<String>,
}

/// Comments and blank lines around an item or a statement (comments with their `//`: as written, trimmed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trivia {
    /// Whether a blank line is before it (before its comments).
    pub blank_before: bool,
    /// `//` comments on lines of their own before it; a comment from inside an expression is moved here too.
    /// An empty string is a blank line between them.
    pub leading: Vec<String>,
    /// A `//` comment at the end of its (last) line.
    pub trailing: Option<String>,
}

/// `#[cite("value")]`, `#[allow(W0706)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name before the parenthesis.
    pub name: Ident,
    /// Value in the parentheses.
    pub value: AttributeValue,
}

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A string, without quotes.
    Text(String),
    /// One or more words.
    Words(Vec<Ident>),
}

impl Attribute {
    /// The string of an attribute of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.value {
            AttributeValue::Text(text) if self.name.name == name => Some(text),
            _ => None,
        }
    }

    /// The words of an attribute of this name.
    pub fn words(&self, name: &str) -> &[Ident] {
        match &self.value {
            AttributeValue::Words(words) if self.name.name == name => words,
            _ => &[],
        }
    }
}

/// An item of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Comments around it.
    pub trivia: Trivia,
    /// `///` lines, without the slashes and the one space after them.
    pub docs: Vec<String>,
    /// `#[cite("...")]`.
    pub attributes: Vec<Attribute>,
    /// The item.
    pub kind: ItemKind,
    /// From its first keyword to its last token (docs and attributes not included).
    pub span: Span,
}

/// The kinds of item.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use std::mixers::{A, B}`
    Use {
        /// `std`, `mixers`
        path: Vec<Ident>,
        /// `A`, `B`
        names: Vec<Ident>,
    },
    /// `fn name[AXES](args) = expr` or `{ ... }`
    Fn(Callable),
    /// `block Name[D](hyper = default) { ... }`
    Block(Callable),
    /// `model Name[D](hyper = default) { ... }`
    Model(Callable),
    /// Text that did not parse, with an error. Never printed by the formatter.
    Error,
}

/// A fn, a block or a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    /// Its name.
    pub name: Ident,
    /// `[AXES]`
    pub axes: Option<Brackets>,
    /// `(a, b = 1)`; a block's are its hyperparameters.
    pub params: Option<Vec<Parameter>>,
    /// Its body.
    pub body: Body,
}

/// `name` or `name = default` in a declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name.
    pub name: Ident,
    /// The default.
    pub default: Option<Expr>,
}

/// The body of a callable.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `= expr`
    Expr(Expr),
    /// `{ ... }`
    Block(Block),
}

/// `{ statements }`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// A `//` comment on the line of the opening brace.
    pub opening: Option<String>,
    /// The statements.
    pub stmts: Vec<Stmt>,
    /// Comments after the last statement; an empty string is a blank line.
    pub dangling: Vec<String>,
    /// From brace to brace.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// Comments around it.
    pub trivia: Trivia,
    /// The statement.
    pub kind: StmtKind,
    /// Its place.
    pub span: Span,
}

/// `name`, `name[AXES]`, or a tuple of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// `name[AXES]`
    Name {
        /// The name.
        name: Ident,
        /// The axes, checked, never coerced.
        axes: Option<Brackets>,
    },
    /// `(a, b)`
    Tuple {
        /// The names.
        names: Vec<Ident>,
        /// From parenthesis to parenthesis.
        span: Span,
    },
}

/// The kinds of statement.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `input name[AXES]`
    Input {
        /// The name.
        name: Ident,
        /// Its axes.
        axes: Brackets,
    },
    /// `axis NAME = size`
    Axis {
        /// The name.
        name: Ident,
        /// The size, an exact integer.
        size: Expr,
    },
    /// `let pattern = expr` or `let (a, b) = (e, f)`
    Let {
        /// The bound names.
        pattern: Pattern,
        /// One value, or as many as there are names (or one tuple-valued expression).
        values: Vec<Expr>,
    },
    /// `mut name[AXES] = expr`
    Mut {
        /// The name.
        name: Ident,
        /// Its axes.
        axes: Option<Brackets>,
        /// Its first value.
        value: Expr,
    },
    /// `name = expr` or `(a, b) = (e, f)`
    Assign {
        /// One name, or several for a simultaneous assignment.
        targets: Vec<Ident>,
        /// One value, or as many as there are targets (or one tuple-valued expression).
        values: Vec<Expr>,
    },
    /// `param name[AXES] = init`
    Param {
        /// The name.
        name: Ident,
        /// Its axes; none is a scalar.
        axes: Option<Brackets>,
        /// Its init.
        init: Expr,
    },
    /// `scan { ... }`
    Scan(Block),
    /// `attend { ... }`
    Attend(Block),
    /// `state NAME[AXES] = init`
    State {
        /// The name.
        name: Ident,
        /// Its axes; none is a scalar.
        axes: Option<Brackets>,
        /// Its first value.
        init: Expr,
    },
    /// `emit name = expr`
    Emit {
        /// The name, visible after the scan or attend.
        name: Ident,
        /// Its value.
        value: Expr,
    },
    /// `for i in a..b { ... }`
    For {
        /// The index.
        index: Ident,
        /// First value.
        from: Expr,
        /// One past the last value.
        to: Expr,
        /// The repeated statements.
        body: Block,
    },
    /// `if c { ... } else if d { ... } else { ... }`
    If {
        /// Conditions and their blocks.
        arms: Vec<(Expr, Block)>,
        /// The last `else`.
        otherwise: Option<Block>,
    },
    /// `prefix meta[M, D] = init`
    Prefix {
        /// The name.
        name: Ident,
        /// Its axes: tokens, channels.
        axes: Brackets,
        /// Its init.
        init: Expr,
    },
    /// `shared A = name[AXES](options)`
    Shared {
        /// The name of the instance.
        name: Ident,
        /// The call without its inputs.
        call: Expr,
    },
    /// `loss expr`
    Loss(Expr),
    /// `output expr` or `output name = expr`
    Output {
        /// The output's name, when there are several.
        name: Option<Ident>,
        /// Its value.
        value: Expr,
    },
    /// `return expr` (or a tuple)
    Return(Vec<Expr>),
    /// `where cond`, in `attend`
    Where(Expr),
    /// `score expr`, in `attend`
    Score(Expr),
    /// `weight expr`, in `attend`
    Weight(Expr),
    /// `sink expr`, in `attend`
    Sink(Expr),
    /// Text that did not parse, with an error.
    Error,
}

/// `[A, B -> C + D]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brackets {
    /// Before the arrow, or all of it.
    pub left: Vec<AxisSum>,
    /// After the arrow (may be empty: `[W -> ]`); none if there is no arrow.
    pub right: Option<Vec<AxisSum>>,
    /// From bracket to bracket.
    pub span: Span,
}

/// One axis, or a sum of axes (`K + R`, in `cat` and `cut`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisSum {
    /// The summands, one or more.
    pub terms: Vec<AxisTerm>,
}

/// `A` or `A..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisTerm {
    /// An axis, or with `spread` a pack or a value whose axes are inserted.
    pub name: Ident,
    /// Whether `..` follows.
    pub spread: bool,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// Kind of the expression.
    pub kind: ExprKind,
    /// Its place; a parenthesised expression is a `Paren` with a span of its own.
    pub span: Span,
}

/// The kinds of expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1e-5`
    Number {
        /// Its value.
        value: f64,
        /// As written.
        text: String,
    },
    /// A value, axis, hyperparameter, label or a function without arguments.
    Name(String),
    /// `(e)`
    Paren(Box<Expr>),
    /// `-e`, `not e`
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `x |> f(a)`; the right side is a `Name` or a `Call`.
    Pipe(Box<Expr>, Box<Expr>),
    /// `f[AXES]`, `f(args)`, `f[AXES](args)`
    Call(Call),
    /// `x[P = label]`, `x[N = 0]`
    Pick {
        /// The value.
        base: Box<Expr>,
        /// The axis that is removed.
        axis: Ident,
        /// A label (`Name`) or an index.
        at: Box<Expr>,
    },
    /// `P{short = -1, value = 3}`
    Labels {
        /// The axis.
        axis: Ident,
        /// Labels and their numbers.
        entries: Vec<(Ident, Expr)>,
    },
    /// `t.name`
    Field(Box<Expr>, Ident),
    /// `[H, x..]` as the value of an option.
    AxisList(Brackets),
    /// Text that did not parse, with an error.
    Error,
}

/// An application.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The applied function or block.
    pub callee: Ident,
    /// `[AXES]`
    pub brackets: Option<Brackets>,
    /// `(args)`; brackets or args are present.
    pub args: Option<Vec<Argument>>,
}

/// `value` or `name = value` in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The name.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
}

/// Unary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `not`
    Not,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `^`
    Pow,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`: x - y * floor(x / y)
    Rem,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `and`
    And,
    /// `or`
    Or,
}

impl BinaryOp {
    /// Binding strength, loosest first.
    pub fn level(self) -> u8 {
        match self {
            Self::Or => 2,
            Self::And => 3,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => 5,
            Self::Add | Self::Sub => 6,
            Self::Mul | Self::Div | Self::Rem => 7,
            Self::Pow => 9,
        }
    }

    /// Spelling in a program.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Pow => "^",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::And => "and",
            Self::Or => "or",
        }
    }
}
