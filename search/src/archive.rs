//! Archive of the best program of each kind, so that the search keeps several ideas alive (MAP-Elites, Mouret and
//! Clune, arXiv 1504.04909). A kind is a cell: state size x time-mixing mechanism x compute.

use crate::board::Board;
use crate::record::{Candidate, CandidateId, Cost};
use crate::store::History;
use std::collections::BTreeMap;

/// Cell of the archive: a kind of program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Mechanism that mixes time.
    pub mixer: String,
    /// log2 of the state size, rounded; 0 without a state.
    pub state: u32,
    /// log2 of the FLOPs per token, rounded.
    pub compute: u32,
}

impl Cell {
    /// Cell of a program of this cost.
    pub fn of(cost: &Cost) -> Self {
        let log = |x: f64| x.max(1.0).log2().round() as u32;
        Self { mixer: cost.mixer.clone(), state: log(cost.state as f64), compute: log(cost.flops_per_token) }
    }
}

/// Cells with their best programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// Best program of each cell, with its corrected lead over the fixed anchor.
    pub cells: BTreeMap<Cell, (CandidateId, f64)>,
    /// Number of trained programs in each cell.
    pub visits: BTreeMap<Cell, u32>,
}

impl Archive {
    /// Archive that follows from the board.
    pub fn of(history: &History, board: &Board) -> Self {
        let mut archive = Self::default();
        for stand in &board.standing {
            let (id, lead) = (stand.id, stand.corrected.mean);
            let Some(cost) = history.candidate(id).and_then(|c: &Candidate| c.cost.as_ref()) else { continue };
            let cell = Cell::of(cost);
            *archive.visits.entry(cell.clone()).or_default() += 1;
            // The standing is sorted best first, so the first program of a cell holds it.
            archive.cells.entry(cell).or_insert((id, lead));
        }
        archive
    }

    /// Best programs of the cells, the one with the largest lead first.
    pub fn elites(&self) -> Vec<CandidateId> {
        let mut holders: Vec<(CandidateId, f64)> = self.cells.values().copied().collect();
        holders.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        holders.into_iter().map(|(id, _)| id).collect()
    }
}
