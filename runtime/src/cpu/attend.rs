//! Attends: tile by tile with a running softmax (Milakov and Gimelshein 2018; FlashAttention, arXiv 2205.14135), forward and
//! backward, so that memory grows with T and not with T x T.

use super::memory::{Bases, FIXED, Slot};
use super::program::{Context, Program, layout};
use archc_compiler::plan::{AttendKernel, Base, TilePort, View};
use archc_kernels::copy::{add_nd, copy_nd};
use archc_kernels::gemm::gemm;

/// A prepared attend.
#[derive(Clone, Debug)]
pub(super) struct AttendStep {
    kernel: AttendKernel,
    body: Program,
    after: Option<Program>,
    arena: Slot,
    pos: Slot,
    ports: Vec<Tile>,
    emits: Vec<Emit>,
    lse: Option<Tile>,
    delta: Option<Tile>,
    sums: Vec<Tile>,
}

/// A tile of an outer value.
#[derive(Clone, Debug)]
struct Tile {
    outer: Slot,
    map: Vec<isize>,
    token: isize,
    rows: bool,
    timed: bool,
    /// In the body's arena.
    at: usize,
    /// Tokens of a full tile, 1 without tokens.
    tokens: usize,
    /// Numbers a token.
    each: usize,
    /// Sizes of the axes, tokens first if there are any, and their strides inside and outside.
    sizes: Vec<usize>,
    inside: Vec<isize>,
    outside: Vec<isize>,
}

impl Tile {
    fn new(port: &TilePort) -> Self {
        let (sizes, inside) = layout(&port.tile);
        let outside = port
            .tile
            .axes
            .iter()
            .enumerate()
            .map(|(i, a)| if i == 0 && port.timed { port.token } else { port.outer.stride(a.dim) })
            .collect();
        let tokens = if port.timed { sizes.first().copied().unwrap_or(1) } else { 1 };
        Self {
            outer: Slot::of(&port.outer),
            map: port.map.clone(),
            token: port.token,
            rows: port.rows,
            timed: port.timed,
            at: port.tile.offset,
            tokens,
            each: sizes.iter().skip(usize::from(port.timed)).product(),
            sizes,
            inside,
            outside,
        }
    }

    /// The address of a token for an index of the mapped dimensions.
    unsafe fn outer(&self, bases: &Bases, index: &[usize], token: usize) -> *mut f32 {
        let shift: isize = self.map.iter().zip(index).map(|(s, i)| s * *i as isize).sum();
        // SAFETY: the plan's views lie inside of their buffers
        unsafe { bases.at(self.outer).offset(shift + self.token * token as isize) }
    }

    /// Copies `count` tokens in; the rest of the tile is zero.
    unsafe fn load(&self, bases: &Bases, scratch: *mut f32, index: &[usize], token: usize, count: usize) {
        let mut sizes = self.sizes.clone();
        // SAFETY: the tile has room for all of its tokens
        unsafe {
            let to = scratch.add(self.at);
            if self.timed {
                if count < self.tokens {
                    std::slice::from_raw_parts_mut(to.add(count * self.each), (self.tokens - count) * self.each)
                        .fill(0.0);
                }
                sizes[0] = count;
            }
            copy_nd(to, &self.inside, self.outer(bases, index, token), &self.outside, &sizes);
        }
    }

    /// Copies or adds `count` tokens out.
    unsafe fn store(&self, bases: &Bases, scratch: *const f32, index: &[usize], token: usize, count: usize, add: bool) {
        let mut sizes = self.sizes.clone();
        if self.timed {
            sizes[0] = count;
        }
        // SAFETY: as for `load`
        unsafe {
            let (to, from) = (self.outer(bases, index, token), scratch.add(self.at));
            if add {
                add_nd(to, &self.outside, from, &self.inside, &sizes);
            } else {
                copy_nd(to, &self.outside, from, &self.inside, &sizes);
            }
        }
    }
}

/// An emit: its value in the body, and the running sum.
#[derive(Clone, Debug)]
struct Emit {
    value: usize,
    /// Distances along rows and columns; 0 where the value lacks them.
    row: isize,
    col: isize,
    /// Numbers of an entry, with their distances.
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

impl Pairs {
    unsafe fn get(self, bases: &Bases, i: usize, j: usize) -> f32 {
        // SAFETY: i and j lie inside of the tile
        unsafe { *bases.at(self.at).offset(i as isize * self.row + j as isize * self.col) }
    }
}

impl AttendStep {
    pub fn new(kernel: &AttendKernel, sizes: &[usize]) -> Self {
        let dims = |v: &View| -> Vec<archc_compiler::lowered::DimId> { v.axes.iter().map(|a| a.dim).collect() };
        let pair = dims(&kernel.weights);
        let emits = kernel.emits.iter().map(|e| {
            let rest: Vec<_> = dims(&e.value).into_iter().filter(|d| !pair.contains(d)).collect();
            let (width, step) = e.value.run(&rest).unwrap_or((1, 1));
            Emit {
                value: e.value.offset,
                row: e.value.stride(pair[0]),
                col: e.value.stride(pair[1]),
                width,
                step,
                sum: Tile::new(&e.sum),
            }
        });
        Self {
            body: Program::new(&kernel.body, sizes),
            after: kernel.grad.as_ref().map(|g| Program::new(&g.after, sizes)),
            arena: Slot::new(Base::Scratch, kernel.arena),
            pos: Slot::of(&kernel.pos),
            ports: kernel.ports.iter().map(Tile::new).collect(),
            emits: emits.collect(),
            lse: kernel.lse.as_ref().map(Tile::new),
            delta: kernel.grad.as_ref().and_then(|g| g.delta.as_ref().map(Tile::new)),
            sums: kernel.grad.iter().flat_map(|g| g.sums.iter().map(|s| Tile::new(&s.1))).collect(),
            kernel: kernel.clone(),
        }
    }

    pub fn registers(&self) -> usize {
        self.body.registers.max(self.after.as_ref().map_or(0, |a| a.registers))
    }

    pub unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        let k = &self.kernel;
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            let mut inner = Bases(bases.0[..FIXED].to_vec());
            inner.0[0] = bases.at(self.arena);
            let zero = 0.0f32;
            for sum in &self.sums {
                // gradients are added up tile by tile; a tile without tokens has one sum for each mapped index
                let tokens = if !sum.timed {
                    1
                } else if sum.rows {
                    k.rows
                } else {
                    k.cols
                };
                let mut sizes = k.map.clone();
                let mut strides = sum.map.clone();
                sizes.extend(&sum.sizes);
                strides.extend(&sum.outside);
                if sum.timed {
                    sizes[k.map.len()] = tokens;
                }
                copy_nd(bases.at(sum.outer), &strides, &zero, &vec![0; sizes.len()], &sizes);
            }
            let count: usize = k.map.iter().product();
            let mut index = vec![0usize; k.map.len()];
            let mut state = Running::default();
            for _ in 0..count {
                self.sequence(bases, &inner, context, &index, &mut state);
                for (i, size) in index.iter_mut().zip(&k.map).rev() {
                    *i += 1;
                    if *i < *size {
                        break;
                    }
                    *i = 0;
                }
            }
        }
    }

    /// All tiles of one index of the mapped dimensions.
    unsafe fn sequence(
        &self,
        bases: &Bases,
        inner: &Bases,
        context: &Context<'_>,
        index: &[usize],
        state: &mut Running,
    ) {
        let k = &self.kernel;
        let scratch = inner.0[0];
        let carried = k.cols - k.rows;
        let b = k.batch.map_or(0, |at| index[at]);
        // SAFETY: as for `run`
        unsafe {
            let pos = std::slice::from_raw_parts(bases.at(self.pos).add(b * k.rows), k.rows);
            let mut first_row = 0;
            while first_row < k.rows {
                let rows = k.tile_rows.min(k.rows - first_row);
                // columns that some row of the tile may see
                let pos = &pos[first_row..first_row + rows];
                let last = carried + first_row + rows - 1;
                let reach = |i: usize| {
                    let far = k.reach.1.map_or(pos[i] as usize, |r| r.min(pos[i] as usize));
                    (carried + first_row + i).saturating_sub(far)
                };
                let begin = (0..rows).map(reach).min().unwrap_or(0);
                let end = (last + 1).saturating_sub(k.reach.0);
                for port in self.ports.iter().filter(|p| p.rows || !p.timed) {
                    port.load(bases, scratch, index, first_row, rows);
                }
                if let Some(delta) = &self.delta {
                    delta.load(bases, scratch, index, first_row, rows);
                }
                let forward = k.grad.is_none();
                if forward {
                    state.reset(k.tile_rows);
                    for e in &self.emits {
                        std::slice::from_raw_parts_mut(scratch.add(e.sum.at), k.tile_rows * e.sum.each).fill(0.0);
                    }
                } else if let Some(lse) = &self.lse {
                    lse.load(bases, scratch, index, first_row, rows);
                }
                let mut first_col = begin - begin % k.tile_cols;
                while first_col < end {
                    let cols = k.tile_cols.min(k.cols - first_col);
                    for port in self.ports.iter().filter(|p| !p.rows && p.timed) {
                        port.load(bases, scratch, index, first_col, cols);
                    }
                    let now = carried + first_row;
                    if let Some(lag) = &k.lag {
                        let lags = inner.at(Slot::of(lag));
                        for i in 0..k.tile_rows {
                            for j in 0..k.tile_cols {
                                *lags.add(i * k.tile_cols + j) = (now + i) as f32 - (first_col + j) as f32;
                            }
                        }
                    }
                    self.body.run(inner, context);
                    let tile = Span { pos, now, rows, first_col, cols };
                    if forward {
                        self.weigh(inner, &tile, state);
                    } else {
                        self.weigh_again(inner, &tile);
                        if let Some(after) = &self.after {
                            after.run(inner, context);
                        }
                        for sum in &self.sums {
                            let (token, count) = if sum.rows { (first_row, rows) } else { (first_col, cols) };
                            sum.store(bases, scratch, index, token, count, true);
                        }
                    }
                    first_col += k.tile_cols;
                }
                if forward {
                    self.finish(bases, inner, index, first_row, rows, state);
                }
                first_row += k.tile_rows;
            }
        }
    }

    fn score(&self) -> Pairs {
        self.pairs(&self.kernel.weight)
    }

    fn pairs(&self, view: &View) -> Pairs {
        let dims: Vec<_> = self.kernel.weights.axes.iter().map(|a| a.dim).collect();
        Pairs { at: Slot::of(view), row: view.stride(dims[0]), col: view.stride(dims[1]) }
    }

    /// Columns of the tile that a row may see, as far as documents and lags say.
    fn visible(&self, tile: &Span<'_>, i: usize) -> std::ops::Range<usize> {
        let now = tile.now + i;
        let far = tile.pos[i] as usize;
        let first = now.saturating_sub(far).max(tile.first_col) - tile.first_col;
        let last = (now + 1).clamp(tile.first_col, tile.first_col + tile.cols) - tile.first_col;
        first.min(last)..last
    }

    /// Forward: weights of a tile, and what they add to the running sums.
    unsafe fn weigh(&self, inner: &Bases, tile: &Span<'_>, state: &mut Running) {
        let k = &self.kernel;
        let score = self.score();
        let mask = k.visible.as_ref().map(|v| self.pairs(v));
        // SAFETY: tiles lie inside of the body's arena
        unsafe {
            let scratch = inner.0[0];
            let weights = inner.at(Slot::of(&k.weights));
            std::slice::from_raw_parts_mut(weights, k.tile_rows * k.tile_cols).fill(0.0);
            for i in 0..tile.rows {
                let row = std::slice::from_raw_parts_mut(weights.add(i * k.tile_cols), k.tile_cols);
                let seen = self.visible(tile, i);
                let shown = |j: usize| mask.is_none_or(|m| m.get(inner, i, j) != 0.0);
                if !k.softmax {
                    for j in seen.filter(|j| shown(*j)) {
                        row[j] = score.get(inner, i, j);
                    }
                    continue;
                }
                let plain = mask.is_none() && score.col == 1;
                let scores = inner.at(score.at).offset(i as isize * score.row);
                let mut top = state.top[i];
                if plain {
                    if !seen.is_empty() {
                        let mut most = f32::NEG_INFINITY;
                        archc_kernels::rows::max(scores.add(seen.start), 1, seen.len(), seen.len(), &mut most);
                        top = if most > top || most.is_nan() { most } else { top };
                    }
                } else {
                    for j in seen.clone().filter(|j| shown(*j)) {
                        let s = score.get(inner, i, j);
                        top = if s > top || s.is_nan() { s } else { top };
                    }
                }
                if top == f32::NEG_INFINITY {
                    continue;
                }
                if top != state.top[i] {
                    let shrink = (state.top[i] - top).exp();
                    state.total[i] *= shrink;
                    for e in &self.emits {
                        let sum = std::slice::from_raw_parts_mut(scratch.add(e.sum.at + i * e.sum.each), e.sum.each);
                        sum.iter_mut().for_each(|x| *x *= shrink);
                    }
                    state.top[i] = top;
                }
                if plain {
                    use archc_kernels::elementwise::{Binary, Src, Unary, binary, unary};
                    let out = row.as_mut_ptr().add(seen.start);
                    binary(Binary::Sub, Src::Slice(scores.add(seen.start)), Src::Scalar(top), out, seen.len());
                    unary(Unary::Exp, out, out, seen.len());
                    let mut total = 0.0;
                    archc_kernels::rows::sum(out, 1, seen.len(), seen.len(), &mut total);
                    state.total[i] += total;
                } else {
                    let mut total = 0.0;
                    for j in seen.filter(|j| shown(*j)) {
                        row[j] = (score.get(inner, i, j) - top).exp();
                        total += row[j];
                    }
                    state.total[i] += total;
                }
            }
            for e in &self.emits {
                let (value, sum) = (scratch.add(e.value), scratch.add(e.sum.at));
                let (n, m, width) = (tile.cols, tile.rows, e.sum.each as isize);
                if e.row == 0 {
                    let c = k.tile_cols as isize;
                    gemm(m, e.width, n, 1.0, weights, c, 1, value, e.col, e.step, 1.0, sum, width, 1);
                } else {
                    for i in 0..m {
                        let (w, v, s) =
                            (weights.add(i * k.tile_cols), value.offset(i as isize * e.row), sum.add(i * e.sum.each));
                        gemm(1, e.width, n, 1.0, w, 1, 1, v, e.col, e.step, 1.0, s, width, 1);
                    }
                }
            }
        }
    }

    /// After the last tile: sums over their denominators, and the logsumexp.
    unsafe fn finish(
        &self,
        bases: &Bases,
        inner: &Bases,
        index: &[usize],
        first_row: usize,
        rows: usize,
        state: &mut Running,
    ) {
        let k = &self.kernel;
        let scratch = inner.0[0];
        // SAFETY: as for `weigh`
        unsafe {
            if k.softmax {
                let sink = k.sink.as_ref().map(|v| self.pairs(v));
                for i in 0..rows {
                    let mut shrink = 1.0;
                    if let Some(sink) = sink {
                        let s = sink.get(inner, i, 0);
                        let top = if s > state.top[i] { s } else { state.top[i] };
                        shrink = if state.top[i] == top { 1.0 } else { (state.top[i] - top).exp() };
                        state.total[i] = state.total[i] * shrink + (s - top).exp();
                        state.top[i] = top;
                    }
                    let share = if state.total[i] == 0.0 { 0.0 } else { shrink / state.total[i] };
                    for e in &self.emits {
                        let sum = std::slice::from_raw_parts_mut(scratch.add(e.sum.at + i * e.sum.each), e.sum.each);
                        sum.iter_mut().for_each(|x| *x *= share);
                    }
                    if let Some(lse) = &self.lse {
                        *scratch.add(lse.at + i) = state.top[i] + state.total[i].ln();
                    }
                }
                if let Some(lse) = &self.lse {
                    lse.store(bases, scratch, index, first_row, rows, false);
                }
            }
            for e in &self.emits {
                e.sum.store(bases, scratch, index, first_row, rows, false);
            }
        }
    }

    /// Backward: the normalised weights of a tile once more.
    unsafe fn weigh_again(&self, inner: &Bases, tile: &Span<'_>) {
        let k = &self.kernel;
        let score = self.score();
        let mask = k.visible.as_ref().map(|v| self.pairs(v));
        // SAFETY: as for `weigh`
        unsafe {
            let scratch = inner.0[0];
            let weights = inner.at(Slot::of(&k.weights));
            std::slice::from_raw_parts_mut(weights, k.tile_rows * k.tile_cols).fill(0.0);
            let shown_at = k.shown.as_ref().map(|v| inner.at(Slot::of(v)));
            if let Some(shown) = shown_at {
                std::slice::from_raw_parts_mut(shown, k.tile_rows * k.tile_cols).fill(0.0);
            }
            for i in 0..tile.rows {
                let row = std::slice::from_raw_parts_mut(weights.add(i * k.tile_cols), k.tile_cols);
                let seen = self.visible(tile, i);
                let shown = |j: usize| mask.is_none_or(|m| m.get(inner, i, j) != 0.0);
                if let Some(to) = shown_at {
                    for j in seen.clone().filter(|j| shown(*j)) {
                        *to.add(i * k.tile_cols + j) = 1.0;
                    }
                }
                let Some(lse) = &self.lse else {
                    for j in seen.filter(|j| shown(*j)) {
                        row[j] = score.get(inner, i, j);
                    }
                    continue;
                };
                let lse = *scratch.add(lse.at + i);
                if lse == f32::NEG_INFINITY {
                    continue;
                }
                if mask.is_none() && score.col == 1 {
                    use archc_kernels::elementwise::{Binary, Src, Unary, binary, unary};
                    let scores = inner.at(score.at).offset(i as isize * score.row);
                    let out = row.as_mut_ptr().add(seen.start);
                    binary(Binary::Sub, Src::Slice(scores.add(seen.start)), Src::Scalar(lse), out, seen.len());
                    unary(Unary::Exp, out, out, seen.len());
                } else {
                    for j in seen.filter(|j| shown(*j)) {
                        row[j] = (score.get(inner, i, j) - lse).exp();
                    }
                }
            }
        }
    }
}

/// A tile's place.
struct Span<'a> {
    /// Positions of its rows.
    pos: &'a [f32],
    /// The first row, counted like columns.
    now: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
}

/// The running softmax of a tile of rows.
#[derive(Default)]
struct Running {
    top: Vec<f32>,
    total: Vec<f32>,
}

impl Running {
    fn reset(&mut self, rows: usize) {
        self.top.clear();
        self.top.resize(rows, f32::NEG_INFINITY);
        self.total.clear();
        self.total.resize(rows, 0.0);
    }
}
