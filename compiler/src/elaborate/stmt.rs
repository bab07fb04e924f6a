//! Elaboration of statements.

use super::value::{Frame, Slot, Tensor, Value};
use super::{Elaborator, Eval, Failed, errors};
use crate::graph::{AxisId, Input, Op, Output, ParamKind, Rate};
use crate::hir::{BoundBrackets, CallableKind, ExprId, ExprKind, LocalId, Stmt, StmtKind, emits};
use std::rc::Rc;

/// An emit of a branch.
struct Emitted {
    local: LocalId,
    axes: String,
}

impl Elaborator<'_> {
    /// Runs statements in order. A failing statement poisons its bindings; the rest is still checked.
    pub(super) fn run(&mut self, frame: &mut Frame, body: &[Stmt]) -> Eval<()> {
        let mut outcome = Ok(());
        for stmt in body {
            if self.stmt(frame, stmt).is_err() {
                outcome = Err(Failed);
                poison(frame, stmt);
                poison_axes(frame, stmt);
                if self.nodes > super::MAX_NODES {
                    break;
                }
            }
        }
        outcome
    }

    /// Runs statements in order, with a scope for axes.
    pub(super) fn run_scoped(&mut self, frame: &mut Frame, body: &[Stmt]) -> Eval<()> {
        frame.axes.push(Default::default());
        let done = self.run(frame, body);
        frame.axes.pop();
        done
    }

    pub(super) fn stmt(&mut self, frame: &mut Frame, stmt: &Stmt) -> Eval<()> {
        let place = frame.place(stmt.span);
        match &stmt.kind {
            StmtKind::Input { local, axes } => self.input(frame, *local, axes),
            StmtKind::Axis { name, size } => {
                let size = self.size(frame, *size)?;
                self.declare_axis(frame, name, size, None).map(|_| ())
            }
            StmtKind::Let { targets, axes, values } => {
                let results = self.each_value(frame, targets, values)?;
                for (local, v) in targets.iter().zip(results) {
                    self.check_axes(frame, &v, axes.as_ref(), values[0])?;
                    self.name_node(&v, frame.name(*local));
                    frame.set(*local, v);
                }
                Ok(())
            }
            StmtKind::Mut { local, axes, value } => {
                frame.bind_local(*local);
                let mut v = self.eval(frame, *value)?;
                if let Some(b) = axes {
                    let declared = self.plain_axes(frame, b)?;
                    v = self.repeated(v, &declared, frame.at(*value))?;
                    frame.declared.insert(*local, declared);
                }
                self.check_axes(frame, &v, axes.as_ref(), *value)?;
                self.name_node(&v, frame.name(*local));
                frame.set(*local, v);
                Ok(())
            }
            StmtKind::Assign { targets, values } => self.assign(frame, targets, values),
            StmtKind::Param { local, axes, init } => {
                let name = frame.name(*local).to_string();
                frame.bind(&name);
                let axes = match axes {
                    Some(b) => self.plain_axes(frame, b)?,
                    None => Vec::new(),
                };
                let t = self.param_statement(frame, &name, axes, ParamKind::Free, *init, place)?;
                frame.set(*local, Value::Tensor(t));
                Ok(())
            }
            StmtKind::Scan(body) => self.scan(frame, body, place),
            StmtKind::Attend(body) => self.attend(frame, body, place),
            // handled when the scan was opened
            StmtKind::State { .. } => Ok(()),
            StmtKind::Emit { local, value } => {
                frame.bind_local(*local);
                let t = self.eval_tensor(frame, *value)?;
                frame.emits.push((*local, t));
                Ok(())
            }
            StmtKind::For { index, from, to, body } => {
                let (from, to) = (self.size(frame, *from)?, self.size(frame, *to)?);
                let suffix = frame.suffix.clone();
                let mut i = from;
                let mut outcome = Ok(());
                while i < to && outcome.is_ok() {
                    self.count_step(place)?;
                    frame.suffix = format!("{suffix}.{i}");
                    frame.set(*index, Value::Number(i));
                    outcome = self.run_scoped(frame, body);
                    i += 1.0;
                }
                frame.suffix = suffix;
                outcome
            }
            StmtKind::If { arms, otherwise } => {
                let mut taken = otherwise;
                for (condition, body) in arms {
                    if self.real(frame, *condition)? != 0.0 {
                        taken = body;
                        break;
                    }
                }
                if !emits(taken) {
                    return self.run_scoped(frame, taken);
                }
                let others = arms.iter().map(|(_, body)| body).chain([otherwise]).filter(|b| !std::ptr::eq(*b, taken));
                let others: Vec<Emitted> = others.flat_map(|body| self.would_emit(frame, body)).collect();
                let before = frame.emits.len();
                self.run_scoped(frame, taken)?;
                self.check_branches(frame, before, &others)
            }
            StmtKind::Prefix { local, axes, init } => self.prefix_statement(frame, *local, axes, *init),
            StmtKind::Shared { local, call } => {
                let name = frame.name(*local).to_string();
                let path = super::value::join(&[&frame.prefix, &format!("{name}{}", frame.suffix)]);
                frame.set(*local, Value::Shared(*call, path));
                Ok(())
            }
            StmtKind::Loss(e) => {
                frame.bind("loss");
                let was = std::mem::replace(&mut self.in_loss, true);
                let value = self.eval_tensor(frame, *e);
                self.in_loss = was;
                let value = value?;
                if value.level != 0 {
                    return self.fail(errors::state_dependent(place));
                }
                self.graph.losses.push(value.node);
                Ok(())
            }
            StmtKind::Output { name, value } => {
                let bound = name.as_ref().map_or("output", |n| n.name.as_str()).to_string();
                frame.bind(&bound);
                let t = self.eval_tensor(frame, *value)?;
                self.output(frame, bound, t, *value)
            }
            StmtKind::Return(values) => {
                frame.bind("");
                let results = values.iter().map(|v| self.eval(frame, *v)).collect::<Eval<Vec<_>>>()?;
                frame.results.extend(results.into_iter().map(|v| (String::new(), v)));
                Ok(())
            }
            // The attend itself reads these.
            StmtKind::Where(_) | StmtKind::Score(_) | StmtKind::Weight(_) | StmtKind::Sink(_) => Ok(()),
        }
    }

    /// Emits of a branch that is not taken; nothing if it is invalid at these sizes, for which it was not meant.
    fn would_emit(&mut self, frame: &Frame, body: &[Stmt]) -> Vec<Emitted> {
        let (saved, mut frame) = (self.clone(), frame.clone());
        let slots = frame.axes.iter().flat_map(|scope| scope.values());
        let open: Vec<_> = slots
            .filter_map(|slot| match slot {
                Slot::Open(_, made) if made.get().is_none() => Some(Rc::clone(made)),
                _ => None,
            })
            .collect();
        frame.emits.clear();
        let done = self.run_scoped(&mut frame, body);
        let emits = frame.emits.iter().map(|(local, t)| Emitted { local: *local, axes: self.axes_text(&t.axes) });
        let emits = if done.is_ok() { emits.collect() } else { Vec::new() };
        *self = saved;
        open.iter().for_each(|made| made.set(None));
        emits
    }

    /// Checks that all branches emit values of the same axes.
    fn check_branches(&mut self, frame: &Frame, before: usize, others: &[Emitted]) -> Eval<()> {
        for (local, t) in &frame.emits[before..] {
            let own = self.axes_text(&t.axes);
            if let Some(other) = others.iter().find(|o| o.local == *local && o.axes != own) {
                let place = frame.place(frame.callable.locals[local.0 as usize].span);
                let (name, other) = (frame.name(*local).to_string(), other.axes.clone());
                return self.fail(errors::emit_axes(place, &name, &own, &other));
            }
        }
        Ok(())
    }

    /// Counts a step of a loop: loops cost work even if their bodies add no nodes.
    fn count_step(&mut self, place: crate::source::Place) -> Eval<()> {
        self.nodes += 1;
        if self.nodes > super::MAX_NODES {
            return self.fail(errors::too_large(place));
        }
        Ok(())
    }

    fn input(&mut self, frame: &mut Frame, local: LocalId, axes: &BoundBrackets) -> Eval<()> {
        let axes = self.plain_axes(frame, axes)?;
        let name = frame.name(local).to_string();
        let place = frame.place(frame.callable.locals[local.0 as usize].span);
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        let tensor = if self.calls.len() == 1 {
            let index = self.graph.inputs.len();
            self.graph.inputs.push(Input { name: name.clone(), axes: axes.clone() });
            self.make(Op::Input(index), &[], axes, Rate::Token, place)?
        } else {
            let given = frame.inputs.remove(0);
            if given.axes != sorted {
                let (own, has) = (self.axes_text(&axes), self.axes_text(&given.axes));
                let call = self.calls.last().map_or(place, |(_, p)| *p);
                return self.fail(errors::other_axes(call, &format!("input `{name}`"), &own, &has));
            }
            given
        };
        let value = Value::Tensor(tensor);
        self.name_node(&value, &name);
        frame.set(local, value);
        Ok(())
    }

    fn assign(&mut self, frame: &mut Frame, targets: &[LocalId], values: &[ExprId]) -> Eval<()> {
        let results = self.each_value(frame, targets, values)?;
        for (i, (local, value)) in targets.iter().zip(results).enumerate() {
            let name = frame.name(*local).to_string();
            let at = frame.at(values[i.min(values.len() - 1)]);
            let value = match frame.declared.get(local).cloned() {
                Some(axes) => self.state_value(value, &axes, &name, at)?,
                None => value,
            };
            self.name_node(&value, &name);
            frame.set(*local, value);
        }
        Ok(())
    }

    /// A value for each target: one each, or a tuple of them. All are computed before the first is bound.
    fn each_value(&mut self, frame: &mut Frame, targets: &[LocalId], values: &[ExprId]) -> Eval<Vec<Value>> {
        frame.bind_local(targets[0]);
        if targets.len() > 1 && values.len() == 1 {
            return self.unpack(frame, values[0], targets.len());
        }
        if targets.len() != values.len() {
            let last = frame.at(values[values.len() - 1]);
            return self.fail(errors::tuple_length(last, targets.len(), values.len()));
        }
        let each = targets.iter().zip(values);
        each.map(|(local, value)| {
            frame.bind_local(*local);
            self.eval(frame, *value)
        })
        .collect()
    }

    /// Values of a tuple with `n` entries.
    fn unpack(&mut self, frame: &mut Frame, e: ExprId, n: usize) -> Eval<Vec<Value>> {
        match self.eval(frame, e)? {
            Value::Tuple(values) if values.len() == n => Ok(values),
            Value::Tuple(values) => self.fail(errors::tuple_length(frame.at(e), n, values.len())),
            _ => self.fail(errors::tuple_length(frame.at(e), n, 1)),
        }
    }

    fn prefix_statement(&mut self, frame: &mut Frame, local: LocalId, axes: &BoundBrackets, init: ExprId) -> Eval<()> {
        let axes = self.plain_axes(frame, axes)?;
        let ident = archc_grammar::ast::Ident {
            name: frame.name(local).to_string(),
            span: frame.callable.locals[local.0 as usize].span,
        };
        let t = self.prefix(frame, &ident, axes, init)?;
        frame.set(local, Value::Tensor(t));
        Ok(())
    }

    fn output(&mut self, frame: &mut Frame, name: String, t: Tensor, e: ExprId) -> Eval<()> {
        let place = frame.at(e);
        let model = frame.callable.kind == CallableKind::Model;
        let allowed: Vec<AxisId> = if model {
            self.graph.vocab.into_iter().collect()
        } else {
            let brackets = frame.callable.axes.clone();
            let terms = brackets.iter().flat_map(|b| &b.left).flat_map(|s| &s.terms);
            terms.map(|t| self.axis(frame, &t.name)).collect::<Eval<_>>()?
        };
        if t.axes.iter().any(|a| !allowed.contains(a)) || model && t.axes != allowed {
            let (has, own) = (self.axes_text(&t.axes), self.axes_text(&allowed));
            return self.fail(if model {
                errors::model_output(place, &has)
            } else {
                errors::output_axes(place, &own, &has, &frame.text(e))
            });
        }
        if t.level != 0 {
            return self.fail(errors::state_dependent(place));
        }
        if self.calls.len() == 1 {
            let axes = self.declared_order(t.axes.clone());
            self.name_node(&Value::Tensor(t.clone()), &name);
            self.graph.outputs.push(Output { name: name.clone(), value: t.node, axes });
        }
        frame.results.push((name, Value::Tensor(t)));
        Ok(())
    }

    /// A value without axes, broadcast along the declared ones.
    fn repeated(&mut self, value: Value, declared: &[AxisId], place: crate::source::Place) -> Eval<Value> {
        match value {
            Value::Number(x) if !declared.is_empty() => {
                let one = self.constant(x, place)?;
                self.expanded(one, declared, place).map(Value::Tensor)
            }
            Value::Tensor(t) if t.axes.is_empty() => self.expanded(t, declared, place).map(Value::Tensor),
            value => Ok(value),
        }
    }

    /// Checks the axes of `let name[AXES] = ...`; values are never coerced.
    fn check_axes(&mut self, frame: &Frame, value: &Value, axes: Option<&BoundBrackets>, e: ExprId) -> Eval<()> {
        let Some(brackets) = axes else { return Ok(()) };
        let declared = self.plain_axes(frame, brackets)?;
        let own = match value {
            Value::Tensor(t) => t.axes.clone(),
            Value::Number(_) => Vec::new(),
            _ => return Ok(()),
        };
        let mut sorted = declared.clone();
        sorted.sort_unstable();
        if own == sorted {
            return Ok(());
        }
        let (declared, has) = (self.axes_text(&declared), self.axes_text(&own));
        self.fail(errors::declared_axes(frame.at(e), frame.place(brackets.syntax.span), &declared, &has))
    }
}

/// Marks the bindings of a failed statement as errors.
fn poison(frame: &mut Frame, stmt: &Stmt) {
    match &stmt.kind {
        StmtKind::Let { targets, .. } | StmtKind::Assign { targets, .. } => {
            targets.iter().for_each(|l| frame.set(*l, Value::Error));
        }
        StmtKind::Input { local, .. }
        | StmtKind::Mut { local, .. }
        | StmtKind::Param { local, .. }
        | StmtKind::Emit { local, .. }
        | StmtKind::State { local, .. }
        | StmtKind::Prefix { local, .. }
        | StmtKind::Shared { local, .. } => frame.set(*local, Value::Error),
        StmtKind::Axis { name, .. } => {
            if let Some(scope) = frame.axes.last_mut() {
                scope.insert(name.name.clone(), Slot::Error);
            }
        }
        StmtKind::Scan(body) | StmtKind::Attend(body) | StmtKind::For { body, .. } => {
            body.iter().for_each(|s| poison(frame, s));
        }
        StmtKind::If { arms, otherwise } => {
            arms.iter().flat_map(|(_, b)| b).chain(otherwise).for_each(|s| poison(frame, s));
        }
        _ => {}
    }
}

/// Marks the axes that a failed statement would have declared as errors, so that they are not unknown.
fn poison_axes(frame: &mut Frame, stmt: &Stmt) {
    let mut open: Vec<ExprId> = match &stmt.kind {
        StmtKind::Mut { value, .. } | StmtKind::Emit { value, .. } => vec![*value],
        StmtKind::Let { values, .. } | StmtKind::Assign { values, .. } => values.clone(),
        _ => return,
    };
    let module = std::sync::Arc::clone(&frame.module);
    while let Some(e) = open.pop() {
        match &module.expr(e).kind {
            ExprKind::Unary(_, x) | ExprKind::Field(x, _) | ExprKind::Pick { base: x, .. } => open.push(*x),
            ExprKind::Binary(_, a, b) => open.extend([*a, *b]),
            ExprKind::Call(call) => {
                open.extend(call.args.iter().map(|a| a.value));
                let syntax = call.brackets.iter().map(|b| &b.syntax);
                let sums = syntax.flat_map(|b| b.left.iter().chain(b.right.iter().flatten()));
                for term in sums.flat_map(|sum| &sum.terms) {
                    let name = &term.name.name;
                    if !frame.axes.iter().any(|scope| scope.contains_key(name))
                        && let Some(scope) = frame.axes.last_mut()
                    {
                        scope.insert(name.clone(), Slot::Error);
                    }
                }
            }
            _ => {}
        }
    }
}
