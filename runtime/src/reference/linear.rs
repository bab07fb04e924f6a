//! Learned maps: one contraction per input, summed, plus the bias.

use super::binary::binary;
use super::eval::Operand;
use super::value::{Dim, Value, axes};
use archc_compiler::graph::{AxisId, BinaryOp, Linear};
use candle_core::{Result, bail};

/// y = sum_i sum over IN_i of x_i w_i + bias; `weights` has one weight per input, then the bias.
pub(crate) fn linear(op: &Linear, inputs: &[Operand<'_>], weights: &[&Value]) -> Result<Value> {
    if weights.len() != inputs.len() + usize::from(op.bias) {
        bail!("a linear over {} inputs has {} weights", inputs.len(), weights.len());
    }
    let mut result: Option<Value> = None;
    let mut add = |term: Value| -> Result<()> {
        result = Some(match result.take() {
            Some(sum) => binary(BinaryOp::Add, &sum, &term)?,
            None => term,
        });
        Ok(())
    };
    for ((x, weight), contracted) in inputs.iter().zip(weights).zip(&op.contracted) {
        add(x.times(&weight_of(op, weight, contracted)?, &axes(contracted))?)?;
    }
    if op.bias {
        add(weight_of(op, weights[inputs.len()], &[])?)?;
    }
    let Some(mut y) = result else { bail!("a linear without inputs") };
    for d in &mut y.dims {
        if let Dim::Out(axis) = *d {
            *d = Dim::Axis(axis);
        }
    }
    Ok(y)
}

/// A weight `[per, OUT, IN]` with separate names for its OUT side, since OUT may repeat an axis of IN.
///
/// Its dimensions are identified by position, in the order of the checkpoint; those of a computed weight in another
/// memory order are identified by name.
fn weight_of(op: &Linear, weight: &Value, contracted: &[AxisId]) -> Result<Value> {
    let plain: Vec<Dim> = axes(&[op.per.as_slice(), &op.out, contracted].concat());
    let distinct = plain.iter().enumerate().all(|(i, d)| !plain[..i].contains(d));
    let weight = match distinct && plain.len() == weight.dims.len() && plain.iter().all(|&d| weight.has(d)) {
        true => weight.permuted(&plain)?,
        false => weight.clone(),
    };
    if weight.dims.len() != plain.len() {
        bail!("a weight over {:?} stands where {plain:?} is needed", weight.dims);
    }
    let out = op.per.len()..op.per.len() + op.out.len();
    let named = plain.iter().enumerate().map(|(i, &d)| match d {
        Dim::Axis(a) if out.contains(&i) => Dim::Out(a),
        other => other,
    });
    Ok(Value::new(weight.tensor, named.collect()))
}
