//! Evaluations: one program, one tier, one seed; run by workers, one thread each.

use crate::plan::Tier;
use crate::record::{CandidateId, Origin, Report, Status};
use crate::schedule::Trial;
use crate::store::History;
use archc_runtime::guard::{caught, stoppable, worker};
use archc_train::evaluate::Clock;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

/// Trains a program and scores it. The same arguments give the same scores, on any thread, at any time.
pub trait Evaluator: Sync {
    /// What it is, its version and its settings; scores of two versions are never compared.
    fn version(&self) -> String;

    /// What it does, for people: its tiers.
    fn methods(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Runs one evaluation. `cancel` is looked at often; once it is set, [`Status::Cancelled`] comes back soon.
    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report;
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Of which candidate.
    pub candidate: CandidateId,
    /// Its name, for messages.
    pub name: String,
    /// Its program.
    pub source: Arc<str>,
    /// Its canonical hash.
    pub hash: String,
    /// How long and on what.
    pub tier: Tier,
    /// With which seed.
    pub seed: u64,
    /// At which multiple of the tasks' learning rates; a tuning tries all and has none.
    pub rate: Option<f64>,
    /// It is an anchor, whose results later runs may use again.
    pub anchor: bool,
}

impl Job {
    /// An evaluation of a candidate of a run; none of one that is not there.
    pub fn of(history: &History, (id, tier, seed): Trial) -> Option<Self> {
        let c = history.candidate(id)?;
        Some(Self {
            candidate: id,
            name: c.name.clone(),
            source: Arc::from(c.source.as_str()),
            hash: c.hash.clone(),
            tier,
            seed,
            rate: if tier == Tier::Tune { None } else { history.rate(id) },
            anchor: c.origin == Origin::Anchor && tier != Tier::Final,
        })
    }

    /// hash(program, evaluator version, tier, seed, rate). By the text: names of parameters seed their first values.
    pub fn key(&self, version: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.source, version, self.tier.word()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.seed.to_le_bytes());
        hash.update(self.rate.unwrap_or(0.0).to_le_bytes());
        hash.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Its place among the results.
    pub fn trial(&self) -> Trial {
        (self.candidate, self.tier, self.seed)
    }
}

/// A crew of workers inside a thread scope. Jobs go in, results come out in the order they end.
pub struct Workers {
    jobs: Option<Sender<Job>>,
    results: Receiver<(Job, Report)>,
    cancel: Arc<AtomicBool>,
    busy: BTreeSet<Trial>,
    size: usize,
}

impl Workers {
    /// Starts them.
    ///
    /// # Errors
    /// If the machine refuses a thread.
    pub fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        evaluator: &'env dyn Evaluator,
        size: usize,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (done, results) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let cancel = Arc::new(AtomicBool::new(false));
        for i in 0..size.max(1) {
            let (queue, done, cancel) = (queue.clone(), done.clone(), cancel.clone());
            worker(&i.to_string()).spawn_scoped(scope, move || {
                // Also inside of a step, which a large program takes seconds for.
                let _stoppable = stoppable(Arc::clone(&cancel));
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { break };
                    let report = guarded(evaluator, &job, &cancel);
                    if done.send((job, report)).is_err() {
                        break;
                    }
                }
            })?;
        }
        Ok(Self { jobs: Some(jobs), results, cancel, busy: BTreeSet::new(), size: size.max(1) })
    }

    /// Whether a worker is free.
    pub fn free(&self) -> bool {
        self.busy.len() < self.size
    }

    /// Whether nothing is running.
    pub fn idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// Whether this evaluation is running.
    pub fn runs(&self, trial: Trial) -> bool {
        self.busy.contains(&trial)
    }

    /// The evaluations that are running.
    pub fn running(&self) -> impl Iterator<Item = Trial> {
        self.busy.iter().copied()
    }

    /// Hands over a job.
    pub fn give(&mut self, job: Job) {
        if let Some(jobs) = &self.jobs {
            self.busy.insert(job.trial());
            // Workers live as long as this sender does, so somebody receives.
            let _ = jobs.send(job);
        }
    }

    /// The next result, if one comes in this time.
    pub fn next(&mut self, patience: Duration) -> Option<(Job, Report)> {
        match self.results.recv_timeout(patience) {
            Ok((job, report)) => {
                self.busy.remove(&job.trial());
                Some((job, report))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Asks everything that runs to stop, and waits for it. Results that were complete come back.
    pub fn cancel(&mut self) -> Vec<(Job, Report)> {
        self.cancel.store(true, Ordering::Relaxed);
        let mut whole = Vec::new();
        while !self.idle() {
            whole.extend(self.next(Duration::from_millis(50)).filter(|(_, r)| r.status != Status::Cancelled));
        }
        self.cancel.store(false, Ordering::Relaxed);
        whole
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.jobs = None;
    }
}

/// Runs an evaluation; a panic in it is a bug of ours, recorded as such, and no reason to stop the search.
fn guarded(evaluator: &dyn Evaluator, job: &Job, cancel: &AtomicBool) -> Report {
    let began = Clock::Thread.now();
    let report = caught(|| evaluator.evaluate(job, cancel)).unwrap_or_else(|message| {
        let stopped = cancel.load(Ordering::Relaxed);
        let status = if stopped { Status::Cancelled } else { Status::Bug };
        Report::failed(status, if stopped { message } else { format!("archc bug: {message}") })
    });
    Report { seconds: (Clock::Thread.now() - began).as_secs_f64(), ..report }.settled()
}
