//! Loops over strided host memory: all functions that candle lacks or computes slowly.
//!
//! A kernel works on plain slices with shapes and strides, without axes or autograd. [`Real`] is the element type (f32
//! or f64), [`View`] a strided operand, [`Nest`] a loop nest over several operands at once.

mod nest;
mod product;
mod real;

pub(crate) use nest::{Nest, fold1, fold2, fold3, row_major, zip};
pub(crate) use product::{Factor, product};
pub(crate) use real::{Held, Real, View, dispatch, host, tensor};
