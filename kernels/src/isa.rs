//! Instruction sets: the levels, their detection at run time, and the compilation of a function for each.

use crate::gemm::{Task, sums, tile};
use crate::vector::Vector;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set, ordered from the baseline of the target upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// SSE2 on x86-64, NEON on aarch64.
    Base = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}

impl Level {
    /// Every level of the target, from the lowest.
    pub const ALL: &[Self] =
        if cfg!(target_arch = "x86_64") { &[Self::Base, Self::Avx2, Self::Avx512] } else { &[Self::Base] };

    /// `avx512`, `avx2`, and for what the target always has `sse2`, `neon` or `plain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Base if cfg!(target_arch = "x86_64") => "sse2",
            Self::Base if cfg!(target_arch = "aarch64") => "neon",
            Self::Base => "plain",
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The best level of this machine.
pub fn best() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return if wide { Level::Avx512 } else { Level::Avx2 };
        }
    }
    Level::Base
}

/// The level in use.
#[inline]
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Base,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let level = best();
            LEVEL.store(level as u8, Ordering::Relaxed);
            level
        }
    }
}

/// Sets the level in use to this one, or to the machine's best one if that is lower: to reproduce the bits of another machine, for tests
/// and for measurements.
pub fn limit(to: Level) {
    LEVEL.store(to.min(best()) as u8, Ordering::Relaxed);
}

/// Runs a test at each level of this machine; one at a time, because the level is global.
#[cfg(test)]
pub(crate) fn at_each_level(test: impl Fn(Level)) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for &level in Level::ALL.iter().filter(|l| **l <= best()) {
        limit(level);
        test(level);
    }
    limit(best());
}

/// The instruction set that a function body is compiled for.
pub(crate) trait Isa: Copy {
    /// Its widest vector of f32.
    type V: Vector;
    /// Rows of a register tile of a matrix product; its columns are `COLS` vectors.
    const ROWS: usize;
    /// Columns of a register tile, in vectors.
    const COLS: usize;
    /// a b + c, rounded once where the machine can.
    fn fma(a: f32, b: f32, c: f32) -> f32;
    /// Calls [`tile`] as a function of its own: inlined, the sums would lose their registers to the code around.
    unsafe fn tile<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(task: &Task);
    /// Computes [`sums`], hand-written for this instruction set where such code exists.
    #[inline(always)]
    unsafe fn sums<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(
        task: &Task,
    ) -> [[Self::V; N]; R] {
        // SAFETY: the caller's contract.
        unsafe { sums::<Self, R, N, WHOLE, BY_ROWS>(task) }
    }
    /// Transposes 8 x 8 elements: `to[r * to_step + c] = from[c * from_step + r]`.
    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: isize, to: *mut f32, to_step: isize) {
        for r in 0..8 {
            for c in 0..8 {
                // SAFETY: the caller's contract.
                unsafe { *to.offset(r * to_step + c) = *from.offset(c * from_step + r) }
            }
        }
    }
}

/// The baseline of the target.
#[derive(Clone, Copy)]
pub(crate) struct Base;

impl Isa for Base {
    #[cfg(target_arch = "aarch64")]
    type V = core::arch::aarch64::float32x4_t;
    #[cfg(not(target_arch = "aarch64"))]
    type V = [f32; 4];
    // 32 registers on aarch64: 24 accumulators, 2 of the right operand, 1 of the left; 16 on x86-64.
    const ROWS: usize = if cfg!(target_arch = "aarch64") { 12 } else { 4 };
    const COLS: usize = 2;
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }
    #[inline(never)]
    unsafe fn tile<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(task: &Task) {
        // SAFETY: the caller's contract.
        unsafe { tile::<Self, R, N, WHOLE, BY_ROWS>(task) }
    }
}

/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Isa for Avx2 {
    type V = core::arch::x86_64::__m256;
    // 16 registers: 12 accumulators, 2 of the right operand, 1 of the left.
    const ROWS: usize = 6;
    const COLS: usize = 2;
    #[inline(always)]
    unsafe fn sums<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(
        task: &Task,
    ) -> [[Self::V; N]; R] {
        // SAFETY: the caller's contract.
        unsafe {
            if WHOLE && N == 2 && R <= 6 {
                let acc = crate::gemm::avx2::sums::<R, BY_ROWS>(task);
                return std::array::from_fn(|i| std::array::from_fn(|j| acc[i][j]));
            }
            sums::<Self, R, N, WHOLE, BY_ROWS>(task)
        }
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: isize, to: *mut f32, to_step: isize) {
        // SAFETY: the caller's contract; the level has AVX.
        unsafe { crate::vector::turn_avx(from, from_step, to, to_step) }
    }
    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(task: &Task) {
        // SAFETY: the caller's contract.
        unsafe { tile::<Self, R, N, WHOLE, BY_ROWS>(task) }
    }
}

/// AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Isa for Avx512 {
    type V = core::arch::x86_64::__m512;
    // 32 registers: 28 accumulators, 2 of the right operand; the left one is broadcast from memory.
    const ROWS: usize = 14;
    const COLS: usize = 2;
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: isize, to: *mut f32, to_step: isize) {
        // SAFETY: the caller's contract; the level has AVX.
        unsafe { crate::vector::turn_avx(from, from_step, to, to_step) }
    }
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn tile<const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(task: &Task) {
        // SAFETY: the caller's contract.
        unsafe { tile::<Self, R, N, WHOLE, BY_ROWS>(task) }
    }
}

/// Defines a function whose body, generic over [`Isa`] and always inlined, is compiled for each level.
macro_rules! versions {
    ($($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;)*) => {$(
        $(#[$meta])*
        $vis unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's contract.
                    unsafe { $body($crate::isa::Avx2, $($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the caller's contract.
                    unsafe { $body($crate::isa::Avx512, $($arg),*) }
                }
                match $crate::isa::level() {
                    // SAFETY: the level says that the machine has these instructions.
                    $crate::isa::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    $crate::isa::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::isa::Level::Base => {}
                }
            }
            // SAFETY: the caller's contract.
            unsafe { $body($crate::isa::Base, $($arg),*) }
        }
    )*};
}
pub(crate) use versions;
