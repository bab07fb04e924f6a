//! Run folders: making, finding and locking them.
//!
//! ```text
//! runs/20261123-140359-7/     one run
//!   run.sqlite                the store
//!   lock                      held while a process works on the run; holds its id
//!   best/1-gated-deltanet.arch
//!   report.html
//! ```

use crate::codes;
use archc_compiler::diag::Diagnostic;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the store in a run folder.
pub const STORE: &str = "run.sqlite";

/// A run folder that this process has to itself.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    // Dropping the file, or the death of the process, gives the lock back.
    _lock: File,
}

impl RunFolder {
    /// Makes a folder for a new run; without a name, `runs/<time>-<seed>` under the current directory.
    ///
    /// # Errors
    /// E1002 if it cannot be made, E1006 if it holds a run, E1001 if another process holds it.
    pub fn create(path: Option<&Path>, seed: u64) -> Result<Self, Diagnostic> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => fresh_name(Path::new("runs"), seed),
        };
        fs::create_dir_all(&path).map_err(|e| codes::folder(&path, "make the run folder", e))?;
        let folder = Self::lock(path)?;
        if folder.store().exists() {
            return Err(codes::occupied(&folder.path));
        }
        Ok(folder)
    }

    /// Takes an existing run; without a name, the newest under `runs/`.
    ///
    /// # Errors
    /// E1005 if there is none, E1001 if another process holds it.
    pub fn open(path: Option<&Path>) -> Result<Self, Diagnostic> {
        let path = find_run(path)?;
        Self::lock(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its store is.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    fn lock(path: PathBuf) -> Result<Self, Diagnostic> {
        let name = path.join("lock");
        let trouble = |e: std::io::Error| codes::folder(&path, "lock the run folder", e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(trouble)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The id is for the message only; a holder that has not written it yet is still named as one.
                if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                    holder = "unknown".to_owned();
                }
                return Err(codes::locked(&path, holder.trim()));
            }
            Err(TryLockError::Error(e)) => return Err(trouble(e)),
        }
        // A full disk must not keep a run from being continued or read, so an id that cannot be written is let go.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { path, _lock: file })
    }
}

/// The folder of a run: the one named, or the newest under `runs/`.
///
/// # Errors
/// E1005 if there is none.
pub fn find_run(path: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    if let Some(path) = path {
        return if path.join(STORE).is_file() { Ok(path.to_owned()) } else { Err(codes::no_run(path)) };
    }
    let runs = Path::new("runs");
    let entries = fs::read_dir(runs).map_err(|_| codes::no_run(runs))?;
    // The newest by the time its store was made, then by name; an unreadable entry is not a run.
    entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let made = fs::metadata(folder.join(STORE)).ok()?.modified().ok()?;
            Some((made, folder))
        })
        .max()
        .map(|(_, folder)| folder)
        .ok_or_else(|| codes::no_run(runs))
}

/// `<runs>/20261123-140359-7`, or with `-2`, `-3` behind it if that is taken.
fn fresh_name(runs: &Path, seed: u64) -> PathBuf {
    let name = format!("{}-{seed}", stamp(SystemTime::now()));
    let mut path = runs.join(&name);
    let mut n = 2;
    while path.exists() {
        path = runs.join(format!("{name}-{n}"));
        n += 1;
    }
    path
}

/// `20261123-140359`, UTC.
fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}-{h:02}{m:02}{s:02}")
}

/// Year, month, day of a number of days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
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
        // flock belongs to the open file, so a second open in this process is refused like another process's.
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
    fn dates() {
        let at = |s| stamp(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_782_400), "20000229-000000");
        assert_eq!(at(1_795_442_639), "20261123-140359");
    }
}
