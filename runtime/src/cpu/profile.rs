//! Where the time of a run goes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind.
#[derive(Debug, Default)]
pub struct Profile(RefCell<BTreeMap<&'static str, (f64, u64)>>);

impl Profile {
    pub(super) fn start(&self) -> Instant {
        Instant::now()
    }

    pub(super) fn stop(&self, kind: &'static str, start: Instant) {
        let mut all = self.0.borrow_mut();
        let entry = all.entry(kind).or_default();
        entry.0 += start.elapsed().as_secs_f64();
        entry.1 += 1;
    }

    /// Kinds with seconds and calls. What runs inside of a loop or attend is counted in it and by its own kind too.
    pub fn totals(&self) -> Vec<(&'static str, f64, u64)> {
        self.0.borrow().iter().map(|(k, (s, n))| (*k, *s, *n)).collect()
    }
}
