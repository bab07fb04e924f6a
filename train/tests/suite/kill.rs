//! A run's folder under kills, full disks and wrong hands.

use crate::mock::MockDevice;
use crate::training::{config, trainer};
use archc_compiler::diag::Diagnostic;
use archc_train::folder::{Disk, FileSystem, Identity, RunFolder, Trained, read_curve, read_weights};
use archc_train::trainer::{Observer, Outcome, TrainConfig};
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

const TASK: &str = "recall:len=17";
const STEPS: u64 = 24;

fn identity(config: &TrainConfig) -> Identity {
    Identity {
        program: "abc".to_owned(),
        task: TASK.parse().unwrap(),
        corpus: None,
        device: "mock".to_owned(),
        config: config.clone(),
    }
}

fn train_on(path: &Path, disk: Box<dyn Disk>, observer: &mut dyn Observer) -> Result<Trained, Diagnostic> {
    let config = config(STEPS);
    let mut trainer = trainer(&MockDevice::default(), TASK, config.clone());
    RunFolder::open_on(path, disk)?.train(&mut trainer, &identity(&config), 5, 2, observer)
}

fn train(path: &Path) -> Result<Trained, Diagnostic> {
    train_on(path, Box::new(FileSystem), &mut ())
}

/// The files that must be the same however often a run was killed.
fn results(path: &Path) -> Vec<Vec<u8>> {
    ["curve.jsonl", "weights.safetensors", "checkpoint.safetensors", "run.json"]
        .map(|name| fs::read(path.join(name)).unwrap())
        .to_vec()
}

/// Every write counts; the one numbered `last` is done by half, and nothing is done after it.
struct Failing {
    writes: Rc<Cell<u64>>,
    last: u64,
    error: io::ErrorKind,
}

impl Failing {
    /// Whether this write is whole, half, or not done.
    fn write(
        &mut self,
        whole: impl FnOnce() -> io::Result<()>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let number = self.writes.get();
        self.writes.set(number + 1);
        if number < self.last {
            return whole();
        }
        if number == self.last {
            half()?;
        }
        Err(io::Error::from(self.error))
    }
}

impl Disk for Failing {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(|| FileSystem.write(path, bytes), || FileSystem.write(path, &bytes[..bytes.len() / 2]))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.write(|| FileSystem.rename(from, to), || Ok(()))
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(|| FileSystem.append(path, bytes), || FileSystem.append(path, &bytes[..bytes.len() / 2]))
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.write(|| FileSystem.sync(path), || Ok(()))
    }

    fn truncate(&mut self, path: &Path, len: u64) -> io::Result<()> {
        self.write(|| FileSystem.truncate(path, len), || Ok(()))
    }
}

#[test]
fn a_kill_at_any_write_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let writes = Rc::new(Cell::new(0));
    let counting = Failing { writes: Rc::clone(&writes), last: u64::MAX, error: io::ErrorKind::Other };
    train_on(&whole, Box::new(counting), &mut ()).unwrap();
    let expected = results(&whole);
    // 24 lines, 5 checkpoints of 3 writes, weights and run.json twice.
    assert!(writes.get() > 40, "{}", writes.get());
    let mut resumed = 0;
    for last in 0..writes.get() {
        let path = root.path().join(format!("killed-{last}"));
        let failing = Failing { writes: Rc::new(Cell::new(0)), last, error: io::ErrorKind::StorageFull };
        let error = train_on(&path, Box::new(failing), &mut ()).unwrap_err();
        assert_eq!(error.code, "E0911", "{}", error.message);
        assert!(error.message.contains("no storage space"), "{}", error.message);
        let trained = train(&path).unwrap();
        assert_eq!(trained.outcome, Outcome::Finished);
        resumed += u64::from(trained.resumed.is_some_and(|step| step > 0));
        assert_eq!(results(&path), expected, "killed at write {last}");
    }
    assert!(resumed > 20, "{resumed} of the runs went on from a checkpoint");
}

#[test]
fn two_kills_are_as_good_as_one() {
    let root = tempfile::tempdir().unwrap();
    train(&root.path().join("whole")).unwrap();
    let path = root.path().join("killed");
    for last in [19, 22] {
        let failing = Failing { writes: Rc::new(Cell::new(0)), last, error: io::ErrorKind::Other };
        train_on(&path, Box::new(failing), &mut ()).unwrap_err();
    }
    train(&path).unwrap();
    assert_eq!(results(&path), results(&root.path().join("whole")));
}

/// Stops before a step, as Ctrl-C does.
struct StopAt(u64);

impl Observer for StopAt {
    fn proceed(&mut self, step: u64) -> bool {
        step != self.0
    }
}

#[test]
fn stopping_keeps_every_step() {
    let root = tempfile::tempdir().unwrap();
    train(&root.path().join("whole")).unwrap();
    let path = root.path().join("stopped");
    let stopped = train_on(&path, Box::new(FileSystem), &mut StopAt(13)).unwrap();
    assert_eq!((stopped.outcome, stopped.step, stopped.test), (Outcome::Stopped, 13, None));
    assert_eq!(read_curve(&path).unwrap().len(), 13);
    let trained = train(&path).unwrap();
    assert_eq!((trained.resumed, trained.step), (Some(13), STEPS));
    assert_eq!(results(&path), results(&root.path().join("whole")));
}

#[test]
fn finished_runs_are_only_scored() {
    let folder = tempfile::tempdir().unwrap();
    let first = train(folder.path()).unwrap();
    let before = results(folder.path());
    let again = train(folder.path()).unwrap();
    assert_eq!((again.resumed, again.test), (Some(STEPS), first.test));
    assert!(first.test.is_some());
    assert_eq!(results(folder.path()), before);
    let weights = read_weights(folder.path()).unwrap();
    assert_eq!(weights.step, STEPS);
    assert_eq!(weights.params.keys().collect::<Vec<_>>(), ["table.weight"]);
}

#[test]
fn other_runs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path()).unwrap();
    let before = results(folder.path());
    let base = config(STEPS);
    let try_with = |identity: Identity| {
        let mut trainer = trainer(&MockDevice::default(), TASK, identity.config.clone());
        RunFolder::open(folder.path()).unwrap().train(&mut trainer, &identity, 5, 2, &mut ()).unwrap_err()
    };
    let lr = try_with(identity(&TrainConfig { learning_rate: 0.1, ..base.clone() }));
    assert_eq!(lr.code, "E0913");
    assert!(lr.message.contains("learning_rate is 0.05, not 0.1"), "{}", lr.message);
    let program = try_with(Identity { program: "abd".to_owned(), ..identity(&base) });
    assert!(program.message.contains(r#"program is "abc", not "abd""#), "{}", program.message);
    let corpus = try_with(Identity { corpus: Some("c".to_owned()), ..identity(&base) });
    assert!(corpus.message.contains("corpus"), "{}", corpus.message);
    assert_eq!(results(folder.path()), before);
}

#[test]
fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path()).unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(train(folder.path()).unwrap_err().code, "E0912");
    fs::write(&path, &bytes).unwrap();
    fs::write(folder.path().join("curve.jsonl"), "").unwrap();
    assert_eq!(train(folder.path()).unwrap_err().code, "E0912");
}

#[test]
fn folders_are_held_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let held = RunFolder::open(folder.path()).unwrap();
    assert_eq!(RunFolder::open(folder.path()).err().unwrap().code, "E0914");
    drop(held);
    assert!(RunFolder::open(folder.path()).is_ok());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(RunFolder::open(&file).err().unwrap().code, "E0911");
}
