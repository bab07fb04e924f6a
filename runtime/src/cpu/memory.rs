//! Buffers of a run: where each base of a plan starts.

use archc_compiler::plan::{Base, View};

/// A place in a buffer: the base's number and the distance from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    base: usize,
    offset: usize,
}

/// Bases before the ports.
pub(super) const FIXED: usize = 4;

impl Slot {
    /// The first number of a view.
    pub fn of(view: &View) -> Self {
        Self::new(view.base, view.offset)
    }

    /// A distance from the start of a base.
    pub fn new(base: Base, offset: usize) -> Self {
        let base = match base {
            Base::Scratch => 0,
            Base::Constants => 1,
            Base::Params => 2,
            Base::Grads => 3,
            Base::Port(i) => FIXED + i,
        };
        Self { base, offset }
    }
}

/// Where each base starts: scratch, constants, parameters, gradients, then ports.
#[derive(Clone, Debug)]
pub(super) struct Bases(pub Vec<*mut f32>);

impl Bases {
    /// The address of a slot.
    ///
    /// # Safety
    /// The slot's plan is the one that the bases belong to.
    pub unsafe fn at(&self, slot: Slot) -> *mut f32 {
        // SAFETY: a plan's slots lie inside of its buffers
        unsafe { self.0[slot.base].add(slot.offset) }
    }
}
