//! Evaluations: one program, one tier, one seed; run by workers, one thread each.

use crate::plan::Tier;
use crate::record::{CandidateId, Report, Status};
use crate::schedule::Trial;
use sha2::{Digest, Sha256};
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

/// Trains a program and scores it. The same arguments give the same scores, on any thread, at any time.
pub trait Evaluator: Sync {
    /// What it is, its version and its settings; scores of two versions are never compared.
    fn version(&self) -> String;

    /// Runs one evaluation. `cancel` is looked at often; once it is set, [`Status::Cancelled`] comes back soon.
    fn evaluate(&self, job: &Job, cancel: &AtomicBool) -> Report;
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Job {
    /// hash(canonical program, evaluator version, tier, seed): what names the result anywhere.
    pub fn key(&self, version: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.hash, version, self.tier.word()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.seed.to_le_bytes());
        hash.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Its place among the results.
    pub fn trial(&self) -> Trial {
        (self.candidate, self.tier, self.seed)
    }
}

/// Stack of a worker: candle's backward pass recurses over the graph.
const STACK: usize = 256 << 20;

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
        quiet_panics();
        for i in 0..size.max(1) {
            let (queue, done, cancel) = (queue.clone(), done.clone(), cancel.clone());
            Builder::new().name(format!("{WORKER}{i}")).stack_size(STACK).spawn_scoped(scope, move || {
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

const WORKER: &str = "archc worker ";

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs an evaluation; a panic in it is a bug of ours, recorded as such, and no reason to stop the search.
fn guarded(evaluator: &dyn Evaluator, job: &Job, cancel: &AtomicBool) -> Report {
    let began = Instant::now();
    let report = caught(|| evaluator.evaluate(job, cancel))
        .unwrap_or_else(|message| Report::failed(Status::Bug, format!("archc bug: {message}")));
    let seconds = began.elapsed().as_secs_f64();
    Report { seconds, ..report }.settled()
}

/// Runs something of ours that may have a bug.
///
/// # Errors
/// The panic's message and place.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What the closure could leave half-changed is dropped with it, or is a cache of whole entries.
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let at = PANIC.with(|p| p.borrow_mut().take());
        match at {
            Some(message) => message,
            None => payload_text(payload.as_ref()),
        }
    })
}

/// Does something on a thread like a worker's and waits for it: a large stack, and panics kept off the terminal.
///
/// # Errors
/// If the machine refuses the thread, or the work panicked.
pub fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    quiet_panics();
    std::thread::scope(|scope| {
        let named = Builder::new().name(format!("{WORKER}aside")).stack_size(STACK);
        let thread = named.spawn_scoped(scope, || caught(work)).map_err(|e| e.to_string())?;
        thread.join().unwrap_or_else(|payload| Err(payload_text(payload.as_ref())))
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}

/// In workers, keeps panics off the terminal and remembers their place instead; elsewhere nothing changes.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|n| n.starts_with(WORKER)) {
                let place = info.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
                let text = format!("{}{place}", payload_text(info.payload()));
                PANIC.with(|p| *p.borrow_mut() = Some(text));
            } else {
                before(info);
            }
        }));
    });
}
