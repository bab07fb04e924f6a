//! The end of a training step: the norm of all gradients, and a kernel for each parameter's update.

use super::memory::{Kernel, View};
use super::planner::{Planner, copy};
use super::scope::ScopePlan;
use super::{AdamW, Base, Element, Leaf, Norm, Work};
use crate::graph::{ParamId, ParamKind};

impl ScopePlan<'_> {
    /// Emits the kernels of the update; returns the norm. None without an objective.
    pub fn emit_update(&mut self, planner: &mut Planner<'_>) -> Option<View> {
        let graph = planner.graph;
        let (objective, _) = graph.objective?;
        let objective = self.read(planner, objective);
        let rule = self.homes.leaf(planner, Leaf::Rule, Element::Rule, Leaf::Rule.dims());
        let norm = View { start: self.homes.buffer(Element::F64, 1, true), element: Element::F64, axes: Vec::new() };
        let gradients = graph.param_grads.iter().map(|(param, _)| planner.param_view(*param, Base::Grads)).collect();
        self.kernels
            .push(Kernel { work: Work::Norm(Norm { gradients, norm: norm.clone() }), name: "gradients".into() });
        for (i, param) in graph.source.params.iter().enumerate() {
            let id = ParamId(i as u32);
            let at = |base| planner.param_view(id, base);
            let [own, gradient, first, second] = [Base::Params, Base::Grads, Base::First, Base::Second].map(at);
            // a parameter on which nothing depends has a gradient of 0
            if !graph.param_grads.iter().any(|(learns, _)| *learns == id) {
                let zero = planner.constants.number(0.0);
                self.kernels.push(copy(zero, gradient.clone(), "gradient"));
            }
            let decays = param.kind == ParamKind::Weight;
            let [rule, objective, norm] = [&rule, &objective, &norm].map(View::clone);
            let update = AdamW { param: own, gradient, first, second, decays, rule, objective, norm };
            self.kernels.push(Kernel { work: Work::AdamW(Box::new(update)), name: param.path.clone() });
        }
        Some(norm)
    }
}
