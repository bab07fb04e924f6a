//! The running softmax of an attend, tile by tile (arXiv 1805.02867): per row the largest score so far and the sum of exp of the scores minus it;
//! when a tile raises the largest score, what was summed before is scaled down.

use crate::elementwise::math;
use crate::isa::{Isa, versions};
use crate::rows::{anchor, exp_sum, row_max};

/// A tile's mask: 0 where a column is not visible. Null: all are.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// `[rows, cols]`, or null.
    pub at: *const f32,
    /// Distance between rows.
    pub stride: usize,
}

impl Mask {
    /// Everything is visible.
    pub const ALL: Self = Self { at: std::ptr::null(), stride: 0 };

    /// Replaces what is not visible in a row.
    #[inline(always)]
    unsafe fn apply(self, i: usize, cols: usize, row: *mut f32, hidden: f32) {
        if self.at.is_null() {
            return;
        }
        // SAFETY: the caller's contract.
        unsafe {
            let mask = self.at.add(i * self.stride);
            for j in 0..cols {
                let (x, m) = (*row.add(j), *mask.add(j));
                *row.add(j) = if m != 0.0 { x } else { hidden };
            }
        }
    }
}

#[inline(always)]
unsafe fn update_body<I: Isa>(
    _: I,
    rows: usize,
    cols: usize,
    s: *mut f32,
    ss: usize,
    mask: Mask,
    max: *mut f32,
    sum: *mut f32,
    factor: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows {
            let row = s.add(i * ss);
            mask.apply(i, cols, row, f32::NEG_INFINITY);
            let old = *max.add(i);
            let new = crate::rows::larger(old, row_max(row, cols));
            let down = math::exp::<I>(old - anchor(new));
            let total = exp_sum::<I>(row, cols, anchor(new), |j, e| *row.add(j) = e);
            *max.add(i) = new;
            *factor.add(i) = down;
            *sum.add(i) = (f64::from(*sum.add(i)) * f64::from(down) + total) as f32;
        }
    }
}

#[inline(always)]
unsafe fn weights_body<I: Isa>(_: I, rows: usize, cols: usize, s: *mut f32, ss: usize, mask: Mask, lse: *const f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..rows {
            let row = s.add(i * ss);
            mask.apply(i, cols, row, f32::NEG_INFINITY);
            let m = anchor(*lse.add(i));
            for j in 0..cols {
                *row.add(j) = math::exp::<I>(*row.add(j) - m);
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

versions! {
    /// Takes a tile of scores s `[rows, cols]` into the running softmax: s becomes exp(s - new max), 0 where not visible; `max` and `sum` move on
    /// (they start at -inf and 0, or for a sink at its score and 1); `factor` is what sums of earlier tiles are to be multiplied by.
    pub unsafe fn update(
        rows: usize, cols: usize, s: *mut f32, ss: usize, mask: Mask, max: *mut f32, sum: *mut f32, factor: *mut f32,
    ) = update_body;
    /// The backward pass: scores become exp(s - logsumexp), 0 where not visible.
    pub unsafe fn weights(rows: usize, cols: usize, s: *mut f32, ss: usize, mask: Mask, lse: *const f32) = weights_body;
    /// Row i of y `[rows, n]` times factor i.
    pub unsafe fn scale_rows(rows: usize, n: usize, factor: *const f32, y: *mut f32, sy: usize) = scale_rows_body;
}

/// Ends the running softmax: `sum` becomes the factor that normalises the rows (0 where nothing was visible), `max` the logsumexp.
pub unsafe fn finish(rows: usize, max: *mut f32, sum: *mut f32) {
    for i in 0..rows {
        // SAFETY: the caller's contract.
        unsafe {
            let (m, s) = (*max.add(i), *sum.add(i));
            *max.add(i) = if s == 0.0 { f32::NEG_INFINITY } else { (f64::from(m) + f64::from(s).ln()) as f32 };
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
            // Row 0 sees nothing, row 1 only the last tile, the others most.
            let mask: Vec<f32> = (0..rows * cols)
                .map(|i| match (i / cols, i % cols) {
                    (0, _) => 0.0,
                    (1, j) => f32::from(u8::from(j > 66)),
                    (_, j) => f32::from(u8::from(j % 5 != 3)),
                })
                .collect();
            let (mut max, mut sum, mut factor) = (vec![f32::NEG_INFINITY; rows], vec![0.0; rows], vec![0.0; rows]);
            let mut y = vec![0.0; rows];
            let mut p = s.clone();
            let mut from = 0;
            while from < cols {
                let n = tile.min(cols - from);
                // SAFETY: the tile lies inside of the matrices.
                unsafe {
                    let part = Mask { at: mask.as_ptr().add(from), stride: cols };
                    update(
                        rows,
                        n,
                        p.as_mut_ptr().add(from),
                        cols,
                        part,
                        max.as_mut_ptr(),
                        sum.as_mut_ptr(),
                        factor.as_mut_ptr(),
                    );
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
                finish(rows, max.as_mut_ptr(), sum.as_mut_ptr());
                scale_rows(rows, 1, sum.as_ptr(), y.as_mut_ptr(), 1);
                weights(rows, cols, w.as_mut_ptr(), cols, Mask { at: mask.as_ptr(), stride: cols }, max.as_ptr());
            }
            assert_eq!((y[0], max[0]), (0.0, f32::NEG_INFINITY));
            for i in 0..rows {
                let e = |j: usize| f64::from(mask[i * cols + j]) * f64::from(s[i * cols + j]).exp();
                let total: f64 = (0..cols).map(e).sum();
                for j in 0..cols {
                    let want = if total == 0.0 { 0.0 } else { e(j) / total };
                    // A logsumexp near 25 is rounded by 1e-6.
                    assert!((f64::from(w[i * cols + j]) - want).abs() < 4e-6);
                }
                if i > 0 {
                    let want: f64 = (0..cols).map(|j| e(j) / total * j as f64).sum();
                    assert!((f64::from(y[i]) - want).abs() < 1e-4, "{} {want}", y[i]);
                    assert!((f64::from(max[i]) - total.ln()).abs() < 4e-6);
                }
            }
        });
    }
}
