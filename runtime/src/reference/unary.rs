//! Element-wise functions of one value, with the gradients that the language defines.

use super::kernels::{Held, Real, View, dispatch, tensor};
use super::value::Value;
use archc_compiler::graph::UnaryOp;
use archc_compiler::ops::Trait;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, backend::BackendStorage};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, PI};

/// y = f(x).
pub(crate) fn unary(op: UnaryOp, x: &Value) -> Result<Value> {
    // candle expects a gradient from every op that it tracks
    let tracked = x.tracked() && op.is(Trait::Smooth);
    let tensor = if tracked { x.tensor.apply_op1(Map(op))? } else { x.tensor.apply_op1_no_bwd(&Map(op))? };
    Ok(Value::new(tensor, x.dims.clone()))
}

struct Map(UnaryOp);

impl CustomOp1 for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(x, T => {
            let y = forward(self.0, View::<T>::of(x, layout)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        dispatch!(x, T => {
            let (hx, hy, hg) = (Held::of(x), Held::of(y), Held::of(g));
            let (x, y, g) = (hx.view::<T>()?.dense(), hy.view::<T>()?.dense(), hg.view::<T>()?.dense());
            Ok(Some(tensor(backward(self.0, &x, &y, &g), hx.view::<T>()?.shape)?))
        })
    }
}

fn sigmoid<T: Real>(x: T) -> T {
    // One exponential of a negative number, so that nothing overflows.
    let e = (-x.abs()).exp();
    let s = T::one() / (T::one() + e);
    if x >= T::zero() { s } else { e * s }
}

fn phi<T: Real>(x: T) -> T {
    T::of(0.5) * (T::one() + (x * T::of(FRAC_1_SQRT_2)).erf())
}

/// Computes the function in f64 and rounds once.
fn forward<T: Real>(op: UnaryOp, x: View<T>) -> Vec<T> {
    x.dense().iter().map(|x| T::of(op.of(x.to_f64()))).collect()
}

/// The gradient. A cotangent of 0 gives 0, whatever the slope: a value hidden by a `select` or a weight of 0 may lie at a pole.
fn backward<T: Real>(op: UnaryOp, x: &[T], y: &[T], g: &[T]) -> Vec<T> {
    let (zero, one) = (T::zero(), T::one());
    macro_rules! chain {
        ($f:expr) => {
            x.iter().zip(y).zip(g).map(|((&x, &y), &g)| if g == zero { zero } else { $f(x, y, g) }).collect()
        };
    }
    match op {
        UnaryOp::Neg | UnaryOp::Not => chain!(|_, _, g: T| -g),
        UnaryOp::Abs => chain!(|x: T, _, g: T| if x > zero {
            g
        } else if x < zero {
            -g
        } else {
            zero
        }),
        UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Powi(0) => vec![zero; x.len()],
        UnaryOp::Exp => chain!(|_, y: T, g: T| g * y),
        UnaryOp::Expm1 => chain!(|_, y: T, g: T| g * (y + one)),
        UnaryOp::Log => chain!(|x: T, _, g: T| g / x),
        UnaryOp::Log1p => chain!(|x: T, _, g: T| g / (one + x)),
        UnaryOp::Log2 => chain!(|x: T, _, g: T| g / (x * T::of(LN_2))),
        UnaryOp::Sqrt => chain!(|_, y: T, g: T| if y == zero { zero } else { g * T::of(0.5) / y }),
        UnaryOp::Rsqrt => chain!(|x: T, y: T, g: T| -g * T::of(0.5) * y / x),
        UnaryOp::Sigmoid => chain!(|_, y: T, g: T| g * y * (one - y)),
        UnaryOp::Tanh => chain!(|_, y: T, g: T| g * (one - y * y)),
        UnaryOp::Silu => chain!(|x: T, y: T, g: T| {
            let s = sigmoid(x);
            g * (s + y * (one - s))
        }),
        UnaryOp::Gelu => chain!(|x: T, _, g: T| {
            let density = (-T::of(0.5) * x * x).exp() * T::of(1.0 / (2.0 * PI).sqrt());
            g * (phi(x) + x * density)
        }),
        UnaryOp::Relu => chain!(|x: T, _, g: T| if x > zero { g } else { zero }),
        UnaryOp::Elu => chain!(|x: T, y: T, g: T| if x > zero { g } else { g * (y + one) }),
        UnaryOp::Softplus => chain!(|x: T, _, g: T| g * sigmoid(x)),
        UnaryOp::Sin => chain!(|x: T, _, g: T| g * x.cos()),
        UnaryOp::Cos => chain!(|x: T, _, g: T| -g * x.sin()),
        UnaryOp::Atan => chain!(|x: T, _, g: T| g / (one + x * x)),
        UnaryOp::Erf => chain!(|x: T, _, g: T| g * T::of(FRAC_2_SQRT_PI) * (-x * x).exp()),
        UnaryOp::Powi(2) => chain!(|x: T, _, g: T| g * (x + x)),
        UnaryOp::Powi(n) => chain!(|x: T, _, g: T| g * T::of(n.into()) * x.powi(n - 1)),
    }
}
