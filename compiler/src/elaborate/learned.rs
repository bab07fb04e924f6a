//! Learned maps: linear, embed, head.

use super::params::{Init, Shape};
use super::value::{Frame, Tensor, Value};
use super::{Elaborator, Eval, errors, faster};
use crate::graph::{AxisId, Linear, Op, ParamId, ParamKind, Rate};
use crate::hir::{Call, ExprId};
use archc_grammar::ast::Ident;

impl Elaborator<'_> {
    /// `linear[IN -> OUT](x, y, ..., per = [..], bias = init, init = init)`
    pub(super) fn linear(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let brackets = self.need_brackets(frame, call, "linear[IN -> OUT](x)")?;
        let arguments = self.variadic(frame, call, &["per", "bias", "init"])?;
        let inputs = arguments.positional.iter().map(|e| self.eval_tensor(frame, *e)).collect::<Eval<Vec<_>>>()?;
        let per = match self.optional(frame, arguments.option("per"))? {
            None => Vec::new(),
            Some(Value::Axes(axes)) => axes,
            Some(_) => return self.fail(errors::per_axes(place)),
        };
        let bias = self.optional(frame, arguments.option("bias"))?;
        let init = self.optional(frame, arguments.option("init"))?;

        let (contracted, out) = match &brackets.syntax.right {
            Some(right) => {
                let all = self.axis_list(frame, &brackets.syntax.left, brackets)?;
                let out = self.axis_list(frame, right, brackets)?;
                (self.contracted(frame, &all, &inputs, &arguments.positional)?, out)
            }
            None => {
                let out = self.axis_list(frame, &brackets.syntax.left, brackets)?;
                if let Some(i) = inputs.iter().position(|x| x.axes.len() != 1) {
                    let has = self.axes_text(&inputs[i].axes);
                    return self.fail(errors::linear_needs_in(frame.at(arguments.positional[i]), &has));
                }
                (inputs.iter().map(|x| x.axes.clone()).collect(), out)
            }
        };
        self.apply_linear(
            frame,
            LinearCall { inputs, contracted, out, per, bias, init, pin: call.pin.as_deref(), place },
        )
    }

    /// IN axes of each input.
    fn contracted(
        &mut self,
        frame: &Frame,
        all: &[AxisId],
        inputs: &[Tensor],
        exprs: &[ExprId],
    ) -> Eval<Vec<Vec<AxisId>>> {
        let mut contracted = Vec::new();
        for (x, e) in inputs.iter().zip(exprs) {
            let own: Vec<AxisId> = all.iter().copied().filter(|a| x.axes.contains(a)).collect();
            if own.is_empty() {
                let (has, wanted) = (self.axes_text(&x.axes), self.axes_text(all));
                return self.fail(errors::linear_contracts_nothing(frame.at(*e), &has, &wanted));
            }
            contracted.push(own);
        }
        if let Some(stray) = all.iter().find(|a| !inputs.iter().any(|x| x.axes.contains(a))) {
            let name = self.graph.axis(*stray).name.clone();
            let has: Vec<String> = inputs.iter().map(|x| self.axes_text(&x.axes)).collect();
            return self.fail(errors::axis_missing(frame.at(exprs[0]), &name, &has.join(", ")));
        }
        Ok(contracted)
    }

    fn apply_linear(&mut self, frame: &mut Frame, l: LinearCall<'_>) -> Eval<Value> {
        let mut kept: Vec<AxisId> = Vec::new();
        let mut rate = Rate::Fixed;
        for (x, own) in l.inputs.iter().zip(&l.contracted) {
            rate = faster(rate, x.rate);
            kept.extend(x.axes.iter().filter(|a| !own.contains(a)));
        }
        kept.sort_unstable();
        kept.dedup();
        if let Some(axis) = l.out.iter().find(|a| kept.contains(a)) {
            let name = self.graph.axis(*axis).name.clone();
            return self.fail(errors::kept_in_out(l.place, &name));
        }
        let all_in: Vec<AxisId> = l.contracted.iter().flatten().copied().collect();
        if let Some(axis) = kept.iter().find(|a| all_in.contains(a)) {
            let name = self.graph.axis(*axis).name.clone();
            return self.fail(errors::kept_and_contracted(l.place, &name));
        }
        if let Some(axis) = l.per.iter().find(|a| !kept.contains(a)) {
            let (name, kept) = (self.graph.axis(*axis).name.clone(), self.axes_text(&kept));
            return self.fail(errors::per_not_kept(l.place, &name, &kept));
        }
        let fan = l.contracted.iter().map(|axes| self.elements(axes)).sum();
        let site = self.site(frame, "linear", l.pin);
        // an axis in both IN and OUT has a twin in the weight, whose axes are distinct
        let own_out: Vec<AxisId> = l.out.iter().map(|a| if all_in.contains(a) { self.twin(*a) } else { *a }).collect();
        let leading: Vec<AxisId> = l.per.iter().chain(&own_out).copied().collect();
        let mut operands = l.inputs.clone();
        for (i, own) in l.contracted.iter().enumerate() {
            let path = match l.inputs.len() {
                1 => format!("{site}.weight"),
                _ => format!("{site}.weight_{i}"),
            };
            let shape = Shape {
                axes: leading.iter().chain(own).copied().collect(),
                per: l.per.len(),
                out: l.out.len(),
                fan: Some(fan),
                kind: ParamKind::Weight,
            };
            let init = l.init.clone().map_or(Init::Fan, Init::Value);
            operands.push(self.param(frame, &path, shape, init, l.place)?);
        }
        let has_bias = l.bias.is_some();
        if let Some(bias) = l.bias {
            let shape = Shape {
                axes: l.per.iter().chain(&l.out).copied().collect(),
                per: l.per.len(),
                out: l.out.len(),
                fan: Some(fan),
                kind: ParamKind::Bias,
            };
            operands.push(self.param(frame, &format!("{site}.bias"), shape, Init::Value(bias), l.place)?);
        }
        let axes = kept.iter().chain(&l.out).copied().collect();
        let op = Op::Linear(Linear { contracted: l.contracted, per: l.per, out: l.out, bias: has_bias });
        self.make(op, &operands, axes, rate, l.place).map(Value::Tensor)
    }

    /// `embed[D](tokens)`
    pub(super) fn embed(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let Some(vocab) = self.graph.vocab else { return self.fail(errors::only_in_models(place, "embed")) };
        let brackets = self.need_brackets(frame, call, "embed[D](tokens)")?;
        let axes = self.plain_axes(frame, brackets)?;
        let slots = self.arguments(frame, call, &["tokens", "init"], 1)?;
        match slots[0].map(|e| self.eval(frame, e)).transpose()? {
            Some(Value::Tokens) => {}
            _ => return self.fail(errors::embed_tokens(place)),
        }
        let init = match self.optional(frame, slots[1])? {
            Some(init) => init,
            None => super::elementwise::recipe(
                super::value::RecipeOp::Draw(crate::graph::Draw::Normal),
                vec![Value::Number(0.02)],
                place,
            ),
        };
        let path = format!("{}.weight", self.site(frame, "embed", call.pin.as_deref()));
        let shape = Shape {
            axes: std::iter::once(vocab).chain(axes.iter().copied()).collect(),
            per: 0,
            out: axes.len(),
            fan: None,
            kind: ParamKind::Embedding,
        };
        let mut operands = vec![self.param(frame, &path, shape, Init::Value(init), place)?];
        if let Some(prefix) = self.graph.prefix {
            let own: Vec<AxisId> = self.graph.param(prefix).axes.iter().skip(1).copied().collect();
            if own != axes {
                let (own, axes) = (self.axes_text(&own), self.axes_text(&axes));
                return self.fail(errors::prefix_axes(place, &own, &axes));
            }
            operands.push(self.param_node(prefix, place)?);
        }
        self.make(Op::Embed { vocab }, &operands, axes, Rate::Token, place).map(Value::Tensor)
    }

    /// `head(x, tie = embedding)`: the logits.
    pub(super) fn head(&mut self, frame: &mut Frame, call: &Call, e: ExprId) -> Eval<Value> {
        let place = frame.at(e);
        let Some(vocab) = self.graph.vocab else { return self.fail(errors::only_in_models(place, "head")) };
        self.no_brackets(frame, call)?;
        let slots = self.arguments(frame, call, &["x", "tie"], 1)?;
        let x = match slots[0] {
            Some(e) => self.eval_tensor(frame, e)?,
            None => return Err(super::Failed),
        };
        let Some(tie) = self.optional(frame, slots[1])? else {
            let contracted = vec![x.axes.clone()];
            let pin = Some(call.pin.as_deref().unwrap_or("head"));
            let l = LinearCall {
                inputs: vec![x],
                contracted,
                out: vec![vocab],
                per: Vec::new(),
                bias: None,
                init: None,
                pin,
                place,
            };
            return self.apply_linear(frame, l);
        };
        let table = match tie {
            Value::Tensor(t) if t.level == 0 && matches!(self.graph.dag.op(t.node), Op::Embed { .. }) => {
                self.graph.dag.operands(t.node)[0]
            }
            _ => return self.fail(errors::tie(place)),
        };
        let Op::Param(param) = *self.graph.dag.op(table) else { return Err(super::Failed) };
        self.tied_head(x, param, vocab, frame, call, place)
    }

    fn tied_head(
        &mut self,
        x: Tensor,
        param: ParamId,
        vocab: AxisId,
        frame: &Frame,
        call: &Call,
        place: crate::source::Place,
    ) -> Eval<Value> {
        let mut features: Vec<AxisId> = self.graph.param(param).axes.iter().copied().filter(|a| *a != vocab).collect();
        features.sort_unstable();
        if x.axes != features {
            let (has, wanted) = (self.axes_text(&x.axes), self.axes_text(&features));
            return self.fail(errors::other_axes(frame.at(call.args[0].value), "head", &wanted, &has));
        }
        let table = self.param_node(param, place)?;
        let rate = x.rate;
        self.make(Op::Contract(features), &[x, table], vec![vocab], rate, place).map(Value::Tensor)
    }

    /// `prefix meta[M, D] = init`
    pub(super) fn prefix(&mut self, frame: &mut Frame, name: &Ident, axes: Vec<AxisId>, init: ExprId) -> Eval<Tensor> {
        let place = frame.place(name.span);
        let embedded = self.graph.dag.ids().any(|id| matches!(self.graph.dag.op(id), Op::Embed { .. }));
        if self.graph.prefix.is_some() || embedded || axes.len() < 2 {
            return self.fail(errors::prefix_place(place));
        }
        let tensor = self.param_statement(frame, &name.name, axes, ParamKind::Prefix, init, place)?;
        self.graph.prefix = Some(ParamId(self.graph.params.len() as u32 - 1));
        Ok(tensor)
    }
}

struct LinearCall<'a> {
    inputs: Vec<Tensor>,
    contracted: Vec<Vec<AxisId>>,
    out: Vec<AxisId>,
    per: Vec<AxisId>,
    bias: Option<Value>,
    init: Option<Value>,
    pin: Option<&'a str>,
    place: crate::source::Place,
}
