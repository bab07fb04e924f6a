//! The graph: the computation of a program at one token, as one DAG of tensor ops.
//!
//! `elaborate` makes it from hir: calls are inlined, sizes are numbers, loops are unrolled. Batch and
//! time are implicit. A value has named axes and a [`Rate`]: `Fixed` values are the same at every token
//! (parameters, `index`, `step`), `Token` values differ between tokens. `scan` and `attend` are nodes with a
//! body graph of their own; parts of their source text that do not depend on the state (or on the past
//! token) are built outside and enter as captures, so hoisting holds by construction.
//!
//! Invariants (checked by [`verify()`]):
//! - operands come before their users (node ids are a topological order);
//! - a value's axes are sorted by id and distinct; only a parameter may list them in another order
//!   ([`Param::axes`] is the checkpoint's order);
//! - every learned or random call is a site of its own: two nodes never share a [`ParamId`] unless the
//!   program shares the instance (`shared`, `tie`);
//! - a body sees outer values only through [`Op::Capture`] and [`Op::Past`].
//!
//! The smallest example, `block Twice[D]() { input x[D]; output x + x }`, prints as
//! ```text
//! graph Twice  D=64
//!   %0 x = input 0            : [D] token
//!   %1   = add %0 %0          : [D] token
//!   output output = %1
//! ```

mod derived;
mod layout;
mod print;
mod states;
mod verify;

pub use derived::Derived;
pub use layout::ParamLayout;
pub use print::{print, print_dot, print_whole};
pub use verify::verify;

pub use crate::ops::{BinaryOp, ReduceOp, UnaryOp};

use crate::dag::{Id, Operation};
use crate::source::Place;

/// A node of one [`Dag`]. Ids count up in a topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl Id for NodeId {
    fn new(index: usize) -> Self {
        Self(index as u32)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The ops of a graph, of a body or of a parameter's recipe.
pub type Dag = crate::dag::Dag<Op>;

impl Operation for Op {
    type Id = NodeId;
    type Node = Node;
    const VISIT: usize = 1;
}

impl Dag {
    /// The op of a node.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    /// The type of a node.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.node(id).ty
    }

    /// The rate of a node.
    pub fn rate(&self, id: NodeId) -> Rate {
        self.node(id).ty.rate
    }
}

/// An axis of a graph. Axes are nominal: equal sizes never make two axes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// Name and length of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Name in the program; not unique (each call of a fn has its own axes).
    pub name: String,
    /// Its length, at least 1.
    pub size: usize,
    /// Labels along it, if `stack` made it.
    pub labels: Option<Vec<String>>,
}

/// Rate at which a value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rate {
    /// The same at every token of every sequence.
    Fixed,
    /// One value per token.
    Token,
    /// In the body of an `attend`: one value per pair of tokens (depends on `lag` or `past`). In the body of a `scan`, state-dependent
    /// values are `Token`.
    Pair,
}

/// Axes and rate of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Sorted by id, distinct.
    pub axes: Vec<AxisId>,
    /// Rate at which it changes.
    pub rate: Rate,
}

/// Index into [`Graph::params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// Kind of a parameter, which determines weight decay and the meaning of `fan`, `dirac`, `orthogonal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParamKind {
    /// The weight of a `linear` or `conv`; the only kind that decays.
    Weight,
    /// The bias of a `linear` or `conv`.
    Bias,
    /// An embedding table `[VOCAB, D]`.
    Embedding,
    /// A `param` statement (the weight of a norm among them).
    Free,
    /// Learned tokens before each document `[M, D]`.
    Prefix,
}

/// A learned tensor.
#[derive(Clone, Debug)]
pub struct Param {
    /// instance/binding/op joined by dots: `layers.0.mixer.q.linear.weight`. Unique.
    pub path: String,
    /// Its axes in checkpoint order. A `linear[D -> D]` has two different axes here (`D'`, `D`).
    pub axes: Vec<AxisId>,
    /// Kind of the parameter.
    pub kind: ParamKind,
    /// Number of leading `axes` that are `per` axes (own weights each), for `orthogonal` and `dirac`.
    pub per: usize,
    /// Number of OUT axes after those; the rest are contracted.
    pub out: usize,
    /// Recipe of its initial value: leaves are constants, sizes, `index` and draws; never a token or another param.
    pub init: Dag,
    /// Node of `init` with the value; its axes are a subset of `axes`, broadcast.
    pub init_value: NodeId,
    /// Place of its declaration.
    pub place: Place,
}

/// Random numbers in the recipe of a parameter. Operands are the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draw {
    /// `normal(std)`
    Normal,
    /// `uniform(a, b)`
    Uniform,
    /// `log_uniform(a, b)`: exp(uniform(log a, log b))
    LogUniform,
    /// `orthogonal(gain)`: for each index of the `per` axes a matrix [OUT, IN] with orthonormal rows or columns, times gain
    Orthogonal,
    /// `eye`: 1 where the flattened OUT index equals the flattened IN index
    Eye,
    /// `dirac`: 1 at index 0 of the contracted axes
    Dirac,
}

/// Curve of an `anneal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnnealShape {
    /// straight line
    Linear,
    /// half a cosine
    Cosine,
    /// geometric: a (b/a)^u
    Exp,
}

/// A learned contraction; operands are x_0.., then one weight per x, then the bias if there is one.
///
/// y = sum_i sum over IN_i of x_i w_i + bias. The weight of input i has shape [per, OUT, IN_i] in this
/// order (positions, not ids: OUT may repeat an axis of IN). Kept axes (those of any x that are not
/// contracted) are mapped over with the same weights, or with their own where they are in `per`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Linear {
    /// For each input, the axes contracted, in the order of the weight's last axes.
    pub contracted: Vec<Vec<AxisId>>,
    /// Kept axes with weights of their own.
    pub per: Vec<AxisId>,
    /// Axes of the result that come from the weights.
    pub out: Vec<AxisId>,
    /// Whether the last operand is a bias [per, OUT].
    pub bias: bool,
}

/// A state of a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its axes.
    pub axes: Vec<AxisId>,
    /// Its number among the states of the scan as written; it stays the same when passes remove or separate states.
    pub number: usize,
}

/// The body of a `scan`: one token's update.
///
/// Operands of the scan node: the initial value of each state, then the captures.
/// At a document's start, the states have their initial values before the token's update.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The states.
    pub states: Vec<State>,
    /// Leaves: [`Op::State`], [`Op::Capture`], constants.
    pub body: Dag,
    /// Value of each state after the token.
    pub next: Vec<NodeId>,
    /// Values read out, by name, at the point of the body where `emit` stood.
    pub emits: Vec<(String, NodeId)>,
}

/// Weighing of the past in an `attend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weighing {
    /// softmax of this score over the visible tokens (with `sink` in the denominator)
    Score(NodeId),
    /// this weight itself
    Weight(NodeId),
}

/// The body of an `attend`: one pair (present token, past token with 0 <= lag).
///
/// Operands of the attend node: the captures. Emit e is sum over past tokens of weight * e.
/// Visible are the earlier-or-equal tokens of the same document for which `visible` is not 0.
#[derive(Clone, Debug)]
pub struct Attend {
    /// Leaves: [`Op::Capture`] (present), [`Op::Past`] (the same capture, at the past token), [`Op::Lag`], constants.
    pub body: Dag,
    /// Condition of `where`; none: all tokens.
    pub visible: Option<NodeId>,
    /// `score` or `weight`.
    pub weighing: Weighing,
    /// `sink`: its exp is added to the denominator; its axes are within the score's. Present rate.
    pub sink: Option<NodeId>,
    /// Values to be averaged, by name.
    pub emits: Vec<(String, NodeId)>,
}

/// A tensor op. Operands are the node's inputs in the DAG.
#[derive(Clone, Debug)]
pub enum Op {
    // ---- leaves
    /// Input number i of the graph, one value per token.
    Input(usize),
    /// A learned tensor; its type's axes are [`Param::axes`] sorted by id.
    Param(ParamId),
    /// A constant.
    Const(f64),
    /// 0, 1, 2, ... along these axes, row-major in this order.
    Index(Vec<AxisId>),
    /// Constants along an axis.
    Table(AxisId, Vec<f64>),
    /// Position in the document, from 0.
    Pos,
    /// Training step, from 0. Fixed rate.
    Step,
    /// Random numbers; only in the init of a parameter, whose shape they take.
    Draw(Draw),
    /// In a body: operand i of the scan or attend (not counting initial states), at the present token.
    Capture(usize),
    /// In an attend body: the same capture at the past token.
    Past(usize),
    /// In an attend body: present position minus past position, 0, 1, 2, ...
    Lag,
    /// In a scan body: state i before this token's update.
    State(usize),
    // ---- element-wise
    /// A function of one value.
    Unary(UnaryOp),
    /// A function of two values, broadcast by name.
    Binary(BinaryOp),
    /// Operands c, a, b: a where c is not 0, else b; no gradient to c.
    Select,
    // ---- over axes
    /// Reduction over the axes.
    Reduce(ReduceOp, Vec<AxisId>),
    /// Sum over the axes of the product of two operands, which is never built.
    Contract(Vec<AxisId>),
    /// exp(x) / sum exp(x) over all the axes together.
    Softmax(Vec<AxisId>),
    /// Projection onto the simplex (arXiv 1602.02068).
    Sparsemax(AxisId),
    /// Running sum along the axis.
    Cumsum(AxisId),
    /// Sorts in descending order; the gradient follows the permutation.
    Sort(AxisId),
    /// x where among the n largest (ties: lower index first), else 0; the mask is constant in the gradient.
    TopK(AxisId, usize),
    // ---- layout
    /// Operands become entries along the new axis, each broadcast to the widest.
    Stack(AxisId),
    /// The entry at an index; the axis goes away.
    Pick(AxisId, usize),
    /// One axis becomes several, row-major.
    Split(AxisId, Vec<AxisId>),
    /// Several axes become one, row-major in this order.
    Flatten(Vec<AxisId>, AxisId),
    /// Operand i has axis `parts[i]` (or several operands the same); they are joined along the new axis.
    Cat(Vec<AxisId>, AxisId),
    /// The part of an axis that starts at the offset and is as long as the new axis.
    Cut {
        /// The axis that goes away.
        from: AxisId,
        /// First index.
        offset: usize,
        /// The axis of the part.
        into: AxisId,
    },
    /// Constant along new axes.
    Expand(Vec<AxisId>),
    /// Same elements under another axis.
    Rename(AxisId, AxisId),
    // ---- learned
    /// See [`Linear`].
    Linear(Linear),
    /// Rows of the table (operand 0, `[VOCAB, D]`) at the tokens; operand 1, if there, is the prefix `[M, D]`.
    Embed {
        /// The vocabulary axis.
        vocab: AxisId,
    },
    // ---- training
    /// Operands x, p. Seeded by (seed, step, path, token); the identity in evaluation.
    Dropout {
        /// Its site.
        path: String,
    },
    /// The identity, without a gradient.
    StopGrad,
    /// Operands a, b: a up to `start`, then a transition of `steps` updates, then b. Fixed rate.
    Anneal {
        /// Length of the transition in updates, at least 1.
        steps: f64,
        /// First update of the transition.
        start: f64,
        /// Curve of the transition.
        shape: AnnealShape,
    },
    /// In a `loss`: mean over the unmasked tokens of the batch. Fixed rate.
    TokenMean,
    // ---- time
    /// Adds an axis: x at lags 0, step, 2 step, ..., zero before the document's start.
    Window {
        /// The new axis.
        axis: AxisId,
        /// Lag between two entries in tokens, at least 1.
        step: usize,
    },
    /// Recurrent memory; read by [`Op::Emit`].
    Scan(Box<Scan>),
    /// Pairwise memory; read by [`Op::Emit`].
    Attend(Box<Attend>),
    /// Emit number i of operand 0, a scan or an attend.
    Emit(usize),
}

/// An op with its type and place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Axes and rate. For a scan or attend node: no axes, `Token`; its emits have types of their own.
    pub ty: Type,
    /// Binding it belongs to, for printing and for the search; may be empty.
    pub name: String,
    /// Its place in the source.
    pub place: Place,
}

/// An input of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its axes in the order written: the file format of `archc forward` is [B, T, axes].
    pub axes: Vec<AxisId>,
}

/// An output of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `output`, or its name.
    pub name: String,
    /// The value.
    pub value: NodeId,
    /// Its axes in the order in which the program declares them.
    pub axes: Vec<AxisId>,
}

/// A whole program at one token.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The block or model.
    pub name: String,
    /// All axes, bodies' included, in order of declaration.
    pub axes: Vec<Axis>,
    /// Learned tensors, in order of declaration.
    pub params: Vec<Param>,
    /// Inputs, empty for a model (whose leaves are `Embed` of the tokens).
    pub inputs: Vec<Input>,
    /// The ops.
    pub dag: Dag,
    /// Outputs; a model has one, the logits `[VOCAB]`.
    pub outputs: Vec<Output>,
    /// Terms added to the objective (each: mean over its axes and the unmasked tokens).
    pub losses: Vec<NodeId>,
    /// A model's learned tokens before each document: the parameter `[M, D]`.
    pub prefix: Option<ParamId>,
    /// The vocabulary axis of a model.
    pub vocab: Option<AxisId>,
    /// Facts that later stages derived from it.
    pub derived: Derived,
}

impl Graph {
    /// An axis by id.
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.0 as usize]
    }

    /// The length of an axis.
    pub fn size(&self, id: AxisId) -> usize {
        self.axis(id).size
    }

    /// Sorts axes into the layout order of devices: those along which values are stacked first, so that the parts of a stack are
    /// contiguous, then by id.
    pub fn layout_order(&self, axes: &mut [AxisId]) {
        let stacked = self.stacked();
        axes.sort_by_key(|a| (!stacked[a.0 as usize], *a));
    }

    /// Marks the axes along which values are stacked somewhere.
    pub fn stacked(&self) -> Vec<bool> {
        fn mark(dag: &Dag, stacked: &mut [bool]) {
            for id in dag.ids() {
                match dag.op(id) {
                    Op::Stack(axis) => stacked[axis.0 as usize] = true,
                    Op::Scan(scan) => mark(&scan.body, stacked),
                    Op::Attend(attend) => mark(&attend.body, stacked),
                    _ => {}
                }
            }
        }
        let mut stacked = vec![false; self.axes.len()];
        mark(&self.dag, &mut stacked);
        stacked
    }

    /// A parameter by id.
    pub fn param(&self, id: ParamId) -> &Param {
        &self.params[id.0 as usize]
    }

    /// The shape of a parameter in a checkpoint.
    pub fn param_shape(&self, id: ParamId) -> Vec<usize> {
        self.param(id).axes.iter().map(|&a| self.size(a)).collect()
    }

    /// Number of learned elements.
    pub fn param_count(&self) -> usize {
        let ids = (0..self.params.len()).map(|i| ParamId(i as u32));
        ids.fold(0, |sum, id| sum.saturating_add(self.param_numbers(id)))
    }

    /// Whether there is something to minimise: a model's cross-entropy, or a `loss` of the program.
    pub fn has_objective(&self) -> bool {
        self.vocab.is_some() || !self.losses.is_empty()
    }

    /// Elements of one parameter. Sizes are the user's, so products may leave the range; they stay at its end.
    pub fn param_numbers(&self, id: ParamId) -> usize {
        self.param_shape(id).into_iter().fold(1, usize::saturating_mul)
    }
}
