//! The effect that rounding may have on a correct device, by random perturbation of the reference's values (Parker, Monte Carlo Arithmetic,
//! 1997):
//!
//! - the result of an op, and in the backward pass the gradient of each of its operands, by at most one unit in the last place; exact
//!   results (a whole number, a choice, a copy) are kept;
//! - states that updates erase from, by a rounding of the sum of all their former contributions: a delta rule in chunks first adds and
//!   later subtracts terms that a loop never holds. Likewise in the backward pass, where updates erase from the gradient of a state.

use super::kernels::{View, dispatch, host};
use super::value::{Dim, Value, axes};
use crate::random::Stream;
use archc_compiler::graph::{BinaryOp, NodeId, Op, ReduceOp, Scan, UnaryOp};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, backend::BackendStorage};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest perturbation of a number, relative to it.
const UNIT: f64 = f32::EPSILON as f64;

/// The source of the perturbations of a run.
#[derive(Debug)]
pub(crate) struct Moves {
    pub seed: u64,
    count: Cell<u64>,
    /// The current token, in the body of a scan whose states are erased from.
    inside: RefCell<Option<Inside>>,
}

/// The token of a scan, and the sums of the gradients of values as large as its states.
#[derive(Clone, Debug)]
struct Inside {
    dims: Vec<Dim>,
    token: u64,
    sums: Arc<Mutex<Sums>>,
}

/// The largest gradient magnitudes of each token, summed from the last token on, by sequence.
#[derive(Debug)]
struct Sums {
    token: u64,
    now: Vec<f64>,
    before: Vec<f64>,
}

impl Sums {
    /// Adds the gradient of a value at a token and returns the sums. `inner` elements of a sequence form one run.
    fn with(&mut self, token: u64, numbers: &[f64], inner: usize) -> Vec<f64> {
        if self.token != token {
            self.before.iter_mut().zip(&mut self.now).for_each(|(sum, now)| *sum += std::mem::take(now));
            self.token = token;
        }
        raise(&mut self.now, numbers, inner);
        self.before.iter().zip(&self.now).map(|(a, b)| a + b).collect()
    }
}

/// Raises the largest magnitudes, by sequence, to those of further numbers; `inner` elements of a sequence form one run.
fn raise(largest: &mut [f64], numbers: &[f64], inner: usize) {
    for (n, x) in numbers.iter().enumerate() {
        let row = n / inner % largest.len();
        largest[row] = largest[row].max(x.abs());
    }
}

fn locked(sums: &Mutex<Sums>) -> MutexGuard<'_, Sums> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Moves {
    pub fn new(seed: u64) -> Self {
        Self { seed, count: Cell::new(0), inside: RefCell::default() }
    }

    /// The draws for the next op.
    pub(super) fn stream(&self) -> Draws {
        self.count.set(self.count.get() + 1);
        Draws { seed: self.seed, number: self.count.get(), inside: None }
    }

    /// Sets the token of a scan to which the following ops belong.
    pub(super) fn enter(&self, states: &States, token: usize) {
        *self.inside.borrow_mut() = states.inside(token as u64);
    }

    /// Ends the body of a scan.
    pub(super) fn leave(&self) {
        *self.inside.borrow_mut() = None;
    }

    /// An operand whose gradient is perturbed.
    pub fn operand<'a>(&self, x: &'a Value) -> Result<Cow<'a, Value>> {
        if !x.tracked() {
            return Ok(Cow::Borrowed(x));
        }
        let mut draws = self.stream();
        if let Some(inside) = self.inside.borrow().as_ref().filter(|i| i.dims.iter().all(|d| x.has(*d))) {
            draws.inside = Some((inside.clone(), inner(x)?));
        }
        Ok(Cow::Owned(Value::new(x.tensor.apply_op1(draws)?, x.dims.clone())))
    }

    /// The result of an op, perturbed unless the op is exact.
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
        if exact { Ok(x) } else { self.rounded(x) }
    }

    /// A computed value, perturbed.
    pub fn rounded(&self, x: Value) -> Result<Value> {
        let by: Vec<f64> = self.stream().moves(host(&x.tensor)?.into_iter()).collect();
        let by = Value::constant(by, x.tensor.dims().to_vec(), x.dims.clone(), x.tensor.dtype())?;
        Ok(Value::new((x.tensor + by.tensor)?, x.dims))
    }
}

/// The draws for one op of a run.
pub(super) struct Draws {
    seed: u64,
    number: u64,
    /// The sums of gradients, and the number of elements of a sequence in one run.
    inside: Option<(Inside, usize)>,
}

impl Draws {
    /// Random numbers between -1 and 1.
    fn signed(&self) -> impl Iterator<Item = f64> + use<> {
        let mut stream = Stream::new(&[b"moved", &self.seed.to_le_bytes(), &self.number.to_le_bytes()]);
        std::iter::repeat_with(move || 2.0 * stream.uniform_short() - 1.0)
    }

    /// Random factors near 1.
    pub fn units(&self) -> impl Iterator<Item = f64> + use<> {
        self.signed().map(|unit| 1.0 + unit * UNIT)
    }

    /// The perturbations of numbers.
    fn moves(&self, numbers: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        numbers.zip(self.signed()).map(|(x, unit)| {
            // a number below the normal range may become 0 as well
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
        same(x, layout)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let numbers = host(g)?;
        if let Some((inside, inner)) = &self.inside {
            locked(&inside.sums).with(inside.token, &numbers, *inner);
        }
        moved_by(g, self.moves(numbers.into_iter()).collect())
    }
}

/// The states of a scan, each perturbed after each token by a rounding of the sum of all its former contributions.
pub(super) struct States {
    seed: u64,
    /// Whether a node depends on a state, by node of the body.
    depends: Vec<bool>,
    /// Whether sums over a state are part of its update, by state.
    erased: Vec<bool>,
    /// The sum of the largest magnitudes at each token of the document so far, by state and sequence.
    sizes: Vec<Vec<f64>>,
    /// The corresponding sums of gradients, from the last token on.
    sums: Arc<Mutex<Sums>>,
    /// The dimensions of the smallest state that is erased from.
    dims: Vec<Dim>,
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
        let zeros = vec![0.0; sequences];
        let smallest = scan.states.iter().zip(&erased).filter(|(_, erased)| **erased).map(|(state, _)| &state.axes);
        let mut dims = smallest.min_by_key(|axes| axes.len()).map_or_else(Vec::new, |own| axes(own));
        dims.push(Dim::Batch);
        let sums = Arc::new(Mutex::new(Sums { token: u64::MAX, now: zeros.clone(), before: zeros.clone() }));
        Self { seed, depends, sizes: vec![zeros; erased.len()], dims, sums, erased }
    }

    /// The initial value of a state, with its gradient perturbed if the state is erased from.
    pub fn first(&self, i: usize, state: Value) -> Result<Value> {
        if !self.erased[i] || !state.tracked() {
            return Ok(state);
        }
        self.back(state, 0)
    }

    fn inside(&self, token: u64) -> Option<Inside> {
        let erased = self.erased.contains(&true);
        erased.then(|| Inside { dims: self.dims.clone(), token, sums: self.sums.clone() })
    }

    /// A state whose gradient is perturbed in proportion to those of all tokens from here on.
    fn back(&self, state: Value, token: u64) -> Result<Value> {
        let inside = Inside { dims: Vec::new(), token, sums: self.sums.clone() };
        let back = Back { inside, inner: inner(&state)?, seed: self.seed };
        Ok(Value::new(state.tensor.apply_op1(back)?, state.dims))
    }

    /// The state after a token, perturbed; documents start at the token in some sequences. `values` are those of the body.
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
        let sizes = &mut self.sizes[i];
        sizes.iter_mut().zip(starts).filter(|(_, starts)| **starts).for_each(|(m, _)| *m = 0.0);
        let parts = values.iter().zip(&self.depends).filter(|(_, depends)| **depends).filter_map(|(v, _)| v.as_ref());
        let mut now = vec![0.0f64; sizes.len()];
        for part in parts.chain([&state]).filter(|v| state.dims.iter().all(|d| v.has(*d))) {
            raise(&mut now, &host(&part.tensor)?, inner(part)?);
        }
        sizes.iter_mut().zip(now).for_each(|(sum, now)| *sum += now);
        let mut stream = Stream::new(&[b"moved", &self.seed.to_le_bytes(), &(i as u64).to_le_bytes()]);
        stream.seek(t as u64);
        let by = spread(&mut stream, sizes, inner(&state)?, state.tensor.elem_count());
        let by = Value::constant(by, state.tensor.dims().to_vec(), state.dims.clone(), state.tensor.dtype())?;
        let tracked = state.tracked();
        let state = Value::new((state.tensor + by.tensor)?, state.dims);
        if tracked { self.back(state, t as u64 + 1) } else { Ok(state) }
    }
}

/// The number of elements of a sequence in one run.
fn inner(x: &Value) -> Result<usize> {
    Ok(x.tensor.dims()[x.index(Dim::Batch)? + 1..].iter().product())
}

/// Perturbations by a rounding of sums of size `sizes`, by sequence; `inner` elements of a sequence form one run.
fn spread(stream: &mut Stream, sizes: &[f64], inner: usize, count: usize) -> Vec<f64> {
    let by = |n: usize| (2.0 * stream.uniform() - 1.0) * UNIT * sizes[n / inner % sizes.len()];
    (0..count).map(by).collect()
}

/// A state whose gradient is perturbed.
struct Back {
    inside: Inside,
    inner: usize,
    seed: u64,
}

impl CustomOp1 for Back {
    fn name(&self) -> &'static str {
        "moved state"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        same(x, layout)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let numbers = host(g)?;
        let sizes = locked(&self.inside.sums).with(self.inside.token, &numbers, self.inner);
        let mut stream = Stream::new(&[b"moved back", &self.seed.to_le_bytes()]);
        stream.seek(self.inside.token);
        moved_by(g, spread(&mut stream, &sizes, self.inner, numbers.len()))
    }
}

fn moved_by(g: &Tensor, by: Vec<f64>) -> Result<Option<Tensor>> {
    Ok(Some((g + Tensor::from_vec(by, g.shape(), g.device())?.to_dtype(g.dtype())?)?))
}

fn same(x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    dispatch!(x, T => {
        let y = View::<T>::of(x, layout)?.dense().into_owned();
        Ok((candle_core::WithDType::to_cpu_storage_owned(y), layout.shape().clone()))
    })
}
