//! `archc`: the command line.
//!
//! Deliberately thin: a subcommand reads its input ([`load`]), passes it to the crate that does the work ([`archc_compiler`],
//! [`archc_runtime`], [`archc_train`], [`archc_search`]) and prints the result ([`output`]). One file per subcommand. No rule of the
//! language is implemented here.
//!
//! # Exit codes
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the environment failed: a file that cannot be read or written, a folder that another process holds; `fmt --check` found something
//! to format |
//! | 2 | refused: the program has errors, or the request makes no sense |
//! | 3 | a training diverged (`train`, `eval`) |
//! | 4 | out of time (`eval --time-limit`) |
//! | 75 | interrupted; the same command may be tried again (`train`, `eval`, `search`, `selftest`) |
//! | 101 | a bug of archc, reported as such |
//!
//! # Streams
//! Results go to standard output, diagnostics and progress to standard error. With `--message-format json` both are JSON on standard
//! output, one object per line, each with a `kind`.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "comments of arguments are the text of --help, where [D] is an axis"
)]

/// The compiler allocates and frees many small vectors: a quarter of its time went to the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod bench;
mod build;
mod carried;
mod carry;
mod check;
mod codes;
mod completions;
mod derive;
mod device;
mod doc;
mod eval;
mod explain;
mod fmt;
mod forward;
mod gates;
mod interrupt;
mod load;
mod man;
mod names;
mod new;
mod number;
mod output;
mod params;
mod report;
mod repro;
mod sample;
mod search;
mod selftest;
mod sizes;
mod threads;
mod train;
mod trained;
mod tree;
mod verify;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use output::{Color, Done, Format, Output};
use std::process::ExitCode;

/// A compiler for small programs of attention blocks, and an engine that searches for better ones.
#[derive(Parser)]
#[command(name = "archc", version, after_help = HELP, max_term_width = 100)]
struct Cli {
    /// Findings and results: human, or json with one object a line
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human", hide_possible_values = true)]
    #[arg(display_order = 900)]
    message_format: Format,
    /// Colours: auto (on a terminal), always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    #[arg(display_order = 901)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Examples:
  archc new memory                         a block to begin with, in memory.arch
  archc doc                                what may be written in it
  archc check seeds/delta_net.arch         findings, then what the block costs
  archc train seeds/delta_net.arch --task recall
  archc search seeds/                      look for better blocks for ten minutes
  archc report                             the newest search as one HTML page

ARCHC_ISA=avx2 (avx512, sse2, neon) keeps the cpu device to an instruction set, for the bits of another machine.

Exit codes: 0 done, 1 a file or folder failed, 2 refused, 3 diverged, 4 out of time, 75 interrupted.";

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    Check(check::Args),
    Fmt(fmt::Args),
    Build(build::Args),
    Derive(derive::Args),
    Doc(doc::Args),
    Explain(explain::Args),
    Params(params::Args),
    Forward(forward::Args),
    Train(train::Args),
    Sample(sample::Args),
    Eval(eval::Args),
    Search(search::Args),
    Verify(verify::Args),
    Repro(repro::Args),
    Gates(gates::Args),
    Report(report::Args),
    Bench(bench::Args),
    Selftest(selftest::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Stack size in bytes for programs nested to the language's limit, in a debug build too; the memory is only reserved.
const STACK: usize = 512 << 20;

fn main() -> ExitCode {
    archc_runtime::keep_to_one_thread();
    std::panic::set_hook(Box::new(|info| {
        let text = output::bug(info);
        // If standard error is closed too, the error cannot be reported.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }));
    let code = match std::thread::Builder::new().name("archc".into()).stack_size(STACK).spawn(run) {
        Ok(thread) => thread.join().unwrap_or(output::BUG),
        // A machine that cannot reserve this much uses its default stack.
        Err(_) => run(),
    };
    ExitCode::from(code)
}

fn run() -> u8 {
    let matches = number::negative(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = Output::new(cli.message_format, cli.color);
    let done = device::keep_to_isa().map_err(output::Stop::from).and_then(|()| dispatch(cli.command, &output));
    output.finish(done)
}

fn dispatch(command: Command, output: &Output) -> Done {
    match command {
        Command::New(args) => new::run(&args, output),
        Command::Check(args) => check::run(&args, output),
        Command::Fmt(args) => fmt::run(&args, output),
        Command::Build(args) => build::run(&args, output),
        Command::Derive(args) => derive::run(&args, output),
        Command::Doc(args) => doc::run(&args, output),
        Command::Explain(args) => explain::run(&args, output),
        Command::Params(args) => params::run(&args, output),
        Command::Forward(args) => forward::run(&args, output),
        Command::Train(args) => train::run(&args, output),
        Command::Sample(args) => sample::run(&args, output),
        Command::Eval(args) => eval::run(&args, output),
        Command::Search(args) => search::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Repro(args) => repro::run(&args, output),
        Command::Gates(args) => gates::run(&args, output),
        Command::Report(args) => report::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Selftest(args) => selftest::run(&args, output),
        Command::Completions(args) => completions::run(&args, output),
        Command::Man(args) => man::run(&args, output),
    }
}
