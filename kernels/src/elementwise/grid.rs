//! Binary functions over a grid of runs, with operands that lack some of its dimensions: they are broadcast without a copy.

use super::{Binary, Src, each_of_two};
use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// Number of dimensions around the runs.
pub const AROUND: usize = 3;

/// Strides along the dimensions around the runs, in elements.
pub type Around = [isize; AROUND];

/// An operand of [`grid`]: its address, its strides along the dimensions around the runs, and whether it has an element for each element of
/// a run (otherwise one for the whole run).
#[derive(Clone, Copy, Debug)]
pub struct GridSrc {
    /// Its first element.
    pub at: *const f32,
    /// Strides along the dimensions around the runs, in elements.
    pub around: Around,
    /// Whether it moves along a run, with stride 1.
    pub moves: bool,
}

/// A function that has vector instructions.
pub(super) trait Pair {
    unsafe fn vector<V: Vector>(a: V, b: V) -> V;
    fn number(a: f32, b: f32) -> f32;
}

macro_rules! pairs {
    ($($name:ident: |$a:ident, $b:ident| $vector:expr, $number:expr;)*) => {$(
        pub(super) struct $name;
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

/// Computes one run. y may be a or b.
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
        type Four = [f32; 4];
        while i + Four::LANES <= n {
            let x = if A { Four::load(a.add(i)) } else { Four::splat(*a) };
            P::vector(x, if B { Four::load(b.add(i)) } else { Four::splat(*b) }).store(y.add(i));
            i += Four::LANES;
        }
        let (one_a, one_b) = (*a, *b);
        while i < n {
            let x = if A { *a.add(i) } else { one_a };
            *y.add(i) = P::number(x, if B { *b.add(i) } else { one_b });
            i += 1;
        }
    }
}

/// An iteration space: the lengths of the dimensions around the runs, and of a run.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Lengths of the dimensions around the runs.
    pub sizes: [usize; AROUND],
    /// Length of a run.
    pub n: usize,
}

/// Evaluates an expression for each run, with the addresses of its operands and of its result.
macro_rules! runs {
    ($grid:ident, $a:ident, $b:ident, $y:ident, $to:ident, |$x:ident, $z:ident, $at:ident| $do:expr) => {{
        let Grid { sizes: [first, second, third], .. } = $grid;
        for i in 0..first as isize {
            for j in 0..second as isize {
                let place = |d: Around| i * d[0] + j * d[1];
                let (mut $x, mut $z) = ($a.at.offset(place($a.around)), $b.at.offset(place($b.around)));
                let mut $at = $y.offset(place($to));
                for _ in 0..third {
                    $do;
                    ($x, $z) = ($x.wrapping_offset($a.around[2]), $z.wrapping_offset($b.around[2]));
                    $at = $at.wrapping_offset($to[2]);
                }
            }
        }
    }};
}

#[inline(always)]
unsafe fn all<I: Isa, P: Pair>(grid: Grid, a: GridSrc, b: GridSrc, y: *mut f32, to: Around) {
    let n = grid.n;
    // SAFETY: the caller's contract.
    unsafe {
        match (a.moves, b.moves) {
            (true, true) => runs!(grid, a, b, y, to, |x, z, at| run::<I, P, true, true>(x, z, at, n)),
            (true, false) => runs!(grid, a, b, y, to, |x, z, at| run::<I, P, true, false>(x, z, at, n)),
            (false, true) => runs!(grid, a, b, y, to, |x, z, at| run::<I, P, false, true>(x, z, at, n)),
            (false, false) => runs!(grid, a, b, y, to, |x, z, at| run::<I, P, false, false>(x, z, at, n)),
        }
    }
}

#[inline(always)]
unsafe fn grid_body<I: Isa>(_: I, op: Binary, grid: Grid, a: GridSrc, b: GridSrc, y: *mut f32, to: Around) {
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Binary::Add => all::<I, Add>(grid, a, b, y, to),
            Binary::Sub => all::<I, Sub>(grid, a, b, y, to),
            Binary::Mul => all::<I, Mul>(grid, a, b, y, to),
            Binary::Div => all::<I, Div>(grid, a, b, y, to),
            Binary::Min => all::<I, Min>(grid, a, b, y, to),
            Binary::Max => all::<I, Max>(grid, a, b, y, to),
            op => runs!(grid, a, b, y, to, |x, z, at| {
                let x = if a.moves { Src::Slice(x) } else { Src::Scalar(*x) };
                each_of_two(op, x, if b.moves { Src::Slice(z) } else { Src::Scalar(*z) }, at, grid.n);
            }),
        }
    }
}

versions! {
    /// y = op(a, b) over a grid, where `to` are the strides of y around the runs. y may be an operand of the same layout.
    pub unsafe fn grid(op: Binary, grid: Grid, a: GridSrc, b: GridSrc, y: *mut f32, to: Around) = grid_body;
}
