//! The strongly connected parts of a scan's states.

use crate::graph::{NodeId, Op};
use crate::scan::algebra::{Algebra, Ref};
use crate::scan::rotation::{state_nodes, turn_of};

/// A strongly connected part of the states.
pub(super) struct Group {
    pub states: Vec<usize>,
    /// Body nodes that depend on its states.
    pub on: Vec<bool>,
    /// Body nodes that its states' next values need.
    pub core: Vec<bool>,
    /// Versions of its only state, if its update is affine in them.
    pub versions: Option<Vec<NodeId>>,
    /// For each body node, the version through which it reads the state.
    pub read: Vec<Option<usize>>,
    /// For two states that may rotate into each other: their next values, and the states themselves.
    pub turned: Vec<[NodeId; 2]>,
}

impl Group {
    pub(super) fn new(algebra: &Algebra, states: &[usize]) -> Self {
        let on = algebra.dependent(states);
        let next: Vec<NodeId> = states.iter().map(|s| algebra.scan.next[*s]).collect();
        let core = algebra.body().reachable(&next);
        let versions = match states {
            [state] => Some(algebra.versions(*state, &on)).filter(|versions| {
                versions.windows(2).all(|pair| algebra.expand(pair[1], pair[0], &|id| !on[id.0 as usize]).is_ok())
                    && versions.first().is_some_and(|v| matches!(algebra.body().op(*v), Op::State(_)))
            }),
            _ => None,
        };
        let turned = match *states {
            // equality of angles is decided later, when the ranges of values are known
            [a, b] if turn_of(algebra, [a, b], &on, &|_| Ref::Outer(NodeId(0))).is_some() => {
                let next = [algebra.scan.next[a], algebra.scan.next[b]];
                [next].into_iter().chain(state_nodes(algebra, [a, b])).collect()
            }
            _ => Vec::new(),
        };
        let read = versions.iter().flat_map(|versions| algebra.versions_read(versions, &on)).collect();
        Self { states: states.to_vec(), on, core, versions, read, turned }
    }
}
