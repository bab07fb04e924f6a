//! Leaves of a plan, by kind: the data that the caller provides for each run.

use super::Element;
use crate::lowered::{BATCH, DimId, Op, TIME};

/// A kernel's operand that no kernel makes, other than parameters and constants. A plan lists its leaves with their places; the same kind
/// may be listed with two element types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Row of the embedding table for each token, `[B, T]` of u32: a token, or from VOCAB on a row of the prefix's table.
    Tokens,
    /// Token that each token should predict, `[B, T]` of u32.
    Targets,
    /// Weight of each token in the loss, `[B, T]` of f64 for the cross-entropy, of f32 as a value of the program.
    Weights,
    /// Position of each token in its document, `[B, T]`: of u32 for kernels that read where documents start, of f32 as a value.
    Positions,
    /// Number of each token's document in its sequence, `[B, T]`.
    Documents,
    /// Number of updates done so far: a scalar.
    Updates,
    /// Key of a dropout site's random numbers at this step (SHA-256 of seed, step and the site's path): a scalar.
    DropoutKey(String),
    /// Learning rate, beta1, beta2, eps, weight decay, largest norm, number of the update from 1: a scalar. See [`super::AdamW`].
    Rule,
    /// Input i, `[B, T, axes]`.
    Input(usize),
    /// Cotangent of output i, the R in sum(output * R), `[B, T, axes]`.
    Cotangent(usize),
    /// A value carried over from earlier pieces of the sequences, by name.
    Carried(String),
    /// Rounding error of a carried value, by name.
    CarriedLow(String),
}

impl Leaf {
    /// The leaf that an op of the graph is, if it is one.
    pub(super) fn of(op: &Op) -> Option<Self> {
        Some(match op {
            Op::Pos => Self::Positions,
            Op::Doc => Self::Documents,
            Op::Step => Self::Updates,
            Op::TokenWeight => Self::Weights,
            Op::Input(i) => Self::Input(*i),
            Op::Cotangent(i, _) => Self::Cotangent(*i),
            Op::Carried(name, _) => Self::Carried(name.clone()),
            Op::CarriedLow(name, _) => Self::CarriedLow(name.clone()),
            _ => return None,
        })
    }

    /// The leaves that an op reads beside its operands: kind and element.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn beside(op: &Op) -> Vec<(Self, Element)> {
        match op {
            Op::Embed { .. } | Op::Scatter { .. } => vec![(Self::Tokens, Element::U32)],
            Op::CrossEntropy { .. } | Op::CrossEntropyGrad { .. } => {
                vec![(Self::Targets, Element::U32), (Self::Weights, Element::F64)]
            }
            Op::Dropout { path } => vec![(Self::DropoutKey(path.clone()), Element::Key)],
            Op::Window { .. }
            | Op::Unwindow { .. }
            | Op::LongConv { .. }
            | Op::LongConvBack { .. }
            | Op::LongConvFilter { .. } => vec![(Self::Positions, Element::U32)],
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
            | Op::Cotangent(..)
            | Op::Capture(..)
            | Op::Past(..)
            | Op::Lag(..)
            | Op::State(..)
            | Op::Weight(..)
            | Op::Visible(..)
            | Op::Delta(_)
            | Op::Sofar(..)
            | Op::Last
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Reduce(..)
            | Op::Contract(_)
            | Op::Softmax(_)
            | Op::Sparsemax(_)
            | Op::Cumsum { .. }
            | Op::CumsumLow { .. }
            | Op::Cumprod { .. }
            | Op::CumprodGrad { .. }
            | Op::Sort(_)
            | Op::Unsort(_)
            | Op::TopK(..)
            | Op::TopKMask(..)
            | Op::Stack(_)
            | Op::Pick(..)
            | Op::Put(..)
            | Op::Split(..)
            | Op::Flatten(..)
            | Op::Cat(..)
            | Op::Cut { .. }
            | Op::Paste { .. }
            | Op::Expand(_)
            | Op::Rename(..)
            | Op::Chunk { .. }
            | Op::Unchunk { .. }
            | Op::StopGrad
            | Op::SolveUnitLower { .. }
            | Op::PairDecay(_)
            | Op::PairDecayGrad(_)
            | Op::PairProduct(_)
            | Op::PairProductGrad(_)
            | Op::DecayDot { .. }
            | Op::DecayDotGrad { .. }
            | Op::Loop(_)
            | Op::Attend(_)
            | Op::AttendGrad(_)
            | Op::Emit(_)
            | Op::Final(_) => Vec::new(),
        }
    }

    /// Dimensions of a leaf that is no op of the graph.
    pub(super) fn dims(&self) -> &'static [DimId] {
        match self {
            Self::DropoutKey(_) | Self::Updates | Self::Rule => &[],
            _ => &[BATCH, TIME],
        }
    }

    /// Name of the leaf's kind, for printing.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Targets => "targets",
            Self::Weights => "weights",
            Self::Positions => "positions",
            Self::Documents => "documents",
            Self::Updates => "updates",
            Self::DropoutKey(_) => "dropout key",
            Self::Rule => "rule",
            Self::Input(_) => "input",
            Self::Cotangent(_) => "cotangent",
            Self::Carried(_) => "carried",
            Self::CarriedLow(_) => "carried low",
        }
    }
}
