//! `archc gates`: check of the evaluator against known properties of known architectures.

use crate::device::{self, DeviceName};
use crate::output::{Done, INTERRUPTED, Output};
use crate::{carried, interrupt, number, threads};
use archc_search::cache::Cache;
use archc_search::codes;
use archc_search::gates::{Gate, SEEDS, Seen, TUNINGS, gates, run as run_gate};
use archc_search::pool::{Pool, Stopped};
use archc_search::trained::Holds;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write;
use std::io::IsTerminal;

/// Check the evaluator against what is known of known architectures
#[derive(clap::Args)]
#[command(after_help = "\
Each gate names a task, sizes, seeds and a rule, written down before it runs (search/gates.json). A gate that fails stays in the
table and makes the exit code 1: it says what the tasks cannot tell at these sizes, and a search on them neither. Results are kept
in the user's cache: what was stopped goes on.

Examples:
  archc gates                              all, about a quarter of an hour on two cores
  archc gates --quick                      those of the test suite, in a minute
  archc gates parity                       those with this word in their names")]
pub struct Args {
    /// Only gates with one of these words in their names
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Only those that are quick
    #[arg(long)]
    quick: bool,
    /// Evaluations side by side, one thread each [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = number::count::<usize>)]
    jobs: usize,
    /// What trains
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
}

/// Exit code when a gate fails.
const FAILS: u8 = 1;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let wanted = |gate: &Gate| {
        (!args.quick || gate.quick)
            && (args.words.is_empty()
                || args.words.iter().any(|w| gate.name.to_lowercase().contains(&w.to_lowercase())))
    };
    let gates: Vec<Gate> = gates().into_iter().filter(wanted).collect();
    let device = args.device;
    let holds: Holds = Box::new(move |graph, tokens| device.holds(graph, tokens));
    let (cache, stop) = (Cache::of_user(), interrupt::flag());
    let jobs = threads::jobs(args.jobs, output)?;
    let corpus = carried::corpus(None)?;
    let pool = Pool { device: device.device(), holds: &holds, corpus, cache: &cache, jobs, stop: &stop };
    if !quiet {
        output.text(&format!(
            "{} gates; rates by {TUNINGS} seeds, then {SEEDS} paired seeds on the test part\n",
            gates.len()
        ))?;
    }
    let mut seen: Vec<(&Gate, Seen)> = Vec::new();
    for gate in &gates {
        let bar = bar(quiet);
        bar.set_message(gate.name.clone());
        let done = run_gate(gate, &pool, &|_| bar.inc(1));
        bar.finish_and_clear();
        match done {
            Ok(found) => {
                if !quiet {
                    output.text(&line(gate, &found))?;
                }
                seen.push((gate, found));
            }
            Err(Stopped::Interrupted) => {
                output.note("interrupted; what was evaluated is kept: the same command goes on")?;
                return Ok(INTERRUPTED);
            }
            Err(Stopped::Threads(why)) => return Err(codes::log(why).into()),
        }
    }
    let failed = seen.iter().filter(|(_, found)| !found.holds).count();
    if quiet {
        let rows: Vec<_> = seen.iter().map(|(gate, found)| json!({ "gate": gate, "seen": found })).collect();
        output.raw(&format!("{}\n", json!({ "kind": "gates", "failed": failed, "gates": rows })))?;
    } else {
        output.text(&format!("{} of {} gates hold\n", seen.len() - failed, seen.len()))?;
    }
    Ok(if failed > 0 { FAILS } else { 0 })
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} evaluations [{elapsed}] {wide_msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Gate as a few lines: expected and observed values.
fn line(gate: &Gate, found: &Seen) -> String {
    let word = if found.holds { "holds" } else { "FAILS" };
    let mut text = format!("\n{word}  {}\n", gate.name);
    let run = &gate.task;
    let _ =
        writeln!(text, "  {}, D {}, layers {}, {} steps; {}", run.task, run.width, run.layers, run.steps, gate.source);
    let width = found.sides.iter().map(|side| side.name.chars().count()).max().unwrap_or(0);
    for side in &found.sides {
        let number = |x: Option<f64>| x.map_or_else(|| "failed".to_owned(), |x| format!("{x:.3}"));
        let rate = side.rate.map_or_else(|| "none learns".to_owned(), |r| (r * run.learning_rate).to_string());
        let _ = writeln!(
            text,
            "  {:<width$} score {}, value {}, state {}, rate {rate}",
            side.name,
            number(side.score),
            number(side.value),
            side.state
        );
    }
    let _ = write!(text, "  expected {}", gate.rule.words());
    if let Some(over) = found.over {
        let _ = write!(text, "; seen {:+.3} [{:+.3}, {:+.3}]", over.mean, over.low, over.high);
    }
    if let Some(p) = found.p {
        let _ = write!(text, ", p {p:.4}");
    }
    text.push('\n');
    if let Some(why) = gate.known.as_ref().filter(|_| !found.holds) {
        let _ = writeln!(text, "  it is known to fail: {why}");
    }
    text
}
