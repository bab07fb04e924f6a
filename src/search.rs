//! `archc search`: search for better programs until the budget is used.

use crate::device::{self, DeviceName};
use crate::output::{Done, INTERRUPTED, Output, Stop};
use crate::{carried, eval, interrupt, load, number, threads};
use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::{ItemRef, Library, references};
use archc_compiler::targets;
use archc_search::cache::Cache;
use archc_search::compile::Compiler;
use archc_search::rank::Ranking;
use archc_search::record::Status;
use archc_search::stats::Interval;
use archc_search::trained::{Holds, Setting, Trained};
use archc_search::{Budget, Notice, Progress, SearchOptions, Settings, Standing, Summary, codes};
use archc_train::tier::tier;
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
Trains the seed programs and their nearest variants (the anchors) on many seeds, fixes the best of them, and looks for programs of
at most its size that are better: changes programs, refuses what is invalid, too large or known, screens the rest on short
trainings, and evaluates the best on tasks beside that anchor, each generation on new seeds. The finals run the best again on
fresh seeds and held-out data, by a sequential test that holds 5 % over all finalists, and take their changes back one by one.
What comes out is `established` or `not established`; that most searches of ten minutes establish nothing is as it should be.

Everything is kept in a folder under runs/, as it happens: Ctrl-C, a crash or a power cut lose nothing that was finished, and
--resume goes on with the same next proposal. What anchors score is also kept in the user's cache, for later runs.
Exit codes: 0 ended (also without a find), 2 refused, 3 no seed program could be trained, 75 interrupted.

Examples:
  archc search seeds/                       ten minutes on all cores
  archc search seeds/ --budget 1h --seed 7
  archc search seeds/gla.arch my/ --candidates 500 --budget none --jobs 8
  archc search --resume --budget 30m        the newest run, up to thirty minutes in all
  archc search seeds/ --corpus books/       the task `text` reads these files
  archc search seeds/ --task-weights mqar=2,text=0
  archc search seeds/ --tier mine.json      own tasks (archc explain E0940)")]
pub struct Args {
    /// Seed programs: files, folders, blocks of the library (std::mixers::GLA) [default: seeds/, or those that archc carries]
    #[arg(value_name = "SEEDS")]
    seeds: Vec<PathBuf>,
    /// The run's folder [default: a new one under runs/; with --resume the newest there]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with a run, by its own settings
    #[arg(long)]
    resume: bool,
    /// Time, of all sessions of the run together: 90s, 2m, 1h30m or none [default: 10m; with --resume that of the run]
    #[arg(long, value_name = "TIME", value_parser = limit, allow_hyphen_values = true)]
    budget: Option<Limit>,
    /// Stop after this number of proposals
    #[arg(long, value_name = "N")]
    candidates: Option<u32>,
    /// Stop after this number of training tokens
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    tokens: Option<u64>,
    /// Stop when this process needs more GiB of memory than this
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory: Option<u64>,
    /// Go on to the finals when the best program leads the fixed anchor by so much (corrected for the choice of the best)
    #[arg(long, value_name = "SCORE", value_parser = number::above_zero)]
    until: Option<f64>,
    /// Go on to the finals after this number of generations without a better program
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    patience: Option<u32>,
    /// Seed of all proposals and trainings [default: 0]
    #[arg(long, value_name = "N", value_parser = number::count::<u64>)]
    seed: Option<u64>,
    /// Evaluations side by side, one thread each [default: one a core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = number::count::<usize>)]
    jobs: usize,
    /// What the task `text` reads: a file, or a folder of files [default: a novel that archc carries]
    #[arg(long, value_name = "PATH")]
    corpus: Option<PathBuf>,
    /// What candidates are ranked by: a tier that archc carries, or a file with one of your own [default: search]
    #[arg(long, value_name = "TIER|FILE")]
    tier: Option<String>,
    /// The short tier that learning rates are tuned and candidates screened on [default: screen]
    #[arg(long, value_name = "TIER|FILE")]
    screen: Option<String>,
    /// Weights of tasks in the score in place of the tier's, as in mqar=2,text=0 (0 leaves a task out)
    #[arg(long, value_name = "TASK=W,..", value_delimiter = ',', value_parser = eval::weight)]
    task_weights: Vec<(String, f64)>,
    /// Let programs train whose state may grow without end (warning W0707)
    #[arg(long)]
    allow_growing: bool,
    /// Who proposes: bandit, or random as its baseline [default: bandit]
    #[arg(long, value_name = "NAME", value_parser = ["bandit", "random"])]
    researcher: Option<String>,
    /// What trains the candidates [default: cpu]
    #[arg(long, value_name = "NAME", value_parser = device::parser())]
    device: Option<DeviceName>,
}

/// Time budget, or none.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<Duration>);

fn limit(text: &str) -> Result<Limit, String> {
    if text.trim() == "none" { Ok(Limit(None)) } else { duration(text).map(|d| Limit(Some(d))) }
}

/// Parses a duration: `90s`, `2m`, `1h30m`.
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

/// Default time budget of a search.
const TIME: Duration = Duration::from_secs(600);

/// Exit code when no seed program could be trained: that of a training that diverged.
const NO_ANCHOR: u8 = 3;

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let stop = interrupt::flag();
    let known = if args.resume { Some(archc_search::settings(args.out.as_deref())?) } else { None };
    let before = known.as_ref().map(|(_, settings)| settings);
    let device = match (args.device, before) {
        (None, Some(settings)) => DeviceName::find(&settings.device)?,
        (device, _) => device.unwrap_or_else(|| DeviceName::named(device::FAST)),
    };
    let time = match (args.budget, before) {
        (Some(limit), _) => limit.0,
        (None, Some(settings)) => settings.seconds.map(Duration::from_secs_f64),
        // A search with another limit has no time limit by default.
        (None, None) if args.candidates.is_some() || args.tokens.is_some() => None,
        (None, None) => Some(TIME),
    };
    let corpus = args.corpus.clone().or_else(|| before.and_then(|s| s.corpus.as_ref()).map(PathBuf::from));
    let texts = carried::corpus(corpus.as_deref())?;
    let given = args.tier.is_some() || args.screen.is_some() || !args.task_weights.is_empty();
    let setting = match (&known, given) {
        (Some((plan, _)), false) => Setting::from_methods(&plan.methods, texts)?,
        _ => Setting {
            screen: tier(args.screen.as_deref().unwrap_or("screen"))?,
            search: eval::weighted(tier(args.tier.as_deref().unwrap_or("search"))?, &args.task_weights)?,
            corpus: texts,
        },
    };
    setting.check()?;
    let folder = known.as_ref().map(|(plan, _)| plan);
    differs("--seed", args.seed.map(|s| s.to_string()), folder.map(|plan| plan.seed.to_string()))?;
    if known.is_some() && given {
        return Err(codes::settings(
            "its tiers are those it began with, and --tier, --screen or --task-weights say others",
        )
        .into());
    }
    differs("--researcher", args.researcher.clone(), folder.map(|plan| plan.researcher.clone()))?;
    let options = SearchOptions {
        seeds: seeds(args, output)?,
        out: args.out.clone(),
        resume: args.resume,
        budget: Budget {
            time,
            candidates: args.candidates.or(before.and_then(|s| s.candidates)),
            tokens: args.tokens.or(before.and_then(|s| s.tokens)),
            memory: args.memory.map(|gib| gib << 30),
            until: args.until,
            patience: args.patience,
        },
        seed: args.seed.unwrap_or(0),
        jobs: threads::capped("--jobs", args.jobs, output)?,
        allow_growing: args.allow_growing,
        settings: Settings {
            corpus: corpus.map(|path| path.to_string_lossy().into_owned()),
            device: device.name().to_owned(),
            seconds: time.map(|t| t.as_secs_f64()),
            candidates: args.candidates,
            tokens: args.tokens,
            jobs: args.jobs,
            command: std::env::args().collect(),
        },
        researcher: args.researcher.clone().unwrap_or_else(|| "bandit".to_owned()),
        stop: Arc::clone(&stop),
        ..SearchOptions::default()
    };
    let holds: Holds = Box::new(move |graph, tokens| device.holds(graph, tokens));
    let evaluator = Trained::new(device.device(), holds, setting, Cache::of_user());
    let mut screen = Screen::new(output, stop);
    let done = archc_search::run(&options, &Compiler, &evaluator, &mut screen);
    screen.bar.finish_and_clear();
    let summary = done?;
    tell(&summary, output)?;
    Ok(match summary.reason.as_str() {
        "interrupted" => INTERRUPTED,
        "no anchor could be trained" => NO_ANCHOR,
        _ => 0,
    })
}

/// Refuses an option that contradicts the settings of the resumed run.
fn differs(option: &str, given: Option<String>, run: Option<String>) -> Result<(), Diagnostic> {
    match (given, run) {
        (Some(given), Some(run)) if given != run => {
            Err(codes::settings(&format!("{option} is {run} there and {given} here")))
        }
        _ => Ok(()),
    }
}

/// Names and texts of the seed programs, each merged with its imports from the folder. A resumed run has its own.
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
        let text = program.flat().map_err(|findings| refused(&program, &findings))?;
        if let [.., last] = idle.as_slice() {
            let others = &idle[..idle.len() - 1];
            output.findings(&[codes::several(&program.name, last, others)], &program.sources)?;
        }
        programs.push((program.name, text));
    }
    Ok(programs)
}

/// Error for a seed program with an error in it or in an imported file.
fn refused(program: &load::Program, findings: &[Diagnostic]) -> Diagnostic {
    let first = findings.first();
    let what = first.map_or_else(String::new, |d| format!("{} ({})", d.message, d.code));
    let other = first.and_then(|d| d.primary.as_ref()).map(|label| label.place.file);
    let other = other.filter(|file| *file != program.file).map(|file| program.sources.file(file).name.clone());
    codes::seed(&program.name, other.map_or(what.clone(), |other| format!("in {other}, which it uses: {what}")))
}

/// Blocks and models of a file that the search does not use, and the last one, which it does; none if the file has only the
/// last one and its components.
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

/// Progress display of a running search.
struct Screen<'a> {
    output: &'a Output,
    bar: ProgressBar,
    terminal: bool,
    stop: Arc<AtomicBool>,
    stopping: bool,
    best: String,
    /// Time of the last line printed without a terminal.
    told: Instant,
}

/// Interval between two progress lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Resolution of the progress bar.
const BAR: u64 = 1000;

impl<'a> Screen<'a> {
    fn new(output: &'a Output, stop: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal() && !output.is_json();
        let bar = if terminal { ProgressBar::new(BAR) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{spinner} {bar:24} {elapsed} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { output, bar, terminal, stop, stopping: false, best: String::new(), told: Instant::now() }
    }

    /// Prints a line above the bar. A closed output does not end a search.
    fn say(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = self.output.note(text);
        });
    }

    fn stand(&mut self, standing: &Standing<'_>) {
        let Standing { elapsed, budget, candidates, counts, running, place } = *standing;
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
        if let Some(place) = place.filter(|_| counts.proposed == 0) {
            text = format!("{place}, {running} running");
        } else if let Some(place) = place {
            let _ = write!(text, "; {place}");
        }
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
            Notice::Generation { number: 0, admitted } => {
                self.say(&format!("training {admitted} anchors: the seed programs and their nearest variants"));
            }
            Notice::Generation { number, admitted } => {
                self.say(&format!("generation {number}: {admitted} programs to train"));
            }
            Notice::Best { candidate, name, lead: Some(lead) } => {
                self.best = format!("{name} ({candidate}) {lead:+.3}");
                self.say(&format!("  leads now: {name} ({candidate}), by {lead:+.3} (corrected; not established)"));
            }
            Notice::Best { candidate, name, lead: None } => {
                self.best = format!("the anchor {name} ({candidate})");
                self.say(&format!("  the best anchor, which is to be beaten: {name} ({candidate})"));
            }
            Notice::Finals { contenders } => self.say(&format!("finals: {contenders} programs on fresh seeds")),
            Notice::Evaluated { candidate, name, anchor, tier, status, score, finding } => {
                if *anchor && *status != Status::Ok {
                    let why = finding.unwrap_or_default();
                    self.say(&format!("  {name} ({candidate}) on the tier {}: {}: {why}", tier.word(), status.word()));
                }
                let _ = self.output.object(
                    "evaluated",
                    json!({
                        "candidate": candidate.to_string(), "name": name, "tier": tier.word(), "status": status.word(),
                        "score": score,
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
    let mut text = table(&summary.ranking);
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
        let _ = writeln!(text, "program: {path}");
    }
    if let Some(page) = &summary.page {
        let _ = writeln!(text, "page: {}", page.display());
    }
    let longer = summary.spent.mul_f64(2.0).as_secs().div_ceil(60).max(1);
    let _ =
        writeln!(text, "`archc search --resume --out {folder} --budget {longer}m` goes on to {longer} minutes in all");
    output.text(&text)
}

/// Results as text, as on the page.
fn table(ranking: &Ranking) -> String {
    let interval = |i: &Interval| format!("{:+.3} [{:+.3}, {:+.3}]", i.mean, i.low, i.high);
    let mut text = String::new();
    let width = ranking.rows.iter().map(|r| &r.name).chain(ranking.anchors.iter().map(|a| &a.name)).map(String::len);
    let width = width.fold(7, usize::max);
    if ranking.anchors.is_empty() {
        text.push_str(
            "no anchor was evaluated on all of its seeds: nothing is compared; go on with a larger --budget\n",
        );
        return text;
    }
    let _ = writeln!(
        text,
        "{:width$}  {:<5}  {:<8}  {:>6}  {:>5}  over the best (95 %)",
        "anchor", "", "", "score", "seeds"
    );
    for a in &ranking.anchors {
        let kind = if a.variant { "variant" } else { "seed" };
        let over = match &a.over_fixed {
            Some(over) => interval(over),
            None if ranking.fixed == Some(a.candidate) => "the best: all leads are over it".to_owned(),
            None => String::new(),
        };
        let _ =
            writeln!(text, "{:width$}  {}  {kind:<8}  {:>6.3}  {:>5}  {over}", a.name, a.candidate, a.score, a.seeds);
    }
    if ranking.rows.is_empty() {
        text.push_str(
            "\nno candidate came to the finals: nothing is ranked; a larger --budget reaches beyond the anchors\n",
        );
        return text;
    }
    let _ = writeln!(
        text,
        "\n{:width$}  {:<8}  {:>6}  {:>5}  {:<24}  {:>6}  {:>14}  verdict",
        "finals", "", "score", "seeds", "over the anchor (95 %)", "p", "in the search"
    );
    for row in &ranking.rows {
        let judgement = row.judgement.as_ref();
        let _ = writeln!(
            text,
            "{:width$}  {:<8}  {:>6}  {:>5}  {:<24}  {:>6}  {:>14}  {}",
            row.name,
            row.candidate.to_string(),
            row.score.map_or_else(String::new, |s| format!("{s:.3}")),
            row.seeds,
            row.over().as_ref().map_or_else(String::new, interval),
            judgement.and_then(|j| j.adjusted).map_or_else(String::new, |p| format!("{p:.3}")),
            row.corrected.map_or_else(String::new, |c| format!("{c:+.3}")),
            row.verdict(),
        );
        if let (Some(_), Some(look)) = (row.effect, row.judgement.and_then(|j| j.interval)) {
            let _ = writeln!(text, "{:width$}    on the seeds that established it: {}", "", interval(&look));
        }
        for a in &row.ablation {
            let over = a.over.as_ref().map_or_else(String::new, interval);
            let p = a.p.map_or_else(String::new, |p| format!(", p {p:.3}"));
            let _ = writeln!(text, "{:width$}    without its changes since {}: better by {over}{p}", "", a.ancestor);
        }
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
