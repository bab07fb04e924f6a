//! Products of matrices of which only a band is used, as where a triangle of a tile is visible: register tiles outside of it are skipped.

use super::ahead::Ahead;
use super::pack::pack;
use super::tile::{Mat, MatMut, Task};
use super::{DEPTH, POINTERS, SKINNY, gemm, part, run_tile};
use crate::isa::{Isa, versions};
use crate::room::{keep_panels, panels};
use crate::vector::Vector;

/// The entries of a matrix with `least <= column - row <= most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// The smallest `column - row`.
    pub least: isize,
    /// The largest `column - row`.
    pub most: isize,
}

impl Band {
    /// The band of the same entries in the transposed matrix.
    pub fn transposed(self) -> Self {
        Self { least: -self.most, most: -self.least }
    }

    /// Whether the band covers a whole matrix `[rows, cols]`.
    pub fn holds(self, rows: usize, cols: usize) -> bool {
        self.least <= 1 - rows as isize && self.most >= cols as isize - 1
    }

    /// The columns, first and end, in which some of the `rows` rows from `first` on have entries.
    #[inline(always)]
    fn columns(self, first: usize, rows: usize, cols: usize) -> (usize, usize) {
        let from = (first as isize + self.least).clamp(0, cols as isize);
        let end = ((first + rows) as isize + self.most).clamp(from, cols as isize);
        (from as usize, end as usize)
    }
}

/// The matrix of which only a band is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banded {
    /// The result: entries outside of the band may be skipped (as if A B were 0 there).
    Result(Band),
    /// The left operand: it is 0 outside of the band.
    Left(Band),
}

#[inline(always)]
unsafe fn body<I: Isa>(_: I, which: Banded, m: usize, n: usize, k: usize, a: Mat, b: Mat, beta: f32, c: MatMut) {
    let width = I::COLS * I::V::LANES;
    let most = I::ROWS.min(POINTERS);
    let count = m.div_ceil(most);
    // SAFETY: all parts are inside of the matrices; the room is as large as the panels of B.
    unsafe {
        let mut lent = panels();
        let packs = b.cs != 1;
        let room = if packs { lent.1.of(k * n.next_multiple_of(width)) } else { std::ptr::null_mut() };
        let ahead = [Ahead::nothing(c.at); 2];
        let mut j = 0;
        while j < n {
            let cols = width.min(n - j);
            let mut panel = b.from(0, j);
            if packs {
                let to = room.add(j * k);
                pack::<I>(panel, k, cols, width, to);
                panel = Mat { at: to, rs: width as isize, cs: 1 };
            }
            for i in 0..count {
                let (i0, rows) = part(m, count, i);
                let c = c.from(i0, j);
                let (from, end) = match which {
                    Banded::Left(band) => band.columns(i0, rows, k),
                    Banded::Result(band) => {
                        let (from, end) = band.columns(i0, rows, n);
                        if from < j + cols && j < end { (0, k) } else { (0, 0) }
                    }
                };
                if from == end {
                    for r in 0..if beta == 0.0 { rows } else { 0 } {
                        std::slice::from_raw_parts_mut(c.from(r, 0).at, cols).fill(0.0);
                    }
                    continue;
                }
                let a = a.from(i0, from);
                let task = Task { cols, k: end - from, alpha: 1.0, a, b: panel.from(from, 0), beta, c, ahead };
                run_tile::<I, 2>(rows, packs || cols == width, &task);
            }
            j += width;
        }
        keep_panels(lent);
    }
}

versions! {
    unsafe fn dispatch(which: Banded, m: usize, n: usize, k: usize, a: Mat, b: Mat, beta: f32, c: MatMut) = body;
}

/// C = A B + beta C as in [`gemm`], where optionally only a band of one matrix is used. beta is 0 or 1.
pub unsafe fn gemm_banded(
    which: Option<Banded>,
    m: usize,
    n: usize,
    k: usize,
    a: *const f32,
    rsa: isize,
    csa: isize,
    b: *const f32,
    rsb: isize,
    csb: isize,
    beta: f32,
    c: *mut f32,
    rsc: isize,
    csc: isize,
) {
    debug_assert!(beta == 0.0 || beta == 1.0, "what is skipped is not scaled");
    let part = which.filter(|which| match which {
        Banded::Result(band) => !band.holds(m, n),
        Banded::Left(band) => !band.holds(m, k),
    });
    // where `gemm` takes a path of its own, or splits the depth into several blocks, sums have to keep its order
    let plain = m > SKINNY && n > SKINNY && (1..=DEPTH).contains(&k) && csc == 1 && (rsa == 1 || csa == 1);
    // SAFETY: the caller's contract; a product over all entries is also right where some may be skipped.
    unsafe {
        match part.filter(|_| plain) {
            None => gemm(m, n, k, 1.0, a, rsa, csa, b, rsb, csb, beta, c, rsc, csc),
            Some(which) => {
                let (a, b) = (Mat { at: a, rs: rsa, cs: csa }, Mat { at: b, rs: rsb, cs: csb });
                dispatch(which, m, n, k, a, b, beta, MatMut { at: c, rs: rsc, cs: csc });
            }
        }
    }
}
