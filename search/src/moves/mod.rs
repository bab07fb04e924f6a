//! Moves: typed edits that make one program from another.
//!
//! A [`Move`] knows where in a program it applies ([`Move::sites`]) and makes the edit there
//! ([`Move::apply`]). It reads the program as the compiler sees it, and edits the syntax tree, never the text; the
//! result is printed by the formatter, so that a person can read every candidate.
//!
//! - Sites are listed in the order of the text and numbered from 0, so that a site recorded in the log means
//!   the same place when the run is replayed.
//! - A move is a pure function of its arguments; all chance comes from the stream.
//! - A move may return nothing (the site turned out not to fit). What it returns should check; the static
//!   screen decides, and counts.
//!
//! One file a move, one line in [`all`].

mod number;

use crate::random::Stream;
use crate::record::Site;
use archc_grammar::ast::File;

/// A program as a move sees it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its text.
    pub source: String,
    /// Its tree, with spans into the text.
    pub file: File,
}

impl Program {
    /// Reads a program; none if it does not parse.
    pub fn new(source: &str) -> Option<Self> {
        let parsed = archc_grammar::parse(source);
        parsed.errors.is_empty().then(|| Self { source: source.to_owned(), file: parsed.file })
    }
}

/// What a move made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The whole new program.
    pub source: String,
    /// What was changed, in words: `gate of the output: sigmoid -> silu`.
    pub summary: String,
}

/// A kind of change.
pub trait Move: Send + Sync {
    /// Its name in records and beliefs; stable.
    fn name(&self) -> &'static str;

    /// When it helps, in a sentence for the record of an experiment.
    fn doc(&self) -> &'static str;

    /// It takes something from a second program.
    fn needs_other(&self) -> bool {
        false
    }

    /// Where it applies, in the order of the text; `index` counts from 0.
    fn sites(&self, program: &Program) -> Vec<Site>;

    /// Makes the change at one of the sites of [`Move::sites`], or nothing if it does not fit.
    fn apply(&self, program: &Program, site: &Site, other: Option<&Program>, stream: &mut Stream) -> Option<Edit>;
}

/// Every move, in a fixed order.
pub fn all() -> Vec<Box<dyn Move>> {
    vec![Box::new(number::ChangeNumber)]
}
