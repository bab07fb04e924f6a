//! A plan prepared for running: kernels with addresses resolved as far as possible before a run.

use super::attend::AttendStep;
use super::context::Context;
use super::convolution::ConvStep;
use super::fused;
use super::loops::LoopStep;
use super::memory::{Bases, FIXED, Slot, elements, layout};
use super::product::Product;
use super::single::SingleStep;
use super::update::{AdamWStep, NormStep};
use crate::guard::stop_here;
use archc_compiler::plan::{Copy, Kernel, Schedule, Work};
use archc_kernels::copy::copy_nd;

/// Prepared kernels, in order.
#[derive(Clone, Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    /// Size of the largest arena of a body, in elements.
    pub bodies: usize,
    /// Size of the registers of the largest fused loop, in elements.
    pub registers: usize,
}

/// The kernels of a whole graph, and the launches that run them.
#[derive(Clone, Debug)]
pub(super) struct Launches {
    pub kernels: Program,
    /// The index of the kernel and the slots of its ports, for each launch.
    order: Vec<(usize, Vec<Slot>)>,
}

impl Launches {
    /// Prepares a plan.
    pub fn new(schedule: &Schedule, sizes: &[usize]) -> Self {
        let order = schedule.launches.iter().map(|l| (l.kernel, l.starts.iter().map(|s| (*s).into()).collect()));
        Self { kernels: Program::new(&schedule.kernels, sizes), order: order.collect() }
    }

    /// Runs all launches from index `from` on.
    ///
    /// # Safety
    /// As for [`Program::run`].
    pub unsafe fn run(&self, from: usize, bases: &Bases, context: &Context<'_>) {
        let mut inner = bases.clone();
        for launch in from..self.order.len() {
            stop_here();
            // SAFETY: the caller's contract
            unsafe { self.step(launch, bases, &mut inner, context) };
        }
    }

    /// Runs one launch.
    ///
    /// # Safety
    /// As for [`Program::run`].
    #[cfg(test)]
    pub unsafe fn launch(&self, launch: usize, bases: &Bases, context: &Context<'_>) {
        // SAFETY: the caller's contract
        unsafe { self.step(launch, bases, &mut bases.clone(), context) };
    }

    unsafe fn step(&self, launch: usize, bases: &Bases, inner: &mut Bases, context: &Context<'_>) {
        let (kernel, starts) = &self.order[launch];
        inner.0.truncate(FIXED);
        // SAFETY: the caller's contract
        unsafe {
            inner.0.extend(starts.iter().map(|s| bases.at(*s)));
            self.kernels.step(*kernel, inner, context);
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
    Norm(NormStep),
    AdamW(AdamWStep),
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
                Work::Norm(n) => Step::Norm(NormStep::new(n)),
                Work::AdamW(a) => Step::AdamW(AdamWStep::new(a)),
                Work::Single(s) => Step::Single(Box::new(SingleStep::new(s))),
                Work::Loop(l) => {
                    let step = LoopStep::new(l, sizes);
                    bodies = bodies.max(elements(l.body.arena));
                    registers = registers.max(step.body.registers);
                    Step::Loop(Box::new(step))
                }
                Work::Attend(a) => {
                    let step = AttendStep::new(a, sizes);
                    bodies = bodies.max(elements(a.body.arena));
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
    /// The bases are those of the plan, with leaves filled in, and nothing else accesses them during the call.
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
                Step::Conv(conv) => conv.run(bases),
                Step::Single(single) => single.run(bases),
                Step::Loop(l) => l.run(bases, context),
                Step::Attend(a) => a.run(bases, context),
                Step::Norm(norm) => norm.run(bases),
                Step::AdamW(update) => update.run(bases),
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
                Step::Norm(_) | Step::AdamW(_) => "optimizer",
            };
            profile.stop(kind, || step.detail(), depth > 0, start);
        }
        context.depth.set(depth);
    }
}

impl Step {
    /// A text that distinguishes this step from others of its kind, for profiles.
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
