//! Merges kernels that differ in addresses only: a repeated layer has no code of its own, only other addresses.

use super::{Axis, Base, Kernel, Launch, Schedule, Scope, Single, Start, TileSum, View, Work};
use crate::lowered::{BATCH, DimId, Op, TIME};
use std::collections::BTreeMap;

impl Schedule {
    /// Merges the kernels of a scope that differ only in the starts of their operands and the names of their dimensions.
    pub(super) fn of(scope: Scope, sizes: &[usize]) -> Self {
        let mut rolled = Self { arena: scope.arena, ..Self::default() };
        // known kernels, by a cheap key that equal ones share
        let mut known: BTreeMap<Likeness, Vec<(Work, Vec<usize>, usize)>> = BTreeMap::new();
        for kernel in scope.kernels {
            let mut starts = Vec::new();
            let kernel = kernel.relocate(&mut |start, _| {
                starts.push(start);
                Start::port(starts.len() - 1)
            });
            let (work, lengths) = numbered(&kernel.work, sizes);
            let alike = known.entry(likeness(&work, starts.len())).or_default();
            let number = match alike.iter().find(|k| k.0 == work && k.1 == lengths) {
                Some(known) => known.2,
                None => {
                    rolled.kernels.push(kernel);
                    alike.push((work, lengths, rolled.kernels.len() - 1));
                    rolled.kernels.len() - 1
                }
            };
            rolled.launches.push(Launch { kernel: number, starts });
        }
        rolled
    }

    /// A launch as a kernel of its own, with its views at the launch's starts.
    pub fn launched(&self, launch: &Launch) -> Kernel {
        self.kernels[launch.kernel].clone().relocate(&mut |start, _| match start.base {
            Base::Port(port) => launch.starts[port],
            base => panic!("archc bug: an operand of a launched kernel in {base:?}"),
        })
    }
}
/// Key of a kernel: its kind, number of operands, and two sizes.
type Likeness = (u8, usize, usize, usize);

fn likeness(work: &Work, operands: usize) -> Likeness {
    let (kind, a, b) = match work {
        Work::Gemm(g) => (0, g.m * g.n, g.k),
        Work::Fused(f) => (1, f.code.len(), f.dims.len()),
        Work::Copy(c) => (2, c.to.len(), c.to.axes.len()),
        Work::Conv(c) => (3, c.x.len(), c.first),
        Work::Single(s) => (4, s.output.len(), s.output.axes.len()),
        Work::Loop(l) => (5, l.body.kernels.len(), l.body.arena),
        Work::Attend(a) => (6, a.body.kernels.len(), a.body.arena),
        Work::Norm(n) => (7, n.gradients.len(), 0),
        Work::AdamW(a) => (8, a.param.len(), usize::from(a.decays)),
    };
    (kind, operands, a, b)
}

/// The work with dimensions [`Numbered`] and without what a launch supplies, and the dimensions' lengths.
fn numbered(work: &Work, sizes: &[usize]) -> (Work, Vec<usize>) {
    let mut work = work.clone();
    let mut numbers = Numbered::default();
    dims(&mut work, &mut |dim| numbers.number(dim));
    // the site's key is an operand
    if let Work::Single(Single { op: Op::Dropout { path }, .. }) = &mut work {
        path.clear();
    }
    (work, numbers.lengths(sizes))
}

/// Dimensions renumbered in the order in which they occur, which makes works independent of their names. Batch and time, which kernels
/// know, keep their names.
pub(super) struct Numbered(Vec<DimId>);

impl Default for Numbered {
    fn default() -> Self {
        Self(vec![BATCH, TIME])
    }
}

impl Numbered {
    /// Replaces a dimension by its new number.
    pub fn number(&mut self, dim: &mut DimId) {
        let number = self.0.iter().position(|d| d == dim).unwrap_or_else(|| {
            self.0.push(*dim);
            self.0.len() - 1
        });
        *dim = DimId(number as u32);
    }

    /// Lengths of the renumbered dimensions.
    pub fn lengths(&self, sizes: &[usize]) -> Vec<usize> {
        self.0.iter().map(|d| sizes.get(d.0 as usize).copied().unwrap_or(0)).collect()
    }
}

/// Calls `f` with every dimension that a kernel names.
fn dims(work: &mut Work, f: &mut dyn FnMut(&mut DimId)) {
    fn views<'v>(views: impl IntoIterator<Item = &'v mut View>, f: &mut dyn FnMut(&mut DimId)) {
        views.into_iter().flat_map(|v| &mut v.axes).for_each(|Axis { dim, .. }| f(dim));
    }
    fn scope(scope: &mut Scope, f: &mut dyn FnMut(&mut DimId)) {
        scope.kernels.iter_mut().for_each(|k| dims(&mut k.work, f));
    }
    match work {
        Work::Gemm(_) => {}
        Work::Fused(k) => {
            k.dims.iter_mut().chain(k.code.iter_mut().flat_map(|i| &mut i.dims)).for_each(&mut *f);
            views(k.inputs.iter_mut().chain(k.outputs.iter_mut().map(|o| &mut o.1)), f);
        }
        Work::Copy(c) => views([&mut c.from, &mut c.to].into_iter().chain(c.fill.iter_mut().map(|x| &mut x.0)), f),
        Work::Conv(c) => {
            f(&mut c.window);
            let others = [&mut c.dy, &mut c.y, &mut c.carried].into_iter().flatten();
            views([&mut c.x, &mut c.filter, &mut c.pos].into_iter().chain(others), f);
        }
        Work::Single(s) => {
            s.op.each_dim(f);
            views(s.inputs.iter_mut().chain([&mut s.output]), f);
        }
        Work::Loop(l) => {
            l.map_dims.iter_mut().chain([&mut l.over]).for_each(&mut *f);
            views(l.ports.iter_mut().flatten().map(|p| &mut p.outer), f);
            for state in &mut l.states {
                let outer = [&mut state.initial.outer, &mut state.view];
                views(outer.into_iter().chain(state.last.iter_mut().map(|p| &mut p.outer)), f);
            }
            scope(&mut l.body, f);
        }
        Work::Norm(n) => views(&mut n.gradients, f),
        Work::AdamW(a) => views([&mut a.param, &mut a.gradient, &mut a.first, &mut a.second], f),
        Work::Attend(a) => {
            views([&mut a.pos, &mut a.weight, &mut a.weights], f);
            views([&mut a.lag, &mut a.visible, &mut a.sink, &mut a.shown].into_iter().flatten(), f);
            for port in a.ports.iter_mut().chain(a.normal.iter_mut().flatten()) {
                views([&mut port.outer, &mut port.tile], f);
                views(port.transposed.iter_mut().map(|t| &mut t.1), f);
            }
            for emit in &mut a.emits {
                views([&mut emit.value, &mut emit.sum.outer, &mut emit.sum.tile], f);
            }
            scope(&mut a.body, f);
            if let Some(grad) = &mut a.grad {
                scope(&mut grad.after, f);
                views(grad.delta.iter_mut().flat_map(|p| [&mut p.outer, &mut p.tile]), f);
                for TileSum { port, .. } in &mut grad.sums {
                    views([&mut port.outer, &mut port.tile], f);
                }
                views(grad.running.iter_mut().flatten().chain(&mut grad.last), f);
            }
        }
    }
}
