//! Decays that have no logarithm, as running products: D_ij = a_i D_{i-1,j} with D_jj = 1, and gradients by the same recurrence from the
//! other end. Nothing is divided, so that decays of 0 and of either sign need no special case.
//!
//! Products are f64 and rounded once. Decays are at most 1 in magnitude: a product that has fallen below the normal range of f32 cannot
//! return to it, and is 0 from then on.

use super::Pairs;
use crate::isa::{Isa, versions};
use crate::room::{keep_work, work};

/// Flushes x to 0 where it is below the normal range of f32.
#[inline(always)]
fn normal(x: f64) -> f64 {
    const LEAST: f64 = f32::MIN_POSITIVE as f64;
    if x.abs() < LEAST { 0.0 } else { x }
}

#[inline(always)]
unsafe fn cumprod_body<I: Isa>(
    _: I,
    n: usize,
    reverse: bool,
    exclusive: bool,
    x: *const f32,
    sx: usize,
    y: *mut f32,
    sy: usize,
) {
    let mut product = 1.0f64;
    for i in 0..n {
        let i = if reverse { n - 1 - i } else { i };
        // SAFETY: the caller's contract.
        unsafe {
            let next = normal(product * f64::from(*x.add(i * sx)));
            *y.add(i * sy) = if exclusive { product } else { next } as f32;
            product = next;
        }
    }
}

/// Computes P R for each entry, where P is the product of all entries before it, in the order of the product, and R = dy + the next entry
/// times the next R. In an exclusive product, an entry acts only on those after it.
#[inline(always)]
unsafe fn cumprod_grad_body<I: Isa>(
    _: I,
    n: usize,
    reverse: bool,
    exclusive: bool,
    x: *const f32,
    sx: usize,
    dy: *const f32,
    sdy: usize,
    dx: *mut f32,
    sdx: usize,
) {
    let mut room = work();
    let before = room.of(2 * n).cast::<f64>();
    let at = |i: usize| if reverse { n - 1 - i } else { i };
    // SAFETY: the room has n products; the others the caller's contract.
    unsafe {
        let mut product = 1.0f64;
        for i in 0..n {
            *before.add(i) = product;
            product = normal(product * f64::from(*x.add(at(i) * sx)));
        }
        let mut rest = 0.0f64;
        for i in (0..n).rev() {
            let (given, own) = (f64::from(*dy.add(at(i) * sdy)), f64::from(*x.add(at(i) * sx)));
            let all = if exclusive { rest } else { given + rest };
            *dx.add(at(i) * sdx) = (*before.add(i) * all) as f32;
            rest = if exclusive { given + own * rest } else { own * all };
        }
    }
    keep_work(room);
}

#[inline(always)]
unsafe fn pair_product_body<I: Isa>(_: I, n: usize, pairs: Pairs, a: *const f32, step: usize, y: *mut f32, sy: usize) {
    let mut room = work();
    let row = room.of(2 * n).cast::<f64>();
    // SAFETY: the room has n products; y has n rows and columns.
    unsafe {
        for i in 0..n {
            let y = y.add(i * sy);
            let end = pairs.end(i);
            // before the row's own decay the products are those of the row above
            if pairs.before {
                (0..end).for_each(|j| *y.add(j) = *row.add(j) as f32);
            }
            let own = f64::from(*a.add(i * step));
            (0..i).for_each(|j| *row.add(j) = normal(own * *row.add(j)));
            *row.add(i) = 1.0;
            if !pairs.before {
                (0..end).for_each(|j| *y.add(j) = *row.add(j) as f32);
            }
            (end..n).for_each(|j| *y.add(j) = 0.0);
        }
    }
    keep_work(room);
}

/// R_l = E_l + a_{l+1} R_{l+1} row by row from the last, da_l = sum over j < l of D_{l-1,j} R_lj.
#[inline(always)]
unsafe fn pair_product_grad_body<I: Isa>(
    _: I,
    n: usize,
    pairs: Pairs,
    a: *const f32,
    step: usize,
    d: *const f32,
    sd: usize,
    e: *const f32,
    se: usize,
    da: *mut f32,
    sda: usize,
) {
    const LANES: usize = 8;
    let mut room = work();
    let rest = room.of(2 * n).cast::<f64>();
    // SAFETY: the room has n sums; d and e have n rows and columns.
    unsafe {
        (0..n).for_each(|j| *rest.add(j) = 0.0);
        for l in (0..n).rev() {
            // R_l: the cotangents of the products down to row l, from that row and those below it
            if pairs.before {
                // the pair (l + 1, j) holds the product down to row l
                if l + 1 < n {
                    let (e, next) = (e.add((l + 1) * se), f64::from(*a.add((l + 1) * step)));
                    (0..l).for_each(|j| *rest.add(j) = f64::from(*e.add(j)) + next * *rest.add(j));
                }
            } else {
                let e = e.add(l * se);
                let next = if l + 1 < n { f64::from(*a.add((l + 1) * step)) } else { 0.0 };
                (0..l).for_each(|j| *rest.add(j) = f64::from(*e.add(j)) + next * *rest.add(j));
            }
            // times the products down to the row above, the last of which is 1
            let mut sum = 0.0f64;
            if l > 0 {
                let above = d.add(if pairs.before { l * sd } else { (l - 1) * sd });
                let mut sums = [0.0f64; LANES];
                let whole = (l - 1) / LANES * LANES;
                for j in (0..whole).step_by(LANES) {
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum += f64::from(*above.add(j + lane)) * *rest.add(j + lane);
                    }
                }
                sum = sums.iter().sum();
                for j in whole..l - 1 {
                    sum += f64::from(*above.add(j)) * *rest.add(j);
                }
                sum += *rest.add(l - 1);
            }
            *da.add(l * sda) = sum as f32;
        }
    }
    keep_work(room);
}

versions! {
    /// y = the running product of the n elements of x, with the strides `sx` and `sy`; from the last element with `reverse`, without the
    /// element itself with `exclusive`. y may be x.
    pub unsafe fn cumprod(
        n: usize, reverse: bool, exclusive: bool, x: *const f32, sx: usize, y: *mut f32, sy: usize,
    ) = cumprod_body;
    /// dx = the gradient of [`cumprod`] with respect to x, where dy is the cotangent of its result.
    pub unsafe fn cumprod_grad(
        n: usize, reverse: bool, exclusive: bool, x: *const f32, sx: usize, dy: *const f32, sdy: usize, dx: *mut f32, sdx: usize,
    ) = cumprod_grad_body;
    /// y `[n, n]` = the product of the decays a that act on each pair, 0 for pairs outside of `pairs`. `step` is the stride of a.
    pub unsafe fn pair_product(n: usize, pairs: Pairs, a: *const f32, step: usize, y: *mut f32, sy: usize) = pair_product_body;
    /// da = the gradient of [`pair_product`] with respect to a; d `[n, n]` is its result, e `[n, n]` the cotangent of that.
    pub unsafe fn pair_product_grad(
        n: usize, pairs: Pairs, a: *const f32, step: usize, d: *const f32, sd: usize, e: *const f32, se: usize, da: *mut f32,
        sda: usize,
    ) = pair_product_grad_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    /// Decays by kind: near 1; and of both signs, spread over [-1, 1], small, or with zeros.
    fn decays(n: usize, kind: usize) -> Vec<f32> {
        let spread = |i: usize| ((i * 7919 + 331) % 1009) as f32 / 504.5 - 1.0;
        let one = |i: usize| match kind {
            0 => 1.0 - 0.05 * spread(i).abs(),
            1 => spread(i),
            2 => 1e-3 * spread(i),
            _ if i % 5 == 2 => 0.0,
            _ => spread(i).signum() * 0.9,
        };
        (0..n).map(one).collect()
    }

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 6101 + 17) % 997) as f32 / 498.0 - 1.0).collect()
    }

    /// The product of all factors but one.
    fn product(a: &[f32], without: Option<usize>) -> f64 {
        let kept = a.iter().enumerate().filter(|(i, _)| Some(*i) != without);
        kept.map(|(_, x)| f64::from(*x)).product()
    }

    /// Asserts an error of at most one rounding of a product and of some tens of terms of a sum; products below the normal range are 0.
    fn close(got: f32, want: f64, size: f64, what: &str) {
        assert!((f64::from(got) - want).abs() <= 1e-7 * size + 1.2e-38, "{what}: {got} for {want} ({size})");
    }

    #[test]
    fn running_products() {
        at_each_level(|_| {
            for (n, kind) in [1, 2, 13, 64].into_iter().flat_map(|n| (0..4).map(move |k| (n, k))) {
                let (x, dy) = (decays(n, kind), numbers(n));
                for (reverse, exclusive) in [(false, false), (false, true), (true, false), (true, true)] {
                    let (mut y, mut dx) = (vec![f32::NAN; n], vec![f32::NAN; 2 * n]);
                    // SAFETY: n entries, those of dx two apart.
                    unsafe {
                        cumprod(n, reverse, exclusive, x.as_ptr(), 1, y.as_mut_ptr(), 1);
                        cumprod_grad(n, reverse, exclusive, x.as_ptr(), 1, dy.as_ptr(), 1, dx.as_mut_ptr(), 2);
                    }
                    let factors = |i: usize| match (reverse, exclusive) {
                        (false, false) => 0..i + 1,
                        (false, true) => 0..i,
                        (true, false) => i..n,
                        (true, true) => i + 1..n,
                    };
                    for i in 0..n {
                        let want = product(&x[factors(i)], None);
                        close(y[i], want, want.abs(), "running product");
                    }
                    for l in 0..n {
                        let (mut want, mut size) = (0.0, 0.0);
                        for i in (0..n).filter(|i| factors(*i).contains(&l)) {
                            let range = factors(i);
                            let term = f64::from(dy[i]) * product(&x[range.clone()], Some(l - range.start));
                            want += term;
                            size += term.abs();
                        }
                        close(dx[2 * l], want, size, "its gradient");
                    }
                }
            }
        });
    }

    #[test]
    fn products_of_pairs() {
        at_each_level(|_| {
            for (n, kind) in [1, 2, 13, 64].into_iter().flat_map(|n| (0..4).map(move |k| (n, k))) {
                let (a, e) = (decays(n, kind), numbers(n * n));
                let twice: Vec<f32> = a.iter().flat_map(|x| [*x, 9.0]).collect();
                for (strict, before) in [(false, false), (true, false), (true, true)] {
                    let pairs = Pairs { strict, before };
                    let (mut y, mut da) = (vec![f32::NAN; n * n], vec![f32::NAN; n]);
                    // SAFETY: n rows of n; entries of a two apart.
                    unsafe {
                        pair_product(n, pairs, twice.as_ptr(), 2, y.as_mut_ptr(), n);
                        pair_product_grad(
                            n,
                            pairs,
                            twice.as_ptr(),
                            2,
                            y.as_ptr(),
                            n,
                            e.as_ptr(),
                            n,
                            da.as_mut_ptr(),
                            1,
                        );
                    }
                    let (mut want, mut size) = (vec![0.0; n], vec![0.0; n]);
                    for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        if j >= pairs.end(i) {
                            assert_eq!(y[i * n + j], 0.0);
                            continue;
                        }
                        let acts = j + 1..if before { i } else { i + 1 };
                        let one = product(&a[acts.clone()], None);
                        close(y[i * n + j], one, one.abs(), "pair");
                        for l in acts.clone() {
                            let term = f64::from(e[i * n + j]) * product(&a[acts.clone()], Some(l - acts.start));
                            want[l] += term;
                            size[l] += term.abs();
                        }
                    }
                    for l in 0..n {
                        close(da[l], want[l], size[l], "gradient of pairs");
                    }
                }
            }
        });
    }
}
