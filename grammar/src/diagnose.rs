//! Why a slice of text does not parse, in the language's words.

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};

use crate::build::BadSlice;
use crate::errors::{self, SyntaxError};
use crate::lex::Token;
use crate::parser::{ArchParser, Rule};
use crate::span::Span;

/// Parses a bad slice again, alone (or as the tail of what precedes it), and puts the failure into words.
pub(crate) fn explain(text: &str, tokens: &[Token], slice: BadSlice) -> SyntaxError {
    let start = slice.previous.unwrap_or(slice.span).start as usize;
    let end = slice.span.end as usize;
    let (at, wanted) = match ArchParser::parse(slice.wanted, &text[start..end]) {
        Ok(_) => (slice.span.start as usize, Vec::new()),
        Err(error) => {
            let at = match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => start + at,
            };
            match error.variant {
                ErrorVariant::ParsingError { positives, .. } => (at, positives),
                ErrorVariant::CustomError { .. } => (at, Vec::new()),
            }
        }
    };
    let next = tokens.partition_point(|t| t.end <= at);
    let found = tokens.get(next).filter(|t| t.end <= end);
    let before = next.checked_sub(1).map(|i| &text[tokens[i].start..tokens[i].end]);
    let span = found.map_or(Span::new(end.saturating_sub(1), end), |t| t.span());
    let what = if wanted.contains(&Rule::operand) { "an expression" } else { "something else" };
    errors::expected(
        what,
        before,
        span,
        &found.map_or("the end".to_owned(), |t| format!("`{}`", &text[t.start..t.end])),
    )
}
