//! Source text of `.arch` programs: the pest grammar, the tree with spans and comments, the formatter, edits.
//!
//! Text passes through `lex` (is it text? do its brackets match?), the parser generated from `arch.pest`,
//! `build` (pairs to tree) and `trivia` (attachment of comments). Text that does not parse is explained by
//! `diagnose` in the terms of the language; the errors of one file are returned together, with a tree that
//! has `Error` nodes in their place.
//!
//! Invariants: no input makes the parser panic or exhaust its stack, the cost is linear in the length of the text, and every span lies on
//! character boundaries of the input text.

pub mod ast;
mod build;
mod codes;
mod diagnose;
mod doc;
pub mod edit;
pub mod errors;
mod foreign;
mod lex;
mod parser;
mod print;
pub mod span;
mod trivia;

pub use errors::{CODES, SyntaxError};
pub use lex::{KEYWORDS, MAX_BYTES, MAX_DEPTH, is_keyword};
pub use parser::{Parsed, parse, parse_expr, parse_stmt};
pub use print::{format, format_source};
pub use span::Span;
