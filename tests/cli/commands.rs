//! Output of each command, and its stream.

use crate::{Folder, Run, TINY, archc, command, finish, root, skipped};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

fn with_stdin(args: &[&str], text: &str) -> Run {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("archc starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // The command may end before it has read everything.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    finish(child.wait_with_output().expect("archc ends"))
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn every_command_has_help_with_examples() {
    let names = "new check fmt build derive doc explain params forward train sample eval search report completions man";
    for name in names.split(' ') {
        let help = archc(&[name, "--help"]).done().out;
        assert!(help.contains("Examples:") && help.contains(&format!("archc {name}")), "{help}");
    }
    assert!(archc(&["--help"]).done().out.contains("Exit codes:"));
    assert!(archc(&["--version"]).done().out.starts_with("archc 0."));
    assert_eq!(archc(&["chekc"]).code, 2);
}

#[test]
fn check_prints_findings_apart_from_costs() {
    let seed = root().join("seeds/delta_net.arch");
    let run = archc(&["check".as_ref(), seed.as_os_str()]).done();
    assert!(run.err.is_empty(), "{}", run.err);
    for words in ["block DeltaNet", "D=64", "params", "FLOPs a token", "time            O(T)", "state"] {
        assert!(run.out.contains(words), "no {words}:\n{}", run.out);
    }
    let small = archc(&["check".as_ref(), seed.as_os_str(), "--set".as_ref(), "D=32".as_ref()]).done();
    assert!(small.out.contains("D=32"), "{}", small.out);

    let folder = Folder::new(&[("b.arch", "block B[D] { input x[D] output silu(y) }\n")]);
    let run = archc(&["check", &folder.text("b.arch")]);
    run.refused(2, "E0101");
    assert!(run.err.contains("b.arch:1:37"), "{}", run.err);
    assert!(run.out.is_empty(), "a refused program has no cost: {}", run.out);
}

#[test]
fn check_and_derive_tell_how_scans_run() {
    let folder = Folder::new(&[(
        "two.arch",
        "block Two[D](H = 2, K = D / H) {
    input x[D]
    let k[H, K] = x |> linear[H, K] |> l2norm[K]
    let b[H] = x |> linear[H] |> sigmoid
    scan {
        state S[H, K, D] = 0
        state h[D] = 0
        S = 0.9 * S
        S = S + b * k * (x - sum[K](k * S))
        h = tanh(h + x)
        emit o = sum[H, K](k * S)
        emit y = h
    }
    output o + y
}
",
    )]);
    let file = folder.text("two.arch");
    let told = archc(&["check", &file, "--verbose"]).done().out;
    let chunk = "scan S          chunk: one delta step of rank one under a decay a head (";
    for words in [chunk, "two.arch:9:", "shared a = b = k", "scan h          sequential: its update takes tanh of it"] {
        assert!(told.contains(words), "no {words}:\n{told}");
    }
    let derived = archc(&["derive", &file]).done().out;
    for words in ["S <- exp(g) S", "s   = -b", "u_i - s_i sum_j A_ij u_j", "chunk and token loop differ by at most"] {
        assert!(derived.contains(words), "no {words}:\n{derived}");
    }
    let latex = archc(&["derive", &file, "--latex"]).done().out;
    assert!(latex.contains("\\begin{align*}") && latex.contains("S^\\top"), "{latex}");
}

#[test]
fn check_takes_all_blocks_of_a_file_or_one() {
    let folder = Folder::new(&[("two.arch", &format!("{TINY}\n{}", TINY.replace("Tiny", "Other")))]);
    let file = folder.text("two.arch");
    let both = archc(&["check", &file]).done().out;
    assert!(both.contains("block Tiny") && both.contains("block Other"), "{both}");
    let one = archc(&["check", &file, "--block", "Other"]).done().out;
    assert!(!one.contains("block Tiny") && one.contains("block Other"), "{one}");
    // Commands that need exactly one block ask which.
    let asked = archc(&["params", &file]);
    asked.refused(2, "E0314");
    assert!(asked.err.contains("--block Tiny") && asked.err.contains("--block Other"), "{}", asked.err);
    archc(&["params", &file, "--block", "Other"]).done();
}

#[test]
fn check_gives_each_block_the_sizes_that_it_has() {
    let other = TINY.replace("Tiny[D]", "Other[D](H = 2)").replace("width = 2", "width = H");
    let folder = Folder::new(&[("two.arch", &format!("{TINY}\n{other}")), ("one.arch", TINY)]);
    let file = folder.text("two.arch");
    let both = archc(&["check", &file, "--set", "H=4", "--set", "D=16"]).done().out;
    assert!(both.contains("block Tiny  D=16") && both.contains("block Other  D=16"), "{both}");
    assert!(both.contains("320"), "16 * 16 + 16 * 4 parameters: {both}");
    // A size that no block has, or not the only or the named one, is reported as before.
    archc(&["check", &file, "--set", "Q=4"]).refused(2, "E0207");
    archc(&["check", &file, "--set", "H=4", "--block", "Tiny"]).refused(2, "E0207");
    archc(&["check", &folder.text("one.arch"), "--set", "H=4"]).refused(2, "E0207");
}

#[test]
fn a_closed_pipe_changes_no_exit_code() {
    let folder = Folder::new(&[("bad.arch", "block B[D] { input x[D] output silu(y) }\n"), ("t.arch", TINY)]);
    // A pipe without a reader: every write to it fails.
    let closed = || std::io::pipe().expect("a pipe").1;
    let code = |args: &[&str]| {
        let status = command(args).stdout(closed()).stderr(closed()).status().expect("archc starts");
        status.code().expect("no signal")
    };
    let (good, bad) = (folder.text("t.arch"), folder.text("bad.arch"));
    assert_eq!(code(&["check", &good]), 0);
    assert_eq!(code(&["check", &good, &bad]), 2, "the first one's costs cannot be written");
    assert_eq!(code(&["check", &good, &bad, "--message-format", "json"]), 2);
    assert_eq!(code(&["fmt", "--check", &bad]), 1, "it is not formatted");
    assert_eq!(code(&["eval", &good, "--set", "D=8", "--time-limit", "0.001s"]), 4);
    assert_eq!(code(&["explain", "E9999"]), 2);
}

#[test]
fn threads_beyond_the_machine_are_not_started() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let out = folder.text("run");
    let args = ["train", &folder.text("t.arch"), "--set", "D=8", "--steps", "2", "--out", &out, "--threads", "60000"];
    let run = archc(&args).done();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(run.err.contains(&format!("--threads 60000: this machine has {cores} core")), "{}", run.err);
    let run = archc(&[&args[..args.len() - 2], &["--threads", "1"]].concat()).done();
    assert!(!run.err.contains("--threads"), "{}", run.err);
    let args = ["selftest", "--only-random", "--programs", "0", "--jobs", "60000"];
    assert!(archc(&args).done().err.contains("--jobs 60000: this machine has"));
}

#[test]
fn json_is_one_object_a_line() {
    let folder = Folder::new(&[("b.arch", "block B[D] { input x[D] output silu(y) + z }\n"), ("t.arch", TINY)]);
    let run = archc(&["check", &folder.text("b.arch"), "--message-format", "json"]);
    let findings = json(&run.out);
    assert_eq!((run.code, run.err.as_str()), (2, ""));
    assert!(findings.iter().all(|f| f["kind"] == "finding"));
    assert!(findings.iter().any(|f| f["code"] == "E0101" && f["primary"]["line"] == 1), "{}", run.out);
    let checked = json(&archc(&["check", &folder.text("t.arch"), "--message-format", "json"]).done().out);
    let report = checked.iter().find(|o| o["kind"] == "check").expect("a report");
    assert_eq!(report["cost"]["params"], 64 * 64 + 64 * 2);
    for command in [["params", "t.arch"], ["fmt", "t.arch"]] {
        let run = archc(&[command[0], &folder.text(command[1]), "--message-format", "json"]).done();
        assert!(!json(&run.out).is_empty());
    }
    assert!(json(&archc(&["explain", "--message-format", "json"]).done().out).len() > 60);
}

#[test]
fn fmt_formats_in_place_once() {
    let ugly = "// a comment\nblock   Tiny[D]  {\ninput x[D]; output   x+conv( x,width=2 ) }\n";
    let folder = Folder::new(&[("ugly.arch", ugly), ("broken.arch", "block {"), ("good.arch", TINY)]);
    let file = folder.text("ugly.arch");
    let listed = archc(&["fmt", "--check", &file]);
    assert_eq!(listed.code, 1);
    assert!(listed.out.contains("ugly.arch"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ugly, "--check changes nothing");
    let piped = with_stdin(&["fmt", "-"], ugly).done().out;
    archc(&["fmt", &file]).done();
    let formatted = std::fs::read_to_string(&file).unwrap();
    assert!(formatted.starts_with("// a comment\nblock Tiny[D] {\n    input x[D]\n"), "{formatted}");
    assert_eq!(piped, formatted);
    archc(&["fmt", "--check", &file]).done();
    assert_eq!(archc(&["fmt", &file]).done().out, "", "nothing to do the second time");
    // A broken file is left alone; the other files of its folder are still formatted.
    std::fs::write(&file, ugly).unwrap();
    let run = archc(&["fmt", &folder.0.path().to_string_lossy()]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("broken.arch"), "{}", run.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), formatted);
    assert_eq!(std::fs::read_to_string(folder.path("broken.arch")).unwrap(), "block {");
    let names: Vec<_> = std::fs::read_dir(folder.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "something was left behind: {names:?}");
}

#[test]
fn shipped_programs_are_formatted() {
    let folders = ["seeds", "examples", "stdlib"].map(|f| root().join(f));
    let args = ["fmt".as_ref(), "--check".as_ref()].into_iter().chain(folders.iter().map(|f| f.as_os_str()));
    let run = archc(&args.collect::<Vec<_>>());
    assert_eq!(run.code, 0, "run `archc fmt` on:\n{}", run.out);
}

#[test]
fn build_prints_every_stage() {
    let seed = root().join("seeds/delta_net.arch");
    let emit = |stage: &str| archc(&["build".as_ref(), seed.as_os_str(), "--emit".as_ref(), stage.as_ref()]).done().out;
    assert!(emit("ast").contains("let beta[H] = (|> (|> x linear[H]) sigmoid)"), "{}", emit("ast"));
    assert!(emit("hir").contains("linear[H](x)"), "{}", emit("hir"));
    assert!(emit("graph").starts_with("graph DeltaNet  D=64"), "{}", emit("graph"));
    let dot = emit("dot");
    assert!(dot.starts_with("digraph \"DeltaNet\" {") && dot.trim_end().ends_with('}'), "{dot}");
    // what a session runs, by what it is asked for
    let plan = |extra: &[&str]| {
        let mut args = vec!["build".as_ref(), seed.as_os_str(), "--emit".as_ref(), "plan".as_ref()];
        args.extend(extra.iter().map(|a| std::ffi::OsStr::new(*a)));
        archc(&args).done().out
    };
    let step = plan(&["--layers", "1", "--vocab", "16"]);
    assert!(step.contains("leaf tokens       u32") && step.contains("adamw") && step.contains("norm of"), "{step}");
    let decoding = plan(&["--call", "forward", "--batch", "1", "--tokens", "1", "--carried", "64"]);
    assert!(decoding.starts_with("plan DeltaNet  B=1 T=1 carried=64"), "{decoding}");
    assert!(decoding.contains("leaf carried") && !decoding.contains("cotangent"), "{decoding}");
    assert!(plan(&["--documents"]).lines().count() > plan(&[]).lines().count());
    // The partial tree of a broken program is shown beside its errors.
    let broken = with_stdin(&["build", "-", "--emit", "ast"], "block B[D] {\ninput x[D]\noutput x +\n}\n");
    assert_eq!(broken.code, 2);
    assert!(broken.out.contains("input x[D]") && broken.out.contains("error"), "{}", broken.out);
}

#[test]
fn params_lists_what_checkpoints_hold() {
    let seed = root().join("seeds/delta_net.arch");
    let run = archc(&["params".as_ref(), seed.as_os_str()]).done();
    assert!(run.out.contains("q.conv.linear.weight   [H=2, K=32, W=4]"), "{}", run.out);
    let stacked = archc(&["params".as_ref(), seed.as_os_str(), "--layers".as_ref(), "2".as_ref()]).done().out;
    assert!(stacked.contains("layers.1.mixer.q.linear.weight") && stacked.contains("embedding.embed.weight"));
}

#[test]
fn explain_knows_every_code_that_is_reported() {
    let all = archc(&["explain"]).done().out;
    let code = |text: &str| text.split_once('[').and_then(|(_, t)| t.split_once(']')).map(|(c, _)| c.to_owned());
    let folder = root().join("tests/broken");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let run = archc(&["check".as_ref(), entry.unwrap().path().as_os_str()]);
        for line in run.err.lines().filter(|l| l.starts_with("error[") || l.starts_with("warning[")) {
            let code = code(line).expect("a code");
            assert!(all.lines().any(|l| l.starts_with(&code)), "{code} has no explanation");
            seen += 1;
        }
    }
    assert!(seen > 80, "only {seen} findings in the broken programs");
    let long = archc(&["explain", "e0101"]).done().out;
    assert!(long.starts_with("E0101: ") && long.lines().count() > 3, "{long}");
    let unknown = archc(&["explain", "E9999"]);
    unknown.refused(2, "E0842");
    assert!(archc(&["explain", "E0108"]).err.contains("did you mean"));
}

#[test]
fn output_that_nobody_reads_is_no_crash() {
    let mut child = command(&["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let run = finish(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return skipped("output_that_cannot_be_written_is_told", "there is no /dev/full here");
    };
    let run = finish(command(&["explain"]).stdout(full).output().unwrap());
    run.refused(1, "E0823");
}

#[test]
fn files_use_their_siblings() {
    let folder = Folder::new(&[
        ("maps.arch", "fn twice(x) = 2 * x\n"),
        ("parts.arch", &format!("use self::maps::{{twice}}\nfn four(x) = twice(twice(x))\n{TINY}")),
        ("main.arch", "use self::parts::{Tiny, four}\nblock Main[D] {\n    input x[D]\n    output four(Tiny(x))\n}\n"),
    ]);
    let run = archc(&["check", &folder.text("main.arch")]).done();
    assert!(run.err.is_empty() && run.out.contains("block Main"), "{}{}", run.err, run.out);
}
