//! Pairs of rows within a chunk: decays between them, and the triangular solve. Plain loops over the definitions.

use super::name;
use crate::reference::kernels::host;
use crate::reference::value::{Dim, Value};
use archc_compiler::lowered::Pairs;
use candle_core::{Result, bail};

/// Dimensions with their lengths, and the numbers of each operand.
type Laid = (Vec<(Dim, usize)>, Vec<Vec<f64>>);

/// A host copy with the given dimensions last, in this order; all others with their lengths come first.
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

/// Whether entry (i, j) is meant, and the last row whose decay acts on it (none: no decay).
fn reach(pairs: &Pairs, i: usize, j: usize) -> Option<usize> {
    match (pairs.before, pairs.strict) {
        (true, _) if j < i => Some(i - 1),
        (false, true) if j < i => Some(i),
        (false, false) if j <= i => Some(i),
        _ => None,
    }
}

/// exp of the sum of g over j < l <= last; 0 for pairs that are not meant.
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

/// P with (I - tril(A, -1)) P = X, or with the transpose of the matrix; by substitution.
pub(super) fn solve(a: &Value, x: &Value, rows: Dim, cols: Dim, transpose: bool) -> Result<Value> {
    let n = a.size(rows);
    if x.has(cols) {
        bail!("the right side of a solve has the columns' dimension");
    }
    let shared = |d: &Dim| a.has(*d) || *d == rows;
    // What only X has lies innermost: columns that are solved together.
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
