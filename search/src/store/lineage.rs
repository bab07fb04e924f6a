//! Check of a candidate's parents in a log.

use crate::record::{Candidate, CandidateId, Verdict};

/// Checks that a candidate descends from earlier ones, and repeats an earlier one: in an edited log where a candidate
/// is its own parent, following the parents would never end.
///
/// # Errors
/// Description of the wrong number.
pub fn lineage_is_sound(candidate: &Candidate) -> Result<(), String> {
    let id = candidate.id;
    let thought = candidate.hypothesis.iter().flat_map(|h| &h.parents);
    if let Some(parent) = candidate.parents.iter().chain(thought).find(|parent| **parent >= id) {
        return Err(format!("{id} comes from {parent}, which is not before it"));
    }
    let other: Option<CandidateId> = match &candidate.verdict {
        Verdict::Duplicate { of } => Some(*of).filter(|of| *of >= id),
        Verdict::Outranked { by } => Some(*by).filter(|by| *by == id),
        Verdict::Admitted | Verdict::Rejected { .. } => None,
    };
    match other {
        Some(other) => Err(format!("{id} gives way to {other}, which is not another one before it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    #[test]
    fn nobody_is_its_own_parent() {
        let candidate = |parents: &[u32], verdict| Candidate {
            id: CandidateId(3),
            generation: 1,
            slot: 0,
            attempt: 0,
            origin: Origin::Proposed,
            name: String::new(),
            source: String::new(),
            hypothesis: None,
            parents: parents.iter().copied().map(CandidateId).collect(),
            change: String::new(),
            diff: String::new(),
            hash: String::new(),
            family: String::new(),
            verdict,
            findings: Vec::new(),
            cost: None,
        };
        let sound = |parents: &[u32], verdict| lineage_is_sound(&candidate(parents, verdict)).is_ok();
        assert!(sound(&[], Verdict::Admitted) && sound(&[2, 0], Verdict::Duplicate { of: CandidateId(1) }));
        assert!(sound(&[2], Verdict::Outranked { by: CandidateId(4) }));
        assert!(!sound(&[3], Verdict::Admitted) && !sound(&[0, 4], Verdict::Admitted));
        assert!(!sound(&[0], Verdict::Duplicate { of: CandidateId(3) }));
    }
}
