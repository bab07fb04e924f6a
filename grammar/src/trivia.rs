//! Attachment of comments and blank lines to the tree, where the formatter finds them.
//!
//! The parser skips comments; the lexer has collected them. The finished tree is visited in the order of the
//! text, and each comment is attached to the nearest owner: the end of the statement on its line, the statement that
//! follows, the brace that opens or closes the block. A comment inside an expression moves in front of
//! its statement.

use crate::ast::{Block, Body, Callable, File, Item, ItemKind, Stmt, StmtKind, Trivia};
use crate::lex::{Comment, Lexed};

/// Attaches all comments of a file.
pub(crate) fn attach_to_file(file: &mut File, text: &str, lexed: &Lexed) {
    let mut walk = Walk { text, lexed, next: 0 };
    let mut end = 0;
    for at in 0..file.items.len() {
        let (before, rest) = file.items.split_at_mut(at);
        let previous = before.last_mut().map(|item| &mut item.trivia);
        let Some(item) = rest.first_mut() else { break };
        item.trivia = walk.before(previous, end, item.span.start as usize);
        walk.item(item);
        end = item.span.end as usize;
    }
    let last = file.items.last_mut().map(|item| &mut item.trivia);
    file.dangling = walk.after(last, end, text.len());
}

/// Attaches all comments of a text that holds one statement.
pub(crate) fn attach_to_stmt(stmt: &mut Stmt, text: &str, lexed: &Lexed) {
    let mut walk = Walk { text, lexed, next: 0 };
    stmt.trivia = walk.before(None, 0, stmt.span.start as usize);
    walk.stmt(stmt);
    let (trivia, end) = (&mut stmt.trivia, stmt.span.end as usize);
    let rest = walk.after(Some(trivia), end, text.len());
    stmt.trivia.leading.extend(rest.into_iter().filter(|line| !line.is_empty()));
}

struct Walk<'a> {
    text: &'a str,
    lexed: &'a Lexed,
    /// Index of the next unattached comment.
    next: usize,
}

impl Walk<'_> {
    fn item(&mut self, item: &mut Item) {
        let comments = std::mem::take(&mut item.trivia.leading);
        for line in comments {
            match line.strip_prefix("///") {
                // four slashes are a section rule
                Some(doc) if !doc.starts_with('/') => item.docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned()),
                _ => item.trivia.leading.push(line),
            }
        }
        drop_blank_start(&mut item.trivia.leading);
        let end = item.span.end as usize;
        match &mut item.kind {
            ItemKind::Fn(Callable { body: Body::Block(body), .. })
            | ItemKind::Block(Callable { body: Body::Block(body), .. })
            | ItemKind::Model(Callable { body: Body::Block(body), .. }) => {
                self.inside(&mut item.trivia, body.span.start as usize);
                self.block(body);
            }
            _ => self.inside(&mut item.trivia, end),
        }
    }

    fn block(&mut self, block: &mut Block) {
        let mut end = block.span.start as usize + 1;
        if let Some(comment) = self.on_line_of(end, block.span.end as usize) {
            end = comment.end;
            block.opening = Some(self.line(comment));
        }
        for at in 0..block.stmts.len() {
            let (before, rest) = block.stmts.split_at_mut(at);
            let previous = before.last_mut().map(|stmt| &mut stmt.trivia);
            let Some(stmt) = rest.first_mut() else { break };
            stmt.trivia = self.before(previous, end, stmt.span.start as usize);
            self.stmt(stmt);
            end = stmt.span.end as usize;
        }
        let last = block.stmts.last_mut().map(|stmt| &mut stmt.trivia);
        block.dangling = self.after(last, end, block.span.end as usize);
    }

    fn stmt(&mut self, stmt: &mut Stmt) {
        let end = stmt.span.end as usize;
        match &mut stmt.kind {
            StmtKind::Scan(body) | StmtKind::Attend(body) | StmtKind::For { body, .. } => {
                self.inside(&mut stmt.trivia, body.span.start as usize);
                self.block(body);
            }
            StmtKind::If { arms, otherwise } => {
                let blocks = arms.iter_mut().map(|(_, block)| block).chain(otherwise);
                let mut previous: Option<&mut Block> = None;
                for block in blocks {
                    let start = block.span.start as usize;
                    match previous {
                        Some(above) => {
                            let between = self.until(start);
                            above.dangling.extend(between);
                        }
                        None => self.inside(&mut stmt.trivia, start),
                    }
                    self.block(block);
                    previous = Some(block);
                }
            }
            _ => {}
        }
        self.inside(&mut stmt.trivia, end);
    }

    /// Trivia between the end of one node and the start of the next.
    fn before(&mut self, previous: Option<&mut Trivia>, mut end: usize, start: usize) -> Trivia {
        let first = previous.is_none();
        if let Some(previous) = previous
            && let Some(comment) = self.on_line_of(end, start)
        {
            previous.trailing = Some(self.line(comment));
            end = comment.end;
        }
        let mut trivia = Trivia::default();
        let next = self.first_thing(end, start);
        trivia.blank_before = !first && self.blank(end, next);
        self.lines(start, &mut trivia.leading);
        trivia
    }

    /// Comments between the last node and the closing brace or the end of the file.
    fn after(&mut self, last: Option<&mut Trivia>, mut end: usize, close: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(last) = last {
            if let Some(comment) = self.on_line_of(end, close) {
                last.trailing = Some(self.line(comment));
                end = comment.end;
            }
            if self.comment().is_some_and(|c| c.start < close && self.blank(end, c.start)) {
                lines.push(String::new());
            }
        }
        self.lines(close, &mut lines);
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Comments up to `end`, with an empty line for each gap after one.
    fn lines(&mut self, end: usize, out: &mut Vec<String>) {
        while let Some(comment) = self.comment().filter(|c| c.start < end) {
            self.next += 1;
            out.push(self.line(comment));
            let next = self.first_thing(comment.end, end);
            if self.blank(comment.end, next) {
                out.push(String::new());
            }
        }
    }

    /// Moves comments from inside a node in front of it.
    fn inside(&mut self, trivia: &mut Trivia, end: usize) {
        let inner = self.until(end);
        trivia.leading.extend(inner);
    }

    fn until(&mut self, end: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(comment) = self.comment().filter(|c| c.start < end) {
            self.next += 1;
            lines.push(self.line(comment));
        }
        lines
    }

    /// Takes the next comment if it is on the line on which a node ends.
    fn on_line_of(&mut self, end: usize, limit: usize) -> Option<Comment> {
        let comment = self.comment().filter(|c| c.start >= end && c.start < limit)?;
        if self.text[end..comment.start].contains(['\n', '\r']) || self.has_token(end, comment.start) {
            return None;
        }
        self.next += 1;
        Some(comment)
    }

    /// Whether a token other than a separator stands between two places.
    fn has_token(&self, start: usize, end: usize) -> bool {
        let first = self.lexed.tokens.partition_point(|t| t.start < start);
        let tokens = self.lexed.tokens[first..].iter().take_while(|t| t.start < end);
        tokens.into_iter().any(|t| &self.text[t.start..t.end] != ";")
    }

    fn comment(&self) -> Option<Comment> {
        self.lexed.comments.get(self.next).copied()
    }

    fn line(&self, comment: Comment) -> String {
        self.text[comment.start..comment.end].to_owned()
    }

    /// Position of the next comment or token, ignoring `;`.
    fn first_thing(&self, from: usize, limit: usize) -> usize {
        let first = self.lexed.tokens.partition_point(|t| t.start < from);
        let mut tokens = self.lexed.tokens[first..].iter();
        let token = tokens.find(|t| &self.text[t.start..t.end] != ";").map_or(limit, |t| t.start);
        let comment = self.lexed.comments.get(self.next).filter(|c| c.start >= from).map_or(limit, |c| c.start);
        token.min(comment).min(limit)
    }

    /// Whether a blank line lies between two places with nothing in between.
    fn blank(&self, from: usize, to: usize) -> bool {
        let gap = self.text.get(from..to).unwrap_or("");
        let count = |c| gap.bytes().filter(|&b| b == c).count();
        count(b'\n').max(count(b'\r')) > 1
    }
}

fn drop_blank_start(lines: &mut Vec<String>) {
    let blanks = lines.iter().take_while(|line| line.is_empty()).count();
    lines.drain(..blanks);
}
