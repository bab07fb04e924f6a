//! Syntax errors: one named constructor each, so that wording and codes live in one place.

use crate::span::Span;

pub use crate::codes::CODES;

/// What is wrong with a text, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// A stable code, `E0001` and up; `CODES` explains it.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What stands there.
    pub label: String,
    /// What to write.
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
    error("E0006", span, message, format!("no `{closing}` for it")).help(format!("add the missing `{closing}`"))
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

// ---- expressions and statements

pub(crate) fn expected(what: &str, after: Option<&str>, span: Span, found: &str) -> SyntaxError {
    let after = after.map(|a| format!(" after `{a}`")).unwrap_or_default();
    error("E0010", span, format!("expected {what}{after}"), format!("found {found}"))
}

pub(crate) fn number_too_large(text: &str, span: Span) -> SyntaxError {
    error("E0016", span, format!("`{text}` is too large for a number"), "larger than 1.8e308")
        .help("write `inf` for infinity")
}

pub(crate) fn brace_touches(span: Span) -> SyntaxError {
    error("E0020", span, "the `{` of a body follows white space", "this `{` touches what stands before it")
        .help("write a space before `{`; `P{label = 1}` without one is a constant along the axis P")
}
