//! Pairwise memory: every present token with every past token, T x T.
//!
//! The past is one more dimension. Values that depend on the lag alone are computed once per lag and expanded over the
//! pairs when they are combined with other values, so a filter over lags costs O(T), not O(T^2), to compute.

use super::binary::select;
use super::contract::contract;
use super::eval::{Body, Frame, taken};
use super::kernels::{Held, Real, View, dispatch, host, tensor};
use super::moved::Draws;
use super::value::{Dim, Value};
use super::wiring::Wiring;
use archc_compiler::graph::{Attend, NodeId, Op, Weighing};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage,
};
use std::borrow::Cow;
use std::sync::Arc;

/// The present and the past of an attend.
pub(crate) struct Pairs {
    /// Carried tokens before the present piece.
    pub carried: usize,
    /// Present tokens.
    pub len: usize,
}

impl Pairs {
    fn known(&self) -> usize {
        self.carried + self.len
    }

    /// 0, 1, 2, ... along the lags.
    fn lag(&self, frame: &Frame<'_>) -> Result<Value> {
        let lags = (0..self.known()).map(|l| l as f64).collect();
        Value::constant(lags, vec![self.known()], vec![Dim::Lag], frame.dtype)
    }

    /// Expands a value that depends on the lag over the pairs; lags below 0 (never visible) repeat lag 0.
    pub fn spread(&self, x: &Value) -> Result<Value> {
        let Some(at) = x.position(Dim::Lag) else { return Ok(x.clone()) };
        let known = self.known();
        let lags = (0..self.len).flat_map(|t| (0..known).map(move |s| (self.carried + t).saturating_sub(s) as u32));
        let index = Tensor::from_vec(lags.collect(), self.len * known, x.tensor.device())?;
        let mut shape = x.tensor.dims().to_vec();
        shape.splice(at..=at, [self.len, known]);
        let mut dims = x.dims.clone();
        dims.splice(at..=at, [Dim::Time, Dim::Past]);
        Ok(Value::new(x.tensor.index_select(&index, at)?.reshape(shape)?, dims))
    }
}

/// Computes the emits of an attend. `pasts[i]` is capture i at the past tokens, carried ones first.
pub(crate) fn attend(
    frame: &Frame<'_>,
    attend: &Attend,
    wiring: &Wiring,
    captures: &[&Value],
    pasts: &[Value],
    pairs: &Pairs,
) -> Result<Vec<Value>> {
    let mut leaf = |_: NodeId, op: &Op| match op {
        Op::Capture(i) => Ok(Some(captures[*i].clone())),
        Op::Past(i) => Ok(Some(pasts[*i].clone())),
        Op::Lag => pairs.lag(frame).map(Some),
        _ => Ok(None),
    };
    let mut values = vec![None; attend.body.len()];
    let body = Body { dag: &attend.body, wiring, pairs: Some(pairs), time: None };
    body.evaluate(frame, &mut leaf, &mut values)?;
    let value = |id: NodeId| pairs.spread(taken(&values, id)?);

    let visible = attend.visible.map(value).transpose()?;
    let weights = match attend.weighing {
        Weighing::Score(score) => {
            let sink = attend.sink.map(value).transpose()?;
            softmax_over_past(frame, pairs, &value(score)?, visible.as_ref(), sink.as_ref())?
        }
        Weighing::Weight(weight) => {
            let weight = value(weight)?;
            let (order, mask) = visibility(frame, pairs, &[&weight], visible.as_ref())?;
            apply(&weight.expanded(&order)?, None, Masked { mask, kind: Kind::Plain, draws: None })?
        }
    };
    let weights = match &frame.moved {
        Some(moves) => moves.rounded(weights)?,
        None => weights,
    };
    let emit = |(_, e): &(String, NodeId)| {
        let emit = seen(&weights, value(*e)?)?;
        let weights = match &frame.moved {
            Some(moves) => moves.operand(&weights)?,
            None => Cow::Borrowed(&weights),
        };
        contract(&weights, &emit, &[Dim::Past])
    };
    attend.emits.iter().map(emit).collect()
}

/// Expands an emit that is not finite at some token to a value of pairs that is 0 where the weight is 0; other emits are returned
/// unchanged.
fn seen(weights: &Value, emit: Value) -> Result<Value> {
    if host(&emit.tensor)?.iter().all(|x| x.is_finite()) {
        return Ok(emit);
    }
    let zero = Value::scalar(0.0, emit.tensor.dtype())?;
    let weighed = Value::new(weights.tensor.detach(), weights.dims.clone());
    select(&weighed, &emit, &zero)
}

/// The nodes of a body that are read from outside of it.
pub(crate) fn roots(attend: &Attend) -> Vec<NodeId> {
    let weighing = match attend.weighing {
        Weighing::Score(n) | Weighing::Weight(n) => n,
    };
    let emits = attend.emits.iter().map(|&(_, e)| e);
    [Some(weighing), attend.visible, attend.sink].into_iter().flatten().chain(emits).collect()
}

/// Dimensions with their lengths.
type Order = Vec<(Dim, usize)>;

/// The dimensions of the weights, the past last, and for each weight whether its pair is visible.
fn visibility(
    frame: &Frame<'_>,
    pairs: &Pairs,
    values: &[&Value],
    condition: Option<&Value>,
) -> Result<(Order, Arc<[bool]>)> {
    let grid = &frame.tokens.grid;
    let known = pairs.known();
    // Without packed documents all sequences have the same mask, and values without a batch dimension stay without one.
    let alike = (0..grid.pos.len()).all(|i| grid.pos[i] == grid.pos[i % grid.len]);
    let mut all: Vec<&Value> = values.to_vec();
    all.extend(condition);
    let union = Value::union(&all);
    let mut order = Vec::new();
    if !alike || union.iter().any(|&(d, _)| d == Dim::Batch) {
        order.push((Dim::Batch, grid.batch));
    }
    order.push((Dim::Time, pairs.len));
    order.extend(union.iter().filter(|(d, _)| !matches!(d, Dim::Batch | Dim::Time | Dim::Past)));
    order.push((Dim::Past, known));
    let allowed = condition.map(|c| host(&c.expanded(&order)?.tensor)).transpose()?;
    let tokens: usize = order.iter().filter(|(d, _)| matches!(d, Dim::Batch | Dim::Time)).map(|&(_, n)| n).product();
    let repeat: usize = order[..order.len() - 1].iter().map(|&(_, n)| n).product::<usize>() / tokens;
    let mut mask = Vec::with_capacity(tokens * repeat * known);
    for row in 0..tokens * repeat {
        let token = row / repeat;
        let now = pairs.carried + token % pairs.len;
        let first = now.saturating_sub(grid.pos[token]);
        mask.extend((0..known).map(|s| s >= first && s <= now));
    }
    if let Some(allowed) = allowed {
        mask.iter_mut().zip(allowed).for_each(|(m, c)| *m &= c != 0.0);
    }
    Ok((order, mask.into()))
}

/// The softmax: exp(score) over the sum of those of visible pairs and of the sink.
fn softmax_over_past(
    frame: &Frame<'_>,
    pairs: &Pairs,
    score: &Value,
    visible: Option<&Value>,
    sink: Option<&Value>,
) -> Result<Value> {
    let operands: Vec<&Value> = [Some(score), sink].into_iter().flatten().collect();
    let (order, mask) = visibility(frame, pairs, &operands, visible)?;
    let score = score.expanded(&order)?;
    let sink = sink.map(|s| s.expanded(&order[..order.len() - 1])).transpose()?;
    let draws = frame.moved.as_ref().map(|moves| moves.stream());
    apply(&score, sink.as_ref(), Masked { mask, kind: Kind::Softmax, draws })
}

fn apply(x: &Value, sink: Option<&Value>, op: Masked) -> Result<Value> {
    let tensor = match sink {
        Some(sink) if x.tracked() || sink.tracked() => x.tensor.apply_op2(&sink.tensor, op)?,
        Some(sink) => x.tensor.apply_op2_no_bwd(&sink.tensor, &op)?,
        None if x.tracked() => x.tensor.apply_op1(op)?,
        None => x.tensor.apply_op1_no_bwd(&op)?,
    };
    Ok(Value::new(tensor, x.dims.clone()))
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Softmax,
    Plain,
}

/// Weights over the last dimension, 0 where the pair is not visible.
struct Masked {
    mask: Arc<[bool]>,
    kind: Kind,
    /// Perturbations, if there are any: in the backward pass, of the two terms whose difference is the gradient of a weight.
    draws: Option<Draws>,
}

impl Masked {
    fn forward<T: Real>(&self, x: View<T>, sink: Option<View<T>>) -> Vec<T> {
        let width = x.shape[x.shape.len() - 1];
        let (x, sink) = (x.dense(), sink.map(|s| s.dense()));
        let mut out = vec![T::default(); x.len()];
        for (r, (x, y)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            let mask = &self.mask[r * width..][..width];
            match self.kind {
                Kind::Plain => {
                    for ((y, &x), &seen) in y.iter_mut().zip(x).zip(mask) {
                        *y = if seen { x } else { T::zero() };
                    }
                }
                Kind::Softmax => {
                    weigh(x, mask, sink.as_ref().map(|s| s[r]), y);
                }
            }
        }
        out
    }

    fn backward<T: Real>(&self, y: &[T], g: &[T], width: usize, sinks: Option<(&[T], &mut [T])>, x: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); y.len()];
        let mut dots = vec![T::default(); y.len() / width];
        let mut units = self.draws.as_ref().map(Draws::units);
        let mut moved = |x: T| match &mut units {
            Some(units) => x * T::of(units.next().unwrap_or(1.0)),
            None => x,
        };
        for (r, (y, d)) in y.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
            let g = &g[r * width..][..width];
            let mask = &self.mask[r * width..][..width];
            match self.kind {
                Kind::Plain => {
                    for ((d, &g), &seen) in d.iter_mut().zip(g).zip(mask) {
                        *d = if seen { g } else { T::zero() };
                    }
                }
                Kind::Softmax => {
                    let dot = y.iter().zip(g).fold(T::zero(), |s, (&y, &g)| if y == T::zero() { s } else { s + y * g });
                    dots[r] = dot;
                    for ((d, &g), &y) in d.iter_mut().zip(g).zip(y) {
                        *d = if y == T::zero() { T::zero() } else { y * (moved(g) - moved(dot)) };
                    }
                }
            }
        }
        if let Some((sink, ds)) = sinks {
            let mut again = vec![T::zero(); width];
            for (r, (&sink, ds)) in sink.iter().zip(ds).enumerate() {
                let row = r * width..(r + 1) * width;
                *ds = -dots[r] * weigh(&x[row.clone()], &self.mask[row], Some(sink), &mut again);
            }
        }
        out
    }
}

/// y = exp(x) / (sum of the visible exp(x) + exp(sink)); y is unchanged where nothing is visible. Returns the weight of the sink.
fn weigh<T: Real>(x: &[T], mask: &[bool], sink: Option<T>, y: &mut [T]) -> T {
    let never = T::of(f64::NEG_INFINITY);
    let seen = || x.iter().zip(mask).filter(|(_, m)| **m).map(|(&x, _)| x);
    let top = seen().chain(sink).fold(never, |m, v| if v > m || v.is_nan() { v } else { m });
    if top == never {
        return T::zero();
    }
    let own = sink.map_or(T::zero(), |s| (s - top).exp());
    let mut total = own;
    for ((y, &x), &seen) in y.iter_mut().zip(x).zip(mask) {
        if seen {
            *y = (x - top).exp();
            total += *y;
        }
    }
    y.iter_mut().for_each(|y| *y /= total);
    own / total
}

impl CustomOp1 for Masked {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(x, T => {
            let y = self.forward(View::<T>::of(x, layout)?, None);
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(candle_core::D::Minus1)?;
        dispatch!(x, T => {
            let (hy, hg) = (Held::of(y), Held::of(g));
            let (ys, gs) = (hy.view::<T>()?.dense(), hg.view::<T>()?.dense());
            tensor(self.backward(&ys, &gs, width, None, &[]), x.shape()).map(Some)
        })
    }
}

impl CustomOp2 for Masked {
    fn name(&self) -> &'static str {
        "attend with a sink"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, sink: &CpuStorage, ls: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(x, T => {
            let y = self.forward(View::<T>::of(x, lx)?, Some(View::<T>::of(sink, ls)?));
            Ok((T::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, sink: &Tensor, y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = x.dim(candle_core::D::Minus1)?;
        dispatch!(x, T => {
            let (hx, hs, hy, hg) = (Held::of(x), Held::of(sink), Held::of(y), Held::of(g));
            let (xs, sinks) = (hx.view::<T>()?.dense(), hs.view::<T>()?.dense());
            let (ys, gs) = (hy.view::<T>()?.dense(), hg.view::<T>()?.dense());
            let mut ds = vec![T::default(); sinks.len()];
            let dx = self.backward(&ys, &gs, width, Some((&sinks, &mut ds)), &xs);
            Ok((Some(tensor(dx, x.shape())?), Some(tensor(ds, sink.shape())?)))
        })
    }
}
