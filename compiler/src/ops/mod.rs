//! Rules of the graph's ops.
//!
//! Each op has one place: its meaning in a sentence, its cost, its range, and the operands to which
//! a gradient flows. Families share a file (the functions of one value are one table, reductions another),
//! and [`rules`] is the only match over all of [`Op`]: a new op breaks the build there and in no other
//! analysis. Shapes belong to the elaborator, arithmetic to the devices.
//!
//! # What a FLOP is here
//! - a multiply-add is 2;
//! - every element-wise function is 1 per element, `exp` and `add` alike (the transcendental ones run in
//!   units of their own or as short polynomials; either way memory bandwidth is the limit, not they);
//! - a softmax is 4 per element (maximum, exp, sum, division), a variance 4, a norm 2;
//! - the gradient of a contraction costs one product of the same size for each operand that needs one;
//!   the gradient of an element-wise op 2 per element and operand (the derivative, times the cotangent);
//! - moving elements (layout, windows) is 0.
//!
//! The smallest example: `add %0 %0` over `[D]` with D = 64 is 64 FLOPs forward.

mod binary;
mod domain;
mod interval;
mod layout;
mod leaf;
mod learned;
mod over_axes;
mod time;
mod training;
mod unary;

#[cfg(test)]
pub(crate) mod testing;

pub use binary::BinaryOp;
pub use domain::Domain;
pub(crate) use domain::{EXP_MAX, Meets};
pub use interval::Interval;
pub use over_axes::{OfOne, ReduceOp};
pub use time::attend_flops_per_pair;
pub use unary::{Row, Trait, UnaryOp};

use crate::graph::{AxisId, Dag, Graph, NodeId, Op, Type};

/// A node with its graph and DAG.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The graph, for sizes.
    pub graph: &'a Graph,
    /// The DAG that holds the node: the graph's own, a body, or the init of a parameter.
    pub dag: &'a Dag,
    /// The node.
    pub id: NodeId,
}

impl<'a> At<'a> {
    /// A node with its graph and DAG.
    pub fn new(graph: &'a Graph, dag: &'a Dag, id: NodeId) -> Self {
        Self { graph, dag, id }
    }

    /// The op.
    pub fn op(&self) -> &'a Op {
        self.dag.op(self.id)
    }

    /// The type of the result.
    pub fn ty(&self) -> &'a Type {
        self.dag.ty(self.id)
    }

    /// The type of operand i.
    pub fn operand(&self, i: usize) -> &'a Type {
        self.dag.ty(self.dag.operands(self.id)[i])
    }

    /// Number of elements of the result.
    pub fn elements(&self) -> f64 {
        self.numbers(&self.ty().axes)
    }

    /// Number of elements of operand i.
    pub fn operand_elements(&self, i: usize) -> f64 {
        self.numbers(&self.operand(i).axes)
    }

    /// Product of the axes' sizes.
    pub fn numbers(&self, axes: &[AxisId]) -> f64 {
        axes.iter().map(|a| self.graph.size(*a) as f64).product()
    }
}

/// Storage of a result's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Written by the op.
    Fresh,
    /// The operands' elements under other indices: nothing is read or written.
    View,
    /// Not an activation: a parameter, a constant, a position.
    Free,
}

/// Rules of an op.
pub trait Rules {
    /// Its meaning, in one sentence.
    fn doc(&self) -> &'static str;

    /// FLOPs of one evaluation.
    fn flops(&self, at: At) -> f64;

    /// FLOPs of the gradient to operand i, where one flows.
    fn gradient_flops(&self, at: At, operand: usize) -> f64;

    /// Whether a gradient flows to operand i.
    fn differentiable(&self, operand: usize) -> bool;

    /// Storage of the result.
    fn storage(&self) -> Storage {
        Storage::Fresh
    }

    /// Range of the result, from those of the operands.
    ///
    /// Leaves of a body and reads of one have no operands of their own; the analysis passes the range of what they
    /// stand for: for a capture the captured value, for a state its value so far, for an emit the emitted value.
    fn range(&self, at: At, operands: &[Interval]) -> Interval;
}

/// The rules of an op. The one exhaustive match: a new op is registered here.
#[deny(clippy::wildcard_enum_match_arm)]
pub fn rules(op: &Op) -> &dyn Rules {
    match op {
        Op::Input(_) => &leaf::Input,
        Op::Param(_) => &leaf::Param,
        Op::Const(_) => &leaf::Const,
        Op::Index(_) => &leaf::Index,
        Op::Table(..) => &leaf::Table,
        Op::Pos => &leaf::Pos,
        Op::Step => &leaf::Step,
        Op::Draw(draw) => draw,
        Op::Capture(_) => &leaf::Capture,
        Op::Past(_) => &leaf::Past,
        Op::Lag => &leaf::Lag,
        Op::State(_) => &leaf::State,
        Op::Unary(op) => op,
        Op::Binary(op) => op,
        Op::Select => &binary::Select,
        Op::Reduce(op, _) => op,
        Op::Contract(_) => &over_axes::Contract,
        Op::Softmax(_) => &over_axes::Softmax,
        Op::Sparsemax(_) => &over_axes::Sparsemax,
        Op::Cumsum(_) => &over_axes::Cumsum,
        Op::Sort(_) => &over_axes::Sort,
        Op::TopK(..) => &over_axes::TopK,
        Op::Stack(_) => &layout::Stack,
        Op::Pick(..) => &layout::Pick,
        Op::Split(..) => &layout::Split,
        Op::Flatten(..) => &layout::Flatten,
        Op::Cat(..) => &layout::Cat,
        Op::Cut { .. } => &layout::Cut,
        Op::Expand(_) => &layout::Expand,
        Op::Rename(..) => &layout::Rename,
        Op::Linear(linear) => linear,
        Op::Embed { .. } => &learned::Embed,
        Op::Dropout { .. } => &training::Dropout,
        Op::StopGrad => &training::StopGrad,
        Op::Anneal { .. } => &training::Anneal,
        Op::TokenMean => &training::TokenMean,
        Op::Window { .. } => &time::Window,
        Op::Scan(_) => &time::Scan,
        Op::Attend(_) => &time::Attend,
        Op::Emit(_) => &time::Emit,
    }
}

/// The axes that an op works along or makes.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn axes(op: &Op) -> Vec<AxisId> {
    match op {
        Op::Index(axes) | Op::Reduce(_, axes) | Op::Contract(axes) | Op::Softmax(axes) | Op::Expand(axes) => {
            axes.clone()
        }
        Op::Table(axis, _)
        | Op::Sparsemax(axis)
        | Op::Cumsum(axis)
        | Op::Sort(axis)
        | Op::TopK(axis, _)
        | Op::Stack(axis)
        | Op::Window { axis, .. }
        | Op::Pick(axis, _) => vec![*axis],
        Op::Split(from, into) => [&[*from], into.as_slice()].concat(),
        Op::Flatten(parts, into) | Op::Cat(parts, into) => [parts.as_slice(), &[*into]].concat(),
        Op::Cut { from, into, .. } | Op::Rename(from, into) => vec![*from, *into],
        Op::Linear(map) => [map.contracted.concat(), map.out.clone()].concat(),
        Op::Input(_)
        | Op::Param(_)
        | Op::Const(_)
        | Op::Pos
        | Op::Step
        | Op::Draw(_)
        | Op::Capture(_)
        | Op::Past(_)
        | Op::Lag
        | Op::State(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Embed { .. }
        | Op::Dropout { .. }
        | Op::StopGrad
        | Op::Anneal { .. }
        | Op::TokenMean
        | Op::Scan(_)
        | Op::Attend(_)
        | Op::Emit(_) => Vec::new(),
    }
}

/// Whether there are operands of moderate size, 0 included, at which the value or a derivative is infinite or no number.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn has_pole(op: &Op) -> bool {
    match op {
        Op::Unary(f) => f.domain().has_pole(),
        Op::Binary(f) => f.pole().is_some(),
        // at 0 a norm and a deviation have the gradient 0
        Op::Reduce(..) | Op::Softmax(_) => false,
        Op::Input(_)
        | Op::Param(_)
        | Op::Const(_)
        | Op::Index(_)
        | Op::Table(..)
        | Op::Pos
        | Op::Step
        | Op::Draw(_)
        | Op::Capture(_)
        | Op::Past(_)
        | Op::Lag
        | Op::State(_)
        | Op::Select
        | Op::Contract(_)
        | Op::Sparsemax(_)
        | Op::Cumsum(_)
        | Op::Sort(_)
        | Op::TopK(..)
        | Op::Stack(_)
        | Op::Pick(..)
        | Op::Split(..)
        | Op::Flatten(..)
        | Op::Cat(..)
        | Op::Cut { .. }
        | Op::Expand(_)
        | Op::Rename(..)
        | Op::Linear(_)
        | Op::Embed { .. }
        | Op::Dropout { .. }
        | Op::StopGrad
        | Op::Anneal { .. }
        | Op::TokenMean
        | Op::Window { .. }
        | Op::Scan(_)
        | Op::Attend(_)
        | Op::Emit(_) => false,
    }
}
