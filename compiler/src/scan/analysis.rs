//! What is known of a graph's scans: split, with their origins and classes.

use super::classify::{Classes, classify_scans};
use super::split::{Origin, split_scans_and_tell};
use crate::graph::{Graph, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The scans of a graph, analysed once: checks, derivations and every lowering of the graph read the same.
#[derive(Debug)]
pub struct Scans {
    /// The graph with its scans split.
    pub graph: Graph,
    /// Origins of its scans, windows and attends.
    pub(crate) origins: BTreeMap<NodeId, Origin>,
    /// Classes of its scans.
    pub classes: Classes,
}

impl Scans {
    /// The analysis of a finished graph, kept with it.
    pub fn of(graph: &Graph) -> Arc<Self> {
        graph.derived.get(|| Self::new(graph))
    }

    /// The analysis of a graph that is not kept.
    pub(crate) fn new(graph: &Graph) -> Self {
        let (graph, origins) = split_scans_and_tell(graph);
        let classes = classify_scans(&graph);
        Self { graph, origins, classes }
    }
}
