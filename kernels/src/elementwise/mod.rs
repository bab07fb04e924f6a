//! Element-wise functions.
//!
//! A loop runs over blocks. Where the result overlaps an operand, a block's results go to the stack first and are then copied out. This way
//! the compiler knows that results and operands do not overlap within a block and vectorises the loop, and a result may replace an operand
//! in place.

mod chain;
mod grid;
pub(crate) mod math;
mod unary;

pub use chain::{Arith, Chain, chain};
pub use grid::{AROUND, Around, Grid, GridSrc, grid};
pub use unary::{Unary, unary};

use crate::isa::{Isa, versions};
use std::ptr::copy_nonoverlapping;

/// Evaluates an expression for each element, block by block.
macro_rules! each {
    ($I:ident, [$($src:expr),*], $y:expr, $n:expr, |$($x:ident),*| $f:expr) => {{
        struct Each;
        impl Block<{ [$(stringify!($x)),*].len() }> for Each {
            #[inline(always)]
            unsafe fn run<$I: Isa>(&self, src: [*const f32; [$(stringify!($x)),*].len()], out: &mut [f32; BLOCK], m: usize) {
                let [$($x),*] = src;
                for (l, o) in out[..m].iter_mut().enumerate() {
                    // SAFETY: `blocks` passes pointers to m elements.
                    $(let $x = unsafe { *$x.add(l) };)*
                    *o = $f;
                }
            }
        }
        blocks::<$I, _, _>(Each, [$($src),*], $y, $n)
    }};
}
use each;

/// Binary element-wise functions.
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
    /// the smaller; NaN if either is NaN
    Min,
    /// the larger; NaN if either is NaN
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
}

/// An operand: as many elements as the result has, or one scalar for all of them.
#[derive(Clone, Copy, Debug)]
pub enum Src {
    /// Contiguous elements.
    Slice(*const f32),
    /// One scalar.
    Scalar(f32),
}

/// Elements per block.
const BLOCK: usize = 64;

/// The current block of an operand, and the step to the next one in elements.
struct Feed {
    at: *const f32,
    step: usize,
}

impl Src {
    /// Whether the n elements from y on do not overlap this operand.
    #[inline(always)]
    fn apart(self, y: *mut f32, n: usize) -> bool {
        match self {
            Self::Slice(at) => (at as usize).abs_diff(y as usize) >= n * size_of::<f32>(),
            Self::Scalar(_) => true,
        }
    }

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

/// A function of one block. (Traits rather than closures: a closure that is not inlined would not be compiled for the instruction set of
/// the loop around it.)
trait Block<const N: usize> {
    /// Reads m elements at each pointer, m a multiple of eight, and writes m results.
    unsafe fn run<I: Isa>(&self, src: [*const f32; N], out: &mut [f32; BLOCK], m: usize);
}

/// Runs `f` on each whole block, then on a padded copy of the remainder.
#[inline(always)]
unsafe fn blocks<I: Isa, B: Block<N>, const N: usize>(f: B, src: [Src; N], y: *mut f32, n: usize) {
    let mut rooms = [[0.0; BLOCK]; N];
    let mut feeds = [const { Feed { at: std::ptr::null(), step: 0 } }; N];
    for i in 0..N {
        feeds[i] = src[i].feed(&mut rooms[i]);
    }
    let apart = src.iter().all(|s| s.apart(y, n));
    let mut out = [0.0; BLOCK];
    let mut i = 0;
    // SAFETY: slice operands have n elements, and so has y. A block is written to y directly only if y overlaps no operand.
    unsafe {
        while i + BLOCK <= n {
            let mut at = [std::ptr::null(); N];
            for k in 0..N {
                at[k] = feeds[k].at;
                feeds[k].at = feeds[k].at.wrapping_add(feeds[k].step);
            }
            let to = if apart { &mut *y.add(i).cast() } else { &mut out };
            f.run::<I>(at, to, BLOCK);
            if !apart {
                copy_nonoverlapping(out.as_ptr(), y.add(i), BLOCK);
            }
            i += BLOCK;
        }
        if i < n {
            let rest = n - i;
            let mut at = [std::ptr::null(); N];
            for k in 0..N {
                if feeds[k].step != 0 {
                    copy_nonoverlapping(feeds[k].at, rooms[k].as_mut_ptr(), rest);
                }
                at[k] = rooms[k].as_ptr();
            }
            f.run::<I>(at, &mut out, rest.next_multiple_of(8));
            copy_nonoverlapping(out.as_ptr(), y.add(i), rest);
        }
    }
}

#[inline(always)]
fn truth(c: bool) -> f32 {
    if c { 1.0 } else { 0.0 }
}

#[inline(always)]
unsafe fn each_body<I: Isa>(_: I, op: Binary, a: Src, b: Src, y: *mut f32, n: usize) {
    macro_rules! map {
        (|$a:ident, $b:ident| $f:expr) => {
            each!(I, [a, b], y, n, |$a, $b| $f)
        };
    }
    // SAFETY: the caller's contract.
    unsafe {
        match op {
            Binary::Rem => map!(|a, b| a - b * (a / b).floor()),
            Binary::Pow => map!(|a, b| a.powf(b)),
            Binary::Eq => map!(|a, b| truth(a == b)),
            Binary::Ne => map!(|a, b| truth(a != b)),
            Binary::Lt => map!(|a, b| truth(a < b)),
            Binary::Le => map!(|a, b| truth(a <= b)),
            Binary::Gt => map!(|a, b| truth(a > b)),
            Binary::Ge => map!(|a, b| truth(a >= b)),
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Min | Binary::Max => {
                unreachable!("archc bug: {op:?} has vector instructions")
            }
        }
    }
}

#[inline(always)]
unsafe fn select_body<I: Isa>(_: I, c: Src, a: Src, b: Src, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { each!(I, [c, a, b], y, n, |c, a, b| if c != 0.0 { a } else { b }) }
}

#[inline(always)]
unsafe fn mul_add_body<I: Isa>(_: I, a: Src, b: Src, c: Src, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { each!(I, [a, b, c], y, n, |a, b, c| I::fma(a, b, c)) }
}

versions! {
    /// [`binary`] for the functions that have no vector instructions of their own.
    unsafe fn each_of_two(op: Binary, a: Src, b: Src, y: *mut f32, n: usize) = each_body;
    /// y = a where c is not 0, else b. y may be any of them.
    pub unsafe fn select(c: Src, a: Src, b: Src, y: *mut f32, n: usize) = select_body;
    /// y = a b + c. y may be any of them.
    pub unsafe fn mul_add(a: Src, b: Src, c: Src, y: *mut f32, n: usize) = mul_add_body;
}

/// y = op(a, b). y may be a or b.
pub unsafe fn binary(op: Binary, a: Src, b: Src, y: *mut f32, n: usize) {
    let (mut first, mut second) = (0.0, 0.0);
    let src = |src, one: &mut f32| match src {
        Src::Slice(at) => GridSrc { at, around: [0; AROUND], moves: true },
        Src::Scalar(x) => {
            *one = x;
            GridSrc { at: one, around: [0; AROUND], moves: false }
        }
    };
    if n > 0 {
        // SAFETY: the caller's contract.
        unsafe { grid(op, Grid { sizes: [1; AROUND], n }, src(a, &mut first), src(b, &mut second), y, [0; AROUND]) }
    }
}

/// y += alpha x. y may be x.
pub unsafe fn axpy(alpha: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { mul_add(Src::Scalar(alpha), Src::Slice(x), Src::Slice(y), y, n) }
}

/// y = alpha x. y may be x.
pub unsafe fn scale(alpha: f32, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { binary(Binary::Mul, Src::Scalar(alpha), Src::Slice(x), y, n) }
}

/// Sets all n elements of y to x.
pub unsafe fn fill(x: f32, y: *mut f32, n: usize) {
    // SAFETY: y has n entries, which are being initialised.
    unsafe { std::slice::from_raw_parts_mut(y, n) }.fill(x);
}

/// Copies n elements from x to y, which may overlap.
pub unsafe fn copy(x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy(x, y, n) }
}

#[cfg(test)]
mod tests;
