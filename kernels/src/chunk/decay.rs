//! Products of rows under per-channel decays.
//!
//! y_ij = sum over channels of q_i k_j exp(R_i - G_j), where G are the running sums of the log decays and R is G, or G one row earlier. The
//! rows are split into blocks of [`BLOCK`]. For a block and all columns before it, an anchor between them splits the exponent into (R_i -
//! anchor) + (anchor - G_j), both at most 0, and the sum is a plain matrix product of scaled rows. The next block moves the anchor: the
//! scaled columns are multiplied by exp of the difference, again at most 1, so that every element takes one exponential. Within a block the
//! same works with an anchor halfway in value as long as the whole block decays by no more than exp(-[`SPAN`]), which is checked; otherwise
//! each pair takes an exponential of its own. Where all rows together decay by no more than that, one such anchor serves all of them, and
//! the rows are not split into blocks (the gradient still splits the triangle of pairs).
//!
//! The products of a chunk and their gradients use the same decays in successive calls: the sums and exponentials of the last decays are
//! cached.

mod grad;

pub use grad::decay_dot_grad;

use super::Pairs;
use crate::elementwise::math;
use crate::gemm::gemm;
use crate::isa::{Isa, versions};
use crate::room::{Decays, Room, decays, keep_decays, keep_work, work};

/// Rows per block.
const BLOCK: usize = 16;

/// Largest decay, as a difference of running sums, that one anchor spans. Half of it each way is a factor of at most 2^58: far from the
/// limits of f32, and so is its product with any sensible element.
pub(super) const SPAN: f64 = 80.0;

/// The running sums of a chunk, and working memory for its blocks.
struct Frame {
    /// Running sums of the log decays, `[n + 1, width]`; the first row is 0.
    sums: *mut f64,
    /// Anchor at which the exponents are split, `[width]`.
    anchor: *mut f64,
    /// Anchor within a block, `[width]`.
    middle: *mut f64,
    /// Scaled columns, `[n, width]`.
    scaled: *mut f32,
    /// Scaled rows, `[n, width]`; at a cut of the gradient also the scaled columns before it.
    wide: *mut f32,
    /// exp(sum - middle) of each row, `[n, width]`, where one middle serves all rows; otherwise working memory.
    decay: *mut f32,
    /// Products across a cut of the gradient, `[n, width]`.
    third: *mut f32,
    /// Scaled rows of a block, `[BLOCK, width]`.
    block: *mut f32,
    /// Scaled columns of a block, `[BLOCK, width]`.
    other: *mut f32,
    /// exp of the last move of the anchor, `[width]`.
    factor: *mut f32,
    width: usize,
    before: bool,
    /// Whether one middle serves all rows; `decay` is filled then.
    whole: bool,
}

impl Frame {
    #[inline(always)]
    unsafe fn new<I: Isa>(
        room: &mut Room,
        known: &mut Decays,
        n: usize,
        width: usize,
        before: bool,
        g: *const f32,
        sg: usize,
    ) -> Self {
        let start = room.of(4 * width + (3 * n + 2 * BLOCK + 1) * width);
        let held = known.room.of(2 * (n + 1) * width + 2 * n * width);
        // SAFETY: both rooms have the total size of the parts that are cut from them.
        unsafe {
            let sums = held.cast::<f64>();
            let decay = sums.add((n + 1) * width).cast::<f32>();
            let own = decay.add(n * width);
            let anchor = start.cast::<f64>();
            let middle = anchor.add(width);
            let scaled = middle.add(width).cast::<f32>();
            let wide = scaled.add(n * width);
            let third = wide.add(n * width);
            let block = third.add(n * width);
            let other = block.add(BLOCK * width);
            let factor = other.add(BLOCK * width);
            let whole = known.whole;
            let mut frame =
                Self { sums, anchor, middle, scaled, wide, third, decay, block, other, factor, width, before, whole };
            let row = |at: *const f32| std::slice::from_raw_parts(at, width);
            let same = (known.rows, known.width) == (n, width);
            if !same || (0..n).any(|i| row(own.add(i * width)) != row(g.add(i * sg))) {
                for i in 0..n {
                    std::ptr::copy_nonoverlapping(g.add(i * sg), own.add(i * width), width);
                }
                frame.fill::<I>(n, own);
                (known.rows, known.width, known.whole) = (n, width, frame.whole);
            }
            frame
        }
    }

    /// Computes the running sums of the log decays g `[n, width]` and, where one middle serves all rows, the rows' decays from it.
    #[inline(always)]
    unsafe fn fill<I: Isa>(&mut self, n: usize, g: *const f32) {
        let width = self.width;
        // SAFETY: all buffers have n rows of `width` elements, the sums one row more.
        unsafe {
            for l in 0..width {
                *self.sums.add(l) = 0.0;
            }
            for i in 0..n {
                let (last, next, g) = (self.sums.add(i * width), self.sums.add((i + 1) * width), g.add(i * width));
                for l in 0..width {
                    *next.add(l) = *last.add(l) + f64::from(*g.add(l));
                }
            }
            self.whole = self.anchor_inside(0, n);
            if self.whole {
                for j in 0..n {
                    let (to, sums) = (self.decay.add(j * width), self.col(j));
                    for l in 0..width {
                        *to.add(l) = math::exp_wide::<I>(*sums.add(l) - *self.middle.add(l));
                    }
                }
            }
        }
    }

    /// G of column `j`, `[width]`.
    #[inline(always)]
    unsafe fn col(&self, j: usize) -> *const f64 {
        // SAFETY: j < n.
        unsafe { self.sums.add((j + 1) * self.width) }
    }

    /// R of row `i`, `[width]`.
    #[inline(always)]
    unsafe fn row(&self, i: usize) -> *const f64 {
        // SAFETY: i < n.
        unsafe { self.sums.add(if self.before { i } else { i + 1 } * self.width) }
    }

    /// Moves the anchor between the rows from `i` on and the columns before them; `factor` becomes exp of the difference from the last
    /// anchor.
    #[inline(always)]
    unsafe fn anchor_at<I: Isa>(&self, i: usize) {
        // SAFETY: all have `width` entries.
        unsafe {
            let to = self.row(i);
            for l in 0..self.width {
                let way = *to.add(l) - *self.anchor.add(l);
                *self.factor.add(l) = math::exp_wide::<I>(way);
            }
            std::ptr::copy_nonoverlapping(to, self.anchor, self.width);
        }
    }

    /// Multiplies the rows of x `[n, width]` by their decays from the middle, into `to`; x may be `to`.
    #[inline(always)]
    unsafe fn scale_rows(&self, n: usize, x: *const f32, sx: usize, to: *mut f32, step: usize) {
        // SAFETY: x and `to` have n rows.
        unsafe {
            // With `before`, the first row has no pairs.
            let first = usize::from(self.before);
            std::ptr::write_bytes(to, 0, first * self.width);
            for i in first..n {
                let (x, e, to) = (x.add(i * sx), self.decay.add((i - first) * self.width), to.add(i * step));
                for l in 0..self.width {
                    *to.add(l) = *x.add(l) * *e.add(l);
                }
            }
        }
    }

    /// Multiplies the columns x `[n, width]` by their decays to the middle, into `to`; x may be `to`.
    #[inline(always)]
    unsafe fn scale_cols(&self, n: usize, x: *const f32, sx: usize, to: *mut f32, step: usize) {
        // SAFETY: x and `to` have n rows.
        unsafe {
            for j in 0..n {
                let (x, e, to) = (x.add(j * sx), self.decay.add(j * self.width), to.add(j * step));
                for l in 0..self.width {
                    *to.add(l) = *x.add(l) / *e.add(l);
                }
            }
        }
    }

    /// Sets `middle` halfway between the sums at the ends of rows `from..to`; returns whether they differ by at most [`SPAN`] in every
    /// channel.
    #[inline(always)]
    unsafe fn anchor_inside(&self, from: usize, to: usize) -> bool {
        // SAFETY: from < to <= n.
        unsafe {
            let (top, bottom) = (self.col(from), self.col(to - 1));
            let mut far = 0u32;
            for l in 0..self.width {
                let (top, bottom) = (*top.add(l), *bottom.add(l));
                far |= u32::from(top - bottom > SPAN);
                *self.middle.add(l) = 0.5 * (top + bottom);
            }
            far == 0
        }
    }
}

/// y = x exp(high - low)
#[inline(always)]
unsafe fn scale<I: Isa>(width: usize, x: *const f32, high: *const f64, low: *const f64, y: *mut f32) {
    // SAFETY: all have `width` entries.
    unsafe {
        for l in 0..width {
            *y.add(l) = *x.add(l) * math::exp_wide::<I>(*high.add(l) - *low.add(l));
        }
    }
}

/// y *= x
#[inline(always)]
unsafe fn multiply(width: usize, x: *const f32, y: *mut f32) {
    // SAFETY: both have `width` entries.
    unsafe {
        for l in 0..width {
            *y.add(l) *= *x.add(l);
        }
    }
}

/// The sum over channels of q k exp(high - low).
#[inline(always)]
unsafe fn decayed_dot<I: Isa>(width: usize, q: *const f32, k: *const f32, high: *const f64, low: *const f64) -> f32 {
    const LANES: usize = 16;
    let mut acc = [0.0f32; LANES];
    // SAFETY: all have `width` entries.
    unsafe {
        let mut l = 0;
        while l + LANES <= width {
            for (s, acc) in acc.iter_mut().enumerate() {
                let e = math::exp_wide::<I>(*high.add(l + s) - *low.add(l + s));
                *acc = I::fma(*q.add(l + s) * *k.add(l + s), e, *acc);
            }
            l += LANES;
        }
        for (s, acc) in acc.iter_mut().enumerate().take(width - l) {
            let e = math::exp_wide::<I>(*high.add(l + s) - *low.add(l + s));
            *acc = I::fma(*q.add(l + s) * *k.add(l + s), e, *acc);
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for s in 0..half {
            acc[s] += acc[s + half];
        }
        half /= 2;
    }
    acc[0]
}

#[inline(always)]
unsafe fn dot_body<I: Isa>(
    _: I,
    n: usize,
    width: usize,
    pairs: Pairs,
    q: *const f32,
    sq: usize,
    k: *const f32,
    sk: usize,
    g: *const f32,
    sg: usize,
    y: *mut f32,
    sy: usize,
) {
    let (mut room, mut known) = (work(), decays());
    let w = width as isize;
    let side = BLOCK as isize;
    // SAFETY: the caller's contract; rows and columns below n.
    unsafe {
        let frame = Frame::new::<I>(&mut room, &mut known, n, width, pairs.before, g, sg);
        let Frame { anchor, middle, scaled, wide, block, other, factor, .. } = frame;
        let whole = frame.whole;
        if whole {
            frame.scale_rows(n, q, sq, wide, width);
            frame.scale_cols(n, k, sk, scaled, width);
            gemm(n, n, width, 1.0, wide, w, 1, scaled, 1, w, 0.0, y, sy as isize, 1);
            for i in 0..n {
                let end = pairs.end(i);
                std::ptr::write_bytes(y.add(i * sy + end), 0, n - end);
            }
        }
        let mut from = if whole { n } else { 0 };
        while from < n {
            let to = n.min(from + BLOCK);
            let rows = to - from;
            if from > 0 {
                frame.anchor_at::<I>(from);
                // Columns of earlier blocks are rescaled to the new anchor; those of the last block are scaled for the first time.
                for j in 0..from {
                    if j < from - BLOCK {
                        multiply(width, factor, scaled.add(j * width));
                    } else {
                        scale::<I>(width, k.add(j * sk), anchor, frame.col(j), scaled.add(j * width));
                    }
                }
                for i in from..to {
                    scale::<I>(width, q.add(i * sq), frame.row(i), anchor, block.add((i - from) * width));
                }
                gemm(rows, from, width, 1.0, block, w, 1, scaled, 1, w, 0.0, y.add(from * sy), sy as isize, 1);
            }
            if frame.anchor_inside(from, to) {
                for i in from..to {
                    if pairs.before && i == from {
                        std::ptr::write_bytes(block, 0, width);
                    } else {
                        scale::<I>(width, q.add(i * sq), frame.row(i), middle, block.add((i - from) * width));
                    }
                    scale::<I>(width, k.add(i * sk), middle, frame.col(i), other.add((i - from) * width));
                }
                let mut t = [0.0; BLOCK * BLOCK];
                gemm(rows, rows, width, 1.0, block, w, 1, other, 1, w, 0.0, t.as_mut_ptr(), side, 1);
                for i in from..to {
                    for j in from..pairs.end(i) {
                        *y.add(i * sy + j) = t[(i - from) * BLOCK + j - from];
                    }
                }
            } else {
                for i in from..to {
                    for j in from..pairs.end(i) {
                        *y.add(i * sy + j) =
                            decayed_dot::<I>(width, q.add(i * sq), k.add(j * sk), frame.row(i), frame.col(j));
                    }
                }
            }
            for i in from..to {
                for j in pairs.end(i)..n {
                    *y.add(i * sy + j) = 0.0;
                }
            }
            from = to;
        }
    }
    keep_work(room);
    keep_decays(known);
}

versions! {
    /// y `[n, n]` = for each pair the sum over channels of q_i k_j times their decay, 0 for pairs outside of `pairs`. q, k and the log
    /// decays g are `[n, width]`.
    pub unsafe fn decay_dot(
        n: usize, width: usize, pairs: Pairs, q: *const f32, sq: usize, k: *const f32, sk: usize, g: *const f32, sg: usize, y: *mut f32,
        sy: usize,
    ) = dot_body;
}
