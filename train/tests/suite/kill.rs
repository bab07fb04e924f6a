//! Kills, full disks and wrong use of a run's folder.

use crate::mock::MockDevice;
use crate::training::{config, trainer};
use archc_compiler::diag::Diagnostic;
use archc_train::folder::{
    Disk, FileSystem, Identity, RunFolder, Stretch, Trained, read_curve, read_run, read_weights,
};
use archc_train::recipe::Recipe;
use archc_train::trainer::{Observer, Outcome, Record, TrainConfig};
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
        weights: None,
        stretched: Vec::new(),
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

/// Contents of the files that must be the same however often a run was killed.
fn results(path: &Path) -> Vec<Vec<u8>> {
    ["curve.jsonl", "weights.safetensors", "checkpoint.safetensors", "run.json"]
        .map(|name| fs::read(path.join(name)).unwrap())
        .to_vec()
}

/// Disk on which every write counts; write number `last` is done by half, and nothing is done after it.
struct Failing {
    writes: Rc<Cell<u64>>,
    last: u64,
    error: io::ErrorKind,
}

impl Failing {
    /// Performs a write whole, by half, or not at all.
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
    assert!(lr.message.contains("--lr is 0.05 there and 0.1 here"), "{}", lr.message);
    let program = try_with(Identity { program: "abd".to_owned(), ..identity(&base) });
    assert!(program.message.contains("the program, or a size of it, is another one"), "{}", program.message);
    assert!(!program.message.contains("abd"), "{}", program.message);
    let two = try_with(identity(&TrainConfig { learning_rate: 0.1, seed: 7, ..base.clone() }));
    assert!(two.message.contains("--lr is") && two.message.contains("--seed is 0 there and 7 here"), "{}", two.message);
    let fewer = try_with(identity(&TrainConfig { steps: STEPS - 1, ..base.clone() }));
    assert!(fewer.message.contains("--steps is 24 there and 23 here"), "{}", fewer.message);
    let corpus = try_with(Identity { corpus: Some("c".to_owned()), ..identity(&base) });
    assert!(corpus.message.contains("corpus"), "{}", corpus.message);
    assert_eq!(results(folder.path()), before);
}

fn train_to(path: &Path, steps: u64, disk: Box<dyn Disk>) -> Result<Trained, Diagnostic> {
    let config = TrainConfig { steps, ..config(STEPS) };
    let mut trainer = trainer(&MockDevice::default(), TASK, config.clone());
    RunFolder::open_on(path, disk)?.train(&mut trainer, &identity(&config), 5, 2, &mut ())
}

#[test]
fn more_steps_go_on_under_the_stretched_schedule() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    train(&whole).unwrap();
    let before = read_curve(&whole).unwrap();
    let trained = train_to(&whole, 40, Box::new(FileSystem)).unwrap();
    assert_eq!((trained.outcome, trained.resumed, trained.step), (Outcome::Finished, Some(STEPS), 40));
    let curve = read_curve(&whole).unwrap();
    assert_eq!(curve[..STEPS as usize], before, "what was done stays");
    let schedule = TrainConfig { steps: 40, ..config(STEPS) }.schedule();
    // serde_json may read a neighbour of the number that it wrote
    let near = |r: &Record| (r.learning_rate / schedule.rate(r.step - 1) - 1.0).abs() < 1e-15;
    assert!(curve[STEPS as usize..].iter().all(near) && !curve[..STEPS as usize].iter().all(near));
    let found = read_run(&whole).unwrap().unwrap();
    assert_eq!((found.identity.config.steps, found.status.as_str()), (40, "finished"));
    assert_eq!(found.identity.stretched, [Stretch { from: STEPS, steps: STEPS }]);
    // A kill in the second part has no effect either.
    let writes = Rc::new(Cell::new(0));
    let counted = root.path().join("counted");
    train(&counted).unwrap();
    let counting = Failing { writes: Rc::clone(&writes), last: u64::MAX, error: io::ErrorKind::Other };
    train_to(&counted, 40, Box::new(counting)).unwrap();
    for last in (0..writes.get()).step_by(2) {
        let path = root.path().join(format!("killed-{last}"));
        train(&path).unwrap();
        let failing = Failing { writes: Rc::new(Cell::new(0)), last, error: io::ErrorKind::Other };
        train_to(&path, 40, Box::new(failing)).unwrap_err();
        train_to(&path, 40, Box::new(FileSystem)).unwrap();
        assert_eq!(results(&path), results(&whole), "killed at write {last}");
    }
}

#[test]
fn folders_of_an_older_archc_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path()).unwrap();
    let path = folder.path().join("run.json");
    let mut run: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for added in ["metric", "recipe", "files"] {
        run.as_object_mut().unwrap().remove(added);
    }
    fs::write(&path, run.to_string()).unwrap();
    fs::remove_file(folder.path().join("report.html")).unwrap();
    let found = read_run(folder.path()).unwrap().unwrap();
    assert_eq!((found.step, found.recipe.is_none(), found.metric.unwrap().0), (STEPS, true, "accuracy".to_owned()));
    archc_train::report::write(&[folder.path().to_owned()], None).unwrap();
    assert_eq!(train(folder.path()).unwrap().resumed, Some(STEPS));
}

#[test]
fn a_folder_holds_what_makes_its_model() {
    let root = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        archc: "1.2.3".to_owned(),
        command: vec!["archc".to_owned(), "train".to_owned()],
        name: "Table".to_owned(),
        file: "table.arch".to_owned(),
        sources: [("table.arch".to_owned(), "block Table<&>".to_owned())].into(),
        set: [("D".to_owned(), 32.0)].into(),
        layers: Some(1),
        ..Recipe::default()
    };
    let train_with = |path: &Path, recipe: &Recipe, program: &str| {
        let config = config(STEPS);
        let mut trainer = trainer(&MockDevice::default(), TASK, config.clone());
        let mut folder = RunFolder::open(path).unwrap();
        folder.keeps(recipe.clone());
        folder.train(&mut trainer, &Identity { program: program.to_owned(), ..identity(&config) }, 5, 2, &mut ())
    };
    let path = root.path().join("run");
    train_with(&path, &recipe, "abc").unwrap();
    assert_eq!(fs::read_to_string(path.join("program/table.arch")).unwrap(), "block Table<&>");
    assert_eq!(read_run(&path).unwrap().unwrap().recipe, Some(recipe.clone()));
    let weights = fs::read(path.join("weights.safetensors")).unwrap();
    assert!(String::from_utf8_lossy(&weights[..2000]).contains("block Table<&>"), "weights know their program");
    let wide = Recipe { set: [("D".to_owned(), 64.0)].into(), layers: Some(2), ..recipe.clone() };
    let error = train_with(&path, &wide, "abd").unwrap_err();
    assert!(error.message.contains("D is 32 there and 64 here, --layers is 1 there and 2 here"), "{}", error.message);
    let edited = Recipe { sources: [("table.arch".to_owned(), String::new())].into(), ..recipe };
    let error = train_with(&path, &edited, "abd").unwrap_err();
    assert!(error.message.contains("the text of table.arch is another one"), "{}", error.message);
    // The pages of one and of two.
    let page = fs::read_to_string(path.join("report.html")).unwrap();
    assert!(page.contains("Table on recall") && page.contains("block Table&lt;&amp;&gt;"), "{page}");
    let other = root.path().join("other");
    train_with(&other, &wide, "abd").unwrap();
    let page = fs::read_to_string(archc_train::report::write(&[path, other], None).unwrap()).unwrap();
    for part in ["2 trainings side by side", "--set D", "--layers", "chance"] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    assert!(!page.contains("--batch"), "only what differs");
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
