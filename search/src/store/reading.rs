//! Read access to a store that leaves it unchanged.
//!
//! SQLite needs a shared file beside a store with a write-ahead log, even for reading, and leaves it there. A store
//! without such a log, that of a run that ended in good order, is therefore opened as an immutable file (`immutable`):
//! nothing is written, on any disk and for any user. If it changes nevertheless, because a search resumes the run at this
//! moment, the result is discarded and the store is read as that of a running search. A log that remains on a read-only
//! disk (a run that was killed, then archived) is read from a copy.

use super::{History, plain, recognise, replay, unreadable};
use crate::codes;
use crate::store::STORE;
use archc_compiler::diag::Diagnostic;
use rusqlite::{Connection, OpenFlags};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Reads the history of a run without changing the store, also while it is being written.
///
/// # Errors
/// E1005 if there is no store, E1004 if it is not one of archc, E1009 if it cannot be replayed.
pub fn read(folder: &Path) -> Result<History, Diagnostic> {
    let path = folder.join(STORE);
    if !path.is_file() {
        return Err(codes::no_run(folder));
    }
    if let Some(read) = at_rest(&path, |db| history(db, &path)) {
        return read;
    }
    let running = Connection::open_with_flags(plain(&path), READ).map_err(|e| unreadable(&path, e));
    running.and_then(|db| history(&db, &path)).or_else(|error| copied(&path).unwrap_or(Err(error)))
}

/// Start time of a run in milliseconds since 1970, from the first event of its log. The first event is in the store itself
/// from the beginning, so the write-ahead log is not needed.
pub(super) fn opened_at(path: &Path) -> Option<i64> {
    let db = still(path).ok()?;
    db.query_row("SELECT at FROM log ORDER BY seq LIMIT 1", [], |row| row.get(0)).ok()
}

/// Flags with which a reader opens a store.
const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn history(db: &Connection, path: &Path) -> Result<History, Diagnostic> {
    db.busy_timeout(Duration::from_secs(5)).map_err(|e| unreadable(path, e))?;
    let schema = recognise(db, path)?;
    replay(db, path, schema)
}

/// Result of `look` on a store without a writer; none if there is one.
fn at_rest<T>(path: &Path, look: impl Fn(&Connection) -> Result<T, Diagnostic>) -> Option<Result<T, Diagnostic>> {
    let before = stamp(path)?;
    let found = still(path).map_err(|e| unreadable(path, e)).and_then(|db| look(&db));
    (stamp(path)? == before).then_some(found)
}

/// Size and modification time of a store that has no log beside it.
fn stamp(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let beside = |end: &str| with(path, end).symlink_metadata().is_ok();
    let store = fs::metadata(path).ok()?;
    (!beside("-wal") && !beside("-journal")).then(|| (store.len(), store.modified().ok()))
}

/// Path with a suffix: `run.sqlite` -> `run.sqlite-wal`.
fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// Opens a store as an immutable file.
fn still(path: &Path) -> rusqlite::Result<Connection> {
    let absolute = std::path::absolute(path).map_err(|_| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let mut address = "file:".to_owned();
    if !absolute.has_root() || absolute.as_os_str().as_encoded_bytes().first() != Some(&b'/') {
        // A path that begins with a drive letter.
        address.push('/');
    }
    for &byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' if cfg!(windows) => address.push('/'),
            b'/' | b'-' | b'.' | b'_' | b':' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                address.push(char::from(byte))
            }
            _ => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address.push_str("?immutable=1");
    Connection::open_with_flags(address, READ | OpenFlags::SQLITE_OPEN_URI)
}

/// Reads a copy of a store and its log; none if they cannot be copied.
fn copied(path: &Path) -> Option<Result<History, Diagnostic>> {
    struct Scratch(PathBuf);
    impl Drop for Scratch {
        fn drop(&mut self) {
            // The folder is temporary, so a failure to remove it is harmless.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let wal = with(path, "-wal");
    if !wal.is_file() {
        return None;
    }
    let made = (0..100).find_map(|n| {
        let folder = std::env::temp_dir().join(format!("archc-report-{}-{n}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => Some(Ok(Scratch(folder))),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => None,
            Err(e) => Some(Err(e)),
        }
    });
    let scratch = made?.ok()?;
    let copy = scratch.0.join(STORE);
    fs::copy(path, &copy).and_then(|_| fs::copy(&wal, with(&copy, "-wal"))).ok()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&copy, flags).ok()?;
    Some(history(&db, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::store::{Event, Log};

    fn names(folder: &Path) -> Vec<String> {
        let listed = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = listed.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn start(folder: &Path) -> Log {
        fs::create_dir_all(folder).unwrap();
        let first = Event::Opened { plan: Plan::new(0, Vec::new(), "bandit", ""), version: "1".to_owned() };
        let mut log = Log::create(&folder.join(STORE), first).unwrap();
        log.commit(&[Event::Session { pid: 1 }, Event::Ended { reason: "time".to_owned(), worked: 0 }]).unwrap();
        log
    }

    #[test]
    fn a_run_at_rest_is_read_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "file:a b?c=d#e%20f", "ünï"] {
            let folder = dir.path().join(name);
            let written = start(&folder).history().clone();
            assert_eq!(names(&folder), [STORE], "{name}");
            assert_eq!(read(&folder).unwrap(), written);
            assert_eq!(names(&folder), [STORE], "{name}");
            assert!(at_rest(&folder.join(STORE), |db| history(db, &folder)).is_some());
        }
    }

    #[test]
    fn a_run_that_is_written_is_read_as_far_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = start(dir.path());
        assert!(at_rest(&dir.path().join(STORE), |_| Ok(())).is_none());
        for pid in 0..20 {
            log.commit(&[Event::Session { pid }]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), *log.history());
        }
        assert!(opened_at(&dir.path().join(STORE)).is_some());
        let written = log.history().clone();
        drop(log);
        assert_eq!(names(dir.path()), [STORE]);
        assert_eq!(read(dir.path()).unwrap(), written);
    }

    #[test]
    fn a_store_that_changes_while_it_is_read_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        drop(start(dir.path()));
        let path = dir.path().join(STORE);
        let seen = at_rest(&path, |_| {
            Log::open(&path)?.commit(&[Event::Session { pid: 2 }])?;
            Ok(())
        });
        assert!(seen.is_none());
    }

    #[test]
    fn a_killed_run_is_read_from_a_copy_where_it_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let log = start(dir.path());
        let written = log.history().clone();
        let (path, killed) = (dir.path().join(STORE), dir.path().join("killed"));
        fs::create_dir(&killed).unwrap();
        fs::copy(&path, killed.join(STORE)).unwrap();
        fs::copy(with(&path, "-wal"), killed.join("run.sqlite-wal")).unwrap();
        drop(log);
        assert_eq!(copied(&killed.join(STORE)).unwrap().unwrap(), written);
        assert_eq!(names(&killed), [STORE, "run.sqlite-wal"]);
        assert!(copied(&path).is_none());
    }
}
