//! Main loop: propose, evaluate, analyse, repeat; then the finals; then the table.
//!
//! The engine holds no essential state: due evaluations are derived from the history, and events are committed before they take effect.
//! A search can therefore be stopped at any time.

use crate::board::Board;
use crate::evaluate::{Evaluator, Job, Workers};
use crate::plan::Tier;
use crate::progress::{Notice, Progress, Standing};
use crate::record::{CandidateId, Origin, Report, Status};
use crate::roles::{Analyst, Engineer, Researcher};
use crate::schedule::{self, Trial};
use crate::screen::Screen;
use crate::stats::finals::LOOKS;
use crate::store::{Counts, Event, History, Log};
use crate::{codes, finals, propose, rank, report, stats};
use archc_compiler::diag::Diagnostic;
use archc_runtime::guard::aside;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Implementations of the roles.
#[derive(Clone, Copy)]
pub struct Roles<'a> {
    /// Proposes hypotheses.
    pub researcher: &'a dyn Researcher,
    /// Builds programs from hypotheses.
    pub engineer: &'a dyn Engineer,
    /// Checks programs without running them.
    pub screen: &'a dyn Screen,
    /// Trains and scores programs.
    pub evaluator: &'a dyn Evaluator,
    /// Analyses the results.
    pub analyst: &'a dyn Analyst,
}

/// Budget of a run, for all sessions together. The limits are hard: no evaluation is started that cannot end within them, and running
/// evaluations are stopped when a limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Time limit.
    pub time: Option<Duration>,
    /// Maximum number of proposed candidates.
    pub candidates: Option<u32>,
    /// Maximum number of tokens trained on.
    pub tokens: Option<u64>,
    /// Maximum resident memory of this process in bytes, if the system reports it.
    pub memory: Option<u64>,
    /// Corrected lead of the best program at which the search goes on to the finals.
    pub until: Option<f64>,
    /// Number of consecutive generations without a better program after which the search goes on to the finals.
    pub patience: Option<u32>,
}

/// Maximum fraction of time and tokens reserved for the finals.
const KEPT: f64 = 0.25;

/// Part of the budget that evaluations may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The whole budget.
    All,
    /// The budget without the part reserved for the finals.
    Search,
}

/// Interval between looks at clocks and flags while the loop waits for a result.
const BEAT: Duration = Duration::from_millis(50);

/// Interval after which the description of the current activity is recomputed.
const PLACE: Duration = Duration::from_secs(1);

/// Reason why a stretch of evaluations ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    /// All evaluations are done.
    Done,
    /// A limit was reached.
    Stopped(&'static str),
}

/// Runs the search on an open log until a limit is reached or `stop` is set. Returns the reason for ending.
///
/// # Errors
/// E1003 if the log cannot be written (then everything committed is kept), E1007 for a bad seed program.
pub fn drive(
    log: &mut Log,
    roles: Roles<'_>,
    budget: Budget,
    deaths: u32,
    jobs: usize,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<&'static str, Diagnostic> {
    let spent = log.history().spent();
    log.commit(&[Event::Session { pid: std::process::id() }])?;
    let done = work(log, roles, budget, deaths, (jobs, spent), stop, progress);
    log.forget_all();
    done
}

/// Runs a session, from its first evaluation to its end.
fn work(
    log: &mut Log,
    roles: Roles<'_>,
    budget: Budget,
    deaths: u32,
    (jobs, spent): (usize, Duration),
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<&'static str, Diagnostic> {
    std::thread::scope(|scope| {
        let workers = Workers::start(scope, roles.evaluator, jobs).map_err(codes::log)?;
        let version = roles.evaluator.version();
        let clock = Clock { spent, began: Instant::now() };
        // The use of earlier sessions is known before the first tick, because the reserved time depends on it.
        let counts = log.history().counts();
        let mut engine = Engine {
            log,
            roles,
            budget,
            jobs,
            stop,
            progress,
            workers,
            version,
            clock,
            best: None,
            late: BTreeSet::new(),
            place: None,
            counts,
            told: None,
            steps: 0,
        };
        engine.forget_the_deadly(deaths)?;
        let reason = engine.explore()?;
        let reason = match reason {
            "interrupted" | "memory" => reason,
            _ => engine.finals()?.unwrap_or(reason),
        };
        let ranking = rank::rank(engine.log.history());
        let worked = engine.clock.worked();
        engine.log.commit(&[Event::Ranked { ranking }, Event::Ended { reason: reason.to_owned(), worked }])?;
        Ok(reason)
    })
}

/// Time of this session in addition to the earlier ones.
#[derive(Clone, Copy)]
struct Clock {
    spent: Duration,
    began: Instant,
}

impl Clock {
    fn elapsed(self) -> Duration {
        self.spent + self.began.elapsed()
    }

    /// Time of all sessions in milliseconds, for the log.
    fn worked(self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

struct Engine<'a> {
    log: &'a mut Log,
    roles: Roles<'a>,
    budget: Budget,
    jobs: usize,
    stop: &'a AtomicBool,
    progress: &'a mut dyn Progress,
    workers: Workers,
    version: String,
    clock: Clock,
    best: Option<CandidateId>,
    /// Evaluations that timed out once in this session: the machine may be the cause, so they run once more.
    late: BTreeSet<Trial>,
    /// Description of the current activity, numbers of the run, and time of their computation.
    place: Option<String>,
    counts: Counts,
    told: Option<Instant>,
    /// Number of consecutive generations without a better program.
    steps: u32,
}

impl Engine<'_> {
    /// Runs generations until the budget for them is used. Returns the reason for ending.
    fn explore(&mut self) -> Result<&'static str, Diagnostic> {
        loop {
            if let Some(generation) = self.log.history().open_generation() {
                // All comparisons depend on the anchors, so they may use the whole budget.
                let part = if generation == 0 { Part::All } else { Part::Search };
                let due = |history: &History| schedule::due(history, generation);
                match self.stretch(&due, part)? {
                    Stretch::Stopped(reason) => return Ok(reason),
                    Stretch::Done => {}
                }
                let (analyses, beliefs) = self.roles.analyst.study(self.log.history(), generation);
                self.log.commit(&[Event::Closed { generation, analyses, beliefs }])?;
                if self.log.history().fixed().is_none() {
                    return Ok("no anchor could be trained");
                }
                if let Some(reason) = self.look() {
                    return Ok(reason);
                }
                continue;
            }
            if let Some(reason) = self.used_up(Part::Search) {
                return Ok(reason);
            }
            let candidates = self.propose()?;
            if candidates.is_empty() {
                return Ok("nothing left to try");
            }
            let number = self.log.history().generations();
            let admitted = candidates.iter().filter(|c| c.verdict.admitted()).count();
            self.log.commit(&[Event::Proposed { generation: number, candidates }])?;
            self.progress.notice(&Notice::Generation { number, admitted });
        }
    }

    /// Proposes the next generation. Runs on a thread like the workers', because programs nest and moves may have bugs.
    fn propose(&mut self) -> Result<Vec<crate::record::Candidate>, Diagnostic> {
        let history = self.log.history();
        let room = self.budget.candidates.map_or(usize::MAX, |n| n.saturating_sub(history.counts().proposed) as usize);
        let Roles { researcher, engineer, screen, .. } = self.roles;
        aside(|| {
            if history.generations() == 0 {
                propose::anchors(history, engineer, screen)
            } else {
                Ok(propose::generation(history, researcher, engineer, screen, room))
            }
        })
        .map_err(codes::log)?
    }

    /// Runs due evaluations until none is left, or a limit is reached.
    fn stretch(&mut self, due: &dyn Fn(&History) -> Vec<Trial>, part: Part) -> Result<Stretch, Diagnostic> {
        loop {
            let waiting: Vec<Trial> =
                due(self.log.history()).into_iter().filter(|&trial| !self.workers.runs(trial)).collect();
            if waiting.is_empty() && self.workers.idle() {
                return Ok(Stretch::Done);
            }
            if let Some(reason) = self.must_stop() {
                for (job, report) in self.workers.cancel() {
                    self.record(job, report)?;
                }
                return Ok(Stretch::Stopped(reason));
            }
            let closing = self.used_up_by(part, waiting.first().copied());
            match closing {
                Some(reason) if self.workers.idle() => return Ok(Stretch::Stopped(reason)),
                Some(_) => {}
                None => {
                    for trial in waiting {
                        if !self.workers.free() || self.used_up_by(part, Some(trial)).is_some() {
                            break;
                        }
                        if let Some(job) = Job::of(self.log.history(), trial) {
                            self.log.begin(trial)?;
                            self.workers.give(job);
                        }
                    }
                }
            }
            self.tick();
            if let Some((job, report)) = self.workers.next(BEAT) {
                self.record(job, report)?;
            }
        }
    }

    /// Runs the finals, as far as time and tokens allow. Returns a reason if they were interrupted.
    fn finals(&mut self) -> Result<Option<&'static str>, Diagnostic> {
        let history = self.log.history();
        let Some(fixed) = history.fixed() else { return Ok(None) };
        // Committed evaluations are kept: the finalists of an earlier session stay, unless the search has gone on since.
        let finalists = if history.finals_are_current() {
            history.finals().to_vec()
        } else {
            self.affordable(finals::claims(history, &Board::of(history)), fixed)
        };
        if finalists.is_empty() {
            return Ok(None);
        }
        self.progress.notice(&Notice::Finals { contenders: finalists.len() + 1 });
        if self.log.history().finals() != finalists.as_slice() {
            self.log.commit(&[Event::Finals { contenders: finalists }])?;
        }
        match self.stretch(&finals::due, Part::All)? {
            Stretch::Stopped(reason @ ("interrupted" | "memory")) => Ok(Some(reason)),
            Stretch::Stopped(_) | Stretch::Done => Ok(None),
        }
    }

    /// First of the claims, as many as can reach the first look together with the anchor in the remaining time and tokens, and at least
    /// one.
    fn affordable(&self, claims: Vec<CandidateId>, fixed: CandidateId) -> Vec<CandidateId> {
        let history = self.log.history();
        let first = LOOKS[0] as f64;
        let left = self
            .budget
            .time
            .map_or(f64::INFINITY, |time| time.saturating_sub(self.clock.elapsed()).as_secs_f64() * self.jobs as f64);
        let tokens = self.budget.tokens.map_or(f64::INFINITY, |most| most as f64 - history.counts().tokens as f64);
        let each = |id: CandidateId| (first * self.seconds(id), first * self.of_tier(Tier::Search) as f64);
        let mut used = each(fixed);
        let mut taken = Vec::new();
        for id in claims {
            let next = each(id);
            used = (used.0 + next.0, used.1 + next.1);
            if !taken.is_empty() && (used.0 > left || used.1 > tokens) {
                break;
            }
            taken.push(id);
        }
        taken
    }

    /// Mean seconds of this program's search-tier evaluations, without those from the cache.
    fn seconds(&self, id: CandidateId) -> f64 {
        let seen = self.log.history().results_of(id).filter(|(tier, _, r)| *tier == Tier::Search && r.seconds > 0.0);
        stats::mean(&seen.map(|(_, _, r)| r.seconds).collect::<Vec<_>>()).unwrap_or(0.0)
    }

    /// Number of tokens of an evaluation of a tier, independent of the program.
    fn of_tier(&self, tier: Tier) -> u64 {
        let seen = |tier| self.log.history().tokens(tier);
        // The finals train on the same amount of data as the search tier.
        seen(tier).max(if tier == Tier::Final { seen(Tier::Search) } else { 0 })
    }

    /// Records failures for evaluations during which the process died repeatedly, so that they are not tried again.
    fn forget_the_deadly(&mut self, deaths: u32) -> Result<(), Diagnostic> {
        for trial in self.log.deadly(deaths)? {
            if self.log.history().result(trial).is_some() {
                continue;
            }
            let message = format!("the process died {deaths} times while this ran; it is left out");
            let Some(job) = Job::of(self.log.history(), trial) else { continue };
            let report = Report::failed(Status::Died, message);
            self.record(job, report)?;
        }
        Ok(())
    }

    /// Limit that running evaluations must not exceed.
    fn must_stop(&self) -> Option<&'static str> {
        if self.stop.load(Ordering::Relaxed) {
            return Some("interrupted");
        }
        if self.budget.time.is_some_and(|time| self.clock.elapsed() >= time) {
            return Some("time");
        }
        if self.budget.memory.is_some_and(|most| resident().is_some_and(|now| now > most)) {
            return Some("memory");
        }
        None
    }

    /// Limit beyond which no new work may start.
    fn used_up(&self, part: Part) -> Option<&'static str> {
        if let Some(reason) = self.must_stop() {
            return Some(reason);
        }
        if self.time_is_up(part) {
            return Some("time");
        }
        let counts = self.log.history().counts();
        if self.budget.candidates.is_some_and(|most| counts.proposed >= most) {
            return Some("candidates");
        }
        self.tokens(part).is_some_and(|most| counts.tokens as f64 >= most).then_some("tokens")
    }

    /// Limit that one more evaluation of an existing generation would exceed.
    fn used_up_by(&self, part: Part, next: Option<Trial>) -> Option<&'static str> {
        if self.time_is_up(part) {
            return Some("time");
        }
        let most = self.tokens(part)?;
        let running: u64 = self.workers.running().map(|(_, tier, _)| self.of_tier(tier)).sum();
        let wanted = self.log.history().counts().tokens + running + next.map_or(0, |(_, tier, _)| self.of_tier(tier));
        (wanted as f64 > most).then_some("tokens")
    }

    fn time_is_up(&self, part: Part) -> bool {
        let Some(time) = self.budget.time else { return false };
        let history = self.log.history();
        let elapsed = self.clock.elapsed();
        // Results contain processor time; additional wall-clock time, on a busy machine and between evaluations, counts too. The counts
        // are those of the last tick: this is called many times per second, and counting visits all results.
        let all = self.counts.seconds;
        let each = history.fixed().map_or(0.0, |fixed| self.seconds(fixed)) * (elapsed.as_secs_f64() / all.max(1e-9));
        let kept = self.kept(part, each, time.as_secs_f64());
        elapsed >= time.saturating_sub(Duration::from_secs_f64(kept))
    }

    /// Number of tokens that may be used.
    fn tokens(&self, part: Part) -> Option<f64> {
        let most = self.budget.tokens? as f64;
        Some(most - self.kept(part, self.of_tier(Tier::Search) as f64, most))
    }

    /// Part of a budget that is reserved for the finals: their maximum number of evaluations times the cost of one, capped at a
    /// fraction of the budget; the full fraction while the cost is unknown.
    fn kept(&self, part: Part, each: f64, budget: f64) -> f64 {
        let most = KEPT * budget;
        match part {
            Part::All => 0.0,
            Part::Search if each <= 0.0 => most,
            Part::Search => most.min(each * finals::most(self.log.history().plan()) as f64),
        }
    }

    /// Commits a result. A cancelled evaluation is discarded, as is one that timed out for the first time.
    fn record(&mut self, job: Job, report: Report) -> Result<(), Diagnostic> {
        let (candidate, tier, seed) = job.trial();
        let again = report.status == Status::Timeout && self.late.insert(job.trial());
        if report.status == Status::Cancelled || again {
            return self.log.forget(job.trial());
        }
        let (status, score) = (report.status, report.score());
        let finding = report.findings.first().map(|f| f.message.clone());
        self.log.commit(&[Event::Evaluated {
            candidate,
            tier,
            seed,
            key: job.key(&self.version),
            report,
            worked: self.clock.worked(),
        }])?;
        let anchor = job.anchor;
        let finding = finding.as_deref();
        self.progress.notice(&Notice::Evaluated { candidate, name: &job.name, anchor, tier, status, score, finding });
        Ok(())
    }

    fn tick(&mut self) {
        let (budget, candidates) = (self.budget.time, self.budget.candidates);
        let running = self.workers.running().count();
        if self.told.is_none_or(|told| told.elapsed() >= PLACE) {
            self.told = Some(Instant::now());
            self.place = report::place(self.log.history());
            self.counts = self.log.history().counts();
        }
        let (place, counts) = (self.place.as_deref(), &self.counts);
        let standing = Standing { elapsed: self.clock.elapsed(), budget, candidates, counts, running, place };
        self.progress.notice(&Notice::Tick(standing));
    }

    /// Reports the leader; returns a reason if the search should end.
    fn look(&mut self) -> Option<&'static str> {
        let history = self.log.history();
        let board = Board::of(history);
        let lead =
            board.standing.iter().find(|s| history.candidate(s.id).is_some_and(|c| c.origin == Origin::Proposed));
        let ahead = lead.filter(|s| s.corrected.mean > 0.0).copied();
        let id = ahead.map(|s| s.id).or(history.fixed())?;
        if self.best == Some(id) {
            self.steps += 1;
        } else {
            self.best = Some(id);
            self.steps = 0;
            let name = history.candidate(id).map_or("", |c| c.name.as_str());
            let lead = ahead.map(|s| s.corrected.mean);
            self.progress.notice(&Notice::Best { candidate: id, name, lead });
        }
        if ahead.is_some_and(|s| self.budget.until.is_some_and(|until| s.corrected.mean >= until)) {
            return Some("until");
        }
        self.budget.patience.is_some_and(|most| self.steps >= most).then_some("patience")
    }
}

/// Resident memory of this process in bytes, if the system reports it (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
