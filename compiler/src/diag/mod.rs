//! Diagnostics: all messages of `archc` about a program, its weights, its data or its run.
//!
//! A diagnostic has a stable code; its message says *what* is wrong, its labels *where*, and
//! its help *what to write*. Every module makes them through named constructors and keeps a table of its
//! codes ([`Code`]) with the explanations that `archc explain` prints.

mod render;

use crate::source::Place;
use serde::Serialize;

pub use render::{line_column, render, to_json};

/// Severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Information.
    Note,
    /// The program runs, but probably not as meant.
    Warning,
    /// The program is refused.
    Error,
}

/// A place with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub place: Place,
    /// The text; may be empty.
    pub text: String,
}

/// One diagnostic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `E0123`; stable.
    pub code: &'static str,
    /// Error, warning or note.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Main place; none for diagnostics about files that are not source text.
    pub primary: Option<Label>,
    /// Other relevant places.
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

    /// Sets the main place.
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

    /// Sets the help text.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Whether the program is refused.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Explanation of a code, for `archc explain`.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// `E0123`
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// Some paragraphs: the rule, its reason, a wrong and a right example.
    pub text: &'static str,
}

/// Sorts diagnostics by place, then code, so that output never depends on the order of the passes.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.primary.as_ref().map(|l| l.place), d.code);
        key(a).cmp(&key(b))
    });
}
