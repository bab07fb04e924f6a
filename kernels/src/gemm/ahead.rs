//! What a tile asks for while it computes: cache lines that come next. Operands mostly come from beyond the second cache; without
//! this, a product with one of a megabyte waits for a third of its time.

use super::tile::Mat;
use crate::lines::{LINE, ask};

/// Lines at one distance from each other, asked for one after the other; those past the end are asked for in vain.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub at: *const f32,
    pub step: isize,
}

impl Ahead {
    /// Again and again a line that is there.
    pub fn nothing(at: *const f32) -> Self {
        Self { at, step: 0 }
    }

    /// Asks for the next one.
    #[inline(always)]
    pub fn ask(&mut self) {
        ask(self.at, 1);
        self.at = self.at.wrapping_offset(self.step);
    }

    /// For the next tile, the `rows` of A from `next` on, of which it reads `k` columns. Each stream has half of the rows; where there
    /// are gaps between rows, the first line of each row has one, the third the other (lines come in pairs).
    #[inline(always)]
    pub fn rows(next: Mat, rows: usize, k: usize) -> [Self; 2] {
        if next.rs as usize <= k {
            [next, next.from(rows / 2, 0)].map(|m| Self { at: m.at, step: LINE as isize })
        } else {
            [next, next.from(0, 2 * LINE)].map(|m| Self { at: m.at, step: m.rs })
        }
    }
}

/// Rows that are packed after this block: `lines` of each of `count` rows.
#[derive(Clone, Copy)]
pub(crate) struct Later {
    pub at: *const f32,
    pub lines: usize,
    pub step: isize,
    pub count: usize,
}

impl Later {
    /// The share of tile `number` of so many: one line of each row, then the next ones.
    #[inline(always)]
    pub fn share(self, number: usize, tiles: usize) -> Ahead {
        let first = self.count * self.lines * number / tiles;
        let (line, row) = (first / self.count, first % self.count);
        Ahead { at: self.at.wrapping_add(line * LINE).wrapping_offset(row as isize * self.step), step: self.step }
    }
}
