//! Ops without operands: inputs, parameters, constants, positions, draws, and leaves of bodies.

use super::{At, Interval, Rules, Storage};
use crate::graph::{Draw, Op};

/// A leaf: no cost, no operands; leaves differ in description and range only.
macro_rules! leaf {
    ($name:ident, $doc:literal, $range:expr) => {
        #[doc = $doc]
        pub(super) struct $name;

        impl Rules for $name {
            fn doc(&self) -> &'static str {
                $doc
            }

            fn flops(&self, _: At) -> f64 {
                0.0
            }

            fn gradient_flops(&self, _: At, _: usize) -> f64 {
                0.0
            }

            fn differentiable(&self, _: usize) -> bool {
                // the gradient of a body's leaf flows to the value it stands for; the others have no operand
                true
            }

            fn storage(&self) -> Storage {
                Storage::Free
            }

            fn range(&self, at: At, operands: &[Interval]) -> Interval {
                let range: fn(At, &[Interval]) -> Interval = $range;
                range(at, operands)
            }
        }
    };
}

leaf!(Input, "an input of the block, one value a token", |_, _| Interval::ALL);
leaf!(Param, "a learned tensor", |_, _| Interval::ALL);
leaf!(Const, "a number", |at, _| match at.op() {
    Op::Const(x) => Interval::point(*x),
    _ => Interval::ALL,
});
leaf!(Index, "0, 1, 2, ... along the axes, row-major", |at, _| Interval::closed(0.0, at.elements() - 1.0));
leaf!(Table, "given numbers along an axis", |at, _| match at.op() {
    Op::Table(_, numbers) => {
        numbers.iter().copied().map(Interval::point).reduce(Interval::hull).unwrap_or(Interval::ALL)
    }
    _ => Interval::ALL,
});
leaf!(Pos, "the position in the document, from 0", |_, _| Interval::NON_NEGATIVE);
leaf!(Step, "the training step, from 0", |_, _| Interval::NON_NEGATIVE);
leaf!(Capture, "a value of the surroundings at the present token", |_, x| x.first().copied().unwrap_or(Interval::ALL));
leaf!(Past, "a value of the surroundings at the past token", |_, x| x.first().copied().unwrap_or(Interval::ALL));
leaf!(Lag, "the distance to the past token, from 0", |_, _| Interval::NON_NEGATIVE);
leaf!(State, "a state before this token's update", |_, x| x.first().copied().unwrap_or(Interval::ALL));

impl Rules for Draw {
    fn doc(&self) -> &'static str {
        match self {
            Self::Normal => "normal random numbers of the given standard deviation",
            Self::Uniform => "uniform random numbers between a and b",
            Self::LogUniform => "exp of uniform random numbers between log a and log b",
            Self::Orthogonal => "a matrix with orthonormal rows or columns, times a gain",
            Self::Eye => "1 where the flattened OUT index equals the flattened IN index, else 0",
            Self::Dirac => "1 at index 0 of the contracted axes, else 0",
        }
    }

    fn flops(&self, _: At) -> f64 {
        0.0
    }

    fn gradient_flops(&self, _: At, _: usize) -> f64 {
        0.0
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn storage(&self) -> Storage {
        Storage::Free
    }

    fn range(&self, _: At, x: &[Interval]) -> Interval {
        match (self, x) {
            (Self::Uniform | Self::LogUniform, [a, b]) => a.hull(*b),
            (Self::Orthogonal, [gain]) => Interval::symmetric(gain.magnitude()),
            (Self::Orthogonal, []) => Interval::symmetric(1.0),
            (Self::Eye | Self::Dirac, _) => Interval::UNIT,
            _ => Interval::ALL,
        }
    }
}
