//! Tiles of an attend: contiguous pieces of outer values in the body's arena, and the copies between the two.

use super::memory::{Bases, FIXED, Slot, elements, layout};
use archc_compiler::plan::TilePort;
use archc_kernels::attend::{add_rows, copy_rows};
use archc_kernels::copy::{DIMS, add_nd, copy_nd};
use archc_kernels::gemm::transpose;

/// A tile of an outer value.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    outer: Slot,
    map: Vec<isize>,
    token: isize,
    /// Whether its tokens are the rows of the attend's tile, otherwise its columns.
    pub rows: bool,
    /// Whether the value has a token dimension.
    pub timed: bool,
    /// Offset of the tile, or of the first tile of a panel, in the body's arena, in elements.
    pub at: usize,
    /// The base of the body that moves along the panel, if the tile is part of one.
    panel: Option<usize>,
    /// The base of the body that moves along the transposed panel (tokens last), and the offset of its first tile.
    transposed: Option<(usize, usize)>,
    /// Tokens of a full tile, 1 without a token dimension.
    tokens: usize,
    /// Elements per token.
    pub each: usize,
    /// Sizes of the axes, tokens first if there are any, and their strides in the tile and in the outer value.
    sizes: Vec<usize>,
    inner: Vec<isize>,
    outside: Vec<isize>,
    /// Whether the elements of a token have the same layout in the tile and in the outer value.
    plain: bool,
}

impl Tile {
    pub fn new(port: &TilePort) -> Self {
        let (sizes, inner) = layout(&port.tile);
        let outside: Vec<isize> = port
            .tile
            .axes
            .iter()
            .enumerate()
            .map(|(i, a)| if i == 0 && port.timed { port.token } else { port.outer.stride(a.dim) })
            .collect();
        let own = usize::from(port.timed);
        Self {
            outer: Slot::of(&port.outer),
            map: port.map.clone(),
            token: port.token,
            rows: port.rows,
            timed: port.timed,
            at: elements(port.tile.start.bytes),
            panel: port.panel.map(|port| FIXED + port),
            transposed: port.transposed.as_ref().map(|(port, view)| (FIXED + port, elements(view.start.bytes))),
            tokens: if port.timed { sizes.first().copied().unwrap_or(1) } else { 1 },
            each: sizes.iter().skip(own).product(),
            plain: (own..sizes.len()).all(|i| sizes[i] == 1 || inner[i] == outside[i]),
            sizes,
            inner,
            outside,
        }
    }

    /// The address of a token in the outer value, for an index of the mapped dimensions.
    unsafe fn outer(&self, bases: &Bases, index: &[usize], token: usize) -> *mut f32 {
        let shift: isize = self.map.iter().zip(index).map(|(s, i)| s * *i as isize).sum();
        // SAFETY: the plan's views lie inside of their buffers
        unsafe { bases.at(self.outer).offset(shift + self.token * token as isize) }
    }

    /// The offset of the tile with this token in the body's arena.
    fn inside(&self, token: usize) -> usize {
        if self.panel.is_some() { self.at + self.along(token) } else { self.at }
    }

    /// The offset of the tile with this token from the first tile of its panel.
    fn along(&self, token: usize) -> usize {
        token / self.tokens * self.tokens * self.each
    }

    /// Transposes the tile with this token, if a product reads it transposed.
    pub unsafe fn transpose(&self, scratch: *mut f32, token: usize) {
        if let Some((_, at)) = self.transposed {
            // SAFETY: both panels lie inside of the arena and do not overlap
            unsafe {
                transpose(self.tokens, self.each, scratch.add(self.inside(token)), scratch.add(at + self.along(token)))
            };
        }
    }

    /// Points the body's bases at the tile with this token.
    pub unsafe fn show(&self, inner: &mut Bases, token: usize) {
        if let Some(base) = self.panel {
            // SAFETY: the panel lies inside of the arena
            inner.0[base] = unsafe { inner.0[0].add(self.inside(token)) };
        }
        if let Some((base, at)) = self.transposed {
            // SAFETY: as above
            inner.0[base] = unsafe { inner.0[0].add(at + self.along(token)) };
        }
    }

    /// Zeroes the tile with this token in the body's arena.
    pub unsafe fn zero(&self, scratch: *mut f32, token: usize) {
        // SAFETY: as above
        unsafe { std::slice::from_raw_parts_mut(scratch.add(self.inside(token)), self.tokens * self.each).fill(0.0) };
    }

    /// The sizes of the axes with `count` tokens.
    fn sized(&self, count: usize) -> [usize; DIMS] {
        let mut sizes = [0; DIMS];
        sizes[..self.sizes.len()].copy_from_slice(&self.sizes);
        if self.timed {
            sizes[0] = count;
        }
        sizes
    }

    /// Copies `count` tokens into the tile, at least one. The rest of the tile repeats the last one: its pairs have weight 0, but 0 times
    /// the result of a function at zeros could be NaN.
    pub unsafe fn load(&self, bases: &Bases, scratch: *mut f32, index: &[usize], token: usize, count: usize) {
        let count = if self.timed { count } else { 1 };
        // SAFETY: the arena holds the whole tile, and the plan's views lie inside of their buffers
        unsafe {
            let (to, from) = (scratch.add(self.inside(token)), self.outer(bases, index, token));
            if self.plain {
                copy_rows(count, self.each, from, self.token, to, self.each as isize);
            } else {
                let sizes = &self.sized(count)[..self.sizes.len()];
                copy_nd(to, &self.inner, from, &self.outside, sizes);
            }
            let last = to.add((count - 1) * self.each);
            for i in count..self.tokens {
                std::ptr::copy_nonoverlapping(last, to.add(i * self.each), self.each);
            }
        }
    }

    /// Copies `count` tokens of the tile to the outer value, or adds them to it.
    pub unsafe fn store(
        &self,
        bases: &Bases,
        scratch: *const f32,
        index: &[usize],
        token: usize,
        count: usize,
        add: bool,
    ) {
        // SAFETY: as for `load`
        unsafe {
            let (to, from) = (self.outer(bases, index, token), scratch.add(self.inside(token)));
            let sizes = &self.sized(count)[..self.sizes.len()];
            let (tokens, each) = (if self.timed { count } else { 1 }, self.each as isize);
            match (self.plain, add) {
                (true, true) => add_rows(tokens, self.each, from, each, to, self.token),
                (true, false) => copy_rows(tokens, self.each, from, each, to, self.token),
                (false, true) => add_nd(to, &self.outside, from, &self.inner, sizes),
                (false, false) => copy_nd(to, &self.outside, from, &self.inner, sizes),
            }
        }
    }

    /// Zeroes `count` tokens of the outer value.
    pub unsafe fn clear(&self, bases: &Bases, index: &[usize], token: usize, count: usize) {
        let zero = 0.0f32;
        // SAFETY: as for `load`
        unsafe {
            let sizes = &self.sized(count)[..self.sizes.len()];
            copy_nd(self.outer(bases, index, token), &self.outside, &zero, &[0; DIMS][..sizes.len()], sizes);
        }
    }
}
