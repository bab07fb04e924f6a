//! Decays of a chunk's rows: logarithms, which are summed, or the factors themselves, which are multiplied.

use crate::graph::BinaryOp;
use crate::lowered::{Builder, DimId, Extent, Op, Pairs, ValueId};

/// Decay of each row, `[rows, ..]`.
#[derive(Clone, Copy)]
pub(super) enum Rate {
    /// Logarithm of the decay, at most 0.
    Log(ValueId),
    /// The decay itself: near 0 or of either sign.
    Factor(ValueId),
}

/// Number of rows.
pub(super) fn count(b: &Builder, rows: DimId) -> usize {
    match b.dims[rows.0 as usize].extent {
        Extent::Fixed(n) => n,
        other => panic!("archc bug: rows of extent {other:?}"),
    }
}

/// 0, 1, 2, ... along a dimension.
pub(super) fn index(b: &mut Builder, dim: DimId) -> ValueId {
    b.op(Op::Index(vec![dim]), &[])
}

impl Rate {
    /// The same decay over other rows: `f` receives the value and the neutral element, and returns the new value.
    pub(super) fn spread(self, f: impl FnOnce(ValueId, f64) -> ValueId) -> Self {
        match self {
            Self::Log(g) => Self::Log(f(g, 0.0)),
            Self::Factor(a) => Self::Factor(f(a, 1.0)),
        }
    }

    /// Decay between pairs of rows, `[rows, cols]`.
    pub(super) fn pairs(self, b: &mut Builder, pairs: Pairs) -> ValueId {
        match self {
            Self::Log(g) => b.op(Op::PairDecay(pairs), &[g]),
            Self::Factor(a) => b.op(Op::PairProduct(pairs), &[a]),
        }
    }

    /// Decay of all rows up to each, or from each on with `reverse`; without its own with `exclusive`.
    pub(super) fn running(self, b: &mut Builder, rows: DimId, reverse: bool, exclusive: bool) -> ValueId {
        match self {
            Self::Log(g) => {
                let sum = b.op(Op::Cumsum { dim: rows, reverse, exclusive }, &[g]);
                b.exp(sum)
            }
            Self::Factor(a) => b.op(Op::Cumprod { dim: rows, reverse, exclusive }, &[a]),
        }
    }

    /// Decay of all rows.
    pub(super) fn all_rows(self, b: &mut Builder, rows: DimId) -> ValueId {
        match self {
            Self::Log(g) => {
                let sum = b.sum(g, &[rows]);
                b.exp(sum)
            }
            Self::Factor(_) => {
                let up_to = self.running(b, rows, false, false);
                let last = count(b, rows) - 1;
                b.op(Op::Pick(rows, last), &[up_to])
            }
        }
    }

    /// Decay of the rows where `within` is 1.
    pub(super) fn rows_within(self, b: &mut Builder, rows: DimId, within: ValueId) -> ValueId {
        match self {
            Self::Log(g) => {
                let sum = b.contract(within, g, &[rows]);
                b.exp(sum)
            }
            Self::Factor(a) => {
                let one = b.number(1.0);
                let a = b.op(Op::Select, &[within, a, one]);
                Self::Factor(a).all_rows(b, rows)
            }
        }
    }

    /// Decay of each row's document up to the row, or with `before` up to the one above it, where the document starts inside of the chunk,
    /// at row `start`. `document` is 1 for pairs of one document.
    pub(super) fn since_start(
        self,
        b: &mut Builder,
        [rows, cols]: [DimId; 2],
        document: ValueId,
        start: ValueId,
        before: bool,
    ) -> ValueId {
        let (row, col) = (index(b, rows), index(b, cols));
        match self {
            Self::Log(g) => {
                let reached = b.binary(if before { BinaryOp::Gt } else { BinaryOp::Ge }, row, col);
                let reached = b.mul(reached, document);
                let g = b.rename(g, rows, cols);
                let sum = b.contract(reached, g, &[cols]);
                b.exp(sum)
            }
            Self::Factor(a) => {
                // the decay since the first row, and that row's own
                let since = b.op(Op::PairProduct(Pairs { rows, cols, strict: before, before }), &[a]);
                let first = b.binary(BinaryOp::Eq, col, start);
                let since = b.mul(since, first);
                let a = b.rename(a, rows, cols);
                let kept = b.contract(since, a, &[cols]);
                if !before {
                    return kept;
                }
                let own = b.binary(BinaryOp::Eq, row, start);
                b.add(kept, own)
            }
        }
    }
}
