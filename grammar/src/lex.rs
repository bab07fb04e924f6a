//! A light scan before the parser: tokens, comments and brackets.
//!
//! Three things are done here, in one pass whose cost is linear and whose stack is flat:
//! - input that is not text, or too large, is refused;
//! - brackets are matched and their depth is limited, so that no input can exhaust the recursive
//!   parser's stack. An unclosed bracket is attributed to the statement (or item) that holds
//!   it; that slice is blanked out (`POISON` and spaces, so that every span stays valid) and the rest of
//!   the file is parsed as usual;
//! - comments, which the parser skips, are collected for the tree.
//!
//! The heuristics for the start of a statement or an item only decide how much of a broken file is set
//! aside; they are never used for a file whose brackets match.

use crate::errors::{self, SyntaxError};
use crate::span::Span;

/// Maximum nesting of brackets.
pub const MAX_DEPTH: usize = 100;

/// Maximum size of a file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// First byte of a slice that was blanked out; no other text may contain it.
pub(crate) const POISON: u8 = 1;

/// Kind of a token, as far as recovery and messages need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or a keyword.
    Word,
    /// Anything that starts with a digit.
    Number,
    /// `"..."`
    Text,
    /// `(`, `[`, `{`
    Open,
    /// `)`, `]`, `}`
    Close,
    /// An operator, or a character the language does not know.
    Punct,
}

/// A token: a kind and a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Kind of the token.
    pub kind: TokenKind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Token {
    /// Its span.
    pub fn span(self) -> Span {
        Span::new(self.start, self.end)
    }
}

/// A `//` comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// First byte.
    pub start: usize,
    /// One past the last byte that is not white space.
    pub end: usize,
}

/// The tokens and comments of one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lexed {
    /// Tokens in order.
    pub tokens: Vec<Token>,
    /// Comments in order.
    pub comments: Vec<Comment>,
}

/// All reserved words.
pub const KEYWORDS: &[&str] = &[
    "use", "fn", "block", "model", "shared", "prefix", "input", "output", "let", "mut", "param", "axis", "scan",
    "state", "emit", "attend", "for", "in", "if", "else", "return", "loss", "not", "and", "or",
];

/// Whether a word is reserved.
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Punctuation of two characters: the language's own, then that of other languages (for messages).
const PAIRS: &[&str] = &[
    "|>", "->", "..", "::", "==", "!=", "<=", ">=", //
    "**", "&&", "||", "+=", "-=", "*=", "/=", ":=", "=>",
];

/// Refuses input that is not text or too large.
pub(crate) fn refuse(text: &str) -> Option<SyntaxError> {
    if text.len() > MAX_BYTES {
        return Some(errors::too_large(text.len()));
    }
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    text.char_indices().find(|&(_, c)| control(c)).map(|(at, c)| errors::not_text(c, Span::new(at, at + c.len_utf8())))
}

/// Splits a text into tokens and comments. Never fails: an unknown character is a token of its own.
pub(crate) fn lex(text: &str) -> Lexed {
    let bytes = text.as_bytes();
    let mut lexed = Lexed::default();
    let mut at = if text.starts_with('\u{FEFF}') { 3 } else { 0 };
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = line_end(bytes, at);
                let end = start + text[start..at].trim_end().len();
                lexed.comments.push(Comment { start, end });
                continue;
            }
            b'"' => {
                let line = line_end(bytes, at);
                at = text[at + 1..line].find('"').map_or(line, |closing| start + 1 + closing + 1);
                TokenKind::Text
            }
            b'0'..=b'9' => {
                at = number_end(bytes, at);
                TokenKind::Number
            }
            b'(' | b'[' | b'{' => {
                at += 1;
                TokenKind::Open
            }
            b')' | b']' | b'}' => {
                at += 1;
                TokenKind::Close
            }
            _ if is_word(byte) => {
                at = word_end(bytes, at);
                TokenKind::Word
            }
            _ if text.get(at..at + 2).is_some_and(|two| PAIRS.contains(&two)) => {
                at += 2;
                TokenKind::Punct
            }
            _ => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                TokenKind::Punct
            }
        };
        lexed.tokens.push(Token { kind, start, end: at });
    }
    lexed
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| !is_word(b)).map_or(bytes.len(), |n| at + n)
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n' || b == b'\r').map_or(bytes.len(), |n| at + n)
}

/// End of a number, sign of the exponent included; letters glued to it belong to it (`3x`).
fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut at = word_end(bytes, start);
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = word_end(bytes, at + 1);
    }
    let exponent =
        matches!(bytes[at - 1], b'e' | b'E') && bytes[start..at - 1].iter().all(|&b| b.is_ascii_digit() || b == b'.');
    if exponent && matches!(bytes.get(at), Some(b'+' | b'-')) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at = word_end(bytes, at + 1);
    }
    at
}

/// Result of the bracket check.
#[derive(Debug)]
pub(crate) enum Brackets {
    /// They match.
    Balanced,
    /// Some do not; the text with the bad slices blanked out is balanced.
    Repaired(String, Vec<SyntaxError>),
    /// Nesting too deep for further analysis.
    TooDeep(SyntaxError),
}

/// An open bracket, or the file itself.
struct Frame {
    /// The bracket's token; none for the file.
    open: Option<usize>,
    /// First token of the statement (in the file: item) that is being read in it.
    slice: usize,
    /// Whether that statement has a bracket error.
    bad: bool,
}

/// Matches brackets.
pub(crate) fn match_brackets(text: &str, lexed: &Lexed) -> Brackets {
    let mut matcher = Matcher {
        text,
        tokens: &lexed.tokens,
        stack: vec![Frame { open: None, slice: 0, bad: false }],
        suspect: None,
        closed: None,
        owed: 0,
        errors: Vec::new(),
        poison: Vec::new(),
    };
    for at in 0..lexed.tokens.len() {
        if let Err(too_deep) = matcher.token(at) {
            return Brackets::TooDeep(too_deep);
        }
    }
    matcher.end_item(lexed.tokens.len());
    if matcher.errors.is_empty() {
        return Brackets::Balanced;
    }
    let repaired = blank_out(text, matcher.poison);
    Brackets::Repaired(repaired, matcher.errors)
}

struct Matcher<'a> {
    text: &'a str,
    tokens: &'a [Token],
    stack: Vec<Frame>,
    /// A `{` closed by a `}` on another indentation: a `}` was probably forgotten there.
    suspect: Option<usize>,
    /// Last bracket that closed an item's body.
    closed: Option<usize>,
    /// Number of `}` that an item that was cut short may leave behind without a second error.
    owed: usize,
    errors: Vec<SyntaxError>,
    /// Byte ranges to blank out.
    poison: Vec<(usize, usize)>,
}

impl Matcher<'_> {
    fn token(&mut self, at: usize) -> Result<(), SyntaxError> {
        let token = self.tokens[at];
        match token.kind {
            TokenKind::Open => {
                if self.stack.len() > MAX_DEPTH {
                    return Err(errors::too_deep(token.span()));
                }
                self.stack.push(Frame { open: Some(at), slice: at + 1, bad: false });
            }
            TokenKind::Close => self.close(at),
            TokenKind::Word | TokenKind::Punct => {
                if self.starts_item(at) {
                    self.end_item(at);
                } else if self.starts_statement(at) {
                    self.unclosed_before(at);
                    self.end_statement(at);
                } else if self.in_braces() && self.starts_assignment(at) {
                    self.end_statement(at);
                }
            }
            TokenKind::Number | TokenKind::Text => {}
        }
        Ok(())
    }

    fn close(&mut self, at: usize) {
        let wanted = match self.word(at) {
            ")" => "(",
            "]" => "[",
            _ => "{",
        };
        let same = |frame: &Frame| frame.open.is_some_and(|open| self.word(open) == wanted);
        let brace = self.stack.iter().rposition(|f| f.open.is_none_or(|open| self.word(open) == "{")).unwrap_or(0);
        let partner = match self.stack.iter().rposition(same) {
            // a `)` does not match beyond the braces around it
            Some(found) if found >= brace => found,
            // `[a)`: the wrong partner is one error, not two
            _ if brace + 1 < self.stack.len() && wanted != "{" => {
                let open = self.stack.pop().and_then(|f| f.open);
                self.report_unclosed(open, at);
                self.mark_bad();
                return;
            }
            _ => {
                if brace + 1 < self.stack.len() {
                    self.unclosed_before(at);
                }
                if wanted == "{" && self.owed > 0 {
                    self.owed -= 1;
                    self.mark_bad();
                    return;
                }
                let closed = self.closed.filter(|_| wanted == "{").map(|c| self.tokens[c].span());
                self.errors.push(errors::closes_nothing(self.word(at), self.tokens[at].span(), closed));
                self.mark_bad();
                return;
            }
        };
        if partner + 1 < self.stack.len() {
            let innermost = self.stack.last().and_then(|f| f.open);
            self.stack.truncate(partner + 1);
            self.report_unclosed(innermost, at);
            if wanted != "{" {
                self.stack.pop();
                self.mark_bad();
                return;
            }
            self.mark_bad();
        }
        if wanted == "{" {
            self.end_statement(at);
            let open = self.stack.last().and_then(|f| f.open);
            if let Some(open) = open
                && self.suspect.is_none()
                && self.first_of_line(at)
                && self.indent(at) != self.indent(open)
            {
                self.suspect = Some(open);
            }
        }
        self.stack.pop();
        if self.stack.len() == 1 {
            self.closed = Some(at);
        }
    }

    /// Ends an item where the next one starts: brackets that are still open are never closed.
    fn end_item(&mut self, next: usize) {
        if self.stack.len() > 1 {
            self.owed = self.stack.iter().filter(|f| f.open.is_some_and(|open| self.word(open) == "{")).count();
            let innermost = self.stack.last().and_then(|f| f.open);
            let is_brace = innermost.is_some_and(|open| self.word(open) == "{");
            let open = if is_brace { self.suspect.or(innermost) } else { innermost };
            self.stack.truncate(1);
            self.report_unclosed(open, next);
            self.mark_bad();
        }
        self.suspect = None;
        self.end_statement(next);
    }

    /// Sets the finished statement aside if it was bad, and starts the next one.
    fn end_statement(&mut self, next: usize) {
        let tokens = self.tokens;
        if let Some(frame) = self.stack.last_mut() {
            if frame.bad && frame.slice < next {
                self.poison.push((tokens[frame.slice].start, tokens[next - 1].end));
            }
            frame.bad = false;
            frame.slice = next;
        }
    }

    /// Reports open `(` and `[` at the start of a statement, which they cannot hold: they were forgotten.
    fn unclosed_before(&mut self, at: usize) {
        if !self.in_braces() {
            let innermost = self.stack.last().and_then(|f| f.open);
            while !self.in_braces() {
                self.stack.pop();
            }
            self.report_unclosed(innermost, at);
            self.mark_bad();
        }
    }

    fn report_unclosed(&mut self, open: Option<usize>, found: usize) {
        if let Some(open) = open {
            let found = self.tokens.get(found).map(|t| &self.text[t.start..t.end]);
            self.errors.push(errors::unclosed(self.word(open), self.tokens[open].span(), found));
        }
    }

    /// Attributes an error to the statement that is being read.
    fn mark_bad(&mut self) {
        let brace = self.stack.iter().rposition(|f| f.open.is_none_or(|open| self.word(open) == "{")).unwrap_or(0);
        self.stack[brace].bad = true;
    }

    fn in_braces(&self) -> bool {
        self.stack.last().is_none_or(|f| f.open.is_none_or(|open| self.word(open) == "{"))
    }

    fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |t| &self.text[t.start..t.end])
    }

    fn before(&self, at: usize) -> &str {
        at.checked_sub(1).map_or("", |before| self.word(before))
    }

    fn is_name(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|t| t.kind == TokenKind::Word) && !is_keyword(self.word(at))
    }

    fn starts_item(&self, at: usize) -> bool {
        match self.word(at) {
            "use" | "fn" | "block" | "model" => {
                let attributed = self.stack.len() == 1 && self.before(at) == "]";
                let before = self.before(at);
                // in the middle of an expression it is a mistake for a name
                let operand = wants_operand(before) && !self.first_of_line(at);
                self.is_name(at + 1) && !attributed && !is_binder(before) && !operand
            }
            "#" => self.stack.len() == 1 && self.word(at + 1) == "[" && self.before(at) != "]",
            _ => false,
        }
    }

    fn starts_statement(&self, at: usize) -> bool {
        if is_binder(self.before(at)) || self.stack.len() < 2 {
            return false;
        }
        let next = self.word(at + 1);
        match self.word(at) {
            "let" | "input" | "mut" | "param" | "axis" | "state" | "emit" | "for" | "shared" | "prefix" => {
                self.is_name(at + 1) || next == "(" || (is_keyword(next) && self.word(at + 2) == "=")
            }
            "scan" | "attend" => next == "{",
            "return" | "output" | "loss" => !matches!(next, "," | ")" | "]" | "=" | "") && self.first_of_line(at),
            "if" => self.before(at) != "else" && self.first_of_line(at),
            _ => false,
        }
    }

    fn starts_assignment(&self, at: usize) -> bool {
        self.is_name(at) && self.word(at + 1) == "=" && !is_binder(self.before(at))
    }

    fn first_of_line(&self, at: usize) -> bool {
        at == 0 || self.text[self.tokens[at - 1].end..self.tokens[at].start].contains(['\n', '\r'])
    }

    fn indent(&self, at: usize) -> usize {
        let start = self.tokens[at].start;
        let line = self.text[..start].rfind('\n').map_or(0, |n| n + 1);
        self.text[line..].bytes().take_while(|&b| b == b' ' || b == b'\t').count()
    }
}

/// Whether an operand must follow a word.
fn wants_operand(word: &str) -> bool {
    let operators = ["==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "^", "|>", "=", "(", "[", ","];
    operators.contains(&word) || matches!(word, "and" | "or" | "not")
}

/// Whether a word is followed by the name it binds.
pub(crate) fn is_binder(word: &str) -> bool {
    matches!(
        word,
        "let"
            | "input"
            | "mut"
            | "param"
            | "axis"
            | "state"
            | "emit"
            | "for"
            | "shared"
            | "prefix"
            | "fn"
            | "block"
            | "model"
    )
}

/// Replaces ranges by `POISON` and spaces. The range of an item may contain those of its statements.
fn blank_out(text: &str, mut ranges: Vec<(usize, usize)>) -> String {
    ranges.sort_by_key(|&(start, end)| (start, std::cmp::Reverse(end)));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in ranges {
        if start < done || start == end {
            continue;
        }
        out.push_str(&text[done..start]);
        out.push(char::from(POISON));
        out.extend(std::iter::repeat_n(' ', end - start - 1));
        done = end;
    }
    out.push_str(&text[done..]);
    out
}
