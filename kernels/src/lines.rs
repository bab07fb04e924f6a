//! Cache lines, asked for before they are read: what fetches lines that lie one after the other by itself stops at a page of 4 KiB, and
//! does not see those that lie far apart.

/// Numbers of a cache line.
pub(crate) const LINE: usize = 16;

/// Asks for `count` lines from there on, which need not be anyone's.
#[inline(always)]
pub(crate) fn ask(at: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in 0..count {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing is read
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i * LINE).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, count);
}
