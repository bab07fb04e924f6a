//! Where the time of a run goes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind.
#[derive(Debug, Default)]
pub struct Profile {
    /// Whether every kernel is counted for itself, not only by kind.
    pub(super) each: bool,
    all: RefCell<BTreeMap<(bool, String), (f64, u64)>>,
    own: RefCell<BTreeMap<&'static str, f64>>,
    /// For each kernel that runs, outermost first: seconds of the kernels inside of it so far.
    within: RefCell<Vec<f64>>,
}

impl Profile {
    /// Nothing yet; with `each`, every kernel for itself.
    pub fn new(each: bool) -> Self {
        Self { each, ..Self::default() }
    }

    pub(super) fn start(&self) -> Instant {
        self.within.borrow_mut().push(0.0);
        Instant::now()
    }

    /// A kernel of this kind is done; `detail` tells it from others of its kind.
    pub(super) fn stop(&self, kind: &'static str, detail: impl FnOnce() -> String, inside: bool, start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        let name = if self.each { format!("{kind}{}", detail()) } else { kind.to_string() };
        let mut all = self.all.borrow_mut();
        let entry = all.entry((inside, name)).or_default();
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
    pub fn totals(&self) -> Vec<(bool, String, f64, u64)> {
        self.all.borrow().iter().map(|((inside, k), (s, n))| (*inside, k.clone(), *s, *n)).collect()
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
