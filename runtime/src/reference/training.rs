//! Ops for training alone: dropout and annealing.

use super::binary::binary;
use super::value::{Dim, Value};
use crate::random::Stream;
use archc_compiler::graph::{AnnealShape, BinaryOp};
use candle_core::Result;

/// The seed of dropout draws: the run, and inside of a scan the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutSeed {
    pub seed: u64,
    pub step: u64,
    /// Tokens per sequence.
    pub len: usize,
    /// Index of the token inside of a scan's body.
    pub time: Option<usize>,
}

/// Sets each element of x to zero with probability p and divides the others by 1 - p.
pub(crate) fn dropout(path: &str, x: &Value, p: f64, at: DropoutSeed) -> Result<Value> {
    if p <= 0.0 {
        return Ok(x.clone());
    }
    let mut order = x.dims.clone();
    order.sort_unstable();
    let shape: Vec<usize> = order.iter().map(|&d| x.size(d)).collect();
    let tokens = order.iter().filter(|d| matches!(d, Dim::Batch | Dim::Time)).count();
    let a_token = shape[tokens..].iter().product::<usize>();
    let mut stream = Stream::new(&[b"dropout", &at.seed.to_le_bytes(), &at.step.to_le_bytes(), path.as_bytes()]);
    let keep = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
    let mut mask = Vec::with_capacity(shape.iter().product());
    for token in 0..shape[..tokens].iter().product::<usize>() {
        let number = match at.time {
            Some(t) => token * at.len + t,
            None => token,
        };
        stream.seek(number as u64);
        mask.extend((0..a_token).map(|_| if stream.uniform_short() < p { 0.0 } else { keep }));
    }
    binary(BinaryOp::Mul, x, &Value::constant(mask, shape, order, x.tensor.dtype())?)
}

/// Interpolates from a to b with the progress of the updates.
pub(crate) fn anneal(a: &Value, b: &Value, progress: f64, shape: AnnealShape) -> Result<Value> {
    let u = progress.clamp(0.0, 1.0);
    let number = |x: f64| Value::scalar(x, a.tensor.dtype());
    match shape {
        AnnealShape::Exp => {
            let ratio = binary(BinaryOp::Div, b, a)?;
            binary(BinaryOp::Mul, a, &binary(BinaryOp::Pow, &ratio, &number(u)?)?)
        }
        AnnealShape::Linear | AnnealShape::Cosine => {
            let u = if shape == AnnealShape::Linear { u } else { (1.0 - (std::f64::consts::PI * u).cos()) / 2.0 };
            // Weighted sums, exact at both ends.
            let from = binary(BinaryOp::Mul, a, &number(1.0 - u)?)?;
            binary(BinaryOp::Add, &from, &binary(BinaryOp::Mul, b, &number(u)?)?)
        }
    }
}
