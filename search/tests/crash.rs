//! Kill -9 of a search at any moment: nothing committed is lost, and the run resumes with the same result.

mod fake;

use archc_search::store::{self, History, STORE};
use archc_search::{Budget, SearchOptions, Silent, run};
use fake::{FakeEvaluator, FakeScreen, seeds};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Environment variable, set in the child: the run folder.
const FOLDER: &str = "ARCHC_TEST_CRASH_FOLDER";

const CANDIDATES: u32 = 64;

fn options(folder: &Path) -> SearchOptions {
    SearchOptions {
        seeds: seeds(),
        out: Some(folder.to_owned()),
        resume: folder.join(STORE).exists(),
        budget: Budget { candidates: Some(CANDIDATES), ..Budget::default() },
        seed: 11,
        jobs: 2,
        // It is killed at any moment here, independent of what was running.
        deaths: u32::MAX,
        ..SearchOptions::default()
    }
}

/// Body of the child process: a search that is going to be killed. In the suite it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let evaluator = FakeEvaluator { sleep: 8, ..FakeEvaluator::default() };
    run(&options(Path::new(&folder)), &FakeScreen, &evaluator, &mut Silent).unwrap();
}

/// All decisions and results of a run, without times.
fn essence(history: &History) -> (String, String, String) {
    let results: Vec<_> = history.results().map(|(trial, r)| (trial, r.score(), r.status)).collect();
    (format!("{:#?}", history.candidates()), format!("{results:?}"), format!("{:?}", history.ranking()))
}

/// Rows of the log so far; empty before there is a log.
fn log(folder: &Path) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let db = Connection::open_with_flags(folder.join(STORE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut rows = db.prepare("SELECT body FROM log ORDER BY seq")?;
        rows.query_map([], |row| row.get(0))?.collect()
    };
    read().unwrap_or_default()
}

#[test]
fn killed_at_ten_random_moments_it_loses_nothing_and_proposes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    run(&options(&whole), &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap();

    let folder = dir.path().join("killed");
    let mut before: Vec<String> = Vec::new();
    let mut kills = 0;
    // Moments are counted in committed events, not in time, so that they lie inside the search on any machine:
    // immediately, right after the log has grown by one event, and later. Half of the events remain for the end.
    let total = log(&whole).len();
    let share = total / 20;
    for growth in [0, 1, share, 2, share + 3, 1, 2 * share, share / 2, 3, share] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while log(&folder).len() < before.len() + growth
            && child.try_wait().unwrap().is_none()
            && began.elapsed() < Duration::from_secs(30)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let after = log(&folder);
        assert_eq!(after[..before.len()], before[..], "a committed event was lost or changed");
        before = after;
    }
    assert!(kills >= 8, "the search ended before it could be killed ({kills} kills)");
    assert!(before.len() > 20, "no kill came after the search had begun ({} events)", before.len());

    let began = Instant::now();
    let evaluator = FakeEvaluator::default();
    run(&options(&folder), &FakeScreen, &evaluator, &mut Silent).unwrap();
    assert!(began.elapsed() < Duration::from_secs(60));
    let after = log(&folder);
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(essence(&store::read(&folder).unwrap()), essence(&store::read(&whole).unwrap()));
}

#[test]
fn tables_are_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    run(&options(&folder), &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap();
    let history = store::read(&folder).unwrap();
    let db = Connection::open(folder.join(STORE)).unwrap();
    let count = |sql: &str| -> u32 { db.query_row(sql, [], |row| row.get(0)).unwrap() };
    let counts = history.counts();
    assert_eq!(count("SELECT count(*) FROM candidates WHERE origin = 'proposed'"), counts.proposed);
    assert_eq!(count("SELECT count(*) FROM candidates WHERE verdict = 'duplicate'"), counts.duplicates);
    assert_eq!(count("SELECT count(*) FROM candidates WHERE verdict = 'rejected'"), counts.refused());
    assert_eq!(count("SELECT count(*) FROM evaluations"), counts.evaluations);
    assert_eq!(count("SELECT count(DISTINCT key) FROM evaluations"), counts.evaluations);
    assert_eq!(count("SELECT count(*) FROM generations WHERE closed IS NOT NULL"), counts.generations);
    assert_eq!(count("SELECT count(*) FROM analyses") as usize, history.analyses().count());
    assert_eq!(count("SELECT count(*) FROM ranking") as usize, history.ranking().unwrap().rows.len());
    // And the log cannot be rewritten.
    for sql in ["DELETE FROM log", "UPDATE log SET body = '{}'"] {
        assert!(db.execute(sql, []).unwrap_err().to_string().contains("the log only grows"));
    }
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(dir.path().join(STORE), bytes).unwrap();
        let resumed = run(&options(dir.path()), &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap_err();
        let read = store::read(dir.path()).unwrap_err();
        assert_eq!((resumed.code, read.code), ("E1004", "E1004"), "{} / {}", resumed.message, read.message);
        assert_eq!(std::fs::read(dir.path().join(STORE)).unwrap(), bytes);
        read.message
    };
    refused(b"");
    refused(b"this is not a database, and long enough to look like one to nobody at all");
    refused(&[0, 159, 146, 150].repeat(1000));
    // A store of another version.
    let other = tempfile::tempdir().unwrap();
    run(&options(other.path()), &FakeScreen, &FakeEvaluator::default(), &mut Silent).unwrap();
    let db = Connection::open(other.path().join(STORE)).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let message = store::read(other.path()).unwrap_err().message;
    assert!(message.contains("schema 99") && message.contains(&format!("schema {}", store::SCHEMA)), "{message}");
    // A store cut in half.
    let whole = std::fs::read(other.path().join(STORE)).unwrap();
    std::fs::write(dir.path().join(STORE), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(store::read(dir.path()).unwrap_err().code, "E1004");
}
