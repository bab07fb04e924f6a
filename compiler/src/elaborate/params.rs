//! Parameters: their paths, shapes and inits.

use super::context::ContextKind;
use super::value::{Frame, Tensor, Value, join};
use super::{Elaborator, Eval, errors};
use crate::graph::{AxisId, Draw, Op, Param, ParamId, ParamKind, Rate};
use crate::hir::ExprId;
use crate::source::Place;

/// Properties of a parameter whose init is not known yet.
pub struct Shape {
    /// Axes in checkpoint order: per, OUT, IN.
    pub axes: Vec<AxisId>,
    /// Number of `per` axes.
    pub per: usize,
    /// Number of OUT axes.
    pub out: usize,
    /// Contracted elements of all inputs together; none if nothing is contracted.
    pub fan: Option<usize>,
    /// Kind of the parameter.
    pub kind: ParamKind,
}

/// Origin of a parameter's init.
pub enum Init {
    /// An expression of the frame.
    Expr(ExprId),
    /// The value of an option.
    Value(Value),
    /// `fan`
    Fan,
}

impl Elaborator<'_> {
    /// Path of a learned call in the frame's current binding; numbers it.
    pub(super) fn site(&mut self, frame: &Frame, op: &str, pin: Option<&str>) -> String {
        let path = join(&[&frame.prefix, &frame.binding, pin.unwrap_or(op)]);
        let count = self.counters.entry(path.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { path } else { format!("{path}_{count}") }
    }

    /// A parameter as a tensor of the outer graph; in a `shared` instance, the existing one.
    pub(super) fn param(
        &mut self,
        frame: &mut Frame,
        path: &str,
        shape: Shape,
        init: Init,
        place: Place,
    ) -> Eval<Tensor> {
        let id = match self.paths.get(path) {
            Some(id) if self.is_shared(path) => *id,
            Some(id) => {
                let first = self.graph.param(*id).place;
                return self.fail(errors::path_twice(place, path, first));
            }
            None => self.new_param(frame, path, shape, init, place)?,
        };
        self.param_node(id, place)
    }

    /// The leaf of a parameter.
    pub(super) fn param_node(&mut self, id: ParamId, place: Place) -> Eval<Tensor> {
        let param = self.graph.param(id);
        let (axes, path) = (param.axes.clone(), param.path.clone());
        if self.in_init() {
            return self.fail(errors::init_depends(place));
        }
        let tensor = self.make(Op::Param(id), &[], axes, Rate::Fixed, place)?;
        if let Some(node) = self.node_mut(&tensor) {
            node.name = path;
        }
        Ok(tensor)
    }

    fn is_shared(&self, path: &str) -> bool {
        self.shared.iter().any(|s| path.strip_prefix(s.as_str()).is_some_and(|rest| rest.starts_with('.')))
    }

    fn new_param(&mut self, frame: &mut Frame, path: &str, shape: Shape, init: Init, place: Place) -> Eval<ParamId> {
        let mut axes = shape.axes.clone();
        axes.sort_unstable();
        self.open(ContextKind::Init { axes: axes.clone(), fan: shape.fan });
        let value = match init {
            Init::Expr(e) => self.eval_tensor(frame, e),
            Init::Value(value) => self.tensor(value, place),
            Init::Fan => self.fan(place),
        };
        // an outer value on its own, such as a table of labels, is copied in by the identity op of its own level
        let value = value.and_then(|v| if v.level == 0 { self.copied(&v, place) } else { Ok(v) });
        let context = self.close();
        let value = value?;
        if let Some(stray) = value.axes.iter().find(|a| !axes.contains(a)) {
            let stray = self.graph.axis(*stray).name.clone();
            let own = self.axes_text(&axes);
            return self.fail(errors::init_axes(place, path, &stray, &own));
        }
        let id = ParamId(self.graph.params.len() as u32);
        self.graph.params.push(Param {
            path: path.to_string(),
            axes: shape.axes,
            kind: shape.kind,
            per: shape.per,
            out: shape.out,
            init: context.dag,
            init_value: value.node,
            place: self.node_place(place),
        });
        self.paths.insert(path.to_string(), id);
        Ok(id)
    }

    fn copied(&mut self, value: &Tensor, place: Place) -> Eval<Tensor> {
        let (axes, rate) = (value.axes.clone(), value.rate);
        self.make(Op::StopGrad, std::slice::from_ref(value), axes, rate, place)
    }

    /// A draw in the shape of the parameter whose init is being built.
    pub(super) fn draw(&mut self, draw: Draw, arguments: Vec<Value>, place: Place) -> Eval<Tensor> {
        let Some(ContextKind::Init { axes, .. }) = self.contexts.last().map(|c| c.kind.clone()) else {
            return self.fail(errors::draw_outside_init(place));
        };
        let operands = arguments.into_iter().map(|a| self.tensor(a, place)).collect::<Eval<Vec<_>>>()?;
        if let Some(stray) = operands.iter().flat_map(|o| &o.axes).find(|a| !axes.contains(a)) {
            let stray = self.graph.axis(*stray).name.clone();
            let own = self.axes_text(&axes);
            return self.fail(errors::init_axes(place, "this draw", &stray, &own));
        }
        self.make(Op::Draw(draw), &operands, axes, Rate::Fixed, place)
    }

    /// uniform(-1/sqrt(n), 1/sqrt(n)), with n contracted elements of all inputs together.
    pub(super) fn fan(&mut self, place: Place) -> Eval<Tensor> {
        match self.contexts.last().map(|c| c.kind.clone()) {
            Some(ContextKind::Init { fan: Some(n), .. }) => {
                let bound = 1.0 / (n as f64).sqrt();
                self.draw(Draw::Uniform, vec![Value::Number(-bound), Value::Number(bound)], place)
            }
            Some(ContextKind::Init { .. }) => self.fail(errors::fan_without_contraction(place)),
            _ => self.fail(errors::draw_outside_init(place)),
        }
    }

    /// `param name[AXES] = init`
    pub(super) fn param_statement(
        &mut self,
        frame: &mut Frame,
        name: &str,
        axes: Vec<AxisId>,
        kind: ParamKind,
        init: ExprId,
        place: Place,
    ) -> Eval<Tensor> {
        let path = join(&[&frame.prefix, &format!("{name}{}", frame.suffix)]);
        let out = axes.len().saturating_sub(1);
        self.param(frame, &path, Shape { axes, per: 0, out, fan: None, kind }, Init::Expr(init), place)
    }

    /// A copy of an axis, `D'`, for a parameter that has it twice.
    pub(super) fn twin(&mut self, axis: AxisId) -> AxisId {
        let (name, size) = (format!("{}'", self.graph.axis(axis).name), self.graph.size(axis));
        self.new_axis(&name, size, None)
    }
}
