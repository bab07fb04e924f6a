//! The loop: propose, evaluate, study, again; then fresh seeds for the best; then the ranking.
//!
//! The engine holds no state that matters: what is due is asked of the history, and what happened is
//! committed before it is believed. So stopping it is simply not going on.

use crate::evaluate::{Evaluator, Workers};
use crate::plan::Tier;
use crate::progress::{Notice, Progress, Standing};
use crate::record::{CandidateId, Status};
use crate::roles::{Analyst, Engineer, Researcher};
use crate::schedule::{self, Trial};
use crate::screen::Screen;
use crate::store::{Event, History, Log};
use crate::{codes, evaluate, propose, rank};
use archc_compiler::diag::Diagnostic;
use archc_runtime::guard::aside;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Who does the work.
#[derive(Clone, Copy)]
pub struct Roles<'a> {
    /// Says what to try.
    pub researcher: &'a dyn Researcher,
    /// Builds it.
    pub engineer: &'a dyn Engineer,
    /// Judges it without running it.
    pub screen: &'a dyn Screen,
    /// Trains it.
    pub evaluator: &'a dyn Evaluator,
    /// Says what it has shown.
    pub analyst: &'a dyn Analyst,
}

/// What a run may use, all sessions together. Hard: nothing is started that cannot end inside, and what
/// runs when a limit is reached is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Time.
    pub time: Option<Duration>,
    /// Candidates proposed.
    pub candidates: Option<u32>,
    /// Tokens trained on.
    pub tokens: Option<u64>,
    /// Bytes of resident memory of this process, where the system tells.
    pub memory: Option<u64>,
}

/// Share of time and tokens that is kept for fresh seeds.
const KEPT: f64 = 0.2;

/// Fresh seeds that a budget of candidates alone is good for.
const FRESH_SEEDS: u32 = 4;

/// Fresh seeds that the number of contenders is chosen for.
const WANTED_SEEDS: f64 = 4.0;

/// How long the loop waits for a result before it looks at clocks and flags.
const BEAT: Duration = Duration::from_millis(50);

/// Why a stretch of evaluations ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    /// All are in.
    Done,
    /// A limit was reached.
    Stopped(&'static str),
}

/// Runs the search on an open log until a limit is reached or `stop` is set. Gives the reason.
///
/// # Errors
/// E1003 if the log cannot be written (then everything committed is kept), E1007 for a bad seed program.
pub fn drive(
    log: &mut Log,
    roles: Roles<'_>,
    budget: Budget,
    jobs: usize,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<&'static str, Diagnostic> {
    let spent = log.history().spent();
    log.commit(&[Event::Session { pid: std::process::id() }])?;
    std::thread::scope(|scope| {
        let workers = Workers::start(scope, roles.evaluator, jobs).map_err(codes::log)?;
        let version = roles.evaluator.version();
        let clock = Clock { spent, began: Instant::now() };
        let mut engine =
            Engine { log, roles, budget, jobs, stop, progress, workers, version, clock, best: None, learned: false };
        let reason = engine.explore()?;
        let reason = match reason {
            "interrupted" | "memory" => reason,
            _ => engine.finals()?.unwrap_or(reason),
        };
        let ranking = rank::rank(engine.log.history());
        engine.log.commit(&[Event::Ranked { ranking }, Event::Ended { reason: reason.to_owned() }])?;
        Ok(reason)
    })
}

/// Time of this session on top of the earlier ones.
#[derive(Clone, Copy)]
struct Clock {
    spent: Duration,
    began: Instant,
}

impl Clock {
    fn elapsed(self) -> Duration {
        self.spent + self.began.elapsed()
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
    /// An evaluation of this session was evidence for the search.
    learned: bool,
}

impl Engine<'_> {
    /// Generations until the budget for them is used. Gives the reason for ending.
    fn explore(&mut self) -> Result<&'static str, Diagnostic> {
        loop {
            if let Some(generation) = self.log.history().open_generation() {
                // The anchors are what everything is compared with: without their share of time they may use all.
                let share = if generation == 0 { 1.0 } else { 1.0 - KEPT };
                let due = |history: &History| schedule::due(history, generation);
                match self.stretch(&due, share)? {
                    Stretch::Stopped(reason) => return Ok(reason),
                    Stretch::Done => {}
                }
                let (analyses, beliefs) = self.roles.analyst.study(self.log.history(), generation);
                self.log.commit(&[Event::Closed { generation, analyses, beliefs }])?;
                self.tell_best();
                continue;
            }
            if let Some(reason) = self.used_up(1.0 - KEPT) {
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

    /// The next generation. On a thread like the workers', because programs nest and moves may have bugs.
    fn propose(&mut self) -> Result<Vec<crate::record::Candidate>, Diagnostic> {
        let history = self.log.history();
        let room = self.budget.candidates.map_or(usize::MAX, |n| n.saturating_sub(history.counts().proposed) as usize);
        let Roles { researcher, engineer, screen, .. } = self.roles;
        aside(|| {
            if history.generations() == 0 {
                propose::anchors(history, screen)
            } else {
                Ok(propose::generation(history, researcher, engineer, screen, room))
            }
        })
        .map_err(codes::log)?
    }

    /// Runs what is due until nothing is, or a limit is reached.
    fn stretch(&mut self, due: &dyn Fn(&History) -> Vec<Trial>, share: f64) -> Result<Stretch, Diagnostic> {
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
            let closing = self.used_up_by(share, waiting.first().copied());
            match closing {
                Some(reason) if self.workers.idle() => return Ok(Stretch::Stopped(reason)),
                Some(_) => {}
                None => {
                    for trial in waiting {
                        if !self.workers.free() || self.used_up_by(share, Some(trial)).is_some() {
                            break;
                        }
                        if let Some(job) = self.job(trial) {
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

    /// The best and the anchors on fresh seeds, one seed after another. Gives a reason if it was interrupted.
    fn finals(&mut self) -> Result<Option<&'static str>, Diagnostic> {
        // Without new evidence the contenders of an earlier session keep their places, and so does the ranking of a
        // run that is resumed with nothing left to spend.
        let contenders = match self.log.history().finals() {
            Some(earlier) if !self.learned => earlier.to_vec(),
            _ => self.contenders(schedule::claims(self.log.history())),
        };
        if contenders.is_empty() {
            return Ok(None);
        }
        self.progress.notice(&Notice::Finals { contenders: contenders.len() });
        if self.log.history().finals() != Some(contenders.as_slice()) {
            self.log.commit(&[Event::Finals { contenders }])?;
        }
        let limited = self.budget.time.is_some() || self.budget.tokens.is_some();
        let rounds = if limited { self.log.history().plan().fresh_seeds } else { FRESH_SEEDS };
        for round in 0..rounds {
            if round > 0 && !self.affords(round) {
                break;
            }
            let due = |history: &History| schedule::fresh(history, round);
            match self.stretch(&due, 1.0)? {
                Stretch::Done => {}
                Stretch::Stopped(reason @ ("interrupted" | "memory")) => return Ok(Some(reason)),
                Stretch::Stopped(_) => break,
            }
        }
        Ok(None)
    }

    /// As many of those with a claim as can be run on enough seeds in the time that is left, and at least a
    /// candidate and an anchor.
    fn contenders(&self, claims: Vec<CandidateId>) -> Vec<CandidateId> {
        let Some(time) = self.budget.time else { return claims };
        let left = time.saturating_sub(self.clock.elapsed()).as_secs_f64() * self.jobs as f64;
        let mut cost = 0.0;
        let mut taken = Vec::new();
        for id in claims {
            cost += WANTED_SEEDS * self.seconds(id);
            if taken.len() >= 2 && cost > left {
                break;
            }
            taken.push(id);
        }
        taken
    }

    /// Whether one more round of fresh seeds ends inside the time that is left.
    fn affords(&self, round: u32) -> bool {
        let Some(time) = self.budget.time else { return true };
        let left = time.saturating_sub(self.clock.elapsed()).as_secs_f64();
        let costs: Vec<f64> =
            schedule::fresh(self.log.history(), round).iter().map(|(id, _, _)| self.seconds(*id)).collect();
        let longest = costs.iter().copied().fold(0.0, f64::max);
        left > (costs.iter().sum::<f64>() / self.jobs as f64).max(longest)
    }

    /// How long a search-tier evaluation of this program takes, from the longest seen.
    fn seconds(&self, id: CandidateId) -> f64 {
        let seen = self.log.history().results_of(id).filter(|(tier, _, _)| *tier == Tier::Search);
        seen.map(|(_, _, r)| r.seconds).fold(0.0, f64::max)
    }

    /// A limit that what runs may not pass.
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

    /// A limit that nothing new may be started beyond.
    fn used_up(&self, share: f64) -> Option<&'static str> {
        if let Some(reason) = self.must_stop() {
            return Some(reason);
        }
        if self.budget.time.is_some_and(|time| self.clock.elapsed() >= time.mul_f64(share)) {
            return Some("time");
        }
        let counts = self.log.history().counts();
        if self.budget.candidates.is_some_and(|most| counts.proposed >= most) {
            return Some("candidates");
        }
        if self.budget.tokens.is_some_and(|most| counts.tokens as f64 >= most as f64 * share) {
            return Some("tokens");
        }
        None
    }

    /// The same for one more evaluation of a generation that is there already.
    fn used_up_by(&self, share: f64, next: Option<Trial>) -> Option<&'static str> {
        if self.budget.time.is_some_and(|time| self.clock.elapsed() >= time.mul_f64(share)) {
            return Some("time");
        }
        let most = self.budget.tokens?;
        // Evaluations of a tier train on the same number of tokens, whatever the program.
        let history = self.log.history();
        let of_tier = |tier: Tier| {
            history.results().filter(|((_, t, _), _)| *t == tier).map(|(_, r)| r.tokens()).max().unwrap_or(0)
        };
        let running: u64 = self.workers.running().map(|(_, tier, _)| of_tier(tier)).sum();
        let wanted = history.counts().tokens + running + next.map_or(0, |(_, tier, _)| of_tier(tier));
        (wanted as f64 > most as f64 * share).then_some("tokens")
    }

    fn job(&self, (id, tier, seed): Trial) -> Option<evaluate::Job> {
        let c = self.log.history().candidate(id)?;
        Some(evaluate::Job {
            candidate: id,
            name: c.name.clone(),
            source: Arc::from(c.source.as_str()),
            hash: c.hash.clone(),
            tier,
            seed,
        })
    }

    /// Commits a result. One that was cancelled did not happen.
    fn record(&mut self, job: evaluate::Job, report: crate::record::Report) -> Result<(), Diagnostic> {
        if report.status == Status::Cancelled {
            return Ok(());
        }
        let (candidate, tier, seed) = job.trial();
        let (status, quality) = (report.status, report.quality());
        self.learned |= seed < self.log.history().plan().fresh_from;
        self.log.commit(&[Event::Evaluated { candidate, tier, seed, key: job.key(&self.version), report }])?;
        self.progress.notice(&Notice::Evaluated { candidate, name: &job.name, status, quality });
        Ok(())
    }

    fn tick(&mut self) {
        let counts = self.log.history().counts();
        let (budget, candidates) = (self.budget.time, self.budget.candidates);
        let running = self.workers.running().count();
        let standing = Standing { elapsed: self.clock.elapsed(), budget, candidates, counts: &counts, running };
        self.progress.notice(&Notice::Tick(standing));
    }

    fn tell_best(&mut self) {
        let history = self.log.history();
        let Some(&(id, lead)) = history.standing().first() else { return };
        if self.best != Some(id) {
            self.best = Some(id);
            let name = history.candidate(id).map_or("", |c| c.name.as_str());
            self.progress.notice(&Notice::Best { candidate: id, name, lead });
        }
    }
}

/// Bytes of memory that this process holds, where the system tells (Linux).
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
