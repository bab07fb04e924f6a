//! The best programs as files that a person can read: `best/1-gated-delta-net-c0042.arch`.

use crate::codes;
use crate::rank::{Ranking, Row};
use crate::record::Candidate;
use crate::store::History;
use archc_compiler::diag::Diagnostic;
use archc_grammar::ast::ItemKind;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes the ranked programs, the seeds not, under `best/` of the run folder; gives their paths, best first.
///
/// # Errors
/// E1010 if a file cannot be written.
pub fn write(folder: &Path, history: &History, ranking: &Ranking) -> Result<Vec<PathBuf>, Diagnostic> {
    let best = folder.join("best");
    // Files of an earlier end of this run would stand beside the new ones with other numbers.
    if best.is_dir() {
        let old = fs::read_dir(&best).map_err(|e| codes::report(&best, e))?;
        for entry in old.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "arch")) {
            fs::remove_file(entry.path()).map_err(|e| codes::report(&entry.path(), e))?;
        }
    }
    fs::create_dir_all(&best).map_err(|e| codes::report(&best, e))?;
    let mut written = Vec::new();
    for (i, row) in ranking.rows.iter().filter(|r| !r.anchor).enumerate() {
        let Some(candidate) = history.candidate(row.candidate) else { continue };
        let path = best.join(format!("{}-{}-{}.arch", i + 1, kebab(&row.name), row.candidate));
        fs::write(&path, documented(history, candidate, row, ranking)).map_err(|e| codes::report(&path, e))?;
        written.push(path);
    }
    Ok(written)
}

/// `GatedDeltaNet` -> `gated-delta-net`
fn kebab(name: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && previous_lower {
            out.push('-');
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
        out.extend(if c.is_alphanumeric() { c.to_lowercase().next() } else { Some('-') });
    }
    out
}

/// The program with its scores and its lineage as doc comments of its block.
fn documented(history: &History, candidate: &Candidate, row: &Row, ranking: &Ranking) -> String {
    let mut lines = vec![format!("Found by `archc search` as {}.", candidate.id)];
    lines.extend(results(history, row, ranking));
    lines.push("Lineage, newest change first:".to_owned());
    let mut at = Some(candidate);
    while let Some(c) = at {
        lines.push(format!("- {} {}: {}", c.id, c.name, c.change.replace('\n', " ")));
        at = c.parents.first().and_then(|&p| history.candidate(p));
    }
    with_docs(&candidate.source, &lines)
}

/// What the run says of it, line by line.
fn results(history: &History, row: &Row, ranking: &Ranking) -> Vec<String> {
    let mut lines = Vec::new();
    let anchor = ranking.fixed.and_then(|id| history.candidate(id));
    let name = anchor.map_or_else(|| "the anchor".to_owned(), |a| format!("{} ({})", a.name, a.id));
    lines.push(format!("Against {name}: {}.", row.verdict()));
    if let Some(over) = row.judgement.and_then(|j| j.interval) {
        lines.push(format!("Lead {:+.3} [{:+.3}, {:+.3}] on {} fresh seeds.", over.mean, over.low, over.high, over.count));
    }
    if let (Some(searched), Some(corrected)) = (row.searched, row.corrected) {
        lines.push(format!("Lead in the search {searched:+.3}, corrected for the choice of the best {corrected:+.3}."));
    }
    if !row.tasks.is_empty() {
        let tasks: Vec<String> = row.tasks.iter().map(|(task, (score, _))| format!("{task} {score:.3}")).collect();
        lines.push(format!("Score by task: {}.", tasks.join(", ")));
    }
    lines
}

/// Adds doc lines to the last block or model of a program, after the docs that it has.
fn with_docs(source: &str, lines: &[String]) -> String {
    let parsed = archc_grammar::parse(source);
    let main = parsed.file.items.iter().rev().find(|i| matches!(i.kind, ItemKind::Block(_) | ItemKind::Model(_)));
    let start = main.map_or(0, |item| item.span.start as usize);
    // The item's span begins at its keyword; attributes between docs and keyword stay where they are.
    let mut at = source[..start].rfind('\n').map_or(0, |i| i + 1);
    let mut after_docs = false;
    while let Some(end) = at.checked_sub(1) {
        let begin = source[..end].rfind('\n').map_or(0, |i| i + 1);
        let line = source[begin..end].trim_start();
        after_docs = line.starts_with("///");
        if !line.starts_with("#[") {
            break;
        }
        at = begin;
    }
    let mut docs = if after_docs { "///\n".to_owned() } else { String::new() };
    for line in lines {
        docs.push_str(&format!("/// {line}\n"));
    }
    format!("{}{docs}{}", &source[..at], &source[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_stand_before_the_attributes_and_parse() {
        let lines = ["Found.".to_owned()];
        let source = "use std::mixers::{GLA}\n\n/// Old.\n#[cite(\"arXiv:1\")]\nblock B[D] { input x[D]; output x }\n";
        assert_eq!(archc_grammar::parse(source).errors, []);
        let text = with_docs(source, &lines);
        let expected = "use std::mixers::{GLA}\n\n/// Old.\n///\n/// Found.\n#[cite(\"arXiv:1\")]\nblock B[D] { input x[D]; output x }\n";
        assert_eq!(text, expected);
        let parsed = archc_grammar::parse(&text);
        assert_eq!(parsed.errors, []);
        assert_eq!(parsed.file.items[1].docs, ["Old.", "", "Found."]);
        assert_eq!(with_docs("block B[D] {}\n", &lines), "/// Found.\nblock B[D] {}\n");
    }

    #[test]
    fn file_names() {
        assert_eq!(kebab("GatedDeltaNet"), "gated-delta-net");
        assert_eq!(kebab("GLA"), "gla");
        assert_eq!(kebab("a/../b"), "a----b");
    }
}
