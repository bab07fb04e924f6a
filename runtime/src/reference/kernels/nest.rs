//! Loop nests over several strided operands: the innermost loop is a tight one, the others an odometer.

use super::{Real, View};

/// A loop nest over a shape with the strides of `N` operands. Adjacent loops that every operand traverses like one are
/// merged, and loops of length 1 are dropped.
pub(crate) struct Nest<const N: usize> {
    outer: Vec<(usize, [usize; N])>,
    /// Length of the innermost loop.
    pub inner: usize,
    /// Strides of the innermost loop.
    pub inner_strides: [usize; N],
    empty: bool,
}

impl<const N: usize> Nest<N> {
    pub fn new(shape: &[usize], strides: [&[usize]; N]) -> Self {
        let mut loops: Vec<(usize, [usize; N])> = Vec::with_capacity(shape.len());
        for (i, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let here = std::array::from_fn(|k| strides[k][i]);
            match loops.last_mut() {
                Some((outer, wide)) if (0..N).all(|k| wide[k] == here[k] * size) => {
                    *outer *= size;
                    *wide = here;
                }
                _ => loops.push((size, here)),
            }
        }
        let empty = shape.contains(&0);
        let (inner, inner_strides) = loops.pop().unwrap_or((1, [0; N]));
        Self { outer: loops, inner, inner_strides, empty }
    }

    /// Calls `row` with the operands' offsets at the start of each innermost loop, in row-major order.
    pub fn rows(&self, mut row: impl FnMut([usize; N])) {
        if self.empty {
            return;
        }
        let mut at = [0; N];
        let mut index = vec![0; self.outer.len()];
        loop {
            row(at);
            let mut level = self.outer.len();
            loop {
                if level == 0 {
                    return;
                }
                level -= 1;
                let (size, strides) = &self.outer[level];
                index[level] += 1;
                if index[level] < *size {
                    (0..N).for_each(|k| at[k] += strides[k]);
                    break;
                }
                (0..N).for_each(|k| at[k] -= strides[k] * (size - 1));
                index[level] = 0;
            }
        }
    }
}

/// Computes f(a, b) for every element of the nest, in row-major order.
pub(crate) fn zip<T: Real, U: Copy>(nest: &Nest<2>, count: usize, a: &[T], b: &[T], f: impl Fn(T, T) -> U) -> Vec<U> {
    let mut out = Vec::with_capacity(count);
    let n = nest.inner;
    let [sa, sb] = nest.inner_strides;
    match (sa, sb) {
        (1, 1) => nest.rows(|[i, j]| out.extend(a[i..i + n].iter().zip(&b[j..j + n]).map(|(&x, &y)| f(x, y)))),
        (1, 0) => nest.rows(|[i, j]| {
            let y = b[j];
            out.extend(a[i..i + n].iter().map(|&x| f(x, y)));
        }),
        (0, 1) => nest.rows(|[i, j]| {
            let x = a[i];
            out.extend(b[j..j + n].iter().map(|&y| f(x, y)));
        }),
        _ => nest.rows(|[i, j]| out.extend((0..n).map(|k| f(a[i + k * sa], b[j + k * sb])))),
    }
    out
}

/// Sums the terms of a row in eight lanes: fast, and always in the same order.
fn lanes<T: Real>(n: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::zero(); 8];
    let whole = n / 8 * 8;
    for i in (0..whole).step_by(8) {
        for (k, lane) in lanes.iter_mut().enumerate() {
            *lane += term(i + k);
        }
    }
    let mut sum = T::zero();
    for lane in lanes {
        sum += lane;
    }
    for i in whole..n {
        sum += term(i);
    }
    sum
}

/// out += f(g), where loops that `out` does not have carry stride 0 for it. Strides: g, out.
pub(crate) fn fold1<T: Real>(nest: &Nest<2>, g: &[T], out: &mut [T], f: impl Fn(T) -> T) {
    let n = nest.inner;
    let [sg, so] = nest.inner_strides;
    match (sg, so) {
        (1, 0) => nest.rows(|[i, o]| {
            let g = &g[i..i + n];
            out[o] += lanes(n, |k| f(g[k]));
        }),
        (1, 1) => nest.rows(|[i, o]| out[o..o + n].iter_mut().zip(&g[i..i + n]).for_each(|(d, &x)| *d += f(x))),
        _ => nest.rows(|[i, o]| (0..n).for_each(|k| out[o + k * so] += f(g[i + k * sg]))),
    }
}

/// out += f(g, a); strides: g, a, out.
pub(crate) fn fold2<T: Real>(nest: &Nest<3>, g: &[T], a: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
    let n = nest.inner;
    let [sg, sa, so] = nest.inner_strides;
    match (sg, sa, so) {
        (1, 1, 1) => nest.rows(|[i, j, o]| {
            let pairs = g[i..i + n].iter().zip(&a[j..j + n]);
            out[o..o + n].iter_mut().zip(pairs).for_each(|(d, (&x, &y))| *d += f(x, y));
        }),
        (1, 1, 0) => nest.rows(|[i, j, o]| {
            let (g, a) = (&g[i..i + n], &a[j..j + n]);
            out[o] += lanes(n, |k| f(g[k], a[k]));
        }),
        (1, 0, 1) => nest.rows(|[i, j, o]| {
            let y = a[j];
            out[o..o + n].iter_mut().zip(&g[i..i + n]).for_each(|(d, &x)| *d += f(x, y));
        }),
        (1, 0, 0) => nest.rows(|[i, j, o]| {
            let (g, y) = (&g[i..i + n], a[j]);
            out[o] += lanes(n, |k| f(g[k], y));
        }),
        _ => nest.rows(|[i, j, o]| (0..n).for_each(|k| out[o + k * so] += f(g[i + k * sg], a[j + k * sa]))),
    }
}

/// out += f(g, a, b); strides: g, a, b, out.
pub(crate) fn fold3<T: Real>(nest: &Nest<4>, g: &[T], a: &[T], b: &[T], out: &mut [T], f: impl Fn(T, T, T) -> T) {
    let n = nest.inner;
    let [sg, sa, sb, so] = nest.inner_strides;
    nest.rows(|[i, j, l, o]| (0..n).for_each(|k| out[o + k * so] += f(g[i + k * sg], a[j + k * sa], b[l + k * sb])));
}

impl<T: Real> View<'_, T> {
    /// The strides of this operand along the loops of a result, 0 where it lacks the loop's dimension.
    pub fn spread(&self, positions: &[Option<usize>]) -> Vec<usize> {
        positions.iter().map(|p| p.map_or(0, |i| self.strides[i])).collect()
    }
}

/// Row-major strides of a shape.
pub(crate) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}
