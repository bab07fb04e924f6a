//! Values: candle tensors whose dimensions have names.
//!
//! Batch and time are dimensions like any axis, so every op is written once, for parameters, tokens and pairs of tokens
//! alike. The order of the dimensions is arbitrary (whatever was cheap to produce); only names identify them.

use super::kernels::tensor;
use archc_compiler::graph::AxisId;
use candle_core::{DType, Result, Tensor, bail};

/// The name of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dim {
    /// Sequences side by side.
    Batch,
    /// The present token.
    Time,
    /// The past token, in an attend.
    Past,
    /// The lag, in an attend: for values that depend on the lag alone, before they are expanded over pairs.
    Lag,
    /// An axis of the graph.
    Axis(AxisId),
    /// An axis of a weight's OUT side, which may also be one of its IN axes.
    Out(AxisId),
}

/// A tensor with named dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub tensor: Tensor,
    pub dims: Vec<Dim>,
}

/// The names of axes.
pub(crate) fn axes(ids: &[AxisId]) -> Vec<Dim> {
    ids.iter().map(|&a| Dim::Axis(a)).collect()
}

impl Value {
    pub fn new(tensor: Tensor, dims: Vec<Dim>) -> Self {
        debug_assert_eq!(tensor.rank(), dims.len());
        Self { tensor, dims }
    }

    /// A scalar constant.
    pub fn scalar(x: f64, dtype: DType) -> Result<Self> {
        Self::constant(vec![x], Vec::new(), Vec::new(), dtype)
    }

    /// A constant tensor outside of the autograd tape, rounded to the arithmetic of the session.
    pub fn constant(data: Vec<f64>, shape: Vec<usize>, dims: Vec<Dim>, dtype: DType) -> Result<Self> {
        let tensor = match dtype {
            DType::F32 => tensor(data.iter().map(|&x| x as f32).collect(), shape)?,
            _ => tensor(data, shape)?,
        };
        Ok(Self::new(tensor, dims))
    }

    /// The position of a dimension, if the value has it.
    pub fn position(&self, dim: Dim) -> Option<usize> {
        self.dims.iter().position(|&d| d == dim)
    }

    pub fn has(&self, dim: Dim) -> bool {
        self.dims.contains(&dim)
    }

    /// The position of a dimension that the value must have.
    pub fn index(&self, dim: Dim) -> Result<usize> {
        match self.position(dim) {
            Some(i) => Ok(i),
            None => bail!("a value over {:?} lacks {dim:?}", self.dims),
        }
    }

    /// The length of a dimension, 1 where the value lacks it.
    pub fn size(&self, dim: Dim) -> usize {
        self.position(dim).map_or(1, |i| self.tensor.dims()[i])
    }

    /// Whether it is on the autograd tape.
    pub fn tracked(&self) -> bool {
        self.tensor.track_op()
    }

    /// Permutes the dimensions to this order; a view.
    pub fn permuted(&self, order: &[Dim]) -> Result<Self> {
        if self.dims == order {
            return Ok(self.clone());
        }
        let positions: Vec<usize> = order.iter().map(|&d| self.index(d)).collect::<Result<_>>()?;
        if positions.len() != self.dims.len() {
            bail!("{:?} cannot be ordered as {order:?}", self.dims);
        }
        Ok(Self::new(self.tensor.permute(positions)?, order.to_vec()))
    }

    /// Broadcasts to the dimensions and lengths of `order`, in this order; a view.
    pub fn expanded(&self, order: &[(Dim, usize)]) -> Result<Self> {
        let mine: Vec<Dim> = order.iter().map(|&(d, _)| d).filter(|&d| self.has(d)).collect();
        let here = self.permuted(&mine)?;
        if mine.len() == order.len() {
            return Ok(here);
        }
        let mut tensor = here.tensor;
        for (i, &(d, _)) in order.iter().enumerate() {
            if !self.has(d) {
                tensor = tensor.unsqueeze(i)?;
            }
        }
        let shape: Vec<usize> = order.iter().map(|&(_, n)| n).collect();
        Ok(Self::new(tensor.broadcast_as(shape)?, order.iter().map(|&(d, _)| d).collect()))
    }

    /// Copies to row-major memory order where needed.
    pub fn contiguous(&self) -> Result<Self> {
        Ok(Self::new(self.tensor.contiguous()?, self.dims.clone()))
    }

    /// Renames one dimension.
    pub fn renamed(mut self, from: Dim, to: Dim) -> Self {
        self.dims.iter_mut().filter(|d| **d == from).for_each(|d| *d = to);
        self
    }

    /// The union of the dimensions of several values with their lengths, the widest operand's first.
    pub fn union(values: &[&Self]) -> Vec<(Dim, usize)> {
        let widest = (0..values.len()).rev().max_by_key(|&i| values[i].dims.len()).unwrap_or(0);
        let mut dims: Vec<(Dim, usize)> = Vec::new();
        for value in values[widest..].iter().chain(&values[..widest]) {
            for (i, &d) in value.dims.iter().enumerate() {
                if !dims.iter().any(|&(x, _)| x == d) {
                    dims.push((d, value.tensor.dims()[i]));
                }
            }
        }
        dims
    }

    /// Permutes these dimensions to the end, in this order; a view.
    pub fn with_last(&self, last: &[Dim]) -> Result<Self> {
        let order: Vec<Dim> = self.dims.iter().filter(|d| !last.contains(d)).chain(last).copied().collect();
        self.permuted(&order)
    }
}
