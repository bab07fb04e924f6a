//! A plan made ready to run: kernels with addresses resolved as far as they can be before a run.

use super::attend::AttendStep;
use super::convolution::ConvStep;
use super::fused;
use super::memory::{Bases, FIXED, Slot};
use super::single::SingleStep;
use crate::compiled::Leaves;
use crate::guard::stop_here;
use archc_compiler::lowered::{DimId, Lowered, Op};
use archc_compiler::plan::{Copy, Gemm, GemmDim, Kernel, LoopKernel, Port, Schedule, Scope, View, Work};
use archc_kernels::copy::copy_nd;
use archc_kernels::gemm::{self, Band, Banded, gemm, gemm_banded, gemm_batch};
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// What kernels read beside buffers.
pub(super) struct Context<'a> {
    pub graph: &'a Lowered,
    pub leaves: &'a Leaves,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// Where the loops around stand, for what is drawn at random.
    pub at: RefCell<Vec<(DimId, usize)>>,
    /// Scratch memory of fused loops.
    pub registers: *mut f32,
    /// Seconds spent by kind of kernel, if someone asks.
    pub profile: Option<&'a super::profile::Profile>,
    /// Loops and attends around.
    pub depth: Cell<usize>,
    /// In an attend: which pairs of its tile some row may see, by column - row, if not all.
    pub band: Cell<Option<Band>>,
    /// Other threads that may take a share; none inside of a share.
    pub workers: Option<&'a Workers>,
}

impl<'a> Context<'a> {
    /// The same for a thread that takes a share.
    fn shared(&self, registers: *mut f32, at: Vec<(DimId, usize)>, depth: usize) -> Self {
        Self {
            graph: self.graph,
            leaves: self.leaves,
            vocab: self.vocab,
            at: RefCell::new(at),
            registers,
            profile: None,
            depth: Cell::new(depth),
            band: Cell::new(None),
            workers: None,
        }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.workers.map_or(1, |w| w.rooms.len() + 1)
    }

    /// Runs f over shares of `count` indices, in multiples of `unit`, each on a thread of its own: f(indices, arena for bodies, context).
    /// The caller's thread takes the first share, with the arena given.
    ///
    /// # Safety
    /// Shares write to different places, whatever the order.
    pub unsafe fn share(
        &self,
        count: usize,
        unit: usize,
        bases: &Bases,
        arena: *mut f32,
        f: impl Fn(Range<usize>, *mut f32, &Bases, &Context<'_>) + Sync,
    ) {
        let units = count.div_ceil(unit);
        let threads = self.threads().min(units);
        let Some(workers) = self.workers.filter(|_| threads > 1) else {
            return f(0..count, arena, bases, self);
        };
        let range = |n: usize| (units * n / threads * unit).min(count)..(units * (n + 1) / threads * unit).min(count);
        let at = self.at.borrow().clone();
        let everything = Everything(bases, self);
        workers.pool.in_place_scope(|scope| {
            for (n, room) in workers.rooms.iter().enumerate().take(threads - 1) {
                let (f, range, everything, at) = (&f, range(n + 1), &everything, at.clone());
                scope.spawn(move |_| {
                    let Everything(bases, context) = everything;
                    f(range, room.arena, bases, &context.shared(room.registers, at, context.depth.get()));
                });
            }
            f(range(0), arena, bases, &self.shared(self.registers, at.clone(), self.depth.get()));
        });
    }
}

/// What threads see of a run.
struct Everything<'a, 'b>(&'a Bases, &'a Context<'b>);

// SAFETY: threads read the bases and what the context refers to; of its cells only the depth is read, by a copy at the start, while
// the caller's thread works on a context of its own
unsafe impl Sync for Everything<'_, '_> {}

/// Threads beside the caller's, each with memory of its own.
#[derive(Debug)]
pub(super) struct Workers {
    pub pool: rayon::ThreadPool,
    pub rooms: Vec<Room>,
}

/// Memory of a thread: an arena for the body of a loop or attend, and registers of fused loops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub arena: *mut f32,
    pub registers: *mut f32,
}

// SAFETY: each room is used by one thread at a time
unsafe impl Send for Room {}
// SAFETY: as above
unsafe impl Sync for Room {}

/// Operations that are worth waking another thread for.
pub(super) const WORTH: usize = 1 << 19;

/// Kernels in order.
#[derive(Clone, Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    /// Numbers of the largest arena of a body.
    pub bodies: usize,
    /// Registers that the largest fused loop needs.
    pub registers: usize,
}

/// A whole graph's kernels, and in which order they run where.
#[derive(Clone, Debug)]
pub(super) struct Launches {
    pub kernels: Program,
    /// Which kernel, and where its ports point.
    order: Vec<(usize, Vec<Slot>)>,
}

impl Launches {
    /// Prepares a plan.
    pub fn new(schedule: &Schedule, sizes: &[usize]) -> Self {
        let order = schedule.launches.iter().map(|l| (l.kernel, l.starts.iter().map(|s| (*s).into()).collect()));
        Self { kernels: Program::new(&schedule.kernels, sizes), order: order.collect() }
    }

    /// Runs everything from a launch on.
    ///
    /// # Safety
    /// As for [`Program::run`].
    pub unsafe fn run(&self, from: usize, bases: &Bases, context: &Context<'_>) {
        let mut inner = bases.clone();
        for (kernel, starts) in &self.order[from..] {
            stop_here();
            inner.0.truncate(FIXED);
            // SAFETY: the caller's contract
            unsafe {
                inner.0.extend(starts.iter().map(|s| bases.at(*s)));
                self.kernels.step(*kernel, &inner, context);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Gemm(Product),
    Fused(fused::Program),
    Copy(CopyStep),
    Conv(Box<ConvStep>),
    Single(Box<SingleStep>),
    Loop(Box<LoopStep>),
    Attend(Box<AttendStep>),
}

impl Program {
    /// Prepares kernels.
    pub fn new(kernels: &[Kernel], sizes: &[usize]) -> Self {
        let mut registers = 0;
        let mut bodies = 0;
        let mut steps = Vec::with_capacity(kernels.len());
        for Kernel { work, .. } in kernels {
            steps.push(match work {
                Work::Gemm(g) => Step::Gemm(Product::new(g)),
                Work::Fused(f) => {
                    let program = fused::prepare(f, sizes);
                    registers = registers.max(program.registers);
                    Step::Fused(program)
                }
                Work::Copy(c) => Step::Copy(CopyStep::new(c)),
                Work::Conv(c) => Step::Conv(Box::new(ConvStep::new(c))),
                Work::Single(s) => Step::Single(Box::new(SingleStep::new(s))),
                Work::Loop(l) => {
                    let step = LoopStep::new(l, sizes);
                    bodies = bodies.max(l.body.arena);
                    registers = registers.max(step.body.registers);
                    Step::Loop(Box::new(step))
                }
                Work::Attend(a) => {
                    let step = AttendStep::new(a, sizes);
                    bodies = bodies.max(a.body.arena);
                    registers = registers.max(step.registers());
                    Step::Attend(Box::new(step))
                }
            });
        }
        Self { steps, bodies, registers }
    }

    /// Runs all kernels.
    ///
    /// # Safety
    /// The bases are those of the plan, with leaves filled in, and nothing else uses them meanwhile.
    pub unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        for step in 0..self.steps.len() {
            // SAFETY: the caller's contract
            unsafe { self.step(step, bases, context) };
        }
    }

    unsafe fn step(&self, step: usize, bases: &Bases, context: &Context<'_>) {
        let step = &self.steps[step];
        let depth = context.depth.get();
        context.depth.set(depth + 1);
        let start = context.profile.map(|p| p.start());
        // SAFETY: the caller's contract
        unsafe {
            match step {
                Step::Gemm(product) => product.run(bases, context),
                Step::Fused(program) => program.share(bases, context),
                Step::Copy(copy) => copy.run(bases),
                Step::Conv(conv) => conv.run(bases, context),
                Step::Single(single) => single.run(bases, context),
                Step::Loop(l) => l.run(bases, context),
                Step::Attend(a) => a.run(bases, context),
            }
        }
        if let (Some(profile), Some(start)) = (context.profile, start) {
            let kind = match step {
                Step::Gemm(_) => "gemm",
                Step::Fused(_) => "fused",
                Step::Copy(_) => "copy",
                Step::Conv(_) => "conv",
                Step::Single(s) => s.name(),
                Step::Loop(_) => "loop",
                Step::Attend(_) => "attend",
            };
            profile.stop(kind, || step.detail(), depth > 0, start);
        }
        context.depth.set(depth);
    }
}

impl Step {
    /// What tells this step from others of its kind.
    fn detail(&self) -> String {
        match self {
            Self::Gemm(p) => {
                let g = &p.gemm;
                format!(
                    " {:?} x [{} {}] k {}, a {} {}, b {} {}, c {} {}{}",
                    g.batch,
                    g.m,
                    g.n,
                    g.k,
                    g.a.row,
                    g.a.col,
                    g.b.row,
                    g.b.col,
                    g.c.row,
                    g.c.col,
                    if g.accumulate { " +=" } else { "" }
                )
            }
            Self::Fused(f) => f.detail(),
            _ => String::new(),
        }
    }
}

/// Rows of a share of a product: whole tiles of every instruction set, so that no number is computed in another way.
const ROWS: usize = 168;

/// Rows of a last share that are so few that the kernels would sum them in another order.
const FEW: Range<usize> = 1..gemm::FEW;

/// What is in C counts so much.
fn beta(accumulate: bool) -> f32 {
    if accumulate { 1.0 } else { 0.0 }
}

/// Matrix products.
#[derive(Clone, Debug)]
struct Product {
    gemm: Gemm,
    a: Slot,
    b: Slot,
    c: Slot,
}

impl Product {
    fn new(gemm: &Gemm) -> Self {
        let slot = |m: &archc_compiler::plan::Matrix| Slot::new(m.base, m.offset);
        Self { a: slot(&gemm.a), b: slot(&gemm.b), c: slot(&gemm.c), gemm: gemm.clone() }
    }

    unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        // SAFETY: the plan's matrices lie inside of their buffers; shares have rows of their own
        unsafe {
            let g = &self.gemm;
            let plain = g.batch.is_empty() && g.sums.is_empty();
            let banded = self.banded(context).filter(|_| plain);
            let shared = context.workers.is_some() && g.flops() >= WORTH && plain && !FEW.contains(&(g.m % ROWS));
            if shared && banded.is_none() {
                return context.share(g.m, ROWS, bases, std::ptr::null_mut(), |rows, _, bases, _| {
                    let at = |slot, step: isize| bases.at(slot).offset(rows.start as isize * step);
                    let (a, b, c) = (at(self.a, g.a.row), bases.at(self.b), at(self.c, g.c.row));
                    let (ac, br, bc, cc) = (g.a.col, g.b.row, g.b.col, g.c.col);
                    gemm(rows.len(), g.n, g.k, 1.0, a, g.a.row, ac, b, br, bc, beta(g.accumulate), c, g.c.row, cc);
                });
            }
            let (a, b, c) = (bases.at(self.a), bases.at(self.b), bases.at(self.c));
            if plain {
                let (ac, br, bc, cc) = (g.a.col, g.b.row, g.b.col, g.c.col);
                return gemm_banded(
                    banded,
                    g.m,
                    g.n,
                    g.k,
                    a,
                    g.a.row,
                    ac,
                    b,
                    br,
                    bc,
                    beta(g.accumulate),
                    c,
                    g.c.row,
                    cc,
                );
            }
            self.sums(0, a, b, c, g.accumulate);
        }
    }

    /// Of which matrix only some pairs of a tile count.
    fn banded(&self, context: &Context<'_>) -> Option<Banded> {
        let (band, pairs) = (context.band.get()?, self.gemm.pairs?);
        match pairs {
            [GemmDim::M, GemmDim::N] => Some(Banded::Result(band)),
            [GemmDim::N, GemmDim::M] => Some(Banded::Result(band.transposed())),
            [GemmDim::M, GemmDim::K] => Some(Banded::Left(band)),
            [GemmDim::K, GemmDim::M] => Some(Banded::Left(band.transposed())),
            _ => None,
        }
    }

    /// Further sums from `level` on.
    unsafe fn sums(&self, level: usize, a: *const f32, b: *const f32, c: *mut f32, accumulate: bool) {
        // SAFETY: as for `run`
        unsafe {
            match self.gemm.sums.get(level) {
                None => self.batch(0, a, b, c, accumulate),
                Some(&(n, da, db)) => {
                    for i in 0..n as isize {
                        self.sums(level + 1, a.offset(i * da), b.offset(i * db), c, accumulate || i > 0);
                    }
                }
            }
        }
    }

    unsafe fn batch(&self, level: usize, a: *const f32, b: *const f32, c: *mut f32, accumulate: bool) {
        let g = &self.gemm;
        let beta = beta(accumulate);
        // SAFETY: as for `run`
        unsafe {
            match g.batch.len() - level {
                0 => gemm(g.m, g.n, g.k, 1.0, a, g.a.row, g.a.col, b, g.b.row, g.b.col, beta, c, g.c.row, g.c.col),
                1 => gemm_batch(
                    g.batch[level],
                    g.m,
                    g.n,
                    g.k,
                    1.0,
                    a,
                    g.a.batch[level],
                    g.a.row,
                    g.a.col,
                    b,
                    g.b.batch[level],
                    g.b.row,
                    g.b.col,
                    beta,
                    c,
                    g.c.batch[level],
                    g.c.row,
                    g.c.col,
                ),
                _ => {
                    for i in 0..g.batch[level] as isize {
                        self.batch(
                            level + 1,
                            a.offset(i * g.a.batch[level]),
                            b.offset(i * g.b.batch[level]),
                            c.offset(i * g.c.batch[level]),
                            accumulate,
                        );
                    }
                }
            }
        }
    }
}

/// A strided copy.
#[derive(Clone, Debug)]
struct CopyStep {
    to: Slot,
    from: Slot,
    sizes: Vec<usize>,
    to_strides: Vec<isize>,
    from_strides: Vec<isize>,
    fill: Option<(Slot, Vec<usize>, Vec<isize>, f32)>,
}

/// Sizes and strides of a view.
pub(super) fn layout(view: &View) -> (Vec<usize>, Vec<isize>) {
    (view.axes.iter().map(|a| a.size).collect(), view.axes.iter().map(|a| a.stride).collect())
}

impl CopyStep {
    fn new(copy: &Copy) -> Self {
        let (sizes, to_strides) = layout(&copy.to);
        let from_strides = copy.to.axes.iter().map(|a| copy.from.stride(a.dim)).collect();
        let fill = copy.fill.as_ref().map(|(view, x)| {
            let (sizes, strides) = layout(view);
            (Slot::of(view), sizes, strides, *x as f32)
        });
        Self { to: Slot::of(&copy.to), from: Slot::of(&copy.from), sizes, to_strides, from_strides, fill }
    }

    unsafe fn run(&self, bases: &Bases) {
        // SAFETY: the plan's views lie inside of their buffers
        unsafe {
            if let Some((slot, sizes, strides, x)) = &self.fill {
                copy_nd(bases.at(*slot), strides, x, &[0; archc_kernels::copy::DIMS][..sizes.len()], sizes);
            }
            copy_nd(bases.at(self.to), &self.to_strides, bases.at(self.from), &self.from_strides, &self.sizes);
        }
    }
}

/// A loop.
#[derive(Clone, Debug)]
struct LoopStep {
    kernel: LoopKernel,
    body: Program,
    /// Where ports point at first; none for those of states.
    ports: Vec<Option<Slot>>,
    arena: Slot,
    /// Whether something inside draws random numbers.
    random: bool,
    /// Of each state: where its initial value is, and the walks of the initial and final copies.
    states: Vec<StateStep>,
}

#[derive(Clone, Debug)]
struct StateStep {
    initial: Slot,
    sizes: Vec<usize>,
    dense: Vec<isize>,
    from: Vec<isize>,
    last: Option<(Slot, Vec<isize>)>,
}

/// Whether a scope draws random numbers.
fn draws(scope: &Scope) -> bool {
    scope.kernels.iter().any(|k| match &k.work {
        Work::Single(s) => matches!(s.op, Op::Dropout { .. }),
        Work::Loop(l) => draws(&l.body),
        _ => false,
    })
}

impl LoopStep {
    fn new(kernel: &LoopKernel, sizes: &[usize]) -> Self {
        let states = kernel.states.iter().map(|s| {
            let (state_sizes, dense) = layout(&s.view);
            let strides = |p: &Port| s.view.axes.iter().map(|a| p.outer.stride(a.dim)).collect();
            StateStep {
                initial: Slot::of(&s.initial.outer),
                sizes: state_sizes,
                dense,
                from: strides(&s.initial),
                last: s.last.as_ref().map(|p| (Slot::of(&p.outer), strides(p))),
            }
        });
        Self {
            body: Program::new(&kernel.body.kernels, sizes),
            ports: kernel.ports.iter().map(|p| p.as_ref().map(|p| Slot::of(&p.outer))).collect(),
            arena: kernel.arena.into(),
            random: draws(&kernel.body),
            states: states.collect(),
            kernel: kernel.clone(),
        }
    }

    unsafe fn run(&self, bases: &Bases, context: &Context<'_>) {
        let count: usize = self.kernel.map.iter().product();
        // SAFETY: the plan's views lie inside of their buffers; what mapped indices write is apart
        unsafe {
            context.share(count, 1, bases, bases.at(self.arena), |range, arena, bases, context| {
                self.indices(range, arena, bases, context);
            });
        }
    }

    /// Some of the mapped dimensions' indices.
    unsafe fn indices(&self, range: Range<usize>, scratch: *mut f32, bases: &Bases, context: &Context<'_>) {
        let k = &self.kernel;
        let mut inner = Bases(vec![std::ptr::null_mut(); FIXED + k.ports.len()]);
        inner.0[..FIXED].copy_from_slice(&bases.0[..FIXED]);
        // SAFETY: the plan's views lie inside of their buffers; ports stay within the views that they walk
        unsafe {
            inner.0[0] = scratch;
            let mut index = vec![0usize; k.map.len()];
            let mut rest = range.start;
            for (i, size) in index.iter_mut().zip(&k.map).rev() {
                *i = rest % size;
                rest /= size;
            }
            for _ in range {
                stop_here();
                let shift = |map: &[isize]| -> isize { map.iter().zip(&index).map(|(s, i)| s * *i as isize).sum() };
                for (p, (port, slot)) in k.ports.iter().zip(&self.ports).enumerate() {
                    if let (Some(port), Some(slot)) = (port, slot) {
                        let first = if k.reverse { (k.count as isize - 1) * port.over } else { 0 };
                        inner.0[FIXED + p] = bases.at(*slot).offset(shift(&port.map) + first);
                    }
                }
                for (slot, state) in k.states.iter().zip(&self.states) {
                    let [old, new] = slot.buffers.map(|b| scratch.add(b));
                    inner.0[FIXED + slot.ports[0]] = old;
                    inner.0[FIXED + slot.ports[1]] = new;
                    let from = bases.at(state.initial).offset(shift(&slot.initial.map));
                    copy_nd(old, &state.dense, from, &state.from, &state.sizes);
                }
                for n in 0..k.count {
                    let depth = context.at.borrow().len();
                    if self.random {
                        let mut at = context.at.borrow_mut();
                        at.extend(k.map_dims.iter().copied().zip(index.iter().copied()));
                        at.push((k.over, if k.reverse { k.count - 1 - n } else { n }));
                    }
                    self.body.run(&inner, context);
                    context.at.borrow_mut().truncate(depth);
                    for (p, port) in k.ports.iter().enumerate() {
                        if let Some(port) = port {
                            let step = if k.reverse { -port.over } else { port.over };
                            inner.0[FIXED + p] = inner.0[FIXED + p].wrapping_offset(step);
                        }
                    }
                    for slot in &k.states {
                        inner.0.swap(FIXED + slot.ports[0], FIXED + slot.ports[1]);
                    }
                }
                for (slot, state) in k.states.iter().zip(&self.states) {
                    if let (Some((to, strides)), Some(port)) = (&state.last, &slot.last) {
                        let to = bases.at(*to).offset(shift(&port.map));
                        copy_nd(to, strides, inner.0[FIXED + slot.ports[0]], &state.dense, &state.sizes);
                    }
                }
                for (i, size) in index.iter_mut().zip(&k.map).rev() {
                    *i += 1;
                    if *i < *size {
                        break;
                    }
                    *i = 0;
                }
            }
        }
    }
}
