//! What the stages behind lowering know of an op, one exhaustive match: a new op answers here or does not compile.

use super::Op;
use crate::graph::BinaryOp;
use crate::ops::Trait;

/// What may hold of an op. What is not listed is not assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// It has no operands, and something outside of its DAG gives its value: the caller, parameters, the loop or attend around.
    Leaf,
    /// Its value is there in forward and backward pass without being kept.
    Free,
    /// Its value depends on its operands alone: where they are the same at every call, so is it.
    Pure,
    /// It may only give its operand's elements another name.
    Name,
    /// It costs next to nothing where it is fused with what reads it, so that the backward pass may compute it again. An exponential
    /// does; functions that take several times as long do not.
    Cheap,
    /// It reads its operands from memory, however it is fused.
    Stored,
    /// It and its gradient are finite wherever its operands are (at 0 a norm and a deviation have the gradient 0). Functions of one and
    /// two values say so by their domain.
    Regular,
}

impl Op {
    /// Whether something holds of it.
    pub(crate) fn is(&self, fact: Fact) -> bool {
        self.facts().contains(&fact)
    }

    #[deny(clippy::wildcard_enum_match_arm)]
    fn facts(&self) -> &'static [Fact] {
        use Fact::{Cheap, Free, Leaf, Name, Pure, Regular, Stored};
        match self {
            Self::Const(_) | Self::Index(_) | Self::Table(..) => &[Free, Pure, Regular],
            Self::Input(_)
            | Self::Param(_)
            | Self::Pos
            | Self::Doc
            | Self::Step
            | Self::TokenWeight
            | Self::Carried(..)
            | Self::CarriedLow(..) => &[Leaf, Free, Regular],
            Self::Cotangent(..)
            | Self::Capture(..)
            | Self::Past(..)
            | Self::Lag(..)
            | Self::State(..)
            | Self::Weight(..)
            | Self::Visible(..)
            | Self::Delta(_)
            | Self::Sofar(..)
            | Self::Last => &[Leaf, Regular],
            Self::Unary(f) if f.is(Trait::Cheap) => &[Pure, Cheap],
            Self::Binary(BinaryOp::Pow) | Self::Unary(_) => &[Pure],
            Self::Binary(_) => &[Pure, Cheap],
            Self::Select => &[Pure, Cheap, Regular],
            Self::Reduce(..)
            | Self::Softmax(_)
            | Self::Cumsum { .. }
            | Self::CumsumLow { .. }
            | Self::Cumprod { .. }
            | Self::Sort(_)
            | Self::Put(..)
            | Self::Paste { .. } => &[Pure, Regular],
            Self::Contract(_) => &[Pure, Stored, Regular],
            Self::Stack(_) | Self::Cat(..) => &[Pure, Cheap, Regular],
            Self::Pick(..)
            | Self::Split(..)
            | Self::Flatten(..)
            | Self::Cut { .. }
            | Self::Expand(_)
            | Self::Rename(..) => &[Pure, Name, Cheap, Regular],
            Self::StopGrad => &[Pure, Name, Cheap, Regular],
            // they know the sequence's length
            Self::Chunk { .. } | Self::Unchunk { .. } => &[Name, Cheap, Regular],
            Self::Dropout { .. } | Self::Window { .. } => &[Cheap, Regular],
            Self::LongConv { .. } | Self::Loop(_) | Self::Attend(_) | Self::AttendGrad(_) => &[Stored, Regular],
            Self::Sparsemax(_)
            | Self::CumprodGrad { .. }
            | Self::Unsort(_)
            | Self::TopK(..)
            | Self::TopKMask(..)
            | Self::Embed { .. }
            | Self::Scatter { .. }
            | Self::CrossEntropy { .. }
            | Self::CrossEntropyGrad { .. }
            | Self::Unwindow { .. }
            | Self::LongConvBack { .. }
            | Self::LongConvFilter { .. }
            | Self::SolveUnitLower { .. }
            | Self::PairDecay(_)
            | Self::PairDecayGrad(_)
            | Self::PairProduct(_)
            | Self::PairProductGrad(_)
            | Self::DecayDot { .. }
            | Self::DecayDotGrad { .. }
            | Self::Emit(_)
            | Self::Final(_) => &[Regular],
        }
    }

    /// Whether a 0 of operand i may make the result or its gradient infinite or no number.
    pub(crate) fn has_pole_at(&self, i: usize) -> bool {
        match self {
            Self::Unary(f) => f.domain().has_pole(),
            Self::Binary(f) => f.pole() == Some(i),
            op => !op.is(Fact::Regular),
        }
    }
}
