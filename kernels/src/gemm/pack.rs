//! Panels: parts of a matrix, packed in the order in which they are read.

use super::part;
use super::tile::Mat;
use crate::isa::{Isa, versions};
use crate::lines::{LINE, ask};
use crate::vector::Vector;

/// Rows by which the prefetch runs ahead of the reads.
const AHEAD: isize = 16;

/// Copies the matrix `[rows, cols]` to `to`, row-major with rows of `width` elements, zeros past `cols`.
#[inline(always)]
pub(crate) unsafe fn pack<I: Isa>(m: Mat, rows: usize, cols: usize, width: usize, to: *mut f32) {
    // SAFETY: `to` has rows * width entries; every offset is that of an entry.
    unsafe {
        if m.cs == 1 {
            let lanes = I::V::LANES;
            for r in 0..rows {
                let (from, to) = (m.at.offset(r as isize * m.rs), to.add(r * width));
                ask(from.wrapping_offset(AHEAD * m.rs), 1);
                let mut j = 0;
                while j + lanes <= cols {
                    I::V::load(from.add(j)).store(to.add(j));
                    j += lanes;
                }
                while j < width {
                    *to.add(j) = if j < cols { *from.add(j) } else { 0.0 };
                    j += 1;
                }
            }
            return;
        }
        // Blocks of 8 x 8 are transposed in registers where columns are contiguous.
        let mut j = 0;
        while j < cols {
            let nj = (cols - j).min(8);
            let mut r = 0;
            if nj == 8 && m.rs == 1 {
                while r + 8 <= rows {
                    let from = m.at.offset(j as isize * m.cs).add(r);
                    I::turn(from, m.cs, to.add(r * width + j), width as isize);
                    r += 8;
                }
            }
            while r < rows {
                for y in 0..nj {
                    *to.add(r * width + j + y) = *m.at.offset(r as isize * m.rs + (j + y) as isize * m.cs);
                }
                r += 1;
            }
            j += nj;
        }
        if width > cols {
            for r in 0..rows {
                for j in cols..width {
                    *to.add(r * width + j) = 0.0;
                }
            }
        }
    }
}

/// Elements between the panels of A, which a vector store may overwrite past the end of its panel.
pub(crate) const MARGIN: usize = 16;

/// Packs A into panels: `count` nearly equal parts of its m rows, each `[k, rows]`, with [`MARGIN`] elements between them.
#[inline(always)]
pub(crate) unsafe fn pack_rows<I: Isa>(a: Mat, m: usize, k: usize, count: usize, to: *mut f32) {
    /// Steps of the depth for which all panels are packed together: a cache line of A is read for all of them while it is cached.
    const STEPS: usize = 8;
    let lanes = I::V::LANES;
    let mut p = 0;
    while p < k {
        let steps = STEPS.min(k - p);
        if a.rs == 1 {
            (0..steps).for_each(|s| ask(a.from(0, p + STEPS + s).at, m.div_ceil(LINE)));
        }
        for i in 0..count {
            let (i0, r) = part(m, count, i);
            // SAFETY: panels have k rows of r entries and a margin; all reads are inside of A.
            unsafe {
                let (mut from, mut to) = (a.from(i0, p), to.add(i0 * k + i * MARGIN + p * r));
                if a.rs != 1 || r > lanes {
                    pack::<I>(from.transposed(), steps, r, r, to);
                } else if i0 + lanes <= m {
                    for _ in 0..steps {
                        I::V::load(from.at).store(to);
                        (from, to) = (from.from(0, 1), to.add(r));
                    }
                } else {
                    for _ in 0..steps {
                        I::V::load_part(from.at, r).store(to);
                        (from, to) = (from.from(0, 1), to.add(r));
                    }
                }
            }
        }
        p += STEPS;
    }
}

#[inline(always)]
unsafe fn transpose_body<I: Isa>(_: I, rows: usize, cols: usize, from: *const f32, to: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { pack::<I>(Mat { at: from, rs: 1, cs: cols as isize }, cols, rows, rows, to) }
}

versions! {
    /// Transposes a contiguous matrix `[rows, cols]`.
    pub unsafe fn transpose(rows: usize, cols: usize, from: *const f32, to: *mut f32) = transpose_body;
}
