//! The gradient table: every op has one entry. The rules themselves are in one file per family of ops.

use super::site::{Cotangents, Site};
use super::{binary, chunk, layout, learned, over_dims, time, unary};
use crate::lowered::Op;
use crate::ops::Trait;

/// Kind of gradient of an op.
pub(super) enum Rule {
    /// A leaf: cotangents accumulate there.
    Leaf,
    /// No operand gets a cotangent.
    None,
    /// Cotangents of the operands from that of the result.
    One(fn(&mut Site) -> Cotangents),
    /// An op with several outputs, read by ports.
    Many,
    /// A port that reads one of them.
    Port,
    /// An op that occurs only in backward passes.
    BackwardOnly,
}

/// The rule of an op.
#[deny(clippy::wildcard_enum_match_arm)]
pub(super) fn rule(op: &Op) -> Rule {
    match op {
        Op::Input(_)
        | Op::Param(_)
        | Op::Const(_)
        | Op::Index(_)
        | Op::Table(..)
        | Op::Pos
        | Op::Doc
        | Op::Step
        | Op::TokenWeight
        | Op::Carried(..)
        | Op::CarriedLow(..)
        | Op::Capture(..)
        | Op::Past(..)
        | Op::Lag(..)
        | Op::State(..) => Rule::Leaf,

        Op::Unary(_) => Rule::One(unary::unary),
        Op::Binary(_) => Rule::One(binary::binary),
        Op::Select => Rule::One(binary::select),

        Op::Reduce(..) => Rule::One(over_dims::reduce),
        Op::Contract(_) => Rule::One(binary::contract),
        Op::Softmax(_) => Rule::One(over_dims::softmax),
        Op::Sparsemax(_) => Rule::One(over_dims::sparsemax),
        Op::Cumsum { .. } => Rule::One(over_dims::cumsum),
        Op::Cumprod { .. } => Rule::One(over_dims::cumprod),
        Op::Sort(_) => Rule::One(over_dims::sort),
        Op::TopK(..) => Rule::One(over_dims::top_k),

        Op::Stack(_) => Rule::One(layout::stack),
        Op::Pick(..) => Rule::One(layout::pick),
        Op::Put(..) => Rule::One(layout::put),
        Op::Split(..) => Rule::One(layout::split),
        Op::Flatten(..) => Rule::One(layout::flatten),
        Op::Cat(..) => Rule::One(layout::cat),
        Op::Cut { .. } => Rule::One(layout::cut),
        Op::Expand(_) => Rule::One(layout::expand),
        Op::Rename(..) => Rule::One(layout::rename),
        Op::Chunk { .. } => Rule::One(layout::chunk),
        Op::Unchunk { .. } => Rule::One(layout::unchunk),

        Op::Embed { .. } => Rule::One(learned::embed),
        Op::Dropout { .. } => Rule::One(learned::dropout),
        Op::CrossEntropy { .. } => Rule::One(learned::cross_entropy),
        Op::StopGrad | Op::CumsumLow { .. } => Rule::None,

        Op::Window { .. } => Rule::One(time::window),
        Op::LongConv { .. } => Rule::One(time::long_conv),

        Op::SolveUnitLower { .. } => Rule::One(chunk::solve),
        Op::PairDecay(_) => Rule::One(chunk::pair_decay),
        Op::PairProduct(_) => Rule::One(chunk::pair_product),
        Op::DecayDot { .. } => Rule::One(chunk::decay_dot),

        Op::Loop(_) | Op::Attend(_) => Rule::Many,
        Op::Emit(_) | Op::Final(_) => Rule::Port,

        Op::Cotangent(..)
        | Op::Weight(..)
        | Op::Visible(..)
        | Op::Delta(_)
        | Op::Sofar(..)
        | Op::Last
        | Op::Unsort(_)
        | Op::TopKMask(..)
        | Op::Paste { .. }
        | Op::Scatter { .. }
        | Op::CrossEntropyGrad { .. }
        | Op::Unwindow { .. }
        | Op::LongConvBack { .. }
        | Op::LongConvFilter { .. }
        | Op::CumprodGrad { .. }
        | Op::PairDecayGrad(_)
        | Op::PairProductGrad(_)
        | Op::DecayDotGrad { .. }
        | Op::AttendGrad(_) => Rule::BackwardOnly,
    }
}

/// Whether a gradient flows from an op to its operand i.
pub(super) fn flows(op: &Op, i: usize) -> bool {
    match op {
        Op::Unary(f) => f.is(Trait::Smooth),
        Op::Binary(f) => !f.is_comparison(),
        // not to the condition, the probability, or the carry
        Op::Select => i != 0,
        Op::Dropout { .. } | Op::Window { .. } => i == 0,
        other => match rule(other) {
            Rule::One(_) | Rule::Many | Rule::Port => true,
            Rule::Leaf | Rule::None => false,
            Rule::BackwardOnly => panic!("archc bug: {other:?} before the gradient"),
        },
    }
}
