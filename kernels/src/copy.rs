//! Copies between layouts: any number of dimensions, any strides.
//!
//! Adjacent dimensions that are contiguous in both layouts are merged; then the innermost one decides: contiguous runs are copied as such,
//! a stride of 0 in the source is a fill, and where the two layouts have different innermost dimensions, the copy is a transpose in square
//! tiles, so that each cache line is used whole.

/// Maximum number of dimensions of a copy.
pub const DIMS: usize = 12;

/// One dimension: length, strides of destination and source.
#[derive(Clone, Copy, Default)]
struct Axis {
    n: usize,
    dst: isize,
    src: isize,
}

/// Side of the tiles of a transpose, in elements.
const TILE: usize = 16;

/// dst\[i\] = src\[i\] for every index of the iteration space `sizes`, with strides that may be 0 (source) or negative. At most [`DIMS`]
/// dimensions longer than 1.
pub unsafe fn copy_nd(dst: *mut f32, dst_strides: &[isize], src: *const f32, src_strides: &[isize], sizes: &[usize]) {
    // SAFETY: the caller's contract.
    unsafe { walk::<false>(dst, dst_strides, src, src_strides, sizes) }
}

/// dst\[i\] += src\[i\] for every index of the iteration space `sizes`, in order; a stride of 0 in the destination sums.
pub unsafe fn add_nd(dst: *mut f32, dst_strides: &[isize], src: *const f32, src_strides: &[isize], sizes: &[usize]) {
    // SAFETY: the caller's contract.
    unsafe { walk::<true>(dst, dst_strides, src, src_strides, sizes) }
}

unsafe fn walk<const ADD: bool>(
    dst: *mut f32,
    dst_strides: &[isize],
    src: *const f32,
    src_strides: &[isize],
    sizes: &[usize],
) {
    let mut axes = [Axis::default(); DIMS];
    let mut count = 0;
    for ((&n, &d), &s) in sizes.iter().zip(dst_strides).zip(src_strides) {
        if n == 0 {
            return;
        }
        if n == 1 {
            continue;
        }
        let last = if count > 0 { axes[count - 1] } else { Axis::default() };
        if count > 0 && last.dst == d * n as isize && last.src == s * n as isize {
            axes[count - 1] = Axis { n: last.n * n, dst: d, src: s };
        } else {
            axes[count] = Axis { n, dst: d, src: s };
            count += 1;
        }
    }
    let axes = &mut axes[..count];
    // The destination's innermost dimension last; where it is the source's too, runs are contiguous.
    if !ADD {
        axes.sort_by_key(|a| std::cmp::Reverse(a.dst.unsigned_abs()));
    }
    // The source's innermost dimension next to it, so that the two form tiles.
    if let [outer @ .., inner] = &mut *axes
        && inner.src.unsigned_abs() != 1
        && !ADD
        && let Some(at) = outer.iter().position(|a| a.src.unsigned_abs() == 1)
    {
        outer[at..].rotate_left(1);
    }
    // SAFETY: the caller's contract.
    unsafe { step::<ADD>(axes, dst, src) }
}

unsafe fn step<const ADD: bool>(axes: &[Axis], dst: *mut f32, src: *const f32) {
    // SAFETY: the caller's contract; every offset is that of an index.
    unsafe {
        match axes {
            [] => put::<ADD>(dst, *src),
            [a] => line::<ADD>(*a, dst, src),
            [a, b] if !ADD && a.src == 1 && b.src != 1 => transpose(*a, *b, dst, src),
            [a, rest @ ..] => {
                for i in 0..a.n as isize {
                    step::<ADD>(rest, dst.offset(i * a.dst), src.offset(i * a.src));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn put<const ADD: bool>(dst: *mut f32, x: f32) {
    // SAFETY: the caller's contract.
    unsafe { *dst = if ADD { *dst + x } else { x } }
}

#[inline(always)]
unsafe fn line<const ADD: bool>(a: Axis, dst: *mut f32, src: *const f32) {
    // SAFETY: the caller's contract.
    unsafe {
        match (a.dst, a.src) {
            (1, 1) if ADD => crate::elementwise::axpy(1.0, src, dst, a.n),
            (1, 1) if a.n <= 16 => {
                for i in 0..a.n {
                    *dst.add(i) = *src.add(i);
                }
            }
            (1, 1) => std::ptr::copy_nonoverlapping(src, dst, a.n),
            (1, 0) if !ADD => crate::elementwise::fill(*src, dst, a.n),
            (0, 1) if ADD => {
                let mut sum = 0.0;
                crate::rows::sum(src, 1, a.n, a.n, &mut sum);
                *dst += sum;
            }
            _ => {
                for i in 0..a.n as isize {
                    put::<ADD>(dst.offset(i * a.dst), *src.offset(i * a.src));
                }
            }
        }
    }
}

/// Copies two dimensions in tiles: a is contiguous in the source, b is the destination's innermost one.
unsafe fn transpose(a: Axis, b: Axis, dst: *mut f32, src: *const f32) {
    let (mut i, n, m) = (0, a.n as isize, b.n as isize);
    let tile = TILE as isize;
    // SAFETY: the caller's contract.
    unsafe {
        while i < n {
            let ni = tile.min(n - i);
            let mut j = 0;
            while j < m {
                let nj = tile.min(m - j);
                let (to, from) = (dst.offset(i * a.dst + j * b.dst), src.offset(i + j * b.src));
                if ni == tile && nj == tile && b.dst == 1 {
                    let mut t = [[0.0; TILE]; TILE];
                    for (y, row) in t.iter_mut().enumerate() {
                        *row = from.offset(y as isize * b.src).cast::<[f32; TILE]>().read_unaligned();
                    }
                    for x in 0..TILE {
                        let column: [f32; TILE] = std::array::from_fn(|y| t[y][x]);
                        to.offset(x as isize * a.dst).cast::<[f32; TILE]>().write_unaligned(column);
                    }
                } else {
                    for x in 0..ni {
                        for y in 0..nj {
                            *to.offset(x * a.dst + y * b.dst) = *from.offset(x + y * b.src);
                        }
                    }
                }
                j += tile;
            }
            i += tile;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row-major strides of `sizes` with the dimensions in the given order.
    fn strides(sizes: &[usize], order: &[usize]) -> Vec<isize> {
        let mut strides = vec![0; sizes.len()];
        let mut step = 1;
        for &d in order.iter().rev() {
            strides[d] = step;
            step *= sizes[d] as isize;
        }
        strides
    }

    fn indices(sizes: &[usize]) -> Vec<Vec<isize>> {
        let mut all = vec![vec![]];
        for &n in sizes {
            all = all.into_iter().flat_map(|i| (0..n as isize).map(move |k| [i.clone(), vec![k]].concat())).collect();
        }
        all
    }

    fn at(index: &[isize], strides: &[isize]) -> usize {
        index.iter().zip(strides).map(|(i, s)| i * s).sum::<isize>() as usize
    }

    #[test]
    fn every_order_of_four_dimensions() {
        let orders: Vec<Vec<usize>> = indices(&[4, 4, 4, 4])
            .into_iter()
            .filter(|p| (0..4).all(|d| p.contains(&d)))
            .map(|p| p.into_iter().map(|d| d as usize).collect())
            .collect();
        for sizes in [[3, 1, 5, 4], [2, 17, 33, 3], [1, 40, 2, 18], [0, 2, 3, 4]] {
            let total: usize = sizes.iter().product();
            let x: Vec<f32> = (0..total).map(|i| i as f32).collect();
            let ds = strides(&sizes, &[0, 1, 2, 3]);
            for order in &orders {
                for broadcast in [None, Some(0), Some(1), Some(2), Some(3)] {
                    let mut ss = strides(&sizes, order);
                    if let Some(d) = broadcast {
                        ss[d] = 0;
                    }
                    let mut y = vec![-1.0; total];
                    let mut z = vec![1.0; total];
                    // The sum over the broadcast dimension: the transpose of the copy.
                    let mut back = vec![0.0; total];
                    // SAFETY: strides stay inside of the total.
                    unsafe {
                        copy_nd(y.as_mut_ptr(), &ds, x.as_ptr(), &ss, &sizes);
                        add_nd(z.as_mut_ptr(), &ds, x.as_ptr(), &ss, &sizes);
                        add_nd(back.as_mut_ptr(), &ss, x.as_ptr(), &ds, &sizes);
                    }
                    let mut want = vec![0.0; total];
                    for index in indices(&sizes) {
                        let (d, s) = (at(&index, &ds), at(&index, &ss));
                        assert_eq!(y[d], x[s], "{sizes:?} {order:?} {broadcast:?}");
                        assert_eq!(z[d], 1.0 + x[s]);
                        want[s] += x[d];
                    }
                    assert_eq!(back, want);
                }
            }
        }
    }
}
