//! Objectives: cross-entropy of the tokens, and means over the unmasked ones.

use super::binary::binary;
use super::contract::{contract, sum};
use super::kernels::{Held, Real, View, dispatch, tensor};
use super::value::{Dim, Value};
use archc_compiler::graph::{AxisId, BinaryOp};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage};
use std::sync::Arc;

/// The weighted mean over the tokens alone (masked ones have weight 0; the mean is 0 if none is unmasked).
pub(crate) fn token_mean(x: &Value, weights: &Value) -> Result<Value> {
    if !x.has(Dim::Batch) && !x.has(Dim::Time) {
        return Ok(x.clone());
    }
    let all = [(Dim::Batch, weights.size(Dim::Batch)), (Dim::Time, weights.size(Dim::Time))];
    let missing = all.iter().filter(|(d, _)| !x.has(*d));
    let order: Vec<(Dim, usize)> = missing.copied().chain(x.dims.iter().map(|&d| (d, x.size(d)))).collect();
    contract(&x.expanded(&order)?, weights, &[Dim::Batch, Dim::Time])
}

/// Mean over all axes of a token mean: the scalar that a `loss` statement adds.
pub(crate) fn loss_term(x: &Value, weights: &Value) -> Result<Value> {
    let x = token_mean(x, weights)?;
    let count = x.tensor.elem_count() as f64;
    sum(&x, &x.dims, 1.0 / count)
}

/// The sum of x * r, where r is outside of the autograd tape.
pub(crate) fn inner_product(x: &Value, r: &Value) -> Result<Value> {
    contract(x, r, &x.dims)
}

/// a + b.
pub(crate) fn add(a: &Value, b: &Value) -> Result<Value> {
    binary(BinaryOp::Add, a, b)
}

/// Weighted sum over tokens of `-log softmax(logits)[target]`, in nats. `weights` sum to 1 or are all 0.
pub(crate) fn cross_entropy(logits: &Value, vocab: AxisId, targets: &[u32], weights: &[f64]) -> Result<Value> {
    let logits = logits.permuted(&[Dim::Batch, Dim::Time, Dim::Axis(vocab)])?;
    let op = CrossEntropy { targets: targets.into(), weights: weights.into() };
    let tensor = if logits.tracked() { logits.tensor.apply_op1(op)? } else { logits.tensor.apply_op1_no_bwd(&op)? };
    Ok(Value::new(tensor, Vec::new()))
}

struct CrossEntropy {
    targets: Arc<[u32]>,
    weights: Arc<[f64]>,
}

impl CrossEntropy {
    /// The row, target and weight of each token.
    fn rows<'a, T: Real>(&'a self, x: &'a [T], width: usize) -> impl Iterator<Item = (&'a [T], usize, f64)> {
        let tokens = self.targets.iter().zip(self.weights.iter());
        x.chunks_exact(width).zip(tokens).map(|(row, (&target, &weight))| (row, target as usize, weight))
    }
}

/// The largest of a row, and the sum of exp(x - largest).
pub(crate) fn partition<T: Real>(row: &[T]) -> (T, f64) {
    let top = row.iter().skip(1).fold(row[0], |m, &v| m.max_of(v));
    (top, row.iter().map(|&x| (x - top).exp().to_f64()).sum())
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims()[2];
        dispatch!(x, T => {
            let x = View::<T>::of(x, layout)?.dense();
            let mut total = 0.0;
            for (row, target, weight) in self.rows(&x, width).filter(|r| r.2 != 0.0) {
                let (top, sum) = partition(row);
                total += weight * (sum.ln() + (top - row[target]).to_f64());
            }
            Ok((T::to_cpu_storage_owned(vec![T::of(total)]), Shape::from(())))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(2)?;
        let scale = super::kernels::host(g)?[0];
        dispatch!(x, T => {
            let held = Held::of(x);
            let xs = held.view::<T>()?.dense();
            let mut dx = vec![T::default(); xs.len()];
            for ((row, target, weight), d) in self.rows(&xs, width).zip(dx.chunks_exact_mut(width)) {
                if weight == 0.0 {
                    continue;
                }
                let (top, sum) = partition(row);
                let scale = weight * scale;
                let share = T::of(scale / sum);
                d.iter_mut().zip(row).for_each(|(d, &x)| *d = (x - top).exp() * share);
                d[target] -= T::of(scale);
            }
            tensor(dx, x.shape()).map(Some)
        })
    }
}
