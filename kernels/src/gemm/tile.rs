//! The register tile of a product: `R` rows of C by `N` vectors of its columns, accumulated over the whole depth in registers.

use super::ahead::Ahead;
use crate::isa::Isa;
use crate::lines::ask;
use crate::vector::Vector;

/// A matrix: its first element, and its row and column strides in elements.
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
    /// The submatrix from this row and column on; they lie inside of the matrix, or at its end.
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

/// The task of a tile: C = alpha A B + beta C, with `cols` columns and the depth `k`.
pub(crate) struct Task {
    pub cols: usize,
    pub k: usize,
    pub alpha: f32,
    pub a: Mat,
    pub b: Mat,
    pub beta: f32,
    pub c: MatMut,
    /// Cache lines that are read next: one of each stream is prefetched every four steps of the depth.
    pub ahead: [Ahead; 2],
}

/// Computes a task of `R` rows and at most `N` vectors of columns. With `BY_ROWS`, A's rows are contiguous, else its columns are, as in a
/// packed panel. B's rows are contiguous; with `WHOLE` they can be read up to `N` whole vectors, otherwise only `cols` entries of them. For
/// beta = 0, C is not read.
#[inline(always)]
pub(crate) unsafe fn tile<I: Isa, const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(task: &Task) {
    let Task { cols, alpha, beta, c, .. } = *task;
    let lanes = I::V::LANES;
    let (full, part) = (cols / lanes, cols % lanes);
    // SAFETY: rows below R, depth below k and columns below `cols` are inside of the matrices.
    unsafe {
        if c.cs == 1 {
            // C's lines arrive while the sums are computed.
            for i in 0..R {
                ask(c.at.wrapping_offset(i as isize * c.rs), 1);
            }
        }
        let acc = I::sums::<R, N, WHOLE, BY_ROWS>(task);
        let factor = I::V::splat(alpha);
        let keep = I::V::splat(beta);
        if c.cs == 1 && full == N {
            for (i, row) in acc.into_iter().enumerate() {
                let at = c.at.wrapping_offset(i as isize * c.rs);
                for (j, acc) in row.into_iter().enumerate() {
                    let at = at.wrapping_add(j * lanes);
                    let sum = acc.mul(factor);
                    let y = if beta == 0.0 { sum } else { I::V::load(at).fma(keep, sum) };
                    y.store(at);
                }
            }
        } else if c.cs == 1 {
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

/// The sums of a tile over its depth, for every instruction set.
#[inline(always)]
pub(crate) unsafe fn sums<I: Isa, const R: usize, const N: usize, const WHOLE: bool, const BY_ROWS: bool>(
    task: &Task,
) -> [[I::V; N]; R] {
    let Task { cols, k, a, b, .. } = *task;
    let lanes = I::V::LANES;
    let (full, part) = (cols / lanes, cols % lanes);
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[I::V::splat(0.0); N]; R];
        let mut bp = b.at;
        let [mut soon, mut later] = task.ahead;
        macro_rules! step {
            ($p:ident, |$i:ident| $x:expr) => {{
                if $p % 4 == 0 {
                    soon.ask();
                    later.ask();
                }
                let mut bv = [I::V::splat(0.0); N];
                for (j, v) in bv.iter_mut().enumerate() {
                    let at = bp.wrapping_add(j * lanes);
                    if WHOLE || j < full {
                        *v = I::V::load(at);
                    } else if j == full && part > 0 {
                        *v = I::V::load_part(at, part);
                    }
                }
                for ($i, row) in acc.iter_mut().enumerate() {
                    let x = I::V::splat($x);
                    for (acc, v) in row.iter_mut().zip(bv) {
                        *acc = x.fma(v, *acc);
                    }
                }
                bp = bp.wrapping_offset(b.rs);
            }};
        }
        if BY_ROWS {
            // One pointer per row and a common offset: no address depends on another.
            let rows: [*const f32; R] = std::array::from_fn(|i| a.at.wrapping_offset(i as isize * a.rs));
            for p in 0..k {
                step!(p, |i| *rows[i].add(p));
            }
        } else {
            let mut ap = a.at;
            for p in 0..k {
                step!(p, |i| *ap.add(i));
                ap = ap.wrapping_offset(a.cs);
            }
        }
        acc
    }
}
