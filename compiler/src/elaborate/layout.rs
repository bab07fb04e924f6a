//! Ops that move elements without changing them: index, stack, pick, split, flatten, cat, cut, expand, rename.

use super::value::{Frame, Tensor, Value};
use super::{Elaborator, Eval, errors};
use crate::graph::{AxisId, BinaryOp, Op, Rate};
use crate::hir::{Call, ExprId, ExprKind};
use archc_grammar::ast::{AxisSum, Ident};

impl Elaborator<'_> {
    pub(super) fn index(&mut self, frame: &mut Frame, call: &Call) -> Eval<Value> {
        let brackets = self.need_brackets(frame, call, "index[A]")?;
        let axes = self.plain_axes(frame, brackets)?;
        self.arguments(frame, call, &[], 0)?;
        let place = frame.place(call.name.span);
        if axes.is_empty() {
            return Ok(Value::Number(0.0));
        }
        self.make(Op::Index(axes.clone()), &[], axes, Rate::Fixed, place).map(Value::Tensor)
    }

    /// `eye[K, J]`
    pub(super) fn eye(&mut self, frame: &mut Frame, call: &Call) -> Eval<Value> {
        let brackets = self.need_brackets(frame, call, "eye[K, J]")?;
        let axes = self.plain_axes(frame, brackets)?;
        self.arguments(frame, call, &[], 0)?;
        let place = frame.place(call.name.span);
        let [rows, cols] = axes[..] else { return self.fail(errors::eye_axes(place, axes.len())) };
        self.identity(rows, cols, place).map(Value::Tensor)
    }

    /// 1 where the indices along two axes of one size are equal, else 0.
    pub(super) fn identity(&mut self, rows: AxisId, cols: AxisId, place: crate::source::Place) -> Eval<Tensor> {
        let sizes = [rows, cols].map(|a| self.graph.size(a));
        if sizes[0] != sizes[1] {
            let names = [rows, cols].map(|a| self.graph.axis(a).name.clone());
            return self.fail(errors::eye_sizes(place, &names, sizes));
        }
        let index = |s: &mut Self, own: AxisId, other: AxisId| {
            let index = s.make(Op::Index(vec![own]), &[], vec![own], Rate::Fixed, place)?;
            s.expanded(index, &[other], place)
        };
        let operands = [index(self, rows, cols)?, index(self, cols, rows)?];
        self.make(Op::Binary(BinaryOp::Eq), &operands, vec![rows, cols], Rate::Fixed, place)
    }

    /// `stack[P](a, b, c = expr)`: P's labels are the names, in the order written.
    pub(super) fn stack(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let brackets = self.need_brackets(frame, call, "stack[P](a, b)")?;
        let [AxisSum { terms }] = brackets.syntax.left.as_slice() else {
            return self.fail(errors::one_axis(frame.place(brackets.syntax.span), "stack"));
        };
        let mut labels = Vec::new();
        let mut entries = Vec::new();
        for argument in &call.args {
            let label = match (&argument.name, &frame.module.expr(argument.value).kind) {
                (Some(name), _) => name.name.clone(),
                (None, ExprKind::Local(l)) => frame.name(*l).to_string(),
                (None, _) => return self.fail(errors::stack_label(frame.at(argument.value))),
            };
            if labels.contains(&label) {
                return self.fail(errors::label_twice(frame.at(argument.value), &label));
            }
            labels.push(label);
            entries.push(self.eval_tensor(frame, argument.value)?);
        }
        if entries.is_empty() {
            let line = frame.call_with(call, &["a", "b"]);
            return self.fail(errors::missing_argument(place, "stack", "a", &line, None));
        }
        let (mut axes, rate) = self.broadcast("stack", false, &entries, place)?;
        let target = self.target_axis(frame, &terms[0].name.clone(), labels.len(), Some(labels))?;
        self.refuse_axes(&axes, &[target], frame.place(terms[0].name.span))?;
        axes.push(target);
        self.make(Op::Stack(target), &entries, axes, rate, place).map(Value::Tensor)
    }

    /// `x[P = label]`, `x[N = 0]`
    pub(super) fn pick(&mut self, frame: &mut Frame, e: ExprId, base: ExprId, axis: &Ident, at: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.eval_tensor(frame, base)?;
        let id = self.axis(frame, axis)?;
        self.need_axis(&x, id, frame, base)?;
        let word = match &frame.module.expr(at).kind {
            ExprKind::Word(w) => Some(w.clone()),
            ExprKind::Local(l) => Some(frame.name(*l).to_string()),
            _ => None,
        };
        let info = self.graph.axis(id).clone();
        let labelled = word.as_ref().and_then(|w| info.labels.as_ref().and_then(|l| l.iter().position(|x| x == w)));
        let index = match (labelled, &frame.module.expr(at).kind) {
            (Some(i), _) => i,
            (None, ExprKind::Word(w)) => {
                let labels = info.labels.unwrap_or_default();
                return self.fail(errors::unknown_label(frame.at(at), &axis.name, w, &labels));
            }
            (None, _) => {
                let i = self.size(frame, at)?;
                if !(0.0..info.size as f64).contains(&i) {
                    return self.fail(errors::index_range(frame.at(at), &axis.name, i, info.size));
                }
                i as usize
            }
        };
        let axes = x.axes.iter().copied().filter(|a| *a != id).collect();
        let rate = x.rate;
        self.make(Op::Pick(id, index), &[x], axes, rate, place).map(Value::Tensor)
    }

    /// `P{label = number}`
    pub(super) fn labels(
        &mut self,
        frame: &mut Frame,
        e: ExprId,
        axis: &Ident,
        entries: &[(Ident, ExprId)],
    ) -> Eval<Value> {
        let id = self.axis(frame, axis)?;
        let info = self.graph.axis(id).clone();
        let Some(labels) = info.labels else {
            return self.fail(errors::no_labels(frame.place(axis.span), &axis.name));
        };
        let mut values = vec![0.0; info.size];
        for (label, value) in entries {
            let Some(i) = labels.iter().position(|l| *l == label.name) else {
                return self.fail(errors::unknown_label(frame.place(label.span), &axis.name, &label.name, &labels));
            };
            values[i] = self.real(frame, *value)?;
        }
        let place = frame.at(e);
        self.make(Op::Table(id, values), &[], vec![id], Rate::Fixed, place).map(Value::Tensor)
    }

    /// `split[D -> H, K](x)`
    pub(super) fn split(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.only(frame, call)?;
        let (brackets, right) = self.arrow_brackets(frame, call, "split[D -> H, K](x)")?;
        let from = self.axis_list(frame, &brackets.syntax.left, brackets)?;
        let into = self.axis_list(frame, right, brackets)?;
        let [from] = from.as_slice() else {
            return self.fail(errors::one_axis(frame.place(brackets.syntax.span), "split"));
        };
        self.need_axis(&x, *from, frame, call.args[0].value)?;
        if self.elements(&into) != self.graph.size(*from) {
            let (from_size, into_size) = (self.graph.size(*from), self.elements(&into));
            return self.fail(errors::sizes_differ(place, "split", from_size, into_size));
        }
        let mut axes: Vec<AxisId> = x.axes.iter().copied().filter(|a| a != from).collect();
        self.refuse_axes(&axes, &into, place)?;
        axes.extend(&into);
        let rate = x.rate;
        self.make(Op::Split(*from, into), &[x], axes, rate, place).map(Value::Tensor)
    }

    /// `flatten[H, V -> D](x)`
    pub(super) fn flatten(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.only(frame, call)?;
        let (brackets, right) = self.arrow_brackets(frame, call, "flatten[H, V -> D](x)")?;
        let from = self.axis_list(frame, &brackets.syntax.left, brackets)?;
        for axis in &from {
            self.need_axis(&x, *axis, frame, call.args[0].value)?;
        }
        let name = self.single_name(frame, right, brackets)?;
        let into = self.target_axis(frame, &name, self.elements(&from), None)?;
        let mut axes: Vec<AxisId> = x.axes.iter().copied().filter(|a| !from.contains(a)).collect();
        self.refuse_axes(&axes, &[into], place)?;
        axes.push(into);
        let rate = x.rate;
        self.make(Op::Flatten(from, into), &[x], axes, rate, place).map(Value::Tensor)
    }

    /// `cat[K + R -> E](a, b)`
    pub(super) fn cat(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let arguments = self.variadic(frame, call, &[])?;
        let mut operands = Vec::new();
        for e in &arguments.positional {
            operands.push(self.eval_tensor(frame, *e)?);
        }
        let (brackets, right) = self.arrow_brackets(frame, call, "cat[K + R -> E](a, b)")?;
        let parts = self.summands(frame, &brackets.syntax.left, brackets)?;
        if parts.len() != arguments.positional.len() || parts.len() < 2 {
            return self.fail(errors::cat_arity(place, parts.len(), arguments.positional.len()));
        }
        for ((part, x), e) in parts.iter().zip(&operands).zip(&arguments.positional) {
            self.need_axis(x, *part, frame, *e)?;
        }
        // the axes beside the joined one follow the rule of `stack`
        let rest: Vec<Tensor> = operands
            .iter()
            .zip(&parts)
            .map(|(x, part)| Tensor { axes: x.axes.iter().copied().filter(|a| a != part).collect(), ..x.clone() })
            .collect();
        let (mut axes, rate) = self.broadcast("cat", false, &rest, place)?;
        let name = self.single_name(frame, right, brackets)?;
        let size = parts.iter().map(|a| self.graph.size(*a)).sum();
        let into = self.target_axis(frame, &name, size, None)?;
        self.refuse_axes(&axes, &[into], place)?;
        axes.push(into);
        self.make(Op::Cat(parts, into), &operands, axes, rate, place).map(Value::Tensor)
    }

    /// `cut[E -> K + R](x)`: a tuple.
    pub(super) fn cut(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.only(frame, call)?;
        let (brackets, right) = self.arrow_brackets(frame, call, "cut[E -> K + R](x)")?;
        let from = self.axis_list(frame, &brackets.syntax.left, brackets)?;
        let parts = self.summands(frame, right, brackets)?;
        let [from] = from.as_slice() else {
            return self.fail(errors::one_axis(frame.place(brackets.syntax.span), "cut"));
        };
        if parts.len() < 2 {
            return self.fail(errors::cut_summands(place));
        }
        self.need_axis(&x, *from, frame, call.args[0].value)?;
        let total: usize = parts.iter().map(|a| self.graph.size(*a)).sum();
        if total != self.graph.size(*from) {
            let size = self.graph.size(*from);
            return self.fail(errors::sizes_differ(place, "cut", size, total));
        }
        let rest: Vec<AxisId> = x.axes.iter().copied().filter(|a| a != from).collect();
        let mut offset = 0;
        let mut pieces = Vec::new();
        for into in parts {
            self.refuse_axes(&rest, &[into], place)?;
            let mut axes = rest.clone();
            axes.push(into);
            let op = Op::Cut { from: *from, offset, into };
            pieces.push(Value::Tensor(self.make(op, std::slice::from_ref(&x), axes, x.rate, place)?));
            offset += self.graph.size(into);
        }
        Ok(Value::Tuple(pieces))
    }

    /// `expand[A](x)`
    pub(super) fn expand(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.only(frame, call)?;
        let brackets = self.need_brackets(frame, call, "expand[A](x)")?;
        let new = self.plain_axes(frame, brackets)?;
        self.refuse_axes(&x.axes, &new, place)?;
        self.expanded(x, &new, place).map(Value::Tensor)
    }

    /// Broadcasts a value along new axes.
    pub(super) fn expanded(&mut self, x: Tensor, new: &[AxisId], place: crate::source::Place) -> Eval<Tensor> {
        if new.is_empty() {
            return Ok(x);
        }
        let axes = x.axes.iter().chain(new).copied().collect();
        let rate = x.rate;
        self.make(Op::Expand(new.to_vec()), &[x], axes, rate, place)
    }

    /// `rename[K -> J](x)`
    pub(super) fn rename(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let x = self.only(frame, call)?;
        let (brackets, right) = self.arrow_brackets(frame, call, "rename[K -> J](x)")?;
        let from = self.axis_list(frame, &brackets.syntax.left, brackets)?;
        let [from] = from.as_slice() else {
            return self.fail(errors::one_axis(frame.place(brackets.syntax.span), "rename"));
        };
        self.need_axis(&x, *from, frame, call.args[0].value)?;
        let name = self.single_name(frame, right, brackets)?;
        let info = self.graph.axis(*from).clone();
        let into = self.target_axis(frame, &name, info.size, info.labels)?;
        let mut axes: Vec<AxisId> = x.axes.iter().copied().filter(|a| a != from).collect();
        self.refuse_axes(&axes, &[into], place)?;
        axes.push(into);
        let rate = x.rate;
        self.make(Op::Rename(*from, into), &[x], axes, rate, place).map(Value::Tensor)
    }

    /// Refuses new axes that the value already has.
    fn refuse_axes(&mut self, axes: &[AxisId], new: &[AxisId], place: crate::source::Place) -> Eval<()> {
        match new.iter().find(|a| axes.contains(a)) {
            Some(axis) => {
                let name = self.graph.axis(*axis).name.clone();
                self.fail(errors::axis_twice(place, &name))
            }
            None => Ok(()),
        }
    }

    /// Checks that the value has the axis.
    pub(super) fn need_axis(&mut self, x: &Tensor, axis: AxisId, frame: &Frame, e: ExprId) -> Eval<()> {
        if x.axes.contains(&axis) {
            return Ok(());
        }
        let name = self.graph.axis(axis).name.clone();
        let has = self.axes_text(&x.axes);
        self.fail(errors::axis_missing(frame.at(e), &name, &has))
    }

    /// The only argument, as a tensor.
    pub(super) fn only(&mut self, frame: &mut Frame, call: &Call) -> Eval<Tensor> {
        let slots = self.arguments(frame, call, &["x"], 1)?;
        match slots[0] {
            Some(e) => self.eval_tensor(frame, e),
            None => Err(super::Failed),
        }
    }

    fn arrow_brackets<'c>(
        &mut self,
        frame: &Frame,
        call: &'c Call,
        example: &str,
    ) -> Eval<(&'c crate::hir::BoundBrackets, &'c [AxisSum])> {
        let brackets = self.need_brackets(frame, call, example)?;
        match &brackets.syntax.right {
            Some(right) => Ok((brackets, right)),
            None => self.fail(errors::no_arrow(frame.place(brackets.syntax.span), &call.name.name, example)),
        }
    }

    /// Axes of one sum, in order; an axis may occur twice.
    fn summands(&mut self, frame: &Frame, sums: &[AxisSum], brackets: &crate::hir::BoundBrackets) -> Eval<Vec<AxisId>> {
        let [sum] = sums else {
            return self.fail(errors::one_sum(frame.place(brackets.syntax.span)));
        };
        let mut axes = Vec::new();
        for term in &sum.terms {
            axes.extend(self.term(frame, term, brackets)?);
        }
        Ok(axes)
    }

    /// The one name on a side of the arrow, possibly undeclared.
    fn single_name(&mut self, frame: &Frame, sums: &[AxisSum], brackets: &crate::hir::BoundBrackets) -> Eval<Ident> {
        match sums {
            [AxisSum { terms }] if terms.len() == 1 && !terms[0].spread => Ok(terms[0].name.clone()),
            _ => self.fail(errors::one_axis(frame.place(brackets.syntax.span), "this op's result")),
        }
    }
}
