//! Source text of `.arch` programs: the pest grammar, the tree with spans and comments, the formatter, edits.
//!
//! Text goes through `lex` (is it text? do its brackets match?), the parser generated from `arch.pest`,
//! `build` (pairs to tree) and `trivia` (comments to their homes). What does not parse is explained by
//! `diagnose` in the words of the language; the errors of one file come back together, beside a tree that
//! has `Error` nodes in their place.
//!
//! Invariants: no input makes the parser panic or exhaust its stack, the cost is linear in the length of
//! the text, and every span lies on character boundaries of the text that was given.

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
