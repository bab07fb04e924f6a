//! Checks `docs/language.md` against the checker: every fenced `arch` block is checked, and either accepted or refused
//! with the code it names; the tables of the standard library must match the library.
//!
//! `ARCHC_UPDATE_DOCS=1 cargo test --test language_reference` rewrites the tables after a change to the library, and
//! unformatted examples.

mod checked;
#[path = "../src/doc/examples.rs"]
mod examples;
mod pages;

use archc_grammar::ast::{Brackets, Callable, File, ItemKind};
use checked::{Finding, check_text, root};
use examples::{Example, HEAD, examples};
use pages::{filled, held};
use std::fmt::Write as _;
use std::fs;

const REFERENCE: &str = "docs/language.md";

#[test]
fn examples_do_what_the_reference_says() {
    let text = fs::read_to_string(root().join(REFERENCE)).expect("the reference is in the repository");
    let examples = examples(&text);
    assert!(examples.len() > 70, "only {} examples found: did the fences change?", examples.len());
    let mut wrong = String::new();
    for example in &examples {
        let findings = check_text(&example.program, "reference.arch");
        let errors: Vec<&Finding> = findings.iter().filter(|f| f.is_error).collect();
        let right = match &example.code {
            None => errors.is_empty(),
            // Only this error: an example with two errors teaches neither rule.
            Some(code) if code.starts_with('E') => !errors.is_empty() && errors.iter().all(|f| f.code == *code),
            Some(code) => errors.is_empty() && findings.iter().any(|f| f.code == *code),
        };
        if !right {
            let expected = example.code.as_deref().unwrap_or("no error");
            let said: Vec<String> = findings.iter().map(|f| format!("    {} {}", f.code, f.message)).collect();
            let _ = writeln!(wrong, "{REFERENCE}:{}: expected {expected}, found\n{}", example.line, said.join("\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Formats an example.
fn formatted(example: &Example) -> Option<String> {
    let program = archc_grammar::format_source(&example.program).ok()?;
    if example.program == example.text {
        return Some(program);
    }
    let body = program.strip_prefix(HEAD)?.strip_suffix("}\n")?;
    Some(body.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect())
}

#[test]
fn accepted_examples_are_formatted() {
    held(REFERENCE, |text| {
        let mut updated = text.to_owned();
        for example in examples(text).iter().filter(|e| e.code.is_none() && !e.as_written) {
            let formatted = formatted(example).unwrap_or_else(|| panic!("{REFERENCE}:{}: no program", example.line));
            updated =
                updated.replacen(&format!("```arch\n{}```", example.text), &format!("```arch\n{formatted}```"), 1);
        }
        updated
    });
}

/// Name and brackets of a fn or block, as in a call.
fn signature(callable: &Callable) -> String {
    let list = |sums: &[archc_grammar::ast::AxisSum]| {
        let term = |t: &archc_grammar::ast::AxisTerm| format!("{}{}", t.name.name, if t.spread { ".." } else { "" });
        let sum = |s: &archc_grammar::ast::AxisSum| s.terms.iter().map(term).collect::<Vec<_>>().join(" + ");
        sums.iter().map(sum).collect::<Vec<_>>().join(", ")
    };
    let brackets = |b: &Brackets| match &b.right {
        Some(right) => format!("[{} -> {}]", list(&b.left), list(right)),
        None => format!("[{}]", list(&b.left)),
    };
    let parameters = callable.params.iter().flatten();
    let arguments: Vec<&str> = parameters.filter(|p| p.default.is_none()).map(|p| p.name.name.as_str()).collect();
    let arguments = if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(", ")) };
    format!("{}{}{arguments}", callable.name.name, callable.axes.as_ref().map(brackets).unwrap_or_default())
}

/// First sentence of a doc comment.
fn first_sentence(docs: &[String]) -> String {
    let text = docs.join(" ");
    let end = text.find(". ").map_or(text.len(), |i| i + 1);
    text[..end].trim_end_matches('.').replace('|', "\\|")
}

fn rows(file: &File) -> String {
    let mut rows = String::new();
    for item in &file.items {
        let (ItemKind::Fn(callable) | ItemKind::Block(callable) | ItemKind::Model(callable)) = &item.kind else {
            continue;
        };
        assert!(!item.docs.is_empty(), "`{}` of the standard library has no doc comment", callable.name.name);
        let _ = writeln!(rows, "| `{}` | {} |", signature(callable), first_sentence(&item.docs));
    }
    rows
}

fn table(files: &[String]) -> String {
    let mut table = String::from("| | |\n|---|---|\n");
    for file in files {
        let path = root().join("stdlib").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let parsed = archc_grammar::parse(&text);
        assert!(parsed.errors.is_empty(), "{}: {:?}", path.display(), parsed.errors);
        table += &rows(&parsed.file);
    }
    table
}

#[test]
fn the_tables_are_those_of_the_library() {
    let folder = |folder: &str| {
        let entries = fs::read_dir(root().join("stdlib").join(folder)).expect("a folder of the library");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a readable folder").file_name();
        let mut files: Vec<String> =
            entries.map(|entry| format!("{folder}/{}", name(entry).to_string_lossy())).collect();
        files.sort();
        files
    };
    let tables = [("prelude", folder("prelude")), ("mixers", folder("mixers")), ("models", vec!["models.arch".into()])];
    held(REFERENCE, |text| {
        let mut updated = text.to_owned();
        for (name, files) in &tables {
            updated = filled(&updated, name, &table(files));
        }
        updated
    });
}

/// Checks that the reference calls every function: functions are checked at their calls, so a function without calls
/// would not be checked at all.
#[test]
fn every_function_of_the_prelude_is_called_in_the_reference() {
    let text = fs::read_to_string(root().join(REFERENCE)).expect("the reference is in the repository");
    let called: String = examples(&text).iter().filter(|e| e.code.is_none()).map(|e| e.program.as_str()).collect();
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("stdlib/prelude")).expect("the prelude is a folder") {
        let text = fs::read_to_string(entry.expect("a readable folder").path()).expect("a readable file");
        for item in archc_grammar::parse(&text).file.items {
            let ItemKind::Fn(callable) = item.kind else { continue };
            let name = callable.name.name;
            let words = called.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if !words.into_iter().any(|word| word == name) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "no accepted example calls {missing:?}");
}
