//! Unary element-wise functions.

use super::{BLOCK, Block, Src, blocks, each, math};
use crate::isa::{Isa, versions};
use std::f32::consts::LOG2_E;
use std::ptr::copy_nonoverlapping;

/// Unary element-wise functions. Errors are within 4 units in the last place wherever the result is a normal number (gelu: 6 in its far
/// tail); exponentials below 2^-125 may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// -x
    Neg,
    /// |x|
    Abs,
    /// -1, 0, 1
    Sign,
    /// largest integer that is not larger
    Floor,
    /// e^x
    Exp,
    /// e^x - 1
    Expm1,
    /// natural logarithm
    Log,
    /// log(1 + x)
    Log1p,
    /// binary logarithm; of powers of two exact
    Log2,
    /// square root
    Sqrt,
    /// 1 / sqrt(x)
    Rsqrt,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// hyperbolic tangent
    Tanh,
    /// x sigmoid(x)
    Silu,
    /// x Phi(x) with the normal distribution Phi
    Gelu,
    /// max(x, 0)
    Relu,
    /// x for x > 0, else e^x - 1
    Elu,
    /// log(1 + e^x)
    Softplus,
    /// sine
    Sin,
    /// cosine
    Cos,
    /// arc tangent
    Atan,
    /// error function
    Erf,
    /// 1 - x
    Not,
    /// x^n
    Powi(i32),
    /// 1 / x
    Recip,
    /// x x
    Square,
}

/// x^k by squaring, block by block.
struct Power(i32);

impl Block<1> for Power {
    #[inline(always)]
    unsafe fn run<I: Isa>(&self, [x]: [*const f32; 1], out: &mut [f32; BLOCK], m: usize) {
        let mut base = [1.0; BLOCK];
        // SAFETY: `blocks` passes pointers to m elements.
        unsafe { copy_nonoverlapping(x, base.as_mut_ptr(), m) };
        *out = [1.0; BLOCK];
        let mut left = self.0.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                for (o, b) in out.iter_mut().zip(&base) {
                    *o *= b;
                }
            }
            left >>= 1;
            if left > 0 {
                for b in &mut base {
                    *b *= *b;
                }
            }
        }
        if self.0 < 0 {
            for o in out {
                *o = 1.0 / *o;
            }
        }
    }
}

/// Sine or, a quarter turn later, cosine. An angle that is too large for the fast reduction goes through f64, and only that one, so that no
/// element depends on its neighbours.
struct Wave<const COSINE: bool>;

impl<const COSINE: bool> Block<1> for Wave<COSINE> {
    #[inline(always)]
    unsafe fn run<I: Isa>(&self, [x]: [*const f32; 1], out: &mut [f32; BLOCK], m: usize) {
        // SAFETY: `blocks` passes pointers to m elements.
        unsafe {
            let mut far = 0u32;
            for (l, o) in out[..m].iter_mut().enumerate() {
                let v = *x.add(l);
                far |= u32::from(v.abs() > math::ANGLE);
                *o = if COSINE { math::cos::<I>(v) } else { math::sin::<I>(v) };
            }
            if far != 0 {
                for (l, o) in out[..m].iter_mut().enumerate() {
                    let v = *x.add(l);
                    if v.abs() > math::ANGLE {
                        let wide = f64::from(v);
                        *o = if COSINE { wide.cos() } else { wide.sin() } as f32;
                    }
                }
            }
        }
    }
}

/// log2(x): the power of two plus the logarithm of the mantissa.
#[inline(always)]
fn log2<I: Isa>(x: f32) -> f32 {
    let (e, f) = math::power_and_rest(x);
    let y = math::log_parts::<I>(0.0, f);
    math::log_edges(x, I::fma(y, LOG2_E, e))
}

#[inline(always)]
unsafe fn unary_body<I: Isa>(_: I, op: Unary, x: *const f32, y: *mut f32, n: usize) {
    macro_rules! map {
        (|$x:ident| $f:expr) => {
            each!(I, [Src::Slice(x)], y, n, |$x| $f)
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Unary::Neg => map!(|x| -x),
            Unary::Abs => map!(|x| x.abs()),
            Unary::Sign => map!(|x| {
                let low = if x < 0.0 { -1.0 } else { 0.0 };
                if x > 0.0 { 1.0 } else { low }
            }),
            Unary::Floor => map!(|x| x.floor()),
            Unary::Exp => map!(|x| math::exp::<I>(x)),
            Unary::Expm1 => map!(|x| math::expm1::<I>(x)),
            Unary::Log => map!(|x| math::log::<I>(x)),
            Unary::Log1p => map!(|x| math::log1p::<I>(x)),
            Unary::Log2 => map!(|x| log2::<I>(x)),
            Unary::Sqrt => map!(|x| x.sqrt()),
            Unary::Rsqrt => map!(|x| 1.0 / x.sqrt()),
            Unary::Sigmoid => map!(|x| math::sigmoid::<I>(x)),
            Unary::Tanh => map!(|x| math::tanh::<I>(x)),
            Unary::Silu => map!(|x| math::silu::<I>(x)),
            Unary::Gelu => map!(|x| math::gelu::<I>(x)),
            Unary::Relu => map!(|x| if x < 0.0 { 0.0 } else { x }),
            Unary::Elu => map!(|x| math::elu::<I>(x)),
            Unary::Softplus => map!(|x| math::softplus::<I>(x)),
            Unary::Sin => blocks::<I, _, 1>(Wave::<false>, [Src::Slice(x)], y, n),
            Unary::Cos => blocks::<I, _, 1>(Wave::<true>, [Src::Slice(x)], y, n),
            Unary::Atan => map!(|x| math::atan::<I>(x)),
            Unary::Erf => map!(|x| math::erf::<I>(x)),
            Unary::Not => map!(|x| 1.0 - x),
            Unary::Recip => map!(|x| 1.0 / x),
            Unary::Square => map!(|x| x * x),
            Unary::Powi(exponent) => blocks::<I, _, 1>(Power(exponent), [Src::Slice(x)], y, n),
        }
    }
}

versions! {
    /// y = op(x), n elements each. y may be x.
    pub unsafe fn unary(op: Unary, x: *const f32, y: *mut f32, n: usize) = unary_body;
}
