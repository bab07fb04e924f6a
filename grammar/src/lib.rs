//! Source text of `.arch` programs: the pest grammar, the tree with spans and comments, the formatter, edits.

pub mod ast;
pub mod span;

pub use span::Span;
