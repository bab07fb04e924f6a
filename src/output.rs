//! Output of commands: streams, formats and exit codes.

use archc_compiler::diag::{Diagnostic, render, to_json};
use archc_compiler::source::SourceMap;
use serde_json::{Map, Value, json};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

/// Exit code: something outside of the program failed.
pub const SURROUNDINGS: u8 = 1;
/// Exit code: the program or the request was refused.
pub const REFUSED: u8 = 2;
/// Exit code: a training diverged.
pub const DIVERGED: u8 = 3;
/// Exit code: interrupted; the same command resumes (EX_TEMPFAIL of sysexits.h).
pub const INTERRUPTED: u8 = 75;
/// Exit code: a bug of archc.
pub const BUG: u8 = 101;

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs: one object a line.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Reason why a command ends early.
pub enum Stop {
    /// Diagnostics that are not printed yet.
    Findings(Vec<Diagnostic>, Box<SourceMap>),
    /// The output cannot be written.
    Output(io::Error),
}

impl From<Diagnostic> for Stop {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Findings(vec![diagnostic], Box::default())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Exit code, or the reason why there is none yet.
pub type Done = Result<u8, Stop>;

/// Output streams of a command.
pub struct Output {
    json: bool,
    color: bool,
}

impl Output {
    /// Decides on colours once. Only diagnostics are coloured, and they go to standard error.
    pub fn new(format: Format, color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { json: format == Format::Json, color }
    }

    /// Whether messages are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints diagnostics. Returns the exit code that they imply.
    pub fn findings(&self, diagnostics: &[Diagnostic], sources: &SourceMap) -> Done {
        for diagnostic in diagnostics {
            if self.json {
                self.object("finding", to_json(diagnostic, sources))?;
            } else {
                self.tell(&format!("{}\n", render(diagnostic, sources, self.color)))?;
            }
        }
        Ok(diagnostics.iter().filter(|d| d.is_error()).map(|d| exit_code(d.code)).max().unwrap_or(0))
    }

    /// Prints a result in text format; prints nothing in JSON format.
    pub fn text(&self, text: &str) -> Result<(), Stop> {
        if self.json { Ok(()) } else { self.raw(text) }
    }

    /// Prints text verbatim in both formats, because the text is the requested result.
    pub fn raw(&self, text: &str) -> Result<(), Stop> {
        written(&mut io::stdout().lock(), text)
    }

    /// Prints a result in JSON format; prints nothing in text format.
    pub fn object(&self, kind: &str, value: Value) -> Result<(), Stop> {
        if !self.json {
            return Ok(());
        }
        let mut object = Map::from_iter([("kind".to_owned(), json!(kind))]);
        match value {
            Value::Object(entries) => object.extend(entries),
            other => {
                object.insert("value".into(), other);
            }
        }
        self.raw(&format!("{}\n", Value::Object(object)))
    }

    /// Prints a remark to standard error in text format; prints nothing in JSON format.
    pub fn note(&self, text: &str) -> Result<(), Stop> {
        if self.json { Ok(()) } else { self.tell(&format!("{text}\n")) }
    }

    fn tell(&self, text: &str) -> Result<(), Stop> {
        written(&mut io::stderr(), text)
    }

    /// Prints the final messages and returns the exit code of the process.
    pub fn finish(&self, done: Done) -> u8 {
        let stop = match done {
            Ok(code) => return code,
            Err(stop) => stop,
        };
        let (findings, sources) = match stop {
            Stop::Findings(findings, sources) => (findings, *sources),
            Stop::Output(error) => {
                let message = format!("cannot write the output: {error}");
                let full = Diagnostic::error("E0823", message).help("make room, or write to another place");
                // Only standard error may still be open.
                let _ = self.tell(&render(&full, &SourceMap::new(), self.color));
                return SURROUNDINGS;
            }
        };
        self.findings(&findings, &sources).unwrap_or(SURROUNDINGS)
    }
}

/// Writes a text. If the reader has closed the pipe (`archc ... | head`), the text is dropped and the command continues: its work and
/// exit code do not depend on the reader.
fn written(stream: &mut dyn Write, text: &str) -> Result<(), Stop> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// Exit code of an error.
fn exit_code(code: &str) -> u8 {
    match code {
        // files, folders and programs that cannot be read, written, locked or started
        "E0820" | "E0823" | "E0847" | "E0849" | "E0904" | "E0928" | "E0911" | "E0914" | "E1001" | "E1002" | "E1003"
        | "E1010" | "E1012" => SURROUNDINGS,
        "E0399" | "E0899" | "E0916" => BUG,
        _ => REFUSED,
    }
}

/// Message for a panic; with RUST_BACKTRACE=1 also the calls that led to it.
pub fn bug(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without a message");
    let text = text.strip_prefix("archc bug: ").unwrap_or(text);
    let place = info.location().map_or_else(String::new, |l| format!(" ({}:{})", l.file(), l.line()));
    let mut told = format!("archc bug: {text}{place}\nPlease report it with the program and the command.\n");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        told.push_str(&format!("{trace}\n"));
    }
    told
}
