//! Sums over dimensions: of one value, and of the product of two.

use super::kernels::{Factor, Held, Nest, Real, View, dispatch, fold1, product, row_major};
use super::value::{Dim, Value};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage,
};

/// `scale` times the sum over those dimensions of `over` that the value has.
pub(crate) fn sum(x: &Value, over: &[Dim], scale: f64) -> Result<Value> {
    let summed: Vec<bool> = x.dims.iter().map(|d| over.contains(d)).collect();
    if !summed.contains(&true) && scale == 1.0 {
        return Ok(x.clone());
    }
    let dims = x.dims.iter().zip(&summed).filter(|(_, s)| !**s).map(|(&d, _)| d).collect();
    let total = Total { summed, scale };
    let tensor = if x.tracked() { x.tensor.apply_op1(total)? } else { x.tensor.apply_op1_no_bwd(&total)? };
    Ok(Value::new(tensor, dims))
}

/// The sum over `over` of the product a * b, which is never materialised.
pub(crate) fn contract(a: &Value, b: &Value, over: &[Dim]) -> Result<Value> {
    // Dimensions that only one of them has are summed beforehand.
    let alone =
        |x: &Value, y: &Value| -> Vec<Dim> { over.iter().copied().filter(|&d| x.has(d) && !y.has(d)).collect() };
    let (a, b) = (&sum(a, &alone(a, b), 1.0)?, &sum(b, &alone(b, a), 1.0)?);
    let kept = |x: &Value| -> Vec<Dim> { x.dims.iter().copied().filter(|d| !over.contains(d)).collect() };
    let (from_a, from_b) = (kept(a), kept(b));
    // Shared dimensions, then a's, then b's: the matrix product's own order.
    let mut out: Vec<Dim> = from_a.iter().copied().filter(|d| from_b.contains(d)).collect();
    out.extend(from_a.iter().filter(|d| !from_b.contains(d)));
    out.extend(from_b.iter().filter(|d| !from_a.contains(d)));
    let shape: Vec<usize> = out.iter().map(|&d| if a.has(d) { a.size(d) } else { b.size(d) }).collect();
    let op =
        Product { a: a.dims.clone(), b: b.dims.clone(), out: out.clone(), shape, need: [a.tracked(), b.tracked()] };
    let tensor = if op.need == [false; 2] {
        a.tensor.apply_op2_no_bwd(&b.tensor, &op)?
    } else {
        a.tensor.apply_op2(&b.tensor, op)?
    };
    Ok(Value::new(tensor, out))
}

struct Total {
    summed: Vec<bool>,
    scale: f64,
}

impl CustomOp1 for Total {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let kept = |xs: &[usize]| -> Vec<usize> {
            xs.iter().zip(&self.summed).filter(|(_, s)| !**s).map(|(&n, _)| n).collect()
        };
        let shape = Shape::from(kept(layout.dims()));
        let mut strides = row_major(shape.dims()).into_iter();
        let out_strides: Vec<usize> =
            self.summed.iter().map(|&s| if s { 0 } else { strides.next().unwrap_or(0) }).collect();
        dispatch!(x, T => {
            let x = View::<T>::of(x, layout)?;
            let mut out = vec![T::default(); shape.elem_count()];
            fold1(&Nest::new(x.shape, [x.strides, &out_strides]), x.data, &mut out, |x| x);
            if self.scale != 1.0 {
                out.iter_mut().for_each(|y| *y *= T::of(self.scale));
            }
            Ok((T::to_cpu_storage_owned(out), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let mut g = if self.scale == 1.0 { g.clone() } else { g.affine(self.scale, 0.0)? };
        for (i, _) in self.summed.iter().enumerate().filter(|(_, s)| **s) {
            g = g.unsqueeze(i)?;
        }
        g.broadcast_as(x.shape()).map(Some)
    }
}

struct Product {
    a: Vec<Dim>,
    b: Vec<Dim>,
    out: Vec<Dim>,
    shape: Vec<usize>,
    need: [bool; 2],
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(a, T => {
            let a = Factor { view: View::<T>::of(a, la)?, dims: &self.a };
            let b = Factor { view: View::<T>::of(b, lb)?, dims: &self.b };
            Ok((T::to_cpu_storage_owned(product(a, b, &self.out)), self.shape.clone().into()))
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(g, T => self.gradients::<T>(a, b, g))
    }
}

impl Product {
    fn gradients<T: Real>(&self, a: &Tensor, b: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (ha, hb, hg) = (Held::of(a), Held::of(b), Held::of(g));
        let fa = Factor { view: ha.view::<T>()?, dims: &self.a };
        let fb = Factor { view: hb.view::<T>()?, dims: &self.b };
        let fg = Factor { view: hg.view::<T>()?, dims: &self.out };
        let ga = if self.need[0] { Some(super::kernels::tensor(product(fg, fb, &self.a), a.shape())?) } else { None };
        let gb = if self.need[1] { Some(super::kernels::tensor(product(fg, fa, &self.b), b.shape())?) } else { None };
        Ok((ga, gb))
    }
}
