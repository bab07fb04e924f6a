//! `archc new`: a block to start from.

use crate::load;
use crate::output::{Done, Output, Stop};
use archc_compiler::diag::Diagnostic;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Write a block to begin with: it checks and trains as it is
#[derive(clap::Args)]
#[command(after_help = "\
The block is called as the file, in CamelCase. A file that is there already is left alone.

Examples:
  archc new memory               writes memory.arch with the block Memory
  archc new blocks/fast_memory   writes blocks/fast_memory.arch with the block FastMemory")]
pub struct Args {
    /// The file to write; `.arch` is added
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

/// Text of the program, with NAME for the block's name.
const TEMPLATE: &str = include_str!("new.arch");

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let block = block_name(&args.name)?;
    let path = args.name.with_extension("arch");
    let shown = path.display();
    write(&path, &TEMPLATE.replace("NAME", &block)).map_err(|error| failed(&path, &error))?;
    output.object("new", json!({ "file": path.to_string_lossy(), "block": block }))?;
    let steps = [
        (format!("archc check {shown}"), "what is wrong with it, and what it costs"),
        (format!("archc train {shown} --task recall --set D=32 --layers 1 --steps 600"), "look up a value by its key"),
        ("archc doc".to_owned(), "what may be written in it"),
    ];
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let steps = steps.iter().map(|(command, what)| format!("  {command:<width$}   {what}\n")).collect::<String>();
    output.text(&format!("wrote {shown} with the block {block}. What to do with it:\n{steps}"))?;
    Ok(0)
}

/// Name of a file's block: `fast_memory.arch` has `FastMemory`.
fn block_name(path: &Path) -> Result<String, Stop> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = file.strip_suffix(".arch").unwrap_or(&file);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = stem.chars().find(|c| *c != '_');
    if stem.chars().all(is_word) && first.is_some_and(|c| c.is_ascii_alphabetic()) && !stem.starts_with('_') {
        let words = stem.split('_').filter(|word| !word.is_empty());
        return Ok(words.map(|word| word[..1].to_uppercase() + &word[1..]).collect());
    }
    let message = format!("`{file}` cannot name a block: names are letters, digits and `_`, and begin with a letter");
    Err(Diagnostic::error("E0871", message).help(format!("write `archc new {}`", proposed(path, stem))).into())
}

/// Nearest valid name.
fn proposed(path: &Path, stem: &str) -> String {
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("_");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let name = if name.is_empty() { "my_block" } else { name };
    match path.parent().filter(|_| path.file_name().is_some()) {
        Some(folder) => folder.join(name).display().to_string(),
        None => name.to_owned(),
    }
}

/// Writes a new file, never over an existing one, not even one created concurrently.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn failed(path: &Path, error: &io::Error) -> Diagnostic {
    let shown = path.display();
    match error.kind() {
        ErrorKind::AlreadyExists => Diagnostic::error("E0872", format!("`{shown}` is there already"))
            .help("choose another name, or remove it first; nothing was changed"),
        ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("")).display();
            Diagnostic::error("E0823", format!("cannot write `{shown}`: there is no folder `{folder}`"))
                .help(format!("make it first: `mkdir -p {folder}`"))
        }
        _ => Diagnostic::error("E0823", format!("cannot write `{shown}`: {}", load::reason(error)))
            .help("make room, or check the permissions of the folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> String {
        block_name(Path::new(path)).unwrap_or_else(|stop| match stop {
            Stop::Findings(findings, _) => findings[0].help.clone().expect("a way out"),
            _ => panic!("neither a name nor a finding"),
        })
    }

    #[test]
    fn blocks_are_called_as_their_files() {
        assert_eq!(named("memory"), "Memory");
        assert_eq!(named("a/fast_memory_2.arch"), "FastMemory2");
        assert_eq!(named("GLA.arch"), "GLA");
        assert_eq!(named("x__y_"), "XY");
    }

    #[test]
    fn a_bad_name_gets_a_good_one() {
        assert_eq!(named("fast-memory"), "write `archc new fast_memory`");
        assert_eq!(named("blocks/fast memory.arch"), "write `archc new blocks/fast_memory`");
        assert_eq!(named("2fast"), "write `archc new fast`");
        assert_eq!(named("_x"), "write `archc new x`");
        assert_eq!(named("memory.txt"), "write `archc new memory_txt`");
        for empty in ["", ".", "/", "..", ".arch", "日本", "_"] {
            assert!(named(empty).contains("my_block"), "{empty}: {}", named(empty));
        }
    }
}
