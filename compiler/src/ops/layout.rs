//! Ops that move elements: no arithmetic.

use super::{At, Interval, Rules, Storage};
use crate::graph::Op;

macro_rules! layout {
    ($name:ident, $doc:literal, $storage:ident) => {
        #[doc = $doc]
        pub(super) struct $name;

        impl Rules for $name {
            fn doc(&self) -> &'static str {
                $doc
            }

            fn flops(&self, _: At) -> f64 {
                0.0
            }

            fn gradient_flops(&self, at: At, operand: usize) -> f64 {
                // the gradient of a broadcast operand is a sum over the axes that it lacks
                let share = match at.op() {
                    Op::Stack(axis) => at.elements() / at.graph.size(*axis) as f64,
                    Op::Expand(_) => at.elements(),
                    _ => return 0.0,
                };
                if share > at.operand_elements(operand) { share } else { 0.0 }
            }

            fn differentiable(&self, _: usize) -> bool {
                true
            }

            fn storage(&self) -> Storage {
                Storage::$storage
            }

            fn range(&self, _: At, x: &[Interval]) -> Interval {
                x.iter().copied().reduce(Interval::hull).unwrap_or(Interval::ALL)
            }
        }
    };
}

layout!(Stack, "the operands as entries along a new axis", Fresh);
layout!(Pick, "the entry at an index of an axis", View);
layout!(Split, "one axis as several, row-major", View);
layout!(Flatten, "several axes as one, row-major", View);
layout!(Cat, "the operands one after the other along a new axis", Fresh);
layout!(Cut, "a part of an axis", View);
layout!(Expand, "constant along new axes", View);
layout!(Rename, "the same numbers under another axis", View);
