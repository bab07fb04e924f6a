//! What is printed where, in which form, and with which exit code.

use archc_compiler::diag::{Diagnostic, render, to_json};
use archc_compiler::source::SourceMap;
use serde_json::{Map, Value, json};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

/// Something outside of the program failed.
pub const SURROUNDINGS: u8 = 1;
/// The program or the request was refused.
pub const REFUSED: u8 = 2;
/// A training diverged.
pub const DIVERGED: u8 = 3;
/// Interrupted; the same command goes on (EX_TEMPFAIL of sysexits.h).
pub const INTERRUPTED: u8 = 75;
/// A bug of ours.
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

/// Why a command ends early.
pub enum Stop {
    /// With findings, not printed yet.
    Findings(Vec<Diagnostic>, Box<SourceMap>),
    /// Our output cannot be written.
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

/// An exit code, or why there is none yet.
pub type Done = Result<u8, Stop>;

/// The streams of a command.
pub struct Output {
    json: bool,
    color: bool,
}

impl Output {
    /// Decides on colours once. Only findings are coloured, and they go to standard error.
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

    /// Prints findings. Gives the exit code that they ask for.
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

    /// A result for people; nothing in JSON.
    pub fn text(&self, text: &str) -> Result<(), Stop> {
        if self.json { Ok(()) } else { self.raw(text) }
    }

    /// Text as it is, whatever the format: what was asked for is the text.
    pub fn raw(&self, text: &str) -> Result<(), Stop> {
        written(&mut io::stdout().lock(), text)
    }

    /// A result for programs; nothing for people.
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

    /// A remark on standard error for people; nothing in JSON.
    pub fn note(&self, text: &str) -> Result<(), Stop> {
        if self.json { Ok(()) } else { self.tell(&format!("{text}\n")) }
    }

    fn tell(&self, text: &str) -> Result<(), Stop> {
        written(&mut io::stderr(), text)
    }

    /// Prints what is left to say and gives the exit code of the process.
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
                // Only standard error may be left.
                let _ = self.tell(&render(&full, &SourceMap::new(), self.color));
                return SURROUNDINGS;
            }
        };
        self.findings(&findings, &sources).unwrap_or(SURROUNDINGS)
    }
}

/// Writes a text. Where whoever read has gone (`archc ... | head`) there is nothing more to write, and the command goes on: what it does
/// and how it ends do not depend on who reads along.
fn written(stream: &mut dyn Write, text: &str) -> Result<(), Stop> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// The exit code that an error asks for.
fn exit_code(code: &str) -> u8 {
    match code {
        // files, folders and programs that cannot be read, written, locked or started
        "E0820" | "E0823" | "E0847" | "E0849" | "E0904" | "E0928" | "E0911" | "E0914" | "E1001" | "E1002" | "E1003"
        | "E1010" | "E1012" => SURROUNDINGS,
        "E0399" | "E0899" | "E0916" => BUG,
        _ => REFUSED,
    }
}

/// What is said of a panic; with RUST_BACKTRACE=1 also the calls that led to it.
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
