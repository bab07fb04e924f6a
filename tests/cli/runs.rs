//! Runs on disk: a killed training resumes, evaluations keep their contract, a search ends in good order.

use crate::{Folder, TINY, archc, command, finish, root, skipped};
use serde_json::Value;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waits for a condition; a minute is far more than it takes on a busy machine.
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
    assert!(resumed.err.contains("goes on from step"), "{}", resumed.err);
    assert_eq!(curve(&folder, "killed"), curve(&folder, "whole"));
    let weights = |run: &str| fs::read(folder.path(run).join("weights.safetensors")).unwrap();
    assert_eq!(weights("killed"), weights("whole"), "the same bits");
    // Another program, or other settings, make another run.
    let other: Vec<String> = args("whole").into_iter().map(|a| if a == "0.01" { "0.02".into() } else { a }).collect();
    archc(&other).refused(2, "E0913");
    // A trained model can be scored.
    let weights = folder.text("whole/weights.safetensors");
    let tier = tier(&folder);
    let report = archc(&["eval", &file, "--set", "D=8", "--tier", &tier, "--weights", &weights, "--json"]).done().out;
    let report: Value = serde_json::from_str(&report).expect("one line of JSON");
    assert_eq!((&report["status"], &report["tier"]), (&"ok".into(), &"mine".into()));
    let score = report["tasks"]["recall"]["score"].as_f64().expect("a score");
    assert!((0.0..=1.0).contains(&score));
    assert_eq!(report["score"], report["tasks"]["recall"]["score"]);
    for field in ["schema", "key", "seed", "params", "flops_per_token", "state", "seconds", "diagnostics"] {
        assert!(report.get(field).is_some(), "no {field}");
    }
}

/// Tier of one short task, as a file.
fn tier(folder: &Folder) -> String {
    let task = r#"{"name": "recall", "task": "recall:len=32", "width": 8, "steps": 20, "learning_rate": 0.005}"#;
    let tier = format!(r#"{{"name": "mine", "seeds": "mine", "part": "validation", "tasks": [{task}]}}"#);
    fs::write(folder.path("mine.json"), tier).unwrap();
    folder.text("mine.json")
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
        // The gradient is unbounded: the state doubles at every token.
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
    let tier = tier(&folder);
    let eval = |file: &str, more: &[&str], isa: Option<&str>| {
        let file = folder.text(file);
        let mut command = command(&[&["eval", &file, "--tier", &tier, "--json"], more].concat());
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
    // Twins whose parameters have other paths and therefore other initial values.
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
    // On x86-64 every machine has this instruction set; on other architectures none has it.
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
    let tier = tier(&folder);
    let unfit = eval(&["--tier", &tier]);
    unfit.refused(2, "E0808");
    let shapes = unfit.err.matches("error[E0808]").count();
    assert!(shapes > 3, "all that does not fit is told, not {shapes}: {}", unfit.err);
    let fit = eval(&["--set", "D=16", "--tier", &tier]).done().out;
    assert!(fit.contains(", at D=16"), "{fit}");
}

/// Sends a signal, on systems that support it.
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
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!(run.code, 75, "{}", run.err);
    assert!(run.out.contains("ended: interrupted") && run.out.contains("report.html"), "{}\n{}", run.out, run.err);
    archc(&["report", &out]).done();
    let page = fs::read_to_string(folder.path("run/report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("archc search"));
    // The search resumes, with its budget already used up.
    let resumed = archc(&["search", "--resume", "--out", &out, "--budget", "0.1s"]).done();
    assert!(resumed.out.contains("ended: time"), "{}", resumed.out);
}

#[test]
fn a_gate_holds_and_says_what_it_saw() {
    let folder = Folder::new(&[]);
    let run = command(&["gates", "tracks parity", "--json"]).env("ARCHC_CACHE", folder.path("cache")).output().unwrap();
    let run = finish(run);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let report: Value = serde_json::from_str(&run.out).expect("one line of JSON");
    let seen = &report["gates"][0]["seen"];
    assert_eq!((&report["failed"], &seen["holds"]), (&0.into(), &true.into()), "{report}");
    assert!(seen["sides"][0]["value"].as_f64().is_some_and(|value| value >= 0.9), "{report}");
}

#[test]
fn a_run_is_resumed_by_its_own_settings_and_says_what_differs() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let out = folder.text("run");
    let program = folder.text("t.arch");
    let search = |more: &[&str]| {
        let args = [&["search", &program, "--out", &out, "--jobs", "1"], more].concat();
        finish(command(&args).env("ARCHC_CACHE", folder.path("cache")).output().unwrap())
    };
    let first = search(&["--budget", "0.2s", "--seed", "3", "--task-weights", "text=0"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let again = |more: &[&str]| archc(&[&["search", "--resume", "--out", &out], more].concat());
    // The run's time is used up: it ends at once; its weights and seed are its own.
    let spent = again(&[]).done();
    assert!(spent.out.contains("ended: time"), "{}", spent.out);
    for (more, said) in [
        (["--seed", "4"], "--seed is 3 there and 4 here"),
        (["--researcher", "random"], "--researcher is bandit there"),
    ] {
        let refused = again(&more);
        refused.refused(2, "E1008");
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    again(&["--tier", "verify"]).refused(2, "E1008");
    // An unknown task name and a corpus that is too small are refused before the folder is created.
    fs::write(folder.path("small.txt"), "hello world").unwrap();
    let refused = |more: &[&str], code| {
        archc(&[&["search", &folder.text("t.arch"), "--out", &folder.text("none")], more].concat()).refused(2, code);
        assert!(!folder.path("none").exists(), "{more:?}");
    };
    refused(&["--task-weights", "recall=1"], "E0941");
    refused(&["--corpus", &folder.text("small.txt")], "E0906");
}

#[test]
fn an_interrupted_training_says_how_to_go_on() {
    for name in ["-INT", "-TERM", "-HUP"] {
        if name == "-HUP" && hangups_are_ignored() {
            return skipped("an_interrupted_training_says_how_to_go_on", "these tests run under nohup");
        }
        let folder = Folder::new(&[("t.arch", TINY)]);
        let out = folder.text("run");
        let args = ["train", &folder.text("t.arch"), "--set", "D=8", "--steps", "1000000", "--out", &out];
        let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("a training", || !curve(&folder, "run").is_empty());
        if !signal(&child, name) {
            let mut child = child;
            let _ = child.kill();
            return skipped("an_interrupted_training_says_how_to_go_on", "there is no `kill` here");
        }
        let run = finish(child.wait_with_output().unwrap());
        assert_eq!(run.code, 75, "{name}: {}", run.err);
        assert!(run.err.contains(&format!("archc train {out}")), "{}", run.err);
        assert!(folder.path("run/weights.safetensors").exists() && folder.path("run/report.html").exists());
    }
}

/// Whether this process ignores hangups, as under nohup; its children then do as well.
fn hangups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|bits| u64::from_str_radix(bits.trim(), 16).is_ok_and(|bits| bits & 1 == 1))
}

#[test]
fn a_hangup_under_nohup_changes_nothing() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let out = folder.text("run");
    let args = ["train", &folder.text("t.arch"), "--set", "D=8", "--steps", "1000000", "--out", &out];
    let mut nohup = Command::new("nohup");
    nohup
        .arg(env!("CARGO_BIN_EXE_archc"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(child) = nohup.spawn() else {
        return skipped("a_hangup_under_nohup_changes_nothing", "there is no `nohup` here");
    };
    until("a training", || !curve(&folder, "run").is_empty());
    let sent = signal(&child, "-HUP");
    let before = curve(&folder, "run").len();
    until("further steps", || curve(&folder, "run").len() > before + 2000);
    assert!(sent && signal(&child, "-TERM"));
    assert_eq!(finish(child.wait_with_output().unwrap()).code, 75);
}

/// Trains the tiny block for a few steps into a folder.
fn trained(folder: &Folder, out: &str, more: &[&str]) -> crate::Run {
    let (file, out) = (folder.text("t.arch"), folder.text(out));
    let args = ["train", &file, "--set", "D=8", "--layers", "1", "--batch", "2", "--out", &out];
    let steps: &[&str] = if more.contains(&"--steps") { &[] } else { &["--steps", "20"] };
    archc(&[&args[..], steps, more].concat())
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON, line by line")).collect()
}

#[test]
fn a_run_folder_is_enough_for_every_command() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let first = trained(&folder, "run", &["--task", "recall:len=17"]).done();
    assert!(first.out.contains("(chance 0.1") && first.err.contains("tokens in"), "{}\n{}", first.out, first.err);
    let run = folder.text("run");
    fs::remove_file(folder.path("t.arch")).unwrap();
    // The run resumes with its own program and options, to more steps under a longer schedule.
    let more = archc(&["train", &run, "--steps", "30", "--message-format", "json"]).done();
    let objects = json(&more.out);
    let kind =
        |kind: &str| objects.iter().find(|o| o["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {}", more.out));
    assert_eq!((&kind("training")["program"], &kind("training")["folder"]), (&"Tiny".into(), &run.as_str().into()));
    assert!(kind("training")["parameters"].as_u64().unwrap() > 100);
    assert_eq!((&kind("trained")["status"], &kind("trained")["step"]), (&"finished".into(), &30.into()));
    assert!(kind("trained")["tokens_per_second"].as_f64().unwrap() > 0.0 && kind("trained")["seconds"].is_number());
    assert_eq!(kind("trained")["tokens"], 10 * 2 * 17);
    assert_eq!(curve(&folder, "run").lines().count(), 30);
    let about = fs::read_to_string(folder.path("run/run.json")).unwrap();
    assert!(about.contains("\"stretched\"") && about.contains("\"from\": 20"), "{about}");
    // An option that contradicts the run is reported with its name and both values.
    let other = archc(&["train", &run, "--lr", "0.5", "--set", "D=16"]);
    other.refused(2, "E0913");
    assert!(other.err.contains("D is 8 there and 16 here"), "{}", other.err);
    let other = archc(&["train", &run, "--lr", "0.5"]);
    other.refused(2, "E0913");
    assert!(other.err.contains("--lr is 0.003 there and 0.5 here"), "{}", other.err);
    // The other commands.
    let report = archc(&["eval", &run, "--json"]).done().out;
    assert_eq!((&json(&report)[0]["status"], &json(&report)[0]["tier"]), (&"ok".into(), &"own".into()), "{report}");
    fs::write(folder.path("x.arch"), TINY).unwrap();
    let forward = |model: &str, more: &[&str], output: &str| {
        let output = folder.text(output);
        archc(&[&["forward", model, "--input", &folder.text("tokens"), "--output", &output], more].concat())
    };
    let tokens = safetensors::tensor::TensorView::new(
        safetensors::Dtype::F32,
        vec![1, 4],
        &[1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(),
    )
    .map(|view| safetensors::serialize([("tokens", view)], None).unwrap());
    fs::write(folder.path("tokens"), tokens.unwrap()).unwrap();
    forward(&run, &[], "short").done();
    let weights = folder.text("run/weights.safetensors");
    let sizes = ["--weights", &weights, "--layers", "1", "--vocab", "16", "--set", "D=8"];
    forward(&folder.text("x.arch"), &sizes, "long").done();
    assert_eq!(fs::read(folder.path("short")).unwrap(), fs::read(folder.path("long")).unwrap());
    let refused = forward(&run, &["--layers", "2"], "none");
    refused.refused(2, "E0913");
    assert!(refused.err.contains("--layers is 1 there and 2 here"), "{}", refused.err);
    // A new run with one other option, from the weights of the first; both on one page.
    let new = folder.text("new");
    let args = ["train", &run, "--lr", "0.01", "--weights", &run, "--steps", "5", "--out", &new];
    archc(&args).done();
    let page = archc(&["report", &run, &new]).done();
    assert!(page.out.contains("comparison.html"), "{}", page.out);
    let page = fs::read_to_string(folder.path("run/comparison.html")).unwrap();
    for part in ["--lr", "0.003", "0.01", "--weights", "chance", "class=\"line s1\""] {
        assert!(page.contains(part), "no {part}");
    }
    archc(&["report", &run]).done();
    // Weights that do not fit: all mismatches are reported at once.
    let wrong =
        archc(&["train", &folder.text("x.arch"), "--set", "D=16", "--weights", &run, "--out", &folder.text("w")]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.matches("E080").count() > 3, "{}", wrong.err);
    // A folder of an archc version that stored only a hash.
    let mut old: Value = serde_json::from_str(&about).unwrap();
    for key in ["recipe", "files", "metric"] {
        old.as_object_mut().unwrap().remove(key);
    }
    fs::write(folder.path("run/run.json"), old.to_string()).unwrap();
    archc(&["forward", &run, "--input", &weights, "--output", &folder.text("none")]).refused(2, "E0918");
    archc(&["report", &run]).done();
}

#[test]
fn a_training_that_diverges_says_where() {
    let program = "block Nan[D] {\n    input x[D]\n    let y = shift(x, 1) * sqrt(x - 100)\n    output y\n}\n";
    let folder = Folder::new(&[("t.arch", program)]);
    let run = trained(&folder, "run", &["--steps", "3"]);
    run.refused(3, "E0910");
    for part in ["at step 1", "sqrt(x - 100)", "gives NaN of finite operands", "whatever --lr is"] {
        assert!(run.err.contains(part), "no `{part}`: {}", run.err);
    }
    let about = fs::read_to_string(folder.path("run/run.json")).unwrap();
    assert!(about.contains("\"diverged\""), "{about}");
    let again = trained(&folder, "run", &["--steps", "3", "--message-format", "json"]);
    assert_eq!(again.code, 3);
    assert!(json(&again.out).iter().any(|o| o["kind"] == "trained" && o["status"] == "diverged"), "{}", again.out);
    // Inside a scan, with the token. An unselected operand is not reported, although it is NaN at every token.
    let program = "block Wild[D] {\n    input x[D]\n    let z = select(x > 100, sqrt(x - 100), x)\n    scan {\n        \
                   state s[D] = 1\n        s = s * (2 + z ^ 2)\n        emit y = exp(s)\n    }\n    output y\n}\n";
    fs::write(folder.path("t.arch"), program).unwrap();
    let run = trained(&folder, "wild", &["--steps", "3"]);
    run.refused(3, "E0910");
    for part in ["exp(s)", "an infinity", "first at token"] {
        assert!(run.err.contains(part), "no `{part}`: {}", run.err);
    }
}

#[test]
fn a_training_on_text_gives_a_sample() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let more = ["--task", "text:len=16", "--sample", "12", "--prompt", "The ", "--temperature", "0"];
    let first = trained(&folder, "run", &more).done();
    let last = first.out.lines().last().unwrap().to_owned();
    assert!(first.out.contains("\nThe "), "{}", first.out);
    let sample = |more: &[&str]| {
        let run =
            archc(&[&["sample", &folder.text("run"), "--sample", "12", "--message-format", "json"], more].concat());
        json(&run.done().out)[0].clone()
    };
    let greedy = sample(&["--prompt", "The ", "--temperature", "0"]);
    assert_eq!(greedy["bytes"].as_array().unwrap().len(), 12);
    let text = greedy["text"].as_str().unwrap();
    assert!(format!("The {text}").ends_with(&last), "{text:?} is not {last:?}");
    assert_eq!(sample(&["--seed", "3"]), sample(&["--seed", "3"]));
    assert_ne!(sample(&["--seed", "3"]), sample(&["--seed", "4"]));
    trained(&folder, "other", &["--sample", "5"]).refused(2, "E0920");
    trained(&folder, "plain", &[]).done();
    archc(&["sample", &folder.text("plain")]).refused(2, "E0920");
    archc(&["sample", &folder.text("nothing")]).refused(2, "E0912");
}

#[test]
fn a_task_of_your_own_is_trained_on_and_told_from_another() {
    let row = |i: usize| format!("{{\"tokens\": [{}, {}, {}, {}]}}\n", i % 3, i % 4, i % 5, i % 7);
    let rows: String = (0..60).map(row).collect();
    let folder = Folder::new(&[("t.arch", TINY), ("a:b,c=d.jsonl", &rows)]);
    let task = format!("jsonl:{}", folder.text("a:b,c=d.jsonl"));
    let run = trained(&folder, "run", &["--task", &task, "--message-format", "json"]).done();
    let trained_on = &json(&run.out)[0];
    assert_eq!((&trained_on["task"], &trained_on["metric"]), (&task.as_str().into(), &"accuracy".into()));
    // The folder states the task; the same rows in another order are the same task, other rows are not.
    let again = || archc(&["train", &folder.text("run")]);
    fs::write(folder.path("a:b,c=d.jsonl"), (0..60).rev().map(row).collect::<String>()).unwrap();
    again().done();
    fs::write(folder.path("a:b,c=d.jsonl"), (1..60).map(row).collect::<String>()).unwrap();
    let changed = again();
    changed.refused(2, "E0913");
    assert!(changed.err.contains("holds something else now"), "{}", changed.err);
    fs::write(folder.path("a:b,c=d.jsonl"), "{\"tokens\": [1, 2]}\n{\"tokens\": [1, -2]}\n").unwrap();
    again().refused(2, "E0931");
    fs::remove_file(folder.path("a:b,c=d.jsonl")).unwrap();
    again().refused(1, "E0928");
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let model = root().join("examples/04_hybrid_model.arch").display().to_string();
    archc(&["train", &model, "--set", "D=8", "--layers", "3", "--out", &folder.text("out")]).refused(2, "E0919");
    assert!(!folder.path("out").exists());
    trained(&folder, "run", &["--corpus", &folder.text("t.arch")]).refused(2, "E0919");
    archc(&["eval", &folder.text("t.arch"), "--tier", "screen", "--corpus", &folder.text("t.arch")])
        .refused(2, "E0919");
}
