//! Where the time of a run goes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind.
#[derive(Debug, Default)]
pub struct Profile {
    all: RefCell<BTreeMap<(bool, &'static str), (f64, u64)>>,
    own: RefCell<BTreeMap<&'static str, f64>>,
    /// For each kernel that runs, outermost first: seconds of the kernels inside of it so far.
    within: RefCell<Vec<f64>>,
}

impl Profile {
    pub(super) fn start(&self) -> Instant {
        self.within.borrow_mut().push(0.0);
        Instant::now()
    }

    pub(super) fn stop(&self, kind: &'static str, inside: bool, start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        let mut all = self.all.borrow_mut();
        let entry = all.entry((inside, kind)).or_default();
        entry.0 += seconds;
        entry.1 += 1;
        let mut within = self.within.borrow_mut();
        let inner = within.pop().unwrap_or(0.0);
        if let Some(outer) = within.last_mut() {
            *outer += seconds;
        }
        *self.own.borrow_mut().entry(kind).or_default() += seconds - inner;
    }

    /// Whether inside of a loop or attend, kind, seconds, calls. A loop's own time includes what runs inside of it.
    pub fn totals(&self) -> Vec<(bool, &'static str, f64, u64)> {
        self.all.borrow().iter().map(|((inside, k), (s, n))| (*inside, *k, *s, *n)).collect()
    }

    /// Kind and seconds, each without what ran inside of it: they add up to the whole.
    pub fn own(&self) -> Vec<(&'static str, f64)> {
        self.own.borrow().iter().map(|(kind, seconds)| (*kind, *seconds)).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.all.borrow_mut().clear();
        self.own.borrow_mut().clear();
    }
}
