//! `scan { }`: recurrent memory.

use super::context::ContextKind;
use super::value::{Frame, RecipeOp, Tensor, Value};
use super::{Elaborator, Eval, errors};
use crate::graph::{AxisId, Draw, Op, Rate, Scan, State};
use crate::hir::{LocalId, Stmt, StmtKind};
use crate::source::Place;

impl Elaborator<'_> {
    pub(super) fn scan(&mut self, frame: &mut Frame, body: &[Stmt], place: Place) -> Eval<()> {
        // initial values are outer values, so they are evaluated before the body is opened
        let mut states: Vec<(LocalId, Vec<AxisId>)> = Vec::new();
        let mut operands = Vec::new();
        for stmt in body {
            let StmtKind::State { local, axes, init } = &stmt.kind else { continue };
            let axes = match axes {
                Some(b) => self.plain_axes(frame, b)?,
                None => Vec::new(),
            };
            let at = frame.at(*init);
            let value = self.eval(frame, *init)?;
            let value = self.start(value, &axes, at)?;
            if value.rate != Rate::Fixed {
                return self.fail(errors::state_init_token(at, frame.name(*local)));
            }
            let missing: Vec<AxisId> = axes.iter().copied().filter(|a| !value.axes.contains(a)).collect();
            if value.axes.iter().any(|a| !axes.contains(a)) {
                let (has, own) = (self.axes_text(&value.axes), self.axes_text(&axes));
                return self.fail(errors::other_axes(at, frame.name(*local), &own, &has));
            }
            operands.push(self.expanded(value, &missing, at)?);
            states.push((*local, axes));
        }
        if states.is_empty() {
            return self.fail(errors::scan_without_state(place));
        }
        if self.in_init() {
            return self.fail(errors::init_depends(place));
        }
        self.open(ContextKind::Scan);
        let done = self.scan_body(frame, body, &states, place);
        let context = self.close();
        let (next, emits) = done?;
        let scan = Scan {
            states: states
                .iter()
                .enumerate()
                .map(|(number, (local, axes))| {
                    let mut axes = axes.clone();
                    axes.sort_unstable();
                    State { name: frame.name(*local).to_string(), axes, number }
                })
                .collect(),
            body: context.dag,
            next: next.iter().map(|t| t.node).collect(),
            emits: emits.iter().map(|(local, t)| (frame.name(*local).to_string(), t.node)).collect(),
        };
        for id in &context.captures {
            let ty = self.graph.dag.ty(*id).clone();
            operands.push(Tensor { node: *id, level: 0, axes: ty.axes, rate: ty.rate });
        }
        let node = self.make(Op::Scan(Box::new(scan)), &operands, Vec::new(), Rate::Token, place)?;
        self.bind_emits(frame, &node, &emits, |t| t.axes.clone(), place)
    }

    /// Initial value of a state with these axes. `eye` is the identity over the last two.
    fn start(&mut self, value: Value, axes: &[AxisId], place: Place) -> Eval<Tensor> {
        let Value::Recipe(recipe) = value else { return self.tensor(value, place) };
        let place = recipe.place;
        match (recipe.op, axes) {
            (RecipeOp::Of(function), _) => {
                let operands = recipe.operands.iter().map(|x| self.start(x.clone(), axes, place).map(Value::Tensor));
                let operands = operands.collect::<Eval<Vec<_>>>()?;
                let value = self.applied(function, operands, place)?;
                self.tensor(value, place)
            }
            (RecipeOp::Draw(Draw::Eye), [.., rows, cols]) => self.identity(*rows, *cols, place),
            (RecipeOp::Draw(Draw::Eye), _) => self.fail(errors::eye_axes(place, axes.len())),
            (RecipeOp::Draw(_) | RecipeOp::Fan, _) => self.fail(errors::draw_outside_init(place)),
        }
    }

    #[allow(clippy::type_complexity)]
    fn scan_body(
        &mut self,
        frame: &mut Frame,
        body: &[Stmt],
        states: &[(LocalId, Vec<AxisId>)],
        place: Place,
    ) -> Eval<(Vec<Tensor>, Vec<(LocalId, Tensor)>)> {
        for (i, (local, axes)) in states.iter().enumerate() {
            let leaf = self.make_inner(Op::State(i), axes.clone(), Rate::Token, place)?;
            let value = Value::Tensor(leaf);
            self.name_node(&value, frame.name(*local));
            frame.set(*local, value);
            frame.declared.insert(*local, axes.clone());
        }
        let outer = std::mem::take(&mut frame.emits);
        let done = self.run_scoped(frame, body);
        let emits = std::mem::replace(&mut frame.emits, outer);
        done?;
        let mut next = Vec::new();
        for (local, _) in states {
            let value = frame.locals[local.0 as usize].clone();
            let tensor = self.tensor(value, place)?;
            next.push(self.inner(tensor, place)?);
        }
        let emits = emits.into_iter().map(|(local, t)| Ok((local, self.inner(t, place)?))).collect::<Eval<Vec<_>>>()?;
        Ok((next, emits))
    }

    /// A value as a node of the body that is being built.
    pub(super) fn inner(&mut self, tensor: Tensor, place: Place) -> Eval<Tensor> {
        let serial = self.contexts.last().map_or(0, |c| c.serial);
        match tensor.level {
            0 => {
                let node = self.capture(&tensor, false)?;
                Ok(Tensor { node, level: serial, ..tensor })
            }
            level if level == serial => Ok(tensor),
            _ => self.fail(errors::state_dependent(place)),
        }
    }

    /// Binds the emits of a scan or attend as values of the frame.
    pub(super) fn bind_emits(
        &mut self,
        frame: &mut Frame,
        node: &Tensor,
        emits: &[(LocalId, Tensor)],
        axes: impl Fn(&Tensor) -> Vec<AxisId>,
        place: Place,
    ) -> Eval<()> {
        for (i, (local, t)) in emits.iter().enumerate() {
            let read = self.make(Op::Emit(i), std::slice::from_ref(node), axes(t), Rate::Token, place)?;
            let value = Value::Tensor(read);
            self.name_node(&value, frame.name(*local));
            frame.set(*local, value);
        }
        Ok(())
    }

    /// New value of a state: its axes must be the state's, or fewer (then it is broadcast along the others).
    pub(super) fn state_value(&mut self, value: Value, axes: &[AxisId], name: &str, place: Place) -> Eval<Value> {
        let tensor = self.tensor(value, place)?;
        if tensor.axes.iter().any(|a| !axes.contains(a)) {
            let (has, own) = (self.axes_text(&tensor.axes), self.axes_text(axes));
            return self.fail(errors::state_axes(place, name, &own, &has));
        }
        let missing: Vec<AxisId> = axes.iter().copied().filter(|a| !tensor.axes.contains(a)).collect();
        if !missing.is_empty() && !self.is_constant(&tensor) {
            let (has, own) = (self.axes_text(&tensor.axes), self.axes_text(axes));
            return self.fail(errors::state_axes(place, name, &own, &has));
        }
        self.expanded(tensor, &missing, place).map(Value::Tensor)
    }

    fn is_constant(&self, tensor: &Tensor) -> bool {
        let mut dag = &self.graph.dag;
        if let Some(context) = self.contexts.iter().find(|c| c.serial == tensor.level) {
            dag = &context.dag;
        }
        matches!(dag.op(tensor.node), Op::Const(_))
    }
}
