//! A run's folder.
//!
//! | file | what it is |
//! |---|---|
//! | `run.json` | which run this is, and how it ended |
//! | `curve.jsonl` | one [`Record`] a line |
//! | `checkpoint.safetensors` | the state to go on from |
//! | `weights.safetensors` | the parameters, under their plain paths |
//! | `lock` | held by the process that trains into it |
//!
//! The checkpoint is the truth. It replaces its predecessor by a rename, after the curve up to its step has
//! reached the disk; so at every moment there is a whole checkpoint with a whole curve before it. Lines of
//! the curve behind the checkpoint are of steps that will be done again, and are cut off on resuming. All
//! writes go through [`Disk`], so that a test can fill the disk or pull the plug at any of them.

use crate::checkpoint::{Checkpoint, decode_weights, encode_weights};
use crate::fault;
use crate::score::Score;
use crate::task::{Part, TaskSpec};
use crate::trainer::{Observer, Outcome, Record, TrainConfig, Trainer};
use archc_compiler::diag::Diagnostic;
use archc_runtime::Snapshot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const RUN: &str = "run.json";
const CURVE: &str = "curve.jsonl";
const CHECKPOINT: &str = "checkpoint.safetensors";
const WEIGHTS: &str = "weights.safetensors";
const LOCK: &str = "lock";

/// The writes of a run, each of which may fail or be the last.
pub trait Disk {
    /// Creates or empties a file, writes it and waits until it is on the disk.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Puts a file in the place of another, at once.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Adds to the end of a file.
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Waits until what was added is on the disk.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&mut self, path: &Path, len: u64) -> io::Result<()>;
}

/// The file system.
pub struct FileSystem;

impl Disk for FileSystem {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        // The new name is on the disk when its folder is; systems that cannot open folders need no such thing.
        if let Some(folder) = to.parent().and_then(|folder| File::open(folder).ok()) {
            folder.sync_all()?;
        }
        Ok(())
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().create(true).append(true).open(path)?.write_all(bytes)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        match File::open(path) {
            Ok(file) => file.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn truncate(&mut self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }
}

/// Which run a folder is of: two runs with the same identity have the same curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of the program with its sizes.
    pub program: String,
    /// Task and settings, defaults filled in.
    pub task: TaskSpec,
    /// Digest of the corpus, for `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// Name of the device, whose rounding decides the last bits.
    pub device: String,
    /// Everything else.
    pub config: TrainConfig,
}

impl Identity {
    /// As JSON that has been through text once, so that its numbers compare equal to those of a file.
    fn json(&self) -> Value {
        let text = serde_json::to_string(self).expect("an identity has only text keys and finite numbers");
        serde_json::from_str(&text).expect("what serde_json prints, it reads")
    }
}

/// The first thing that differs between two identities, in words.
fn difference(found: &Value, wanted: &Value, name: &str) -> Option<String> {
    if let (Value::Object(a), Value::Object(b)) = (found, wanted) {
        return b
            .iter()
            .map(|(key, value)| (key, a.get(key).unwrap_or(&Value::Null), value))
            .chain(a.iter().filter(|(key, _)| !b.contains_key(*key)).map(|(key, value)| (key, value, &Value::Null)))
            .find_map(|(key, found, wanted)| difference(found, wanted, key));
    }
    (found != wanted).then(|| format!("its {name} is {found}, not {wanted}"))
}

/// How a training into a folder ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// How the loop ended.
    pub outcome: Outcome,
    /// Steps done.
    pub step: u64,
    /// Whether it went on from a checkpoint.
    pub resumed: Option<u64>,
    /// Score on the test part, if all steps are done.
    pub test: Option<Score>,
}

/// An open folder, locked.
pub struct RunFolder {
    path: PathBuf,
    disk: Box<dyn Disk>,
    _lock: File,
}

impl RunFolder {
    /// Opens or creates a folder.
    ///
    /// # Errors
    /// E0911 when it cannot be created, E0914 when another process holds it.
    pub fn open(path: &Path) -> Result<Self, Diagnostic> {
        Self::open_on(path, Box::new(FileSystem))
    }

    /// The same with other writes.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn open_on(path: &Path, disk: Box<dyn Disk>) -> Result<Self, Diagnostic> {
        let unwritable = |error| fault::unwritable(path, &error);
        fs::create_dir_all(path).map_err(unwritable)?;
        let lock =
            OpenOptions::new().create(true).write(true).truncate(false).open(path.join(LOCK)).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), disk, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(fault::held(path)),
            Err(TryLockError::Error(error)) => Err(fault::unwritable(path, &error)),
        }
    }

    /// Trains into the folder, from its checkpoint if it has one, and writes a checkpoint every so many
    /// steps, when the observer stops it, and at the end. A run that is already finished is only scored.
    ///
    /// # Errors
    /// E0911 for a failed write, E0912 for a damaged checkpoint, E0913 when the folder is of another run,
    /// and whatever the trainer and the observer give.
    pub fn train(
        &mut self,
        trainer: &mut Trainer,
        identity: &Identity,
        checkpoint_every: u64,
        test_batches: u64,
        observer: &mut dyn Observer,
    ) -> Result<Trained, Diagnostic> {
        let identity = identity.json();
        let resumed = self.resume(trainer, &identity)?;
        if resumed.is_none() {
            self.describe(&identity, "running", trainer.step(), None)?;
        }
        let steps = trainer.config().steps;
        let mut keeper = Keeper { folder: self, identity: &identity, every: checkpoint_every, inner: observer };
        let outcome = trainer.run(steps, &mut keeper)?;
        let checkpoint = trainer.checkpoint()?;
        self.keep(&checkpoint, &identity)?;
        self.replace(WEIGHTS, &encode_weights(&checkpoint.snapshot))?;
        let (status, test) = match outcome {
            Outcome::Finished => ("finished", Some(trainer.measure(Part::Test, test_batches)?)),
            Outcome::Stopped => ("stopped", None),
            Outcome::Diverged { .. } => ("diverged", None),
        };
        self.describe(&identity, status, trainer.step(), test)?;
        Ok(Trained { outcome, step: trainer.step(), resumed, test })
    }

    /// Restores the checkpoint, if there is one, and cuts the curve behind it. The step it goes on from.
    fn resume(&mut self, trainer: &mut Trainer, identity: &Value) -> Result<Option<u64>, Diagnostic> {
        let path = self.path.join(CHECKPOINT);
        let step = match fs::read(&path) {
            Ok(bytes) => {
                let (checkpoint, found) = Checkpoint::decode(&bytes, &path)?;
                if let Some(differs) = difference(&found, identity, "identity") {
                    return Err(fault::another_run(&self.path, &differs));
                }
                trainer.restore(&checkpoint)?;
                Some(checkpoint.progress.step)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fault::unreadable(&path, error)),
        };
        let curve = self.path.join(CURVE);
        let (kept, len) = whole_lines(&curve, step.unwrap_or(0))?;
        if kept < len {
            self.disk.truncate(&curve, kept).map_err(|e| fault::unwritable(&curve, &e))?;
        }
        Ok(step)
    }

    fn keep(&mut self, checkpoint: &Checkpoint, identity: &Value) -> Result<(), Diagnostic> {
        let curve = self.path.join(CURVE);
        self.disk.sync(&curve).map_err(|e| fault::unwritable(&curve, &e))?;
        self.replace(CHECKPOINT, &checkpoint.encode(identity))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        self.disk
            .write(&beside, bytes)
            .and_then(|()| self.disk.rename(&beside, &path))
            .map_err(|error| fault::unwritable(&path, &error))
    }

    fn describe(&mut self, identity: &Value, status: &str, step: u64, test: Option<Score>) -> Result<(), Diagnostic> {
        let mut text = serde_json::to_string_pretty(&json!({
            "schema": "archc.run/1", "status": status, "step": step, "test": test, "run": identity,
        }))
        .expect("JSON values print");
        text.push('\n');
        self.replace(RUN, text.as_bytes())
    }
}

/// The bytes of the whole lines up to a step, and of the file (0 if there is none).
fn whole_lines(curve: &Path, step: u64) -> Result<(u64, u64), Diagnostic> {
    let text = match fs::read(curve) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fault::unreadable(curve, error)),
    };
    let mut kept = 0;
    let mut next = 1;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let record = serde_json::from_slice::<Record>(line).ok().filter(|_| line.ends_with(b"\n"));
        match record {
            Some(record) if record.step == next && record.step <= step => kept += line.len() as u64,
            _ => break,
        }
        next += 1;
    }
    if next <= step {
        return Err(fault::unreadable(curve, format_args!("it ends at step {}, the checkpoint at {step}", next - 1)));
    }
    Ok((kept, text.len() as u64))
}

/// Writes what another observer sees.
struct Keeper<'a> {
    folder: &'a mut RunFolder,
    identity: &'a Value,
    every: u64,
    inner: &'a mut dyn Observer,
}

impl Observer for Keeper<'_> {
    fn proceed(&mut self, step: u64) -> bool {
        self.inner.proceed(step)
    }

    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        let mut line = serde_json::to_string(record).expect("a record prints");
        line.push('\n');
        let curve = self.folder.path.join(CURVE);
        self.folder.disk.append(&curve, line.as_bytes()).map_err(|e| fault::unwritable(&curve, &e))?;
        self.inner.record(record)
    }

    fn settle(&mut self, step: u64, checkpoint: &dyn Fn() -> Result<Checkpoint, Diagnostic>) -> Result<(), Diagnostic> {
        if self.every > 0 && step.is_multiple_of(self.every) {
            self.folder.keep(&checkpoint()?, self.identity)?;
        }
        self.inner.settle(step, checkpoint)
    }
}

/// Reads the curve of a run's folder.
///
/// # Errors
/// E0912 when there is none; a last line cut short by a kill is left out.
pub fn read_curve(folder: &Path) -> Result<Vec<Record>, Diagnostic> {
    let path = folder.join(CURVE);
    let text = fs::read_to_string(&path).map_err(|error| fault::unreadable(&path, error))?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}

/// Reads weights from a file, or from a run's folder.
///
/// # Errors
/// E0912 when there are none.
pub fn read_weights(path: &Path) -> Result<Snapshot, Diagnostic> {
    let path = if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() };
    let bytes = fs::read(&path).map_err(|error| fault::unreadable(&path, error))?;
    decode_weights(&bytes, &path)
}
