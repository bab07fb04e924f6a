//! Store: one SQLite file per run, with an append-only log.
//!
//! Every decision of the search is a function of this log. A step of the search makes events; they are committed in one transaction
//! ([`Log::commit`]), and take effect only then: the search applies to its [`History`] the events as a resumed run will read them,
//! parsed from the committed text (a float may lose its last bit in JSON; it then loses it everywhere). So there is one way from
//! events to state, and a run that was killed at any moment resumes at its last commit.
//!
//! - A generation is proposed in one event, with all its drafts: it is in the log whole or not at all.
//! - Evaluations are committed in the order of completion; the history files them by (candidate, tier, seed), so the order
//!   has no effect.
//! - Nothing is decided from a generation before it is closed.
//!
//! One process writes (the folder's lock says which); readers use the same file at any time without blocking it (write-ahead log),
//! and leave no files beside it (`reading`). `synchronous = FULL`: a committed step survives loss of power.

mod event;
mod folder;
mod history;
mod lineage;
mod older;
mod reading;
mod running;
mod tables;

pub use event::Event;
pub use folder::{RunFolder, STORE, find_run};
pub use history::{Counts, History};
pub use lineage::lineage_is_sound;
pub use reading::read;

use crate::codes;
use archc_compiler::diag::Diagnostic;
use reading::opened_at;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Version of the tables and of the events' JSON.
pub const SCHEMA: i32 = 2;

/// Identifies the file as a store of archc: "arch" in ASCII.
const APPLICATION: i32 = 0x6172_6368;

/// Log of a run, open for writing, with the history that it implies.
pub struct Log {
    db: Connection,
    history: History,
}

impl Log {
    /// Creates the log of a new run with this first event. The file is written to a temporary name and renamed: an existing
    /// `run.sqlite` contains a run, even if the process that made it was killed immediately afterwards.
    ///
    /// # Errors
    /// E1003 if the file cannot be written, E1012 if another program keeps it locked.
    pub fn create(path: &Path, first: Event) -> Result<Self, Diagnostic> {
        let draft = path.with_extension("sqlite.new");
        let make = || -> rusqlite::Result<()> {
            let flags = WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let mut db = Connection::open_with_flags(plain(&draft), flags)?;
            db.busy_timeout(PATIENCE)?;
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(tables::SQL)?;
            tx.pragma_update(None, "application_id", APPLICATION)?;
            tx.pragma_update(None, "user_version", SCHEMA)?;
            append(&tx, now(), &first)?;
            tx.commit()?;
            db.close().map_err(|(_, e)| e)
        };
        // Remains of an earlier process's draft are removed; it is no error if there are none.
        for left in [draft.clone(), path.with_extension("sqlite.new-journal")] {
            let _ = std::fs::remove_file(left);
        }
        make().map_err(unwritten)?;
        std::fs::rename(&draft, path).map_err(codes::write)?;
        Self::open(path)
    }

    /// Opens the log of an existing run and replays it.
    ///
    /// # Errors
    /// E1004 if it is not a log of this version, E1009 if it cannot be replayed, E1012 if another program keeps it locked.
    pub fn open(path: &Path) -> Result<Self, Diagnostic> {
        let db = Connection::open_with_flags(plain(path), WRITE).map_err(|e| unreadable(path, e))?;
        db.busy_timeout(PATIENCE).map_err(|e| unreadable(path, e))?;
        if recognise(&db, path)? != SCHEMA {
            return Err(codes::older(path));
        }
        settle(&db).map_err(|e| unreadable(path, e))?;
        let history = replay(&db, path, SCHEMA)?;
        Ok(Self { db, history })
    }

    /// History of the log so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Commits a step: all of its events or none, to the disk first, then to the history.
    ///
    /// # Errors
    /// E1003 if they cannot be written, E1012 if another program keeps the store locked; then no part of the step has taken effect.
    pub fn commit(&mut self, events: &[Event]) -> Result<(), Diagnostic> {
        let at = now();
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unwritten)?;
        let bodies: rusqlite::Result<Vec<String>> = events.iter().map(|event| append(&tx, at, event)).collect();
        let bodies = bodies.map_err(unwritten)?;
        tx.commit().map_err(unwritten)?;
        bodies.iter().try_for_each(|body| believe(&mut self.history, at, body))
    }

    /// Limits the file to `pages` pages: simulates a full disk in tests.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.db.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0)).unwrap();
    }

    /// Number of pages in the file.
    #[cfg(test)]
    pub(crate) fn pages(&self) -> u32 {
        self.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap()
    }
}

/// Flags with which the writer opens a store.
const WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Time for which another program may keep the store locked.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Path in a form that SQLite does not take for a URI: a name that begins with `file:` would be one.
fn plain(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

/// Enables the write-ahead log, synced at every commit.
fn settle(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)
}

/// Refuses files that are not a log readable by this version; returns the schema.
fn recognise(db: &Connection, path: &Path) -> Result<i32, Diagnostic> {
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(|e| unreadable(path, e));
    if pragma("application_id")? != APPLICATION {
        return Err(codes::foreign(path, "it is not a store of archc"));
    }
    match pragma("user_version")? {
        schema @ (SCHEMA | older::SCHEMA) => Ok(schema),
        other => Err(codes::foreign(path, format!("it has schema {other}, this archc reads schema {SCHEMA}"))),
    }
}

/// Writes an event and its projection; returns the text that is now in the log.
fn append(db: &Connection, at: i64, event: &Event) -> rusqlite::Result<String> {
    let body = tables::json(event);
    db.prepare_cached("INSERT INTO log (at, kind, body) VALUES (?1, ?2, ?3)")?.execute(params![
        at,
        event.kind(),
        body
    ])?;
    tables::project(db, at, event)?;
    Ok(body)
}

/// Applies an event parsed from the text of the log.
fn believe(history: &mut History, at: i64, body: &str) -> Result<(), Diagnostic> {
    let event = serde_json::from_str(body).map_err(codes::log)?;
    history.apply(at, &event).map_err(codes::log)
}

fn replay(db: &Connection, path: &Path, schema: i32) -> Result<History, Diagnostic> {
    let (mut history, mut fresh_from) = (History::new(), u64::MAX);
    let mut query = db.prepare("SELECT seq, at, body FROM log ORDER BY seq").map_err(|e| unreadable(path, e))?;
    let mut rows = query.query([]).map_err(|e| unreadable(path, e))?;
    while let Some(row) = rows.next().map_err(|e| unreadable(path, e))? {
        let read = |e| unreadable(path, e);
        let (seq, at, body): (i64, i64, String) =
            (row.get(0).map_err(read)?, row.get(1).map_err(read)?, row.get(2).map_err(read)?);
        let event = match schema {
            older::SCHEMA => older::event(&body, &mut fresh_from),
            _ => serde_json::from_str(&body).map(Some).map_err(|e| e.to_string()),
        };
        let Some(event) = event.map_err(|e| codes::foreign(path, format!("event {seq}: {e}")))? else { continue };
        history.apply(at, &event).map_err(|e| codes::log(format!("event {seq}: {e}")))?;
    }
    Ok(history)
}

/// Error of a failed read: caused by the machine or by the file.
fn unreadable(path: &Path, error: rusqlite::Error) -> Diagnostic {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly) => codes::write(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => codes::busy(error),
        _ => codes::foreign(path, error),
    }
}

/// Error of a failed write: another program has locked the file, or the disk is full or read-only.
fn unwritten(error: rusqlite::Error) -> Diagnostic {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => codes::busy(error),
        _ => codes::write(error),
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn first() -> Event {
        Event::Opened { plan: Plan::new(0, Vec::new(), "bandit", ""), version: String::new() }
    }

    #[test]
    fn a_name_that_looks_like_an_address_is_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file:run?mode=memory.sqlite");
        drop(Log::create(&path, first()).unwrap());
        assert!(path.is_file());
        assert_eq!(plain(Path::new("file:a/run.sqlite")), Path::new("./file:a/run.sqlite"));
        assert_eq!(plain(Path::new("/a/run.sqlite")), Path::new("/a/run.sqlite"));
    }

    #[test]
    fn a_store_that_somebody_keeps_locked_says_so_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(STORE);
        let mut log = Log::create(&path, first()).unwrap();
        let browser = Connection::open(&path).unwrap();
        browser.execute_batch("BEGIN IMMEDIATE").unwrap();
        let before = log.history().clone();
        let error = log.commit(&[Event::Session { pid: 7 }]).unwrap_err();
        assert_eq!(error.code, "E1012", "{}", error.message);
        assert_eq!(*log.history(), before);
        browser.execute_batch("ROLLBACK").unwrap();
        log.commit(&[Event::Session { pid: 7 }]).unwrap();
        assert_eq!(*log.history(), read(dir.path()).unwrap());
    }
}
