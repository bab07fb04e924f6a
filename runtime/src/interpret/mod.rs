//! The interpreter of lowered graphs: op by op, in the order of the nodes, in candle tensors.
//!
//! It follows the contract of [`archc_compiler::lowered`] literally: no scheduling, no fusion, no arithmetic tricks.
//! Devices are tested against it on the same graphs, and it is tested in turn against the reference device, which never
//! reads a lowered graph.
//!
//! - A value is a candle tensor whose dimensions have names, the ids of the graph's dimensions, in any memory order.
//!   Ops with the same meaning as in a source graph are those of the reference device.
//! - Mapped dimensions of loops and attends are not looped over: the body runs once with all their indices
//!   side by side, as further dimensions over which its ops broadcast.
//! - An attend is split into tiles of [`TILE`] rows, its gradient into tiles of as many columns too, so that a tile
//!   cannot read what it must not.
//! - After every op the value's dimensions and their lengths are checked against the node's.

mod arrange;
mod chunks;
mod loops;
mod pairs;
mod tokens;

use crate::compiled::{Leaves, Part};
use crate::errors;
use crate::reference::binary::{binary, select};
use crate::reference::contract::{contract, sum};
use crate::reference::kernels::host;
use crate::reference::layout;
use crate::reference::rows::{RowOp, rows};
use crate::reference::unary::unary;
use crate::reference::value::{self, Value};
use crate::session::{Dtype, Tensor};
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::{AxisId, ReduceOp};
use archc_compiler::lowered::{BATCH, Dag, DimId, Lowered, Op, Shape, TIME, ValueId};
use candle_core::{DType, Result, bail};

/// Rows of a tile of pairs, and columns in a gradient.
const TILE: usize = 64;

/// Evaluates values of a graph in f64; `params` are in the order of the source graph, in checkpoint layout.
///
/// The results have the value's dimensions in canonical order.
///
/// # Errors
/// E0899 where the graph breaks its contract.
pub fn interpret(
    graph: &Lowered,
    params: &[Vec<f64>],
    leaves: &Leaves,
    wanted: &[ValueId],
) -> std::result::Result<Vec<Tensor>, Diagnostic> {
    interpret_in(graph, params, leaves, wanted, Dtype::F64)
}

/// Evaluates values of a graph as [`interpret`] does, in any arithmetic.
pub(crate) fn interpret_in(
    graph: &Lowered,
    params: &[Vec<f64>],
    leaves: &Leaves,
    wanted: &[ValueId],
    dtype: Dtype,
) -> std::result::Result<Vec<Tensor>, Diagnostic> {
    let dtype = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
    };
    let frame = Frame { graph, shape: leaves.shape(), params, leaves, dtype };
    let run = || -> Result<Vec<Tensor>> {
        let scope = Scope::default();
        let values = evaluate(&frame, &graph.dag, &scope, wanted)?;
        let laid_out = |(id, value): (&ValueId, Value)| {
            let order = frame.order(&scope, &graph.dag.node(*id).dims);
            Ok(Tensor { shape: order.iter().map(|o| o.1).collect(), data: host(&value.expanded(&order)?.tensor)? })
        };
        wanted.iter().zip(values).map(laid_out).collect()
    };
    run().map_err(|e| errors::bug("the interpreter of lowered graphs", e))
}

/// The name of a dimension among those of a value.
fn name(dim: DimId) -> value::Dim {
    value::Dim::Axis(AxisId(dim.0))
}

fn names(dims: &[DimId]) -> Vec<value::Dim> {
    dims.iter().map(|&d| name(d)).collect()
}

fn axes(dims: &[DimId]) -> Vec<AxisId> {
    dims.iter().map(|d| AxisId(d.0)).collect()
}

/// The state shared by all ops of one evaluation.
struct Frame<'a> {
    graph: &'a Lowered,
    shape: Shape,
    params: &'a [Vec<f64>],
    leaves: &'a Leaves,
    dtype: DType,
}

/// The place of an op in the graph: at the top, or in bodies.
#[derive(Clone, Default)]
struct Scope<'a> {
    /// Mapped dimensions, which values of the body may have beside their own.
    map: Vec<DimId>,
    /// Current indices of the enclosing loops.
    at: Vec<(DimId, usize)>,
    /// Lengths of a tile's dimensions.
    sizes: Vec<(DimId, usize)>,
    /// States of the innermost body; captures, pasts and tile likewise.
    states: &'a [Value],
    captures: &'a [Value],
    pasts: &'a [Value],
    tile: Option<&'a pairs::Tile>,
}

impl Frame<'_> {
    /// The length of a dimension.
    fn size(&self, scope: &Scope<'_>, dim: DimId) -> usize {
        let own = scope.sizes.iter().rev().find(|(d, _)| *d == dim);
        own.map_or_else(|| self.graph.dim(dim).extent.at(self.shape), |&(_, n)| n)
    }

    /// Dimensions with their lengths.
    fn order(&self, scope: &Scope<'_>, dims: &[DimId]) -> Vec<(value::Dim, usize)> {
        dims.iter().map(|&d| (name(d), self.size(scope, d))).collect()
    }

    fn constant(&self, scope: &Scope<'_>, data: Vec<f64>, dims: &[DimId]) -> Result<Value> {
        let shape: Vec<usize> = dims.iter().map(|&d| self.size(scope, d)).collect();
        if data.len() != shape.iter().product::<usize>() {
            bail!("{} numbers stand where the dimensions {shape:?} are needed", data.len());
        }
        Value::constant(data, shape, names(dims), self.dtype)
    }

    /// A constant `[B, T]` with one element per token.
    fn per_token(&self, scope: &Scope<'_>, data: impl Iterator<Item = f64>) -> Result<Value> {
        self.constant(scope, data.collect(), &[BATCH, TIME])
    }
}

/// The value of a node.
enum Slot {
    Empty,
    One(Value),
    /// The emits and final states of a loop or attend.
    Many(Vec<Value>, Vec<Value>),
}

/// Evaluates some nodes of a DAG.
fn evaluate(frame: &Frame<'_>, dag: &Dag, scope: &Scope<'_>, wanted: &[ValueId]) -> Result<Vec<Value>> {
    let live = dag.reachable(wanted);
    let mut last_use = vec![usize::MAX; dag.len()];
    for id in dag.ids().filter(|id| live[id.0 as usize]) {
        dag.operands(id).iter().for_each(|o| last_use[o.0 as usize] = id.0 as usize);
    }
    wanted.iter().for_each(|w| last_use[w.0 as usize] = usize::MAX);
    let mut slots: Vec<Slot> = dag.nodes().iter().map(|_| Slot::Empty).collect();
    for id in dag.ids().filter(|id| live[id.0 as usize]) {
        let (i, node, operands) = (id.0 as usize, dag.node(id), dag.operands(id));
        let slot = match (&node.op, operands.first().map(|o| &slots[o.0 as usize])) {
            (Op::Emit(n), Some(Slot::Many(emits, _))) => Slot::One(emits[*n].clone()),
            (Op::Final(n), Some(Slot::Many(_, finals))) => Slot::One(finals[*n].clone()),
            (op, _) => {
                let values: Vec<Value> = operands.iter().map(|o| one(&slots, *o)).collect::<Result<_>>()?;
                many(frame, scope, op, &values)
                    .and_then(|many| match many {
                        Some((emits, finals)) => Ok(Slot::Many(emits, finals)),
                        None => apply(frame, scope, op, &node.dims, &values).map(Slot::One),
                    })
                    .map_err(|e| e.context(format!("at %{i}, {}", short(op))))?
            }
        };
        if let Slot::One(value) = &slot {
            fits(frame, scope, value, &node.dims).map_err(|e| e.context(format!("at %{i}, {}", short(&node.op))))?;
        }
        slots[i] = slot;
        for o in operands {
            if last_use[o.0 as usize] == i {
                slots[o.0 as usize] = Slot::Empty;
            }
        }
    }
    wanted.iter().map(|w| one(&slots, *w)).collect()
}

/// An op as a short text, without its bodies.
fn short(op: &Op) -> String {
    format!("{op:?}").chars().take(60).collect()
}

fn one(slots: &[Slot], id: ValueId) -> Result<Value> {
    match &slots[id.0 as usize] {
        Slot::One(value) => Ok(value.clone()),
        _ => bail!("%{} holds no value", id.0),
    }
}

/// Checks that a value has the node's dimensions and lengths, and beyond them only mapped dimensions.
fn fits(frame: &Frame<'_>, scope: &Scope<'_>, value: &Value, dims: &[DimId]) -> Result<()> {
    for &d in dims {
        if value.position(name(d)).is_none_or(|i| value.tensor.dims()[i] != frame.size(scope, d)) {
            let shape = value.tensor.dims();
            bail!("{:?} {shape:?} is not {} long along {}", value.dims, frame.size(scope, d), frame.graph.dim(d).name);
        }
    }
    match value.dims.iter().find(|d| !dims.iter().chain(&scope.map).any(|e| name(*e) == **d)) {
        Some(d) => bail!("a value over {dims:?} has the dimension {d:?} too"),
        None => Ok(()),
    }
}

/// Emits and final states.
type Many = (Vec<Value>, Vec<Value>);

fn many(frame: &Frame<'_>, scope: &Scope<'_>, op: &Op, x: &[Value]) -> Result<Option<Many>> {
    Ok(match op {
        Op::Loop(l) => Some(loops::run(frame, scope, l, x)?),
        Op::Attend(a) => Some((pairs::attend(frame, scope, a, x)?, Vec::new())),
        Op::AttendGrad(g) => Some((pairs::gradient(frame, scope, g, x)?, Vec::new())),
        _ => None,
    })
}

fn apply(frame: &Frame<'_>, scope: &Scope<'_>, op: &Op, dims: &[DimId], x: &[Value]) -> Result<Value> {
    let size = |a: AxisId| frame.size(scope, DimId(a.0));
    let axis = |d: &DimId| AxisId(d.0);
    let leaves = frame.leaves;
    match op {
        Op::Input(i) => frame.constant(scope, leaves.inputs[*i].data.clone(), dims),
        Op::Param(p) => {
            let checkpoint: Vec<DimId> =
                frame.graph.source.param(*p).axes.iter().map(|a| Lowered::axis_dim(*a)).collect();
            frame.constant(scope, frame.params[p.0 as usize].clone(), &checkpoint)
        }
        Op::Const(x) => Value::scalar(*x, frame.dtype),
        Op::Index(along) => {
            let count = along.iter().map(|&d| frame.size(scope, d)).product::<usize>();
            frame.constant(scope, (0..count).map(|i| i as f64).collect(), along)
        }
        Op::Table(d, numbers) => frame.constant(scope, numbers.clone(), &[*d]),
        Op::Pos => frame.per_token(scope, leaves.pos.iter().map(|&p| p.into())),
        Op::Doc => frame.per_token(scope, leaves.doc.iter().map(|&d| d.into())),
        Op::TokenWeight => frame.per_token(scope, leaves.weights.iter().copied()),
        Op::Step => Value::scalar(leaves.step as f64, frame.dtype),
        Op::Carried(name, d) => {
            let count = d.iter().map(|&d| frame.size(scope, d)).product();
            let mut numbers = Vec::with_capacity(count);
            leaves.carried_numbers(name, Part::High, count, |part| numbers.extend(part));
            numbers.resize(count, 0.0);
            frame.constant(scope, numbers, d)
        }
        Op::CarriedLow(_, d) => {
            let count = d.iter().map(|&d| frame.size(scope, d)).product();
            frame.constant(scope, vec![0.0; count], d)
        }
        Op::Cotangent(i, d) => match scope.tile {
            Some(tile) => tile.cotangent(*i),
            None => frame.constant(scope, tokens::cotangent(frame, scope, *i, d), d),
        },
        Op::Capture(i, _) => Ok(scope.captures[*i].clone()),
        Op::Past(i, _) => Ok(scope.pasts[*i].clone()),
        Op::State(i, _) => Ok(scope.states[*i].clone()),
        Op::Lag(..) | Op::Weight(..) | Op::Visible(..) | Op::Delta(_) | Op::Sofar(..) | Op::Last => match scope.tile {
            Some(tile) => tile.leaf(op),
            None => bail!("a leaf of an attend's body stands outside of one"),
        },
        Op::Unary(f) => unary(*f, &x[0]),
        Op::Binary(f) => binary(*f, &x[0], &x[1]),
        Op::Select => select(&x[0], &x[1], &x[2]),
        Op::Reduce(ReduceOp::Sum, over) => sum(&x[0], &names(over), 1.0),
        Op::Reduce(ReduceOp::Mean, over) => {
            let count = over.iter().map(|&d| frame.size(scope, d)).product::<usize>();
            sum(&x[0], &names(over), 1.0 / count as f64)
        }
        Op::Reduce(reduce, over) => rows(RowOp::Reduce(*reduce), &x[0], &names(over)),
        Op::Contract(over) => contract(&x[0], &x[1], &names(over)),
        Op::Softmax(over) => rows(RowOp::Softmax, &x[0], &names(over)),
        Op::Sparsemax(d) => rows(RowOp::Sparsemax, &x[0], &[name(*d)]),
        Op::CumsumLow { dim, .. } => arrange::cumsum_low(&x[0], name(*dim)),
        Op::Cumsum { dim, reverse, exclusive } => {
            arrange::cumsum(&x.iter().collect::<Vec<_>>(), name(*dim), *reverse, *exclusive)
        }
        Op::Sort(d) => rows(RowOp::Sort, &x[0], &[name(*d)]),
        Op::Unsort(d) => arrange::unsort(&x[0], &x[1], name(*d)),
        Op::TopK(d, n) => rows(RowOp::TopK(*n), &x[0], &[name(*d)]),
        Op::TopKMask(d, n) => arrange::topk_mask(&x[0], name(*d), *n),
        Op::Stack(d) => layout::stack(axis(d), &x.iter().collect::<Vec<_>>()),
        Op::Pick(d, i) => layout::pick(axis(d), *i, &x[0]),
        Op::Put(d, i) => arrange::put(&x[0], name(*d), *i, frame.size(scope, *d)),
        Op::Split(from, into) => layout::split(size, axis(from), &axes(into), &x[0]),
        Op::Flatten(from, into) => layout::flatten(&axes(from), axis(into), &x[0]),
        Op::Cat(parts, into) => {
            // Nothing is carried before the first token: such a part has length 0.
            let here = || x.iter().zip(parts).filter(|(_, p)| frame.size(scope, **p) > 0);
            let parts: Vec<AxisId> = here().map(|(_, p)| axis(p)).collect();
            layout::cat(size, &parts, axis(into), &here().map(|(x, _)| x).collect::<Vec<_>>())
        }
        Op::Cut { from, offset, into } => layout::cut(size, axis(from), *offset, axis(into), &x[0]),
        Op::Paste { from, offset, into } => {
            arrange::paste(&x[0], name(*from), *offset, name(*into), frame.size(scope, *into))
        }
        Op::Expand(new) => layout::expand(size, &axes(new), &x[0]),
        Op::Rename(from, to) => Ok(x[0].clone().renamed(name(*from), name(*to))),
        Op::Chunk { chunks, rows, fill } => {
            let [count, tokens] = [*chunks, *rows].map(|d| frame.size(scope, d));
            arrange::chunk(frame, &x[0], (name(*chunks), count), (name(*rows), tokens), *fill)
        }
        Op::Unchunk { chunks, rows } => arrange::unchunk(frame, &x[0], name(*chunks), name(*rows)),
        Op::Embed { vocab, .. } => tokens::embed(frame, name(*vocab), &x[0], x.get(1)),
        Op::Scatter { of, first } => tokens::scatter(frame, name(*of), frame.size(scope, *of), *first, &x[0]),
        Op::Dropout { path } => tokens::dropout(frame, scope, path, &x[0], &x[1]),
        Op::StopGrad => Ok(x[0].clone()),
        Op::CrossEntropy { vocab } => tokens::cross_entropy(frame, scope, *vocab, &x[0]),
        Op::CrossEntropyGrad { vocab } => tokens::cross_entropy_grad(frame, scope, *vocab, &x[0], &x[1]),
        Op::Window { dim, step } => tokens::window(frame, &x[0], x.get(1), name(*dim), frame.size(scope, *dim), *step),
        Op::Unwindow { dim, step } => tokens::unwindow(frame, &x[0], name(*dim), *step),
        Op::LongConv { lag } => tokens::long_conv(frame, name(*lag), &x[0], &x[1]),
        Op::LongConvBack { lag } => tokens::long_conv_back(frame, name(*lag), &x[0], &x[1]),
        Op::LongConvFilter { lag } => {
            tokens::long_conv_filter(frame, (name(*lag), frame.size(scope, *lag)), &x[0], &x[1])
        }
        Op::SolveUnitLower { rows, cols, transpose } => {
            chunks::solve(&x[0], &x[1], name(*rows), name(*cols), *transpose)
        }
        Op::PairDecay(pairs) => chunks::pair_decay(pairs, &x[0]),
        Op::PairDecayGrad(pairs) => chunks::pair_decay_grad(pairs, &x[0]),
        Op::PairProduct(pairs) => chunks::pair_product(pairs, &x[0]),
        Op::PairProductGrad(pairs) => chunks::pair_product_grad(pairs, &x[0], &x[2]),
        Op::Cumprod { dim, reverse, exclusive } => chunks::cumprod(&x[0], name(*dim), *reverse, *exclusive),
        Op::CumprodGrad { dim, reverse, exclusive } => {
            chunks::cumprod_grad(&x[0], &x[1], name(*dim), *reverse, *exclusive)
        }
        Op::DecayDot { over, pairs } => {
            let weighed = binary(archc_compiler::graph::BinaryOp::Mul, &x[0], &chunks::pair_decay(pairs, &x[2])?)?;
            contract(&weighed, &x[1], &[name(*over)])
        }
        Op::DecayDotGrad { pairs, parts, .. } => {
            let mul = |a: &Value, b: &Value| binary(archc_compiler::graph::BinaryOp::Mul, a, b);
            let (rows, cols) = (name(pairs.rows), name(pairs.cols));
            let (q, k) = (&x[1], &x[2]);
            let weighed = mul(&x[0], &chunks::pair_decay(pairs, &x[3])?)?;
            let by_q = contract(&weighed, k, &[cols])?;
            let mut by_k = contract(&weighed, q, &[rows])?;
            by_k.dims.iter_mut().filter(|d| **d == cols).for_each(|d| *d = rows);
            let mut all = vec![by_q, by_k];
            if frame.size(scope, *parts) > 2 {
                all.push(chunks::pair_decay_grad(pairs, &mul(&mul(&weighed, q)?, k)?)?);
            }
            layout::stack(axis(parts), &all.iter().collect::<Vec<_>>())
        }
        Op::Loop(_) | Op::Attend(_) | Op::AttendGrad(_) | Op::Emit(_) | Op::Final(_) => {
            bail!("{} gives no value", short(op))
        }
    }
}
