//! Tests of the interpreter's own ops against closed forms.

use crate::hand::{Hand, dot, leaf, same, tokens};
use archc_compiler::graph::BinaryOp;
use archc_compiler::lowered::{BATCH, Builder, Dag, DimId, Extent, Loop, LoopState, Op, Pairs, TIME, ValueId};
use std::sync::Arc;

fn emit(b: &mut Builder<'_>, node: ValueId, i: usize) -> ValueId {
    b.op(Op::Emit(i), &[node])
}

/// h <- a h + x, emitted after the update.
fn recurrence(b: &mut Builder<'_>) -> (Dag, ValueId) {
    let mut inner = b.body();
    let h = inner.op(Op::State(0, vec![]), &[]);
    let x = inner.op(Op::Capture(0, vec![]), &[]);
    let a = inner.number(0.9);
    let kept = inner.mul(a, h);
    let next = inner.add(kept, x);
    (inner.dag, next)
}

fn a_loop(over: DimId, map: &[DimId], reverse: bool, body: Dag, next: ValueId) -> Loop {
    let states = vec![LoopState { name: "h".into(), dims: vec![] }];
    Loop { over, reverse, map: map.to_vec(), states, body, next: vec![next], emits: vec![("y".into(), next)] }
}

fn decayed(x: &[f64]) -> Vec<f64> {
    let mut h = 0.0;
    x.iter()
        .map(|x| {
            h = 0.9 * h + x;
            h
        })
        .collect()
}

#[test]
fn a_loop_over_time_both_ways() {
    let mut hand = Hand::new(7, 7);
    let results = hand.run(|b| {
        let x = tokens(b, "x", &[]);
        let zero = b.number(0.0);
        let mut out = Vec::new();
        for reverse in [false, true] {
            let (body, next) = recurrence(b);
            let node = b.op(Op::Loop(Arc::new(a_loop(TIME, &[BATCH], reverse, body, next))), &[zero, x]);
            out.push(emit(b, node, 0));
            out.push(b.op(Op::Final(0), &[node]));
        }
        out
    });
    for (s, x) in hand.numbers("x").chunks(7).enumerate() {
        let want = decayed(x);
        same(&results[0].data[s * 7..][..7], &want);
        assert_eq!(results[1].data[s], results[0].data[s * 7 + 6]);
        let mut back = x.to_vec();
        back.reverse();
        let mut want = decayed(&back);
        want.reverse();
        same(&results[2].data[s * 7..][..7], &want);
        assert_eq!(results[3].data[s], results[2].data[s * 7]);
    }
}

#[test]
fn chunks_of_rows_are_time() {
    // 3 chunks of 4 rows, two of them past the end: h' = valid ? .9 h + x : h
    let mut hand = Hand::new(10, 10);
    let chunks = hand.dim("chunks", Extent::Chunks(4), 1);
    let rows = hand.dim("rows", Extent::Fixed(4), 2);
    let results = hand.run(|b| {
        let x = tokens(b, "x", &[]);
        let one = b.number(1.0);
        let one = b.expand(one, &[TIME]);
        let [x_rows, valid] = [x, one].map(|v| b.op(Op::Chunk { chunks, rows, fill: 0.0 }, &[v]));
        let zero = b.number(0.0);
        let mut outer = b.body();
        let h = outer.op(Op::State(0, vec![]), &[]);
        let captures = [vec![rows], vec![rows]].into_iter().enumerate();
        let given: Vec<ValueId> = captures.map(|(i, d)| outer.op(Op::Capture(i, d), &[])).collect();
        let mut inner = outer.body();
        let state = inner.op(Op::State(0, vec![]), &[]);
        let x = inner.op(Op::Capture(0, vec![]), &[]);
        let valid_here = inner.op(Op::Capture(1, vec![]), &[]);
        let a = inner.number(0.9);
        let kept = inner.mul(a, state);
        let moved = inner.add(kept, x);
        let next = inner.op(Op::Select, &[valid_here, moved, state]);
        let inner = inner.dag;
        let node = outer.op(Op::Loop(Arc::new(a_loop(rows, &[], false, inner, next))), &[h, given[0], given[1]]);
        let y = outer.op(Op::Emit(0), &[node]);
        let last = outer.op(Op::Final(0), &[node]);
        let outer = outer.dag;
        let mut l = a_loop(chunks, &[BATCH], false, outer, last);
        l.emits[0].1 = y;
        let node = b.op(Op::Loop(Arc::new(l)), &[zero, x_rows, valid]);
        let y = emit(b, node, 0);
        let back = b.op(Op::Unchunk { chunks, rows }, &[x_rows]);
        vec![b.op(Op::Unchunk { chunks, rows }, &[y]), b.op(Op::Final(0), &[node]), back]
    });
    assert_eq!(results[2].data, hand.numbers("x"), "there and back");
    for (s, x) in hand.numbers("x").chunks(10).enumerate() {
        let want = decayed(x);
        same(&results[0].data[s * 10..][..10], &want);
        same(&results[1].data[s..][..1], &want[9..]);
    }
}

fn pairs(rows: DimId, cols: DimId, which: usize) -> Pairs {
    Pairs { rows, cols, strict: which > 0, before: which == 2 }
}

/// The decay between rows as documented.
fn decay(g: &[f64], i: usize, j: usize, which: usize) -> f64 {
    let (meant, last) = match which {
        0 => (j <= i, i),
        1 => (j < i, i),
        _ => (j < i, i.wrapping_sub(1)),
    };
    if meant { (j + 1..=last).map(|l| g[l]).sum::<f64>().exp() } else { 0.0 }
}

#[test]
fn decays_between_pairs() {
    const N: usize = 6;
    for which in 0..3 {
        let mut hand = Hand::new(1, 1);
        let [rows, cols] = ["rows", "cols"].map(|n| hand.dim(n, Extent::Fixed(N), if n == "rows" { 2 } else { 3 }));
        let k = hand.axis("K", 3);
        let parts = hand.dim("parts", Extent::Fixed(3), 1);
        let p = pairs(rows, cols, which);
        let results = hand.run(|b| {
            let (g, e) = (leaf(b, "g", &[rows]), leaf(b, "e", &[rows, cols]));
            let (q, key, gk) = (leaf(b, "q", &[rows, k]), leaf(b, "k", &[cols, k]), leaf(b, "gk", &[rows, k]));
            let d = b.op(Op::PairDecay(p), &[g]);
            let cotangent = b.mul(d, e);
            vec![
                d,
                b.op(Op::PairDecayGrad(p), &[cotangent]),
                b.op(Op::DecayDot { over: k, pairs: p }, &[q, key, gk]),
                b.op(Op::DecayDotGrad { over: k, pairs: p, parts }, &[e, q, key, gk]),
            ]
        });
        let g = hand.numbers("g");
        let each = |g: &[f64]| (0..N * N).map(|n| decay(g, n / N, n % N, which)).collect::<Vec<f64>>();
        same(&results[0].data, &each(g));
        // the derivative of sum(decay * e) by each g, by central differences: off by 1e-10 from the curvature
        for l in 0..N {
            let at = |by: f64| {
                let mut g = g.to_vec();
                g[l] += by;
                dot(&each(&g), hand.numbers("e"))
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((difference - results[1].data[l]).abs() < 1e-8, "{which} [{l}]");
        }
        let (q, key, gk, e) = (hand.numbers("q"), hand.numbers("k"), hand.numbers("gk"), hand.numbers("e"));
        let along = |c: usize| (0..N).map(|i| gk[i * 3 + c]).collect::<Vec<f64>>();
        let mut products = vec![0.0; N * N];
        let [mut by_q, mut by_k, mut by_g] = [(); 3].map(|()| vec![0.0; N * 3]);
        for c in 0..3 {
            let g = along(c);
            for i in 0..N {
                for j in 0..N {
                    let d = decay(&g, i, j, which);
                    products[i * N + j] += q[i * 3 + c] * key[j * 3 + c] * d;
                    by_q[i * 3 + c] += e[i * N + j] * key[j * 3 + c] * d;
                    by_k[j * 3 + c] += e[i * N + j] * q[i * 3 + c] * d;
                    let last = if which == 2 { i } else { i + 1 };
                    for l in j + 1..last {
                        by_g[l * 3 + c] += e[i * N + j] * q[i * 3 + c] * key[j * 3 + c] * d;
                    }
                }
            }
        }
        same(&results[2].data, &products);
        same(&results[3].data, &[by_q, by_k, by_g].concat());
    }
}

#[test]
fn products_between_pairs() {
    const N: usize = 6;
    for which in 0..3 {
        let mut hand = Hand::new(1, 1);
        let [rows, cols] = ["rows", "cols"].map(|n| hand.dim(n, Extent::Fixed(N), if n == "rows" { 2 } else { 3 }));
        let p = pairs(rows, cols, which);
        let results = hand.run(|b| {
            let (a, e) = (leaf(b, "a", &[rows]), leaf(b, "e", &[rows, cols]));
            let dy = leaf(b, "dy", &[rows]);
            let d = b.op(Op::PairProduct(p), &[a]);
            let mut all = vec![d, b.op(Op::PairProductGrad(p), &[a, d, e])];
            for (reverse, exclusive) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(b.op(Op::Cumprod { dim: rows, reverse, exclusive }, &[a]));
                all.push(b.op(Op::CumprodGrad { dim: rows, reverse, exclusive }, &[a, dy]));
            }
            all
        });
        // of positive decays the product is the exponential of a sum
        let a = hand.numbers("a").to_vec();
        let each = |a: &[f64]| {
            let logs: Vec<f64> = a.iter().map(|a| a.abs().ln()).collect();
            let entry = |n: usize| {
                let (i, j) = (n / N, n % N);
                let last = if which == 2 { i } else { i + 1 };
                let negative = (j + 1..last).filter(|l| a[*l] < 0.0).count() % 2 == 1;
                decay(&logs, i, j, which) * if negative { -1.0 } else { 1.0 }
            };
            (0..N * N).map(entry).collect::<Vec<f64>>()
        };
        same(&results[0].data, &each(&a));
        let running = |a: &[f64], n: usize| -> Vec<f64> {
            let factors = |i: usize| match n {
                0 => 0..i + 1,
                1 => 0..i,
                2 => i..N,
                _ => i + 1..N,
            };
            (0..N).map(|i| a[factors(i)].iter().product()).collect()
        };
        // derivatives by central differences: off by 1e-10 from the curvature
        let derivative = |l: usize, of: &dyn Fn(&[f64]) -> f64| {
            let at = |by: f64| {
                let mut a = a.clone();
                a[l] += by;
                of(&a)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        };
        for l in 0..N {
            let wanted = derivative(l, &|a| dot(&each(a), hand.numbers("e")));
            assert!((wanted - results[1].data[l]).abs() < 1e-8, "{which} [{l}]");
        }
        for n in 0..4 {
            same(&results[2 + 2 * n].data, &running(&a, n));
            for l in 0..N {
                let wanted = derivative(l, &|a| dot(&running(a, n), hand.numbers("dy")));
                assert!((wanted - results[3 + 2 * n].data[l]).abs() < 1e-8, "running {n} [{l}]");
            }
        }
    }
}

#[test]
fn a_solve_is_undone_by_the_product() {
    const N: usize = 5;
    let mut hand = Hand::new(1, 1);
    let [rows, cols] = ["rows", "cols"].map(|n| hand.dim(n, Extent::Fixed(N), if n == "rows" { 2 } else { 3 }));
    let v = hand.axis("V", 2);
    let results = hand.run(|b| {
        let (a, x) = (leaf(b, "a", &[BATCH, rows, cols]), leaf(b, "x", &[rows, v]));
        [false, true].map(|transpose| b.op(Op::SolveUnitLower { rows, cols, transpose }, &[a, x])).to_vec()
    });
    let (a, x) = (hand.numbers("a"), hand.numbers("x"));
    for (transpose, p) in results.iter().enumerate() {
        for s in 0..2 {
            let a = |i: usize, j: usize| a[(s * N + i) * N + j];
            let p = |i: usize, c: usize| p.data[(s * N + i) * 2 + c];
            for (i, c) in (0..N).flat_map(|i| [(i, 0), (i, 1)]) {
                let lower: f64 = match transpose {
                    0 => (0..i).map(|j| a(i, j) * p(j, c)).sum(),
                    _ => (i + 1..N).map(|j| a(j, i) * p(j, c)).sum(),
                };
                same(&[p(i, c) - lower], &[x[i * 2 + c]]);
            }
        }
    }
}

#[test]
fn running_sums() {
    let mut hand = Hand::new(4, 4);
    let results = hand.run(|b| {
        let x = tokens(b, "x", &[]);
        let way = |n: usize| Op::Cumsum { dim: TIME, reverse: n & 1 == 1, exclusive: n & 2 == 2 };
        let zero = b.number(0.0);
        let starts = b.binary(BinaryOp::Gt, x, zero);
        (0..8).map(|n| if n < 4 { b.op(way(n), &[x]) } else { b.op(way(n), &[x, starts]) }).collect()
    });
    for (s, x) in hand.numbers("x").chunks(4).enumerate() {
        for (n, result) in results.iter().enumerate() {
            let terms = |i: usize| match n % 4 {
                0 => 0..i + 1,
                1 => i..4,
                2 => 0..i,
                _ => i + 1..4,
            };
            // the sum restarts at none of the tokens between
            let together = |i: usize, j: usize| n < 4 || (i.min(j) + 1..=i.max(j)).all(|r| x[r] <= 0.0);
            let sum = |i: usize| terms(i).filter(|j| together(i, *j)).map(|j| x[j]).sum();
            let want: Vec<f64> = (0..4).map(sum).collect();
            same(&result.data[s * 4..][..4], &want);
        }
    }
}

#[test]
fn what_moves_numbers_and_its_transpose() {
    let mut hand = Hand::new(3, 2);
    let [d, e, f] = [("D", 4), ("E", 2), ("F", 2)].map(|(n, s)| hand.axis(n, s));
    let results = hand.run(|b| {
        let (x, y, z) = (leaf(b, "x", &[d]), leaf(b, "y", &[d]), leaf(b, "z", &[e]));
        let sorted = b.op(Op::Sort(d), &[x]);
        vec![
            sorted,
            b.op(Op::Unsort(d), &[x, sorted]),
            b.op(Op::Unsort(d), &[x, y]),
            b.op(Op::TopK(d, 2), &[x]),
            b.op(Op::TopKMask(d, 2), &[x]),
            b.op(Op::Put(f, 1), &[z]),
            b.op(Op::Paste { from: e, offset: 1, into: d }, &[z]),
            b.op(Op::Cut { from: d, offset: 1, into: e }, &[x]),
        ]
    });
    let (x, y, z) = (hand.numbers("x"), hand.numbers("y"), hand.numbers("z"));
    assert_eq!(results[1].data, x, "sorting undone");
    let mut order: Vec<usize> = (0..4).collect();
    order.sort_by(|&i, &j| x[j].total_cmp(&x[i]));
    order.iter().enumerate().for_each(|(n, &i)| assert_eq!((results[0].data[n], results[2].data[i]), (x[i], y[n])));
    let top: Vec<f64> = (0..4).map(|i| f64::from(u8::from(order[..2].contains(&i)))).collect();
    assert_eq!(results[4].data, top);
    same(&results[3].data, &x.iter().zip(&top).map(|(x, t)| x * t).collect::<Vec<_>>());
    assert_eq!(results[5].data, [0.0, z[0], 0.0, z[1]]);
    assert_eq!(results[6].data, [0.0, z[0], z[1], 0.0]);
    assert_eq!(results[7].data, x[1..3]);
}

/// Checks sum(f(x) R) = sum(x f'(R)) for a linear op f and its transpose f'.
#[test]
fn windows_and_filters_have_their_transposes() {
    let mut hand = Hand::new(6, 3);
    let [d, w] = [("D", 2), ("W", 3)].map(|(n, s)| hand.axis(n, s));
    let lag = hand.dim("lag", Extent::Time, 2);
    let results = hand.run(|b| {
        let (x, r) = (tokens(b, "x", &[d]), tokens(b, "r", &[d]));
        let (rw, f) = (tokens(b, "rw", &[w, d]), leaf(b, "f", &[lag, d]));
        vec![
            b.op(Op::Window { dim: w, step: 2 }, &[x]),
            b.op(Op::Unwindow { dim: w, step: 2 }, &[rw]),
            b.op(Op::LongConv { lag }, &[f, x]),
            b.op(Op::LongConvBack { lag }, &[f, r]),
            b.op(Op::LongConvFilter { lag }, &[x, r]),
        ]
    });
    let (x, r, rw, f) = (hand.numbers("x"), hand.numbers("r"), hand.numbers("rw"), hand.numbers("f"));
    for token in 0..12 {
        let pos = hand.leaves.pos[token] as usize;
        for (c, n) in (0..2).flat_map(|c| (0..3).map(move |n| (c, n))) {
            let want = if 2 * n <= pos { x[(token - 2 * n) * 2 + c] } else { 0.0 };
            assert_eq!(results[0].data[(token * 2 + c) * 3 + n], want);
        }
        for c in 0..2 {
            let want: f64 = (0..=pos).map(|l| f[l * 2 + c] * x[(token - l) * 2 + c]).sum();
            same(&[results[2].data[token * 2 + c]], &[want]);
        }
    }
    same(&[dot(&results[0].data, rw)], &[dot(x, &results[1].data)]);
    same(&[dot(&results[2].data, r)], &[dot(x, &results[3].data)]);
    same(&[dot(&results[2].data, r)], &[dot(f, &results[4].data)]);
}

#[test]
fn a_carried_window_goes_on() {
    let mut hand = Hand::new(2, 2);
    hand.leaves.pos = vec![1, 2, 0, 1];
    let [d, w] = [("D", 1), ("W", 3)].map(|(n, s)| hand.axis(n, s));
    let tail = hand.dim("tail", Extent::Fixed(2), 2);
    let results = hand.run(|b| {
        let (x, before) = (tokens(b, "x", &[d]), leaf(b, "before", &[BATCH, tail, d]));
        vec![b.op(Op::Window { dim: w, step: 1 }, &[x, before])]
    });
    let (x, before) = (hand.numbers("x"), hand.numbers("before"));
    let first = [x[0], before[1], 0.0, x[1], x[0], before[1]];
    let second = [x[2], 0.0, 0.0, x[3], x[2], 0.0];
    assert_eq!(results[0].data, [first, second].concat());
}
