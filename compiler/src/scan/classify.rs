//! `classify_scans`: the class of every scan of a split graph.

use super::Form;
use crate::graph::{Graph, NodeId, Op};
use crate::source::Place;
use std::collections::BTreeMap;

/// How a scan's recurrence can be run, by the algebra behind it.
#[derive(Clone, Debug)]
pub enum ScanClass {
    /// Rank-one updates under a decay of at most 1 (arXiv 2312.06635, 2406.06484, 2412.06464).
    Chunk(Box<Form>),
    /// Every number of the state by itself.
    Elementwise(Elementwise),
    /// Token by token.
    Sequential(Reason),
}

/// Why the numbers of a state go their own ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elementwise {
    /// h <- a h + b (arXiv 2311.06281).
    Affine,
    /// h <- max(h + a, b): the same over the semiring of max and plus.
    MaxPlus,
    /// h <- log(exp(h + a) + exp(b)).
    LogSumExp,
    /// Two states turned or mixed by a 2 x 2 block (arXiv 2303.06349).
    Blocks,
}

/// Why a scan must run token by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The update is not affine in the state.
    Nonlinear(String),
}

/// A scan with its class.
#[derive(Clone, Debug)]
pub struct Part {
    /// Names of its states.
    pub states: Vec<String>,
    /// Its class.
    pub class: ScanClass,
    /// Why, in a sentence.
    pub why: String,
    /// Where the scan was written.
    pub place: Place,
}

/// The classes of all scans of a graph.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// By the scan's node.
    pub parts: BTreeMap<NodeId, Part>,
    /// Tokens a chunk.
    pub chunk: usize,
}

/// Finds the class of every scan of a split graph.
pub fn classify_scans(graph: &Graph, chunk: usize) -> Classes {
    let mut classes = Classes { parts: BTreeMap::new(), chunk };
    for id in graph.dag.ids() {
        if let Op::Scan(scan) = graph.dag.op(id) {
            let why = "not classified".to_string();
            let part = Part {
                states: scan.states.iter().map(|s| s.name.clone()).collect(),
                class: ScanClass::Sequential(Reason::Nonlinear(why.clone())),
                why,
                place: graph.dag.node(id).place,
            };
            classes.parts.insert(id, part);
        }
    }
    classes
}
