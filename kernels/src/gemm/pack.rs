//! Panels: parts of a matrix copied to where they are read in order.

use super::tile::Mat;
use crate::isa::Isa;
use crate::vector::Vector;

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
