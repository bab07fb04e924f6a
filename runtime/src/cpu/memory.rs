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

/// Memory for f32 that starts at a cache line.
pub(super) struct Memory {
    pub data: Vec<f32>,
    pub first: usize,
}

impl Memory {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        let data = vec![0.0f32; len + 32];
        let first = (64 - data.as_ptr() as usize % 64) % 64 / 4;
        large_pages(&data);
        Self { data, first }
    }

    pub fn start(&mut self) -> *mut f32 {
        self.data[self.first..].as_mut_ptr()
    }
}

/// Asks for large pages: rows of activations lie kilobytes apart, and with small pages each would need a translation of its own.
#[cfg(target_os = "linux")]
fn large_pages(data: &[f32]) {
    const PAGE: usize = 4096;
    let start = (data.as_ptr() as usize).next_multiple_of(PAGE);
    let end = (data.as_ptr() as usize + size_of_val(data)) / PAGE * PAGE;
    if end > start + (2 << 20) {
        // SAFETY: whole pages inside of a live allocation; the advice changes no content. A refusal changes nothing at all.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn large_pages(_: &[f32]) {}
