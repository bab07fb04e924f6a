//! Doc comments use the field's terms: the patterns of tests/words.txt occur in none of them.

use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};

/// A pattern that is not written, and what is written instead.
struct Pattern {
    regex: Regex,
    instead: String,
}

/// The patterns of the list.
fn patterns(list: &str) -> Vec<Pattern> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pattern = |line: &str| {
        let (regex, instead) = line.split_once("=>").unwrap_or_else(|| panic!("no `=>` in `{line}`"));
        // ASCII suffices, and needs no tables
        let regex = Regex::new(&format!("(?i-u:{})", regex.trim())).unwrap_or_else(|error| panic!("{line}: {error}"));
        Pattern { regex, instead: instead.trim().to_owned() }
    };
    lines.map(pattern).collect()
}

/// The places of doc comments in a source text that have a pattern.
fn found(text: &str, patterns: &[Pattern]) -> Vec<String> {
    let is_doc = |line: &str| line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
    let mut places = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| is_doc(line)) {
        for Pattern { regex, instead } in patterns.iter().filter(|p| p.regex.is_match(line)) {
            places.push(format!("{}: `{regex}` in `{}`; instead: {instead}", number + 1, line.trim()));
        }
    }
    places
}

/// All Rust sources below a folder, build outputs left out.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !["target", "runs"].contains(&name) && !name.starts_with('.') {
            sources(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

#[test]
fn doc_comments_use_the_terms_of_the_field() {
    let patterns = patterns(include_str!("words.txt"));
    let mut files = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    assert!(files.len() > 300, "{} sources", files.len());
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        all.extend(found(&text, &patterns).into_iter().map(|place| format!("{}:{place}", file.display())));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_pattern_is_found_in_docs_alone() {
    let patterns = patterns("# a comment\n\\bso many\\b => the number\n");
    let text = "/// Runs So Many times.\nlet x = \"so many\"; // so many\n    //! so manyfold\n";
    assert_eq!(found(text, &patterns).len(), 1, "{:?}", found(text, &patterns));
}
