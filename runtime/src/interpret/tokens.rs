//! Ops over tokens: embeddings, dropout, cross-entropy, windows and long convolutions, as plain loops.

use super::{Frame, Scope, name};
use crate::random::{Stream, dropout_key, token_number};
use crate::reference::binary::binary;
use crate::reference::kernels::host;
use crate::reference::loss::partition;
use crate::reference::value::{Dim, Value};
use archc_compiler::graph::BinaryOp;
use archc_compiler::lowered::{BATCH, DimId, Extent, TIME};
use candle_core::{Result, bail};

/// Elements `[B, T, rest]`, and the rest with its lengths.
type ByToken = (Vec<f64>, Vec<(Dim, usize)>);

impl Frame<'_> {
    /// Batch and time with their lengths.
    fn tokens(&self) -> [(Dim, usize); 2] {
        [(name(BATCH), self.shape.batch), (name(TIME), self.shape.len)]
    }

    /// Copies a value to the host as `[B, T, rest]`, broadcast along batch and time where it lacks them.
    fn by_token(&self, x: &Value) -> Result<ByToken> {
        let rest: Vec<(Dim, usize)> = rest(x, &[name(BATCH), name(TIME)]);
        Ok((host(&x.expanded(&[&self.tokens(), rest.as_slice()].concat())?.tensor)?, rest))
    }

    fn built(&self, data: Vec<f64>, order: &[(Dim, usize)]) -> Result<Value> {
        let (dims, shape) = order.iter().copied().unzip();
        Value::constant(data, shape, dims, self.dtype)
    }

    /// Whether a dimension is one of tokens: those of the sequence, or all known ones.
    pub(super) fn is_time(&self, dim: Dim) -> bool {
        let Dim::Axis(a) = dim else { return false };
        let dim = self.graph.dim(DimId(a.0));
        dim.rank == 2 && matches!(dim.extent, Extent::Time | Extent::Known(_))
    }

    /// The token `lag` before this one, if both are in the same document and in this piece.
    fn earlier(&self, token: usize, lag: usize) -> Option<usize> {
        let t = token % self.shape.len;
        (lag <= t && lag <= self.leaves.pos[token] as usize).then(|| token - lag)
    }
}

fn rest(x: &Value, without: &[Dim]) -> Vec<(Dim, usize)> {
    x.dims.iter().filter(|d| !without.contains(d)).map(|&d| (d, x.size(d))).collect()
}

fn width(order: &[(Dim, usize)]) -> usize {
    order.iter().map(|o| o.1).product()
}

/// The cotangent of an output; zeros where none is given.
pub(super) fn cotangent(frame: &Frame<'_>, scope: &Scope<'_>, output: usize, dims: &[DimId]) -> Vec<f64> {
    match frame.leaves.cotangents.get(output) {
        Some(r) if !r.data.is_empty() => r.data.clone(),
        _ => vec![0.0; dims.iter().map(|&d| frame.size(scope, d)).product()],
    }
}

pub(super) fn embed(frame: &Frame<'_>, vocab: Dim, table: &Value, prefix: Option<&Value>) -> Result<Value> {
    let columns = rest(table, &[vocab]);
    let rows = |x: &Value, first: (Dim, usize)| host(&x.expanded(&[&[first], columns.as_slice()].concat())?.tensor);
    let words = table.size(vocab);
    let mut all = rows(table, (vocab, words))?;
    if let Some(prefix) = prefix {
        let Some(&m) = rest(prefix, &columns.iter().map(|c| c.0).collect::<Vec<_>>()).first() else {
            bail!("a prefix without tokens")
        };
        all.extend(rows(prefix, m)?);
    }
    let w = width(&columns);
    // A second table of a model with a prefix has no rows for the prefix's tokens: they are zeros.
    let zeros = vec![0.0; w];
    let row = |&id: &u32| all.get(id as usize * w..(id as usize + 1) * w).unwrap_or(&zeros);
    let data = frame.leaves.ids.iter().flat_map(row).copied().collect();
    frame.built(data, &[&frame.tokens(), columns.as_slice()].concat())
}

pub(super) fn scatter(frame: &Frame<'_>, of: Dim, size: usize, first: usize, dy: &Value) -> Result<Value> {
    let (data, columns) = frame.by_token(dy)?;
    let w = width(&columns);
    let mut out = vec![0.0; size * w];
    for (row, &id) in data.chunks_exact(w).zip(&frame.leaves.ids) {
        if let Some(row_of) = (id as usize).checked_sub(first).filter(|&r| r < size) {
            out[row_of * w..(row_of + 1) * w].iter_mut().zip(row).for_each(|(o, d)| *o += d);
        }
    }
    frame.built(out, &[&[(of, size)], columns.as_slice()].concat())
}

/// Dropout with the numbers that the reference device draws: one stream per token, its numbers in the order of the axes.
///
/// The index of a token follows from the value's own dimensions and the current indices of the enclosing loops.
pub(super) fn dropout(frame: &Frame<'_>, scope: &Scope<'_>, path: &str, x: &Value, p: &Value) -> Result<Value> {
    let Some(seed) = frame.leaves.dropout else { return Ok(x.clone()) };
    let p = host(&p.tensor)?[0];
    if p <= 0.0 {
        return Ok(x.clone());
    }
    let keep = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    let step = frame.leaves.step;
    let mut stream = Stream::of(dropout_key(seed, step, path));
    let of = |d: &Dim| match d {
        Dim::Axis(a) => DimId(a.0),
        _ => BATCH,
    };
    let mut dims: Vec<DimId> = x.dims.iter().map(of).collect();
    frame.graph.order(&mut dims);
    let order = frame.order(scope, &dims);
    let per_token = dims.iter().filter(|d| frame.graph.dim(**d).rank < 4).count();
    let a_token = width(&order[per_token..]);
    let mut mask = Vec::with_capacity(width(&order));
    for outer in 0..width(&order[..per_token]) {
        let mut at = scope.at.clone();
        let mut left = outer;
        for (&d, &(_, n)) in dims[..per_token].iter().zip(&order[..per_token]).rev() {
            at.push((d, left % n));
            left /= n;
        }
        stream.seek(token_number(frame.graph, frame.shape.len, &at) as u64);
        mask.extend((0..a_token).map(|_| if stream.uniform_short() < p { 0.0 } else { keep }));
    }
    binary(BinaryOp::Mul, x, &frame.built(mask, &order)?)
}

/// The tokens of nonzero weight: index, target and weight.
fn counted<'a>(frame: &'a Frame<'_>) -> impl Iterator<Item = (usize, usize, f64)> + 'a {
    let leaves = frame.leaves;
    let each = leaves.targets.iter().zip(&leaves.weights).enumerate();
    each.map(|(i, (&target, &weight))| (i, target as usize, weight)).filter(|t| t.2 != 0.0)
}

pub(super) fn cross_entropy(frame: &Frame<'_>, scope: &Scope<'_>, vocab: DimId, logits: &Value) -> Result<Value> {
    let n = frame.size(scope, vocab);
    let data = host(&logits.expanded(&[&frame.tokens()[..], &[(name(vocab), n)]].concat())?.tensor)?;
    let mut total = 0.0;
    for (i, target, weight) in counted(frame) {
        let row = &data[i * n..(i + 1) * n];
        let (top, sum) = partition(row);
        total += weight * (sum.ln() + top - row[target]);
    }
    Value::scalar(total, frame.dtype)
}

pub(super) fn cross_entropy_grad(
    frame: &Frame<'_>,
    scope: &Scope<'_>,
    vocab: DimId,
    logits: &Value,
    g: &Value,
) -> Result<Value> {
    let n = frame.size(scope, vocab);
    let order = [&frame.tokens()[..], &[(name(vocab), n)]].concat();
    let data = host(&logits.expanded(&order)?.tensor)?;
    let g = host(&g.tensor)?[0];
    let mut out = vec![0.0; data.len()];
    for (i, target, weight) in counted(frame) {
        let row = &data[i * n..(i + 1) * n];
        let (top, sum) = partition(row);
        for (d, x) in out[i * n..(i + 1) * n].iter_mut().zip(row) {
            *d = g * weight * (x - top).exp() / sum;
        }
        out[i * n + target] -= g * weight;
    }
    frame.built(out, &order)
}

/// A window: x at the lags; `carried` are the tokens before the piece.
pub(super) fn window(
    frame: &Frame<'_>,
    x: &Value,
    carried: Option<&Value>,
    dim: Dim,
    count: usize,
    step: usize,
) -> Result<Value> {
    let (data, columns) = frame.by_token(x)?;
    let w = width(&columns);
    let (mut before, mut tail) = (Vec::new(), 0);
    if let Some(carried) = carried {
        let known: Vec<Dim> = columns.iter().map(|c| c.0).chain([name(BATCH)]).collect();
        let time = rest(carried, &known);
        tail = width(&time);
        before =
            host(&carried.expanded(&[&frame.tokens()[..1], time.as_slice(), columns.as_slice()].concat())?.tensor)?;
    }
    let mut out = vec![0.0; data.len() * count];
    for (i, pos) in frame.leaves.pos.iter().enumerate() {
        let (b, t) = (i / frame.shape.len, i % frame.shape.len);
        for n in 0..count {
            let lag = n * step;
            let from = if lag > *pos as usize || lag > t + tail {
                continue;
            } else if lag <= t {
                &data[(i - lag) * w..]
            } else {
                &before[(b * tail + tail + t - lag) * w..]
            };
            out[(i * count + n) * w..(i * count + n + 1) * w].copy_from_slice(&from[..w]);
        }
    }
    frame.built(out, &[&frame.tokens()[..], &[(dim, count)], columns.as_slice()].concat())
}

/// The transpose of [`window`]: for each token, the sum of its entries in later windows.
pub(super) fn unwindow(frame: &Frame<'_>, dy: &Value, dim: Dim, step: usize) -> Result<Value> {
    let count = dy.size(dim);
    let columns = rest(dy, &[name(BATCH), name(TIME), dim]);
    let w = width(&columns);
    let data = host(&dy.expanded(&[&frame.tokens()[..], &[(dim, count)], columns.as_slice()].concat())?.tensor)?;
    let mut out = vec![0.0; data.len() / count];
    for i in 0..frame.leaves.pos.len() {
        for n in 0..count {
            if let Some(from) = frame.earlier(i, n * step) {
                let row = &data[(i * count + n) * w..(i * count + n + 1) * w];
                out[from * w..(from + 1) * w].iter_mut().zip(row).for_each(|(o, d)| *o += d);
            }
        }
    }
    frame.built(out, &[&frame.tokens()[..], columns.as_slice()].concat())
}

/// A filter `[lag, columns]` and its operand `[B, known tokens, columns]` on the host.
struct Filtered {
    filter: Vec<f64>,
    tokens: Vec<f64>,
    columns: Vec<(Dim, usize)>,
    /// Known tokens per sequence.
    known: usize,
}

impl Filtered {
    fn of(frame: &Frame<'_>, lag: Dim, filter: &Value, x: &Value) -> Result<Self> {
        let time = x.dims.iter().copied().find(|d| frame.is_time(*d)).unwrap_or(name(TIME));
        let known = if x.has(time) { x.size(time) } else { frame.shape.len };
        let without = [lag, name(BATCH), time];
        let columns: Vec<(Dim, usize)> =
            Value::union(&[filter, x]).into_iter().filter(|c| !without.contains(&c.0)).collect();
        let lags = [(lag, filter.size(lag))];
        let tokens = [(name(BATCH), frame.shape.batch), (time, known)];
        Ok(Self {
            filter: host(&filter.expanded(&[&lags, columns.as_slice()].concat())?.tensor)?,
            tokens: host(&x.expanded(&[&tokens, columns.as_slice()].concat())?.tensor)?,
            columns,
            known,
        })
    }
}

/// `y_t = sum over lags within the document of filter[lag] x_{t - lag}`.
pub(super) fn long_conv(frame: &Frame<'_>, lag: Dim, filter: &Value, x: &Value) -> Result<Value> {
    let Filtered { filter, tokens, columns, known } = Filtered::of(frame, lag, filter, x)?;
    let (w, len) = (width(&columns), frame.shape.len);
    let mut out = vec![0.0; frame.shape.batch * len * w];
    for (i, &pos) in frame.leaves.pos.iter().enumerate() {
        let (b, now) = (i / len, known - len + i % len);
        for (n, f) in filter.chunks_exact(w).enumerate().take(1 + now.min(pos as usize)) {
            let x = &tokens[(b * known + now - n) * w..][..w];
            out[i * w..(i + 1) * w].iter_mut().zip(f.iter().zip(x)).for_each(|(o, (f, x))| *o += f * x);
        }
    }
    frame.built(out, &[&frame.tokens()[..], columns.as_slice()].concat())
}

/// dx_s = sum over t >= s of filter[t - s] dy_t.
pub(super) fn long_conv_back(frame: &Frame<'_>, lag: Dim, filter: &Value, dy: &Value) -> Result<Value> {
    let Filtered { filter, tokens, columns, .. } = Filtered::of(frame, lag, filter, dy)?;
    let w = width(&columns);
    let mut out = vec![0.0; tokens.len()];
    for i in 0..frame.leaves.pos.len() {
        for (n, f) in filter.chunks_exact(w).enumerate() {
            let Some(from) = frame.earlier(i, n) else { break };
            let dy = &tokens[i * w..(i + 1) * w];
            out[from * w..(from + 1) * w].iter_mut().zip(f.iter().zip(dy)).for_each(|(o, (f, d))| *o += f * d);
        }
    }
    frame.built(out, &[&frame.tokens()[..], columns.as_slice()].concat())
}

/// `df[lag] = sum over tokens of x_{t - lag} dy_t`.
pub(super) fn long_conv_filter(frame: &Frame<'_>, lag: (Dim, usize), x: &Value, dy: &Value) -> Result<Value> {
    let columns: Vec<(Dim, usize)> =
        Value::union(&[x, dy]).into_iter().filter(|c| c.0 != name(BATCH) && c.0 != name(TIME)).collect();
    let order = [&frame.tokens()[..], columns.as_slice()].concat();
    let (x, dy) = (host(&x.expanded(&order)?.tensor)?, host(&dy.expanded(&order)?.tensor)?);
    let w = width(&columns);
    let mut out = vec![0.0; lag.1 * w];
    for i in 0..frame.leaves.pos.len() {
        for (n, o) in out.chunks_exact_mut(w).enumerate() {
            let Some(from) = frame.earlier(i, n) else { break };
            let each = x[from * w..(from + 1) * w].iter().zip(&dy[i * w..(i + 1) * w]);
            o.iter_mut().zip(each).for_each(|(o, (x, d))| *o += x * d);
        }
    }
    frame.built(out, &[&[lag], columns.as_slice()].concat())
}
