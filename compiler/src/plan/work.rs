//! How much a plan has to do: a prediction of a step's time, in units of one multiplication or addition of a matrix product.
//!
//! A plan knows what a count of FLOPs does not: that a scan without a parallel form runs token by token, each in small kernels; that
//! element-wise ops move numbers for little arithmetic; that every launch costs something. The weights below are what these cost on
//! the cpu device beside a product of the sizes that models of a search have, rounded; a device may be faster at all of it without
//! changing the order of programs. It is a function of the plan alone, so it is the same on every machine.

use super::{AttendKernel, ConvWork, Fused, FusedOp, Gemm, Kernel, Plan, Scope, View, Work};
use crate::graph::{BinaryOp, UnaryOp};

/// Of a number that passes through an element-wise op.
const OP: f64 = 1.5;
/// Of one whose op is a function of the library (exp, tanh, a logarithm, a power).
const FUNCTION: f64 = 10.0;
/// Of a number that is read or written by a fused loop or a copy.
const MOVE: f64 = 1.0;
/// Of a tap of a convolution, for each number.
const TAP: f64 = 3.0;
/// Of a number of an op with a kernel of its own.
const SINGLE: f64 = 12.0;
/// Of a kernel that begins.
const LAUNCH: f64 = 400.0;
/// Of a product too small to reach the rate of large ones: numbers of A and B that are packed for each multiplication saved.
const PACK: f64 = 6.0;

impl Plan {
    /// Predicted work of one run, in multiplications and additions of products. Constants and what parameters alone decide are left
    /// out.
    pub fn work(&self) -> f64 {
        let launches = self.root.launches.iter().skip(self.prepared);
        launches.map(|launch| self.kernel(&self.root.kernels[launch.kernel])).sum()
    }

    fn scope(&self, scope: &Scope) -> f64 {
        scope.kernels.iter().map(|kernel| self.kernel(kernel)).sum()
    }

    fn kernel(&self, kernel: &Kernel) -> f64 {
        LAUNCH
            + match &kernel.work {
                Work::Gemm(gemm) => product(gemm),
                Work::Fused(fused) => self.fused(fused),
                Work::Copy(copy) => MOVE * numbers(&copy.to) * if copy.fill.is_some() { 2.0 } else { 1.0 },
                Work::Conv(conv) => {
                    let value = match conv.work {
                        ConvWork::Forward | ConvWork::Backward => conv.y.as_ref().map_or(0.0, numbers),
                        ConvWork::Filter => numbers(&conv.x),
                    };
                    let taps = conv.filter.axes.iter().find(|axis| axis.dim == conv.window).map_or(1, |axis| axis.size);
                    TAP * value * taps as f64
                }
                Work::Single(single) => {
                    SINGLE * single.inputs.iter().map(numbers).fold(numbers(&single.output), f64::max)
                }
                Work::Loop(body) => {
                    let rounds = body.count as f64 * body.map.iter().product::<usize>() as f64;
                    rounds * self.scope(&body.body)
                }
                Work::Attend(attend) => self.attend(attend),
            }
    }

    /// Every op over the part of the loop's space that it has.
    fn fused(&self, fused: &Fused) -> f64 {
        let space =
            |dims: &[crate::lowered::DimId]| dims.iter().map(|d| self.sizes[d.0 as usize] as f64).product::<f64>();
        let ops: f64 = fused
            .code
            .iter()
            .map(|instr| match &instr.op {
                FusedOp::Input(_) => MOVE * space(&instr.dims),
                FusedOp::Number(_) => 0.0,
                FusedOp::Unary(op, _) => space(&instr.dims) * if plain(*op) { OP } else { FUNCTION },
                FusedOp::Binary(BinaryOp::Pow, ..) => space(&instr.dims) * FUNCTION,
                FusedOp::Binary(..) | FusedOp::Select(..) => space(&instr.dims) * OP,
                // A fold passes over what it sums.
                FusedOp::Fold(_, operand) => space(&fused.code[*operand].dims) * OP,
            })
            .sum();
        ops + MOVE * fused.outputs.iter().map(|(_, view)| numbers(view)).sum::<f64>()
    }

    /// Each tile that may be seen, for each index of the mapped dimensions.
    fn attend(&self, attend: &AttendKernel) -> f64 {
        let rows = attend.rows.div_ceil(attend.tile_rows.max(1)) as f64;
        let cols = attend.cols.div_ceil(attend.tile_cols.max(1)) as f64;
        // The past alone is visible, and of it what is in reach.
        let reach = attend.reach.1.map_or(cols, |far| (far as f64 / attend.tile_cols.max(1) as f64 + 1.0).min(cols));
        let tiles = rows * reach.min((cols + 1.0) / 2.0);
        let body = self.scope(&attend.body) + attend.grad.as_ref().map_or(0.0, |grad| self.scope(&grad.after));
        let pairs = (attend.tile_rows * attend.tile_cols) as f64;
        let softmax = if attend.softmax { FUNCTION * pairs } else { 0.0 };
        attend.map.iter().product::<usize>() as f64 * tiles * (body + softmax + MOVE * pairs)
    }
}

fn numbers(view: &View) -> f64 {
    view.axes.iter().map(|axis| axis.size as f64).product()
}

fn product(gemm: &Gemm) -> f64 {
    let batch = gemm.batch.iter().product::<usize>() as f64;
    gemm.flops() as f64 + PACK * batch * (gemm.m * gemm.k + gemm.k * gemm.n) as f64
}

/// Ops that a processor has an instruction for.
fn plain(op: UnaryOp) -> bool {
    use UnaryOp::{Abs, Floor, Neg, Powi, Relu, Rsqrt, Sign, Sqrt};
    matches!(op, Neg | Abs | Sign | Floor | Sqrt | Rsqrt | Relu | Powi(_))
}
