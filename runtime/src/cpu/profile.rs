//! Where the time of a run goes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind.
#[derive(Debug, Default)]
pub struct Profile {
    /// Whether every kernel is counted for itself, not only by kind.
    pub(super) each: bool,
    seconds: RefCell<BTreeMap<(bool, String), (f64, u64)>>,
}

impl Profile {
    /// Nothing yet; with `each`, every kernel for itself.
    pub fn new(each: bool) -> Self {
        Self { each, ..Self::default() }
    }

    pub(super) fn start(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn stop(&self, kind: String, inside: bool, seconds: f64) {
        let mut all = self.seconds.borrow_mut();
        let entry = all.entry((inside, kind)).or_default();
        entry.0 += seconds;
        entry.1 += 1;
    }

    /// Whether inside of a loop or attend, kind, seconds, calls. A loop's own time includes what runs inside of it.
    pub fn totals(&self) -> Vec<(bool, String, f64, u64)> {
        self.seconds.borrow().iter().map(|((inside, k), (s, n))| (*inside, k.clone(), *s, *n)).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.seconds.borrow_mut().clear();
    }
}
