//! The lowered graph: the same program as tensor ops over whole batches, with batch, time, chunks and rows as
//! dimensions like any other.
//!
//! `lower` makes it from the checked graph; `differentiate` extends it to the joint graph (the same IR, with
//! gradients among its results); the plan schedules either. What `Graph` leaves implicit is explicit here: a token
//! value `[H, K]` is `[B, T, H, K]`, and a chunk's rows are a dimension of their own, so that a chunk form is an
//! ordinary graph of contractions, masks and running sums.
//!
//! # Dimensions
//! A value has a set of dimensions, listed in the canonical order ([`Lowered::order`]): by [`Dim::rank`], then by id. That
//! order is also the row-major layout in which a device keeps the value: `[B, T, H, K]`, rows before columns before
//! axes. Dimension ids are `B` = 0, `T` = 1, then the axes of the source graph in their order
//! ([`Lowered::axis_dim`]), then what lowering adds (chunks, rows, columns).
//! Ops broadcast by name; an operand that lacks a dimension is constant along it.
//!
//! # Loops
//! [`Op::Loop`] is the only control flow: for every index of its `map` dimensions (independent, in any order or in
//! parallel) and for every index of `over` in turn, it runs a body. Values of the body have neither the `map`
//! dimensions nor `over`. A chunked scan is a loop over chunks whose body works on rows; a sequential one is a loop
//! over chunks of a loop over tokens; its reverse is one more loop that recomputes the body from the saved entry states.
//! How two of its iterations compose, and along which dimensions they are independent, is read from the body where it is
//! asked ([`Loop::recurrences`]).
//!
//! Invariants (checked by [`verify()`]):
//! - operands come before users;
//! - a value's dimensions are in canonical order and distinct, and are what the op's shape rule says;
//! - a body reads outer values only through [`Op::Capture`] and [`Op::Past`], and none of its values has a mapped
//!   dimension or the one that the loop runs over;
//! - backward-only ops (see [`Op`]) occur only in joint graphs.
//!
//! The smallest example, `block Twice[D]() { input x[D]; output x + x }`, prints as
//! ```text
//! lowered Twice  B=batch T=time D=64
//!   %0 x = input 0            : [B, T, D]
//!   %1   = add %0 %0          : [B, T, D]
//!   output output = %1 [D]
//! ```

mod build;
mod dead;
mod facts;
mod named;
mod op;
mod print;
mod recurrence;
mod verify;

pub use build::Builder;
pub use dead::remove_dead;
pub(crate) use facts::Fact;
pub use op::{Attend, AttendGrad, Loop, LoopState, Op, Pairs, Weighing};
pub use print::{op_name, print};
pub use recurrence::{Recurrence, StepKind};
pub use verify::verify;

use crate::dag::{Id, Operation};
use crate::graph::{AxisId, Graph, ParamId, ParamLayout};
use crate::source::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A dimension of a [`Lowered`] graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimId(pub u32);

/// The batch: sequences side by side.
pub const BATCH: DimId = DimId(0);
/// Tokens of a sequence.
pub const TIME: DimId = DimId(1);

/// Length of a dimension, in terms of the batch's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// A fixed length.
    Fixed(usize),
    /// Number of sequences in the batch.
    Batch,
    /// Number of tokens in a sequence.
    Time,
    /// Number of chunks in a sequence, for chunks of this length; the last one may be ragged.
    Chunks(usize),
    /// Number of tokens before the sequence that an attend may still see, at most this.
    Carried(usize),
    /// Number of tokens that an attend may see: carried ones (at most this many), then those of the sequence.
    Known(usize),
    /// Number of rows of a tile: at most this, and at most the length of the sequence.
    Rows(usize),
}

/// Shape of a batch, which determines symbolic extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of sequences.
    pub batch: usize,
    /// Number of tokens in each sequence.
    pub len: usize,
    /// Room for tokens before the piece that attends may still see. There may be fewer: they end where the piece begins, and entries before
    /// the first one are never visible.
    pub carried: usize,
}

impl Extent {
    /// Length at a shape.
    pub fn at(self, shape: Shape) -> usize {
        match self {
            Self::Fixed(n) => n,
            Self::Batch => shape.batch,
            Self::Time => shape.len,
            Self::Chunks(tokens) => shape.len.div_ceil(tokens),
            Self::Carried(most) => shape.carried.min(most),
            Self::Known(most) => shape.carried.min(most) + shape.len,
            Self::Rows(most) => shape.len.min(most),
        }
    }
}

/// Rank of an axis along which values are stacked, as in [`crate::graph::Graph::layout_order`].
pub const STACKED: u8 = 4;
/// Rank of every other axis.
pub const FIXED: u8 = 5;

/// Name, length and layout rank of a dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Dim {
    /// Name; not unique (the printer tells equal names apart).
    pub name: String,
    /// Length.
    pub extent: Extent,
    /// Rank in the canonical order: 0 batch, 1 chunks, 2 time and rows, 3 columns, then axes ([`STACKED`], [`FIXED`]).
    pub rank: u8,
}

/// A value of one [`Dag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl Id for ValueId {
    fn new(index: usize) -> Self {
        Self(index as u32)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// An op with its result dimensions and origin.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Dimensions of the result in canonical order.
    pub dims: Vec<DimId>,
    /// Name of the binding it comes from; may be empty.
    pub name: String,
    /// Place of that binding.
    pub place: Place,
}

/// Equality of the computation; names and places are ignored.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.dims == other.dims
    }
}

/// Values in topological order. Equality is that of the computation.
pub type Dag = crate::dag::Dag<Op>;

impl Operation for Op {
    type Id = ValueId;
    type Node = Node;
    /// Lowering counts the ops that it builds.
    const VISIT: usize = 0;
}

/// An output of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `output`, or its name.
    pub name: String,
    /// The value, broadcast to `[B, T, axes]` if it has fewer dimensions.
    pub value: ValueId,
    /// Its axes in the order in which the program declares them.
    pub axes: Vec<DimId>,
}

/// A value that the next piece of the sequences needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Carry {
    /// Its name, from [`crate::lower::carried`].
    pub name: String,
    /// The value.
    pub value: ValueId,
    /// Its rounding error, if that is known and matters: for running sums.
    pub low: Option<ValueId>,
    /// The part of it that is carried.
    pub keep: Keep,
}

/// Part of a value that is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The value as it is, `[B, ..]`.
    Whole,
    /// For windows: its last tokens, this many, including those carried before it; padded with zeros.
    Last(usize),
    /// For attends: its last tokens, including those carried before it, as far as documents go back and at most this many.
    Seen(usize),
}

/// A lowered or joint graph.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph that it was lowered from: parameters, inputs, names.
    pub source: Arc<Graph>,
    /// Parameter layout of the program's own graph, shared by all graphs derived from it.
    pub params: ParamLayout,
    /// All dimensions.
    pub dims: Vec<Dim>,
    /// The ops.
    pub dag: Dag,
    /// Outputs of the program.
    pub outputs: Vec<Output>,
    /// The training objective and its part that is cross-entropy: scalars; none for a block without a `loss`.
    pub objective: Option<(ValueId, ValueId)>,
    /// Values carried to the next piece; empty unless requested.
    pub carries: Vec<Carry>,
    /// Joint graphs: the gradient of each trainable parameter, with the parameter's dimensions.
    pub param_grads: Vec<(ParamId, ValueId)>,
    /// Joint graphs: the gradient of each input, where requested.
    pub input_grads: Vec<(usize, ValueId)>,
    /// Joint graphs: the number of forward nodes; those after them are backward.
    pub forward_nodes: usize,
    /// Joint graphs: whether a run ends with an update of the parameters.
    pub update: bool,
    /// See [`crate::lower::LowerOptions::careful`].
    pub careful: bool,
}

impl Lowered {
    /// Place of the construct with the most ops, those of bodies included.
    pub fn largest(&self) -> Option<Place> {
        let forward = &self.dag.nodes()[..self.forward_nodes.min(self.dag.len())];
        let mut ops: BTreeMap<Place, usize> = BTreeMap::new();
        for node in forward {
            let inside = match &node.op {
                Op::Loop(l) => l.body.len(),
                Op::Attend(a) => a.body.len(),
                _ => 0,
            };
            *ops.entry(node.place).or_default() += 1 + inside;
        }
        ops.into_iter().max_by_key(|(_, ops)| *ops).map(|(place, _)| place)
    }

    /// The dimension of an axis of the source graph.
    pub fn axis_dim(axis: AxisId) -> DimId {
        DimId(axis.0 + 2)
    }

    /// A dimension by id.
    pub fn dim(&self, id: DimId) -> &Dim {
        &self.dims[id.0 as usize]
    }

    /// Sorts into the canonical order and removes duplicates.
    pub fn order(&self, dims: &mut Vec<DimId>) {
        order(&self.dims, dims);
    }

    /// All carried values, each followed by its low part if it has one.
    pub fn carried(&self) -> impl Iterator<Item = ValueId> {
        self.carries.iter().flat_map(|c| [Some(c.value), c.low]).flatten()
    }

    /// All values that the outside reads.
    pub fn roots(&self) -> Vec<ValueId> {
        let objective = self.objective.iter().flat_map(|(a, b)| [*a, *b]);
        let outputs = self.outputs.iter().map(|o| o.value);
        let carries = self.carried();
        let params = self.param_grads.iter().map(|g| g.1);
        let inputs = self.input_grads.iter().map(|g| g.1);
        outputs.chain(objective).chain(carries).chain(params).chain(inputs).collect()
    }
}

/// Sorts into the canonical order and removes duplicates.
pub(crate) fn order(table: &[Dim], dims: &mut Vec<DimId>) {
    dims.sort_by_key(|d| (table[d.0 as usize].rank, *d));
    dims.dedup();
}
