//! Sums and products of terms, flattened, so that their notation does not matter.

use super::terms::{Builder, Role, sized, times, value};
use crate::graph::{BinaryOp, UnaryOp};

/// Maximum number of parts of a sum or product that is merged into another; larger ones stay whole, so that a long unrolled loop takes
/// linear time.
pub(super) const PARTS: usize = 64;

impl Builder<'_> {
    /// A term as c + sum of coefficients times terms.
    pub(super) fn as_sum(&mut self, t: usize) -> (f64, Vec<(usize, f64)>) {
        let term = &self.terms.list[t];
        match term.tag {
            "sum" => (value(term.numbers[0]), term.args.iter().map(|(role, a)| (*a, times(*role))).collect()),
            "number" => (value(term.numbers[0]), vec![]),
            "product" if value(term.numbers[0]) != 1.0 => {
                let (c, factors) = self.as_product(t);
                (0.0, vec![(self.product(1.0, factors), c)])
            }
            _ => (0.0, vec![(t, 1.0)]),
        }
    }

    pub(super) fn sum(&mut self, constant: f64, terms: Vec<(usize, f64)>) -> usize {
        let mut merged: Vec<(usize, f64)> = Vec::new();
        for (t, c) in terms {
            match merged.iter_mut().find(|(other, _)| *other == t) {
                Some((_, sum)) => *sum += c,
                None => merged.push((t, c)),
            }
        }
        match merged.as_slice() {
            [] => return self.number(constant),
            [(t, c)] if constant == 0.0 && *c == 1.0 => return *t,
            [(t, c)] if constant == 0.0 => {
                let (_, factors) = self.as_product(*t);
                return self.scaled(*c, factors);
            }
            [(t, c)] if constant == 1.0 && *c == -1.0 && self.terms.list[*t].tag == "sigmoid" => {
                let x = self.terms.list[*t].args[0].1;
                let negated = self.unary(UnaryOp::Neg, x);
                return self.plain("sigmoid", &[negated]);
            }
            _ => {}
        }
        let args = merged.into_iter().map(|(t, c)| (Role::Times(c.to_bits()), t)).collect();
        self.term("sum", vec![sized(constant)], vec![], args)
    }

    /// A term as a coefficient and factors with their powers.
    pub(super) fn as_product(&self, t: usize) -> (f64, Vec<(usize, i32)>) {
        let term = &self.terms.list[t];
        let power = |role: &Role| if let Role::Power(n) = role { *n } else { 1 };
        match term.tag {
            "product" => (value(term.numbers[0]), term.args.iter().map(|(role, a)| (*a, power(role))).collect()),
            "number" => (value(term.numbers[0]), vec![]),
            _ => (1.0, vec![(t, 1)]),
        }
    }

    pub(super) fn product(&mut self, coefficient: f64, factors: Vec<(usize, i32)>) -> usize {
        let mut merged: Vec<(usize, i32)> = Vec::new();
        for (t, n) in factors {
            // powers of one sign add up; x / x stays, for it is not 1 at 0
            match merged.iter_mut().find(|(other, m)| *other == t && m.signum() == n.signum()) {
                Some((_, sum)) => *sum += n,
                None => merged.push((t, n)),
            }
        }
        match merged.as_slice() {
            [] => return self.number(coefficient),
            [(t, 1)] if coefficient == 1.0 => return *t,
            [(t, 1)] if self.terms.list[*t].tag == "sum" => {
                let (constant, terms) = self.as_sum(*t);
                let terms = terms.into_iter().map(|(t, c)| (t, coefficient * c)).collect();
                return self.sum(coefficient * constant, terms);
            }
            _ => {}
        }
        self.scaled(coefficient, merged)
    }

    /// Term of a product whose factors are in order already; `product` orders them.
    pub(super) fn scaled(&mut self, coefficient: f64, factors: Vec<(usize, i32)>) -> usize {
        let args = factors.into_iter().map(|(t, n)| (Role::Power(n), t)).collect();
        self.term("product", vec![sized(coefficient)], vec![], args)
    }

    pub(super) fn power(&mut self, t: usize, n: i32) -> usize {
        let (c, factors) = self.as_product(t);
        let largest = factors.iter().map(|(_, m)| m.unsigned_abs()).max().unwrap_or(0);
        if u64::from(largest) * u64::from(n.unsigned_abs()) > PARTS as u64 {
            return self.scaled(1.0, vec![(t, n)]);
        }
        self.product(c.powi(n), factors.into_iter().map(|(t, m)| (t, m * n)).collect())
    }

    // ---- ops

    pub(super) fn unary(&mut self, op: UnaryOp, x: usize) -> usize {
        match op {
            UnaryOp::Neg => return self.combine(&[(x, -1.0)], 0.0),
            UnaryOp::Not => return self.combine(&[(x, -1.0)], 1.0),
            UnaryOp::Powi(0) => return self.number(1.0),
            UnaryOp::Powi(n) => return self.power(x, n),
            UnaryOp::Rsqrt => {
                let root = self.unary(UnaryOp::Sqrt, x);
                return self.power(root, -1);
            }
            UnaryOp::Silu => {
                let gate = self.unary(UnaryOp::Sigmoid, x);
                return self.binary(BinaryOp::Mul, x, gate);
            }
            _ => {}
        }
        if let Some(c) = self.as_number(x) {
            let y = op.of(c);
            if !y.is_nan() {
                return self.number(y);
            }
        }
        self.plain(op.row().name, &[x])
    }

    pub(super) fn as_number(&self, t: usize) -> Option<f64> {
        let term = &self.terms.list[t];
        (term.tag == "number").then(|| value(term.numbers[0]))
    }

    /// Term of constant + sum of coefficient * t.
    pub(super) fn combine(&mut self, terms: &[(usize, f64)], constant: f64) -> usize {
        let mut all = Vec::new();
        let mut total = constant;
        for (t, c) in terms {
            let (constant, inner) = self.as_sum(*t);
            if inner.len() > PARTS {
                all.push((*t, *c));
                continue;
            }
            total += c * constant;
            all.extend(inner.into_iter().map(|(t, d)| (t, c * d)));
        }
        self.sum(total, all)
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: usize, b: usize) -> usize {
        match op {
            BinaryOp::Add => self.combine(&[(a, 1.0), (b, 1.0)], 0.0),
            BinaryOp::Sub => self.combine(&[(a, 1.0), (b, -1.0)], 0.0),
            BinaryOp::Mul => {
                let ((c, mut factors), (d, more)) = (self.as_product(a), self.as_product(b));
                if factors.iter().chain(&more).map(|(_, n)| n.unsigned_abs() as usize).sum::<usize>() > PARTS {
                    return self.scaled(1.0, if a == b { vec![(a, 2)] } else { vec![(a, 1), (b, 1)] });
                }
                factors.extend(more);
                self.product(c * d, factors)
            }
            BinaryOp::Div => {
                let reciprocal = self.power(b, -1);
                self.binary(BinaryOp::Mul, a, reciprocal)
            }
            BinaryOp::Pow => match (self.as_number(a), self.as_number(b)) {
                (Some(x), Some(y)) => self.number(x.powf(y)),
                _ => self.plain("pow", &[a, b]),
            },
            BinaryOp::Rem => self.plain("rem", &[a, b]),
            BinaryOp::Min => self.bag("min", a, b),
            BinaryOp::Max => self.bag("max", a, b),
            BinaryOp::Eq => self.pair("eq", a, b),
            BinaryOp::Ne => self.pair("ne", a, b),
            BinaryOp::Lt => self.plain("lt", &[a, b]),
            BinaryOp::Le => self.plain("le", &[a, b]),
            BinaryOp::Gt => self.plain("lt", &[b, a]),
            BinaryOp::Ge => self.plain("le", &[b, a]),
        }
    }
}
