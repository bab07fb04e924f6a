//! A small pretty-printer after Wadler and Lindig: a document has possible breaks, `render` chooses among them.
//!
//! A group is printed on one line if it fits together with the text up to the next possible break; else all of
//! its own breaks become newlines and the groups inside it are decided in turn. The cost is linear in the
//! size of the document times the width.

/// Width of a formatted line, in columns.
pub(crate) const WIDTH: usize = 100;

/// Step of indentation, in columns.
pub(crate) const INDENT: usize = 4;

/// A layout with choices.
#[derive(Clone, Debug)]
pub(crate) enum Doc {
    /// Text printed unchanged, without newlines.
    Text(String),
    /// A space, or a newline in a broken group.
    Line,
    /// Nothing, or a newline in a broken group.
    Soft,
    /// Printed only in a broken group.
    IfBroken(&'static str),
    /// A sequence of documents.
    All(Vec<Doc>),
    /// A document with one more step of indentation.
    Nest(Box<Doc>),
    /// A group whose breaks are all taken or none.
    Group(Box<Doc>),
}

impl Doc {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Wraps the document in a group.
    pub fn group(self) -> Self {
        Self::Group(Box::new(self))
    }

    /// Adds one step of indentation.
    pub fn nest(self) -> Self {
        Self::Nest(Box::new(self))
    }

    /// `open item, item close`; one item per line if it does not fit, then with a comma after the last one where the grammar accepts one.
    pub fn list(open: &str, items: Vec<Self>, close: &str, last_comma: bool) -> Self {
        let mut inner = vec![Self::Soft];
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                inner.extend([Self::text(","), Self::Line]);
            }
            inner.push(item);
        }
        if last_comma {
            inner.push(Self::IfBroken(","));
        }
        Self::All(vec![Self::text(open), Self::All(inner).nest(), Self::Soft, Self::text(close)]).group()
    }

    /// Everything on one line.
    pub fn flat(&self) -> String {
        let mut out = String::new();
        let mut todo = vec![self];
        while let Some(doc) = todo.pop() {
            match doc {
                Self::Text(text) => out.push_str(text),
                Self::Line => out.push(' '),
                Self::Soft | Self::IfBroken(_) => {}
                Self::All(docs) => todo.extend(docs.iter().rev()),
                Self::Nest(doc) | Self::Group(doc) => todo.push(doc),
            }
        }
        out
    }

    /// Lays out the document after the existing last line of `out`.
    pub fn render(&self, indent: usize, out: &mut String) {
        let mut column = out.chars().rev().take_while(|&c| c != '\n').count();
        let mut todo = vec![(indent, false, self)];
        while let Some((indent, flat, doc)) = todo.pop() {
            match doc {
                Self::Text(text) => {
                    column += text.chars().count();
                    out.push_str(text);
                }
                Self::Line if flat => {
                    column += 1;
                    out.push(' ');
                }
                Self::Soft if flat => {}
                Self::Line | Self::Soft => {
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', indent));
                    column = indent;
                }
                Self::IfBroken(text) => {
                    if !flat {
                        column += text.len();
                        out.push_str(text);
                    }
                }
                Self::All(docs) => todo.extend(docs.iter().rev().map(|doc| (indent, flat, doc))),
                Self::Nest(doc) => todo.push((indent + INDENT, flat, doc)),
                Self::Group(doc) => {
                    let flat = flat || fits(WIDTH.saturating_sub(column), doc, &todo);
                    todo.push((indent, flat, doc));
                }
            }
        }
    }
}

/// Whether `doc` on one line, together with the text up to the next possible break, fits in `room`.
fn fits(room: usize, doc: &Doc, rest: &[(usize, bool, &Doc)]) -> bool {
    let mut room = room;
    let mut following = rest.iter().rev();
    let mut todo = vec![(true, doc)];
    loop {
        let (flat, doc) = match todo.pop() {
            Some(next) => next,
            None => match following.next() {
                Some(&(_, flat, doc)) => (flat, doc),
                None => return true,
            },
        };
        let used = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line if flat => 1,
            Doc::Soft if flat => 0,
            Doc::Line | Doc::Soft => return true,
            Doc::IfBroken(text) => {
                if flat {
                    0
                } else {
                    text.len()
                }
            }
            Doc::All(docs) => {
                todo.extend(docs.iter().rev().map(|doc| (flat, doc)));
                0
            }
            Doc::Nest(doc) | Doc::Group(doc) => {
                todo.push((flat, doc));
                0
            }
        };
        match room.checked_sub(used) {
            Some(left) => room = left,
            None => return false,
        }
    }
}
