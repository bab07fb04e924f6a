//! What rounding may do to a device that is right, by moving the reference's numbers at random (Parker, Monte Carlo Arithmetic, 1997):
//!
//! - what an op computes, and in backward what flows into each of its operands, by at most one unit of the last place; what is exact (a
//!   whole number, a choice, a copy) stays;
//! - states that updates erase from, by the roundings of all that was part of them: a delta rule in chunks adds first and takes away
//!   later what a loop never holds.

use super::kernels::{View, dispatch, host};
use super::value::{Dim, Value};
use crate::random::Stream;
use archc_compiler::graph::{BinaryOp, NodeId, Op, ReduceOp, Scan, UnaryOp};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, backend::BackendStorage};
use std::borrow::Cow;
use std::cell::Cell;

/// How far a number moves, relative to it.
const UNIT: f64 = f32::EPSILON as f64;

/// Where the moves of a run come from.
#[derive(Debug)]
pub(crate) struct Moves {
    pub seed: u64,
    count: Cell<u64>,
}

impl Moves {
    pub fn new(seed: u64) -> Self {
        Self { seed, count: Cell::new(0) }
    }

    fn stream(&self) -> Draws {
        self.count.set(self.count.get() + 1);
        Draws { seed: self.seed, number: self.count.get() }
    }

    /// An operand whose gradient is moved.
    pub fn operand<'a>(&self, x: &'a Value) -> Result<Cow<'a, Value>> {
        if !x.tracked() {
            return Ok(Cow::Borrowed(x));
        }
        Ok(Cow::Owned(Value::new(x.tensor.apply_op1(self.stream())?, x.dims.clone())))
    }

    /// What an op computes, moved.
    pub fn result(&self, op: &Op, x: Value) -> Result<Value> {
        let exact = match op {
            Op::Unary(f) => {
                matches!(f, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Relu | UnaryOp::Not)
            }
            Op::Binary(f) => {
                !matches!(f, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow)
            }
            Op::Reduce(f, _) => matches!(f, ReduceOp::Max | ReduceOp::Min),
            Op::Contract(_) | Op::Softmax(_) | Op::Sparsemax(_) | Op::Cumsum(_) | Op::Linear(_) | Op::Attend(_) => {
                false
            }
            _ => true,
        };
        if exact {
            return Ok(x);
        }
        let by: Vec<f64> = self.stream().moves(host(&x.tensor)?.into_iter()).collect();
        let by = Value::constant(by, x.tensor.dims().to_vec(), x.dims.clone(), x.tensor.dtype())?;
        Ok(Value::new((x.tensor + by.tensor)?, x.dims))
    }
}

/// The draws of one place in a run.
struct Draws {
    seed: u64,
    number: u64,
}

impl Draws {
    /// By how much numbers move.
    fn moves(&self, numbers: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        let mut stream = Stream::new(&[b"moved", &self.seed.to_le_bytes(), &self.number.to_le_bytes()]);
        numbers.map(move |x| {
            let unit = 2.0 * stream.uniform_short() - 1.0;
            // what is below the normal numbers may be 0 as well
            let small = x.abs() < f64::from(f32::MIN_POSITIVE);
            match x.is_finite() && x.fract() != 0.0 {
                true if small && unit < 0.0 => -x,
                true => x * unit * UNIT,
                false => 0.0,
            }
        })
    }
}

impl CustomOp1 for Draws {
    fn name(&self) -> &'static str {
        "moved"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        dispatch!(x, T => {
            let y = View::<T>::of(x, layout)?.dense().into_owned();
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let by: Vec<f64> = self.moves(host(g)?.into_iter()).collect();
        let by = Tensor::from_vec(by, g.shape(), g.device())?.to_dtype(g.dtype())?;
        Ok(Some((g + by)?))
    }
}

/// The states of a scan, each moved after each token by what roundings of all numbers that were part of it come to.
pub(super) struct States {
    seed: u64,
    /// By node of the body: whether it depends on a state.
    depends: Vec<bool>,
    /// By state: whether sums over it are part of its update.
    erased: Vec<bool>,
    /// By state and sequence: the squares of the largest numbers of each token of its document so far, summed.
    squares: Vec<Vec<f64>>,
}

impl States {
    pub fn new(seed: u64, scan: &Scan, sequences: usize) -> Self {
        let dag = &scan.body;
        let mut depends = vec![false; dag.len()];
        for id in dag.ids() {
            let own = matches!(dag.op(id), Op::State(_));
            depends[id.0 as usize] = own || dag.operands(id).iter().any(|o| depends[o.0 as usize]);
        }
        let sums = |op: &Op| matches!(op, Op::Reduce(..) | Op::Contract(_) | Op::Linear(_));
        let erased = |next: &NodeId| {
            let live = dag.reachable(&[*next]);
            dag.ids().any(|id| {
                let read = dag.operands(id).iter().any(|o| depends[o.0 as usize]);
                live[id.0 as usize] && sums(dag.op(id)) && read
            })
        };
        let erased: Vec<bool> = scan.next.iter().map(erased).collect();
        Self { seed, depends, squares: vec![vec![0.0; sequences]; erased.len()], erased }
    }

    /// The state after a token at which documents start in some sequences; `values` are those of the body.
    pub fn after(
        &mut self,
        i: usize,
        state: Value,
        values: &[Option<Value>],
        starts: &[bool],
        t: usize,
    ) -> Result<Value> {
        if !self.erased[i] {
            return Ok(state);
        }
        let squares = &mut self.squares[i];
        squares.iter_mut().zip(starts).filter(|(_, starts)| **starts).for_each(|(m, _)| *m = 0.0);
        let parts = values.iter().zip(&self.depends).filter(|(_, depends)| **depends).filter_map(|(v, _)| v.as_ref());
        let mut now = vec![0.0f64; squares.len()];
        for part in parts.chain([&state]).filter(|v| state.dims.iter().all(|d| v.has(*d))) {
            let order: Vec<(Dim, usize)> = part.dims.iter().map(|d| (*d, part.size(*d))).collect();
            let (batch, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|(d, _)| *d == Dim::Batch);
            let numbers = host(&part.expanded(&[batch, others].concat())?.tensor)?;
            let width = numbers.len() / now.len();
            for (m, row) in now.iter_mut().zip(numbers.chunks_exact(width)) {
                *m = row.iter().fold(*m, |m, x| m.max(x.abs()));
            }
        }
        squares.iter_mut().zip(now).for_each(|(sum, now)| *sum += now * now);
        let shape = state.tensor.dims().to_vec();
        let width = shape.iter().product::<usize>() / squares.len();
        let place = state.index(Dim::Batch)?;
        let inner: usize = shape[place + 1..].iter().product();
        let mut stream = Stream::new(&[b"moved", &self.seed.to_le_bytes(), &(i as u64).to_le_bytes()]);
        stream.seek(t as u64);
        let by = |n: usize| {
            let unit = stream.uniform();
            (2.0 * unit - 1.0) * UNIT * squares[n / inner % squares.len()].sqrt()
        };
        let by: Vec<f64> = (0..width * squares.len()).map(by).collect();
        let by = Value::constant(by, shape, state.dims.clone(), state.tensor.dtype())?;
        Ok(Value::new((state.tensor + by.tensor)?, state.dims))
    }
}
