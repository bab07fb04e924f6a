//! HTML output in which no text of a program can be taken for markup.

use std::fmt::{Display, Write};

/// HTML page under construction. Text is added by [`Page::text`], which escapes it; markup by [`Page::raw`], which takes only
/// string constants of this program.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Appends markup without escaping.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends escaped text.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        escape(&text.to_string(), &mut self.0);
        self
    }

    /// Appends `<name a="1" b="2">text</name>`.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        text: impl Display,
    ) -> &mut Self {
        self.open(name, attributes).text(text).close(name)
    }

    /// Appends `<name a="1">`.
    pub fn open(&mut self, name: &'static str, attributes: &[(&'static str, &dyn Display)]) -> &mut Self {
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

    /// Appends `</name>`.
    pub fn close(&mut self, name: &'static str) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// Starts a page, up to its content.
    pub fn open_document(title: &str) -> Self {
        let mut page = Self::default();
        page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
        page.text(title).raw("</title>\n<style>\n").raw(include_str!("page.css")).raw("</style>\n</head>\n");
        page.raw("<body>\n<main>\n");
        page
    }

    /// Ends the page after its content, with a script.
    pub fn close_document(mut self, script: &'static str) -> String {
        self.raw("</main>\n");
        if !script.is_empty() {
            self.raw("<script>\n").raw(script).raw("</script>\n");
        }
        self.raw("</body>\n</html>\n");
        self.0
    }

    /// Opens a section with a heading and a sentence.
    pub fn section(&mut self, id: &'static str, title: &'static str, note: &str) {
        self.element("h2", &[("id", &id)], title).element("p", &[], note).raw("\n");
    }

    /// Appends a heading of a table's column.
    pub fn head(&mut self, title: impl Display, class: &str) {
        self.element("th", &[("class", &class)], title);
    }

    /// Appends a cell of a table.
    pub fn cell(&mut self, text: impl Display) {
        self.element("td", &[], text);
    }

    /// Appends a cell of a table that holds a number.
    pub fn number(&mut self, text: impl Display) {
        self.element("td", &[("class", &"n")], text);
    }

    /// Opens a table with these columns (name, class). With the class `cards`, each row becomes a card where the page is narrow;
    /// its cells are then [`Page::field`]s.
    pub fn open_table(&mut self, attributes: &[(&'static str, &dyn Display)], columns: &[(&str, &str)]) {
        self.raw("<div class=\"wide\">").open("table", attributes).raw("<thead><tr>");
        for (title, class) in columns {
            self.head(title, class);
        }
        self.raw("</tr></thead>\n<tbody>\n");
    }

    /// Closes a table.
    pub fn close_table(&mut self) {
        self.raw("</tbody></table></div>\n");
    }

    /// Appends a cell that carries its column's name, which is shown beside it where the table becomes cards.
    pub fn field(&mut self, column: &str, class: &str, text: impl Display) {
        self.open_field(column, class).text(text).raw("</td>");
    }

    /// Opens such a cell, up to its content.
    pub fn open_field(&mut self, column: &str, class: &str) -> &mut Self {
        self.open("td", &[("class", &class), ("data-of", &column)])
    }

    /// Appends a sentence under a heading.
    pub fn note(&mut self, text: impl Display) {
        self.element("p", &[("class", &"note")], text).raw("\n");
    }

    /// Appends numbers side by side, each above its description.
    pub fn numbers(&mut self, numbers: &[(String, &str)]) {
        self.raw("<div class=\"numbers\">");
        for (number, what) in numbers {
            self.raw("<div>").element("b", &[], number).element("span", &[], what).raw("</div>");
        }
        self.raw("</div>\n");
    }
}

/// Formats a large number: 12.3k, 4.56M.
pub fn big(x: f64) -> String {
    match x {
        x if x >= 1e9 => format!("{:.2}G", x / 1e9),
        x if x >= 1e6 => format!("{:.2}M", x / 1e6),
        x if x >= 1e4 => format!("{:.1}k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

/// Escapes text for element content and for attributes in double quotes. Control characters, which HTML forbids, become the
/// replacement character.
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
