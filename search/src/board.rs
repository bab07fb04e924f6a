//! Leads and spreads at the close of a generation, computed once for all drafts of the next.
//!
//! Every lead is a mean of paired differences to the fixed anchor on common seeds of the search tier; screening scores are never
//! pooled with it. Programs have few such seeds, so the uncertainty of a lead is estimated from the whole run
//! ([`crate::stats::spread`]): standard deviations by time-mixing mechanism, moderated towards a value shared by the groups. And the
//! largest of many leads is biased upwards, so leads are corrected by empirical Bayes shrinkage ([`crate::stats::shrink`]); parents
//! and finalists are chosen by the corrected ones.

use crate::archive::Archive;
use crate::plan::Tier;
use crate::record::{Candidate, CandidateId};
use crate::schedule;
use crate::stats;
use crate::stats::shrink::{Lead, Shrunk, shrink};
use crate::stats::spread::{Spread, Spreads, pool};
use crate::store::History;
use std::collections::BTreeMap;

/// Prior standard deviation of a paired difference between two seeds, and its weight in degrees of freedom.
const START: Spread = Spread { deviation: 0.2, freedom: 4.0 };

/// Group of differences with a common standard deviation: relation of the two programs, and time-mixing mechanism of the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    kin: bool,
    mixer: String,
}

/// Standing of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stand {
    /// Candidate.
    pub id: CandidateId,
    /// Mean difference to the fixed anchor; 0 for that anchor.
    pub lead: f64,
    /// Number of common seeds behind the lead.
    pub seeds: usize,
    /// Lead after correction for selection of the best of many.
    pub corrected: Shrunk,
}

/// Leads of the programs, and quantities derived from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// Programs with a lead, the largest corrected one first; without controls.
    pub standing: Vec<Stand>,
    places: BTreeMap<CandidateId, usize>,
    spreads: Spreads<Group>,
}

impl Board {
    /// Board of the closed generations.
    pub fn of(history: &History) -> Self {
        let spreads = pool(samples(history), START);
        let mut board = Self { standing: Vec::new(), places: BTreeMap::new(), spreads };
        let Some(fixed) = history.fixed() else { return board };
        let mut rows: Vec<(CandidateId, Lead, usize)> = Vec::new();
        for c in history.evaluated().filter(|c| schedule::counts(c) && c.id != fixed) {
            let leads = history.leads(c.id);
            let Some(mean) = stats::mean(&leads) else { continue };
            let error = board.spread(c, false).error(leads.len());
            rows.push((c.id, Lead { mean, error }, leads.len()));
        }
        let corrected = shrink(&rows.iter().map(|(_, lead, _)| *lead).collect::<Vec<_>>());
        for ((id, lead, seeds), corrected) in rows.into_iter().zip(corrected) {
            board.standing.push(Stand { id, lead: lead.mean, seeds, corrected });
        }
        let at_zero = Shrunk { mean: 0.0, deviation: 0.0, taken: 0.0 };
        let seeds = history.plan().anchor_seeds as usize;
        board.standing.push(Stand { id: fixed, lead: 0.0, seeds, corrected: at_zero });
        board.standing.sort_by(|a, b| b.corrected.mean.total_cmp(&a.corrected.mean).then(a.id.cmp(&b.id)));
        board.places = board.standing.iter().enumerate().map(|(place, stand)| (stand.id, place)).collect();
        board
    }

    /// Standing of a program; none without a lead.
    pub fn stand(&self, id: CandidateId) -> Option<&Stand> {
        self.places.get(&id).map(|&place| &self.standing[place])
    }

    /// Standard deviation of this program's paired differences, to its parent (`kin`) or to the fixed anchor.
    pub fn spread(&self, candidate: &Candidate, kin: bool) -> Spread {
        self.spreads.of(&group(candidate, kin))
    }
}

fn group(candidate: &Candidate, kin: bool) -> Group {
    Group { kin, mixer: candidate.cost.as_ref().map_or_else(String::new, |cost| cost.mixer.clone()) }
}

/// Differences of every evaluated program to the fixed anchor, and to its parent.
fn samples(history: &History) -> Vec<(Group, Vec<f64>)> {
    let mut samples = Vec::new();
    for c in history.evaluated() {
        if let Some(&parent) = c.parents.first() {
            samples.push((group(c, true), history.paired(c.id, parent, Tier::Search)));
        }
        samples.push((group(c, false), history.leads(c.id)));
    }
    samples
}

/// Knowledge that a generation is proposed from.
pub struct Knowledge<'a> {
    /// History from the log.
    pub history: &'a History,
    /// Board of leads.
    pub board: Board,
    /// Archive of the best program of each kind.
    pub archive: Archive,
}

impl<'a> Knowledge<'a> {
    /// Knowledge at the current end of the log.
    pub fn of(history: &'a History) -> Self {
        let board = Board::of(history);
        let archive = Archive::of(history, &board);
        Self { history, board, archive }
    }

    /// Corrected lead of a program over the fixed anchor.
    pub fn lead(&self, id: CandidateId) -> Option<f64> {
        self.board.stand(id).map(|stand| stand.corrected.mean)
    }
}
