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
//!
//! Invariants (checked by [`verify`]):
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
mod named;
mod print;
mod verify;

pub use build::Builder;
pub use dead::remove_dead;
pub use print::{op_name, print};
pub use verify::verify;

use crate::graph::{AxisId, BinaryOp, Graph, ParamId, ReduceOp, UnaryOp};
use crate::source::Place;
use std::sync::Arc;

/// A dimension of a [`Lowered`] graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimId(pub u32);

/// The batch: sequences side by side.
pub const BATCH: DimId = DimId(0);
/// Tokens of a sequence.
pub const TIME: DimId = DimId(1);

/// How long a dimension is, in terms of the batch's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// So many.
    Fixed(usize),
    /// Sequences in the batch.
    Batch,
    /// Tokens a sequence.
    Time,
    /// Chunks of so many tokens that a sequence makes, the last one possibly ragged.
    Chunks(usize),
    /// Tokens before the sequence that an attend may still see, at most so many.
    Carried(usize),
    /// Tokens that an attend may see: carried ones, then those of the sequence.
    Known(usize),
    /// Rows of a tile, at most so many: no more than a short sequence has.
    Rows(usize),
}

/// The shape of a batch: what symbolic extents stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Sequences.
    pub batch: usize,
    /// Tokens a sequence.
    pub len: usize,
    /// Room for tokens before the piece that attends may still see. There may be fewer: they end where the piece begins, and what
    /// is before the first one is never visible.
    pub carried: usize,
}

impl Extent {
    /// The length at a shape.
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

/// Rank of an axis along which values are stacked, as [`crate::graph::Graph::layout_order`] has it.
pub const STACKED: u8 = 4;
/// Rank of every other axis.
pub const FIXED: u8 = 5;

/// What a dimension is called, how long it is, and where it stands in a layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Dim {
    /// Name; not unique (the printer tells equal names apart).
    pub name: String,
    /// Length.
    pub extent: Extent,
    /// Place in the canonical order: 0 batch, 1 chunks, 2 time and rows, 3 columns, then axes ([`STACKED`], [`FIXED`]).
    pub rank: u8,
}

/// A value of one [`Dag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// An op with its operands, result dimensions and origin.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Operands in order.
    pub operands: Vec<ValueId>,
    /// Dimensions of the result in canonical order.
    pub dims: Vec<DimId>,
    /// The binding it comes from; may be empty.
    pub name: String,
    /// Where that was written.
    pub place: Place,
}

/// What is computed, whatever it is called and wherever it was written.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.operands == other.operands && self.dims == other.dims
    }
}

/// Values in topological order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dag {
    /// Nodes; ids are indices.
    pub nodes: Vec<Node>,
}

impl Dag {
    /// A node by id.
    pub fn node(&self, id: ValueId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// All ids, operands first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.nodes.len() as u32).map(ValueId)
    }

    /// Marks every value on which one of the roots depends, roots included.
    pub fn reachable(&self, roots: &[ValueId]) -> Vec<bool> {
        let mut seen = vec![false; self.nodes.len()];
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut seen[id.0 as usize], true) {
                stack.extend(&self.node(id).operands);
            }
        }
        seen
    }
}

/// A state of a loop.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopState {
    /// Its name.
    pub name: String,
    /// Its dimensions inside of the body (without mapped ones).
    pub dims: Vec<DimId>,
}

/// See the module's essay.
///
/// Operands of the loop node: the initial value of each state (dimensions: mapped ones and the state's own, or fewer), then
/// the captures. [`Op::Emit`] i of the node is body value `emits[i]` at every iteration, stacked along `over`:
/// dimensions `map` + `over` + the value's. [`Op::Final`] i is state i after the last iteration: `map` + the state's.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The dimension that is run through in turn.
    pub over: DimId,
    /// From the last index to the first.
    pub reverse: bool,
    /// Dimensions whose indices are independent.
    pub map: Vec<DimId>,
    /// What is carried from one iteration to the next.
    pub states: Vec<LoopState>,
    /// One iteration. Leaves: [`Op::State`], [`Op::Capture`], constants.
    pub body: Dag,
    /// For each state its value after the iteration, with all of the state's dimensions.
    pub next: Vec<ValueId>,
    /// Values given out at each iteration, by name.
    pub emits: Vec<(String, ValueId)>,
}

/// How an attend weighs the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weighing {
    /// softmax of this `[rows, cols]` over the visible tokens
    Score(ValueId),
    /// this itself
    Weight(ValueId),
}

/// Pairs of a present token (a row) and a past one (a column), tile by tile.
///
/// Operands of the node: the captures, each `[B, T or Known, ..]`. In the body (which has neither the mapped dimensions nor time)
/// [`Op::Capture`] i is capture i at the rows' tokens, `[rows, ..]`; [`Op::Past`] i at the columns' tokens, `[cols, ..]`;
/// [`Op::Lag`] is `[rows, cols]`. Captures without time have neither rows nor columns. Visible are the columns of the same document
/// with 0 <= lag for which `visible` is not 0; nothing visible gives 0.
/// [`Op::Emit`] i of the node (i < emits) is `[map, T, ..]`: the sum over the visible columns of weight times emit i. With a
/// score, one more emit is the logsumexp `[map, T]` of the visible scores and the sink (-inf where nothing is visible).
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// Dimension of a tile's rows in the body.
    pub rows: DimId,
    /// Dimension of a tile's columns in the body.
    pub cols: DimId,
    /// The tokens that columns are: [`TIME`], or with a carry a dimension of [`Extent::Known`].
    pub past: DimId,
    /// Dimensions whose indices are independent: the batch, heads.
    pub map: Vec<DimId>,
    /// The tile. Leaves: captures, pasts, lag, constants.
    pub body: Dag,
    /// `where`, `[rows, cols]` or fewer; none: all.
    pub visible: Option<ValueId>,
    /// Score or weight, `[rows, cols]` or fewer: all other axes of it are mapped.
    pub weighing: Weighing,
    /// exp of this `[rows]` (or fewer) is added to the denominator.
    pub sink: Option<ValueId>,
    /// Values to be summed, by name: `[cols, ..]`, or `[rows, cols, ..]`.
    pub emits: Vec<(String, ValueId)>,
    /// Lags at which `visible` may be other than 0, ends included, as far as `where` bounds it: tiles outside are skipped.
    pub reach: (usize, Option<usize>),
}

/// The gradient of an [`Attend`]. Backward only.
///
/// Operands: the captures; then for a score its logsumexp `[map, T]` and delta `[map, T]` (the inner product of each emit with its
/// cotangent, summed over emits: what the softmax's gradient subtracts); then the cotangent of each emit.
/// The body's leaves are those of the forward body, [`Op::Weight`] `[rows, cols]` (the normalised, masked weight),
/// [`Op::Visible`] `[rows, cols]` (for a weight: where a gradient flows), [`Op::Delta`] `[rows]`, and [`Op::Cotangent`] e `[rows, ..]`.
/// [`Op::Emit`] i of the node is `sums[i]` over all tiles: `[map, T or Known, ..]` or, for what has neither rows nor columns,
/// `[map, ..]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttendGrad {
    /// The forward op, whose body gives score and visibility.
    pub forward: Arc<Attend>,
    /// The tile: the forward body's nodes first, then the gradient's.
    pub body: Dag,
    /// Where the forward body's score or weight is in `body`.
    pub weighing: Weighing,
    /// Where `visible` is in `body`.
    pub visible: Option<ValueId>,
    /// What is summed over tiles, with the number of the capture whose gradient it is a part of.
    pub sums: Vec<(usize, ValueId)>,
}

/// Which pairs of rows a decayed product has, and how far their decay reaches.
///
/// With per-row log decays g, entry (i, j) decays by exp of the sum of g over j < l <= i, or l <= i - 1 with `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pairs {
    /// Rows, i.
    pub rows: DimId,
    /// Columns, j.
    pub cols: DimId,
    /// Only j < i; else j <= i.
    pub strict: bool,
    /// The row's own decay does not act (a read before the decay). Implies `strict`.
    pub before: bool,
}

/// A tensor op. Backward-only ops arise in joint graphs alone and have no gradient.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // ---- leaves
    /// Input i: `[B, T, axes]`.
    Input(usize),
    /// A learned tensor.
    Param(ParamId),
    /// A number.
    Const(f64),
    /// 0, 1, 2, ... along these dimensions, row-major in this order.
    Index(Vec<DimId>),
    /// These numbers along a dimension.
    Table(DimId, Vec<f64>),
    /// Position of each token in its document: `[B, T]`.
    Pos,
    /// Number of each token's document in the sequence, from 0; with a carry, 0 is the document that goes on: `[B, T]`.
    Doc,
    /// Updates done.
    Step,
    /// Weight of each token in the loss; they sum to 1 or are all 0: `[B, T]`.
    TokenWeight,
    /// What an earlier piece of the sequences left, by name (see `Carry`): a state, a window's last tokens.
    Carried(String, Vec<DimId>),
    /// The R of output i in sum(output * R), or of emit i in the body of an [`AttendGrad`]. Backward only.
    Cotangent(usize, Vec<DimId>),
    /// In a body: capture i.
    Capture(usize, Vec<DimId>),
    /// In an attend's body: capture i at the columns' tokens.
    Past(usize, Vec<DimId>),
    /// In an attend's body: the rows' positions minus the columns', `[rows, cols]`.
    Lag(DimId, DimId),
    /// In a loop's body: state i before the iteration.
    State(usize, Vec<DimId>),
    /// In an AttendGrad's body: the normalised, masked weight `[rows, cols]`. Backward only.
    Weight(DimId, DimId),
    /// In an AttendGrad's body: 1 where the pair is visible, else 0: `[rows, cols]`. Backward only.
    Visible(DimId, DimId),
    /// In an AttendGrad's body: see there, `[rows]`. Backward only.
    Delta(DimId),
    // ---- element-wise
    /// Of one value.
    Unary(UnaryOp),
    /// Of two values, broadcast by name.
    Binary(BinaryOp),
    /// Operands c, a, b: a where c is not 0, else b.
    Select,
    // ---- over dimensions
    /// Removes the dimensions.
    Reduce(ReduceOp, Vec<DimId>),
    /// Sum over the dimensions (all of them in both operands) of the product of two operands.
    Contract(Vec<DimId>),
    /// exp(x) / sum exp(x) over all the dimensions together.
    Softmax(Vec<DimId>),
    /// Projection onto the simplex (arXiv 1602.02068).
    Sparsemax(DimId),
    /// Running sum, summed in f64.
    Cumsum {
        /// Along this.
        dim: DimId,
        /// From the last index.
        reverse: bool,
        /// Without the entry itself.
        exclusive: bool,
    },
    /// What rounding takes from a running sum: added to it, digits come back that differences of large sums need. Nothing in exact
    /// arithmetic, hence without a gradient.
    CumsumRest {
        /// Along this.
        dim: DimId,
        /// Without the entry itself.
        exclusive: bool,
    },
    /// Running product, multiplied in f64; its factors are at most 1 in size.
    Cumprod {
        /// Along this.
        dim: DimId,
        /// From the last index.
        reverse: bool,
        /// Without the entry itself.
        exclusive: bool,
    },
    /// Operands x and dy: the gradient of a running product, by the recurrence the other way and never by dividing. Backward only.
    CumprodGrad {
        /// As the product has it.
        dim: DimId,
        /// As the product has it.
        reverse: bool,
        /// As the product has it.
        exclusive: bool,
    },
    /// Descending.
    Sort(DimId),
    /// Operands x, dy: dy taken back through the permutation that sorts x. Backward only.
    Unsort(DimId),
    /// x where among the n largest (ties: lower index first), else 0.
    TopK(DimId, usize),
    /// 1 where x is among the n largest, else 0. Backward only.
    TopKMask(DimId, usize),
    // ---- layout
    /// Operands become entries along the new dimension, each broadcast to the widest.
    Stack(DimId),
    /// The entry at an index; the dimension goes away.
    Pick(DimId, usize),
    /// x at an index of the new dimension, 0 elsewhere. Backward only.
    Put(DimId, usize),
    /// One dimension becomes several, row-major.
    Split(DimId, Vec<DimId>),
    /// Several dimensions become one, row-major in this order.
    Flatten(Vec<DimId>, DimId),
    /// Operand i has dimension `parts[i]`; they are joined along the new one.
    Cat(Vec<DimId>, DimId),
    /// The part of a dimension that starts at the offset and is as long as the new one.
    Cut {
        /// The dimension that goes away.
        from: DimId,
        /// First index.
        offset: usize,
        /// The dimension of the part.
        into: DimId,
    },
    /// The inverse: x at an offset along `into`, 0 elsewhere. Backward only.
    Paste {
        /// The dimension that goes away.
        from: DimId,
        /// First index.
        offset: usize,
        /// The longer dimension.
        into: DimId,
    },
    /// Constant along new dimensions.
    Expand(Vec<DimId>),
    /// The same numbers under another dimension.
    Rename(DimId, DimId),
    /// Time becomes chunks and rows (`rows` has the tokens of a chunk); rows past the end hold `fill`.
    Chunk {
        /// The new dimension of chunks.
        chunks: DimId,
        /// The new dimension of rows.
        rows: DimId,
        /// What rows past the end hold.
        fill: f64,
    },
    /// The inverse: chunks and rows become time, rows past the end are dropped.
    Unchunk {
        /// The dimension of chunks.
        chunks: DimId,
        /// The dimension of rows.
        rows: DimId,
    },
    // ---- learned
    /// Rows of the table `[VOCAB, D]` (operand 0) at the tokens; operand 1, if there, is the prefix `[M, D]`: `[B, T, D]`.
    Embed {
        /// The vocabulary.
        vocab: DimId,
        /// The prefix's dimension.
        prefix: Option<DimId>,
    },
    /// The gradient of an embedding by its table (`of` is its vocabulary) or prefix: dy summed by token. Backward only.
    Scatter {
        /// The vocabulary or the prefix's dimension: the rows of the result.
        of: DimId,
        /// Whether this is the prefix's.
        prefix: bool,
    },
    // ---- training
    /// Operands x, p. Seeded by (seed, step, path, token); the identity in evaluation.
    Dropout {
        /// Its site.
        path: String,
    },
    /// The identity, without a gradient.
    StopGrad,
    /// Sum over tokens of weight times -log softmax(logits `[B, T, VOCAB]`)[target]: a scalar, in nats.
    CrossEntropy {
        /// The vocabulary.
        vocab: DimId,
    },
    /// Operands logits and the scalar's cotangent: the gradient by the logits. Backward only.
    CrossEntropyGrad {
        /// The vocabulary.
        vocab: DimId,
    },
    // ---- time
    /// Adds a dimension: x at lags 0, step, 2 step, ..., zero before the document's start. Operand 1, if there, is what was
    /// carried: `[B, tail, ..]`, the last (n - 1) step tokens.
    Window {
        /// The new dimension.
        dim: DimId,
        /// Distance between two entries.
        step: usize,
    },
    /// The transpose: each token gets the sum over lags of the later tokens' entries for it. Backward only.
    Unwindow {
        /// The dimension that goes away.
        dim: DimId,
        /// Distance between two entries.
        step: usize,
    },
    /// Operands filter `[lag, ..]` and x `[B, T, ..]` (with a carry `[B, Known, ..]`): y_t = sum over lags within the document of
    /// filter[lag] x_{t - lag}.
    LongConv {
        /// The filter's dimension of lags, as long as time (with a carry, `Known`).
        lag: DimId,
    },
    /// Operands filter and dy: the gradient by x, dx_s = sum over t >= s of filter[t - s] dy_t. Backward only.
    LongConvBack {
        /// The filter's dimension of lags.
        lag: DimId,
    },
    /// Operands x and dy: the gradient by the filter, summed over the batch. Backward only.
    LongConvFilter {
        /// The filter's dimension of lags.
        lag: DimId,
    },
    // ---- chunks
    /// Operands A `[rows, cols]` and X `[rows, ..]`: P with (I - tril(A, -1)) P = X; with `transpose`, (I - tril(A, -1))^T P = X.
    SolveUnitLower {
        /// Rows of A and X.
        rows: DimId,
        /// Columns of A, as many.
        cols: DimId,
        /// Solve with the transpose.
        transpose: bool,
    },
    /// Operand g `[rows]`: `[rows, cols]`, exp of the decay between a pair (see [`Pairs`]), 0 for pairs that are not meant.
    /// g <= 0; summed in f64, rounded only after the difference.
    PairDecay(Pairs),
    /// Operand E `[rows, cols]` = decay * its cotangent: the gradient by g `[rows]`, dg_l = sum of E_ij with j < l <= i (or l < i with
    /// `before`). Backward only.
    PairDecayGrad(Pairs),
    /// Operand a `[rows]`, decays themselves, of any sign and at most 1 in size: `[rows, cols]`, the product of a_l over the rows whose
    /// decay acts on a pair, 0 for pairs that are not meant. D_ij = a_i D_{i-1,j} with D_jj = 1, so that an a of 0 is as good as any.
    PairProduct(Pairs),
    /// Operands a `[rows]`, D = the product of pairs and its cotangent E, both `[rows, cols]`: the gradient by a `[rows]`,
    /// da_l = sum over j < l of D_{l-1,j} R_lj with R_lj = E_lj + a_{l+1} R_{l+1,j}. Backward only.
    PairProductGrad(Pairs),
    /// Operands q `[rows, K]`, k `[cols, K]`, g `[rows, K]`: `[rows, cols]`, the sum over K of q_i k_j times the decay between i and
    /// j; 0 for pairs that are not meant. Anchored sub-blocks: no exponent above 0 is ever formed.
    DecayDot {
        /// The dimension summed.
        over: DimId,
        /// The pairs.
        pairs: Pairs,
    },
    /// The gradient of a DecayDot by q (`[rows, K]`, operands dA, k, g) or k (`[cols, K]`, operands dA, q, g):
    /// sum over the other side of dA_ij times the other factor times the decay. Backward only.
    DecayMix {
        /// The dimension K.
        over: DimId,
        /// The pairs.
        pairs: Pairs,
        /// The gradient by k.
        by_cols: bool,
    },
    // ---- control
    /// See [`Loop`]. The node itself has no dimensions; read by [`Op::Emit`] and [`Op::Final`].
    Loop(Box<Loop>),
    /// See [`Attend`]. Read by [`Op::Emit`].
    Attend(Arc<Attend>),
    /// See [`AttendGrad`]. Read by [`Op::Emit`]. Backward only.
    AttendGrad(Box<AttendGrad>),
    /// Emit i of operand 0, a loop, attend or attend gradient.
    Emit(usize),
    /// State i of operand 0, a loop, after its last iteration.
    Final(usize),
}

/// What is given out.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `output`, or its name.
    pub name: String,
    /// The value, broadcast to `[B, T, axes]` if it has fewer dimensions.
    pub value: ValueId,
    /// Its axes in the order in which the program declares them.
    pub axes: Vec<DimId>,
}

/// Something that the next piece of the sequences needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Carry {
    /// The name that [`crate::lower::carried`] gives it.
    pub name: String,
    /// What it is.
    pub value: ValueId,
    /// How much of it.
    pub keep: Keep,
}

/// How much of a value is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The value as it is, `[B, ..]`.
    Whole,
    /// For windows: its last so many tokens, with those carried before it; zeros where there are fewer.
    Last(usize),
    /// For attends: its last tokens, with those carried before it, as many as documents go back and at most so many.
    Seen(usize),
}

/// A lowered or joint graph.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph that it was made from: parameters, inputs, names.
    pub source: Arc<Graph>,
    /// All dimensions.
    pub dims: Vec<Dim>,
    /// The ops.
    pub dag: Dag,
    /// Outputs of the program.
    pub outputs: Vec<Output>,
    /// The training objective and its part that is cross-entropy: scalars; none for a block without a `loss`.
    pub objective: Option<(ValueId, ValueId)>,
    /// What is carried to the next piece; empty unless it was asked for.
    pub carries: Vec<Carry>,
    /// Joint graphs: the gradient of each parameter that learns, with the parameter's dimensions.
    pub param_grads: Vec<(ParamId, ValueId)>,
    /// Joint graphs: the gradient of each input, where asked for.
    pub input_grads: Vec<(usize, ValueId)>,
    /// Joint graphs: the number of nodes that are forward; those after it are backward.
    pub forward_nodes: usize,
}

impl Lowered {
    /// The dimension of an axis of the source graph.
    pub fn axis_dim(axis: AxisId) -> DimId {
        DimId(axis.0 + 2)
    }

    /// A dimension by id.
    pub fn dim(&self, id: DimId) -> &Dim {
        &self.dims[id.0 as usize]
    }

    /// Sorts into the canonical order and removes doubles.
    pub fn order(&self, dims: &mut Vec<DimId>) {
        order(&self.dims, dims);
    }

    /// Everything that something outside reads.
    pub fn roots(&self) -> Vec<ValueId> {
        let objective = self.objective.iter().flat_map(|(a, b)| [*a, *b]);
        let outputs = self.outputs.iter().map(|o| o.value);
        let carries = self.carries.iter().map(|c| c.value);
        let params = self.param_grads.iter().map(|g| g.1);
        let inputs = self.input_grads.iter().map(|g| g.1);
        outputs.chain(objective).chain(carries).chain(params).chain(inputs).collect()
    }
}

/// Sorts into the canonical order and removes doubles.
pub(crate) fn order(table: &[Dim], dims: &mut Vec<DimId>) {
    dims.sort_by_key(|d| (table[d.0 as usize].rank, *d));
    dims.dedup();
}
