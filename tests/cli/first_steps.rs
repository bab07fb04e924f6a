//! `doc`, `new`, `completions`, `man`: the commands that a new user meets first.

use crate::{Folder, archc, command, finish, root};

#[test]
fn doc_lists_everything_and_shows_it_by_name() {
    let all = archc(&["doc"]).done().out;
    for words in ["axes-and-sizes", "softmax", "attend", "std::prelude::norms", "rmsnorm", "GLA", "E02.., W02.."] {
        assert!(all.contains(words), "no {words}:\n{all}");
    }
    assert!(all.lines().all(|line| line.chars().count() <= 120), "lines of a terminal");

    let scan = archc(&["doc", "scan"]).done().out;
    assert!(scan.starts_with("scan { .. }\n") && scan.contains("### `scan { }`"), "{scan}");
    assert!(!scan.contains("### `attend { }`"), "only its own section: {scan}");
    let softmax = archc(&["doc", "softmax"]).done().out;
    assert!(
        softmax.starts_with("softmax[A](x)\n    builtin: ") && softmax.contains("### Over named axes"),
        "{softmax}"
    );
    let chapter = archc(&["doc", "Axes and sizes"]).done().out;
    assert!(chapter.starts_with("## Axes and sizes") && chapter.contains("E0201"), "{chapter}");
    for name in ["linear", "window", "attend", "training", "the-standard-library"] {
        assert!(archc(&["doc", name]).done().out.lines().count() > 8, "{name}");
    }
}

#[test]
fn doc_shows_items_of_the_library() {
    let gla = archc(&["doc", "GLA"]).done().out;
    let parts =
        ["block GLA[D]", "Gated linear attention", "paper   arXiv:", "in O(T)", "memory S: in chunks of", "lines "];
    for words in parts {
        assert!(gla.contains(words), "no {words}:\n{gla}");
    }
    assert!(gla.contains("stdlib/mixers/gated.arch") && gla.contains("\n    input x[D]\n"), "{gla}");
    assert_eq!(archc(&["doc", "std::mixers::GLA"]).done().out, gla);
    assert_eq!(archc(&["doc", "gla"]).done().out, gla);
    // the execution of a library function is known from its call in the reference
    let ema = archc(&["doc", "ema"]).done().out;
    assert!(ema.contains("memory s: element by element") || ema.contains("memory s: in chunks"), "{ema}");
    let conv = archc(&["doc", "conv"]).done().out;
    assert!(conv.starts_with("fn conv(x, width") && conv.contains("over a window"), "{conv}");
    let module = archc(&["doc", "std::mixers"]).done().out;
    assert!(module.contains("DeltaNet ") && !module.contains("rmsnorm "), "{module}");
    assert!(archc(&["doc", "std::prelude"]).done().out.contains("std::prelude::time"));
}

#[test]
fn doc_explains_codes_and_says_what_was_meant() {
    assert_eq!(archc(&["doc", "E0201"]).done().out, archc(&["explain", "E0201"]).done().out);
    archc(&["doc", "E9999"]).refused(2, "E0842");
    for (name, near) in [
        ("sofmax", "softmax"),
        ("std::mixers::GLAA", "GLA"),
        ("rotary", "rope"),
        ("delta", "DeltaNet"),
        ("zzz", "`archc doc`"),
    ] {
        let run = archc(&["doc", name]);
        run.refused(2, "E0870");
        assert!(run.err.contains(near), "{name}: {}", run.err);
    }
    assert!(archc(&["doc", "train"]).err.contains("archc train --help"));
    let explain = archc(&["explain", "rope"]);
    explain.refused(2, "E0842");
    assert!(explain.err.contains("archc doc rope"), "{}", explain.err);
}

#[test]
fn doc_is_json_where_that_is_asked_for() {
    let lines = |args: &[&str]| -> Vec<serde_json::Value> {
        let out = archc(&[args, &["--message-format", "json"]].concat()).done().out;
        out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    };
    assert!(lines(&["doc"]).len() > 300);
    let gla = &lines(&["doc", "GLA"])[0];
    assert_eq!((gla["kind"].as_str(), gla["type"].as_str()), (Some("doc"), Some("item")));
    assert_eq!(gla["name"], "std::mixers::GLA");
    assert_eq!(gla["file"], "stdlib/mixers/gated.arch");
    assert_eq!(lines(&["doc", "softmax"])[0]["section"], "over-named-axes");
    assert!(lines(&["doc", "std::models"]).len() >= 4);
}

#[test]
fn a_new_block_checks_trains_and_is_formatted() {
    let folder = Folder::new(&[]);
    let file = folder.text("fast_memory.arch");
    let told = archc(&["new", &folder.text("fast_memory")]).done().out;
    assert!(told.contains(&format!("archc check {file}")) && told.contains("archc train"), "{told}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("\nblock FastMemory[D]("));
    let checked = archc(&["check", &file, "--deny-warnings"]).done();
    assert_eq!(checked.err, "", "no finding");
    assert!(checked.out.contains("block FastMemory") && checked.out.contains("in chunks"), "{}", checked.out);
    archc(&["fmt", "--check", &file]).done();
    let run = folder.text("run");
    archc(&["train", &file, "--task", "recall", "--set", "D=16", "--layers", "1", "--steps", "3", "--out", &run])
        .done();
}

#[test]
fn new_never_writes_over_a_file_and_refuses_bad_names() {
    let folder = Folder::new(&[("memory.arch", "mine")]);
    archc(&["new", &folder.text("memory")]).refused(2, "E0872");
    archc(&["new", &folder.text("memory.arch")]).refused(2, "E0872");
    assert_eq!(std::fs::read_to_string(folder.path("memory.arch")).unwrap(), "mine");
    let bad = archc(&["new", "fast-memory"]);
    bad.refused(2, "E0871");
    assert!(bad.err.contains("archc new fast_memory"), "{}", bad.err);
    let nowhere = archc(&["new", &folder.text("no/such/block")]);
    nowhere.refused(1, "E0823");
    assert!(nowhere.err.contains("mkdir -p"), "{}", nowhere.err);
}

#[test]
fn completions_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = archc(&["completions", shell]).done().out;
        for words in ["selftest", "message-format", "verbose"] {
            assert!(script.contains(words), "{shell}: no {words}");
        }
    }
    assert_eq!(archc(&["completions", "tcsh"]).code, 2);
    let bash =
        finish(std::process::Command::new("bash").arg("-n").stdin(std::process::Stdio::null()).output().unwrap());
    if bash.code == 0 {
        let folder = Folder::new(&[("archc.bash", &archc(&["completions", "bash"]).done().out)]);
        let parsed = std::process::Command::new("bash").arg("-n").arg(folder.path("archc.bash")).status().unwrap();
        assert!(parsed.success(), "bash cannot read its completions");
    }
}

#[test]
fn man_prints_a_page_or_writes_one_of_each_command() {
    let page = archc(&["man"]).done().out;
    assert!(page.contains(".TH archc 1") && page.contains("Exit codes"), "{page}");
    let folder = Folder::new(&[]);
    archc(&["man", "--out", &folder.text("man1")]).done();
    for name in ["archc.1", "archc-check.1", "archc-train.1", "archc-bench-gemm.1"] {
        let text = std::fs::read_to_string(folder.path("man1").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(text.contains("SYNOPSIS"), "{name}");
    }
    let file = root().join("Cargo.toml");
    archc(&["man".as_ref(), "--out".as_ref(), file.as_os_str()]).refused(1, "E0823");
}

#[test]
fn every_exit_code_of_a_page_that_nobody_reads_is_0() {
    let mut child = command(&["doc"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
