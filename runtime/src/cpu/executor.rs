//! The executor of the cpu device.

use super::context::{Context, Room, Workers};
use super::memory::{Bases, FIXED, Memory, Slot, elements, layout};
use super::profile::Profile;
use super::program::{Launches, Program};
use crate::compiled::{CompiledSession, Executor, Held, Leaves, Part, Step};
use crate::errors;
use crate::random::{Key, dropout_key};
use crate::session::{AdamW, BatchShape, Device, Dtype, Metrics, Session, SessionOptions, Tensor};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{Graph, ParamId};
use archc_compiler::lowered::{Lowered, Shape, ValueId};
use archc_compiler::plan::{Element, Leaf, Plan, View};
use archc_compiler::{Target, planned};
use archc_kernels::copy::copy_nd;
use archc_kernels::optimizer::Rule;
use std::ops::Range;
use std::sync::Arc;

/// The cpu device.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Tokens per chunk of a scan.
    pub chunk: usize,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { chunk: Target::cpu().chunk }
    }
}

impl Device for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn arithmetic(&self) -> String {
        format!("cpu {} chunk={}", archc_kernels::level().name(), self.chunk)
    }

    fn compile(
        &self,
        graph: &Arc<Graph>,
        shape: BatchShape,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, Diagnostic> {
        shape.check()?;
        if options.dtype == Dtype::F64 {
            return Err(errors::single_precision());
        }
        Ok(Box::new(self.session(graph, options)?))
    }
}

impl Cpu {
    /// Compiles a session with access to its executor, which offers more than the device interface.
    ///
    /// # Errors
    /// As [`Device::compile`].
    pub fn session(
        &self,
        graph: &Arc<Graph>,
        options: &SessionOptions,
    ) -> Result<CompiledSession<CpuExecutor>, Diagnostic> {
        let target = Target { chunk: self.chunk.max(1), ..Target::cpu() };
        CompiledSession::new(graph, options, CpuExecutor::new(graph, options, target)?)
    }
}

/// A plan that is ready to run, with its memory.
pub struct Compiled {
    pub(super) plan: Plan,
    pub(super) program: Launches,
    pub(super) arena: Memory,
    constants: Memory,
    pub(super) registers: Memory,
    /// An arena for bodies and registers, for each further thread.
    rooms: Vec<[Memory; 2]>,
    workers: Option<Workers>,
    /// Version of the parameters for which the values that depend on parameters alone are up to date.
    prepared: Option<u64>,
}

/// The executor: parameters and moments, in the order of the graph, each in checkpoint layout.
pub struct CpuExecutor {
    target: Target,
    /// The element range of each parameter.
    ranges: Vec<Range<usize>>,
    params: Memory,
    grads: Memory,
    first: Memory,
    second: Memory,
    /// Number of times that parameters were written.
    version: u64,
    /// Number of threads that share the work; results do not depend on it.
    threads: usize,
    /// Seconds by kind of kernel, if runs are profiled.
    pub profile: Option<Profile>,
}

impl CpuExecutor {
    /// An executor with parameters and moments of zeros.
    ///
    /// # Errors
    /// E0815 if they do not fit memory.
    pub(crate) fn new(graph: &Arc<Graph>, options: &SessionOptions, target: Target) -> Result<Self, Diagnostic> {
        let layout = graph.param_layout();
        let numbers = |i: usize| graph.param_numbers(ParamId(i as u32));
        let ranges = layout.starts.iter().enumerate().map(|(i, start)| *start..start + numbers(i));
        let zeros = || Memory::zeros(layout.len);
        Ok(Self {
            target,
            ranges: ranges.collect(),
            params: zeros()?,
            grads: zeros()?,
            first: zeros()?,
            second: zeros()?,
            version: 0,
            threads: options.threads.max(1),
            profile: None,
        })
    }

    fn held(&self, what: Held) -> &Memory {
        match what {
            Held::Param => &self.params,
            Held::First => &self.first,
            Held::Second => &self.second,
        }
    }

    /// The start of each base of a plan.
    pub(super) fn bases(&mut self, compiled: &mut Compiled) -> Bases {
        let [arena, constants] = [&mut compiled.arena, &mut compiled.constants].map(Memory::start);
        let held = [&mut self.params, &mut self.grads, &mut self.first, &mut self.second].map(Memory::start);
        Bases([arena, constants].into_iter().chain(held).collect())
    }

    /// Fills in the leaves and runs the plan.
    fn execute(&mut self, compiled: &mut Compiled, leaves: &Leaves<f32>, step: Option<&Step>) {
        let scratch = compiled.arena.start();
        for (leaf, view) in &compiled.plan.leaves {
            fill(leaf, view, scratch, leaves, step);
        }
        let bases = self.bases(compiled);
        let context = Context {
            profile: self.profile.as_ref(),
            workers: compiled.workers.as_ref().filter(|_| self.profile.is_none()),
            ..Context::new(compiled.registers.start())
        };
        let from = if compiled.prepared == Some(self.version) { compiled.plan.prepared } else { 0 };
        // SAFETY: the memory has the sizes of the plan and is borrowed exclusively
        unsafe { compiled.program.run(from, &bases, &context) };
        compiled.prepared = Some(self.version);
    }

    fn result(&mut self, compiled: &mut Compiled, id: ValueId) -> Tensor<Vec<f32>> {
        let Some((_, view)) = compiled.plan.results.iter().find(|r| r.0 == id) else {
            panic!("archc bug: value %{} is no result of the plan", id.0);
        };
        let (slot, (shape, strides)) = (Slot::of(view), layout(view));
        let bases = self.bases(compiled);
        let mut data = vec![0.0f32; shape.iter().product()];
        let dense = dense(&shape);
        // SAFETY: the view lies inside of its buffer, and the data has its shape
        unsafe { copy_nd(data.as_mut_ptr(), &dense, bases.at(slot), &strides, &shape) };
        Tensor { shape, data }
    }
}

fn dense(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// Writes a leaf to its place in the plan. All leaves are contiguous.
pub(super) fn fill(leaf: &Leaf, view: &View, arena: *mut f32, leaves: &Leaves<f32>, step: Option<&Step>) {
    // SAFETY: leaves have separate buffers in the arena, of the view's length, and these are their types
    unsafe {
        match view.element {
            Element::F32 => fill_f32(leaf, slice(view, arena), leaves),
            Element::F64 => match leaf {
                Leaf::Weights => put(slice(view, arena), &leaves.weights, |x| x),
                leaf => panic!("archc bug: {leaf:?} in double precision"),
            },
            Element::U32 => {
                let from = match leaf {
                    Leaf::Tokens => &leaves.ids,
                    Leaf::Targets => &leaves.targets,
                    Leaf::Positions => &leaves.pos,
                    leaf => panic!("archc bug: {leaf:?} as whole numbers"),
                };
                put(slice(view, arena), from, |x| x);
            }
            Element::Key => match (leaf, leaves.dropout) {
                (Leaf::DropoutKey(path), Some(seed)) => {
                    slice::<Key>(view, arena)[0] = dropout_key(seed, leaves.step, path);
                }
                leaf => panic!("archc bug: a key for {leaf:?}"),
            },
            Element::Rule => {
                let Some(Step { rule, learning_rate, number }) = step else {
                    panic!("archc bug: an update without a rule")
                };
                let AdamW { beta1, beta2, eps, weight_decay, clip } = *rule;
                let (learning_rate, number) = (*learning_rate, *number);
                let rule = Rule { learning_rate, beta1, beta2, eps, weight_decay, clip, number, unused: 0 };
                slice::<Rule>(view, arena)[0] = rule;
            }
        }
    }
}

/// The buffer of a leaf.
///
/// # Safety
/// The view lies in this arena and has this element type; nothing else accesses it while the slice lives.
unsafe fn slice<'a, T>(view: &View, arena: *mut f32) -> &'a mut [T] {
    // SAFETY: the caller's contract
    unsafe { std::slice::from_raw_parts_mut(arena.byte_add(view.start.bytes).cast(), view.len()) }
}

/// Copies `from` if it has the length of `to`; otherwise there are no values, and `to` is zeroed.
fn put<T: Copy, U: Default + Copy>(to: &mut [U], from: &[T], f: impl Fn(T) -> U) {
    if from.len() == to.len() {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = f(*from));
    } else {
        to.fill(U::default());
    }
}

fn fill_f32(leaf: &Leaf, to: &mut [f32], leaves: &Leaves<f32>) {
    match leaf {
        Leaf::Positions => put(to, &leaves.pos, |p| p as f32),
        Leaf::Documents => put(to, &leaves.doc, |d| d as f32),
        Leaf::Updates => to.fill(leaves.step as f32),
        Leaf::Weights => put(to, &leaves.weights, |x| x as f32),
        Leaf::Input(i) => put(to, &leaves.inputs[*i].data, |x| x),
        Leaf::Cotangent(i) => put(to, leaves.cotangents.get(*i).map_or(&[][..], |t| &t.data), |x| x),
        Leaf::Carried(name) | Leaf::CarriedLow(name) => {
            let part = if matches!(leaf, Leaf::CarriedLow(_)) { Part::Low } else { Part::High };
            let mut at = 0;
            leaves.carried_numbers(name, part, to.len(), |numbers| {
                to[at..at + numbers.len()].copy_from_slice(numbers);
                at += numbers.len();
            });
            to[at..].fill(0.0);
        }
        Leaf::Tokens | Leaf::Targets | Leaf::DropoutKey(_) | Leaf::Rule => {
            panic!("archc bug: {leaf:?} in single precision")
        }
    }
}

impl Executor for CpuExecutor {
    type Compiled = Compiled;
    type Number = f32;

    fn target(&self) -> Target {
        self.target
    }

    fn read(&self, what: Held) -> Vec<Vec<f32>> {
        let memory = self.held(what);
        let all = memory.numbers();
        self.ranges.iter().map(|r| all[r.clone()].to_vec()).collect()
    }

    fn write(&mut self, what: Held, param: ParamId, values: Vec<f32>) {
        let memory = match what {
            Held::Param => {
                self.version += 1;
                &mut self.params
            }
            Held::First => &mut self.first,
            Held::Second => &mut self.second,
        };
        memory.numbers_mut()[self.ranges[param.0 as usize].clone()].copy_from_slice(&values);
    }

    fn compile(&self, graph: &Arc<Lowered>, shape: Shape) -> Result<Compiled, Diagnostic> {
        let plan = planned(graph, shape, &self.target, &mut |_| ());
        let program = Launches::new(&plan.root, &plan.sizes);
        let constants = Program::new(&plan.constants.kernels, &plan.sizes);
        let registers = program.kernels.registers.max(constants.registers);
        let room = |_| Ok([Memory::zeros(program.kernels.bodies)?, Memory::zeros(registers)?]);
        let rooms: Result<Vec<[Memory; 2]>, Diagnostic> = (1..self.threads).map(room).collect();
        let mut rooms = rooms?;
        let addresses =
            rooms.iter_mut().map(|[arena, registers]| Room { arena: arena.start(), registers: registers.start() });
        let workers = match self.threads {
            0 | 1 => None,
            n => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n - 1).build();
                Some(Workers {
                    pool: pool.map_err(|e| errors::bug("starting threads", e))?,
                    rooms: addresses.collect(),
                })
            }
        };
        let mut compiled = Compiled {
            arena: Memory::zeros(elements(plan.root.arena.max(plan.constants.arena)))?,
            constants: Memory::zeros(plan.constants_len)?,
            registers: Memory::zeros(registers)?,
            rooms,
            workers,
            program,
            plan,
            prepared: None,
        };
        let mut bases = Bases(vec![std::ptr::null_mut(); FIXED]);
        (bases.0[0], bases.0[1]) = (compiled.arena.start(), compiled.constants.start());
        // SAFETY: constants read nothing but constants
        unsafe { constants.run(&bases, &Context::new(compiled.registers.start())) };
        Ok(compiled)
    }

    fn run(
        &mut self,
        compiled: &mut Compiled,
        leaves: &Leaves<f32>,
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor<Vec<f32>>>, Diagnostic> {
        self.execute(compiled, leaves, None);
        Ok(wanted.iter().map(|id| self.result(compiled, *id)).collect())
    }

    fn step(&mut self, compiled: &mut Compiled, leaves: &Leaves<f32>, step: &Step) -> Result<Metrics, Diagnostic> {
        let Some((objective, entropy)) = compiled.plan.graph.objective else {
            return Err(errors::bug("a training step", "a graph without an objective"));
        };
        self.execute(compiled, leaves, Some(step));
        let number = |t: Tensor<Vec<f32>>| t.data.first().map_or(f64::NAN, |x| f64::from(*x));
        let (objective, loss) = (number(self.result(compiled, objective)), number(self.result(compiled, entropy)));
        let Some(norm) = compiled.plan.norm.as_ref().map(Slot::of) else {
            return Err(errors::bug("a training step", "a plan without an update"));
        };
        // SAFETY: the plan's views lie inside of their buffers
        let gradient_norm = unsafe { *self.bases(compiled).at(norm).cast::<f64>() };
        let metrics = Metrics { loss, objective, gradient_norm };
        self.version += u64::from(step.moves(&metrics));
        Ok(metrics)
    }

    fn memory(&self, compiled: &Compiled) -> Option<crate::session::Memory> {
        let Plan { root, constants, constants_len, params_len, .. } = &compiled.plan;
        // for each further thread an arena for bodies; for parameters also gradients and two moments
        let bodies = compiled.rooms.len() * compiled.program.kernels.bodies;
        let numbers = elements(root.arena.max(constants.arena)) + bodies + constants_len + 4 * params_len;
        let own = [&compiled.arena, &compiled.constants, &compiled.registers];
        let held = [&self.params, &self.grads, &self.first, &self.second];
        let own = own.into_iter().chain(compiled.rooms.iter().flatten());
        let allocated: usize = own.chain(held).map(|m| size_of_val(m.numbers())).sum();
        Some(crate::session::Memory { planned: (4 * numbers) as u64, allocated: allocated as u64 })
    }

    fn profile(&mut self) -> Vec<(&'static str, f64)> {
        let profile = self.profile.get_or_insert_default();
        let kinds = profile.own();
        profile.clear();
        kinds
    }
}
