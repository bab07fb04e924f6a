//! Tests with access to the internals: a disk that becomes full at any moment.

#[path = "../tests/fake/mod.rs"]
mod fake;

use crate::engine::{Budget, Roles, drive};
use crate::plan::Plan;
use crate::progress::Silent;
use crate::roles::{Bandit, MoveEngineer, PairedAnalyst};
use crate::store::{self, Event, Log, RunFolder};
use fake::{FakeEvaluator, FakeScreen, seeds};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn search(log: &mut Log) -> Result<&'static str, archc_compiler::diag::Diagnostic> {
    let engineer = MoveEngineer::new();
    let evaluator = FakeEvaluator::default();
    let roles = Roles {
        researcher: &Bandit,
        engineer: &engineer,
        screen: &FakeScreen,
        evaluator: &evaluator,
        analyst: &PairedAnalyst,
    };
    let budget = Budget { candidates: Some(40), ..Budget::default() };
    drive(log, roles, budget, 2, 2, &AtomicBool::new(false), &mut Silent)
}

fn open(path: &Path) -> Log {
    let folder = RunFolder::create(Some(path), 0).unwrap();
    let plan = Plan::new(5, seeds(), "bandit", "fake ");
    Log::create(&folder.store(), Event::Opened { plan, version: "0".to_owned() }).unwrap()
}

#[test]
fn a_full_disk_stops_the_search_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    assert_eq!(search(&mut open(&whole)).unwrap(), "candidates");
    let whole = store::read(&whole).unwrap();

    // The same search on a disk that becomes full again and again, a little later each time.
    let path = dir.path().join("full");
    drop(open(&path));
    let mut stops: u32 = 0;
    let mut seen = 0;
    loop {
        let mut log = Log::open(&path.join(store::STORE)).unwrap();
        // A step may need a dozen pages: some limits are too small for any progress, the next is larger.
        log.limit_pages(log.pages() + 1 + 3 * (stops % 6));
        let outcome = search(&mut log);
        let held = log.history().clone();
        drop(log);
        // The process's history equals that on the disk.
        assert_eq!(held, store::read(&path).unwrap());
        assert!(held.results().count() >= seen);
        seen = held.results().count();
        match outcome {
            Ok(reason) => break assert_eq!(reason, "candidates"),
            Err(error) => assert_eq!(error.code, "E1003", "{}", error.message),
        }
        stops += 1;
        assert!(stops < 200, "no progress");
    }
    assert!(stops >= 5, "the disk was never full ({stops} stops)");
    let full = store::read(&path).unwrap();
    assert_eq!(full.candidates(), whole.candidates());
    assert_eq!(full.ranking(), whole.ranking());
}
