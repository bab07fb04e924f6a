//! What all scopes of a plan share while they are planned.

use super::constants::Constants;
use super::memory::{Kernel, Place, View};
use super::{Axis, Base, Copy, Work};
use crate::graph::ParamId;
use crate::lowered::{DimId, Lowered, Shape, order};
use crate::target::Target;

/// A copy kernel.
pub(super) fn copy(from: View, to: View, name: &str) -> Kernel {
    let axes = to.axes.iter().map(|a| Axis { dim: a.dim, size: a.size, stride: from.stride(a.dim) }).collect();
    Kernel { work: Work::Copy(Copy { from: View { axes, ..from }, to, fill: None }), name: name.into() }
}

/// What all scopes of a plan share.
pub(super) struct Planner<'g> {
    pub graph: &'g Lowered,
    pub shape: Shape,
    pub target: Target,
    pub sizes: Vec<usize>,
    pub constants: Constants,
    /// Scopes planned so far: names for their constants.
    pub scopes: usize,
}

impl Planner<'_> {
    pub fn param_view(&self, id: ParamId, base: Base) -> View {
        let param = self.graph.source.param(id);
        let dims: Vec<DimId> = param.axes.iter().map(|a| Lowered::axis_dim(*a)).collect();
        let start = Place::there(base, self.graph.params.starts[id.0 as usize]);
        let mut view = View::dense(start, &dims, &self.sizes);
        self.sort(&mut view);
        view
    }

    /// Puts axes in canonical order.
    pub fn sort(&self, view: &mut View) {
        let mut dims: Vec<DimId> = view.axes.iter().map(|a| a.dim).collect();
        order(&self.graph.dims, &mut dims);
        view.axes.sort_by_key(|a| dims.iter().position(|d| *d == a.dim));
    }

    pub fn size(&self, dim: DimId) -> usize {
        self.sizes[dim.0 as usize]
    }
}
