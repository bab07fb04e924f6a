//! Value numbering: vertices of the flow graph with the same value by construction have the same number.
//!
//! The relations of the range analysis compare subexpressions (`x - max(x, y)`, `k` written and `k`
//! read), and a program may well write `f + m` twice. Sites and states are equal only to themselves.

use super::flow::{EdgeKind, Flow};
use crate::graph::{BinaryOp, Op, UnaryOp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Number of a value.
pub(super) type Value = usize;

/// Numbers of all vertices, and the expression of each number.
pub(super) struct Values<'a> {
    flow: &'a Flow<'a>,
    /// Value of each vertex.
    pub of: Vec<Value>,
    /// First vertex of each value.
    pub vertex: Vec<usize>,
    /// Operands of each value.
    pub args: Vec<Vec<Value>>,
    /// Values that are a sigmoid.
    sigmoids: Vec<Value>,
}

/// A sum: a constant, and values with their coefficients.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub constant: f64,
    pub terms: BTreeMap<Value, f64>,
}

impl Sum {
    /// Adds `by` times another sum; cancelled terms are removed.
    pub(super) fn add(&mut self, other: &Self, by: f64) {
        self.constant += by * other.constant;
        other.terms.iter().for_each(|(value, c)| self.insert(*value, by * c));
    }

    fn insert(&mut self, value: Value, by: f64) {
        let sum = self.terms.entry(value).or_default();
        *sum += by;
        if *sum == 0.0 {
            self.terms.remove(&value);
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
    /// The remaining factors without `taken`; none if one of those is missing.
    pub(super) fn without(&self, taken: &[Value]) -> Option<Vec<Value>> {
        let mut left = self.factors.clone();
        for value in taken {
            left.remove(left.iter().position(|f| f == value)?);
        }
        Some(left)
    }
}

/// Maximum number of parts into which a sum or product is split; a loop of doublings has 2^n terms.
const PARTS: usize = 64;

impl<'a> Values<'a> {
    /// Numbers the vertices of a flow graph.
    pub(super) fn new(flow: &'a Flow<'a>) -> Self {
        let mut values = Self { flow, of: Vec::new(), vertex: Vec::new(), args: Vec::new(), sigmoids: Vec::new() };
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
                // a fixed value is its own past
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
                if let Op::Unary(UnaryOp::Sigmoid) = vertex.op() {
                    values.sigmoids.push(values.vertex.len() - 1);
                }
                values.vertex.len() - 1
            });
            values.of.push(value);
        }
        values
    }

    /// Op of a value.
    pub(super) fn op(&self, value: Value) -> &'a Op {
        self.flow.vertices[self.vertex[value]].op()
    }

    /// The constant that a value is, if it is one.
    pub(super) fn number(&self, value: Value) -> Option<f64> {
        self.flow.constant(self.vertex[value])
    }

    /// A value as a sum.
    pub(super) fn sum(&self, value: Value) -> Sum {
        let mut sum = Sum::default();
        // a stack, not recursion: a loop may have unrolled to a very long chain
        let mut stack = vec![(value, 1.0)];
        let mut fuel = PARTS;
        while let Some((value, by)) = stack.pop() {
            let args = &self.args[value];
            let number = self.number(value).filter(|x| x.is_finite());
            fuel = fuel.saturating_sub(1);
            match self.op(value) {
                _ if number.is_some() => sum.constant += by * number.unwrap_or(0.0),
                Op::Binary(BinaryOp::Add) if fuel > 0 => stack.extend(args.iter().map(|a| (*a, by))),
                Op::Binary(BinaryOp::Sub) if fuel > 0 => stack.extend([(args[0], by), (args[1], -by)]),
                Op::Unary(UnaryOp::Neg) if fuel > 0 => stack.push((args[0], -by)),
                Op::Unary(UnaryOp::Not) if fuel > 0 => {
                    sum.constant += by;
                    stack.push((args[0], -by));
                }
                Op::Binary(BinaryOp::Mul) if fuel > 0 && self.constant_factor(value).is_some() => {
                    stack.extend(self.constant_factor(value).map(|(c, x)| (x, by * c)));
                }
                _ => sum.insert(value, by),
            }
        }
        sum
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
        let mut stack = vec![value];
        let mut fuel = PARTS;
        while let Some(value) = stack.pop() {
            fuel = fuel.saturating_sub(1);
            match (self.number(value), self.factors(value)) {
                (Some(number), _) => product.coefficient *= number,
                (None, Some((sign, factors))) if !whole(value) && fuel > 0 => {
                    product.coefficient *= sign;
                    stack.extend(factors);
                }
                _ => product.factors.push(value),
            }
        }
        product.factors.sort_unstable();
        product
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

    /// Collects all products and factors inside of a product, itself included.
    pub(super) fn parts(&self, value: Value, into: &mut BTreeSet<Value>) {
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if into.insert(value) && into.len() < PARTS {
                stack.extend(self.factors(value).into_iter().flat_map(|(_, factors)| factors));
            }
        }
    }

    /// m, if this is 1 - m.
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
            return self.sigmoids.iter().copied().find(|v| self.sum(self.args[*v][0]) == opposite);
        }
        None
    }
}
