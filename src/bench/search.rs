//! `archc bench search`: the search engine itself, on synthetic landscapes with known true effects.
//!
//! Everything is real but the trainings: programs are changed by the moves, screened by the compiler, kept in a store. The worth of a
//! program is a sum over the words in it, so that effects carry over from program to program; its scores are the worth plus noise, part
//! of it common to all programs of a seed. The established results of the finals can therefore be compared with the truth, which is
//! unknown on real tasks. The audit that requested this measured such landscapes by hand; the settings are taken from it.

use super::measure::Clock;
use crate::output::{Done, Output, Stop};
use crate::{carried, number};
use archc_compiler::diag::Diagnostic;
use archc_search::compile::Compiler;
use archc_search::evaluate::{Evaluator, Job};
use archc_search::plan::Tier;
use archc_search::random::Stream;
use archc_search::record::{Candidate, CandidateId, Report, Status, TaskScore};
use archc_search::roles::{Bandit, MoveEngineer};
use archc_search::store::{self, Event, History};
use archc_search::{Budget, SearchOptions, Silent, propose, stats};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::atomic::AtomicBool;

/// The search engine on landscapes whose truth is known, and the cost of a proposal
#[derive(clap::Args)]
#[command(after_help = "\
A setting is the deviation of the worth of a word, and that of the paired difference of two programs on one seed. With a worth of 0
nothing is better than anything: whatever is established is false. `kept` is the mean lead of the finalists in the finals over
their lead in the search; `truth` the mean true lead of what was established; `best` the largest true lead of all that was evaluated.
The cost of a proposal is that of a generation's drafts, from logs grown by copies of a run's own generations.

Examples:
  archc bench search
  archc bench search --landscapes 100 --candidates 400")]
pub struct Args {
    /// Landscapes of a setting
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number::count::<u64>)]
    landscapes: u64,
    /// Proposals of a search
    #[arg(long, value_name = "N", default_value_t = 200)]
    candidates: u32,
    /// Sizes of the logs that proposals are timed from, in candidates
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1000,25000")]
    logs: Vec<usize>,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
}

/// Settings: (standard deviation of a word's worth, standard deviation of a paired difference).
const SETTINGS: [(f64, f64); 4] = [(0.0, 0.142), (0.016, 0.142), (0.118, 0.142), (0.016, 0.26)];

/// Synthetic evaluator that scores programs without training.
struct Landscape {
    worth: f64,
    noise: f64,
    seed: u64,
}

impl Landscape {
    /// True worth of a program: a sum over the different words in it, comments left out.
    fn truth(&self, source: &str) -> f64 {
        let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
        let words: BTreeSet<&str> =
            code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')).collect();
        // Names that a control changes keep their worth.
        let words: BTreeSet<&str> = words.into_iter().map(|word| word.split("_again").next().unwrap_or(word)).collect();
        words.iter().map(|word| self.worth * Stream::new(self.seed, "worth", &[hash(word)]).normal()).sum()
    }
}

fn hash(word: &str) -> u64 {
    Stream::new(0, word, &[]).bits()
}

impl Evaluator for Landscape {
    fn version(&self) -> String {
        "landscape".to_owned()
    }

    fn evaluate(&self, job: &Job, _: &AtomicBool) -> Report {
        let place = [job.tier as u64, job.seed];
        let common = 0.3 * Stream::new(self.seed, "seed", &place).normal();
        let own = Stream::new(self.seed, &job.source, &place).normal() * self.noise / std::f64::consts::SQRT_2;
        let score = 1.0 + self.truth(&job.source) + common + own;
        let task = TaskScore { value: score, score, weight: 1.0, tokens: 1, ..TaskScore::default() };
        let rates = if job.tier == Tier::Tune { vec![(1.0, score)] } else { Vec::new() };
        Report {
            status: Status::Ok,
            tasks: BTreeMap::from([("landscape".to_owned(), task)]),
            rates,
            tokens: 1,
            seconds: 0.0,
            params: 0,
            findings: Vec::new(),
        }
    }
}

/// Summary of one search.
struct Outcome {
    finalists: usize,
    established: usize,
    wrong: usize,
    discoveries: usize,
    truth: Vec<f64>,
    searched: Vec<f64>,
    kept: Vec<f64>,
    best: f64,
    controls: (u32, u32),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Done {
    let quiet = args.json || output.is_json();
    let folder = tempfile::tempdir().map_err(Stop::from)?;
    let mut rows = Vec::new();
    if !quiet {
        output.text(&format!(
            "{} landscapes of each setting, {} proposals\n{:>7}{:>7}{:>11}{:>13}{:>7}{:>13}{:>8}{:>8}{:>8}{:>16}\n",
            args.landscapes,
            args.candidates,
            "worth",
            "noise",
            "finalists",
            "established",
            "false",
            "discoveries",
            "truth",
            "kept",
            "best",
            "controls won"
        ))?;
    }
    let mut last = None;
    for (worth, noise) in SETTINGS {
        let mut outcomes = Vec::new();
        for seed in 0..args.landscapes {
            let landscape = Landscape { worth, noise, seed };
            let path = folder.path().join(format!("{worth}-{noise}-{seed}"));
            let history = search(args, &landscape, path)?;
            outcomes.push(judge(&landscape, &history));
            last = Some(history);
        }
        let row = sum(worth, noise, &outcomes);
        if !quiet {
            output.text(&line(&row))?;
        }
        rows.push(row);
    }
    let costs = last.map_or_else(Vec::new, |history| costs(&history, &args.logs));
    if quiet {
        output.raw(&format!("{}\n", json!({ "kind": "bench_search", "settings": rows, "proposals": costs })))?;
    } else {
        let mut text = String::new();
        for cost in &costs {
            let _ = writeln!(
                text,
                "a generation's proposals from a log of {} candidates: {:.0} ms of processor time, {:.2} of the first",
                cost["candidates"],
                1e3 * cost["seconds"].as_f64().unwrap_or(0.0),
                cost["ratio"].as_f64().unwrap_or(0.0)
            );
        }
        output.text(&text)?;
    }
    Ok(0)
}

fn search(args: &Args, landscape: &Landscape, path: std::path::PathBuf) -> Result<History, Diagnostic> {
    let options = SearchOptions {
        seeds: carried::SEEDS.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        out: Some(path),
        budget: Budget { candidates: Some(args.candidates), ..Budget::default() },
        seed: landscape.seed,
        jobs: 1,
        ..SearchOptions::default()
    };
    let summary = archc_search::run(&options, &Compiler, landscape, &mut Silent)?;
    store::read(&summary.folder)
}

fn judge(landscape: &Landscape, history: &History) -> Outcome {
    let ranking = archc_search::rank::rank(history);
    let truth = |id: CandidateId| history.candidate(id).map_or(0.0, |c| landscape.truth(&c.source));
    let base = ranking.fixed.map_or(0.0, truth);
    let finalists: Vec<_> = ranking.rows.iter().filter(|row| !row.anchor).collect();
    let established: Vec<_> =
        finalists.iter().filter(|row| row.judgement.is_some_and(|j| j.established())).copied().collect();
    let gain = |c: &Candidate| landscape.truth(&c.source) - base;
    Outcome {
        finalists: finalists.len(),
        established: established.len(),
        wrong: established.iter().filter(|row| truth(row.candidate) <= base).count(),
        discoveries: ranking.discoveries,
        truth: established.iter().map(|row| truth(row.candidate) - base).collect(),
        searched: finalists.iter().filter_map(|row| row.searched).collect(),
        kept: finalists.iter().filter_map(|row| row.lead()).collect(),
        best: history.evaluated().map(gain).fold(0.0, f64::max),
        controls: (ranking.controls.won, ranking.controls.tried),
    }
}

fn sum(worth: f64, noise: f64, all: &[Outcome]) -> Value {
    let total = |of: fn(&Outcome) -> usize| all.iter().map(of).sum::<usize>();
    let mean = |of: fn(&Outcome) -> &Vec<f64>| stats::mean(&all.iter().flat_map(of).copied().collect::<Vec<_>>());
    let kept = mean(|o| &o.kept).zip(mean(|o| &o.searched)).map(|(kept, searched)| kept / searched);
    json!({
        "worth": worth, "noise": noise, "finalists": total(|o| o.finalists), "established": total(|o| o.established),
        "false": total(|o| o.wrong), "discoveries": total(|o| o.discoveries), "truth": mean(|o| &o.truth), "kept": kept,
        "best": stats::mean(&all.iter().map(|o| o.best).collect::<Vec<_>>()),
        "controls_won": all.iter().map(|o| o.controls.0).sum::<u32>(), "controls": all.iter().map(|o| o.controls.1).sum::<u32>(),
    })
}

fn line(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().map_or_else(|| "-".to_owned(), |x| format!("{x:.3}"));
    let count = |key: &str| row[key].to_string();
    format!(
        "{:>7}{:>7}{:>11}{:>13}{:>7}{:>13}{:>8}{:>8}{:>8}{:>16}\n",
        number("worth"),
        number("noise"),
        count("finalists"),
        count("established"),
        count("false"),
        count("discoveries"),
        number("truth"),
        number("kept"),
        number("best"),
        format!("{} of {}", row["controls_won"], row["controls"])
    )
}

/// Processor time of a generation's proposals, for logs of these sizes.
fn costs(history: &History, sizes: &[usize]) -> Vec<Value> {
    let engineer = MoveEngineer::new();
    let mut first = None;
    let mut rows = Vec::new();
    for &size in sizes {
        let grown = grow(history, size);
        let once = || propose::generation(&grown, &Bandit, &engineer, &Compiler, usize::MAX);
        // The first call reads the parent programs; a running search has read them long before.
        drop(once());
        let (_, seconds) = Clock::Cpu.time(once);
        let first = *first.get_or_insert(seconds);
        rows.push(json!({ "candidates": size, "seconds": seconds, "ratio": seconds / first }));
    }
    rows
}

/// Extends the history by copies of its last whole generation until it has `size` candidates.
fn grow(history: &History, size: usize) -> History {
    let mut grown = history.clone();
    let whole = (1..history.generations()).rev().find(|g| history.open_generation() != Some(*g)).unwrap_or(0);
    let model: Vec<Candidate> = history.candidates().iter().filter(|c| c.generation == whole).cloned().collect();
    let report = history.results().find(|((_, tier, _), _)| *tier == Tier::Search).map(|(_, report)| report.clone());
    let close = |grown: &mut History, generation| {
        grown.apply(0, &Event::Closed { generation, analyses: Vec::new(), beliefs: history.beliefs().to_vec() })
    };
    if let Some(open) = grown.open_generation() {
        close(&mut grown, open).expect("an open generation can be closed");
    }
    let (Some(report), false) = (report, model.is_empty()) else { return grown };
    while grown.candidates().len() < size {
        let (generation, first) = (grown.generations(), grown.next_id().0);
        let copy = |(i, c): (usize, &Candidate)| {
            let id = CandidateId(first + i as u32);
            // The hash makes it another program; parents stay those of the model.
            Candidate { id, generation, hash: format!("{}-{id}", c.hash), ..c.clone() }
        };
        let candidates: Vec<Candidate> = model.iter().enumerate().map(copy).collect();
        let evaluated: Vec<CandidateId> =
            candidates.iter().filter(|c| c.verdict.admitted()).map(|c| c.id).take(3).chain(grown.fixed()).collect();
        grown.apply(0, &Event::Proposed { generation, candidates }).expect("copies follow in order");
        for candidate in evaluated {
            for seed in grown.plan().seeds(generation, Tier::Search) {
                let (report, key) = (report.clone(), String::new());
                let event = Event::Evaluated { candidate, tier: Tier::Search, seed, key, report, worked: 0 };
                grown.apply(0, &event).expect("no seed was evaluated before");
            }
        }
        close(&mut grown, generation).expect("it was proposed");
    }
    grown
}
