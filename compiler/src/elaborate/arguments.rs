//! Positional arguments and named options of built-in functions.

use super::value::{Frame, Tensor, Value};
use super::{Elaborator, Eval, errors};
use crate::hir::{Argument, Call, ExprId};
use crate::source::Place;

/// Arguments of one call, checked against the function's signature.
pub struct Arguments {
    /// Positional arguments, in order.
    pub positional: Vec<ExprId>,
    /// Named options, in order.
    pub named: Vec<(String, ExprId)>,
}

impl Arguments {
    /// Expression of an option, if it is set.
    pub fn option(&self, name: &str) -> Option<ExprId> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, e)| *e)
    }
}

impl Elaborator<'_> {
    /// Splits a call's arguments. `names` are the names of the positional ones (each may also be passed by name), of which those after the
    /// first `required` are optional.
    pub(super) fn arguments(
        &mut self,
        frame: &Frame,
        call: &Call,
        names: &[&str],
        required: usize,
    ) -> Eval<Vec<Option<ExprId>>> {
        let place = frame.place(call.name.span);
        let mut slots: Vec<Option<ExprId>> = vec![None; names.len()];
        let mut next = 0;
        for argument in &call.args {
            let slot = match &argument.name {
                None if next < names.len() => {
                    next += 1;
                    next - 1
                }
                None => return self.fail(errors::too_many_arguments(place, &call.name.name, names.len())),
                Some(name) => match names.iter().position(|n| *n == name.name) {
                    Some(i) => i,
                    None => {
                        return self.fail(errors::unknown_option(
                            frame.place(name.span),
                            &call.name.name,
                            &name.name,
                            names,
                        ));
                    }
                },
            };
            if slots[slot].replace(argument.value).is_some() {
                return self.fail(errors::argument_twice(frame.at(argument.value), &call.name.name, names[slot]));
            }
        }
        if let Some(missing) = slots[..required].iter().position(Option::is_none) {
            let needed: Vec<&str> = (0..required).filter(|i| slots[*i].is_none()).map(|i| names[i]).collect();
            let line = frame.call_with(call, &needed);
            return self.fail(errors::missing_argument(place, &call.name.name, names[missing], &line, None));
        }
        Ok(slots)
    }

    /// Splits a call with any number of positional arguments, and these options.
    pub(super) fn variadic(&mut self, frame: &Frame, call: &Call, options: &[&str]) -> Eval<Arguments> {
        let place = frame.place(call.name.span);
        let mut arguments = Arguments { positional: Vec::new(), named: Vec::new() };
        for argument in &call.args {
            match &argument.name {
                None => arguments.positional.push(argument.value),
                Some(name) if options.contains(&name.name.as_str()) => {
                    if arguments.option(&name.name).is_some() {
                        return self.fail(errors::argument_twice(frame.place(name.span), &call.name.name, &name.name));
                    }
                    arguments.named.push((name.name.clone(), argument.value));
                }
                Some(name) => {
                    return self.fail(errors::unknown_option(
                        frame.place(name.span),
                        &call.name.name,
                        &name.name,
                        options,
                    ));
                }
            }
        }
        if arguments.positional.is_empty() {
            let line = frame.call_with(call, &["x"]);
            return self.fail(errors::missing_argument(place, &call.name.name, "x", &line, None));
        }
        Ok(arguments)
    }

    /// Brackets of a call that requires them; for a call of one value they name some of its axes.
    pub(super) fn need_axes<'c>(
        &mut self,
        frame: &Frame,
        call: &'c Call,
        x: &Tensor,
    ) -> Eval<&'c crate::hir::BoundBrackets> {
        match &call.brackets {
            Some(brackets) => Ok(brackets),
            None => {
                let (place, name) = (frame.place(call.name.span), &call.name.name);
                self.axes_not_named(frame, place, name, &call.args, Some(x), || format!("{name}[A](x)"))
            }
        }
    }

    /// Error for a call without brackets, with the last axis of its argument as example if that is known and has one, else with `example`.
    pub(super) fn axes_not_named<T>(
        &mut self,
        frame: &Frame,
        place: Place,
        name: &str,
        args: &[Argument],
        x: Option<&Tensor>,
        example: impl FnOnce() -> String,
    ) -> Eval<T> {
        let axes = x.map(|x| self.declared_order(x.axes.clone())).unwrap_or_default();
        let Some(last) = axes.last() else {
            return self.fail(errors::brackets_missing(place, name, &example(), None));
        };
        let line = frame.applied(&format!("{name}[{}]", self.graph.axis(*last).name), args, &[]);
        self.fail(errors::brackets_missing(place, name, &line, Some(&self.axes_text(&axes))))
    }

    /// Brackets of a call that requires them.
    pub(super) fn need_brackets<'c>(
        &mut self,
        frame: &Frame,
        call: &'c Call,
        example: &str,
    ) -> Eval<&'c crate::hir::BoundBrackets> {
        match &call.brackets {
            Some(brackets) => Ok(brackets),
            None => {
                let place = frame.place(call.name.span);
                self.fail(errors::brackets_missing(place, &call.name.name, example, None))
            }
        }
    }

    /// Refuses brackets.
    pub(super) fn no_brackets(&mut self, frame: &Frame, call: &Call) -> Eval<()> {
        match &call.brackets {
            None => Ok(()),
            Some(b) => self.fail(errors::brackets_refused(frame.place(b.syntax.span), &call.name.name)),
        }
    }

    /// Value of an option that may be `none`.
    pub(super) fn optional(&mut self, frame: &mut Frame, e: Option<ExprId>) -> Eval<Option<Value>> {
        match e {
            None => Ok(None),
            Some(e) => match self.eval(frame, e)? {
                Value::None => Ok(None),
                Value::Error | Value::Unset => Err(super::Failed),
                value => Ok(Some(value)),
            },
        }
    }
}
