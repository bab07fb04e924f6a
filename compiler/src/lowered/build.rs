//! Construction of lowered graphs: each op gets its dimensions from the shape rules.

use super::{Dag, Dim, DimId, Extent, Node, Op, TIME, ValueId, Weighing, order};
use crate::graph::{BinaryOp, ReduceOp, UnaryOp};
use crate::source::Place;

/// A DAG under construction (a graph's own or a body) with the table of dimensions that it shares with the others.
pub struct Builder<'d> {
    /// All dimensions of the graph.
    pub dims: &'d mut Vec<Dim>,
    /// Nodes built so far.
    pub dag: Dag,
    /// Name of new nodes.
    pub name: String,
    /// Place of new nodes.
    pub place: Place,
    /// Unit roundoff of the arithmetic that will run this: half of the gap between 1 and the next number.
    pub unit: f64,
}

impl<'d> Builder<'d> {
    /// An empty DAG.
    pub fn new(dims: &'d mut Vec<Dim>, place: Place) -> Self {
        Self { dims, dag: Dag::default(), name: String::new(), place, unit: f64::from(f32::EPSILON) / 2.0 }
    }

    /// A builder for a body, with the same dimensions.
    pub fn body(&mut self) -> Builder<'_> {
        Builder { dims: self.dims, dag: Dag::default(), name: String::new(), place: self.place, unit: self.unit }
    }

    /// A new dimension.
    pub fn dim(&mut self, name: &str, extent: Extent, rank: u8) -> DimId {
        self.dims.push(Dim { name: name.into(), extent, rank });
        DimId(self.dims.len() as u32 - 1)
    }

    /// Dimensions of a value.
    pub fn dims_of(&self, id: ValueId) -> &[DimId] {
        &self.dag.node(id).dims
    }

    /// Whether a value has a dimension.
    pub fn has(&self, id: ValueId, dim: DimId) -> bool {
        self.dims_of(id).contains(&dim)
    }

    /// Adds an op.
    pub fn op(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        crate::work::spend(1);
        let dims = shape(self.dims, &self.dag, &op, operands);
        let node = Node { op, dims, name: self.name.clone(), place: self.place };
        self.dag.add(node, operands)
    }

    /// Adds a parameter or input, whose dimensions no shape rule determines.
    pub fn leaf(&mut self, op: Op, mut dims: Vec<DimId>) -> ValueId {
        order(self.dims, &mut dims);
        let node = Node { op, dims, name: self.name.clone(), place: self.place };
        self.dag.add(node, &[])
    }

    /// Adds a constant.
    pub fn number(&mut self, x: f64) -> ValueId {
        self.op(Op::Const(x), &[])
    }

    /// f(x)
    pub fn unary(&mut self, f: UnaryOp, x: ValueId) -> ValueId {
        self.op(Op::Unary(f), &[x])
    }

    /// f(a, b)
    pub fn binary(&mut self, f: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary(f), &[a, b])
    }

    /// a + b
    pub fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Add, a, b)
    }

    /// a - b
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Sub, a, b)
    }

    /// a b
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.binary(BinaryOp::Mul, a, b)
    }

    /// -x
    pub fn neg(&mut self, x: ValueId) -> ValueId {
        self.unary(UnaryOp::Neg, x)
    }

    /// e^x
    pub fn exp(&mut self, x: ValueId) -> ValueId {
        self.unary(UnaryOp::Exp, x)
    }

    /// Sum over dimensions; x itself if there are none.
    pub fn sum(&mut self, x: ValueId, over: &[DimId]) -> ValueId {
        if over.is_empty() { x } else { self.op(Op::Reduce(ReduceOp::Sum, over.to_vec()), &[x]) }
    }

    /// Sum over dimensions of a product. Those that one operand lacks are summed in the other first.
    pub fn contract(&mut self, a: ValueId, b: ValueId, over: &[DimId]) -> ValueId {
        let lone = |s: &Self, x: ValueId, y: ValueId| -> Vec<DimId> {
            over.iter().copied().filter(|d| s.has(x, *d) && !s.has(y, *d)).collect()
        };
        let (la, lb) = (lone(self, a, b), lone(self, b, a));
        let (a, b) = (self.sum(a, &la), self.sum(b, &lb));
        let both: Vec<DimId> = over.iter().copied().filter(|d| self.has(a, *d) && self.has(b, *d)).collect();
        if both.is_empty() { self.mul(a, b) } else { self.op(Op::Contract(both), &[a, b]) }
    }

    /// x with a dimension renamed; x itself if it lacks it.
    pub fn rename(&mut self, x: ValueId, from: DimId, to: DimId) -> ValueId {
        if self.has(x, from) && from != to { self.op(Op::Rename(from, to), &[x]) } else { x }
    }

    /// x broadcast along those of the dimensions that it lacks.
    pub fn expand(&mut self, x: ValueId, dims: &[DimId]) -> ValueId {
        let mut new: Vec<DimId> = Vec::new();
        for d in dims {
            if !self.has(x, *d) && !new.contains(d) {
                new.push(*d);
            }
        }
        if new.is_empty() { x } else { self.op(Op::Expand(new), &[x]) }
    }

    /// x summed over the dimensions that the list lacks, and broadcast along those that x lacks.
    pub fn fit(&mut self, x: ValueId, dims: &[DimId]) -> ValueId {
        let gone: Vec<DimId> = self.dims_of(x).iter().copied().filter(|d| !dims.contains(d)).collect();
        let x = self.sum(x, &gone);
        self.expand(x, dims)
    }
}

/// Shape rules: dimensions of an op's result, in canonical order. Parameters and inputs get theirs from [`Builder::leaf`] and have no rule.
pub(crate) fn shape(table: &[Dim], dag: &Dag, op: &Op, operands: &[ValueId]) -> Vec<DimId> {
    let of = |i: usize| dag.node(operands[i]).dims.clone();
    let mut dims: Vec<DimId> = operands.iter().flat_map(|o| dag.node(*o).dims.iter().copied()).collect();
    let swap = |mut dims: Vec<DimId>, gone: &[DimId], new: &[DimId]| {
        dims.retain(|d| !gone.contains(d));
        dims.extend(new);
        dims
    };
    dims = match op {
        Op::Input(_) | Op::Param(_) | Op::Const(_) | Op::Step | Op::Last => Vec::new(),
        Op::Index(along) => along.clone(),
        Op::Table(d, _) => vec![*d],
        Op::Pos | Op::Doc | Op::TokenWeight => vec![super::BATCH, TIME],
        Op::Carried(_, d)
        | Op::CarriedLow(_, d)
        | Op::Cotangent(_, d)
        | Op::Capture(_, d)
        | Op::Past(_, d)
        | Op::State(_, d) => d.clone(),
        Op::Lag(r, c) | Op::Weight(r, c) | Op::Visible(r, c) => vec![*r, *c],
        Op::Delta(r) | Op::Sofar(r, _) => vec![*r],
        Op::Unary(_) | Op::Binary(_) | Op::Select => dims,
        Op::Reduce(_, gone) | Op::Contract(gone) => swap(dims, gone, &[]),
        Op::Softmax(_)
        | Op::Sparsemax(_)
        | Op::Cumsum { .. }
        | Op::CumsumLow { .. }
        | Op::Cumprod { .. }
        | Op::Sort(_)
        | Op::TopK(..)
        | Op::TopKMask(..) => of(0),
        Op::Unsort(_) | Op::CumprodGrad { .. } => dims,
        Op::Stack(d) => swap(dims, &[], &[*d]),
        Op::Put(d, _) => swap(of(0), &[], &[*d]),
        Op::Pick(d, _) => swap(of(0), &[*d], &[]),
        Op::Split(from, into) => swap(of(0), &[*from], into),
        Op::Flatten(from, into) => swap(of(0), from, &[*into]),
        Op::Cat(parts, into) => swap(dims, parts, &[*into]),
        Op::Cut { from, into, .. } | Op::Paste { from, into, .. } | Op::Rename(from, into) => {
            swap(of(0), &[*from], &[*into])
        }
        Op::Expand(new) => swap(of(0), &[], new),
        Op::Chunk { chunks, rows, .. } => swap(of(0), &[TIME], &[*chunks, *rows]),
        Op::Unchunk { chunks, rows } => swap(of(0), &[*chunks, *rows], &[TIME]),
        Op::Embed { vocab, .. } => swap(of(0), &[*vocab], &[super::BATCH, TIME]),
        Op::Scatter { of: rows, .. } => swap(of(0), &[super::BATCH, TIME], &[*rows]),
        Op::Dropout { .. } | Op::StopGrad | Op::CrossEntropyGrad { .. } => of(0),
        Op::CrossEntropy { .. } => Vec::new(),
        Op::Window { dim, .. } => swap(of(0), &[], &[*dim]),
        Op::Unwindow { dim, .. } => swap(of(0), &[*dim], &[]),
        Op::LongConv { lag } | Op::LongConvBack { lag } => {
            dims.retain(|d| !matches!(table[d.0 as usize].extent, Extent::Known(_)));
            swap(dims, &[*lag], &[super::BATCH, TIME])
        }
        Op::LongConvFilter { lag } => swap(dims, &[super::BATCH, TIME], &[*lag]),
        Op::SolveUnitLower { cols, .. } => swap(dims, &[*cols], &[]),
        Op::PairDecay(p) | Op::PairProduct(p) => swap(dims, &[], &[p.cols]),
        Op::PairDecayGrad(p) | Op::PairProductGrad(p) => swap(dims, &[p.cols], &[]),
        Op::DecayDot { over, .. } => swap(dims, &[*over], &[]),
        Op::DecayDotGrad { pairs, parts, .. } => swap(dims, &[pairs.cols], &[*parts]),
        Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) => Vec::new(),
        Op::Emit(i) => match &dag.node(operands[0]).op {
            Op::Loop(l) => {
                let mut dims = l.body.node(l.emits[*i].1).dims.clone();
                dims.push(l.over);
                dims.extend(&l.map);
                dims
            }
            Op::Attend(a) => {
                let own = match a.emits.get(*i) {
                    Some((_, e)) => a.body.node(*e).dims.clone(),
                    None => Vec::new(),
                };
                let mut dims = swap(own, &[a.rows, a.cols], &[TIME]);
                dims.extend(&a.map);
                dims
            }
            Op::AttendGrad(g) => {
                let a = &g.forward;
                let own = g.body.node(g.sums[*i].1).dims.clone();
                // gradients are never taken with a carry, so the known tokens are the sequence itself
                let timed = own.contains(&a.rows) || own.contains(&a.cols);
                let mut dims = swap(own, &[a.rows, a.cols], if timed { &[TIME] } else { &[] });
                dims.extend(&a.map);
                dims
            }
            _ => Vec::new(),
        },
        Op::Final(i) => match &dag.node(operands[0]).op {
            Op::Loop(l) => {
                let mut dims = l.states[*i].dims.clone();
                dims.extend(&l.map);
                dims
            }
            _ => Vec::new(),
        },
    };
    order(table, &mut dims);
    dims
}

/// The value that weighs the past.
impl Weighing {
    /// The score or weight.
    pub fn value(self) -> ValueId {
        match self {
            Self::Score(v) | Self::Weight(v) => v,
        }
    }

    /// The same kind with another value.
    pub fn with(self, value: ValueId) -> Self {
        match self {
            Self::Score(_) => Self::Score(value),
            Self::Weight(_) => Self::Weight(value),
        }
    }
}
