//! Axis names, brackets and broadcasting.

use super::value::{Frame, Slot, Tensor, Value};
use super::{Elaborator, Eval, errors, faster};
use crate::graph::{Axis, AxisId, Rate};
use crate::hir::{BoundBrackets, Stmt, StmtKind};
use crate::source::Place;
use archc_grammar::Span;
use archc_grammar::ast::{AxisSum, AxisTerm, Ident};

/// Place in a body where an axis is declared.
fn declaration(body: &[Stmt], name: &str) -> Option<Span> {
    body.iter().find_map(|stmt| match &stmt.kind {
        StmtKind::Axis { name: own, .. } if own.name == name => Some(own.span),
        StmtKind::Scan(body) | StmtKind::For { body, .. } => declaration(body, name),
        StmtKind::If { arms, otherwise } => {
            arms.iter().map(|(_, body)| body).chain([otherwise]).find_map(|body| declaration(body, name))
        }
        _ => None,
    })
}

/// Maximum length of an axis.
const MAX_SIZE: f64 = (1 << 24) as f64;

impl Elaborator<'_> {
    /// Adds an axis, last in the block's order of declaration.
    pub(super) fn new_axis(&mut self, name: &str, size: usize, labels: Option<Vec<String>>) -> AxisId {
        let axis = Axis { name: name.to_string(), size, labels };
        let next = AxisId(self.graph.axes.len() as u32);
        let mut id = next;
        // a shared instance has the parameters, and so the axes, of its first call
        if let Some(path) = self.shared.last()
            && let Some((axes, met)) = self.shared_axes.get_mut(path)
        {
            match axes.get(*met) {
                Some(old) if self.graph.axes[old.0 as usize] == axis => id = *old,
                _ => axes.insert(*met, id),
            }
            *met += 1;
        }
        if id == next {
            self.graph.axes.push(axis);
        }
        if let Some(order) = self.orders.last_mut() {
            order.push(id);
        }
        id
    }

    /// Declares a name of the frame as a fresh axis, after checking its size.
    pub(super) fn declare_axis(
        &mut self,
        frame: &mut Frame,
        name: &Ident,
        size: f64,
        labels: Option<Vec<String>>,
    ) -> Eval<AxisId> {
        let place = frame.place(name.span);
        if !(size.fract() == 0.0 && (1.0..=MAX_SIZE).contains(&size)) {
            return self.fail(errors::bad_size(place, &name.name, size));
        }
        // a name that the caller left open also becomes the caller's axis
        for scope in frame.axes.iter().rev() {
            if let Some(Slot::Open(outer, cell)) = scope.get(&name.name)
                && cell.get().is_none()
            {
                let id = self.new_axis(outer, size as usize, labels);
                cell.set(Some(id));
                return Ok(id);
            }
        }
        let id = self.new_axis(&name.name, size as usize, labels);
        if let Some(scope) = frame.axes.last_mut() {
            scope.insert(name.name.clone(), Slot::Axis(id));
        }
        Ok(id)
    }

    /// Meaning of an axis name, if it is declared.
    pub(super) fn slot(frame: &Frame, name: &str) -> Option<Slot> {
        let slot = frame.axes.iter().rev().find_map(|s| s.get(name))?;
        match slot {
            Slot::Open(_, cell) => cell.get().map(Slot::Axis),
            other => Some(other.clone()),
        }
    }

    /// A declared axis.
    pub(super) fn axis(&mut self, frame: &Frame, name: &Ident) -> Eval<AxisId> {
        match Self::slot(frame, &name.name) {
            Some(Slot::Axis(id)) => Ok(id),
            Some(Slot::Error) => Err(super::Failed),
            Some(_) => self.fail(errors::pack_as_axis(frame.place(name.span), &name.name)),
            None => self.unknown_axis(frame, frame.place(name.span), &name.name),
        }
    }

    /// Error for a name without an axis.
    pub(super) fn unknown_axis<T>(&mut self, frame: &Frame, place: Place, name: &str) -> Eval<T> {
        let later = declaration(&frame.callable.body, name).filter(|span| span.start > place.span.start);
        if let Some(later) = later.filter(|_| !frame.axes.iter().any(|s| s.contains_key(name))) {
            return self.fail(errors::axis_declared_later(place, name, frame.place(later)));
        }
        let known: Vec<&str> = frame.axes.iter().flat_map(|s| s.keys().map(String::as_str)).collect();
        self.fail(errors::unknown_axis(place, name, &known))
    }

    /// A declared axis of this size, or a new one: the target of `stack`, `flatten`, `cat`, `rename`.
    pub(super) fn target_axis(
        &mut self,
        frame: &mut Frame,
        name: &Ident,
        size: usize,
        labels: Option<Vec<String>>,
    ) -> Eval<AxisId> {
        let id = match Self::slot(frame, &name.name) {
            Some(Slot::Axis(id)) => id,
            Some(Slot::Error) => return Err(super::Failed),
            _ => return self.declare_axis(frame, name, size as f64, labels),
        };
        let axis = self.graph.axis(id).clone();
        let place = frame.place(name.span);
        if axis.size != size {
            return self.fail(errors::target_size(place, &name.name, axis.size, size));
        }
        match (&axis.labels, labels) {
            (Some(old), Some(new)) if *old != new => self.fail(errors::other_labels(place, &name.name, old, &new)),
            (None, Some(new)) => {
                self.graph.axes[id.0 as usize].labels = Some(new);
                Ok(id)
            }
            _ => Ok(id),
        }
    }

    /// Axes of one term: a single axis, those of a pack, or those of a value (in the block's order).
    pub(super) fn term(&mut self, frame: &Frame, term: &AxisTerm, brackets: &BoundBrackets) -> Eval<Vec<AxisId>> {
        let place = frame.place(term.name.span);
        if !term.spread {
            return Ok(vec![self.axis(frame, &term.name)?]);
        }
        if let Some(local) = brackets.values.get(&term.name.name) {
            return match frame.locals[local.0 as usize].clone() {
                Value::Axes(axes) => Ok(axes),
                Value::Tensor(t) => Ok(self.declared_order(t.axes)),
                Value::Number(_) => Ok(Vec::new()),
                Value::Error | Value::Unset => Err(super::Failed),
                _ => self.fail(errors::no_axes(place, &term.name.name)),
            };
        }
        match Self::slot(frame, &term.name.name) {
            Some(Slot::Pack(axes)) => Ok(axes),
            Some(Slot::Axis(id)) => Ok(vec![id]),
            Some(Slot::Error) => Err(super::Failed),
            _ => self.unknown_axis(frame, place, &term.name.name),
        }
    }

    /// Axes of a list without sums, flattened; every axis once.
    pub(super) fn axis_list(&mut self, frame: &Frame, sums: &[AxisSum], brackets: &BoundBrackets) -> Eval<Vec<AxisId>> {
        let mut axes = Vec::new();
        for sum in sums {
            let [term] = sum.terms.as_slice() else {
                let place = frame.place(brackets.syntax.span);
                return self.fail(errors::sum_of_axes(place));
            };
            for axis in self.term(frame, term, brackets)? {
                if axes.contains(&axis) {
                    let name = self.graph.axis(axis).name.clone();
                    return self.fail(errors::listed_twice(frame.place(term.name.span), &name));
                }
                axes.push(axis);
            }
        }
        Ok(axes)
    }

    /// Axes of a list without an arrow.
    pub(super) fn plain_axes(&mut self, frame: &Frame, brackets: &BoundBrackets) -> Eval<Vec<AxisId>> {
        if brackets.syntax.right.is_some() {
            return self.fail(errors::arrow(frame.place(brackets.syntax.span)));
        }
        self.axis_list(frame, &brackets.syntax.left, brackets)
    }

    /// Sorts axes into the order in which the block declares them.
    pub(super) fn declared_order(&self, mut axes: Vec<AxisId>) -> Vec<AxisId> {
        let order = self.orders.last();
        let position = |a: &AxisId| order.and_then(|o| o.iter().position(|x| x == a)).unwrap_or(usize::MAX);
        axes.sort_by_key(|a| (position(a), *a));
        axes
    }

    /// Text of axes for messages: `[H, K]`.
    pub(super) fn axes_text(&self, axes: &[AxisId]) -> String {
        let axes = self.declared_order(axes.to_vec());
        let names: Vec<&str> = axes.iter().map(|a| self.graph.axis(*a).name.as_str()).collect();
        format!("[{}]", names.join(", "))
    }

    /// Number of elements.
    pub(super) fn elements(&self, axes: &[AxisId]) -> usize {
        axes.iter().map(|a| self.graph.size(*a)).fold(1, usize::saturating_mul)
    }

    /// Axes and rate of an element-wise op. `outer` ops may form outer products; for all others one operand's axes
    /// must contain every other's.
    pub(super) fn broadcast(
        &mut self,
        what: &str,
        outer: bool,
        operands: &[Tensor],
        place: Place,
    ) -> Eval<(Vec<AxisId>, Rate)> {
        let mut union: Vec<AxisId> = operands.iter().flat_map(|o| o.axes.iter().copied()).collect();
        union.sort_unstable();
        union.dedup();
        let rate = operands.iter().fold(Rate::Fixed, |r, o| faster(r, o.rate));
        if outer || operands.iter().any(|o| o.axes == union) {
            return Ok((union, rate));
        }
        let lists: Vec<String> = operands.iter().map(|o| self.axes_text(&o.axes)).collect();
        let widest = operands.iter().max_by_key(|o| o.axes.len()).map(|o| o.axes.clone()).unwrap_or_default();
        let stray = union.iter().find(|a| !widest.contains(a)).copied();
        let stray = stray.map(|a| self.graph.axis(a).name.clone()).unwrap_or_default();
        let missing = widest
            .iter()
            .find(|a| operands.iter().any(|o| !o.axes.contains(a)) && self.same_size(**a, &union, &widest));
        let partner = missing.map(|a| self.graph.axis(*a).name.clone());
        self.fail(errors::not_contained(place, what, &lists, &stray, partner.as_deref()))
    }

    /// Whether an axis outside `widest` has the size of `axis`, so that `rename` may have been intended.
    fn same_size(&self, axis: AxisId, union: &[AxisId], widest: &[AxisId]) -> bool {
        union.iter().any(|a| !widest.contains(a) && self.graph.size(*a) == self.graph.size(axis))
    }
}
