//! Evaluations outside of a search, side by side: for verification, for gates, for one number once more.
//!
//! Every result is kept in the cache by its key, so that what was stopped goes on where it was when it is asked again.

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

/// A program by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is called in tables.
    pub name: String,
    /// Its text; what trains is its last block or model.
    pub source: Arc<str>,
}

/// One evaluation.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Of which program.
    pub program: &'a Named,
    /// On which tier.
    pub tier: &'a Tier,
    /// With which seed.
    pub seed: u64,
    /// At which learning rates.
    pub rates: Rates,
}

/// Why there are no results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The flag was set.
    Interrupted,
    /// The machine refused a thread.
    Threads(String),
}

/// What evaluations run on.
pub struct Pool<'a> {
    /// The device.
    pub device: SharedDevice,
    /// Whether it has room.
    pub holds: &'a Holds,
    /// What the task `text` reads.
    pub corpus: Option<Arc<Corpus>>,
    /// Where results are kept.
    pub cache: &'a Cache,
    /// Side by side.
    pub jobs: usize,
    /// Set it to stop.
    pub stop: &'a AtomicBool,
}

impl Pool<'_> {
    /// Runs evaluations; their reports in the order of the questions. `told` hears how many are done, on any thread.
    ///
    /// # Errors
    /// If it was stopped, or the machine refuses a thread.
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
        // A bug of ours in one evaluation is a failure of that one.
        let report = report.unwrap_or_else(|bug| contract::failed(&request, format!("archc bug: {bug}")));
        self.cache.put(&report);
        report
    }

    /// The multiple of the learning rates at which each program does best on a tier, by its mean score over some seeds; none for one
    /// that learns at no rate. What a search's anchors and candidates get.
    ///
    /// # Errors
    /// As [`Pool::run`].
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
