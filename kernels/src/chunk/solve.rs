//! The unit lower triangular solve, in blocks of rows: the contribution of earlier blocks is a matrix product, the rest is solved row by
//! row.

use crate::gemm::gemm;
use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// Rows per block.
const BLOCK: usize = 16;

/// x_i += sum over the rows j of a block of a_j x_j, where `step` is the stride of a.
#[inline(always)]
unsafe fn add_rows<I: Isa>(
    x: *mut f32,
    sx: usize,
    v: usize,
    i: usize,
    rows: std::ops::Range<usize>,
    a: *const f32,
    step: usize,
) {
    let lanes = I::V::LANES;
    // SAFETY: rows and columns are inside of x.
    unsafe {
        let to = x.add(i * sx);
        let mut c = 0;
        while c + 4 * lanes <= v {
            let mut acc = [I::V::splat(0.0); 4];
            for (s, acc) in acc.iter_mut().enumerate() {
                *acc = I::V::load(to.add(c + s * lanes));
            }
            for j in rows.clone() {
                let f = I::V::splat(*a.add(j * step));
                let from = x.add(j * sx + c);
                for (s, acc) in acc.iter_mut().enumerate() {
                    *acc = f.fma(I::V::load(from.add(s * lanes)), *acc);
                }
            }
            for (s, acc) in acc.into_iter().enumerate() {
                acc.store(to.add(c + s * lanes));
            }
            c += 4 * lanes;
        }
        while c < v {
            let m = lanes.min(v - c);
            let mut acc = if m == lanes { I::V::load(to.add(c)) } else { I::V::load_part(to.add(c), m) };
            for j in rows.clone() {
                let f = I::V::splat(*a.add(j * step));
                let from = x.add(j * sx + c);
                acc = f.fma(if m == lanes { I::V::load(from) } else { I::V::load_part(from, m) }, acc);
            }
            if m == lanes {
                acc.store(to.add(c))
            } else {
                acc.store_part(to.add(c), m)
            }
            c += m;
        }
    }
}

#[inline(always)]
unsafe fn solve_body<I: Isa>(
    _: I,
    n: usize,
    v: usize,
    a: *const f32,
    sa: usize,
    transpose: bool,
    x: *mut f32,
    sx: usize,
) {
    let (ra, rx) = (sa as isize, sx as isize);
    let count = n.div_ceil(BLOCK);
    // SAFETY: the caller's contract.
    unsafe {
        for b in 0..count {
            let b = if transpose { count - 1 - b } else { b };
            let (from, to) = (b * BLOCK, n.min((b + 1) * BLOCK));
            let rows = to - from;
            let block = x.add(from * sx);
            if transpose {
                // The blocks below, through the columns of A under this block.
                let below = n - to;
                if below > 0 {
                    gemm(rows, v, below, 1.0, a.add(to * sa + from), 1, ra, x.add(to * sx), rx, 1, 1.0, block, rx, 1);
                }
                for i in (from..to).rev() {
                    add_rows::<I>(x, sx, v, i, i + 1..to, a.add(i), sa);
                }
            } else {
                if from > 0 {
                    gemm(rows, v, from, 1.0, a.add(from * sa), ra, 1, x, rx, 1, 1.0, block, rx, 1);
                }
                for i in from..to {
                    add_rows::<I>(x, sx, v, i, from..i, a.add(i * sa), 1);
                }
            }
        }
    }
}

versions! {
    /// Solves (I - tril(A, -1)) P = x, or the transposed system, in place: x `[n, v]` becomes P. Of A `[n, n]` only the entries below the
    /// diagonal are read.
    pub unsafe fn solve_unit_lower(n: usize, v: usize, a: *const f32, sa: usize, transpose: bool, x: *mut f32, sx: usize) = solve_body;
}
