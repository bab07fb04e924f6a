//! `archc man`: manual pages.

use crate::Cli;
use crate::load;
use crate::output::{Done, Output};
use archc_compiler::diag::Diagnostic;
use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Print the manual page, or write the pages of all commands
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  archc man | man -l -                          read it
  archc man --out ~/.local/share/man/man1       archc.1, archc-check.1 and so on: `man archc-check`")]
pub struct Args {
    /// Write archc.1 and a page of each command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page)?;
        output.raw(&String::from_utf8_lossy(&page))?;
        return Ok(0);
    };
    pages(folder).map_err(|error| {
        let message = format!("cannot write the pages into `{}`: {}", folder.display(), load::reason(&error));
        Diagnostic::error("E0823", message).help("give a folder that can be written, and make room")
    })?;
    output.object("man", json!({ "folder": folder.to_string_lossy() }))?;
    output.text(&format!("wrote archc.1 and a page of each command into {}\n", folder.display()))?;
    Ok(0)
}

fn pages(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}
