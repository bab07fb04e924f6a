//! Does a scan's state stay bounded? A norm bound for the linear part of each state's update.
//!
//! The update is read as S <- A S + (what does not depend on S), and |A| is bounded by parts:
//! - element-wise decay: |A| <= the largest |a|, by the range analysis;
//! - a rank-one step `a * Y + b * k * sum[K](k * Y)` with the same k twice: A = a + b k k^T, symmetric, whose
//!   eigenvalues lie in a + b |k|^2 [0, 1]; so a delta rule with normalised keys and beta in [0, 2] is a
//!   contraction, and so is `a * S - beta * k * sum[K](k * S)` with a and beta in [0, 1];
//! - steps one after the other: the product of their bounds (gated delta rules, DeltaProduct).
//!
//! Where erase and write directions differ (RWKV-7, Comba with its own read key) the norm may exceed 1
//! though the eigenvalues do not: no verdict. Non-linear updates are bounded by their range or not at all.

use super::equal::{Product, Value};
use super::ranges::Ranges;
use crate::diag::Diagnostic;
use crate::graph::{AxisId, BinaryOp, Op, ReduceOp, Scan, UnaryOp};
use crate::ops::Interval;
use crate::source::Place;
use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

/// What is known about the growth of a state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Growth {
    /// |A| <= 1: the state forgets, or at least does not amplify what it holds.
    Contraction,
    /// A is the identity: what is added stays; the state grows at most linearly with T.
    Adds,
    /// Every value lies between these two.
    Bounded(f64, f64),
    /// The new value does not depend on the old one.
    Replaced,
    /// |A| may exceed 1, at most by this factor a token (infinite: no bound).
    MayGrow(f64),
    /// No bound is known, and none is missing: the update is not linear in the state, or of a kind whose
    /// norm says little.
    Unknown,
}

/// The verdict on one state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateBound {
    /// The state's name.
    pub state: String,
    /// What is known.
    pub growth: Growth,
    /// Why, in a few words.
    pub why: String,
}

impl fmt::Display for StateBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.state)?;
        match self.growth {
            Growth::Contraction => write!(f, "contraction, |A| <= 1")?,
            Growth::Adds => write!(f, "|A| = 1, grows at most linearly")?,
            Growth::Bounded(lo, hi) => write!(f, "bounded, in {}", Interval::closed(lo, hi))?,
            Growth::Replaced => write!(f, "replaced at every token")?,
            Growth::MayGrow(norm) if norm.is_finite() => write!(f, "may grow, |A| <= {norm:.3}")?,
            Growth::MayGrow(_) => write!(f, "may grow, |A| is unbounded")?,
            Growth::Unknown => write!(f, "no bound known")?,
        }
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// The verdicts on all states, in order, and W0706, W0707, W0708 for those that may grow.
pub fn check_scans(ranges: &Ranges) -> (Vec<StateBound>, Vec<Diagnostic>) {
    let (mut bounds, mut found) = (Vec::new(), Vec::new());
    for (vertex, v) in ranges.flow.vertices.iter().enumerate() {
        let Op::Scan(scan) = v.op() else { continue };
        for (i, state) in scan.states.iter().enumerate() {
            let transition = Transition::new(ranges, vertex, scan, i);
            let next = ranges.flow.inner(vertex, scan.next[i]);
            let (growth, why, reason) = transition.verdict(ranges.values.of[next]);
            if let (Growth::MayGrow(_), Some(reason)) = (&growth, reason) {
                let place = scan.body.node(scan.next[i]).place;
                found.push(reason.diagnostic(&state.name, place));
            }
            bounds.push(StateBound { state: state.name.clone(), growth, why });
        }
    }
    (bounds, found)
}

/// Why a state may grow.
enum Reason {
    Decay(Interval),
    Keys(f64),
    Step(Interval),
}

impl Reason {
    fn diagnostic(&self, state: &str, place: Place) -> Diagnostic {
        let (code, why, help) = match self {
            Self::Decay(range) => (
                "W0706",
                format!("its decay lies in {range}"),
                "keep the decay in [0, 1]: `sigmoid(x)`, `exp(-softplus(x))`, or a constant below 1",
            ),
            Self::Keys(norm) => (
                "W0707",
                if norm.is_finite() {
                    format!("the norm of its key is only known to be at most {norm:.3}")
                } else {
                    "its keys are not normalised".into()
                },
                "normalise the key: `k |> l2norm[K]`",
            ),
            Self::Step(range) => (
                "W0708",
                format!("the factor of its rank-one step lies in {range}, and is a contraction in [-2, 0] only"),
                "use a step size in [0, 2] and subtract what was read: `beta * k * (v - sum[K](k * S))` with `beta = sigmoid(..)`",
            ),
        };
        Diagnostic::warning(code, format!("the state `{state}` may grow from token to token: {why}"))
            .at(place, format!("the next value of `{state}`"))
            .help(help)
    }
}

/// The part of an update that is linear in the state.
enum Linear {
    /// Does not depend on the state.
    Free,
    /// Element-wise: the state times something in this interval.
    Diagonal(Interval),
    /// Some map of at most this norm; of what kind.
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

/// No linear form was found; why.
struct NotLinear(&'static str);

/// Steps of the analysis of one state, far more than any update has that is written by hand.
const FUEL: usize = 2000;
/// Ops on one way from a state to its next value.
const DEPTH: usize = 100;

struct Transition<'r, 'a> {
    ranges: &'r Ranges<'a>,
    /// Values that depend on any state of this scan.
    dependent: Vec<bool>,
    /// The state's own leaf values, and those of states coupled with it in both directions.
    own: Vec<Value>,
    coupled: Vec<Value>,
    /// Steps left: a loop of doublings has a sum of 2^n terms.
    fuel: Cell<usize>,
    /// Calls of `linear` inside of each other; a chain may be far longer than the stack is deep.
    depth: Cell<usize>,
}

impl<'r, 'a> Transition<'r, 'a> {
    fn new(ranges: &'r Ranges<'a>, vertex: usize, scan: &Scan, state: usize) -> Self {
        let values = &ranges.values;
        let leaves = |i: usize| -> Vec<Value> {
            let nodes = scan.body.ids().filter(|id| matches!(scan.body.op(*id), Op::State(s) if *s == i));
            nodes.map(|id| values.of[ranges.flow.inner(vertex, id)]).collect()
        };
        // which states each next value reads
        let reads: Vec<Vec<usize>> = scan
            .next
            .iter()
            .map(|next| {
                let reached = scan.body.reachable(&[*next]);
                let states =
                    scan.body.ids().filter(|id| reached[id.0 as usize]).filter_map(|id| match scan.body.op(id) {
                        Op::State(s) => Some(*s),
                        _ => None,
                    });
                states.collect()
            })
            .collect();
        let reaches = |from: usize, to: usize| {
            let mut seen = vec![false; scan.states.len()];
            let mut stack = reads[from].clone();
            while let Some(s) = stack.pop() {
                if !std::mem::replace(&mut seen[s], true) {
                    stack.extend(&reads[s]);
                }
            }
            seen[to]
        };
        let coupled = (0..scan.states.len()).filter(|s| *s != state && reaches(state, *s) && reaches(*s, state));
        let coupled: Vec<Value> = coupled.flat_map(leaves).collect();
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
        Self { ranges, dependent, own, coupled, fuel: Cell::new(FUEL), depth: Cell::new(0) }
    }

    fn verdict(&self, next: Value) -> (Growth, String, Option<Reason>) {
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
            Err(NotLinear(why)) => (Growth::Unknown, why.into(), None),
        }
    }

    /// Takes a step, if there is one left.
    fn burn(&self) -> bool {
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
                // where one side is free of the state, it is replaced there
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

    /// A sum of terms, of which some depend on the state.
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

    /// The terms of a sum, as written: products stay whole, and so does `whole`.
    fn addends(&self, value: Value, by: f64, whole: Option<Value>, out: &mut Vec<(Value, f64)>) {
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

    /// Values that the rank-one steps of a sum may read: its partial sums, then what its products scale.
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

    /// A product down to its factors that are free of the state, which stay whole.
    fn raw(&self, value: Value) -> Product {
        self.ranges.values.product_until(value, &|part| !self.dependent[part])
    }

    /// A sum as (a + sum of c u w^T) `read`, where `read` is a value that depends on the state.
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

    /// `term` as steps c u sum[A](w * main) away from `main`.
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
            // what is read is `main`, written as one value or with its factors among the key's
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
        // `beta * k` and `k` are taken apart down to what they share: a normalised k stays whole
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
        let factor =
            write_scale.iter().chain(&erase_scale).map(interval).fold(Interval::point(by * c * d), |a, b| a * b);
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
            norms: (norm(&write_key), norm(&erase_key)),
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
    /// Where c lies.
    factor: Interval,
    /// Bounds on |u| and |w|.
    norms: (f64, f64),
    by: f64,
    write: Vec<Value>,
    erase: Vec<Value>,
    axes: Vec<AxisId>,
}

impl Step {
    /// c |k|^2, the eigenvalue along the key.
    fn eigenvalue(&self) -> Interval {
        self.factor * Interval::closed(0.0, self.norms.0.powi(2))
    }

    /// A bound on the norm of c u w^T.
    fn magnitude(&self) -> f64 {
        self.factor.magnitude() * self.norms.0 * self.norms.1
    }

    fn reason(&self) -> Reason {
        // with keys of norm at most 1 the step alone would do
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Flow;
    use crate::graph::{Graph, NodeId};
    use crate::ops::testing::{Build, binary, delta_net, delta_net_with, node, sum};

    fn verdict(graph: &Graph) -> (String, Vec<&'static str>) {
        let flow = Flow::new(graph);
        let (bounds, found) = check_scans(&Ranges::new(&flow));
        let text: Vec<String> = bounds.iter().map(StateBound::to_string).collect();
        (text.join("; "), found.iter().map(|d| d.code).collect())
    }

    #[test]
    fn delta_rules() {
        let contraction = ("S: contraction, |A| <= 1 (rank-one steps along bounded keys)".to_string(), vec![]);
        assert_eq!(verdict(&delta_net()), contraction);
        let twice = |b: &mut Build, x| {
            let (two, s) = (b.constant(2.0), b.unary(UnaryOp::Sigmoid, x));
            b.mul(two, s)
        };
        assert_eq!(verdict(&delta_net_with(true, twice)), contraction);
        let (text, codes) = verdict(&delta_net_with(false, |b, x| b.unary(UnaryOp::Sigmoid, x)));
        assert_eq!((text.as_str(), codes), ("S: may grow, |A| is unbounded (keys are not normalised)", vec!["W0707"]));
        let (text, codes) = verdict(&delta_net_with(true, |b, x| b.unary(UnaryOp::Softplus, x)));
        assert_eq!((text.as_str(), codes), ("S: may grow, |A| is unbounded (step in (-inf, 0))", vec!["W0708"]));
        let thrice = |b: &mut Build, x| {
            let (three, s) = (b.constant(3.0), b.unary(UnaryOp::Sigmoid, x));
            b.mul(three, s)
        };
        let (text, codes) = verdict(&delta_net_with(true, thrice));
        assert_eq!((text.as_str(), codes), ("S: may grow, |A| <= 2.000 (step in (-3, 0))", vec!["W0708"]));
    }

    /// s[D] = update(s, x), with a raw x and a gate sigmoid(x).
    fn scan(update: impl FnOnce(&mut crate::graph::Dag, [NodeId; 3]) -> NodeId) -> (String, Vec<&'static str>) {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let gate = b.unary(UnaryOp::Sigmoid, x);
        let zero = b.constant(0.0);
        let scan = b.scan(&[("s", &[d], zero)], &[x, gate], |body| {
            let s = node(body, Op::State(0), &[d], &[]);
            let x = node(body, Op::Capture(0), &[d], &[]);
            let gate = node(body, Op::Capture(1), &[d], &[]);
            let next = update(body, [s, x, gate]);
            (vec![next], vec![("o", next)])
        });
        let o = b.emit(scan, 0);
        b.output(o);
        verdict(&b.graph)
    }

    #[test]
    fn element_wise_updates() {
        use BinaryOp::{Add, Max, Mul, Sub};
        assert_eq!(
            scan(|g, [s, x, _]| binary(g, Add, s, x)),
            ("s: |A| = 1, grows at most linearly (no decay)".into(), vec![])
        );
        let decayed = scan(|g, [s, x, a]| {
            let s = binary(g, Mul, a, s);
            binary(g, Add, s, x)
        });
        assert_eq!(decayed, ("s: contraction, |A| <= 1 (decay in (0, 1))".into(), vec![]));
        // s - a s + x: the parts add up before the norm is taken
        let forgets = scan(|g, [s, x, a]| {
            let gone = binary(g, Mul, a, s);
            let s = binary(g, Sub, s, gone);
            binary(g, Add, s, x)
        });
        assert_eq!(forgets, ("s: contraction, |A| <= 1 (decay in (0, 1))".into(), vec![]));
        let raw = scan(|g, [s, x, _]| {
            let s = binary(g, Mul, x, s);
            binary(g, Add, s, x)
        });
        assert_eq!(raw, ("s: may grow, |A| is unbounded (decay in (-inf, inf))".into(), vec!["W0706"]));
        let tanh = scan(|g, [s, x, _]| {
            let s = binary(g, Add, s, x);
            node(g, Op::Unary(UnaryOp::Tanh), &g.ty(s).axes.clone(), &[s])
        });
        assert_eq!(tanh, ("s: bounded, in [-1, 1] (by the ranges of its ops)".into(), vec![]));
        assert_eq!(scan(|_, [_, x, _]| x), ("s: replaced at every token".into(), vec![]));
        let stabiliser = scan(|g, [s, x, _]| {
            let s = binary(g, Add, s, x);
            binary(g, Max, s, x)
        });
        assert!(stabiliser.1.is_empty() && stabiliser.0.contains("contraction"), "{}", stabiliser.0);
        let square = scan(|g, [s, x, _]| {
            let s = binary(g, Mul, s, s);
            binary(g, Add, s, x)
        });
        assert_eq!(square, ("s: no bound known (a product of states)".into(), vec![]));
    }

    #[test]
    fn a_gated_delta_rule_with_the_decay_first() {
        let mut b = Build::new();
        let (k, v) = (b.axis("K", 4), b.axis("V", 4));
        let (x, y, g) = (b.input(&[k]), b.input(&[v]), b.input(&[]));
        let key = b.l2norm(&[k], x);
        let (decay, beta) = (b.unary(UnaryOp::Sigmoid, g), b.unary(UnaryOp::Sigmoid, g));
        let zero = b.constant(0.0);
        let scan = b.scan(&[("S", &[k, v], zero)], &[key, y, decay, beta], |body| {
            let s = node(body, Op::State(0), &[k, v], &[]);
            let key = node(body, Op::Capture(0), &[k], &[]);
            let y = node(body, Op::Capture(1), &[v], &[]);
            let decay = node(body, Op::Capture(2), &[], &[]);
            let beta = node(body, Op::Capture(3), &[], &[]);
            let s = binary(body, BinaryOp::Mul, decay, s);
            let read = binary(body, BinaryOp::Mul, key, s);
            let read = sum(body, &[k], read);
            let error = binary(body, BinaryOp::Sub, y, read);
            let write = binary(body, BinaryOp::Mul, beta, key);
            let write = binary(body, BinaryOp::Mul, write, error);
            let next = binary(body, BinaryOp::Add, s, write);
            (vec![next], vec![("o", read)])
        });
        let o = b.emit(scan, 0);
        b.output(o);
        assert_eq!(verdict(&b.graph).0, "S: contraction, |A| <= 1 (rank-one steps along bounded keys)");
    }
}
