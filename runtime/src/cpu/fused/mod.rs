//! Fused loops: the ops of a kernel run one after the other over blocks that stay in the L1 cache.
//!
//! When a session is made, dimensions that all operands traverse in the same way are merged, the iteration space is split into blocks of
//! about a thousand elements, and each value gets a register: a piece of scratch memory as large as its part of a block, shared by values
//! that are not live at the same time. Operands are read in place, and results are written in place, if they are contiguous; for binary ops
//! it is enough that they consist of contiguous runs. A sum over dimensions that reach beyond a block is accumulated in its destination,
//! block by block, in order.

mod ops;
mod prepare;

pub(super) use prepare::prepare;

use super::context::{Context, WORTH};
use super::memory::{Bases, Slot};
use archc_compiler::plan::Fold;
use archc_kernels::copy::{add_nd, copy_nd};
use archc_kernels::elementwise::{self, AROUND, Around, Binary, Chain, Grid, GridSrc, Src, Unary};
use archc_kernels::rows;
use std::ops::Range;

/// The place of a value's elements during a block.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A register in scratch memory: offset in elements.
    Register(usize),
    /// A buffer: index of the operand.
    Memory(usize),
}

/// A number of elements that may depend on the number of indices of the split dimension in a block.
#[derive(Clone, Copy, Debug)]
struct Count {
    each: usize,
    split: bool,
}

impl Count {
    fn at(self, block: usize) -> usize {
        if self.split { self.each * block } else { self.each }
    }
}

/// A strided copy over the dimensions of a block: sizes, and strides of both sides. `split` is the position of the split dimension.
#[derive(Clone, Debug)]
struct Walk {
    sizes: Vec<usize>,
    to: Vec<isize>,
    from: Vec<isize>,
    split: Option<usize>,
}

/// A buffer that is read or written.
#[derive(Clone, Debug)]
struct Operand {
    slot: Slot,
    /// Stride along each outer dimension; `split` is the stride along the split one.
    outer: Vec<isize>,
    split: isize,
}

#[derive(Clone, Debug)]
enum Code {
    Store {
        x: usize,
        operand: usize,
        walk: Walk,
        add: bool,
    },
    Unary {
        op: Unary,
        x: usize,
        y: Place,
        n: Count,
    },
    /// A binary op over a grid of runs; operands do not move along dimensions that they lack.
    Binary {
        op: Binary,
        a: Moving,
        b: Moving,
        y: Place,
        to: Around,
        around: [Count; AROUND],
        n: Count,
    },
    /// A chain of two binary functions in one pass.
    Chain {
        f: Chain,
        src: [Moving; 3],
        y: Place,
        to: Around,
        around: [Count; AROUND],
        n: Count,
    },
    /// Sums of products along runs.
    Dot {
        a: usize,
        b: usize,
        y: Place,
        rows: Count,
        n: Count,
    },
    Select {
        c: Arg,
        a: Arg,
        b: Arg,
        y: Place,
        n: Count,
    },
    Spread {
        x: usize,
        y: Place,
        walk: Walk,
    },
    Fold {
        op: Fold,
        x: usize,
        y: Place,
        outer: Count,
        middle: Count,
        inner: Count,
    },
}

/// An operand of an element-wise op: a value of the result's length, or a scalar.
#[derive(Clone, Copy, Debug)]
struct Arg {
    value: usize,
    one: bool,
}

/// An operand of an op over a grid: its strides along the dimensions around the runs, and whether it moves along a run.
#[derive(Clone, Copy, Debug)]
struct Moving {
    value: usize,
    around: Around,
    moves: bool,
}

/// A prepared kernel.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Sizes of the dimensions around the blocks.
    outer: Vec<usize>,
    /// Size of the split dimension; `block` is the number of its indices in a block.
    split: usize,
    block: usize,
    operands: Vec<Operand>,
    /// Number of operands that are read; the others are written.
    inputs: usize,
    /// The place of each value during a block; constants are values listed in `numbers`.
    places: Vec<Place>,
    code: Vec<Code>,
    /// Operands that are zeroed first, with their layouts.
    zero: Vec<(usize, Walk)>,
    /// Constants: index of the value, and its number, which is written to its register once.
    numbers: Vec<(usize, f32)>,
    /// Size of all registers, in elements.
    pub registers: usize,
}

impl Program {
    /// A text with the iteration space and the size of the kernel, for profiles.
    pub fn detail(&self) -> String {
        let moves = self.code.iter().filter(|c| matches!(c, Code::Store { .. } | Code::Spread { .. }));
        format!(
            " {:?} x {} by {}, {} ops, {} of them copies, {} operands",
            self.outer,
            self.split,
            self.block,
            self.code.len(),
            moves.count(),
            self.operands.len()
        )
    }

    /// Runs the kernel, on several threads where that pays.
    ///
    /// # Safety
    /// The bases are those for which the plan was made, and no other thread writes what the kernel touches.
    pub unsafe fn share(&self, bases: &Bases, context: &Context<'_>) {
        let (count, unit) = match self.outer.first() {
            Some(first) => (*first, 1),
            None => (self.split, self.block),
        };
        let all: usize = self.outer.iter().product::<usize>() * self.split;
        // sums that are accumulated in place have one order
        let apart = self.zero.is_empty() && all / self.block * self.code.len() >= WORTH;
        // SAFETY: shares have disjoint indices of the outermost dimension, along which all results move, so that they write disjoint memory
        unsafe {
            if context.workers.is_some() && apart && self.results_differ() {
                context.share(count, unit, bases, std::ptr::null_mut(), |range, _, bases, context| {
                    self.run(range, bases, context.registers);
                });
            } else {
                self.run(0..count, bases, context.registers);
            }
        }
    }

    /// Whether every result has a nonzero stride along the outermost dimension.
    fn results_differ(&self) -> bool {
        let moves = |o: &Operand| o.outer.first().copied().unwrap_or(o.split) != 0;
        self.operands[self.inputs..].iter().all(moves)
    }

    /// Runs a range of indices of the outermost dimension around the blocks, or of the split one if there is none.
    unsafe fn run(&self, range: Range<usize>, bases: &Bases, registers: *mut f32) {
        // SAFETY: the plan keeps every view inside of its buffer, and the registers have the size that was counted
        unsafe {
            for (operand, walk) in &self.zero {
                let at = bases.at(self.operands[*operand].slot);
                let zero = 0.0f32;
                copy_nd(at, &walk.to, &zero, &walk.from, &walk.sizes);
            }
            for (value, x) in &self.numbers {
                if let Place::Register(at) = self.places[*value] {
                    *registers.add(at) = *x;
                }
            }
            let mut pointers = [std::ptr::null_mut::<f32>(); MOST_OPERANDS];
            let mut heap;
            let pointers: &mut [*mut f32] = if self.operands.len() <= MOST_OPERANDS {
                &mut pointers[..self.operands.len()]
            } else {
                heap = vec![std::ptr::null_mut(); self.operands.len()];
                &mut heap
            };
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                let step = o.outer.first().copied().unwrap_or(o.split);
                *p = bases.at(o.slot).offset(range.start as isize * step);
            }
            if self.outer.is_empty() {
                self.blocks(range.len(), pointers, registers);
            } else {
                self.nest(0, range.len(), pointers, registers);
            }
        }
    }

    unsafe fn nest(&self, level: usize, count: usize, pointers: &mut [*mut f32], registers: *mut f32) {
        // SAFETY: as for `run`
        unsafe {
            for _ in 0..count {
                match self.outer.get(level + 1) {
                    Some(inner) => self.nest(level + 1, *inner, pointers, registers),
                    None => self.blocks(self.split, pointers, registers),
                }
                for (p, o) in pointers.iter_mut().zip(&self.operands) {
                    *p = p.offset(o.outer[level]);
                }
            }
            let n = count as isize;
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                *p = p.offset(-n * o.outer[level]);
            }
        }
    }

    unsafe fn blocks(&self, count: usize, pointers: &mut [*mut f32], registers: *mut f32) {
        let mut done = 0;
        // SAFETY: as for `run`
        unsafe {
            while done < count {
                let block = self.block.min(count - done);
                self.block(block, pointers, registers);
                done += block;
                for (p, o) in pointers.iter_mut().zip(&self.operands) {
                    *p = p.offset(block as isize * o.split);
                }
            }
            for (p, o) in pointers.iter_mut().zip(&self.operands) {
                *p = p.offset(-(done as isize) * o.split);
            }
        }
    }

    unsafe fn block(&self, block: usize, pointers: &[*mut f32], registers: *mut f32) {
        // SAFETY: as for `run`
        unsafe {
            let at = |place: Place| match place {
                Place::Register(r) => registers.add(r),
                Place::Memory(m) => pointers[m],
            };
            let value = |v: usize| at(self.places[v]);
            let src = |arg: Arg| match arg.one {
                true => Src::Scalar(*value(arg.value)),
                false => Src::Slice(value(arg.value)),
            };
            let moving = |x: &Moving| GridSrc { at: value(x.value), around: x.around, moves: x.moves };
            for code in &self.code {
                match code {
                    Code::Store { x, operand, walk, add } => {
                        walk.copy(block, pointers[*operand], value(*x), *add);
                    }
                    Code::Unary { op, x, y, n } => elementwise::unary(*op, value(*x), at(*y), n.at(block)),
                    Code::Binary { op, a, b, y, to, around, n } => {
                        let grid = Grid { sizes: around.map(|c| c.at(block)), n: n.at(block) };
                        elementwise::grid(*op, grid, moving(a), moving(b), at(*y), *to);
                    }
                    Code::Chain { f, src, y, to, around, n } => {
                        let grid = Grid { sizes: around.map(|c| c.at(block)), n: n.at(block) };
                        let [a, b, c] = src;
                        elementwise::chain(*f, grid, [moving(a), moving(b), moving(c)], at(*y), *to);
                    }
                    Code::Dot { a, b, y, rows, n } => {
                        let n = n.at(block);
                        rows::dot(value(*a), n, value(*b), n, rows.at(block), n, at(*y));
                    }
                    Code::Select { c, a, b, y, n } => {
                        elementwise::select(src(*c), src(*a), src(*b), at(*y), n.at(block));
                    }
                    Code::Spread { x, y, walk } => {
                        if *x != usize::MAX {
                            walk.copy(block, at(*y), value(*x), false);
                        }
                    }
                    Code::Fold { op, x, y, outer, middle, inner } => {
                        fold(*op, value(*x), at(*y), outer.at(block), middle.at(block), inner.at(block));
                    }
                }
            }
        }
    }
}

/// Maximum number of operands whose pointers need no allocation.
const MOST_OPERANDS: usize = 64;

impl Walk {
    unsafe fn copy(&self, block: usize, to: *mut f32, from: *const f32, add: bool) {
        let mut sizes = [0usize; archc_kernels::copy::DIMS];
        let n = self.sizes.len();
        sizes[..n].copy_from_slice(&self.sizes);
        if let Some(s) = self.split {
            sizes[s] = block;
        }
        // SAFETY: the walk was made for these buffers
        unsafe {
            if add {
                add_nd(to, &self.to, from, &self.from, &sizes[..n]);
            } else {
                copy_nd(to, &self.to, from, &self.from, &sizes[..n]);
            }
        }
    }
}

unsafe fn fold(op: Fold, x: *const f32, y: *mut f32, outer: usize, middle: usize, inner: usize) {
    // SAFETY: x has outer * middle * inner elements, y outer * inner
    unsafe {
        if inner == 1 {
            return match op {
                Fold::Sum => rows::sum(x, outer, middle, middle, y),
                Fold::Max => rows::max(x, outer, middle, middle, y),
                Fold::Min => rows::min(x, outer, middle, middle, y),
            };
        }
        for o in 0..outer {
            let (x, y) = (x.add(o * middle * inner), y.add(o * inner));
            std::ptr::copy_nonoverlapping(x, y, inner);
            match op {
                Fold::Sum => rows::add_columns(x.add(inner), middle - 1, inner, inner, y),
                Fold::Max | Fold::Min => {
                    let op = if op == Fold::Max { Binary::Max } else { Binary::Min };
                    for m in 1..middle {
                        elementwise::binary(op, Src::Slice(y), Src::Slice(x.add(m * inner)), y, inner);
                    }
                }
            }
        }
    }
}
