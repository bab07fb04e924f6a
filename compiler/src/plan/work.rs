//! Predicted time of a plan's step, in units of one multiplication or addition of a large matrix product.
//!
//! A plan contains costs that a count of FLOPs does not: a scan without a parallel form runs token by token, each in small kernels;
//! element-wise ops move elements for little arithmetic; every launch costs something. The weights are a least-squares fit to the cpu
//! device's training steps, in relative errors: 58 mixers of the library and 40 programs that searches made, in the standard stack at D =
//! 32, eight sequences of 32 and of 64 tokens, times over the machine's own rate (`archc bench train --json` prints both). Fitted on one
//! half of the programs, the logarithms of prediction and time of the other half correlate by 0.95 and differ by 14 %; those of FLOPs and
//! time by 0.78 and 33 %. The prediction is a function of the plan alone, so it is the same on every machine.

use super::{AttendKernel, ConvWork, Fused, FusedOp, Gemm, Kernel, Launch, Plan, Scope, Single, View, Work};
use crate::graph::BinaryOp;
use crate::lowered::{DimId, Op};
use crate::ops::Trait;

/// Amounts of work in one run of a plan, by kinds of equal cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Multiplications and additions of matrix products.
    pub product: f64,
    /// Elements of their operands that are packed.
    pub packed: f64,
    /// Elements processed by element-wise ops that a processor has an instruction for.
    pub plain: f64,
    /// Elements processed by the others (exp, tanh, a logarithm, a power).
    pub functions: f64,
    /// Elements read or written by a fused loop or a copy.
    pub moved: f64,
    /// Taps of convolutions, for each element.
    pub taps: f64,
    /// Elements of ops with a dedicated kernel.
    pub singles: f64,
    /// Multiplications and additions of triangular solves.
    pub solved: f64,
    /// Pairs of tokens with a decay for each channel, times the number of these channels.
    pub decays: f64,
    /// Launches of kernels outside of loops and attends.
    pub launches: f64,
    /// Launches of kernels inside of them.
    pub inner: f64,
}

impl Counts {
    /// Each kind: its name, its count, and the cost of one.
    pub fn kinds(&self) -> [(&'static str, f64, f64); 11] {
        let Self { product, packed, plain, functions, moved, taps, singles, solved, decays, launches, inner } = *self;
        [
            ("product", product, 1.0),
            ("packed", packed, 24.0),
            ("plain", plain, 18.0),
            ("functions", functions, 64.0),
            ("moved", moved, 1.0),
            ("taps", taps, 30.0),
            ("singles", singles, 72.0),
            ("solved", solved, 7.0),
            ("decays", decays, 13.0),
            ("launches", launches, 120_000.0),
            ("inner", inner, 5_000.0),
        ]
    }

    fn map(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            product: f(self.product, other.product),
            packed: f(self.packed, other.packed),
            plain: f(self.plain, other.plain),
            functions: f(self.functions, other.functions),
            moved: f(self.moved, other.moved),
            taps: f(self.taps, other.taps),
            singles: f(self.singles, other.singles),
            solved: f(self.solved, other.solved),
            decays: f(self.decays, other.decays),
            launches: f(self.launches, other.launches),
            inner: f(self.inner, other.inner),
        }
    }

    fn times(self, count: f64) -> Self {
        self.map(self, |a, _| a * count)
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.map(other, |a, b| a + b)
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| a + b)
    }
}

impl Plan {
    /// Predicted work of one run. Constants and prepared kernels, which depend on parameters only, are left out.
    pub fn work(&self) -> f64 {
        self.counts().kinds().iter().map(|(_, count, weight)| count * weight).sum()
    }

    /// Amounts of which the work is the weighted sum.
    pub fn counts(&self) -> Counts {
        // the update is the same for all programs of a size
        let update = |launch: &&Launch| matches!(self.root.kernels[launch.kernel].work, Work::Norm(_) | Work::AdamW(_));
        let launches = self.root.launches.iter().skip(self.prepared).filter(|launch| !update(launch));
        let one = Counts { launches: 1.0, ..Counts::default() };
        launches.map(|launch| one + self.kernel(&self.root.kernels[launch.kernel])).sum()
    }

    /// Counts of a body.
    fn scope(&self, scope: &Scope) -> Counts {
        let one = Counts { inner: 1.0, ..Counts::default() };
        scope.kernels.iter().map(|kernel| one + self.kernel(kernel)).sum()
    }

    fn kernel(&self, kernel: &Kernel) -> Counts {
        let none = Counts::default();
        match &kernel.work {
            Work::Gemm(gemm) => product(gemm),
            Work::Fused(fused) => self.fused(fused),
            Work::Copy(copy) => {
                Counts { moved: numbers(&copy.to) * if copy.fill.is_some() { 2.0 } else { 1.0 }, ..none }
            }
            Work::Conv(conv) => {
                let value = match conv.work {
                    ConvWork::Forward | ConvWork::Backward => conv.y.as_ref().map_or(0.0, numbers),
                    ConvWork::Filter => numbers(&conv.x),
                };
                let taps = conv.filter.size(conv.window);
                Counts { taps: value * taps as f64, ..none }
            }
            Work::Single(single) => self.single(single),
            Work::Loop(body) => {
                let rounds = body.count as f64 * body.map.iter().product::<usize>() as f64;
                self.scope(&body.body).times(rounds)
            }
            Work::Attend(attend) => self.attend(attend),
            Work::Norm(_) | Work::AdamW(_) => none,
        }
    }

    /// Counts of a fused loop: every op over its own dimensions.
    fn fused(&self, fused: &Fused) -> Counts {
        let none = Counts::default();
        let space = |dims: &[DimId]| dims.iter().map(|d| self.sizes[d.0 as usize] as f64).product::<f64>();
        let ops: Counts = fused
            .code
            .iter()
            .map(|instr| {
                let here = space(&instr.dims);
                let (plain_op, function) = (Counts { plain: here, ..none }, Counts { functions: here, ..none });
                match &instr.op {
                    FusedOp::Input(_) => Counts { moved: here, ..none },
                    FusedOp::Number(_) => none,
                    FusedOp::Unary(op, _) if op.is(Trait::Native) => plain_op,
                    FusedOp::Unary(..) | FusedOp::Binary(BinaryOp::Pow, ..) => function,
                    FusedOp::Binary(..) | FusedOp::Select(..) => plain_op,
                    // A fold passes over its operand.
                    FusedOp::Fold(_, operand) => Counts { plain: space(&fused.code[*operand].dims), ..none },
                }
            })
            .sum();
        ops + Counts { moved: fused.outputs.iter().map(|(_, view)| numbers(view)).sum::<f64>(), ..none }
    }

    fn single(&self, single: &Single) -> Counts {
        let (size, none) = (|dim: &DimId| self.sizes[dim.0 as usize] as f64, Counts::default());
        let written = numbers(&single.output);
        match &single.op {
            Op::SolveUnitLower { rows, .. } => Counts { solved: written * size(rows), ..none },
            Op::DecayDot { over, .. } => Counts { decays: written * size(over), ..none },
            Op::DecayDotGrad { pairs, .. } => Counts { decays: written * size(&pairs.cols), ..none },
            _ => Counts { singles: single.inputs.iter().map(numbers).fold(written, f64::max), ..none },
        }
    }

    /// Counts of an attend: each tile that may be visible, for each index of the mapped dimensions.
    fn attend(&self, attend: &AttendKernel) -> Counts {
        let rows = attend.rows.div_ceil(attend.tile_rows.max(1)) as f64;
        let cols = attend.cols.div_ceil(attend.tile_cols.max(1)) as f64;
        // Only the past is visible, and of it only what is in reach.
        let reach = attend.reach.1.map_or(cols, |far| (far as f64 / attend.tile_cols.max(1) as f64 + 1.0).min(cols));
        let tiles = rows * reach.min((cols + 1.0) / 2.0);
        let body = self.scope(&attend.body) + attend.grad.as_ref().map_or(Counts::default(), |g| self.scope(&g.after));
        let pairs = (attend.tile_rows * attend.tile_cols) as f64;
        // The last tile of a short sequence is not whole.
        let share = (attend.rows as f64 / attend.tile_rows as f64).min(1.0)
            * (attend.cols as f64 / attend.tile_cols as f64).min(1.0);
        let softmax = Counts { functions: if attend.softmax { pairs } else { 0.0 }, moved: pairs, ..Counts::default() };
        (body + softmax).times(attend.map.iter().product::<usize>() as f64 * tiles * share)
    }
}

fn numbers(view: &View) -> f64 {
    view.axes.iter().map(|axis| axis.size as f64).product()
}

fn product(gemm: &Gemm) -> Counts {
    let batch = gemm.batch.iter().product::<usize>() as f64;
    let packed = batch * (gemm.m * gemm.k + gemm.k * gemm.n) as f64;
    Counts { product: gemm.flops() as f64, packed, ..Counts::default() }
}
