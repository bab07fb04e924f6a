//! Programs and differences with syntax colours.

use archc_grammar::is_keyword;
use archc_page::Page;

/// Program with coloured keywords, numbers, texts and comments.
pub(super) fn program(page: &mut Page, source: &str) {
    page.raw("<pre class=\"code\">");
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let while_in = |inside: &dyn Fn(char) -> bool| rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let (end, class) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "com")
        } else if first == '"' {
            let line = rest.find('\n').unwrap_or(rest.len());
            (rest[1..line].find('"').map_or(line, |end| end + 2), "str")
        } else if rest.starts_with("#[") {
            (2, "com")
        } else if first.is_ascii_digit() {
            (while_in(&|c| word(c) || c == '.'), "num")
        } else if word(first) {
            let end = while_in(&word);
            (end, if is_keyword(&rest[..end]) { "kw" } else { "" })
        } else {
            // Everything up to a character that could begin another kind of token.
            let end = rest.char_indices().skip(1).find(|&(_, c)| word(c) || matches!(c, '/' | '"' | '#'));
            (end.map_or(rest.len(), |(at, _)| at), "")
        };
        let (text, after) = rest.split_at(end);
        if class.is_empty() {
            page.text(text);
        } else {
            page.element("span", &[("class", &class)], text);
        }
        rest = after;
    }
    page.raw("</pre>\n");
}

/// Unified diff with coloured lines.
pub(super) fn diff(page: &mut Page, text: &str) {
    page.raw("<pre class=\"code\">");
    for line in text.lines().filter(|l| !l.starts_with("---") && !l.starts_with("+++")) {
        let class = match line.as_bytes().first() {
            Some(b'+') => "add",
            Some(b'-') => "del",
            Some(b'@') => "hunk",
            _ => "same",
        };
        page.element("span", &[("class", &class)], line).raw("\n");
    }
    page.raw("</pre>\n");
}
