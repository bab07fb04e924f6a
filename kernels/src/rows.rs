//! Reductions of rows and columns, and the softmax of rows. A matrix `[r, n]` is a pointer and a row stride in elements.
//!
//! Sums run in four vectors side by side over at most [`PIECE`] elements, and in f64 over the pieces: rounding errors grow with the piece,
//! not with the row. The order does not depend on the address of the row.

use crate::elementwise::math;
use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// Elements that are summed in f32 before the sum is added in f64.
const PIECE: usize = 2048;

/// Sums f over pairs of elements: `f(acc, a, b)` adds one vector of them.
#[inline(always)]
unsafe fn fold<V: Vector>(a: *const f32, b: *const f32, n: usize, f: impl Fn(V, V, V) -> V) -> f32 {
    // SAFETY: a and b have n entries; parts stay inside.
    unsafe {
        let mut acc = [V::splat(0.0); 4];
        let mut i = 0;
        while i + 4 * V::LANES <= n {
            for (k, acc) in acc.iter_mut().enumerate() {
                let at = i + k * V::LANES;
                *acc = f(*acc, V::load(a.add(at)), V::load(b.add(at)));
            }
            i += 4 * V::LANES;
        }
        let mut k = 0;
        while i < n {
            let m = n - i;
            let (x, y) = if m >= V::LANES {
                (V::load(a.add(i)), V::load(b.add(i)))
            } else {
                (V::load_part(a.add(i), m), V::load_part(b.add(i), m))
            };
            acc[k] = f(acc[k], x, y);
            k += 1;
            i += V::LANES;
        }
        acc[0].add(acc[2]).add(acc[1].add(acc[3])).sum()
    }
}

/// Sums by `fold` in pieces, and over these in f64.
#[inline(always)]
unsafe fn fold_long<V: Vector>(a: *const f32, b: *const f32, n: usize, f: impl Fn(V, V, V) -> V + Copy) -> f32 {
    // SAFETY: as in `fold`.
    unsafe {
        if n <= PIECE {
            return fold(a, b, n, f);
        }
        let mut total = 0.0;
        let mut i = 0;
        while i < n {
            total += f64::from(fold(a.add(i), b.add(i), PIECE.min(n - i), f));
            i += PIECE;
        }
        total as f32
    }
}

#[inline(always)]
unsafe fn sum_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            let row = x.add(i * stride);
            *y.add(i) = fold_long::<I::V>(row, row, n, |acc, a, _| acc.add(a));
        }
    }
}

#[inline(always)]
unsafe fn dot_body<I: Isa>(_: I, a: *const f32, sa: usize, b: *const f32, sb: usize, r: usize, n: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            *y.add(i) = fold_long::<I::V>(a.add(i * sa), b.add(i * sb), n, |acc, a, b| a.fma(b, acc));
        }
    }
}

/// Elements side by side in the loops below, which the compiler vectorises.
const LANES: usize = 32;

/// Reduces a row to [`LANES`] elements and these to one. `pick` is associative and commutative.
#[inline(always)]
unsafe fn extreme(x: *const f32, n: usize, start: f32, pick: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [start; LANES];
    let mut i = 0;
    // SAFETY: x has n entries.
    unsafe {
        while i + LANES <= n {
            for (l, acc) in acc.iter_mut().enumerate() {
                *acc = pick(*acc, *x.add(i + l));
            }
            i += LANES;
        }
        for (l, acc) in acc.iter_mut().enumerate().take(n - i) {
            *acc = pick(*acc, *x.add(i + l));
        }
    }
    halves(acc, pick)
}

/// Reduces all elements to one by halves; `N` is a power of two.
#[inline(always)]
pub(crate) fn halves<const N: usize>(mut acc: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for l in 0..half {
            acc[l] = f(acc[l], acc[l + half]);
        }
        half /= 2;
    }
    acc[0]
}

/// The larger of two elements; NaN if either is NaN.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    let m = if a > b { a } else { b };
    if a.is_nan() { a } else { m }
}

#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    let m = if a < b { a } else { b };
    if a.is_nan() { a } else { m }
}

#[inline(always)]
unsafe fn max_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            *y.add(i) = extreme(x.add(i * stride), n, f32::NEG_INFINITY, larger);
        }
    }
}

#[inline(always)]
unsafe fn min_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            *y.add(i) = extreme(x.add(i * stride), n, f32::INFINITY, smaller);
        }
    }
}

/// The largest entry of a row.
#[inline(always)]
pub(crate) unsafe fn row_max(x: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's contract.
    unsafe { extreme(x, n, f32::NEG_INFINITY, larger) }
}

/// The number subtracted before exp: the largest element, or 0 where that is -inf and the difference would be NaN.
#[inline(always)]
pub(crate) fn anchor(max: f32) -> f32 {
    if max == f32::NEG_INFINITY { 0.0 } else { max }
}

/// Calls `keep(i, exp(x_i - m))` for each element and returns the sum, in f64 over pieces.
#[inline(always)]
pub(crate) unsafe fn exp_sum<I: Isa>(x: *const f32, n: usize, m: f32, keep: impl Fn(usize, f32)) -> f64 {
    let mut total = 0.0;
    let mut from = 0;
    // SAFETY: x has n entries.
    unsafe {
        while from < n {
            let to = n.min(from + PIECE);
            let mut acc = [0.0; LANES];
            let mut i = from;
            while i + LANES <= to {
                // The operand is copied first: `keep` may overwrite it.
                let v = x.add(i).cast::<[f32; LANES]>().read_unaligned();
                let mut e = [0.0; LANES];
                for l in 0..LANES {
                    e[l] = math::exp::<I>(v[l] - m);
                }
                for l in 0..LANES {
                    acc[l] += e[l];
                    keep(i + l, e[l]);
                }
                i += LANES;
            }
            if i < to {
                let mut v = [f32::NEG_INFINITY; LANES];
                std::ptr::copy_nonoverlapping(x.add(i), v.as_mut_ptr(), to - i);
                let m8 = (to - i).next_multiple_of(8);
                for v in &mut v[..m8] {
                    *v = math::exp::<I>(*v - m);
                }
                for l in 0..to - i {
                    acc[l] += v[l];
                    keep(i + l, v[l]);
                }
            }
            total += f64::from(halves(acc, |a, b| a + b));
            from = to;
        }
    }
    total
}

#[inline(always)]
unsafe fn logsumexp_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            let row = x.add(i * stride);
            let max = row_max(row, n);
            *y.add(i) = if max.is_infinite() {
                max
            } else {
                (f64::from(max) + exp_sum::<I>(row, n, max, |_, _| ()).ln()) as f32
            };
        }
    }
}

#[inline(always)]
unsafe fn softmax_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, sx: usize, y: *mut f32, sy: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..r {
            let (from, to) = (x.add(i * sx), y.add(i * sy));
            let max = row_max(from, n);
            let total = exp_sum::<I>(from, n, max, |j, e| *to.add(j) = e);
            let factor = (1.0 / total) as f32;
            for j in 0..n {
                *to.add(j) *= factor;
            }
        }
    }
}

#[inline(always)]
unsafe fn add_columns_body<I: Isa>(_: I, x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut j = 0;
        // A strip of columns stays in registers while it runs down the rows.
        let step = 4 * I::V::LANES;
        while j + step <= n {
            let mut from = 0;
            while from < r {
                let to = r.min(from + PIECE);
                let mut acc = [I::V::splat(0.0); 4];
                for i in from..to {
                    for (k, acc) in acc.iter_mut().enumerate() {
                        *acc = acc.add(I::V::load(x.add(i * stride + j + k * I::V::LANES)));
                    }
                }
                for (k, acc) in acc.into_iter().enumerate() {
                    let at = y.add(j + k * I::V::LANES);
                    I::V::load(at).add(acc).store(at);
                }
                from = to;
            }
            j += step;
        }
        while j < n {
            let m = I::V::LANES.min(n - j);
            let mut from = 0;
            while from < r {
                let to = r.min(from + PIECE);
                let mut acc = I::V::splat(0.0);
                for i in from..to {
                    let at = x.add(i * stride + j);
                    acc = acc.add(if m == I::V::LANES { I::V::load(at) } else { I::V::load_part(at, m) });
                }
                let at = y.add(j);
                if m == I::V::LANES {
                    I::V::load(at).add(acc).store(at);
                } else {
                    I::V::load_part(at, m).add(acc).store_part(at, m);
                }
                from = to;
            }
            j += m;
        }
    }
}

versions! {
    /// y_i = sum of row i.
    pub unsafe fn sum(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) = sum_body;
    /// y_i = sum over j of a_ij b_ij.
    pub unsafe fn dot(a: *const f32, sa: usize, b: *const f32, sb: usize, r: usize, n: usize, y: *mut f32) = dot_body;
    /// y_i = largest entry of row i; -inf for an empty one.
    pub unsafe fn max(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) = max_body;
    /// y_i = smallest entry of row i; inf for an empty one.
    pub unsafe fn min(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) = min_body;
    /// y_i = log of the sum of exp over row i; -inf where all entries are -inf.
    pub unsafe fn logsumexp(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) = logsumexp_body;
    /// y_i = softmax of row i. y may be x.
    pub unsafe fn softmax(x: *const f32, r: usize, n: usize, sx: usize, y: *mut f32, sy: usize) = softmax_body;
    /// y_j += sum over rows i of x_ij.
    pub unsafe fn add_columns(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) = add_columns_body;
}

/// y_i = sum of the squares of row i.
pub unsafe fn sum_squares(x: *const f32, r: usize, n: usize, stride: usize, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { dot(x, stride, x, stride, r, n, y) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    fn matrix(r: usize, stride: usize) -> Vec<f32> {
        (0..r * stride).map(|i| ((i * 7919) % 1013) as f32 / 300.0 - 1.6).collect()
    }

    fn check(got: &[f32], want: impl Iterator<Item = f64>, tolerance: f64) {
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(*got) - want).abs() <= tolerance * want.abs().max(1.0), "{i}: {got} for {want}");
        }
    }

    #[test]
    fn reductions_match_f64() {
        at_each_level(|_| {
            for (r, n) in [(1, 1), (3, 7), (5, 33), (2, 64), (4, 100), (2, 5000)] {
                let stride = n + 3;
                let (x, b) = (matrix(r, stride), matrix(r + 1, stride));
                let row = |i: usize| x[i * stride..i * stride + n].iter().map(|v| f64::from(*v));
                let brow = |i: usize| b[i * stride..i * stride + n].iter().map(|v| f64::from(*v));
                let mut y = vec![0.0; r];
                // Rounding of n entries of size up to 2 in f32, most of it cancelled by the many lanes.
                let tolerance = 1e-6 * (n as f64).sqrt();
                // SAFETY: all lengths are as given.
                unsafe {
                    sum(x.as_ptr(), r, n, stride, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).sum()), tolerance);
                    dot(x.as_ptr(), stride, b.as_ptr(), stride, r, n, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).zip(brow(i)).map(|(a, b)| a * b).sum()), tolerance);
                    sum_squares(x.as_ptr(), r, n, stride, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).map(|a| a * a).sum()), tolerance);
                    max(x.as_ptr(), r, n, stride, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).fold(f64::NEG_INFINITY, f64::max)), 0.0);
                    min(x.as_ptr(), r, n, stride, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).fold(f64::INFINITY, f64::min)), 0.0);
                    logsumexp(x.as_ptr(), r, n, stride, y.as_mut_ptr());
                    check(&y, (0..r).map(|i| row(i).map(f64::exp).sum::<f64>().ln()), 1e-6);
                    let mut s = x.clone();
                    softmax(s.as_ptr(), r, n, stride, s.as_mut_ptr(), stride);
                    for i in 0..r {
                        let total: f64 = row(i).map(f64::exp).sum();
                        check(&s[i * stride..i * stride + n], row(i).map(|v| v.exp() / total), 1e-6);
                        assert_eq!(s[i * stride + n], x[i * stride + n]);
                    }
                    let mut c = vec![1.0; n + 1];
                    add_columns(x.as_ptr(), r, n, stride, c.as_mut_ptr());
                    check(
                        &c[..n],
                        (0..n).map(|j| 1.0 + (0..r).map(|i| f64::from(x[i * stride + j])).sum::<f64>()),
                        1e-6,
                    );
                    assert_eq!(c[n], 1.0);
                }
            }
        });
    }

    #[test]
    fn extremes() {
        at_each_level(|_| {
            let inf = f32::INFINITY;
            let x = [-inf, -inf, -1e30, 0.0, 1.0, inf, f32::NAN, 0.0, 1e30, 1e30];
            let mut y = [0.0; 5];
            // SAFETY: five rows of two.
            unsafe {
                logsumexp(x.as_ptr(), 5, 2, 2, y.as_mut_ptr());
                assert_eq!([y[0], y[1], y[2], y[4]], [-inf, 0.0, inf, 1e30]);
                assert!(y[3].is_nan());
                max(x.as_ptr(), 5, 2, 2, y.as_mut_ptr());
                assert!(y[3].is_nan());
                let mut s = x;
                softmax(x[2..].as_ptr(), 1, 2, 2, s.as_mut_ptr(), 2);
                assert_eq!(s[..2], [0.0, 1.0]);
            }
        });
    }
}
