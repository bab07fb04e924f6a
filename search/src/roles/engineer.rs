//! Built-in engineer: typed edits of the parent, from the registry of moves.

use super::{Choice, Draft, Engineer};
use crate::moves::{self, Move, Program};
use crate::random::Stream;
use crate::record::{Candidate, Hypothesis};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Engineer that applies moves. It uses only the programs passed to it; its memory is only a cache.
pub struct MoveEngineer {
    moves: Vec<Box<dyn Move>>,
    programs: Mutex<BTreeMap<String, Option<Arc<Program>>>>,
    choices: Mutex<BTreeMap<String, Arc<Vec<Choice>>>>,
}

impl MoveEngineer {
    /// Engineer with all moves of the registry.
    pub fn new() -> Self {
        Self::with(moves::all())
    }

    /// Engineer with these moves.
    pub fn with(moves: Vec<Box<dyn Move>>) -> Self {
        Self { moves, programs: Mutex::default(), choices: Mutex::default() }
    }

    fn program(&self, candidate: &Candidate) -> Option<Arc<Program>> {
        // A panic of a move while the map was locked left it consistent: only complete entries are ever added.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs
            .entry(candidate.source.clone())
            .or_insert_with(|| Program::new(&candidate.source).map(Arc::new))
            .clone()
    }
}

impl Default for MoveEngineer {
    fn default() -> Self {
        Self::new()
    }
}

impl Engineer for MoveEngineer {
    fn choices(&self, candidate: &Candidate) -> Arc<Vec<Choice>> {
        if let Some(known) = self.choices.lock().unwrap_or_else(PoisonError::into_inner).get(&candidate.source) {
            return known.clone();
        }
        let mut choices = Vec::new();
        if let Some(program) = self.program(candidate) {
            for m in &self.moves {
                choices.extend(m.sites(&program).into_iter().map(|site| Choice {
                    action: m.name(),
                    doc: m.doc(),
                    site,
                    needs_other: m.needs_other(),
                }));
            }
        }
        let choices = Arc::new(choices);
        let mut known = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(candidate.source.clone(), choices.clone());
        choices
    }

    fn build(&self, hypothesis: &Hypothesis, parents: &[&Candidate], stream: &mut Stream) -> Result<Draft, String> {
        let action = &hypothesis.action;
        let m = self.moves.iter().find(|m| m.name() == action).ok_or_else(|| format!("there is no move `{action}`"))?;
        let program = |i: usize| parents.get(i).and_then(|c| self.program(c));
        let parent = program(0).ok_or("the parent cannot be read")?;
        let other = program(1);
        if m.needs_other() && other.is_none() {
            return Err(format!("`{action}` needs a second program"));
        }
        let edit = m
            .apply(&parent, &hypothesis.site, other.as_deref(), stream)
            .ok_or_else(|| format!("`{action}` found nothing to do at {}", hypothesis.site.label))?;
        Ok(Draft { source: edit.source, change: edit.summary })
    }
}
