//! `archc repro`: repetition of any result of a run, compared bit by bit.

use crate::device::DeviceName;
use crate::output::{Done, INTERRUPTED, Output};
use crate::{carried, interrupt, number, threads};
use archc_compiler::diag::Diagnostic;
use archc_search::cache::Cache;
use archc_search::codes;
use archc_search::evaluate::{Evaluator, Workers};
use archc_search::plan::Tier;
use archc_search::record::{CandidateId, Report};
use archc_search::repro::{Again, jobs, same};
use archc_search::store;
use archc_search::trained::{Holds, Setting, Trained};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Evaluate a candidate of a run once more, and compare to the bit
#[derive(clap::Args)]
#[command(after_help = "\
A report is a function of program, tier, seed, rate and machine: the same archc on a machine of the same kind gives the same bits.
Exit codes: 0 all the same, 1 something differs, 2 the run was evaluated by another version or kind of machine.

Examples:
  archc repro runs/20261130-101742-0 c0042             everything that the log has of c0042
  archc repro runs/20261130-101742-0 c0042 --tier final
  archc repro runs/20261130-101742-0 c0042 --tier search --seed 80")]
pub struct Args {
    /// The run's folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The candidate, as in the tables
    #[arg(value_name = "ID", value_parser = candidate)]
    id: CandidateId,
    /// Only this tier
    #[arg(long, value_name = "TIER", value_parser = ["tune", "screen", "search", "final"])]
    tier: Option<String>,
    /// Only this seed
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    seed: Option<u64>,
    /// Evaluations side by side, one thread each [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = number::count::<usize>)]
    jobs: usize,
}

/// Parses a candidate: `c0042`, or 42.
fn candidate(text: &str) -> Result<CandidateId, String> {
    let digits = text.strip_prefix('c').unwrap_or(text);
    digits.parse().map(CandidateId).map_err(|_| format!("`{text}` is no candidate; write c0042"))
}

/// Exit code when a result differs.
const DIFFERS: u8 = 1;

/// Interval between looks at the interrupt flag while waiting for a result.
const BEAT: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let history = store::read(&args.run)?;
    let plan = history.plan();
    let device = DeviceName::find(&plan.settings.device)?;
    let corpus = carried::corpus(plan.settings.corpus.as_ref().map(PathBuf::from).as_deref())?;
    let setting = Setting::from_methods(&plan.methods, corpus)?;
    let holds: Holds = Box::new(move |graph, tokens| device.holds(graph, tokens));
    let evaluator = Trained::new(device.device(), holds, setting, Cache::default());
    if evaluator.version() != plan.evaluator {
        let what = format!("it evaluates by `{}`, this is `{}`", plan.evaluator, evaluator.version());
        return Err(codes::settings(&what).into());
    }
    let tier = args.tier.as_ref().and_then(|word| Tier::ALL.into_iter().find(|tier| tier.word() == word));
    let asked =
        jobs(&history, args.id, |t, seed| tier.is_none_or(|tier| tier == t) && args.seed.is_none_or(|s| s == seed));
    if asked.is_empty() {
        return Err(nothing(args).into());
    }
    let stop = interrupt::flag();
    let size = threads::jobs(args.jobs, output)?;
    let mut found: Vec<(Again, Report)> = Vec::new();
    let whole = std::thread::scope(|scope| -> Result<bool, Diagnostic> {
        let mut workers = Workers::start(scope, &evaluator, size).map_err(codes::log)?;
        let mut waiting = asked.into_iter().rev().collect::<Vec<Again>>();
        let mut running: Vec<Again> = Vec::new();
        while !(waiting.is_empty() && workers.idle()) {
            if stop.load(Ordering::Relaxed) {
                workers.cancel();
                return Ok(false);
            }
            while workers.free()
                && let Some(next) = waiting.pop()
            {
                workers.give(next.job.clone());
                running.push(next);
            }
            if let Some((job, report)) = workers.next(BEAT)
                && let Some(at) = running.iter().position(|again| again.job.trial() == job.trial())
            {
                found.push((running.swap_remove(at), report));
            }
        }
        Ok(true)
    })?;
    found.sort_by_key(|(again, _)| again.job.trial());
    let mut differ = 0;
    let mut text = format!("{:<8}{:>14}  {:>10}  {:>10}\n", "tier", "seed", "in the log", "now");
    for (again, report) in &found {
        let equal = same(&again.logged, report);
        differ += usize::from(!equal);
        let shown = |r: &Report| r.score().map_or_else(|| r.status.word().to_owned(), |s| format!("{s:.6}"));
        let (tier, seed) = (again.job.tier.word(), again.job.seed);
        let word = if equal { "the same" } else { "differs" };
        let _ = writeln!(text, "{tier:<8}{seed:>14}  {:>10}  {:>10}  {word}", shown(&again.logged), shown(report));
        output.object(
            "repro",
            json!({ "candidate": args.id.to_string(), "tier": tier, "seed": seed, "logged": again.logged.score(),
                "now": report.score(), "same": equal }),
        )?;
    }
    let _ = writeln!(text, "{} of {} the same to the bit", found.len() - differ, found.len());
    output.text(&text)?;
    Ok(if !whole {
        INTERRUPTED
    } else if differ > 0 {
        DIFFERS
    } else {
        0
    })
}

fn nothing(args: &Args) -> Diagnostic {
    Diagnostic::error("E1005", format!("{} has no such evaluation of {}", args.run.display(), args.id))
        .help("see the table `evaluations` of run.sqlite, or leave out --tier and --seed")
}
