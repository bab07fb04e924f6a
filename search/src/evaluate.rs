//! Evaluations: one program, one tier, one seed; run by workers with one thread each.

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

/// Evaluator that trains a program and scores it. The same arguments give the same scores, on any thread, at any time.
pub trait Evaluator: Sync {
    /// Name, version and settings of the evaluator; scores of two versions are never compared.
    fn version(&self) -> String;

    /// Description of the evaluator for users: its tiers.
    fn methods(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Runs one evaluation. `cancel` is checked often; once it is set, [`Status::Cancelled`] is returned soon.
    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report;
}

/// Evaluation request.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Candidate to evaluate.
    pub candidate: CandidateId,
    /// Name of the candidate, for messages.
    pub name: String,
    /// Source text of the program.
    pub source: Arc<str>,
    /// Canonical hash of the program.
    pub hash: String,
    /// Tier to train on.
    pub tier: Tier,
    /// Seed of the evaluation.
    pub seed: u64,
    /// Multiple of the tasks' learning rates; none for a tuning, which tries all.
    pub rate: Option<f64>,
    /// Whether it is an anchor, whose results later runs may reuse.
    pub anchor: bool,
}

impl Job {
    /// Evaluation of a candidate of a run; none if the candidate does not exist.
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

    /// Key: hash(program text, evaluator version, tier, seed, rate). The text matters, because names of parameters seed
    /// their initial values.
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

    /// Key among the results of a run.
    pub fn trial(&self) -> Trial {
        (self.candidate, self.tier, self.seed)
    }
}

/// Pool of workers inside a thread scope. Jobs are queued, results arrive in the order of completion.
pub struct Workers {
    jobs: Option<Sender<Job>>,
    results: Receiver<(Job, Report)>,
    cancel: Arc<AtomicBool>,
    busy: BTreeSet<Trial>,
    size: usize,
}

impl Workers {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
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
                // Cancellation also takes effect inside a step, which takes seconds for a large program.
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

    /// Evaluations that are running.
    pub fn running(&self) -> impl Iterator<Item = Trial> {
        self.busy.iter().copied()
    }

    /// Queues a job.
    pub fn give(&mut self, job: Job) {
        if let Some(jobs) = &self.jobs {
            self.busy.insert(job.trial());
            // Workers live as long as this sender, so the job is received.
            let _ = jobs.send(job);
        }
    }

    /// Returns the next result, if one arrives within `patience`.
    pub fn next(&mut self, patience: Duration) -> Option<(Job, Report)> {
        match self.results.recv_timeout(patience) {
            Ok((job, report)) => {
                self.busy.remove(&job.trial());
                Some((job, report))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Requests that all running evaluations stop, and waits for them. Returns the results that were complete.
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

/// Runs an evaluation; a panic in it is a bug of archc, recorded as such, and does not stop the search.
fn guarded(evaluator: &dyn Evaluator, job: &Job, cancel: &AtomicBool) -> Report {
    let began = Clock::Thread.now();
    let report = caught(|| evaluator.evaluate(job, cancel)).unwrap_or_else(|message| {
        let stopped = cancel.load(Ordering::Relaxed);
        let status = if stopped { Status::Cancelled } else { Status::Bug };
        Report::failed(status, if stopped { message } else { format!("archc bug: {message}") })
    });
    Report { seconds: (Clock::Thread.now() - began).as_secs_f64(), ..report }.settled()
}
