//! Examples of docs/language.md.

/// Fenced block of the reference.
#[allow(dead_code, reason = "the tests of the reference read all of it")]
pub struct Example {
    /// Line of its fence, from 1.
    pub line: usize,
    /// Code of a refused example.
    pub code: Option<String>,
    /// Text as written.
    pub text: String,
    /// Program text; bare statements are wrapped in the block that the reference describes.
    pub program: String,
    /// Whether it shows a spelling that the formatter would change.
    pub as_written: bool,
}

/// Beginnings of items; any other text is statements.
const ITEMS: &[&str] = &["use ", "fn ", "block ", "model ", "///", "#["];

/// Head of the block around bare statements.
pub const HEAD: &str = "block Example[D](H = 4, K = D / H, V = D / H) {\n    input x[D]\n";

/// All examples of a text, in order.
///
/// # Panics
/// On a fence that is none of `arch`, `arch as written`, `arch error CODE` and `arch warning CODE`.
pub fn examples(text: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(words) = line.strip_prefix("```arch") else { continue };
        let code = match words.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] | ["as", "written"] => None,
            ["error" | "warning", code] => Some((*code).to_owned()),
            _ => panic!(
                "line {}: a fence is `arch`, `arch as written`, `arch error CODE` or `arch warning CODE`",
                number + 1
            ),
        };
        let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| *l != "```").collect();
        let whole = ITEMS.iter().any(|item| body.first().is_some_and(|l| l.starts_with(item)));
        let text = body.join("\n") + "\n";
        let program = if whole {
            text.clone()
        } else {
            let indented = |line: &&str| if line.is_empty() { "\n".into() } else { format!("    {line}\n") };
            format!("{HEAD}{}}}\n", body.iter().map(indented).collect::<String>())
        };
        let as_written = words.trim() == "as written";
        found.push(Example { line: number + 1, code, text, program, as_written });
    }
    found
}
