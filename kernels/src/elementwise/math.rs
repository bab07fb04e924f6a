//! Elementary functions of one f32, without branches, so that loops over them become vector code.
//!
//! Polynomials interpolate at Chebyshev nodes; their relative errors (below 4e-9) are far under half a unit in the last place (6e-8), so
//! that what remains is rounding. Exponentials reduce by powers of two with ln 2 in two parts (Cody and Waite), so that they need no fused
//! multiply-add to be exact.

use crate::isa::Isa;
use std::f32::consts::LOG2_E;
use std::f64::consts::FRAC_2_PI;

/// ln 2 to 10 bits: times an exponent it is exact.
const LN2_HI: f32 = 0.693_359_4;
/// ln 2 - LN2_HI
const LN2_LO: f32 = -2.121_944_4e-4;
/// 1.5 2^23: adding it to a number below 2^22 rounds that to an integer in the last bits.
const ROUND: f32 = 12_582_912.0;
/// The same for f64: 1.5 2^52.
const ROUND64: f64 = 6_755_399_441_055_744.0;

#[inline(always)]
fn poly<I: Isa, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut y = c[N - 1];
    let mut k = N - 1;
    while k > 0 {
        k -= 1;
        y = I::fma(y, x, c[k]);
    }
    y
}

/// 2^n, for -126 <= n <= 127; 0 for n = -127.
#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// n and r with x = n ln 2 + r and |r| <= ln 2 / 2.
#[inline(always)]
fn halve<I: Isa>(x: f32) -> (i32, f32) {
    let t = I::fma(x, LOG2_E, ROUND);
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let f = t - ROUND;
    (n, I::fma(f, -LN2_LO, I::fma(f, -LN2_HI, x)))
}

/// e^r - 1 for |r| <= ln 2 / 2.
#[inline(always)]
fn expm1_near<I: Isa>(r: f32) -> f32 {
    let p = poly::<I, 6>(r, [0.5, 0.166_666_67, 4.166_646_3e-2, 8.333_311e-3, 1.393_382e-3, 1.989_118e-4]);
    I::fma(r * r, p, r)
}

/// e^(x + low), where `low` is too small to affect the choice of the power of two.
#[inline(always)]
fn exp_of_sum<I: Isa>(x: f32, low: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -87.6 { -87.6 } else { x };
    let (n, r) = halve::<I>(x);
    // Twice the mantissa and half the power: 2^128 is not representable. 2^-127 is 0, and so are results below 2^-126.5.
    let e = expm1_near::<I>(r + low);
    I::fma(e, 2.0, 2.0) * pow2(n.wrapping_sub(1))
}

#[inline(always)]
pub fn exp<I: Isa>(x: f32) -> f32 {
    exp_of_sum::<I>(x, 0.0)
}

/// e^x of a difference of f64, rounded once: in f32, an exponent of 40 has an error of 2e-6.
#[inline(always)]
pub fn exp_wide<I: Isa>(x: f64) -> f32 {
    let high = x as f32;
    let low = (x - f64::from(high)) as f32;
    // Where the difference is infinite, it has no low part.
    exp_of_sum::<I>(high, if low.abs() < 1.0 { low } else { 0.0 })
}

#[inline(always)]
pub fn expm1<I: Isa>(x: f32) -> f32 {
    let t = if x > 89.0 { 89.0 } else { x };
    let t = if t < -20.0 { -20.0 } else { t };
    let (n, r) = halve::<I>(t);
    // Half of it first: 2^128 is not representable.
    let s = pow2(n.wrapping_sub(1));
    2.0 * I::fma(s, expm1_near::<I>(r), s - 0.5)
}

/// e ln 2 + log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2).
#[inline(always)]
pub fn log_parts<I: Isa>(e: f32, f: f32) -> f32 {
    let p = poly::<I, 9>(
        f,
        [
            0.333_333_31,
            -0.249_999_97,
            0.200_007_16,
            -0.166_678_02,
            0.142_490_58,
            -0.124_256_87,
            0.116_854_2,
            -0.114_797_34,
            6.971_611_5e-2,
        ],
    );
    let s = f * f;
    let y = I::fma(e, LN2_LO, s * f * p);
    I::fma(e, LN2_HI, f + I::fma(-0.5, s, y))
}

/// e and f with x = 2^e (1 + f) and sqrt(1/2) <= 1 + f <= sqrt(2), for x > 0.
#[inline(always)]
pub fn power_and_rest(x: f32) -> (f32, f32) {
    let tiny = x < f32::MIN_POSITIVE;
    let v = if tiny { x * 8_388_608.0 } else { x };
    let shift = if tiny { -23.0 } else { 0.0 };
    let bits = v.to_bits() as i32;
    let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    (e as f32 + shift, m - 1.0)
}

/// y where x is positive and finite; otherwise the limit of the logarithm, or NaN.
#[inline(always)]
pub fn log_edges(x: f32, y: f32) -> f32 {
    let edge = if x < 0.0 { f32::NAN } else { x };
    let edge = if x == 0.0 { f32::NEG_INFINITY } else { edge };
    if x > 0.0 && x < f32::INFINITY { y } else { edge }
}

#[inline(always)]
pub fn log<I: Isa>(x: f32) -> f32 {
    let (e, f) = power_and_rest(x);
    log_edges(x, log_parts::<I>(e, f))
}

#[inline(always)]
pub fn log1p<I: Isa>(x: f32) -> f32 {
    let u = 1.0 + x;
    // The rounding error of the sum, exactly.
    let lost = if x > 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let bits = u.to_bits() as i32;
    let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    // At 2^126, where the power of two is the smallest normal number, the rounding error is negligible.
    let y = log_parts::<I>(e as f32, I::fma(lost, pow2(-if e > 126 { 126 } else { e }), m - 1.0));
    let edge = if x < -1.0 { f32::NAN } else { x };
    let edge = if x == -1.0 { f32::NEG_INFINITY } else { edge };
    if x > -1.0 && x < f32::INFINITY { y } else { edge }
}

#[inline(always)]
pub fn sigmoid<I: Isa>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<I>(-x))
}

#[inline(always)]
pub fn tanh<I: Isa>(x: f32) -> f32 {
    let t = x.abs();
    // From 10 on it is 1.
    let t = if t > 10.0 { 10.0 } else { t };
    // The term subtracted from 1 is small where the result is near 1, and so is the effect of its error.
    let far = (1.0 - 2.0 / (exp::<I>(2.0 * t) + 1.0)).copysign(x);
    // Near 0, where only the difference from x may be left of the result later: a polynomial for that difference (Cephes, tanhf).
    let z = x * x;
    let p = poly::<I, 5>(z, [-0.333_332_82, 0.133_314_42, -5.373_971_6e-2, 2.063_908_9e-2, -5.704_988_7e-3]);
    let near = I::fma(x * z, p, x);
    if t < 0.625 { near } else { far }
}

/// Computes x times [`sigmoid`] bit for bit, so that a pass that uses the one and a pass that uses the other agree.
#[inline(always)]
pub fn silu<I: Isa>(x: f32) -> f32 {
    x * sigmoid::<I>(x)
}

#[inline(always)]
pub fn softplus<I: Isa>(x: f32) -> f32 {
    // log(1 + u) for 0 < u <= 1: where 1 + u is above sqrt(2), half of it.
    let u = exp::<I>(-x.abs());
    let big = u > 0.414_213_57;
    let f = if big { 0.5 * (u - 1.0) } else { u };
    let y = log_parts::<I>(if big { 1.0 } else { 0.0 }, f);
    if x > 0.0 { x + y } else { y }
}

#[inline(always)]
pub fn elu<I: Isa>(x: f32) -> f32 {
    if x > 0.0 { x } else { expm1::<I>(x) }
}

/// 1 - erf(t) for 0 <= t <= 11: exp(-t^2) times a rational function, so that the tail keeps its relative accuracy.
/// The square is `high` + `low`, of which `high` is exact.
#[inline(always)]
fn erfc_tail<I: Isa>(t: f32, high: f32, low: f32) -> f32 {
    let u = 1.0 / (t + 2.0);
    let z = (t - 2.0) * u;
    let p = poly::<I, 11>(
        z,
        [
            1.021_582_7,
            -0.687_160_7,
            0.279_471_7,
            -3.644_145_2e-2,
            -2.150_499_3e-2,
            6.474_109e-3,
            3.059_584e-3,
            -8.289_752e-4,
            -5.877_06e-4,
            4.563_215e-5,
            6.730_49e-5,
        ],
    );
    exp_of_sum::<I>(-high, -low) * (u * p)
}

/// x^2 as an exact part and a small remainder.
#[inline(always)]
fn square(x: f32) -> (f32, f32) {
    let head = f32::from_bits(x.to_bits() & 0xffff_f000);
    (head * head, (x - head) * (x + head))
}

#[inline(always)]
pub fn erf<I: Isa>(x: f32) -> f32 {
    let t = x.abs();
    let s = t * t;
    let near = poly::<I, 7>(
        s,
        [0.128_379_17, -0.376_126_35, 0.112_837_18, -2.686_066_5e-2, 5.204_226_7e-3, -8.179_632e-4, 8.529_401e-5],
    );
    let t = if t > 5.0 { 5.0 } else { t };
    let (high, low) = square(t);
    let far = (1.0 - erfc_tail::<I>(t, high, low)).copysign(x);
    if s < 0.81 { I::fma(x, near, x) } else { far }
}

#[inline(always)]
pub fn gelu<I: Isa>(x: f32) -> f32 {
    let t = x.abs();
    let t = if t > 15.0 { 15.0 } else { t };
    let (high, low) = square(t);
    let tail = 0.5 * erfc_tail::<I>(t * std::f32::consts::FRAC_1_SQRT_2, 0.5 * high, 0.5 * low);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

#[inline(always)]
pub fn atan<I: Isa>(x: f32) -> f32 {
    let t = x.abs();
    let far = t > 1.0;
    let v = if far { 1.0 / t } else { t };
    let s = v * v;
    let p = poly::<I, 10>(
        s,
        [
            -0.333_333_33,
            0.199_999_5,
            -0.142_840_04,
            0.110_882_62,
            -8.931_827e-2,
            7.031_914e-2,
            -4.896_051_4e-2,
            2.630_500_1e-2,
            -9.144_63e-3,
            1.488_692e-3,
        ],
    );
    let y = I::fma(v * s, p, v);
    // pi / 2 in two parts.
    let y = if far { (1.570_796_4 - y) - 4.371_139e-8 } else { y };
    y.copysign(x)
}

/// Largest angle whose reduction below is exact to f32.
pub const ANGLE: f32 = 1.0e6;

/// The quadrant of x and the angle within it.
#[inline(always)]
fn quadrant<I: Isa>(x: f32) -> (u32, f32) {
    let x = f64::from(x);
    let t = x * FRAC_2_PI + ROUND64;
    let n = t - ROUND64;
    // pi / 2 to 33 bits, and the rest: n has 20 bits, so that the first product is exact.
    let r = (x - n * 1.570_796_326_734_125_6) - n * 6.077_100_506_506_192e-11;
    (t.to_bits() as u32, r as f32)
}

#[inline(always)]
fn sine<I: Isa>(q: u32, r: f32) -> f32 {
    let s = r * r;
    let sin = I::fma(r * s, poly::<I, 4>(s, [-0.166_666_67, 8.333_332e-3, -1.984_008_2e-4, 2.724_931_4e-6]), r);
    let cos = I::fma(
        s * s,
        poly::<I, 4>(s, [4.166_666_8e-2, -1.388_888_8e-3, 2.480_059_6e-5, -2.730_045e-7]),
        I::fma(-0.5, s, 1.0),
    );
    let y = if q & 1 == 0 { sin } else { cos };
    f32::from_bits(y.to_bits() ^ ((q & 2) << 30))
}

#[inline(always)]
pub fn sin<I: Isa>(x: f32) -> f32 {
    let (q, r) = quadrant::<I>(x);
    sine::<I>(q, r)
}

#[inline(always)]
pub fn cos<I: Isa>(x: f32) -> f32 {
    let (q, r) = quadrant::<I>(x);
    sine::<I>(q.wrapping_add(1), r)
}
