//! The backward passes of two chunk forms, written out by hand: differentiation gives the same values, with no more
//! products.

use crate::loops;
use crate::made::{Made, joint, run};
use archc_compiler::lowered::{BATCH, Builder, Dag, DimId, Extent, Lowered, Op, Pairs, ValueId, print};
use archc_runtime::Tensor;

/// Rows of a chunk, chunks, and the state's two axes.
const C: usize = 4;
const N: usize = 2;
const K: usize = 3;
const V: usize = 2;

type Matrix = Vec<Vec<f64>>;

fn zeros(rows: usize, cols: usize) -> Matrix {
    vec![vec![0.0; cols]; rows]
}

fn made(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix {
    (0..rows).map(|i| (0..cols).map(|j| f(i, j)).collect()).collect()
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    made(a.len(), b[0].len(), |i, j| (0..b.len()).map(|l| a[i][l] * b[l][j]).sum())
}

fn transposed(a: &Matrix) -> Matrix {
    made(a[0].len(), a.len(), |i, j| a[j][i])
}

fn plus(all: &[&Matrix]) -> Matrix {
    made(all[0].len(), all[0][0].len(), |i, j| all.iter().map(|m| m[i][j]).sum())
}

fn by(a: &Matrix, b: &Matrix) -> Matrix {
    made(a.len(), a[0].len(), |i, j| a[i][j] * b[i][j])
}

/// Pairs with j <= i, or j < i.
fn lower(a: &Matrix, strict: bool) -> Matrix {
    made(a.len(), a.len(), |i, j| if j < i || (j == i && !strict) { a[i][j] } else { 0.0 })
}

/// P with (I - A) P = X, A strictly lower.
fn solve(a: &Matrix, x: &Matrix) -> Matrix {
    let mut p = x.clone();
    for i in 0..p.len() {
        for j in 0..i {
            for c in 0..p[0].len() {
                p[i][c] += a[i][j] * p[j][c];
            }
        }
    }
    p
}

/// P with (I - A)^T P = X.
fn solve_transposed(a: &Matrix, x: &Matrix) -> Matrix {
    let mut p = x.clone();
    for i in (0..p.len()).rev() {
        for j in i + 1..p.len() {
            for c in 0..p[0].len() {
                p[i][c] += a[j][i] * p[j][c];
            }
        }
    }
    p
}

fn matrix(t: &Tensor, from: usize, rows: usize, cols: usize) -> Matrix {
    made(rows, cols, |i, j| t.data[from + i * cols + j])
}

/// The number of matrix products: contractions whose operands both keep a dimension that the other lacks, and ops that consist of such
/// products. A loop counts once, with its body as written.
fn products(dag: &Dag, from: usize) -> usize {
    let is_product = |id: ValueId| match &dag.node(id).op {
        Op::Contract(_) => {
            let [a, b] = [0, 1].map(|i| &dag.node(dag.operands(id)[i]).dims);
            a.iter().any(|d| !b.contains(d)) && b.iter().any(|d| !a.contains(d))
        }
        Op::SolveUnitLower { .. } | Op::DecayDot { .. } | Op::DecayDotGrad { .. } => true,
        _ => false,
    };
    let inside = |id: ValueId| match &dag.node(id).op {
        Op::Loop(l) => products(&l.body, 0),
        _ => 0,
    };
    dag.ids().skip(from).map(|id| usize::from(is_product(id)) + inside(id)).sum()
}

/// Asserts a small difference relative to the largest element: both are f64, and sums of a few terms.
fn close(name: &str, found: &[f64], hand: &[f64], joint: &Lowered) {
    let largest = hand.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert_eq!(found.len(), hand.len(), "{name}");
    for (i, (a, b)) in found.iter().zip(hand).enumerate() {
        assert!((a - b).abs() <= 1e-12 * largest, "{name}[{i}]: {a}, by hand {b}\n{}", print(joint));
    }
}

struct Chunked {
    m: Made,
    k: DimId,
    v: DimId,
    chunks: DimId,
    rows: DimId,
    cols: DimId,
}

fn chunked() -> Chunked {
    let mut m = Made::new(&[K, V]).tokens(1, N * C);
    let (k, v) = (m.axis(0), m.axis(1));
    let chunks = m.dim("N", Extent::Chunks(C), 1);
    let rows = m.dim("C", Extent::Fixed(C), 2);
    let cols = m.dim("C'", Extent::Fixed(C), 3);
    Chunked { m, k, v, chunks, rows, cols }
}

impl Chunked {
    /// The inputs in chunks, as captures of a loop over chunks with state `[K, V]`; output, then final state.
    fn lowered(
        &self,
        given: &[crate::made::Given],
        state: crate::made::Given,
        body: impl FnOnce(&mut Builder, ValueId, &[ValueId]) -> (ValueId, ValueId),
    ) -> Lowered {
        let (chunks, rows) = (self.chunks, self.rows);
        self.m.lowered(|b, leaf| {
            let state = leaf(b, state);
            let captures: Vec<ValueId> = given
                .iter()
                .map(|g| {
                    let x = leaf(b, *g);
                    b.op(Op::Chunk { chunks, rows, fill: 0.0 }, &[x])
                })
                .collect();
            let states: [(&str, &[DimId], ValueId); 1] = [("S", &[self.k, self.v], state)];
            let l = loops::make(b, (chunks, false), &[BATCH], &states, &captures, |b, s, c| {
                let (next, y) = body(b, s[0], c);
                (vec![next], vec![y])
            });
            let y = b.op(Op::Emit(0), &[l]);
            let y = b.op(Op::Unchunk { chunks, rows }, &[y]);
            vec![y, b.op(Op::Final(0), &[l])]
        })
    }

    /// G, the running sum of g over the rows.
    fn running(&self, b: &mut Builder, g: ValueId) -> ValueId {
        b.op(Op::Cumsum { dim: self.rows, reverse: false, exclusive: false }, &[g])
    }
}

/// S' = diag(alpha) S + b (a^T S) + k v^T, o = q^T S'.
#[test]
fn general_form() {
    let mut c = chunked();
    let range = (-0.5, 0.5);
    let (k, v) = (c.k, c.v);
    let q = c.m.input(&[k], range);
    let a = c.m.input(&[k], range);
    let write = c.m.input(&[k], range);
    let key = c.m.input(&[k], range);
    let value = c.m.input(&[v], range);
    let g = c.m.input(&[k], (-0.5, 0.0));
    let state = c.m.param(&[k, v], range);
    let (rows, cols) = (c.rows, c.cols);
    let lowered = c.lowered(&[q, a, write, key, value, g], state, |b, s, x| {
        let [q, a, w, key, value, g] = [0, 1, 2, 3, 4, 5].map(|i| x[i]);
        let sum = c.running(b, g);
        let before = b.op(Op::Cumsum { dim: rows, reverse: false, exclusive: true }, &[g]);
        let last = b.op(Op::Pick(rows, C - 1), &[sum]);
        let gamma = b.exp(sum);
        let gamma_before = b.exp(before);
        let gamma_end = b.exp(last);
        let left = b.sub(last, sum);
        let left = b.exp(left);
        let (qh, ah) = (b.mul(q, gamma), b.mul(a, gamma_before));
        let (wl, kl) = (b.mul(w, left), b.mul(key, left));
        let (wc, kc) = (b.rename(w, rows, cols), b.rename(key, rows, cols));
        let dot = |b: &mut Builder, x: ValueId, y: ValueId, before: bool| {
            let pairs = Pairs { rows, cols, strict: before, before };
            b.op(Op::DecayDot { over: k, pairs }, &[x, y, g])
        };
        let (a_ab, a_ak) = (dot(b, a, wc, true), dot(b, a, kc, true));
        let (a_qb, a_qk) = (dot(b, q, wc, false), dot(b, q, kc, false));
        let value_c = b.rename(value, rows, cols);
        let (x, y) = (b.contract(ah, s, &[k]), b.contract(a_ak, value_c, &[cols]));
        let x = b.add(x, y);
        let p = b.op(Op::SolveUnitLower { rows, cols, transpose: false }, &[a_ab, x]);
        let pc = b.rename(p, rows, cols);
        let (x, y, z) = (b.contract(qh, s, &[k]), b.contract(a_qk, value_c, &[cols]), b.contract(a_qb, pc, &[cols]));
        let o = b.add(x, y);
        let o = b.add(o, z);
        let kept = b.mul(s, gamma_end);
        let (x, y) = (b.contract(wl, p, &[rows]), b.contract(kl, value, &[rows]));
        let next = b.add(kept, x);
        (b.add(next, y), o)
    });
    let (made_joint, lean) = joint(&lowered);
    let (params, leaves) = c.m.numbers(&lowered);

    // by hand
    let of = |i: usize, n: usize, width: usize| matrix(&leaves.inputs[i], n * C * width, C, width);
    let mut states = vec![matrix(&Tensor { shape: vec![K, V], data: params[0].clone() }, 0, K, V)];
    let mut grads: Vec<Vec<Matrix>> = vec![Vec::new(); 6];
    struct Chunk {
        gamma: Matrix,
        gamma_before: Matrix,
        decay: Box<dyn Fn(usize, usize, usize) -> f64>,
        before: Box<dyn Fn(usize, usize, usize) -> f64>,
        a: [Matrix; 4],
        p: Matrix,
    }
    let mut saved = Vec::new();
    for n in 0..N {
        let [q, a, w, key] = [0, 1, 2, 3].map(|i| of(i, n, K));
        let (value, g) = (of(4, n, V), of(5, n, K));
        let s = &states[n];
        let mut sum = zeros(C + 1, K);
        for i in 0..C {
            for j in 0..K {
                sum[i + 1][j] = sum[i][j] + g[i][j];
            }
        }
        let gamma = made(C, K, |i, j| sum[i + 1][j].exp());
        let gamma_before = made(C, K, |i, j| sum[i][j].exp());
        let (s1, s2) = (sum.clone(), sum.clone());
        let decay = move |i: usize, j: usize, c: usize| (s1[i + 1][c] - s1[j + 1][c]).exp();
        let before = move |i: usize, j: usize, c: usize| (s2[i][c] - s2[j + 1][c]).exp();
        let dot = |x: &Matrix, y: &Matrix, d: &dyn Fn(usize, usize, usize) -> f64, strict: bool| {
            lower(
                &made(C, C, |i, j| if j > i { 0.0 } else { (0..K).map(|c| x[i][c] * y[j][c] * d(i, j, c)).sum() }),
                strict,
            )
        };
        let all = [
            dot(&a, &w, &before, true),
            dot(&a, &key, &before, true),
            dot(&q, &w, &decay, false),
            dot(&q, &key, &decay, false),
        ];
        let ah = by(&a, &gamma_before);
        let p = solve(&all[0], &plus(&[&times(&ah, s), &times(&all[1], &value)]));
        let left = made(C, K, |i, j| decay(C - 1, i, j));
        let kept = made(K, V, |i, j| gamma[C - 1][i] * s[i][j]);
        let next =
            plus(&[&kept, &times(&transposed(&by(&w, &left)), &p), &times(&transposed(&by(&key, &left)), &value)]);
        states.push(next);
        saved.push(Chunk { gamma, gamma_before, decay: Box::new(decay), before: Box::new(before), a: all, p });
    }
    // the cotangent of the final state is given for each token, and the state is the same for all of them
    let r = &leaves.cotangents[1];
    let mut ds = made(K, V, |i, j| (0..N * C).map(|t| r.data[t * K * V + i * V + j]).sum());
    for n in (0..N).rev() {
        let [q, a, w, key] = [0, 1, 2, 3].map(|i| of(i, n, K));
        let value = of(4, n, V);
        let s = &states[n];
        let Chunk { gamma, gamma_before, decay, before, a: [a_ab, a_ak, a_qb, a_qk], p } = &saved[n];
        let d_o = matrix(&leaves.cotangents[0], n * C * V, C, V);
        let left = made(C, K, |i, j| decay(C - 1, i, j));
        let (qh, ah) = (by(&q, gamma), by(&a, gamma_before));
        let (wl, kl) = (by(&w, &left), by(&key, &left));
        let dp = plus(&[&times(&transposed(a_qb), &d_o), &times(&wl, &ds)]);
        let back = solve_transposed(a_ab, &dp);
        let dv = plus(&[&times(&transposed(a_qk), &d_o), &times(&kl, &ds), &times(&transposed(a_ak), &back)]);
        let kept = made(K, V, |i, j| gamma[C - 1][i] * ds[i][j]);
        let ds0 = plus(&[&kept, &times(&transposed(&qh), &d_o), &times(&transposed(&ah), &back)]);
        let d_qk = lower(&times(&d_o, &transposed(&value)), false);
        let d_qb = lower(&times(&d_o, &transposed(p)), false);
        let d_ak = lower(&times(&back, &transposed(&value)), true);
        let d_ab = lower(&times(&back, &transposed(p)), true);
        // the decays between rows are applied in the products, in place of the formula's division by Gamma
        type Decay<'a> = &'a dyn Fn(usize, usize, usize) -> f64;
        let row = |d: &Matrix, y: &Matrix, f: Decay| {
            made(C, K, |i, c| (0..C).filter(|j| d[i][*j] != 0.0).map(|j| d[i][j] * y[j][c] * f(i, j, c)).sum())
        };
        let col = |d: &Matrix, x: &Matrix, f: Decay| {
            made(C, K, |j, c| (0..C).filter(|i| d[*i][j] != 0.0).map(|i| d[i][j] * x[i][c] * f(i, j, c)).sum())
        };
        let dq = plus(&[&by(gamma, &times(&d_o, &transposed(s))), &row(&d_qk, &key, decay), &row(&d_qb, &w, decay)]);
        let da = plus(&[
            &by(gamma_before, &times(&back, &transposed(s))),
            &row(&d_ak, &key, before),
            &row(&d_ab, &w, before),
        ]);
        let end_k = by(&left, &times(&value, &transposed(&ds)));
        let end_w = by(&left, &times(p, &transposed(&ds)));
        let dk = plus(&[&col(&d_qk, &q, decay), &col(&d_ak, &a, before), &end_k]);
        let dw = plus(&[&col(&d_qb, &q, decay), &col(&d_ab, &a, before), &end_w]);
        // reads add, writes subtract
        let mut dg = made(C, K, |i, c| {
            let next = if i + 1 < C { a[i + 1][c] * da[i + 1][c] } else { 0.0 };
            q[i][c] * dq[i][c] - key[i][c] * dk[i][c] - w[i][c] * dw[i][c] + next
        });
        for c in 0..K {
            dg[C - 1][c] += (0..C).map(|j| key[j][c] * end_k[j][c] + w[j][c] * end_w[j][c]).sum::<f64>();
            dg[C - 1][c] += gamma[C - 1][c] * (0..V).map(|j| ds[c][j] * s[c][j]).sum::<f64>();
        }
        for i in (0..C - 1).rev() {
            let later = dg[i + 1].clone();
            dg[i].iter_mut().zip(later).for_each(|(d, l)| *d += l);
        }
        for (all, new) in grads.iter_mut().zip([dq, da, dw, dk, dv, dg]) {
            all.insert(0, new);
        }
        ds = ds0;
    }

    // rows of dP: 2 products and a solve; dV 3; dS 2; the four dA; dQ and da 3 each; dK and dB 3 each; and to recompute P: four products
    // for the A, two for the right side, a solve
    let hand = (2 + 1) + 3 + 2 + 4 + 3 + 3 + 3 + 3 + (4 + 2 + 1);
    for graph in [&made_joint, &lean] {
        let wanted: Vec<ValueId> = graph.input_grads.iter().map(|g| g.1).chain([graph.param_grads[0].1]).collect();
        let found = run(graph, &params, &leaves, &wanted);
        for (i, name) in ["q", "a", "b", "k", "v", "g"].iter().enumerate() {
            close(name, &found[i].data, &grads[i].concat().concat(), graph);
        }
        close("S", &found[6].data, &ds.concat(), graph);
        let count = products(&graph.dag, graph.forward_nodes);
        assert!(count <= hand, "{count} products, by hand {hand}\n{}", print(graph));
    }
}

/// S' = alpha (I - beta k k^T) S + beta k v^T, o = q^T S', with one decay for all of S.
#[test]
fn gated_delta_rule() {
    let mut c = chunked();
    let range = (-0.8, 0.8);
    let (k, v) = (c.k, c.v);
    let q = c.m.input(&[k], range);
    let key = c.m.input(&[k], range);
    let value = c.m.input(&[v], range);
    let beta = c.m.input(&[], (0.1, 0.9));
    let g = c.m.input(&[], (-0.5, 0.0));
    let state = c.m.param(&[k, v], range);
    let (rows, cols) = (c.rows, c.cols);
    let lowered = c.lowered(&[q, key, value, beta, g], state, |b, s, x| {
        let [q, key, value, beta, g] = [0, 1, 2, 3, 4].map(|i| x[i]);
        let sum = c.running(b, g);
        let last = b.op(Op::Pick(rows, C - 1), &[sum]);
        let gamma = b.exp(sum);
        let gamma_end = b.exp(last);
        let left = b.sub(last, sum);
        let left = b.exp(left);
        let decay = b.op(Op::PairDecay(Pairs { rows, cols, strict: false, before: false }), &[g]);
        let kc = b.rename(key, rows, cols);
        let (kk, qk) = (b.contract(key, kc, &[k]), b.contract(q, kc, &[k]));
        let a = b.mul(decay, kk);
        let a = b.mul(a, beta);
        let a = b.neg(a);
        let read = b.contract(key, s, &[k]);
        let read = b.mul(read, gamma);
        let change = b.sub(value, read);
        let change = b.mul(change, beta);
        let w = b.op(Op::SolveUnitLower { rows, cols, transpose: false }, &[a, change]);
        let wc = b.rename(w, rows, cols);
        let qh = b.mul(q, gamma);
        let own = b.contract(qh, s, &[k]);
        let near = b.mul(decay, qk);
        let near = b.contract(near, wc, &[cols]);
        let o = b.add(own, near);
        let kept = b.mul(s, gamma_end);
        let kl = b.mul(key, left);
        let write = b.contract(kl, w, &[rows]);
        (b.add(kept, write), o)
    });
    let (made_joint, lean) = joint(&lowered);
    let (params, leaves) = c.m.numbers(&lowered);

    let of = |i: usize, n: usize, width: usize| matrix(&leaves.inputs[i], n * C * width, C, width);
    let mut states = vec![matrix(&Tensor { shape: vec![K, V], data: params[0].clone() }, 0, K, V)];
    let forward = |n: usize, s: &Matrix| {
        let (key, value, beta, g) = (of(1, n, K), of(2, n, V), of(3, n, 1), of(4, n, 1));
        let mut sum = vec![0.0; C];
        for i in 0..C {
            sum[i] = g[i][0] + if i > 0 { sum[i - 1] } else { 0.0 };
        }
        let d = made(C, C, |i, j| if j <= i { (sum[i] - sum[j]).exp() } else { 0.0 });
        let kk = times(&key, &transposed(&key));
        // the sign of A is that of (I + A)
        let a = lower(&made(C, C, |i, j| -beta[i][0] * d[i][j] * kk[i][j]), true);
        let ks = times(&key, s);
        let x = made(C, V, |i, j| beta[i][0] * (value[i][j] - sum[i].exp() * ks[i][j]));
        let w = solve(&a, &x);
        (key, value, beta, sum, d, kk, a, ks, w)
    };
    for n in 0..N {
        let s = states[n].clone();
        let (key, _, _, sum, d, _, _, _, w) = forward(n, &s);
        let kl = made(C, K, |i, c| d[C - 1][i] * key[i][c]);
        let kept = made(K, V, |i, j| sum[C - 1].exp() * s[i][j]);
        states.push(plus(&[&kept, &times(&transposed(&kl), &w)]));
    }
    let r = &leaves.cotangents[1];
    let mut ds = made(K, V, |i, j| (0..N * C).map(|t| r.data[t * K * V + i * V + j]).sum());
    let mut grads: Vec<Vec<Matrix>> = vec![Vec::new(); 5];
    for n in (0..N).rev() {
        let s = &states[n];
        let (key, value, beta, sum, d, kk, a, ks, w) = forward(n, s);
        let q = of(0, n, K);
        let d_o = matrix(&leaves.cotangents[0], n * C * V, C, V);
        let gamma: Vec<f64> = sum.iter().map(|g| g.exp()).collect();
        let qk = times(&q, &transposed(&key));
        let qs = times(&q, s);
        let kl = made(C, K, |i, c| d[C - 1][i] * key[i][c]);
        let dw = plus(&[&times(&transposed(&by(&d, &qk)), &d_o), &times(&kl, &ds)]);
        let back = solve_transposed(&a, &dw);
        let da = lower(&times(&back, &transposed(&w)), true);
        let dqk_decayed = lower(&times(&d_o, &transposed(&w)), false);
        let dqk = by(&dqk_decayed, &d);
        let dkk = made(C, C, |i, j| -da[i][j] * beta[i][0] * d[i][j]);
        let scaled = made(C, V, |i, j| gamma[i] * d_o[i][j]);
        let dq = plus(&[&times(&scaled, &transposed(s)), &times(&dqk, &key)]);
        // X = beta (V - gamma K S)
        let dv = made(C, V, |i, j| beta[i][0] * back[i][j]);
        let dread = made(C, V, |i, j| -gamma[i] * beta[i][0] * back[i][j]);
        let dkl = times(&w, &transposed(&ds));
        let dk = plus(&[
            &times(&transposed(&dqk), &q),
            &times(&plus(&[&dkk, &transposed(&dkk)]), &key),
            &made(C, K, |i, c| d[C - 1][i] * dkl[i][c]),
            &times(&dread, &transposed(s)),
        ]);
        let dbeta = made(C, 1, |i, _| {
            let by_x: f64 = (0..V).map(|j| back[i][j] * (value[i][j] - gamma[i] * ks[i][j])).sum();
            by_x - (0..C).map(|j| da[i][j] * d[i][j] * kk[i][j]).sum::<f64>()
        });
        // E = D * dD: row sums add, column sums subtract; and the exponentials by row
        let e = made(C, C, |i, j| d[i][j] * (dqk_decayed[i][j] * qk[i][j] - da[i][j] * beta[i][0] * kk[i][j]));
        let mut dg: Vec<f64> = (0..C)
            .map(|i| {
                let pairs: f64 = (0..C).map(|j| e[i][j] - e[j][i]).sum();
                let own: f64 = (0..V).map(|j| scaled[i][j] * qs[i][j] + dread[i][j] * ks[i][j]).sum();
                pairs + own - d[C - 1][i] * (0..K).map(|c| dkl[i][c] * key[i][c]).sum::<f64>()
            })
            .collect();
        dg[C - 1] += (0..C).map(|i| d[C - 1][i] * (0..K).map(|c| dkl[i][c] * key[i][c]).sum::<f64>()).sum::<f64>();
        dg[C - 1] += gamma[C - 1] * (0..K).map(|i| (0..V).map(|j| ds[i][j] * s[i][j]).sum::<f64>()).sum::<f64>();
        for i in (0..C - 1).rev() {
            dg[i] += dg[i + 1];
        }
        let dg = made(C, 1, |i, _| dg[i]);
        let kept = made(K, V, |i, j| gamma[C - 1] * ds[i][j]);
        ds = plus(&[&kept, &times(&transposed(&q), &scaled), &times(&transposed(&key), &dread)]);
        for (all, new) in grads.iter_mut().zip([dq, dk, dv, dbeta, dg]) {
            all.insert(0, new);
        }
    }

    // dV^: 2 and a solve; dA, dQK: 2; dQ 2; dK: by QK, by KK from both sides, by the write, by the read: 5; dS 2; recomputed: KK, QK, KS
    // and the solve
    let hand = (2 + 1) + 2 + 2 + 5 + 2 + (3 + 1);
    for graph in [&made_joint, &lean] {
        let wanted: Vec<ValueId> = graph.input_grads.iter().map(|g| g.1).chain([graph.param_grads[0].1]).collect();
        let found = run(graph, &params, &leaves, &wanted);
        for (i, name) in ["q", "k", "v", "beta", "g"].iter().enumerate() {
            close(name, &found[i].data, &grads[i].concat().concat(), graph);
        }
        close("S", &found[5].data, &ds.concat(), graph);
        let count = products(&graph.dag, graph.forward_nodes);
        assert!(count <= hand, "{count} products, by hand {hand}\n{}", print(graph));
    }
}
