//! Contractions as matrix products: which dimensions are rows, columns, sums, and batch.

use super::memory::{Place, View};
use super::{Gemm, GemmDim, Matrix};
use crate::lowered::DimId;
use crate::target::Target;

/// Roles of the dimensions of a contraction, each list outermost first.
pub(super) struct Roles {
    /// Dimensions of both operands and the result.
    batch: Vec<DimId>,
    /// Dimensions of the left operand and the result.
    rows: Vec<DimId>,
    /// Dimensions of the right operand and the result.
    cols: Vec<DimId>,
    /// Contracted dimensions.
    over: Vec<DimId>,
}

impl Roles {
    /// Assigns roles by the dimensions of the operands (canonical order).
    pub fn new(a: &[DimId], b: &[DimId], over: &[DimId]) -> Self {
        let pick = |from: &[DimId], f: &dyn Fn(&DimId) -> bool| from.iter().copied().filter(|d| f(d)).collect();
        Self {
            batch: pick(a, &|d| b.contains(d) && !over.contains(d)),
            rows: pick(a, &|d| !b.contains(d)),
            cols: pick(b, &|d| !a.contains(d)),
            over: pick(a, &|d| over.contains(d)),
        }
    }

    /// Whether summing element by element is faster than a matrix product, because there is nothing to block for.
    pub fn is_dot(&self, sizes: &[usize], target: &Target) -> bool {
        let product = |dims: &[DimId]| dims.iter().map(|d| sizes[d.0 as usize]).product::<usize>();
        let (m, n, k, batch) = (product(&self.rows), product(&self.cols), product(&self.over), product(&self.batch));
        let [vector, matrix] = target.dot;
        (m == 1 && n == 1) || (batch > 1 && m.min(n) == 1 && m * n * k <= vector) || (batch > 8 && m * n * k <= matrix)
    }

    /// The contraction as a matrix product of views; in an attend with the dimensions of its tile.
    pub fn gemm(mut self, a: &View, b: &View, c: &View, accumulate: bool, tile: Option<[DimId; 2]>) -> Gemm<Place> {
        // dimensions that do not form one run are iterated index by index, outermost first
        let mut batch: Vec<DimId> = std::mem::take(&mut self.batch);
        let mut peel = |dims: &mut Vec<DimId>, x: &View, y: &View| -> (usize, isize, isize) {
            loop {
                if let (Some((n, s)), Some((_, t))) = (x.run(dims), y.run(dims)) {
                    return (n, s, t);
                }
                batch.push(dims.remove(0));
            }
        };
        let (m, a_row, c_row) = peel(&mut self.rows, a, c);
        let (n, b_col, c_col) = peel(&mut self.cols, b, c);
        let mut sums = Vec::new();
        let (k, a_col, b_row) = loop {
            if let (Some((n, s)), Some((_, t))) = (a.run(&self.over), b.run(&self.over)) {
                break (n, s, t);
            }
            let d = self.over.remove(0);
            sums.push((a.axis(d).map_or(1, |x| x.size), a.stride(d), b.stride(d)));
        };
        let role = |d: DimId| {
            let roles = [(&self.rows, GemmDim::M), (&self.cols, GemmDim::N), (&self.over, GemmDim::K)];
            roles.into_iter().find(|s| *s.0 == [d]).map(|s| s.1)
        };
        let pairs = tile.and_then(|[rows, cols]| Some([role(rows)?, role(cols)?]));
        let length = |d: &DimId| [a, b, c].iter().find_map(|v| v.axis(*d)).map_or(1, |x| x.size);
        batch.retain(|d| length(d) > 1);
        let matrix = |v: &View, row, col| Matrix {
            start: v.start,
            row,
            col,
            batch: batch.iter().map(|d| v.stride(*d)).collect(),
        };
        Gemm {
            m,
            n,
            k,
            sums,
            a: matrix(a, a_row, a_col),
            b: matrix(b, b_row, b_col),
            c: matrix(c, c_row, c_col),
            batch: batch.iter().map(length).collect(),
            accumulate,
            pairs,
        }
    }
}
