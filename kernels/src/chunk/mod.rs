//! Kernels within a chunk of tokens: running sums, decays between pairs of rows, and the triangular solve.
//!
//! A matrix `[n, width]` is a pointer and a row stride. With log decays g <= 0 and their running sums G, the decay of the pair (i, j) is
//! exp(G_i - G_j), or exp(G_{i-1} - G_j) where reads come before the decay ([`Pairs`]). Running sums are f64 and only their differences are
//! rounded: in f32, a strong decay early in the chunk would cost the small ones after it their digits.

mod decay;
mod product;
mod solve;

pub use decay::{decay_dot, decay_dot_grad};
pub use product::{cumprod, cumprod_grad, pair_product, pair_product_grad};
pub use solve::solve_unit_lower;

use crate::elementwise::math;
use crate::isa::{Isa, versions};
use crate::room::{keep_work, work};

/// The set of pairs (i, j) of rows that an op covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Whether only pairs with j < i are covered; otherwise those with j <= i.
    pub strict: bool,
    /// Whether the decay of row i does not act on its own pairs. Implies `strict`.
    pub before: bool,
}

impl Pairs {
    /// The end of row i's pairs: those with j below it are covered.
    #[inline(always)]
    fn end(self, i: usize) -> usize {
        i + usize::from(!(self.strict || self.before))
    }
}

/// Rows at which a running sum restarts: those whose flag is not 0.
#[derive(Clone, Copy, Debug)]
pub struct Starts {
    /// The flag of the first row, or null.
    pub at: *const f32,
    /// Stride between the flags of neighbouring rows, in elements.
    pub step: usize,
}

impl Starts {
    /// No restarts.
    pub const NONE: Self = Self { at: std::ptr::null(), step: 0 };

    /// Whether the sum restarts between row `i`, in the order of summation, and the row before it.
    #[inline(always)]
    unsafe fn before(self, i: usize, n: usize, reverse: bool) -> bool {
        // SAFETY: the caller's contract: there are n flags.
        !self.at.is_null() && i > 0 && unsafe { *self.at.add(if reverse { n - i } else { i } * self.step) != 0.0 }
    }
}

#[inline(always)]
unsafe fn cumsum_body<I: Isa>(
    _: I,
    n: usize,
    width: usize,
    reverse: bool,
    exclusive: bool,
    low: bool,
    starts: Starts,
    x: *const f32,
    sx: usize,
    y: *mut f32,
    sy: usize,
) {
    const STRIP: usize = 16;
    let given = |sum: f64| {
        let high = sum as f32;
        match low {
            false => high,
            true if high.is_finite() => (sum - f64::from(high)) as f32,
            true => 0.0,
        }
    };
    let mut from = 0;
    // SAFETY: the caller's contract.
    unsafe {
        while from + STRIP <= width {
            let mut sum = [0.0f64; STRIP];
            for i in 0..n {
                let row = if reverse { n - 1 - i } else { i };
                if starts.before(i, n, reverse) {
                    sum = [0.0; STRIP];
                }
                let v = x.add(row * sx + from).cast::<[f32; STRIP]>().read_unaligned();
                let mut out = [0.0; STRIP];
                for l in 0..STRIP {
                    let next = sum[l] + f64::from(v[l]);
                    out[l] = given(if exclusive { sum[l] } else { next });
                    sum[l] = next;
                }
                y.add(row * sy + from).cast::<[f32; STRIP]>().write_unaligned(out);
            }
            from += STRIP;
        }
        for l in from..width {
            let mut sum = 0.0f64;
            for i in 0..n {
                let row = if reverse { n - 1 - i } else { i };
                if starts.before(i, n, reverse) {
                    sum = 0.0;
                }
                let next = sum + f64::from(*x.add(row * sx + l));
                *y.add(row * sy + l) = given(if exclusive { sum } else { next });
                sum = next;
            }
        }
    }
}

/// Writes the running sums of g, n + 1 elements, of which element 0 is 0.
unsafe fn running(n: usize, g: *const f32, step: usize, sums: *mut f64) {
    let mut sum = 0.0;
    // SAFETY: sums has n + 1 entries.
    unsafe {
        *sums = 0.0;
        for i in 0..n {
            sum += f64::from(*g.add(i * step));
            *sums.add(i + 1) = sum;
        }
    }
}

#[inline(always)]
unsafe fn pair_decay_body<I: Isa>(_: I, n: usize, pairs: Pairs, g: *const f32, step: usize, y: *mut f32, sy: usize) {
    let mut room = work();
    let sums = room.of(4 * (n + 1)).cast::<f64>();
    // SAFETY: the room has n + 1 sums and as many factors twice; y has n rows and columns.
    unsafe {
        running(n, g, step, sums);
        let top = |i: usize| *sums.add(if pairs.before { i } else { i + 1 });
        let (least, most) = (1..=n).fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), i| {
            let x = *sums.add(i);
            (least.min(x), most.max(x))
        });
        // If the decays are not too strong, each is the product of a row factor and a column factor, split halfway between the smallest and
        // the largest sum.
        let middle = 0.5 * (least + most);
        let split = most - least <= decay::SPAN;
        let (rows, cols) = (sums.add(n + 1).cast::<f32>(), sums.add(n + 1).cast::<f32>().add(n + 1));
        if split {
            for i in 0..n {
                // with `before`, the first row has no pairs, and its sum may be far from the middle
                let far = pairs.before && i == 0;
                *rows.add(i) = if far { 0.0 } else { math::exp_wide::<I>(top(i) - middle) };
                *cols.add(i) = math::exp_wide::<I>(middle - *sums.add(i + 1));
            }
        }
        for i in 0..n {
            let end = pairs.end(i);
            let row = y.add(i * sy);
            // Vectors of eight; the last one may reach past the pairs, which is cleared below.
            let whole = end.next_multiple_of(8).min(n);
            if split {
                let factor = *rows.add(i);
                for j in 0..whole {
                    *row.add(j) = factor * *cols.add(j);
                }
            } else {
                let top = top(i);
                for j in 0..whole {
                    *row.add(j) = math::exp_wide::<I>(top - *sums.add(j + 1));
                }
            }
            for j in end..n {
                *row.add(j) = 0.0;
            }
        }
    }
    keep_work(room);
}

#[inline(always)]
unsafe fn pair_decay_grad_body<I: Isa>(
    _: I,
    n: usize,
    pairs: Pairs,
    e: *const f32,
    se: usize,
    dg: *mut f32,
    step: usize,
) {
    let mut room = work();
    let by_sum = room.of(2 * (n + 1)).cast::<f64>();
    // SAFETY: the room has n + 1 sums; e has n rows and columns.
    unsafe {
        // The gradient with respect to each running sum: rows add, columns subtract.
        for i in 0..=n {
            *by_sum.add(i) = 0.0;
        }
        for i in 0..n {
            let row = e.add(i * se);
            let mut total = [0.0f64; 8];
            let mut j = 0;
            while j + 8 <= i {
                for (l, total) in total.iter_mut().enumerate() {
                    let x = f64::from(*row.add(j + l));
                    *total += x;
                    *by_sum.add(j + l + 1) -= x;
                }
                j += 8;
            }
            for (l, total) in total.iter_mut().enumerate().take(i - j) {
                let x = f64::from(*row.add(j + l));
                *total += x;
                *by_sum.add(j + l + 1) -= x;
            }
            *by_sum.add(if pairs.before { i } else { i + 1 }) += total.iter().sum::<f64>();
        }
        let mut sum = 0.0;
        for i in (0..n).rev() {
            sum += *by_sum.add(i + 1);
            *dg.add(i * step) = sum as f32;
        }
    }
    keep_work(room);
}

versions! {
    /// y = the running sum of x `[n, width]` down the rows, summed in f64; from the last row with `reverse`, without the row itself with
    /// `exclusive`; with `low`, the part of each sum that is lost when it is rounded to f32. The sum restarts at the rows of `starts`. y
    /// may be x.
    pub unsafe fn cumsum(
        n: usize, width: usize, reverse: bool, exclusive: bool, low: bool, starts: Starts, x: *const f32, sx: usize, y: *mut f32,
        sy: usize,
    ) = cumsum_body;
    /// y `[n, n]` = the decay of each pair, 0 for pairs outside of `pairs`. `step` is the stride of g.
    pub unsafe fn pair_decay(n: usize, pairs: Pairs, g: *const f32, step: usize, y: *mut f32, sy: usize) = pair_decay_body;
    /// dg_l = sum of e_ij over the pairs with j < l <= i (l < i with `before`): the gradient with respect to g, where e `[n, n]` is decay
    /// times cotangent.
    pub unsafe fn pair_decay_grad(n: usize, pairs: Pairs, e: *const f32, se: usize, dg: *mut f32, step: usize) = pair_decay_grad_body;
}

#[cfg(test)]
mod tests;
