//! Token loops of mixers with memories other than one plain delta rule, and of softmax attention's variants. Each
//! writes what its paper (or the paper's code) computes, head by head and token by token, without any blocking or
//! parallel form.

use crate::parts::{Params, dot, l2norm, map, rms, softmax, zeros};
use crate::tape::{Var, constant};
use std::f64::consts::PI;

/// A vector per token, or a matrix: `[rows][columns]`.
type Rows = Vec<Vec<Var>>;

/// Epsilon of the RMSNorms.
const EPS: f64 = 1e-5;
/// Epsilon of the l2norms.
const L2_EPS: f64 = 1e-6;
/// Base of the rotary frequencies.
const THETA: f64 = 10000.0;

// Vectors and matrices.

fn plus(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

fn minus(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a - *b).collect()
}

fn times(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

fn scaled(x: &[Var], by: Var) -> Vec<Var> {
    map(x, |x| x * by)
}

fn matrix(rows: usize, columns: usize) -> Rows {
    vec![zeros(columns); rows]
}

/// S + k (x) v.
fn write(state: &mut Rows, k: &[Var], v: &[Var]) {
    for (row, k) in state.iter_mut().zip(k) {
        *row = plus(row, &scaled(v, *k));
    }
}

/// a S.
fn keep(state: &mut Rows, a: Var) {
    for row in state {
        *row = scaled(row, a);
    }
}

/// diag(a) S.
fn keep_rows(state: &mut Rows, a: &[Var]) {
    for (row, a) in state.iter_mut().zip(a) {
        *row = scaled(row, *a);
    }
}

/// q S: the sum of the rows, weighted by q.
fn read(q: &[Var], state: &[Vec<Var>]) -> Vec<Var> {
    assert_eq!(q.len(), state.len());
    q.iter().zip(state).fold(zeros(state[0].len()), |sum, (q, row)| plus(&sum, &scaled(row, *q)))
}

/// W x of a matrix that is stored flat, row by row.
fn apply(w: &[Var], x: &[Var]) -> Vec<Var> {
    w.chunks(x.len()).map(|row| dot(row, x)).collect()
}

// Inputs.

/// W x of each token, for the value of that name.
fn project(p: &Params, name: &str, x: &[Vec<Var>]) -> Rows {
    x.iter().map(|x| p.linear(&format!("{name}.linear.weight"), x)).collect()
}

/// W x + b of each token.
fn project_with_bias(p: &Params, name: &str, x: &[Vec<Var>]) -> Rows {
    x.iter().map(|x| p.affine(&format!("{name}.linear.weight"), &format!("{name}.linear.bias"), x)).collect()
}

/// silu(conv(W x)) of each token.
fn convolved(p: &Params, name: &str, x: &[Vec<Var>]) -> Rows {
    let y = p.conv(&format!("{name}.conv.linear.weight"), &project(p, name, x));
    y.iter().map(|y| map(y, Var::silu)).collect()
}

/// The part of a parameter that belongs to the index i of its first axis.
fn part<'a>(p: &'a Params, path: &str, i: usize) -> &'a [Var] {
    let array = p.get(path);
    let size = array.data.len() / array.shape[0];
    &array.data[i * size..(i + 1) * size]
}

/// Head h of each token.
fn head(x: &[Vec<Var>], h: usize, heads: usize) -> Rows {
    x.iter().map(|x| x[h * x.len() / heads..(h + 1) * x.len() / heads].to_vec()).collect()
}

/// The outputs of all heads, `[tokens][heads * V]`, from those of each head, `[tokens][V]`.
fn by_head(heads: usize, one: impl Fn(usize) -> Rows) -> Rows {
    let all: Vec<Rows> = (0..heads).map(one).collect();
    (0..all[0].len()).map(|t| all.iter().flat_map(|o| o[t].clone()).collect()).collect()
}

/// Number of heads, from the first axis of W_v.
fn heads(p: &Params) -> usize {
    p.size("v.linear.weight", 0)
}

/// The log decay of Mamba-2: -exp(A_log) softplus(raw + dt_bias), one per head.
fn log_decay(p: &Params, prefix: &str, raw: Var, h: usize) -> Var {
    let step = (raw + p.at(&format!("{prefix}dt_bias"), &[h])).softplus();
    -p.at(&format!("{prefix}A_log"), &[h]).exp() * step
}

/// (x0, x1) rotated by an angle.
fn turn(x0: Var, x1: Var, angle: Var) -> (Var, Var) {
    (x0 * angle.cos() - x1 * angle.sin(), x0 * angle.sin() + x1 * angle.cos())
}

/// Rotates channels 2 i and 2 i + 1 by the angle i; channels beyond the angles stay.
fn turn_neighbours(x: &[Var], angles: &[Var]) -> Vec<Var> {
    let mut y = x.to_vec();
    for (i, angle) in angles.iter().enumerate() {
        (y[2 * i], y[2 * i + 1]) = turn(x[2 * i], x[2 * i + 1], *angle);
    }
    y
}

/// Angles of the rotary embedding: position * theta^(-2 j / n), for j < n / 2.
fn rope_angles(n: usize, position: usize) -> Vec<Var> {
    (0..n / 2).map(|j| constant(position as f64 * THETA.powf(-2.0 * j as f64 / n as f64))).collect()
}

/// The rotary embedding that rotates channel j with channel j + n / 2.
fn rope(x: &[Var], position: usize) -> Vec<Var> {
    let half = x.len() / 2;
    let mut y = x.to_vec();
    for (j, angle) in rope_angles(x.len(), position).iter().enumerate() {
        (y[j], y[j + half]) = turn(x[j], x[j + half], *angle);
    }
    y
}

/// The rotary embedding of a head's tokens at their positions.
fn rope_tokens(x: &[Vec<Var>]) -> Rows {
    x.iter().enumerate().map(|(t, x)| rope(x, t)).collect()
}

// Outputs.

/// x / sqrt(mean x^2 + eps) * weight.
fn rmsnorm(x: &[Var], weight: &[Var]) -> Vec<Var> {
    times(&rms(x, EPS), weight)
}

/// (x - mean) / std, and std = sqrt(var + eps).
fn standard(x: &[Var], eps: f64) -> (Vec<Var>, Var) {
    let n = x.len() as f64;
    let mean = x.iter().copied().sum::<Var>() / n;
    let centred = map(x, |x| x - mean);
    let std = (dot(&centred, &centred) / n + eps).sqrt();
    (map(&centred, |x| x / std), std)
}

/// RMSNorm of each head on its own, with the weight `[V]` at the path.
fn rmsnorm_heads(p: &Params, path: &str, o: &[Var]) -> Vec<Var> {
    let weight = &p.get(path).data;
    o.chunks(weight.len()).flat_map(|o| rmsnorm(o, weight)).collect()
}

/// W_o o.
fn plain_output(p: &Params, o: &[Vec<Var>]) -> Rows {
    project(p, "output", o)
}

/// W_o RMSNorm_V(o).
fn normed_output(p: &Params, o: &[Vec<Var>]) -> Rows {
    let y: Rows = o.iter().map(|o| rmsnorm_heads(p, "output.rmsnorm.weight", o)).collect();
    plain_output(p, &y)
}

/// W_o (RMSNorm_V(o) * silu(W_g x)).
fn gated_output(p: &Params, o: &[Vec<Var>], x: &[Vec<Var>]) -> Rows {
    let normed = o.iter().map(|o| rmsnorm_heads(p, "output.swish_gate.rmsnorm.weight", o));
    let y: Rows = normed.zip(project(p, "gate", x)).map(|(o, gate)| times(&o, &map(&gate, Var::silu))).collect();
    plain_output(p, &y)
}

// State-space and least-squares memories.

/// Mamba-3, one input and one output per head (arXiv 2603.15569), with A = min(-softplus(W_a x), -1e-4). k and q are B
/// and C with their biases, turned by angles that grow by pi tanh(W x) dt.
/// S = e^(A dt) S + (1 - lam) dt e^(A dt) k' (x) v' + lam dt k (x) v, with k', v' of the token before;
/// W_o((q S + skip v) silu(W_z x)): no convolution, no norm of the output.
pub fn mamba3(p: &Params, x: &[Vec<Var>]) -> Rows {
    let normed = |name: &str| -> Rows {
        let weight = &p.get(&format!("{name}.rmsnorm.weight")).data;
        project(p, name, x).iter().map(|x| rmsnorm(x, weight)).collect()
    };
    let (b, c) = (normed("B"), normed("C"));
    let (v, gate) = (project(p, "v", x), project(p, "gate", x));
    let (dt, a, now, turns) = (project(p, "dt", x), project(p, "a", x), project(p, "now", x), project(p, "turn", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (v, gate) = (head(&v, h, heads), head(&gate, h, heads));
        let mut state = matrix(b[0].len(), v[0].len());
        let mut angles = zeros(turns[0].len());
        let (mut k_before, mut v_before) = (zeros(b[0].len()), zeros(v[0].len()));
        let mut token = |t: usize| {
            let step = (dt[t][h] + p.at("dt_bias", &[h])).softplus();
            let decay = ((-a[t][h].softplus()).min(-1e-4) * step).exp();
            let present = now[t][h].sigmoid();
            angles = plus(&angles, &map(&turns[t], |turn| turn.tanh() * PI * step));
            let k = turn_neighbours(&plus(&b[t], part(p, "B_bias", h)), &angles);
            let q = turn_neighbours(&plus(&c[t], part(p, "C_bias", h)), &angles);
            keep(&mut state, decay);
            write(&mut state, &scaled(&k_before, (1.0 - present) * step * decay), &v_before);
            write(&mut state, &scaled(&k, present * step), &v[t]);
            (k_before, v_before) = (k, v[t].clone());
            let o = plus(&read(&q, &state), &scaled(&v[t], p.at("skip", &[h])));
            times(&o, &map(&gate[t], Var::silu))
        };
        (0..x.len()).map(&mut token).collect()
    });
    plain_output(p, &o)
}

/// MesaNet (arXiv 2506.05233): P = gamma P + beta k (x) k, S = gamma S + beta k (x) v, o = y S, where y comes from 30
/// steps of conjugate gradients, from 0, for (P + diag(lambda)) y = q; its derivatives are those of the steps.
/// q, k = l2norm(silu(conv(W x))), v = W x, beta, gamma = sigmoid(W x + b), lambda = softplus(ridge) + 0.25;
/// W_o RMSNorm_V(o).
pub fn mesa_net(p: &Params, x: &[Vec<Var>]) -> Rows {
    mesa(p, x, |p, ridge, q| conjugate_gradients(p, ridge, q, 30))
}

/// MesaNet with the system solved exactly.
pub fn mesa_net_exact(p: &Params, x: &[Vec<Var>]) -> Rows {
    mesa(p, x, |p, ridge, q| {
        let mut a = p.to_vec();
        for (i, row) in a.iter_mut().enumerate() {
            row[i] += ridge[i];
        }
        eliminate(a, q.to_vec())
    })
}

fn mesa(p: &Params, x: &[Vec<Var>], solve: impl Fn(&[Vec<Var>], &[Var], &[Var]) -> Vec<Var>) -> Rows {
    let (q, k, v) = (convolved(p, "q", x), convolved(p, "k", x), project(p, "v", x));
    let (beta, gamma) = (project_with_bias(p, "beta", x), project_with_bias(p, "a", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads));
        let ridge = map(part(p, "ridge", h), |ridge| ridge.softplus() + 0.25);
        let mut keys = matrix(ridge.len(), ridge.len());
        let mut values = matrix(ridge.len(), v[0].len());
        let mut token = |t: usize| {
            let (q, k) = (l2norm(&q[t], L2_EPS), l2norm(&k[t], L2_EPS));
            let written = scaled(&k, beta[t][h].sigmoid());
            keep(&mut keys, gamma[t][h].sigmoid());
            write(&mut keys, &written, &k);
            keep(&mut values, gamma[t][h].sigmoid());
            write(&mut values, &written, &v[t]);
            read(&solve(&keys, &ridge, &q), &values)
        };
        (0..x.len()).map(&mut token).collect()
    });
    normed_output(p, &o)
}

/// Steps towards the solution y of (P + diag(ridge)) y = q, from y = 0.
fn conjugate_gradients(p: &[Vec<Var>], ridge: &[Var], q: &[Var], steps: usize) -> Vec<Var> {
    let mut y = zeros(q.len());
    let mut rest = q.to_vec();
    let mut way = q.to_vec();
    let mut size = dot(&rest, &rest);
    for _ in 0..steps {
        let moved = plus(&read(&way, p), &times(ridge, &way));
        let length = size / (dot(&way, &moved) + 1e-5);
        y = plus(&y, &scaled(&way, length));
        rest = minus(&rest, &scaled(&moved, length));
        let next = dot(&rest, &rest);
        way = plus(&rest, &scaled(&way, next / (size + 1e-5)));
        size = next;
    }
    y
}

/// The solution of A y = b by Gaussian elimination, for a positive definite A.
fn eliminate(mut a: Rows, mut b: Vec<Var>) -> Vec<Var> {
    for i in 0..b.len() {
        for j in i + 1..b.len() {
            let factor = a[j][i] / a[i][i];
            a[j] = minus(&a[j], &scaled(&a[i], factor));
            b[j] = b[j] - factor * b[i];
        }
    }
    let mut y = zeros(b.len());
    for i in (0..b.len()).rev() {
        y[i] = (b[i] - dot(&a[i][i + 1..], &y[i + 1..])) / a[i][i];
    }
    y
}

// Log-linear memories.

/// The weights of the levels, softplus(scale * W x), `[tokens][heads * levels]`.
fn level_shares(p: &Params, x: &[Vec<Var>]) -> Rows {
    let scale = &p.get("share.level_weights.scale").data;
    project(p, "share.level_weights", x).iter().map(|w| map(&times(scale, w), Var::softplus)).collect()
}

/// Makes room for token t at level 0: the levels up to r join level r + 1, 2^r the largest power of 2 that divides t.
fn join_levels(states: &mut [Rows], t: usize) {
    if t == 0 {
        return;
    }
    let top = t.trailing_zeros() as usize + 1;
    for level in 0..top {
        let empty = matrix(states[0].len(), states[0][0].len());
        let lower = std::mem::replace(&mut states[level], empty);
        states[top] = states[top].iter().zip(&lower).map(|(a, b)| plus(a, b)).collect();
    }
}

/// sum over levels of share[l] (q S_l).
fn read_levels(q: &[Var], states: &[Rows], shares: &[Var]) -> Vec<Var> {
    let all = states.iter().zip(shares).map(|(state, share)| scaled(&read(q, state), *share));
    all.reduce(|a, b| plus(&a, &b)).unwrap()
}

/// Log-linear Mamba-2 (arXiv 2506.04761): a state per level of a Fenwick tree; each token joins levels, every state
/// decays by exp(-exp(A_log) dt), S_0 = B (x) dt u, o = sum_l softplus(scale_l (W x)_l) C S_l.
/// u, B, C = silu(conv(W x)), dt = softplus(W x + dt_bias); W_o RMSNorm_HV((o + skip u) silu(W_z x)).
pub fn log_linear_mamba2(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (u, b, c) = (convolved(p, "u", x), convolved(p, "B", x), convolved(p, "C", x));
    let (dt, shares, gate) = (project(p, "dt", x), level_shares(p, x), project(p, "gate", x));
    let heads = p.size("u.linear.weight", 0);
    let o = by_head(heads, |h| {
        let (u, shares) = (head(&u, h, heads), head(&shares, h, heads));
        let mut states = vec![matrix(b[0].len(), u[0].len()); shares[0].len()];
        let mut token = |t: usize| {
            let step = (dt[t][h] + p.at("dt_bias", &[h])).softplus();
            join_levels(&mut states, t);
            for state in &mut states {
                keep(state, log_decay(p, "", dt[t][h], h).exp());
            }
            write(&mut states[0], &b[t], &scaled(&u[t], step));
            plus(&read_levels(&c[t], &states, &shares[t]), &scaled(&u[t], p.at("skip", &[h])))
        };
        (0..x.len()).map(&mut token).collect()
    });
    let weight = &p.get("output.rmsnorm.weight").data;
    let gated = o.iter().zip(&gate).map(|(o, gate)| times(o, &map(gate, Var::silu)));
    let y: Rows = gated.map(|o| rmsnorm(&o, weight)).collect();
    plain_output(p, &y)
}

/// Log-linear Gated DeltaNet (arXiv 2506.04761): every level's S = a (I - beta k k^T) S, then S_0 = beta k (x) v,
/// o = sum_l softplus(scale_l (W x)_l) q S_l, without K^-0.5. q, k = l2norm(silu(conv(W x))), v = silu(conv(W x)),
/// beta = sigmoid(W x), a as in Mamba-2; W_o (RMSNorm_V(o) silu(W_g x)).
pub fn log_linear_gated_delta_net(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v) = (convolved(p, "q", x), convolved(p, "k", x), convolved(p, "v", x));
    let (beta, a, shares) = (project(p, "beta", x), project(p, "a.mamba_decay", x), level_shares(p, x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads));
        let shares = head(&shares, h, heads);
        let mut states = vec![matrix(k[0].len(), v[0].len()); shares[0].len()];
        let mut token = |t: usize| {
            let (q, k) = (l2norm(&q[t], L2_EPS), l2norm(&k[t], L2_EPS));
            let beta = beta[t][h].sigmoid();
            join_levels(&mut states, t);
            for state in &mut states {
                let found = read(&k, state);
                write(state, &scaled(&k, -beta), &found);
                keep(state, log_decay(p, "a.mamba_decay.", a[t][h], h).exp());
            }
            write(&mut states[0], &scaled(&k, beta), &v[t]);
            read_levels(&q, &states, &shares[t])
        };
        (0..x.len()).map(&mut token).collect()
    });
    gated_output(p, &o, x)
}

/// Log-linear attention in pairs (arXiv 2506.04761), without K^-0.5:
/// o_i = sum_{j <= i} share_i[level(i, j)] e^(g_(j+1) + .. + g_i) (q_i.k_j) v_j.
/// g = logsigmoid(W_c x) of each head, share = softplus(scale (W x)); W_o RMSNorm_V(o).
pub fn log_linear_attention(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v) = (project(p, "q", x), project(p, "k", x), project(p, "v", x));
    let (c, shares) = (project(p, "c", x), level_shares(p, x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads));
        let shares = head(&shares, h, heads);
        let weight = |i: usize, j: usize| {
            let decay: Var = (j + 1..=i).map(|s| c[s][h].logsigmoid()).sum();
            shares[i][level(i, j)] * decay.exp() * dot(&q[i], &k[j])
        };
        (0..x.len()).map(|i| read(&(0..=i).map(|j| weight(i, j)).collect::<Vec<_>>(), &v[..=i])).collect()
    });
    normed_output(p, &o)
}

/// The level at which token i reads token j <= i: 0 for itself; else the level l whose bit l - 1 of i is set, where j
/// is among the 2^(l - 1) tokens before i with its bits below l - 1 cleared.
fn level(i: usize, j: usize) -> usize {
    if i == j {
        return 0;
    }
    let holds = |l: &usize| {
        let size = 1 << (l - 1);
        let end = i / size * size;
        i & size != 0 && end - size <= j && j < end
    };
    (1..).find(holds).unwrap()
}

// Memories of slots.

/// Raven (goombalab, in fla): gated slot attention that writes to the M / 2 most probable slots only. Slot m keeps
/// e^(f0 w_m) of itself and adds 1 - e^(f0 w_m) of k and of v; w = the chosen sigmoid(W_r x), over their sum + 1e-9.
/// o = sum_m softmax_m(q.k_m) v_m. q, k = RMSNorm_K(silu(W x)), v = silu(W x), f0 the log decay of Mamba-2;
/// W_o RMSNorm_HV(silu(o)).
pub fn raven(p: &Params, x: &[Vec<Var>]) -> Rows {
    let silu = |name: &str| -> Rows { project(p, name, x).iter().map(|x| map(x, Var::silu)).collect() };
    let normed = |name: &str| -> Rows {
        silu(name).iter().map(|x| rmsnorm_heads(p, &format!("{name}.rmsnorm.weight"), x)).collect()
    };
    let (q, k, v) = (normed("q"), normed("k"), silu("v"));
    let (raw, router) = (project(p, "step_size", x), project(p, "chosen", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v, router) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads), head(&router, h, heads));
        let slots = router[0].len();
        let (mut keys, mut values) = (matrix(slots, k[0].len()), matrix(slots, v[0].len()));
        let mut token = |t: usize| {
            let shares = top_shares(&map(&router[t], Var::sigmoid), slots / 2);
            let kept = map(&shares, |share| (log_decay(p, "", raw[t][h], h) * share).exp());
            let added = map(&kept, |kept| 1.0 - kept);
            keep_rows(&mut keys, &kept);
            write(&mut keys, &added, &k[t]);
            keep_rows(&mut values, &kept);
            write(&mut values, &added, &v[t]);
            let scores: Vec<Var> = keys.iter().map(|key| dot(&q[t], key)).collect();
            read(&softmax(&scores), &values)
        };
        (0..x.len()).map(&mut token).collect()
    });
    let weight = &p.get("output.rmsnorm.weight").data;
    let y: Rows = o.iter().map(|o| rmsnorm(&map(o, Var::silu), weight)).collect();
    plain_output(p, &y)
}

/// The n largest entries over their sum + 1e-9, and 0 for the others; among equal ones the first are chosen.
fn top_shares(x: &[Var], n: usize) -> Vec<Var> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*b].value.total_cmp(&x[*a].value));
    let sum = order[..n].iter().map(|m| x[*m]).sum::<Var>() + 1e-9;
    let mut shares = zeros(x.len());
    for m in &order[..n] {
        shares[*m] = x[*m] / sum;
    }
    shares
}

/// ABC (arXiv 2110.02488, in fla's form): slot m holds the averages of all keys and values so far, weighted by e^(s_m);
/// o = sum_m softmax_m(K^-0.5 q.k_m) v_m. s = W x clamped to [-32, 32]; rotary embedding on q and k;
/// W_o (RMSNorm_V(o) silu(W_g x)).
pub fn abc(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v, s) = (project(p, "q", x), project(p, "k", x), project(p, "v", x), project(p, "s", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k) = (rope_tokens(&head(&q, h, heads)), rope_tokens(&head(&k, h, heads)));
        let (v, s) = (head(&v, h, heads), head(&s, h, heads));
        let slots = s[0].len();
        let scale = (q[0].len() as f64).powf(-0.5);
        let mut mass = zeros(slots);
        let (mut keys, mut values) = (matrix(slots, k[0].len()), matrix(slots, v[0].len()));
        let mut token = |t: usize| {
            let weights = map(&s[t], |s| s.max(-32.0).min(32.0).exp());
            mass = plus(&mass, &weights);
            write(&mut keys, &weights, &k[t]);
            write(&mut values, &weights, &v[t]);
            let scores: Vec<Var> = keys.iter().zip(&mass).map(|(key, mass)| dot(&q[t], key) / *mass * scale).collect();
            let shares: Vec<Var> = softmax(&scores).iter().zip(&mass).map(|(share, mass)| *share / *mass).collect();
            read(&shares, &values)
        };
        (0..x.len()).map(&mut token).collect()
    });
    gated_output(p, &o, x)
}

// Linear memories with other writes or reads.

/// Rodimus (arXiv 2410.06577), one head: S = diag(e^(-G tau)) S + k (x) v, o = K^-0.5 q S.
/// With u = W x and h = silu(conv(u) + b): q = W h, k = W h / |W h| * G^tau, G = softplus(W h + b),
/// tau = sigmoid(W h + b), v = u sigmoid(W_2 W_1 u + b); W_o RMSNorm_E((o + skip h) silu(W_z x)).
pub fn rodimus(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (u, gate) = (project(p, "u", x), project(p, "gate", x));
    let bias = &p.get("h.conv.linear.bias").data;
    let hidden: Rows = p.conv("h.conv.linear.weight", &u).iter().map(|u| map(&plus(u, bias), Var::silu)).collect();
    let (q, raw) = (project(p, "q", &hidden), project(p, "raw", &hidden));
    let (g, tau) = (project_with_bias(p, "g", &hidden), project_with_bias(p, "tau", &hidden));
    let (skip, weight) = (&p.get("skip").data, &p.get("output.rmsnorm.weight").data);
    let scale = (q[0].len() as f64).powf(-0.5);
    let mut state = matrix(q[0].len(), u[0].len());
    let mut token = |t: usize| {
        let strength = map(&g[t], Var::softplus);
        let tau = map(&tau[t], Var::sigmoid);
        let raised: Vec<Var> = strength.iter().zip(&tau).map(|(g, tau)| g.pow(*tau)).collect();
        let size = dot(&raw[t], &raw[t]).sqrt().max(1e-12);
        let k = times(&map(&raw[t], |k| k / size), &raised);
        let opened = p.affine("v.linear_2.weight", "v.linear_2.bias", &p.linear("v.linear.weight", &u[t]));
        let v = times(&u[t], &map(&opened, Var::sigmoid));
        keep_rows(&mut state, &map(&times(&strength, &tau), |rate| (-rate).exp()));
        write(&mut state, &k, &v);
        let o = plus(&map(&read(&q[t], &state), |o| o * scale), &times(&hidden[t], skip));
        rmsnorm(&times(&o, &map(&gate[t], Var::silu)), weight)
    };
    let o: Rows = (0..x.len()).map(&mut token).collect();
    plain_output(p, &o)
}

/// TTT-Linear by mini-batches of B tokens (arXiv 2407.04620): token i of a batch reads o = q + LN(q W + b) with
/// W = W0 - c_i sum_{j <= i} r_j k_j (x) g_j, b likewise, c_i = max(1 / (i + 1) + step_size_i, 0),
/// r = sigmoid(W x + b) / K, g the gradient by k W + b, at W0 and b0, of 1/2 |LN(k W + b) - (v - k)|^2.
/// Rotary embedding of neighbours at the place in the batch on q and k; W_o (LayerNorm_HV(o) gelu(W_g x)).
pub fn ttt_linear_batch(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v) = (project(p, "q", x), project(p, "k", x), project(p, "v", x));
    let (rate, gate) = (project_with_bias(p, "rate", x), project(p, "gate", x));
    let learned = &p.get("step_size").data;
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads));
        let (gain, offset) = (part(p, "gain", h), part(p, "offset", h));
        let mut first: Rows = part(p, "first", h).chunks(v[0].len()).map(<[Var]>::to_vec).collect();
        let mut start = part(p, "start", h).to_vec();
        let (mut sum, mut sum_start) = (matrix(k[0].len(), v[0].len()), zeros(v[0].len()));
        let mut token = |t: usize| {
            let i = t % learned.len();
            let angles = rope_angles(k[t].len(), i);
            let (q, k) = (turn_neighbours(&q[t], &angles), turn_neighbours(&k[t], &angles));
            let z = plus(&read(&k, &first), &start);
            let g = scaled(&fit_gradient(&z, &minus(&v[t], &k), gain, offset), rate[t][h].sigmoid() / k.len() as f64);
            write(&mut sum, &k, &g);
            sum_start = plus(&sum_start, &g);
            let c = (learned[i] + 1.0 / (i + 1) as f64).max(0.0);
            let w: Rows = first.iter().zip(&sum).map(|(w, sum)| minus(w, &scaled(sum, c))).collect();
            let b = minus(&start, &scaled(&sum_start, c));
            let (read_out, _) = standard(&plus(&read(&q, &w), &b), 1e-6);
            if i + 1 == learned.len() {
                (first, start) = (w, b);
                (sum, sum_start) = (matrix(k.len(), start.len()), zeros(start.len()));
            }
            plus(&q, &plus(&times(gain, &read_out), offset))
        };
        (0..x.len()).map(&mut token).collect()
    });
    let (weight, bias) = (&p.get("output.layernorm.weight").data, &p.get("output.layernorm.bias").data);
    let normed = o.iter().map(|o| plus(&times(&standard(o, 1e-6).0, weight), bias));
    let y: Rows = normed.zip(&gate).map(|(o, gate)| times(&o, &map(gate, gelu))).collect();
    plain_output(p, &y)
}

/// The gradient with respect to z of 1/2 |gain LN(z) + offset - target|^2.
fn fit_gradient(z: &[Var], target: &[Var], gain: &[Var], offset: &[Var]) -> Vec<Var> {
    let n = z.len() as f64;
    let (normal, std) = standard(z, 1e-6);
    let by_normal = times(&minus(&plus(&times(gain, &normal), offset), target), gain);
    let mean = by_normal.iter().copied().sum::<Var>() / n;
    let along = dot(&by_normal, &normal) / n;
    by_normal.iter().zip(&normal).map(|(d, normal)| (*d - mean - *normal * along) / std).collect()
}

/// The tanh approximation of GELU.
fn gelu(x: Var) -> Var {
    let inner = (x + 0.044715 * x.powi(3)) * (2.0 / PI).sqrt();
    0.5 * x * (1.0 + inner.tanh())
}

/// Second-order linear attention, masked (arXiv 2510.27258): G += k (x) (k C), then P += k (x) k, C += q (x) v;
/// o = q P C - q G, not normalised. q, k, v = W x, q times K^-0.5 everywhere; W_o RMSNorm_V(o).
pub fn hla(p: &Params, x: &[Vec<Var>]) -> Rows {
    higher_order(p, x, |q, k, v| {
        let (mut g, mut c) = (matrix(k[0].len(), v[0].len()), matrix(k[0].len(), v[0].len()));
        let mut keys = matrix(k[0].len(), k[0].len());
        let mut token = |t: usize| {
            let found = read(&k[t], &c);
            write(&mut g, &k[t], &found);
            write(&mut keys, &k[t], &k[t]);
            write(&mut c, &q[t], &v[t]);
            minus(&read(&read(&q[t], &keys), &c), &read(&q[t], &g))
        };
        (0..q.len()).map(&mut token).collect()
    })
}

/// Second-order linear attention from its definition: o_t = sum_{i <= j <= t} (q_t.k_i) (k_i.q_j) v_j.
pub fn hla_pairs(p: &Params, x: &[Vec<Var>]) -> Rows {
    higher_order(p, x, |q, k, v| {
        let weight = |t: usize, j: usize| (0..=j).map(|i| dot(&q[t], &k[i]) * dot(&k[i], &q[j])).sum::<Var>();
        (0..q.len()).map(|t| read(&(0..=t).map(|j| weight(t, j)).collect::<Vec<_>>(), &v[..=t])).collect()
    })
}

/// Asymmetric second-order linear attention (arXiv 2510.27258): S += k (x) v, then E += k (x) (q S); o = q E, not
/// normalised: o_t = sum_{j <= i <= t} (q_t.k_i) (q_i.k_j) v_j. Inputs and output as those of hla.
pub fn ahla(p: &Params, x: &[Vec<Var>]) -> Rows {
    higher_order(p, x, |q, k, v| {
        let (mut s, mut e) = (matrix(k[0].len(), v[0].len()), matrix(k[0].len(), v[0].len()));
        let mut token = |t: usize| {
            write(&mut s, &k[t], &v[t]);
            let found = read(&q[t], &s);
            write(&mut e, &k[t], &found);
            read(&q[t], &e)
        };
        (0..q.len()).map(&mut token).collect()
    })
}

fn higher_order(p: &Params, x: &[Vec<Var>], one: impl Fn(&[Vec<Var>], &[Vec<Var>], &[Vec<Var>]) -> Rows) -> Rows {
    let (q, k, v) = (project(p, "q", x), project(p, "k", x), project(p, "v", x));
    let heads = heads(p);
    let scale = (p.size("q.linear.weight", 1) as f64).powf(-0.5);
    let q: Rows = q.iter().map(|q| map(q, |q| q * scale)).collect();
    normed_output(p, &by_head(heads, |h| one(&head(&q, h, heads), &head(&k, h, heads), &head(&v, h, heads))))
}

/// Gated retention of YOCO (arXiv 2405.05254): S = a S + k (x) v, o = K^-0.5 q S, a = sigmoid(W_a x)^(1/16) of each
/// head. q, k, v = W x; rotary embedding on q and k, here in halves with the usual frequencies;
/// W_o (silu(W_g x) RMSNorm_V(o)), the norm without weight.
pub fn gated_retention(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v) = (project(p, "q", x), project(p, "k", x), project(p, "v", x));
    let (a, gate) = (project(p, "a", x), project(p, "gate", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k) = (rope_tokens(&head(&q, h, heads)), rope_tokens(&head(&k, h, heads)));
        let (v, gate) = (head(&v, h, heads), head(&gate, h, heads));
        let scale = (q[0].len() as f64).powf(-0.5);
        let mut state = matrix(k[0].len(), v[0].len());
        let mut token = |t: usize| {
            keep(&mut state, (a[t][h].logsigmoid() / 16.0).exp());
            write(&mut state, &k[t], &v[t]);
            let o = map(&read(&q[t], &state), |o| o * scale);
            times(&rms(&o, EPS), &map(&gate[t], Var::silu))
        };
        (0..x.len()).map(&mut token).collect()
    });
    plain_output(p, &o)
}

// Softmax attention.

/// sum_j softmax_j(score(i, j)) v_j over j <= i, for every token i of a head.
fn attend(v: &[Vec<Var>], score: impl Fn(usize, usize) -> Var) -> Rows {
    let shares = |i: usize| softmax(&(0..=i).map(|j| score(i, j)).collect::<Vec<_>>());
    (0..v.len()).map(|i| read(&shares(i), &v[..=i])).collect()
}

/// Wall attention (Tilde Research, 2026): softmax of the score K^-0.5 sum_n q_i[n] k_j[n] e^(P_i[n] - P_j[n]), with P
/// the running sum of g = logsigmoid(W_c x + b), of each head and channel. q, k, v = W x, no positions; W_o o.
pub fn wall_attention(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, v) = (project(p, "q", x), project(p, "k", x), project(p, "v", x));
    let c = project_with_bias(p, "c", x);
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let (q, k, v) = (head(&q, h, heads), head(&k, h, heads), head(&v, h, heads));
        let g: Rows = head(&c, h, heads).iter().map(|c| map(c, Var::logsigmoid)).collect();
        let scale = (q[0].len() as f64).powf(-0.5);
        attend(&v, |i, j| {
            let decay = g[j + 1..=i].iter().fold(zeros(g[i].len()), |sum, g| plus(&sum, g));
            dot(&times(&q[i], &map(&decay, Var::exp)), &k[j]) * scale
        })
    });
    plain_output(p, &o)
}

/// Parallax (arXiv 2605.29157): with p = softmax(K^-0.5 q.k) and t_ij = r_i.k_j,
/// o_i = sum_j p_ij v_j (1 + tbar_i - t_ij), where tbar_i = sum_j p_ij t_ij.
/// q, k, r, v = W x; rotary embedding on q, k and r; W_o o.
pub fn parallax(p: &Params, x: &[Vec<Var>]) -> Rows {
    let (q, k, r, v) = (project(p, "q", x), project(p, "k", x), project(p, "r", x), project(p, "v", x));
    let heads = heads(p);
    let o = by_head(heads, |h| {
        let [q, k, r] = [&q, &k, &r].map(|x| rope_tokens(&head(x, h, heads)));
        let v = head(&v, h, heads);
        let scale = (q[0].len() as f64).powf(-0.5);
        let token = |i: usize| {
            let shares = softmax(&k[..=i].iter().map(|k| dot(&q[i], k) * scale).collect::<Vec<_>>());
            let tilts: Vec<Var> = k[..=i].iter().map(|k| dot(&r[i], k)).collect();
            let mean = dot(&shares, &tilts);
            read(&times(&shares, &map(&tilts, |tilt| 1.0 + mean - tilt)), &v[..=i])
        };
        (0..x.len()).map(token).collect()
    });
    plain_output(p, &o)
}

/// Gated attention of Qwen3-Next: R query heads on each of G key heads, softmax of K^-0.5 q.k, o * sigmoid(W_g x), then
/// W_o. RMSNorm (eps 1e-6) of q and k in each head, then rotary embedding of the first K / 2 channels.
pub fn gated_attention(p: &Params, x: &[Vec<Var>]) -> Rows {
    let place = |name: &str, x: &[Vec<Var>]| -> Rows {
        let weight = &p.get(&format!("{name}.rmsnorm.weight")).data;
        x.iter().enumerate().map(|(t, x)| rope_first_half(&times(&rms(x, 1e-6), weight), t)).collect()
    };
    let (q, k, v, gate) = (project(p, "q", x), project(p, "k", x), project(p, "v", x), project(p, "gate", x));
    let (groups, queries) = (p.size("q.linear.weight", 0), p.size("q.linear.weight", 1));
    let scale = (p.size("q.linear.weight", 2) as f64).powf(-0.5);
    let o = by_head(groups * queries, |h| {
        let group = h / queries;
        let (q, k) = (place("q", &head(&q, h, groups * queries)), place("k", &head(&k, group, groups)));
        attend(&head(&v, group, groups), |i, j| dot(&q[i], &k[j]) * scale)
    });
    let y: Rows = o.iter().zip(&gate).map(|(o, gate)| times(o, &map(gate, Var::sigmoid))).collect();
    plain_output(p, &y)
}

/// The rotary embedding on the first half of the channels; the others stay.
fn rope_first_half(x: &[Var], position: usize) -> Vec<Var> {
    let (turned, rest) = x.split_at(x.len() / 2);
    [rope(turned, position), rest.to_vec()].concat()
}

/// Multi-head latent attention without positions (Kimi Linear, arXiv 2510.26692), absorbed: c = RMSNorm(W_c x) is key
/// and value of all heads; score = (K + J)^-0.5 (q.c + shared_q.shared_k), q = W_2 W_1 x in each head, one shared_k for
/// all heads; W_o of W_v o in each head.
pub fn latent_attention(p: &Params, x: &[Vec<Var>]) -> Rows {
    let weight = &p.get("c.rmsnorm.weight").data;
    let latent: Rows = project(p, "c", x).iter().map(|c| rmsnorm(c, weight)).collect();
    let (q, shared_q, shared_k) = (project(p, "q", x), project(p, "shared_q", x), project(p, "shared_k", x));
    let heads = p.size("q.linear.weight", 0);
    let scale = ((p.size("q.linear.weight", 1) + shared_k[0].len()) as f64).powf(-0.5);
    let o = by_head(heads, |h| {
        let lifted: Rows = head(&q, h, heads).iter().map(|q| apply(part(p, "q.linear_2.weight", h), q)).collect();
        let shared_q = head(&shared_q, h, heads);
        let o = attend(&latent, |i, j| (dot(&lifted[i], &latent[j]) + dot(&shared_q[i], &shared_k[j])) * scale);
        o.iter().map(|o| apply(part(p, "output.linear.weight", h), o)).collect()
    });
    o.iter().map(|o| p.linear("output.linear_2.weight", o)).collect()
}
