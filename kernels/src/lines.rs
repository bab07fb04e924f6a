//! Software prefetch of cache lines: the hardware prefetcher of sequential lines stops at a page of 4 KiB, and does not detect lines that
//! lie far apart.

/// f32 elements per cache line.
pub(crate) const LINE: usize = 16;

/// Prefetches `count` cache lines from `at` on, which need not be valid memory.
#[inline(always)]
pub(crate) fn ask(at: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in 0..count {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is only a hint and never faults, whatever the address
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i * LINE).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, count);
}
