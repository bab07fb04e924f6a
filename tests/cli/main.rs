//! The commands as a user runs them, through the binary.

mod bad_input;
mod bench;
mod commands;
mod first_steps;
mod forward;
mod runs;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Result of a command.
struct Run {
    code: i32,
    out: String,
    err: String,
}

/// Command that runs the binary, with no input and no colours.
fn command(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_archc"));
    command.args(args).stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    command
}

/// Runs `archc`, which must not crash on any input.
fn archc(args: &[impl AsRef<OsStr>]) -> Run {
    finish(command(args).output().expect("archc starts"))
}

fn finish(output: std::process::Output) -> Run {
    let run = Run {
        // None: killed by a signal, which counts as a crash.
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    };
    let crashed = run.code == 101 || run.code < 0 || run.err.contains("archc bug") || run.err.contains("panicked");
    assert!(!crashed, "a crash (exit code {}):\n{}", run.code, run.err);
    run
}

impl Run {
    /// Asserts that the command succeeded.
    #[track_caller]
    fn done(self) -> Self {
        assert_eq!(self.code, 0, "it failed:\n{}\n{}", self.out, self.err);
        self
    }

    /// Asserts that the command ended with this exit code and an error of this code, with help.
    #[track_caller]
    fn refused(&self, exit: i32, code: &str) {
        assert!(self.err.contains(&format!("error[{code}]")), "no {code}, but exit {}:\n{}", self.code, self.err);
        assert!(self.err.contains("help: "), "no help:\n{}", self.err);
        assert_eq!(self.code, exit, "{}", self.err);
    }
}

/// Temporary folder with files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder for the test"));
        for (name, text) in files {
            std::fs::write(folder.path(name), text).expect("a file for the test");
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_owned()
    }
}

/// Block that trains very quickly.
const TINY: &str = "block Tiny[D] {\n    input x[D]\n    output conv(x, width = 2) |> linear[D -> D]\n}\n";

/// Reports that a test could not run on this machine.
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}
