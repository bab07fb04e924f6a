//! Functions entry by entry.
//!
//! A loop runs over blocks: a block's results go to the stack first and are then copied out. So the compiler knows that
//! results and operands do not overlap within a block and makes vector code, and a result may replace an operand in place.

pub(crate) mod math;

use crate::isa::{Isa, versions};
use std::ptr::copy_nonoverlapping;

/// Functions of one number. Within 4 units in the last place wherever the result is a normal number
/// (gelu: 6 in its far tail).
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

/// Functions of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
    /// a / b
    Div,
    /// a - b floor(a / b)
    Rem,
    /// a^b
    Pow,
    /// the smaller; not a number if one of them is not
    Min,
    /// the larger; not a number if one of them is not
    Max,
    /// 1 where a = b, else 0
    Eq,
    /// 1 where a != b, else 0
    Ne,
    /// 1 where a < b, else 0
    Lt,
    /// 1 where a <= b, else 0
    Le,
    /// 1 where a > b, else 0
    Gt,
    /// 1 where a >= b, else 0
    Ge,
    /// a's share in the gradient of max(a, b): 1, at ties 1/2, else 0
    MaxShare,
    /// a's share in the gradient of min(a, b)
    MinShare,
}

/// An operand: as many numbers as the result has, or the same one for all.
#[derive(Clone, Copy, Debug)]
pub enum Src {
    /// Numbers in a row.
    Slice(*const f32),
    /// One number.
    Scalar(f32),
}

/// Entries of a block.
const BLOCK: usize = 64;

/// Where a block of an operand is, and how far the next one.
struct Feed {
    at: *const f32,
    step: usize,
}

impl Src {
    #[inline(always)]
    fn feed(self, room: &mut [f32; BLOCK]) -> Feed {
        match self {
            Self::Slice(at) => Feed { at, step: BLOCK },
            Self::Scalar(x) => {
                *room = [x; BLOCK];
                Feed { at: room.as_ptr(), step: 0 }
            }
        }
    }
}

/// Calls `f` for each whole block, then for the rest in a copy of its own. `f` reads operands at the pointers, writes as many
/// results as it is told to, a multiple of eight.
#[inline(always)]
unsafe fn blocks<const N: usize>(
    src: [Src; N],
    y: *mut f32,
    n: usize,
    f: impl Fn([*const f32; N], &mut [f32; BLOCK], usize),
) {
    let mut rooms = [[0.0; BLOCK]; N];
    let mut feeds = [const { Feed { at: std::ptr::null(), step: 0 } }; N];
    for i in 0..N {
        feeds[i] = src[i].feed(&mut rooms[i]);
    }
    let mut out = [0.0; BLOCK];
    let mut i = 0;
    while i + BLOCK <= n {
        f(std::array::from_fn(|k| feeds[k].at), &mut out, BLOCK);
        for feed in &mut feeds {
            feed.at = feed.at.wrapping_add(feed.step);
        }
        // SAFETY: i + BLOCK <= n.
        unsafe { copy_nonoverlapping(out.as_ptr(), y.add(i), BLOCK) };
        i += BLOCK;
    }
    if i < n {
        let rest = n - i;
        for k in 0..N {
            if feeds[k].step != 0 {
                // SAFETY: the operand has n entries, of which `rest` < BLOCK remain.
                unsafe { copy_nonoverlapping(feeds[k].at, rooms[k].as_mut_ptr(), rest) };
            }
        }
        f(std::array::from_fn(|k| rooms[k].as_ptr()), &mut out, rest.next_multiple_of(8));
        // SAFETY: n - i entries remain.
        unsafe { copy_nonoverlapping(out.as_ptr(), y.add(i), rest) };
    }
}

#[inline(always)]
unsafe fn map1<I: Isa>(x: *const f32, y: *mut f32, n: usize, f: impl Fn(f32) -> f32) {
    // SAFETY: `blocks` gives pointers to m entries.
    unsafe {
        blocks([Src::Slice(x)], y, n, |[x], out, m| {
            for (l, o) in out[..m].iter_mut().enumerate() {
                *o = f(*x.add(l));
            }
        });
    }
}

#[inline(always)]
unsafe fn map2<I: Isa>(a: Src, b: Src, y: *mut f32, n: usize, f: impl Fn(f32, f32) -> f32) {
    // SAFETY: as in `map1`.
    unsafe {
        blocks([a, b], y, n, |[a, b], out, m| {
            for (l, o) in out[..m].iter_mut().enumerate() {
                *o = f(*a.add(l), *b.add(l));
            }
        });
    }
}

#[inline(always)]
unsafe fn map3<I: Isa>(a: Src, b: Src, c: Src, y: *mut f32, n: usize, f: impl Fn(f32, f32, f32) -> f32) {
    // SAFETY: as in `map1`.
    unsafe {
        blocks([a, b, c], y, n, |[a, b, c], out, m| {
            for (l, o) in out[..m].iter_mut().enumerate() {
                *o = f(*a.add(l), *b.add(l), *c.add(l));
            }
        });
    }
}

/// x^k by squaring, block by block.
#[inline(always)]
unsafe fn power<I: Isa>(exponent: i32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: as in `map1`.
    unsafe {
        blocks([Src::Slice(x)], y, n, |[x], out, m| {
            let mut base = [1.0; BLOCK];
            for (l, b) in base[..m].iter_mut().enumerate() {
                *b = *x.add(l);
            }
            *out = [1.0; BLOCK];
            let mut left = exponent.unsigned_abs();
            while left > 0 {
                if left & 1 == 1 {
                    for (o, b) in out.iter_mut().zip(&base) {
                        *o *= b;
                    }
                }
                for b in &mut base {
                    *b *= *b;
                }
                left >>= 1;
            }
            if exponent < 0 {
                for o in out {
                    *o = 1.0 / *o;
                }
            }
        });
    }
}

/// Sine or cosine: an angle that is too large for the fast reduction sends its block to f64.
#[inline(always)]
unsafe fn wave<I: Isa>(x: *const f32, y: *mut f32, n: usize, near: impl Fn(f32) -> f32, far: fn(f64) -> f64) {
    // SAFETY: as in `map1`.
    unsafe {
        blocks([Src::Slice(x)], y, n, |[x], out, m| {
            let mut largest = 0.0;
            for (l, o) in out[..m].iter_mut().enumerate() {
                let v = *x.add(l);
                largest = if v.abs() > largest { v.abs() } else { largest };
                *o = near(v);
            }
            if largest > math::ANGLE {
                for (l, o) in out[..m].iter_mut().enumerate() {
                    *o = far(f64::from(*x.add(l))) as f32;
                }
            }
        });
    }
}

#[inline(always)]
unsafe fn unary_body<I: Isa>(_: I, op: Unary, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Unary::Neg => map1::<I>(x, y, n, |x| -x),
            Unary::Abs => map1::<I>(x, y, n, f32::abs),
            Unary::Sign => map1::<I>(x, y, n, |x| {
                let low = if x < 0.0 { -1.0 } else { 0.0 };
                if x > 0.0 { 1.0 } else { low }
            }),
            Unary::Floor => map1::<I>(x, y, n, f32::floor),
            Unary::Exp => map1::<I>(x, y, n, math::exp::<I>),
            Unary::Expm1 => map1::<I>(x, y, n, math::expm1::<I>),
            Unary::Log => map1::<I>(x, y, n, math::log::<I>),
            Unary::Log1p => map1::<I>(x, y, n, math::log1p::<I>),
            Unary::Sqrt => map1::<I>(x, y, n, f32::sqrt),
            Unary::Rsqrt => map1::<I>(x, y, n, |x| 1.0 / x.sqrt()),
            Unary::Sigmoid => map1::<I>(x, y, n, math::sigmoid::<I>),
            Unary::Tanh => map1::<I>(x, y, n, math::tanh::<I>),
            Unary::Silu => map1::<I>(x, y, n, math::silu::<I>),
            Unary::Gelu => map1::<I>(x, y, n, math::gelu::<I>),
            Unary::Relu => map1::<I>(x, y, n, |x| if x < 0.0 { 0.0 } else { x }),
            Unary::Elu => map1::<I>(x, y, n, math::elu::<I>),
            Unary::Softplus => map1::<I>(x, y, n, math::softplus::<I>),
            Unary::Sin => wave::<I>(x, y, n, math::sin::<I>, f64::sin),
            Unary::Cos => wave::<I>(x, y, n, math::cos::<I>, f64::cos),
            Unary::Atan => map1::<I>(x, y, n, math::atan::<I>),
            Unary::Erf => map1::<I>(x, y, n, math::erf::<I>),
            Unary::Not => map1::<I>(x, y, n, |x| 1.0 - x),
            Unary::Recip => map1::<I>(x, y, n, |x| 1.0 / x),
            Unary::Square => map1::<I>(x, y, n, |x| x * x),
            Unary::Powi(exponent) => power::<I>(exponent, x, y, n),
        }
    }
}

#[inline(always)]
fn truth(c: bool) -> f32 {
    if c { 1.0 } else { 0.0 }
}

/// 1 where c, 1/2 where tied, else 0.
#[inline(always)]
fn share(c: bool, tied: bool) -> f32 {
    let rest = if tied { 0.5 } else { 0.0 };
    if c { 1.0 } else { rest }
}

#[inline(always)]
unsafe fn binary_body<I: Isa>(_: I, op: Binary, a: Src, b: Src, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Binary::Add => map2::<I>(a, b, y, n, |a, b| a + b),
            Binary::Sub => map2::<I>(a, b, y, n, |a, b| a - b),
            Binary::Mul => map2::<I>(a, b, y, n, |a, b| a * b),
            Binary::Div => map2::<I>(a, b, y, n, |a, b| a / b),
            Binary::Rem => map2::<I>(a, b, y, n, |a, b| a - b * (a / b).floor()),
            Binary::Pow => map2::<I>(a, b, y, n, f32::powf),
            Binary::Min => map2::<I>(a, b, y, n, |a, b| {
                let m = if a < b { a } else { b };
                if a.is_nan() { a } else { m }
            }),
            Binary::Max => map2::<I>(a, b, y, n, |a, b| {
                let m = if a > b { a } else { b };
                if a.is_nan() { a } else { m }
            }),
            Binary::Eq => map2::<I>(a, b, y, n, |a, b| truth(a == b)),
            Binary::Ne => map2::<I>(a, b, y, n, |a, b| truth(a != b)),
            Binary::Lt => map2::<I>(a, b, y, n, |a, b| truth(a < b)),
            Binary::Le => map2::<I>(a, b, y, n, |a, b| truth(a <= b)),
            Binary::Gt => map2::<I>(a, b, y, n, |a, b| truth(a > b)),
            Binary::Ge => map2::<I>(a, b, y, n, |a, b| truth(a >= b)),
            Binary::MaxShare => map2::<I>(a, b, y, n, |a, b| share(a > b, a == b)),
            Binary::MinShare => map2::<I>(a, b, y, n, |a, b| share(a < b, a == b)),
        }
    }
}

#[inline(always)]
unsafe fn select_body<I: Isa>(_: I, c: Src, a: Src, b: Src, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { map3::<I>(c, a, b, y, n, |c, a, b| if c != 0.0 { a } else { b }) }
}

#[inline(always)]
unsafe fn mul_add_body<I: Isa>(_: I, a: Src, b: Src, c: Src, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { map3::<I>(a, b, c, y, n, |a, b, c| I::fma(a, b, c)) }
}

#[inline(always)]
unsafe fn axpy_body<I: Isa>(_: I, alpha: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { map2::<I>(Src::Slice(x), Src::Slice(y), y, n, |x, y| I::fma(alpha, x, y)) }
}

versions! {
    /// y = op(x), n entries each. y may be x.
    pub unsafe fn unary(op: Unary, x: *const f32, y: *mut f32, n: usize) = unary_body;
    /// y = op(a, b). y may be a or b.
    pub unsafe fn binary(op: Binary, a: Src, b: Src, y: *mut f32, n: usize) = binary_body;
    /// y = a where c is not 0, else b. y may be any of them.
    pub unsafe fn select(c: Src, a: Src, b: Src, y: *mut f32, n: usize) = select_body;
    /// y = a b + c. y may be any of them.
    pub unsafe fn mul_add(a: Src, b: Src, c: Src, y: *mut f32, n: usize) = mul_add_body;
    /// y += alpha x. y may be x.
    pub unsafe fn axpy(alpha: f32, x: *const f32, y: *mut f32, n: usize) = axpy_body;
}

/// y = alpha x. y may be x.
pub unsafe fn scale(alpha: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { binary(Binary::Mul, Src::Scalar(alpha), Src::Slice(x), y, n) }
}

/// y = x everywhere.
pub unsafe fn fill(x: f32, y: *mut f32, n: usize) {
    // SAFETY: y has n entries, which are being initialised.
    unsafe { std::slice::from_raw_parts_mut(y, n) }.fill(x);
}

/// y = x. They may overlap.
pub unsafe fn copy(x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy(x, y, n) }
}

#[cfg(test)]
mod tests;
