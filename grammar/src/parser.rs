//! Entry points: from text to a tree and errors.

use pest::Parser;
use pest::iterators::Pair;

use crate::ast::{Expr, File, Stmt};
use crate::build::{BadSlice, Builder};
use crate::errors::{self, SyntaxError};
use crate::lex::{self, Brackets, Lexed};
use crate::span::Span;
use crate::{diagnose, trivia};

/// The generated parser.
#[derive(pest_derive::Parser)]
#[grammar = "arch.pest"]
pub(crate) struct ArchParser;

/// Maximum number of errors reported for one text.
const MAX_ERRORS: usize = 50;

/// Tree and errors of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The tree; items and statements that did not parse are `Error` nodes.
    pub file: File,
    /// Errors in the order of the text; empty for a valid program.
    pub errors: Vec<SyntaxError>,
}

/// Parses a file. Never panics; reports one error for each item or statement that does not parse.
pub fn parse(text: &str) -> Parsed {
    let (mut file, lexed, mut errors) = match read(text, Rule::file, |builder, pair| builder.file(pair)) {
        Ok(read) => read,
        Err(error) => return Parsed { file: File::default(), errors: vec![error] },
    };
    trivia::attach_to_file(&mut file, text, &lexed);
    if file.items.is_empty() && errors.is_empty() {
        errors.push(errors::empty(text.len()));
    }
    Parsed { file, errors }
}

/// Parses one expression, for instance one for an edit. Comments in it are dropped.
pub fn parse_expr(text: &str) -> Result<Expr, Vec<SyntaxError>> {
    let (expr, _) = piece(text, Rule::one_expr, |builder, pair| {
        pair.into_inner().find(|p| p.as_rule() == Rule::expr).map(|expr| builder.expr(expr))
    })?;
    Ok(expr)
}

/// Parses one statement. `where score sink weight` are read as the keywords that they are in `attend` if the text is no statement
/// otherwise.
pub fn parse_stmt(text: &str) -> Result<Stmt, Vec<SyntaxError>> {
    let read = |rule| {
        piece(text, rule, |builder, pair| {
            let stmt = pair.into_inner().find(|p| p.as_rule() != Rule::EOI);
            stmt.map(|stmt| builder.stmt(stmt))
        })
    };
    let plain = read(Rule::one_stmt);
    let (mut stmt, lexed) = plain.or_else(|errors| read(Rule::one_pair_stmt).map_err(|_| errors))?;
    trivia::attach_to_stmt(&mut stmt, text, &lexed);
    Ok(stmt)
}

/// Whether a text is a number as the grammar spells it.
pub(crate) fn is_number(text: &str) -> bool {
    ArchParser::parse(Rule::number, text).is_ok_and(|pairs| pairs.as_str().len() == text.len())
}

/// Parses a whole text by one rule; it must be free of errors.
fn piece<T, F>(text: &str, rule: Rule, build: F) -> Result<(T, Lexed), Vec<SyntaxError>>
where
    F: for<'a> FnOnce(&mut Builder<'a>, Pair<'a, Rule>) -> Option<T>,
{
    match read(text, rule, build) {
        Ok((Some(tree), lexed, errors)) if errors.is_empty() => Ok((tree, lexed)),
        Ok((_, _, errors)) => Err(errors),
        Err(error) => Err(vec![error]),
    }
}

/// The common path: lex, match brackets, parse, build, explain.
fn read<T, F>(text: &str, rule: Rule, build: F) -> Result<(T, Lexed, Vec<SyntaxError>), SyntaxError>
where
    F: for<'a> FnOnce(&mut Builder<'a>, Pair<'a, Rule>) -> T,
{
    if let Some(error) = lex::refuse(text) {
        return Err(error);
    }
    let lexed = lex::lex(text);
    let (repaired, mut errors) = match lex::match_brackets(text, &lexed) {
        Brackets::Balanced => (None, Vec::new()),
        Brackets::Repaired(text, errors) => (Some(text), errors),
        Brackets::TooDeep(error) => return Err(error),
    };
    let clean = repaired.as_deref().unwrap_or(text);
    let pair = match ArchParser::parse(rule, clean).map(|mut pairs| pairs.next()) {
        Ok(Some(pair)) => pair,
        // a file always parses, because invalid text is a bad item; a piece may fail
        _ => {
            let whole = BadSlice { wanted: rule, span: Span::new(0, text.len()), previous: None };
            let explain = || diagnose::explain(clean, &lexed.tokens, whole).error;
            return Err(errors.into_iter().next().unwrap_or_else(explain));
        }
    };
    let mut builder = Builder { text: clean, tokens: &lexed.tokens, errors: Vec::new(), bad: Vec::new() };
    let tree = build(&mut builder, pair);
    let Builder { errors: found, bad, .. } = builder;
    errors.extend(found);
    let mut covered: Vec<Span> = Vec::new();
    for slice in bad.into_iter().take(MAX_ERRORS) {
        let explained = diagnose::explain(clean, &lexed.tokens, slice);
        covered.push(explained.covers);
        errors.push(explained.error);
    }
    errors.retain(|e| !covered.iter().any(|c| c.start < e.span.start && e.span.start < c.end));
    errors.sort_by_key(|e| (e.span.start, e.span.end));
    errors.dedup_by_key(|e| e.span.start);
    errors.truncate(MAX_ERRORS);
    Ok((tree, lexed, errors))
}
