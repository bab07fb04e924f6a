//! Evaluation of expressions and built-in functions, one arm each.

use super::elementwise::recipe;
use super::value::{Frame, RecipeOp, Value};
use super::{Elaborator, Eval, errors};
use crate::graph::{AnnealShape, AxisId, BinaryOp, Draw, Op, Rate, ReduceOp, UnaryOp};
use crate::hir::{Builtin, Call, Callee, ExprId, ExprKind, TypeNote};
use crate::ops::OfOne;
use archc_grammar::ast;

impl Elaborator<'_> {
    /// Evaluates an expression; records its type if it belongs to the target.
    pub(super) fn eval(&mut self, frame: &mut Frame, e: ExprId) -> Eval<Value> {
        let value = self.eval_kind(frame, e)?;
        if self.is_target(frame) {
            let note = match &value {
                Value::Tensor(t) => {
                    let axes = self.declared_order(t.axes.clone());
                    Some(TypeNote {
                        sizes: axes.iter().map(|a| self.graph.size(*a)).collect(),
                        axes: axes.iter().map(|a| self.graph.axis(*a).name.clone()).collect(),
                        token: t.rate != Rate::Fixed,
                        inner: t.level != 0,
                    })
                }
                _ => None,
            };
            if let Some(note) = note {
                self.types.insert(e, note);
            }
        }
        match value {
            Value::Error | Value::Unset => Err(super::Failed),
            value => Ok(value),
        }
    }

    /// Evaluates an expression that may be left out: then its numbers need not be finite.
    fn eval_where(&mut self, frame: &mut Frame, e: ExprId, left_out: bool) -> Eval<Value> {
        let was = self.not_taken;
        self.not_taken |= left_out;
        let value = self.eval(frame, e);
        self.not_taken = was;
        value
    }

    fn eval_kind(&mut self, frame: &mut Frame, e: ExprId) -> Eval<Value> {
        let module = std::sync::Arc::clone(&frame.module);
        let place = frame.at(e);
        match &module.expr(e).kind {
            ExprKind::Number(x) => Ok(Value::Number(*x)),
            ExprKind::Local(local) => Ok(frame.locals[local.0 as usize].clone()),
            ExprKind::AxisSize(name) => self.axis_size(frame, name, e).map(Value::Number),
            ExprKind::Word(word) => Ok(Value::Word(word.clone())),
            ExprKind::Unary(op, x) => {
                let x = self.eval(frame, *x)?;
                match op {
                    ast::UnaryOp::Neg => self.unary(UnaryOp::Neg, x, place),
                    ast::UnaryOp::Not => self.unary(UnaryOp::Not, x, place),
                }
            }
            ExprKind::Binary(op, a, b) => self.operator(frame, e, *op, *a, *b),
            ExprKind::Call(call) if call.brackets.as_ref().is_some_and(|b| b.is_empty()) => {
                self.fail(errors::empty_brackets(place, &call.name.name))
            }
            ExprKind::Call(call) => match call.callee {
                Callee::Builtin(builtin) => self.builtin(frame, e, call, builtin),
                Callee::Item(item) => self.call_item(frame, e, call, item),
                Callee::Shared(local) => self.call_shared(frame, e, call, local),
            },
            ExprKind::Pick { base, axis, at } => self.pick(frame, e, *base, axis, *at),
            ExprKind::Labels { axis, entries } => self.labels(frame, e, axis, entries),
            ExprKind::Field(base, name) => match self.eval(frame, *base)? {
                Value::Record(fields) => match fields.iter().find(|(n, _)| *n == name.name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => {
                        let names: Vec<&str> = fields.iter().map(|f| f.0.as_str()).collect();
                        self.fail(errors::unknown_field(frame.place(name.span), &name.name, &names))
                    }
                },
                _ => self.fail(errors::no_fields(frame.at(*base), &name.name)),
            },
            ExprKind::AxisList(brackets) => self.plain_axes(frame, brackets).map(Value::Axes),
            ExprKind::Error => Ok(Value::Error),
        }
    }

    fn builtin(&mut self, frame: &mut Frame, e: ExprId, call: &Call, builtin: Builtin) -> Eval<Value> {
        let place = frame.at(e);
        match builtin {
            Builtin::Unary(op) => {
                self.no_brackets(frame, call)?;
                let x = self.values(frame, call, &["x"], 1)?.remove(0);
                self.unary(op, x, place)
            }
            Builtin::MinMax { max } if call.brackets.is_some() => {
                self.reduce(frame, call, e, if max { ReduceOp::Max } else { ReduceOp::Min })
            }
            Builtin::MinMax { max } => {
                let mut values = self.values(frame, call, &["a", "b"], 2)?;
                let (b, a) = (values.remove(1), values.remove(0));
                self.binary(if max { BinaryOp::Max } else { BinaryOp::Min }, &call.name.name, a, b, place)
            }
            Builtin::Clamp => {
                self.no_brackets(frame, call)?;
                let mut values = self.values(frame, call, &["x", "low", "high"], 3)?;
                let (high, low, x) = (values.remove(2), values.remove(1), values.remove(0));
                let raised = self.binary(BinaryOp::Max, "clamp", x, low, place)?;
                self.binary(BinaryOp::Min, "clamp", raised, high, place)
            }
            Builtin::Select => {
                self.no_brackets(frame, call)?;
                let slots = self.arguments(frame, call, &["c", "a", "b"], 3)?;
                let [Some(c), Some(a), Some(b)] = slots[..] else { return Err(super::Failed) };
                let c = self.eval(frame, c)?;
                // a condition that is known now excludes one of them
                let left_out = |taken: bool| matches!(&c, Value::Number(c) if (*c != 0.0) != taken);
                let a = self.eval_where(frame, a, left_out(true))?;
                let b = self.eval_where(frame, b, left_out(false))?;
                self.select(c, a, b, place)
            }
            Builtin::Reduce(op) => self.reduce(frame, call, e, op),
            Builtin::Softmax => {
                let (x, axes) = self.over_axes(frame, call)?;
                if axes.is_empty() {
                    return Ok(Value::Number(1.0));
                }
                let (all, rate) = (x.axes.clone(), x.rate);
                self.make(Op::Softmax(axes), &[x], all, rate, place).map(Value::Tensor)
            }
            Builtin::Sparsemax | Builtin::Cumsum | Builtin::Sort => {
                let (x, axes) = self.over_axes(frame, call)?;
                let [axis] = axes[..] else {
                    return self.fail(errors::one_axis(place, &call.name.name));
                };
                let op = match builtin {
                    Builtin::Sparsemax => Op::Sparsemax(axis),
                    Builtin::Cumsum => Op::Cumsum(axis),
                    _ => Op::Sort(axis),
                };
                let (all, rate) = (x.axes.clone(), x.rate);
                self.make(op, &[x], all, rate, place).map(Value::Tensor)
            }
            Builtin::TopK => {
                let slots = self.arguments(frame, call, &["x", "n"], 2)?;
                let (Some(x), Some(n)) = (slots[0], slots[1]) else { return Err(super::Failed) };
                let tensor = self.eval_tensor(frame, x)?;
                let brackets = self.need_axes(frame, call, &tensor)?;
                let axes = self.plain_axes(frame, brackets)?;
                let [axis] = axes[..] else {
                    return self.fail(errors::one_axis(place, "topk"));
                };
                self.need_axis(&tensor, axis, frame, x)?;
                let count = self.size(frame, n)?;
                let size = self.graph.size(axis);
                if !(1.0..=size as f64).contains(&count) {
                    return self.fail(errors::topk_count(frame.at(n), count, size));
                }
                let (all, rate) = (tensor.axes.clone(), tensor.rate);
                self.make(Op::TopK(axis, count as usize), &[tensor], all, rate, place).map(Value::Tensor)
            }
            Builtin::Index => self.index(frame, call),
            Builtin::Stack => self.stack(frame, call, e),
            Builtin::Split => self.split(frame, call, e),
            Builtin::Flatten => self.flatten(frame, call, e),
            Builtin::Cat => self.cat(frame, call, e),
            Builtin::Cut => self.cut(frame, call, e),
            Builtin::Expand => self.expand(frame, call, e),
            Builtin::Rename => self.rename(frame, call, e),
            Builtin::Linear => self.linear(frame, call, e),
            Builtin::Embed => self.embed(frame, call, e),
            Builtin::Head => self.head(frame, call, e),
            Builtin::Dropout => self.dropout(frame, call, e),
            Builtin::StopGrad => {
                self.no_brackets(frame, call)?;
                let x = self.only(frame, call)?;
                let (axes, rate) = (x.axes.clone(), x.rate);
                self.make(Op::StopGrad, &[x], axes, rate, place).map(Value::Tensor)
            }
            Builtin::Anneal => self.anneal(frame, call, e),
            Builtin::TokenMean => {
                if !self.in_loss {
                    return self.fail(errors::only_in_loss(place));
                }
                let x = self.only(frame, call)?;
                let axes = x.axes.clone();
                self.make(Op::TokenMean, &[x], axes, Rate::Fixed, place).map(Value::Tensor)
            }
            Builtin::Window => self.window(frame, call, e),
            Builtin::Past => self.past(frame, call, e),
            Builtin::Lag => {
                self.leaf(frame, call)?;
                if !self.in_attend() {
                    return self.fail(errors::only_in_attend(place, "lag"));
                }
                self.make_inner(Op::Lag, Vec::new(), Rate::Pair, place).map(Value::Tensor)
            }
            Builtin::Pos => {
                self.leaf(frame, call)?;
                self.make(Op::Pos, &[], Vec::new(), Rate::Token, place).map(Value::Tensor)
            }
            Builtin::Step => {
                self.leaf(frame, call)?;
                self.make(Op::Step, &[], Vec::new(), Rate::Fixed, place).map(Value::Tensor)
            }
            Builtin::Tokens => {
                self.leaf(frame, call)?;
                if self.graph.vocab.is_none() {
                    return self.fail(errors::only_in_models(place, "tokens"));
                }
                Ok(Value::Tokens)
            }
            Builtin::Number(x) => self.leaf(frame, call).map(|()| Value::Number(x)),
            Builtin::None => self.leaf(frame, call).map(|()| Value::None),
            Builtin::Fan => {
                self.leaf(frame, call)?;
                if self.in_init() {
                    return self.fan(place).map(Value::Tensor);
                }
                Ok(recipe(RecipeOp::Fan, Vec::new(), place))
            }
            Builtin::Draw(Draw::Eye) if call.brackets.is_some() => self.eye(frame, call),
            Builtin::Draw(draw) => {
                self.no_brackets(frame, call)?;
                let names: &[&str] = match draw {
                    Draw::Normal => &["std"],
                    Draw::Uniform | Draw::LogUniform => &["a", "b"],
                    Draw::Orthogonal => &["gain"],
                    Draw::Eye | Draw::Dirac => &[],
                };
                let required = if draw == Draw::Orthogonal { 0 } else { names.len() };
                let mut operands = self.values(frame, call, names, required)?;
                if draw == Draw::Orthogonal && operands.is_empty() {
                    operands.push(Value::Number(1.0));
                }
                if self.in_init() {
                    return self.draw(draw, operands, place).map(Value::Tensor);
                }
                Ok(recipe(RecipeOp::Draw(draw), operands, place))
            }
        }
    }

    /// Checks that a name has no arguments and brackets.
    fn leaf(&mut self, frame: &Frame, call: &Call) -> Eval<()> {
        self.no_brackets(frame, call)?;
        self.arguments(frame, call, &[], 0).map(|_| ())
    }

    /// Values of the present arguments, in order of `names`.
    fn values(&mut self, frame: &mut Frame, call: &Call, names: &[&str], required: usize) -> Eval<Vec<Value>> {
        let slots = self.arguments(frame, call, names, required)?;
        slots.into_iter().flatten().map(|e| self.eval(frame, e)).collect()
    }

    /// The value and the named axes of `op[A, B](x)`.
    fn over_axes(&mut self, frame: &mut Frame, call: &Call) -> Eval<(super::value::Tensor, Vec<AxisId>)> {
        let x = self.only(frame, call)?;
        let brackets = self.need_axes(frame, call, &x)?;
        let axes = self.plain_axes(frame, brackets)?;
        for axis in &axes {
            self.need_axis(&x, *axis, frame, call.args[0].value)?;
        }
        Ok((x, axes))
    }

    fn reduce(&mut self, frame: &mut Frame, call: &Call, e: ExprId, op: ReduceOp) -> Eval<Value> {
        let place = frame.at(e);
        let may_sample = matches!(op, ReduceOp::Var { .. } | ReduceOp::Std { .. });
        let names: &[&str] = if may_sample { &["x", "sample"] } else { &["x"] };
        let slots = self.arguments(frame, call, names, 1)?;
        let Some(arg) = slots[0] else { return Err(super::Failed) };
        let x = self.eval_tensor(frame, arg)?;
        let brackets = self.need_axes(frame, call, &x)?;
        let axes = self.plain_axes(frame, brackets)?;
        for axis in &axes {
            self.need_axis(&x, *axis, frame, arg)?;
        }
        let sample = match slots.get(1).copied().flatten() {
            Some(e) => self.real(frame, e)? != 0.0,
            None => false,
        };
        if sample && self.elements(&axes) < 2 {
            return self.fail(errors::sample_of_one(place));
        }
        let op = match op {
            ReduceOp::Var { .. } => ReduceOp::Var { sample },
            ReduceOp::Std { .. } => ReduceOp::Std { sample },
            op => op,
        };
        // an empty pack: each entry is alone
        if axes.is_empty() {
            return match op.row().of_one {
                OfOne::Itself => Ok(Value::Tensor(x)),
                OfOne::Size => self.unary(UnaryOp::Abs, Value::Tensor(x), place),
                OfOne::Zero => Ok(Value::Number(0.0)),
            };
        }
        let rest = x.axes.iter().copied().filter(|a| !axes.contains(a)).collect();
        let rate = x.rate;
        self.make(Op::Reduce(op, axes), &[x], rest, rate, place).map(Value::Tensor)
    }

    fn dropout(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        self.no_brackets(frame, call)?;
        let slots = self.arguments(frame, call, &["x", "p"], 2)?;
        let (Some(x), Some(p)) = (slots[0], slots[1]) else { return Err(super::Failed) };
        let x = self.eval_tensor(frame, x)?;
        let p_value = self.eval(frame, p)?;
        if let Value::Number(p_number) = p_value
            && !(0.0..1.0).contains(&p_number)
        {
            return self.fail(errors::dropout_rate(frame.at(p), p_number));
        }
        let p = self.tensor(p_value, place)?;
        if p.rate != Rate::Fixed || !p.axes.is_empty() {
            return self.fail(errors::fixed_scalar(place, "the rate of `dropout`"));
        }
        let path = self.site(frame, "dropout", call.pin.as_deref());
        let (axes, rate) = (x.axes.clone(), x.rate);
        self.make(Op::Dropout { path }, &[x, p], axes, rate, place).map(Value::Tensor)
    }

    fn anneal(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        self.no_brackets(frame, call)?;
        let slots = self.arguments(frame, call, &["a", "b", "steps", "start", "shape"], 3)?;
        let (Some(a), Some(b), Some(steps)) = (slots[0], slots[1], slots[2]) else { return Err(super::Failed) };
        let operands = [self.eval_tensor(frame, a)?, self.eval_tensor(frame, b)?];
        if operands.iter().any(|o| o.rate != Rate::Fixed) {
            return self.fail(errors::fixed_scalar(place, "an end of `anneal`"));
        }
        let steps = self.real(frame, steps)?;
        let start = slots[3].map_or(Ok(0.0), |e| self.real(frame, e))?;
        if !(steps >= 1.0 && start >= 0.0) {
            return self.fail(errors::anneal_steps(place, steps, start));
        }
        let shape = match slots[4].map(|e| &frame.module.expr(e).kind) {
            None => AnnealShape::Linear,
            Some(ExprKind::Word(w)) if w == "linear" => AnnealShape::Linear,
            Some(ExprKind::Word(w)) if w == "cosine" => AnnealShape::Cosine,
            Some(ExprKind::Word(w)) if w == "exp" => AnnealShape::Exp,
            Some(_) => return self.fail(errors::anneal_shape(place)),
        };
        let (axes, rate) = self.broadcast("anneal", false, &operands, place)?;
        self.make(Op::Anneal { steps, start, shape }, &operands, axes, rate, place).map(Value::Tensor)
    }

    fn window(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let brackets = self.need_brackets(frame, call, "window[W](x)")?;
        let axes = self.plain_axes(frame, brackets)?;
        let [axis] = axes[..] else {
            return self.fail(errors::one_axis(place, "window"));
        };
        let slots = self.arguments(frame, call, &["x", "step"], 1)?;
        let Some(x) = slots[0] else { return Err(super::Failed) };
        let x = self.eval_tensor(frame, x)?;
        let step = slots[1].map_or(Ok(1.0), |e| self.size(frame, e))?;
        if step < 1.0 {
            return self.fail(errors::window_step(place, step));
        }
        if x.level != 0 {
            return self.fail(errors::state_dependent(place));
        }
        if x.axes.contains(&axis) {
            let name = self.graph.axis(axis).name.clone();
            return self.fail(errors::axis_twice(place, &name));
        }
        let all = x.axes.iter().copied().chain([axis]).collect();
        self.make(Op::Window { axis, step: step as usize }, &[x], all, Rate::Token, place).map(Value::Tensor)
    }
}
