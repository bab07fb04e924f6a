//! Gathers rows of a table by index, and adds to them (the transpose).

use crate::elementwise::axpy;

/// y_t = row `rows[t]` of the table, whose rows of `width` elements are contiguous; `sy` is the row stride of y. The indices are below the
/// number of rows of the table.
pub unsafe fn gather(width: usize, table: *const f32, rows: &[u32], y: *mut f32, sy: usize) {
    for (t, &row) in rows.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { std::ptr::copy_nonoverlapping(table.add(row as usize * width), y.add(t * sy), width) }
    }
}

/// Row `rows[t]` of the table += dy_t, in the order of t.
pub unsafe fn scatter_add(width: usize, table: *mut f32, rows: &[u32], dy: *const f32, sdy: usize) {
    for (t, &row) in rows.iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { axpy(1.0, dy.add(t * sdy), table.add(row as usize * width), width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let table: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let rows = [2, 0, 2];
        let mut y = vec![0.0; 12];
        let mut sums = vec![0.0; 12];
        // SAFETY: four rows of three; three rows four apart.
        unsafe {
            gather(3, table.as_ptr(), &rows, y.as_mut_ptr(), 4);
            scatter_add(3, sums.as_mut_ptr(), &rows, y.as_ptr(), 4);
        }
        assert_eq!(y, [6.0, 7.0, 8.0, 0.0, 0.0, 1.0, 2.0, 0.0, 6.0, 7.0, 8.0, 0.0]);
        assert_eq!(sums, [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 12.0, 14.0, 16.0, 0.0, 0.0, 0.0]);
    }
}
