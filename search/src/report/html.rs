//! Writing HTML so that nothing a program says can be taken for markup.

use std::fmt::{Display, Write};

/// A page in the making. Text goes in by [`Page::text`], which escapes; markup by [`Page::raw`], which takes
/// only texts of this program.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text from anywhere.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        escape(&text.to_string(), &mut self.0);
        self
    }

    /// `<name a="1" b="2">text</name>`
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        text: impl Display,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// `<name a="1">`
    pub(super) fn open(&mut self, name: &'static str, attributes: &[(&'static str, &dyn Display)]) -> &mut Self {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            self.0.push(' ');
            self.0.push_str(key);
            self.0.push_str("=\"");
            escape(&value.to_string(), &mut self.0);
            self.0.push('"');
        }
        self.0.push('>');
        self
    }

    /// `</name>`
    pub(super) fn close(&mut self, name: &'static str) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Text for element content and for attributes in double quotes. Control characters, which HTML forbids, become
/// the replacement character.
fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            '\n' | '\t' => into.push(c),
            c if c.is_control() => into.push('\u{fffd}'),
            c => into.push(c),
        }
    }
}
