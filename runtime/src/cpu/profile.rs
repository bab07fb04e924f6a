//! The time that a run takes, by kind of kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds and calls by kind of kernel.
#[derive(Debug, Default)]
pub struct Profile {
    /// Whether every kernel is counted individually, not only by kind.
    pub(super) each: bool,
    all: RefCell<BTreeMap<(bool, String), (f64, u64)>>,
    own: RefCell<BTreeMap<&'static str, f64>>,
    /// Seconds of the kernels inside of each running kernel so far, outermost first.
    within: RefCell<Vec<f64>>,
}

impl Profile {
    /// An empty profile; with `each`, it counts every kernel individually.
    pub fn new(each: bool) -> Self {
        Self { each, ..Self::default() }
    }

    pub(super) fn start(&self) -> Instant {
        self.within.borrow_mut().push(0.0);
        Instant::now()
    }

    /// Records that a kernel of this kind has ended; `detail` distinguishes it from others of its kind.
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

    /// Totals: whether inside of a loop or attend, kind, seconds, calls. The time of a loop includes the kernels inside of it.
    pub fn totals(&self) -> Vec<(bool, String, f64, u64)> {
        self.all.borrow().iter().map(|((inside, k), (s, n))| (*inside, k.clone(), *s, *n)).collect()
    }

    /// Kind and seconds, each without the kernels inside of it: the seconds add up to the whole.
    pub fn own(&self) -> Vec<(&'static str, f64)> {
        self.own.borrow().iter().map(|(kind, seconds)| (*kind, *seconds)).collect()
    }

    /// Clears the counts.
    pub fn clear(&self) {
        self.all.borrow_mut().clear();
        self.own.borrow_mut().clear();
    }
}
