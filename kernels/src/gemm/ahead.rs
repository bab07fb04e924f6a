//! Prefetch by a tile while it computes: the cache lines that are read next. Operands mostly come from beyond the L2 cache; without
//! prefetch, a product with an operand of a megabyte waits for a third of its time.

use super::tile::Mat;
use crate::lines::{LINE, ask};

/// A stream of cache lines at a constant stride, prefetched one after the other; lines past the end are prefetched but unused.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub at: *const f32,
    pub step: isize,
}

impl Ahead {
    /// The stream that repeats one cached line.
    pub fn nothing(at: *const f32) -> Self {
        Self { at, step: 0 }
    }

    /// Prefetches the next line.
    #[inline(always)]
    pub fn ask(&mut self) {
        ask(self.at, 1);
        self.at = self.at.wrapping_offset(self.step);
    }

    /// The streams for the next tile: the `rows` rows of A from `next` on, of which it reads `k` columns. Each stream has half of the rows;
    /// where there are gaps between rows, one has the first line of each row, the other the third (lines are fetched in pairs).
    #[inline(always)]
    pub fn rows(next: Mat, rows: usize, k: usize) -> [Self; 2] {
        if next.rs as usize <= k {
            [next, next.from(rows / 2, 0)].map(|m| Self { at: m.at, step: LINE as isize })
        } else {
            [next, next.from(0, 2 * LINE)].map(|m| Self { at: m.at, step: m.rs })
        }
    }
}

/// Rows that are packed after this block: `lines` cache lines of each of `count` rows.
#[derive(Clone, Copy)]
pub(crate) struct Later {
    pub at: *const f32,
    pub lines: usize,
    pub step: isize,
    pub count: usize,
}

impl Later {
    /// The share of tile `number` of `tiles`, in the order of one line of each row, then the next line of each.
    #[inline(always)]
    pub fn share(self, number: usize, tiles: usize) -> Ahead {
        let first = self.count * self.lines * number / tiles;
        let (line, row) = (first / self.count, first % self.count);
        Ahead { at: self.at.wrapping_add(line * LINE).wrapping_offset(row as isize * self.step), step: self.step }
    }
}
