//! The plan: a lowered or joint graph at one batch shape as a list of kernels over buffers, which every device executes.
//!
//! `plan` decides, in this order:
//! - which values are only other names for numbers that are there already ([`View`]: renames, picks, cuts, chunks of an
//!   even sequence), and which are the same at every call (constants: computed once, by `constants`);
//! - which contractions are matrix products ([`Gemm`]) and which are better summed element by element;
//! - which element-wise ops, broadcasts and sums run as one loop ([`Fused`]): an op joins the loop of its operands if that makes
//!   no cycle and the loop's space of indices grows by nothing that no member has;
//! - where results go: into a matrix product that adds to what is there, into the part of a stack or the emit of a loop
//!   that they are copied to anyway, or into the arena, where buffers that are never alive together share memory;
//! - which kernels are the same but for their addresses ([`Schedule`]): repeated layers stay rolled.
//!
//! A loop ([`LoopKernel`]) and an attend have plans of their own for their bodies ([`Scope`]), whose views reach the outside
//! through ports: base pointers that move with the loop.
//!
//! Invariants (checked by [`verify`]):
//! - every view and matrix lies inside its buffer; what a body reads through a port, a port gives;
//! - the ops of a fused loop read earlier ones, and have no dimension that the loop lacks;
//! - the pairs of a product are the rows and columns of its attend's tile;
//! - every panel of an attend has a port of its own, and room for all its tiles; a transposed one has the tokens last.
//!
//! By construction, and held by the tests of devices: axes of a view are in canonical order; what a kernel reads was written by an earlier
//! kernel, is a leaf, a parameter, a constant, or comes through a port; two buffers of an arena that are alive at the same time do not
//! overlap.
//!
//! The smallest example, `block Twice[D] { input x[D] output x + x }` and its gradient at B = 2, T = 3, D = 4, prints as
//! ```text
//! plan Twice  B=2 T=3: 1 kernel in 2 places, arena 512 bytes, constants 0 bytes, parameters 0
//!   leaf input -> a0 [2, 3, 4]
//!   leaf cotangent -> a64 [2, 3, 4]
//!    1  fused [2, 3, 4]: 1 in, 1 out, 1 op, 192 bytes                output
//!    1  fused [2, 3, 4]: 1 in, 1 out, 1 op, 192 bytes                output
//! ```

mod attend;
mod build;
mod constants;
mod contraction;
mod convolution;
mod fuse;
mod fused;
mod group;
mod kernels;
mod loops;
mod memory;
mod places;
mod print;
mod roll;
mod verify;
mod view;
mod work;

pub use work::Counts;

pub use build::plan;
pub use print::print;
pub use verify::verify;
pub use view::{Axis, Base, View};

use crate::graph::{BinaryOp, ParamId, UnaryOp};
use crate::lowered::{DimId, Lowered, Op, Shape, ValueId};
use std::sync::Arc;

/// See the module's essay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is planned.
    pub graph: Arc<Lowered>,
    /// For which batch.
    pub shape: Shape,
    /// Length of each dimension.
    pub sizes: Vec<usize>,
    /// Run once, when the session is made: results in [`Base::Constants`].
    pub constants: Scope,
    /// Numbers of all constants.
    pub constants_len: usize,
    /// So many launches, the first ones, depend on parameters alone: what they made is still there at the next call, as long as
    /// parameters do not change.
    pub prepared: usize,
    /// Run at every call.
    pub root: Schedule,
    /// Leaves that the caller fills in before a run: the leaf op and where it goes.
    pub leaves: Vec<(Op, View)>,
    /// Where each parameter starts in [`Base::Params`], and its gradient in [`Base::Grads`]; checkpoint layout.
    pub params: Vec<usize>,
    /// Numbers of all parameters.
    pub params_len: usize,
    /// Where the values that the outside reads are after a run. Parameter gradients are in [`Base::Grads`], those that get none
    /// are not in `graph.param_grads` and stay what they were.
    pub results: Vec<(ValueId, View)>,
}

/// Kernels in order over one arena.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// In order of execution.
    pub kernels: Vec<Kernel>,
    /// Numbers of the arena ([`Base::Scratch`]).
    pub arena: usize,
}

/// The kernels of a graph, each once, and in which order they run where. Repeated layers launch the same kernels: the weights and
/// buffers that they work on are arguments.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// No two are equal. Their operands start at ports ([`Base::Port`]), numbered in the order of [`Launch::starts`].
    pub kernels: Vec<Kernel>,
    /// In order of execution.
    pub launches: Vec<Launch>,
    /// Numbers of the arena ([`Base::Scratch`]).
    pub arena: usize,
}

/// One run of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Which kernel.
    pub kernel: usize,
    /// Where its operands start.
    pub starts: Vec<Start>,
}

/// A number of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which buffer.
    pub base: Base,
    /// Its distance from the buffer's start.
    pub offset: usize,
}

/// A kernel with the values that it makes.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What to do.
    pub work: Work,
    /// Names of the values it makes, for printing.
    pub name: String,
}

/// What it does, whatever its values are called.
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.work == other.work
    }
}

/// What a kernel does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Matrix products.
    Gemm(Gemm),
    /// Element-wise ops and sums.
    Fused(Fused),
    /// Copies, with zeros where the source has nothing.
    Copy(Copy),
    /// Depthwise convolution over time, its transpose, or its filter's gradient.
    Conv(Conv),
    /// An op with a kernel of its own: operands, result.
    Single(Single),
    /// A loop.
    Loop(Box<LoopKernel>),
    /// An attend or its gradient.
    Attend(Box<AttendKernel>),
}

/// C = (C +) A B for each index of the batch. Strides in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Further sums, for contractions over dimensions that do not lie in one run: length, distances in A and B.
    pub sums: Vec<(usize, isize, isize)>,
    /// Left operand, with its strides along rows and columns.
    pub a: Matrix,
    /// Right operand.
    pub b: Matrix,
    /// Result.
    pub c: Matrix,
    /// Lengths of the batch, outermost first; each matrix has as many batch strides.
    pub batch: Vec<usize>,
    /// Add to what is in C.
    pub accumulate: bool,
    /// In an attend: which of the product's dimensions are the rows and the columns of the tile, if two of them are. Pairs that no row
    /// sees may be left out: as results they are not looked at, as operands they are 0.
    pub pairs: Option<[GemmDim; 2]>,
}

/// A dimension of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GemmDim {
    /// Rows of A and C.
    M,
    /// Columns of B and C.
    N,
    /// What is summed.
    K,
}

/// A matrix in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Which buffer.
    pub base: Base,
    /// First number.
    pub offset: usize,
    /// Distance of rows.
    pub row: isize,
    /// Distance of columns.
    pub col: isize,
    /// Distances along the batch.
    pub batch: Vec<isize>,
}

/// Element-wise ops and sums in one pass over a space of indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The space, in canonical order.
    pub dims: Vec<DimId>,
    /// What is read.
    pub inputs: Vec<View>,
    /// Ops in order; operands are earlier ones.
    pub code: Vec<Instr>,
    /// What is written: op, place. Along dimensions that only the place has, the same number is written again.
    pub outputs: Vec<(usize, View)>,
}

/// An op of a fused loop, over some of its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Instr {
    /// What it does.
    pub op: FusedOp,
    /// Dimensions of its value, canonical. Operands with fewer are broadcast.
    pub dims: Vec<DimId>,
}

/// Sums over dimensions inside of a fused loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Sum.
    Sum,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// See [`Instr`].
#[derive(Clone, Debug)]
pub enum FusedOp {
    /// Input of the kernel.
    Input(usize),
    /// A number.
    Number(f64),
    /// Of one op.
    Unary(UnaryOp, usize),
    /// Of two.
    Binary(BinaryOp, usize, usize),
    /// Condition, then, else.
    Select(usize, usize, usize),
    /// Over the dimensions that the operand has and the result lacks.
    Fold(Fold, usize),
}

/// The same to the last bit: 0 and -0 are two numbers.
impl PartialEq for FusedOp {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Input(a), Self::Input(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a.to_bits() == b.to_bits(),
            (Self::Unary(f, a), Self::Unary(g, b)) => (f, a) == (g, b),
            (Self::Binary(f, a, b), Self::Binary(g, c, d)) => (f, a, b) == (g, c, d),
            (Self::Select(a, b, c), Self::Select(d, e, f)) => (a, b, c) == (d, e, f),
            (Self::Fold(f, a), Self::Fold(g, b)) => (f, a) == (g, b),
            _ => false,
        }
    }
}

/// A copy of `from` to `to`; `to` is filled with `fill` first where that is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Source; its axes are those of `to`, some with stride 0.
    pub from: View,
    /// Destination.
    pub to: View,
    /// The whole of a buffer to be filled before, and with what.
    pub fill: Option<(View, f64)>,
}

/// What a convolution kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvWork {
    /// y_t = (y_t +) sum_w f_w x_{t - w step}
    Forward,
    /// dx_t = (dx_t +) sum_w f_w dy_{t + w step}
    Backward,
    /// df_w = sum over b, t of dy_t x_{t - w step}
    Filter,
}

/// See [`ConvWork`]. Token values are `[B, T, channels]`, taps `[W, channels]`; channel axes in canonical order, taps broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Which of the three.
    pub work: ConvWork,
    /// x, or dy for the transpose.
    pub x: View,
    /// dy, only for the filter's gradient.
    pub dy: Option<View>,
    /// The filter `[W, ..]` read, or its gradient written. With axes W and some of the channels.
    pub filter: View,
    /// The result of the other two.
    pub y: Option<View>,
    /// The window's dimension.
    pub window: DimId,
    /// First tap of the window that the filter stands for (a picked entry is a filter of one tap).
    pub first: usize,
    /// Distance of taps.
    pub step: usize,
    /// Positions `[B, T]`.
    pub pos: View,
    /// The last tokens before the piece, `[B, tail, ..]`, for decoding.
    pub carried: Option<View>,
    /// Add to what is there.
    pub accumulate: bool,
}

/// An op with a kernel of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Single {
    /// The op.
    pub op: Op,
    /// Operands in order, then whatever else the op reads (positions).
    pub inputs: Vec<View>,
    /// Result.
    pub output: View,
}

/// How a port of a loop moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Where it points at the first iteration, in the outer scope.
    pub outer: View,
    /// Distance for each mapped dimension.
    pub map: Vec<isize>,
    /// Distance for each iteration.
    pub over: isize,
}

/// A state of a loop kernel. Its two buffers are in the body's arena and change roles after each iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSlot {
    /// Numbers.
    pub len: usize,
    /// The two buffers in the body's arena.
    pub buffers: [usize; 2],
    /// Ports at which the body finds the old value and puts the new one.
    pub ports: [usize; 2],
    /// The initial value in the outer scope: axes mapped ones and the state's own, with strides along `map`.
    pub initial: Port,
    /// The state's axes as they lie in a buffer (base: the old port).
    pub view: View,
    /// Where the final value goes.
    pub last: Option<Port>,
}

/// A loop over `count` iterations for each index of the mapped dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopKernel {
    /// Iterations.
    pub count: usize,
    /// From the last.
    pub reverse: bool,
    /// The dimension that is run through.
    pub over: DimId,
    /// The mapped dimensions.
    pub map_dims: Vec<DimId>,
    /// Their lengths.
    pub map: Vec<usize>,
    /// Ports by number ([`Base::Port`] of the body), states' ports excluded (their entries are `None`).
    pub ports: Vec<Option<Port>>,
    /// States.
    pub states: Vec<StateSlot>,
    /// One iteration.
    pub body: Scope,
    /// Where the body's arena starts in that of the outer scope.
    pub arena: Start,
}

/// A tile of a value in an attend: the outer value `[B, T, ..]`, and where the body has it, dense in its arena. Tiles are copied,
/// so that ragged ones are padded and products read neighbouring numbers. Those of columns, which every tile of rows meets again, stay
/// in a panel: tile after tile of the whole past, along which a port of the body moves.
#[derive(Clone, Debug, PartialEq)]
pub struct TilePort {
    /// The outer value at index 0 of every mapped dimension and of time; its axes are those of `tile` other than tokens.
    pub outer: View,
    /// Distance for each mapped dimension.
    pub map: Vec<isize>,
    /// Distance of tokens; 0 if it is the same at all.
    pub token: isize,
    /// Whether its tokens are the tile's rows (else columns; of no matter if it has none).
    pub rows: bool,
    /// The tile in the body's arena, dense unless it is a tile's own share of a sum; its first axis are the tokens, if it has any.
    pub tile: View,
    /// Whether the tile has tokens.
    pub timed: bool,
    /// The port of the body ([`Base::Port`]) that moves along the panel of which `tile` is the first one; none where there is but one.
    pub panel: Option<usize>,
    /// The port and the first tile of another panel, with the tokens last: for products that read one number of many tokens.
    pub transposed: Option<(usize, View)>,
}

/// See [`crate::lowered::Attend`] and [`crate::lowered::AttendGrad`].
#[derive(Clone, Debug, PartialEq)]
pub struct AttendKernel {
    /// Tokens of the piece.
    pub rows: usize,
    /// Tokens that may be seen.
    pub cols: usize,
    /// Rows of a tile.
    pub tile_rows: usize,
    /// Columns of a tile.
    pub tile_cols: usize,
    /// Lengths of the mapped dimensions.
    pub map: Vec<usize>,
    /// Which mapped dimension is the batch.
    pub batch: Option<usize>,
    /// Lags outside of this are never visible.
    pub reach: (usize, Option<usize>),
    /// Positions `[B, T]`.
    pub pos: View,
    /// Ports of the body that move along panels.
    pub panels: usize,
    /// What the body reads.
    pub ports: Vec<TilePort>,
    /// The tile's body; for a gradient, as far as the score.
    pub body: Scope,
    /// Where the body's arena starts in that of the outer scope.
    pub arena: Start,
    /// Score or weight in the body: `[rows, cols]` or fewer.
    pub weight: View,
    /// Whether it is a score.
    pub softmax: bool,
    /// Where the lags go, `[rows, cols]`, if the body reads them.
    pub lag: Option<View>,
    /// The condition in the body, `[rows, cols]` or fewer, if it has one.
    pub visible: Option<View>,
    /// The sink in the body, `[rows]` or fewer.
    pub sink: Option<View>,
    /// `[rows, cols]`, dense: the masked weights of a tile.
    pub weights: View,
    /// Backward: where the tile has a 1 for each visible pair, `[rows, cols]`, if the body reads it.
    pub shown: Option<View>,
    /// Forward: emits in the body, and where their sums go.
    pub emits: Vec<TileEmit>,
    /// Forward: where the largest score and the logarithm of the sum go, where asked for. Backward: where they are read.
    pub normal: [Option<TilePort>; 2],
    /// Backward: the rest.
    pub grad: Option<AttendGradKernel>,
}

/// An emit of an attend.
#[derive(Clone, Debug, PartialEq)]
pub struct TileEmit {
    /// In the body: `[cols, ..]`, `[rows, cols, ..]`, or without either.
    pub value: View,
    /// The sum over the past so far, `[rows, ..]`, and where it goes.
    pub sum: TilePort,
}

/// The backward part of an attend.
#[derive(Clone, Debug, PartialEq)]
pub struct AttendGradKernel {
    /// Kernels that follow once the weights are there.
    pub after: Scope,
    /// Delta `[map, T]`.
    pub delta: Option<TilePort>,
    /// Sums over tiles.
    pub sums: Vec<TileSum>,
    /// What the body has of the tile of columns before, and what it leaves for the next, each `[rows]`.
    pub running: Vec<[View; 2]>,
    /// Where the body has a 1 in the last tile of columns of its rows, else a 0.
    pub last: Option<View>,
}

/// A sum over tiles of an attend's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct TileSum {
    /// Where the body has it, and where it goes.
    pub port: TilePort,
    /// The body adds to what is there; else it leaves each tile's own share.
    pub adds: bool,
}

impl FusedOp {
    /// Calls f with the number of every operand.
    pub(super) fn each_operand(&mut self, f: &mut dyn FnMut(&mut usize)) {
        match self {
            Self::Input(_) | Self::Number(_) => {}
            Self::Unary(_, x) | Self::Fold(_, x) => f(x),
            Self::Binary(_, a, b) => {
                f(a);
                f(b);
            }
            Self::Select(c, a, b) => {
                f(c);
                f(a);
                f(b);
            }
        }
    }

    /// Numbers of all operands.
    pub fn operands(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.clone().each_operand(&mut |o| all.push(*o));
        all
    }
}

impl Plan {
    /// Where the gradient of a parameter is, if it has one.
    pub fn gradient(&self, param: ParamId) -> Option<usize> {
        self.graph.param_grads.iter().any(|g| g.0 == param).then(|| self.params[param.0 as usize])
    }

    /// Bytes that a device holds for this plan on one thread, parameters and moments included.
    pub fn bytes(&self) -> usize {
        4 * (self.root.arena + self.constants_len + 4 * self.params_len)
    }

    /// Number of different kernels and of launches, those of loop bodies counted once.
    pub fn kernel_count(&self) -> (usize, usize) {
        fn count(kernel: &Kernel) -> usize {
            let scope = |s: &Scope| s.kernels.iter().map(count).sum();
            1 + match &kernel.work {
                Work::Loop(l) => scope(&l.body),
                Work::Attend(a) => scope(&a.body) + a.grad.as_ref().map_or(0, |g| scope(&g.after)),
                _ => 0,
            }
        }
        let each: Vec<usize> = self.root.kernels.iter().map(count).collect();
        (each.iter().sum(), self.root.launches.iter().map(|l| each[l.kernel]).sum())
    }
}
