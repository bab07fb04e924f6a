//! Chunk kernels against f64, pair by pair.

use super::*;
use crate::isa::at_each_level;

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 331) % 1009) as f32 / 504.0 - 1.0).collect()
}

fn close(got: f32, want: f64, size: f64, what: &str) {
    // Some tens of terms, each rounded a few times.
    assert!((f64::from(got) - want).abs() <= 2e-6 * size + 1e-7, "{what}: {got} for {want} ({size})");
}

const PAIRS: [Pairs; 3] = [
    Pairs { strict: false, before: false },
    Pairs { strict: true, before: false },
    Pairs { strict: true, before: true },
];

/// Log decays `[n, width]`: weak, strong, a few very strong ones among weak ones, and such that all rows from the second on decay by
/// a little less and a little more than exp(-80), or that only one channel does so, where vector decays are split differently.
fn decays(n: usize, width: usize, kind: usize) -> Vec<f32> {
    (0..n * width)
        .map(|i| {
            let t = ((i * 6101) % 997) as f32 / 997.0;
            match kind {
                0 => -0.1 * t,
                1 => -8.0 * t,
                3 => -79.99 / (n.max(2) - 1) as f32,
                4 => -80.01 / (n.max(2) - 1) as f32,
                5 if i % width == width - 1 => -80.01 / (n.max(2) - 1) as f32,
                5 => -79.0 / (n.max(2) - 1) as f32,
                _ if (i / width) % 7 == 3 => -40.0,
                _ => -0.01 * t,
            }
        })
        .collect()
}

/// The f64 decay of a pair in a channel; none for pairs outside of `pairs`.
fn decay(g: &[f32], width: usize, pairs: Pairs, i: usize, j: usize, l: usize) -> Option<f64> {
    if j > i || (j == i && (pairs.strict || pairs.before)) {
        return None;
    }
    let last = if pairs.before { i } else { i + 1 };
    Some((j + 1..last).map(|r| f64::from(g[r * width + l])).sum::<f64>().exp())
}

#[test]
fn running_sums() {
    at_each_level(|_| {
        for (n, width) in [(1, 1), (40, 1), (7, 19), (64, 32)] {
            let x = numbers(n * (width + 2), 1);
            // a sum restarts at rows 0, 5 and from 9 on at every third
            let new: Vec<f32> =
                (0..2 * n).map(|i| f32::from(u8::from(matches!(i, 0 | 10 | 18..) && i % 6 != 2))).collect();
            let begins = |i: usize| new[2 * i] != 0.0;
            for flags in 0..8 {
                let [reverse, exclusive, apart] = [1, 2, 4].map(|bit| flags & bit != 0);
                let starts = if apart { Starts { at: new.as_ptr(), step: 2 } } else { Starts::NONE };
                let sx = width + 2;
                let mut y = x.clone();
                // SAFETY: rows of width + 2.
                unsafe { cumsum(n, width, reverse, exclusive, false, starts, y.as_ptr(), sx, y.as_mut_ptr(), sx) };
                let mut low = x.clone();
                // SAFETY: as above.
                unsafe { cumsum(n, width, reverse, exclusive, true, starts, low.as_ptr(), sx, low.as_mut_ptr(), sx) };
                for l in 0..width {
                    for i in 0..n {
                        let together = |r: usize| !apart || !(i.min(r) + 1..=i.max(r)).any(begins);
                        let range = match (reverse, exclusive) {
                            (false, false) => 0..i + 1,
                            (false, true) => 0..i,
                            (true, false) => i..n,
                            (true, true) => i + 1..n,
                        };
                        let want: f64 = range.filter(|r| together(*r)).map(|r| f64::from(x[r * sx + l])).sum();
                        let at = i * sx + l;
                        assert_eq!(y[at], want as f32);
                        // Both parts together have f64's digits but for those that the low part's own rounding takes.
                        assert!((f64::from(y[at]) + f64::from(low[at]) - want).abs() <= 1e-13 * (1.0 + want.abs()));
                    }
                }
            }
        }
    });
}

#[test]
fn solves() {
    at_each_level(|_| {
        for (n, v) in [(1, 3), (5, 8), (16, 16), (40, 33), (64, 64), (100, 7)] {
            for transpose in [false, true] {
                let (sa, sx) = (n + 1, v + 3);
                // Small enough that the solution does not grow.
                let a: Vec<f32> = numbers(n * sa, 1).into_iter().map(|x| 0.2 * x).collect();
                let x = numbers(n * sx, 2);
                let mut p = x.clone();
                // SAFETY: rows as long as the strides.
                unsafe { solve_unit_lower(n, v, a.as_ptr(), sa, transpose, p.as_mut_ptr(), sx) };
                for c in 0..v {
                    let mut want = vec![0.0f64; n];
                    for s in 0..n {
                        let i = if transpose { n - 1 - s } else { s };
                        let others = if transpose { i + 1..n } else { 0..i };
                        let sum: f64 = others
                            .map(|j| f64::from(if transpose { a[j * sa + i] } else { a[i * sa + j] }) * want[j])
                            .sum();
                        want[i] = f64::from(x[i * sx + c]) + sum;
                    }
                    let size = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                    for i in 0..n {
                        close(p[i * sx + c], want[i], size * 4.0, "solve");
                    }
                }
                for i in 0..n {
                    assert_eq!(p[i * sx + v..(i + 1) * sx], x[i * sx + v..(i + 1) * sx]);
                }
            }
        }
    });
}

#[test]
fn pair_decays() {
    at_each_level(|_| {
        for n in [1, 2, 13, 64] {
            for kind in 0..3 {
                let g = decays(n, 2, kind);
                let one: Vec<f32> = (0..n).map(|i| g[2 * i]).collect();
                let e = numbers(n * n, 3);
                for pairs in PAIRS {
                    let mut y = vec![f32::NAN; n * n];
                    let mut dg = vec![f32::NAN; n];
                    // SAFETY: n rows of n; entries of g two apart.
                    unsafe {
                        pair_decay(n, pairs, g.as_ptr(), 2, y.as_mut_ptr(), n);
                        pair_decay_grad(n, pairs, e.as_ptr(), n, dg.as_mut_ptr(), 1);
                    }
                    let mut want = vec![0.0; n];
                    for i in 0..n {
                        for j in 0..n {
                            match decay(&one, 1, pairs, i, j, 0) {
                                Some(d) => close(y[i * n + j], d, d, "pair"),
                                None => assert_eq!(y[i * n + j], 0.0),
                            }
                            if j < i {
                                for w in &mut want[j + 1..if pairs.before { i } else { i + 1 }] {
                                    *w += f64::from(e[i * n + j]);
                                }
                            }
                        }
                    }
                    for l in 0..n {
                        assert_eq!(dg[l], want[l] as f32);
                    }
                }
            }
        }
    });
}

#[test]
fn decayed_products() {
    at_each_level(|_| {
        for (n, width) in [(1, 4), (16, 8), (17, 5), (40, 16), (64, 33)] {
            let s = width + 1;
            let (q, k, da) = (numbers(n * s, 1), numbers(n * s, 2), numbers(n * n, 3));
            for kind in 0..6 {
                let g = decays(n, width, kind);
                for pairs in PAIRS {
                    let mut y = vec![f32::NAN; n * n];
                    let mut to = vec![f32::NAN; 3 * n * s];
                    // the gradients of q and k alone are the same bits
                    let mut two = vec![f32::NAN; 2 * n * s];
                    // SAFETY: rows as long as the strides.
                    unsafe {
                        let (q, k, g, da) = (q.as_ptr(), k.as_ptr(), g.as_ptr(), da.as_ptr());
                        decay_dot(n, width, pairs, q, s, k, s, g, width, y.as_mut_ptr(), n);
                        decay_dot_grad(n, width, pairs, da, n, q, s, k, s, g, width, to.as_mut_ptr(), s, 3);
                        decay_dot_grad(n, width, pairs, da, n, q, s, k, s, g, width, two.as_mut_ptr(), s, 2);
                    }
                    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                    assert_eq!(bits(&to[..2 * n * s]), bits(&two));
                    // Sum, and sum of magnitudes.
                    let mut wants = vec![[0.0f64; 2]; n * n];
                    let mut wantq = vec![[0.0f64; 2]; n * width];
                    let mut wantk = vec![[0.0f64; 2]; n * width];
                    let mut wantg = vec![[0.0f64; 2]; n * width];
                    let add = |to: &mut [f64; 2], x: f64| *to = [to[0] + x, to[1] + x.abs()];
                    for i in 0..n {
                        for j in 0..n {
                            for l in 0..width {
                                if let Some(d) = decay(&g, width, pairs, i, j, l) {
                                    let (q, k) = (f64::from(q[i * s + l]), f64::from(k[j * s + l]));
                                    let a = f64::from(da[i * n + j]);
                                    add(&mut wants[i * n + j], q * k * d);
                                    add(&mut wantq[i * width + l], a * k * d);
                                    add(&mut wantk[j * width + l], a * q * d);
                                    let last = if pairs.before { i } else { i + 1 };
                                    for r in j + 1..last {
                                        add(&mut wantg[r * width + l], a * q * k * d);
                                    }
                                }
                            }
                        }
                    }
                    for i in 0..n {
                        for j in 0..n {
                            let [want, size] = wants[i * n + j];
                            close(y[i * n + j], want, size, "dot");
                        }
                        for l in 0..width {
                            for (part, want) in [&wantq, &wantk, &wantg].into_iter().enumerate() {
                                let [want, size] = want[i * width + l];
                                // no larger terms have cancelled: the bound is that of these alone
                                let got = to[(part * n + i) * s + l];
                                assert!(
                                    (f64::from(got) - want).abs() <= 2e-6 * size + 1e-30,
                                    "{part}: {got} for {want} ({size})"
                                );
                            }
                        }
                    }
                }
            }
        }
    });
}
