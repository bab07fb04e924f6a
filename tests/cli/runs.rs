//! Runs on disk: a killed training goes on, evaluations keep their contract, a search ends in good order.

use crate::{Folder, TINY, archc, command, finish, skipped};
use serde_json::Value;
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
    let report: Value = serde_json::from_str(&report).expect("one line of JSON");
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
        let report: Value = serde_json::from_str(&run.out).expect("one line of JSON");
        (run.code, report)
    };
    let (code, report) = eval("bad.arch", &[]);
    assert_eq!((code, &report["status"]), (2, &"invalid".into()));
    let findings = report["diagnostics"].as_array().expect("a list");
    assert!(findings.iter().any(|f| f["code"] == "E0101" && f["primary"]["line"] == 3), "{findings:?}");
    let (code, report) = eval("t.arch", &["--time-limit", "0.01s"]);
    assert_eq!((code, &report["status"], &report["key"]), (4, &"timeout".into(), &Value::Null));
    let (code, report) = eval("wild.arch", &[]);
    assert_eq!((code, &report["status"]), (3, &"diverged".into()), "{report}");
}

#[test]
fn keys_of_evaluations_tell_what_changes_the_number() {
    let named =
        TINY.replace("output conv", "let a = conv").replace("|> linear[D -> D]\n", "\n    output linear[D -> D](a)\n");
    let folder = Folder::new(&[
        ("t.arch", TINY),
        ("spaced.arch", &format!("// the same\n{TINY}")),
        ("a.arch", &named),
        ("b.arch", &named.replace("let a", "let b").replace("(a)", "(b)")),
    ]);
    let eval = |file: &str, more: &[&str], isa: Option<&str>| {
        let file = folder.text(file);
        let mut command = command(&[&["eval", &file, "--json"], more].concat());
        if let Some(name) = isa {
            command.env("ARCHC_ISA", name);
        }
        let mut report: Value = serde_json::from_str(&finish(command.output().unwrap()).done().out).expect("JSON");
        report.as_object_mut().expect("an object").remove("seconds");
        report
    };
    let small = ["--set", "D=8"];
    let first = eval("t.arch", &small, None);
    assert_eq!(first, eval("t.arch", &small, None), "the same bytes but for the seconds");
    assert_eq!(first, eval("spaced.arch", &small, None));
    assert_eq!(first, eval("t.arch", &["--set", "D=8", "--threads", "2"], None));
    // Twins, whose parameters have other paths and so other first values.
    let paths = |file: &str| archc(&["params", &folder.text(file)]).done().out;
    assert_ne!(paths("a.arch"), paths("b.arch"));
    let (a, b) = (eval("a.arch", &small, None), eval("b.arch", &small, None));
    assert_ne!(a["tasks"]["recall"]["loss"], b["tasks"]["recall"]["loss"]);
    let out = folder.text("run");
    let train = ["train", &folder.text("t.arch"), "--set", "D=8", "--layers", "1", "--task", "recall:len=32"];
    archc(&[&train[..], &["--steps", "2", "--out", &out]].concat()).done();
    let weights = folder.text("run/weights.safetensors");
    let scored = eval("t.arch", &["--set", "D=8", "--weights", &weights], None);
    let others = [
        a,
        b,
        scored,
        eval("t.arch", &["--set", "D=16"], None),
        eval("t.arch", &["--set", "D=8", "--seed", "1"], None),
        eval("t.arch", &["--set", "D=8", "--device", "lowered"], None),
    ];
    // On x86-64 every machine has this one, and on others no machine has it.
    let lower = cfg!(target_arch = "x86_64").then(|| eval("t.arch", &small, Some("sse2")));
    if let Some(lower) = &lower {
        assert!(lower["machine"].as_str().is_some_and(|m| m.contains("sse2")), "{lower}");
    }
    let best = archc_kernels::best() > archc_kernels::Level::Base;
    let mut keys = vec![first["key"].as_str().expect("a key")];
    keys.extend(others.iter().chain(lower.as_ref().filter(|_| best)).map(|r| r["key"].as_str().expect("a key")));
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn weights_are_scored_on_tiers_of_one_model() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let file = folder.text("t.arch");
    let out = folder.text("run");
    archc(&["train", &file, "--set", "D=16", "--layers", "1", "--steps", "2", "--out", &out]).done();
    let weights = folder.text("run/weights.safetensors");
    let eval = |more: &[&str]| archc(&[&["eval", &file, "--weights", &weights], more].concat());
    eval(&["--set", "D=16", "--tier", "search"]).refused(2, "E0925");
    let unfit = eval(&[]);
    unfit.refused(2, "E0808");
    let shapes = unfit.err.matches("error[E0808]").count();
    assert!(shapes > 3, "all that does not fit is told, not {shapes}: {}", unfit.err);
    let fit = eval(&["--set", "D=16"]).done().out;
    assert!(fit.contains(", at D=16"), "{fit}");
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
