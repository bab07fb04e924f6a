//! Calls of fns and blocks, each inlined as a new instance.

use super::value::{Frame, Slot, Tensor, Value};
use super::{Elaborator, Eval, Failed, MIXER, errors};
use crate::graph::AxisId;
use crate::hir::{
    Argument, BoundBrackets, Call, CallableKind, ExprId, ExprKind, ItemRef, LocalId, Parameter, StmtKind,
};
use crate::source::Place;
use archc_grammar::ast::{AxisSum, AxisTerm};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

impl Elaborator<'_> {
    /// `f[AXES](args)`
    pub(super) fn call_item(&mut self, frame: &mut Frame, e: ExprId, call: &Call, item: ItemRef) -> Eval<Value> {
        self.instantiate(frame, e, item, call.brackets.as_ref(), &call.args, Instance::Fresh(call.pin.as_deref()))
    }

    /// `A(x)` for A made by `shared`: the call of the declaration, with these inputs.
    pub(super) fn call_shared(&mut self, frame: &mut Frame, e: ExprId, call: &Call, local: LocalId) -> Eval<Value> {
        let Value::Shared(declared, path) = frame.locals[local.0 as usize].clone() else { return Err(Failed) };
        let module = std::sync::Arc::clone(&frame.module);
        let ExprKind::Call(declaration) = &module.expr(declared).kind else {
            return self.fail(errors::shared_call(frame.at(declared)));
        };
        let crate::hir::Callee::Item(item) = declaration.callee else {
            return self.fail(errors::shared_call(frame.at(declared)));
        };
        if let Some(named) = call.args.iter().find_map(|a| a.name.as_ref()) {
            return self.fail(errors::shared_option(frame.place(named.span), &call.name.name));
        }
        let brackets = call.brackets.as_ref().or(declaration.brackets.as_ref());
        let arguments: Vec<Argument> = call.args.iter().chain(&declaration.args).cloned().collect();
        self.instantiate(frame, e, item, brackets, &arguments, Instance::Shared(path))
    }

    /// Starts to reuse the parameters and axes of the instance's first call.
    fn enter_shared(&mut self, path: &str) {
        // its own calls are numbered from one again, so that they find their parameters
        self.counters.retain(|key, _| !key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
        self.shared_axes.entry(path.to_string()).or_default().1 = 0;
        self.shared.push(path.to_string());
    }

    fn instantiate(
        &mut self,
        frame: &mut Frame,
        e: ExprId,
        item: ItemRef,
        brackets: Option<&BoundBrackets>,
        arguments: &[Argument],
        instance: Instance<'_>,
    ) -> Eval<Value> {
        let place = frame.at(e);
        let is_mixer = item == MIXER;
        let (item, module, callable) = self.callee(item);
        let name = callable.name.name.clone();
        if callable.kind == CallableKind::Model {
            return self.fail(errors::model_called(place, &name));
        }
        if self.calls.iter().any(|(i, _)| *i == item) {
            return self.fail(errors::recursion(place, &name));
        }
        let is_block = callable.kind == CallableKind::Block;
        let inputs = callable.body.iter().filter(|s| matches!(s.kind, StmtKind::Input { .. })).count();
        let params: Vec<Parameter> = callable.params.clone();

        // arguments first, in the order written
        let mut given: BTreeMap<usize, Value> = BTreeMap::new();
        let mut given_inputs = Vec::new();
        let mut positional = 0;
        for argument in arguments {
            let at = frame.at(argument.value);
            let index = match &argument.name {
                None if is_block => {
                    if given_inputs.len() == inputs {
                        return self.fail(errors::too_many_arguments(place, &name, inputs));
                    }
                    given_inputs.push(self.eval_tensor(frame, argument.value)?);
                    continue;
                }
                None if positional < params.len() => {
                    positional += 1;
                    positional - 1
                }
                None => return self.fail(errors::too_many_arguments(place, &name, params.len())),
                Some(n) => match params.iter().position(|p| p.name.name == n.name) {
                    Some(i) => i,
                    None if is_mixer && matches!(n.name.as_str(), "layer" | "depth") => continue,
                    None => {
                        let names: Vec<&str> = params.iter().map(|p| p.name.name.as_str()).collect();
                        return self.fail(errors::unknown_option(frame.place(n.span), &name, &n.name, &names));
                    }
                },
            };
            let value = if params[index].local.is_none() {
                Value::Number(self.size(frame, argument.value)?)
            } else if is_block {
                Value::Number(self.real(frame, argument.value)?)
            } else {
                self.eval(frame, argument.value)?
            };
            if given.insert(index, value).is_some() {
                return self.fail(errors::argument_twice(at, &name, &params[index].name.name));
            }
        }
        let called = || {
            let axes = brackets.map(|b| &b.syntax).or(callable.axes.as_ref());
            format!("{name}{}", axes.map(crate::hir::brackets_text).unwrap_or_default())
        };
        if is_block && given_inputs.len() < inputs {
            let names = callable.body.iter().filter_map(|s| match s.kind {
                StmtKind::Input { local, .. } => Some(callable.locals[local.0 as usize].name.as_str()),
                _ => None,
            });
            let names: Vec<&str> = names.collect();
            let line = format!("{}({})", called(), names.join(", "));
            let declared = crate::hir::signature(&module, &callable);
            let missing = format!("an input for its `{}`", names[given_inputs.len()]);
            return self.fail(errors::missing_input(place, &name, &missing, &line, &declared));
        }
        if is_mixer {
            for (i, p) in params.iter().enumerate() {
                if let Some(x) = self.sizes.set.get(&p.name.name) {
                    given.insert(i, Value::Number(*x));
                }
            }
        }

        let missing = params.iter().enumerate().filter(|(i, p)| p.default.is_none() && !given.contains_key(i));
        let missing: Vec<&str> = missing.map(|(_, p)| p.name.name.as_str()).collect();
        if let Some(first) = missing.first() {
            let line = frame.applied(&called(), arguments, &missing);
            let declared = crate::hir::signature(&module, &callable);
            return self.fail(errors::missing_argument(place, &name, first, &line, Some(&declared)));
        }

        let shared = matches!(instance, Instance::Shared(_));
        let prefix = match instance {
            Instance::Fresh(pin) => self.site(frame, &name, pin),
            Instance::Shared(path) => {
                self.enter_shared(&path);
                path
            }
        };
        let mut callee = Frame::new(module, callable.clone(), prefix);
        let mut visible: Vec<AxisId> = Vec::new();
        for value in given.values() {
            match value {
                Value::Tensor(t) => visible.extend(&t.axes),
                Value::Axes(axes) => visible.extend(axes),
                _ => {}
            }
        }
        let first: Option<Tensor> = match given.get(&0) {
            Some(Value::Tensor(t)) => Some(t.clone()),
            _ => None,
        };
        if let (None, false, Some(pattern)) = (brackets, is_block, &callable.axes) {
            let one = pattern.right.is_none() && pattern.left.iter().map(|sum| sum.terms.len()).sum::<usize>() == 1;
            let known = first.as_ref().filter(|_| one);
            let example = || frame.applied(&called(), arguments, &[]);
            return self.axes_not_named(frame, place, &name, arguments, known, example);
        }
        let bound = self.bind_brackets(frame, &mut callee, brackets, first.as_ref(), place);
        if shared && bound.is_err() {
            self.shared.pop();
        }
        visible.extend(bound?);
        self.calls.push((item, place));
        if is_block {
            let order = self.bracket_axes(&callee);
            self.orders.push(order);
        }
        callee.inputs = given_inputs;
        let result = self.run_callee(&mut callee, given, &visible, place, is_block);
        if is_block {
            self.orders.pop();
        }
        self.calls.pop();
        if shared {
            self.shared.pop();
        }
        result
    }

    fn run_callee(
        &mut self,
        callee: &mut Frame,
        mut given: BTreeMap<usize, Value>,
        visible: &[AxisId],
        place: Place,
        is_block: bool,
    ) -> Eval<Value> {
        let callable = std::sync::Arc::clone(&callee.callable);
        for (i, parameter) in callable.params.iter().enumerate() {
            self.bind_parameter(callee, parameter, given.remove(&i), place)?;
        }
        self.run(callee, &callable.body)?;
        let mut results = std::mem::take(&mut callee.results);
        if is_block {
            return Ok(if results.len() == 1 && results[0].0 == "output" {
                results.remove(0).1
            } else {
                Value::Record(results)
            });
        }
        // axes that the brackets left open and the fn has created are the caller's now
        let mut visible = visible.to_vec();
        visible.extend(self.bracket_axes(callee));
        // in an init, draws take the axes of the parameter
        visible.extend(self.init_axes());
        for (_, value) in &results {
            if let Value::Tensor(t) = value
                && let Some(stray) = t.axes.iter().find(|a| !visible.contains(a))
            {
                let stray = self.graph.axis(*stray).name.clone();
                return self.fail(errors::axis_escapes(place, &callable.name.name, &stray));
            }
        }
        let mut values: Vec<Value> = results.into_iter().map(|(_, v)| v).collect();
        Ok(if values.len() == 1 { values.remove(0) } else { Value::Tuple(values) })
    }

    /// Binds an argument or hyperparameter to its argument or its default.
    pub(super) fn bind_parameter(
        &mut self,
        frame: &mut Frame,
        parameter: &Parameter,
        given: Option<Value>,
        call: Place,
    ) -> Eval<()> {
        frame.bind("");
        match parameter.local {
            None => {
                let size = match (given, parameter.default) {
                    (Some(Value::Number(x)), _) => x,
                    (Some(_), _) => return Err(Failed),
                    (None, Some(default)) => self.size(frame, default)?,
                    (None, None) => return self.missing(frame, parameter, call),
                };
                self.declare_axis(frame, &parameter.name, size, None).map(|_| ())
            }
            Some(local) => {
                let value = match (given, parameter.default) {
                    (Some(value), _) => value,
                    (None, Some(default)) => self.eval(frame, default)?,
                    // the standard stack sets the index and number of layers; alone, a block is the only one
                    (None, None) => return self.missing(frame, parameter, call),
                };
                frame.set(local, value);
                Ok(())
            }
        }
    }

    fn missing(&mut self, frame: &Frame, parameter: &Parameter, call: Place) -> Eval<()> {
        self.fail(errors::not_set(call, &frame.callable.name.name, &parameter.name.name))
    }

    /// Binds the names of a callable's brackets to the caller's axes; returns those axes.
    fn bind_brackets(
        &mut self,
        caller: &mut Frame,
        callee: &mut Frame,
        brackets: Option<&BoundBrackets>,
        first: Option<&Tensor>,
        place: Place,
    ) -> Eval<Vec<AxisId>> {
        let Some(pattern) = callee.callable.axes.clone() else {
            return match brackets {
                None => Ok(Vec::new()),
                Some(b) => self.fail(errors::brackets_refused(caller.place(b.syntax.span), &callee.callable.name.name)),
            };
        };
        let Some(brackets) = brackets else {
            // By name.
            let mut axes = Vec::new();
            for term in pattern.left.iter().flat_map(|s| &s.terms) {
                let Some(Slot::Axis(axis)) = Self::slot(caller, &term.name.name) else {
                    return self.fail(errors::bind_by_name(place, &callee.callable.name.name, &term.name.name));
                };
                bind(callee, term, Slot::Axis(axis));
                axes.push(axis);
            }
            return Ok(axes);
        };
        let mut visible = Vec::new();
        match (&pattern.right, &brackets.syntax.right) {
            (None, None) => {
                self.bind_side(caller, callee, &pattern.left, &brackets.syntax.left, brackets, &mut visible)?
            }
            (Some(right), Some(given)) => {
                self.bind_side(caller, callee, &pattern.left, &brackets.syntax.left, brackets, &mut visible)?;
                self.bind_side(caller, callee, right, given, brackets, &mut visible)?;
            }
            // As with `linear[OUT](x)`: IN is the one axis of the first argument.
            (Some(right), None) => {
                let [axis] = first.map(|t| t.axes.as_slice()).unwrap_or_default() else {
                    return self.fail(errors::no_arrow(
                        caller.place(brackets.syntax.span),
                        &callee.callable.name.name,
                        "f[IN -> OUT](x)",
                    ));
                };
                for term in pattern.left.iter().flat_map(|s| &s.terms) {
                    bind(callee, term, if term.spread { Slot::Pack(vec![*axis]) } else { Slot::Axis(*axis) });
                }
                visible.push(*axis);
                self.bind_side(caller, callee, right, &brackets.syntax.left, brackets, &mut visible)?;
            }
            (None, Some(_)) => return self.fail(errors::arrow(caller.place(brackets.syntax.span))),
        }
        Ok(visible)
    }

    /// Binds one side of the brackets: single names take one axis each, the one pack takes the rest.
    fn bind_side(
        &mut self,
        caller: &mut Frame,
        callee: &mut Frame,
        pattern: &[AxisSum],
        given: &[AxisSum],
        brackets: &BoundBrackets,
        visible: &mut Vec<AxisId>,
    ) -> Eval<()> {
        let mut slots: Vec<Slot> = Vec::new();
        for term in given.iter().flat_map(|s| &s.terms) {
            let undeclared = !term.spread && Self::slot(caller, &term.name.name).is_none();
            if undeclared && callee.callable.kind == CallableKind::Fn {
                slots.push(open_slot(caller, term));
            } else {
                slots.extend(self.term(caller, term, brackets)?.into_iter().map(Slot::Axis));
            }
        }
        let terms: Vec<&AxisTerm> = pattern.iter().flat_map(|s| &s.terms).collect();
        let singles = terms.iter().filter(|t| !t.spread).count();
        let packs = terms.len() - singles;
        if slots.len() < singles || packs == 0 && slots.len() > singles {
            let name = callee.callable.name.name.clone();
            return self.fail(errors::bracket_count(
                caller.place(brackets.syntax.span),
                &name,
                singles,
                packs > 0,
                slots.len(),
            ));
        }
        let mut rest = slots.len() - singles;
        let mut slots = slots.into_iter();
        for term in terms {
            if !term.spread {
                let Some(slot) = slots.next() else { return Err(Failed) };
                if let Slot::Axis(a) = slot {
                    visible.push(a);
                }
                bind(callee, term, slot);
                continue;
            }
            let mut pack = Vec::new();
            for slot in slots.by_ref().take(std::mem::take(&mut rest)) {
                match slot {
                    Slot::Axis(a) => pack.push(a),
                    _ => return self.fail(errors::pack_of_open(caller.place(brackets.syntax.span))),
                }
            }
            visible.extend(&pack);
            bind(callee, term, Slot::Pack(pack));
        }
        Ok(())
    }

    /// Axes of a callable's brackets, as far as they are known.
    fn bracket_axes(&self, callee: &Frame) -> Vec<AxisId> {
        let Some(scope) = callee.axes.first() else { return Vec::new() };
        let pattern = callee.callable.axes.clone().unwrap_or_default();
        let terms = pattern.left.iter().chain(pattern.right.iter().flatten()).flat_map(|s| &s.terms);
        let mut axes = Vec::new();
        for term in terms {
            match scope.get(&term.name.name) {
                Some(Slot::Axis(a)) => axes.push(*a),
                Some(Slot::Pack(p)) => axes.extend(p),
                Some(Slot::Open(_, cell)) => axes.extend(cell.get()),
                Some(Slot::Error) | None => {}
            }
        }
        axes
    }
}

/// Origin of an instance's parameters.
enum Instance<'a> {
    /// Its own parameters, possibly with a pinned last part of their path.
    Fresh(Option<&'a str>),
    /// The parameters under this path.
    Shared(String),
}

fn bind(callee: &mut Frame, term: &AxisTerm, slot: Slot) {
    if let Some(scope) = callee.axes.first_mut() {
        scope.insert(term.name.name.clone(), slot);
    }
}

/// A name that the caller has not declared: the callee may create the axis.
fn open_slot(caller: &mut Frame, term: &AxisTerm) -> Slot {
    let open = caller.axes.iter().rev().find_map(|s| s.get(&term.name.name));
    if let Some(slot @ Slot::Open(..)) = open {
        return slot.clone();
    }
    let slot = Slot::Open(term.name.name.clone(), Rc::new(Cell::new(None)));
    if let Some(scope) = caller.axes.last_mut() {
        scope.insert(term.name.name.clone(), slot.clone());
    }
    slot
}
