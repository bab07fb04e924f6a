//! Diagnostics: everything that `archc` has to say about a program, its weights, its data or its run.
//!
//! A diagnostic has a stable code, says in its message *what* is wrong, in its labels *where*, and in
//! its help *what to write*. Every room makes them through named constructors and keeps a table of its
//! codes ([`Code`]) with the long text that `archc explain` prints.

mod render;

use crate::source::Place;
use serde::Serialize;

pub use render::{line_column, render, to_json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The program runs, but probably not as meant.
    Warning,
    /// The program is refused.
    Error,
}

/// A place and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// What; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `E0123`; stable.
    pub code: &'static str,
    /// Error, warning or note.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where; none for findings about files that are not source text.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub labels: Vec<Label>,
    /// Further facts, one sentence each.
    pub notes: Vec<String>,
    /// What to write or do instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without a place; add one with [`Diagnostic::at`].
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: None,
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Says where.
    pub fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.primary = Some(Label { place, text: text.into() });
        self
    }

    /// Adds another place.
    pub fn label(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place, text: text.into() });
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says what to write.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Whether the program is refused.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The long form of a code, for `archc explain`.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// `E0123`
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// Some paragraphs: the rule, why it is there, a wrong and a right example.
    pub text: &'static str,
}

/// Orders findings by place, then code, so that output never depends on the order of the passes.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.primary.as_ref().map(|l| l.place), d.code);
        key(a).cmp(&key(b))
    });
}
