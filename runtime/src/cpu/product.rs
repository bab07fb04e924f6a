//! Matrix products.

use super::context::{Context, WORTH};
use super::memory::{Bases, Slot};
use archc_compiler::plan::{Gemm, GemmDim, Matrix};
use archc_kernels::gemm::{self, Banded, gemm, gemm_banded, gemm_batch};
use std::ops::Range;

/// Rows per share of a product: whole tiles of every instruction set, so that the split does not change the order of any sum.
const ROWS: usize = 168;

/// Numbers of rows of a last share for which the kernels would sum in another order.
const FEW: Range<usize> = 1..gemm::FEW;

/// The factor beta of the former contents of C.
fn beta(accumulate: bool) -> f32 {
    if accumulate { 1.0 } else { 0.0 }
}

/// Matrix products.
#[derive(Clone, Debug)]
pub(super) struct Product {
    pub gemm: Gemm,
    a: Slot,
    b: Slot,
    c: Slot,
}

impl Product {
    pub fn new(gemm: &Gemm) -> Self {
        let slot = |m: &Matrix| Slot::from(m.start);
        Self { a: slot(&gemm.a), b: slot(&gemm.b), c: slot(&gemm.c), gemm: gemm.clone() }
    }

    /// Runs the product.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        // SAFETY: the plan's matrices lie inside of their buffers; shares write disjoint rows
        unsafe {
            let g = &self.gemm;
            let plain = g.batch.is_empty() && g.sums.is_empty();
            let banded = self.banded(context).filter(|_| plain);
            let shared = context.workers.is_some() && g.flops() >= WORTH && plain && !FEW.contains(&(g.m % ROWS));
            if shared && banded.is_none() {
                return context.share(g.m, ROWS, bases, std::ptr::null_mut(), |rows, _, bases, _| {
                    let at = |slot, step: isize| bases.at(slot).offset(rows.start as isize * step);
                    let (a, b, c) = (at(self.a, g.a.row), bases.at(self.b), at(self.c, g.c.row));
                    let (ac, br, bc, cc) = (g.a.col, g.b.row, g.b.col, g.c.col);
                    gemm(rows.len(), g.n, g.k, 1.0, a, g.a.row, ac, b, br, bc, beta(g.accumulate), c, g.c.row, cc);
                });
            }
            let (a, b, c) = (bases.at(self.a), bases.at(self.b), bases.at(self.c));
            if plain {
                let (ac, br, bc, cc) = (g.a.col, g.b.row, g.b.col, g.c.col);
                return gemm_banded(
                    banded,
                    g.m,
                    g.n,
                    g.k,
                    a,
                    g.a.row,
                    ac,
                    b,
                    br,
                    bc,
                    beta(g.accumulate),
                    c,
                    g.c.row,
                    cc,
                );
            }
            self.sums(0, a, b, c, g.accumulate);
        }
    }

    /// The matrix of the product of which only the visible band of the tile is used, if any.
    fn banded(&self, context: &Context<'_>) -> Option<Banded> {
        let (band, pairs) = (context.band.get()?, self.gemm.pairs?);
        match pairs {
            [GemmDim::M, GemmDim::N] => Some(Banded::Result(band)),
            [GemmDim::N, GemmDim::M] => Some(Banded::Result(band.transposed())),
            [GemmDim::M, GemmDim::K] => Some(Banded::Left(band)),
            [GemmDim::K, GemmDim::M] => Some(Banded::Left(band.transposed())),
            _ => None,
        }
    }

    /// Runs the products of the further summed dimensions from `level` on.
    unsafe fn sums(&self, level: usize, a: *const f32, b: *const f32, c: *mut f32, accumulate: bool) {
        // SAFETY: as for `run`
        unsafe {
            match self.gemm.sums.get(level) {
                None => self.batch(0, a, b, c, accumulate),
                Some(&(n, da, db)) => {
                    for i in 0..n as isize {
                        self.sums(level + 1, a.offset(i * da), b.offset(i * db), c, accumulate || i > 0);
                    }
                }
            }
        }
    }

    unsafe fn batch(&self, level: usize, a: *const f32, b: *const f32, c: *mut f32, accumulate: bool) {
        let g = &self.gemm;
        let beta = beta(accumulate);
        // SAFETY: as for `run`
        unsafe {
            match g.batch.len() - level {
                0 => gemm(g.m, g.n, g.k, 1.0, a, g.a.row, g.a.col, b, g.b.row, g.b.col, beta, c, g.c.row, g.c.col),
                1 => gemm_batch(
                    g.batch[level],
                    g.m,
                    g.n,
                    g.k,
                    1.0,
                    a,
                    g.a.batch[level],
                    g.a.row,
                    g.a.col,
                    b,
                    g.b.batch[level],
                    g.b.row,
                    g.b.col,
                    beta,
                    c,
                    g.c.batch[level],
                    g.c.row,
                    g.c.col,
                ),
                _ => {
                    for i in 0..g.batch[level] as isize {
                        self.batch(
                            level + 1,
                            a.offset(i * g.a.batch[level]),
                            b.offset(i * g.b.batch[level]),
                            c.offset(i * g.c.batch[level]),
                            accumulate,
                        );
                    }
                }
            }
        }
    }
}
