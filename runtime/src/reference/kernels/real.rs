//! The element type of kernels, and conversions between candle's tensors and slices.

use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, StorageRef, Tensor, WithDType, bail};
use std::ops::Neg;

/// f32 or f64, with the functions that element-wise ops need.
pub(crate) trait Real: WithDType + Neg<Output = Self> + Default {
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn erf(self) -> Self;
    fn floor(self) -> Self;
    fn abs(self) -> Self;
    fn powi(self, n: i32) -> Self;
    fn powf(self, e: Self) -> Self;
    fn is_nan(self) -> bool;
    fn total_cmp(&self, other: &Self) -> std::cmp::Ordering;

    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }

    fn max_of(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }
}

macro_rules! real {
    ($t:ident, $erf:path) => {
        impl Real for $t {
            fn exp(self) -> Self {
                $t::exp(self)
            }
            fn ln(self) -> Self {
                $t::ln(self)
            }
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            fn sin(self) -> Self {
                $t::sin(self)
            }
            fn cos(self) -> Self {
                $t::cos(self)
            }
            fn erf(self) -> Self {
                $erf(self)
            }
            fn floor(self) -> Self {
                $t::floor(self)
            }
            fn abs(self) -> Self {
                $t::abs(self)
            }
            fn powi(self, n: i32) -> Self {
                $t::powi(self, n)
            }
            fn powf(self, e: Self) -> Self {
                $t::powf(self, e)
            }
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
                $t::total_cmp(self, other)
            }
        }
    };
}

real!(f32, libm::erff);
real!(f64, libm::erf);

/// Evaluates an expression with `$T` bound to the element type of a storage or tensor.
macro_rules! dispatch {
    ($holder:expr, $T:ident => $body:expr) => {
        match $holder.dtype() {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("a kernel met numbers of type {other:?}"),
        }
    };
}
pub(crate) use dispatch;

/// A strided operand; `data` starts at its first element.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub data: &'a [T],
    pub shape: &'a [usize],
    pub strides: &'a [usize],
}

impl<'a, T: Real> View<'a, T> {
    pub fn of(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Self> {
        let data = T::cpu_storage_as_slice(storage)?;
        // an empty view may start past the end
        let data = data.get(layout.start_offset()..).unwrap_or(&[]);
        Ok(Self { data, shape: layout.dims(), strides: layout.stride() })
    }

    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements as one slice, if they are contiguous in row-major order.
    pub fn slice(&self) -> Option<&'a [T]> {
        let mut expected = 1;
        for (&size, &stride) in self.shape.iter().zip(self.strides).rev() {
            if size != 1 && stride != expected {
                return None;
            }
            expected *= size;
        }
        Some(&self.data[..self.count()])
    }

    /// The elements in row-major order, copied if they are not contiguous in that order.
    pub fn dense(&self) -> std::borrow::Cow<'a, [T]> {
        match self.slice() {
            Some(slice) => slice.into(),
            None => {
                let nest = super::Nest::new(self.shape, [self.strides]);
                let mut out = Vec::with_capacity(self.count());
                let [stride] = nest.inner_strides;
                nest.rows(|[at]| out.extend((0..nest.inner).map(|i| self.data[at + i * stride])));
                out.into()
            }
        }
    }
}

/// A tensor whose storage is locked for reading.
pub(crate) struct Held<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Held<'a> {
    pub fn of(tensor: &'a Tensor) -> Self {
        let (storage, layout) = tensor.storage_and_layout();
        Self { storage, layout }
    }

    pub fn view<T: Real>(&self) -> Result<View<'_, T>> {
        match &*self.storage {
            Storage::Cpu(storage) => View::of(storage, self.layout),
            _ => bail!("a tensor is not on the CPU"),
        }
    }
}

/// A tensor outside of the autograd tape.
pub(crate) fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// The elements of a float tensor, row-major, as f64.
pub(crate) fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    dispatch!(tensor, T => Ok(Held::of(tensor).view::<T>()?.dense().iter().map(|x| x.to_f64()).collect()))
}
