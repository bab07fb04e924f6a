//! Whole programs: everything that is a program of the language parses, prints, and reads back the same.

use std::path::{Path, PathBuf};

use archc_grammar::ast::File;
use archc_grammar::edit::erase_spans;
use archc_grammar::{format, format_source, parse};

/// Every `.arch` file of the repository that is meant to be right: the samples of these tests, the
/// standard library, seeds and examples.
fn programs() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "arch") {
                found.push(path);
            }
        }
    }
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["tests/programs", "../stdlib", "../seeds", "../examples"] {
        collect(&crate_root.join(folder), &mut found);
    }
    found.sort();
    assert!(found.len() >= 8, "the sample programs are missing");
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a readable program")
}

fn tree(text: &str, what: &str) -> File {
    let parsed = parse(text);
    assert_eq!(parsed.errors, [], "{what}\n{text}");
    let mut file = parsed.file;
    erase_spans(&mut file);
    file
}

#[test]
fn programs_print_back_to_themselves() {
    for path in programs() {
        let name = path.display().to_string();
        let file = tree(&read(&path), &name);
        let printed = format(&file);
        assert_eq!(tree(&printed, &name), file, "{name}: the print reads differently\n{printed}");
        assert_eq!(format_source(&printed).as_deref(), Ok(&*printed), "{name}: formatting is not idempotent");
    }
}

#[test]
fn lines_have_at_most_a_hundred_columns() {
    for path in programs() {
        let printed = format_source(&read(&path)).expect("a right program");
        for line in printed.lines().filter(|line| !line.contains("//")) {
            assert!(line.chars().count() <= 100, "{}: {line}", path.display());
        }
    }
}
