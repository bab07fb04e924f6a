//! Sizes: exact integers.

use super::value::{Frame, Slot, Value};
use super::{Elaborator, Eval, errors};
use crate::graph::UnaryOp;
use crate::hir::{Builtin, Callee, ExprId, ExprKind};
use archc_grammar::ast;

/// Largest number up to which an f64 has all integers.
const EXACT: f64 = (1u64 << 53) as f64;

impl Elaborator<'_> {
    /// Evaluates an exact integer. An inexact `/` is an error that shows the numbers.
    pub(super) fn size(&mut self, frame: &mut Frame, e: ExprId) -> Eval<f64> {
        let module = std::sync::Arc::clone(&frame.module);
        let place = frame.at(e);
        let value = match &module.expr(e).kind {
            ExprKind::Unary(ast::UnaryOp::Neg, x) => -self.size(frame, *x)?,
            ExprKind::Binary(op, a, b) => {
                let (x, y) = (self.size(frame, *a)?, self.size(frame, *b)?);
                match op {
                    ast::BinaryOp::Add => x + y,
                    ast::BinaryOp::Sub => x - y,
                    ast::BinaryOp::Mul => x * y,
                    ast::BinaryOp::Pow if y >= 0.0 => x.powf(y),
                    ast::BinaryOp::Div | ast::BinaryOp::Rem if y == 0.0 => {
                        return self.fail(errors::size_by_zero(place));
                    }
                    ast::BinaryOp::Rem => x - y * (x / y).floor(),
                    ast::BinaryOp::Div if (x / y).fract() != 0.0 => {
                        let text = [*a, *b, e].map(|e| frame.text(e));
                        return self.fail(errors::inexact_size(place, x, y, &text));
                    }
                    ast::BinaryOp::Div => x / y,
                    _ => return self.fail(errors::not_a_size(place, "this operator")),
                }
            }
            ExprKind::Call(call) => match call.callee {
                Callee::Builtin(Builtin::MinMax { max }) if call.brackets.is_none() && call.args.len() == 2 => {
                    let (x, y) = (self.size(frame, call.args[0].value)?, self.size(frame, call.args[1].value)?);
                    if max { x.max(y) } else { x.min(y) }
                }
                // `floor(a / b)` rounds on purpose: its argument is real
                Callee::Builtin(Builtin::Unary(UnaryOp::Floor)) if call.args.len() == 1 => {
                    self.real(frame, call.args[0].value)?.floor()
                }
                _ => self.real(frame, e)?,
            },
            _ => self.real(frame, e)?,
        };
        if value.fract() != 0.0 || value.abs() > EXACT {
            return self.fail(errors::not_an_integer(place, value));
        }
        Ok(value)
    }

    /// Evaluates a number known now; `/` is real division.
    pub(super) fn real(&mut self, frame: &mut Frame, e: ExprId) -> Eval<f64> {
        match self.eval(frame, e)? {
            Value::Number(x) => Ok(x),
            Value::Error | Value::Unset => Err(super::Failed),
            _ => self.fail(errors::not_a_number(frame.at(e))),
        }
    }

    /// Size of an axis by its name, as a number.
    pub(super) fn axis_size(&mut self, frame: &Frame, name: &str, e: ExprId) -> Eval<f64> {
        match Self::slot(frame, name) {
            Some(Slot::Axis(id)) => Ok(self.graph.size(id) as f64),
            Some(Slot::Pack(axes)) => Ok(self.elements(&axes) as f64),
            Some(Slot::Error) => Err(super::Failed),
            _ => self.unknown_axis(frame, frame.at(e), name),
        }
    }
}
