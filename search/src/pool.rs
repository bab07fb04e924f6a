//! Parallel evaluations outside of a search: for verification, gates, and repetition of single results.
//!
//! Every result is kept in the cache by its key, so a stopped pool continues where it was when the same evaluations are requested
//! again.

use crate::cache::Cache;
use crate::compile::Trainable;
use crate::stats;
use crate::trained::Holds;
use archc_runtime::SharedDevice;
use archc_runtime::guard::{caught, worker};
use archc_train::corpus::Corpus;
use archc_train::evaluate::{self as contract, Clock, EvalReport, EvalRequest, Flow, Rates, Status};
use archc_train::tier::Tier;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Named program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Name in tables.
    pub name: String,
    /// Source text; its last block or model is trained.
    pub source: Arc<str>,
}

/// Evaluation request.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Program to evaluate.
    pub program: &'a Named,
    /// Tier to evaluate on.
    pub tier: &'a Tier,
    /// Seed of the evaluation.
    pub seed: u64,
    /// Learning rates to train at.
    pub rates: Rates,
}

/// Reason why there are no results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The stop flag was set.
    Interrupted,
    /// The system refused to start a thread.
    Threads(String),
}

/// Resources for evaluations.
pub struct Pool<'a> {
    /// Device that trains.
    pub device: SharedDevice,
    /// Check whether the device has room.
    pub holds: &'a Holds,
    /// Corpus for the task `text`.
    pub corpus: Option<Arc<Corpus>>,
    /// Cache of results.
    pub cache: &'a Cache,
    /// Number of parallel evaluations.
    pub jobs: usize,
    /// Flag that stops the pool when set.
    pub stop: &'a AtomicBool,
}

impl Pool<'_> {
    /// Runs evaluations; returns their reports in the order of the requests. The callback `told` receives the number of completed
    /// evaluations, on any thread.
    ///
    /// # Errors
    /// If it was stopped, or the system refuses to start a thread.
    pub fn run(&self, asks: &[Ask<'_>], told: &(dyn Fn(usize) + Sync)) -> Result<Vec<EvalReport>, Stopped> {
        let results: Vec<Mutex<Option<EvalReport>>> = asks.iter().map(|_| Mutex::new(None)).collect();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for i in 0..self.jobs.clamp(1, asks.len().max(1)) {
                let work = || {
                    while !self.stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(ask) = asks.get(at) else { break };
                        let report = self.one(ask);
                        if report.status != Status::Retry {
                            *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                            told(done.fetch_add(1, Ordering::Relaxed) + 1);
                        }
                    }
                };
                worker(&i.to_string()).spawn_scoped(scope, work).map_err(|e| Stopped::Threads(e.to_string()))?;
            }
            Ok(())
        })?;
        let results = results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner));
        results.collect::<Option<Vec<_>>>().ok_or(Stopped::Interrupted)
    }

    fn one(&self, ask: &Ask<'_>) -> EvalReport {
        let request = EvalRequest {
            tier: ask.tier.clone(),
            seed: ask.seed,
            corpus: self.corpus.clone(),
            rates: ask.rates,
            time_limit: None,
            clock: Clock::Thread,
            threads: 1,
        };
        let program = Trainable::new(&ask.program.name, &ask.program.source, self.holds);
        let key = contract::key(&program, self.device.as_ref(), &request);
        if let Some(known) = key.as_deref().and_then(|key| self.cache.get(key)) {
            return known;
        }
        let mut watch =
            |_: &contract::Moment<'_>| if self.stop.load(Ordering::Relaxed) { Flow::Cancel } else { Flow::Continue };
        let report = caught(|| contract::evaluate(&program, self.device.as_ref(), &request, &mut watch));
        // A bug in one evaluation fails only that evaluation.
        let report = report.unwrap_or_else(|bug| contract::failed(&request, format!("archc bug: {bug}")));
        self.cache.put(&report);
        report
    }

    /// Best learning rate of each program on a tier, as a multiple of the tasks' rates, by its mean score over `seeds` seeds; none
    /// for a program that learns at no rate. The anchors and candidates of a search are tuned in the same way.
    ///
    /// # Errors
    /// Errors of [`Pool::run`].
    pub fn tune(
        &self,
        programs: &[&Named],
        tier: &Tier,
        seeds: u64,
        told: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Option<f64>>, Stopped> {
        let mut asks = Vec::new();
        for program in programs {
            for &rate in &tier.rates {
                asks.extend((0..seeds).map(|seed| Ask { program, tier, seed, rates: Rates::Only(rate) }));
            }
        }
        let reports = self.run(&asks, told)?;
        let mut scores: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            let (program, rest) = (at / (tier.rates.len() * seeds as usize), at % (tier.rates.len() * seeds as usize));
            scores.entry((program, rest / seeds as usize)).or_default().extend(report.score());
        }
        let best = |program: usize| {
            let means = (0..tier.rates.len()).filter_map(|rate| {
                let scores = scores.get(&(program, rate)).filter(|scores| scores.len() as u64 == seeds)?;
                Some((stats::mean(scores)?, tier.rates[rate]))
            });
            means.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, rate)| rate)
        };
        Ok((0..programs.len()).map(best).collect())
    }
}
