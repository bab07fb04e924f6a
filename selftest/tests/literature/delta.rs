//! Delta rules and their relatives, one token at a time. The memory S of a head is `[K, V]`; k S is its read by a key,
//! [k] [v] an outer product, * elementwise. Values of a token are flat: head by head.

use crate::parts::{Params, dot, l2norm, map, rms, softmax, zeros};
use crate::tape::Var;

type Sequence = Vec<Vec<Var>>;
type Memory = Vec<Vec<Var>>;

const NORM_EPS: f64 = 1e-5;
const UNIT_EPS: f64 = 1e-6;
const SWISH_NORM: &str = "output.swish_gate.rmsnorm.weight";
const PLAIN_NORM: &str = "output.rmsnorm.weight";

/// Heads and the sizes of their memories.
#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    keys: usize,
    values: usize,
}

/// A head at a token.
#[derive(Clone, Copy)]
struct Place {
    t: usize,
    h: usize,
    heads: usize,
}

impl Place {
    /// The head's part of a value with the axes `[H, ..]`.
    fn of<'a>(&self, y: &'a [Vec<Var>]) -> &'a [Var] {
        part(&y[self.t], self.h, self.heads)
    }
    /// The head's element of a value with the axis `[H]`.
    fn one(&self, y: &[Vec<Var>]) -> Var {
        y[self.t][self.h]
    }
}

impl Sizes {
    /// Sizes from weights [H, K, D] and [H, V, D].
    fn of(p: &Params, q: &str, v: &str) -> Self {
        Self { heads: p.size(q, 0), keys: p.size(q, 1), values: p.size(v, 1) }
    }
    /// Sizes of a mixer with the values q and v.
    fn usual(p: &Params) -> Self {
        Self::of(p, "q.linear.weight", "v.linear.weight")
    }
    fn memory(&self) -> Memory {
        vec![zeros(self.values); self.keys]
    }
    /// Runs one memory per head over all tokens: the step updates it and returns the head's read.
    fn run(&self, tokens: usize, mut step: impl FnMut(Place, &mut Memory) -> Vec<Var>) -> Sequence {
        let mut memories = vec![self.memory(); self.heads];
        let mut all = Vec::new();
        for t in 0..tokens {
            let mut now = Vec::new();
            for (h, memory) in memories.iter_mut().enumerate() {
                now.extend(step(Place { t, h, heads: self.heads }, memory));
            }
            all.push(now);
        }
        all
    }
}

/// The i-th of n equal parts.
fn part(x: &[Var], i: usize, n: usize) -> &[Var] {
    let length = x.len() / n;
    &x[i * length..(i + 1) * length]
}

fn times(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

fn plus(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

fn minus(a: &[Var], b: &[Var]) -> Vec<Var> {
    a.iter().zip(b).map(|(a, b)| *a - *b).collect()
}

fn scaled(a: &[Var], by: Var) -> Vec<Var> {
    map(a, |a| a * by)
}

/// k S.
fn read(k: &[Var], s: &Memory) -> Vec<Var> {
    (0..s[0].len()).map(|j| k.iter().zip(s).map(|(k, row)| *k * row[j]).sum()).collect()
}

/// K^-0.5 q S.
fn scaled_read(q: &[Var], s: &Memory) -> Vec<Var> {
    let scale = (q.len() as f64).powf(-0.5);
    map(&read(q, s), |o| o * scale)
}

/// S <- S + [k] [v].
fn add(s: &mut Memory, k: &[Var], v: &[Var]) {
    for (row, k) in s.iter_mut().zip(k) {
        for (s, v) in row.iter_mut().zip(v) {
            *s += *k * *v;
        }
    }
}

/// S <- a S.
fn decay(s: &mut Memory, a: Var) {
    for row in s {
        *row = scaled(row, a);
    }
}

/// S <- diag(a) S.
fn decay_rows(s: &mut Memory, a: &[Var]) {
    for (row, a) in s.iter_mut().zip(a) {
        *row = scaled(row, *a);
    }
}

/// S <- S + step [key] [v - erase S].
fn correct(s: &mut Memory, key: &[Var], erase: &[Var], v: &[Var], step: Var) {
    let error = minus(v, &read(erase, s));
    add(s, key, &scaled(&error, step));
}

fn unit(x: &[Var]) -> Vec<Var> {
    l2norm(x, UNIT_EPS)
}

/// Divides each head's part by its length.
fn unit_heads(x: &[Vec<Var>], heads: usize) -> Sequence {
    x.iter().map(|x| (0..heads).flat_map(|h| unit(part(x, h, heads))).collect()).collect()
}

/// W x of each token.
fn linear(p: &Params, weight: &str, x: &[Vec<Var>]) -> Sequence {
    x.iter().map(|x| p.linear(weight, x)).collect()
}

/// f(W x) of each token.
fn gates(p: &Params, weight: &str, x: &[Vec<Var>], f: impl Fn(Var) -> Var) -> Sequence {
    linear(p, weight, x).iter().map(|y| map(y, &f)).collect()
}

/// silu(conv(W x)) of each token.
fn mixed(p: &Params, name: &str, x: &[Vec<Var>]) -> Sequence {
    let y = p.conv(&format!("{name}.conv.linear.weight"), &linear(p, &format!("{name}.linear.weight"), x));
    y.iter().map(|y| map(y, Var::silu)).collect()
}

/// silu(conv(W x)) of each token, divided by each head's length.
fn mixed_unit(p: &Params, name: &str, x: &[Vec<Var>], heads: usize) -> Sequence {
    unit_heads(&mixed(p, name, x), heads)
}

/// log a = -exp(A_log) softplus(W x + dt_bias) of each head, parameters under a path.
fn log_mamba_decay(p: &Params, path: &str, x: &[Vec<Var>]) -> Sequence {
    let rate = &p.get(&format!("{path}.A_log")).data;
    let (weight, bias) = (format!("{path}.linear.weight"), format!("{path}.dt_bias"));
    let step = |x: &Vec<Var>| map(&p.affine(&weight, &bias, x), Var::softplus);
    x.iter().map(|x| step(x).iter().zip(rate).map(|(step, rate)| -rate.exp() * *step).collect()).collect()
}

fn mamba_decay(p: &Params, path: &str, x: &[Vec<Var>]) -> Sequence {
    log_mamba_decay(p, path, x).iter().map(|log| map(log, Var::exp)).collect()
}

/// a = exp(-exp(A_log) softplus(W2 W1 x + dt_bias)) of each key channel.
fn channel_decay(p: &Params, x: &[Vec<Var>], size: Sizes) -> Sequence {
    let one = |x: &Vec<Var>| {
        let low = p.linear("step_size.linear.weight", x);
        let step = map(&p.affine("step_size.linear_2.weight", "dt_bias", &low), Var::softplus);
        let rate = |c: usize| p.at("A_log", &[c / size.keys]).exp();
        step.iter().enumerate().map(|(c, step)| (-rate(c) * *step).exp()).collect()
    };
    x.iter().map(one).collect()
}

/// RMSNorm over the V values of each head; all heads share the weight.
fn normed(p: &Params, weight: &str, o: &[Var], heads: usize, eps: f64) -> Vec<Var> {
    (0..heads).flat_map(|h| times(&rms(part(o, h, heads), eps), &p.get(weight).data)).collect()
}

/// W_o RMSNorm_V(o).
fn plain_output(p: &Params, o: &[Vec<Var>], heads: usize) -> Sequence {
    o.iter().map(|o| p.linear("output.linear.weight", &normed(p, PLAIN_NORM, o, heads, NORM_EPS))).collect()
}

/// W_o (RMSNorm_V(o) * gate).
fn gated_output(p: &Params, norm: &str, o: &[Vec<Var>], gate: &[Vec<Var>], heads: usize) -> Sequence {
    gated_output_with(p, norm, o, gate, heads, NORM_EPS)
}

/// W_o (RMSNorm_V(o) * gate), with this eps in the norm.
fn gated_output_with(p: &Params, norm: &str, o: &[Vec<Var>], gate: &[Vec<Var>], heads: usize, eps: f64) -> Sequence {
    let gated = o.iter().zip(gate).map(|(o, gate)| times(&normed(p, norm, o, heads, eps), gate));
    gated.map(|y| p.linear("output.linear.weight", &y)).collect()
}

/// W_o (RMSNorm_V(o) * silu(W_g x)).
fn swish_output(p: &Params, o: &[Vec<Var>], x: &[Vec<Var>], heads: usize) -> Sequence {
    gated_output(p, SWISH_NORM, o, &gates(p, "gate.linear.weight", x, Var::silu), heads)
}

/// f(W2 W1 x + bias) of each token, for the output.
fn low_rank_gate(p: &Params, x: &[Vec<Var>], f: impl Fn(Var) -> Var) -> Sequence {
    let low = linear(p, "gate.linear.weight", x);
    low.iter().map(|low| map(&p.affine("gate.linear_2.weight", "gate.linear_2.bias", low), &f)).collect()
}

/// Gated DeltaNet-2 (arXiv 2605.22791): S <- diag(a) S; S <- S + [k] [w * v - (b * k) S]; o = K^-0.5 q S.
/// Shell: q, k = l2norm(silu(conv)), v = silu(conv), b, w sigmoid, a per key channel of a low-rank map;
/// W_o (RMSNorm_V(o) * silu(W2 W1 x + bias)).
pub fn gated_delta_net_2(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let (v, a) = (mixed(p, "v", x), channel_decay(p, x, size));
    let b = gates(p, "erase.linear.weight", x, Var::sigmoid);
    let w = gates(p, "write.linear.weight", x, Var::sigmoid);
    let o = size.run(x.len(), |at, s| {
        decay_rows(s, at.of(&a));
        let erased = read(&times(at.of(&b), at.of(&k)), s);
        add(s, at.of(&k), &minus(&times(at.of(&w), at.of(&v)), &erased));
        scaled_read(at.of(&q), s)
    });
    gated_output(p, SWISH_NORM, &o, &low_rank_gate(p, x, Var::silu), size.heads)
}

/// M = 1.5^-s of each key channel, s = r / (1 + |r|), r = log(A + 1e-6) - centre, A <- keep A + add k^2 with the
/// present k, keep a decay and add a sigmoid per head.
fn inverse_curvature(p: &Params, x: &[Vec<Var>], k: &[Vec<Var>], heads: usize) -> Sequence {
    let keep = mamba_decay(p, "size.inverse_curvature.keep.mamba_decay", x);
    let step = gates(p, "size.inverse_curvature.add.linear.weight", x, Var::sigmoid);
    let mut curvature = zeros(k.first().map_or(0, Vec::len));
    let mut all = Vec::new();
    for t in 0..x.len() {
        let mut now = Vec::new();
        for (c, curvature) in curvature.iter_mut().enumerate() {
            let h = c * heads / k[t].len();
            *curvature = keep[t][h] * *curvature + step[t][h] * k[t][c].powi(2);
            let r = (*curvature + 1e-6).ln() - p.at("size.inverse_curvature.centre", &[h]);
            now.push((-(r / (1.0 + r.abs())) * 1.5_f64.ln()).exp());
        }
        all.push(now);
    }
    all
}

/// Preconditioned Gated DeltaNet (arXiv 2604.21100): S <- a S; S <- S + beta [M * k] [v - k S]; o = K^-0.5 q S.
/// Shell: q, k = l2norm(silu(conv)), v = silu(conv), beta sigmoid, a scalar; W_o RMSNorm_V(o) without a gate.
pub fn preconditioned_gated_delta_net(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let (v, a) = (mixed(p, "v", x), mamba_decay(p, "a.mamba_decay", x));
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let m = inverse_curvature(p, x, &k, size.heads);
    let o = size.run(x.len(), |at, s| {
        decay(s, at.one(&a));
        correct(s, &times(at.of(&m), at.of(&k)), at.of(&k), at.of(&v), at.one(&beta));
        scaled_read(at.of(&q), s)
    });
    plain_output(p, &o, size.heads)
}

/// Preconditioned KDA (arXiv 2604.21100): S <- diag(a) S; S <- S + beta [M * k] [v - k S]; o = K^-0.5 q S.
/// Shell: q, k = l2norm(silu(conv)), v = silu(conv), beta sigmoid, a per key channel of a low-rank map;
/// W_o (RMSNorm_V(o) * sigmoid(W2 W1 x + bias)).
pub fn preconditioned_kda(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let (v, a) = (mixed(p, "v", x), channel_decay(p, x, size));
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let m = inverse_curvature(p, x, &k, size.heads);
    let o = size.run(x.len(), |at, s| {
        decay_rows(s, at.of(&a));
        correct(s, &times(at.of(&m), at.of(&k)), at.of(&k), at.of(&v), at.one(&beta));
        scaled_read(at.of(&q), s)
    });
    gated_output(p, PLAIN_NORM, &o, &low_rank_gate(p, x, Var::sigmoid), size.heads)
}

/// Q-Delta (arXiv 2606.08804): S <- a S; S <- S + beta [k] [v - (k + share q) S]; o = K^-0.5 q S.
/// Shell: that of Gated DeltaNet, share = sigmoid(W x - 0.9); W_o (RMSNorm_V(o) * silu(W_g x)).
pub fn q_delta(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let (v, a) = (mixed(p, "v", x), mamba_decay(p, "a.mamba_decay", x));
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let share = gates(p, "share.linear.weight", x, |y| (y - 0.9).sigmoid());
    let o = size.run(x.len(), |at, s| {
        decay(s, at.one(&a));
        let both = plus(at.of(&k), &scaled(at.of(&q), at.one(&share)));
        correct(s, at.of(&k), &both, at.of(&v), at.one(&beta));
        scaled_read(at.of(&q), s)
    });
    swish_output(p, &o, x, size.heads)
}

/// W2[h] W1[h] x of each head, weights [H, R, D] and [H, K, R] under a name.
fn head_low_rank(p: &Params, name: &str, x: &[Var], heads: usize) -> Vec<Var> {
    let low = p.linear(&format!("{name}.linear.weight"), x);
    let second = &p.get(&format!("{name}.linear_2.weight")).data;
    let of_head = |h: usize| {
        let low = part(&low, h, heads);
        part(second, h, heads).chunks(low.len()).map(|row| dot(row, low)).collect::<Vec<_>>()
    };
    (0..heads).flat_map(of_head).collect()
}

/// a = exp(-5 + 5 exp(-exp(A_log) / 5 softplus(W2 W1 x + dt_bias))) of each key channel: never under exp(-5).
fn safe_decay(p: &Params, x: &[Vec<Var>], size: Sizes) -> Sequence {
    let one = |x: &Vec<Var>| {
        let step = map(&plus(&head_low_rank(p, "step_size", x, size.heads), &p.get("dt_bias").data), Var::softplus);
        let rate = |c: usize| p.at("A_log", &[c / size.keys]).exp() / 5.0;
        step.iter().enumerate().map(|(c, step)| (5.0 * (-rate(c) * *step).exp() - 5.0).exp()).collect()
    };
    x.iter().map(one).collect()
}

/// Erase-then-Delta (arXiv 2606.26560): S <- diag(a) S; S <- S - erase [e] [e S]; S <- S + beta [k] [v - k S];
/// o = K^-0.5 q S. Shell: q, k = l2norm(silu(conv)), v = silu(conv), e = l2norm(W2 W1 x), erase, beta sigmoid,
/// a safe per key channel; W_o (RMSNorm_V(o) * sigmoid(W_g x)).
pub fn erase_then_delta(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let (v, a) = (mixed(p, "v", x), safe_decay(p, x, size));
    let raw: Sequence = x.iter().map(|x| head_low_rank(p, "e", x, size.heads)).collect();
    let e = unit_heads(&raw, size.heads);
    let erase = gates(p, "erase.linear.weight", x, Var::sigmoid);
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let o = size.run(x.len(), |at, s| {
        decay_rows(s, at.of(&a));
        correct(s, at.of(&e), at.of(&e), &zeros(size.values), at.one(&erase));
        correct(s, at.of(&k), at.of(&k), at.of(&v), at.one(&beta));
        scaled_read(at.of(&q), s)
    });
    gated_output_with(p, PLAIN_NORM, &o, &gates(p, "gate.linear.weight", x, Var::sigmoid), size.heads, 1e-6)
}

/// Kaczmarz linear attention, relaxed, q normed (arXiv 2605.08587): S <- a S; S <- S + beta [k] [v - k S];
/// o = K^-0.5 q S, beta = sigmoid(W x + bias) / (|k|^2 + 1e-6).
/// Shell: q = l2norm(silu(conv)), k, v = silu(conv), k of any length; W_o (RMSNorm_V(o) * silu(W_g x)).
pub fn kaczmarz(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed(p, "k", x));
    let (v, a) = (mixed(p, "v", x), mamba_decay(p, "a.mamba_decay", x));
    let eta: Sequence = x.iter().map(|x| p.affine("eta.linear.weight", "eta.linear.bias", x)).collect();
    let o = size.run(x.len(), |at, s| {
        decay(s, at.one(&a));
        let k = at.of(&k);
        correct(s, k, k, at.of(&v), at.one(&eta).sigmoid() / (dot(k, k) + 1e-6));
        scaled_read(at.of(&q), s)
    });
    swish_output(p, &o, x, size.heads)
}

/// EFLA (arXiv 2512.12602): S <- S + alpha [k] [v - k S]; o = K^-0.5 q S,
/// alpha = (1 - exp(-beta |k|^2)) / (|k|^2 + 1e-6). Shell: that of DeltaNet: q = l2norm(silu(conv)), k, v = silu(conv),
/// k of any length, beta sigmoid; W_o RMSNorm_V(o).
pub fn efla(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k, v) = (mixed_unit(p, "q", x, size.heads), mixed(p, "k", x), mixed(p, "v", x));
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let o = size.run(x.len(), |at, s| {
        let k = at.of(&k);
        let square = dot(k, k);
        let alpha = -(-at.one(&beta) * square).exp_m1() / (square + 1e-6);
        correct(s, k, k, at.of(&v), alpha);
        scaled_read(at.of(&q), s)
    });
    plain_output(p, &o, size.heads)
}

/// Momentum DeltaNet (arXiv 2605.05838): u = v - a k S; M <- mu M - eta [k] [u]; S <- a S - beta M; o = K^-0.5 q S,
/// with theta = atan(eta exp(log_factor)), a = cos^2(theta) a0, beta = sin^2(theta) sigmoid(W x), mu >= exp(-2),
/// eta = 1 + tanh(W x / sqrt(D)). Shell: raw_q, raw_k, v = silu(conv), k = l2norm(raw_k),
/// q = l2norm(raw_q - exp(D_log) raw_k); W_o (RMSNorm_V(o) * sigmoid(W_g x)).
pub fn momentum_delta_net(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::of(p, "raw_q.linear.weight", "v.linear.weight");
    let (raw_q, raw_k, v) = (mixed(p, "raw_q", x), mixed(p, "raw_k", x), mixed(p, "v", x));
    let temperature = (p.size("eta.linear.weight", 1) as f64).sqrt();
    let eta = gates(p, "eta.linear.weight", x, |y| 1.0 + (y / temperature).tanh());
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let a = mamba_decay(p, "a.mamba_decay", x);
    let log_mu = log_mamba_decay(p, "mu.mamba_decay", x);
    let mut velocity = vec![size.memory(); size.heads];
    let o = size.run(x.len(), |at, s| {
        let theta = (at.one(&eta) * p.at("log_factor", &[at.h]).exp()).atan();
        let a = theta.cos().powi(2) * at.one(&a);
        let beta = theta.sin().powi(2) * at.one(&beta);
        let k = unit(at.of(&raw_k));
        let q = unit(&minus(at.of(&raw_q), &scaled(at.of(&raw_k), p.at("D_log", &[at.h]).exp())));
        let error = minus(at.of(&v), &read(&scaled(&k, a), s));
        let m = &mut velocity[at.h];
        decay(m, at.one(&log_mu).max(-2.0).exp());
        add(m, &k, &scaled(&error, -at.one(&eta)));
        for (s, m) in s.iter_mut().zip(m.iter()) {
            *s = minus(&scaled(s, a), &scaled(m, beta));
        }
        scaled_read(&q, s)
    });
    gated_output(p, PLAIN_NORM, &o, &gates(p, "gate.linear.weight", x, Var::sigmoid), size.heads)
}

/// Titans with a linear memory (arXiv 2501.00663, eq. 11-15): u = k M - v; S <- momentum S - 2 rate [k] [u];
/// M <- keep M + S; o = q M, of the new M and unscaled. Shell: q, k = l2norm(silu(conv)), v = silu(conv),
/// momentum, rate sigmoid, keep = 1 - sigmoid(W x + bias) (gates not published); W_o (RMSNorm_V(o) * silu(W_g x)).
pub fn titans(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, k) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "k", x, size.heads));
    let v = mixed(p, "v", x);
    let momentum = gates(p, "momentum.linear.weight", x, Var::sigmoid);
    let rate = gates(p, "rate.linear.weight", x, Var::sigmoid);
    let lost = |x: &Vec<Var>| map(&p.affine("keep.linear.weight", "keep.linear.bias", x), Var::sigmoid);
    let keep: Sequence = x.iter().map(|x| map(&lost(x), |lost| 1.0 - lost)).collect();
    let mut surprise = vec![size.memory(); size.heads];
    let o = size.run(x.len(), |at, m| {
        let error = minus(&read(at.of(&k), m), at.of(&v));
        let s = &mut surprise[at.h];
        decay(s, at.one(&momentum));
        add(s, at.of(&k), &scaled(&error, -2.0 * at.one(&rate)));
        decay(m, at.one(&keep));
        for (m, s) in m.iter_mut().zip(s.iter()) {
            *m = plus(m, s);
        }
        read(at.of(&q), m)
    });
    swish_output(p, &o, x, size.heads)
}

/// Gated Oja rule (note in fla): S <- S diag(a); S <- S + beta [k - S v] [v]; o = K^-0.5 q S.
/// Shell: q, v = l2norm(silu(conv)), k = silu(conv), beta sigmoid, a = exp(logsigmoid(W x) / 16) of each value channel;
/// W_o (RMSNorm_V(o) * silu(W_g x)).
pub fn gated_oja(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::usual(p);
    let (q, v) = (mixed_unit(p, "q", x, size.heads), mixed_unit(p, "v", x, size.heads));
    let k = mixed(p, "k", x);
    let beta = gates(p, "beta.linear.weight", x, Var::sigmoid);
    let a = gates(p, "a.linear.weight", x, |y| (y.logsigmoid() / 16.0).exp());
    let o = size.run(x.len(), |at, s| {
        for (row, k) in s.iter_mut().zip(at.of(&k)) {
            *row = times(row, at.of(&a));
            let error = *k - dot(row, at.of(&v));
            *row = plus(row, &scaled(at.of(&v), at.one(&beta) * error));
        }
        scaled_read(at.of(&q), s)
    });
    swish_output(p, &o, x, size.heads)
}

/// silu(conv(y)) over a memory's own tokens; the kernel is that of all memories.
fn routed_conv(p: &Params, name: &str, y: &[Vec<Var>]) -> Sequence {
    p.conv(&format!("{name}.routed_conv.linear.weight"), y).iter().map(|y| map(y, Var::silu)).collect()
}

/// The reads of a memory at each of its own tokens: Gated DeltaNet on them alone.
fn read_of_memory(p: &Params, m: usize, memories: usize, size: Sizes, own: &[Vec<Var>]) -> Sequence {
    let of_memory =
        |path: &str| -> Sequence { linear(p, path, own).iter().map(|all| part(all, m, memories).to_vec()).collect() };
    let q = unit_heads(&routed_conv(p, "q", &linear(p, "q.linear.weight", own)), size.heads);
    let k = unit_heads(&routed_conv(p, "k", &of_memory("k.linear.weight")), size.heads);
    let v = routed_conv(p, "v", &of_memory("v.linear.weight"));
    let (beta, raw) = (of_memory("beta.linear.weight"), of_memory("a.linear.weight"));
    size.run(own.len(), |at, s| {
        let step = (at.one(&raw) + p.at("dt_bias", &[at.h])).softplus();
        decay(s, (-p.at("A_log", &[at.h]).exp() * step).exp());
        correct(s, at.of(&k), at.of(&k), at.of(&v), at.one(&beta).sigmoid());
        scaled_read(at.of(&q), s)
    })
}

/// The indices of the n largest entries.
fn largest(x: &[Var], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|i, j| x[*j].value.total_cmp(&x[*i].value));
    order.truncate(n);
    order
}

/// Mixture of Memories (arXiv 2502.13685): each token goes to the 2 likeliest of M memories, p = softmax(W x); each
/// memory is a Gated DeltaNet on its own tokens, convolutions included; o = sum of reads by p over the sum of both p.
/// Shell: W_q, A_log, dt_bias shared; kernels too; W_k, W_v, W_b, W_a per memory; W_o (RMSNorm_V(o) * silu(W_g x)).
pub fn mom(p: &Params, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let (heads, keys) = (p.size("q.linear.weight", 0), p.size("q.linear.weight", 1));
    let size = Sizes { heads, keys, values: p.size("v.linear.weight", 2) };
    let memories = p.size("p.linear.weight", 0);
    let share: Sequence = x.iter().map(|x| softmax(&p.linear("p.linear.weight", x))).collect();
    let chosen: Vec<Vec<usize>> = share.iter().map(|share| largest(share, 2)).collect();
    let mut o = vec![zeros(heads * size.values); x.len()];
    for m in 0..memories {
        let when: Vec<usize> = (0..x.len()).filter(|t| chosen[*t].contains(&m)).collect();
        let own: Sequence = when.iter().map(|t| x[*t].clone()).collect();
        for (t, read) in when.iter().zip(read_of_memory(p, m, memories, size, &own)) {
            let sum: Var = chosen[*t].iter().map(|m| share[*t][*m]).sum();
            o[*t] = plus(&o[*t], &scaled(&read, share[*t][m] / sum));
        }
    }
    swish_output(p, &o, x, heads)
}

/// (x - mean) / sqrt(variance + 6.4e-4) over each head's values, times the weight, plus the bias.
fn group_norm(p: &Params, o: &[Var], heads: usize) -> Vec<Var> {
    let one = |o: &[Var]| {
        let mean = o.iter().copied().sum::<Var>() / o.len() as f64;
        rms(&map(o, |o| o - mean), 6.4e-4)
    };
    let normed: Vec<Var> = (0..heads).flat_map(|h| one(part(o, h, heads))).collect();
    plus(&times(&normed, &p.get("out.groupnorm.weight").data), &p.get("out.groupnorm.bias").data)
}

/// RWKV-7 with the value residual, a later layer (arXiv 2503.14456): with S before the decay on the right,
/// S <- diag(w) S - [kk * a] [kk S] + [k] [v]; o = r S, unscaled; w = exp(-e^-0.5 sigmoid(low)),
/// kk = raw * remove over its length, k = raw (1 + (a - 1) scale_k),
/// v = raw v + (first - raw v) * sigmoid(W3 W2 x_v + bias), first the first layer's v.
/// Shell: x_m = x + (x before - x) mix_m, m = receptance, decay, key, value, rate, gate;
/// W_o ((GroupNorm(o) + sum(r bonus k) v) * gate).
pub fn rwkv7_residual(p: &Params, x: &[Vec<Var>], first: &[Vec<Var>]) -> Vec<Vec<Var>> {
    let size = Sizes::of(p, "r.linear.weight", "v.linear.weight");
    let width = p.size("mix", 1);
    let [x_r, x_w, x_k, x_v, x_a, x_g] = std::array::from_fn(|m| {
        let mix = &p.get("mix").data[m * width..(m + 1) * width];
        let before = |t: usize| if t == 0 { zeros(width) } else { x[t - 1].clone() };
        let one = |t: usize| plus(&x[t], &times(&minus(&before(t), &x[t]), mix));
        (0..x.len()).map(one).collect::<Sequence>()
    });
    let low_rank = |first: &str, f: fn(Var) -> Var, second: &str, x: &[Vec<Var>]| -> Sequence {
        let (weight, bias) = (format!("{second}.weight"), format!("{second}.bias"));
        gates(p, first, x, f).iter().map(|low| p.affine(&weight, &bias, low)).collect()
    };
    let sigmoid = |y: Sequence| -> Sequence { y.iter().map(|y| map(y, Var::sigmoid)).collect() };
    let low = low_rank("low.linear.weight", Var::tanh, "low.linear_2", &x_w);
    let a = sigmoid(low_rank("a.linear.weight", |y| y, "a.linear_2", &x_a));
    let part_of_first = sigmoid(low_rank("residual.linear.weight", |y| y, "residual.linear_2", &x_v));
    let gate = linear(p, "gate.linear_2.weight", &gates(p, "gate.linear.weight", &x_g, Var::sigmoid));
    let (r, raw_k) = (linear(p, "r.linear.weight", &x_r), linear(p, "raw.linear.weight", &x_k));
    let raw_v = linear(p, "v.linear.weight", &x_v);
    let mixed_v = |t: usize| plus(&raw_v[t], &times(&minus(&first[t], &raw_v[t]), &part_of_first[t]));
    let v: Sequence = (0..x.len()).map(mixed_v).collect();
    let factor = |a: &[Var]| map(&times(&map(a, |a| a - 1.0), &p.get("scale_k").data), |y| 1.0 + y);
    let k: Sequence = raw_k.iter().zip(&a).map(|(raw, a)| times(raw, &factor(a))).collect();
    let removed: Sequence = raw_k.iter().map(|raw| times(raw, &p.get("remove").data)).collect();
    let unit = |y: &[Var]| {
        let length = dot(y, y).sqrt().max(1e-12);
        map(y, |y| y / length)
    };
    let heads = |y: &Vec<Var>| (0..size.heads).flat_map(|h| unit(part(y, h, size.heads))).collect();
    let kk: Sequence = removed.iter().map(heads).collect();
    let o = size.run(x.len(), |at, s| {
        let old = read(at.of(&kk), s);
        decay_rows(s, &map(at.of(&low), |low| (-(-0.5_f64).exp() * low.sigmoid()).exp()));
        add(s, &times(at.of(&kk), at.of(&a)), &map(&old, |old| -old));
        add(s, at.of(&k), at.of(&v));
        read(at.of(&r), s)
    });
    let bonus = |t: usize| {
        let each = times(&times(&r[t], &p.get("bonus").data), &k[t]);
        let of_head = |h: usize| scaled(part(&v[t], h, size.heads), part(&each, h, size.heads).iter().copied().sum());
        (0..size.heads).flat_map(of_head).collect::<Vec<_>>()
    };
    let read_out = |t: usize| times(&plus(&group_norm(p, &o[t], size.heads), &bonus(t)), &gate[t]);
    (0..x.len()).map(|t| p.linear("out.linear.weight", &read_out(t))).collect()
}
