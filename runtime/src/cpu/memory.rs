//! Buffers of a run: the start of each base of a plan.

use crate::errors;
use archc_compiler::diag::Diagnostic;
use archc_compiler::plan::{Base, Element, Start, View};

/// A place in a buffer: the base's index and the offset from its start in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    base: usize,
    bytes: usize,
}

/// Number of bases before the ports.
pub(super) const FIXED: usize = 6;

impl Slot {
    /// The slot of the first element of a view.
    pub fn of(view: &View) -> Self {
        view.start.into()
    }
}

impl From<Start> for Slot {
    fn from(start: Start) -> Self {
        let base = match start.base {
            Base::Scratch => 0,
            Base::Constants => 1,
            Base::Params => 2,
            Base::Grads => 3,
            Base::First => 4,
            Base::Second => 5,
            Base::Port(i) => FIXED + i,
        };
        Self { base, bytes: start.bytes }
    }
}

/// Converts an offset in bytes to one in f32 elements.
pub(super) const fn elements(bytes: usize) -> usize {
    bytes / Element::F32.bytes()
}

/// The start of each base: scratch, constants, parameters, gradients, first and second moments, then ports.
#[derive(Clone, Debug)]
pub(super) struct Bases(pub Vec<*mut f32>);

impl Bases {
    /// The address of a slot, whose element type may be another than f32.
    ///
    /// # Safety
    /// The slot belongs to the same plan as the bases.
    pub unsafe fn at(&self, slot: Slot) -> *mut f32 {
        // SAFETY: a plan's slots lie inside of its buffers
        unsafe { self.0[slot.base].byte_add(slot.bytes) }
    }
}

/// The sizes and strides of a view, the strides in elements.
pub(super) fn layout(view: &View) -> (Vec<usize>, Vec<isize>) {
    (view.axes.iter().map(|a| a.size).collect(), view.axes.iter().map(|a| a.stride).collect())
}

/// Zeroed f32 elements in whole pages, which the system allocates when they are first touched.
pub(super) struct Memory {
    map: memmap2::MmapMut,
    len: usize,
}

impl Memory {
    /// Allocates `len` zeroed elements.
    ///
    /// # Errors
    /// E0815 if the system refuses the allocation.
    pub fn zeros(len: usize) -> Result<Self, Diagnostic> {
        let bytes = len.saturating_mul(size_of::<f32>()).max(1);
        let map = memmap2::MmapMut::map_anon(bytes).map_err(|e| errors::no_memory(bytes, e))?;
        // Rows of activations have strides of kilobytes, and with small pages each would need its own address translation. A refusal
        // changes nothing.
        #[cfg(target_os = "linux")]
        if bytes > LARGE {
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, len })
    }

    pub fn start(&mut self) -> *mut f32 {
        self.map.as_mut_ptr().cast()
    }

    /// The elements.
    pub fn numbers(&self) -> &[f32] {
        // SAFETY: the map has at least `len` elements and starts at a page; every bit pattern is a valid f32
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }

    /// The elements, mutable.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

/// Size of a large page in bytes.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_refused() {
        for len in [usize::MAX / 8, usize::MAX] {
            assert_eq!(Memory::zeros(len).err().unwrap().code, "E0815");
        }
        assert_eq!(Memory::zeros(3).unwrap().numbers(), [0.0; 3]);
    }
}
