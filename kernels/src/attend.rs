//! The online softmax of an attend, tile by tile (arXiv 1805.02867): per row, the maximum score so far and the sum of exp(score - maximum);
//! when a tile raises the maximum, the earlier sum is scaled down.

use crate::elementwise::math;
use crate::isa::{Isa, versions};
use crate::lines::ask;
use crate::rows::{anchor, halves};
use crate::vector::Vector;

/// The mask of a tile: the columns that are visible to each row.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// Mask elements `[rows, cols]`, 0 where a column is not visible; null if this hides nothing.
    pub at: *const f32,
    /// Row stride of `at`, in elements.
    pub stride: usize,
    /// The column range of each row, first and end, outside of which nothing is visible; or null. Causality and documents are such spans,
    /// and nothing is computed outside of them.
    pub spans: *const [u32; 2],
}

impl Mask {
    /// The mask that hides nothing.
    pub const ALL: Self = Self { at: std::ptr::null(), stride: 0, spans: std::ptr::null() };

    /// The column range, first and end, of row `i` in which columns may be visible.
    #[inline(always)]
    unsafe fn span(self, i: usize, cols: usize) -> (usize, usize) {
        if self.spans.is_null() {
            return (0, cols);
        }
        // SAFETY: the caller's contract.
        let [from, to] = unsafe { *self.spans.add(i) };
        (from as usize, to as usize)
    }

    /// Loads group `g` of a row of scores, with `hidden` in the columns that are not visible.
    #[inline(always)]
    unsafe fn group(
        self,
        i: usize,
        g: usize,
        cols: usize,
        (from, to): (usize, usize),
        row: *const f32,
        hidden: f32,
    ) -> [f32; GROUP] {
        let j = g * GROUP;
        // SAFETY: the caller's contract; a partial last group is read element by element.
        unsafe {
            let mut x = read(row, j, cols, hidden);
            if j < from || j + GROUP > to {
                for (l, x) in x.iter_mut().enumerate() {
                    *x = if from <= j + l && j + l < to { *x } else { hidden };
                }
            }
            if !self.at.is_null() {
                let mask = read(self.at.add(i * self.stride), j, cols, 0.0);
                for (x, m) in x.iter_mut().zip(mask) {
                    *x = if m != 0.0 { *x } else { hidden };
                }
            }
            x
        }
    }
}

/// Columns per group. Rows are processed in whole groups, and the ends of spans are masked within a group.
const GROUP: usize = 16;

/// Loads one group from column `j` of a row of `n` elements, with `past` beyond its end.
#[inline(always)]
unsafe fn read(row: *const f32, j: usize, n: usize, past: f32) -> [f32; GROUP] {
    // SAFETY: the caller's contract.
    unsafe {
        if j + GROUP <= n {
            return row.add(j).cast::<[f32; GROUP]>().read_unaligned();
        }
        std::array::from_fn(|l| if j + l < n { *row.add(j + l) } else { past })
    }
}

/// Stores one group from column `j` of a row of `n` elements, without writing beyond its end.
#[inline(always)]
unsafe fn write(row: *mut f32, j: usize, n: usize, x: [f32; GROUP]) {
    // SAFETY: the caller's contract.
    unsafe {
        if j + GROUP <= n {
            return row.add(j).cast::<[f32; GROUP]>().write_unaligned(x);
        }
        for (l, x) in x.into_iter().enumerate().take(n - j) {
            *row.add(j + l) = x;
        }
    }
}

/// The groups of a row in which columns may be visible.
#[inline(always)]
fn inside((from, to): (usize, usize)) -> std::ops::Range<usize> {
    if from < to { from / GROUP..to.div_ceil(GROUP) } else { 0..0 }
}

/// Returns the groups of [`inside`] and sets the output row to 0 outside of them.
#[inline(always)]
unsafe fn groups(span: (usize, usize), cols: usize, out: *mut f32) -> std::ops::Range<usize> {
    let groups = inside(span);
    for g in (0..groups.start).chain(groups.end..cols.div_ceil(GROUP)) {
        // SAFETY: the caller's contract.
        unsafe { write(out, g * GROUP, cols, [0.0; GROUP]) };
    }
    groups
}

#[inline(always)]
unsafe fn update_body<I: Isa>(
    _: I,
    rows: usize,
    cols: usize,
    s: *const f32,
    ss: usize,
    mask: Mask,
    p: *mut f32,
    sp: usize,
    max: *mut f32,
    sum: *mut f32,
    factor: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        // The maxima come first, so that the factors of all rows are computed side by side. A NaN score is skipped here and gives a NaN
        // weight below.
        for i in 0..rows {
            let row = s.add(i * ss);
            let span = mask.span(i, cols);
            let mut top = [f32::NEG_INFINITY; GROUP];
            for g in inside(span) {
                let x = mask.group(i, g, cols, span, row, f32::NEG_INFINITY);
                for l in 0..GROUP {
                    top[l] = if x[l] > top[l] { x[l] } else { top[l] };
                }
            }
            let (old, new) = (*max.add(i), halves(top, |a, b| if a > b { a } else { b }));
            *factor.add(i) = old;
            *max.add(i) = if new > old { new } else { old };
        }
        for i in 0..rows {
            // before its first visible tile a row has the maximum -inf, and exp(-inf) is 0
            *factor.add(i) = math::exp::<I>(*factor.add(i) - anchor(*max.add(i)));
        }
        for i in 0..rows {
            let (row, out) = (s.add(i * ss), p.add(i * sp));
            let (m, span) = (anchor(*max.add(i)), mask.span(i, cols));
            let (mut total, mut acc) = (0.0, [0.0; GROUP]);
            for g in groups(span, cols, out) {
                let mut e = mask.group(i, g, cols, span, row, f32::NEG_INFINITY);
                for l in 0..GROUP {
                    e[l] = math::exp::<I>(e[l] - m);
                    acc[l] += e[l];
                }
                write(out, g * GROUP, cols, e);
                // at most PIECE groups are summed in f32
                if g % PIECE == PIECE - 1 {
                    total += f64::from(halves(std::mem::replace(&mut acc, [0.0; GROUP]), |a, b| a + b));
                }
            }
            total += f64::from(halves(acc, |a, b| a + b));
            *sum.add(i) = (f64::from(*sum.add(i)) * f64::from(*factor.add(i)) + total) as f32;
        }
    }
}

/// Groups that are summed in f32 before the sum is added in f64.
const PIECE: usize = 128;

#[inline(always)]
unsafe fn weights_body<I: Isa>(
    _: I,
    rows: usize,
    cols: usize,
    s: *const f32,
    ss: usize,
    mask: Mask,
    max: *const f32,
    log: *const f32,
    p: *mut f32,
    sp: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows {
            let (row, out) = (s.add(i * ss), p.add(i * sp));
            let (m, log, span) = (anchor(*max.add(i)), *log.add(i), mask.span(i, cols));
            for g in groups(span, cols, out) {
                let mut e = mask.group(i, g, cols, span, row, f32::NEG_INFINITY);
                for e in &mut e {
                    *e = math::exp::<I>((*e - m) - log);
                }
                write(out, g * GROUP, cols, e);
            }
        }
    }
}

#[inline(always)]
unsafe fn masked_body<I: Isa>(
    _: I,
    rows: usize,
    cols: usize,
    s: *const f32,
    ss: usize,
    mask: Mask,
    p: *mut f32,
    sp: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows {
            let (row, out) = (s.add(i * ss), p.add(i * sp));
            let span = mask.span(i, cols);
            for g in groups(span, cols, out) {
                write(out, g * GROUP, cols, mask.group(i, g, cols, span, row, 0.0));
            }
        }
    }
}

#[inline(always)]
unsafe fn scale_rows_body<I: Isa>(_: I, rows: usize, n: usize, factor: *const f32, y: *mut f32, sy: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows {
            let (f, row) = (*factor.add(i), y.add(i * sy));
            for j in 0..n {
                *row.add(j) *= f;
            }
        }
    }
}

/// Rows by which the prefetch runs ahead of the copy.
const SOON: isize = 12;

#[inline(always)]
unsafe fn copy_rows_body<I: Isa>(_: I, rows: usize, n: usize, x: *const f32, sx: isize, y: *mut f32, sy: isize) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows as isize {
            let (x, y) = (x.offset(i * sx), y.offset(i * sy));
            // the hardware prefetcher does not follow large strides
            ask(x.wrapping_offset(SOON * sx), 1);
            ask(y.wrapping_offset(SOON * sy), 1);
            let mut j = 0;
            while j + I::V::LANES <= n {
                I::V::load(x.add(j)).store(y.add(j));
                j += I::V::LANES;
            }
            for j in j..n {
                *y.add(j) = *x.add(j);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_rows_body<I: Isa>(_: I, rows: usize, n: usize, x: *const f32, sx: isize, y: *mut f32, sy: isize) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows as isize {
            let (x, y) = (x.offset(i * sx), y.offset(i * sy));
            ask(y.wrapping_offset(SOON * sy), 1);
            let mut j = 0;
            while j + I::V::LANES <= n {
                I::V::load(y.add(j)).add(I::V::load(x.add(j))).store(y.add(j));
                j += I::V::LANES;
            }
            for j in j..n {
                *y.add(j) += *x.add(j);
            }
        }
    }
}

versions! {
    /// Adds a tile of scores s `[rows, cols]` to the online softmax: p becomes exp(s - new max), 0 where not visible; `max` and `sum` are
    /// updated (they start at -inf and 0, or for a sink at its score and 1); `factor` becomes the factor by which the caller scales its
    /// sums over earlier tiles. p may be s.
    pub unsafe fn update(
        rows: usize, cols: usize, s: *const f32, ss: usize, mask: Mask, p: *mut f32, sp: usize, max: *mut f32, sum: *mut f32,
        factor: *mut f32,
    ) = update_body;
    /// Recomputes the weights for the backward pass: p becomes exp(s - max - log), 0 where not visible, with the maximum score and the
    /// logarithm of the sum as [`finish`] leaves them. p may be s.
    pub unsafe fn weights(
        rows: usize, cols: usize, s: *const f32, ss: usize, mask: Mask, max: *const f32, log: *const f32, p: *mut f32, sp: usize,
    ) = weights_body;
    /// Applies a mask: p `[rows, cols]` becomes s, 0 where not visible. p may be s.
    pub unsafe fn masked(
        rows: usize, cols: usize, s: *const f32, ss: usize, mask: Mask, p: *mut f32, sp: usize,
    ) = masked_body;
    /// Multiplies row i of y `[rows, n]` by `factor[i]`.
    pub unsafe fn scale_rows(rows: usize, n: usize, factor: *const f32, y: *mut f32, sy: usize) = scale_rows_body;
    /// Copies x to y, both `[rows, n]`: short rows at large strides.
    pub unsafe fn copy_rows(rows: usize, n: usize, x: *const f32, sx: isize, y: *mut f32, sy: isize) = copy_rows_body;
    /// Adds x to y, both `[rows, n]`.
    pub unsafe fn add_rows(rows: usize, n: usize, x: *const f32, sx: isize, y: *mut f32, sy: isize) = add_rows_body;
}

/// Ends the online softmax: `sum` becomes the factor that normalises the rows (0 where nothing was visible), and `log` the logarithm of the
/// former `sum` (0 where nothing was visible; `max` is -inf there). `max` + `log` is the logsumexp; stored as one f32, it would lose the
/// digits of `log` where scores are huge.
pub unsafe fn finish(rows: usize, max: *mut f32, sum: *mut f32, log: *mut f32) {
    for i in 0..rows {
        // SAFETY: the caller's contract.
        unsafe {
            let s = *sum.add(i);
            if s == 0.0 {
                *max.add(i) = f32::NEG_INFINITY;
            }
            *log.add(i) = if s == 0.0 { 0.0 } else { f64::from(s).ln() as f32 };
            *sum.add(i) = if s == 0.0 { 0.0 } else { 1.0 / s };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    #[test]
    fn tiles_make_a_softmax() {
        at_each_level(|_| {
            let (rows, cols, tile) = (5, 70, 32);
            let s: Vec<f32> = (0..rows * cols).map(|i| ((i * 7919) % 1009) as f32 / 20.0 - 25.0).collect();
            // Row 0 sees nothing, row 1 only the last tile, the others most, and row 4 no column from 50 on.
            let mask: Vec<f32> = (0..rows * cols)
                .map(|i| match (i / cols, i % cols) {
                    (0, _) => 0.0,
                    (1, j) => f32::from(u8::from(j > 66)),
                    (4, j) => f32::from(u8::from(j < 50)),
                    (_, j) => f32::from(u8::from(j % 5 != 3)),
                })
                .collect();
            // The mask without that of row 4, which is hidden by its span alone.
            let free: Vec<f32> = mask.iter().enumerate().map(|(i, m)| if i / cols == 4 { 1.0 } else { *m }).collect();
            let (mut max, mut sum, mut factor) = (vec![f32::NEG_INFINITY; rows], vec![0.0; rows], vec![0.0; rows]);
            let (mut y, mut log) = (vec![0.0; rows], vec![f32::NAN; rows]);
            let mut p = vec![f32::NAN; rows * cols];
            let mut from = 0;
            while from < cols {
                let n = tile.min(cols - from);
                // SAFETY: the tile lies inside of the matrices.
                unsafe {
                    // The last row is cut off by its span, not by its mask.
                    let mut spans = [[0, n as u32]; 5];
                    spans[4][1] = n.min(50usize.saturating_sub(from)) as u32;
                    let part = Mask { at: free.as_ptr().add(from), stride: cols, spans: spans.as_ptr() };
                    let s = s.as_ptr().add(from);
                    let p = p.as_mut_ptr().add(from);
                    update(rows, n, s, cols, part, p, cols, max.as_mut_ptr(), sum.as_mut_ptr(), factor.as_mut_ptr());
                    scale_rows(rows, 1, factor.as_ptr(), y.as_mut_ptr(), 1);
                }
                for i in 0..rows {
                    y[i] += (from..from + n).map(|j| p[i * cols + j] * j as f32).sum::<f32>();
                }
                from += n;
            }
            let mut w = s.clone();
            // SAFETY: as above.
            unsafe {
                finish(rows, max.as_mut_ptr(), sum.as_mut_ptr(), log.as_mut_ptr());
                scale_rows(rows, 1, sum.as_ptr(), y.as_mut_ptr(), 1);
                let all = Mask { at: mask.as_ptr(), stride: cols, ..Mask::ALL };
                weights(rows, cols, w.as_ptr(), cols, all, max.as_ptr(), log.as_ptr(), w.as_mut_ptr(), cols);
            }
            assert_eq!((y[0], max[0], log[0]), (0.0, f32::NEG_INFINITY, 0.0));
            for i in 0..rows {
                let e = |j: usize| f64::from(mask[i * cols + j]) * f64::from(s[i * cols + j]).exp();
                let total: f64 = (0..cols).map(e).sum();
                for j in 0..cols {
                    let want = if total == 0.0 { 0.0 } else { e(j) / total };
                    // Exponents up to 50 are rounded by 2e-6.
                    assert!((f64::from(w[i * cols + j]) - want).abs() < 2e-6);
                }
                if i > 0 {
                    let want: f64 = (0..cols).map(|j| e(j) / total * j as f64).sum();
                    assert!((f64::from(y[i]) - want).abs() < 1e-4, "{} {want}", y[i]);
                    assert!((f64::from(max[i]) + f64::from(log[i]) - total.ln()).abs() < 1e-6);
                }
            }
        });
    }
    #[test]
    fn masks_and_moves() {
        at_each_level(|_| {
            let s: Vec<f32> = (1..=12).map(|i| i as f32).collect();
            let shown = [1.0, 0.0, 1.0, 1.0];
            let spans = [[0, 4], [1, 3], [2, 2]];
            let mut p = [f32::NAN; 12];
            // SAFETY: three rows of four; one row of the mask for all.
            unsafe {
                let mask = Mask { at: shown.as_ptr(), stride: 0, spans: spans.as_ptr() };
                masked(3, 4, s.as_ptr(), 4, mask, p.as_mut_ptr(), 4);
            }
            assert_eq!(p, [1.0, 0.0, 3.0, 4.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            let mut y = [1.0; 12];
            // SAFETY: as above.
            unsafe {
                masked(3, 4, s.as_ptr(), 4, Mask::ALL, p.as_mut_ptr(), 4);
                add_rows(2, 3, p.as_ptr(), 4, y.as_mut_ptr(), 4);
                copy_rows(1, 2, p.as_ptr().add(4), 4, y.as_mut_ptr().add(8), 4);
            }
            assert_eq!(p[..], s[..]);
            assert_eq!(y, [2.0, 3.0, 4.0, 1.0, 6.0, 7.0, 8.0, 1.0, 5.0, 6.0, 1.0, 1.0]);
        });
    }
}
