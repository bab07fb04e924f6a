//! A rotation folded into keys and queries.
//!
//! With W_i the sum of the angles of a chunk's rows up to i, the state after row i is Rot(W_i) U_i, where U_i decays and is written to
//! like a state without rotation, with the keys Rot(-W_j) k_j; a query q_i reads it as Rot(-W_i) q_i reads U_i, because rotations preserve
//! inner products (arXiv 2104.09864 has this for positions, 2307.08621 for retention). So pairs of rows see the angle between them,
//! Rot(W_i - W_j), and everything is in the frame of the chunk's entry, where U is the state S itself: the angles stay as small as a
//! chunk's,
//! and the carried state is the program's own. At the end the state is rotated, S' = Rot(W_C) U_C. A read before the row's own rotation
//! uses the sum up to the row above.
//!
//! In a document that starts at row s, W_i counts from there, and its initial state replaces S: so angles of other documents do not affect
//! its digits.

use super::chunk::Outer;
use super::form::{Form, Rotation};
use super::rate::count;
use crate::graph::{Dag, NodeId, Op as Source, UnaryOp};
use crate::lowered::{Builder, DimId, Lowered, Op, ValueId};
use std::collections::BTreeMap;
use std::f64::consts::TAU;

/// Cosine and sine of angles.
#[derive(Clone, Copy)]
pub(super) struct Angle {
    cos: ValueId,
    sin: ValueId,
}

impl Angle {
    pub(super) fn of(b: &mut Builder, angle: ValueId) -> Self {
        Self { cos: b.unary(UnaryOp::Cos, angle), sin: b.unary(UnaryOp::Sin, angle) }
    }

    /// Complex numbers, rotated by the angles or `back`; a missing part is 0.
    fn turn(self, b: &mut Builder, x: [Option<ValueId>; 2], back: bool) -> [ValueId; 2] {
        let [c, s] = [self.cos, self.sin].map(|f| x.map(|x| x.map(|x| b.mul(f, x))));
        let (plus, minus) = if back { ((c[0], s[1]), (c[1], s[0])) } else { ((c[1], s[0]), (c[0], s[1])) };
        let plus = match plus {
            (Some(x), Some(y)) => b.add(x, y),
            (x, y) => x.or(y).unwrap_or_else(|| b.number(0.0)),
        };
        let minus = match minus {
            (Some(x), Some(y)) => b.sub(x, y),
            (Some(x), None) => x,
            (None, Some(y)) => b.neg(y),
            (None, None) => b.number(0.0),
        };
        if back { [plus, minus] } else { [minus, plus] }
    }

    /// A value with an axis of two parts, rotated.
    pub(super) fn whole(self, b: &mut Builder, x: ValueId, part: DimId, back: bool) -> ValueId {
        let x = b.expand(x, &[part]);
        let parts = [0, 1].map(|i| Some(b.op(Op::Pick(part, i), &[x])));
        let parts = self.turn(b, parts, back);
        stacked(b, parts, part)
    }
}

/// Stacks two parts along their axis.
pub(crate) fn stacked(b: &mut Builder, parts: [ValueId; 2], part: DimId) -> ValueId {
    let dims = parts.map(|x| b.dims_of(x).to_vec()).concat();
    let parts = parts.map(|x| b.expand(x, &dims));
    b.op(Op::Stack(part), &parts)
}

/// A loop's rotation outside of it: the angles of its rows, and the numbers of the loop's captures.
pub(super) struct Frame {
    part: DimId,
    /// The sum of the angles up to each row, and up to the one above it.
    angles: [Angle; 2],
    /// Cosine and sine of the angle of the whole chunk.
    end: [usize; 2],
    /// Rotated keys and queries, by node and whether they lack the row's own angle.
    vectors: BTreeMap<(NodeId, bool), usize>,
}

/// A loop's rotation inside of it.
pub(super) struct Turned {
    pub part: DimId,
    pub vectors: BTreeMap<(NodeId, bool), ValueId>,
    pub end: Angle,
}

/// Callback that returns the outer value of a form's node.
pub(super) type Operand<'o> = dyn FnMut(&mut Builder, &Dag, NodeId) -> ValueId + 'o;

impl Frame {
    /// Builds the frame of a loop. `starts` is not 0 where a document starts.
    pub(super) fn new(
        b: &mut Builder,
        outer: &mut Outer,
        form: &Form,
        rotation: Rotation,
        starts: Option<ValueId>,
        operand: &mut Operand<'_>,
    ) -> Self {
        let in_steps = in_steps(b, outer, form, rotation, operand);
        let angles = sums(b, in_steps, starts, outer.rows).map(|sum| Angle::of(b, sum));
        let last = count(b, outer.rows) - 1;
        let end = [angles[0].cos, angles[0].sin].map(|x| b.op(Op::Pick(outer.rows, last), &[x]));
        let end = end.map(|x| outer.capture(x));
        let part = Lowered::axis_dim(rotation.part);
        Self { part, angles, end, vectors: BTreeMap::new() }
    }

    /// Rotates the keys and queries of a form.
    pub(super) fn take(&mut self, b: &mut Builder, outer: &mut Outer, form: &Form, operand: &mut Operand<'_>) {
        let keys = form.events.iter().map(|e| (e.key, false));
        for this in keys.chain(form.reads.iter().map(|r| (r.query, r.sight.before))) {
            if self.vectors.contains_key(&this) {
                continue;
            }
            let (node, before) = this;
            let parts = parts(b, &form.dag, operand, node, self.part);
            let parts = parts.map(|x| x.map(|x| outer.by_rows(b, x, 0.0)));
            let parts = self.angles[usize::from(before)].turn(b, parts, true);
            let value = stacked(b, parts, self.part);
            self.vectors.insert(this, outer.capture(value));
        }
    }

    /// Values of the frame among the loop's captures.
    pub(super) fn inside(&self, captured: &[ValueId]) -> Turned {
        Turned {
            part: self.part,
            vectors: self.vectors.iter().map(|(key, i)| (*key, captured[*i])).collect(),
            end: Angle { cos: captured[self.end[0]], sin: captured[self.end[1]] },
        }
    }
}

/// Steps of a full turn in which angles are summed.
const STEPS: f64 = 4096.0;

/// A step without its last bits: 2 pi / 4096, rounded so that f32 has its multiples exactly.
const STEP: f64 = 1608.0 / (1u64 << 20) as f64;

/// Angles of the rows as multiples of a step, in turns, and the remainders. Rows past the end do not rotate the state.
///
/// The angles of a chunk make many turns, and an f32 sum in the hundreds has lost the digits that its cosine needs. So an angle is a
/// multiple of a step, whose sums are exact in f32 and from which whole turns are dropped, and a small remainder (Cody and Waite 1980). The
/// gradient of the sum is that of the remainders: a multiple of a step is constant.
fn in_steps(
    b: &mut Builder,
    outer: &Outer,
    form: &Form,
    rotation: Rotation,
    operand: &mut Operand<'_>,
) -> [ValueId; 2] {
    let step = TAU / STEPS;
    if let Source::Const(angle) = form.dag.op(rotation.angle) {
        let multiple = (angle / step).round();
        return [multiple.rem_euclid(STEPS) / STEPS, angle - multiple * step].map(|x| {
            let x = b.number(x);
            outer.by_rows(b, x, 0.0)
        });
    }
    let angle = operand(b, &form.dag, rotation.angle);
    let angle = outer.by_rows(b, angle, 0.0);
    let [to_steps, to_turns, high, low] = [1.0 / step, 1.0 / STEPS, STEP, step - STEP].map(|x| b.number(x));
    let multiple = b.mul(angle, to_steps);
    let multiple = nearest(b, multiple);
    let (high, low) = (b.mul(multiple, high), b.mul(multiple, low));
    let rest = b.sub(angle, high);
    let rest = b.sub(rest, low);
    let turns = b.mul(multiple, to_turns);
    [part_of_a_turn(b, turns), rest]
}

/// Fraction of a turn, between -1/2 and 1/2.
fn part_of_a_turn(b: &mut Builder, turns: ValueId) -> ValueId {
    let whole = nearest(b, turns);
    b.sub(turns, whole)
}

/// Nearest integer.
fn nearest(b: &mut Builder, x: ValueId) -> ValueId {
    let half = b.number(0.5);
    let x = b.add(x, half);
    b.unary(UnaryOp::Floor, x)
}

/// Sums of angles up to each row and up to the one above it, up to whole turns; they restart where `starts` is not 0.
fn sums(b: &mut Builder, in_steps: [ValueId; 2], starts: Option<ValueId>, rows: DimId) -> [ValueId; 2] {
    let tau = b.number(TAU);
    // an angle shared by all sequences is summed for each, according to its document starts
    let own = starts.map_or_else(Vec::new, |starts| b.dims_of(starts).to_vec());
    let in_steps = in_steps.map(|x| b.expand(x, &own));
    [false, true].map(|exclusive| {
        let [turns, rest] = in_steps.map(|x| {
            let operands: Vec<ValueId> = [x].into_iter().chain(starts).collect();
            b.op(Op::Cumsum { dim: rows, reverse: false, exclusive }, &operands)
        });
        let turns = part_of_a_turn(b, turns);
        let turned = b.mul(turns, tau);
        b.add(turned, rest)
    })
}

/// The two parts of a node, omitting those that are 0.
fn parts(b: &mut Builder, dag: &Dag, operand: &mut Operand<'_>, node: NodeId, part: DimId) -> [Option<ValueId>; 2] {
    let operands = dag.operands(node);
    if let (Source::Stack(axis), [re, im]) = (dag.op(node), operands)
        && Lowered::axis_dim(*axis) == part
    {
        return [*re, *im].map(|mut x| {
            while let Source::Expand(_) = dag.op(x) {
                x = dag.operands(x)[0];
            }
            (!matches!(dag.op(x), Source::Const(0.0))).then(|| operand(b, dag, x))
        });
    }
    panic!("archc bug: %{} of a form that turns is no pair of parts", node.0)
}

/// Rotates complex numbers in f64, all first parts before all second ones, each by the angle at its index.
pub(super) fn turn_numbers(x: &mut [f64], angles: &[f64], back: bool) {
    let (re, im) = x.split_at_mut(angles.len());
    for ((re, im), angle) in re.iter_mut().zip(im).zip(angles) {
        let (sin, cos) = if back { (-angle).sin_cos() } else { angle.sin_cos() };
        (*re, *im) = (cos * *re - sin * *im, sin * *re + cos * *im);
    }
}
