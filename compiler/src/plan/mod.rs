//! The plan: a lowered or joint graph at one batch shape as a list of kernels over buffers, which every device executes.
//!
//! `plan` decides, in this order:
//! - which values are only aliases of elements that are in memory already ([`View`]: renames, picks, cuts, chunks of an
//!   even sequence), and which are the same at every call (constants: computed once, by `constants`);
//! - which contractions are matrix products ([`Gemm`]) and which are better summed element by element;
//! - which element-wise ops, broadcasts and sums run as one loop ([`Fused`]): an op joins the loop of its operands if that makes
//!   no cycle and the loop's iteration space gains no dimension that no member has;
//! - where results go: into a matrix product that accumulates, into the part of a stack or the emit of a loop
//!   that they are copied to anyway, or into the arena, where buffers that are never alive together share memory;
//! - which kernels are equal but for their addresses ([`Schedule`]): repeated layers stay rolled.
//!
//! A training step ends with the update: the norm of all gradients, then a kernel for each parameter's update.
//!
//! A loop ([`LoopKernel`]) and an attend have plans of their own for their bodies ([`Scope`]), whose views reach the outside
//! through ports: base pointers that move with the loop. Those plans are the cpu's; the body itself stays beside them as a DAG with its
//! ports ([`Definition`]), from which another device makes kernels of its own.
//!
//! Invariants (checked by [`verify()`], once a compile):
//! - a kernel reads its operands only, whose element types it knows: leaves ([`Leaf`]) are operands as well;
//! - every view and matrix lies inside its buffer; through a port a body accesses only what the port covers, at every mapped index
//!   and iteration;
//! - the ops of a fused loop read earlier ones, and have no dimension that the loop lacks;
//! - the pairs of a product are the rows and columns of its attend's tile;
//! - every panel of an attend has a port of its own, and room for all its tiles; a transposed one has the tokens last;
//! - the body that a loop or an attend computes ([`Definition`]) reads what its ports hold.
//!
//! By construction, and held by the tests of devices: axes of a view are in canonical order; an operand was written by an earlier kernel,
//! is a leaf, a parameter, a constant, or comes through a port; two buffers of an arena that are alive at the same time do not overlap.
//!
//! The smallest example, `block Twice[D] { input x[D] output x + x }` and its gradient at B = 2, T = 3, D = 4, prints as
//! ```text
//! plan Twice  B=2 T=3: 1 kernel in 2 places, arena 512 bytes, constants 0 bytes, parameters 0
//!   leaf input            -> a0 [2, 3, 4]
//!   leaf cotangent        -> a64 [2, 3, 4]
//!    1  fused [2, 3, 4]: 1 in, 1 out, 1 op, 192 bytes                output
//!    1  fused [2, 3, 4]: 1 in, 1 out, 1 op, 192 bytes                output
//! ```

mod build;
mod constants;
mod contraction;
mod convolution;
mod cpu;
mod fuse;
mod fused;
mod group;
mod kernel;
mod kernels;
mod leaf;
mod memory;
mod places;
mod planner;
mod print;
mod roll;
mod scope;
mod update;
mod verify;
mod view;
mod work;

pub use work::Counts;

pub use build::plan;
pub use cpu::{AttendGradKernel, AttendKernel, TileEmit, TilePort, TileSum};
pub use kernel::{
    AdamW, Conv, ConvWork, Copy, Definition, Fold, Fused, FusedOp, Gemm, GemmDim, Instr, Kernel, LoopKernel, Matrix,
    Norm, Port, Scope, Single, StateSlot, Work,
};
pub use leaf::Leaf;
pub use print::print;
pub use verify::verify;
pub use view::{Axis, Base, Element, Start, View};

use crate::graph::ParamId;
use crate::lowered::{Lowered, Shape, ValueId};
use std::sync::Arc;

/// An executable plan; see the module's essay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The planned graph.
    pub graph: Arc<Lowered>,
    /// Batch shape.
    pub shape: Shape,
    /// Length of each dimension, by number.
    pub sizes: Vec<usize>,
    /// Kernels run once, when the session is made: results in [`Base::Constants`].
    pub constants: Scope,
    /// Length of all constants, in f32 elements.
    pub constants_len: usize,
    /// Length of the launch prefix that depends on parameters only: its results stay valid for later calls as long as parameters do not
    /// change.
    pub prepared: usize,
    /// Kernels and launches run at every call.
    pub root: Schedule,
    /// Leaves that the caller fills in before a run, contiguously, and their views. Kernels read nothing else from outside.
    pub leaves: Vec<(Leaf, View)>,
    /// Offset of each parameter in [`Base::Params`], and of its gradient in [`Base::Grads`]; checkpoint layout.
    pub params: Vec<usize>,
    /// Length of all parameters, in f32 elements.
    pub params_len: usize,
    /// Views of the values that the outside reads after a run. Parameter gradients are in [`Base::Grads`]; parameters without a gradient
    /// are not in `graph.param_grads`, and their elements there are not written.
    pub results: Vec<(ValueId, View)>,
    /// Training: view of the norm of all gradients after a run, a scalar of f64. The last kernels update the parameters.
    pub norm: Option<View>,
}

/// The distinct kernels of a graph, and their launches in order. Repeated layers launch the same kernels with other weights and buffers as
/// arguments.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// Distinct kernels. Their operands start at ports ([`Base::Port`]), numbered in the order of [`Launch::starts`].
    pub kernels: Vec<Kernel>,
    /// Launches in order of execution.
    pub launches: Vec<Launch>,
    /// Size of the arena ([`Base::Scratch`]) in bytes.
    pub arena: usize,
}

/// One run of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Index of the kernel.
    pub kernel: usize,
    /// Starts of its operands.
    pub starts: Vec<Start>,
}

impl Plan {
    /// Offset of a parameter's gradient, if it has one.
    pub fn gradient(&self, param: ParamId) -> Option<usize> {
        self.graph.param_grads.iter().any(|g| g.0 == param).then(|| self.params[param.0 as usize])
    }

    /// Bytes that a device holds for this plan on one thread, parameters and moments included.
    pub fn bytes(&self) -> usize {
        self.root.arena + Element::F32.bytes() * (self.constants_len + 4 * self.params_len)
    }

    /// Number of different kernels and of launches, those of loop bodies counted once.
    pub fn kernel_count(&self) -> (usize, usize) {
        fn count(kernel: &Kernel) -> usize {
            let scope = |s: &Scope| s.kernels.iter().map(count).sum();
            1 + match &kernel.work {
                Work::Loop(l) => scope(&l.body),
                Work::Attend(a) => scope(&a.body) + a.grad.as_ref().map_or(0, |g| scope(&g.after)),
                _ => 0,
            }
        }
        let each: Vec<usize> = self.root.kernels.iter().map(count).collect();
        (each.iter().sum(), self.root.launches.iter().map(|l| each[l.kernel]).sum())
    }
}
