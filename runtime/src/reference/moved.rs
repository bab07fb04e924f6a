//! What a device that is right may do to states that updates erase from: a delta rule in chunks adds first and takes away
//! later what a loop never holds, so that a state is as sure as the largest number that it is made of.

use super::value::{Dim, Value};
use crate::random::Stream;
use archc_compiler::graph::{NodeId, Op, Scan};
use candle_core::{DType, Result};

/// The states of a scan, each moved after each token by at most one rounding to f32 of the largest number that was part of it.
pub(super) struct Moved {
    seed: u64,
    /// By node of the body: whether it depends on a state.
    depends: Vec<bool>,
    /// By state: whether sums over it are part of its update.
    erased: Vec<bool>,
    /// By state and sequence: the largest number of its document so far.
    largest: Vec<Vec<f64>>,
}

impl Moved {
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
        Self { seed, depends, largest: vec![vec![0.0; sequences]; erased.len()], erased }
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
        let largest = &mut self.largest[i];
        largest.iter_mut().zip(starts).filter(|(_, starts)| **starts).for_each(|(m, _)| *m = 0.0);
        let parts = values.iter().zip(&self.depends).filter(|(_, depends)| **depends).filter_map(|(v, _)| v.as_ref());
        for part in parts.chain([&state]).filter(|v| state.dims.iter().all(|d| v.has(*d))) {
            let order: Vec<(Dim, usize)> = part.dims.iter().map(|d| (*d, part.size(*d))).collect();
            let (batch, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|(d, _)| *d == Dim::Batch);
            let numbers = part.expanded(&[batch, others].concat())?;
            let numbers = numbers.tensor.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            let width = numbers.len() / largest.len();
            for (m, row) in largest.iter_mut().zip(numbers.chunks_exact(width)) {
                *m = row.iter().fold(*m, |m, x| m.max(x.abs()));
            }
        }
        let shape = state.tensor.dims().to_vec();
        let width = shape.iter().product::<usize>() / largest.len();
        let place = state.index(Dim::Batch)?;
        let inner: usize = shape[place + 1..].iter().product();
        let mut stream = Stream::new(&[b"moved", &self.seed.to_le_bytes(), &(i as u64).to_le_bytes()]);
        stream.seek(t as u64);
        let by = |n: usize| {
            let unit = stream.uniform();
            (2.0 * unit - 1.0) * f64::from(f32::EPSILON) / 2.0 * largest[n / inner % largest.len()]
        };
        let by: Vec<f64> = (0..width * largest.len()).map(by).collect();
        let by = Value::constant(by, shape, state.dims.clone(), state.tensor.dtype())?;
        Ok(Value::new((state.tensor + by.tensor)?, state.dims))
    }
}
