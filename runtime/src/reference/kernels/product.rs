//! Products of two tensors summed over shared dimensions: any number of batch, kept and summed dimensions, no packing.

use super::{Nest, Real, View};

/// An operand of [`product`]: a view, and for each of its dimensions a name shared with the other operand.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a, T, D> {
    pub view: View<'a, T>,
    pub dims: &'a [D],
}

/// One loop: its length and the strides of a, b and the result.
#[derive(Clone, Copy)]
struct Loop {
    size: usize,
    a: usize,
    b: usize,
    out: usize,
}

/// Number of multiplications below which a packed matrix product costs more than it saves.
const SMALL: usize = 2048;

/// The sum of a * b over the dimensions that are not in `out`, row-major in the order of `out`.
///
/// Every dimension of `out` is in a or b, and every dimension of one operand alone is in `out`. The loops fall into
/// four groups (both and out: batch; a and out: m; b and out: n; both, not out: k). The longest loops of m, n and k
/// become a matrix product; the rest are loops around it.
pub(crate) fn product<T: Real, D: Copy + PartialEq>(a: Factor<T, D>, b: Factor<T, D>, out: &[D]) -> Vec<T> {
    let find = |dims: &[D], d: D| dims.iter().position(|&x| x == d);
    let mut groups: [Vec<Loop>; 4] = Default::default();
    let mut stride = 1;
    let mut kept = Vec::with_capacity(out.len());
    for &d in out.iter().rev() {
        let (i, j) = (find(a.dims, d), find(b.dims, d));
        let size = i.map_or_else(|| j.map_or(1, |j| b.view.shape[j]), |i| a.view.shape[i]);
        let strides = (i.map_or(0, |i| a.view.strides[i]), j.map_or(0, |j| b.view.strides[j]));
        let group = match (i, j) {
            (Some(_), Some(_)) => 0,
            (Some(_), None) => 1,
            _ => 2,
        };
        kept.push((group, Loop { size, a: strides.0, b: strides.1, out: stride }));
        stride *= size;
    }
    kept.iter().rev().for_each(|&(group, l)| groups[group].push(l));
    for (i, &d) in a.dims.iter().enumerate() {
        if let (Some(j), None) = (find(b.dims, d), find(out, d)) {
            groups[3].push(Loop { size: a.view.shape[i], a: a.view.strides[i], b: b.view.strides[j], out: 0 });
        }
    }
    let mut result = vec![T::zero(); stride];
    let (mut m, mut n, mut k) = (UNIT, UNIT, UNIT);
    let mut around = merged(&groups[0]);
    for (slot, group) in [(&mut m, 1), (&mut n, 2), (&mut k, 3)] {
        let mut loops = merged(&groups[group]);
        if let Some(longest) = (0..loops.len()).max_by_key(|&i| loops[i].size) {
            *slot = loops.remove(longest);
        }
        around.extend(loops);
    }
    let shape: Vec<usize> = around.iter().map(|l| l.size).chain([1]).collect();
    let of = |f: fn(&Loop) -> usize| -> Vec<usize> { around.iter().map(f).chain([0]).collect() };
    let (sa, sb, so) = (of(|l| l.a), of(|l| l.b), of(|l| l.out));
    let nest = Nest::new(&shape, [&sa, &sb, &so]);
    let matrix = Matrix { m, n, k };
    let [ia, ib, io] = nest.inner_strides;
    nest.rows(|[i, j, o]| {
        for l in 0..nest.inner {
            matrix.accumulate(&a.view.data[i + l * ia..], &b.view.data[j + l * ib..], &mut result[o + l * io..]);
        }
    });
    result
}

const UNIT: Loop = Loop { size: 1, a: 0, b: 0, out: 0 };

/// Drops loops of length 1 and merges adjacent ones that all operands traverse like one.
fn merged(loops: &[Loop]) -> Vec<Loop> {
    let mut done: Vec<Loop> = Vec::with_capacity(loops.len());
    for &l in loops.iter().filter(|l| l.size != 1) {
        match done.last_mut() {
            Some(w) if w.a == l.a * l.size && w.b == l.b * l.size && w.out == l.out * l.size => {
                *w = Loop { size: w.size * l.size, ..l };
            }
            _ => done.push(l),
        }
    }
    done
}

/// One matrix product out[m, n] += sum over k of a[m, k] b[k, n].
struct Matrix {
    m: Loop,
    n: Loop,
    k: Loop,
}

impl Matrix {
    fn accumulate<T: Real>(&self, a: &[T], b: &[T], out: &mut [T]) {
        let Self { m, n, k } = *self;
        if m.size * n.size * k.size > SMALL && (m.size > 1 && n.size > 1) {
            return packed(self, a, b, out);
        }
        if n.b == 1 && n.out == 1 {
            for i in 0..m.size {
                let row = &mut out[i * m.out..i * m.out + n.size];
                for p in 0..k.size {
                    let x = a[i * m.a + p * k.a];
                    let b = &b[p * k.b..p * k.b + n.size];
                    row.iter_mut().zip(b).for_each(|(o, &y)| *o += x * y);
                }
            }
        } else if m.a == 1 && m.out == 1 {
            for j in 0..n.size {
                let column = &mut out[j * n.out..j * n.out + m.size];
                for p in 0..k.size {
                    let y = b[p * k.b + j * n.b];
                    let a = &a[p * k.a..p * k.a + m.size];
                    column.iter_mut().zip(a).for_each(|(o, &x)| *o += x * y);
                }
            }
        } else {
            for i in 0..m.size {
                for j in 0..n.size {
                    let mut sum = T::zero();
                    for p in 0..k.size {
                        sum += a[i * m.a + p * k.a] * b[p * k.b + j * n.b];
                    }
                    out[i * m.out + j * n.out] += sum;
                }
            }
        }
    }
}

/// The matrix product of the `gemm` crate on the calling thread alone: deterministic, and candidates that train side by
/// side do not compete for cores. (candle's own product queries the machine's number of threads at each call.)
#[expect(unsafe_code, reason = "gemm takes raw pointers; the bounds are asserted just above the call")]
fn packed<T: Real>(matrix: &Matrix, a: &[T], b: &[T], out: &mut [T]) {
    let Matrix { m, n, k } = *matrix;
    let last = |x: Loop, sx: usize, y: Loop, sy: usize| (x.size - 1) * sx + (y.size - 1) * sy;
    assert!(last(m, m.a, k, k.a) < a.len() && last(k, k.b, n, n.b) < b.len() && last(m, m.out, n, n.out) < out.len());
    assert!(m.out != 0 && n.out != 0, "two elements of a product share a place");
    // SAFETY: the largest offset that gemm accesses in each operand was just checked, strides are not negative, `out`
    // is borrowed mutably and its elements are distinct.
    unsafe {
        gemm::gemm(
            m.size,
            n.size,
            k.size,
            out.as_mut_ptr(),
            n.out as isize,
            m.out as isize,
            true,
            a.as_ptr(),
            k.a as isize,
            m.a as isize,
            b.as_ptr(),
            n.b as isize,
            k.b as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
