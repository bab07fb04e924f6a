//! The three roles of the search, as traits with built-in implementations that need no network.
//!
//! ```text
//! Researcher   history            -> hypothesis      Bandit, RandomSearch
//! Engineer     hypothesis, parent -> program text    MoveEngineer
//! Analyst      history            -> what it means   PairedAnalyst
//! ```
//! A role is a pure function of what it is given: the history up to the last closed generation and a
//! random stream named after the decision. That is what makes a resumed run propose the same programs.
//! A role that asks somebody else (a language model) is as good: its answer is committed with the
//! generation and never asked for again.

mod analyst;
mod bandit;
mod engineer;
mod random_search;

pub use analyst::PairedAnalyst;
pub use bandit::Bandit;
pub use engineer::MoveEngineer;
pub use random_search::RandomSearch;

use crate::board::Knowledge;
use crate::random::Stream;
use crate::record::{Analysis, Belief, Candidate, Hypothesis, Site};
use crate::store::History;
use std::sync::Arc;

/// Says what to try next.
pub trait Researcher: Sync {
    /// Its name in the records.
    fn name(&self) -> &str;

    /// A hypothesis from what is known, or none if nothing can be tried. `engineer` says what can be built.
    fn propose(&self, known: &Knowledge<'_>, engineer: &dyn Engineer, stream: &mut Stream) -> Option<Hypothesis>;
}

/// Something that can be done to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The move, by name.
    pub action: &'static str,
    /// What it is good for, in a sentence; part of the researcher's why.
    pub doc: &'static str,
    /// Where.
    pub site: Site,
    /// It takes something from a second parent.
    pub needs_other: bool,
}

/// A program made from a hypothesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its text.
    pub source: String,
    /// What was changed, in words.
    pub change: String,
}

/// Turns hypotheses into programs.
pub trait Engineer: Sync {
    /// Everything that can be done to a program, in a fixed order.
    fn choices(&self, candidate: &Candidate) -> Arc<Vec<Choice>>;

    /// Builds it. The parents are those of the hypothesis, in its order.
    ///
    /// # Errors
    /// Says why it could not be built; the hypothesis is then recorded as refused by `edit`.
    fn build(&self, hypothesis: &Hypothesis, parents: &[&Candidate], stream: &mut Stream) -> Result<Draft, String>;
}

/// Says what an experiment has shown.
pub trait Analyst: Sync {
    /// Looks at a generation whose evaluations are all in: an analysis of each of its candidates that trained, and
    /// the beliefs that follow from everything up to here.
    fn study(&self, history: &History, generation: u32) -> (Vec<Analysis>, Vec<Belief>);
}
