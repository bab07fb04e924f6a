//! The loop, without a folder.

use crate::mock::{Fault, MockDevice, graph};
use archc_compiler::diag::Diagnostic;
use archc_train::task::{self, Part};
use archc_train::trainer::{Observer, Outcome, Record, TrainConfig, Trainer};

#[derive(Default)]
pub struct Curve {
    pub records: Vec<Record>,
    pub stop_at: Option<u64>,
}

impl Observer for Curve {
    fn proceed(&mut self, step: u64) -> bool {
        self.stop_at != Some(step)
    }

    fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        self.records.push(record.clone());
        Ok(())
    }
}

pub fn config(steps: u64) -> TrainConfig {
    TrainConfig {
        steps,
        batch: 8,
        learning_rate: 0.05,
        warmup: 5,
        validate_every: 10,
        validate_batches: 2,
        weight_decay: 0.0,
        ..TrainConfig::default()
    }
}

pub fn trainer(device: &MockDevice, task: &str, config: TrainConfig) -> Trainer {
    let task = task::build(&task.parse().unwrap(), None).unwrap();
    Trainer::new(device, &graph(task.vocab()), task, config).unwrap()
}

#[test]
fn memorization_is_learned() {
    let mut trainer = trainer(&MockDevice::default(), "memorization:vocab=32,len=16", config(400));
    let mut curve = Curve::default();
    assert!(trainer.measure(Part::Test, 4).unwrap().score < 0.2);
    assert_eq!(trainer.run(u64::MAX, &mut curve).unwrap(), Outcome::Finished);
    let last = curve.records.last().unwrap();
    assert_eq!((last.step, last.tokens), (400, 400 * 8 * 16));
    assert!(last.loss < 0.1 * curve.records[0].loss, "{last:?}");
    assert_eq!(last.validation.unwrap().value, 1.0, "a table can learn a map by heart");
    assert_eq!(trainer.measure(Part::Test, 4).unwrap().score, 1.0);
    assert_eq!(curve.records.iter().filter(|r| r.validation.is_some()).count(), 40);
}

#[test]
fn recall_needs_memory() {
    // The control of the test above: a table of bigrams cannot know the values of this row.
    let mut trainer = trainer(&MockDevice::default(), "recall:vocab=64,len=65", config(200));
    trainer.run(u64::MAX, &mut ()).unwrap();
    assert!(trainer.measure(Part::Test, 8).unwrap().score < 0.15);
}

#[test]
fn seeds_decide_everything() {
    let curve = |seed, double| {
        let config = TrainConfig { seed, double, ..config(20) };
        let mut curve = Curve::default();
        trainer(&MockDevice::default(), "recall", config).run(u64::MAX, &mut curve).unwrap();
        curve.records
    };
    assert_eq!(curve(1, false), curve(1, false));
    assert_ne!(curve(1, false), curve(2, false));
    assert_ne!(curve(1, false), curve(1, true));
}

#[test]
fn stops_between_steps_and_goes_on() {
    let make = || trainer(&MockDevice::default(), "recall", config(30));
    let (mut whole, mut parts) = (Curve::default(), Curve { stop_at: Some(13), ..Curve::default() });
    make().run(u64::MAX, &mut whole).unwrap();
    let mut first = make();
    assert_eq!(first.run(u64::MAX, &mut parts).unwrap(), Outcome::Stopped);
    assert_eq!(first.step(), 13);
    let checkpoint = first.checkpoint().unwrap();
    let mut second = make();
    second.restore(&checkpoint).unwrap();
    parts.stop_at = None;
    assert_eq!(second.run(20, &mut parts).unwrap(), Outcome::Finished);
    assert_eq!(second.run(30, &mut parts).unwrap(), Outcome::Finished);
    assert_eq!(whole.records, parts.records);
}

#[test]
fn divergence_ends_the_run() {
    let device = MockDevice { fault: Fault::NanFrom(7) };
    let mut curve = Curve::default();
    let mut diverging = trainer(&device, "recall", config(100));
    let outcome = diverging.run(u64::MAX, &mut curve).unwrap();
    // Five consecutive bad steps, the first of them the eighth.
    assert!(
        matches!(outcome, Outcome::Diverged { step: 12, since: 8, loss, finite: false } if loss.is_nan()),
        "{outcome:?}"
    );
    assert_eq!(curve.records.len(), 12);
    // The checkpoint contains the divergence state.
    let checkpoint = diverging.checkpoint().unwrap();
    let mut again = trainer(&device, "recall", config(100));
    again.restore(&checkpoint).unwrap();
    assert!(matches!(again.run(u64::MAX, &mut ()).unwrap(), Outcome::Diverged { step: 12, .. }));
}

#[test]
fn a_last_loss_that_is_not_finite_is_divergence() {
    let device = MockDevice { fault: Fault::NanFrom(7) };
    let ends = |steps| trainer(&device, "recall", config(steps)).run(u64::MAX, &mut ()).unwrap();
    assert_eq!(ends(7), Outcome::Finished);
    assert!(matches!(ends(9), Outcome::Diverged { step: 9, since: 8, .. }), "{:?}", ends(9));
}

#[test]
fn losses_far_above_guessing_are_divergence() {
    let config = TrainConfig { learning_rate: 20.0, clip: 0.0, warmup: 0, ..config(200) };
    let outcome = trainer(&MockDevice::default(), "recall", config).run(u64::MAX, &mut ()).unwrap();
    assert!(
        matches!(outcome, Outcome::Diverged { step, since, loss, finite: true } if loss.is_finite() && step < 100 && since == step - 49),
        "{outcome:?}"
    );
}

#[test]
fn settings_are_checked() {
    let device = MockDevice::default();
    let task = task::build(&"recall".parse().unwrap(), None).unwrap();
    let code = |graph, config: TrainConfig| Trainer::new(&device, &graph, task.clone(), config).err().map(|e| e.code);
    for bad in [
        TrainConfig { steps: 0, ..config(9) },
        TrainConfig { batch: 0, ..config(9) },
        TrainConfig { learning_rate: f64::NAN, ..config(9) },
        TrainConfig { learning_rate: 0.0, ..config(9) },
        TrainConfig { warmup: 10, ..config(9) },
        TrainConfig { floor: 1.5, ..config(9) },
        TrainConfig { clip: -1.0, ..config(9) },
        TrainConfig { weight_decay: f64::INFINITY, ..config(9) },
        TrainConfig { validate_batches: 0, ..config(9) },
    ] {
        assert_eq!(code(graph(16), bad), Some("E0908"));
    }
    assert_eq!(code(graph(17), config(9)), Some("E0909"));
    let mut block = (*graph(16)).clone();
    block.vocab = None;
    assert_eq!(code(block.into(), config(9)), Some("E0909"));
    assert_eq!(code(graph(16), config(9)), None);
}

#[test]
fn wrong_logits_are_a_bug_not_a_score() {
    let mut trainer = trainer(&MockDevice { fault: Fault::WrongShape }, "recall", config(5));
    assert_eq!(trainer.run(u64::MAX, &mut ()).unwrap_err().code, "E0916");
}
