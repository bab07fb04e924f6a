#!/usr/bin/env python3
"""The models of `archc bench train` in PyTorch: the peer that archc is measured beside.

`archc bench train --torch PYTHON` runs this file; needed are the packages torch, numpy and safetensors. It loads the
weights that archc wrote (safetensors, by archc's parameter paths), computes the loss of the same batch, and times whole
training steps: forward, backward, clipping by global norm, AdamW. Every result is one line of JSON. `archc bench gemm --torch PYTHON`
has it time matrix products, a line of seconds each: those of MKL, where PyTorch comes with it.

The forms are those that a careful PyTorch user would write: chunk forms for linear recurrences (arXiv 2312.06635,
2406.06484, 2412.06464, 2510.26692, 2405.04517), `scaled_dot_product_attention` for attention, a scan in two levels for
the element-wise recurrence, grouped `conv1d`, the fused AdamW. All of them are O(T) where archc's are.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

HEADS = 4


# ---- parts


def l2norm(x, eps=1e-6):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps)


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)


class Conv(nn.Module):
    """Depthwise causal convolution over time; archc's weight w belongs to the token w steps ago."""

    def __init__(self, channels, width, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, width))
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x):
        width = self.weight.shape[1]
        x = F.pad(x.transpose(1, 2), (width - 1, 0))
        return F.conv1d(x, self.weight.flip(1).unsqueeze(1), self.bias, groups=x.shape[1]).transpose(1, 2)


class PerHead(nn.Module):
    """A linear of its own for each head: [B, T, H, I] -> [B, T, H, O], weights [H, O, I]."""

    def __init__(self, heads, inner, outer, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, outer, inner))
        self.bias = nn.Parameter(torch.empty(heads, outer)) if bias else None

    def forward(self, x):
        y = torch.einsum("bthi,hoi->btho", x, self.weight)
        return y if self.bias is None else y + self.bias


def heads(x, count=HEADS):
    """[B, T, H * K] -> [B, H, T, K]"""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def tokens(x):
    """[B, H, T, K] -> [B, T, H, K]"""
    return x.transpose(1, 2)


def chunked(x, size):
    """[B, H, T, ...] -> [B, H, N, C, ...]; T is padded with zeros, which write and forget nothing."""
    missing = -x.shape[2] % size
    if missing:
        x = torch.cat([x, x.new_zeros(*x.shape[:2], missing, *x.shape[3:])], 2)
    return x.unflatten(2, (-1, size))


# ---- recurrences in chunk form


def gla(q, k, v, g, size=64):
    """S = exp(g) S + k v, read by q; g [B, H, T, K] <= 0."""
    length = q.shape[2]
    q, k, v, g = (chunked(x, size) for x in (q, k, v, g))
    G = g.cumsum(3)
    last = G[:, :, :, -1:]
    q_in, k_out = q * G.exp(), k * (-G).exp()
    scores = (q_in @ k_out.transpose(-1, -2)).tril()
    inside = scores @ v
    writes = (k * (last - G).exp()).transpose(-1, -2) @ v
    keep = last.exp().transpose(-1, -2)
    state, entries = torch.zeros_like(writes[:, :, 0]), []
    for n in range(q.shape[2]):
        entries.append(state)
        state = keep[:, :, n] * state + writes[:, :, n]
    return (inside + q_in @ torch.stack(entries, 2)).flatten(2, 3)[:, :, :length]


def delta(q, k, v, beta, g=None, size=64):
    """S = a S; S = S + beta k (v - k S), read by q; g = log a: none, [B, H, T] or [B, H, T, K].

    In a chunk the writes u solve a unit lower triangular system (the WY form of a product of reflections)."""
    length = q.shape[2]
    q, k, v, beta = (chunked(x, size) for x in (q, k, v, beta.unsqueeze(-1)))
    eye = torch.eye(size, dtype=q.dtype)
    if g is None:
        products, scores = k @ k.transpose(-1, -2), (q @ k.transpose(-1, -2)).tril()
        q_in, k_in, k_end, keep = q, k, k, None
    elif g.dim() == 3:
        G = chunked(g, size).cumsum(3)
        # exp of a difference, masked before: the other half would overflow
        pairs = (G.unsqueeze(-1) - G.unsqueeze(-2)).masked_fill(~torch.ones(size, size, dtype=torch.bool).tril(), -torch.inf).exp()
        products, scores = (k @ k.transpose(-1, -2)) * pairs, (q @ k.transpose(-1, -2)) * pairs
        G, last = G.unsqueeze(-1), G[:, :, :, -1:].unsqueeze(-1)
        q_in, k_in, k_end, keep = q * G.exp(), k * G.exp(), k * (last - G).exp(), last.exp()
    else:
        G = chunked(g, size).cumsum(3)
        last = G[:, :, :, -1:]
        q_in, k_in, k_out = q * G.exp(), k * G.exp(), k * (-G).exp()
        products, scores = k_in @ k_out.transpose(-1, -2), (q_in @ k_out.transpose(-1, -2)).tril()
        k_end, keep = k * (last - G).exp(), last.exp().transpose(-1, -2)
    system = eye + beta * products.tril(-1)
    solved = torch.linalg.solve_triangular(system, beta * torch.cat([v, k_in], -1), upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], k.shape[-1]], -1)
    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    reads = []
    for n in range(q.shape[2]):
        written = u[:, :, n] - w[:, :, n] @ state
        reads.append(q_in[:, :, n] @ state + scores[:, :, n] @ written)
        kept = state if keep is None else keep[:, :, n] * state
        state = kept + k_end[:, :, n].transpose(-1, -2) @ written
    return torch.stack(reads, 2).flatten(2, 3)[:, :, :length]


def mlstm(q, k, v, i, f, size=64):
    """mLSTM: exponential input gate, log forget gate f, stabilised by a running maximum that starts at 0.

    With F the running sum of f, m = F + M where M is the running maximum of 0 and i - F; every exponent below is then
    a difference with M and at most 0."""
    length = q.shape[2]
    sums = f.cumsum(2)
    lead = i - sums
    top = torch.cummax(lead, 2).values.clamp(min=0)
    floor = torch.exp(-(sums + top)).unsqueeze(-1)
    ones = torch.ones_like(v[..., :1])
    q, k, v = (chunked(x, size) for x in (q, k, torch.cat([v, ones], -1)))
    missing = -length % size
    lead = F.pad(lead, (0, missing), value=-torch.inf).unflatten(2, (-1, size))
    top = torch.cat([top, top[:, :, -1:].expand(-1, -1, missing)], 2).unflatten(2, (-1, size))
    ends = top[:, :, :, -1]
    starts = torch.cat([torch.zeros_like(ends[:, :, :1]), ends[:, :, :-1]], 2)
    mask = torch.ones(size, size, dtype=torch.bool).tril()
    weights = (lead.unsqueeze(-2) - top.unsqueeze(-1)).masked_fill(~mask, -torch.inf).exp()
    inside = ((q @ k.transpose(-1, -2)) * weights) @ v
    writes = (k * (lead - ends.unsqueeze(-1)).exp().unsqueeze(-1)).transpose(-1, -2) @ v
    keep = (starts - ends).exp()[..., None, None]
    state, entries = torch.zeros_like(writes[:, :, 0]), []
    for n in range(q.shape[2]):
        entries.append(state)
        state = keep[:, :, n] * state + writes[:, :, n]
    q_in = q * (starts.unsqueeze(-1) - top).exp().unsqueeze(-1)
    both = (inside + q_in @ torch.stack(entries, 2)).flatten(2, 3)[:, :, :length]
    num, den = both[..., :-1], both[..., -1:]
    return num / torch.maximum(den.abs(), floor)


def scan(a, x):
    """h = a h + x element-wise along dimension 1: inside of all chunks at once, then over the chunks' ends."""
    length = x.shape[1]
    size = max(1, round(math.sqrt(length)))
    missing = -length % size
    if missing:
        pad = (0, 0, 0, missing)
        a, x = F.pad(a, pad, value=1.0), F.pad(x, pad)
    a, x = a.unflatten(1, (-1, size)), x.unflatten(1, (-1, size))
    h, p = [x[:, :, 0]], [a[:, :, 0]]
    for t in range(1, size):
        h.append(a[:, :, t] * h[-1] + x[:, :, t])
        p.append(a[:, :, t] * p[-1])
    h, p = torch.stack(h, 2), torch.stack(p, 2)
    entry, entries = torch.zeros_like(h[:, 0, 0]), []
    for n in range(h.shape[1]):
        entries.append(entry)
        entry = p[:, n, -1] * entry + h[:, n, -1]
    return (h + p * torch.stack(entries, 1).unsqueeze(2)).flatten(1, 2)[:, :length]


# ---- mixers; `paths` says which of archc's parameters is which


class Attention(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D, bias=False) for _ in range(4))

    def paths(self):
        return {
            "q.linear.weight": self.q.weight,
            "k.linear.weight": self.k.weight,
            "v.linear.weight": self.v.weight,
            "output.linear.weight": self.o.weight,
        }

    def forward(self, x):
        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        half = q.shape[-1] // 2
        angle = torch.arange(x.shape[1]).unsqueeze(1) * 10000.0 ** (-torch.arange(half) / half)
        cos, sin = angle.cos(), angle.sin()

        def turn(y):
            a, b = y.split(half, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

        o = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        return self.o(tokens(o).flatten(2))


class GLA(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.q, self.k, self.v, self.gate, self.o = (nn.Linear(D, D, bias=False) for _ in range(5))
        self.a1, self.a2 = nn.Linear(D, 16, bias=False), nn.Linear(16, D)
        self.norm = RMSNorm(D // HEADS)

    def paths(self):
        return {
            "q.linear.weight": self.q.weight,
            "k.linear.weight": self.k.weight,
            "v.linear.weight": self.v.weight,
            "a.linear.weight": self.a1.weight,
            "a.linear_2.weight": self.a2.weight,
            "a.linear_2.bias": self.a2.bias,
            "gate.linear.weight": self.gate.weight,
            "output.swish_gate.rmsnorm.weight": self.norm.weight,
            "output.linear.weight": self.o.weight,
        }

    def forward(self, x):
        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        g = heads(F.logsigmoid(self.a2(self.a1(x)))) / 16
        o = tokens(gla(q * q.shape[-1] ** -0.5, k, v, g))
        return self.o(self.norm(o).flatten(2) * F.silu(self.gate(x)))


class Delta(nn.Module):
    """What all delta rules share: convolved, normed queries and keys, convolved values, a strength."""

    def __init__(self, D, V):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(D, D, bias=False), nn.Linear(D, D, bias=False), nn.Linear(D, V, bias=False)
        self.conv_q, self.conv_k, self.conv_v = Conv(D, 4), Conv(D, 4), Conv(V, 4)
        self.beta = nn.Linear(D, HEADS, bias=False)
        self.norm = RMSNorm(V // HEADS)
        self.o = nn.Linear(V, D, bias=False)

    def shared_paths(self):
        return {
            "q.linear.weight": self.q.weight,
            "q.conv.linear.weight": self.conv_q.weight,
            "k.linear.weight": self.k.weight,
            "k.conv.linear.weight": self.conv_k.weight,
            "v.linear.weight": self.v.weight,
            "v.conv.linear.weight": self.conv_v.weight,
            "beta.linear.weight": self.beta.weight,
            "output.linear.weight": self.o.weight,
        }

    def operands(self, x):
        q = l2norm(heads(F.silu(self.conv_q(self.q(x)))))
        k = l2norm(heads(F.silu(self.conv_k(self.k(x)))))
        v = heads(F.silu(self.conv_v(self.v(x))))
        return q, k, v, self.beta(x).sigmoid().transpose(1, 2)


class DeltaNet(Delta):
    def __init__(self, D):
        super().__init__(D, D)

    def paths(self):
        return {**self.shared_paths(), "output.rmsnorm.weight": self.norm.weight}

    def forward(self, x):
        q, k, v, beta = self.operands(x)
        o = tokens(delta(q * q.shape[-1] ** -0.5, k, v, beta))
        return self.o(self.norm(o).flatten(2))


class GatedDeltaNet(Delta):
    def __init__(self, D):
        super().__init__(D, 2 * D)
        self.a, self.gate = nn.Linear(D, HEADS, bias=False), nn.Linear(D, 2 * D, bias=False)
        self.A_log, self.dt_bias = nn.Parameter(torch.empty(HEADS)), nn.Parameter(torch.empty(HEADS))

    def paths(self):
        return {
            **self.shared_paths(),
            "A_log": self.A_log,
            "dt_bias": self.dt_bias,
            "a.linear.weight": self.a.weight,
            "gate.linear.weight": self.gate.weight,
            "output.swish_gate.rmsnorm.weight": self.norm.weight,
        }

    def forward(self, x):
        q, k, v, beta = self.operands(x)
        g = (-self.A_log.exp() * F.softplus(self.a(x) + self.dt_bias)).transpose(1, 2)
        o = tokens(delta(q * q.shape[-1] ** -0.5, k, v, beta, g))
        return self.o(self.norm(o).flatten(2) * F.silu(self.gate(x)))


class KDA(Delta):
    def __init__(self, D):
        super().__init__(D, D)
        R = D // HEADS
        self.s1, self.s2 = nn.Linear(D, R, bias=False), nn.Linear(R, D, bias=False)
        self.g1, self.g2 = nn.Linear(D, R, bias=False), nn.Linear(R, D)
        self.A_log, self.dt_bias = nn.Parameter(torch.empty(HEADS)), nn.Parameter(torch.empty(D))

    def paths(self):
        return {
            **self.shared_paths(),
            "A_log": self.A_log,
            "dt_bias": self.dt_bias,
            "step_size.linear.weight": self.s1.weight,
            "step_size.linear_2.weight": self.s2.weight,
            "gate.linear.weight": self.g1.weight,
            "gate.linear_2.weight": self.g2.weight,
            "gate.linear_2.bias": self.g2.bias,
            "output.rmsnorm.weight": self.norm.weight,
        }

    def forward(self, x):
        q, k, v, beta = self.operands(x)
        g = -self.A_log.exp()[:, None, None] * heads(F.softplus(self.s2(self.s1(x)) + self.dt_bias))
        # exp(-G) stands alone here, so that chunks are short enough for float32
        o = tokens(delta(q * q.shape[-1] ** -0.5, k, v, beta, g, size=32))
        return self.o(self.norm(o).flatten(2) * self.g2(self.g1(x)).sigmoid())


class MLSTM(nn.Module):
    def __init__(self, D):
        super().__init__()
        V = 2 * D // HEADS
        self.up, self.gate, self.o = nn.Linear(D, 2 * D, bias=False), nn.Linear(D, 2 * D, bias=False), nn.Linear(2 * D, D, bias=False)
        self.conv = Conv(2 * D, 4, bias=True)
        self.q, self.k, self.v = PerHead(HEADS, V, V), PerHead(HEADS, V, V), PerHead(HEADS, V, V)
        self.i, self.f = nn.Linear(6 * D, HEADS), nn.Linear(6 * D, HEADS)
        self.skip = nn.Parameter(torch.empty(2 * D))
        self.norm_weight, self.norm_bias = nn.Parameter(torch.empty(2 * D)), nn.Parameter(torch.empty(2 * D))

    def paths(self):
        found = {
            "up.linear.weight": self.up.weight,
            "c.conv.linear.weight": self.conv.weight,
            "c.conv.linear.bias": self.conv.bias,
            "q.linear.weight": self.q.weight,
            "k.linear.weight": self.k.weight,
            "v.linear.weight": self.v.weight,
            "i.linear.bias": self.i.bias,
            "f.linear.bias": self.f.bias,
            "skip": self.skip,
            "gate.linear.weight": self.gate.weight,
            "output.groupnorm.weight": self.norm_weight,
            "output.groupnorm.bias": self.norm_bias,
            "output.linear.weight": self.o.weight,
        }
        # archc keeps a weight for each operand of these; here they are columns of one matrix.
        for name, layer in (("i", self.i), ("f", self.f)):
            for n, part in enumerate(layer.weight.chunk(3, 1)):
                found[f"{name}.linear.weight_{n}"] = part
        return found

    def forward(self, x):
        up = self.up(x)
        c = F.silu(self.conv(up))
        per = c.unflatten(-1, (HEADS, -1))
        q, k, v = self.q(per), self.k(per) * per.shape[-1] ** -0.5, self.v(up.unflatten(-1, (HEADS, -1)))
        qkv = torch.cat([q, k, v], 2).flatten(2)
        i, f = self.i(qkv), F.logsigmoid(self.f(qkv))
        o = tokens(mlstm(tokens(q), tokens(k), tokens(v), i.transpose(1, 2), f.transpose(1, 2)))
        o = F.layer_norm(o, o.shape[-1:], eps=1e-5).flatten(2) * self.norm_weight + self.norm_bias
        return self.o((o + self.skip * c) * F.silu(self.gate(x)))


class RGLRU(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.u, self.gate, self.o = (nn.Linear(D, D, bias=False) for _ in range(3))
        self.conv = Conv(D, 4, bias=True)
        self.r, self.i = PerHead(HEADS, D // HEADS, D // HEADS, True), PerHead(HEADS, D // HEADS, D // HEADS, True)
        self.rate = nn.Parameter(torch.empty(D))

    def paths(self):
        return {
            "u.linear.weight": self.u.weight,
            "u.conv.linear.weight": self.conv.weight,
            "u.conv.linear.bias": self.conv.bias,
            "r.linear.weight": self.r.weight,
            "r.linear.bias": self.r.bias,
            "i.linear.weight": self.i.weight,
            "i.linear.bias": self.i.bias,
            "rate": self.rate,
            "gate.linear.weight": self.gate.weight,
            "output.linear.weight": self.o.weight,
        }

    def forward(self, x):
        u = self.conv(self.u(x))
        per = u.unflatten(-1, (HEADS, -1))
        r, i = self.r(per).flatten(2).sigmoid(), self.i(per).flatten(2).sigmoid()
        log_a = -8 * F.softplus(self.rate) * r
        size = torch.sqrt(-torch.expm1(2 * log_a))
        size = torch.cat([torch.ones_like(size[:, :1]), size[:, 1:]], 1)
        return self.o(scan(log_a.exp(), size * i * u) * F.gelu(self.gate(x)))


class ContentSharpRouter(Delta):
    def __init__(self, D):
        super().__init__(D, D)
        self.short, self.long = Conv(D, 3), Conv(D, 25)
        self.feature = nn.Linear(D, D // 2)
        self.from_feature, self.from_stats = nn.Linear(D // 2, 4), nn.Linear(8, 4, bias=False)
        self.temperature = nn.Parameter(torch.empty(HEADS))

    def paths(self):
        return {
            **self.shared_paths(),
            "short.fir.conv.linear.weight": self.short.weight,
            "long.fir.conv.linear.weight": self.long.weight,
            "feature.linear.weight": self.feature.weight,
            "feature.linear.bias": self.feature.bias,
            "logits.linear.weight_0": self.from_feature.weight,
            "logits.linear.weight_1": self.from_stats.weight,
            "logits.linear.bias": self.from_feature.bias,
            "route.temperature.temp": self.temperature,
            "output.rmsnorm.weight": self.norm.weight,
        }

    def forward(self, x):
        q, k, v, beta = self.operands(x)
        flat = tokens(v).flatten(2)
        own = lambda y: y.unflatten(-1, (HEADS, -1))
        paths = torch.stack([own(self.short(flat)), own(self.long(flat)), tokens(delta(q, k, v, beta)), own(flat)], 3)
        stats = torch.stack([paths.mean(-1), paths.std(-1)], -1).flatten(3)
        logits = self.from_feature(F.silu(self.feature(x))).unsqueeze(2) + self.from_stats(stats)
        route = (logits * (F.softplus(self.temperature) + 1e-4).unsqueeze(-1)).softmax(-1)
        # the penalty fades over 30000 steps, of which a measurement sees the first few
        self.penalty = 0.02 * -(route * (route + 1e-8).log()).sum(-1).mean()
        o = (route.unsqueeze(-1) * paths).sum(3)
        return self.o(self.norm(o).flatten(2))


# ---- the standard stack


class Layer(nn.Module):
    def __init__(self, D, mixer):
        super().__init__()
        self.mixer_norm, self.mixer, self.mlp_norm = RMSNorm(D), mixer(D), RMSNorm(D)
        self.gate, self.up, self.down = nn.Linear(D, 4 * D, bias=False), nn.Linear(D, 4 * D, bias=False), nn.Linear(4 * D, D, bias=False)

    def paths(self):
        return {
            "mixer_norm.weight": self.mixer_norm.weight,
            "mlp_norm.weight": self.mlp_norm.weight,
            "mlp.gate.linear.weight": self.gate.weight,
            "mlp.up.linear.weight": self.up.weight,
            "mlp.linear.weight": self.down.weight,
            **{f"mixer.{path}": param for path, param in self.mixer.paths().items()},
        }

    def forward(self, x):
        x = x + self.mixer(self.mixer_norm(x))
        y = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Stack(nn.Module):
    def __init__(self, vocab, D, layers, mixer):
        super().__init__()
        self.embedding = nn.Embedding(vocab, D)
        self.layers = nn.ModuleList(Layer(D, mixer) for _ in range(layers))
        self.norm = RMSNorm(D)

    def paths(self):
        found = {"embedding.embed.weight": self.embedding.weight, "output.norm.weight": self.norm.weight}
        for n, layer in enumerate(self.layers):
            found.update({f"layers.{n}.{path}": param for path, param in layer.paths().items()})
        return found

    def load(self, weights):
        found = self.paths()
        if set(found) != set(weights):
            sys.exit(f"the weights have other parameters: {sorted(set(found) ^ set(weights))}")
        with torch.no_grad():
            for path, param in found.items():
                param.copy_(weights[path].reshape(param.shape))

    def forward(self, ids, targets):
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        logits = self.norm(x) @ self.embedding.weight.T
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return loss, sum((layer.mixer.penalty for layer in self.layers if hasattr(layer.mixer, "penalty")), loss)


MIXERS = {
    m.__name__: m for m in (Attention, GLA, DeltaNet, GatedDeltaNet, KDA, MLSTM, RGLRU, ContentSharpRouter)
}


def optimizer(model, rate):
    """archc's AdamW: only weights of linear and conv decay."""
    decays = lambda name: name.endswith("weight") and "norm" not in name and "embedding" not in name
    decayed = [p for n, p in model.named_parameters() if decays(n)]
    rest = [p for n, p in model.named_parameters() if not decays(n)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), eps=1e-8, fused=True)


def measure(model, run, batch, args):
    """First loss, objective and gradient norm, seconds until the first step was done, median seconds of a step."""
    adam = optimizer(model, args.rate)
    now = CLOCKS[args.clock]

    def step():
        loss, objective = run(*batch)
        objective.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        return loss.item(), objective.item(), norm.item()

    began = now()
    first = step()
    ready = now() - began
    # compiled code may settle over the next steps
    for _ in range(3):
        last = step()
    taken, began = [], now()
    while len(taken) < 5 or now() - began < args.seconds:
        at = now()
        last = step()
        taken.append(now() - at)
    return {
        "loss": first[0],
        "objective": first[1],
        "gradient_norm": first[2],
        "last_loss": last[0] if math.isfinite(last[0]) else None,
        "first_step_seconds": ready,
        "step_seconds": statistics.median(taken),
        "fastest_step_seconds": min(taken),
        "steps": len(taken),
    }


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def product_seconds(m, n, k, a_transposed, b_transposed, seconds, now):
    """Seconds of one [m, k] x [k, n] in f32, the fastest of rounds of a millisecond or more; "transposed" is how an operand is stored."""
    a = torch.rand(k, m).t() if a_transposed else torch.rand(m, k)
    b = torch.rand(n, k).t() if b_transposed else torch.rand(k, n)
    c = torch.empty(m, n)
    calls, best, ends = 1, math.inf, now() + seconds
    while now() < ends or best == math.inf:
        began = now()
        for _ in range(calls):
            torch.mm(a, b, out=c)
        took = now() - began
        if took < 1e-3:
            calls *= 2
        else:
            best = min(best, took / calls)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", help="time matrix products instead: m,n,k,ta,tb;... (ta, tb: 1 if stored transposed)")
    parser.add_argument("--block", choices=sorted(MIXERS))
    parser.add_argument("--width", type=int, help="D")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--weights", help="safetensors by archc's paths")
    parser.add_argument("--batch", help="safetensors: tokens and targets [B, T]")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    parser.add_argument("--clock", default="wall", choices=sorted(CLOCKS), help="which time counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--modes", default="eager", help="eager, compile, or both with a comma")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    if args.products:
        now = CLOCKS[args.clock]
        for product in args.products.split(";"):
            print(product_seconds(*map(int, product.split(",")), args.seconds, now), flush=True)
        return
    needed = ["block", "width", "layers", "vocab", "weights", "batch"]
    if missing := [name for name in needed if getattr(args, name) is None]:
        parser.error("wanted: " + ", ".join(f"--{name}" for name in missing))
    torch.manual_seed(0)
    weights = load_file(args.weights)
    given = load_file(args.batch)
    batch = (given["tokens"].long(), given["targets"].long())
    for mode in args.modes.split(","):
        model = Stack(args.vocab, args.width, args.layers, MIXERS[args.block])
        model.load(weights)
        result = {"mode": mode, "torch": torch.__version__}
        try:
            result.update(measure(model, torch.compile(model) if mode == "compile" else model, batch, args))
        except Exception as error:  # whatever torch.compile stumbles over is a result too
            result["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
