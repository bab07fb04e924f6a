//! Checks a text as `archc check` does, for the tests of the reference and of the broken programs.

use archc_compiler::diag::Diagnostic;
use archc_compiler::source::{FileId, SourceMap};
use archc_compiler::{Options, compile, targets};
use std::path::Path;

/// Finding, reduced to the properties that the tests check.
pub struct Finding {
    /// Code, for example `E0101`.
    pub code: String,
    /// Whether it is an error; else it is a warning.
    #[allow(dead_code, reason = "of right programs nothing is said")]
    pub is_error: bool,
    /// Text of the message.
    pub message: String,
    /// Line in which its label begins, from 1; 0 without a location in the text.
    #[allow(dead_code, reason = "the reference names no lines")]
    pub line: usize,
    /// Whether it states what to write instead.
    #[allow(dead_code, reason = "the reference shows no help")]
    pub has_help: bool,
}

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Checks every block and model of a text at its default sizes; returns each finding once.
pub fn check_text(text: &str, name: &str) -> Vec<Finding> {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text);
    let first = compile(&sources, file, &Options::default());
    let blocks: Vec<String> = first
        .module
        .iter()
        .flat_map(|m| targets(m).into_iter().map(|t| m.callables[t.index as usize].name.name.clone()))
        .collect();
    // Without a module there are only syntax errors; a file of functions alone has nothing to compile.
    let mut all: Vec<Diagnostic> = if blocks.is_empty() { first.diagnostics } else { Vec::new() };
    for block in blocks {
        let options = Options { block: Some(block), ..Options::default() };
        for diagnostic in compile(&sources, file, &options).diagnostics {
            if !all.contains(&diagnostic) {
                all.push(diagnostic);
            }
        }
    }
    all.iter().map(|d| finding(d, file, text)).collect()
}

fn finding(diagnostic: &Diagnostic, file: FileId, text: &str) -> Finding {
    let place = diagnostic.primary.as_ref().map(|label| label.place).filter(|place| place.file == file);
    let line = place.map_or(0, |p| text[..p.span.start as usize].matches('\n').count() + 1);
    Finding {
        code: diagnostic.code.to_owned(),
        is_error: diagnostic.is_error(),
        message: diagnostic.message.clone(),
        line,
        has_help: diagnostic.help.is_some(),
    }
}
