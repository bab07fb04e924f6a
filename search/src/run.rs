//! Public entry point: from options to a ranked table.

use crate::engine::{Budget, Roles, drive};
use crate::evaluate::Evaluator;
use crate::plan::{Plan, Settings};
use crate::progress::{Notice, Progress};
use crate::rank::Ranking;
use crate::roles::{Bandit, MoveEngineer, PairedAnalyst, RandomSearch, Researcher};
use crate::screen::Screen;
use crate::store::{Counts, Event, History, Log, RunFolder, find_run};
use crate::{best, codes, propose, report, store};
use archc_compiler::diag::Diagnostic;
use archc_runtime::guard::aside;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Options of a search.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Names and texts of the seed programs; may be empty when resuming.
    pub seeds: Vec<(String, String)>,
    /// Run folder; without it a new one under `runs/`, or when resuming the newest there.
    pub out: Option<PathBuf>,
    /// Whether to resume an existing run.
    pub resume: bool,
    /// Budget of the run.
    pub budget: Budget,
    /// Seed of all proposals and trainings.
    pub seed: u64,
    /// Number of parallel evaluations; 0: as many as there are cores.
    pub jobs: usize,
    /// Whether programs whose state may grow without bound (W0707) may be trained.
    pub allow_growing: bool,
    /// Name of the researcher: `bandit` (the default) or `random`, the baseline.
    pub researcher: String,
    /// Number of process deaths during an evaluation after which it is recorded as failed.
    pub deaths: u32,
    /// Options of the command, for resuming the run and for its page.
    pub settings: Settings,
    /// Flag that ends the search in good order when set.
    pub stop: Arc<AtomicBool>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            out: None,
            resume: false,
            budget: Budget::default(),
            seed: 0,
            jobs: 0,
            allow_growing: false,
            researcher: "bandit".to_owned(),
            deaths: 2,
            settings: Settings::default(),
            stop: Arc::default(),
        }
    }
}

/// Result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Run folder.
    pub folder: PathBuf,
    /// Reason for ending, for example `time`, `candidates`, `tokens`, `memory`, `interrupted`, `nothing left to try`.
    pub reason: String,
    /// Ranked table.
    pub ranking: Ranking,
    /// Numbers of the run.
    pub counts: Counts,
    /// Files of the finalists, best first.
    pub best: Vec<PathBuf>,
    /// Path of the run's page.
    pub page: Option<PathBuf>,
    /// Time spent in all sessions.
    pub spent: Duration,
}

/// Runs a search with these implementations of the screen and the evaluator.
///
/// # Errors
/// E10xx: the folder, the lock, the store, a seed program, settings that differ from those of the run.
pub fn run(
    options: &SearchOptions,
    screen: &dyn Screen,
    evaluator: &dyn Evaluator,
    progress: &mut dyn Progress,
) -> Result<Summary, Diagnostic> {
    let (folder, mut log) = open(options, screen, evaluator)?;
    progress.notice(&Notice::Started { folder: folder.path(), resumed: log.history().candidates().len() });
    let researcher: &dyn Researcher = if log.history().plan().researcher == "random" { &RandomSearch } else { &Bandit };
    let engineer = MoveEngineer::new();
    let roles = Roles { researcher, engineer: &engineer, screen, evaluator, analyst: &PairedAnalyst };
    let reason = drive(&mut log, roles, options.budget, options.deaths, jobs(options.jobs), &options.stop, progress)?;
    let history = log.history();
    let ranking = history.ranking().cloned().unwrap_or_default();
    Ok(Summary {
        folder: folder.path().to_owned(),
        reason: reason.to_owned(),
        best: best::write(folder.path(), history, &ranking)?,
        page: Some(report::write(folder.path())?),
        spent: history.spent(),
        counts: history.counts(),
        ranking,
    })
}

/// Plan of a run to resume, and its command's options.
///
/// # Errors
/// E1005 if there is none, E1004 if it cannot be read.
pub fn settings(folder: Option<&Path>) -> Result<(Plan, Settings), Diagnostic> {
    let folder = find_run(folder)?;
    let plan = store::read(&folder)?.plan().clone();
    let settings = plan.settings.clone();
    if settings.device.is_empty() {
        return Err(codes::older(&folder));
    }
    Ok((plan, settings))
}

/// Opens the folder, locked, and its log, new or continued.
fn open(
    options: &SearchOptions,
    screen: &dyn Screen,
    evaluator: &dyn Evaluator,
) -> Result<(RunFolder, Log), Diagnostic> {
    if options.resume {
        let folder = RunFolder::open(options.out.as_deref())?;
        let log = Log::open(&folder.store())?;
        let plan = log.history().plan();
        if plan.evaluator != evaluator.version() {
            return Err(codes::settings(&format!(
                "it evaluates by `{}`, this is `{}`",
                plan.evaluator,
                evaluator.version()
            )));
        }
        if !options.seeds.is_empty() && options.seeds != plan.anchors {
            return Err(codes::settings("the seed programs differ"));
        }
        return Ok((folder, log));
    }
    if options.seeds.is_empty() {
        return Err(codes::no_seeds());
    }
    let mut plan = Plan::new(options.seed, options.seeds.clone(), &options.researcher, &evaluator.version());
    plan.methods = evaluator.methods();
    plan.allow_growing = options.allow_growing;
    plan.settings = options.settings.clone();
    // Refusals come before the folder is created.
    let mut before = History::new();
    let first = Event::Opened { plan, version: env!("CARGO_PKG_VERSION").to_owned() };
    before.apply(0, &first).map_err(codes::log)?;
    aside(|| propose::seeds(&before, screen)).map_err(codes::log)??;
    let folder = RunFolder::create(options.out.as_deref(), options.seed)?;
    match Log::create(&folder.store(), first) {
        Ok(log) => Ok((folder, log)),
        Err(refused) => {
            folder.discard();
            Err(refused)
        }
    }
}

fn jobs(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, usize::from) }
}
