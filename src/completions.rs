//! `archc completions`: completions for a shell.

use crate::Cli;
use crate::output::{Done, Output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print completions for a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  archc completions bash > ~/.local/share/bash-completion/completions/archc
  archc completions zsh > ~/.zfunc/_archc                 with `fpath+=~/.zfunc` in ~/.zshrc
  archc completions fish > ~/.config/fish/completions/archc.fish")]
pub struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "archc", &mut text);
    output.raw(&String::from_utf8_lossy(&text))?;
    Ok(0)
}
