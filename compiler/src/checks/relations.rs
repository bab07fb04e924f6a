//! Facts that follow from the structure of an expression, where intervals of its operands are too coarse.
//!
//! - sums: `x - max(x, y) <= 0` with any further terms, `max[A]` and `logsumexp[A]` included;
//!   `w * x + (1 - w) * y` and `y + w * (x - y)` lie between x and y for w in [0, 1];
//! - products: `x * rsqrt(sum[A](x ^ 2) + eps)` and similar ones have norm at most 1 over A;
//! - quotients: `x / (sum[A](x) + eps)` of a non-negative x is a share, `y * x / (x + eps)` and `y * x / (abs(x) + eps)`
//!   are at most y;
//! - sums over axes: with the mass of a softmax a mean, of two bounded norms at most their product
//!   (Cauchy-Schwarz); a running sum of a softmax is in [0, 1].

use super::equal::{Product, Sum, Value, Values};
use super::ranges::{Fact, Ranges};
use crate::graph::{AxisId, BinaryOp, Op, ReduceOp, UnaryOp, Weighing};
use crate::ops::{Interval, Trait};

/// Fact about a value with the interval `base` by its op's own rule.
pub(super) fn refine(ranges: &Ranges, value: Value, base: Interval) -> Fact {
    let mut fact = Fact::from(base);
    let op = ranges.values.op(value);
    match op {
        Op::Binary(BinaryOp::Add | BinaryOp::Sub) | Op::Unary(UnaryOp::Neg) => {
            let sum = ranges.values.sum(value);
            fact.interval = fact.interval.meet(extremes(ranges, &sum));
            if let Some(between) = convex(ranges, &sum) {
                fact.interval = fact.interval.meet(between);
            }
        }
        Op::Binary(BinaryOp::Div) => {
            shares(ranges, value, &mut fact);
            fact.interval = fact.interval.meet(part_of_divisor(ranges, value));
        }
        Op::Binary(BinaryOp::Mul) => {
            if let Some(share) = share_of_sum(ranges, value) {
                fact.interval = fact.interval.meet(share);
            }
        }
        Op::Reduce(ReduceOp::Sum, axes) => sum_over(ranges, value, axes, &mut fact),
        _ => {}
    }
    masses(ranges, value, op, &mut fact);
    norms(ranges, value, op, &mut fact);
    // no element is larger than the norm
    if let Some(bound) = fact.norms.iter().map(|n| n.1).min_by(f64::total_cmp) {
        fact.interval = fact.interval.meet(Interval::symmetric(bound));
    }
    fact
}

fn interval(ranges: &Ranges, value: Value) -> Interval {
    ranges.facts[value].interval
}

fn interval_of_sum(ranges: &Ranges, sum: &Sum) -> Interval {
    let terms = sum.terms.iter().map(|(v, c)| interval(ranges, *v).scale(*c));
    terms.fold(Interval::point(sum.constant), |a, b| a + b)
}

fn interval_of_product(ranges: &Ranges, coefficient: f64, factors: &[Value]) -> Interval {
    let factors = factors.iter().map(|v| interval(ranges, *v));
    factors.fold(Interval::point(coefficient), |a, b| a * b)
}

// ---- sums

/// Bounds a sum by max(a, ..) >= a: a maximum is replaced by one of its arms.
fn extremes(ranges: &Ranges, sum: &Sum) -> Interval {
    let mut bounds = Interval::ALL;
    for (term, c) in sum.terms.iter().filter(|(_, c)| c.abs() == 1.0) {
        let (arms, largest) = arms(&ranges.values, *term);
        for arm in arms {
            let mut other = sum.clone();
            other.terms.remove(term);
            other.add(&ranges.values.sum(arm), *c);
            // it is tighter than the interval of the sum only if something cancels
            if other.terms.len() >= sum.terms.len() {
                continue;
            }
            let other = interval_of_sum(ranges, &other);
            let bound = if largest == (*c < 0.0) {
                Interval { lo: f64::NEG_INFINITY, lo_open: false, ..other }
            } else {
                Interval { hi: f64::INFINITY, hi_open: false, ..other }
            };
            bounds = bounds.meet(bound);
        }
    }
    bounds
}

/// Maximum number of arms of a maximum that are tried.
const ARMS: usize = 16;

/// Lower bounds of this value (true) or upper bounds of it (false).
fn arms(values: &Values, value: Value) -> (Vec<Value>, bool) {
    match values.op(value) {
        Op::Binary(op @ (BinaryOp::Max | BinaryOp::Min)) => {
            let mut found = Vec::new();
            let mut stack = values.args[value].clone();
            while let Some(v) = stack.pop() {
                match values.op(v) {
                    Op::Binary(inner) if inner == op && stack.len() + found.len() < ARMS => {
                        stack.extend(&values.args[v])
                    }
                    _ if found.contains(&v) || found.len() >= ARMS => {}
                    _ => found.push(v),
                }
            }
            (found, *op == BinaryOp::Max)
        }
        Op::Reduce(ReduceOp::Max | ReduceOp::LogSumExp, _) => (values.args[value].clone(), true),
        Op::Reduce(ReduceOp::Min, _) => (values.args[value].clone(), false),
        _ => (Vec::new(), true),
    }
}

/// Range of a mean of two values.
fn convex(ranges: &Ranges, sum: &Sum) -> Option<Interval> {
    if sum.constant != 0.0 || sum.terms.len() != 2 {
        return None;
    }
    let terms: Vec<(Value, f64)> = sum.terms.iter().map(|(v, c)| (*v, *c)).collect();
    [(0, 1), (1, 0)]
        .into_iter()
        .find_map(|(i, j)| weighted(ranges, terms[i], terms[j]).or_else(|| towards(ranges, terms[i], terms[j])))
}

/// Range of (1 - m) x + m y.
fn weighted(ranges: &Ranges, p: (Value, f64), q: (Value, f64)) -> Option<Interval> {
    let values = &ranges.values;
    let (left, right) = (values.product(p.0), values.product(q.0));
    left.factors.iter().find_map(|c| {
        let m = values.complement(*c)?;
        let weight = values.product(m);
        if weight.coefficient != 1.0 || !interval(ranges, m).within(0.0, 1.0) {
            return None;
        }
        let y = right.without(&weight.factors).or_else(|| right.without(&[m]))?;
        let x = left.without(&[*c])?;
        let x = interval_of_product(ranges, p.1 * left.coefficient, &x);
        Some(x.hull(interval_of_product(ranges, q.1 * right.coefficient, &y)))
    })
}

/// Range of y + w (x - y).
fn towards(ranges: &Ranges, y: (Value, f64), step: (Value, f64)) -> Option<Interval> {
    let values = &ranges.values;
    if y.1 != 1.0 {
        return None;
    }
    let product = values.product(step.0);
    let by = step.1 * product.coefficient;
    product.factors.iter().find_map(|difference| {
        let mut x = values.sum(*difference);
        let towards = by * x.terms.get(&y.0).copied()?;
        if towards >= 0.0 {
            return None;
        }
        x.terms.remove(&y.0);
        // the difference is towards (y - x'), so the share is w = -towards
        let scale = -by / towards;
        let mut target = Sum::default();
        target.add(&x, scale);
        let weight = interval_of_product(ranges, -towards, &product.without(&[*difference])?);
        weight.within(0.0, 1.0).then(|| interval(ranges, y.0).hull(interval_of_sum(ranges, &target)))
    })
}

// ---- quotients and masses

/// Facts about `x / (sum[A](x) + eps)`.
fn shares(ranges: &Ranges, value: Value, fact: &mut Fact) {
    let (x, divisor) = (ranges.values.args[value][0], ranges.values.args[value][1]);
    let sum = ranges.values.sum(divisor);
    if sum.constant < 0.0 || !interval(ranges, x).at_least(0.0) || sum.terms.len() != 1 {
        return;
    }
    for (term, c) in sum.terms {
        if let Op::Reduce(ReduceOp::Sum, axes) = ranges.values.op(term)
            && ranges.values.args[term][0] == x
            && c >= 1.0
        {
            fact.interval = fact.interval.meet(Interval::UNIT);
            fact.mass = Some((sorted(axes), 0.0, 1.0));
        }
    }
}

/// Range of y x / (c x + ..) for x >= 0, and of y x / (c |x| + ..), if all other terms are at least 0: y times a share of 1 / c.
fn part_of_divisor(ranges: &Ranges, value: Value) -> Interval {
    let values = &ranges.values;
    let (above, below) = (values.product(values.args[value][0]), values.sum(values.args[value][1]));
    if below.constant < 0.0 || below.terms.iter().any(|(v, c)| !interval(ranges, *v).scale(*c).at_least(0.0)) {
        return Interval::ALL;
    }
    let part = |(term, c): (&Value, &f64)| {
        let (whole, share) = match values.op(*term) {
            Op::Unary(UnaryOp::Abs) => (values.args[*term][0], Interval::symmetric(1.0)),
            _ => (*term, Interval::UNIT),
        };
        let whole = values.product(whole);
        let rest = above.without(&whole.factors)?;
        let scale = above.coefficient / (whole.coefficient * c);
        Some(interval_of_product(ranges, scale, &rest) * share)
    };
    below.terms.iter().filter_map(part).fold(Interval::ALL, Interval::meet)
}

/// For y / (c sum[A](x^2) + eps): y, and the bound 1 / sqrt(c) on the norm over A of x times the root of the quotient without y.
pub(super) fn over_squares(ranges: &Ranges, quotient: Value, x: Value, axes: &[AxisId]) -> Option<(Value, f64)> {
    let values = &ranges.values;
    let Op::Binary(BinaryOp::Div) = values.op(quotient) else { return None };
    let (over, bound) = sum_of_squares(ranges, values.args[quotient][1], x)?;
    (over == sorted(axes)).then_some((values.args[quotient][0], bound))
}

/// Range of `y * b / (c + b * sum[A](y))`, in any order of its factors: a share for b, y, c >= 0 (the step of a proximal update, as in
/// Longhorn).
fn share_of_sum(ranges: &Ranges, value: Value) -> Option<Interval> {
    let values = &ranges.values;
    let product = values.product(value);
    product.factors.iter().enumerate().find_map(|(i, quotient)| {
        let Op::Binary(BinaryOp::Div) = values.op(*quotient) else { return None };
        let (numerator, divisor) = (values.args[*quotient][0], values.sum(values.args[*quotient][1]));
        let (term, c) = divisor.terms.iter().next().filter(|_| divisor.terms.len() == 1)?;
        if divisor.constant < 0.0 || *c < 1.0 {
            return None;
        }
        let numerator = values.product(numerator);
        let mut above = numerator.factors;
        above.extend(product.factors.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, f)| *f));
        let above = Product { coefficient: product.coefficient * numerator.coefficient, factors: above };
        let below = values.product(*term);
        let sum = below.factors.iter().find(|f| matches!(values.op(**f), Op::Reduce(ReduceOp::Sum, _)))?;
        let summand = values.product(values.args[*sum][0]);
        let others = below.without(&[*sum])?;
        let non_negative = |c: f64, factors: &[Value]| positive_part(ranges, c, factors);
        if !non_negative(below.coefficient, &others) || !non_negative(summand.coefficient, &summand.factors) {
            return None;
        }
        let rest = above.without(&[others, summand.factors].concat())?;
        let scale = above.coefficient / (below.coefficient * summand.coefficient);
        Some(interval_of_product(ranges, scale, &rest) * Interval::UNIT)
    })
}

/// Whether a product is never negative; a repeated factor is a square.
fn positive_part(ranges: &Ranges, coefficient: f64, factors: &[Value]) -> bool {
    let odd = |v: &Value| factors.iter().filter(|f| *f == v).count() % 2 == 1;
    coefficient > 0.0 && factors.iter().filter(|v| odd(v)).all(|v| interval(ranges, *v).at_least(0.0))
}

fn masses(ranges: &Ranges, value: Value, op: &Op, fact: &mut Fact) {
    let operand = ranges.values.args[value].first().map(|x| &ranges.facts[*x]);
    let mass = operand.and_then(|f| f.mass.clone());
    match op {
        Op::Softmax(axes) => fact.mass = Some((sorted(axes), 1.0, 1.0)),
        Op::Sparsemax(a) => fact.mass = Some((vec![*a], 1.0, 1.0)),
        Op::Sort(_) | Op::StopGrad | Op::Past(_) => fact.mass = mass,
        Op::TopK(a, n) => {
            // the n largest of E have at least n / E of the mass
            let size = ranges.flow.graph.size(*a) as f64;
            fact.mass = mass.filter(|m| m.0 == [*a]).map(|(axes, lo, hi)| (axes, lo * (*n as f64 / size).min(1.0), hi));
        }
        Op::Cumsum(a) => {
            if let Some((axes, _, hi)) = mass
                && axes == [*a]
            {
                fact.interval = fact.interval.meet(Interval::closed(0.0, hi));
            }
        }
        _ => {}
    }
    if let Some((axes, _, hi)) = &fact.mass {
        fact.norms.push((axes.clone(), *hi));
    }
}

/// Facts about a sum of a product over axes.
fn sum_over(ranges: &Ranges, value: Value, axes: &[AxisId], fact: &mut Fact) {
    let axes = sorted(axes);
    let x = ranges.values.args[value][0];
    let product = ranges.values.product(x);
    means_over(ranges, &product, &axes, fact);
    cauchy_schwarz(ranges, &product, &axes, fact);
    if let Op::Binary(BinaryOp::Mul) = ranges.values.op(x) {
        // the factors as written have more facts than their own factors
        let written = Product { coefficient: 1.0, factors: ranges.values.args[x].clone() };
        means_over(ranges, &written, &axes, fact);
        cauchy_schwarz(ranges, &written, &axes, fact);
    }
}

/// Range of a sum by a factor with a mass over the axes: a mean of the rest, times the mass.
fn means_over(ranges: &Ranges, product: &Product, axes: &[AxisId], fact: &mut Fact) {
    for (i, factor) in product.factors.iter().enumerate() {
        let rest: Vec<Value> = product.factors.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, v)| *v).collect();
        if let Some((over, lo, hi)) = &ranges.facts[*factor].mass
            && over == axes
        {
            let rest = interval_of_product(ranges, product.coefficient, &rest);
            fact.interval = fact.interval.meet(rest * Interval::closed(*lo, *hi));
        }
    }
}

/// Bounds |sum of x y| by |x| |y|, further factors by their largest value.
fn cauchy_schwarz(ranges: &Ranges, product: &Product, axes: &[AxisId], fact: &mut Fact) {
    let carries = |v: Value| axes.iter().all(|a| type_axes(ranges, v).contains(a));
    let count = product.factors.len();
    for i in 0..count {
        for j in i + 1..count {
            let (x, y) = (product.factors[i], product.factors[j]);
            if !carries(x) || !carries(y) {
                continue;
            }
            let rest: Vec<Value> = (0..count).filter(|n| *n != i && *n != j).map(|n| product.factors[n]).collect();
            let rest = interval_of_product(ranges, product.coefficient, &rest).magnitude();
            let bound = ranges.norm(x, axes) * ranges.norm(y, axes) * rest;
            if bound.is_finite() {
                fact.interval = fact.interval.meet(Interval::symmetric(bound));
            }
        }
    }
}

// ---- norms

fn norms(ranges: &Ranges, value: Value, op: &Op, fact: &mut Fact) {
    let values = &ranges.values;
    let args = &values.args[value];
    let of = |i: usize| args.get(i).map(|a| ranges.facts[*a].norms.clone()).unwrap_or_default();
    match op {
        Op::Binary(BinaryOp::Mul) => products(ranges, value, fact),
        Op::Binary(BinaryOp::Div) => {
            let (x, divisor) = (args[0], args[1]);
            if let Some((axes, bound)) = divides_by_norm(ranges, x, divisor) {
                fact.norms.push((axes, bound));
            }
            let scale = Interval::point(1.0) / interval(ranges, divisor);
            scaled(&of(0), scale.magnitude(), fact);
        }
        Op::Binary(BinaryOp::Add | BinaryOp::Sub) => {
            for (axes, a) in of(0) {
                for (_, b) in of(1).iter().filter(|n| n.0 == axes) {
                    fact.norms.push((axes.clone(), a + b));
                }
            }
        }
        Op::Unary(f) if f.is(Trait::Contracts) => fact.norms.extend(of(0)),
        Op::StopGrad | Op::Sort(_) | Op::TopK(..) | Op::Past(_) | Op::Expand(_) | Op::Window { .. } => {
            fact.norms.extend(of(0))
        }
        Op::Pick(a, _) | Op::Cut { from: a, .. } => {
            // a part of the axis has at most the norm of the whole; the axis itself is gone or renamed
            let into = if let Op::Cut { into, .. } = op { Some(*into) } else { None };
            fact.norms.extend(of(0).into_iter().map(|(axes, b)| (renamed(&axes, &[*a], into), b)));
        }
        Op::Rename(a, b) => {
            fact.norms.extend(of(0).into_iter().map(|(axes, n)| (renamed(&axes, &[*a], Some(*b)), n)));
        }
        Op::Flatten(from, into) => {
            let whole = of(0).into_iter().filter(|(axes, _)| from.iter().all(|a| axes.contains(a)));
            fact.norms.extend(whole.map(|(axes, n)| (renamed(&axes, from, Some(*into)), n)));
        }
        Op::Split(from, into) => {
            for (axes, n) in of(0) {
                let mut split = renamed(&axes, &[*from], None);
                if axes.contains(from) {
                    split.extend(into);
                }
                fact.norms.push((sorted(&split), n));
            }
        }
        Op::Cat(parts, into) => {
            let squares = parts.iter().zip(args).map(|(part, x)| ranges.norm(*x, &[*part]).powi(2));
            let bound = squares.sum::<f64>().sqrt();
            if bound.is_finite() {
                fact.norms.push((vec![*into], bound));
            }
        }
        Op::Select => {
            for (axes, a) in of(1) {
                for (_, b) in of(2).iter().filter(|n| n.0 == axes) {
                    fact.norms.push((axes.clone(), a.max(*b)));
                }
            }
        }
        Op::Emit(_) => means(ranges, value, fact),
        _ => {}
    }
    fact.norms.retain(|n| n.1.is_finite());
    fact.norms.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    fact.norms.dedup_by(|b, a| a.0 == b.0);
}

/// Norms of a softmax over tokens, which takes means: at most the largest norm.
fn means(ranges: &Ranges, value: Value, fact: &mut Fact) {
    let v = ranges.flow.vertices[ranges.values.vertex[value]];
    if let Op::Attend(attend) = v.dag.op(v.dag.operands(v.id)[0])
        && let Weighing::Score(score) = attend.weighing
        && let Some(emitted) = ranges.values.args[value].first()
    {
        let weights = &attend.body.ty(score).axes;
        let apart = ranges.facts[*emitted].norms.iter().filter(|(axes, _)| axes.iter().all(|a| !weights.contains(a)));
        fact.norms.extend(apart.cloned());
    }
}

fn scaled(norms: &[(Vec<AxisId>, f64)], by: f64, fact: &mut Fact) {
    fact.norms.extend(norms.iter().map(|(axes, n)| (axes.clone(), if *n == 0.0 { 0.0 } else { n * by })));
}

/// Norm of a product: that of one factor times the largest values of the others; or of a factor divided by its own norm.
fn products(ranges: &Ranges, value: Value, fact: &mut Fact) {
    let args = &ranges.values.args[value];
    for (x, by) in [(args[0], args[1]), (args[1], args[0])] {
        scaled(&ranges.facts[x].norms, interval(ranges, by).magnitude(), fact);
        // as written: x itself may be a product
        if let Op::Unary(UnaryOp::Rsqrt) = ranges.values.op(by)
            && let Some(norm) = sum_of_squares(ranges, ranges.values.args[by][0], x)
        {
            fact.norms.push(norm);
        }
    }
    let product = ranges.values.product(value);
    let count = product.factors.len();
    let rest = |left_out: &[usize]| {
        let others: Vec<Value> = (0..count).filter(|n| !left_out.contains(n)).map(|n| product.factors[n]).collect();
        interval_of_product(ranges, product.coefficient, &others).magnitude()
    };
    for i in 0..count {
        let norms = ranges.facts[product.factors[i]].norms.clone();
        if !norms.is_empty() {
            scaled(&norms, rest(&[i]), fact);
        }
        if let Op::Unary(UnaryOp::Rsqrt) = ranges.values.op(product.factors[i]) {
            let under = ranges.values.args[product.factors[i]][0];
            for j in (0..count).filter(|j| *j != i) {
                if let Some((axes, bound)) = sum_of_squares(ranges, under, product.factors[j]) {
                    scaled(&[(axes, bound)], rest(&[i, j]), fact);
                }
            }
        }
    }
}

/// For c sum[A](x^2) + eps: the bound 1 / sqrt(c) on the norm over A of x divided by its root.
fn sum_of_squares(ranges: &Ranges, value: Value, x: Value) -> Option<(Vec<AxisId>, f64)> {
    let values = &ranges.values;
    let sum = values.sum(value);
    if sum.constant < 0.0 || sum.terms.len() != 1 {
        return None;
    }
    let (term, c) = sum.terms.into_iter().next()?;
    let squares = |v: Value| {
        values.product(v) == {
            let mut twice = values.product(x);
            twice.coefficient *= twice.coefficient;
            let once = twice.factors.clone();
            twice.factors.extend(once);
            twice.factors.sort_unstable();
            twice
        }
    };
    let (axes, n) = match values.op(term) {
        Op::Reduce(ReduceOp::Sum, axes) if squares(values.args[term][0]) => (axes, 1.0),
        Op::Reduce(ReduceOp::Mean, axes) if squares(values.args[term][0]) => {
            (axes, axes.iter().map(|a| ranges.flow.graph.size(*a) as f64).product::<f64>())
        }
        Op::Contract(axes) if values.args[term] == [x, x] => (axes, 1.0),
        _ => return None,
    };
    (c > 0.0).then(|| (sorted(axes), (n / c).sqrt()))
}

/// Bound on the norm of `x / norm[A](x)`, with a small summand or lower bound, or of `x / sqrt(sum[A](x^2) + eps)`.
fn divides_by_norm(ranges: &Ranges, x: Value, divisor: Value) -> Option<(Vec<AxisId>, f64)> {
    let values = &ranges.values;
    let is_norm = |v: Value| match values.op(v) {
        Op::Reduce(ReduceOp::Norm, axes) if values.args[v] == [x] => Some((sorted(axes), 1.0)),
        Op::Unary(UnaryOp::Sqrt) => sum_of_squares(ranges, values.args[v][0], x),
        _ => None,
    };
    if let Op::Binary(BinaryOp::Max) = values.op(divisor) {
        return values.args[divisor].iter().find_map(|v| is_norm(*v));
    }
    let sum = values.sum(divisor);
    match sum.terms.iter().next() {
        Some((v, c)) if sum.terms.len() == 1 && sum.constant >= 0.0 && *c > 0.0 => {
            is_norm(*v).map(|(axes, n)| (axes, n / c))
        }
        _ => None,
    }
}

fn renamed(axes: &[AxisId], from: &[AxisId], to: Option<AxisId>) -> Vec<AxisId> {
    let mut new: Vec<AxisId> = axes.iter().copied().filter(|a| !from.contains(a)).collect();
    if new.len() < axes.len() {
        new.extend(to);
    }
    sorted(&new)
}

fn type_axes<'a>(ranges: &'a Ranges, value: Value) -> &'a [AxisId] {
    let v = ranges.flow.vertices[ranges.values.vertex[value]];
    &v.dag.ty(v.id).axes
}

fn sorted(axes: &[AxisId]) -> Vec<AxisId> {
    let mut axes = axes.to_vec();
    axes.sort_unstable();
    axes
}
