//! Value numbers: vertices of the flow graph that hold the same value by construction have one number.
//!
//! The relations of the range analysis compare subexpressions (`x - max(x, y)`, `k` written and `k`
//! read), and a program may well write `f + m` twice. Sites and states are equal only to themselves.

use super::flow::{EdgeKind, Flow};
use crate::graph::{BinaryOp, Op, UnaryOp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The number of a value.
pub(super) type Value = usize;

/// Numbers of all vertices, and the expression behind each number.
pub(super) struct Values<'a> {
    flow: &'a Flow<'a>,
    /// For each vertex, its value.
    pub of: Vec<Value>,
    /// For each value, the first vertex that has it.
    pub vertex: Vec<usize>,
    /// For each value, its operands.
    pub args: Vec<Vec<Value>>,
}

/// A sum: a constant, and values with their coefficients.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub constant: f64,
    pub terms: BTreeMap<Value, f64>,
}

impl Sum {
    /// Adds `by` times another sum; what cancels goes away.
    pub(super) fn add(&mut self, other: &Self, by: f64) {
        self.constant += by * other.constant;
        for (value, c) in &other.terms {
            let sum = self.terms.entry(*value).or_default();
            *sum += by * c;
            if *sum == 0.0 {
                self.terms.remove(value);
            }
        }
    }
}

/// A product: a coefficient and factors, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    pub coefficient: f64,
    pub factors: Vec<Value>,
}

impl Product {
    /// The factors that are left when those are taken away; none if one of them is missing.
    pub(super) fn without(&self, taken: &[Value]) -> Option<Vec<Value>> {
        let mut left = self.factors.clone();
        for value in taken {
            left.remove(left.iter().position(|f| f == value)?);
        }
        Some(left)
    }
}

/// Sums and products with more parts than this are not taken apart further.
const PARTS: usize = 32;

impl<'a> Values<'a> {
    /// Numbers the vertices of a flow graph.
    pub(super) fn new(flow: &'a Flow<'a>) -> Self {
        let mut values = Self { flow, of: Vec::new(), vertex: Vec::new(), args: Vec::new() };
        let mut known: HashMap<(String, Vec<Value>), Value> = HashMap::new();
        for (i, vertex) in flow.vertices.iter().enumerate() {
            let edges = &flow.into[i];
            let mut args: Vec<Value> = edges
                .iter()
                .filter(|e| e.kind != EdgeKind::Next && e.kind != EdgeKind::Initial)
                .map(|e| values.of[e.from])
                .collect();
            let same = match vertex.op() {
                Op::Capture(_) => args.first().copied(),
                // a value that never changes is itself in the past too
                Op::Past(_) if vertex.dag.rate(vertex.id) == crate::graph::Rate::Fixed => args.first().copied(),
                Op::Emit(_) if matches!(edges.as_slice(), [e] if e.kind == EdgeKind::Emitted) => args.first().copied(),
                _ => None,
            };
            if let Some(value) = same {
                values.of.push(value);
                continue;
            }
            let text = match vertex.op() {
                Op::State(s) => format!("state {:?} {s}", vertex.home),
                Op::Scan(_) | Op::Attend(_) => format!("memory {i}"),
                Op::Emit(n) => format!("emit {n} {:?}", vertex.dag.operands(vertex.id)),
                Op::Past(_) => format!("past {:?}", vertex.home),
                Op::Lag => format!("lag {:?}", vertex.home),
                Op::Draw(_) => format!("draw {i}"),
                op => format!("{op:?}"),
            };
            if let Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max) = vertex.op() {
                args.sort_unstable();
            }
            let value = *known.entry((text, args.clone())).or_insert_with(|| {
                values.vertex.push(i);
                values.args.push(args);
                values.vertex.len() - 1
            });
            values.of.push(value);
        }
        values
    }

    /// The op behind a value.
    pub(super) fn op(&self, value: Value) -> &'a Op {
        self.flow.vertices[self.vertex[value]].op()
    }

    /// The number that a value is.
    pub(super) fn number(&self, value: Value) -> Option<f64> {
        self.flow.constant(self.vertex[value])
    }

    /// A value as a sum.
    pub(super) fn sum(&self, value: Value) -> Sum {
        let mut sum = Sum::default();
        self.collect(value, 1.0, &mut sum);
        sum
    }

    fn collect(&self, value: Value, by: f64, sum: &mut Sum) {
        let args = &self.args[value];
        let inner = sum.terms.len() < PARTS;
        match self.op(value) {
            _ if self.number(value).is_some_and(f64::is_finite) => {
                sum.constant += by * self.number(value).unwrap_or(0.0);
            }
            Op::Binary(BinaryOp::Add) if inner => args.iter().for_each(|a| self.collect(*a, by, sum)),
            Op::Binary(BinaryOp::Sub) if inner => {
                self.collect(args[0], by, sum);
                self.collect(args[1], -by, sum);
            }
            Op::Unary(UnaryOp::Neg) if inner => self.collect(args[0], -by, sum),
            Op::Unary(UnaryOp::Not) if inner => {
                sum.constant += by;
                self.collect(args[0], -by, sum);
            }
            Op::Binary(BinaryOp::Mul) if inner && self.constant_factor(value).is_some() => {
                if let Some((c, x)) = self.constant_factor(value) {
                    self.collect(x, by * c, sum);
                }
            }
            _ => {
                let mut one = Sum::default();
                one.terms.insert(value, 1.0);
                sum.add(&one, by);
            }
        }
    }

    fn constant_factor(&self, product: Value) -> Option<(f64, Value)> {
        let (a, b) = (self.args[product][0], self.args[product][1]);
        match (self.number(a), self.number(b)) {
            (Some(c), _) if c.is_finite() => Some((c, b)),
            (_, Some(c)) if c.is_finite() => Some((c, a)),
            _ => None,
        }
    }

    /// A value as a product.
    pub(super) fn product(&self, value: Value) -> Product {
        self.product_until(value, &|_| false)
    }

    /// A value as a product in which some values stay whole.
    pub(super) fn product_until(&self, value: Value, whole: &dyn Fn(Value) -> bool) -> Product {
        let mut product = Product { coefficient: 1.0, factors: Vec::new() };
        self.multiply(value, whole, &mut product);
        product.factors.sort_unstable();
        product
    }

    fn multiply(&self, value: Value, whole: &dyn Fn(Value) -> bool, product: &mut Product) {
        if let Some(number) = self.number(value) {
            product.coefficient *= number;
            return;
        }
        match self.factors(value) {
            Some((sign, factors)) if !whole(value) && product.factors.len() < PARTS => {
                product.coefficient *= sign;
                factors.into_iter().for_each(|f| self.multiply(f, whole, product));
            }
            _ => product.factors.push(value),
        }
    }

    /// The factors of a product, if it is one.
    fn factors(&self, value: Value) -> Option<(f64, Vec<Value>)> {
        let args = &self.args[value];
        match self.op(value) {
            Op::Binary(BinaryOp::Mul) => Some((1.0, args.clone())),
            Op::Unary(UnaryOp::Neg) => Some((-1.0, args.clone())),
            Op::Unary(UnaryOp::Powi(2)) => Some((1.0, vec![args[0], args[0]])),
            _ => None,
        }
    }

    /// All products and factors inside of a product, itself included.
    pub(super) fn parts(&self, value: Value, into: &mut BTreeSet<Value>) {
        if into.insert(value)
            && let Some((_, factors)) = self.factors(value)
        {
            factors.into_iter().for_each(|f| self.parts(f, into));
        }
    }

    /// If this is 1 - m: m.
    pub(super) fn complement(&self, value: Value) -> Option<Value> {
        let sum = self.sum(value);
        match sum.terms.iter().next() {
            Some((m, c)) if sum.terms.len() == 1 && *c == -1.0 && sum.constant == 1.0 => return Some(*m),
            _ => {}
        }
        // sigmoid(-x) is 1 - sigmoid(x)
        if let Op::Unary(UnaryOp::Sigmoid) = self.op(value) {
            let mut opposite = Sum::default();
            opposite.add(&self.sum(self.args[value][0]), -1.0);
            let is_it = |v: &Value| {
                matches!(self.op(*v), Op::Unary(UnaryOp::Sigmoid)) && self.sum(self.args[*v][0]) == opposite
            };
            return (0..self.vertex.len()).find(is_it);
        }
        None
    }
}
