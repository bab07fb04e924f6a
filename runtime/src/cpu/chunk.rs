//! Running sums, decays and solves over the rows of chunks.

use super::memory::{Bases, Slot};
use archc_compiler::lowered::{DimId, Op};
use archc_compiler::plan::{Single, View};
use archc_kernels::chunk;
use archc_kernels::copy::copy_nd;
use std::cell::Cell;

thread_local! {
    /// Memory for copies of tiles, reused between calls.
    static ROOM: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Maximum number of operands of an op on tiles, its result included.
const OPERANDS: usize = 5;

/// An operand of an op on tiles: a matrix of rows and columns, repeated over other dimensions.
#[derive(Clone, Copy, Debug)]
struct Tile {
    slot: Slot,
    rows: usize,
    row: isize,
    cols: usize,
    col: isize,
    /// Offset of its copy with contiguous columns in the scratch memory, if it needs one.
    copy: Option<usize>,
}

/// A prepared op on tiles.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    op: Op,
    /// Operands, then the result.
    tiles: Vec<Tile>,
    /// Dimensions around the tiles: the length, and the stride in each operand.
    around: Vec<(usize, [isize; OPERANDS])>,
    /// Elements of scratch memory for the copies.
    room: usize,
}

impl Tiles {
    /// Prepares an op; none if it does not work on tiles.
    pub fn new(single: &Single) -> Option<Self> {
        let views: Vec<&View> = single.inputs.iter().chain([&single.output]).collect();
        // rows and columns of each operand and of the result
        let axes: Vec<[Vec<DimId>; 2]> = match &single.op {
            Op::Cumsum { dim, .. } | Op::CumsumLow { dim, .. } => {
                // inner dimensions that form one run and share their restarts are processed side by side
                let starts = single.inputs.get(1);
                let apart = |d: &DimId| starts.is_some_and(|s| s.axis(*d).is_some());
                let behind = single.output.axes.iter().map(|a| a.dim).skip_while(|d| d != dim).skip(1);
                let wide: Vec<DimId> = behind.filter(|d| !apart(d)).collect();
                let wide = joined(&[&single.inputs[0], &single.output], &wide);
                let mut all = vec![[vec![*dim], wide.clone()], [vec![*dim], wide]];
                if starts.is_some() {
                    all.insert(1, [vec![*dim], vec![]]);
                }
                all
            }
            Op::SolveUnitLower { rows, cols, .. } => {
                let wide: Vec<DimId> = single.output.axes.iter().map(|a| a.dim).filter(|d| d != rows).collect();
                let apart: Vec<DimId> = wide.into_iter().filter(|d| single.inputs[0].axis(*d).is_none()).collect();
                let wide = joined(&views[1..], &apart);
                vec![[vec![*rows], vec![*cols]], [vec![*rows], wide.clone()], [vec![*rows], wide]]
            }
            Op::Cumprod { dim, .. } => vec![[vec![*dim], vec![]], [vec![*dim], vec![]]],
            Op::CumprodGrad { dim, .. } => vec![[vec![*dim], vec![]], [vec![*dim], vec![]], [vec![*dim], vec![]]],
            Op::PairDecay(p) | Op::PairProduct(p) => vec![[vec![p.rows], vec![]], [vec![p.rows], vec![p.cols]]],
            Op::PairDecayGrad(p) => vec![[vec![p.rows], vec![p.cols]], [vec![p.rows], vec![]]],
            Op::PairProductGrad(p) => vec![
                [vec![p.rows], vec![]],
                [vec![p.rows], vec![p.cols]],
                [vec![p.rows], vec![p.cols]],
                [vec![p.rows], vec![]],
            ],
            Op::DecayDot { over, pairs } => vec![
                [vec![pairs.rows], vec![*over]],
                [vec![pairs.cols], vec![*over]],
                [vec![pairs.rows], vec![*over]],
                [vec![pairs.rows], vec![pairs.cols]],
            ],
            Op::DecayDotGrad { over, pairs, parts } => vec![
                [vec![pairs.rows], vec![pairs.cols]],
                [vec![pairs.rows], vec![*over]],
                [vec![pairs.cols], vec![*over]],
                [vec![pairs.rows], vec![*over]],
                // the parts one after the other, whose row stride continues from part to part since the result is contiguous
                [vec![*parts, pairs.rows], vec![*over]],
            ],
            _ => return None,
        };
        let core: Vec<DimId> = axes.iter().flatten().flatten().copied().collect();
        let size = |dims: &[DimId]| -> usize {
            let of = |d: &DimId| views.iter().find_map(|v| v.axis(*d)).map_or(1, |a| a.size);
            dims.iter().map(of).product()
        };
        let by_entry = !matches!(
            single.op,
            Op::Cumsum { .. }
                | Op::CumsumLow { .. }
                | Op::SolveUnitLower { .. }
                | Op::DecayDot { .. }
                | Op::DecayDotGrad { .. }
        );
        let mut room = 0;
        let mut tiles = Vec::new();
        for (view, [rows, cols]) in views.iter().zip(&axes) {
            // the stride of a dimension of length 1 says nothing about the others
            let stride = |dims: &[DimId]| {
                let long = dims.iter().rev().find(|d| view.axis(**d).is_some_and(|a| a.size > 1));
                long.or(dims.last()).map_or(0, |d| view.stride(*d))
            };
            let mut tile = Tile {
                slot: Slot::of(view),
                rows: size(rows),
                row: stride(rows),
                cols: size(cols),
                col: stride(cols),
                copy: None,
            };
            let plain = tile.cols == 1 || tile.col == 1;
            let forward = tile.rows == 1 || tile.row >= 0;
            let vector = by_entry && cols.is_empty() && tile.row >= 0;
            let repeated = tile.cols > 1 && tile.row == 0 && tile.rows > 1;
            let in_place = vector || (plain && forward);
            if !in_place || repeated {
                tile.copy = Some(room);
                room += tile.rows * tile.cols;
            }
            tiles.push(tile);
        }
        let mut around: Vec<(DimId, usize)> = Vec::new();
        for a in views.iter().flat_map(|v| &v.axes).filter(|a| !core.contains(&a.dim)) {
            if !around.iter().any(|d| d.0 == a.dim) {
                around.push((a.dim, a.size));
            }
        }
        let strides = |d: DimId| {
            let mut all = [0; OPERANDS];
            all.iter_mut().zip(&views).for_each(|(s, v)| *s = v.stride(d));
            all
        };
        let around = around.into_iter().map(|(d, n)| (n, strides(d))).collect();
        Some(Self { op: single.op.clone(), tiles, around, room })
    }

    /// Runs the op.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases) {
        let mut start = [std::ptr::null_mut::<f32>(); OPERANDS];
        let mut room = ROOM.take();
        if room.len() < self.room {
            room.resize(self.room, 0.0);
        }
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            for (p, t) in start.iter_mut().zip(&self.tiles) {
                *p = bases.at(t.slot);
            }
            let count: usize = self.around.iter().map(|a| a.0).product();
            for n in 0..count {
                let mut at = start;
                let mut rest = n;
                for (size, strides) in self.around.iter().rev() {
                    let i = (rest % size) as isize;
                    rest /= size;
                    at.iter_mut().zip(strides).for_each(|(p, s)| *p = p.wrapping_offset(i * s));
                }
                self.tile(at, room.as_mut_ptr());
            }
        }
        ROOM.set(room);
    }

    unsafe fn tile(&self, given: [*mut f32; OPERANDS], room: *mut f32) {
        let mut at = given;
        let mut row = [0usize; OPERANDS];
        let last = self.tiles.len() - 1;
        // SAFETY: as for `run`; the scratch memory has room for the copies of the tiles
        unsafe {
            for (i, t) in self.tiles.iter().enumerate() {
                row[i] = if t.copy.is_some() { t.cols } else { t.row.unsigned_abs() };
                if let Some(offset) = t.copy {
                    at[i] = room.add(offset);
                    if i < last {
                        copy_nd(at[i], &[t.cols as isize, 1], given[i], &[t.row, t.col], &[t.rows, t.cols]);
                    }
                }
            }
            let n = self.tiles[last].rows;
            let width = self.tiles[last].cols;
            let meant = |p: &archc_compiler::lowered::Pairs| chunk::Pairs { strict: p.strict, before: p.before };
            match &self.op {
                Op::Cumsum { exclusive, .. } | Op::CumsumLow { exclusive, .. } => {
                    let reverse =
                        matches!(self.op, Op::Cumsum { reverse: true, .. } | Op::CumsumLow { reverse: true, .. });
                    let low = matches!(self.op, Op::CumsumLow { .. });
                    let starts =
                        if last == 2 { chunk::Starts { at: at[1], step: row[1] } } else { chunk::Starts::NONE };
                    chunk::cumsum(n, width, reverse, *exclusive, low, starts, at[0], row[0], at[last], row[last]);
                }
                Op::SolveUnitLower { transpose, .. } => {
                    copy_nd(at[2], &[row[2] as isize, 1], at[1], &[row[1] as isize, 1], &[n, width]);
                    chunk::solve_unit_lower(n, width, at[0], row[0], *transpose, at[2], row[2]);
                }
                Op::PairDecay(p) => chunk::pair_decay(n, meant(p), at[0], row[0], at[1], row[1]),
                Op::PairDecayGrad(p) => chunk::pair_decay_grad(n, meant(p), at[0], row[0], at[1], row[1]),
                Op::PairProduct(p) => chunk::pair_product(n, meant(p), at[0], row[0], at[1], row[1]),
                Op::PairProductGrad(p) => {
                    chunk::pair_product_grad(n, meant(p), at[0], row[0], at[1], row[1], at[2], row[2], at[3], row[3]);
                }
                Op::Cumprod { reverse, exclusive, .. } => {
                    chunk::cumprod(n, *reverse, *exclusive, at[0], row[0], at[1], row[1]);
                }
                Op::CumprodGrad { reverse, exclusive, .. } => {
                    chunk::cumprod_grad(n, *reverse, *exclusive, at[0], row[0], at[1], row[1], at[2], row[2]);
                }
                Op::DecayDot { pairs, .. } => {
                    let k = self.tiles[0].cols;
                    chunk::decay_dot(n, k, meant(pairs), at[0], row[0], at[1], row[1], at[2], row[2], at[3], row[3]);
                }
                Op::DecayDotGrad { pairs, .. } => {
                    let rows = self.tiles[0].rows;
                    let [da, q, k, g] = [0, 1, 2, 3].map(|i| (at[i].cast_const(), row[i]));
                    let (to, step, parts) = (at[4], row[4], n / rows);
                    chunk::decay_dot_grad(
                        rows,
                        width,
                        meant(pairs),
                        da.0,
                        da.1,
                        q.0,
                        q.1,
                        k.0,
                        k.1,
                        g.0,
                        g.1,
                        to,
                        step,
                        parts,
                    );
                }
                op => panic!("archc bug: {op:?} does not work on tiles"),
            }
            let t = &self.tiles[last];
            if t.copy.is_some() {
                copy_nd(given[last], &[t.row, t.col], at[last], &[t.cols as isize, 1], &[t.rows, t.cols]);
            }
        }
    }
}

/// The longest tail of the dimensions that forms one run in all views.
pub(super) fn joined(views: &[&View], dims: &[DimId]) -> Vec<DimId> {
    let mut first = dims.len();
    while first > 0 && views.iter().all(|v| v.run(&dims[first - 1..]).is_some()) {
        first -= 1;
    }
    dims[first..].to_vec()
}
