//! `attend { }`: pairwise memory.

use super::context::ContextKind;
use super::value::{Frame, Tensor, Value};
use super::{Elaborator, Eval, errors};
use crate::graph::{Attend, AxisId, Op, Rate, Weighing};
use crate::hir::{Call, ExprId, LocalId, Stmt, StmtKind};
use crate::source::Place;

/// Values of the statements of an attend.
struct Parts {
    visible: Option<Tensor>,
    weighing: Tensor,
    is_score: bool,
    sink: Option<Tensor>,
    emits: Vec<(LocalId, Tensor)>,
}

impl Elaborator<'_> {
    pub(super) fn attend(&mut self, frame: &mut Frame, body: &[Stmt], place: Place) -> Eval<()> {
        if self.in_init() {
            return self.fail(errors::init_depends(place));
        }
        // learned ops of the body belong to the binding of its first emit
        let first = body.iter().find_map(|s| match &s.kind {
            StmtKind::Emit { local, .. } => Some(*local),
            _ => None,
        });
        let binding = frame.binding.clone();
        frame.bind(&first.map(|l| frame.name(l).to_string()).unwrap_or_default());
        let was_locked = std::mem::replace(&mut frame.locked, true);
        self.open(ContextKind::Attend);
        frame.axes.push(Default::default());
        let parts = self.attend_body(frame, body, place);
        frame.axes.pop();
        let context = self.close();
        frame.locked = was_locked;
        frame.binding = binding;
        let parts = parts?;

        let emits = parts.emits;
        let attend = Attend {
            body: context.dag,
            visible: parts.visible.map(|t| t.node),
            weighing: if parts.is_score {
                Weighing::Score(parts.weighing.node)
            } else {
                Weighing::Weight(parts.weighing.node)
            },
            sink: parts.sink.map(|t| t.node),
            emits: emits.iter().map(|(local, t)| (frame.name(*local).to_string(), t.node)).collect(),
        };
        let operands: Vec<Tensor> = context
            .captures
            .iter()
            .map(|id| {
                let ty = self.graph.dag.ty(*id).clone();
                Tensor { node: *id, level: 0, axes: ty.axes, rate: ty.rate }
            })
            .collect();
        let node = self.make(Op::Attend(Box::new(attend)), &operands, Vec::new(), Rate::Token, place)?;
        let weights = parts.weighing.axes;
        let joined = |t: &Tensor| {
            let mut axes: Vec<AxisId> = t.axes.iter().chain(&weights).copied().collect();
            axes.sort_unstable();
            axes.dedup();
            axes
        };
        self.bind_emits(frame, &node, &emits, joined, place)
    }

    fn attend_body(&mut self, frame: &mut Frame, body: &[Stmt], place: Place) -> Eval<Parts> {
        let (mut visible, mut weighing, mut sink, mut emits) = (None, None, None, Vec::new());
        for stmt in body {
            match &stmt.kind {
                StmtKind::Let { .. } => self.stmt(frame, stmt)?,
                StmtKind::Where(e) => match self.eval(frame, *e)? {
                    Value::Number(c) if c != 0.0 => {}
                    Value::Number(_) => return self.fail(errors::nothing_visible(frame.at(*e))),
                    value => visible = Some((self.inner_value(frame, value, *e)?, *e)),
                },
                StmtKind::Score(e) | StmtKind::Weight(e) => {
                    let value = self.eval(frame, *e)?;
                    weighing = Some((self.inner_value(frame, value, *e)?, matches!(stmt.kind, StmtKind::Score(_))));
                }
                StmtKind::Sink(e) => match self.eval(frame, *e)? {
                    Value::Number(x) if x == f64::NEG_INFINITY => {}
                    value => sink = Some((self.inner_value(frame, value, *e)?, *e)),
                },
                StmtKind::Emit { local, value } => {
                    let e = *value;
                    let value = self.eval(frame, e)?;
                    emits.push((*local, self.inner_value(frame, value, e)?));
                }
                _ => return Err(super::Failed),
            }
        }
        let Some((weighing, is_score)) = weighing else { return Err(super::Failed) };
        let within = |t: &Tensor| t.axes.iter().all(|a| weighing.axes.contains(a));
        if let Some((t, e)) = visible.iter().chain(&sink).find(|(t, _)| !within(t)) {
            let (has, own) = (self.axes_text(&t.axes), self.axes_text(&weighing.axes));
            return self.fail(errors::attend_axes(frame.at(*e), &own, &has));
        }
        if let Some((t, e)) = &sink
            && t.rate == Rate::Pair
        {
            return self.fail(errors::sink_pairwise(frame.at(*e)));
        }
        if emits.is_empty() {
            return self.fail(errors::nothing_visible(place));
        }
        Ok(Parts { visible: visible.map(|v| v.0), weighing, is_score, sink: sink.map(|s| s.0), emits })
    }

    fn inner_value(&mut self, frame: &Frame, value: Value, e: ExprId) -> Eval<Tensor> {
        let tensor = self.tensor(value, frame.at(e))?;
        self.inner(tensor, frame.at(e))
    }

    /// `past(x)`: x at the past token.
    pub(super) fn past(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        self.no_brackets(frame, call)?;
        if !self.in_attend() {
            return self.fail(errors::only_in_attend(place, "past"));
        }
        let x = self.only(frame, call)?;
        if x.level != 0 {
            return self.fail(errors::past_of_inner(place));
        }
        if x.rate == Rate::Fixed {
            return Ok(Value::Tensor(x));
        }
        let node = self.capture(&x, true)?;
        let level = self.contexts.last().map_or(0, |c| c.serial);
        Ok(Value::Tensor(Tensor { node, level, axes: x.axes, rate: Rate::Pair }))
    }
}
