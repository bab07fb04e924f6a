//! The evaluation contract: request, report and exit codes.

use crate::mock::{Fault, MockDevice, graph};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_runtime::{Device, Snapshot, Tensor, Tensors};
use archc_train::corpus::Corpus;
use archc_train::evaluate::{
    Candidate, Clock, Cost, EvalReport, EvalRequest, Flow, ModelSize, Moment, Rates, Status, evaluate, score_weights,
};
use archc_train::folder::read_weights;
use archc_train::task::{Part, TaskSpec};
use archc_train::tier::{Measure, TaskRun, Tier};
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Table {
    refuse: bool,
    other_vocabulary: bool,
    /// Number of graphs requested; the second one is of another program.
    other_later: Cell<Option<u32>>,
}

impl Candidate for Table {
    fn graph(&self, size: ModelSize) -> Result<Arc<Graph>, Vec<Diagnostic>> {
        if self.refuse {
            return Err(vec![Diagnostic::error("E0201", "no axis `Q`")]);
        }
        let mut graph = graph(size.vocab + usize::from(self.other_vocabulary));
        if let Some(asked) = self.other_later.get() {
            self.other_later.set(Some(asked + 1));
            if asked == 1 {
                Arc::make_mut(&mut graph).name.push('2');
            }
        }
        Ok(graph)
    }

    fn cost(&self, _: &Graph, len: usize) -> Cost {
        Cost { flops_per_token: 7.0, state: len as f64 }
    }

    fn describe(&self, diagnostic: &Diagnostic) -> Value {
        json!({ "code": diagnostic.code, "message": diagnostic.message })
    }
}

fn run(name: &str, task: &str, steps: u64) -> TaskRun {
    TaskRun {
        name: name.to_owned(),
        task: task.parse().unwrap(),
        width: 8,
        layers: 1,
        steps,
        batch: 8,
        learning_rate: 0.05,
        score_batches: 4,
        measure: Measure::Curve,
        unit: None,
        weight: 1.0,
    }
}

fn request(tasks: Vec<TaskRun>) -> EvalRequest {
    let tier = Tier { name: "test".to_owned(), seeds: "test".to_owned(), part: Part::Test, rates: vec![1.0], tasks };
    EvalRequest { tier, seed: 3, corpus: None, rates: Rates::All, time_limit: None, clock: Clock::Wall, threads: 1 }
}

fn two_tasks() -> EvalRequest {
    request(vec![run("map", "memorization:vocab=16,len=16", 120), run("parity", "parity:high=8,test_high=12", 40)])
}

fn go(device: &dyn Device, request: &EvalRequest) -> EvalReport {
    evaluate(&Table::default(), device, request, &mut |_| Flow::Continue)
}

fn codes(report: &EvalReport) -> Vec<&str> {
    report.diagnostics.iter().map(|d| d["code"].as_str().unwrap()).collect()
}

/// Keeps the keys of objects and the first item of arrays, and replaces each number by its kind.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), shape(v))).collect()),
        Value::Array(items) => Value::Array(items.iter().take(1).map(shape).collect()),
        Value::Number(n) if n.is_u64() => json!("whole"),
        Value::Number(_) => json!("real"),
        other => other.clone(),
    }
}

#[test]
fn the_report_has_this_layout() {
    let mut report = go(&MockDevice::default(), &two_tasks());
    report.key = report.key.map(|_| "KEY".to_owned());
    report.machine = "MACHINE".to_owned();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shape(&serde_json::to_value(&report).unwrap())).unwrap(), @r#"
    {
      "schema": "archc.eval/3",
      "key": "KEY",
      "machine": "MACHINE",
      "status": "ok",
      "tier": "test",
      "seed": "whole",
      "tasks": {
        "map": {
          "width": null,
          "score": "real",
          "weight": "real",
          "mean_loss": "real",
          "value": "real",
          "metric": "accuracy",
          "chance": "real",
          "loss": "real",
          "tokens": "whole",
          "learning_rate": "real",
          "curve": [
            {
              "tokens": "whole",
              "loss": "real"
            }
          ]
        },
        "parity": {
          "width": null,
          "score": "real",
          "weight": "real",
          "mean_loss": "real",
          "value": "real",
          "metric": "accuracy",
          "chance": "real",
          "loss": "real",
          "tokens": "whole",
          "learning_rate": "real",
          "curve": [
            {
              "tokens": "whole",
              "loss": "real"
            }
          ]
        }
      },
      "params": "whole",
      "flops_per_token": "real",
      "state": "real",
      "seconds": "real",
      "diagnostics": []
    }
    "#);
    assert_eq!(report.score().unwrap(), (report.tasks["map"].score + report.tasks["parity"].score) / 2.0);
    assert_eq!(report.tasks["map"].value, 1.0);
    assert_eq!(report.tasks["map"].tokens, 120 * 8 * 16);
    assert!(report.tasks["map"].curve.len() <= 32);
    assert!(report.tasks["parity"].score < 0.5, "a table of bigrams has no state");
}

#[test]
fn equal_requests_have_equal_reports() {
    let without_seconds = |report: EvalReport| EvalReport { seconds: 0.0, ..report };
    let first = without_seconds(go(&MockDevice::default(), &two_tasks()));
    assert_eq!(without_seconds(go(&MockDevice::default(), &two_tasks())), first);
    let json = serde_json::to_string(&first).unwrap();
    let read: EvalReport = serde_json::from_str(&json).unwrap();
    assert_eq!((read.key, read.tasks.len(), read.status), (first.key.clone(), 2, Status::Ok));
    let other = go(&MockDevice::default(), &EvalRequest { seed: 4, ..two_tasks() });
    assert!(first.key.is_some() && other.key.is_some() && other.key != first.key);
    assert_ne!(other.tasks["parity"].loss, first.tasks["parity"].loss);
}

#[test]
fn keys_name_program_machine_tier_seed_and_corpus() {
    let base = two_tasks();
    let key = base.key("cafe", "mock");
    let mut longer = base.clone();
    longer.tier.tasks[1].steps += 1;
    let corpus = |text: &str| Some(Arc::new(Corpus::carried(text).unwrap().unwrap()));
    let text = |corpus| EvalRequest { corpus, ..request(vec![run("text", "text:len=8", 2)]) };
    let keys = [
        key.clone(),
        base.key("caff", "mock"),
        base.key("cafe", "other"),
        longer.key("cafe", "mock"),
        EvalRequest { seed: 9, ..base.clone() }.key("cafe", "mock"),
        text(corpus("one")).key("cafe", "mock"),
        text(corpus("two")).key("cafe", "mock"),
    ];
    for (i, a) in keys.iter().enumerate() {
        assert!(keys[..i].iter().all(|b| a != b));
    }
    // Settings that change no score change no key.
    let limited = EvalRequest { time_limit: Some(Duration::from_secs(9)), threads: 2, corpus: corpus("one"), ..base };
    assert_eq!(limited.key("cafe", "mock"), key);
}

#[test]
fn ends_have_their_exit_codes() {
    let device = MockDevice::default();
    let ok = go(&device, &two_tasks());
    let refused = evaluate(&Table { refuse: true, ..Table::default() }, &device, &two_tasks(), &mut |_| Flow::Continue);
    let table = Table { other_vocabulary: true, ..Table::default() };
    let unfit = evaluate(&table, &device, &two_tasks(), &mut |_| Flow::Continue);
    let nan = MockDevice { fault: Fault::NanFrom(30) };
    let diverged = go(&nan, &two_tasks());
    let late = go(&device, &EvalRequest { time_limit: Some(Duration::ZERO), ..two_tasks() });
    let cancelled = evaluate(&Table::default(), &device, &two_tasks(), &mut |moment| {
        if moment.task == "parity" { Flow::Cancel } else { Flow::Continue }
    });
    let no_text = go(&device, &request(vec![run("text", "text", 5)]));
    let ends = [
        (&ok, 0, ""),
        (&refused, 2, "E0201"),
        (&unfit, 2, "E0909"),
        (&diverged, 3, "E0910"),
        (&late, 4, "E0917"),
        (&cancelled, 75, ""),
        (&no_text, 2, "E0907"),
    ];
    for (report, exit, code) in ends {
        assert_eq!((report.status.exit_code(), codes(report).concat().as_str()), (exit, code));
        assert_eq!(report.score().is_some(), exit == 0);
        assert_eq!(report.key.is_some(), exit == 0, "what has no result has no key of one");
    }
    // Tasks scored before the end are reported.
    assert_eq!(cancelled.tasks.keys().collect::<Vec<_>>(), ["map"]);
    assert_eq!(cancelled.tasks["map"], ok.tasks["map"]);
    assert!(diverged.tasks.is_empty());
}

#[test]
fn enough_ends_a_task_not_the_evaluation() {
    let mut steps = Vec::new();
    let report = evaluate(&Table::default(), &MockDevice::default(), &two_tasks(), &mut |moment: &Moment<'_>| {
        if moment.task == "map" {
            steps.push(moment.step);
            assert_eq!(moment.steps, 120);
        }
        if moment.step == 10 { Flow::Enough } else { Flow::Continue }
    });
    assert_eq!(report.status, Status::Ok);
    assert_eq!(steps, (1..=10).collect::<Vec<_>>());
    assert_eq!(report.tasks["map"].tokens, 10 * 8 * 16);
    assert_eq!(report.key, None, "this is not the result that the tier asks for");
}

#[test]
fn keys_tell_weights_and_programs_at_every_size() {
    let request =
        request(vec![run("map", "memorization:vocab=16,len=16", 5), run("other", "memorization:vocab=16,len=16", 5)]);
    let device = MockDevice::default();
    let key = |candidate: &Table| evaluate(candidate, &device, &request, &mut |_| Flow::Continue).key.expect("a key");
    let trained = key(&Table::default());
    assert_eq!(trained, key(&Table::default()));
    // The same program at the first size, another one at the second.
    let second = Table { other_later: Cell::new(Some(0)), ..Table::default() };
    let report = evaluate(&second, &device, &request, &mut |_| Flow::Continue);
    assert_eq!(report.status, Status::Ok, "{:?}", report.diagnostics);
    assert_ne!(report.key.expect("a key"), trained);
    let weights = |x: f64| {
        let tensor = Tensor { shape: vec![2, 16, 16], data: vec![x; 512] };
        Snapshot { params: Tensors::from([("table.weight".to_owned(), tensor)]), ..Snapshot::default() }
    };
    let scored = |x| score_weights(&Table::default(), &device, &weights(x), &request).key.expect("a key");
    assert_eq!(scored(0.5), scored(0.5));
    assert_ne!(scored(0.5), scored(0.25));
    assert_ne!(scored(0.5), trained);
}

#[test]
fn validation_picks_the_learning_rate() {
    // Rates that are too low, right, and so high that the training diverges.
    let mut all = request(vec![run("map", "memorization:vocab=16,len=16", 120)]);
    all.tier.rates = vec![1e-4, 1.0, 1e5];
    let device = MockDevice::default();
    let best = go(&device, &all);
    assert_eq!((best.status, best.tasks["map"].learning_rate), (Status::Ok, 0.05));
    // A requested rate is trained instead, and has a key of its own.
    let with = |rates| go(&device, &EvalRequest { rates, ..all.clone() });
    let one = |rate| with(Rates::Only(rate));
    assert_eq!(one(1e5).status, Status::Diverged);
    assert_eq!((&one(1.0).tasks, one(1.0).key == best.key), (&best.tasks, false));
    // With `Rates::From`, the result is that of the rate itself if nothing diverges, else that of half the rate, or else
    // of a quarter.
    let from = |rate| with(Rates::From(rate));
    assert_eq!((&from(1.0).tasks, from(1.0).key == one(1.0).key), (&best.tasks, false));
    let edge = (0..40)
        .map(|i| 1.4f64.powi(i))
        .find(|&rate| one(rate).status == Status::Diverged)
        .expect("a rate that is too high");
    assert_eq!(from(edge).tasks, one(edge / 2.0).tasks);
    let above = |factor: f64| {
        (1..40).map(|i| edge * 1.4f64.powi(i)).find(|&rate| one(rate / factor).status == Status::Diverged)
    };
    let half = above(2.0).expect("a rate of which the half is too high");
    assert_eq!(from(half).tasks, one(half / 4.0).tasks);
    assert_eq!((from(1e5).status, from(edge).status), (Status::Diverged, Status::Ok));
}

#[test]
fn scores_are_of_the_measured_loss_and_weighted() {
    let device = MockDevice::default();
    let measured = |measure, unit, weight| {
        let map = TaskRun { measure, unit, weight, ..run("map", "memorization:vocab=16,len=16", 120) };
        go(&device, &request(vec![map, run("parity", "parity:high=8,test_high=12", 40)]))
    };
    let plain = measured(Measure::Curve, None, 1.0);
    let task = &plain.tasks["map"];
    // 16 keys have 8 values: an uninformed guess has the loss ln 8. The score is the relative fall of the mean loss below
    // it.
    let uninformed = -task.chance.ln();
    assert!((task.score - (uninformed - task.mean_loss) / uninformed).abs() < 1e-12, "{task:?}");
    assert!(task.mean_loss > task.loss && task.mean_loss < uninformed, "{task:?}");
    let end = measured(Measure::Final, Some(0.5), 1.0);
    assert!((end.tasks["map"].score - (uninformed - task.loss) / 0.5).abs() < 1e-12);
    let both = measured(Measure::Both, Some(0.5), 1.0);
    let mean = (plain.tasks["map"].score * uninformed / 0.5 + end.tasks["map"].score) / 2.0;
    assert!((both.tasks["map"].score - mean).abs() < 1e-12);
    let heavy = measured(Measure::Curve, None, 3.0);
    let (map, parity) = (plain.tasks["map"].score, plain.tasks["parity"].score);
    assert!((heavy.score().unwrap() - (3.0 * map + parity) / 4.0).abs() < 1e-12);
}

#[test]
fn weights_are_scored_as_they_were_trained() {
    use crate::training::{config, trainer};
    use archc_train::folder::{Identity, RunFolder};
    let folder = tempfile::tempdir().unwrap();
    let task: TaskSpec = "memorization:vocab=16,len=16".parse().unwrap();
    let identity = Identity {
        program: "cafe".to_owned(),
        task: task.clone(),
        corpus: None,
        device: "mock".to_owned(),
        weights: None,
        stretched: Vec::new(),
        config: config(150),
    };
    let mut trainer = trainer(&MockDevice::default(), &task.to_string(), config(150));
    RunFolder::open(folder.path()).unwrap().train(&mut trainer, &identity, 0, 4, &mut ()).unwrap();
    let weights = read_weights(folder.path()).unwrap();
    let request = request(vec![run("map", &task.to_string(), 1)]);
    let report = score_weights(&Table::default(), &MockDevice::default(), &weights, &request);
    assert_eq!((report.status, report.tasks["map"].value, report.tasks["map"].tokens), (Status::Ok, 1.0, 0));
    let empty = score_weights(&Table::default(), &MockDevice::default(), &Default::default(), &request);
    assert_eq!((empty.status, codes(&empty)), (Status::Invalid, vec!["E0801"]));
}
