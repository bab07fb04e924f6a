//! Helpers shared by the token loops: parameters by path, and the maps that all of these mixers use. Values are flat, row by row.

use crate::tape::{Var, constant};
use std::collections::BTreeMap;

/// A parameter: its shape and its elements, row by row.
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<Var>,
}

/// Parameters by path.
pub struct Params(pub BTreeMap<String, Array>);

impl Params {
    pub fn get(&self, path: &str) -> &Array {
        self.0.get(path).unwrap_or_else(|| panic!("no parameter {path}"))
    }
    /// One element, by its indices.
    pub fn at(&self, path: &str, index: &[usize]) -> Var {
        let array = self.get(path);
        assert_eq!(array.shape.len(), index.len(), "{path}");
        array.data[index.iter().zip(&array.shape).fold(0, |at, (i, n)| at * n + i)]
    }
    /// The length of an axis of a parameter.
    pub fn size(&self, path: &str, axis: usize) -> usize {
        self.get(path).shape[axis]
    }
    /// y[o] = sum_i w[o, i] x[i]: the last axes of the weight are those of x; the result has the others, flat.
    pub fn linear(&self, path: &str, x: &[Var]) -> Vec<Var> {
        let w = &self.get(path).data;
        assert_eq!(w.len() % x.len(), 0, "{path}");
        w.chunks(x.len()).map(|row| dot(row, x)).collect()
    }
    /// The map of [`Self::linear`] with a bias of the result's shape.
    pub fn affine(&self, weight: &str, bias: &str, x: &[Var]) -> Vec<Var> {
        self.linear(weight, x).into_iter().zip(&self.get(bias).data).map(|(y, b)| y + *b).collect()
    }
    /// A depthwise causal convolution over tokens: y_t[c] = sum_j w[c, j] x_{t - j}[c], without bias; 0 before the start.
    pub fn conv(&self, path: &str, x: &[Vec<Var>]) -> Vec<Vec<Var>> {
        let w = self.get(path);
        let width = *w.shape.last().unwrap();
        let one = |t: usize, c: usize| (0..width.min(t + 1)).map(|j| w.data[c * width + j] * x[t - j][c]).sum();
        (0..x.len()).map(|t| (0..x[t].len()).map(|c| one(t, c)).collect()).collect()
    }
}

pub fn dot(a: &[Var], b: &[Var]) -> Var {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

pub fn zeros(n: usize) -> Vec<Var> {
    vec![constant(0.0); n]
}

pub fn map(x: &[Var], f: impl Fn(Var) -> Var) -> Vec<Var> {
    x.iter().map(|x| f(*x)).collect()
}

/// x / sqrt(sum x^2 + eps).
pub fn l2norm(x: &[Var], eps: f64) -> Vec<Var> {
    let size = (dot(x, x) + eps).sqrt();
    map(x, |x| x / size)
}

/// x / sqrt(mean x^2 + eps).
pub fn rms(x: &[Var], eps: f64) -> Vec<Var> {
    let size = (dot(x, x) / x.len() as f64 + eps).sqrt();
    map(x, |x| x / size)
}

pub fn softmax(x: &[Var]) -> Vec<Var> {
    let most = x.iter().map(|x| x.value).fold(f64::NEG_INFINITY, f64::max);
    let e = map(x, |x| (x - most).exp());
    let sum: Var = e.iter().copied().sum();
    map(&e, |e| e / sum)
}
