//! Loops: the body runs for each index of the mapped dimensions, iteration by iteration.

use super::context::Context;
use super::memory::{Bases, FIXED, Slot, elements, layout};
use super::program::Program;
use crate::guard::stop_here;
use archc_compiler::plan::{LoopKernel, Port};
use archc_kernels::copy::copy_nd;
use std::ops::Range;

/// A prepared loop.
#[derive(Clone, Debug)]
pub(super) struct LoopStep {
    kernel: LoopKernel,
    pub body: Program,
    /// Initial addresses of the ports; none for those of states.
    ports: Vec<Option<Slot>>,
    arena: Slot,
    /// The address of the initial value and the layouts of the initial and final copies, for each state.
    states: Vec<StateStep>,
}

#[derive(Clone, Debug)]
struct StateStep {
    initial: Slot,
    sizes: Vec<usize>,
    dense: Vec<isize>,
    from: Vec<isize>,
    last: Option<(Slot, Vec<isize>)>,
}

impl LoopStep {
    pub fn new(kernel: &LoopKernel, sizes: &[usize]) -> Self {
        let states = kernel.states.iter().map(|s| {
            let (state_sizes, dense) = layout(&s.view);
            let strides = |p: &Port| s.view.axes.iter().map(|a| p.outer.stride(a.dim)).collect();
            StateStep {
                initial: Slot::of(&s.initial.outer),
                sizes: state_sizes,
                dense,
                from: strides(&s.initial),
                last: s.last.as_ref().map(|p| (Slot::of(&p.outer), strides(p))),
            }
        });
        Self {
            body: Program::new(&kernel.body.kernels, sizes),
            ports: kernel.ports.iter().map(|p| p.as_ref().map(|p| Slot::of(&p.outer))).collect(),
            arena: kernel.arena.into(),
            states: states.collect(),
            kernel: kernel.clone(),
        }
    }

    /// Runs the loop.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        let count: usize = self.kernel.map.iter().product();
        // SAFETY: the plan's views lie inside of their buffers; different mapped indices write to disjoint memory
        unsafe {
            context.share(count, 1, bases, bases.at(self.arena), |range, arena, bases, context| {
                self.indices(range, arena, bases, context);
            });
        }
    }

    /// Runs the loop for a range of the indices of the mapped dimensions.
    unsafe fn indices(&self, range: Range<usize>, scratch: *mut f32, bases: &Bases, context: &Context<'_>) {
        let k = &self.kernel;
        let mut inner = Bases(vec![std::ptr::null_mut(); FIXED + k.ports.len()]);
        inner.0[..FIXED].copy_from_slice(&bases.0[..FIXED]);
        // SAFETY: the plan's views lie inside of their buffers; ports stay within the views that they walk
        unsafe {
            inner.0[0] = scratch;
            let mut index = vec![0usize; k.map.len()];
            let mut rest = range.start;
            for (i, size) in index.iter_mut().zip(&k.map).rev() {
                *i = rest % size;
                rest /= size;
            }
            for _ in range {
                stop_here();
                let shift = |map: &[isize]| -> isize { map.iter().zip(&index).map(|(s, i)| s * *i as isize).sum() };
                for (p, (port, slot)) in k.ports.iter().zip(&self.ports).enumerate() {
                    if let (Some(port), Some(slot)) = (port, slot) {
                        let first = if k.reverse { (k.count as isize - 1) * port.over } else { 0 };
                        inner.0[FIXED + p] = bases.at(*slot).offset(shift(&port.map) + first);
                    }
                }
                for (slot, state) in k.states.iter().zip(&self.states) {
                    let [old, new] = slot.buffers.map(|b| scratch.add(elements(b.bytes)));
                    inner.0[FIXED + slot.ports[0]] = old;
                    inner.0[FIXED + slot.ports[1]] = new;
                    let from = bases.at(state.initial).offset(shift(&slot.initial.map));
                    copy_nd(old, &state.dense, from, &state.from, &state.sizes);
                }
                for _ in 0..k.count {
                    self.body.run(&inner, context);
                    for (p, port) in k.ports.iter().enumerate() {
                        if let Some(port) = port {
                            let step = if k.reverse { -port.over } else { port.over };
                            inner.0[FIXED + p] = inner.0[FIXED + p].wrapping_offset(step);
                        }
                    }
                    for slot in &k.states {
                        inner.0.swap(FIXED + slot.ports[0], FIXED + slot.ports[1]);
                    }
                }
                for (slot, state) in k.states.iter().zip(&self.states) {
                    if let (Some((to, strides)), Some(port)) = (&state.last, &slot.last) {
                        let to = bases.at(*to).offset(shift(&port.map));
                        copy_nd(to, strides, inner.0[FIXED + slot.ports[0]], &state.dense, &state.sizes);
                    }
                }
                for (i, size) in index.iter_mut().zip(&k.map).rev() {
                    *i += 1;
                    if *i < *size {
                        break;
                    }
                    *i = 0;
                }
            }
        }
    }
}
