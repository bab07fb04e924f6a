//! The kernels of a plan: what each computes, over which views.
//!
//! `S` is where an operand starts: a `Place` while a scope is planned, a [`Start`] once its memory is laid out.

use super::cpu::AttendKernel;
use super::{Element, Start, View};
use crate::graph::{BinaryOp, UnaryOp};
use crate::lowered::{DimId, Op};

/// Kernels in order over one arena.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// In order of execution.
    pub kernels: Vec<Kernel>,
    /// Bytes of the arena ([`super::Base::Scratch`]).
    pub arena: usize,
}

/// A kernel with the values that it makes.
#[derive(Clone, Debug)]
pub struct Kernel<S = Start> {
    /// What to do.
    pub work: Work<S>,
    /// Names of the values it makes, for printing.
    pub name: String,
}

/// What it does, whatever its values are called.
impl<S: PartialEq> PartialEq for Kernel<S> {
    fn eq(&self, other: &Self) -> bool {
        self.work == other.work
    }
}

/// What a kernel does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work<S = Start> {
    /// Matrix products.
    Gemm(Gemm<S>),
    /// Element-wise ops and sums.
    Fused(Fused<S>),
    /// Copies, with zeros where the source has nothing.
    Copy(Copy<S>),
    /// Depthwise convolution over time, its transpose, or its filter's gradient.
    Conv(Conv<S>),
    /// An op with a kernel of its own: operands, result.
    Single(Single<S>),
    /// A loop.
    Loop(Box<LoopKernel<S>>),
    /// An attend or its gradient.
    Attend(Box<AttendKernel<S>>),
    /// The norm of all gradients.
    Norm(Norm<S>),
    /// A parameter follows its gradient.
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
    /// Further sums, for contractions over dimensions that do not lie in one run: length, distances in A and B.
    pub sums: Vec<(usize, isize, isize)>,
    /// Left operand, with its strides along rows and columns.
    pub a: Matrix<S>,
    /// Right operand.
    pub b: Matrix<S>,
    /// Result.
    pub c: Matrix<S>,
    /// Lengths of the batch, outermost first; each matrix has as many batch strides.
    pub batch: Vec<usize>,
    /// Add to what is in C.
    pub accumulate: bool,
    /// In an attend: which of the product's dimensions are the rows and the columns of the tile, if two of them are. Pairs that no row
    /// sees may be left out: as results they are not looked at, as operands they are 0.
    pub pairs: Option<[GemmDim; 2]>,
}

/// A dimension of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GemmDim {
    /// Rows of A and C.
    M,
    /// Columns of B and C.
    N,
    /// What is summed.
    K,
}

/// A matrix in a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<S = Start> {
    /// Where its first element is.
    pub start: S,
    /// Distance of rows.
    pub row: isize,
    /// Distance of columns.
    pub col: isize,
    /// Distances along the batch.
    pub batch: Vec<isize>,
}

/// Element-wise ops and sums in one pass over a space of indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused<S = Start> {
    /// The space, in canonical order.
    pub dims: Vec<DimId>,
    /// What is read.
    pub inputs: Vec<View<S>>,
    /// Ops in order; operands are earlier ones.
    pub code: Vec<Instr>,
    /// What is written: op, place. Along dimensions that only the place has, the same number is written again.
    pub outputs: Vec<(usize, View<S>)>,
}

/// An op of a fused loop, over some of its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Instr {
    /// What it does.
    pub op: FusedOp,
    /// Dimensions of its value, canonical. Operands with fewer are broadcast.
    pub dims: Vec<DimId>,
}

/// Sums over dimensions inside of a fused loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Sum.
    Sum,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// See [`Instr`].
#[derive(Clone, Debug)]
pub enum FusedOp {
    /// Input of the kernel.
    Input(usize),
    /// A number.
    Number(f64),
    /// Of one op.
    Unary(UnaryOp, usize),
    /// Of two.
    Binary(BinaryOp, usize, usize),
    /// Condition, then, else.
    Select(usize, usize, usize),
    /// Over the dimensions that the operand has and the result lacks.
    Fold(Fold, usize),
}

/// The same to the last bit: 0 and -0 are two numbers.
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

/// A copy of `from` to `to`; `to` is filled with `fill` first where that is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy<S = Start> {
    /// Source; its axes are those of `to`, some with stride 0.
    pub from: View<S>,
    /// Destination.
    pub to: View<S>,
    /// The whole of a buffer to be filled before, and with what.
    pub fill: Option<(View<S>, f64)>,
}

/// What a convolution kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvWork {
    /// y_t = (y_t +) sum_w f_w x_{t - w step}
    Forward,
    /// dx_t = (dx_t +) sum_w f_w dy_{t + w step}
    Backward,
    /// df_w = sum over b, t of dy_t x_{t - w step}
    Filter,
}

/// See [`ConvWork`]. Token values are `[B, T, channels]`, taps `[W, channels]`; channel axes in canonical order, taps broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv<S = Start> {
    /// Which of the three.
    pub work: ConvWork,
    /// x, or dy for the transpose.
    pub x: View<S>,
    /// dy, only for the filter's gradient.
    pub dy: Option<View<S>>,
    /// The filter `[W, ..]` read, or its gradient written. With axes W and some of the channels.
    pub filter: View<S>,
    /// The result of the other two.
    pub y: Option<View<S>>,
    /// The window's dimension.
    pub window: DimId,
    /// First tap of the window that the filter stands for (a picked entry is a filter of one tap).
    pub first: usize,
    /// Distance of taps.
    pub step: usize,
    /// [`super::Leaf::Positions`], `[B, T]` of u32.
    pub pos: View<S>,
    /// The last tokens before the piece, `[B, tail, ..]`, for decoding.
    pub carried: Option<View<S>>,
    /// Add to what is there.
    pub accumulate: bool,
}

/// An op with a kernel of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Single<S = Start> {
    /// The op.
    pub op: Op,
    /// Operands in order, then the leaves that the op reads beside them: see [`super::Leaf`].
    pub inputs: Vec<View<S>>,
    /// Result.
    pub output: View<S>,
}

/// The L2 norm of several gradients together. Squares are summed in f64, gradient by gradient in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm<S = Start> {
    /// Each without gaps.
    pub gradients: Vec<View<S>>,
    /// A scalar, f64.
    pub norm: View<S>,
}

/// An update of a parameter by AdamW (arXiv 1711.05101), after its gradient is scaled so that the norm of all gradients is at most the
/// rule's. Nothing moves where objective, norm or learning rate is not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW<S = Start> {
    /// The parameter, without gaps.
    pub param: View<S>,
    /// Its gradient, in the same order.
    pub gradient: View<S>,
    /// Running mean of the gradient.
    pub first: View<S>,
    /// Running mean of its square.
    pub second: View<S>,
    /// Whether it decays.
    pub decays: bool,
    /// [`super::Leaf::Rule`].
    pub rule: View<S>,
    /// The objective, a scalar.
    pub objective: View<S>,
    /// The norm of all gradients, a scalar, f64.
    pub norm: View<S>,
}

/// How a port of a loop moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Port<S = Start> {
    /// Where it points at the first iteration, in the outer scope.
    pub outer: View<S>,
    /// Distance for each mapped dimension.
    pub map: Vec<isize>,
    /// Distance for each iteration.
    pub over: isize,
}

/// A state of a loop kernel. Its two buffers are in the body's arena and change roles after each iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSlot<S = Start> {
    /// Elements.
    pub len: usize,
    /// The two buffers in the body's arena.
    pub buffers: [Start; 2],
    /// Ports at which the body finds the old value and puts the new one.
    pub ports: [usize; 2],
    /// The initial value in the outer scope: axes mapped ones and the state's own, with strides along `map`.
    pub initial: Port<S>,
    /// The state's axes as they lie in a buffer (base: the old port).
    pub view: View,
    /// Where the final value goes.
    pub last: Option<Port<S>>,
}

/// A loop over `count` iterations for each index of the mapped dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopKernel<S = Start> {
    /// Iterations.
    pub count: usize,
    /// From the last.
    pub reverse: bool,
    /// The dimension that is run through.
    pub over: DimId,
    /// The mapped dimensions.
    pub map_dims: Vec<DimId>,
    /// Their lengths.
    pub map: Vec<usize>,
    /// Ports by number ([`super::Base::Port`] of the body), states' ports excluded (their entries are `None`).
    pub ports: Vec<Option<Port<S>>>,
    /// States.
    pub states: Vec<StateSlot<S>>,
    /// One iteration.
    pub body: Scope,
    /// Where the body's arena starts in that of the outer scope.
    pub arena: S,
}

impl FusedOp {
    /// Calls f with the number of every operand.
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

    /// Numbers of all operands.
    pub fn operands(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.clone().each_operand(&mut |o| all.push(*o));
        all
    }
}

impl<S> AdamW<S> {
    /// All that it reads or writes.
    pub fn views(&self) -> [&View<S>; 7] {
        [&self.param, &self.gradient, &self.first, &self.second, &self.rule, &self.objective, &self.norm]
    }
}

/// From where an operand starts, and what its elements are, to where it starts after.
pub(super) type Relocate<'f, S, T> = dyn FnMut(S, Element) -> T + 'f;

impl<S> View<S> {
    /// The same elsewhere.
    pub(super) fn relocate<T>(self, f: &mut Relocate<'_, S, T>) -> View<T> {
        View { start: f(self.start, self.element), element: self.element, axes: self.axes }
    }
}

/// Views elsewhere.
pub(super) fn relocate_all<S, T, C: FromIterator<View<T>>>(
    views: impl IntoIterator<Item = View<S>>,
    f: &mut Relocate<'_, S, T>,
) -> C {
    views.into_iter().map(|v| v.relocate(f)).collect()
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
    /// The same kernel with its operands elsewhere. `f` is called for each operand in an order that depends on the kernel alone.
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

    /// Calls f with where every operand starts.
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
