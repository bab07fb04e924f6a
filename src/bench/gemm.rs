//! `archc bench gemm`: the rate of matrix products of the sizes that models have.

use super::machine::{Machine, sgemm};
use crate::output::{Done, Output};
use serde_json::{Value, json};
use std::time::Duration;

/// The rate of matrix products in f32, one thread
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// [tokens, in] x [in, out]: the projections and the feed-forward of the models of `bench train`, and tiles.
const SIZES: [(usize, usize, usize); 12] = [
    (16, 16, 16),
    (32, 32, 32),
    (64, 64, 64),
    (256, 32, 32),
    (256, 32, 128),
    (1024, 64, 64),
    (1024, 64, 256),
    (2048, 128, 128),
    (2048, 128, 512),
    (2048, 512, 128),
    (2048, 256, 256),
    (2048, 256, 1024),
];

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let machine = Machine::measure();
    if !quiet {
        output.text(&format!("{machine}\n{:>6}{:>6}{:>6}{:>10}{:>7}\n", "rows", "in", "out", "GFLOP/s", "peak"))?;
    }
    let mut rows = Vec::new();
    for (m, k, n) in SIZES {
        let rate = sgemm(m, k, n, Duration::from_millis(200));
        let row: Value = json!({ "rows": m, "in": k, "out": n, "flops": rate });
        if !quiet {
            output.text(&format!("{m:>6}{k:>6}{n:>6}{:>10.1}{:>7.2}\n", rate / 1e9, rate / machine.sgemm))?;
        }
        output.object("bench_row", row.clone())?;
        rows.push(row);
    }
    if args.json {
        output.raw(&format!("{}\n", json!({ "machine": machine.json(), "rows": rows })))?;
    }
    Ok(0)
}
