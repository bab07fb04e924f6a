//! Explanation of a slice of text that does not parse, in the language's terms.
//!
//! The parser's failure is a place and the set of rules that could have continued there. Common mistakes
//! are recognised by the text at that place and the expected rules; each has a code and a help of its
//! own. All others are "expected ... after ...", with the rules named as a reader would name them.

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};

use crate::build::BadSlice;
use crate::errors::{self, SyntaxError};
use crate::foreign::{foreign_operator, foreign_word, lookalike};
use crate::lex::{Token, TokenKind, is_binder, is_keyword};
use crate::parser::{ArchParser, Rule};
use crate::span::Span;

/// Explanation of a slice that does not parse, and the text it covers: errors that begin in it follow from this one.
pub(crate) struct Explained {
    pub error: SyntaxError,
    pub covers: Span,
}

/// Parses a bad slice again, alone or as the tail of the text before it, and explains the failure.
pub(crate) fn explain(text: &str, tokens: &[Token], slice: BadSlice) -> Explained {
    let first = tokens.partition_point(|t| t.start < slice.span.start as usize);
    let end = slice.span.end as usize;
    let start = match slice.previous {
        Some(previous) if continues(text, tokens, first) => previous.start as usize,
        _ => slice.span.start as usize,
    };
    let (at, wanted) = match ArchParser::parse(slice.wanted, &text[start..end]) {
        Ok(_) => (slice.span.start as usize, Vec::new()),
        Err(error) => {
            let at = match error.location {
                InputLocation::Pos(at) | InputLocation::Span((at, _)) => start + at,
            };
            match error.variant {
                ErrorVariant::ParsingError { positives, .. } => (at, positives),
                // the parser's own limit on the stack, which the limit on nesting should have prevented
                ErrorVariant::CustomError { .. } => {
                    return Explained { error: errors::too_deep(slice.span), covers: slice.span };
                }
            }
        }
    };
    let failure = Failure {
        text,
        tokens,
        wanted: &wanted,
        kind: slice.wanted,
        first: if start < slice.span.start as usize { tokens.partition_point(|t| t.start < start) } else { first },
        at: tokens.partition_point(|t| t.end <= at),
        end: tokens.partition_point(|t| t.end <= end),
    };
    let error = failure.slip().unwrap_or_else(|| failure.unexpected());
    Explained { covers: covered(text, tokens, &error), error }
}

/// Text that belongs to the same mistake: a comment as other languages write it, an `if` with its branches, the names after the first.
fn covered(text: &str, tokens: &[Token], error: &SyntaxError) -> Span {
    let at = error.span;
    let from = at.start as usize;
    let word = |i: usize| tokens.get(i).map_or("", |t| &text[t.start..t.end]);
    let end = match text.get(from..at.end as usize) {
        Some("#" | ",") if matches!(error.code, "E0008" | "E0026") => {
            text[from..].find(['\n', '\r']).map_or(text.len(), |i| from + i)
        }
        Some("/*") => text[from..].find("*/").map_or(text.len(), |i| from + i + 2),
        Some("if") => {
            let mut i = tokens.partition_point(|t| t.start < from);
            let mut depth = 0usize;
            // up to the `}` without an `else` after it
            loop {
                match tokens.get(i).map(|t| t.kind) {
                    None => break text.len(),
                    Some(TokenKind::Open) => depth += 1,
                    Some(TokenKind::Close) if depth == 0 => break tokens[i].start,
                    Some(TokenKind::Close) => {
                        depth -= 1;
                        if depth == 0 && word(i) == "}" && word(i + 1) != "else" {
                            break tokens[i].end;
                        }
                    }
                    _ => {}
                }
                i += 1;
            }
        }
        _ => return at,
    };
    Span::new(from, end)
}

/// Whether a slice reads as the tail of the statement before it: a word on a new line starts a new one.
fn continues(text: &str, tokens: &[Token], first: usize) -> bool {
    let (Some(token), Some(before)) = (tokens.get(first), first.checked_sub(1).and_then(|i| tokens.get(i))) else {
        return false;
    };
    let new_line = text[before.end..token.start].contains(['\n', '\r']);
    let word = &text[token.start..token.end];
    let fresh = is_keyword(word) && !matches!(word, "and" | "or" | "not" | "in" | "if" | "else");
    !(fresh || new_line && (token.kind == TokenKind::Word || word == "("))
}

#[derive(Clone, Copy)]
struct Failure<'a> {
    text: &'a str,
    tokens: &'a [Token],
    /// Rules that could have followed.
    wanted: &'a [Rule],
    /// Rule that the slice should have matched.
    kind: Rule,
    /// The first token of the statement or item.
    first: usize,
    /// The token where the parser stopped.
    at: usize,
    /// One past the last token of the slice.
    end: usize,
}

impl<'a> Failure<'a> {
    fn wants(&self, rule: Rule) -> bool {
        self.wanted.contains(&rule)
    }

    fn wants_expr(&self) -> bool {
        self.wants(Rule::expr) || self.wants(Rule::operand) || self.wants(Rule::argument)
    }

    /// Whether the parser stopped after a complete operand, where any operator may follow; `raise` binds tightest and is always among them.
    fn after_operand(&self) -> bool {
        self.wants(Rule::raise) || self.wants(Rule::pipe)
    }

    fn word(&self, at: usize) -> &'a str {
        self.tokens.get(at).filter(|_| at < self.end).map_or("", |t| &self.text[t.start..t.end])
    }

    fn found(&self) -> &'a str {
        self.word(self.at)
    }

    fn before(&self) -> &'a str {
        self.at.checked_sub(1).filter(|&i| i >= self.first).map_or("", |i| self.word(i))
    }

    fn kind_of(&self, at: usize) -> Option<TokenKind> {
        self.tokens.get(at).filter(|_| at < self.end).map(|t| t.kind)
    }

    fn is_name(&self, at: usize) -> bool {
        self.kind_of(at) == Some(TokenKind::Word) && !is_keyword(self.word(at))
    }

    /// Whether a token directly follows the one before it.
    fn touches(&self, at: usize) -> bool {
        at > 0 && self.tokens[at - 1].end == self.tokens[at].start
    }

    fn new_line(&self) -> bool {
        self.at > self.first
            && self.at < self.end
            && self.text[self.tokens[self.at - 1].end..self.tokens[self.at].start].contains(['\n', '\r'])
    }

    /// Span of the token found, or the end of the last token if the text ended too soon.
    fn span(&self) -> Span {
        match self.tokens.get(self.at).filter(|_| self.at < self.end) {
            Some(token) => token.span(),
            None => match self.at.min(self.end).checked_sub(1) {
                Some(last) => self.tokens[last].span(),
                None => Span::new(self.text.len(), self.text.len()),
            },
        }
    }

    // ---- slips

    fn slip(&self) -> Option<SyntaxError> {
        let slips: [fn(&Self) -> Option<SyntaxError>; 15] = [
            Self::comment,
            Self::unknown_character,
            Self::outside,
            Self::foreign_word,
            Self::keyword_as_name,
            Self::range_of_entries,
            Self::brackets,
            Self::number,
            Self::comparison,
            Self::pipe,
            Self::method,
            Self::space,
            Self::tuple_or_empty,
            Self::declaration,
            Self::no_statement,
        ];
        slips.iter().find_map(|slip| slip(self))
    }

    /// Comments of other languages: `# ...` and `/* ... */`.
    fn comment(&self) -> Option<SyntaxError> {
        let next = self.at + 1;
        match self.found() {
            "#" if self.word(next) != "[" => Some(errors::comment("#", self.span())),
            "/" if self.word(next).starts_with('*') && self.touches(next) => {
                let start = self.span().start as usize;
                Some(errors::comment("/*", Span::new(start, start + 2)))
            }
            _ => None,
        }
    }

    fn unknown_character(&self) -> Option<SyntaxError> {
        let found = self.found();
        if let Some(operator) = found.strip_suffix('=').filter(|o| matches!(*o, "+" | "-" | "*" | "/")) {
            let name = if self.is_name(self.at.saturating_sub(1)) { self.before() } else { "x" };
            let help = format!("write `{name} = {name} {operator} ...`");
            return Some(errors::foreign_operator(found, self.span(), &help));
        }
        if let Some(help) = foreign_operator(found) {
            return Some(errors::foreign_operator(found, self.span(), help));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "_+-*/%^=!<>|.,:;()[]{}\"#".contains(c);
        let character = found.chars().next().filter(|&c| !known(c))?;
        Some(errors::unknown_character(character, self.span(), lookalike(character)))
    }

    /// A statement or an expression where an item is expected.
    fn outside(&self) -> Option<SyntaxError> {
        if !self.wants(Rule::item) {
            return None;
        }
        let word = self.found();
        if let Some(help) = foreign_word(word) {
            return Some(errors::foreign_word(word, self.span(), help));
        }
        let statement = is_keyword(word) || self.is_name(self.at);
        statement.then(|| errors::outside(word, self.span()))
    }

    fn foreign_word(&self) -> Option<SyntaxError> {
        let candidates = [self.first, self.at, self.at.saturating_sub(1)];
        let at = candidates.into_iter().find(|&at| at >= self.first && foreign_word(self.word(at)).is_some())?;
        // a name of that spelling is a name where the language accepts one
        let misplaced = at != self.at.saturating_sub(1) || self.kind_of(self.at) == Some(TokenKind::Word);
        let help = foreign_word(self.word(at)).filter(|_| misplaced)?;
        Some(errors::foreign_word(self.word(at), self.tokens[at].span(), help))
    }

    fn keyword_as_name(&self) -> Option<SyntaxError> {
        let found = self.found();
        if !is_keyword(found) {
            return None;
        }
        // a keyword on a line of its own starts a statement: something is missing before it
        if self.new_line() && found != "else" {
            return None;
        }
        let binder = is_binder(self.before());
        match found {
            "mut" if self.before() == "let" => Some(errors::let_mut(self.span())),
            "if" if self.wants_expr() || (self.after_operand() && self.at > self.first) => {
                Some(errors::if_expression(self.span()))
            }
            "else" if self.word(self.first) == "if" && self.wants(Rule::body) && self.after_operand() => {
                Some(errors::if_expression(self.tokens[self.first].span()))
            }
            "else" if self.at == self.first || self.wants(Rule::EOI) => Some(errors::stray_else(self.span())),
            _ if binder || self.wants(Rule::name) || self.wants_expr() => Some(errors::keyword(found, self.span())),
            _ => None,
        }
    }

    /// `x[A = 0..4]`
    fn range_of_entries(&self) -> Option<SyntaxError> {
        let open = self.opener().filter(|&open| self.word(open) == "[" && self.word(open + 2) == "=")?;
        let range = matches!(self.found(), "." | ".." | ":");
        let value =
            open.checked_sub(1).filter(|&at| at >= self.first && self.is_name(at)).map_or("x", |i| self.word(i));
        range.then(|| errors::range_of_entries(value, self.word(open + 1), self.span()))
    }

    /// `x.relu()`
    fn method(&self) -> Option<SyntaxError> {
        let (name, dot) = (self.at.checked_sub(1)?, self.at.checked_sub(2)?);
        if self.found() != "(" || !self.touches(self.at) || dot < self.first || self.word(dot) != "." {
            return None;
        }
        let value = dot.checked_sub(1).filter(|&at| at >= self.first && self.is_name(at)).map_or("x", |i| self.word(i));
        Some(errors::method(value, self.word(name), Span::new(self.tokens[dot].start, self.tokens[name].end)))
    }

    fn number(&self) -> Option<SyntaxError> {
        let token = *self.tokens.get(self.at).filter(|_| self.at < self.end)?;
        let before = self.at.checked_sub(1).and_then(|i| self.tokens.get(i));
        let joined = self.touches(self.at);
        if token.kind == TokenKind::Number {
            if self.wants_expr() {
                return Some(errors::number(self.found(), token.span()));
            }
            let a_name = self.wants(Rule::name) && !self.wants(Rule::arrow) && self.before() != "|>";
            return a_name.then(|| errors::not_a_name(self.found(), token.span()));
        }
        if self.found() != "." && self.found() != ".." {
            return None;
        }
        match before {
            Some(number) if number.kind == TokenKind::Number && joined => {
                let end = self.glued_end();
                Some(errors::number(&self.text[number.start..end], Span::new(number.start, end)))
            }
            _ if self.wants_expr() && self.kind_of(self.at + 1) == Some(TokenKind::Number) => {
                let end = self.glued_end();
                Some(errors::number(&self.text[token.start..end], Span::new(token.start, end)))
            }
            _ => None,
        }
    }

    /// End of the token found, including a number or word glued to it.
    fn glued_end(&self) -> usize {
        let next = self.at + 1;
        let glued = matches!(self.kind_of(next), Some(TokenKind::Number | TokenKind::Word)) && self.touches(next);
        self.tokens[if glued { next } else { self.at }].end
    }

    fn comparison(&self) -> Option<SyntaxError> {
        let comparator = matches!(self.found(), "==" | "!=" | "<" | "<=" | ">" | ">=");
        if comparator && self.wants(Rule::additive) && !self.wants(Rule::comparator) {
            return Some(errors::chain(self.found(), self.span()));
        }
        if self.found() == "==" && self.wants(Rule::equals) && !self.after_operand() {
            return Some(errors::double_equals(self.span()));
        }
        if self.found() == "=" && self.wants(Rule::comparator) && self.at > self.first + 1 {
            return Some(errors::single_equals(self.span()));
        }
        None
    }

    fn pipe(&self) -> Option<SyntaxError> {
        if self.before() == "|>" && self.wants(Rule::name) {
            return Some(errors::pipe_target(self.found(), self.span()));
        }
        let operator = self.kind_of(self.at) == Some(TokenKind::Punct)
            && !matches!(self.found(), "," | ";" | ":" | "=")
            || matches!(self.found(), "and" | "or");
        if operator && self.wants(Rule::pipe) && !self.wants(Rule::raise) {
            return Some(errors::after_pipe(self.found(), self.span()));
        }
        None
    }

    fn space(&self) -> Option<SyntaxError> {
        let found = self.found();
        let opens = match found {
            "(" => self.is_name(self.at.saturating_sub(1)) || self.before() == "]",
            "[" => self.is_name(self.at.saturating_sub(1)) || matches!(self.before(), ")" | "]"),
            "{" => self.is_name(self.at.saturating_sub(1)) && !self.wants(Rule::body),
            _ => false,
        };
        let applies = self.after_operand() || self.wants(Rule::equals) || self.wants(Rule::brackets);
        if self.at <= self.first || !opens || !applies || self.touches(self.at) {
            return None;
        }
        Some(errors::space_before(found, self.before(), self.span()))
    }

    fn brackets(&self) -> Option<SyntaxError> {
        let in_list = self.wants(Rule::arrow) || self.wants(Rule::close_bracket) && self.wants(Rule::comma);
        let after_open = self.wants(Rule::name) && self.opener().is_some_and(|open| self.word(open) == "[");
        let closes = matches!(self.found(), "" | "]");
        if !(in_list || after_open) || closes || self.is_name(self.at) {
            return None;
        }
        let name = (self.first..self.at).rev().find(|&i| self.word(i) == "[").and_then(|open| open.checked_sub(1));
        Some(errors::not_an_axis(self.found(), name.map_or("x", |i| self.word(i)), self.span()))
    }

    fn tuple_or_empty(&self) -> Option<SyntaxError> {
        let open = self.opener();
        let applied = open.is_some_and(|open| open > self.first && self.touches(open) && self.is_applied(open - 1));
        match self.found() {
            ")" if self.before() == "(" => Some(errors::empty_parentheses(self.span())),
            "," if !applied && self.wants(Rule::close_paren) && !self.wants(Rule::comma) => {
                Some(errors::tuple(self.span()))
            }
            ")" if !applied && self.wants(Rule::comma) && !self.wants(Rule::close_paren) => {
                Some(errors::tuple_of_one(self.span()))
            }
            _ => None,
        }
    }

    fn is_applied(&self, at: usize) -> bool {
        self.is_name(at) || matches!(self.word(at), "]")
    }

    /// The innermost bracket that is open where the parser stopped.
    fn opener(&self) -> Option<usize> {
        let mut depth = 0usize;
        for at in (self.first..self.at).rev() {
            match self.kind_of(at) {
                Some(TokenKind::Close) => depth += 1,
                Some(TokenKind::Open) if depth == 0 => return Some(at),
                Some(TokenKind::Open) => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The bracket that a closing bracket matches.
    fn partner(&self, close: usize) -> Option<usize> {
        Failure { at: close, end: self.end, ..*self }.opener()
    }

    fn declaration(&self) -> Option<SyntaxError> {
        match self.found() {
            ":" if self.wants(Rule::equals) && self.is_name(self.at.saturating_sub(1)) => {
                Some(errors::annotation(self.before(), self.span()))
            }
            "->" if self.wants(Rule::body) && !self.after_operand() => Some(errors::result_arrow(self.span())),
            "[" if self.wants(Rule::equals) && self.touches(self.at) && !self.after_operand() => {
                Some(errors::no_axes_here(self.before(), self.span()))
            }
            _ if self.wants(Rule::body) && self.before() == "}" => {
                // `if a{ x = 1 }` reads as the constant a{x = 1}
                let open = self.partner(self.at - 1).filter(|&open| self.touches(open))?;
                Some(errors::brace_touches(self.tokens[open].span()))
            }
            "," if self.wants(Rule::equals) && self.names_before().is_some() => {
                let names = self.names_before()?;
                let keyword = if self.word(self.first) == "let" { "let " } else { "" };
                Some(errors::names_without_parentheses(keyword, &names, self.span()))
            }
            _ if self.wants(Rule::equals) && (self.at == self.end || self.new_line()) => self.without_value(),
            _ if self.wants(Rule::equals) && self.word(self.first) == "emit" && self.at == self.first + 2 => {
                self.without_value()
            }
            _ if self.wants(Rule::path_sep) && self.word(self.first) == "use" => {
                Some(errors::use_braces(&self.path(), self.span()))
            }
            _ if self.wants(Rule::range) && self.after_operand() && self.found() == "{" => {
                Some(errors::no_range(self.span()))
            }
            _ => None,
        }
    }

    /// `a, b =` where a statement binds or assigns one name; `b =` starts a slice of its own.
    fn names_before(&self) -> Option<Vec<&'a str>> {
        let whole = Failure { end: self.tokens.len(), ..*self };
        let mut at = if self.word(self.first) == "let" { self.first + 1 } else { self.first };
        let mut names = Vec::new();
        loop {
            names.push(whole.word(at));
            match (whole.is_name(at), whole.word(at + 1)) {
                (true, ",") => at += 2,
                (true, "=") => return Some(names),
                _ => return None,
            }
        }
    }

    /// A declaration that ends before its `=`.
    fn without_value(&self) -> Option<SyntaxError> {
        let keyword = self.word(self.first);
        let declared = self.first + 1;
        if declared >= self.at || !self.is_name(declared) {
            return None;
        }
        let text = |from: usize, to: usize| self.text[self.tokens[from].start..self.tokens[to - 1].end].to_owned();
        let help = match keyword {
            "emit" => {
                let name = if self.word(declared) == "y" { "z" } else { "y" };
                format!("write `emit {name} = {}`: the rest of the block calls it `{name}`", text(declared, self.end))
            }
            "state" | "mut" => format!("write `{keyword} {} = 0`", text(declared, self.at)),
            "param" | "prefix" => format!("write `{keyword} {} = normal(0.02)`", text(declared, self.at)),
            "axis" => format!("write `axis {} = 16`", text(declared, self.at)),
            "let" => format!("write `let {} = ...`", text(declared, self.at)),
            _ => return None,
        };
        let found =
            if self.at == self.end { "the end of the statement".to_owned() } else { format!("`{}`", self.found()) };
        Some(errors::without_value(&self.wanted_words(), self.before(), self.span(), &found, help))
    }

    /// The path of a `use` as written, without the last name.
    fn path(&self) -> [String; 2] {
        let words: Vec<&str> = (self.first + 1..self.end).map(|i| self.word(i)).collect();
        let plain = words
            .iter()
            .enumerate()
            .all(|(i, w)| if i % 2 == 1 { *w == "::" } else { self.is_name(self.first + 1 + i) });
        match &words[..] {
            [path @ .., "::", last] if plain => [path.concat(), (*last).to_owned()],
            _ => Default::default(),
        }
    }

    /// A statement that starts with a name and is no assignment.
    fn no_statement(&self) -> Option<SyntaxError> {
        let statement = matches!(self.kind, Rule::one_stmt | Rule::one_pair_stmt);
        let word = self.word(self.first);
        if self.kind == Rule::one_pair_stmt && is_pair_word(word) {
            return None;
        }
        if !statement || !self.wants(Rule::equals) || self.at != self.first + 1 || !self.is_name(self.first) {
            let nothing = statement && (self.wanted.is_empty() || self.at == self.first);
            return nothing.then(|| errors::no_statement(self.found(), self.span()));
        }
        let span = self.tokens[self.first].span();
        if is_pair_word(word) {
            return Some(errors::outside_attend(word, span));
        }
        Some(errors::no_statement(word, span))
    }

    // ---- everything else

    fn unexpected(&self) -> SyntaxError {
        let found = match self.found() {
            "" if matches!(self.kind, Rule::one_stmt | Rule::one_pair_stmt) => "the end of the statement".to_owned(),
            "" => "the end".to_owned(),
            word => format!("`{word}`"),
        };
        let before = Some(self.before()).filter(|b| !b.is_empty());
        if self.wants_expr() && !self.after_operand() {
            // `let x = if c { a } else { b }`: the slice ends where the `if` starts a statement.
            let next = self.tokens.get(self.end).filter(|_| self.at == self.end);
            if let Some(next) = next.filter(|t| &self.text[t.start..t.end] == "if") {
                return errors::if_expression(next.span());
            }
            let help = match self.found() {
                "+" => Some("a number without a sign is positive"),
                "[" => Some("an axis list is only the value of an option: `f(x, per = [H])`"),
                found if found.starts_with('"') => Some("a text stands only in an attribute: `#[cite(\"...\")]`"),
                _ => None,
            };
            return errors::expected_expression(before, self.span(), &found, help);
        }
        errors::expected(&self.wanted_words(), before, self.span(), &found)
    }

    /// The expected rules as a reader would name them: "an operator, `,` or `)`".
    fn wanted_words(&self) -> String {
        let mut words: Vec<&str> = Vec::new();
        if self.after_operand() {
            words.push("an operator");
        }
        for &(rule, word) in WORDS {
            let hidden = self.after_operand() && matches!(rule, Rule::brackets | Rule::equals);
            if self.wants(rule) && !hidden && !words.contains(&word) {
                words.push(word);
            }
        }
        if self.wants(Rule::EOI) {
            words.push(match self.kind {
                Rule::one_item | Rule::file => "the next item",
                Rule::one_expr => "the end of the expression",
                _ => "the next statement",
            });
        }
        match words.split_last() {
            None => "something else".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        }
    }
}

/// Whether a word is a keyword at the start of a statement of `attend`.
fn is_pair_word(word: &str) -> bool {
    matches!(word, "where" | "score" | "sink" | "weight")
}

const AN_ITEM: &str = "`fn`, `block`, `model` or `use`";

/// Reader-friendly names of rules.
const WORDS: &[(Rule, &str)] = &[
    (Rule::name, "a name"),
    (Rule::item, AN_ITEM),
    (Rule::use_item, AN_ITEM),
    (Rule::kw_use, AN_ITEM),
    (Rule::signature, "a name"),
    (Rule::declared, "a name"),
    (Rule::declared_axes, "a name"),
    (Rule::application, "an application"),
    (Rule::parameter, "a parameter"),
    (Rule::axis_term, "an axis"),
    (Rule::kw_in, "`in`"),
    (Rule::kw_if, "`if`"),
    (Rule::range, "`..`"),
    (Rule::equals, "`=`"),
    (Rule::brackets, "axes in `[ ]`"),
    (Rule::path_sep, "`::`"),
    (Rule::string, "a text in quotes"),
    (Rule::body, "`{`"),
    (Rule::attend_body, "`{`"),
    (Rule::comma, "`,`"),
    (Rule::close_paren, "`)`"),
    (Rule::close_bracket, "`]`"),
    (Rule::close_brace, "`}`"),
];
