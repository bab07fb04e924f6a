//! Best programs as readable files: `best/1-gated-delta-net-c0042.arch`.
//!
//! A file that this run did not write, or that was changed since, is never removed or overwritten: users derive programs
//! by hand beside the winners, and add notes to them. The files written by the run are listed in `best/.written.json`,
//! each with the SHA-256 of its text; a program whose file name is already in use gets a number appended to its own.

use crate::codes;
use crate::compile;
use crate::finals;
use crate::rank::{Ranking, Row};
use crate::record::{Candidate, Origin};
use crate::stats::Interval;
use crate::store::History;
use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::{Library, references, rename_references};
use archc_compiler::source::SourceMap;
use archc_grammar::ast::{Item, ItemKind};
use archc_grammar::edit::callables_mut;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes the ranked programs, except the seeds, under `best/` of the run folder; returns their paths, best first. Files
/// written there by an earlier end of this run are removed, unless they were changed.
///
/// # Errors
/// E1010 if a file cannot be written.
pub fn write(folder: &Path, history: &History, ranking: &Ranking) -> Result<Vec<PathBuf>, Diagnostic> {
    let found = ranking.rows.iter().filter(|r| !r.anchor).enumerate().filter_map(|(i, row)| {
        let candidate = history.candidate(row.candidate)?;
        let name = format!("{}-{}-{}", i + 1, kebab(&row.name), row.candidate);
        Some((name, documented(history, candidate, row, ranking)))
    });
    let programs: Vec<(String, String)> = found.collect();
    put(&folder.join("best"), &programs)
}

// ---- files

/// Name of the list of written files.
const MANIFEST: &str = ".written.json";

/// Writes programs into a folder, replacing those that it wrote there before.
fn put(best: &Path, programs: &[(String, String)]) -> Result<Vec<PathBuf>, Diagnostic> {
    if programs.is_empty() && !best.exists() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(best).map_err(|e| codes::report(best, e))?;
    let mut written = unchanged(best);
    // An earlier end of this run numbered its programs differently; unchanged programs need not be written again.
    let stays = |name: &str, hash: &str| programs.iter().any(|(n, t)| format!("{n}.arch") == name && sha256(t) == hash);
    for (name, hash) in written.clone() {
        if !stays(&name, &hash) {
            let path = best.join(&name);
            fs::remove_file(&path).map_err(|e| codes::report(&path, e))?;
            written.remove(&name);
        }
    }
    let mut paths = Vec::new();
    for (name, text) in programs {
        paths.push(add(best, name, text, &mut written)?);
    }
    note(best, &written)?;
    Ok(paths)
}

/// Files of the manifest that are still as written.
fn unchanged(best: &Path) -> BTreeMap<String, String> {
    // Without a readable manifest, no file here is known to be the run's, and all of them stay.
    let manifest = fs::read(best.join(MANIFEST)).unwrap_or_default();
    let mut files: BTreeMap<String, String> = serde_json::from_slice(&manifest).unwrap_or_default();
    files.retain(|name, hash| {
        let path = best.join(name);
        let inside = path.file_name().is_some_and(|n| n == name.as_str()) && path.parent() == Some(best);
        inside
            && path.symlink_metadata().is_ok_and(|m| m.is_file())
            && fs::read(&path).is_ok_and(|bytes| sha256(bytes) == *hash)
    });
    files
}

/// Writes one program under its name, or the next free one.
fn add(best: &Path, name: &str, text: &str, written: &mut BTreeMap<String, String>) -> Result<PathBuf, Diagnostic> {
    let hash = sha256(text);
    let mut n = 1;
    loop {
        let file = if n == 1 { format!("{name}.arch") } else { format!("{name}-{n}.arch") };
        let path = best.join(&file);
        n += 1;
        if written.get(&file) == Some(&hash) {
            return Ok(path);
        }
        if path.symlink_metadata().is_ok() {
            continue;
        }
        // The list is written first: a process killed between the two leaves an entry without a file, not a file without
        // an entry.
        written.insert(file.clone(), hash.clone());
        note(best, written)?;
        match File::create_new(&path) {
            Ok(mut made) => {
                if let Err(e) = made.write_all(text.as_bytes()) {
                    // A partial program is useless; a failure to remove it is the lesser problem.
                    let _ = fs::remove_file(&path);
                    return Err(codes::report(&path, e));
                }
                return Ok(path);
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => drop(written.remove(&file)),
            Err(e) => return Err(codes::report(&path, e)),
        }
    }
}

/// Writes the manifest to a temporary name and renames it.
fn note(best: &Path, written: &BTreeMap<String, String>) -> Result<(), Diagnostic> {
    let path = best.join(MANIFEST);
    let draft = best.join(".written.json.part");
    let text = serde_json::to_string_pretty(written).map_err(|e| codes::report(&path, e))?;
    fs::write(&draft, text + "\n").and_then(|()| fs::rename(&draft, &path)).map_err(|e| codes::report(&path, e))
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Converts to kebab case: `GatedDeltaNet` -> `gated-delta-net`.
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

// ---- texts

/// Program under its own name, with its origin, scores and lineage as doc comments of its block.
fn documented(history: &History, candidate: &Candidate, row: &Row, ranking: &Ranking) -> String {
    let mut lines = vec![derived(history, candidate), String::new()];
    lines.push(format!("Found by `archc search` as {}.", candidate.id));
    lines.extend(results(history, row, ranking));
    lines.push("Lineage, newest change first:".to_owned());
    lines.extend(lineage(history, candidate).map(|c| format!("- {} {}: {}", c.id, c.name, c.change)));
    named(&candidate.source, &candidate.id.to_string().to_uppercase(), &lines)
}

/// Results of the program in the run, line by line.
fn results(history: &History, row: &Row, ranking: &Ranking) -> Vec<String> {
    let mut lines = Vec::new();
    let anchor = ranking.fixed.and_then(|id| history.candidate(id));
    let name = anchor.map_or_else(|| "the anchor".to_owned(), |a| format!("{} ({})", a.name, a.id));
    lines.push(format!("Against {name}: {}.", row.verdict()));
    let lead = |over: Interval, on: &str| {
        format!("Lead {:+.3} [{:+.3}, {:+.3}] on {} {on}.", over.mean, over.low, over.high, over.count)
    };
    let at_look = row.judgement.and_then(|j| j.interval);
    match row.effect {
        Some(effect) => {
            lines.extend(effect.over.map(|over| lead(over, "seeds after it was established")));
            lines.extend(at_look.map(|over| lead(over, "seeds that established it")));
        }
        None => {
            let which = if row.overrated() { "seeds that established it" } else { "fresh seeds" };
            lines.extend(at_look.map(|over| lead(over, which)));
        }
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

/// A candidate, its first parent, and so on to a seed.
fn lineage<'a>(history: &'a History, candidate: &'a Candidate) -> impl Iterator<Item = &'a Candidate> {
    let ancestors = finals::lineage(history, candidate.id).into_iter();
    std::iter::once(candidate).chain(ancestors.filter_map(|id| history.candidate(id)))
}

/// First doc line: `Derived from GatedDeltaNet (seeds/gated_delta_net.arch).`
fn derived(history: &History, candidate: &Candidate) -> String {
    let Some(seed) = lineage(history, candidate).last().filter(|c| c.origin == Origin::Anchor) else {
        return format!("Derived from {}.", candidate.name);
    };
    match history.plan().anchors.get(seed.slot as usize) {
        Some((file, _)) => format!("Derived from {} ({file}).", seed.name),
        None => format!("Derived from {}.", seed.name),
    }
}

/// Renames the last block or model to `<Seed><mark>`, documents it with these lines, and attributes the seed's own
/// documentation to the seed. All other text of the file stays unchanged.
fn named(source: &str, mark: &str, lines: &[String]) -> String {
    let mut tree = archc_grammar::parse(source).file;
    let Some(old) = compile::main(&tree).map(|c| c.name.clone()) else { return source.to_owned() };
    let mut sources = SourceMap::new();
    let file = sources.add("candidate.arch", source);
    let module = Library::load(&sources, file).0.user_module(file);
    let new = free(source, &format!("{}{mark}", old.name));
    if let Some(module) = module {
        let applied = references(&module);
        let is_main = |at| {
            let item = applied.get(&at).filter(|item| item.module == module.id)?;
            (module.callables[item.index as usize].name == old).then(|| new.clone())
        };
        callables_mut(&mut tree).into_iter().for_each(|c| rename_references(c, is_main));
    }
    for item in &mut tree.items {
        match &mut item.kind {
            ItemKind::Block(c) | ItemKind::Model(c) if c.name == old => c.name.name.clone_from(&new),
            _ => continue,
        }
        document(item, lines);
    }
    archc_grammar::format(&tree)
}

/// The name, or the name with a number appended if the text already contains it.
fn free(source: &str, wish: &str) -> String {
    let taken = |name: &str| source.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let numbered = (2..).map(|n| format!("{wish}_{n}"));
    std::iter::once(wish.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_else(|| wish.to_owned())
}

/// Adds doc lines to the item of a found program.
fn document(item: &mut Item, lines: &[String]) {
    let seed = std::mem::take(&mut item.docs);
    let cites: Vec<String> = item.attributes.iter().filter_map(|a| a.text("cite")).map(str::to_owned).collect();
    item.attributes.retain(|a| a.text("cite").is_none());
    item.docs = lines.iter().map(|line| plain(line)).collect();
    if !seed.is_empty() || !cites.is_empty() {
        item.docs.push(String::new());
    }
    let mut seed = seed.iter().map(|line| plain(line));
    item.docs.extend(seed.next().map(|first| format!("The seed's description: {first}")));
    item.docs.extend(seed);
    item.docs.extend(cites.iter().map(|cite| format!("The seed cites {}", plain(cite))));
}

/// Sanitizes a text for one line of a comment: file names and summaries of changes are arbitrary, and a line break in
/// one would end the comment. Characters that change the text direction on screen are escaped.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push(' '),
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Compiler;
    use crate::screen::Screen;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_found_program_has_a_name_and_a_story_of_its_own() {
        let source = "use std::mixers::{GLA}\n\n// A helper.\nfn half(x) = x / 2\n\n/// Old.\n/// Older.\n#[cite(\"arXiv:1\")]\n#[allow(W0604)]\n\
                      block B[D] {\n    input x[D]\n    output half(GLA(x)) // the end\n}\n";
        let expected = "use std::mixers::{GLA}\n\n// A helper.\nfn half(x) = x / 2\n\n/// Derived from B (seeds/b.arch).\n///\n\
                        /// The seed's description: Old.\n/// Older.\n/// The seed cites arXiv:1\n#[allow(W0604)]\n\
                        block BC0042[D] {\n    input x[D]\n    output half(GLA(x)) // the end\n}\n";
        assert_eq!(named(source, "C0042", &lines(&["Derived from B (seeds/b.arch)."])), expected);
        let bare = named("block B[D] { input x[D]; output x }\n", "C1", &lines(&["Found."]));
        assert!(bare.starts_with("/// Found.\nblock BC1[D] {"), "{bare}");
    }

    #[test]
    fn names_of_other_things_stay_and_the_program_is_the_same() {
        // A value, a label and a helper have the same name as the block or its new name; `Pair` is used by another
        // block.
        let source = "block Outer[D] {\n    input x[D]\n    output Pair(x)\n}\nblock Pair[D] {\n    input x[D]\n    let PairC7 = x |> linear[D]\n    \
                      let Pair = stack[P](Pair = PairC7, b = shift(x, n = 1))\n    output sum[P](Pair)\n}\n";
        let text = named(source, "C7", &lines(&["Found."]));
        assert!(text.contains("block PairC7_2[D]") && text.contains("output PairC7_2(x)"), "{text}");
        assert!(text.contains("let Pair = stack[P](Pair = PairC7, b = shift(x, n = 1))"), "{text}");
        let [before, after] = [source, &text].map(|t| Compiler.screen(t));
        assert_eq!((before.refusal, &before.hash), (None, &after.hash), "{text}");
        assert_eq!(after.name, "PairC7_2");
    }

    #[test]
    fn every_seed_can_be_named_anew() {
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds")).unwrap() {
            let source = fs::read_to_string(entry.unwrap().path()).unwrap();
            let text = named(&source, "C0042", &lines(&["Derived from a\r\nb\u{2028}c\u{202e}d\u{0}.", "", "Found."]));
            assert!(
                text.contains("/// Derived from a  b c\\u{202e}d\\u{0}.\n///\n/// Found.\n///\n/// The seed's desc"),
                "{text}"
            );
            assert!(text.contains("/// The seed cites arXiv:") && !text.contains("#[cite"), "{text}");
            let [before, after] = [&source, &text].map(|t| Compiler.screen(t));
            assert_eq!((after.refusal, after.hash), (None, before.hash), "{text}");
            assert_eq!(after.name, format!("{}C0042", before.name));
        }
    }

    #[test]
    fn what_somebody_else_wrote_or_changed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let best = dir.path().join("best");
        fs::create_dir(&best).unwrap();
        fs::write(best.join("mine.arch"), "mine").unwrap();
        fs::write(best.join("1-a-c1.arch"), "mine too").unwrap();
        let program = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let read = |name: &str| fs::read_to_string(best.join(name)).unwrap();
        let put = |programs: &[(String, String)]| {
            let paths = put(&best, programs).unwrap();
            paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        // A name that another file uses.
        assert_eq!(put(&[program("1-a-c1", "one"), program("2-b-c2", "two")]), ["1-a-c1-2.arch", "2-b-c2.arch"]);
        assert_eq!((read("1-a-c1.arch"), read("1-a-c1-2.arch")), ("mine too".to_owned(), "one".to_owned()));
        // Writing the same again changes nothing; another ranking replaces the unchanged files.
        assert_eq!(put(&[program("1-a-c1", "one"), program("2-b-c2", "two")]), ["1-a-c1-2.arch", "2-b-c2.arch"]);
        fs::write(best.join("2-b-c2.arch"), "two, with notes").unwrap();
        assert_eq!(put(&[program("1-b-c2", "two"), program("2-b-c2", "three")]), ["1-b-c2.arch", "2-b-c2-2.arch"]);
        assert_eq!((read("2-b-c2.arch"), read("2-b-c2-2.arch")), ("two, with notes".to_owned(), "three".to_owned()));
        assert_eq!((read("mine.arch"), read("1-a-c1.arch")), ("mine".to_owned(), "mine too".to_owned()));
        assert!(!best.join("1-a-c1-2.arch").exists());
        // Without its list no file is known to be the run's, and all of them are kept.
        fs::write(best.join(MANIFEST), "{\"../mine.arch\": 1").unwrap();
        assert_eq!(put(&[program("1-b-c2", "four")]), ["1-b-c2-2.arch"]);
        assert_eq!(read("1-b-c2.arch"), "two");
        // List entries that point outside the folder have no effect.
        fs::write(dir.path().join("out.arch"), "out").unwrap();
        fs::write(best.join(MANIFEST), format!("{{\"../out.arch\": \"{}\"}}", sha256("out"))).unwrap();
        put(&[]);
        assert!(dir.path().join("out.arch").exists());
        // Without programs no folder is created.
        assert_eq!(super::put(&dir.path().join("none"), &[]), Ok(Vec::new()));
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn file_names() {
        assert_eq!(kebab("GatedDeltaNet"), "gated-delta-net");
        assert_eq!(kebab("GLA"), "gla");
        assert_eq!(kebab("a/../b"), "a----b");
    }
}
