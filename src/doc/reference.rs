//! Reference of the language, docs/language.md, by its headings.

/// Whole text of the reference.
pub const TEXT: &str = include_str!("../../docs/language.md");

/// Heading with the text below it, smaller headings included.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Level of the heading: 2 for a chapter, 3 for a part of one.
    pub level: usize,
    /// Title as written, without backticks.
    pub title: &'static str,
    /// Text from the heading on.
    pub text: &'static str,
}

impl Section {
    /// Name for look-up: `axes-and-sizes`; for a heading that is a statement, its first word.
    pub fn slug(&self) -> String {
        let words = self.title.split(['[', '{', '(']).next().unwrap_or_default();
        words.trim().to_lowercase().replace(' ', "-")
    }

    /// Text for a terminal, without the marks that only tools read.
    pub fn printed(&self) -> String {
        let lines = self.text.trim_end().lines().filter(|line| !line.starts_with("<!--"));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }

    /// First sentence of the text.
    pub fn first_sentence(&self) -> String {
        let paragraph =
            self.text.lines().skip(1).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        let text = paragraph.collect::<Vec<_>>().join(" ").replace("**", "");
        // the first line of a table or a list has no summary
        if text.starts_with(['|', '-', '`', '#']) {
            return String::new();
        }
        let end = text.find(". ").or_else(|| text.find(": ")).map_or(text.len(), |i| i + 1);
        text[..end].trim_end_matches(['.', ':']).to_owned()
    }
}

/// All sections, in order.
pub fn sections() -> Vec<Section> {
    let mut starts: Vec<(usize, usize, &'static str)> = Vec::new();
    let (mut at, mut fenced) = (0, false);
    for line in TEXT.split_inclusive('\n') {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let level = line.bytes().take_while(|b| *b == b'#').count();
        if !fenced && (2..=3).contains(&level) {
            starts.push((at, level, line[level..].trim().trim_matches('`')));
        }
        at += line.len();
    }
    let end = |i: usize| {
        let level = starts[i].1;
        starts[i + 1..].iter().find(|next| next.1 <= level).map_or(TEXT.len(), |next| next.0)
    };
    (0..starts.len())
        .map(|i| Section { level: starts[i].1, title: starts[i].2, text: &TEXT[starts[i].0..end(i)] })
        .collect()
}

/// Section with this slug.
pub fn section(slug: &str) -> Option<Section> {
    sections().into_iter().find(|s| s.slug() == slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_nest_and_have_slugs_of_their_own() {
        let sections = sections();
        let slugs: Vec<String> = sections.iter().map(Section::slug).collect();
        assert!(slugs.iter().any(|s| s == "axes-and-sizes") && slugs.iter().any(|s| s == "scan"), "{slugs:?}");
        for (i, slug) in slugs.iter().enumerate() {
            assert!(!slug.is_empty() && !slugs[..i].contains(slug), "{slug}");
        }
        let time = section("time").expect("a chapter");
        assert!(time.text.contains("### `attend { }`") && !time.text.contains("## Parameters"), "{}", time.text);
        let scan = section("scan").expect("a part");
        assert!(!scan.text.contains("### `attend"), "{}", scan.text);
    }
}
