//! Ops along axes that need a whole row at once: max, variance, softmax, sort and similar ones.
//!
//! The axes are brought to the end, so that every op is a function of one contiguous row.

use super::kernels::{Held, Real, View, dispatch, tensor};
use super::value::{Dim, Value};
use archc_compiler::graph::ReduceOp;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage};
use std::cmp::Ordering;

/// The function applied to a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowOp {
    /// A reduction to one number; not `Sum` or `Mean`, which need no rows.
    Reduce(ReduceOp),
    Softmax,
    Sparsemax,
    Cumsum,
    Sort,
    TopK(usize),
}

impl RowOp {
    fn reduces(self) -> bool {
        matches!(self, Self::Reduce(_))
    }
}

/// Applies a row op over these dimensions taken together, row-major in this order.
pub(crate) fn rows(op: RowOp, x: &Value, over: &[Dim]) -> Result<Value> {
    // A value that is constant along an axis may lack it; it is added here, since the row's length counts.
    let here: Vec<Dim> = over.iter().copied().filter(|&d| x.has(d)).collect();
    let x = x.with_last(&here)?;
    let kept = x.dims.len() - here.len();
    let rows = Rows { op, kept };
    let tensor = if x.tracked() { x.tensor.apply_op1(rows)? } else { x.tensor.apply_op1_no_bwd(&rows)? };
    let dims = if op.reduces() { x.dims[..kept].to_vec() } else { x.dims };
    Ok(Value::new(tensor, dims))
}

struct Rows {
    op: RowOp,
    /// Number of leading dimensions, which index the rows.
    kept: usize,
}

impl CustomOp1 for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dims = layout.dims();
        let n = dims[self.kept..].iter().product::<usize>();
        let shape = if self.op.reduces() { &dims[..self.kept] } else { dims };
        dispatch!(x, T => {
            let x = View::<T>::of(x, layout)?.dense();
            let mut out = vec![T::default(); shape.iter().product()];
            let width = if self.op.reduces() { 1 } else { n };
            x.chunks_exact(n).zip(out.chunks_exact_mut(width)).for_each(|(x, y)| forward(self.op, x, y));
            Ok((T::to_cpu_storage_owned(out), shape.into()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let n = x.dims()[self.kept..].iter().product::<usize>();
        let width = if self.op.reduces() { 1 } else { n };
        dispatch!(x, T => {
            let (hx, hy, hg) = (Held::of(x), Held::of(y), Held::of(g));
            let (xs, ys, gs) = (hx.view::<T>()?.dense(), hy.view::<T>()?.dense(), hg.view::<T>()?.dense());
            let mut out = vec![T::default(); xs.len()];
            let rows = xs.chunks_exact(n).zip(ys.chunks_exact(width)).zip(gs.chunks_exact(width));
            rows.zip(out.chunks_exact_mut(n)).for_each(|(((x, y), g), dx)| backward(self.op, x, y, g, dx));
            tensor(out, x.shape()).map(Some)
        })
    }
}

fn mean_of<T: Real>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |s, &v| s + v) / T::of(x.len() as f64)
}

/// The divisor of a sum of squared deviations.
fn freedom<T: Real>(n: usize, sample: bool) -> T {
    T::of(if sample { n as f64 - 1.0 } else { n as f64 })
}

fn variance<T: Real>(x: &[T], sample: bool) -> T {
    let mean = mean_of(x);
    x.iter().fold(T::zero(), |s, &v| s + (v - mean) * (v - mean)) / freedom(x.len(), sample)
}

fn largest<T: Real>(x: &[T]) -> T {
    x.iter().skip(1).fold(x[0], |m, &v| if v > m || v.is_nan() { v } else { m })
}

fn smallest<T: Real>(x: &[T]) -> T {
    x.iter().skip(1).fold(x[0], |m, &v| if v < m || v.is_nan() { v } else { m })
}

/// Indices from the largest element to the smallest; equal ones in order.
pub(crate) fn descending<T: Real>(x: &[T]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    // 0 and -0 are equal, unlike in a total order.
    order.sort_by(|&i, &j| x[j].partial_cmp(&x[i]).unwrap_or_else(|| x[j].total_cmp(&x[i])));
    order
}

fn forward<T: Real>(op: RowOp, x: &[T], y: &mut [T]) {
    let zero = T::zero();
    match op {
        RowOp::Reduce(reduce) => y[0] = reduced(reduce, x),
        RowOp::Softmax => {
            let top = largest(x);
            let mut total = zero;
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (x - top).exp();
                total += *y;
            }
            y.iter_mut().for_each(|y| *y /= total);
        }
        RowOp::Sparsemax => {
            let threshold = sparsemax_threshold(x);
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > threshold { x - threshold } else { zero });
            if x.iter().any(|x| x.is_nan()) {
                y.fill(x.iter().fold(zero, |s, &v| s + v));
            }
        }
        RowOp::Cumsum => {
            let mut total = zero;
            for (y, &x) in y.iter_mut().zip(x) {
                total += x;
                *y = total;
            }
        }
        RowOp::Sort => y.iter_mut().zip(descending(x)).for_each(|(y, i)| *y = x[i]),
        RowOp::TopK(count) => descending(x).into_iter().take(count).for_each(|i| y[i] = x[i]),
    }
}

/// The indices of the middle two of `count` elements, which are equal for an odd count.
fn middle(count: usize) -> [usize; 2] {
    [(count - 1) / 2, count / 2]
}

fn reduced<T: Real>(op: ReduceOp, x: &[T]) -> T {
    match op {
        ReduceOp::Sum => x.iter().fold(T::zero(), |s, &v| s + v),
        ReduceOp::Mean => mean_of(x),
        ReduceOp::Max => largest(x),
        ReduceOp::Min => smallest(x),
        ReduceOp::Var { sample } => variance(x, sample),
        ReduceOp::Std { sample } => variance(x, sample).sqrt(),
        ReduceOp::Norm => x.iter().fold(T::zero(), |s, &v| s + v * v).sqrt(),
        ReduceOp::Median => {
            let order = descending(x);
            let [upper, lower] = middle(x.len()).map(|at| x[order[at]]);
            if x.len() % 2 == 1 { upper } else { (upper + lower) * T::of(0.5) }
        }
        ReduceOp::LogSumExp => {
            let top = largest(x);
            if top.abs() == T::of(f64::INFINITY) {
                return top;
            }
            x.iter().fold(T::zero(), |s, &v| s + (v - top).exp()).ln() + top
        }
    }
}

/// tau with sum max(x - tau, 0) = 1 (arXiv 1602.02068, algorithm 1).
fn sparsemax_threshold<T: Real>(x: &[T]) -> T {
    let (mut total, mut threshold) = (T::zero(), T::zero());
    for (i, &at) in descending(x).iter().enumerate() {
        let count = T::of(i as f64 + 1.0);
        total += x[at];
        if i == 0 || T::one() + count * x[at] > total {
            threshold = (total - T::one()) / count;
        } else {
            break;
        }
    }
    threshold
}

fn backward<T: Real>(op: RowOp, x: &[T], y: &[T], g: &[T], dx: &mut [T]) {
    let zero = T::zero();
    match op {
        RowOp::Reduce(reduce) => reduce_backward(reduce, x, y[0], g[0], dx),
        RowOp::Softmax => {
            let dot = y.iter().zip(g).fold(zero, |s, (&y, &g)| s + y * g);
            dx.iter_mut().zip(y.iter().zip(g)).for_each(|(d, (&y, &g))| *d = y * (g - dot));
        }
        RowOp::Sparsemax => {
            let support = || y.iter().zip(g).filter(|(y, _)| **y > zero);
            let count = T::of(support().count() as f64);
            let mean = support().fold(zero, |s, (_, &g)| s + g) / count;
            dx.iter_mut().zip(y.iter().zip(g)).for_each(|(d, (&y, &g))| *d = if y > zero { g - mean } else { zero });
        }
        RowOp::Cumsum => {
            let mut total = zero;
            for (d, &g) in dx.iter_mut().zip(g).rev() {
                total += g;
                *d = total;
            }
        }
        RowOp::Sort => descending(x).into_iter().zip(g).for_each(|(i, &g)| dx[i] = g),
        RowOp::TopK(count) => descending(x).into_iter().take(count).for_each(|i| dx[i] = g[i]),
    }
}

fn reduce_backward<T: Real>(op: ReduceOp, x: &[T], y: T, g: T, dx: &mut [T]) {
    let zero = T::zero();
    match op {
        ReduceOp::Sum => dx.fill(g),
        ReduceOp::Mean => dx.fill(g / T::of(x.len() as f64)),
        ReduceOp::Max | ReduceOp::Min => {
            let share = g / T::of(x.iter().filter(|&&v| v == y).count() as f64);
            dx.iter_mut().zip(x).for_each(|(d, &x)| *d = if x == y { share } else { zero });
        }
        ReduceOp::Var { sample } => {
            let (mean, scale) = (mean_of(x), g * T::of(2.0) / freedom(x.len(), sample));
            dx.iter_mut().zip(x).for_each(|(d, &x)| *d = scale * (x - mean));
        }
        ReduceOp::Std { sample } if y.partial_cmp(&zero) != Some(Ordering::Equal) => {
            let (mean, scale) = (mean_of(x), g / (y * freedom(x.len(), sample)));
            dx.iter_mut().zip(x).for_each(|(d, &x)| *d = scale * (x - mean));
        }
        ReduceOp::Norm if y != zero => dx.iter_mut().zip(x).for_each(|(d, &x)| *d = g * x / y),
        // At 0 the gradient is defined as 0, which `dx` already is.
        ReduceOp::Std { .. } | ReduceOp::Norm => {}
        ReduceOp::Median => {
            let order = descending(x);
            middle(x.len()).into_iter().for_each(|at| dx[order[at]] += g * T::of(0.5));
        }
        ReduceOp::LogSumExp if y.abs() == T::of(f64::INFINITY) => {}
        ReduceOp::LogSumExp => dx.iter_mut().zip(x).for_each(|(d, &x)| *d = g * (x - y).exp()),
    }
}
