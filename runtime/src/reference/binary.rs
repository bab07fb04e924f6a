//! Element-wise functions of two values, broadcast by name, and `select`.

use super::kernels::{Held, Nest, Real, View, dispatch, fold1, fold2, fold3, host, row_major, tensor, zip};
use super::value::{Dim, Value};
use archc_compiler::graph::BinaryOp;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage, bail};
use std::sync::Arc;

/// y = f(a, b); the result has the dimensions of both, the wider operand's first.
pub(crate) fn binary(op: BinaryOp, a: &Value, b: &Value) -> Result<Value> {
    let zip = Zip { op, broadcast: Broadcast::of(a, b), need: [a.tracked(), b.tracked()] };
    let dims = zip.broadcast.dims.iter().map(|&(d, _)| d).collect();
    let tensor = if zip.need == [false; 2] || !differentiable(op) {
        a.tensor.apply_op2_no_bwd(&b.tensor, &zip)?
    } else {
        a.tensor.apply_op2(&b.tensor, zip)?
    };
    Ok(Value::new(tensor, dims))
}

/// Selects a where c is not 0, else b; only the selected one gets a gradient, so a NaN that is not selected has no effect.
pub(crate) fn select(c: &Value, a: &Value, b: &Value) -> Result<Value> {
    let all = Value::union(&[c, a, b]);
    let mask: Arc<[bool]> = host(&c.expanded(&all)?.tensor)?.into_iter().map(|x| x != 0.0).collect();
    let (a, b) = (a.expanded(&all)?, b.expanded(&all)?);
    let choose = Choose { mask, need: [a.tracked(), b.tracked()] };
    let tensor = if choose.need == [false; 2] {
        a.tensor.apply_op2_no_bwd(&b.tensor, &choose)?
    } else {
        a.tensor.apply_op2(&b.tensor, choose)?
    };
    Ok(Value::new(tensor, a.dims))
}

fn differentiable(op: BinaryOp) -> bool {
    !matches!(op, BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge)
}

/// The broadcast of two operands to their result.
struct Broadcast {
    dims: Vec<(Dim, usize)>,
    /// The positions of each dimension of the result in a and b.
    at: [Vec<Option<usize>>; 2],
}

impl Broadcast {
    fn of(a: &Value, b: &Value) -> Self {
        let dims = Value::union(&[a, b]);
        let at = [a, b].map(|x| dims.iter().map(|&(d, _)| x.position(d)).collect());
        Self { dims, at }
    }

    fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|&(_, n)| n).collect()
    }

    /// Row-major strides of operand `which` along the result's loops.
    fn dense_strides(&self, which: usize, shape: &[usize]) -> Vec<usize> {
        let strides = row_major(shape);
        self.at[which].iter().map(|p| p.map_or(0, |i| strides[i])).collect()
    }
}

struct Zip {
    op: BinaryOp,
    broadcast: Broadcast,
    need: [bool; 2],
}

impl CustomOp2 for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.broadcast.shape();
        dispatch!(a, T => {
            let (a, b) = (View::<T>::of(a, la)?, View::<T>::of(b, lb)?);
            let nest = Nest::new(&shape, [&a.spread(&self.broadcast.at[0]), &b.spread(&self.broadcast.at[1])]);
            let y = forward(self.op, &nest, shape.iter().product(), a.data, b.data);
            Ok((T::to_cpu_storage_owned(y), shape.into()))
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let side = |which: usize| -> Result<Option<Tensor>> {
            if !self.need[which] || !differentiable(self.op) {
                return Ok(None);
            }
            let mine = [a, b][which];
            // A sum passes its gradient on unchanged, unless the operand was broadcast.
            let straight = matches!((self.op, which), (BinaryOp::Add, _) | (BinaryOp::Sub, 0) | (BinaryOp::Rem, 0));
            if straight && self.broadcast.at[which].iter().enumerate().all(|(i, p)| *p == Some(i)) {
                return Ok(Some(g.clone()));
            }
            dispatch!(g, T => self.gradient::<T>(which, mine, a, b, g).map(Some))
        };
        Ok((side(0)?, side(1)?))
    }
}

impl Zip {
    /// The gradient of one operand. A cotangent of 0 gives 0, as for functions of one value.
    fn gradient<T: Real>(&self, which: usize, mine: &Tensor, a: &Tensor, b: &Tensor, g: &Tensor) -> Result<Tensor> {
        let shape = self.broadcast.shape();
        let (ha, hb, hg) = (Held::of(a), Held::of(b), Held::of(g));
        let (a, b, g) = (ha.view::<T>()?, hb.view::<T>()?, hg.view::<T>()?);
        let (sa, sb) = (a.spread(&self.broadcast.at[0]), b.spread(&self.broadcast.at[1]));
        let so = self.broadcast.dense_strides(which, mine.dims());
        let mut out = vec![T::default(); mine.elem_count()];
        let (zero, half) = (T::zero(), T::of(0.5));
        let only_g = || Nest::new(&shape, [g.strides, &so]);
        let other = || match which {
            0 => (Nest::new(&shape, [g.strides, &sb, &so]), b.data),
            _ => (Nest::new(&shape, [g.strides, &sa, &so]), a.data),
        };
        let all = || Nest::new(&shape, [g.strides, &sa, &sb, &so]);
        macro_rules! by_all {
            ($f:expr) => {
                fold3(&all(), g.data, a.data, b.data, &mut out, |g, a, b| if g == zero { zero } else { $f(g, a, b) })
            };
        }
        match (self.op, which) {
            (BinaryOp::Add, _) | (BinaryOp::Sub | BinaryOp::Rem, 0) => fold1(&only_g(), g.data, &mut out, |g| g),
            (BinaryOp::Sub, _) => fold1(&only_g(), g.data, &mut out, |g| -g),
            (BinaryOp::Mul, _) => {
                let (nest, x) = other();
                fold2(&nest, g.data, x, &mut out, |g, x| if g == zero { zero } else { g * x });
            }
            (BinaryOp::Div, 0) => {
                let (nest, x) = other();
                fold2(&nest, g.data, x, &mut out, |g, x| if g == zero { zero } else { g / x });
            }
            (BinaryOp::Div, _) => by_all!(|g: T, a: T, b: T| -g * a / (b * b)),
            (BinaryOp::Rem, _) => by_all!(|g: T, a: T, b: T| -g * (a / b).floor()),
            (BinaryOp::Pow, 0) => {
                by_all!(|g: T, a: T, b: T| if b == zero { zero } else { g * b * a.powf(b - T::one()) })
            }
            (BinaryOp::Pow, _) => by_all!(|g: T, a: T, b: T| {
                // At 0 the limit: x^b log x -> 0 for b > 0.
                if a == zero && b > zero { zero } else { g * a.powf(b) * a.ln() }
            }),
            (BinaryOp::Min | BinaryOp::Max, _) => {
                let sign = if (self.op == BinaryOp::Min) == (which == 0) { T::one() } else { -T::one() };
                by_all!(|g: T, a: T, b: T| if a == b {
                    g * half
                } else if (b - a) * sign > zero {
                    g
                } else {
                    zero
                });
            }
            (BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge, _) => {
                bail!("a comparison has no gradient")
            }
        }
        tensor(out, mine.shape())
    }
}

fn forward<T: Real>(op: BinaryOp, nest: &Nest<2>, count: usize, a: &[T], b: &[T]) -> Vec<T> {
    let truth = |c: bool| if c { T::one() } else { T::zero() };
    match op {
        BinaryOp::Add => zip(nest, count, a, b, |a, b| a + b),
        BinaryOp::Sub => zip(nest, count, a, b, |a, b| a - b),
        BinaryOp::Mul => zip(nest, count, a, b, |a, b| a * b),
        BinaryOp::Div => zip(nest, count, a, b, |a, b| a / b),
        BinaryOp::Rem => zip(nest, count, a, b, |a, b| a - b * (a / b).floor()),
        BinaryOp::Pow => zip(nest, count, a, b, |a, b| a.powf(b)),
        // NaN if either operand is NaN.
        BinaryOp::Min => zip(nest, count, a, b, |a, b| if a < b || a.is_nan() { a } else { b }),
        BinaryOp::Max => zip(nest, count, a, b, |a, b| if a > b || a.is_nan() { a } else { b }),
        BinaryOp::Eq => zip(nest, count, a, b, |a, b| truth(a == b)),
        BinaryOp::Ne => zip(nest, count, a, b, |a, b| truth(a != b)),
        BinaryOp::Lt => zip(nest, count, a, b, |a, b| truth(a < b)),
        BinaryOp::Le => zip(nest, count, a, b, |a, b| truth(a <= b)),
        BinaryOp::Gt => zip(nest, count, a, b, |a, b| truth(a > b)),
        BinaryOp::Ge => zip(nest, count, a, b, |a, b| truth(a >= b)),
    }
}

struct Choose {
    mask: Arc<[bool]>,
    need: [bool; 2],
}

impl CustomOp2 for Choose {
    fn name(&self) -> &'static str {
        "select"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(a, T => {
            let (a, b) = (View::<T>::of(a, la)?.dense(), View::<T>::of(b, lb)?.dense());
            let y = self.mask.iter().zip(a.iter().zip(b.iter())).map(|(&c, (&a, &b))| if c { a } else { b }).collect();
            Ok((T::to_cpu_storage_owned(y), la.shape().clone()))
        })
    }

    fn bwd(&self, a: &Tensor, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(g, T => {
            let held = Held::of(g);
            let g = held.view::<T>()?.dense();
            let side = |which: usize| -> Result<Option<Tensor>> {
                if !self.need[which] {
                    return Ok(None);
                }
                let chosen = |(&c, &g): (&bool, &T)| if c == (which == 0) { g } else { T::default() };
                tensor(self.mask.iter().zip(g.iter()).map(chosen).collect(), a.shape()).map(Some)
            };
            Ok((side(0)?, side(1)?))
        })
    }
}
