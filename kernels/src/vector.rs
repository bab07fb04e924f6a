//! Vectors of f32: the few operations that register tiles and reductions need. All methods are inlined into functions compiled for the
//! instruction set ([`crate::isa::versions`]), and may run only there.

/// A vector register.
pub(crate) trait Vector: Copy {
    /// Number of elements.
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// Loads the first n elements (n < LANES), then zeros.
    unsafe fn load_part(p: *const f32, n: usize) -> Self;
    /// Stores only the first n elements.
    unsafe fn store_part(self, p: *mut f32, n: usize);
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    unsafe fn div(self, b: Self) -> Self;
    /// The larger of each two elements; NaN if either is NaN.
    unsafe fn larger(self, b: Self) -> Self;
    /// The smaller of each two elements; NaN if either is NaN.
    unsafe fn smaller(self, b: Self) -> Self;
    /// self b + c
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// The sum of the elements, by halves.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut t = [0.0; 16];
        // SAFETY: no vector has more than 16 entries.
        unsafe { self.store(t.as_mut_ptr()) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                t[i] += t[i + half];
            }
            half /= 2;
        }
        t[0]
    }
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's contract.
        unsafe { p.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller's contract.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        for (i, x) in self.into_iter().enumerate().take(n) {
            // SAFETY: the caller's contract.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] / b[i])
    }
    #[inline(always)]
    unsafe fn larger(self, b: Self) -> Self {
        std::array::from_fn(|i| crate::rows::larger(self[i], b[i]))
    }
    #[inline(always)]
    unsafe fn smaller(self, b: Self) -> Self {
        std::array::from_fn(|i| crate::rows::smaller(self[i], b[i]))
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        std::array::from_fn(|i| self[i] * b[i] + c[i])
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::turn_avx;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use core::arch::x86_64::*;

    /// Eight elements of all ones, then eight of zeros: the mask of the first n elements starts at 8 - n.
    static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    // SAFETY of all blocks below: the methods run only where the instruction set is enabled, on pointers that the caller vouches for;
    // masked entries are not touched.
    impl Vector for __m256 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> Self {
            unsafe { _mm256_maskload_ps(p, _mm256_loadu_si256(MASK.as_ptr().add(8 - n).cast())) }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            unsafe { _mm256_maskstore_ps(p, _mm256_loadu_si256(MASK.as_ptr().add(8 - n).cast()), self) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { _mm256_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            unsafe { _mm256_sub_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            unsafe { _mm256_mul_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            unsafe { _mm256_div_ps(self, b) }
        }
        // The instructions return b where either operand is NaN.
        #[inline(always)]
        unsafe fn larger(self, b: Self) -> Self {
            unsafe { _mm256_blendv_ps(_mm256_max_ps(self, b), self, _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self)) }
        }
        #[inline(always)]
        unsafe fn smaller(self, b: Self) -> Self {
            unsafe { _mm256_blendv_ps(_mm256_min_ps(self, b), self, _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self)) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }
    }

    impl Vector for __m512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps((1u16 << n) - 1, p) }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(p, (1u16 << n) - 1, self) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { _mm512_add_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            unsafe { _mm512_sub_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            unsafe { _mm512_mul_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            unsafe { _mm512_div_ps(self, b) }
        }
        #[inline(always)]
        unsafe fn larger(self, b: Self) -> Self {
            unsafe { _mm512_mask_mov_ps(_mm512_max_ps(self, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self), self) }
        }
        #[inline(always)]
        unsafe fn smaller(self, b: Self) -> Self {
            unsafe { _mm512_mask_mov_ps(_mm512_min_ps(self, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self), self) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }
    }

    /// Transposes 8 x 8 elements, with these row strides.
    #[inline(always)]
    pub(crate) unsafe fn turn_avx(from: *const f32, from_step: isize, to: *mut f32, to_step: isize) {
        unsafe {
            let row = |i: isize| _mm256_loadu_ps(from.offset(i * from_step));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (e, f, g, h) = (row(4), row(5), row(6), row(7));
            // interleaves pairs of rows, then fours, then the halves
            let (ab, ba) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd, dc) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (ef, fe) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
            let (gh, hg) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
            let fours = [
                (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0x44>(ef, gh)),
                (_mm256_shuffle_ps::<0xee>(ab, cd), _mm256_shuffle_ps::<0xee>(ef, gh)),
                (_mm256_shuffle_ps::<0x44>(ba, dc), _mm256_shuffle_ps::<0x44>(fe, hg)),
                (_mm256_shuffle_ps::<0xee>(ba, dc), _mm256_shuffle_ps::<0xee>(fe, hg)),
            ];
            for (i, (x, y)) in fours.into_iter().enumerate() {
                let i = i as isize;
                _mm256_storeu_ps(to.offset(i * to_step), _mm256_permute2f128_ps::<0x20>(x, y));
                _mm256_storeu_ps(to.offset((i + 4) * to_step), _mm256_permute2f128_ps::<0x31>(x, y));
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Vector;
    use core::arch::aarch64::*;

    // SAFETY of all blocks below: NEON is part of the target; pointers are the caller's, and only n entries are touched by parts.
    impl Vector for float32x4_t {
        const LANES: usize = 4;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { vst1q_f32(p, self) }
        }
        #[inline(always)]
        unsafe fn load_part(p: *const f32, n: usize) -> Self {
            let t: [f32; 4] = std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 });
            unsafe { vld1q_f32(t.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store_part(self, p: *mut f32, n: usize) {
            let mut t = [0.0; 4];
            unsafe { vst1q_f32(t.as_mut_ptr(), self) };
            for (i, x) in t.into_iter().enumerate().take(n) {
                unsafe { *p.add(i) = x }
            }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { vaddq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn sub(self, b: Self) -> Self {
            unsafe { vsubq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn mul(self, b: Self) -> Self {
            unsafe { vmulq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn div(self, b: Self) -> Self {
            unsafe { vdivq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn larger(self, b: Self) -> Self {
            unsafe { vmaxq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn smaller(self, b: Self) -> Self {
            unsafe { vminq_f32(self, b) }
        }
        #[inline(always)]
        unsafe fn fma(self, b: Self, c: Self) -> Self {
            unsafe { vfmaq_f32(c, self, b) }
        }
    }
}
