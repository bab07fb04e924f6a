//! Functions of two numbers over a grid of runs, with operands that lack some of its dimensions: nothing is copied to be spread.

use super::{Binary, Src, each_of_two};
use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// Dimensions around the runs.
pub const AROUND: usize = 3;

/// An operand of [`grid`]: where it starts, its distances along the dimensions around, and whether it has a number for each entry
/// of a run (else one for all).
#[derive(Clone, Copy, Debug)]
pub struct GridSrc {
    /// Its first number.
    pub at: *const f32,
    /// Distances.
    pub around: [usize; AROUND],
    /// Whether it moves along a run.
    pub moves: bool,
}

/// A function that has vector instructions.
trait Pair {
    unsafe fn vector<V: Vector>(a: V, b: V) -> V;
    fn number(a: f32, b: f32) -> f32;
}

macro_rules! pairs {
    ($($name:ident: |$a:ident, $b:ident| $vector:expr, $number:expr;)*) => {$(
        struct $name;
        impl Pair for $name {
            #[inline(always)]
            unsafe fn vector<V: Vector>($a: V, $b: V) -> V {
                // SAFETY: called where the instruction set is enabled.
                unsafe { $vector }
            }
            #[inline(always)]
            fn number($a: f32, $b: f32) -> f32 {
                $number
            }
        }
    )*};
}

pairs! {
    Add: |a, b| a.add(b), a + b;
    Sub: |a, b| a.sub(b), a - b;
    Mul: |a, b| a.mul(b), a * b;
    Div: |a, b| a.div(b), a / b;
    Min: |a, b| a.smaller(b), crate::rows::smaller(a, b);
    Max: |a, b| a.larger(b), crate::rows::larger(a, b);
}

/// Vectors of a run that are loaded before the first is stored.
const UNROLL: usize = 4;

/// One run. y may be a or b.
#[inline(always)]
unsafe fn run<I: Isa, P: Pair, const A: bool, const B: bool>(a: *const f32, b: *const f32, y: *mut f32, n: usize) {
    let lanes = I::V::LANES;
    // SAFETY: the caller's contract.
    unsafe {
        let (same_a, same_b) = (I::V::splat(*a), I::V::splat(*b));
        let at = |i: usize| {
            let x = if A { I::V::load(a.add(i)) } else { same_a };
            P::vector(x, if B { I::V::load(b.add(i)) } else { same_b })
        };
        let mut i = 0;
        while i + UNROLL * lanes <= n {
            let mut out = [same_a; UNROLL];
            for (u, out) in out.iter_mut().enumerate() {
                *out = at(i + u * lanes);
            }
            for (u, out) in out.into_iter().enumerate() {
                out.store(y.add(i + u * lanes));
            }
            i += UNROLL * lanes;
        }
        while i + lanes <= n {
            at(i).store(y.add(i));
            i += lanes;
        }
        let (one_a, one_b) = (*a, *b);
        while i < n {
            let x = if A { *a.add(i) } else { one_a };
            *y.add(i) = P::number(x, if B { *b.add(i) } else { one_b });
            i += 1;
        }
    }
}

/// Where the next run starts.
#[inline(always)]
unsafe fn runs(
    sizes: [usize; AROUND],
    n: usize,
    a: GridSrc,
    b: GridSrc,
    y: *mut f32,
    mut f: impl FnMut(*const f32, *const f32, *mut f32),
) {
    let mut at = y;
    for i in 0..sizes[0] {
        for j in 0..sizes[1] {
            for k in 0..sizes[2] {
                // SAFETY: the caller's contract.
                unsafe {
                    let place = |x: GridSrc| x.at.add(i * x.around[0] + j * x.around[1] + k * x.around[2]);
                    f(place(a), place(b), at);
                    at = at.add(n);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn all<I: Isa, P: Pair>(sizes: [usize; AROUND], n: usize, a: GridSrc, b: GridSrc, y: *mut f32) {
    macro_rules! loops {
        ($A:literal, $B:literal) => {{
            let mut at = y;
            for i in 0..sizes[0] {
                for j in 0..sizes[1] {
                    let [x, z] = [a, b].map(|x| x.at.wrapping_add(i * x.around[0] + j * x.around[1]));
                    for k in 0..sizes[2] {
                        // SAFETY: the caller's contract.
                        unsafe {
                            run::<I, P, $A, $B>(x.add(k * a.around[2]), z.add(k * b.around[2]), at, n);
                            at = at.add(n);
                        }
                    }
                }
            }
        }};
    }
    match (a.moves, b.moves) {
        (true, true) => loops!(true, true),
        (true, false) => loops!(true, false),
        (false, true) => loops!(false, true),
        (false, false) => loops!(false, false),
    }
}

#[inline(always)]
unsafe fn grid_body<I: Isa>(_: I, op: Binary, sizes: [usize; AROUND], n: usize, a: GridSrc, b: GridSrc, y: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Binary::Add => all::<I, Add>(sizes, n, a, b, y),
            Binary::Sub => all::<I, Sub>(sizes, n, a, b, y),
            Binary::Mul => all::<I, Mul>(sizes, n, a, b, y),
            Binary::Div => all::<I, Div>(sizes, n, a, b, y),
            Binary::Min => all::<I, Min>(sizes, n, a, b, y),
            Binary::Max => all::<I, Max>(sizes, n, a, b, y),
            op => {
                let src = |moves, at: *const f32| if moves { Src::Slice(at) } else { Src::Scalar(*at) };
                runs(sizes, n, a, b, y, |x, z, y| each_of_two(op, src(a.moves, x), src(b.moves, z), y, n));
            }
        }
    }
}

versions! {
    /// y = op(a, b) over a dense grid of `sizes` runs of n entries. y may be an operand that has all of it.
    pub unsafe fn grid(
        op: Binary, sizes: [usize; AROUND], n: usize, a: GridSrc, b: GridSrc, y: *mut f32,
    ) = grid_body;
}
