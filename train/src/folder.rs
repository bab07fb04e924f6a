//! A run's folder.
//!
//! | file | content |
//! |---|---|
//! | `run.json` | identity, recipe and outcome of the run |
//! | `program/` | the program and its imports |
//! | `report.html` | curves, scores, options and program as a page |
//! | `curve.jsonl` | one [`Record`] a line |
//! | `checkpoint.safetensors` | the state to resume from |
//! | `weights.safetensors` | the parameters, under their plain paths |
//! | `lock` | held by the process that trains into it |
//!
//! The checkpoint is authoritative. It replaces its predecessor by a rename, after the curve up to its step has reached the disk, so at
//! every moment there is a whole checkpoint with a whole curve before it. Lines of the curve beyond the checkpoint belong to steps that
//! will be repeated, and are cut off on resuming. All writes go through [`Disk`], so that a test can simulate a full disk or a power
//! failure at any of them.

use crate::checkpoint::{Checkpoint, decode_weights, encode_weights};
use crate::fault;
use crate::recipe::{Recipe, there_and_here};
use crate::report;
use crate::score::{Metric, Score};
use crate::task::{self, Part, TaskSpec};
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
const PROGRAM: &str = "program";
const REPORT: &str = "report.html";
const LOCK: &str = "lock";

/// File-system writes of a run, each of which may fail or be the last.
pub trait Disk {
    /// Creates or empties a file, writes it and waits until it is on the disk.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Replaces a file by another atomically.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Appends to a file.
    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Waits until appended bytes are on the disk.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    /// Truncates a file to `len` bytes.
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
        // The new name is on the disk once its folder is; systems that cannot open folders do not need this.
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

/// Identity of a run: two runs with the same identity have the same curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of the program with its sizes.
    pub program: String,
    /// Task and settings, defaults filled in.
    pub task: TaskSpec,
    /// Digest of the data that the task reads: the corpus of `text`, the rows of `jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corpus: Option<String>,
    /// Name of the device, which determines the rounding.
    pub device: String,
    /// Digest of the initial weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Extensions of the number of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretched: Vec<Stretch>,
    /// All other settings.
    pub config: TrainConfig,
}

/// Extension of a run: a later end of its schedule from a step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Steps done under the previous schedule.
    pub from: u64,
    /// Number of steps of the previous schedule.
    pub steps: u64,
}

impl Identity {
    /// Identity as JSON after one round trip through text, so that its numbers compare equal to those read from a file.
    fn json(&self) -> Value {
        let text = serde_json::to_string(self).expect("an identity has only text keys and finite numbers");
        serde_json::from_str(&text).expect("what serde_json prints, it reads")
    }

    /// Identity of this run when it resumes the run in a folder after `step` steps, extended if this one has more steps.
    fn after(&self, found: &Self, step: u64) -> Self {
        let mut next = Self { stretched: found.stretched.clone(), ..self.clone() };
        if found.config.steps < self.config.steps {
            next.stretched.push(Stretch { from: step, steps: found.config.steps });
        }
        next
    }
}

/// Differences between two identities, in words, with the options' names; the program is left to the recipes.
fn differences(found: &Value, wanted: &Value, name: &str) -> Vec<String> {
    if let (Value::Object(a), Value::Object(b)) = (found, wanted) {
        let keys = b.keys().chain(a.keys().filter(|key| !b.contains_key(*key)));
        let of = |map: &serde_json::Map<String, Value>, key| map.get(key).cloned().unwrap_or(Value::Null);
        return keys.flat_map(|key| differences(&of(a, key), &of(b, key), key)).collect();
    }
    let shown = |value: &Value| match value {
        Value::Null => "not given".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match (found != wanted, name) {
        (false, _) | (true, "program" | "stretched") => Vec::new(),
        (true, "corpus") => vec!["the corpus or file that the task reads holds something else now".to_owned()],
        (true, "weights") => vec!["it did not start from the same --weights".to_owned()],
        (true, _) => vec![there_and_here(&option(name), &shown(found), &shown(wanted))],
    }
}

/// Command-line name of a setting.
fn option(name: &str) -> String {
    match name {
        "learning_rate" => "--lr".to_owned(),
        "task" | "device" | "steps" | "batch" | "weight_decay" | "seed" => format!("--{}", name.replace('_', "-")),
        other => format!("`{other}`"),
    }
}

/// Contents of a run's folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// Status: `running` (or killed), `finished`, `stopped` or `diverged`.
    pub status: String,
    /// Steps done when the file was written.
    pub step: u64,
    /// Score on the test part, if the run is finished.
    pub test: Option<Score>,
    /// Identity of the run.
    pub identity: Identity,
    /// Recipe of the model; none in a folder written by a version of archc without recipes.
    pub recipe: Option<Recipe>,
    /// Name and chance level of the task's metric, if known.
    pub metric: Option<(String, f64)>,
    /// Whether there is a checkpoint to resume from.
    pub begun: bool,
}

/// Reads a run's folder; none if the folder does not belong to a run.
///
/// # Errors
/// E0912 when it cannot be read.
pub fn read_run(folder: &Path) -> Result<Option<Found>, Diagnostic> {
    let path = folder.join(RUN);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fault::unreadable(&path, error)),
    };
    let wrong = |error: serde_json::Error| fault::unreadable(&path, error);
    let run: RunFile = serde_json::from_str(&text).map_err(wrong)?;
    let mut recipe = run.recipe;
    if let Some(recipe) = &mut recipe {
        for name in &run.files {
            let path = folder.join(PROGRAM).join(name);
            let text = fs::read_to_string(&path).map_err(|error| fault::unreadable(&path, error))?;
            recipe.sources.insert(name.clone(), text);
        }
    }
    let metric = run.metric.or_else(|| {
        // for folders of an older archc; the metric of `text` is unavailable without its corpus
        let metric = task::build(&run.run.task, None).ok()?.metric();
        Some(Measured { name: metric.name().to_owned(), chance: metric.chance() })
    });
    Ok(Some(Found {
        status: run.status,
        step: run.step,
        test: run.test,
        identity: run.run,
        recipe,
        metric: metric.map(|m| (m.name, m.chance)),
        begun: folder.join(CHECKPOINT).is_file(),
    }))
}

/// Path of the program's file in a run's folder.
pub fn program_file(folder: &Path, recipe: &Recipe) -> PathBuf {
    folder.join(PROGRAM).join(&recipe.file)
}

/// Path of the weights in a run's folder, or the file itself.
pub fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() }
}

/// Contents of `run.json`.
#[derive(Serialize, Deserialize)]
struct RunFile {
    schema: String,
    status: String,
    step: u64,
    test: Option<Score>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric: Option<Measured>,
    run: Identity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<Recipe>,
    /// Names of the files in `program/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Measured {
    name: String,
    chance: f64,
}

/// Result of a training into a folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Outcome of the training loop.
    pub outcome: Outcome,
    /// Steps done.
    pub step: u64,
    /// Step of the checkpoint that the training resumed from, if any.
    pub resumed: Option<u64>,
    /// Score on the test part, if all steps are done.
    pub test: Option<Score>,
}

/// Run folder, open and locked.
pub struct RunFolder {
    path: PathBuf,
    disk: Box<dyn Disk>,
    recipe: Option<Recipe>,
    /// Contents of `curve.jsonl`.
    curve: Vec<Record>,
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

    /// Opens a folder with another implementation of the writes.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn open_on(path: &Path, disk: Box<dyn Disk>) -> Result<Self, Diagnostic> {
        let unwritable = |error| fault::unwritable(path, &error);
        fs::create_dir_all(path).map_err(unwritable)?;
        let lock =
            OpenOptions::new().create(true).write(true).truncate(false).open(path.join(LOCK)).map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), disk, recipe: None, curve: Vec::new(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(fault::held(path)),
            Err(TryLockError::Error(error)) => Err(fault::unwritable(path, &error)),
        }
    }

    /// Sets the recipe that the folder keeps.
    pub fn keeps(&mut self, recipe: Recipe) {
        self.recipe = Some(recipe);
    }

    /// Trains into the folder, from its checkpoint if it has one, and writes a checkpoint every `checkpoint_every` steps, when the
    /// observer stops the training, and at the end. A finished run is only scored, unless it has more steps now: then it resumes under
    /// the schedule stretched to the new end.
    ///
    /// # Errors
    /// E0911 for a failed write, E0912 for a damaged checkpoint, E0913 when the folder belongs to another run,
    /// and the errors of the trainer and the observer.
    pub fn train(
        &mut self,
        trainer: &mut Trainer,
        identity: &Identity,
        checkpoint_every: u64,
        test_batches: u64,
        observer: &mut dyn Observer,
    ) -> Result<Trained, Diagnostic> {
        let (identity, resumed) = self.resume(trainer, identity)?;
        if resumed.is_none() {
            self.describe(&identity, trainer, "running", None)?;
            if identity.weights.is_some() {
                // The initial weights may be gone when the run resumes.
                self.keep(&trainer.checkpoint()?, &identity.json())?;
            }
        }
        let steps = trainer.config().steps;
        let mut keeper = Keeper {
            folder: self,
            identity: &identity,
            metric: trainer.task().metric(),
            every: checkpoint_every,
            inner: observer,
        };
        let mut outcome = trainer.run(steps, &mut keeper)?;
        let checkpoint = trainer.checkpoint()?;
        self.keep(&checkpoint, &identity.json())?;
        let made = self.recipe.as_ref().map(|recipe| Recipe { command: Vec::new(), ..recipe.clone() });
        self.replace(WEIGHTS, &encode_weights(&checkpoint.snapshot, &json!({ "run": identity, "recipe": made })))?;
        let test = match outcome {
            Outcome::Finished => Some(trainer.measure(Part::Test, test_batches)?),
            _ => None,
        };
        if let Some(loss) = test.map(|t| t.loss).filter(|loss| !loss.is_finite()) {
            outcome = Outcome::Diverged { step: trainer.step(), since: trainer.step(), loss, finite: false };
        }
        let status = match outcome {
            Outcome::Finished => "finished",
            Outcome::Stopped => "stopped",
            Outcome::Diverged { .. } => "diverged",
        };
        self.describe(&identity, trainer, status, test)?;
        self.report(&identity, trainer.task().metric(), trainer.step(), status, test)?;
        Ok(Trained { outcome, step: trainer.step(), resumed, test })
    }

    /// Step from which a run would resume, if there is a checkpoint.
    ///
    /// # Errors
    /// E0912 for a damaged checkpoint, E0913 for the checkpoint of another run.
    pub fn begun(&self, identity: &Identity) -> Result<Option<u64>, Diagnostic> {
        let Some((checkpoint, found)) = self.stored()? else { return Ok(None) };
        let step = checkpoint.progress.step;
        self.reconcile(&found, identity, step).map(|_| Some(step))
    }

    /// The checkpoint and its identity, if present.
    fn stored(&self) -> Result<Option<(Checkpoint, Value)>, Diagnostic> {
        let path = self.path.join(CHECKPOINT);
        match fs::read(&path) {
            Ok(bytes) => Checkpoint::decode(&bytes, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault::unreadable(&path, error)),
        }
    }

    /// Restores the checkpoint, if there is one, and cuts the curve beyond it; writes the program's files. Returns the identity of the
    /// run and the step it resumes from.
    fn resume(&mut self, trainer: &mut Trainer, wanted: &Identity) -> Result<(Identity, Option<u64>), Diagnostic> {
        let mut identity = wanted.clone();
        let stored = self.stored()?;
        if let Some((checkpoint, found)) = &stored {
            identity = self.reconcile(found, wanted, checkpoint.progress.step)?;
        }
        self.write_program()?;
        if let Some((checkpoint, found)) = &stored {
            trainer.restore(checkpoint)?;
            if found["config"]["steps"] != identity.config.steps {
                // From here on the run has the new number of steps, whatever happens to this process.
                self.keep(checkpoint, &identity.json())?;
                self.describe(&identity, trainer, "running", None)?;
            }
        }
        let step = stored.map(|(checkpoint, _)| checkpoint.progress.step);
        let curve = self.path.join(CURVE);
        let (kept, len) = whole_lines(&curve, step.unwrap_or(0))?;
        if kept < len {
            self.disk.truncate(&curve, kept).map_err(|e| fault::unwritable(&curve, &e))?;
        }
        self.curve = if kept > 0 { read_curve(&self.path)? } else { Vec::new() };
        Ok((identity, step))
    }

    /// Identity of the run when it resumes from a checkpoint of the identity `found`.
    fn reconcile(&self, found: &Value, wanted: &Identity, step: u64) -> Result<Identity, Diagnostic> {
        let Ok(known) = serde_json::from_value::<Identity>(found.clone()) else {
            return Err(fault::another_run(&self.path, &differences(found, &wanted.json(), "identity")));
        };
        let identity = wanted.after(&known, step);
        // More steps do not make it another run.
        let mut compared = identity.clone();
        compared.config.steps = known.config.steps.min(wanted.config.steps);
        if wanted.config.steps < known.config.steps {
            // the warm-up follows from the number of steps
            compared.config.warmup = known.config.warmup;
        }
        let mut differ = differences(found, &compared.json(), "identity");
        if known.program != wanted.program {
            let there = read_run(&self.path).ok().flatten().and_then(|run| run.recipe);
            let told = there.zip(self.recipe.as_ref()).map(|(there, here)| there.differences(here));
            let told = told.filter(|told| !told.is_empty());
            differ.extend(told.unwrap_or_else(|| vec!["the program, or a size of it, is another one".to_owned()]));
        }
        if differ.is_empty() { Ok(identity) } else { Err(fault::another_run(&self.path, &differ)) }
    }

    /// Writes the program's files.
    fn write_program(&mut self) -> Result<(), Diagnostic> {
        let Some(sources) = self.recipe.as_ref().map(|recipe| recipe.sources.clone()) else { return Ok(()) };
        let folder = self.path.join(PROGRAM);
        fs::create_dir_all(&folder).map_err(|error| fault::unwritable(&folder, &error))?;
        for (name, text) in &sources {
            self.replace(&format!("{PROGRAM}/{name}"), text.as_bytes())?;
        }
        Ok(())
    }

    fn keep(&mut self, checkpoint: &Checkpoint, identity: &Value) -> Result<(), Diagnostic> {
        let curve = self.path.join(CURVE);
        self.disk.sync(&curve).map_err(|e| fault::unwritable(&curve, &e))?;
        self.replace(CHECKPOINT, &checkpoint.encode(identity))
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        let path = self.path.join(name);
        let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
        self.disk
            .write(&beside, bytes)
            .and_then(|()| self.disk.rename(&beside, &path))
            .map_err(|error| fault::unwritable(&path, &error))
    }

    fn describe(
        &mut self,
        identity: &Identity,
        trainer: &Trainer,
        status: &str,
        test: Option<Score>,
    ) -> Result<(), Diagnostic> {
        let metric = trainer.task().metric();
        let files = self.recipe.iter().flat_map(|recipe| recipe.sources.keys().cloned()).collect();
        let run = RunFile {
            schema: "archc.run/1".to_owned(),
            status: status.to_owned(),
            step: trainer.step(),
            test,
            metric: Some(Measured { name: metric.name().to_owned(), chance: metric.chance() }),
            run: identity.clone(),
            recipe: self.recipe.clone().map(|recipe| Recipe { sources: Default::default(), ..recipe }),
            files,
        };
        let mut text = serde_json::to_string_pretty(&run).expect("a run has only text keys and finite numbers");
        text.push('\n');
        self.replace(RUN, text.as_bytes())
    }

    /// Writes the run's page in its current state.
    fn report(
        &mut self,
        identity: &Identity,
        metric: Metric,
        step: u64,
        status: &str,
        test: Option<Score>,
    ) -> Result<(), Diagnostic> {
        let found = Found {
            status: status.to_owned(),
            step,
            test,
            identity: identity.clone(),
            recipe: self.recipe.clone(),
            metric: Some((metric.name().to_owned(), metric.chance())),
            begun: true,
        };
        let shown = report::Shown { name: report::name(&self.path), found, curve: std::mem::take(&mut self.curve) };
        let page = report::render(std::slice::from_ref(&shown));
        self.curve = shown.curve;
        self.replace(REPORT, page.as_bytes())
    }
}

/// Length in bytes of the whole lines up to a step, and of the file (0 if there is none).
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

/// Observer that writes to the folder and forwards to another observer.
struct Keeper<'a> {
    folder: &'a mut RunFolder,
    identity: &'a Identity,
    metric: Metric,
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
        self.folder.curve.push(record.clone());
        self.inner.record(record)
    }

    fn settle(&mut self, step: u64, checkpoint: &dyn Fn() -> Result<Checkpoint, Diagnostic>) -> Result<(), Diagnostic> {
        if self.every > 0 && step.is_multiple_of(self.every) {
            self.folder.keep(&checkpoint()?, &self.identity.json())?;
            self.folder.report(self.identity, self.metric, step, "running", None)?;
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
    let path = weights_file(path);
    let bytes = fs::read(&path).map_err(|error| fault::unreadable(&path, error))?;
    decode_weights(&bytes, &path)
}
