//! Runs on disk: a killed training goes on, evaluations keep their contract, a search ends in good order.

use crate::{Folder, TINY, archc, command, finish, skipped};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waits until something is so; a minute is far more than it takes on a busy machine.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn curve(folder: &Folder, run: &str) -> String {
    fs::read_to_string(folder.path(run).join("curve.jsonl")).unwrap_or_default()
}

#[test]
fn a_killed_training_goes_on_to_the_same_curve() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let file = folder.text("t.arch");
    let args = |out: &str| {
        let sizes = ["--set", "D=8", "--layers", "1", "--task", "recall:len=17", "--batch", "2"];
        let steps = ["--steps", "3000", "--lr", "0.01", "--checkpoint-every", "20", "--out"];
        [&["train".to_owned(), file.clone()][..], &[&sizes[..], &steps].concat().map_owned(), &[folder.text(out)]]
            .concat()
    };
    archc(&args("whole")).done();
    let mut child = command(&args("killed")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a training of fifty steps", || curve(&folder, "killed").lines().count() > 50);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(curve(&folder, "killed").lines().count() < 3000, "it was done before it could be killed");
    let resumed = archc(&args("killed")).done();
    assert!(resumed.err.contains("went on from step"), "{}", resumed.err);
    assert_eq!(curve(&folder, "killed"), curve(&folder, "whole"));
    let weights = |run: &str| fs::read(folder.path(run).join("weights.safetensors")).unwrap();
    assert_eq!(weights("killed"), weights("whole"), "the same bits");
    // Another program, or other settings, are another run.
    let other: Vec<String> = args("whole").into_iter().map(|a| if a == "0.01" { "0.02".into() } else { a }).collect();
    archc(&other).refused(2, "E0913");
    // What was trained can be scored.
    let weights = folder.text("whole/weights.safetensors");
    let report =
        archc(&["eval", &file, "--set", "D=8", "--tier", "screen", "--weights", &weights, "--json"]).done().out;
    let report: serde_json::Value = serde_json::from_str(&report).expect("one line of JSON");
    assert_eq!((&report["status"], &report["tier"]), (&"ok".into(), &"screen".into()));
    let score = report["tasks"]["recall"]["score"].as_f64().expect("a score");
    assert!((0.0..=1.0).contains(&score));
    for field in ["schema", "key", "seed", "params", "flops_per_token", "state", "seconds", "diagnostics"] {
        assert!(report.get(field).is_some(), "no {field}");
    }
}

trait MapOwned {
    fn map_owned(self) -> Vec<String>;
}

impl MapOwned for Vec<&str> {
    fn map_owned(self) -> Vec<String> {
        self.into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn evaluations_keep_their_contract() {
    let folder = Folder::new(&[
        ("bad.arch", "block B[D] {\n    input x[D]\n    output y\n}\n"),
        // Its gradient has no bound: the state doubles at every token.
        (
            "wild.arch",
            "block Wild[D] {\n    input x[D]\n    scan {\n        state s[D] = 1\n        s = s * (2 + x ^ 2)\n        emit y = s\n    }\n    output exp(y)\n}\n",
        ),
        ("t.arch", TINY),
    ]);
    let eval = |file: &str, more: &[&str]| {
        let run = archc(&[&["eval", &folder.text(file), "--tier", "screen", "--json"], more].concat());
        let report: serde_json::Value = serde_json::from_str(&run.out).expect("one line of JSON");
        (run.code, report)
    };
    let (code, report) = eval("bad.arch", &[]);
    assert_eq!((code, &report["status"]), (2, &"invalid".into()));
    let findings = report["diagnostics"].as_array().expect("a list");
    assert!(findings.iter().any(|f| f["code"] == "E0101" && f["primary"]["line"] == 3), "{findings:?}");
    let (code, report) = eval("t.arch", &["--time-limit", "0.01s"]);
    assert_eq!((code, &report["status"]), (4, &"timeout".into()));
    let (code, report) = eval("wild.arch", &[]);
    assert_eq!((code, &report["status"]), (3, &"diverged".into()), "{report}");
}

/// Sends a signal, where that is known how.
fn signal(child: &Child, name: &str) -> bool {
    cfg!(unix) && Command::new("kill").args([name, &child.id().to_string()]).status().is_ok_and(|s| s.success())
}

#[test]
fn a_search_stops_in_good_order_and_can_be_read() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let out = folder.text("run");
    let args = ["search", &folder.text("t.arch"), "--budget", "10m", "--jobs", "1", "--out", &out];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a run", || folder.path("run/run.sqlite").exists());
    std::thread::sleep(Duration::from_millis(500));
    if !signal(&child, "-INT") {
        let mut child = child;
        let _ = child.kill();
        return skipped("a_search_stops_in_good_order_and_can_be_read", "there is no `kill` here");
    }
    let run = finish(child.wait_with_output().unwrap()).done();
    assert!(run.out.contains("ended: interrupted") && run.out.contains("archc report"), "{}\n{}", run.out, run.err);
    archc(&["report", &out]).done();
    let page = fs::read_to_string(folder.path("run/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("archc search"));
    // Goes on, with a budget that is used already.
    let resumed = archc(&["search", "--resume", "--out", &out, "--budget", "0.1s"]).done();
    assert!(resumed.out.contains("ended: time"), "{}", resumed.out);
}

#[test]
fn an_interrupted_training_says_how_to_go_on() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let out = folder.text("run");
    let args = ["train", &folder.text("t.arch"), "--set", "D=8", "--steps", "1000000", "--out", &out];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("a training", || !curve(&folder, "run").is_empty());
    if !signal(&child, "-INT") {
        let mut child = child;
        let _ = child.kill();
        return skipped("an_interrupted_training_says_how_to_go_on", "there is no `kill` here");
    }
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!(run.code, 75, "{}", run.err);
    assert!(run.err.contains(&format!("--out {out}")), "{}", run.err);
    assert!(folder.path("run/weights.safetensors").exists());
}
