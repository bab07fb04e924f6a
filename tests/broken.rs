//! Every program in `tests/broken` breaks one rule and states the checker's answer: a line `//^^^ E0101` stands under
//! the line in which the finding's label begins. Warnings count where a program marks one.

mod checked;

use checked::{check_text, root};
use std::fmt::Write as _;
use std::fs;

/// Findings that a program announces: line from 1, and code.
fn announced(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut line = 0;
    for (number, content) in text.lines().enumerate() {
        match content.trim_start().strip_prefix("//^^^ ") {
            Some(codes) => found.extend(codes.split_whitespace().map(|code| (line, code.to_owned()))),
            None => line = number + 1,
        }
    }
    found
}

#[test]
fn broken_programs_get_the_findings_that_they_announce() {
    let folder = root().join("tests/broken");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 40, "only {} broken programs found", paths.len());

    let mut wrong = String::new();
    for path in &paths {
        let text = fs::read_to_string(path).expect("a readable program");
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut expected = announced(&text);
        assert!(!expected.is_empty(), "{name} announces nothing");
        let warned = expected.iter().any(|(_, code)| code.starts_with('W'));
        let findings = check_text(&text, &name);
        let mut found: Vec<(usize, String)> = findings
            .iter()
            .filter(|f| f.is_error || warned && expected.iter().any(|(_, code)| *code == f.code))
            .map(|f| (f.line, f.code.clone()))
            .collect();
        expected.sort();
        found.sort();
        if expected != found {
            let said: Vec<String> =
                findings.iter().map(|f| format!("    line {}: {} {}", f.line, f.code, f.message)).collect();
            let _ = writeln!(wrong, "{name}: announced {expected:?}, found\n{}", said.join("\n"));
        }
        // "expected X after Y" states the replacement in its message.
        for finding in findings.iter().filter(|f| f.is_error && !["E0010", "E0011"].contains(&f.code.as_str())) {
            assert!(finding.has_help, "{name}: {} does not say what to write instead", finding.code);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
