//! Dimensions named by ops.

use super::{DimId, Op};
use std::sync::Arc;

impl Op {
    /// Calls f with every dimension that the op itself names; not with those of a body inside of it.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub fn each_dim(&mut self, f: &mut dyn FnMut(&mut DimId)) {
        match self {
            Self::Input(_)
            | Self::Param(_)
            | Self::Const(_)
            | Self::Pos
            | Self::Doc
            | Self::Step
            | Self::TokenWeight
            | Self::Unary(_)
            | Self::Binary(_)
            | Self::Select
            | Self::Dropout { .. }
            | Self::StopGrad
            | Self::Last
            | Self::Emit(_)
            | Self::Final(_) => {}
            Self::Index(dims)
            | Self::Carried(_, dims)
            | Self::CarriedLow(_, dims)
            | Self::Cotangent(_, dims)
            | Self::Capture(_, dims)
            | Self::Past(_, dims)
            | Self::State(_, dims)
            | Self::Reduce(_, dims)
            | Self::Contract(dims)
            | Self::Softmax(dims)
            | Self::Expand(dims) => dims.iter_mut().for_each(f),
            Self::Table(dim, _)
            | Self::Delta(dim)
            | Self::Sofar(dim, _)
            | Self::Sparsemax(dim)
            | Self::Cumsum { dim, .. }
            | Self::CumsumLow { dim, .. }
            | Self::Cumprod { dim, .. }
            | Self::CumprodGrad { dim, .. }
            | Self::Sort(dim)
            | Self::Unsort(dim)
            | Self::TopK(dim, _)
            | Self::TopKMask(dim, _)
            | Self::Stack(dim)
            | Self::Pick(dim, _)
            | Self::Put(dim, _)
            | Self::Scatter { of: dim, .. }
            | Self::CrossEntropy { vocab: dim }
            | Self::CrossEntropyGrad { vocab: dim }
            | Self::Window { dim, .. }
            | Self::Unwindow { dim, .. }
            | Self::LongConv { lag: dim }
            | Self::LongConvBack { lag: dim }
            | Self::LongConvFilter { lag: dim } => f(dim),
            Self::Lag(a, b)
            | Self::Weight(a, b)
            | Self::Visible(a, b)
            | Self::Rename(a, b)
            | Self::Cut { from: a, into: b, .. }
            | Self::Paste { from: a, into: b, .. }
            | Self::Chunk { chunks: a, rows: b, .. }
            | Self::Unchunk { chunks: a, rows: b }
            | Self::SolveUnitLower { rows: a, cols: b, .. } => {
                f(a);
                f(b);
            }
            Self::Split(dim, dims) | Self::Flatten(dims, dim) | Self::Cat(dims, dim) => {
                f(dim);
                dims.iter_mut().for_each(f);
            }
            Self::Embed { vocab, prefix } => {
                f(vocab);
                prefix.iter_mut().for_each(f);
            }
            Self::PairDecay(pairs)
            | Self::PairDecayGrad(pairs)
            | Self::PairProduct(pairs)
            | Self::PairProductGrad(pairs) => {
                f(&mut pairs.rows);
                f(&mut pairs.cols);
            }
            Self::DecayDot { over, pairs } => [over, &mut pairs.rows, &mut pairs.cols].into_iter().for_each(f),
            Self::DecayDotGrad { over, pairs, parts } => {
                [over, &mut pairs.rows, &mut pairs.cols, parts].into_iter().for_each(f);
            }
            Self::Loop(l) => {
                let l = Arc::make_mut(l);
                l.map.iter_mut().chain([&mut l.over]).for_each(f);
            }
            Self::Attend(a) => Arc::make_mut(a).each_dim(f),
            Self::AttendGrad(g) => Arc::make_mut(&mut Arc::make_mut(g).forward).each_dim(f),
        }
    }
}

impl super::Attend {
    fn each_dim(&mut self, f: &mut dyn FnMut(&mut DimId)) {
        self.map.iter_mut().chain([&mut self.rows, &mut self.cols]).for_each(f);
    }
}
