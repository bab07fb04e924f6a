//! The examples of docs/language.md.

/// A fenced block of the reference.
pub struct Example {
    /// Line of its fence, from 1.
    pub line: usize,
    /// The code of a refused example.
    pub code: Option<String>,
    /// As it is written.
    pub text: String,
    /// The program; statements alone are wrapped in the block that the reference describes.
    pub program: String,
}

/// What starts an item; anything else is statements.
const ITEMS: &[&str] = &["use ", "fn ", "block ", "model ", "///", "#["];

/// All examples of a text, in order.
///
/// # Panics
/// On a fence that is none of `arch`, `arch error CODE` and `arch warning CODE`.
pub fn examples(text: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(words) = line.strip_prefix("```arch") else { continue };
        let code = match words.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => None,
            ["error" | "warning", code] => Some((*code).to_owned()),
            _ => panic!("line {}: a fence is `arch`, `arch error CODE` or `arch warning CODE`", number + 1),
        };
        let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| *l != "```").collect();
        let whole = ITEMS.iter().any(|item| body.first().is_some_and(|l| l.starts_with(item)));
        let text = body.join("\n") + "\n";
        let program = if whole {
            text.clone()
        } else {
            format!("block Example[D](H = 4, K = D / H, V = D / H) {{\ninput x[D]\n{text}}}\n")
        };
        found.push(Example { line: number + 1, code, text, program });
    }
    found
}
