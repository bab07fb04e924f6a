//! The draws of recipes: random and structured tensors with the shape of a parameter.

use crate::errors;
use crate::random::Stream;
use crate::reference::value::{Dim, Value, axes};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Draw, Graph, Param};
use candle_core::DType;

/// Makes draw number `number` of the recipe of a parameter, over the parameter's axes.
pub(super) fn draw(
    graph: &Graph,
    param: &Param,
    kind: Draw,
    arguments: &[&Value],
    seed: u64,
    number: u64,
) -> Result<Value, Diagnostic> {
    let shape: Vec<usize> = param.axes.iter().map(|&a| graph.size(a)).collect();
    let dims = axes(&param.axes);
    let count = shape.iter().product();
    let arguments = arguments.iter().map(|x| Argument::of(x, &dims, &shape)).collect::<candle_core::Result<Vec<_>>>();
    let arguments = arguments.map_err(|e| errors::bug("an init", e))?;
    let mut stream = Stream::new(&[b"init", &seed.to_le_bytes(), param.path.as_bytes(), &number.to_le_bytes()]);
    let matrices = Matrices::of(param, &shape);
    let data = match (kind, arguments.as_slice()) {
        (Draw::Normal, [std]) => normal(&mut stream, std, count),
        (Draw::Uniform, [a, b]) => uniform(&mut stream, a, b, count),
        (Draw::LogUniform, [a, b]) => log_uniform(&mut stream, a, b, count),
        (Draw::Orthogonal, [gain]) => Ok(matrices.orthogonal(&mut stream, gain)),
        (Draw::Eye, []) => Ok(matrices.fill(|out, inn| f64::from(u8::from(out == inn)))),
        (Draw::Dirac, []) => Ok(matrices.fill(|_, inn| f64::from(u8::from(inn == 0)))),
        (kind, given) => Err(format!("{kind:?} with {} arguments", given.len())),
    };
    let data = data.map_err(|why| errors::cannot_draw(&param.path, why).at(param.place, "declared here"))?;
    Value::constant(data, shape, dims, DType::F64).map_err(|e| errors::bug("an init", e))
}

/// An argument of a recipe, over the elements of the parameter.
enum Argument {
    /// One value for all elements.
    One(f64),
    /// One value per element.
    Each(Vec<f64>),
}

impl Argument {
    fn of(x: &Value, dims: &[Dim], shape: &[usize]) -> candle_core::Result<Self> {
        if x.tensor.elem_count() == 1 {
            return Ok(Self::One(crate::reference::host(&x.tensor)?[0]));
        }
        let order: Vec<(Dim, usize)> = dims.iter().copied().zip(shape.iter().copied()).collect();
        Ok(Self::Each(crate::reference::host(&x.expanded(&order)?.tensor)?))
    }

    fn at(&self, element: usize) -> f64 {
        match self {
            Self::One(x) => *x,
            Self::Each(all) => all[element],
        }
    }

    /// The argument of each of `count` elements.
    fn of_each(&self, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(|i| self.at(i))
    }
}

fn normals(stream: &mut Stream, count: usize) -> Vec<f64> {
    let mut all: Vec<f64> = (0..count.div_ceil(2)).flat_map(|_| stream.normal_pair()).collect();
    all.truncate(count);
    all
}

fn normal(stream: &mut Stream, std: &Argument, count: usize) -> Result<Vec<f64>, String> {
    if let Some(bad) = std.of_each(count).find(|s| s.is_nan() || *s < 0.0) {
        return Err(format!("normal({bad})"));
    }
    Ok(normals(stream, count).into_iter().zip(std.of_each(count)).map(|(z, s)| z * s).collect())
}

fn uniform(stream: &mut Stream, a: &Argument, b: &Argument, count: usize) -> Result<Vec<f64>, String> {
    let ends = || a.of_each(count).zip(b.of_each(count));
    if let Some((a, b)) = ends().find(|(a, b)| a.is_nan() || b.is_nan() || a > b) {
        return Err(format!("uniform({a}, {b})"));
    }
    Ok(ends().map(|(a, b)| a + (b - a) * stream.uniform()).collect())
}

fn log_uniform(stream: &mut Stream, a: &Argument, b: &Argument, count: usize) -> Result<Vec<f64>, String> {
    let ends = || a.of_each(count).zip(b.of_each(count));
    if let Some((a, b)) = ends().find(|(a, b)| a.is_nan() || b.is_nan() || *a <= 0.0 || a > b) {
        return Err(format!("log_uniform({a}, {b})"));
    }
    let logs = ends().map(|(a, b)| (libm::log(a), libm::log(b)));
    Ok(logs.map(|(a, b)| libm::exp(a + (b - a) * stream.uniform())).collect())
}

/// A parameter as matrices `[OUT, IN]`, one for each index of its `per` axes.
struct Matrices {
    count: usize,
    out: usize,
    inn: usize,
}

impl Matrices {
    fn of(param: &Param, shape: &[usize]) -> Self {
        let (per, rest) = shape.split_at(param.per.min(shape.len()));
        let (out, inn) = rest.split_at(param.out.min(rest.len()));
        Self { count: per.iter().product(), out: out.iter().product(), inn: inn.iter().product() }
    }

    fn fill(&self, entry: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let one = || (0..self.out * self.inn).map(|i| entry(i / self.inn, i % self.inn));
        (0..self.count).flat_map(|_| one()).collect()
    }

    /// Matrices with orthonormal rows (or columns, if those are shorter), uniform over all such: Gram-Schmidt on normal
    /// vectors, done twice, since one pass loses digits.
    fn orthogonal(&self, stream: &mut Stream, gain: &Argument) -> Vec<f64> {
        let (short, long) = (self.out.min(self.inn), self.out.max(self.inn));
        let mut all = Vec::with_capacity(self.count * self.out * self.inn);
        for _ in 0..self.count {
            let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(short);
            while vectors.len() < short {
                let mut v = normals(stream, long);
                for _ in 0..2 {
                    for u in &vectors {
                        let dot: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
                        v.iter_mut().zip(u).for_each(|(x, y)| *x -= dot * y);
                    }
                    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
                    v.iter_mut().for_each(|x| *x /= norm);
                }
                vectors.push(v);
            }
            for i in 0..self.out * self.inn {
                let (row, column) = (i / self.inn, i % self.inn);
                all.push(if self.out <= self.inn { vectors[row][column] } else { vectors[column][row] });
            }
        }
        all.iter_mut().enumerate().for_each(|(i, x)| *x *= gain.at(i));
        all
    }
}
