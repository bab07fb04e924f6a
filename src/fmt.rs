//! `archc fmt`: formatting of programs.

use crate::load;
use crate::output::{Done, Output, SURROUNDINGS};
use archc_compiler::diag::Diagnostic;
use archc_compiler::source::{Place, SourceMap};
use archc_grammar::{SyntaxError, format_source};
use archc_runtime::io::replace_file;
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Format programs in place
#[derive(clap::Args)]
#[command(after_help = "\
Comments, blank lines and parentheses stay. A file with syntax errors is left alone.

Examples:
  archc fmt block.arch
  archc fmt seeds/ examples/       all programs in these folders
  archc fmt --check .              list what is not formatted, change nothing; exit code 1 if there is any
  archc fmt - < a.arch > b.arch    standard input to standard output")]
pub struct Args {
    /// Files and folders; `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Change nothing; fail if something is not formatted
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let mut worst = 0;
    for path in load::programs(&args.paths)? {
        worst = worst.max(match one(&path, args.check, output) {
            // An unreadable file does not affect the others.
            Err(crate::output::Stop::Findings(findings, sources)) => output.findings(&findings, &sources)?,
            other => other?,
        });
    }
    Ok(worst)
}

fn one(path: &Path, check: bool, output: &Output) -> Done {
    let text = load::read(path)?;
    let formatted = match format_source(&text) {
        Ok(formatted) => formatted,
        Err(errors) => {
            let mut sources = SourceMap::new();
            let name = if load::is_stdin(path) { "<stdin>".into() } else { path.to_string_lossy() };
            let file = sources.add(name, text);
            let at = |e: &SyntaxError| {
                let place = Place { file, span: e.span };
                let found = Diagnostic::error(e.code, &e.message).at(place, &e.label);
                Diagnostic { help: e.help.clone(), ..found }
            };
            let findings: Vec<Diagnostic> = errors.iter().map(at).collect();
            return output.findings(&findings, &sources);
        }
    };
    let changed = formatted != text;
    let shown = path.display().to_string();
    if check {
        output.object("format", json!({ "file": shown, "formatted": !changed }))?;
        if changed {
            output.text(&format!("{shown} is not formatted\n"))?;
        }
        return Ok(if changed { SURROUNDINGS } else { 0 });
    }
    if load::is_stdin(path) {
        output.raw(&formatted)?;
        return Ok(0);
    }
    if changed {
        write(path, &formatted).map_err(|error| {
            Diagnostic::error("E0823", format!("cannot write `{shown}`: {}", load::reason(&error)))
                .help("make room, or check the permissions; the file is as it was")
        })?;
        output.text(&format!("formatted {shown}\n"))?;
    }
    output.object("format", json!({ "file": shown, "changed": changed }))?;
    Ok(0)
}

/// Replaces the contents of a file, through links, with the same permissions.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = fs::canonicalize(path)?;
    let permissions = fs::metadata(&path)?.permissions();
    if permissions.readonly() {
        // A rename would ignore a missing write permission.
        return Err(ErrorKind::PermissionDenied.into());
    }
    replace_file(&path, |file| file.write_all(text.as_bytes()))?;
    fs::set_permissions(&path, permissions)
}
