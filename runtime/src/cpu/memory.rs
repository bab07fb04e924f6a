//! Buffers of a run: where each base of a plan starts.

use crate::errors;
use archc_compiler::diag::Diagnostic;
use archc_compiler::plan::{Base, Element, Start, View};

/// A place in a buffer: the base's number and the distance from its start in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    base: usize,
    bytes: usize,
}

/// Bases before the ports.
pub(super) const FIXED: usize = 6;

impl Slot {
    /// The first element of a view.
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

/// A distance in f32.
pub(super) const fn elements(bytes: usize) -> usize {
    bytes / Element::F32.bytes()
}

/// Where each base starts: scratch, constants, parameters, gradients, first and second moments, then ports.
#[derive(Clone, Debug)]
pub(super) struct Bases(pub Vec<*mut f32>);

impl Bases {
    /// The address of a slot, which may have another element than f32.
    ///
    /// # Safety
    /// The slot's plan is the one that the bases belong to.
    pub unsafe fn at(&self, slot: Slot) -> *mut f32 {
        // SAFETY: a plan's slots lie inside of its buffers
        unsafe { self.0[slot.base].byte_add(slot.bytes) }
    }
}

/// Sizes and strides of a view.
pub(super) fn layout(view: &View) -> (Vec<usize>, Vec<isize>) {
    (view.axes.iter().map(|a| a.size).collect(), view.axes.iter().map(|a| a.stride).collect())
}

/// Zeros for f32, whole pages of their own: the system gives them when they are first touched.
pub(super) struct Memory {
    map: memmap2::MmapMut,
    len: usize,
}

impl Memory {
    /// So many zeros.
    ///
    /// # Errors
    /// E0815 where the system does not give so much memory.
    pub fn zeros(len: usize) -> Result<Self, Diagnostic> {
        let bytes = len.saturating_mul(size_of::<f32>()).max(1);
        let map = memmap2::MmapMut::map_anon(bytes).map_err(|e| errors::no_memory(bytes, e))?;
        // Rows of activations lie kilobytes apart, and with small pages each would need a translation of its own. A refusal
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

    /// Its numbers.
    pub fn numbers(&self) -> &[f32] {
        // SAFETY: the map has `len` numbers and starts at a page; every pattern of bits is a number
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }

    /// Its numbers, to be changed.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

/// Bytes of a large page.
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
