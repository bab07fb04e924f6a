//! Attends: tile by tile with an online softmax (Milakov and Gimelshein 2018; FlashAttention, arXiv 2205.14135), forward and backward, so
//! that memory grows with T and not with T x T. Tiles of columns lie in panels of the whole past, each loaded when it is first visited; the
//! body's ports move along them.
//!
//! Causality and documents make one span of a tile's columns visible to a row; conditions of the program are an additional mask. A tile
//! that is visible to all of its rows has neither.

use super::context::Context;
use super::memory::{Bases, FIXED, Slot};
use super::program::Program;
use super::tile::Tile;
use archc_compiler::plan::{AttendKernel, View};
use archc_kernels::attend::{Mask, finish, masked, scale_rows, update, weights};
use archc_kernels::copy::copy_nd;
use archc_kernels::gemm::{Band, Banded, gemm, gemm_banded};
use std::ops::Range;

/// A prepared attend.
#[derive(Clone, Debug)]
pub(super) struct AttendStep {
    kernel: AttendKernel,
    body: Program,
    after: Option<Program>,
    arena: Slot,
    pos: Slot,
    score: Pairs,
    visible: Option<Pairs>,
    sink: Option<Pairs>,
    ports: Vec<Tile>,
    emits: Vec<Emit>,
    /// The maximum score and the logarithm of the sum, per row.
    normal: [Option<Tile>; 2],
    delta: Option<Tile>,
    sums: Vec<Sum>,
    /// Values carried from one tile of columns to the next: the place that the body reads, and the place that it writes.
    running: Vec<[Pairs; 2]>,
    /// The place where the body reads whether the tile is the last one of its rows.
    last: Option<Slot>,
    /// Number of ports of the body that move along panels.
    panels: usize,
}

/// A gradient that is summed over tiles.
#[derive(Clone, Debug)]
struct Sum {
    tile: Tile,
    /// Whether the body adds to it; otherwise it writes the contribution of each tile.
    adds: bool,
}

impl Sum {
    /// Whether it sums over rows, with one sum per tile of columns.
    fn by_column(&self) -> bool {
        self.tile.timed && !self.tile.rows
    }

    /// Whether it sums over columns, with one sum per tile of rows.
    fn by_row(&self) -> bool {
        self.tile.timed && self.tile.rows
    }
}

/// An emit: its value in the body, and its running sum.
#[derive(Clone, Debug)]
struct Emit {
    value: Slot,
    /// Strides along rows and columns, in elements; 0 where the value lacks the dimension.
    row: isize,
    col: isize,
    /// Number of elements per pair, and their stride.
    width: usize,
    step: isize,
    sum: Tile,
}

/// A `[rows, cols]` value, perhaps without one or both.
#[derive(Clone, Copy, Debug)]
struct Pairs {
    at: Slot,
    row: isize,
    col: isize,
}

impl AttendStep {
    pub fn new(kernel: &AttendKernel, sizes: &[usize]) -> Self {
        let dims = |v: &View| -> Vec<archc_compiler::lowered::DimId> { v.axes.iter().map(|a| a.dim).collect() };
        let pair = dims(&kernel.weights);
        let pairs = |v: &View| Pairs { at: Slot::of(v), row: v.stride(pair[0]), col: v.stride(pair[1]) };
        let emits = kernel.emits.iter().map(|e| {
            let rest: Vec<_> = dims(&e.value).into_iter().filter(|d| !pair.contains(d)).collect();
            let (width, step) = e.value.run(&rest).unwrap_or((1, 1));
            Emit {
                value: Slot::of(&e.value),
                row: e.value.stride(pair[0]),
                col: e.value.stride(pair[1]),
                width,
                step,
                sum: Tile::new(&e.sum),
            }
        });
        Self {
            body: Program::new(&kernel.body.kernels, sizes),
            after: kernel.grad.as_ref().map(|g| Program::new(&g.after.kernels, sizes)),
            arena: kernel.arena.into(),
            pos: Slot::of(&kernel.pos),
            score: pairs(&kernel.weight),
            visible: kernel.visible.as_ref().map(pairs),
            sink: kernel.sink.as_ref().map(pairs),
            ports: kernel.ports.iter().map(Tile::new).collect(),
            emits: emits.collect(),
            normal: [0, 1].map(|i| kernel.normal[i].as_ref().map(Tile::new)),
            delta: kernel.grad.as_ref().and_then(|g| g.delta.as_ref().map(Tile::new)),
            sums: kernel
                .grad
                .iter()
                .flat_map(|g| g.sums.iter().map(|s| Sum { tile: Tile::new(&s.port), adds: s.adds }))
                .collect(),
            running: kernel.grad.iter().flat_map(|g| &g.running).map(|r| [pairs(&r[0]), pairs(&r[1])]).collect(),
            last: kernel.grad.as_ref().and_then(|g| g.last.as_ref()).map(Slot::of),
            panels: kernel.panels,
            kernel: kernel.clone(),
        }
    }

    pub fn registers(&self) -> usize {
        self.body.registers.max(self.after.as_ref().map_or(0, |a| a.registers))
    }

    pub unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        let count: usize = self.kernel.map.iter().product();
        // SAFETY: the arena of the body lies inside of the outer one; different mapped indices write to disjoint memory
        unsafe {
            context.share(count, 1, bases, bases.at(self.arena), |range, arena, bases, context| {
                self.indices(range, arena, bases, context);
            });
        }
    }

    /// Runs a range of the indices of the mapped dimensions.
    unsafe fn indices(&self, range: Range<usize>, scratch: *mut f32, bases: &Bases, context: &Context<'_>) {
        let k = &self.kernel;
        let mut inner = Bases(bases.0[..FIXED].to_vec());
        inner.0[0] = scratch;
        inner.0.resize(FIXED + self.panels, scratch);
        let mut index = vec![0usize; k.map.len()];
        let mut rest = range.start;
        for (i, size) in index.iter_mut().zip(&k.map).rev() {
            *i = rest % size;
            rest /= size;
        }
        let mut state = Running::new(self);
        for _ in range {
            // SAFETY: the plan's views lie inside of their buffers
            unsafe { self.sequence(bases, &mut inner, context, &index, &mut state) };
            for (i, size) in index.iter_mut().zip(&k.map).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
    }

    /// Runs all tiles of one index of the mapped dimensions.
    unsafe fn sequence(
        &self,
        bases: &Bases,
        inner: &mut Bases,
        context: &Context<'_>,
        index: &[usize],
        state: &mut Running,
    ) {
        let k = &self.kernel;
        let scratch = inner.0[0];
        let carried = k.cols - k.rows;
        let b = k.batch.map_or(0, |at| index[at]);
        let forward = k.grad.is_none();
        state.met.fill(false);
        // SAFETY: as for `run`
        unsafe {
            for port in self.ports.iter().filter(|p| !p.timed) {
                port.load(bases, scratch, index, 0, 1);
            }
            // sums start at zero where the body adds to them, otherwise with the first tile visited
            for sum in self.sums.iter().filter(|s| !s.tile.timed) {
                if sum.adds {
                    sum.tile.zero(scratch, 0);
                } else {
                    sum.tile.clear(bases, index, 0, 1);
                }
            }
            let pos = std::slice::from_raw_parts(bases.at(self.pos).cast::<u32>().add(b * k.rows), k.rows);
            let mut first_row = 0;
            while first_row < k.rows {
                let rows = k.tile_rows.min(k.rows - first_row);
                let now = carried + first_row;
                // the columns that may be visible to some row of the tile
                let pos = &pos[first_row..first_row + rows];
                let reach = |i: usize| {
                    let far = k.reach.1.map_or(pos[i] as usize, |r| r.min(pos[i] as usize));
                    (now + i).saturating_sub(far)
                };
                let begin = (0..rows).map(reach).min().unwrap_or(0);
                let end = (now + rows).saturating_sub(k.reach.0);
                for port in self.ports.iter().filter(|p| p.rows && p.timed) {
                    port.load(bases, scratch, index, first_row, rows);
                }
                if let Some(delta) = &self.delta {
                    delta.load(bases, scratch, index, first_row, rows);
                }
                if forward {
                    state.max.fill(f32::NEG_INFINITY);
                    state.sum.fill(0.0);
                } else {
                    for normal in self.normal.iter().flatten() {
                        normal.load(bases, scratch, index, first_row, rows);
                    }
                }
                for sum in self.sums.iter().filter(|s| s.adds && s.by_row()) {
                    sum.tile.zero(scratch, 0);
                }
                for [before, _] in &self.running {
                    let to = inner.at(before.at);
                    (0..k.tile_rows as isize).for_each(|i| *to.offset(i * before.row) = 0.0);
                }
                let mut met = false;
                let mut first_col = begin - begin % k.tile_cols;
                while first_col < end {
                    let cols = k.tile_cols.min(k.cols - first_col);
                    let span = Span { pos, now, rows, first_col, cols };
                    let first = !std::mem::replace(&mut state.met[first_col / k.tile_cols], true);
                    self.meet(bases, inner, index, &span, first);
                    self.lags(inner, now as isize - first_col as isize, state);
                    let band = self.band(now as isize - first_col as isize);
                    context.band.set(band);
                    self.body.run(inner, context);
                    let mask = self.mask(inner, &span, state);
                    if forward {
                        self.weigh(inner, &span, mask, band, met, state);
                    } else {
                        self.weigh_again(inner, mask);
                        if let Some(last) = self.last {
                            *inner.at(last) = f32::from(u8::from(first_col + k.tile_cols >= end));
                        }
                        if let Some(after) = &self.after {
                            after.run(inner, context);
                        }
                        for [before, now] in &self.running {
                            let (to, from) = (inner.at(before.at), inner.at(now.at));
                            for i in 0..k.tile_rows as isize {
                                *to.offset(i * before.row) = *from.offset(i * now.row);
                            }
                        }
                        for Sum { tile, .. } in self.sums.iter().filter(|s| !s.adds) {
                            let (token, count, add) = match (tile.timed, tile.rows) {
                                (false, _) => (0, 1, true),
                                (true, true) => (first_row, rows, met),
                                (true, false) => (first_col, cols, !first),
                            };
                            tile.store(bases, scratch, index, token, count, add);
                        }
                    }
                    met = true;
                    first_col += k.tile_cols;
                }
                context.band.set(None);
                if forward {
                    if !met {
                        self.nothing(inner, context);
                    }
                    self.finish(bases, inner, index, first_row, rows, state);
                }
                for sum in self.sums.iter().filter(|s| s.by_row()) {
                    if sum.adds {
                        sum.tile.store(bases, scratch, index, first_row, rows, false);
                    } else if !met {
                        sum.tile.clear(bases, index, first_row, rows);
                    }
                }
                first_row += k.tile_rows;
            }
            for sum in self.sums.iter().filter(|s| s.by_column()) {
                for (tile, met) in state.met.iter().enumerate() {
                    let first = tile * k.tile_cols;
                    let cols = k.tile_cols.min(k.cols - first);
                    if !met {
                        sum.tile.clear(bases, index, first, cols);
                    } else if sum.adds {
                        sum.tile.store(bases, scratch, index, first, cols, false);
                    }
                }
            }
            for sum in self.sums.iter().filter(|s| s.adds && !s.tile.timed) {
                sum.tile.store(bases, scratch, index, 0, 1, false);
            }
        }
    }

    /// Points the body at a tile of columns. Tiles of panels are loaded, and their sums zeroed, when they are first visited; where all
    /// columns are one tile there are no panels, and that tile is loaded once as well.
    unsafe fn meet(&self, bases: &Bases, inner: &mut Bases, index: &[usize], tile: &Span<'_>, first: bool) {
        let scratch = inner.0[0];
        // SAFETY: as for `run`
        unsafe {
            for port in self.ports.iter().filter(|p| !p.rows && p.timed) {
                if first {
                    port.load(bases, scratch, index, tile.first_col, tile.cols);
                    port.transpose(scratch, tile.first_col);
                }
                port.show(inner, tile.first_col);
            }
            for sum in self.sums.iter().filter(|s| s.adds && s.by_column()) {
                if first {
                    sum.tile.zero(scratch, tile.first_col);
                }
                sum.tile.show(inner, tile.first_col);
            }
        }
    }

    /// Writes the lags where the body reads them, if it does; `ahead` is the lag of the first row and column.
    unsafe fn lags(&self, inner: &Bases, ahead: isize, state: &mut Running) {
        let k = &self.kernel;
        let Some(lag) = &k.lag else { return };
        if state.ahead.replace(ahead) == Some(ahead) {
            return;
        }
        // SAFETY: the tile of lags lies inside of the body's arena
        let lags = unsafe { std::slice::from_raw_parts_mut(inner.at(Slot::of(lag)), k.tile_rows * k.tile_cols) };
        for (i, row) in lags.chunks_exact_mut(k.tile_cols).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, x)| *x = (ahead + i as isize - j as isize) as f32);
        }
    }

    /// The band of a tile's pairs that lags allow to be visible, if that is not the whole tile; `ahead` is the lag of the first row and
    /// column.
    fn band(&self, ahead: isize) -> Option<Band> {
        let k = &self.kernel;
        let far = k.reach.1.map_or(isize::MAX / 2, |far| far as isize);
        let band = Band { least: ahead - far, most: ahead - k.reach.0 as isize };
        (!band.holds(k.tile_rows, k.tile_cols)).then_some(band)
    }

    /// The mask of a tile: the columns that are visible to each row.
    unsafe fn mask(&self, inner: &Bases, tile: &Span<'_>, state: &mut Running) -> Mask {
        let k = &self.kernel;
        let mut mask = Mask::ALL;
        let mut whole = tile.rows == k.tile_rows && tile.cols == k.tile_cols;
        for (i, span) in state.spans.iter_mut().enumerate() {
            *span = tile.span(i);
            whole &= *span == [0, k.tile_cols as u32];
        }
        if !whole {
            mask.spans = state.spans.as_ptr();
        }
        if let Some(v) = self.visible {
            // SAFETY: tiles lie inside of the body's arena
            unsafe {
                let at = inner.at(v.at);
                if v.col == 1 && v.row >= 0 {
                    (mask.at, mask.stride) = (at, v.row.unsigned_abs());
                } else {
                    state.mask.resize(k.tile_rows * k.tile_cols, 0.0);
                    let (to, sizes) = ([k.tile_cols as isize, 1], [k.tile_rows, k.tile_cols]);
                    copy_nd(state.mask.as_mut_ptr(), &to, at, &[v.row, v.col], &sizes);
                    (mask.at, mask.stride) = (state.mask.as_ptr(), k.tile_cols);
                }
            }
        }
        mask
    }

    /// The scores as contiguous rows (address and row stride), and the address of the weights.
    unsafe fn scores(&self, inner: &Bases) -> (*const f32, usize, *mut f32) {
        let k = &self.kernel;
        // SAFETY: tiles lie inside of the body's arena
        unsafe {
            let (at, weights) = (inner.at(self.score.at), inner.at(Slot::of(&k.weights)));
            if self.score.col == 1 && self.score.row >= 0 {
                return (at, self.score.row.unsigned_abs(), weights);
            }
            let (to, sizes) = ([k.tile_cols as isize, 1], [k.tile_rows, k.tile_cols]);
            copy_nd(weights, &to, at, &[self.score.row, self.score.col], &sizes);
            (weights, k.tile_cols, weights)
        }
    }

    /// Forward: computes the weights of a tile and adds its weighted values to the running sums.
    unsafe fn weigh(
        &self,
        inner: &Bases,
        tile: &Span<'_>,
        mask: Mask,
        band: Option<Band>,
        met: bool,
        state: &mut Running,
    ) {
        let k = &self.kernel;
        // SAFETY: tiles lie inside of the body's arena
        unsafe {
            let scratch = inner.0[0];
            let (scores, step, weights) = self.scores(inner);
            let (n, c) = (k.tile_rows, k.tile_cols);
            if k.softmax {
                let (max, sum, factor) = (state.max.as_mut_ptr(), state.sum.as_mut_ptr(), state.factor.as_mut_ptr());
                update(n, c, scores, step, mask, weights, c, max, sum, factor);
            } else {
                masked(n, c, scores, step, mask, weights, c);
            }
            let shrinks = met && k.softmax && state.factor[..tile.rows].iter().any(|f| *f != 1.0);
            let beta = if met { 1.0 } else { 0.0 };
            for e in &self.emits {
                let (value, sum) = (inner.at(e.value), scratch.add(e.sum.at));
                let (cols, rows, width) = (tile.cols, tile.rows, e.sum.each as isize);
                if shrinks {
                    scale_rows(rows, e.sum.each, state.factor.as_ptr(), sum, e.sum.each);
                }
                if k.careful {
                    for i in 0..rows {
                        let s = std::slice::from_raw_parts_mut(sum.add(i * e.sum.each), e.width);
                        if !met {
                            s.fill(0.0);
                        }
                        for (j, w) in std::slice::from_raw_parts(weights.add(i * c), cols).iter().enumerate() {
                            let v = value.offset(i as isize * e.row + j as isize * e.col);
                            for (n, s) in s.iter_mut().enumerate().filter(|_| *w != 0.0) {
                                *s += w * *v.offset(n as isize * e.step);
                            }
                        }
                    }
                } else if e.row == 0 {
                    let (n, a, b) = (e.width, c as isize, (e.col, e.step));
                    let band = band.map(Banded::Left);
                    gemm_banded(band, rows, n, cols, weights, a, 1, value, b.0, b.1, beta, sum, width, 1);
                } else {
                    for i in 0..rows {
                        let (w, v, s) = (weights.add(i * c), value.offset(i as isize * e.row), sum.add(i * e.sum.each));
                        gemm(1, e.width, cols, 1.0, w, 1, 1, v, e.col, e.step, beta, s, width, 1);
                    }
                }
            }
        }
    }

    /// Forward, where no tile is visible to the rows: sets their sums to 0, and computes the sink if there is one.
    unsafe fn nothing(&self, inner: &Bases, context: &Context<'_>) {
        // SAFETY: as for `weigh`; the sink depends on no column
        unsafe {
            for e in &self.emits {
                let len = self.kernel.tile_rows * e.sum.each;
                std::slice::from_raw_parts_mut(inner.0[0].add(e.sum.at), len).fill(0.0);
            }
            if self.sink.is_some() {
                self.body.run(inner, context);
            }
        }
    }

    /// Ends a tile of rows: divides the sums by their denominators, and stores the maximum and logarithm by which they were normalised.
    unsafe fn finish(
        &self,
        bases: &Bases,
        inner: &Bases,
        index: &[usize],
        first_row: usize,
        rows: usize,
        state: &mut Running,
    ) {
        let scratch = inner.0[0];
        // SAFETY: as for `weigh`
        unsafe {
            if self.kernel.softmax {
                state.factor.fill(1.0);
                if let Some(sink) = self.sink {
                    for i in 0..rows {
                        let s = *inner.at(sink.at).offset(i as isize * sink.row);
                        let (top, old) = (f32::max(s, state.max[i]), state.max[i]);
                        // where all scores and the sink are -inf, the sums stay 0
                        if top > f32::NEG_INFINITY {
                            state.factor[i] = (old - top).exp();
                            state.sum[i] = state.sum[i] * state.factor[i] + (s - top).exp();
                            state.max[i] = top;
                        }
                    }
                }
                finish(rows, state.max.as_mut_ptr(), state.sum.as_mut_ptr(), state.log.as_mut_ptr());
                state.factor.iter_mut().zip(&state.sum).for_each(|(f, s)| *f *= s);
                for e in &self.emits {
                    scale_rows(rows, e.sum.each, state.factor.as_ptr(), scratch.add(e.sum.at), e.sum.each);
                }
                for (normal, own) in self.normal.iter().zip([&state.max, &state.log]) {
                    if let Some(normal) = normal {
                        std::ptr::copy_nonoverlapping(own.as_ptr(), scratch.add(normal.at), rows);
                        normal.store(bases, scratch, index, first_row, rows, false);
                    }
                }
            }
            for e in &self.emits {
                e.sum.store(bases, scratch, index, first_row, rows, false);
            }
        }
    }

    /// Backward: recomputes the normalised weights of a tile.
    unsafe fn weigh_again(&self, inner: &Bases, mask: Mask) {
        let k = &self.kernel;
        // SAFETY: as for `weigh`
        unsafe {
            let (n, c) = (k.tile_rows, k.tile_cols);
            if let Some(shown) = &k.shown {
                let to = inner.at(Slot::of(shown));
                std::slice::from_raw_parts_mut(to, n * c).fill(1.0);
                masked(n, c, to, c, mask, to, c);
            }
            let (scores, step, to) = self.scores(inner);
            match &self.normal {
                [Some(max), Some(log)] => {
                    let at = |tile: &Tile| inner.0[0].add(tile.at);
                    weights(n, c, scores, step, mask, at(max), at(log), to, c);
                }
                _ => masked(n, c, scores, step, mask, to, c),
            }
        }
    }
}

/// The place of a tile.
struct Span<'a> {
    /// Positions of its rows in their documents.
    pos: &'a [u32],
    /// Index of the first row among the known tokens, as columns are counted.
    now: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
}

impl Span<'_> {
    /// The columns of the tile, first and end, that documents and causality make visible to a row; none past the last row.
    fn span(&self, i: usize) -> [u32; 2] {
        if i >= self.rows {
            return [0, 0];
        }
        let now = self.now + i;
        let first = now.saturating_sub(self.pos[i] as usize).max(self.first_col) - self.first_col;
        let end = (now + 1).clamp(self.first_col, self.first_col + self.cols) - self.first_col;
        [first.min(end) as u32, end as u32]
    }
}

/// The online softmax of a tile of rows, and the tiles visited so far.
struct Running {
    max: Vec<f32>,
    sum: Vec<f32>,
    /// The logarithm of the sum, at the end.
    log: Vec<f32>,
    factor: Vec<f32>,
    spans: Vec<[u32; 2]>,
    mask: Vec<f32>,
    /// Lag of the first row and column for which lags were last written.
    ahead: Option<isize>,
    /// Whether each tile of columns has been visited.
    met: Vec<bool>,
}

impl Running {
    fn new(step: &AttendStep) -> Self {
        let k = &step.kernel;
        Self {
            max: vec![f32::NEG_INFINITY; k.tile_rows],
            sum: vec![0.0; k.tile_rows],
            log: vec![0.0; k.tile_rows],
            factor: vec![1.0; k.tile_rows],
            spans: vec![[0; 2]; k.tile_rows],
            mask: Vec::new(),
            ahead: None,
            met: vec![false; k.cols.div_ceil(k.tile_cols)],
        }
    }
}
