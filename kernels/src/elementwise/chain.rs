//! Two binary functions in one pass: the result of the first stays in registers.

use super::grid::{Add, Around, Grid, GridSrc, Mul, Pair, Sub};
use crate::isa::{Isa, versions};
use crate::vector::Vector;

/// A function that can be a part of a [`Chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arith {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a b
    Mul,
}

/// second(first(a, b), c), each rounded, or with `turned` second(c, first(a, b)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The function of a and b.
    pub first: Arith,
    /// The function of the first result and c.
    pub second: Arith,
    /// Whether c is the first operand of `second`.
    pub turned: bool,
}

/// A chain of two functions, on vectors and on single elements.
trait Both {
    unsafe fn vector<V: Vector>(a: V, b: V, c: V) -> V;
    fn number(a: f32, b: f32, c: f32) -> f32;
}

/// `Q` after `P`, whose result is the second operand if `TURNED`.
struct Then<P, Q, const TURNED: bool>(std::marker::PhantomData<(P, Q)>);

impl<P: Pair, Q: Pair, const TURNED: bool> Both for Then<P, Q, TURNED> {
    #[inline(always)]
    unsafe fn vector<V: Vector>(a: V, b: V, c: V) -> V {
        // SAFETY: called where the instruction set is enabled.
        unsafe {
            let x = P::vector(a, b);
            if TURNED { Q::vector(c, x) } else { Q::vector(x, c) }
        }
    }
    #[inline(always)]
    fn number(a: f32, b: f32, c: f32) -> f32 {
        let x = P::number(a, b);
        if TURNED { Q::number(c, x) } else { Q::number(x, c) }
    }
}

/// Lanes of the longest vector.
const LONGEST: usize = 16;

/// Computes one run. y may be an operand.
#[inline(always)]
unsafe fn run<I: Isa, B: Both>(mut at: [*const f32; 3], moves: [bool; 3], y: *mut f32, n: usize) {
    let lanes = I::V::LANES;
    // operands that do not move along the run are read from a broadcast vector, so that one loop serves all cases
    let mut rooms = [[0.0f32; LONGEST]; 3];
    let mut step = [1; 3];
    // SAFETY: the caller's contract.
    unsafe {
        for k in 0..3 {
            if !moves[k] {
                I::V::splat(*at[k]).store(rooms[k].as_mut_ptr());
                (at[k], step[k]) = (rooms[k].as_ptr(), 0);
            }
        }
        let hop = step.map(|s| s * lanes);
        let vector = |at: [*const f32; 3]| B::vector(I::V::load(at[0]), I::V::load(at[1]), I::V::load(at[2]));
        type Four = [f32; 4];
        let four = |at: [*const f32; 3]| B::vector(Four::load(at[0]), Four::load(at[1]), Four::load(at[2]));
        let on = |at: [*const f32; 3], hop: [usize; 3]| {
            [at[0].wrapping_add(hop[0]), at[1].wrapping_add(hop[1]), at[2].wrapping_add(hop[2])]
        };
        let mut i = 0;
        while i + 2 * lanes <= n {
            let next = on(at, hop);
            let (x, z) = (vector(at), vector(next));
            x.store(y.add(i));
            z.store(y.add(i + lanes));
            at = on(next, hop);
            i += 2 * lanes;
        }
        while i + lanes <= n {
            vector(at).store(y.add(i));
            at = on(at, hop);
            i += lanes;
        }
        // the remainder, four elements at a time: runs may be shorter than a vector
        while i + Four::LANES <= n {
            four(at).store(y.add(i));
            at = on(at, step.map(|s| s * Four::LANES));
            i += Four::LANES;
        }
        while i < n {
            *y.add(i) = B::number(*at[0], *at[1], *at[2]);
            at = on(at, step);
            i += 1;
        }
    }
}

#[inline(always)]
unsafe fn all<I: Isa, B: Both>(grid: Grid, src: [GridSrc; 3], y: *mut f32, to: Around) {
    let Grid { sizes: [first, second, third], n } = grid;
    let moves = src.map(|s| s.moves);
    for i in 0..first as isize {
        for j in 0..second as isize {
            let place = |d: Around| i * d[0] + j * d[1];
            // SAFETY: the caller's contract.
            unsafe {
                let mut at = src.map(|s| s.at.offset(place(s.around)));
                let mut y = y.offset(place(to));
                for _ in 0..third {
                    run::<I, B>(at, moves, y, n);
                    for (at, s) in at.iter_mut().zip(&src) {
                        *at = at.wrapping_offset(s.around[2]);
                    }
                    y = y.wrapping_offset(to[2]);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn chain_body<I: Isa>(_: I, f: Chain, grid: Grid, src: [GridSrc; 3], y: *mut f32, to: Around) {
    macro_rules! second {
        ($first:ty) => {
            match (f.second, f.turned) {
                (Arith::Add, _) => all::<I, Then<$first, Add, false>>(grid, src, y, to),
                (Arith::Mul, _) => all::<I, Then<$first, Mul, false>>(grid, src, y, to),
                (Arith::Sub, false) => all::<I, Then<$first, Sub, false>>(grid, src, y, to),
                (Arith::Sub, true) => all::<I, Then<$first, Sub, true>>(grid, src, y, to),
            }
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        match f.first {
            Arith::Add => second!(Add),
            Arith::Sub => second!(Sub),
            Arith::Mul => second!(Mul),
        }
    }
}

versions! {
    /// y = f(a, b, c) over a grid, where `to` are the strides of y around the runs. y may be an operand of the same layout.
    pub unsafe fn chain(f: Chain, grid: Grid, src: [GridSrc; 3], y: *mut f32, to: Around) = chain_body;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::at_each_level;

    #[test]
    fn chains_are_what_their_parts_give_in_turn() {
        at_each_level(|_| {
            let number = |i: usize, salt: usize| ((i * 7919 + salt * 104_729) % 1009) as f32 / 97.0 - 5.0;
            let of = |f: Arith, a: f32, b: f32| match f {
                Arith::Add => a + b,
                Arith::Sub => a - b,
                Arith::Mul => a * b,
            };
            let each = [Arith::Add, Arith::Sub, Arith::Mul];
            // rows of a matrix: a whole, b one element per row, c one row for all; then all three whole
            for (n, moving) in [1, 3, 4, 8, 13, 16, 37, 64].into_iter().flat_map(|n| [(n, false), (n, true)]) {
                let rows = 3;
                let [a, b, c] = [0, 1, 2].map(|salt| (0..rows * n).map(|i| number(i, salt)).collect::<Vec<f32>>());
                for (first, second, turned) in
                    each.into_iter().flat_map(|f| each.map(|s| [(f, s, false), (f, s, true)])).flatten()
                {
                    let row = n as isize;
                    let src = [
                        GridSrc { at: a.as_ptr(), around: [0, 0, row], moves: true },
                        GridSrc { at: b.as_ptr(), around: [0, 0, if moving { row } else { 1 }], moves: moving },
                        GridSrc { at: c.as_ptr(), around: [0, 0, if moving { row } else { 0 }], moves: true },
                    ];
                    let mut y = vec![f32::NAN; rows * n];
                    let grid = Grid { sizes: [1, 1, rows], n };
                    // SAFETY: three rows of n, as the strides say.
                    unsafe { chain(Chain { first, second, turned }, grid, src, y.as_mut_ptr(), [0, 0, row]) };
                    for (i, y) in y.iter().enumerate() {
                        let x = of(first, a[i], if moving { b[i] } else { b[i / n] });
                        let c = if moving { c[i] } else { c[i % n] };
                        let want = if turned { of(second, c, x) } else { of(second, x, c) };
                        assert_eq!(*y, want, "{first:?} {second:?} {turned} n {n} at {i}");
                    }
                }
            }
        });
    }
}
