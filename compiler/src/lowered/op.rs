//! The ops of lowered graphs. What each computes stands beside it; its rule of shapes is in `build`, its gradient in `gradient::table`.

use super::{Dag, DimId, ValueId};
use crate::graph::{BinaryOp, ParamId, ReduceOp, UnaryOp};
use std::sync::Arc;

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
/// score, two more emits `[map, T]` are the largest of the visible scores and the sink (-inf where nothing is visible), and the logarithm
/// of the sum of exp of what they lie below it: apart, for where scores are huge a number that holds both has no digits left for the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// Dimension of a tile's rows in the body.
    pub rows: DimId,
    /// Dimension of a tile's columns in the body.
    pub cols: DimId,
    /// The tokens that columns are: [`TIME`](super::TIME), or with a carry a dimension of [`Extent::Known`](super::Extent::Known).
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
/// Operands: the captures; then for a score its largest one and the logarithm, as the forward op gives them, and delta `[map, T]` (the
/// inner product of each emit with its
/// cotangent, summed over emits: what the softmax's gradient subtracts); then the cotangent of each emit.
/// The body's leaves are those of the forward body, [`Op::Weight`] `[rows, cols]` (the normalised, masked weight),
/// [`Op::Visible`] `[rows, cols]` (for a weight: where a gradient flows), [`Op::Delta`] `[rows]`, and [`Op::Cotangent`] e `[rows, ..]`.
/// Tiles of columns come in order; [`Op::Sofar`] i `[rows]` is what `running[i]` was in the one before, and [`Op::Last`] says which is the last.
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
    /// What goes on to the next tile of columns of the same rows, `[rows]`.
    pub running: Vec<ValueId>,
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
    /// What rounding takes from it: what is carried has f64's digits. 0 in exact arithmetic, hence without a gradient.
    CarriedLow(String, Vec<DimId>),
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
    /// In an AttendGrad's body: `running[i]` of the tile of columns before, `[rows]`; 0 in a row's first one. Backward only.
    Sofar(DimId, usize),
    /// In an AttendGrad's body: 1 in the last tile of columns that the rows meet, else 0. Backward only.
    Last,
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
    /// Running sum, summed in f64. With a second operand the sum starts anew where that is not 0 (the entry belongs to what follows).
    Cumsum {
        /// Along this.
        dim: DimId,
        /// From the last index.
        reverse: bool,
        /// Without the entry itself.
        exclusive: bool,
    },
    /// The low part of a running sum: what rounding takes from it. Added to the sum, it brings back digits that differences of large
    /// sums need. 0 in exact arithmetic, hence without a gradient. Operands as for `Cumsum`.
    CumsumLow {
        /// Along this.
        dim: DimId,
        /// From the last index.
        reverse: bool,
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
    /// x at an index of the new dimension, 0 elsewhere.
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
        /// The token of the first row: 0 for the table, VOCAB for the prefix.
        first: usize,
    },
    // ---- training
    /// Operands x, p. Seeded by (seed, step, path, token); the identity in evaluation.
    Dropout {
        /// Its site.
        path: String,
    },
    /// The identity, without a gradient.
    StopGrad,
    /// Sum over tokens of weight times `-log softmax(logits)[target]` for logits `[B, T, VOCAB]`: a scalar, in nats.
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
    /// `filter[lag] x_{t - lag}`.
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
    /// Operands dA `[rows, cols]`, q `[rows, K]`, k `[cols, K]`, g `[rows, K]`: the gradients of a DecayDot by q, k and, if `parts` has a third
    /// part, g: `[parts, rows, K]`. That by g is dg_l = sum over j < l <= i of e_ij (l < i with `before`), e_ij = dA_ij q_i k_j times the decay; it is no
    /// difference of larger sums. Backward only.
    DecayDotGrad {
        /// The dimension K.
        over: DimId,
        /// The pairs.
        pairs: Pairs,
        /// Of length 2 or 3.
        parts: DimId,
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

impl Attend {
    /// How many emits follow the program's own: see the type.
    pub fn statistics(&self) -> usize {
        if matches!(self.weighing, Weighing::Score(_)) { 2 } else { 0 }
    }
}
