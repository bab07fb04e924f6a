//! The three roles of the search, as traits with built-in implementations that need no network.
//!
//! ```text
//! Researcher   history            -> hypothesis      Bandit, RandomSearch
//! Engineer     hypothesis, parent -> program text    MoveEngineer
//! Analyst      history            -> conclusions     PairedAnalyst
//! ```
//! A role is a pure function of its arguments: the history up to the last closed generation and a random-number stream
//! named after the decision. A resumed run therefore proposes the same programs. A role that queries an external
//! service (a language model) works as well: its answer is committed with the generation and never requested again.

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

/// Researcher: proposes hypotheses.
pub trait Researcher: Sync {
    /// Name in the records.
    fn name(&self) -> &str;

    /// Proposes a hypothesis from the knowledge so far, or none if nothing can be tried. `engineer` lists what can be
    /// built.
    fn propose(&self, known: &Knowledge<'_>, engineer: &dyn Engineer, stream: &mut Stream) -> Option<Hypothesis>;
}

/// Change that can be made to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Name of the move.
    pub action: &'static str,
    /// Purpose of the move, in a sentence; part of the researcher's reason.
    pub doc: &'static str,
    /// Site of the change.
    pub site: Site,
    /// Whether it takes something from a second parent.
    pub needs_other: bool,
}

/// Program made from a hypothesis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Source text.
    pub source: String,
    /// Description of the change.
    pub change: String,
}

/// Engineer: turns hypotheses into programs.
pub trait Engineer: Sync {
    /// All changes that can be made to a program, in a fixed order.
    fn choices(&self, candidate: &Candidate) -> Arc<Vec<Choice>>;

    /// Builds the program of a hypothesis. The parents are those of the hypothesis, in its order.
    ///
    /// # Errors
    /// Reason why it could not be built; the hypothesis is then recorded as refused by `edit`.
    fn build(&self, hypothesis: &Hypothesis, parents: &[&Candidate], stream: &mut Stream) -> Result<Draft, String>;
}

/// Analyst: evaluates the results of experiments.
pub trait Analyst: Sync {
    /// Analyses a generation whose evaluations are complete: returns an analysis of each of its trained candidates, and
    /// the beliefs that follow from everything up to this generation.
    fn study(&self, history: &History, generation: u32) -> (Vec<Analysis>, Vec<Belief>);
}
