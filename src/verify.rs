//! `archc verify`: whether programs are better than anchors, on seeds, data, settings and a task that no search has used.
//!
//! The plan is printed before it runs. Every program and every anchor gets its learning rate in the same way (the screen, a few
//! seeds, the tier's rates), then trains on the tier `verify` on the same seeds; a program is `established` if it is better than
//! *every* anchor (intersection-union test), after Holm's correction over the programs, at the 5 % level. A ladder of widths shows
//! how well a ranking at one size transfers to others. Results are kept in the user's cache: a stopped verification resumes.

use crate::device::{self, DeviceName};
use crate::output::{Done, INTERRUPTED, Output, Stop};
use crate::{carried, interrupt, load, number, threads};
use archc_search::cache::Cache;
use archc_search::pool::{Ask, Named, Pool, Stopped};
use archc_search::stats::rates::{Correlation, spearman};
use archc_search::stats::{self, Interval};
use archc_search::trained::Holds;
use archc_search::verify::{Verdict, verdicts};
use archc_train::evaluate::{EvalReport, Rates};
use archc_train::tier::{Tier, tier};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hold programs against anchors on what no search has seen
#[derive(clap::Args)]
#[command(after_help = "\
A program is established if it is better than every anchor: the largest p over the anchors (one-sided sign-flip test of paired
seeds), corrected by Holm over the programs, is at most .05. Scores are those of the tier (0 where nothing was learned).

Examples:
  archc verify runs/*/best/1-*.arch                   against the seed programs, on 16 seeds
  archc verify mine.arch --against seeds/gla.arch --seeds 8 --widths none
  archc verify mine.arch --widths 32,64,128           the ladder of widths")]
pub struct Args {
    /// The programs: files and folders
    #[arg(value_name = "PROGRAM", required = true)]
    programs: Vec<PathBuf>,
    /// The anchors: files and folders [default: seeds/, or those that archc carries]
    #[arg(long, value_name = "ANCHORS", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Paired seeds
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(5..=32))]
    seeds: u64,
    /// What is trained and scored: a tier, or a file with one of your own
    #[arg(long, value_name = "TIER|FILE", default_value = "verify")]
    tier: String,
    /// Widths D of the ladder, or none
    #[arg(long, value_name = "D,..|none", default_value = "32,64,128", value_parser = widths)]
    widths: Widths,
    /// Evaluations side by side, one thread each [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = number::count::<usize>)]
    jobs: usize,
    /// What the task `text` reads: a file, or a folder of files [default: the text that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// What trains
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
    /// Print one JSON object in place of the tables
    #[arg(long)]
    json: bool,
}

/// Widths of the ladder.
#[derive(Clone, Debug)]
struct Widths(Vec<usize>);

fn widths(text: &str) -> Result<Widths, String> {
    if text.trim() == "none" {
        return Ok(Widths(Vec::new()));
    }
    let width = |word: &str| match word.trim().parse() {
        Ok(width @ 1..=4096) => Ok(width),
        _ => Err(format!("`{word}` is not a width from 1 to 4096; write 32,64,128 or none")),
    };
    text.split(',').map(width).collect::<Result<Vec<usize>, _>>().map(Widths)
}

/// Number of seeds for tuning learning rates, and of a rung of the ladder.
const TUNINGS: u64 = 3;
const RUNG_SEEDS: u64 = 3;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let programs = read(&args.programs)?;
    let anchors = match args.against.as_slice() {
        [] if Path::new("seeds").is_dir() => read(&[PathBuf::from("seeds")])?,
        [] => {
            carried::SEEDS.iter().map(|(name, text)| Named { name: (*name).into(), source: Arc::from(*text) }).collect()
        }
        paths => read(paths)?,
    };
    let (tier, screen) = (tier(&args.tier)?, tier("screen")?);
    let corpus = carried::corpus(args.corpus.as_deref())?;
    let device = args.device;
    let holds: Holds = Box::new(move |graph, tokens| device.holds(graph, tokens));
    let (cache, stop) = (Cache::of_user(), interrupt::flag());
    let jobs = threads::jobs(args.jobs, output)?;
    let pool = Pool { device: device.device(), holds: &holds, corpus, cache: &cache, jobs, stop: &stop };
    let all: Vec<&Named> = programs.iter().chain(&anchors).collect();
    let plan = plan(args, &programs, &anchors, &tier);
    if !quiet {
        output.text(&plan)?;
    }
    match verify(args, &pool, &all, programs.len(), (&screen, &tier)) {
        Ok(found) => {
            if quiet {
                output.raw(&format!("{}\n", found.json(&plan, &programs, &anchors)))?;
            } else {
                output.text(&found.text(&programs, &anchors))?;
            }
            Ok(0)
        }
        Err(Stopped::Interrupted) => {
            output.note("interrupted; what was evaluated is kept: the same command goes on")?;
            Ok(INTERRUPTED)
        }
        Err(Stopped::Threads(why)) => Err(archc_search::codes::log(why).into()),
    }
}

/// Reads programs, named by their files.
fn read(paths: &[PathBuf]) -> Result<Vec<Named>, Stop> {
    let one = |path: &PathBuf| {
        let program = load::load(path)?;
        match program.flat() {
            Ok(text) => Ok(Named { name: program.name, source: Arc::from(text) }),
            Err(findings) => Err(Stop::Findings(findings, Box::new(program.sources))),
        }
    };
    load::seeds(paths)?.iter().map(one).collect()
}

/// Description of the planned evaluations.
fn plan(args: &Args, programs: &[Named], anchors: &[Named], tier: &Tier) -> String {
    let count = programs.len() + anchors.len();
    let mut text = format!(
        "{} against {}: {} evaluations of the tier `{}` on seeds 0 to {} of its own\n",
        plural(programs.len(), "program"),
        plural(anchors.len(), "anchor"),
        count as u64 * args.seeds,
        tier.name,
        args.seeds - 1
    );
    for run in &tier.tasks {
        let _ = writeln!(
            text,
            "  {}: {}, D {}, {}, {} steps",
            run.name,
            run.task,
            run.width,
            plural(run.layers, "layer"),
            run.steps
        );
    }
    let _ = writeln!(text, "learning rates: each by the screen, best of its rates over {TUNINGS} seeds");
    if !args.widths.0.is_empty() {
        let _ = writeln!(
            text,
            "ladder: the tier `search` at D {:?}, {RUNG_SEEDS} seeds each, rate times 32 / D",
            args.widths.0
        );
    }
    let _ = writeln!(
        text,
        "established: better than every anchor (largest sign-flip p), by Holm over {}, at 5 %\n",
        plural(programs.len(), "program")
    );
    text
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

/// Results of all evaluations.
struct Found {
    rates: Vec<Option<f64>>,
    /// Scores by program and seed.
    scores: Vec<Vec<Option<f64>>>,
    /// Mean value and score by program and task.
    tasks: Vec<Vec<(String, f64, f64)>>,
    verdicts: Vec<Verdict>,
    /// Mean scores by width and program.
    ladder: Vec<(usize, Vec<Option<f64>>)>,
}

fn verify(
    args: &Args,
    pool: &Pool<'_>,
    all: &[&Named],
    programs: usize,
    (screen, tier): (&Tier, &Tier),
) -> Result<Found, Stopped> {
    let bar = bar(args.json);
    let watch = |what: &'static str, length: usize| {
        bar.set_length(length as u64);
        bar.set_message(what);
        |done| bar.set_position(done as u64)
    };
    let told = watch("learning rates", all.len() * screen.rates.len() * TUNINGS as usize);
    let rates = pool.tune(all, screen, TUNINGS, &told)?;
    let questions = asks(all, &rates, tier, args.seeds);
    let told = watch("verification", questions.len());
    let reports = pool.run(&questions, &told)?;
    let by_program: Vec<&[EvalReport]> = reports.chunks(args.seeds as usize).collect();
    let scores: Vec<Vec<Option<f64>>> = by_program.iter().map(|r| r.iter().map(EvalReport::score).collect()).collect();
    let verdicts = verdicts(&scores[..programs], &scores[programs..]);
    let mut ladder = Vec::new();
    for &width in &args.widths.0 {
        let mut rung = archc_train::tier::tier("search").map_err(|d| Stopped::Threads(d.message))?;
        for run in &mut rung.tasks {
            // Adam's step of a hidden layer scales with 1 / width (maximal update parametrisation, arXiv 2203.03466).
            run.learning_rate *= run.width as f64 / width as f64;
            run.width = width;
        }
        let questions = asks(all, &rates, &rung, RUNG_SEEDS);
        let told = watch("ladder", questions.len());
        let reports = pool.run(&questions, &told)?;
        let mean = |r: &[EvalReport]| stats::mean(&r.iter().map(EvalReport::score).collect::<Option<Vec<_>>>()?);
        ladder.push((width, reports.chunks(RUNG_SEEDS as usize).map(mean).collect()));
    }
    bar.finish_and_clear();
    Ok(Found { rates: rates.clone(), tasks: by_program.iter().map(|r| tasks(r)).collect(), scores, verdicts, ladder })
}

/// Evaluations of every program on every seed, each at its rate. A program that learns at no rate is trained at the tier's own rate:
/// its failure is measured, not assumed.
fn asks<'a>(all: &[&'a Named], rates: &[Option<f64>], tier: &'a Tier, seeds: u64) -> Vec<Ask<'a>> {
    let of = |(program, rate): (&&'a Named, &Option<f64>)| {
        let (program, rates) = (*program, Rates::tuned(*rate));
        (0..seeds).map(move |seed| Ask { program, tier, seed, rates }).collect::<Vec<_>>()
    };
    all.iter().zip(rates).flat_map(of).collect()
}

fn tasks(reports: &[EvalReport]) -> Vec<(String, f64, f64)> {
    let names = reports.first().into_iter().flat_map(|r| r.tasks.keys());
    let mean = |name: &String, of: fn(&archc_train::evaluate::TaskReport) -> f64| {
        stats::mean(&reports.iter().filter_map(|r| r.tasks.get(name)).map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    names.map(|name| (name.clone(), mean(name, |t| t.value), mean(name, |t| t.score))).collect()
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {msg} {pos} of {len} [{elapsed}]");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Found {
    fn mean(&self, at: usize) -> Option<f64> {
        stats::mean(&self.scores[at].iter().copied().collect::<Option<Vec<_>>>()?)
    }

    fn text(&self, programs: &[Named], anchors: &[Named]) -> String {
        let interval = |i: &Interval| format!("{:+.3} [{:+.3}, {:+.3}]", i.mean, i.low, i.high);
        let all: Vec<&Named> = programs.iter().chain(anchors).collect();
        let width = all.iter().map(|p| p.name.len()).fold(7, usize::max);
        let mut text = format!("{:width$}  {:>6}  {:>5}  value by task\n", "program", "score", "rate");
        for (at, program) in all.iter().enumerate() {
            let tasks: Vec<String> =
                self.tasks[at].iter().map(|(task, value, _)| format!("{task} {value:.3}")).collect();
            let _ = writeln!(
                text,
                "{:width$}  {:>6}  {:>5}  {}",
                program.name,
                self.mean(at).map_or_else(|| "failed".to_owned(), |m| format!("{m:.3}")),
                self.rates[at].map_or_else(|| "-".to_owned(), |r| r.to_string()),
                tasks.join(", ")
            );
        }
        for (program, verdict) in programs.iter().zip(&self.verdicts) {
            let p = verdict.p.map_or_else(String::new, |p| format!(", p {p:.4}"));
            let _ = writeln!(text, "\n{}: {}{p}", program.name, verdict.words());
            for (anchor, over) in anchors.iter().zip(&verdict.over) {
                let shown = over.interval.as_ref().map_or_else(|| "no interval".to_owned(), interval);
                let p = over.p.map_or_else(String::new, |p| format!(", p {p:.4}"));
                let _ = writeln!(text, "  over {:width$}  {shown}{p}", anchor.name);
            }
        }
        if !self.ladder.is_empty() {
            let _ = writeln!(
                text,
                "\n{:width$}{}",
                "ladder, score at D",
                self.ladder.iter().map(|(w, _)| format!("  {w:>6}")).collect::<String>()
            );
            for (at, program) in all.iter().enumerate() {
                let cell = |m: Option<f64>| m.map_or_else(|| "  failed".to_owned(), |m| format!("  {m:>6.3}"));
                let _ = writeln!(
                    text,
                    "{:width$}{}",
                    program.name,
                    self.ladder.iter().map(|(_, m)| cell(m[at])).collect::<String>()
                );
            }
            for (a, b, found) in self.correlations() {
                let shown = found.map_or_else(
                    || "none: five programs with scores are the fewest".to_owned(),
                    |c| format!("{:.2} [{:.2}, {:.2}] over {} programs", c.rho, c.low, c.high, c.count),
                );
                let _ = writeln!(text, "rank correlation of D {a} and D {b} (Spearman): {shown}");
            }
        }
        text
    }

    /// Spearman rank correlations between neighbouring widths, and between the first and the last.
    fn correlations(&self) -> Vec<(usize, usize, Option<Correlation>)> {
        let n = self.ladder.len();
        let mut pairs: Vec<(usize, usize)> = (1..n).map(|i| (i - 1, i)).collect();
        pairs.extend((n > 2).then_some((0, n.saturating_sub(1))));
        let of = |(a, b): (usize, usize)| {
            let ((wa, ma), (wb, mb)) = (&self.ladder[a], &self.ladder[b]);
            let both: Vec<(f64, f64)> = ma.iter().zip(mb).filter_map(|(x, y)| Some(((*x)?, (*y)?))).collect();
            let (x, y): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
            (*wa, *wb, spearman(&x, &y))
        };
        pairs.into_iter().map(of).collect()
    }

    fn json(&self, plan: &str, programs: &[Named], anchors: &[Named]) -> serde_json::Value {
        let named = |p: &Named, at: usize| {
            json!({ "name": p.name, "rate": self.rates[at], "score": self.mean(at), "scores": self.scores[at],
                "tasks": self.tasks[at].iter().map(|(t, value, score)| json!({ "task": t, "value": value, "score": score })).collect::<Vec<_>>() })
        };
        json!({
            "kind": "verify", "plan": plan,
            "programs": programs.iter().enumerate().map(|(at, p)| named(p, at)).collect::<Vec<_>>(),
            "anchors": anchors.iter().enumerate().map(|(at, p)| named(p, programs.len() + at)).collect::<Vec<_>>(),
            "verdicts": self.verdicts,
            "ladder": self.ladder.iter().map(|(width, scores)| json!({ "width": width, "scores": scores })).collect::<Vec<_>>(),
            "correlations": self.correlations().into_iter().map(|(a, b, c)| json!({ "widths": [a, b], "spearman": c })).collect::<Vec<_>>(),
        })
    }
}
