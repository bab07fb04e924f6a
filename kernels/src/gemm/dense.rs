//! Products of contiguous matrices in slices: the entry point of the benchmarks, and the simplest use of [`gemm`].

use super::gemm;

/// C = A B with A `[m, k]`, B `[k, n]` and C `[m, n]`, row-major; a transposed operand is stored column-major.
///
/// # Panics
/// If a slice is shorter than its matrix.
pub fn multiply(
    (m, n, k): (usize, usize, usize),
    (a, a_transposed): (&[f32], bool),
    (b, b_transposed): (&[f32], bool),
    c: &mut [f32],
) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "archc bug: matrices beyond their slices");
    let strides = |rows: usize, columns: usize, transposed: bool| {
        if transposed { (1, rows as isize) } else { (columns as isize, 1) }
    };
    let ((rsa, csa), (rsb, csb)) = (strides(m, k, a_transposed), strides(k, n, b_transposed));
    // SAFETY: each slice holds its matrix, and C is borrowed alone.
    unsafe {
        gemm(m, n, k, 1.0, a.as_ptr(), rsa, csa, b.as_ptr(), rsb, csb, 0.0, c.as_mut_ptr(), n as isize, 1);
    }
}
