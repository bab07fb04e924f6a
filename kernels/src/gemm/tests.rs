//! Tests of matrix products against f64.

use super::*;
use crate::isa::at_each_level;

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 504.0 - 1.0).collect()
}

/// Strides of a matrix `[r, c]` in a buffer, and its length: row-major, column-major, or with gaps everywhere.
fn layout(kind: usize, r: usize, c: usize) -> (isize, isize, usize) {
    match kind {
        0 => (c as isize + 2, 1, r * (c + 2) + 1),
        1 => (1, r as isize + 1, c * (r + 1) + 1),
        _ => (2 * c as isize + 3, 2, r * (2 * c + 3) + 1),
    }
}

fn check(m: usize, n: usize, k: usize, kinds: [usize; 3], alpha: f32, beta: f32) {
    let (rsa, csa, la) = layout(kinds[0], m, k);
    let (rsb, csb, lb) = layout(kinds[1], k, n);
    let (rsc, csc, lc) = layout(kinds[2], m, n);
    let (a, b, mut c) = (numbers(la, 1), numbers(lb, 2), numbers(lc, 3));
    if beta == 0.0 {
        c.fill(f32::NAN);
    }
    let before = c.clone();
    let mut touched = vec![false; lc];
    // SAFETY: the buffers have the lengths that the layouts need.
    unsafe {
        gemm(m, n, k, alpha, a.as_ptr(), rsa, csa, b.as_ptr(), rsb, csb, beta, c.as_mut_ptr(), rsc, csc);
    }
    let at = |i: usize, j: usize, rs: isize, cs: isize| (i as isize * rs + j as isize * cs) as usize;
    for i in 0..m {
        for j in 0..n {
            let terms = || (0..k).map(|p| f64::from(a[at(i, p, rsa, csa)]) * f64::from(b[at(p, j, rsb, csb)]));
            let to = at(i, j, rsc, csc);
            let old = if beta == 0.0 { 0.0 } else { f64::from(before[to]) };
            let want = f64::from(alpha) * terms().sum::<f64>() + f64::from(beta) * old;
            // Each addition rounds by 6e-8 of the sum so far; over the depth some of that cancels.
            let tolerance = 1e-6 * (terms().map(f64::abs).sum::<f64>() + old.abs() + 0.1);
            assert!(
                (f64::from(c[to]) - want).abs() < tolerance,
                "{m} {n} {k} {kinds:?} at {i} {j}: {} for {want}",
                c[to]
            );
            touched[to] = true;
        }
    }
    for (i, touched) in touched.iter().enumerate() {
        assert!(*touched || c[i].to_bits() == before[i].to_bits(), "{m} {n} {k} {kinds:?} wrote at {i}");
    }
}

#[test]
fn all_layouts_and_edges() {
    at_each_level(|_| {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 70, 33),
            (2, 9, 40),
            (3, 130, 7),
            (40, 1, 50),
            (33, 3, 20),
            (6, 16, 8),
            (7, 17, 9),
            (16, 16, 16),
            (13, 31, 64),
            (29, 47, 300),
            (64, 64, 64),
            (70, 65, 20),
            (0, 4, 4),
            (4, 0, 4),
            (4, 4, 0),
            (33, 20, 513),
            (1, 300, 21),
            (3, 259, 6),
        ] {
            for kinds in 0..27 {
                let kinds = [kinds % 3, kinds / 3 % 3, kinds / 9];
                check(m, n, k, kinds, 1.0, 0.0);
                check(m, n, k, kinds, -0.5, 1.0);
            }
        }
    });
}

#[test]
fn blocks() {
    at_each_level(|_| {
        for kinds in [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]] {
            check(200, 70, 520, kinds, 1.0, 0.5);
            check(65, 1100, 40, kinds, 1.0, 0.0);
        }
    });
}

#[test]
fn batches() {
    let (m, n, k, batch) = (5, 6, 7, 3);
    let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
    let want = |shared: bool, i: usize, r: usize, c: usize| -> f64 {
        let from = if shared { 0 } else { i * k * n };
        (0..k).map(|p| f64::from(a[i * m * k + r * k + p]) * f64::from(b[from + p * n + c])).sum()
    };
    for shared in [false, true] {
        for added in [false, true] {
            let mut y = vec![0.0f32; batch * m * n];
            let sb = if shared { 0 } else { (k * n) as isize };
            let sc = if added { 0 } else { (m * n) as isize };
            // SAFETY: the buffers have the lengths given.
            unsafe {
                gemm_batch(
                    batch,
                    m,
                    n,
                    k,
                    1.0,
                    a.as_ptr(),
                    (m * k) as isize,
                    k as isize,
                    1,
                    b.as_ptr(),
                    sb,
                    n as isize,
                    1,
                    0.0,
                    y.as_mut_ptr(),
                    sc,
                    n as isize,
                    1,
                );
            }
            for r in 0..m {
                for c in 0..n {
                    let each: Vec<f64> = (0..batch).map(|i| want(shared, i, r, c)).collect();
                    for i in 0..batch {
                        let (got, want) =
                            if added { (y[r * n + c], each.iter().sum()) } else { (y[(i * m + r) * n + c], each[i]) };
                        assert!((f64::from(got) - want).abs() < 1e-5);
                    }
                }
            }
        }
    }
}

#[test]
fn bands() {
    at_each_level(|_| {
        for (m, n, k) in
            [(64, 64, 16), (64, 64, 64), (50, 40, 33), (64, 16, 64), (5, 64, 9), (2, 30, 20), (9, 3, 40), (7, 20, 400)]
        {
            for (least, most) in [(-1000, 0), (-1000, 17), (-20, -3), (-9, 9), (40, 50), (-1000, 1000), (1000, 1000)] {
                for kinds in 0..4 {
                    banded(m, n, k, Band { least, most }, kinds & 1 != 0, kinds & 2 != 0);
                }
            }
        }
    });
}

/// Checks both products with a band of a matrix, A and B stored as they are or transposed.
fn banded(m: usize, n: usize, k: usize, band: Band, turned_a: bool, turned_b: bool) {
    let inside = |row: usize, col: usize| (band.least..=band.most).contains(&(col as isize - row as isize));
    let mut a = numbers(m * k, 1);
    let b = numbers(k * n, 2);
    let at = |i: usize, p: usize| if turned_a { p * m + i } else { i * k + p };
    let b_at = |p: usize, j: usize| if turned_b { j * k + p } else { p * n + j };
    let (a_steps, b_steps) = (
        if turned_a { (1, m as isize) } else { (k as isize, 1) },
        if turned_b { (1, k as isize) } else { (n as isize, 1) },
    );
    for left in [false, true] {
        if left {
            for (i, p) in (0..m).flat_map(|i| (0..k).map(move |p| (i, p))).filter(|x| !inside(x.0, x.1)) {
                a[at(i, p)] = 0.0;
            }
        }
        let which = if left { Banded::Left(band) } else { Banded::Result(band) };
        for beta in [0.0, 1.0] {
            let before = if beta == 0.0 { f32::NAN } else { 0.5 };
            let mut c = vec![before; m * n];
            // SAFETY: the buffers have the lengths given.
            unsafe {
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                gemm_banded(
                    Some(which),
                    m,
                    n,
                    k,
                    a,
                    a_steps.0,
                    a_steps.1,
                    b,
                    b_steps.0,
                    b_steps.1,
                    beta,
                    c,
                    n as isize,
                    1,
                );
            }
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let sum: f64 = (0..k).map(|p| f64::from(a[at(i, p)]) * f64::from(b[b_at(p, j)])).sum();
                let start = if beta == 0.0 { 0.0 } else { 0.5 };
                let got = f64::from(c[i * n + j]);
                let near = |want: f64| (got - want).abs() < 2e-6 * (k as f64).sqrt();
                let left_out = !left && !inside(i, j) && near(start);
                assert!(left_out || near(start + sum), "{m} {n} {k} {which:?} at {i} {j}: {got}, not {}", start + sum);
            }
        }
    }
}

#[test]
fn transposes() {
    at_each_level(|_| {
        for (rows, cols) in [(64, 16), (64, 64), (7, 30), (1, 9), (16, 3)] {
            let (x, mut y) = (numbers(rows * cols, 3), vec![f32::NAN; rows * cols]);
            // SAFETY: both slices have `rows * cols` elements.
            unsafe { transpose(rows, cols, x.as_ptr(), y.as_mut_ptr()) };
            assert!((0..rows * cols).all(|i| y[i % cols * rows + i / cols] == x[i]), "{rows} {cols}");
        }
    });
}
