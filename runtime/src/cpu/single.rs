//! Ops with dedicated kernels: embeddings, cross-entropy, sorting, materialised windows (see `chunk` for the ops of chunks).
//!
//! Each works on some dimensions (its core) and is repeated over all others; operands that lack one of those are constant along it.

use super::chunk::Tiles;
use super::memory::{Bases, Slot, layout};
use crate::random::{DropoutMask, Key};
use archc_compiler::lowered::{BATCH, DimId, Op, TIME, op_name};
use archc_compiler::plan::{Single, View};
use archc_kernels::copy::{DIMS, copy_nd};
use archc_kernels::{cross_entropy, embed};

/// A prepared op.
#[derive(Clone, Debug)]
pub(super) struct SingleStep {
    pub(super) tiles: Option<Tiles>,
    pub(super) op: Op,
    pub(super) inputs: Vec<View>,
    pub(super) output: View,
    name: &'static str,
}

/// The iteration space around an op's core: lengths, and strides of each operand and the result.
struct Around {
    sizes: Vec<usize>,
    strides: Vec<Vec<isize>>,
}

impl Around {
    /// The iteration space of the dimensions of these views outside of `core`.
    fn new(views: &[&View], core: &[DimId]) -> Self {
        let mut dims: Vec<(DimId, usize)> = Vec::new();
        for a in views.iter().flat_map(|v| &v.axes).filter(|a| !core.contains(&a.dim)) {
            if !dims.iter().any(|d| d.0 == a.dim) {
                dims.push((a.dim, a.size));
            }
        }
        let strides = views.iter().map(|v| dims.iter().map(|d| v.stride(d.0)).collect()).collect();
        Self { sizes: dims.iter().map(|d| d.1).collect(), strides }
    }

    /// Calls f with the addresses for each index.
    unsafe fn each(&self, starts: &[*mut f32], mut f: impl FnMut(&[*mut f32])) {
        let count: usize = self.sizes.iter().product();
        let mut index = vec![0usize; self.sizes.len()];
        let mut at = starts.to_vec();
        for _ in 0..count {
            f(&at);
            for d in (0..index.len()).rev() {
                index[d] += 1;
                // SAFETY: the addresses stay within the views that are walked
                let back = if index[d] == self.sizes[d] { 1 - self.sizes[d] as isize } else { 1 };
                for (p, s) in at.iter_mut().zip(&self.strides) {
                    *p = p.wrapping_offset(back * s[d]);
                }
                if index[d] < self.sizes[d] {
                    break;
                }
                index[d] = 0;
            }
        }
    }
}

/// Copies a strided row into a slice.
pub(super) unsafe fn gather(from: *const f32, stride: isize, into: &mut [f32]) {
    for (i, x) in into.iter_mut().enumerate() {
        // SAFETY: the caller's row is as long as the slice
        *x = unsafe { *from.offset(i as isize * stride) };
    }
}

unsafe fn scatter(from: &[f32], to: *mut f32, stride: isize) {
    for (i, x) in from.iter().enumerate() {
        // SAFETY: as for `gather`
        unsafe { *to.offset(i as isize * stride) = *x };
    }
}

impl SingleStep {
    pub fn new(single: &Single) -> Self {
        let name: &'static str = match single.op {
            Op::Embed { .. } => "embed",
            Op::Scatter { .. } => "scatter",
            Op::CrossEntropy { .. } | Op::CrossEntropyGrad { .. } => "cross_entropy",
            Op::Cumsum { .. } | Op::CumsumLow { .. } => "cumsum",
            Op::SolveUnitLower { .. } => "solve",
            Op::PairDecay(_) | Op::PairDecayGrad(_) | Op::PairProduct(_) | Op::PairProductGrad(_) => "pair_decay",
            Op::Cumprod { .. } | Op::CumprodGrad { .. } => "cumprod",
            Op::DecayDot { .. } | Op::DecayDotGrad { .. } => "decay_dot",
            Op::LongConv { .. } | Op::LongConvBack { .. } | Op::LongConvFilter { .. } => "long_conv",
            _ => "other",
        };
        let tiles = Tiles::new(single);
        Self { tiles, op: single.op.clone(), inputs: single.inputs.clone(), output: single.output.clone(), name }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    fn views(&self) -> Vec<&View> {
        self.inputs.iter().chain([&self.output]).collect()
    }

    unsafe fn starts(&self, bases: &Bases) -> Vec<*mut f32> {
        // SAFETY: the plan's views lie inside of their buffers
        self.views().iter().map(|v| unsafe { bases.at(Slot::of(v)) }).collect()
    }

    /// The elements of a leaf, which is contiguous.
    ///
    /// # Safety
    /// The input is of this type.
    unsafe fn leaf<'b, T>(&self, bases: &'b Bases, input: usize) -> &'b [T] {
        let view = &self.inputs[input];
        // SAFETY: the plan's views lie inside of their buffers, and nothing writes to a leaf during a run
        unsafe { std::slice::from_raw_parts(bases.at(Slot::of(view)).cast(), view.len()) }
    }

    /// Runs a function of rows along a dimension: f(input rows, output row).
    unsafe fn rows(&self, bases: &Bases, dim: DimId, mut f: impl FnMut(&[Vec<f32>], &mut [f32])) {
        let views = self.views();
        let n = self.output.size(dim);
        let around = Around::new(&views, &[dim]);
        let strides: Vec<isize> = views.iter().map(|v| v.stride(dim)).collect();
        let (mut rows, mut out) = (vec![vec![0.0; n]; self.inputs.len()], vec![0.0; n]);
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            around.each(&self.starts(bases), |at| {
                for (i, row) in rows.iter_mut().enumerate() {
                    gather(at[i], strides[i], row);
                }
                f(&rows, &mut out);
                scatter(&out, at[self.inputs.len()], strides[self.inputs.len()]);
            });
        }
    }

    /// Runs the op.
    ///
    /// # Safety
    /// As for `Program::run`.
    pub unsafe fn run(&self, bases: &Bases) {
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            match &self.op {
                Op::Embed { vocab, prefix } => self.embed(bases, *vocab, *prefix),
                Op::Scatter { of, first } => self.scatter(bases, *of, *first),
                Op::CrossEntropy { vocab } => self.cross_entropy(bases, *vocab),
                Op::CrossEntropyGrad { vocab } => self.cross_entropy_grad(bases, *vocab),
                Op::Dropout { .. } => self.dropout(bases),
                Op::Sort(dim) => self.rows(bases, *dim, |x, y| {
                    y.iter_mut().zip(descending(&x[0])).for_each(|(y, i)| *y = x[0][i]);
                }),
                Op::Unsort(dim) => self.rows(bases, *dim, |x, y| {
                    for (to, from) in descending(&x[0]).into_iter().enumerate() {
                        y[from] = x[1][to];
                    }
                }),
                Op::TopK(dim, n) => self.rows(bases, *dim, |x, y| {
                    y.fill(0.0);
                    descending(&x[0]).into_iter().take(*n).for_each(|i| y[i] = x[0][i]);
                }),
                Op::TopKMask(dim, n) => self.rows(bases, *dim, |x, y| {
                    y.fill(0.0);
                    descending(&x[0]).into_iter().take(*n).for_each(|i| y[i] = 1.0);
                }),
                Op::Sparsemax(dim) => self.rows(bases, *dim, |x, y| sparsemax(&x[0], y)),
                Op::Index(along) => self.index(bases, along),
                Op::Table(dim, values) => {
                    let row: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                    self.rows(bases, *dim, |_, y| y.copy_from_slice(&row));
                }
                Op::Window { dim, step } => self.window(bases, *dim, *step),
                Op::Unwindow { dim, step } => self.unwindow(bases, *dim, *step),
                Op::LongConv { lag } | Op::LongConvBack { lag } | Op::LongConvFilter { lag } => {
                    self.long_conv(bases, *lag);
                }
                Op::Cumsum { .. }
                | Op::CumsumLow { .. }
                | Op::SolveUnitLower { .. }
                | Op::PairDecay(_)
                | Op::PairDecayGrad(_)
                | Op::PairProduct(_)
                | Op::PairProductGrad(_)
                | Op::Cumprod { .. }
                | Op::CumprodGrad { .. }
                | Op::DecayDot { .. }
                | Op::DecayDotGrad { .. } => {
                    if let Some(tiles) = &self.tiles {
                        tiles.run(bases);
                    }
                }
                op => panic!("archc bug: the cpu device has no kernel for {}", op_name(op)),
            }
        }
    }

    unsafe fn embed(&self, bases: &Bases, vocab: DimId, prefix: Option<DimId>) {
        let starts = unsafe { self.starts(bases) };
        let tokens = self.inputs.len() - 1;
        // SAFETY: the last input are the tokens
        let (len, ids) = (self.inputs[tokens].size(TIME), unsafe { self.leaf::<u32>(bases, tokens) });
        let rows = self.inputs[0].axis(vocab).map_or(0, |a| a.size);
        let (table_row, out) = (self.inputs[0].stride(vocab), &self.output);
        let prefix_row = prefix.map_or(0, |p| self.inputs[1].stride(p));
        let axes: Vec<_> = out.axes.iter().filter(|a| a.dim != BATCH && a.dim != TIME).collect();
        let sizes: Vec<usize> = axes.iter().map(|a| a.size).collect();
        let to: Vec<isize> = axes.iter().map(|a| a.stride).collect();
        let from: Vec<Vec<isize>> =
            self.inputs[..tokens].iter().map(|v| axes.iter().map(|a| v.stride(a.dim)).collect()).collect();
        let width: usize = sizes.iter().product();
        // a second table of a model with a prefix has no rows for the prefix's tokens
        let inside = prefix.is_none() && ids.iter().all(|id| (*id as usize) < rows);
        let plain = inside && is_dense(&sizes, &to) && is_dense(&sizes, &from[0]) && out.stride(TIME) >= 0;
        if plain && table_row == width as isize {
            for (b, ids) in ids.chunks_exact(len).enumerate() {
                // SAFETY: all ids are rows of the table, and rows are contiguous
                unsafe {
                    let y = starts[self.inputs.len()].offset(b as isize * out.stride(BATCH));
                    embed::gather(width, starts[0], ids, y, out.stride(TIME).unsigned_abs());
                }
            }
            return;
        }
        for (n, &id) in ids.iter().enumerate() {
            let (b, t) = ((n / len) as isize, (n % len) as isize);
            let id = id as usize;
            let zero = 0.0f32;
            // SAFETY: ids were checked against the vocabulary; those above it are prefix tokens, for each of which the prefix has a row
            unsafe {
                let y = starts[self.inputs.len()].offset(b * out.stride(BATCH) + t * out.stride(TIME));
                if id < rows {
                    copy_nd(y, &to, starts[0].offset(id as isize * table_row), &from[0], &sizes);
                } else if prefix.is_some() {
                    copy_nd(y, &to, starts[1].offset((id - rows) as isize * prefix_row), &from[1], &sizes);
                } else {
                    copy_nd(y, &to, &zero, &[0; DIMS][..sizes.len()], &sizes);
                }
            }
        }
    }

    unsafe fn scatter(&self, bases: &Bases, of: DimId, first: usize) {
        let starts = unsafe { self.starts(bases) };
        // SAFETY: the last input are the tokens
        let (len, ids) = (self.inputs[1].size(TIME), unsafe { self.leaf::<u32>(bases, 1) });
        let rows = first..first + self.output.size(of);
        let axes: Vec<_> = self.output.axes.iter().filter(|a| a.dim != of).collect();
        let sizes: Vec<usize> = axes.iter().map(|a| a.size).collect();
        let to: Vec<isize> = axes.iter().map(|a| a.stride).collect();
        let dy = &self.inputs[0];
        let from: Vec<isize> = axes.iter().map(|a| dy.stride(a.dim)).collect();
        let row = self.output.stride(of);
        let zero = 0.0f32;
        // SAFETY: as for `embed`
        unsafe {
            let (all, strides) = layout(&self.output);
            copy_nd(starts[2], &strides, &zero, &[0; DIMS][..all.len()], &all);
            let width: usize = sizes.iter().product();
            let plain = first == 0 && is_dense(&sizes, &to) && is_dense(&sizes, &from) && dy.stride(TIME) >= 0;
            if plain && row == width as isize && ids.iter().all(|id| rows.contains(&(*id as usize))) {
                for (b, ids) in ids.chunks_exact(len).enumerate() {
                    let x = starts[0].offset(b as isize * dy.stride(BATCH));
                    embed::scatter_add(width, starts[2], ids, x, dy.stride(TIME).unsigned_abs());
                }
                return;
            }
            for (n, &id) in ids.iter().enumerate().filter(|(_, id)| rows.contains(&(**id as usize))) {
                let at = id as usize - first;
                let (b, t) = ((n / len) as isize, (n % len) as isize);
                let x = starts[0].offset(b * dy.stride(BATCH) + t * dy.stride(TIME));
                archc_kernels::copy::add_nd(starts[2].offset(at as isize * row), &to, x, &from, &sizes);
            }
        }
    }

    /// Calls f for pieces of the sequences: f(batch index, first token, targets, weights times `scale`). Targets and weights are the last
    /// inputs.
    unsafe fn pieces(&self, bases: &Bases, scale: f64, mut f: impl FnMut(isize, isize, &[u32], &[f32])) {
        let at = self.inputs.len() - 2;
        let len = self.inputs[at].size(TIME);
        // SAFETY: these are their types
        let (targets, weights) = unsafe { (self.leaf::<u32>(bases, at), self.leaf::<f64>(bases, at + 1)) };
        for (b, (targets, weights)) in targets.chunks(len).zip(weights.chunks(len)).enumerate() {
            for (piece, (targets, weights)) in targets.chunks(ROWS).zip(weights.chunks(ROWS)).enumerate() {
                let mut scaled = [0.0f32; ROWS];
                scaled.iter_mut().zip(weights).for_each(|(s, w)| *s = (w * scale) as f32);
                f(b as isize, (piece * ROWS) as isize, targets, &scaled[..targets.len()]);
            }
        }
    }

    unsafe fn cross_entropy(&self, bases: &Bases, vocab: DimId) {
        let starts = unsafe { self.starts(bases) };
        let (result, logits) = (starts[self.inputs.len()], &self.inputs[0]);
        let n = logits.axis(vocab).map_or(0, |a| a.size);
        let (batch, token, step) = (logits.stride(BATCH), logits.stride(TIME), logits.stride(vocab));
        let mut row = Vec::new();
        let mut total = 0.0f64;
        // SAFETY: targets were checked against the vocabulary; the result is one element
        unsafe {
            self.pieces(bases, 1.0, |b, first, targets, weights| {
                let x = starts[0].offset(b * batch + first * token);
                let count = targets.len();
                let (targets, weights) = (targets.as_ptr(), weights.as_ptr());
                if step == 1 && token >= 0 {
                    total += cross_entropy::loss(x, count, n, token.unsigned_abs(), targets, weights);
                    return;
                }
                row.resize(n, 0.0);
                for i in 0..count {
                    gather(x.offset(i as isize * token), step, &mut row);
                    total += cross_entropy::loss(row.as_ptr(), 1, n, n, targets.add(i), weights.add(i));
                }
            });
            *result = total as f32;
        }
    }

    unsafe fn cross_entropy_grad(&self, bases: &Bases, vocab: DimId) {
        let starts = unsafe { self.starts(bases) };
        let (logits, out) = (&self.inputs[0], &self.output);
        let n = logits.axis(vocab).map_or(0, |a| a.size);
        let [x, y] = [logits, out].map(|v| (v.stride(BATCH), v.stride(TIME), v.stride(vocab)));
        let mut rows = Vec::new();
        // SAFETY: as for `cross_entropy`
        unsafe {
            let scale = f64::from(*starts[1]);
            self.pieces(bases, scale, |b, first, targets, weights| {
                let from = starts[0].offset(b * x.0 + first * x.1);
                let to = starts[self.inputs.len()].offset(b * y.0 + first * y.1);
                let count = targets.len();
                let (targets, weights) = (targets.as_ptr(), weights.as_ptr());
                if x.2 == 1 && y.2 == 1 && x.1 >= 0 && y.1 >= 0 {
                    let (sx, sy) = (x.1.unsigned_abs(), y.1.unsigned_abs());
                    cross_entropy::loss_grad(1.0, from, count, n, sx, targets, weights, to, sy);
                    return;
                }
                rows.resize(n, 0.0);
                for i in 0..count {
                    gather(from.offset(i as isize * x.1), x.2, &mut rows);
                    let row = rows.as_mut_ptr();
                    cross_entropy::loss_grad(1.0, row, 1, n, n, targets.add(i), weights.add(i), row, n);
                    scatter(&rows, to.offset(i as isize * y.1), y.2);
                }
            });
        }
    }

    /// Runs dropout; the operands are x, p and the key of the site.
    unsafe fn dropout(&self, bases: &Bases) {
        let starts = unsafe { self.starts(bases) };
        let to_start = starts[self.inputs.len()];
        // SAFETY: the second operand is one element
        let p = f64::from(unsafe { *starts[1] });
        let (sizes, to) = layout(&self.output);
        let from: Vec<isize> = self.output.axes.iter().map(|a| self.inputs[0].stride(a.dim)).collect();
        // SAFETY: operand and result have the same dimensions
        unsafe { copy_nd(to_start, &to, starts[0], &from, &sizes) };
        if p <= 0.0 {
            return;
        }
        // SAFETY: the last input is the key
        let key = unsafe { self.leaf::<Key>(bases, self.inputs.len() - 1) }[0];
        let tokens = [BATCH, TIME];
        let split = self.output.axes.iter().take_while(|a| tokens.contains(&a.dim)).count();
        let outer: usize = sizes[..split].iter().product();
        let width: usize = sizes[split..].iter().product();
        let mut mask = DropoutMask::new(key, p);
        let mut row = vec![0.0f32; width];
        let mut dense = vec![1isize; sizes.len() - split];
        for d in (1..dense.len()).rev() {
            dense[d - 1] = dense[d] * sizes[split + d] as isize;
        }
        for n in 0..outer {
            let mut rest = n;
            let mut shift = 0isize;
            for a in self.output.axes[..split].iter().rev() {
                shift += (rest % a.size) as isize * a.stride;
                rest /= a.size;
            }
            // batch and time come first, so that `n` is the index of the token
            mask.draw(n as u64, &mut row);
            // SAFETY: as above
            unsafe {
                let y = to_start.offset(shift);
                let index =
                    Around { sizes: sizes[split..].to_vec(), strides: vec![to[split..].to_vec(), dense.clone()] };
                index.each(&[y, row.as_mut_ptr()], |at| *at[0] *= *at[1]);
            }
        }
    }

    unsafe fn index(&self, bases: &Bases, along: &[DimId]) {
        let start = unsafe { bases.at(Slot::of(&self.output)) };
        let sizes: Vec<usize> = along.iter().map(|d| self.output.size(*d)).collect();
        let count: usize = sizes.iter().product();
        for n in 0..count {
            let mut rest = n;
            let mut at = 0isize;
            for (d, size) in along.iter().zip(&sizes).rev() {
                at += (rest % size) as isize * self.output.stride(*d);
                rest /= size;
            }
            // SAFETY: the index lies inside of the view
            unsafe { *start.offset(at) = n as f32 };
        }
    }

    /// Calls f(positions, addresses) for each sequence and each index around the core. Positions are the last input.
    pub(super) unsafe fn tokens(&self, bases: &Bases, core: &[DimId], mut f: impl FnMut(&[u32], &[*mut f32])) {
        let views = self.views();
        let last = self.inputs.len() - 1;
        let mut core = core.to_vec();
        core.extend([BATCH, TIME]);
        let around = Around::new(&views, &core);
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            let starts = self.starts(bases);
            for (b, pos) in self.leaf::<u32>(bases, last).chunks_exact(self.inputs[last].size(TIME)).enumerate() {
                let at: Vec<*mut f32> =
                    starts.iter().zip(&views).map(|(p, v)| p.offset(b as isize * v.stride(BATCH))).collect();
                around.each(&at, |at| f(pos, at));
            }
        }
    }

    unsafe fn window(&self, bases: &Bases, dim: DimId, step: usize) {
        let width = self.output.size(dim);
        let (x, y, w) = (self.inputs[0].stride(TIME), self.output.stride(TIME), self.output.stride(dim));
        let carried = (self.inputs.len() == 3).then(|| {
            let tail = self.inputs[1].axes.iter().find(|a| self.output.axis(a.dim).is_none());
            tail.map_or((0, 0, dim), |a| (a.size, a.stride, a.dim))
        });
        let core = [dim, carried.map_or(dim, |c| c.2)];
        // SAFETY: lags stay inside of the document, which started in this piece or in the carried tokens
        unsafe {
            self.tokens(bases, &core, |pos, at| {
                let out = at[self.inputs.len()];
                for (t, p) in pos.iter().enumerate() {
                    for i in 0..width {
                        let lag = i * step;
                        let value = if lag > *p as usize {
                            0.0
                        } else if lag <= t {
                            *at[0].offset((t - lag) as isize * x)
                        } else {
                            match carried {
                                Some((tail, stride, _)) if lag - t <= tail => {
                                    *at[1].offset((tail - (lag - t)) as isize * stride)
                                }
                                _ => 0.0,
                            }
                        };
                        *out.offset(t as isize * y + i as isize * w) = value;
                    }
                }
            });
        }
    }

    unsafe fn unwindow(&self, bases: &Bases, dim: DimId, step: usize) {
        let width = self.inputs[0].size(dim);
        let (x, w, y) = (self.inputs[0].stride(TIME), self.inputs[0].stride(dim), self.output.stride(TIME));
        // SAFETY: as for `window`
        unsafe {
            self.tokens(bases, &[dim], |pos, at| {
                let out = at[self.inputs.len()];
                for t in 0..pos.len() {
                    *out.offset(t as isize * y) = 0.0;
                }
                for (t, p) in pos.iter().enumerate() {
                    for i in (0..width).take_while(|i| i * step <= (*p as usize).min(t)) {
                        *out.offset((t - i * step) as isize * y) += *at[0].offset(t as isize * x + i as isize * w);
                    }
                }
            });
        }
    }
}

/// Whether a tensor of these sizes and strides is row-major without gaps.
fn is_dense(sizes: &[usize], strides: &[isize]) -> bool {
    let mut step = 1;
    sizes.iter().zip(strides).rev().all(|(n, s)| {
        let fits = *n == 1 || *s == step;
        step *= *n as isize;
        fits
    })
}

/// Maximum number of rows of logits per kernel call.
const ROWS: usize = 64;

/// Indices from the largest element to the smallest; among ties, such as 0 and -0, the lower index first. NaN has its place in the total
/// order.
fn descending(x: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].partial_cmp(&x[a]).unwrap_or_else(|| x[b].total_cmp(&x[a])));
    order
}

/// Projection onto the simplex (arXiv 1602.02068).
fn sparsemax(x: &[f32], y: &mut [f32]) {
    let mut sorted = x.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut total, mut threshold) = (0.0f64, 0.0f64);
    for (i, v) in sorted.iter().enumerate() {
        total += f64::from(*v);
        let candidate = (total - 1.0) / (i + 1) as f64;
        if f64::from(*v) <= candidate {
            break;
        }
        threshold = candidate;
    }
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (f64::from(*x) - threshold).max(0.0) as f32);
}
