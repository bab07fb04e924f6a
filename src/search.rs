//! `archc search`: looks for better programs until its budget is used.

use crate::device::{self, DeviceName};
use crate::output::{Done, INTERRUPTED, Output, Stop};
use crate::{carried, interrupt, load, number, threads};
use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::{ItemRef, Library, flatten, references};
use archc_compiler::targets;
use archc_search::codes;
use archc_search::rank::Ranking;
use archc_search::stats::Interval;
use archc_search::{Budget, Notice, Progress, SearchOptions, Standing, Summary};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Search for better programs
#[derive(clap::Args)]
#[command(after_help = "\
Starts from the seed programs, changes them, refuses what is invalid, too expensive or known, trains and
scores the rest on real tasks, runs the best again on fresh seeds, and ends with a ranked table and the
best programs as files. Everything is kept in a folder under runs/, as it happens: Ctrl-C, a crash or a
power cut lose nothing that was finished, and --resume goes on with the same next proposal.

Examples:
  archc search seeds/                       ten minutes on all cores
  archc search seeds/ --budget 2m --seed 7
  archc search seeds/gla.arch my/ --candidates 500 --budget none --jobs 8
  archc search --resume --budget 30m        the newest run, up to thirty minutes in all
  archc search seeds/ --corpus books/       the task `text` reads these files")]
pub struct Args {
    /// Seed programs: files and folders [default: seeds/, or those that archc carries]
    #[arg(value_name = "SEEDS")]
    seeds: Vec<PathBuf>,
    /// The run's folder [default: a new one under runs/; with --resume the newest there]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with a run
    #[arg(long)]
    resume: bool,
    /// Time, of all sessions of the run together: 90s, 2m, 1h30m or none
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = limit, allow_hyphen_values = true)]
    budget: Limit,
    /// Stop after so many proposals
    #[arg(long, value_name = "N")]
    candidates: Option<u32>,
    /// Stop after so many tokens of training
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    tokens: Option<u64>,
    /// Stop when this process needs more memory than so many GiB
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory: Option<u64>,
    /// Seed of all proposals and trainings
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count::<u64>)]
    seed: u64,
    /// Evaluations side by side, one thread each [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = number::count::<usize>)]
    jobs: usize,
    /// What the task `text` reads: a file, or a folder of files [default: the text that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// Who proposes: bandit, or random as its baseline
    #[arg(long, value_name = "NAME", default_value = "bandit", value_parser = ["bandit", "random"])]
    researcher: String,
    /// What trains the candidates
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    device: DeviceName,
}

/// A time budget, or none.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<Duration>);

fn limit(text: &str) -> Result<Limit, String> {
    if text.trim() == "none" { Ok(Limit(None)) } else { duration(text).map(|d| Limit(Some(d))) }
}

/// `90s`, `2m`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time above 0; write 90s, 2m or 1h30m");
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |i| digits + i);
        total += number
            * match rest[digits..unit].trim() {
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    match Duration::try_from_secs_f64(total) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let stop = interrupt::flag();
    let options = SearchOptions {
        seeds: seeds(args, output)?,
        out: args.out.clone(),
        resume: args.resume,
        budget: Budget {
            time: args.budget.0,
            candidates: args.candidates,
            tokens: args.tokens,
            memory: args.memory.map(|gib| gib << 30),
        },
        seed: args.seed,
        jobs: threads::capped("--jobs", args.jobs, output)?,
        corpus: args.corpus.clone(),
        carried: carried::text(),
        researcher: args.researcher.clone(),
        stop: Arc::clone(&stop),
    };
    let mut screen = Screen::new(output, stop);
    let done = archc_search::run(&options, args.device.device(), &mut screen);
    screen.bar.finish_and_clear();
    let summary = done?;
    tell(&summary, output)?;
    Ok(if summary.reason == "interrupted" { INTERRUPTED } else { 0 })
}

/// Names and texts of the seed programs, each with what it uses of its folder. A resumed run knows its own.
fn seeds(args: &Args, output: &Output) -> Result<Vec<(String, String)>, Stop> {
    let folder = Path::new("seeds");
    let paths = match args.seeds.as_slice() {
        [] if args.resume => return Ok(Vec::new()),
        [] if folder.is_dir() => vec![folder.to_owned()],
        [] => return Ok(carried::SEEDS.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()),
        paths => paths.to_vec(),
    };
    let mut programs = Vec::new();
    for path in load::seeds(&paths)? {
        let program = load::load(&path)?;
        let idle = not_searched(&program);
        let text = flatten(&program.sources, program.file).map_err(|findings| refused(&program, &findings))?;
        if let [.., last] = idle.as_slice() {
            let others = &idle[..idle.len() - 1];
            output.findings(&[codes::several(&program.name, last, others)], &program.sources)?;
        }
        programs.push((program.name, text));
    }
    Ok(programs)
}

/// A seed with an error in it, or in a file that it uses.
fn refused(program: &load::Program, findings: &[Diagnostic]) -> Diagnostic {
    let first = findings.first();
    let what = first.map_or_else(String::new, |d| format!("{} ({})", d.message, d.code));
    let other = first.and_then(|d| d.primary.as_ref()).map(|label| label.place.file);
    let other = other.filter(|file| *file != program.file).map(|file| program.sources.file(file).name.clone());
    codes::seed(&program.name, other.map_or(what.clone(), |other| format!("in {other}, which it uses: {what}")))
}

/// The blocks and models of a file that a search of it leaves alone, and the last one, which is searched; none if there is
/// only the last one and what it is made of.
fn not_searched(program: &load::Program) -> Vec<String> {
    let (library, _) = Library::load(&program.sources, program.file);
    let Some(module) = library.user_module(program.file) else { return Vec::new() };
    let Some(last) = targets(&module).last().copied() else { return Vec::new() };
    let applied = references(&module);
    let mut parts = vec![last];
    let mut seen = 0;
    while let Some(part) = parts.get(seen) {
        let span = module.callables[part.index as usize].span;
        let inside = applied
            .iter()
            .filter(|(at, item)| span.start <= at.start && at.end <= span.end && item.module == module.id);
        let new: Vec<_> = inside.map(|(_, item)| *item).filter(|item| !parts.contains(item)).collect();
        parts.extend(new);
        seen += 1;
    }
    let name = |item: ItemRef| module.callables[item.index as usize].name.name.clone();
    let mut idle: Vec<String> = targets(&module).into_iter().filter(|item| !parts.contains(item)).map(name).collect();
    if !idle.is_empty() {
        idle.push(name(last));
    }
    idle
}

/// Shows a search while it runs.
struct Screen<'a> {
    output: &'a Output,
    bar: ProgressBar,
    terminal: bool,
    stop: Arc<AtomicBool>,
    stopping: bool,
    best: String,
    /// When the last line was printed where there is no terminal.
    told: Instant,
}

/// Between two lines about a running search where there is no terminal to draw on.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Steps of the bar.
const BAR: u64 = 1000;

impl<'a> Screen<'a> {
    fn new(output: &'a Output, stop: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal() && !output.is_json();
        let bar = if terminal { ProgressBar::new(BAR) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {bar:24} {elapsed} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { output, bar, terminal, stop, stopping: false, best: String::new(), told: Instant::now() }
    }

    /// A line above the bar. A search does not end because nobody reads along.
    fn say(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = self.output.note(text);
        });
    }

    fn stand(&mut self, standing: &Standing<'_>) {
        let Standing { elapsed, budget, candidates, counts, running } = *standing;
        let of_time = budget.map_or(0.0, |b| elapsed.as_secs_f64() / b.as_secs_f64());
        let of_count = candidates.map_or(0.0, |n| f64::from(counts.proposed) / f64::from(n.max(1)));
        self.bar.set_position((of_time.max(of_count).clamp(0.0, 1.0) * BAR as f64) as u64);
        let mut text = format!(
            "{} proposed, {} refused, {} known, {} trained, {running} running",
            counts.proposed,
            counts.refused(),
            counts.duplicates,
            counts.trained
        );
        if !self.best.is_empty() {
            let _ = write!(text, "; best {}", self.best);
        }
        if self.stop.load(Ordering::Relaxed) && !self.stopping {
            self.stopping = true;
            self.say("stopping in good order; Ctrl-C again ends at once (nothing that was finished is lost)");
        }
        if !self.terminal && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            self.say(&format!("{:>5} s  {text}", elapsed.as_secs()));
        }
        self.bar.set_message(text);
        self.bar.tick();
    }
}

impl Progress for Screen<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Started { folder, resumed: 0 } => self.say(&format!("run folder: {}", folder.display())),
            Notice::Started { folder, resumed } => {
                self.say(&format!("run folder: {}, with {resumed} candidates so far", folder.display()));
            }
            Notice::Generation { number: 0, admitted } => self.say(&format!("training {admitted} seed programs")),
            Notice::Generation { number, admitted } => {
                self.say(&format!("generation {number}: {admitted} candidates to train"));
            }
            Notice::Best { candidate, name, lead } => {
                self.best = format!("{name} ({candidate}) {lead:+.3}");
                self.say(&format!("  best so far: {name} ({candidate}), {lead:+.3} over the mean of the seeds"));
            }
            Notice::Finals { contenders } => self.say(&format!("fresh seeds for the best {contenders} programs")),
            Notice::Evaluated { candidate, name, status, quality } => {
                let _ = self.output.object(
                    "evaluated",
                    json!({
                        "candidate": candidate.to_string(), "name": name, "status": status.word(), "quality": quality,
                    }),
                );
            }
            Notice::Tick(standing) => self.stand(standing),
        }
    }
}

fn tell(summary: &Summary, output: &Output) -> Result<(), Stop> {
    let folder = summary.folder.display().to_string();
    let counts = &summary.counts;
    let best: Vec<String> = summary.best.iter().map(|p| p.display().to_string()).collect();
    output.object(
        "search",
        json!({ "folder": folder, "reason": summary.reason, "ranking": summary.ranking, "best": best,
            "proposed": counts.proposed, "rejected": counts.rejected, "duplicates": counts.duplicates,
            "trained": counts.trained, "evaluations": counts.evaluations }),
    )?;
    let mut text = if summary.ranking.rows.is_empty() {
        "nothing was trained to the end: give a larger --budget\n".to_owned()
    } else {
        table(&summary.ranking)
    };
    let refused: Vec<String> = counts.rejected.iter().map(|(check, n)| format!("{check} {n}")).collect();
    let _ = writeln!(
        text,
        "\n{} proposed: {} refused{}, {} known already, {} trained, in {} evaluations of {:.1} million tokens",
        counts.proposed,
        counts.refused(),
        if refused.is_empty() { String::new() } else { format!(" ({})", refused.join(", ")) },
        counts.duplicates,
        counts.trained,
        counts.evaluations,
        counts.tokens as f64 / 1e6,
    );
    let _ = writeln!(text, "ended: {}", summary.reason);
    for path in &best {
        let _ = writeln!(text, "best: {path}");
    }
    let _ = writeln!(
        text,
        "`archc report {folder}` writes the page; `archc search --resume --budget 20m --out {folder}` goes on to 20 minutes in all"
    );
    output.text(&text)
}

/// The ranking: quality is 0 at chance and 1 when perfect.
fn table(ranking: &Ranking) -> String {
    let interval = |i: &Interval| format!("{:+.3} [{:+.3}, {:+.3}]", i.mean, i.low, i.high);
    let width = ranking.rows.iter().map(|r| r.name.len()).fold(7, usize::max);
    let mut text = format!(
        "{:>4}  {:width$}  {:<6}  {:<24}  {:>5}  {:<26}  {:>6}  tasks\n",
        "rank", "program", "", "quality [95 %]", "seeds", "over the best seed", "p"
    );
    for (i, row) in ranking.rows.iter().enumerate() {
        let quality = match &row.interval {
            Some(i) => format!("{:.3} [{:.3}, {:.3}]", i.mean, i.low, i.high),
            None => format!("{:.3}", row.quality),
        };
        let tasks: Vec<String> = row.tasks.iter().map(|(task, score)| format!("{task} {score:.3}")).collect();
        let _ = writeln!(
            text,
            "{:>4}  {:width$}  {:<6}  {quality:<24}  {:>5}  {:<26}  {:>6}  {}",
            i + 1,
            row.name,
            if row.anchor { "seed".to_owned() } else { row.candidate.to_string() },
            row.seeds,
            row.over_anchor.as_ref().map_or_else(String::new, interval),
            row.p.map_or_else(String::new, |p| format!("{p:.3}")),
            tasks.join(", "),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn times_are_read() {
        for (text, seconds) in [("90s", 90.0), ("2m", 120.0), ("1h30m", 5400.0), ("0.5m", 30.0), (" 1d ", 86400.0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "2", "m", "2x", "0s", "-1m", "1..2s", "1e9h", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
