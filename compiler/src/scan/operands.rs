//! Operands of a form: a DAG of state-free values over nodes of the graph, and the logarithms of decays in it.
//!
//! A chunk uses the logarithm of a decay, because a product of a hundred decays leaves the range of f32. It is found by
//! rewriting, not by taking logarithms: exp(g) -> g, sigmoid(x) -> -softplus(-x), 1 - sigmoid(x) -> -softplus(x), products -> sums,
//! powers -> multiples. Where no rule applies the logarithm itself is taken, if the decay is proven to stay away from 0: near 0
//! its derivative is too large for the sums in the gradient, and a chunk multiplies the decays themselves.

use super::algebra::{Algebra, Factor, Product, Ref};
use super::nodes::{add, binary, unary};
use crate::checks::Ranges;
use crate::graph::{AxisId, BinaryOp, Dag, Node, NodeId, Op, UnaryOp};
use crate::ops::Interval;
use std::collections::BTreeMap;

/// Lower bound of logarithms, used for decays of 0: e to this is 0 in f32, and sums of it stay finite.
const LEAST_LOG: f64 = -90.0;

/// Logarithm of the smallest decay whose logarithm is taken directly.
const LEAST_GENERIC: f64 = -8.0;

/// A DAG of operands under construction.
pub(super) struct Operands<'a> {
    pub algebra: &'a Algebra<'a>,
    pub ranges: &'a Ranges<'a>,
    /// Vertex of the scan in the flow graph of the ranges.
    home: usize,
    pub dag: Dag,
    pub leaves: Vec<NodeId>,
    /// The first outer node of each value.
    first: BTreeMap<usize, NodeId>,
    known: BTreeMap<Ref, NodeId>,
    products: Vec<(Product, NodeId)>,
    like: Node,
}

/// The logarithm of a decay's size, and whether the decay is negative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub negative: bool,
    pub log: NodeId,
}

impl<'a> Operands<'a> {
    pub(super) fn new(
        algebra: &'a Algebra<'a>,
        ranges: &'a Ranges<'a>,
        scan: NodeId,
        first: &BTreeMap<usize, NodeId>,
    ) -> Self {
        Self {
            algebra,
            ranges,
            home: ranges.vertex_of(scan),
            dag: Dag::new(),
            leaves: Vec::new(),
            first: first.clone(),
            known: BTreeMap::new(),
            products: Vec::new(),
            like: algebra.graph.dag.node(scan).clone(),
        }
    }

    fn vertex(&self, r: Ref) -> usize {
        match r {
            Ref::Outer(id) => self.ranges.vertex_of(id),
            Ref::Body(id) => self.ranges.inner_vertex(self.home, id),
        }
    }

    /// Range of a value.
    pub(super) fn interval(&self, r: Ref) -> Interval {
        self.ranges.interval(self.vertex(r))
    }

    /// The first outer node with the same value, so that equal values are one operand.
    pub(super) fn canonical(&self, r: Ref) -> Ref {
        self.first.get(&self.ranges.value_number(self.vertex(r))).map_or(r, |id| Ref::Outer(*id))
    }

    /// The factor with its values replaced by the first outer nodes of the same value.
    pub(super) fn canonical_factor(&self, factor: &Factor) -> Factor {
        match factor {
            Factor::Plain(r) => Factor::Plain(self.canonical(*r)),
            Factor::Recip(r) => Factor::Recip(self.canonical(*r)),
            other => other.clone(),
        }
    }

    // ---- nodes

    pub(super) fn number(&mut self, x: f64) -> NodeId {
        add(&mut self.dag, &self.like, Op::Const(x), Vec::new(), &[])
    }

    pub(super) fn unary(&mut self, op: UnaryOp, x: NodeId) -> NodeId {
        unary(&mut self.dag, &self.like, op, x)
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        binary(&mut self.dag, &self.like, op, a, b)
    }

    pub(super) fn axes(&self, id: NodeId) -> &[AxisId] {
        &self.dag.ty(id).axes
    }

    fn select(&mut self, c: NodeId, a: NodeId, b: NodeId) -> NodeId {
        let mut axes = [self.axes(c), self.axes(a), self.axes(b)].concat();
        axes.sort_unstable();
        axes.dedup();
        add(&mut self.dag, &self.like, Op::Select, axes, &[c, a, b])
    }

    /// Node of a state-free value.
    pub(super) fn node(&mut self, r: Ref) -> NodeId {
        let r = self.canonical(r);
        if let Some(known) = self.known.get(&r) {
            return *known;
        }
        let node = self.algebra.node(r).clone();
        let id = match r {
            Ref::Outer(outer) => {
                self.leaves.push(outer);
                self.dag.add(Node { op: Op::Capture(self.leaves.len() - 1), ..node }, &[])
            }
            Ref::Body(_) => {
                let operands: Vec<NodeId> = self.algebra.operands(r).into_iter().map(|o| self.node(o)).collect();
                self.dag.add(node, &operands)
            }
        };
        self.known.insert(r, id);
        id
    }

    /// Node of a product; none for 1.
    pub(super) fn product(&mut self, product: &Product) -> Option<NodeId> {
        if product.is_one() {
            return None;
        }
        if let Some((_, known)) = self.products.iter().find(|(p, _)| p == product) {
            return Some(*known);
        }
        let mut value: Option<NodeId> = None;
        for factor in &product.factors {
            let x = self.factor(factor);
            value = Some(value.map_or(x, |v| self.binary(BinaryOp::Mul, v, x)));
        }
        let value = match value {
            Some(v) if product.c == 1.0 => v,
            Some(v) if product.c == -1.0 => self.unary(UnaryOp::Neg, v),
            Some(v) => {
                let c = self.number(product.c);
                self.binary(BinaryOp::Mul, v, c)
            }
            None => self.number(product.c),
        };
        self.products.push((product.clone(), value));
        Some(value)
    }

    fn factor(&mut self, factor: &Factor) -> NodeId {
        match factor {
            Factor::Plain(r) => self.node(*r),
            Factor::Recip(r) => {
                let (one, x) = (self.number(1.0), self.node(*r));
                self.binary(BinaryOp::Div, one, x)
            }
            Factor::Is(r) | Factor::Not(r) => {
                let op = if matches!(factor, Factor::Is(_)) { BinaryOp::Ne } else { BinaryOp::Eq };
                let (x, zero) = (self.node(*r), self.number(0.0));
                self.binary(op, x, zero)
            }
            Factor::Dot(over, product) => {
                let x = self.product(product).unwrap_or_else(|| self.number(1.0));
                let axes = self.axes(x).iter().copied().filter(|a| !over.contains(a)).collect();
                add(&mut self.dag, &self.like, Op::Reduce(crate::graph::ReduceOp::Sum, over.clone()), axes, &[x])
            }
            Factor::Parts(axis, parts) => self.parts(*axis, parts),
        }
    }

    /// Stack of products along an axis.
    fn parts(&mut self, axis: AxisId, parts: &[Product]) -> NodeId {
        let mut all: Vec<AxisId> = parts.iter().flat_map(|p| self.algebra.product_axes(p)).collect();
        all.sort_unstable();
        all.dedup();
        let mut entries = Vec::with_capacity(parts.len());
        for part in parts {
            let x = self.product(part).unwrap_or_else(|| self.number(1.0));
            let missing: Vec<AxisId> = all.iter().copied().filter(|a| !self.axes(x).contains(a)).collect();
            entries.push(match missing.is_empty() {
                true => x,
                false => add(&mut self.dag, &self.like, Op::Expand(missing), all.clone(), &[x]),
            });
        }
        all.push(axis);
        all.sort_unstable();
        add(&mut self.dag, &self.like, Op::Stack(axis), all, &entries)
    }

    /// Node of a sum of products.
    pub(super) fn sum(&mut self, terms: &[Product]) -> NodeId {
        let mut value: Option<NodeId> = None;
        for term in terms {
            let x = self.product(term).unwrap_or_else(|| self.number(1.0));
            value = Some(value.map_or(x, |v| self.binary(BinaryOp::Add, v, x)));
        }
        value.unwrap_or_else(|| self.number(0.0))
    }

    /// Sum of a node over axes, including those that it lacks.
    pub(super) fn summed(&mut self, x: NodeId, over: &[AxisId]) -> NodeId {
        let (carried, constant): (Vec<AxisId>, Vec<AxisId>) = over.iter().partition(|a| self.axes(x).contains(a));
        let times: f64 = constant.iter().map(|a| self.algebra.graph.size(*a) as f64).product();
        let mut sum = x;
        if !carried.is_empty() {
            let axes = self.axes(x).iter().copied().filter(|a| !carried.contains(a)).collect();
            sum = add(&mut self.dag, &self.like, Op::Reduce(crate::graph::ReduceOp::Sum, carried), axes, &[x]);
        }
        if times == 1.0 {
            return sum;
        }
        let times = self.number(times);
        self.binary(BinaryOp::Mul, sum, times)
    }

    // ---- where products lie

    fn product_interval(&self, product: &Product) -> Interval {
        let factors = product.factors.iter().map(|f| match f {
            Factor::Plain(r) => self.interval(*r),
            Factor::Recip(r) => self.interval(*r).recip(),
            Factor::Is(_) | Factor::Not(_) => Interval::UNIT,
            Factor::Dot(..) | Factor::Parts(..) => Interval::ALL,
        });
        factors.fold(Interval::point(product.c), |a, b| a * b)
    }

    /// Range of a sum of products; choices by one condition are split.
    pub(super) fn sum_interval(&self, terms: &[Product]) -> Interval {
        if let Some((_, yes, no)) = by_condition(terms) {
            return self.sum_interval(&yes).hull(self.sum_interval(&no));
        }
        terms.iter().map(|t| self.product_interval(t)).fold(Interval::point(0.0), |a, b| a + b)
    }

    // ---- logarithms

    /// Logarithm of a sum of products.
    pub(super) fn log_of_sum(&mut self, terms: &[Product]) -> Option<Log> {
        if terms.is_empty() {
            return Some(Log { negative: false, log: self.number(LEAST_LOG) });
        }
        if let Some((c, yes, no)) = by_condition(terms) {
            let (a, b) = (self.log_of_sum(&yes)?, self.log_of_sum(&no)?);
            let (zero, c) = (self.number(0.0), self.node(c));
            let c = self.binary(BinaryOp::Ne, c, zero);
            // where the decay is 0 its sign is irrelevant
            let nothing = |t: &[Product]| t.is_empty();
            let negative = if nothing(&yes) { b.negative } else { a.negative };
            let log = self.select(c, a.log, b.log);
            return (nothing(&yes) || nothing(&no) || a.negative == b.negative).then_some(Log { negative, log });
        }
        if let [one] = terms {
            return self.log_of_product(one);
        }
        if let [a, b] = terms
            && let Some(y) = complement(a, b).or_else(|| complement(b, a))
        {
            return self.log_of_complement(y);
        }
        let interval = self.sum_interval(terms);
        let x = self.sum(terms);
        self.generic(x, interval)
    }

    fn log_of_product(&mut self, product: &Product) -> Option<Log> {
        let mut negative = product.c < 0.0;
        let mut sum: Option<NodeId> = None;
        if product.c.abs() != 1.0 || product.factors.is_empty() {
            sum = Some(self.number(product.c.abs().ln().max(LEAST_LOG)));
        }
        for factor in &product.factors {
            let log = match factor {
                Factor::Plain(r) => self.log(*r)?,
                Factor::Recip(r) => {
                    let log = self.log(*r)?;
                    Log { negative: log.negative, log: self.unary(UnaryOp::Neg, log.log) }
                }
                Factor::Is(_) | Factor::Not(_) => {
                    let x = self.factor(factor);
                    let (zero, least) = (self.number(0.0), self.number(LEAST_LOG));
                    Log { negative: false, log: self.select(x, zero, least) }
                }
                Factor::Dot(..) | Factor::Parts(..) => return None,
            };
            negative ^= log.negative;
            sum = Some(sum.map_or(log.log, |s| self.binary(BinaryOp::Add, s, log.log)));
        }
        Some(Log { negative, log: sum? })
    }

    fn floored(&mut self, log: NodeId) -> NodeId {
        let least = self.number(LEAST_LOG);
        self.binary(BinaryOp::Max, log, least)
    }

    /// Logarithm of a value.
    fn log(&mut self, r: Ref) -> Option<Log> {
        let plain = |log| Some(Log { negative: false, log });
        if let Some(c) = self.algebra.number(r) {
            return Some(Log { negative: c < 0.0, log: self.number(c.abs().ln().max(LEAST_LOG)) });
        }
        let operands = self.algebra.operands(r);
        match &self.algebra.node(r).op {
            Op::Unary(UnaryOp::Exp) => {
                let g = self.node(operands[0]);
                plain(self.floored(g))
            }
            Op::Unary(UnaryOp::Sigmoid) => {
                let x = self.node(operands[0]);
                let x = self.unary(UnaryOp::Neg, x);
                let x = self.unary(UnaryOp::Softplus, x);
                let log = self.unary(UnaryOp::Neg, x);
                plain(self.floored(log))
            }
            Op::Unary(UnaryOp::Neg) => {
                let log = self.log(operands[0])?;
                Some(Log { negative: !log.negative, ..log })
            }
            Op::Unary(UnaryOp::Not) => self.log_of_complement(operands[0]),
            Op::Unary(UnaryOp::Powi(n)) => {
                let log = self.log(operands[0])?;
                let n_node = self.number(f64::from(*n));
                let scaled = self.binary(BinaryOp::Mul, log.log, n_node);
                Some(Log { negative: log.negative && n % 2 != 0, log: self.floored(scaled) })
            }
            Op::Unary(UnaryOp::Sqrt) => {
                let log = self.log(operands[0]).filter(|l| !l.negative)?;
                let half = self.number(0.5);
                plain(self.binary(BinaryOp::Mul, log.log, half))
            }
            Op::Binary(BinaryOp::Pow) => match self.log(operands[0]).filter(|l| !l.negative) {
                Some(log) => {
                    let n = self.node(operands[1]);
                    let log = self.binary(BinaryOp::Mul, log.log, n);
                    plain(self.floored(log))
                }
                None => self.generic_ref(r),
            },
            Op::Binary(BinaryOp::Mul) if operands.iter().any(|o| self.algebra.number(*o) == Some(1.0)) => {
                let one = usize::from(self.algebra.number(operands[0]) == Some(1.0));
                self.log(operands[one])
            }
            Op::Binary(BinaryOp::Mul) => {
                let logs = (self.log(operands[0]), self.log(operands[1]));
                match logs {
                    (Some(a), Some(b)) => {
                        let log = self.binary(BinaryOp::Add, a.log, b.log);
                        Some(Log { negative: a.negative ^ b.negative, log })
                    }
                    _ => self.generic_ref(r),
                }
            }
            Op::Binary(BinaryOp::Div) => match (self.log(operands[0]), self.log(operands[1])) {
                (Some(a), Some(b)) => {
                    let log = self.binary(BinaryOp::Sub, a.log, b.log);
                    Some(Log { negative: a.negative ^ b.negative, log })
                }
                _ => self.generic_ref(r),
            },
            Op::Binary(BinaryOp::Add) => {
                let number = |i: usize| self.algebra.number(operands[i]);
                match (number(0), number(1)) {
                    (Some(0.0), _) => self.log(operands[1]),
                    (_, Some(0.0)) => self.log(operands[0]),
                    _ => self.generic_ref(r),
                }
            }
            Op::Binary(BinaryOp::Sub) if self.algebra.number(operands[0]) == Some(1.0) => {
                self.log_of_complement(operands[1]).or_else(|| self.generic_ref(r))
            }
            Op::Binary(op @ (BinaryOp::Min | BinaryOp::Max)) if !is_boolean(self.algebra, r) => {
                let logs = (self.log(operands[0]), self.log(operands[1]));
                match logs {
                    (Some(a), Some(b)) if !a.negative && !b.negative => plain(self.binary(*op, a.log, b.log)),
                    _ => self.generic_ref(r),
                }
            }
            Op::Select => {
                let (a, b) = (self.log(operands[1]), self.log(operands[2]));
                match (a, b) {
                    (Some(a), Some(b)) if a.negative == b.negative => {
                        let c = self.node(operands[0]);
                        Some(Log { negative: a.negative, log: self.select(c, a.log, b.log) })
                    }
                    _ => self.generic_ref(r),
                }
            }
            Op::Expand(_)
            | Op::Rename(..)
            | Op::Pick(..)
            | Op::Split(..)
            | Op::Flatten(..)
            | Op::Cut { .. }
            | Op::StopGrad => match self.log(operands[0]) {
                Some(log) => {
                    let node = self.algebra.node(r).clone();
                    Some(Log { negative: log.negative, log: self.dag.add(node, &[log.log]) })
                }
                None => self.generic_ref(r),
            },
            _ if is_boolean(self.algebra, r) => {
                let (x, zero, least) = (self.node(r), self.number(0.0), self.number(LEAST_LOG));
                plain(self.select(x, zero, least))
            }
            _ => self.generic_ref(r),
        }
    }

    /// Logarithm of 1 - y.
    fn log_of_complement(&mut self, y: Ref) -> Option<Log> {
        let plain = |log| Some(Log { negative: false, log });
        let operands = self.algebra.operands(y);
        match &self.algebra.node(y).op {
            Op::Unary(UnaryOp::Sigmoid) => {
                let x = self.node(operands[0]);
                let x = self.unary(UnaryOp::Softplus, x);
                let log = self.unary(UnaryOp::Neg, x);
                plain(self.floored(log))
            }
            Op::Unary(UnaryOp::Not) => self.log(operands[0]),
            Op::Binary(BinaryOp::Sub) if self.algebra.number(operands[0]) == Some(1.0) => self.log(operands[1]),
            Op::Expand(axes) => {
                let log = self.log_of_complement(operands[0])?;
                let node = self.algebra.node(y).clone();
                let node = Node { op: Op::Expand(axes.clone()), ..node };
                Some(Log { log: self.dag.add(node, &[log.log]), ..log })
            }
            _ if is_boolean(self.algebra, y) => {
                let (y, zero, least) = (self.node(y), self.number(0.0), self.number(LEAST_LOG));
                plain(self.select(y, least, zero))
            }
            _ => {
                let interval = Interval::point(1.0) - self.interval(y);
                let (one, y) = (self.number(1.0), self.node(y));
                let x = self.binary(BinaryOp::Sub, one, y);
                self.generic(x, interval)
            }
        }
    }

    fn generic_ref(&mut self, r: Ref) -> Option<Log> {
        let (x, interval) = (self.node(r), self.interval(r));
        self.generic(x, interval)
    }

    /// Directly computed logarithm of a value that is proven to stay away from 0.
    fn generic(&mut self, x: NodeId, interval: Interval) -> Option<Log> {
        let least = LEAST_GENERIC.exp();
        if interval.at_least(least) {
            Some(Log { negative: false, log: self.unary(UnaryOp::Log, x) })
        } else if interval.at_most(-least) {
            let x = self.unary(UnaryOp::Neg, x);
            Some(Log { negative: true, log: self.unary(UnaryOp::Log, x) })
        } else {
            None
        }
    }
}

/// Whether a value is 0 or 1 by its op.
fn is_boolean(algebra: &Algebra, r: Ref) -> bool {
    match &algebra.node(r).op {
        Op::Binary(BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge) => true,
        Op::Unary(UnaryOp::Not) | Op::Expand(_) => is_boolean(algebra, algebra.operands(r)[0]),
        Op::Binary(BinaryOp::Min | BinaryOp::Max) => algebra.operands(r).iter().all(|o| is_boolean(algebra, *o)),
        _ => false,
    }
}

/// y, if the terms are 1 and -y.
fn complement(a: &Product, b: &Product) -> Option<Ref> {
    match b.factors.as_slice() {
        [Factor::Plain(y)] if a.is_one() && b.c == -1.0 => Some(*y),
        _ => None,
    }
}

/// Splits terms that all depend on one condition: the condition, the terms where it holds, and those where it does not, without it.
fn by_condition(terms: &[Product]) -> Option<(Ref, Vec<Product>, Vec<Product>)> {
    let condition = terms.first()?.factors.iter().find_map(|f| match f {
        Factor::Is(c) | Factor::Not(c) => Some(*c),
        _ => None,
    })?;
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for term in terms {
        let mut term = term.clone();
        let i = term.factors.iter().position(|f| matches!(f, Factor::Is(c) | Factor::Not(c) if *c == condition))?;
        match term.factors.remove(i) {
            Factor::Is(_) => yes.push(term),
            _ => no.push(term),
        }
    }
    Some((condition, yes, no))
}
