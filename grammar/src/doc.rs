//! A small pretty-printer after Wadler and Lindig: a document says where it may break, `render` decides.
//!
//! A group is printed on one line if what follows, up to the next place that may break, fits; else all of
//! its own breaks become newlines and the groups inside it are asked again. The cost is linear in the
//! size of the document times the width.

/// The width of a formatted line.
pub(crate) const WIDTH: usize = 100;

/// The step of indentation.
pub(crate) const INDENT: usize = 4;

/// A layout with choices.
#[derive(Clone, Debug)]
pub(crate) enum Doc {
    /// Printed as it is; holds no newline.
    Text(String),
    /// A space, or a newline in a broken group.
    Line,
    /// Nothing, or a newline in a broken group.
    Soft,
    /// Printed only in a broken group.
    IfBroken(&'static str),
    /// One after the other.
    All(Vec<Doc>),
    /// One step further in.
    Nest(Box<Doc>),
    /// Broken as one.
    Group(Box<Doc>),
}

impl Doc {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A group.
    pub fn group(self) -> Self {
        Self::Group(Box::new(self))
    }

    /// One step further in.
    pub fn nest(self) -> Self {
        Self::Nest(Box::new(self))
    }

    /// `open item, item close`; one item a line if it does not fit, then with a comma after the last one
    /// where the grammar takes one.
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

    /// Lays it out after what already stands on the last line of `out`.
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

/// Whether `doc` on one line, and what follows it up to the next place that may break, fits in `room`.
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
