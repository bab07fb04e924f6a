//! Element-wise functions against f64.

use super::*;
use crate::isa::at_each_level;

/// Numbers of both signs over all magnitudes, denser around 1, and the edges.
fn numbers() -> Vec<f32> {
    let mut x = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-30,
        -1e-30,
        1e30,
        -1e30,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
    ];
    for i in 0..40_000 {
        let t = (i as f32 + 0.37) / 40_000.0;
        for v in [2f32.powf(t * 250.0 - 125.0), t * 1.5, t * 12.0, t * 100.0, 1.0 + t * 1e-3] {
            x.extend([v, -v]);
        }
    }
    x
}

fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got == rounded || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    if !rounded.is_finite() || !got.is_finite() {
        return f64::INFINITY;
    }
    // Below the normal numbers the step is that of the smallest one.
    let step = f64::from(f32::EPSILON) * 2f64.powi(want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32);
    (f64::from(got) - want).abs() / step
}

fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

type Reference = fn(f64) -> f64;

#[test]
fn unary_functions_are_within_four_units_of_the_last_place() {
    let sigmoid: Reference = |x| 1.0 / (1.0 + (-x).exp());
    // (function, what it should be, units of the last place)
    let table: [(Unary, Reference, f64); 25] = [
        (Unary::Neg, |x| -x, 0.0),
        (Unary::Abs, f64::abs, 0.0),
        (
            Unary::Sign,
            |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            },
            0.0,
        ),
        (Unary::Floor, f64::floor, 0.0),
        (Unary::Exp, f64::exp, 1.5),
        (Unary::Expm1, libm::expm1, 2.0),
        (Unary::Log, f64::ln, 1.5),
        (Unary::Log2, f64::log2, 2.0),
        (Unary::Log1p, libm::log1p, 2.0),
        (Unary::Sqrt, f64::sqrt, 0.5),
        (Unary::Rsqrt, |x| 1.0 / x.sqrt(), 1.5),
        (Unary::Sigmoid, sigmoid, 3.0),
        (Unary::Tanh, f64::tanh, 1.5),
        (Unary::Silu, |x| x / (1.0 + (-x).exp()), 3.5),
        // In the far tail, where x Phi(x) is below 1e-20, the erfc's three factors round once more each.
        (Unary::Gelu, |x| x * phi(x), 5.5),
        (Unary::Relu, |x| if x < 0.0 { 0.0 } else { x }, 0.0),
        (Unary::Elu, |x| if x > 0.0 { x } else { libm::expm1(x) }, 2.0),
        (Unary::Softplus, |x| x.max(0.0) + libm::log1p((-x.abs()).exp()), 3.0),
        (Unary::Sin, f64::sin, 2.0),
        (Unary::Cos, f64::cos, 2.0),
        (Unary::Atan, f64::atan, 3.0),
        (Unary::Erf, libm::erf, 3.0),
        (Unary::Not, |x| 1.0 - x, 0.5),
        (Unary::Recip, |x| 1.0 / x, 0.5),
        (Unary::Square, |x| x * x, 0.5),
    ];
    let x = numbers();
    at_each_level(|level| {
        for (op, reference, tolerance) in table {
            let mut y = x.clone();
            // SAFETY: y has `y.len()` elements.
            unsafe { unary(op, y.as_ptr(), y.as_mut_ptr(), y.len()) };
            let mut worst = (0.0, 0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let want = reference(f64::from(x));
                let want = if x.is_nan() && op != Unary::Sign { f64::NAN } else { want };
                // A factor leaves the normal numbers before the product does: e^-x overflows, or e^x and the normal
                // distribution underflow, a little early.
                let early = match op {
                    Unary::Silu | Unary::Sigmoid | Unary::Exp | Unary::Softplus => x < -86.9,
                    Unary::Gelu => x < -12.9,
                    _ => false,
                };
                if early && x.is_finite() {
                    assert!(f64::from(y - want as f32).abs() < 1e-35, "{op:?}({x}) = {y}");
                    continue;
                }
                let off = ulps(y, want);
                if off > worst.0 {
                    worst = (off, x, y);
                }
            }
            println!("{level:?} {op:?}: {:.2} at {:e}", worst.0, worst.1);
            assert!(worst.0 <= tolerance, "{level:?} {op:?}({:e}) = {:e} is off by {}", worst.1, worst.2, worst.0);
        }
    });
}

#[test]
fn edges() {
    let f = |op, x: f32| {
        let mut y = x;
        // SAFETY: one entry.
        unsafe { unary(op, &x, &mut y, 1) };
        y
    };
    assert_eq!(f(Unary::Exp, -1e30), 0.0);
    assert_eq!(f(Unary::Exp, 1e30), f32::INFINITY);
    assert_eq!(f(Unary::Softplus, -1e30), 0.0);
    assert_eq!(f(Unary::Softplus, 1e30), 1e30);
    assert_eq!(f(Unary::Sigmoid, f32::NEG_INFINITY), 0.0);
    assert_eq!(f(Unary::Log, 0.0), f32::NEG_INFINITY);
    assert!(f(Unary::Log, -1.0).is_nan());
    assert_eq!(f(Unary::Gelu, 1e30), 1e30);
    assert_eq!(f(Unary::Gelu, -1e30), 0.0);
    assert_eq!(f(Unary::Powi(0), f32::NAN), 1.0);
    assert_eq!(f(Unary::Powi(-2), 4.0), 0.0625);
    assert_eq!(f(Unary::Powi(-1), 0.0), f32::INFINITY);
    assert_eq!(f(Unary::Powi(3), -2.0), -8.0);
    assert_eq!(f(Unary::Powi(7), 1.5), 17.085_938);
}

#[test]
fn results_do_not_depend_on_place() {
    let x: Vec<f32> = (0..300).map(|i| (i as f32).sin() * 3.0).collect();
    at_each_level(|_| {
        for op in [Unary::Exp, Unary::Gelu, Unary::Sin, Unary::Powi(5)] {
            let mut whole = x.clone();
            // SAFETY: the slices have the lengths given.
            unsafe { unary(op, x.as_ptr(), whole.as_mut_ptr(), x.len()) };
            for n in 1..130 {
                for start in [0, 1, 3] {
                    let mut part = vec![7.0; n + 1];
                    // SAFETY: start + n < 300.
                    unsafe { unary(op, x.as_ptr().add(start), part.as_mut_ptr(), n) };
                    assert_eq!(part[..n], whole[start..start + n]);
                    assert_eq!(part[n], 7.0, "wrote past the end");
                }
            }
        }
    });
}

#[test]
fn binary_functions() {
    let edge = [0.0, 1.0, -1.0, 2.5, -2.5, 1e20, f32::INFINITY, f32::NAN, 3.0];
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for x in edge {
        for y in edge {
            a.push(x);
            b.push(y);
        }
    }
    let n = a.len();
    let t = |c: bool| if c { 1.0f32 } else { 0.0 };
    type F<'a> = &'a dyn Fn(f32, f32) -> f32;
    let nan = |a: f32, b: f32, y: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { y };
    let table: [(Binary, F<'_>); 14] = [
        (Binary::Add, &|a, b| a + b),
        (Binary::Sub, &|a, b| a - b),
        (Binary::Mul, &|a, b| a * b),
        (Binary::Div, &|a, b| a / b),
        (Binary::Rem, &|a, b| a - b * (a / b).floor()),
        (Binary::Pow, &f32::powf),
        (Binary::Min, &|a, b| nan(a, b, a.min(b))),
        (Binary::Max, &|a, b| nan(a, b, a.max(b))),
        (Binary::Eq, &|a, b| t(a == b)),
        (Binary::Ne, &|a, b| t(a != b)),
        (Binary::Lt, &|a, b| t(a < b)),
        (Binary::Le, &|a, b| t(a <= b)),
        (Binary::Gt, &|a, b| t(a > b)),
        (Binary::Ge, &|a, b| t(a >= b)),
    ];
    let same = |x: f32, y: f32| x == y || (x.is_nan() && y.is_nan());
    at_each_level(|_| {
        for (op, f) in &table {
            let op = *op;
            let mut y = a.clone();
            let mut z = vec![0.0; n];
            // SAFETY: all have n entries.
            unsafe {
                binary(op, Src::Slice(y.as_ptr()), Src::Slice(b.as_ptr()), y.as_mut_ptr(), n);
                binary(op, Src::Scalar(2.5), Src::Slice(b.as_ptr()), z.as_mut_ptr(), n);
            }
            for i in 0..n {
                assert!(same(y[i], f(a[i], b[i])), "{op:?} {} {}: {}", a[i], b[i], y[i]);
                assert!(same(z[i], f(2.5, b[i])), "{op:?} 2.5 {}: {}", b[i], z[i]);
            }
        }
        let mut y = vec![0.0; n];
        // SAFETY: all have n entries.
        unsafe {
            select(Src::Slice(b.as_ptr()), Src::Slice(a.as_ptr()), Src::Scalar(9.0), y.as_mut_ptr(), n);
            for i in 0..n {
                assert!(same(y[i], if b[i] != 0.0 { a[i] } else { 9.0 }));
            }
            mul_add(Src::Scalar(2.0), Src::Slice(a.as_ptr()), Src::Slice(b.as_ptr()), y.as_mut_ptr(), n);
            for i in 0..n {
                assert!(same(y[i], 2.0f32.mul_add(a[i], b[i])));
            }
            y.copy_from_slice(&b);
            axpy(0.5, a.as_ptr(), y.as_mut_ptr(), n);
            for i in 0..n {
                assert!(same(y[i], 0.5f32.mul_add(a[i], b[i])));
            }
        }
    });
}
