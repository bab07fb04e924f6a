//! Properties of ops that the stages behind lowering use, one exhaustive match: a new op without an answer does not compile.

use super::Op;
use crate::graph::BinaryOp;
use crate::ops::Trait;

/// A property of an op. Unlisted properties are not assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// It has no operands, and its value comes from outside of its DAG: the caller, parameters, the enclosing loop or attend.
    Leaf,
    /// Its value is available in forward and backward pass without being kept.
    Free,
    /// Its value depends on its operands only: with equal operands at every call, so is its value.
    Pure,
    /// It may be a mere alias of its operand's elements.
    Name,
    /// Its cost is negligible where it is fused with its reader, so that the backward pass may compute it again. This includes an
    /// exponential, but not functions that take several times as long.
    Cheap,
    /// It reads its operands from memory, even in a fused loop.
    Stored,
    /// It and its gradient are finite wherever its operands are (at 0 a norm and a deviation have the gradient 0). For functions of one and
    /// two values the domain decides instead.
    Regular,
}

impl Op {
    /// Whether it has a property.
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
            // they depend on the sequence's length
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

    /// Whether a 0 of operand i may make the result or its gradient non-finite.
    pub(crate) fn has_pole_at(&self, i: usize) -> bool {
        match self {
            Self::Unary(f) => f.domain().has_pole(),
            Self::Binary(f) => f.pole() == Some(i),
            op => !op.is(Fact::Regular),
        }
    }
}
