//! The ops of lowered graphs, each with its semantics. Shape rules are in `build`, gradients in `gradient::table`.

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

/// A loop over a dimension; see the module's essay.
///
/// Operands of the loop node: the initial value of each state (dimensions: mapped ones and the state's own, or fewer), then
/// the captures. [`Op::Emit`] i of the node is body value `emits[i]` at every iteration, stacked along `over`:
/// dimensions `map` + `over` + the value's. [`Op::Final`] i is state i after the last iteration: `map` + the state's.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The dimension that is iterated in order.
    pub over: DimId,
    /// Whether iterations run from the last index to the first.
    pub reverse: bool,
    /// Dimensions whose indices are independent.
    pub map: Vec<DimId>,
    /// Values carried from one iteration to the next.
    pub states: Vec<LoopState>,
    /// Body of one iteration. Leaves: [`Op::State`], [`Op::Capture`], constants.
    pub body: Dag,
    /// Value of each state after the iteration, with all of the state's dimensions.
    pub next: Vec<ValueId>,
    /// Values emitted at each iteration, by name.
    pub emits: Vec<(String, ValueId)>,
}

/// Weighing of the past in an attend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weighing {
    /// softmax of this score `[rows, cols]` over the visible tokens
    Score(ValueId),
    /// this weight itself
    Weight(ValueId),
}

/// Pairs of a present token (a row) and a past one (a column), tile by tile.
///
/// Operands of the node: the captures, each `[B, T or Known, ..]`. In the body (which has neither the mapped dimensions nor time)
/// [`Op::Capture`] i is capture i at the rows' tokens, `[rows, ..]`; [`Op::Past`] i at the columns' tokens, `[cols, ..]`;
/// [`Op::Lag`] is `[rows, cols]`. Captures without time have neither rows nor columns. Visible are the columns of the same document
/// with 0 <= lag for which `visible` is not 0; a row without visible columns gets 0.
/// [`Op::Emit`] i of the node (i < emits) is `[map, T, ..]`: the sum over the visible columns of weight times emit i. With a
/// score, two more emits `[map, T]` are the maximum of the visible scores and the sink (-inf where nothing is visible), and the logarithm
/// of the sum of exp(score - maximum): they stay apart because a single number for both has no digits left for the second where scores are
/// huge.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// Dimension of a tile's rows in the body.
    pub rows: DimId,
    /// Dimension of a tile's columns in the body.
    pub cols: DimId,
    /// Dimension of the tokens that columns stand for: [`TIME`](super::TIME), or with a carry a dimension of [`Extent::Known`](super::Extent::Known).
    pub past: DimId,
    /// Dimensions whose indices are independent: the batch, heads.
    pub map: Vec<DimId>,
    /// Body for one tile. Leaves: captures, pasts, lag, constants.
    pub body: Dag,
    /// Condition of `where`, `[rows, cols]` or fewer; none: all pairs.
    pub visible: Option<ValueId>,
    /// Score or weight, `[rows, cols]` or fewer: all other axes of it are mapped.
    pub weighing: Weighing,
    /// Sink `[rows]` (or fewer), whose exp is added to the denominator.
    pub sink: Option<ValueId>,
    /// Summed values, by name: `[cols, ..]`, or `[rows, cols, ..]`.
    pub emits: Vec<(String, ValueId)>,
    /// Smallest and largest lag (inclusive) at which `visible` may be other than 0, as far as `where` bounds it: tiles outside are skipped.
    pub reach: (usize, Option<usize>),
}

/// The gradient of an [`Attend`]. Backward only.
///
/// Operands: the captures; then for a score its maximum and the logarithm, as emitted by the forward op, and delta `[map, T]` (the inner
/// product of each emit with its cotangent, summed over emits: the term that the softmax's gradient subtracts); then the cotangent of each
/// emit.
/// The body's leaves are those of the forward body, [`Op::Weight`] `[rows, cols]` (the normalised, masked weight),
/// [`Op::Visible`] `[rows, cols]` (for a weight: where a gradient flows), [`Op::Delta`] `[rows]`, and [`Op::Cotangent`] e `[rows, ..]`.
/// Tiles of columns come in order; [`Op::Sofar`] i `[rows]` is the value of `running[i]` in the previous one, and [`Op::Last`] marks the
/// last.
/// [`Op::Emit`] i of the node is `sums[i]` over all tiles: `[map, T or Known, ..]` or, for sums with neither rows nor columns,
/// `[map, ..]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttendGrad {
    /// The forward op, whose body computes score and visibility.
    pub forward: Arc<Attend>,
    /// Body for one tile: the forward body's nodes first, then the gradient's.
    pub body: Dag,
    /// The forward body's score or weight in `body`.
    pub weighing: Weighing,
    /// The forward body's `visible` in `body`.
    pub visible: Option<ValueId>,
    /// Sums over tiles, each with the number of the capture to whose gradient it contributes.
    pub sums: Vec<(usize, ValueId)>,
    /// Values passed on to the next tile of columns of the same rows, `[rows]`.
    pub running: Vec<ValueId>,
}

/// Pairs of rows of a decayed product, and the extent of their decay.
///
/// With per-row log decays g, entry (i, j) decays by exp of the sum of g over j < l <= i, or l <= i - 1 with `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pairs {
    /// Rows, i.
    pub rows: DimId,
    /// Columns, j.
    pub cols: DimId,
    /// Whether only j < i; else j <= i.
    pub strict: bool,
    /// Whether the row's own decay is left out (a read before the decay). Implies `strict`.
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
    /// A constant.
    Const(f64),
    /// 0, 1, 2, ... along these dimensions, row-major in this order.
    Index(Vec<DimId>),
    /// Constants along a dimension.
    Table(DimId, Vec<f64>),
    /// Position of each token in its document: `[B, T]`.
    Pos,
    /// Number of each token's document in the sequence, from 0; with a carry, 0 is the carried document: `[B, T]`.
    Doc,
    /// Number of updates done: a scalar.
    Step,
    /// Weight of each token in the loss; they sum to 1 or are all 0: `[B, T]`.
    TokenWeight,
    /// A value carried over from earlier pieces of the sequences, by name (see `Carry`): a state, a window's last tokens.
    Carried(String, Vec<DimId>),
    /// The rounding error of a carried value, which has f64's digits. 0 in exact arithmetic, hence without a gradient.
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
    /// In an AttendGrad's body: delta of the rows, `[rows]`. Backward only.
    Delta(DimId),
    /// In an AttendGrad's body: `running[i]` of the tile of columns before, `[rows]`; 0 in a row's first one. Backward only.
    Sofar(DimId, usize),
    /// In an AttendGrad's body: 1 in the last tile of columns that the rows visit, else 0. Backward only.
    Last,
    // ---- element-wise
    /// A function of one value.
    Unary(UnaryOp),
    /// A function of two values, broadcast by name.
    Binary(BinaryOp),
    /// Operands c, a, b: a where c is not 0, else b.
    Select,
    // ---- over dimensions
    /// Reduction over the dimensions.
    Reduce(ReduceOp, Vec<DimId>),
    /// Sum over the dimensions (all of them in both operands) of the product of two operands.
    Contract(Vec<DimId>),
    /// exp(x) / sum exp(x) over all the dimensions together.
    Softmax(Vec<DimId>),
    /// Projection onto the simplex (arXiv 1602.02068).
    Sparsemax(DimId),
    /// Running sum, summed in f64. A second operand restarts the sum wherever it is not 0 (the entry belongs to the restarted part).
    Cumsum {
        /// The summed dimension.
        dim: DimId,
        /// Whether it starts from the last index.
        reverse: bool,
        /// Whether the entry itself is left out.
        exclusive: bool,
    },
    /// The low part of a running sum: its rounding error. Added to the sum, it restores digits that differences of large sums need. 0 in
    /// exact arithmetic, hence without a gradient. Operands as for `Cumsum`.
    CumsumLow {
        /// The summed dimension.
        dim: DimId,
        /// Whether it starts from the last index.
        reverse: bool,
        /// Whether the entry itself is left out.
        exclusive: bool,
    },
    /// Running product, multiplied in f64; its factors are at most 1 in size.
    Cumprod {
        /// The multiplied dimension.
        dim: DimId,
        /// Whether it starts from the last index.
        reverse: bool,
        /// Whether the entry itself is left out.
        exclusive: bool,
    },
    /// The gradient of a running product, from operands x and dy: the reverse recurrence, without divisions. Backward only.
    CumprodGrad {
        /// As for the product.
        dim: DimId,
        /// As for the product.
        reverse: bool,
        /// As for the product.
        exclusive: bool,
    },
    /// Sorts in descending order.
    Sort(DimId),
    /// Operands x, dy: dy through the inverse of the permutation that sorts x. Backward only.
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
    /// Same elements under another dimension.
    Rename(DimId, DimId),
    /// Time becomes chunks and rows (`rows` has the tokens of a chunk); rows past the end hold `fill`.
    Chunk {
        /// The new dimension of chunks.
        chunks: DimId,
        /// The new dimension of rows.
        rows: DimId,
        /// Value of rows past the end.
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
    /// Adds a dimension: x at lags 0, step, 2 step, ..., zero before the document's start. Operand 1, if present, holds the carried tokens:
    /// `[B, tail, ..]`, the last (n - 1) step ones.
    Window {
        /// The new dimension.
        dim: DimId,
        /// Lag between two entries, in tokens.
        step: usize,
    },
    /// The transpose: each token receives the sum over lags of the later tokens' entries for it. Backward only.
    Unwindow {
        /// The dimension that goes away.
        dim: DimId,
        /// Lag between two entries, in tokens.
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
        /// Columns of A, of the same length.
        cols: DimId,
        /// Whether to solve with the transpose.
        transpose: bool,
    },
    /// Operand g `[rows]`: `[rows, cols]`, exp of the decay between a pair (see [`Pairs`]), 0 for all other entries. g <= 0; summed in f64,
    /// rounded only after the difference.
    PairDecay(Pairs),
    /// Operand E `[rows, cols]` = decay * its cotangent: the gradient by g `[rows]`, dg_l = sum of E_ij with j < l <= i (or l < i with
    /// `before`). Backward only.
    PairDecayGrad(Pairs),
    /// Operand a `[rows]`, decays themselves, of any sign and at most 1 in size: `[rows, cols]`, the product of a_l over the rows whose
    /// decay acts on a pair, 0 for all other entries. D_ij = a_i D_{i-1,j} with D_jj = 1, so that an a of 0 needs no special case.
    PairProduct(Pairs),
    /// Operands a `[rows]`, D = the product of pairs and its cotangent E, both `[rows, cols]`: the gradient by a `[rows]`,
    /// da_l = sum over j < l of D_{l-1,j} R_lj with R_lj = E_lj + a_{l+1} R_{l+1,j}. Backward only.
    PairProductGrad(Pairs),
    /// Operands q `[rows, K]`, k `[cols, K]`, g `[rows, K]`: `[rows, cols]`, the sum over K of q_i k_j times the decay between i and j for
    /// each of the pairs, 0 elsewhere. Anchored sub-blocks: no exponent above 0 is ever formed.
    DecayDot {
        /// The contracted dimension.
        over: DimId,
        /// The pairs.
        pairs: Pairs,
    },
    /// Operands dA `[rows, cols]`, q `[rows, K]`, k `[cols, K]`, g `[rows, K]`: the gradients of a DecayDot by q, k and, if `parts` has a
    /// third part, g: `[parts, rows, K]`. That by g is dg_l = sum over j < l <= i of e_ij (l < i with `before`), e_ij = dA_ij q_i k_j times
    /// the decay; it is no difference of larger sums. Backward only.
    DecayDotGrad {
        /// The dimension K.
        over: DimId,
        /// The pairs.
        pairs: Pairs,
        /// Dimension of the gradients, of length 2 or 3.
        parts: DimId,
    },
    // ---- control
    /// See [`Loop`]. The node itself has no dimensions; read by [`Op::Emit`] and [`Op::Final`].
    Loop(Arc<Loop>),
    /// See [`Attend`]. Read by [`Op::Emit`].
    Attend(Arc<Attend>),
    /// See [`AttendGrad`]. Read by [`Op::Emit`]. Backward only.
    AttendGrad(Arc<AttendGrad>),
    /// Emit i of operand 0, a loop, attend or attend gradient.
    Emit(usize),
    /// State i of operand 0, a loop, after its last iteration.
    Final(usize),
}

impl Attend {
    /// Number of emits after the program's own; see the type.
    pub fn statistics(&self) -> usize {
        if matches!(self.weighing, Weighing::Score(_)) { 2 } else { 0 }
    }
}
