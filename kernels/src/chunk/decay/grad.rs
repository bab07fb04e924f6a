//! The gradients of products of rows under per-channel decays.
//!
//! The gradient with respect to the log decays is dg_l = sum of e_ij over the pairs with j < l <= i, where e_ij is a pair's term times its
//! cotangent. It is not computed as a difference of sums over more pairs: where decays are strong, cancellation would leave no digits of
//! it. Rows are halved recursively, so that each pair straddles one cut, at m say, or lies in a leaf. The pairs across the cut contribute
//! to dg_l, for l up to m, a running sum over the columns, and for l after m one over the rows; the sums over the other side are matrix
//! products, from which the gradients with respect to q and k are computed as well. Terms e are only ever added, never subtracted.

use super::Frame;
use crate::chunk::Pairs;
use crate::elementwise::math;
use crate::gemm::gemm;
use crate::isa::{Isa, versions};
use crate::room::{decays, keep_decays, keep_work, work};

/// Rows of a leaf, whose pairs are processed one by one.
const LEAF: usize = 8;

/// Channels per register.
const LANES: usize = 8;

/// Loads [`LANES`] channels, of which the first `live` exist; the others are 0.
#[inline(always)]
unsafe fn load<T: Copy + Default>(x: *const T, live: usize) -> [T; LANES] {
    // SAFETY: x has `live` entries.
    unsafe {
        if live == LANES {
            return x.cast::<[T; LANES]>().read_unaligned();
        }
        let mut lanes = [T::default(); LANES];
        for (l, lane) in lanes.iter_mut().enumerate().take(live) {
            *lane = *x.add(l);
        }
        lanes
    }
}

/// y_l += x_l, for the first `live` channels.
#[inline(always)]
unsafe fn add(x: [f32; LANES], y: *mut f32, live: usize) {
    // SAFETY: y has `live` entries.
    unsafe {
        if live == LANES {
            let mut sum = load(y, LANES);
            for l in 0..LANES {
                sum[l] += x[l];
            }
            y.cast::<[f32; LANES]>().write_unaligned(sum);
        } else {
            for (l, x) in x.iter().enumerate().take(live) {
                *y.add(l) += *x;
            }
        }
    }
}

/// sum_l += a_l b_l
#[inline(always)]
fn fma<I: Isa>(a: [f32; LANES], b: [f32; LANES], sum: &mut [f32; LANES]) {
    for l in 0..LANES {
        sum[l] = I::fma(a[l], b[l], sum[l]);
    }
}

/// The outputs of the gradient, each `[n, width]`.
struct Gradient {
    q: *mut f32,
    k: *mut f32,
    /// The gradient with respect to g; none if it is not wanted.
    g: Option<*mut f32>,
    /// Row stride of each output, in elements.
    step: usize,
    width: usize,
    before: bool,
}

impl Gradient {
    /// The channels in groups of at most [`LANES`]: first channel and count of each.
    #[inline(always)]
    fn lanes(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let width = self.width;
        (0..width).step_by(LANES).map(move |l| (l, LANES.min(width - l)))
    }

    /// Adds the contributions of all pairs of the rows `from..to`, one by one. `row(i, l)`, `col(j, l)` and `decay(i, j, l, live)` give the
    /// channels from l on of a row, of a column, and of the pair's decay (none if row and column are scaled already).
    #[inline(always)]
    unsafe fn leaf<I: Isa>(
        &self,
        [from, to]: [usize; 2],
        (da, sda): (*const f32, usize),
        row: impl Fn(usize, usize) -> *const f32,
        col: impl Fn(usize, usize) -> *const f32,
        decay: impl Fn(usize, usize, usize, usize) -> Option<[f32; LANES]>,
    ) {
        // SAFETY: the caller's contract; rows below n.
        unsafe {
            for (l, live) in self.lanes() {
                let mut cols = [[0.0; LANES]; LEAF];
                for (j, k) in cols.iter_mut().enumerate().take(to - from) {
                    *k = load(col(from + j, l), live);
                }
                let (mut by_cols, mut by_decays) = ([[0.0; LANES]; LEAF], [[0.0; LANES]; LEAF + 1]);
                for i in 1..to - from {
                    let q = load(row(from + i, l), live);
                    let (mut by_row, mut running) = ([0.0; LANES], [0.0; LANES]);
                    for (j, k) in cols.iter().enumerate().take(i) {
                        let mut a = [*da.add((from + i) * sda + from + j); LANES];
                        if let Some(e) = decay(from + i, from + j, l, live) {
                            for l in 0..LANES {
                                a[l] *= e[l];
                            }
                        }
                        let mut x = [0.0; LANES];
                        for l in 0..LANES {
                            x[l] = a[l] * q[l];
                            by_cols[j][l] += x[l];
                        }
                        fma::<I>(a, *k, &mut by_row);
                        fma::<I>(x, *k, &mut running);
                        // the decay of row j + 1 acts on this row's pairs with the columns up to j, not on those with later columns
                        if j + 1 < i || !self.before {
                            for l in 0..LANES {
                                by_decays[j + 1][l] += running[l];
                            }
                        }
                    }
                    add(by_row, self.q.add((from + i) * self.step + l), live);
                }
                for i in 0..to - from {
                    add(by_cols[i], self.k.add((from + i) * self.step + l), live);
                    if let Some(dg) = self.g {
                        add(by_decays[i], dg.add((from + i) * self.step + l), live);
                    }
                }
            }
        }
    }

    /// Adds the contributions of the pairs across the cut at `m` to the gradient of the decays: `rows[i]` times `by_rows[i]` is the sum of
    /// e_ij over the columns `from..m`, `cols[j]` times `by_cols[j]` that over the rows `m..to`.
    #[inline(always)]
    unsafe fn across<I: Isa>(
        &self,
        [from, m, to]: [usize; 3],
        [rows, by_rows]: [*const f32; 2],
        [cols, by_cols]: [*const f32; 2],
    ) {
        let Some(dg) = self.g else { return };
        let before = usize::from(self.before);
        // SAFETY: the caller's contract; rows below n.
        unsafe {
            for (l, live) in self.lanes() {
                let part = |of: *const f32, i: usize| load(of.add(i * self.width + l), live);
                let mut sum = [0.0; LANES];
                for i in from + 1..m + 1 - before {
                    fma::<I>(part(cols, i - 1), part(by_cols, i - 1), &mut sum);
                    add(sum, dg.add(i * self.step + l), live);
                }
                let mut sum = [0.0; LANES];
                for i in (m + 1..to).rev() {
                    fma::<I>(part(rows, i), part(by_rows, i), &mut sum);
                    add(sum, dg.add((i - before) * self.step + l), live);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn grad_body<I: Isa>(
    _: I,
    n: usize,
    width: usize,
    pairs: Pairs,
    da: *const f32,
    sda: usize,
    q: *const f32,
    sq: usize,
    k: *const f32,
    sk: usize,
    g: *const f32,
    sg: usize,
    to: *mut f32,
    step: usize,
    parts: usize,
) {
    let (mut room, mut known) = (work(), decays());
    let (w, side) = (width as isize, sda as isize);
    // SAFETY: the caller's contract; rows and columns below n, and three rooms of n rows.
    unsafe {
        let frame = Frame::new::<I>(&mut room, &mut known, n, width, pairs.before, g, sg);
        let Frame { anchor, scaled, wide, third, decay, whole, .. } = frame;
        let part = n * step;
        let by_g = (parts > 2).then(|| to.add(2 * part));
        let grad = Gradient { q: to, k: to.add(part), g: by_g, step, width, before: pairs.before };
        for i in 0..parts * n {
            std::ptr::write_bytes(to.add(i * step), 0, width);
        }
        // q and k times their decays from and to the anchor: of all rows here, or of the rows at each cut below
        if whole {
            frame.scale_rows(n, q, sq, wide, width);
            frame.scale_cols(n, k, sk, scaled, width);
        }
        // the stack of the recursion, which is no deeper than `usize` has bits
        let mut open = [[0usize; 2]; 2 * usize::BITS as usize];
        open[0] = [0, n];
        let mut count = usize::from(n > 0);
        while count > 0 {
            count -= 1;
            let [from, to] = open[count];
            if to - from <= LEAF {
                let da = (da, sda);
                if whole {
                    let at = |of: *mut f32| move |i: usize, l: usize| of.add(i * width + l).cast_const();
                    grad.leaf::<I>([from, to], da, at(wide), at(scaled), |_, _, _, _| None);
                } else {
                    let (row, col) = (|i, l| q.add(i * sq + l), |j, l| k.add(j * sk + l));
                    grad.leaf::<I>([from, to], da, row, col, |i, j, l, live| {
                        let (high, low) = (load(frame.row(i).add(l), live), load(frame.col(j).add(l), live));
                        Some(std::array::from_fn(|l| math::exp_wide::<I>(high[l] - low[l])))
                    });
                }
                continue;
            }
            let half = (to - from).div_ceil(2).next_multiple_of(LEAF);
            let m = from + half;
            open[count] = [m, to];
            open[count + 1] = [from, m];
            count += 2;
            if !whole {
                std::ptr::copy_nonoverlapping(frame.row(m), anchor, width);
                for i in from..to {
                    let (x, e) = (wide.add(i * width), decay.add(i * width));
                    let x_of = if i < m { k.add(i * sk) } else { q.add(i * sq) };
                    let at = if i < m { frame.col(i) } else { frame.row(i) };
                    for l in 0..width {
                        let way = *at.add(l) - *anchor.add(l);
                        *e.add(l) = math::exp_wide::<I>(if i < m { -way } else { way });
                        *x.add(l) = *x_of.add(l) * *e.add(l);
                    }
                }
            }
            let cols = if whole { scaled } else { wide };
            let a = da.add(m * sda + from);
            let (by_rows, by_cols) = (third.add(m * width), third.add(from * width));
            gemm(to - m, width, m - from, 1.0, a, side, 1, cols.add(from * width), w, 1, 0.0, by_rows, w, 1);
            gemm(m - from, width, to - m, 1.0, a, 1, side, wide.add(m * width), w, 1, 0.0, by_cols, w, 1);
            for i in from..to {
                let own = if i < m { grad.k } else { grad.q }.add(i * step);
                let (x, e) = (third.add(i * width), decay.add(i * width));
                for (l, live) in grad.lanes() {
                    let mut part = load(x.add(l), live);
                    if !whole {
                        let e = load(e.add(l), live);
                        for l in 0..LANES {
                            part[l] *= e[l];
                        }
                    }
                    add(part, own.add(l), live);
                }
            }
            grad.across::<I>([from, m, to], [wide, third], [cols, third]);
        }
        if whole {
            frame.scale_rows(n, grad.q, step, grad.q, step);
            frame.scale_cols(n, grad.k, step, grad.k, step);
        }
        // the pairs of a row with its own column, on which no decay acts
        for i in 0..if pairs.end(0) > 0 { n } else { 0 } {
            let a = *da.add(i * sda + i);
            for (x, dy) in [(k.add(i * sk), grad.q), (q.add(i * sq), grad.k)] {
                let dy = dy.add(i * step);
                for l in 0..width {
                    *dy.add(l) = I::fma(a, *x.add(l), *dy.add(l));
                }
            }
        }
    }
    keep_work(room);
    keep_decays(known);
}

versions! {
    /// Computes the gradients of [`decay_dot`](super::decay_dot) with respect to q, k and, with three `parts`, g, one after the other in
    /// `to` `[parts, n, width]`, with the row stride `step`. da `[n, n]` is the cotangent of its result, of which only the pairs in `pairs`
    /// are read.
    pub unsafe fn decay_dot_grad(
        n: usize, width: usize, pairs: Pairs, da: *const f32, sda: usize, q: *const f32, sq: usize, k: *const f32, sk: usize,
        g: *const f32, sg: usize, to: *mut f32, step: usize, parts: usize,
    ) = grad_body;
}
