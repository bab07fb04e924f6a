//! Gradients of embeddings, and of ops that exist for training.

use super::site::{Cotangents, Site};
use crate::lowered::{BATCH, Extent, Op, TIME};

pub(super) fn embed(s: &mut Site) -> Cotangents {
    let Op::Embed { vocab, prefix } = *s.op else { panic!("archc bug: {:?} is no embedding", s.op) };
    let dy = s.dy_along(&[BATCH, TIME]);
    let tokens = match s.b.dims[vocab.0 as usize].extent {
        Extent::Fixed(tokens) => tokens,
        other => panic!("archc bug: a vocabulary of {other:?} tokens"),
    };
    s.each(|s, i| {
        let rows = if i == 0 { Some((vocab, 0)) } else { prefix.map(|prefix| (prefix, tokens)) };
        rows.map(|(of, first)| s.b.op(Op::Scatter { of, first }, &[dy]))
    })
}

/// Gradient of dropout: it drops the same elements, because the draw depends on site and token alone.
pub(super) fn dropout(s: &mut Site) -> Cotangents {
    let dims = s.b.dims_of(s.result).to_vec();
    let dy = s.dy_along(&dims);
    vec![Some(s.b.op(s.op.clone(), &[dy, s.operands[1]])), None]
}

pub(super) fn cross_entropy(s: &mut Site) -> Cotangents {
    let Op::CrossEntropy { vocab } = *s.op else { panic!("archc bug: {:?} is no cross-entropy", s.op) };
    Site::sole(s.b.op(Op::CrossEntropyGrad { vocab }, &[s.operands[0], s.dy]))
}
