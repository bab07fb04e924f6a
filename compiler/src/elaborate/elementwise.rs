//! Element-wise operators on numbers (folded), tensors (a node) and recipes (kept for the parameter).

use super::value::{Frame, Function, Recipe, RecipeOp, Tensor, Value};
use super::{Elaborator, Eval, Failed, errors};
use crate::graph::{BinaryOp, Op, UnaryOp};
use crate::hir::{ExprId, ExprKind};
use crate::source::Place;
use archc_grammar::ast;
use std::rc::Rc;

impl Elaborator<'_> {
    /// A value as a tensor; numbers become constants, recipes are realised in an init.
    pub(super) fn tensor(&mut self, value: Value, place: Place) -> Eval<Tensor> {
        match value {
            Value::Tensor(t) => Ok(t),
            Value::Number(x) => self.constant(x, place),
            Value::Recipe(r) if self.in_init() => self.realise(&r),
            Value::Recipe(r) => self.fail(errors::draw_outside_init(r.place)),
            Value::Error | Value::Unset => Err(Failed),
            Value::Tuple(_) => self.fail(errors::not_a_tensor(place, "a tuple", "unpack it: `let (a, b) = ...`")),
            Value::Record(fields) => {
                let names: Vec<&str> = fields.iter().map(|f| f.0.as_str()).collect();
                let help = format!("pick an output: `t.{}`", names.join("`, `t."));
                self.fail(errors::not_a_tensor(place, "a block with several outputs", &help))
            }
            Value::None => self.fail(errors::not_a_tensor(place, "`none`", "give a value")),
            Value::Axes(_) => self.fail(errors::not_a_tensor(
                place,
                "a list of axes",
                "lists of axes are options, such as `per = [H]`",
            )),
            Value::Word(w) => self.fail(errors::not_a_tensor(place, &format!("the word `{w}`"), "give a value")),
            Value::Tokens => self.fail(errors::not_a_tensor(place, "`tokens`", "write `embed[D](tokens)`")),
            Value::Shared(..) => self.fail(errors::not_a_tensor(place, "a shared instance", "apply it: `A(x)`")),
        }
    }

    /// Evaluates to a tensor.
    pub(super) fn eval_tensor(&mut self, frame: &mut Frame, e: ExprId) -> Eval<Tensor> {
        let value = self.eval(frame, e)?;
        self.tensor(value, frame.at(e))
    }

    pub(super) fn unary(&mut self, op: UnaryOp, x: Value, place: Place) -> Eval<Value> {
        match x {
            Value::Number(x) => {
                let row = op.row();
                let text = || format!("{}({})", row.name, written(x));
                self.finite(row.outside.0[0], op.of(x), &[x], text, place)
            }
            Value::Recipe(_) if !self.in_init() => Ok(recipe(RecipeOp::Of(Function::Unary(op)), vec![x], place)),
            x => {
                let t = self.tensor(x, place)?;
                let (axes, rate) = (t.axes.clone(), t.rate);
                self.make(Op::Unary(op), &[t], axes, rate, place).map(Value::Tensor)
            }
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, symbol: &str, a: Value, b: Value, place: Place) -> Eval<Value> {
        match (&a, &b) {
            (Value::Number(x), Value::Number(y)) => {
                let code = match op {
                    BinaryOp::Div | BinaryOp::Rem => "E0703",
                    BinaryOp::Pow => "E0704",
                    _ => "E0709",
                };
                return self.finite(
                    code,
                    op.of(*x, *y),
                    &[*x, *y],
                    || format!("{} {symbol} {}", written(*x), written(*y)),
                    place,
                );
            }
            (Value::Tensor(_), Value::Number(y)) if y.is_infinite() => {
                if let Some(known) = against_infinity(op, *y) {
                    return Ok(Value::Number(known));
                }
            }
            (Value::Recipe(_), _) | (_, Value::Recipe(_)) if !self.in_init() => {
                return Ok(recipe(RecipeOp::Of(Function::Binary(op)), vec![a, b], place));
            }
            _ => {}
        }
        let operands = [self.tensor(a, place)?, self.tensor(b, place)?];
        let outer = matches!(op, BinaryOp::Mul | BinaryOp::Div);
        let (axes, rate) = self.broadcast(symbol, outer, &operands, place)?;
        self.make(Op::Binary(op), &operands, axes, rate, place).map(Value::Tensor)
    }

    /// Checks a number computed now: the result of finite numbers must be finite, unless the branch is not taken.
    fn finite(
        &mut self,
        code: &'static str,
        result: f64,
        operands: &[f64],
        text: impl Fn() -> String,
        place: Place,
    ) -> Eval<Value> {
        if result.is_finite() || self.not_taken || operands.iter().any(|x| !x.is_finite()) {
            return Ok(Value::Number(result));
        }
        self.fail(errors::constant_not_finite(place, code, &text(), result))
    }

    pub(super) fn select(&mut self, c: Value, a: Value, b: Value, place: Place) -> Eval<Value> {
        if let Value::Number(c) = c {
            return Ok(if c != 0.0 { a } else { b });
        }
        if !self.in_init() && [&c, &a, &b].iter().any(|x| matches!(x, Value::Recipe(_))) {
            return Ok(recipe(RecipeOp::Of(Function::Select), vec![c, a, b], place));
        }
        let operands = [self.tensor(c, place)?, self.tensor(a, place)?, self.tensor(b, place)?];
        let (axes, rate) = self.broadcast("select", false, &operands, place)?;
        self.make(Op::Select, &operands, axes, rate, place).map(Value::Tensor)
    }

    /// Applies an operator as written.
    pub(super) fn operator(
        &mut self,
        frame: &mut Frame,
        e: ExprId,
        op: ast::BinaryOp,
        a: ExprId,
        b: ExprId,
    ) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.eval(frame, a)?;
        let y = self.eval(frame, b)?;
        let graph_op = match op {
            ast::BinaryOp::Pow => {
                // only a literal keeps the sign rule readable: x ^ 2, x ^ -1
                if let (Some(n), Value::Tensor(_) | Value::Recipe(_)) = (integer_literal(frame, b), &x) {
                    return self.unary(UnaryOp::Powi(n), x, place);
                }
                BinaryOp::Pow
            }
            ast::BinaryOp::Mul => BinaryOp::Mul,
            ast::BinaryOp::Div => BinaryOp::Div,
            ast::BinaryOp::Rem => BinaryOp::Rem,
            ast::BinaryOp::Add => BinaryOp::Add,
            ast::BinaryOp::Sub => BinaryOp::Sub,
            ast::BinaryOp::Eq => BinaryOp::Eq,
            ast::BinaryOp::Ne => BinaryOp::Ne,
            ast::BinaryOp::Lt => BinaryOp::Lt,
            ast::BinaryOp::Le => BinaryOp::Le,
            ast::BinaryOp::Gt => BinaryOp::Gt,
            ast::BinaryOp::Ge => BinaryOp::Ge,
            ast::BinaryOp::And => BinaryOp::Min,
            ast::BinaryOp::Or => BinaryOp::Max,
        };
        self.binary(graph_op, op.symbol(), x, y, place)
    }

    /// Applies a recipe's function to its operands.
    pub(super) fn applied(&mut self, function: Function, operands: Vec<Value>, place: Place) -> Eval<Value> {
        let mut operands = operands.into_iter();
        let mut next = || operands.next().unwrap_or(Value::Error);
        match function {
            Function::Unary(op) => self.unary(op, next(), place),
            Function::Binary(op) => self.binary(op, "this operator", next(), next(), place),
            Function::Select => self.select(next(), next(), next(), place),
        }
    }

    /// The tensor of a recipe, for the parameter whose init is being built; the same at each occurrence in it.
    fn realise(&mut self, recipe: &Rc<Recipe>) -> Eval<Tensor> {
        let key = Rc::as_ptr(recipe) as usize;
        if let Some(t) = self.contexts.last().and_then(|c| c.realised.get(&key)) {
            return Ok(t.clone());
        }
        let value = match recipe.op {
            RecipeOp::Draw(draw) => {
                let arguments = recipe.operands.clone();
                Value::Tensor(self.draw(draw, arguments, recipe.place)?)
            }
            RecipeOp::Fan => Value::Tensor(self.fan(recipe.place)?),
            RecipeOp::Of(function) => self.applied(function, recipe.operands.clone(), recipe.place)?,
        };
        let tensor = self.tensor(value, recipe.place)?;
        if let Some(context) = self.contexts.last_mut() {
            context.realised.insert(key, tensor.clone());
        }
        Ok(tensor)
    }
}

/// Text of a number as a person writes it.
fn written(x: f64) -> String {
    if x != 0.0 && !(1e-4..1e7).contains(&x.abs()) { format!("{x:e}") } else { format!("{x}") }
}

/// A recipe as a value.
pub(super) fn recipe(op: RecipeOp, operands: Vec<Value>, place: Place) -> Value {
    Value::Recipe(Rc::new(Recipe { op, operands, place }))
}

/// Exponent of `x ^ n`, if n is an integer literal, possibly signed.
fn integer_literal(frame: &Frame, e: ExprId) -> Option<i32> {
    let value = match frame.module.expr(e).kind {
        ExprKind::Number(x) => x,
        ExprKind::Unary(ast::UnaryOp::Neg, x) => match frame.module.expr(x).kind {
            ExprKind::Number(x) => -x,
            _ => return None,
        },
        _ => return None,
    };
    (value.fract() == 0.0 && value.abs() <= 64.0).then_some(value as i32)
}

/// Result of a comparison of a finite value with an infinity.
fn against_infinity(op: BinaryOp, y: f64) -> Option<f64> {
    let below = y > 0.0;
    match op {
        BinaryOp::Lt | BinaryOp::Le => Some(f64::from(below)),
        BinaryOp::Gt | BinaryOp::Ge => Some(f64::from(!below)),
        BinaryOp::Eq => Some(0.0),
        BinaryOp::Ne => Some(1.0),
        _ => None,
    }
}
