//! Windows: the last tokens of a value as an axis, cut off at document starts.
//!
//! A window is mostly contracted immediately (a convolution), summed or picked from. All three are a filter over the
//! lags, so the window itself is materialised only where another op reads it.

use super::contract::contract;
use super::kernels::{Held, Real, View, dispatch, tensor};
use super::value::{Dim, Value};
use crate::batch::Grid;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage,
};

/// A window that is not materialised yet.
#[derive(Clone, Debug)]
pub(crate) struct Lags {
    /// The source `[Batch, Time with the carried tokens before it, axes]`, contiguous.
    x: Value,
    axis: Dim,
    /// The lag of each entry.
    lags: Vec<usize>,
    tokens: Grid,
}

impl Lags {
    /// The window of x with `width` entries; `carried` are the (width - 1) * step tokens before it, if any.
    pub fn new(
        x: &Value,
        axis: Dim,
        width: usize,
        step: usize,
        carried: Option<&Value>,
        tokens: &Grid,
    ) -> Result<Self> {
        let axes = x.dims.iter().filter(|d| !matches!(d, Dim::Batch | Dim::Time)).map(|&d| (d, x.size(d)));
        let order: Vec<(Dim, usize)> =
            [(Dim::Batch, tokens.batch), (Dim::Time, tokens.len)].into_iter().chain(axes).collect();
        let mut x = x.expanded(&order)?;
        if let Some(before) = carried {
            x.tensor = Tensor::cat(&[&before.permuted(&x.dims)?.tensor, &x.tensor], 1)?;
        }
        let lags = (0..width).map(|i| i * step).collect();
        Ok(Self { x: x.contiguous()?, axis, lags, tokens: tokens.clone() })
    }

    /// The carry for the next piece of the sequences: the last `count` tokens, zeros where there were fewer.
    pub fn carry(&self, count: usize) -> Result<Value> {
        let have = self.x.tensor.dim(1)?;
        let mut tail = self.x.tensor.narrow(1, have.saturating_sub(count), have.min(count))?;
        if have < count {
            tail = tail.pad_with_zeros(1, count - have, 0)?;
        }
        Ok(Value::new(tail, self.x.dims.clone()))
    }

    /// The sum over the window's axis of window * f.
    pub fn times(&self, f: &Value, over: &[Dim]) -> Result<Value> {
        let simple = over == [self.axis] && f.dims.iter().all(|&d| d == self.axis || (self.x.has(d) && !is_token(d)));
        if simple && f.has(self.axis) { self.filtered(f, &self.lags) } else { contract(&self.unfolded()?, f, over) }
    }

    /// `scale` times the sum over the window's axis.
    pub fn total(&self, scale: f64) -> Result<Value> {
        let taps = vec![scale; self.lags.len()];
        let f = Value::constant(taps, vec![self.lags.len()], vec![self.axis], self.x.tensor.dtype())?;
        self.filtered(&f, &self.lags)
    }

    /// One entry of the window.
    pub fn entry(&self, index: usize) -> Result<Value> {
        let f = Value::constant(vec![1.0], vec![1], vec![self.axis], self.x.tensor.dtype())?;
        self.filtered(&f, &self.lags[index..=index])
    }

    /// The axis that the window adds.
    pub fn axis(&self) -> Dim {
        self.axis
    }

    fn filtered(&self, f: &Value, lags: &[usize]) -> Result<Value> {
        let order: Vec<(Dim, usize)> =
            [(self.axis, lags.len())].into_iter().chain(self.channels().map(|d| (d, self.x.size(d)))).collect();
        let f = f.expanded(&order)?.tensor.reshape((lags.len(), self.width()))?;
        let need = [self.x.tracked(), f.track_op()];
        let filter = Filter { lags: lags.to_vec(), tokens: self.tokens.clone(), width: self.width(), need };
        let y = if need == [false; 2] {
            self.x.tensor.apply_op2_no_bwd(&f, &filter)?
        } else {
            self.x.tensor.apply_op2(&f, filter)?
        };
        Ok(Value::new(y.reshape(self.shape(&[]))?, self.x.dims.clone()))
    }

    /// The materialised window.
    pub fn unfolded(&self) -> Result<Value> {
        let unfold = Unfold { lags: self.lags.clone(), tokens: self.tokens.clone(), width: self.width() };
        let y = if self.x.tracked() {
            self.x.tensor.apply_op1(unfold)?
        } else {
            self.x.tensor.apply_op1_no_bwd(&unfold)?
        };
        let dims = [Dim::Batch, Dim::Time, self.axis].into_iter().chain(self.channels()).collect();
        Ok(Value::new(y.reshape(self.shape(&[self.lags.len()]))?, dims))
    }

    fn channels(&self) -> impl Iterator<Item = Dim> {
        self.x.dims[2..].iter().copied()
    }

    /// Elements per token.
    fn width(&self) -> usize {
        self.x.tensor.dims()[2..].iter().product()
    }

    fn shape(&self, between: &[usize]) -> Vec<usize> {
        [&[self.tokens.batch, self.tokens.len], between, &self.x.tensor.dims()[2..]].concat()
    }
}

fn is_token(d: Dim) -> bool {
    matches!(d, Dim::Batch | Dim::Time)
}

impl Grid {
    /// Calls `each` for each token and each lag that stays inside of its document, with the index of the token, the
    /// index of the lag, and the index of the earlier token among all known ones (`carried` before each sequence).
    fn visit(&self, lags: &[usize], known: usize, mut each: impl FnMut(usize, usize, usize)) {
        let carried = known - self.len;
        for (token, &pos) in self.pos.iter().enumerate() {
            let (b, t) = (token / self.len, token % self.len);
            for (i, &lag) in lags.iter().enumerate() {
                if lag <= pos && lag <= carried + t {
                    each(token, i, b * known + carried + t - lag);
                }
            }
        }
    }
}

struct Filter {
    lags: Vec<usize>,
    tokens: Grid,
    width: usize,
    need: [bool; 2],
}

impl CustomOp2 for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, f: &CpuStorage, lf: &Layout) -> Result<(CpuStorage, Shape)> {
        let c = self.width;
        dispatch!(x, T => {
            let (x, f) = (View::<T>::of(x, lx)?.dense(), View::<T>::of(f, lf)?.dense());
            let mut out = vec![T::default(); self.tokens.pos.len() * c];
            self.tokens.visit(&self.lags, lx.dims()[1], |token, i, past| {
                let row = out[token * c..][..c].iter_mut();
                row.zip(x[past * c..][..c].iter().zip(&f[i * c..][..c])).for_each(|(o, (&x, &f))| *o += x * f);
            });
            let shape = Shape::from((self.tokens.batch, self.tokens.len, c));
            Ok((T::to_cpu_storage_owned(out), shape))
        })
    }

    fn bwd(&self, x: &Tensor, f: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(x, T => self.gradients::<T>(x, f, g))
    }
}

impl Filter {
    fn gradients<T: Real>(&self, x: &Tensor, f: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (c, known) = (self.width, x.dim(1)?);
        let (hx, hf, hg) = (Held::of(x), Held::of(f), Held::of(g));
        let (xs, fs, gs) = (hx.view::<T>()?.dense(), hf.view::<T>()?.dense(), hg.view::<T>()?.dense());
        let mut grads = (None, None);
        if self.need[0] {
            let mut dx = vec![T::default(); xs.len()];
            self.tokens.visit(&self.lags, known, |token, i, past| {
                let row = dx[past * c..][..c].iter_mut();
                row.zip(gs[token * c..][..c].iter().zip(&fs[i * c..][..c])).for_each(|(d, (&g, &f))| *d += g * f);
            });
            grads.0 = Some(tensor(dx, x.shape())?);
        }
        if self.need[1] {
            let mut df = vec![T::default(); fs.len()];
            self.tokens.visit(&self.lags, known, |token, i, past| {
                let row = df[i * c..][..c].iter_mut();
                row.zip(gs[token * c..][..c].iter().zip(&xs[past * c..][..c])).for_each(|(d, (&g, &x))| *d += g * x);
            });
            grads.1 = Some(tensor(df, f.shape())?);
        }
        Ok(grads)
    }
}

struct Unfold {
    lags: Vec<usize>,
    tokens: Grid,
    width: usize,
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "window"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (c, w) = (self.width, self.lags.len());
        dispatch!(x, T => {
            let x = View::<T>::of(x, layout)?.dense();
            let mut out = vec![T::default(); self.tokens.pos.len() * w * c];
            self.tokens.visit(&self.lags, layout.dims()[1], |token, i, past| {
                out[(token * w + i) * c..][..c].copy_from_slice(&x[past * c..][..c]);
            });
            Ok((T::to_cpu_storage_owned(out), (self.tokens.batch, self.tokens.len, w, c).into()))
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (c, w) = (self.width, self.lags.len());
        dispatch!(x, T => {
            let held = Held::of(g);
            let g = held.view::<T>()?.dense();
            let mut dx = vec![T::default(); x.elem_count()];
            self.tokens.visit(&self.lags, x.dim(1)?, |token, i, past| {
                let row = dx[past * c..][..c].iter_mut();
                row.zip(&g[(token * w + i) * c..][..c]).for_each(|(d, &g)| *d += g);
            });
            tensor(dx, x.shape()).map(Some)
        })
    }
}
