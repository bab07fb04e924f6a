//! Run folders: creation, look-up and locking.
//!
//! ```text
//! runs/20261123-140359-7/     one run
//!   run.sqlite                the store
//!   lock                      held while a process works on the run; contains its id
//!   best/1-gated-delta-net-c0042.arch
//!     .written.json           list of the files in best/ that the run wrote
//!   report.html
//! ```

use super::opened_at;
use crate::codes;
use archc_compiler::diag::Diagnostic;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the store in a run folder.
pub const STORE: &str = "run.sqlite";

/// Name of the lock in a run folder.
const LOCK: &str = "lock";

/// Files that the start of a run may leave in its folder, the lock last: it is held until the others are removed.
const OURS: [&str; 7] =
    [STORE, "run.sqlite-wal", "run.sqlite-shm", "run.sqlite-journal", "run.sqlite.new", "run.sqlite.new-journal", LOCK];

/// Run folder, locked by this process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    made: Made,
    // Dropping the file, or the death of the process, releases the lock.
    _lock: File,
}

/// Files and folders that this process created for the run folder.
#[derive(Debug, Default)]
struct Made {
    /// Folders, inner before outer.
    folders: Vec<PathBuf>,
    /// Files of [`OURS`] that did not exist before; none in a folder that was opened.
    files: Vec<&'static str>,
}

impl RunFolder {
    /// Creates a folder for a new run; without a name, `runs/<time>-<seed>` under the current directory. An existing one
    /// must be empty, except for remains of an interrupted start.
    ///
    /// # Errors
    /// E1002 if it cannot be created, E1006 if it holds a run, E1011 if it holds anything else, E1001 if another process
    /// holds it.
    pub fn create(path: Option<&Path>, seed: u64) -> Result<Self, Diagnostic> {
        let (path, folders) = match path {
            Some(path) => {
                let failed = |e| codes::folder(path, "make the run folder", e);
                let folders = missing(path);
                fs::create_dir_all(path).map_err(failed)?;
                (path.to_owned(), folders)
            }
            None => fresh(Path::new("runs"), seed, SystemTime::now())?,
        };
        let listed = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let listed = listed.map_err(|e| codes::folder(&path, "list the run folder", e))?;
        let mut there: Vec<String> = listed.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        there.sort();
        let files = OURS.into_iter().filter(|name| !there.iter().any(|t| t == name)).collect();
        let folder = Self::lock(path, Made { folders, files })?;
        if folder.store().exists() {
            return Err(codes::occupied(&folder.path));
        }
        if let Some(strange) = there.iter().find(|name| !OURS.contains(&name.as_str())) {
            let refused = codes::strange(&folder.path, strange);
            folder.discard();
            return Err(refused);
        }
        Ok(folder)
    }

    /// Opens an existing run; without a name, the newest under `runs/` (see [`find_run`]).
    ///
    /// # Errors
    /// E1005 if there is none, E1001 if another process holds it.
    pub fn open(path: Option<&Path>) -> Result<Self, Diagnostic> {
        let path = find_run(path)?;
        Self::lock(path, Made::default())
    }

    /// Removes what [`RunFolder::create`] and the log put on the disk, for a run whose start was refused: the store, the
    /// lock, and the created folders, if nothing else is in them. The log must be closed. A folder that was opened is left
    /// as it is.
    pub fn discard(self) {
        // The refusal is reported; an error about leftover files would only hide it.
        for name in &self.made.files {
            let _ = fs::remove_file(self.path.join(name));
        }
        for folder in &self.made.folders {
            let _ = fs::remove_dir(folder);
        }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of its store.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    fn lock(path: PathBuf, made: Made) -> Result<Self, Diagnostic> {
        let name = path.join(LOCK);
        let trouble = |e: io::Error| codes::folder(&path, "lock the run folder", e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(trouble)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The id is for the message only; a holder that has not written it yet is still reported.
                if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                    holder = "unknown".to_owned();
                }
                return Err(codes::locked(&path, holder.trim()));
            }
            Err(TryLockError::Error(e)) => return Err(trouble(e)),
        }
        // A full disk must not prevent a run from being resumed or read, so a failure to write the id is ignored.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { path, made, _lock: file })
    }
}

/// Finds the folder of a run: the named one, or the newest under `runs/`. The newest is the one that was started last by
/// the first event of its log: file times change with every commit, copy and checkpoint, and names are arbitrary. A store
/// without a readable first event counts by its file time, so that a damaged run is reported and not skipped.
///
/// # Errors
/// E1005 if there is none.
pub fn find_run(path: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(path) = path {
        return if path.join(STORE).is_file() { Ok(path.to_owned()) } else { Err(codes::no_run(path)) };
    }
    newest(Path::new("runs"))
}

fn newest(runs: &Path) -> Result<PathBuf, Diagnostic> {
    let entries = fs::read_dir(runs).map_err(|_| codes::no_run(runs))?;
    // An unreadable entry is not a run.
    entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let store = folder.join(STORE);
            let touched = fs::metadata(&store).ok()?.modified().ok()?;
            let touched = touched.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
            Some((opened_at(&store).unwrap_or(touched), folder))
        })
        .max()
        .map(|(_, folder)| folder)
        .ok_or_else(|| codes::no_run(runs))
}

/// Folders that would have to be created for this path, inner before outer.
fn missing(path: &Path) -> Vec<PathBuf> {
    let named = path.ancestors().filter(|p| !p.as_os_str().is_empty());
    named.take_while(|p| p.symlink_metadata().is_err()).map(Path::to_owned).collect()
}

/// Creates `<runs>/20261123-140359-7`, or with `-2`, `-3` appended if that exists already; returns it, and the created
/// folders.
fn fresh(runs: &Path, seed: u64, now: SystemTime) -> Result<(PathBuf, Vec<PathBuf>), Diagnostic> {
    let mut folders = missing(runs);
    fs::create_dir_all(runs).map_err(|e| codes::folder(runs, "make the folder of all runs", e))?;
    let name = format!("{}-{seed}", stamp(now));
    let mut n = 1;
    loop {
        let path = runs.join(if n == 1 { name.clone() } else { format!("{name}-{n}") });
        match fs::create_dir(&path) {
            Ok(()) => {
                folders.insert(0, path.clone());
                return Ok((path, folders));
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
            Err(e) => return Err(codes::folder(&path, "make the run folder", e)),
        }
    }
}

/// Formats a time as `20261123-140359`, UTC.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}-{h:02}{m:02}{s:02}")
}

/// Converts a number of days since 1970 to year, month, day (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_held_folder_is_refused_by_pid_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let held = RunFolder::create(Some(&path), 0).unwrap();
        // flock belongs to the open file, so a second open in this process is refused like that of another process.
        let refused = RunFolder::create(Some(&path), 0).unwrap_err();
        assert_eq!(refused.code, "E1001");
        assert!(refused.message.contains(&format!("process {}", std::process::id())), "{}", refused.message);
        drop(held);
        RunFolder::create(Some(&path), 0).unwrap();
    }

    #[test]
    fn folders_that_cannot_be_are_coded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(RunFolder::create(Some(&file.join("run")), 0).unwrap_err().code, "E1002");
        assert_eq!(RunFolder::open(Some(dir.path())).unwrap_err().code, "E1005");
        fs::write(dir.path().join(STORE), "").unwrap();
        assert_eq!(RunFolder::create(Some(dir.path()), 0).unwrap_err().code, "E1006");
    }

    #[test]
    fn a_folder_of_other_files_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("best")).unwrap();
        fs::write(dir.path().join("best/mine.arch"), "mine").unwrap();
        let refused = RunFolder::create(Some(dir.path()), 0).unwrap_err();
        assert_eq!(refused.code, "E1011");
        assert!(refused.message.ends_with(": best"), "{}", refused.message);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["best"]);
        assert_eq!(fs::read(dir.path().join("best/mine.arch")).unwrap(), b"mine");
        // Remains of a killed start do not prevent a new one.
        let killed = tempfile::tempdir().unwrap();
        fs::write(killed.path().join("run.sqlite.new"), "").unwrap();
        fs::write(killed.path().join(LOCK), "1").unwrap();
        RunFolder::create(Some(killed.path()), 0).unwrap();
    }

    #[test]
    fn a_refused_start_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/run");
        let folder = RunFolder::create(Some(&path), 0).unwrap();
        fs::write(folder.store(), "a log").unwrap();
        folder.discard();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // Files that existed before stay, also those created by others.
        fs::create_dir(dir.path().join("own")).unwrap();
        let folder = RunFolder::create(Some(&dir.path().join("own")), 0).unwrap();
        fs::write(folder.path().join("notes"), "mine").unwrap();
        folder.discard();
        assert_eq!(fs::read_dir(dir.path().join("own")).unwrap().count(), 1);
        // A run that is only opened is never removed.
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(STORE), "a log").unwrap();
        RunFolder::open(Some(&path)).unwrap().discard();
        assert!(path.join(STORE).exists() && path.join(LOCK).exists());
    }

    #[test]
    fn starts_at_the_same_moment_get_folders_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let start = || fresh(&runs, 9, UNIX_EPOCH).unwrap().0;
        let mut made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 16);
        assert!(made.contains(&runs.join("19700101-000000-9")) && made.contains(&runs.join("19700101-000000-9-16")));
    }

    #[test]
    fn the_newest_run_is_the_one_that_was_started_last() {
        let dir = tempfile::tempdir().unwrap();
        let start = |name: &str| {
            let folder = RunFolder::create(Some(&dir.path().join(name)), 0).unwrap();
            let plan = crate::plan::Plan::new(0, Vec::new(), "bandit", "");
            let first = crate::store::Event::Opened { plan, version: String::new() };
            let log = crate::store::Log::create(&folder.store(), first).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            (folder, log)
        };
        assert_eq!(newest(dir.path()).unwrap_err().code, "E1005");
        let mut first = start("zzz");
        drop(start("aaa"));
        assert_eq!(newest(dir.path()).unwrap(), dir.path().join("aaa"));
        // Work on the other run, and its end, which writes the log into the store, do not make it newer.
        std::thread::sleep(Duration::from_millis(20));
        first.1.commit(&[crate::store::Event::Session { pid: 1 }]).unwrap();
        assert_eq!(newest(dir.path()).unwrap(), dir.path().join("aaa"));
        drop(first);
        assert_eq!(newest(dir.path()).unwrap(), dir.path().join("aaa"));
    }

    #[test]
    fn dates() {
        let at = |s| stamp(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_782_400), "20000229-000000");
        assert_eq!(at(1_795_442_639), "20261123-140359");
    }
}
