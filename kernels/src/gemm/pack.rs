//! Panels: parts of a matrix copied to where they are read in order.

use super::tile::Mat;
use crate::isa::Isa;
use crate::vector::Vector;
use std::cell::Cell;

/// A vector of f32 that starts at a cache line, kept by each thread from call to call.
#[derive(Default)]
pub(crate) struct Room {
    data: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Room {
    /// Memory for n numbers, not initialised in any particular way.
    pub fn of(&mut self, n: usize) -> *mut f32 {
        if self.data.len() * 16 < n {
            self.data.resize(n.div_ceil(16), Line([0.0; 16]));
        }
        self.data.as_mut_ptr().cast()
    }
}

thread_local! {
    static ROOMS: Cell<(Room, Room)> = const { Cell::new((Room { data: Vec::new() }, Room { data: Vec::new() })) };
}

/// Lends out this thread's two rooms, to be given back by [`keep`]. (No closure: code in one would not be compiled for the
/// instruction set of the function around it.)
#[inline]
pub(crate) fn rooms() -> (Room, Room) {
    ROOMS.take()
}

/// Takes rooms back for the next call.
#[inline]
pub(crate) fn keep(rooms: (Room, Room)) {
    ROOMS.set(rooms);
}

/// Copies the `rows` x `cols` matrix to `to`, row-major with rows of `width`, zeros past `cols`.
#[inline(always)]
pub(crate) unsafe fn pack<I: Isa>(m: Mat, rows: usize, cols: usize, width: usize, to: *mut f32) {
    // SAFETY: `to` has rows * width entries; every offset is that of an entry.
    unsafe {
        if m.cs == 1 {
            let lanes = I::V::LANES;
            for r in 0..rows {
                let (from, to) = (m.at.offset(r as isize * m.rs), to.add(r * width));
                let mut j = 0;
                while j + lanes <= cols {
                    I::V::load(from.add(j)).store(to.add(j));
                    j += lanes;
                }
                while j < width {
                    *to.add(j) = if j < cols { *from.add(j) } else { 0.0 };
                    j += 1;
                }
            }
            return;
        }
        // Blocks of 8 x 8 are turned in registers where columns are contiguous.
        let mut j = 0;
        while j < cols {
            let nj = (cols - j).min(8);
            let mut r = 0;
            if nj == 8 && m.rs == 1 {
                while r + 8 <= rows {
                    let mut t = [[0.0; 8]; 8];
                    for (y, line) in t.iter_mut().enumerate() {
                        *line = m.at.offset((j + y) as isize * m.cs).add(r).cast::<[f32; 8]>().read_unaligned();
                    }
                    for x in 0..8 {
                        let line: [f32; 8] = std::array::from_fn(|y| t[y][x]);
                        to.add((r + x) * width + j).cast::<[f32; 8]>().write_unaligned(line);
                    }
                    r += 8;
                }
            }
            while r < rows {
                for y in 0..nj {
                    *to.add(r * width + j + y) = *m.at.offset(r as isize * m.rs + (j + y) as isize * m.cs);
                }
                r += 1;
            }
            j += nj;
        }
        if width > cols {
            for r in 0..rows {
                for j in cols..width {
                    *to.add(r * width + j) = 0.0;
                }
            }
        }
    }
}
