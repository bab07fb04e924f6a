//! A pair of states that is rotated and scaled at every token, like complex numbers in components.
//!
//! (r, i) <- a (c r - s i, s r + c i) with c, s the cosine and sine of one angle has norm |a|: the intervals of c and s alone would only
//! bound it by sqrt(2) |a|.

use super::super::equal::Value;
use super::transition::Transition;
use crate::graph::{BinaryOp, Op, UnaryOp};
use crate::ops::Interval;

/// A coefficient, factors that are independent of the states, and the state that they multiply.
type Term = (f64, Vec<Value>, Value);

impl Transition<'_, '_> {
    /// The common decay, if this state and the only one coupled with it are a rotated pair.
    pub(super) fn rotation(&self, next: Value) -> Option<Interval> {
        let (here, there) = (self.terms(next)?, self.terms(self.partner?)?);
        let find = |terms: &[Term], leaves: &[Value]| -> Option<(f64, Vec<Value>)> {
            let mut found = terms.iter().filter(|t| leaves.contains(&t.2));
            match (found.next(), found.next()) {
                (Some((c, factors, _)), None) => Some((*c, factors.clone())),
                _ => None,
            }
        };
        if here.len() != 2 || there.len() != 2 {
            return None;
        }
        let (straight, across) = (find(&here, &self.own)?, find(&here, &self.coupled)?);
        let (back, other) = (find(&there, &self.own)?, find(&there, &self.coupled)?);
        if straight != other || across.1 != back.1 || across.0 != -back.0 || straight.0.abs() != across.0.abs() {
            return None;
        }
        // the same factors except for a cosine here and the sine of the same angle there
        let values = &self.ranges.values;
        let decay = straight.1.iter().enumerate().find_map(|(i, cosine)| {
            let Op::Unary(UnaryOp::Cos) = values.op(*cosine) else { return None };
            let mut decay = straight.1.clone();
            decay.remove(i);
            let turned = |sine: &Value| {
                matches!(values.op(*sine), Op::Unary(UnaryOp::Sin)) && values.args[*sine] == values.args[*cosine]
            };
            let mut rest = across.1.clone();
            rest.remove(rest.iter().position(turned)?);
            (rest == decay).then_some(decay)
        })?;
        let factors = decay.iter().map(|v| self.ranges.facts[*v].interval);
        Some(factors.fold(Interval::point(straight.0.abs()), |a, b| a * b))
    }

    /// Terms of an update that depend on the states, multiplied out.
    fn terms(&self, next: Value) -> Option<Vec<Term>> {
        let values = &self.ranges.values;
        let mut terms = Vec::new();
        let mut stack = vec![(next, 1.0, Vec::new())];
        while let Some((value, c, outer)) = stack.pop() {
            if !self.burn() {
                return None;
            }
            if let Op::Binary(BinaryOp::Add | BinaryOp::Sub) | Op::Unary(UnaryOp::Neg) = values.op(value) {
                let mut parts = Vec::new();
                self.addends(value, c, None, &mut parts);
                let parts = parts.into_iter().filter(|(v, _)| self.dependent[*v]);
                stack.extend(parts.map(|(v, c)| (v, c, outer.clone())));
                continue;
            }
            let product = values.product(value);
            let (states, mut factors): (Vec<Value>, Vec<Value>) =
                product.factors.iter().copied().partition(|f| self.dependent[*f]);
            let [state] = states.as_slice() else { return None };
            factors.extend(&outer);
            factors.sort_unstable();
            if self.own.contains(state) || self.coupled.contains(state) {
                terms.push((c * product.coefficient, factors, *state));
            } else if *state == value {
                return None; // neither a sum nor a product
            } else {
                stack.push((*state, c * product.coefficient, factors));
            }
        }
        Some(terms)
    }
}
