//! `archc bench gemm`: speed of matrix products of the sizes that occur in models.

use super::machine::{Machine, Product, kernels, library};
use super::measure::Clock;
use super::peer::Peer;
use crate::output::{Done, Output};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The rate of matrix products in f32, one thread: the cpu device's kernels beside a library
#[derive(clap::Args)]
#[command(after_help = "\
[m, k] x [k, n]; T marks an operand that is stored transposed, as in the gradients of a linear. The library is the
crate gemm, through candle, whose calls make a new matrix each; `peak` is the share of the machine's best rate. With
--torch, PyTorch's own products (MKL, where it comes with that) stand beside them, measured after the others.

  archc bench gemm --torch python3")]
pub struct Args {
    /// A Python that has torch, numpy and safetensors, to be measured beside
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,
    /// Which time counts: wall, or on a busy machine cpu
    #[arg(long, value_name = "CLOCK", default_value = "wall", hide_possible_values = true)]
    clock: Clock,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Sizes (m, n, k): the projections and the feed-forward of the models of `bench train` with their gradients, and tiles of
/// chunks.
const SIZES: [Product; 27] = [
    (256, 32, 32, false, false),
    (256, 128, 32, false, false),
    (256, 32, 128, false, true),
    (32, 128, 256, true, false),
    (1024, 64, 64, false, false),
    (1024, 256, 64, false, false),
    (1024, 64, 256, false, true),
    (64, 256, 1024, true, false),
    (4096, 128, 128, false, false),
    (4096, 512, 128, false, false),
    (4096, 128, 512, false, true),
    (128, 512, 4096, true, false),
    (2048, 256, 256, false, false),
    (2048, 1024, 256, false, false),
    (2048, 256, 1024, false, true),
    (256, 1024, 2048, true, false),
    (16, 16, 16, false, false),
    (16, 16, 64, false, false),
    (64, 16, 16, false, false),
    (64, 64, 16, false, true),
    (64, 16, 64, false, false),
    (16, 32, 64, true, false),
    (32, 32, 32, false, false),
    (64, 64, 32, false, true),
    (64, 64, 64, false, false),
    (64, 64, 64, true, false),
    (64, 64, 64, false, true),
];

/// Seconds of measurement per size and variant.
const TIME: f64 = 0.1;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let peer = args.torch.as_deref().map(|python| Peer::new(python, false)).transpose()?;
    let machine = Machine::measure(args.clock);
    if !quiet {
        let of_torch = peer.as_ref().map_or_else(String::new, |p| format!(", PyTorch {}", p.version));
        let columns = peer.as_ref().map_or_else(String::new, |_| format!("{:>9}{:>8}", "torch", "ratio"));
        output.text(&format!(
            "{machine}\ninstructions: {:?}{of_torch}; GFLOP/s\n{:>6}{:>6}{:>6}    {:>9}{:>6}{:>9}{:>8}{columns}\n",
            archc_kernels::level(),
            "m",
            "n",
            "k",
            "cpu",
            "peak",
            "library",
            "ratio"
        ))?;
    }
    let measured: Vec<[f64; 2]> = SIZES
        .iter()
        .map(|&(m, n, k, ta, tb)| {
            [kernels((m, n, k), ta, tb, TIME, args.clock), library((m, n, k), ta, tb, TIME, args.clock)]
        })
        .collect();
    let torch = peer.map(|p| p.products(&SIZES, (TIME, 1, args.clock))).transpose()?;
    let mut rows = Vec::new();
    for (i, ((m, n, k, ta, tb), [ours, other])) in SIZES.into_iter().zip(measured).enumerate() {
        let torch = torch.as_ref().map(|seconds| 2.0 * (m * n * k) as f64 / seconds[i]);
        let row: Value = json!({
            "m": m, "n": n, "k": k, "a_transposed": ta, "b_transposed": tb, "cpu_flops": ours, "library_flops": other,
            "torch_flops": torch,
        });
        if !quiet {
            let letter = |transposed| if transposed { 'T' } else { ' ' };
            let beside = |other: f64| format!("{:>9.1}{:>8}", other / 1e9, format!("{:.2}x", ours / other));
            output.text(&format!(
                "{m:>6}{n:>6}{k:>6} {}{} {:>9.1}{:>6.2}{}{}\n",
                letter(ta),
                letter(tb),
                ours / 1e9,
                ours / machine.sgemm,
                beside(other),
                torch.map_or_else(String::new, beside)
            ))?;
        }
        output.object("bench_row", row.clone())?;
        rows.push(row);
    }
    if args.json {
        output.raw(&format!("{}\n", json!({ "machine": machine.json(), "rows": rows })))?;
    }
    Ok(0)
}
