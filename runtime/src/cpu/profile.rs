//! Where the time of a run goes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind.
#[derive(Debug, Default)]
pub struct Profile(RefCell<BTreeMap<(bool, &'static str), (f64, u64)>>);

impl Profile {
    pub(super) fn start(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn stop(&self, kind: &'static str, inside: bool, start: Instant) {
        let mut all = self.0.borrow_mut();
        let entry = all.entry((inside, kind)).or_default();
        entry.0 += start.elapsed().as_secs_f64();
        entry.1 += 1;
    }

    /// Whether inside of a loop or attend, kind, seconds, calls. A loop's own time includes what runs inside of it.
    pub fn totals(&self) -> Vec<(bool, &'static str, f64, u64)> {
        self.0.borrow().iter().map(|((inside, k), (s, n))| (*inside, *k, *s, *n)).collect()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
