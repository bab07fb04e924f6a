//! The normal form of a recurrence that can run in chunks.
//!
//! At each token the state S `[heads, K, V]` first decays, then [`Event`]s add rank-one updates in turn. An event with a key b
//! adds b u^T, where u is a sum of given values and of a [`Delta`]: a read a^T S of the state itself, scaled. So linear
//! attention is one event without a delta, and the delta rule one event whose u is beta (v - k^T S). Events of one time read
//! the same S, before any of them has written. [`Read`]s look at S at some point of the token.
//!
//! Two states that a token rotates into each other are one state of complex numbers, whose two parts are a key axis ([`Rotation`]).
//!
//! A read `before` the decay sees the state that the last token left; `sees` tells which of the token's own events it sees.

use crate::graph::{AxisId, Dag, NodeId, Op, State};

/// A vector with a factor that lacks the vector's own axes: `scale * vector`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// One number per head, or none for 1.
    pub scale: Option<NodeId>,
    /// The vector; none for ones.
    pub vector: Option<NodeId>,
}

/// Decay of the state at each token: by its logarithm, at most 0, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// No decay.
    None,
    /// One factor per head.
    Scalar(NodeId),
    /// One factor per head that may be near 0 or of either sign, at most 1 in size: the factor itself. A chunk multiplies such decays and
    /// never takes their logarithms, through which the gradient would lose its digits near 0.
    Product(NodeId),
    /// One factor per head and key channel: rows of S.
    Key(NodeId),
    /// One factor per head and value channel: columns of S.
    Value(NodeId),
}

impl Decay {
    /// Node of the decay: a logarithm, or for [`Self::Product`] the factor.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::None => None,
            Self::Scalar(node) | Self::Product(node) | Self::Key(node) | Self::Value(node) => Some(node),
        }
    }
}

/// Rotation of the state at each token, together with its decay: two states are the parts of complex numbers, and the two elements at each
/// index rotate by an angle, (re, im) <- (cos(w) re - sin(w) im, sin(w) re + cos(w) im). The two parts are a key axis: keys and queries are
/// complex vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// w: one angle per head, or one per head and key channel.
    pub angle: NodeId,
    /// Axis of the two parts.
    pub part: AxisId,
}

/// View of the token's own events by a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Whether it reads the state before the token's decay; else after it.
    pub before: bool,
    /// Visibility of each event.
    pub sees: Vec<Seen>,
}

/// Visibility of an event to a reader at the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Not yet written.
    No,
    /// Written, and unchanged from then to the end of the token.
    Yes,
    /// Written, and decayed less than at the end of the token: this is the product of the reader's vector and the event's key at that
    /// point, over K.
    Dot(NodeId),
}

/// A read of the state that is written back into it: scale * a^T S.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The read key, with a factor.
    pub key: Scaled,
    /// Time of the read.
    pub sight: Sight,
}

/// A rank-one update: S gains key u^T, u = delta + sum of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// b or k: over K.
    pub key: NodeId,
    /// The value that it removes from the state first.
    pub delta: Option<Delta>,
    /// Written values, over V.
    pub values: Vec<Scaled>,
}

/// Side of S that a read contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// q^T S, over K.
    Key,
    /// S p, over V.
    Value,
}

/// A read of the state, for the emit of the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// q, over K (or V), and further rows.
    pub query: NodeId,
    /// Contracted side.
    pub side: Side,
    /// Time of the read.
    pub sight: Sight,
    /// Axes that are summed after the read: heads, and those of the other side.
    pub summed: Vec<AxisId>,
}

/// A recurrence in normal form. See the module's essay.
#[derive(Clone, Debug)]
pub struct Form {
    /// Computation of the operands: state-free, at one token. [`crate::graph::Op::Capture`] i is [`Self::leaves`] i.
    pub dag: Dag,
    /// Nodes of the graph's own DAG, all before the scan.
    pub leaves: Vec<NodeId>,
    /// The state; for two that rotate into each other both, by one name, with the axis of the parts.
    pub state: State,
    /// Axes of the state that are mapped over.
    pub heads: Vec<AxisId>,
    /// Axes that reads of the state contract.
    pub keys: Vec<AxisId>,
    /// The other axes of the state.
    pub values: Vec<AxisId>,
    /// Decay at the beginning of the token.
    pub decay: Decay,
    /// Whether the decay is negative: its logarithm is that of its size.
    pub negative: bool,
    /// Rotation at the beginning of the token.
    pub rotation: Option<Rotation>,
    /// Updates in order.
    pub events: Vec<Event>,
    /// Reads, one for each emit.
    pub reads: Vec<Read>,
    /// Whether the initial value is 0.
    pub from_zero: bool,
    /// States that run in one loop with this one: further value columns for the same pairs of rows.
    pub beside: Vec<String>,
}

impl Form {
    /// All operands: the nodes of the DAG that the equations read.
    pub fn operands(&self) -> Vec<NodeId> {
        let scaled = |s: &Scaled| s.scale.into_iter().chain(s.vector);
        let dots = |s: &Sight| {
            let dot = |seen: &Seen| if let Seen::Dot(node) = seen { Some(*node) } else { None };
            s.sees.iter().filter_map(dot).collect::<Vec<NodeId>>()
        };
        let mut all: Vec<NodeId> = self.decay.node().into_iter().collect();
        all.extend(self.rotation.map(|r| r.angle));
        for event in &self.events {
            all.push(event.key);
            all.extend(event.values.iter().flat_map(scaled));
            if let Some(delta) = &event.delta {
                all.extend(scaled(&delta.key));
                all.extend(dots(&delta.sight));
            }
        }
        for read in &self.reads {
            all.push(read.query);
            all.extend(dots(&read.sight));
        }
        all
    }

    /// Nodes of the graph's own DAG from which the operands are computed.
    pub fn leaves_used(&self) -> Vec<NodeId> {
        let used = self.dag.reachable(&self.operands());
        let leaf = |id: NodeId| match self.dag.op(id) {
            Op::Capture(i) if used[id.0 as usize] => Some(self.leaves[*i]),
            _ => None,
        };
        self.dag.ids().filter_map(leaf).collect()
    }
}
