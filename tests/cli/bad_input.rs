//! Invalid input: the answer is always an error with a code, the matching exit code, and a way to correct it.

use crate::{Folder, TINY, archc, command, finish, root, skipped};
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn files_that_are_no_programs() {
    let folder = Folder::new(&[
        ("empty.arch", ""),
        ("blank.arch", "\n\n   \n"),
        ("comment.arch", "// nothing but words\n"),
        ("control.arch", "block B[D] { input x[D] \u{1} output x }"),
        ("zero.arch", "block B[D] {\0}"),
    ]);
    for (name, code) in
        [("empty", "E0001"), ("blank", "E0001"), ("comment", "E0001"), ("control", "E0002"), ("zero", "E0002")]
    {
        archc(&["check", &folder.text(&format!("{name}.arch"))]).refused(2, code);
    }
    fs::write(folder.path("binary.arch"), [0x7f, b'E', b'L', b'F', 0xff, 0xfe, 0x00]).unwrap();
    fs::write(folder.path("huge.arch"), "// line\n".repeat(1 << 20)).unwrap();
    for command in ["check", "fmt", "build", "params", "train", "eval"] {
        archc(&[command, &folder.text("binary.arch")]).refused(2, "E0002");
        archc(&[command, &folder.text("huge.arch")]).refused(2, "E0003");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new(&[("a.arch", TINY)]);
    for command in ["check", "fmt", "build", "params", "train"] {
        archc(&[command, &folder.text("missing.arch")]).refused(1, "E0820");
    }
    // The contract of eval has no exit code of its own for this.
    archc(&["eval", &folder.text("missing.arch")]).refused(2, "E0820");
    archc(&["params", &folder.0.path().to_string_lossy()]).refused(1, "E0820");
    archc(&["check", &folder.text("a.arch/b.arch")]).refused(1, "E0820");
    fs::create_dir(folder.path("without")).unwrap();
    archc(&["check", &folder.text("without")]).refused(2, "E0843");
    // Readable files beside an unreadable one are still checked.
    let run = archc(&["check", &folder.text("missing.arch"), &folder.text("a.arch")]);
    run.refused(1, "E0820");
    assert!(run.out.contains("block Tiny"), "{}", run.out);
}

#[cfg(unix)]
#[test]
fn files_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new(&[("a.arch", TINY)]);
    fs::set_permissions(folder.path("a.arch"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(folder.path("a.arch")).is_ok() {
        return skipped("files_without_permission", "this user may read everything (root?)");
    }
    archc(&["check", &folder.text("a.arch")]).refused(1, "E0820");
}

#[test]
fn a_million_brackets() {
    for bracket in ["(", "[", "{", "([{"] {
        let text = bracket.repeat((1 << 20) / bracket.len());
        let inside = format!("block B[D] {{\n    input x[D]\n    output {text}\n}}\n");
        let folder = Folder::new(&[("bare.arch", &text), ("inside.arch", &inside)]);
        for name in ["bare.arch", "inside.arch"] {
            let began = Instant::now();
            archc(&["check", &folder.text(name)]).refused(2, "E0004");
            archc(&["fmt", "--check", &folder.text(name)]).refused(2, "E0004");
            // Linear in the length of the text: about a second in a debug build on a busy machine. A quadratic parser
            // takes hours.
            assert!(began.elapsed() < Duration::from_secs(60), "{bracket}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn names_that_nobody_knows() {
    let wrong = |body: &str| format!("block B[D] {{\n    input x[D]\n    output {body}\n}}\n");
    for (body, code) in
        [("x + y", "E0101"), ("slu(x)", "E0102"), ("linear[D -> E](x)", "E0202"), ("conv(x, widht = 3)", "E0310")]
    {
        let folder = Folder::new(&[("b.arch", &wrong(body))]);
        archc(&["check", &folder.text("b.arch")]).refused(2, code);
    }
    let folder = Folder::new(&[("b.arch", TINY), ("u.arch", "use std::mixers::{GLAA}\nfn f(x) = GLAA(x)\n")]);
    let file = folder.text("b.arch");
    archc(&["check", &folder.text("u.arch")]).refused(2, "E0106");
    archc(&["check", &file, "--block", "Tiney"]).refused(2, "E0314");
    archc(&["check", &file, "--set", "H=3"]).refused(2, "E0207");
    archc(&["train", &file, "--task", "recal"]).refused(2, "E0901");
    archc(&["train", &file, "--task", "recall:length=3"]).refused(2, "E0902");
    archc(&["eval", &file, "--tier", "serach"]).refused(2, "E0915");
    for args in [["check", &file, "--set", "H"], ["check", &file, "--set", "H=x"]] {
        assert_eq!(archc(&args).code, 2);
    }
}

#[test]
fn files_that_use_each_other() {
    let folder = Folder::new(&[
        ("a.arch", "use self::b::{two}\nfn one(x) = two(x)\n"),
        ("b.arch", "use self::a::{one}\nfn two(x) = one(x)\n"),
        ("own.arch", "use self::own::{f}\nfn f(x) = x\n"),
        ("lost.arch", "use self::nowhere::{f}\nfn g(x) = f(x)\n"),
        ("to_bad.arch", "use self::bad::{f}\nfn g(x) = f(x)\n"),
        ("twice.arch", "fn f(x) = g(x)\nfn g(x) = f(x)\nblock B[D] { input x[D] output f(x) }\n"),
    ]);
    fs::write(folder.path("bad.arch"), [0xff; 64]).unwrap();
    for (file, code) in [("a", "E0107"), ("b", "E0107"), ("own", "E0107"), ("lost", "E0106"), ("to_bad", "E0002")] {
        archc(&["check", &folder.text(&format!("{file}.arch"))]).refused(2, code);
    }
    let run = archc(&["check", &folder.text("twice.arch")]);
    assert_eq!(run.code, 2, "a fn that calls itself has no end: {}", run.err);
}

#[test]
fn sizes_that_cannot_be() {
    let seed = root().join("seeds/delta_net.arch");
    let set = |value: &str| archc(&["check".as_ref(), seed.as_os_str(), "--set".as_ref(), value.as_ref()]);
    for value in ["D=0", "D=-4", "D=1.5", "D=nan", "D=inf", "D=1e300", "D=9007199254740992", "H=0"] {
        set(value).refused(2, "E0206");
    }
    // Each axis is allowed, but their products overflow any counter.
    let wide = "block Big[D](E = 16777216, F = 16777216) {\n    input x[D]\n    let y = shift(x, 1) |> linear[D -> E, F]\n    \
                output linear[E, F -> D](y)\n}\n";
    let outer = "block Wide[D](E = 16777216) {\n    input x[D]\n    let y = expand[E](shift(x, 1)) * index[E]\n    \
                 output max[E](y)\n}\n";
    let folder = Folder::new(&[("big.arch", wide), ("wide.arch", outer)]);
    let (big, wide) = (folder.text("big.arch"), folder.text("wide.arch"));
    archc(&["check", &big, "--set", "D=16777216", "--verbose"]).done();
    archc(&["params", &big, "--set", "D=16777216"]).done();
    for file in [&big, &wide] {
        archc(&["train", file, "--set", "D=64", "--out", &folder.text("out")]).refused(2, "E0845");
    }
    let run = set("H=3");
    run.refused(2, "E0205");
    assert!(run.err.contains("64 / 3"), "the numbers are shown: {}", run.err);
    for args in [["--layers", "0"], ["--vocab", "0"]] {
        assert_eq!(archc(&["params".as_ref(), seed.as_os_str(), args[0].as_ref(), args[1].as_ref()]).code, 2);
    }
}

#[test]
fn options_out_of_range_say_so() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let file = folder.text("t.arch");
    let said = |args: &[&str], words: &str| {
        let run = archc(&[args, &[file.as_str()]].concat());
        assert_eq!(run.code, 2, "{}", run.err);
        assert!(run.err.contains(words) && !run.err.contains("unexpected argument"), "{args:?}: {}", run.err);
    };
    let gpu = "archc has no GPU device; devices: cpu, lowered, reference";
    for command in ["train", "eval", "search", "selftest"] {
        said(&[command, "--device", "gpu"], gpu);
    }
    for name in ["cuda", "cuda:0", "MPS"] {
        said(&["bench", "train", "--device", name], gpu);
    }
    said(&["train", "--device", "abacus"], "there is no device `abacus`; devices: cpu, lowered, reference");
    said(&["train", "--lr", "-1"], "`lr = -1` is out of range");
    said(&["train", "--steps", "-1"], "`-1` is not a whole number from 0");
    said(&["train", "--batch", "-3"], "`-3` is not a whole number from 0");
    said(&["train", "--checkpoint-every", "0"], "`0` is not a whole number from 1");
    said(&["train", "--threads", "-2"], "-2 is not in 1..=65535");
    said(&["train", "--seed", "-2"], "`-2` is not a whole number from 0");
    said(&["search", "--budget", "-5s"], "`-5s` is not a time above 0");
    said(&["search", "--jobs", "-5"], "`-5` is not a whole number from 0");
    said(&["eval", "--time-limit", "-5s"], "`-5s` is not a time above 0");
    said(&["bench", "train", "--seconds", "-1"], "`-1` is not a number of seconds");
    said(&["bench", "train", "--shape", "-64,2,512,4"], "is not D,L,T,B");
    said(&["check", "--set", "D=-8"], "error[E0206]");
}

#[test]
fn instruction_sets_that_are_not_there() {
    let run = |name: &str| finish(command(&["explain", "E0860"]).env("ARCHC_ISA", name).output().unwrap());
    run("avx99").refused(2, "E0860");
    run("").done();
}

#[test]
fn corpora_that_teach_nothing() {
    let folder = Folder::new(&[("t.arch", TINY), ("small.txt", "Only a few words.\n"), ("empty.txt", " \n")]);
    let train = |corpus: &str| {
        let out = folder.text("out");
        archc(&["train", &folder.text("t.arch"), "--task", "text", "--corpus", corpus, "--steps", "1", "--out", &out])
    };
    train(&folder.text("missing.txt")).refused(1, "E0904");
    train(&folder.text("small.txt")).refused(2, "E0906");
    train(&folder.text("empty.txt")).refused(2, "E0905");
    fs::create_dir(folder.path("nothing")).unwrap();
    train(&folder.text("nothing")).refused(2, "E0905");
    train(env!("CARGO_BIN_EXE_archc")).refused(2, "E0926");
    assert!(!folder.path("out").exists(), "nothing is made for a run that cannot start");
    archc(&["search", &folder.text("t.arch"), "--corpus", &folder.text("missing.txt"), "--out", &folder.text("s")])
        .refused(1, "E0904");
}

#[test]
fn trainings_that_make_no_sense() {
    let folder = Folder::new(&[
        ("t.arch", TINY),
        ("pair.arch", "block Pair[D] {\n    input x[D]\n    input y[D]\n    output x + shift(y, 1)\n}\n"),
    ]);
    let out = folder.text("out");
    let train = |args: &[&str]| {
        let file = folder.text("t.arch");
        archc(&[&["train", &file, "--set", "D=8", "--out", &out], args].concat())
    };
    train(&["--steps", "0"]).refused(2, "E0908");
    train(&["--lr", "0"]).refused(2, "E0908");
    train(&["--lr", "nan"]).refused(2, "E0908");
    train(&["--batch", "0"]).refused(2, "E0908");
    let file = folder.text("t.arch");
    archc(&["train", &file, "--set", "D=1000000", "--out", &out]).refused(2, "E0845");
    archc(&["eval", &file, "--set", "D=1000000"]).refused(2, "E0845");
    train(&["--task", "recall:len=0"]).refused(2, "E0903");
    archc(&["train", &folder.text("pair.arch"), "--out", &out]).refused(2, "E0314");
    archc(&["eval", &folder.text("t.arch"), "--weights", &folder.text("none")]).refused(2, "E0820");
    archc(&["eval", &folder.text("t.arch"), "--weights", &folder.text("t.arch")]).refused(2, "E0912");
}

#[test]
fn run_folders_that_cannot_be_used() {
    let folder = Folder::new(&[("t.arch", TINY), ("file", "not a folder")]);
    let file = folder.text("t.arch");
    let train = |out: &str| archc(&["train", &file, "--set", "D=8", "--steps", "1", "--out", out]);
    let search = |args: &[&str]| archc(&[&["search", &file, "--candidates", "1", "--budget", "1s"], args].concat());
    // held by another process
    fs::create_dir(folder.path("held")).unwrap();
    let lock = File::create(folder.path("held/lock")).unwrap();
    lock.lock().unwrap();
    train(&folder.text("held")).refused(1, "E0914");
    search(&["--out", &folder.text("held")]).refused(1, "E1001");
    drop(lock);
    // not a folder
    train(&folder.text("file")).refused(1, "E0911");
    search(&["--out", &folder.text("file")]).refused(1, "E1002");
    // no run in it
    archc(&["report", &folder.text("held")]).refused(2, "E1005");
    archc(&["search", "--resume", "--out", &folder.text("held")]).refused(2, "E1005");
    fs::write(folder.path("held/run.sqlite"), "garbage that is no database").unwrap();
    archc(&["report", &folder.text("held")]).refused(2, "E1004");
    archc(&["search", "--resume", "--out", &folder.text("held")]).refused(2, "E1004");
    // a run that would be overwritten
    search(&["--out", &folder.text("held")]).refused(2, "E1006");
    // no run at all
    let none = finish(command(&["report"]).current_dir(folder.0.path()).output().unwrap());
    none.refused(2, "E1005");
}

#[test]
fn seeds_that_are_no_programs() {
    let folder = Folder::new(&[("bad.arch", "block B[D] { input x[D] output y }\n"), ("t.arch", TINY)]);
    let search = |seeds: &str, out: &str| archc(&["search", seeds, "--budget", "1s", "--out", &folder.text(out)]);
    search(&folder.text("bad.arch"), "a").refused(2, "E1007");
    search(&folder.text("missing"), "b").refused(1, "E0820");
    for budget in ["0s", "tomorrow", "5"] {
        assert_eq!(archc(&["search", &folder.text("t.arch"), "--budget", budget]).code, 2);
    }
}

/// Disk of 64 KiB, if this user may mount one.
#[cfg(target_os = "linux")]
struct TinyDisk(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl TinyDisk {
    fn new(folder: &Folder) -> Option<Self> {
        let path = folder.path("disk");
        fs::create_dir(&path).ok()?;
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "archc-test"]).arg(&path);
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(path))
    }

    /// Fills the disk completely.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[1; 1024]).is_ok() {}
    }
}

#[cfg(target_os = "linux")]
impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = Folder::new(&[("t.arch", TINY)]);
    let Some(disk) = TinyDisk::new(&folder) else {
        return skipped("a_full_disk", "this user may not mount a tmpfs; the crates' own tests inject failing writers");
    };
    let file = folder.text("t.arch");
    let ugly = TINY.replace(" = 2", "=2");
    let on_disk = |name: &str| disk.0.join(name).to_string_lossy().into_owned();
    fs::write(on_disk("ugly.arch"), &ugly).unwrap();
    // A training whose checkpoint fits once, but not next to its predecessor.
    let big = ["train", &file, "--set", "D=32", "--task", "recall:len=17", "--steps", "4", "--checkpoint-every", "1"];
    archc(&[&big[..], &["--batch", "2", "--out", &on_disk("run")]].concat()).refused(1, "E0911");
    disk.fill();
    archc(&["fmt", &on_disk("ugly.arch")]).refused(1, "E0823");
    assert_eq!(fs::read_to_string(on_disk("ugly.arch")).unwrap(), ugly, "the file is as it was");
    let weights = root().join("tests/fixtures/adaptive_mix_gate.weights.safetensors");
    let input = root().join("tests/fixtures/adaptive_mix_gate.io.safetensors");
    let program = root().join("tests/fixtures/adaptive_mix_gate.arch");
    archc(&[
        "forward".as_ref(),
        program.as_os_str(),
        "--set=D=32".as_ref(),
        "--set=H=2".as_ref(),
        "--weights".as_ref(),
        weights.as_os_str(),
        "--input".as_ref(),
        input.as_os_str(),
        "--output".as_ref(),
        on_disk("y.safetensors").as_ref(),
    ])
    .refused(1, "E0823");
    assert!(!disk.0.join("y.safetensors").exists(), "half a file is no file");
    let search = archc(&["search", &file, "--budget", "2s", "--out", &on_disk("search")]);
    assert_eq!(search.code, 1, "{}", search.err);
    assert!(search.err.contains("error[E1002]") || search.err.contains("error[E1003]"), "{}", search.err);
}
