//! The linear part of one state's update, and a bound on its norm.

use super::super::equal::{Product, Value};
use super::super::ranges::Ranges;
use super::super::relations::over_squares;
use super::{Growth, Reason};
use crate::graph::{AxisId, BinaryOp, Op, ReduceOp, Scan, UnaryOp};
use crate::ops::Interval;
use std::cell::Cell;
use std::collections::BTreeSet;

/// Part of an update that is linear in the state.
enum Linear {
    /// It does not depend on the state.
    Free,
    /// Element-wise: the state times a factor in this interval.
    Diagonal(Interval),
    /// A map with a bound on its norm, and its kind.
    Map(f64, &'static str),
}

impl Linear {
    fn norm(&self) -> f64 {
        match self {
            Self::Free => 0.0,
            Self::Diagonal(a) => a.magnitude(),
            Self::Map(norm, _) => *norm,
        }
    }
}

/// Reason why no linear form was found.
struct NotLinear(&'static str);

/// Maximum number of steps of the analysis of one state, far more than any hand-written update needs.
const FUEL: usize = 2000;
/// Maximum number of ops on a path from a state to its next value.
const DEPTH: usize = 100;

pub(super) struct Transition<'r, 'a> {
    pub(super) ranges: &'r Ranges<'a>,
    /// Values that depend on any state of this scan.
    pub(super) dependent: Vec<bool>,
    /// Leaf values of the state itself, and of states coupled with it in both directions.
    pub(super) own: Vec<Value>,
    pub(super) coupled: Vec<Value>,
    /// Next value of the only other state that is coupled with it.
    pub(super) partner: Option<Value>,
    /// Remaining steps: a loop of doublings has a sum of 2^n terms.
    fuel: Cell<usize>,
    /// Depth of nested calls of `linear`; a chain may be far longer than the stack is deep.
    depth: Cell<usize>,
}

impl<'r, 'a> Transition<'r, 'a> {
    pub(super) fn new(ranges: &'r Ranges<'a>, vertex: usize, scan: &Scan, state: usize) -> Self {
        let values = &ranges.values;
        let leaves = |i: usize| -> Vec<Value> {
            let nodes = scan.body.ids().filter(|id| matches!(scan.body.op(*id), Op::State(s) if *s == i));
            nodes.map(|id| values.of[ranges.flow.inner(vertex, id)]).collect()
        };
        let part = scan.parts().into_iter().find(|part| part.contains(&state)).unwrap_or_default();
        let coupled: Vec<usize> = part.into_iter().filter(|s| *s != state).collect();
        let partner = match coupled.as_slice() {
            [other] => Some(values.of[ranges.flow.inner(vertex, scan.next[*other])]),
            _ => None,
        };
        let coupled: Vec<Value> = coupled.into_iter().flat_map(leaves).collect();
        let own = leaves(state);
        let mut dependent = vec![false; values.vertex.len()];
        for value in own.iter().chain(&coupled) {
            dependent[*value] = true;
        }
        for id in scan.body.ids() {
            let value = values.of[ranges.flow.inner(vertex, id)];
            if values.args[value].iter().any(|a| dependent[*a]) {
                dependent[value] = true;
            }
        }
        Self { ranges, dependent, own, coupled, partner, fuel: Cell::new(FUEL), depth: Cell::new(0) }
    }

    pub(super) fn verdict(&self, next: Value) -> (Growth, String, Option<Reason>) {
        let interval = self.ranges.facts[next].interval;
        let bounded = interval.lo.is_finite() && interval.hi.is_finite();
        let mut reason = None;
        match self.linear(next, &mut reason) {
            // one, up to the rounding of decimal constants
            Ok(linear) if linear.norm() <= 1.0 + 1e-9 => match linear {
                Linear::Diagonal(a) if a == Interval::point(1.0) => (Growth::Adds, "no decay".into(), None),
                Linear::Diagonal(a) => (Growth::Contraction, format!("decay in {a}"), None),
                Linear::Map(_, why) => (Growth::Contraction, why.into(), None),
                Linear::Free => (Growth::Replaced, String::new(), None),
            },
            _ if bounded => (Growth::Bounded(interval.lo, interval.hi), "by the ranges of its ops".into(), None),
            Ok(linear) => {
                let why = match &reason {
                    Some(Reason::Decay(range)) => format!("decay in {range}"),
                    Some(Reason::Keys(_)) => "keys are not normalised".into(),
                    Some(Reason::Step(range)) => format!("step in {range}"),
                    None => {
                        return (Growth::Unknown, "erase and write directions differ, or steps add up".into(), None);
                    }
                };
                (Growth::MayGrow(linear.norm()), why, reason)
            }
            Err(NotLinear(why)) => match self.rotation(next) {
                Some(a) if a.magnitude() <= 1.0 + 1e-9 => {
                    (Growth::Contraction, format!("a rotated pair, decay in {a}"), None)
                }
                Some(a) => {
                    (Growth::MayGrow(a.magnitude()), format!("a rotated pair, decay in {a}"), Some(Reason::Decay(a)))
                }
                None => (Growth::Unknown, why.into(), None),
            },
        }
    }

    /// Takes a step, if one is left.
    pub(super) fn burn(&self) -> bool {
        let left = self.fuel.get();
        self.fuel.set(left.saturating_sub(1));
        left > 0
    }

    fn linear(&self, value: Value, reason: &mut Option<Reason>) -> Result<Linear, NotLinear> {
        if !self.burn() || self.depth.get() > DEPTH {
            return Err(NotLinear("an update of very many steps"));
        }
        self.depth.set(self.depth.get() + 1);
        let linear = self.linear_op(value, reason);
        self.depth.set(self.depth.get() - 1);
        linear
    }

    fn linear_op(&self, value: Value, reason: &mut Option<Reason>) -> Result<Linear, NotLinear> {
        let values = &self.ranges.values;
        if self.own.contains(&value) {
            return Ok(Linear::Diagonal(Interval::point(1.0)));
        }
        if self.coupled.contains(&value) {
            return Err(NotLinear("coupled with another state"));
        }
        if !self.dependent[value] {
            return Ok(Linear::Free);
        }
        let args = &values.args[value];
        match values.op(value) {
            Op::Unary(UnaryOp::Neg) | Op::StopGrad => {
                let inner = self.linear(args[0], reason)?;
                Ok(scale(inner, if matches!(values.op(value), Op::StopGrad) { 1.0 } else { -1.0 }))
            }
            Op::Binary(BinaryOp::Mul) => {
                let (state, by) = if self.dependent[args[0]] { (args[0], args[1]) } else { (args[1], args[0]) };
                if self.dependent[by] {
                    return Err(NotLinear("a product of states"));
                }
                let by = self.ranges.facts[by].interval;
                Ok(self.times(self.linear(state, reason)?, by, reason))
            }
            Op::Binary(BinaryOp::Div) if !self.dependent[args[1]] => {
                let by = Interval::point(1.0) / self.ranges.facts[args[1]].interval;
                Ok(self.times(self.linear(args[0], reason)?, by, reason))
            }
            Op::Select if !self.dependent[args[0]] => {
                let (a, b) = (self.linear(args[1], reason)?, self.linear(args[2], reason)?);
                // if one side does not depend on the state, that side replaces the state
                let whole =
                    |l: Linear| if matches!(l, Linear::Free) { Linear::Diagonal(Interval::point(0.0)) } else { l };
                Ok(match (whole(a), whole(b)) {
                    (Linear::Diagonal(a), Linear::Diagonal(b)) => Linear::Diagonal(a.hull(b)),
                    (a, b) => Linear::Map(a.norm().max(b.norm()), "one of two maps"),
                })
            }
            // a maximum changes by no more than its operands do
            Op::Binary(BinaryOp::Max | BinaryOp::Min) => {
                let (a, b) = (self.linear(args[0], reason)?, self.linear(args[1], reason)?);
                Ok(Linear::Map(a.norm().max(b.norm()), "a maximum or minimum"))
            }
            Op::Binary(BinaryOp::Add | BinaryOp::Sub) => self.sum(value, reason),
            Op::Reduce(..) | Op::Contract(_) => {
                Err(NotLinear("reads the state across its axes outside of a rank-one step"))
            }
            Op::Linear(_) => Err(NotLinear("a learned map of the state")),
            _ => Err(NotLinear("not linear in the state")),
        }
    }

    fn times(&self, linear: Linear, by: Interval, reason: &mut Option<Reason>) -> Linear {
        if by.magnitude() > 1.0 && !matches!(linear, Linear::Free) && reason.is_none() {
            *reason = Some(Reason::Decay(by));
        }
        match linear {
            Linear::Free => Linear::Free,
            Linear::Diagonal(a) => Linear::Diagonal(a * by),
            Linear::Map(norm, why) => Linear::Map(if norm == 0.0 { 0.0 } else { norm * by.magnitude() }, why),
        }
    }

    /// Linear form of a sum of terms, some of which depend on the state.
    fn sum(&self, value: Value, reason: &mut Option<Reason>) -> Result<Linear, NotLinear> {
        let mut terms = Vec::new();
        self.addends(value, 1.0, None, &mut terms);
        terms.retain(|(t, _)| self.dependent[*t]);
        if let [(t, c)] = terms.as_slice() {
            return Ok(scale(self.linear(*t, reason)?, *c));
        }
        if let Some(linear) = self.candidates(value).into_iter().find_map(|read| self.steps_from(value, read, reason)) {
            return linear;
        }
        // element-wise parts add up as intervals, others by the triangle inequality
        let mut total = Linear::Diagonal(Interval::point(0.0));
        for (t, c) in terms {
            total = match (total, scale(self.linear(t, reason)?, c)) {
                (Linear::Diagonal(a), Linear::Diagonal(b)) => Linear::Diagonal(a + b),
                (a, b) => Linear::Map(a.norm() + b.norm(), "a sum of maps"),
            };
        }
        if let Linear::Diagonal(a) = &total {
            let a = *a;
            *reason = (a.magnitude() > 1.0).then_some(Reason::Decay(a));
        }
        Ok(total)
    }

    /// Terms of a sum, as written: products stay whole, and so does `whole`.
    pub(super) fn addends(&self, value: Value, by: f64, whole: Option<Value>, out: &mut Vec<(Value, f64)>) {
        let values = &self.ranges.values;
        let mut stack = vec![(value, by)];
        while let Some((value, by)) = stack.pop() {
            let args = &values.args[value];
            match values.op(value) {
                _ if whole == Some(value) || !self.dependent[value] || !self.burn() => out.push((value, by)),
                Op::Binary(BinaryOp::Add) => stack.extend(args.iter().rev().map(|a| (*a, by))),
                Op::Binary(BinaryOp::Sub) => stack.extend([(args[1], -by), (args[0], by)]),
                Op::Unary(UnaryOp::Neg) => stack.push((args[0], -by)),
                _ => out.push((value, by)),
            }
        }
    }

    /// Values that the rank-one steps of a sum may read: its partial sums, then the values that its products scale.
    fn candidates(&self, value: Value) -> Vec<Value> {
        let values = &self.ranges.values;
        let (mut found, mut scaled) = (Vec::new(), Vec::new());
        let mut stack = vec![value];
        while let Some(v) = stack.pop() {
            match values.op(v) {
                Op::Binary(BinaryOp::Add | BinaryOp::Sub) if self.burn() => {
                    let args = values.args[v].iter().rev().filter(|a| self.dependent[**a]);
                    args.for_each(|a| {
                        found.push(*a);
                        stack.push(*a);
                    });
                }
                _ => scaled.extend(self.raw(v).factors.into_iter().filter(|f| self.dependent[*f])),
            }
        }
        found.extend(scaled);
        found
    }

    /// A product split down to its state-independent factors, which stay whole.
    fn raw(&self, value: Value) -> Product {
        self.ranges.values.product_until(value, &|part| !self.dependent[part])
    }

    /// Linear form of a sum as (a + sum of c u w^T) `read`, where `read` is a value that depends on the state.
    ///
    /// With symmetric steps (u = w = k) the eigenvalues lie in a + sum of c |k|^2 (Weyl), element-wise a
    /// included, and the norm is the largest of them; otherwise it is bounded by the triangle inequality.
    fn steps_from(&self, value: Value, read: Value, reason: &mut Option<Reason>) -> Option<Result<Linear, NotLinear>> {
        let mut terms = Vec::new();
        self.addends(value, 1.0, Some(read), &mut terms);
        let whole = self.raw(read).factors;
        let mut scale = Interval::point(0.0);
        let mut steps = Vec::new();
        for (term, c) in terms.into_iter().filter(|(t, _)| self.dependent[*t]) {
            let product = self.raw(term);
            let free = product.without(&[read]).or_else(|| product.without(&whole));
            match free.filter(|f| f.iter().all(|v| !self.dependent[*v])) {
                Some(free) => {
                    let factors = free.iter().map(|v| self.ranges.facts[*v].interval);
                    scale = scale + factors.fold(Interval::point(c * product.coefficient), |a, b| a * b);
                }
                None => steps.extend(self.step(read, term, c)?),
            }
        }
        if steps.is_empty() {
            return None;
        }
        let inner = match self.linear(read, reason) {
            Ok(inner) => inner.norm(),
            Err(why) => return Some(Err(why)),
        };
        let symmetric = steps.iter().all(|s| s.symmetric);
        let (norm, why) = if symmetric {
            let eigenvalues = steps.iter().fold(scale, |sum, s| sum + s.eigenvalue());
            if eigenvalues.magnitude() > 1.0 + 1e-9 && reason.is_none() {
                *reason = Some(if scale.magnitude() > 1.0 + 1e-9 {
                    Reason::Decay(scale)
                } else {
                    steps
                        .iter()
                        .map(Step::reason)
                        .find(|r| matches!(r, Reason::Keys(_)))
                        .unwrap_or_else(|| steps[0].reason())
                });
            }
            (eigenvalues.magnitude(), "rank-one steps along bounded keys")
        } else {
            *reason = None;
            (steps.iter().fold(scale.magnitude(), |sum, s| sum + s.magnitude()), "rank-one steps")
        };
        Some(Ok(Linear::Map(if inner == 0.0 { 0.0 } else { norm * inner }, why)))
    }

    /// Steps `c u sum[A](w * main)` of `term` away from `main`.
    fn step(&self, main: Value, term: Value, by: f64) -> Option<Vec<Step>> {
        let values = &self.ranges.values;
        let product = self.raw(term);
        let (dependent, free): (Vec<Value>, Vec<Value>) = product.factors.iter().partition(|f| self.dependent[**f]);
        let [inner] = dependent.as_slice() else { return None };
        let by = by * product.coefficient;
        if let Op::Reduce(ReduceOp::Sum, axes) | Op::Contract(axes) = values.op(*inner) {
            let mut read = self.raw(values.args[*inner][0]);
            if let Op::Contract(_) = values.op(*inner) {
                let other = self.raw(values.args[*inner][1]);
                read.coefficient *= other.coefficient;
                read.factors.extend(other.factors);
                read.factors.sort_unstable();
            }
            // the read value is `main`, written as one value or with its factors among the key's
            let whole = self.raw(main).factors;
            let erase = read.without(&whole).or_else(|| {
                let apart: Vec<Value> = read
                    .factors
                    .iter()
                    .flat_map(|f| values.product_until(*f, &|part| whole.contains(&part)).factors)
                    .collect();
                Product { coefficient: read.coefficient, factors: apart }.without(&whole)
            })?;
            if erase.iter().any(|f| self.dependent[*f]) {
                return None;
            }
            return Some(vec![self.step_of(by * read.coefficient, free, erase, axes)]);
        }
        // beta * k * (v - sum[K](k * S)): one step for each read inside
        let mut parts = Vec::new();
        self.addends(*inner, by, None, &mut parts);
        if parts.len() < 2 {
            return None;
        }
        let mut steps = Vec::new();
        for (part, c) in parts.into_iter().filter(|(p, _)| self.dependent[*p]) {
            for mut step in self.step(main, part, c)? {
                let outer = self.step_of(step.by, [free.clone(), step.write].concat(), step.erase, &step.axes);
                step = outer;
                steps.push(step);
            }
        }
        Some(steps)
    }

    fn step_of(&self, by: f64, write: Vec<Value>, erase: Vec<Value>, axes: &[AxisId]) -> Step {
        let carries = |v: &Value| {
            let vertex = self.ranges.flow.vertices[self.ranges.values.vertex[*v]];
            vertex.dag.ty(vertex.id).axes.iter().any(|a| axes.contains(a))
        };
        // `beta * k` and `k` are split down to their common factors: a normalised k stays whole
        let values = &self.ranges.values;
        let parts = |list: &[Value]| {
            let mut parts = BTreeSet::new();
            list.iter().for_each(|v| values.parts(*v, &mut parts));
            parts
        };
        let shared: BTreeSet<Value> = parts(&write).intersection(&parts(&erase)).copied().collect();
        let apart = |list: &[Value]| {
            let products = list.iter().map(|v| values.product_until(*v, &|part| shared.contains(&part)));
            products.fold((1.0, Vec::new()), |(c, mut all), product| {
                all.extend(product.factors);
                (c * product.coefficient, all)
            })
        };
        let ((c, write_all), (d, erase_all)) = (apart(&write), apart(&erase));
        let (mut write_key, write_scale): (Vec<Value>, Vec<Value>) = write_all.into_iter().partition(|v| carries(v));
        let (mut erase_key, erase_scale): (Vec<Value>, Vec<Value>) = erase_all.into_iter().partition(|v| carries(v));
        write_key.sort_unstable();
        erase_key.sort_unstable();
        let interval = |v: &Value| self.ranges.facts[*v].interval;
        let mut scales = [write_scale, erase_scale].concat();
        // a step normalised by the key's own length, whatever that is: y k k^T / (c |k|^2 + eps)
        let mut own_length = None;
        if let ([key], true) = (write_key.as_slice(), write_key == erase_key) {
            let over = |s: &Value| over_squares(self.ranges, *s, *key, axes);
            if let Some((i, (above, bound))) = scales.iter().enumerate().find_map(|(i, s)| Some((i, over(s)?))) {
                scales[i] = above;
                own_length = Some(bound);
            }
        }
        let factor = scales.iter().map(interval).fold(Interval::point(by * c * d), |a, b| a * b);
        let norm = |key: &[Value]| {
            // the norm of one factor, times the largest values of the others
            let bounds = (0..key.len()).map(|i| {
                let others = (0..key.len()).filter(|j| *j != i).map(|j| interval(&key[j]).magnitude());
                others.fold(self.ranges.norm(key[i], axes), |a, b| a * b)
            });
            bounds.fold(f64::INFINITY, f64::min)
        };
        Step {
            symmetric: write_key == erase_key && !write_key.is_empty(),
            factor,
            norms: own_length.map_or_else(|| (norm(&write_key), norm(&erase_key)), |bound| (bound, bound)),
            whole: by.abs() * norm(&write) * norm(&erase),
            by,
            write,
            erase,
            axes: axes.to_vec(),
        }
    }
}

/// A step I + c u w^T.
struct Step {
    /// Whether u and w are the same key.
    symmetric: bool,
    /// Range of c.
    factor: Interval,
    /// Bounds on |u| and |w|.
    norms: (f64, f64),
    /// A bound on |c| |u| |w|, of u and w as they are written: each may be normalised by itself.
    whole: f64,
    by: f64,
    write: Vec<Value>,
    erase: Vec<Value>,
    axes: Vec<AxisId>,
}

impl Step {
    /// Range of c |k|^2, the eigenvalue along the key.
    fn eigenvalue(&self) -> Interval {
        let along = self.factor * Interval::closed(0.0, self.norms.0.powi(2));
        if self.whole.is_finite() { along.meet(Interval::symmetric(self.whole)) } else { along }
    }

    /// Bound on the norm of c u w^T.
    fn magnitude(&self) -> f64 {
        self.factor.magnitude() * self.norms.0 * self.norms.1
    }

    fn reason(&self) -> Reason {
        // with keys of norm at most 1 the step alone would suffice
        if self.norms.0 > 1.0 + 1e-9 && self.factor.within(-2.0, 0.0) {
            Reason::Keys(self.norms.0)
        } else {
            Reason::Step(self.factor)
        }
    }
}

fn scale(linear: Linear, by: f64) -> Linear {
    match linear {
        Linear::Free => Linear::Free,
        Linear::Diagonal(a) => Linear::Diagonal(a.scale(by)),
        Linear::Map(norm, why) => Linear::Map(norm * by.abs(), why),
    }
}
