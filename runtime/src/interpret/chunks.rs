//! Pairs of rows within a chunk: decays between them, and the triangular solve. Plain loops that follow the definitions.

use super::arrange::along;
use super::name;
use crate::reference::kernels::host;
use crate::reference::value::{Dim, Value};
use archc_compiler::lowered::Pairs;
use candle_core::{Result, bail};
use std::ops::Range;

/// Dimensions with their lengths, and the elements of each operand.
type Laid = (Vec<(Dim, usize)>, Vec<Vec<f64>>);

/// Copies operands to the host with the given dimensions last, in this order; all others, whose lengths are returned, come first.
fn trailing(operands: &[(&Value, &[(Dim, usize)])]) -> Result<Laid> {
    let values: Vec<&Value> = operands.iter().map(|o| o.0).collect();
    let inner = |d: Dim| operands.iter().any(|o| o.1.iter().any(|l| l.0 == d));
    let outer: Vec<(Dim, usize)> = Value::union(&values).into_iter().filter(|o| !inner(o.0)).collect();
    let data = operands.iter().map(|(x, last)| host(&x.expanded(&[&outer, *last].concat())?.tensor));
    Ok((outer.clone(), data.collect::<Result<_>>()?))
}

fn built(data: Vec<f64>, outer: &[(Dim, usize)], inner: &[(Dim, usize)], like: &Value) -> Result<Value> {
    let (dims, shape) = outer.iter().chain(inner).copied().unzip();
    Value::constant(data, shape, dims, like.tensor.dtype())
}

/// The last row whose decay acts on the pair (i, j); none for pairs outside of `pairs`.
fn reach(pairs: &Pairs, i: usize, j: usize) -> Option<usize> {
    match (pairs.before, pairs.strict) {
        (true, _) if j < i => Some(i - 1),
        (false, true) if j < i => Some(i),
        (false, false) if j <= i => Some(i),
        _ => None,
    }
}

/// exp of the sum of g over j < l <= last; 0 for pairs outside of `pairs`.
pub(super) fn pair_decay(pairs: &Pairs, g: &Value) -> Result<Value> {
    let n = g.size(name(pairs.rows));
    let (rows, cols) = ((name(pairs.rows), n), (name(pairs.cols), n));
    let (outer, data) = trailing(&[(g, &[rows])])?;
    let mut out = Vec::with_capacity(data[0].len() * n);
    for g in data[0].chunks_exact(n) {
        for i in 0..n {
            out.extend((0..n).map(|j| match reach(pairs, i, j) {
                Some(last) => g[j + 1..=last.max(j)].iter().sum::<f64>().exp(),
                None => 0.0,
            }));
        }
    }
    built(out, &outer, &[rows, cols], g)
}

/// dg_l: the sum of E_ij over the pairs on which row l's decay acts.
pub(super) fn pair_decay_grad(pairs: &Pairs, e: &Value) -> Result<Value> {
    let n = e.size(name(pairs.rows));
    let (rows, cols) = ((name(pairs.rows), n), (name(pairs.cols), n));
    let (outer, data) = trailing(&[(e, &[rows, cols])])?;
    let mut out = Vec::with_capacity(data[0].len() / n.max(1));
    for e in data[0].chunks_exact(n * n) {
        let mut dg = vec![0.0; n];
        for i in 0..n {
            for j in 0..i {
                if let Some(last) = reach(pairs, i, j) {
                    dg[j + 1..=last.max(j)].iter_mut().for_each(|d| *d += e[i * n + j]);
                }
            }
        }
        out.extend(dg);
    }
    built(out, &outer, &[rows], e)
}

/// The rows whose decays act on a pair; none for pairs outside of `pairs`.
fn acting(pairs: &Pairs, i: usize, j: usize) -> Option<Range<usize>> {
    reach(pairs, i, j).map(|last| j + 1..last.max(j) + 1)
}

/// The product of a over the rows whose decay acts on a pair; 0 for pairs outside of `pairs`.
pub(super) fn pair_product(pairs: &Pairs, a: &Value) -> Result<Value> {
    let n = a.size(name(pairs.rows));
    let (rows, cols) = ((name(pairs.rows), n), (name(pairs.cols), n));
    let (outer, data) = trailing(&[(a, &[rows])])?;
    let mut out = Vec::with_capacity(data[0].len() * n);
    for a in data[0].chunks_exact(n) {
        for i in 0..n {
            out.extend((0..n).map(|j| acting(pairs, i, j).map_or(0.0, |acts| a[acts].iter().product())));
        }
    }
    built(out, &outer, &[rows, cols], a)
}

/// da_l: the sum of E_ij over the pairs on which row l's decay acts, times the product of the other decays.
pub(super) fn pair_product_grad(pairs: &Pairs, a: &Value, e: &Value) -> Result<Value> {
    let n = e.size(name(pairs.rows));
    let (rows, cols) = ((name(pairs.rows), n), (name(pairs.cols), n));
    let (outer, data) = trailing(&[(a, &[rows]), (e, &[rows, cols])])?;
    let mut out = Vec::with_capacity(data[0].len());
    for (a, e) in data[0].chunks_exact(n).zip(data[1].chunks_exact(n * n)) {
        let mut da = vec![0.0; n];
        for (i, j) in (0..n).flat_map(|i| (0..i).map(move |j| (i, j))) {
            add_without_each(a, acting(pairs, i, j).unwrap_or(0..0), e[i * n + j], &mut da);
        }
        out.extend(da);
    }
    built(out, &outer, &[rows], e)
}

/// Adds to each entry of a range `by` times the product of the range's other entries.
fn add_without_each(x: &[f64], range: Range<usize>, by: f64, to: &mut [f64]) {
    let mut before = by;
    for l in range.clone() {
        to[l] += before * x[l + 1..range.end].iter().product::<f64>();
        before *= x[l];
    }
}

/// The range of entries that entry i of a running product multiplies.
fn multiplied(n: usize, i: usize, reverse: bool, exclusive: bool) -> Range<usize> {
    match (reverse, exclusive) {
        (false, false) => 0..i + 1,
        (false, true) => 0..i,
        (true, false) => i..n,
        (true, true) => i + 1..n,
    }
}

/// A running product.
pub(super) fn cumprod(x: &Value, dim: Dim, reverse: bool, exclusive: bool) -> Result<Value> {
    along(dim, &[x], |rows, y| {
        let n = y.len();
        y.iter_mut().enumerate().for_each(|(i, y)| *y = rows[0][multiplied(n, i, reverse, exclusive)].iter().product());
    })
}

/// The gradient of a running product: for each entry the sum of dy_i times the product of the other entries that entry i multiplies.
pub(super) fn cumprod_grad(x: &Value, dy: &Value, dim: Dim, reverse: bool, exclusive: bool) -> Result<Value> {
    along(dim, &[x, dy], |rows, dx| {
        let n = dx.len();
        dx.fill(0.0);
        for i in 0..n {
            add_without_each(rows[0], multiplied(n, i, reverse, exclusive), rows[1][i], dx);
        }
    })
}

/// Solves (I - tril(A, -1)) P = X, or the transposed system, for P by substitution.
pub(super) fn solve(a: &Value, x: &Value, rows: Dim, cols: Dim, transpose: bool) -> Result<Value> {
    let n = a.size(rows);
    if x.has(cols) {
        bail!("the right side of a solve has the columns' dimension");
    }
    let shared = |d: &Dim| a.has(*d) || *d == rows;
    // Dimensions that only X has are innermost: columns that are solved together.
    let width: Vec<(Dim, usize)> = x.dims.iter().filter(|d| !shared(d)).map(|&d| (d, x.size(d))).collect();
    let w = width.iter().map(|&(_, n)| n).product::<usize>();
    let inner_x: Vec<(Dim, usize)> = [(rows, n)].into_iter().chain(width.iter().copied()).collect();
    let (outer, data) = trailing(&[(a, &[(rows, n), (cols, n)]), (x, &inner_x)])?;
    let mut out = Vec::with_capacity(data[1].len());
    for (a, x) in data[0].chunks_exact(n * n).zip(data[1].chunks_exact(n * w)) {
        let mut p = x.to_vec();
        for step in 0..n {
            let i = if transpose { n - 1 - step } else { step };
            for done in 0..step {
                let (j, factor) =
                    if transpose { (n - 1 - done, a[(n - 1 - done) * n + i]) } else { (done, a[i * n + done]) };
                for c in 0..w {
                    p[i * w + c] += factor * p[j * w + c];
                }
            }
        }
        out.extend(p);
    }
    built(out, &outer, &inner_x, x)
}
