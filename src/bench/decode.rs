//! `archc bench decode`: time per further token, as a function of the number of tokens already decoded.
//!
//! A model reads its sequences token by token from the first one on, each call continuing from the state carried by the previous
//! one. A block with a state of fixed size takes the same time for every token; attention to the past reads all of it. A session
//! may occasionally have to prepare for more tokens: the median of the tokens around a position excludes that, the mean over all
//! tokens includes it.

use super::measure::Timing;
use super::model::Stack;
use crate::output::{Done, Output, Stop};
use archc_runtime::{Batch, BatchShape, SessionOptions};
use serde_json::{Value, json};
use std::fmt::Write;

/// Time of one more token, as known tokens grow
#[derive(clap::Args)]
#[command(after_help = "\
A model in the standard stack reads its sequences token by token, all sequences side by side. Each column: the median time of
the 16 tokens from that many known ones on. Mean: of all tokens, with what the session does to be ready for more.

Examples:
  archc bench decode
  archc bench decode --block Attention --known 1000 --layers 1")]
pub struct Args {
    /// Blocks of the standard library [default: one for each kind of memory]
    #[arg(long, value_name = "NAME")]
    block: Vec<String>,
    /// Known tokens [default: 16, 64, 256, 1024, 2048]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    known: Vec<u32>,
    #[command(flatten)]
    stack: Stack,
}

const BLOCKS: [&str; 6] = ["Attention", "SlidingAttention", "Hyena", "GLA", "GatedDeltaNet", "RGLRU"];
const KNOWN: [u32; 5] = [16, 64, 256, 1024, 2048];

/// Number of tokens timed at each position.
const AROUND: usize = 16;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.stack.json || output.is_json();
    let blocks: Vec<&str> =
        if args.block.is_empty() { BLOCKS.to_vec() } else { args.block.iter().map(String::as_str).collect() };
    let mut known: Vec<usize> =
        if args.known.is_empty() { &KNOWN[..] } else { &args.known }.iter().map(|n| *n as usize).collect();
    known.sort_unstable();
    known.dedup();
    if !quiet {
        output.text(&heading(args, &known))?;
    }
    let mut rows = Vec::new();
    for block in &blocks {
        let row = measure(args, block, &known, output)?;
        if !quiet {
            output.text(&text(&row))?;
        }
        output.object("bench_row", row.clone())?;
        rows.push(row);
    }
    if args.stack.json {
        output.raw(&format!("{}\n", json!({ "device": args.stack.device.name(), "rows": rows })))?;
    }
    Ok(0)
}

/// Measures decoding with one block.
fn measure(args: &Args, block: &str, known: &[usize], output: &Output) -> Result<Value, Stop> {
    let len = known.last().map_or(0, |most| most + AROUND);
    let shape = args.stack.shape(len);
    let (graph, _) = args.stack.build(block, shape, output)?;
    let all = args.stack.tokens(shape);
    let one = BatchShape { batch: shape.batch, len: 1 };
    let mut session = args.stack.device.device().compile(&graph, one, &SessionOptions::default())?;
    let mut carry = None;
    let mut seconds = Vec::with_capacity(len);
    for t in 0..len {
        let tokens = all.tokens.chunks_exact(len).map(|row| row[t]).collect();
        let next = Batch { batch: shape.batch, len: 1, tokens, ..Batch::default() };
        let (done, taken) = args.stack.clock.time(|| session.advance(&next, &mut carry));
        done?;
        seconds.push(taken);
    }
    let at = |n: &usize| {
        let timing = Timing::of(seconds[*n..n + AROUND].to_vec());
        json!({ "known": n, "token": timing.json() })
    };
    let carried: usize = carry.iter().map(|c| c.tensors().values().map(|t| t.data.len()).sum::<usize>()).sum();
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    Ok(json!({
        "block": block, "batch": shape.batch, "tokens": len, "mean_seconds": mean, "carried_numbers": carried,
        "known": known.iter().map(at).collect::<Vec<_>>(),
    }))
}

fn heading(args: &Args, known: &[usize]) -> String {
    let mut text = format!("{}; microseconds a token\n{:<19}{:>9}", args.stack.heading(), "block", "known:");
    for n in known {
        let _ = write!(text, "{n:>9}");
    }
    let _ = writeln!(text, "{:>9}", "mean");
    text
}

fn text(row: &Value) -> String {
    let micro = |x: &Value| x.as_f64().map_or_else(|| "-".to_owned(), |s| format!("{:.1}", s * 1e6));
    let mut text = format!("{:<28}", row["block"].as_str().unwrap_or_default());
    for at in row["known"].as_array().into_iter().flatten() {
        let _ = write!(text, "{:>9}", micro(&at["token"]["median_seconds"]));
    }
    let _ = writeln!(text, "{:>9}", micro(&row["mean_seconds"]));
    text
}
