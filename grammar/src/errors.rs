//! Syntax errors: one named constructor each, so that wording and codes live in one place.

use crate::foreign::foreign_method;
use crate::span::Span;

pub use crate::codes::CODES;

/// Problem, place and remedy of a syntax error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// A stable code, `E0001` and up; `CODES` explains it.
    pub code: &'static str,
    /// Problem.
    pub message: String,
    /// Its place.
    pub span: Span,
    /// Description of the text there.
    pub label: String,
    /// Remedy.
    pub help: Option<String>,
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for SyntaxError {}

fn error(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> SyntaxError {
    SyntaxError { code, message: message.into(), span, label: label.into(), help: None }
}

impl SyntaxError {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

// ---- the text as a whole

pub(crate) fn empty(length: usize) -> SyntaxError {
    error("E0001", Span::new(length, length), "this file has no items", "nothing but white space and comments")
        .help("write a `block`, a `model` or a `fn`, e.g. `block Identity[D] { input x[D] output x }`")
}

pub(crate) fn not_text(found: char, span: Span) -> SyntaxError {
    let message = format!("this is not a text file: it contains the control character U+{:04X}", u32::from(found));
    error("E0002", span, message, "not text").help("give the path of an `.arch` program")
}

pub(crate) fn too_large(bytes: usize) -> SyntaxError {
    let limit = crate::lex::MAX_BYTES;
    error("E0003", Span::new(0, 0), format!("this file has {bytes} bytes; the limit is {limit}"), "file too large")
        .help("split it, and import the parts with `use self::file::{names}`")
}

pub(crate) fn too_deep(span: Span) -> SyntaxError {
    let limit = crate::lex::MAX_DEPTH;
    error("E0004", span, format!("brackets are nested more than {limit} deep"), "one bracket too many")
        .help("name inner expressions with `let`")
}

pub(crate) fn too_long(span: Span, what: &str, limit: usize) -> SyntaxError {
    error("E0005", span, format!("this expression has more than {limit} {what}"), "too long an expression")
        .help("name parts of it with `let`")
}

// ---- brackets

pub(crate) fn unclosed(bracket: &str, span: Span, found: Option<&str>) -> SyntaxError {
    let closing = match bracket {
        "(" => ")",
        "[" => "]",
        _ => "}",
    };
    let message = match found {
        Some(found) => format!("this `{bracket}` is not closed before `{found}`"),
        None => format!("this `{bracket}` is never closed"),
    };
    let help = match found {
        Some("fn" | "block" | "model" | "use") => format!("add the missing `{closing}`; items do not stand in items"),
        _ => format!("add the missing `{closing}`"),
    };
    error("E0006", span, message, format!("no `{closing}` for it")).help(help)
}

pub(crate) fn closes_nothing(bracket: &str, span: Span, closed: Option<Span>) -> SyntaxError {
    let help = match (bracket, closed) {
        ("}", Some(_)) => "remove it, or an earlier `}` that closed the body too soon".to_owned(),
        _ => format!(
            "remove it, or open it with `{}`",
            if bracket == ")" {
                "("
            } else if bracket == "]" {
                "["
            } else {
                "{"
            }
        ),
    };
    error("E0007", span, format!("this `{bracket}` closes nothing"), "nothing is open here").help(help)
}

// ---- characters and words

pub(crate) fn unknown_character(found: char, span: Span, instead: Option<&str>) -> SyntaxError {
    let shown = if found.is_whitespace() || found.is_control() || found == '\u{200b}' {
        format!("the character U+{:04X}", u32::from(found))
    } else {
        format!("`{found}`")
    };
    let error = error("E0008", span, format!("{shown} means nothing here"), "not a character of the language");
    match instead {
        Some(" ") => error.help("write an ordinary space"),
        Some(instead) => error.help(format!("write `{instead}`")),
        None => error.help("names are of ASCII letters, digits and `_`"),
    }
}

pub(crate) fn comment(found: &str, span: Span) -> SyntaxError {
    error("E0008", span, format!("`{found}` starts no comment"), "not a comment of the language")
        .help("a comment starts with `//` and ends with the line")
}

pub(crate) fn foreign_operator(found: &str, span: Span, help: &str) -> SyntaxError {
    error("E0009", span, format!("`{found}` is not an operator of the language"), "unknown operator").help(help)
}

pub(crate) fn double_equals(span: Span) -> SyntaxError {
    error("E0009", span, "`==` compares; a binding has one `=`", "expected `=`").help("write `=`")
}

pub(crate) fn single_equals(span: Span) -> SyntaxError {
    error("E0009", span, "`=` binds a name; it does not compare", "expected an operator").help("write `==` to compare")
}

pub(crate) fn foreign_word(found: &str, span: Span, help: &str) -> SyntaxError {
    error("E0022", span, format!("`{found}` is not a keyword of the language"), "unknown keyword").help(help)
}

pub(crate) fn keyword(found: &str, span: Span) -> SyntaxError {
    error("E0016", span, format!("`{found}` is a reserved word, not a name"), "reserved")
        .help(format!("choose another name, e.g. `{found}_`"))
}

pub(crate) fn let_mut(span: Span) -> SyntaxError {
    error("E0016", span, "`let` and `mut` are two ways to bind a name", "one of them is enough")
        .help("write `mut name = ...` for a name that is assigned again")
}

pub(crate) fn not_a_name(found: &str, span: Span) -> SyntaxError {
    error("E0029", span, format!("expected a name, and `{found}` is a number"), "not a name")
        .help("a name starts with a letter or `_`")
}

pub(crate) fn number(found: &str, span: Span) -> SyntaxError {
    let fixed = if let Some(rest) = found.strip_prefix('.') {
        Some(format!("0.{rest}"))
    } else if let Some(rest) = found.strip_suffix('.') {
        Some(format!("{rest}.0"))
    } else if let Some((whole, rest)) = found.split_once(".e") {
        Some(format!("{whole}.0e{rest}"))
    } else {
        Some(found.replace('_', "")).filter(|plain| plain != found)
    };
    let fixed = fixed.filter(|fixed| crate::parser::is_number(fixed));
    let help = match fixed {
        Some(fixed) => format!("write `{fixed}`"),
        None => "write `12`, `0.5` or `1e-5`: digits on both sides of the point, no letters after them".to_owned(),
    };
    error("E0014", span, format!("`{found}` is not a number"), "malformed number").help(help)
}

pub(crate) fn number_too_large(text: &str, span: Span) -> SyntaxError {
    error("E0015", span, format!("`{text}` is too large for a number"), "larger than 1.8e308")
        .help("write `inf` for infinity")
}

// ---- expressions

pub(crate) fn expected(what: &str, after: Option<&str>, span: Span, found: &str) -> SyntaxError {
    let after = after.map(|a| format!(" after `{a}`")).unwrap_or_default();
    error("E0010", span, format!("expected {what}{after}"), format!("found {found}"))
}

pub(crate) fn expected_expression(after: Option<&str>, span: Span, found: &str, help: Option<&str>) -> SyntaxError {
    let after = after.map(|a| format!(" after `{a}`")).unwrap_or_default();
    let mut error = error("E0011", span, format!("expected an expression{after}"), format!("found {found}"));
    error.help = help.map(str::to_owned);
    error
}

pub(crate) fn chain(found: &str, span: Span) -> SyntaxError {
    error("E0012", span, "comparisons do not chain", format!("a second comparison `{found}`"))
        .help("write `a < b and b < c`")
}

pub(crate) fn not_an_axis(found: &str, applied: &str, span: Span) -> SyntaxError {
    let name = if applied.starts_with(|c: char| c.is_ascii_alphabetic()) { applied } else { "x" };
    error("E0013", span, format!("expected the name of an axis, found `{found}`"), "brackets hold axis names").help(
        format!("there are no positions: `{name}[N = 0]` picks an element by its axis, `axis N = 64` names a size"),
    )
}

pub(crate) fn range_of_entries(value: &str, axis: &str, span: Span) -> SyntaxError {
    error("E0013", span, format!("`{value}[{axis} = ...]` picks one entry, not a range"), "a range")
        .help(format!("cut the axis into parts: `let (first, rest) = cut[{axis} -> A + B]({value})`"))
}

pub(crate) fn method(value: &str, name: &str, span: Span) -> SyntaxError {
    error("E0031", span, "values have no methods", format!("`.{name}(...)`")).help(foreign_method(value, name))
}

pub(crate) fn without_value(what: &str, after: &str, span: Span, found: &str, help: String) -> SyntaxError {
    expected(what, Some(after), span, found).help(help)
}

pub(crate) fn space_before(found: &str, before: &str, span: Span) -> SyntaxError {
    error("E0017", span, format!("`{found}` must touch the `{before}` before it"), "white space before it").help(
        format!("write `{before}{found}` without the space; a new statement starts with a keyword or is an assignment"),
    )
}

pub(crate) fn pipe_target(found: &str, span: Span) -> SyntaxError {
    let label = if found.is_empty() { "nothing follows".to_owned() } else { format!("found `{found}`") };
    error("E0018", span, "the right side of `|>` is an application", label)
        .help("write `x |> f`, `x |> f[AXES]` or `x |> f(option = 1)`; `x |> f(a)` is `f(x, a)`")
}

pub(crate) fn after_pipe(found: &str, span: Span) -> SyntaxError {
    error("E0019", span, format!("`{found}` cannot follow `|>` and its application"), "only another `|>` may follow")
        .help("put the pipe in parentheses, `(x |> f) + y`, or write `f(x) + y`")
}

pub(crate) fn empty_parentheses(span: Span) -> SyntaxError {
    error("E0021", span, "empty parentheses are no value", "nothing between `(` and `)`").help("write a value in them")
}

pub(crate) fn if_expression(span: Span) -> SyntaxError {
    error("E0030", span, "`if` is a statement, not an expression", "no value")
        .help("write `select(condition, a, b)` to choose between values")
}

pub(crate) fn tuple(span: Span) -> SyntaxError {
    error("E0026", span, "a tuple is no value", "found `,`")
        .help("tuples stand in `let (a, b) = (x, y)`, `(a, b) = (x, y)` and `return (a, b)`, nowhere else")
}

pub(crate) fn names_without_parentheses(keyword: &str, names: &[&str], span: Span) -> SyntaxError {
    error("E0026", span, "several names stand in parentheses", "found `,`")
        .help(format!("write `{keyword}({}) = ...`", names.join(", ")))
}

pub(crate) fn tuple_of_one(span: Span) -> SyntaxError {
    error("E0026", span, "a tuple has two or more names", "found `)`").help("drop the parentheses")
}

// ---- statements and items

pub(crate) fn brace_touches(span: Span) -> SyntaxError {
    error("E0020", span, "the `{` of a body follows white space", "this `{` touches what stands before it")
        .help("write a space before `{`; `P{label = 1}` without one is a constant along the axis P")
}

pub(crate) fn no_statement(found: &str, span: Span) -> SyntaxError {
    error("E0023", span, "this is not a statement", format!("`{found}` starts no statement")).help(
        "a statement starts with a keyword (`let`, `output`, ...) or is an assignment `name = expr`; a value that is not used is not written",
    )
}

pub(crate) fn stray_else(span: Span) -> SyntaxError {
    error("E0023", span, "this `else` belongs to no `if`", "no `if` before it")
        .help("`else` follows the `}` of an `if`")
}

pub(crate) fn outside(found: &str, span: Span) -> SyntaxError {
    error("E0024", span, format!("`{found}` stands outside of any item"), "expected `fn`, `block`, `model` or `use`")
        .help("put statements in `block Name[D] { ... }`; is there a `}` too many before it?")
}

pub(crate) fn outside_attend(found: &str, span: Span) -> SyntaxError {
    error(
        "E0025",
        span,
        format!("`{found}` opens a statement only directly inside `attend {{ }}`"),
        "not in an `attend`",
    )
    .help(format!("move it into the `attend`; as a name, `{found} = ...` assigns"))
}

pub(crate) fn annotation(name: &str, span: Span) -> SyntaxError {
    error("E0027", span, "a value has no type annotation", "found `:`")
        .help(format!("axes touch the name: `{name}[H, K]`; a default follows `=`"))
}

pub(crate) fn result_arrow(span: Span) -> SyntaxError {
    error("E0027", span, "the result of a fn is not declared", "found `->`")
        .help("write `fn f[IN -> OUT](x) = expr`; axes are inferred")
}

pub(crate) fn no_axes_here(name: &str, span: Span) -> SyntaxError {
    error("E0027", span, format!("no axes are written after `{name}` here"), "expected `=`")
        .help(format!("write `{name} = ...`; check axes with `let {name}[AXES] = ...`"))
}

pub(crate) fn use_braces([path, name]: &[String; 2], span: Span) -> SyntaxError {
    let error = error("E0028", span, "names are imported in braces", "expected `::{`");
    if name.is_empty() {
        return error.help("write `use std::mixers::{GLA}` or `use self::file::{names}`");
    }
    error.help(format!("write `use {path}::{{{name}}}`"))
}

pub(crate) fn no_range(span: Span) -> SyntaxError {
    error("E0010", span, "expected `..` in the range of a `for`", "found `{`").help("write `for i in 0..N { ... }`")
}
