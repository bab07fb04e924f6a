//! Prints the speed of the kernels on this machine, one thread: products of matrices at the shapes of training steps in GFLOP/s (with
//! `--features compare` next to other libraries), and element-wise functions in ns per element.
//! `cargo run --release -p archc-kernels --example table [gemm|unary] [--features compare]`

use archc_kernels::elementwise::{Binary, Src, Unary, binary, unary};
use archc_kernels::gemm::gemm;
use std::time::Instant;

/// The best time of a call of each function, in seconds. Other processes share the machine, so all are measured in turn, many times.
fn best<const N: usize>(mut all: [&mut dyn FnMut(); N]) -> [f64; N] {
    let calls = all.each_mut().map(|f| {
        f();
        let begin = Instant::now();
        f();
        (0.001 / begin.elapsed().as_secs_f64().max(1e-9)).ceil().max(1.0) as usize
    });
    let mut best = [f64::INFINITY; N];
    for _ in 0..30 {
        for ((f, calls), best) in all.iter_mut().zip(calls).zip(&mut best) {
            let begin = Instant::now();
            (0..calls).for_each(|_| f());
            *best = best.min(begin.elapsed().as_secs_f64() / calls as f64);
        }
    }
    best
}

/// m, n, k, and whether A and B are stored transposed.
type Product = (usize, usize, usize, bool, bool);

fn products() -> Vec<Product> {
    let mut all = Vec::new();
    for (n, k) in [
        (32, 32),
        (64, 64),
        (128, 64),
        (64, 128),
        (128, 128),
        (256, 256),
        (512, 256),
        (256, 512),
        (1024, 256),
        (512, 512),
        (1024, 1024),
    ] {
        for m in [256, 1024, 4096] {
            if m * n * k <= 1 << 31 {
                all.push((m, n, k, false, false));
            }
        }
        all.push((1024, k, n, false, true));
        all.push((k, n, 1024, true, false));
    }
    all.push((64, 64, 4096, true, false));
    all.push((256, 256, 4096, true, false));
    for (m, n, k) in [
        (16, 16, 16),
        (16, 32, 16),
        (32, 32, 32),
        (64, 64, 64),
        (16, 64, 64),
        (64, 32, 64),
        (64, 128, 64),
        (64, 128, 128),
        (16, 128, 8),
        (64, 16, 32),
    ] {
        for (ta, tb) in [(false, false), (true, false), (false, true)] {
            all.push((m, n, k, ta, tb));
        }
    }
    for (m, n, k) in [(1, 64, 64), (1, 256, 256), (4, 256, 256), (8, 256, 256), (1, 1024, 256), (256, 1, 256)] {
        all.push((m, n, k, false, false));
        all.push((m, n, k, false, true));
    }
    all
}

struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    sa: (isize, isize),
    sb: (isize, isize),
}

fn operands((m, n, k, ta, tb): Product) -> Operands {
    let fill = |len: usize| (0..len).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    Operands {
        a: fill(m * k),
        b: fill(k * n),
        c: vec![0.0; m * n],
        sa: if ta { (1, m as isize) } else { (k as isize, 1) },
        sb: if tb { (1, k as isize) } else { (n as isize, 1) },
    }
}

fn gemm_table() {
    print!("{:>5} {:>5} {:>5} {:>3}  {:>7}", "m", "n", "k", "", "ours");
    #[cfg(feature = "compare")]
    print!(" {:>7} {:>7} {:>7}", "gemm", "matmul", "faer");
    println!();
    for product in products() {
        let (m, n, k, ta, tb) = product;
        let Operands { a, b, mut c, sa, sb } = operands(product);
        let rate = |t: f64| 2.0 * (m * n * k) as f64 / t / 1e9;
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let c = c.as_mut_ptr();
        // SAFETY: here and below, the operands have these shapes.
        let mut ours = || unsafe { gemm(m, n, k, 1.0, a, sa.0, sa.1, b, sb.0, sb.1, 0.0, c, n as isize, 1) };
        #[cfg(feature = "compare")]
        let times = {
            let (cs, none) = (n as isize, ::gemm::Parallelism::None);
            let mut crate_gemm = || unsafe {
                ::gemm::gemm(
                    m, n, k, c, 1, cs, false, a, sa.1, sa.0, b, sb.1, sb.0, 0.0, 1.0, false, false, false, none,
                );
            };
            let mut matrixmultiply =
                || unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, sa.0, sa.1, b, sb.0, sb.1, 0.0, c, cs, 1) };
            let mut crate_faer = || unsafe {
                use faer::{Accum, MatMut, MatRef, Par};
                let (a, b) = (MatRef::from_raw_parts(a, m, k, sa.0, sa.1), MatRef::from_raw_parts(b, k, n, sb.0, sb.1));
                let c = MatMut::from_raw_parts_mut(c, m, n, cs, 1);
                faer::linalg::matmul::matmul(c, Accum::Replace, a, b, 1.0f32, Par::Seq);
            };
            best([&mut ours, &mut crate_gemm, &mut matrixmultiply, &mut crate_faer])
        };
        #[cfg(not(feature = "compare"))]
        let times = best([&mut ours]);
        let letter = |t| if t { 'T' } else { 'N' };
        print!("{m:>5} {n:>5} {k:>5} {}{} ", letter(ta), letter(tb));
        times.iter().for_each(|t| print!(" {:>7.1}", rate(*t)));
        println!();
    }
}

fn unary_table() {
    let n = 4096;
    let x: Vec<f32> = (0..n).map(|i| 0.01 + (i % 311) as f32 / 100.0).collect();
    let mut y = vec![0.0; n];
    println!("ns an entry, {n} entries");
    for op in [
        Unary::Neg,
        Unary::Floor,
        Unary::Exp,
        Unary::Expm1,
        Unary::Log,
        Unary::Log1p,
        Unary::Sqrt,
        Unary::Rsqrt,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Silu,
        Unary::Gelu,
        Unary::Relu,
        Unary::Elu,
        Unary::Softplus,
        Unary::Sin,
        Unary::Cos,
        Unary::Atan,
        Unary::Erf,
        Unary::Powi(3),
        Unary::Powi(-2),
        Unary::Recip,
        Unary::Square,
    ] {
        // SAFETY: both have n entries.
        let [t] = best([&mut || unsafe { unary(op, x.as_ptr(), y.as_mut_ptr(), n) }]);
        println!("{:<10} {:.3}", format!("{op:?}"), t / n as f64 * 1e9);
    }
    for op in [Binary::Add, Binary::Mul, Binary::Div, Binary::Rem, Binary::Pow, Binary::Max, Binary::Lt] {
        let (a, b) = (Src::Slice(x.as_ptr()), Src::Slice(x.as_ptr()));
        // SAFETY: all have n entries.
        let [t] = best([&mut || unsafe { binary(op, a, b, y.as_mut_ptr(), n) }]);
        println!("{:<10} {:.3}", format!("{op:?}"), t / n as f64 * 1e9);
    }
}

fn main() {
    println!("{:?}", archc_kernels::level());
    let what = std::env::args().nth(1).unwrap_or_default();
    if what != "unary" {
        gemm_table();
    }
    if what != "gemm" {
        unary_table();
    }
}
