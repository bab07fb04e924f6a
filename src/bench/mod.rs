//! `archc bench`: speed of this build on this machine, each number beside its reference value.
//!
//! | command | question |
//! |---|---|
//! | `bench train` | tokens per second of whole training steps, beside the machine's bound, the reference device and PyTorch |
//! | `bench scaling` | does the time per token stay constant as sequences grow, and does memory stay within the plan |
//! | `bench decode` | time per further token, as the number of known tokens grows |
//! | `bench compile` | milliseconds from source text to a session that is ready to train |
//! | `bench gemm` | speed of matrix products |
//! | `bench search` | what a search establishes when the true effects are known, and the cost of a proposal as the log grows |
//!
//! Ratios are printed only between two numbers of one run. Times are medians, without the warm-up.

mod compile;
mod decode;
mod gemm;
mod machine;
mod measure;
mod model;
mod peer;
mod scaling;
mod search;
mod train;

use crate::output::{Done, Output};

/// Measure this build on this machine
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  archc bench train                                  all blocks and shapes, beside the machine's own rates
  archc bench train block.arch --set H=4             a program of your own
  archc bench train --block GLA --shape 64,2,512,4 --torch python3 --torch-compile
  archc bench scaling
  archc bench decode
  archc bench compile
  archc bench gemm
  archc bench search")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Train(train::Args),
    Scaling(scaling::Args),
    Decode(decode::Args),
    Compile(compile::Args),
    Gemm(gemm::Args),
    Search(search::Args),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    match &args.what {
        What::Train(args) => train::run(args, output),
        What::Scaling(args) => scaling::run(args, output),
        What::Decode(args) => decode::run(args, output),
        What::Compile(args) => compile::run(args, output),
        What::Gemm(args) => gemm::run(args, output),
        What::Search(args) => search::run(args, output),
    }
}
