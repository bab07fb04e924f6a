//! Loading of programs. The compiler does no I/O: it receives the texts of a file and of all its imports.

use crate::output::Stop;
use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::{flatten, uses};
use archc_compiler::source::{FileId, SourceMap, sibling};
use archc_grammar::MAX_BYTES;
use archc_grammar::ast::{Item, ItemKind};
use archc_search::store::STORE;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Program with its imports.
pub struct Program {
    /// Texts of the program and its imports.
    pub sources: SourceMap,
    /// File of the program itself.
    pub file: FileId,
    /// Name in messages.
    pub name: String,
}

impl Program {
    /// Text of the program.
    pub fn text(&self) -> &str {
        &self.sources.file(self.file).text
    }

    /// Text of the program with all its imports merged.
    ///
    /// # Errors
    /// The diagnostics, if it or an imported file has errors.
    pub fn flat(&self) -> Result<String, Vec<Diagnostic>> {
        flatten(&self.sources, self.file)
    }
}

/// Whether a path means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a program and all its imports by `use self::...`.
///
/// # Errors
/// E0820, E0002, E0003 for a file that cannot be read, is not text, or is too large. A missing imported file is left to the
/// compiler, which knows the place of the import.
pub fn load(path: &Path) -> Result<Program, Stop> {
    if let Some(program) = of_library(path) {
        return Ok(program);
    }
    let (name, folder) = if is_stdin(path) {
        ("<stdin>".to_owned(), Path::new(""))
    } else {
        (path.to_string_lossy().into_owned(), path.parent().unwrap_or(Path::new("")))
    };
    let text = read(path)?;
    let mut sources = SourceMap::new();
    let mut known = BTreeSet::from([name.clone()]);
    let mut wanted: VecDeque<String> = uses(&text).into();
    let file = sources.add(&name, text);
    while let Some(module) = wanted.pop_front() {
        let used = sibling(&name, &module);
        if !known.insert(used.clone()) {
            continue;
        }
        let path = folder.join(format!("{module}.arch"));
        if !path.try_exists().unwrap_or(true) {
            continue;
        }
        let text = read(&path).map_err(|d| d.note(format!("`{name}` uses it, or a file that it uses does")))?;
        wanted.extend(uses(&text));
        sources.add(used, text);
    }
    Ok(Program { sources, file, name })
}

/// Program for `std::mixers::GLA`, a block of the library: a file with only its import.
fn of_library(path: &Path) -> Option<Program> {
    let name = path.to_str().filter(|name| name.starts_with("std::"))?;
    let (module, item) = name.rsplit_once("::").filter(|(module, _)| *module != "std")?;
    let mut sources = SourceMap::new();
    let file = sources.add(name, format!("use {module}::{{{item}}}\n"));
    Some(Program { sources, file, name: name.to_owned() })
}

/// Bytes of a weights file.
///
/// # Errors
/// E0820.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    fs::read(path).map_err(|error| {
        Diagnostic::error("E0820", format!("cannot read `{}`: {}", path.display(), reason(&error)))
            .help("check the path and its permissions")
    })
}

/// Text of one file, or of standard input for `-`.
///
/// # Errors
/// E0820, E0002, E0003.
pub fn read(path: &Path) -> Result<String, Diagnostic> {
    // Reads one byte more than the largest program, so that a device file or a huge one is never read whole.
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    let shown = if is_stdin(path) { "standard input".to_owned() } else { format!("`{}`", path.display()) };
    if let Err(error) = read {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::IsADirectory => "give a file; `check` and `fmt` take folders as well",
            _ => "check the path and its permissions",
        };
        return Err(Diagnostic::error("E0820", format!("cannot read {shown}: {}", reason(&error))).help(help));
    }
    if bytes.len() > MAX_BYTES {
        let message = format!("{shown} is larger than {} MiB", MAX_BYTES >> 20);
        return Err(Diagnostic::error("E0003", message).help("give a program; is this a checkpoint or a corpus?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Diagnostic::error("E0002", format!("{shown} is not text: byte {at} is not UTF-8"))
            .help("programs are UTF-8 text files; is this a checkpoint?")
    })
}

/// The system's message for an error, without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Lists the given files, and for folders all `.arch` files in them, sorted by name. Hidden files are left out, and links to
/// folders are not followed.
///
/// # Errors
/// E0820 for a folder that cannot be read, E0843 for one without programs.
pub fn programs(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    collect(paths, "`.arch` files", |_| false, |_| true)
}

/// Lists programs as [`programs`] does, for a search: from a folder only the files that contain a block or a model, or that
/// cannot be read as programs; the others are imports. Results of earlier runs are no seeds, unless their folder is named.
///
/// # Errors
/// E0820 for a folder that cannot be read, E0843 for one without programs.
pub fn seeds(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Diagnostic> {
    let of_runs = |folder: &Path| folder.file_name().is_some_and(|name| name == "runs") || folder.join(STORE).exists();
    collect(paths, "`.arch` files with a block or a model", of_runs, |path| {
        read(path).map_or(true, |text| {
            let parsed = archc_grammar::parse(&text);
            let is_main = |item: &Item| matches!(item.kind, ItemKind::Block(_) | ItemKind::Model(_));
            !parsed.errors.is_empty() || parsed.file.items.iter().any(is_main)
        })
    })
}

fn collect(
    paths: &[PathBuf],
    what: &str,
    skip: impl Fn(&Path) -> bool + Copy,
    keep: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut found = Vec::new();
    for path in paths {
        if is_stdin(path) || !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        walk(path, skip, &mut inside)?;
        inside.retain(|path| keep(path));
        if inside.is_empty() {
            let message = format!("there are no {what} in `{}`", path.display());
            return Err(Diagnostic::error("E0843", message).help("give a file, or a folder with programs in it"));
        }
        found.extend(inside);
    }
    Ok(found)
}

/// Collects the programs under a folder, except in skipped folders.
fn walk(folder: &Path, skip: impl Fn(&Path) -> bool + Copy, found: &mut Vec<PathBuf>) -> Result<(), Diagnostic> {
    let failed = |error: io::Error| {
        Diagnostic::error("E0820", format!("cannot read the folder `{}`: {}", folder.display(), reason(&error)))
            .help("check its permissions")
    };
    let mut entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            if !skip(&path) {
                walk(&path, skip, found)?;
            }
        } else if path.extension().is_some_and(|e| e == "arch") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_a_folder_are_programs_and_no_finds_of_runs() {
        let dir = tempfile::tempdir().unwrap();
        let block = "block B[D] { input x[D]; output x }\n";
        for (name, text) in [
            ("a.arch", block),
            ("bad.arch", "block {"),
            ("library.arch", "fn f(x) = x\n"),
            ("only/library.arch", "fn f(x) = x\n"),
            ("deep/b.arch", block),
            ("runs/1/best/c.arch", block),
            ("mine/run.sqlite", ""),
            ("mine/best/d.arch", block),
            (".hidden/e.arch", block),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = |name: &str| {
            let folder = dir.path().join(name);
            let found = seeds(std::slice::from_ref(&folder)).map_err(|e| e.code)?;
            let names = found.iter().map(|p| p.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned());
            Ok::<_, &str>(names.collect::<Vec<_>>())
        };
        assert_eq!(found(""), Ok(vec!["a.arch".to_owned(), "bad.arch".to_owned(), "deep/b.arch".to_owned()]));
        // An explicitly named file is always included.
        assert_eq!(found("runs"), Ok(vec!["runs/1/best/c.arch".to_owned()]));
        assert_eq!(found("mine/best"), Ok(vec!["mine/best/d.arch".to_owned()]));
        assert_eq!(found("library.arch"), Ok(vec!["library.arch".to_owned()]));
        assert_eq!(found("only"), Err("E0843"));
        assert_eq!(programs(&[dir.path().to_owned()]).unwrap().len(), 7);
    }
}
