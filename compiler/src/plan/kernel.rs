//! Kernels of a plan: their operations, and the views they work on.
//!
//! `S` is the type of an operand's start: a `Place` while a scope is planned, a [`Start`] once its memory is laid out.

use super::cpu::AttendKernel;
use super::{Axis, Element, Start, View};
use crate::graph::{BinaryOp, UnaryOp};
use crate::lowered::{DimId, Op};
use std::sync::Arc;

/// Ordered kernels over one arena.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Kernels in order of execution.
    pub kernels: Vec<Kernel>,
    /// Size of the arena ([`super::Base::Scratch`]) in bytes.
    pub arena: usize,
}

/// A kernel with the values that it makes.
#[derive(Clone, Debug)]
pub struct Kernel<S = Start> {
    /// The operation.
    pub work: Work<S>,
    /// Names of the values it computes, for printing.
    pub name: String,
}

/// Compares the operations; names are ignored.
impl<S: PartialEq> PartialEq for Kernel<S> {
    fn eq(&self, other: &Self) -> bool {
        self.work == other.work
    }
}

/// Operation of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Work<S = Start> {
    /// Matrix products.
    Gemm(Gemm<S>),
    /// Element-wise ops and sums.
    Fused(Fused<S>),
    /// Copies, with a fill value where the source has no elements.
    Copy(Copy<S>),
    /// Depthwise convolution over time, its transpose, or its filter's gradient.
    Conv(Conv<S>),
    /// An op with a dedicated kernel.
    Single(Single<S>),
    /// A loop.
    Loop(Box<LoopKernel<S>>),
    /// An attend or its gradient.
    Attend(Box<AttendKernel<S>>),
    /// The norm of all gradients.
    Norm(Norm<S>),
    /// Update of a parameter by its gradient.
    AdamW(Box<AdamW<S>>),
}

/// C = (C +) A B for each index of the batch. Strides in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm<S = Start> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Further contracted dimensions, if they do not form one run: length, strides in A and B.
    pub sums: Vec<(usize, isize, isize)>,
    /// Left operand, with its strides along rows and columns.
    pub a: Matrix<S>,
    /// Right operand.
    pub b: Matrix<S>,
    /// Result.
    pub c: Matrix<S>,
    /// Lengths of the batch, outermost first; each matrix has as many batch strides.
    pub batch: Vec<usize>,
    /// Whether the product is added to C.
    pub accumulate: bool,
    /// In an attend: the dimensions of the product that are the rows and the columns of the tile, if two of them are. Invisible pairs may
    /// be left out: as results they are not read, as operands they are 0.
    pub pairs: Option<[GemmDim; 2]>,
}

/// A dimension of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GemmDim {
    /// Rows of A and C.
    M,
    /// Columns of B and C.
    N,
    /// The contracted dimension.
    K,
}

/// A matrix in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<S = Start> {
    /// Start of its first element.
    pub start: S,
    /// Stride along rows, in elements.
    pub row: isize,
    /// Stride along columns, in elements.
    pub col: isize,
    /// Strides along the batch, in elements.
    pub batch: Vec<isize>,
}

/// Element-wise ops and sums in one pass over an iteration space.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused<S = Start> {
    /// Iteration space, in canonical order.
    pub dims: Vec<DimId>,
    /// Views that are read.
    pub inputs: Vec<View<S>>,
    /// Ops in order; operands are indices of earlier ones.
    pub code: Vec<Instr>,
    /// Views that are written: op, destination. Along dimensions that only the destination has, the value is repeated.
    pub outputs: Vec<(usize, View<S>)>,
}

/// An op of a fused loop, over some of its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Instr {
    /// The operation.
    pub op: FusedOp,
    /// Dimensions of its value, in canonical order. Operands with fewer are broadcast.
    pub dims: Vec<DimId>,
}

/// Reductions over dimensions inside of a fused loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
}

/// Operation of an [`Instr`]; operands are indices of earlier ops.
#[derive(Clone, Debug)]
pub enum FusedOp {
    /// Input of the kernel, by number.
    Input(usize),
    /// A constant.
    Number(f64),
    /// An op of one operand.
    Unary(UnaryOp, usize),
    /// An op of two operands.
    Binary(BinaryOp, usize, usize),
    /// Selection: condition, then, else.
    Select(usize, usize, usize),
    /// Reduction over the dimensions that the operand has and the result lacks.
    Fold(Fold, usize),
}

/// Equality to the last bit: 0 and -0 differ.
impl PartialEq for FusedOp {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Input(a), Self::Input(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a.to_bits() == b.to_bits(),
            (Self::Unary(f, a), Self::Unary(g, b)) => (f, a) == (g, b),
            (Self::Binary(f, a, b), Self::Binary(g, c, d)) => (f, a, b) == (g, c, d),
            (Self::Select(a, b, c), Self::Select(d, e, f)) => (a, b, c) == (d, e, f),
            (Self::Fold(f, a), Self::Fold(g, b)) => (f, a) == (g, b),
            _ => false,
        }
    }
}

/// A copy of `from` to `to`, after `fill` if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy<S = Start> {
    /// Source; its axes are those of `to`, some with stride 0.
    pub from: View<S>,
    /// Destination.
    pub to: View<S>,
    /// View of the whole buffer to be filled first, and the fill value.
    pub fill: Option<(View<S>, f64)>,
}

/// Variants of a convolution kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvWork {
    /// y_t = (y_t +) sum_w f_w x_{t - w step}
    Forward,
    /// dx_t = (dx_t +) sum_w f_w dy_{t + w step}
    Backward,
    /// df_w = sum over b, t of dy_t x_{t - w step}
    Filter,
}

/// A depthwise convolution, see [`ConvWork`]. Token values are `[B, T, channels]`, taps `[W, channels]`; channel axes in canonical order,
/// taps broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv<S = Start> {
    /// Variant of the convolution.
    pub work: ConvWork,
    /// x, or dy for the transpose.
    pub x: View<S>,
    /// dy, for the filter's gradient only.
    pub dy: Option<View<S>>,
    /// The filter `[W, ..]` that is read, or its gradient that is written. Axes: W and some of the channels.
    pub filter: View<S>,
    /// Result of the forward convolution and the transpose.
    pub y: Option<View<S>>,
    /// Dimension of the window.
    pub window: DimId,
    /// First tap of the window that the filter covers (a picked entry is a filter of one tap).
    pub first: usize,
    /// Stride of the taps, in tokens.
    pub step: usize,
    /// [`super::Leaf::Positions`], `[B, T]` of u32.
    pub pos: View<S>,
    /// Last tokens before the piece, `[B, tail, ..]`, for decoding.
    pub carried: Option<View<S>>,
    /// Whether the result is added to the destination.
    pub accumulate: bool,
}

/// An op with a dedicated kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Single<S = Start> {
    /// The op.
    pub op: Op,
    /// Operands in order, then the further leaves that the op reads: see [`super::Leaf`].
    pub inputs: Vec<View<S>>,
    /// Result.
    pub output: View<S>,
}

/// L2 norm of several gradients together. Squares are summed in f64, gradient by gradient in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm<S = Start> {
    /// Gradients, each without gaps.
    pub gradients: Vec<View<S>>,
    /// Destination, a scalar of f64.
    pub norm: View<S>,
}

/// An update of a parameter by AdamW (arXiv 1711.05101), after its gradient is scaled so that the norm of all gradients is at most the
/// rule's limit. Nothing changes if objective, norm or learning rate is not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW<S = Start> {
    /// The parameter, without gaps.
    pub param: View<S>,
    /// Gradient of the parameter, in the same order.
    pub gradient: View<S>,
    /// Running mean of the gradient, in the same order.
    pub first: View<S>,
    /// Running mean of the gradient's square, in the same order.
    pub second: View<S>,
    /// Whether weight decay applies.
    pub decays: bool,
    /// [`super::Leaf::Rule`].
    pub rule: View<S>,
    /// The objective, a scalar.
    pub objective: View<S>,
    /// The norm of all gradients, a scalar, f64.
    pub norm: View<S>,
}

/// A port of a loop, and its motion.
#[derive(Clone, Debug, PartialEq)]
pub struct Port<S = Start> {
    /// View at the first iteration, in the outer scope.
    pub outer: View<S>,
    /// Stride along each mapped dimension, in elements.
    pub map: Vec<isize>,
    /// Stride along iterations, in elements.
    pub over: isize,
}

/// A state of a loop kernel. Its two buffers are in the body's arena and swap roles after each iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSlot<S = Start> {
    /// Number of elements.
    pub len: usize,
    /// The two buffers in the body's arena.
    pub buffers: [Start; 2],
    /// Ports through which the body reads the old value and writes the new one.
    pub ports: [usize; 2],
    /// Initial value in the outer scope: mapped axes and the state's own, with strides along `map`.
    pub initial: Port<S>,
    /// Axes of the state in a buffer (base: the old port).
    pub view: View,
    /// Destination of the final value, if it is read.
    pub last: Option<Port<S>>,
}

/// The op that a kernel computes, for a device that makes kernels of its own from the op's body. It is determined by the other parts of the
/// kernel, up to names of dimensions, and equal to any other.
#[derive(Clone, Debug)]
pub struct Definition {
    /// A loop, an attend or its gradient, with the body as a DAG. Its dimensions are those of the first launch.
    pub op: Op,
    /// Operands of the body, each with the number of the kernel's port that holds it. States and what the kernel itself makes (weights, lags)
    /// are named by its other fields.
    pub reads: Vec<(Op, usize)>,
    /// Emits that are read outside, by number: each with the number of a loop's port, or in the order of an attend's emits or sums.
    pub emits: Vec<(usize, usize)>,
}

impl PartialEq for Definition {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A loop over `count` iterations for each index of the mapped dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopKernel<S = Start> {
    /// Number of iterations.
    pub count: usize,
    /// Whether iterations run from the last to the first.
    pub reverse: bool,
    /// The iterated dimension.
    pub over: DimId,
    /// The mapped dimensions.
    pub map_dims: Vec<DimId>,
    /// Lengths of the mapped dimensions.
    pub map: Vec<usize>,
    /// Ports by number ([`super::Base::Port`] of the body); `None` for those of states.
    pub ports: Vec<Option<Port<S>>>,
    /// States.
    pub states: Vec<StateSlot<S>>,
    /// Kernels of one iteration.
    pub body: Scope,
    /// Start of the body's arena in that of the outer scope.
    pub arena: S,
    /// The loop.
    pub definition: Arc<Definition>,
}

impl FusedOp {
    /// Calls `f` with the index of every operand.
    pub(super) fn each_operand(&mut self, f: &mut dyn FnMut(&mut usize)) {
        match self {
            Self::Input(_) | Self::Number(_) => {}
            Self::Unary(_, x) | Self::Fold(_, x) => f(x),
            Self::Binary(_, a, b) => {
                f(a);
                f(b);
            }
            Self::Select(c, a, b) => {
                f(c);
                f(a);
                f(b);
            }
        }
    }

    /// Indices of all operands.
    pub fn operands(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.clone().each_operand(&mut |o| all.push(*o));
        all
    }
}

impl<S> AdamW<S> {
    /// All views that it reads or writes.
    pub fn views(&self) -> [&View<S>; 7] {
        [&self.param, &self.gradient, &self.first, &self.second, &self.rule, &self.objective, &self.norm]
    }
}

/// Relocation: from the start of an operand and its element type to the new start.
pub(super) type Relocate<'f, S, T> = dyn FnMut(S, Element) -> T + 'f;

impl<S> View<S> {
    /// The same view with a relocated start.
    pub(super) fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> View<T> {
        View { start: f(self.start, self.element), element: self.element, axes: self.axes }
    }
}

/// Views with relocated starts.
pub(super) fn relocate_all<S, T, C: FromIterator<View<T>>>(
    views: impl IntoIterator<Item = View<S>>,
    f: &mut Relocate<'_, S, T>,
) -> C {
    views.into_iter().map(|v| v.relocate(f)).collect()
}

impl Port {
    /// The view of all indices: the port's axes, then the mapped dimensions, and for values of iterations the loop's.
    pub fn whole(&self, l: &LoopKernel, iterations: bool) -> View {
        let over = iterations.then_some(Axis { dim: l.over, size: l.count, stride: self.over });
        self.outer.along(&l.map_dims, &l.map, &self.map, over)
    }
}

impl<S> Port<S> {
    fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> Port<T> {
        Port { outer: self.outer.relocate(f), map: self.map, over: self.over }
    }
}

impl<S> Matrix<S> {
    fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> Matrix<T> {
        Matrix { start: f(self.start, Element::F32), row: self.row, col: self.col, batch: self.batch }
    }
}

impl<S> StateSlot<S> {
    fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> StateSlot<T> {
        StateSlot {
            len: self.len,
            buffers: self.buffers,
            ports: self.ports,
            initial: self.initial.relocate(f),
            view: self.view,
            last: self.last.map(|p| p.relocate(f)),
        }
    }
}

impl<S> Kernel<S> {
    /// The same kernel with relocated operands. `f` is called for each operand in an order that depends on the kernel alone.
    pub(super) fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> Kernel<T> {
        let work = match self.work {
            Work::Gemm(g) => Work::Gemm(Gemm {
                a: g.a.relocate(f),
                b: g.b.relocate(f),
                c: g.c.relocate(f),
                m: g.m,
                n: g.n,
                k: g.k,
                sums: g.sums,
                batch: g.batch,
                accumulate: g.accumulate,
                pairs: g.pairs,
            }),
            Work::Fused(k) => Work::Fused(Fused {
                dims: k.dims,
                inputs: relocate_all(k.inputs, f),
                code: k.code,
                outputs: k.outputs.into_iter().map(|(op, v)| (op, v.relocate(f))).collect(),
            }),
            Work::Copy(c) => Work::Copy(Copy {
                from: c.from.relocate(f),
                to: c.to.relocate(f),
                fill: c.fill.map(|(v, x)| (v.relocate(f), x)),
            }),
            Work::Conv(c) => Work::Conv(Conv {
                x: c.x.relocate(f),
                filter: c.filter.relocate(f),
                pos: c.pos.relocate(f),
                dy: c.dy.map(|v| v.relocate(f)),
                y: c.y.map(|v| v.relocate(f)),
                carried: c.carried.map(|v| v.relocate(f)),
                work: c.work,
                window: c.window,
                first: c.first,
                step: c.step,
                accumulate: c.accumulate,
            }),
            Work::Single(s) => {
                Work::Single(Single { op: s.op, inputs: relocate_all(s.inputs, f), output: s.output.relocate(f) })
            }
            Work::Loop(l) => Work::Loop(Box::new(LoopKernel {
                ports: l.ports.into_iter().map(|p| p.map(|p| p.relocate(f))).collect(),
                states: l.states.into_iter().map(|s| s.relocate(f)).collect(),
                arena: f(l.arena, Element::F32),
                count: l.count,
                reverse: l.reverse,
                over: l.over,
                map_dims: l.map_dims,
                map: l.map,
                body: l.body,
                definition: l.definition,
            })),
            Work::Attend(a) => Work::Attend(Box::new(a.relocate(f))),
            Work::Norm(n) => Work::Norm(Norm { gradients: relocate_all(n.gradients, f), norm: n.norm.relocate(f) }),
            Work::AdamW(a) => Work::AdamW(Box::new(AdamW {
                param: a.param.relocate(f),
                gradient: a.gradient.relocate(f),
                first: a.first.relocate(f),
                second: a.second.relocate(f),
                rule: a.rule.relocate(f),
                objective: a.objective.relocate(f),
                norm: a.norm.relocate(f),
                decays: a.decays,
            })),
        };
        Kernel { work, name: self.name }
    }

    /// Calls `f` with the start of every operand.
    pub(super) fn each_start(&self, f: &mut dyn FnMut(&S)) {
        let mut view = |v: &View<S>| f(&v.start);
        match &self.work {
            Work::Gemm(g) => [&g.a, &g.b, &g.c].into_iter().for_each(|m| f(&m.start)),
            Work::Fused(k) => k.inputs.iter().chain(k.outputs.iter().map(|o| &o.1)).for_each(view),
            Work::Copy(c) => [&c.from, &c.to].into_iter().chain(c.fill.iter().map(|x| &x.0)).for_each(view),
            Work::Conv(c) => {
                let others = [&c.dy, &c.y, &c.carried].into_iter().flatten();
                [&c.x, &c.filter, &c.pos].into_iter().chain(others).for_each(view);
            }
            Work::Single(s) => s.inputs.iter().chain([&s.output]).for_each(view),
            Work::Loop(l) => {
                l.ports.iter().flatten().for_each(|p| view(&p.outer));
                for s in &l.states {
                    [Some(&s.initial), s.last.as_ref()].into_iter().flatten().for_each(|p| view(&p.outer));
                }
                f(&l.arena);
            }
            Work::Attend(a) => {
                a.outside().for_each(view);
                f(&a.arena);
            }
            Work::Norm(n) => n.gradients.iter().chain([&n.norm]).for_each(view),
            Work::AdamW(a) => a.views().into_iter().for_each(view),
        }
    }
}
