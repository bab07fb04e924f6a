//! The register tile of a product: `R` rows of C by `N` vectors of its columns, accumulated over the whole depth in registers.

use crate::isa::Isa;
use crate::vector::Vector;

/// A matrix: where it starts, and the distances between rows and between columns.
#[derive(Clone, Copy)]
pub(crate) struct Mat {
    pub at: *const f32,
    pub rs: isize,
    pub cs: isize,
}

/// A matrix that is written.
#[derive(Clone, Copy)]
pub(crate) struct MatMut {
    pub at: *mut f32,
    pub rs: isize,
    pub cs: isize,
}

impl Mat {
    pub fn transposed(self) -> Self {
        Self { at: self.at, rs: self.cs, cs: self.rs }
    }
    /// The part that starts there; inside of the matrix, or at its end.
    #[inline(always)]
    pub fn from(self, row: usize, column: usize) -> Self {
        Self { at: self.at.wrapping_offset(row as isize * self.rs + column as isize * self.cs), ..self }
    }
}

impl MatMut {
    pub fn transposed(self) -> Self {
        Self { at: self.at, rs: self.cs, cs: self.rs }
    }
    #[inline(always)]
    pub fn from(self, row: usize, column: usize) -> Self {
        Self { at: self.at.wrapping_offset(row as isize * self.rs + column as isize * self.cs), ..self }
    }
}

/// C = alpha A B + beta C for `R` rows and `cols` columns, at most N vectors. A has any strides. B's rows are contiguous; with `WHOLE` they can
/// be read up to N whole vectors, else only `cols` entries of them. For beta = 0, C is not read.
#[inline(always)]
pub(crate) unsafe fn tile<I: Isa, const R: usize, const N: usize, const WHOLE: bool>(
    cols: usize,
    k: usize,
    alpha: f32,
    a: Mat,
    b: Mat,
    beta: f32,
    c: MatMut,
) {
    let lanes = I::V::LANES;
    let (full, part) = (cols / lanes, cols % lanes);
    // SAFETY: rows below R, depth below k and columns below `cols` are inside of the matrices.
    unsafe {
        let mut acc = [[I::V::splat(0.0); N]; R];
        let mut bp = b.at;
        let mut ap = a.at;
        for _ in 0..k {
            let mut bv = [I::V::splat(0.0); N];
            for (j, v) in bv.iter_mut().enumerate() {
                let at = bp.wrapping_add(j * lanes);
                if WHOLE || j < full {
                    *v = I::V::load(at);
                } else if j == full && part > 0 {
                    *v = I::V::load_part(at, part);
                }
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = I::V::splat(*ap.offset(i as isize * a.rs));
                for (acc, v) in row.iter_mut().zip(bv) {
                    *acc = x.fma(v, *acc);
                }
            }
            bp = bp.wrapping_offset(b.rs);
            ap = ap.wrapping_offset(a.cs);
        }
        let factor = I::V::splat(alpha);
        let keep = I::V::splat(beta);
        if c.cs == 1 {
            for (i, row) in acc.into_iter().enumerate() {
                for (j, acc) in row.into_iter().enumerate() {
                    let at = c.at.offset(i as isize * c.rs).wrapping_add(j * lanes);
                    let sum = acc.mul(factor);
                    if j < full {
                        let y = if beta == 0.0 { sum } else { I::V::load(at).fma(keep, sum) };
                        y.store(at);
                    } else if j == full && part > 0 {
                        let y = if beta == 0.0 { sum } else { I::V::load_part(at, part).fma(keep, sum) };
                        y.store_part(at, part);
                    }
                }
            }
        } else {
            for (i, row) in acc.into_iter().enumerate() {
                // No vector has more than 16 entries, no tile more than 4 vectors.
                let mut line = [0.0; 64];
                for (j, acc) in row.into_iter().enumerate() {
                    acc.mul(factor).store(line.as_mut_ptr().add(j * lanes));
                }
                for (j, x) in line.into_iter().enumerate().take(cols) {
                    let at = c.at.offset(i as isize * c.rs + j as isize * c.cs);
                    *at = if beta == 0.0 { x } else { I::fma(beta, *at, x) };
                }
            }
        }
    }
}
