//! Ops with the same meaning in a graph and in any body: all ops that do not involve time.

use crate::graph::{AnnealShape, AxisId, BinaryOp, Graph, Linear, Op as Source, ReduceOp, UnaryOp};
use crate::lowered::{Builder, DimId, Extent, FIXED, Lowered, Op, ValueId};

/// Dimensions of axes.
pub(super) fn dims(axes: &[AxisId]) -> Vec<DimId> {
    axes.iter().map(|a| Lowered::axis_dim(*a)).collect()
}

fn dim(axis: AxisId) -> DimId {
    Lowered::axis_dim(axis)
}

/// Lowers an op over its lowered operands, which have all axes of their types.
///
/// # Panics
/// For an op that involves time.
pub(super) fn ordinary(graph: &Graph, b: &mut Builder<'_>, op: &Source, x: &[ValueId], training: bool) -> ValueId {
    match op {
        Source::Const(value) => b.number(*value),
        Source::Index(along) => b.op(Op::Index(dims(along)), &[]),
        Source::Table(axis, numbers) => b.op(Op::Table(dim(*axis), numbers.clone()), &[]),
        Source::Step => b.op(Op::Step, &[]),
        Source::Param(id) => b.leaf(Op::Param(*id), dims(&graph.param(*id).axes)),
        Source::Unary(f) => b.unary(*f, x[0]),
        Source::Binary(f) => b.binary(*f, x[0], x[1]),
        Source::Select => b.op(Op::Select, x),
        Source::Reduce(ReduceOp::Median, over) => median(b, &dims(over), x[0]),
        Source::Reduce(reduce, over) => along(b, &dims(over), x[0], |over| Op::Reduce(*reduce, over)),
        Source::Contract(over) => b.contract(x[0], x[1], &dims(over)),
        Source::Softmax(over) => along(b, &dims(over), x[0], Op::Softmax),
        Source::Sparsemax(axis) => along(b, &[dim(*axis)], x[0], |_| Op::Sparsemax(dim(*axis))),
        Source::Cumsum(axis) => {
            along(b, &[dim(*axis)], x[0], |over| Op::Cumsum { dim: over[0], reverse: false, exclusive: false })
        }
        Source::Sort(axis) => along(b, &[dim(*axis)], x[0], |_| Op::Sort(dim(*axis))),
        Source::TopK(axis, n) => along(b, &[dim(*axis)], x[0], |_| Op::TopK(dim(*axis), *n)),
        Source::Stack(axis) => b.op(Op::Stack(dim(*axis)), x),
        Source::Pick(axis, index) => along(b, &[dim(*axis)], x[0], |_| Op::Pick(dim(*axis), *index)),
        Source::Split(axis, into) => along(b, &[dim(*axis)], x[0], |_| Op::Split(dim(*axis), dims(into))),
        Source::Flatten(from, into) => along(b, &dims(from), x[0], |from| Op::Flatten(from, dim(*into))),
        Source::Cat(parts, into) => {
            let x: Vec<ValueId> = x.iter().zip(parts).map(|(x, part)| b.expand(*x, &[dim(*part)])).collect();
            b.op(Op::Cat(dims(parts), dim(*into)), &x)
        }
        Source::Cut { from, offset, into } => {
            let cut = Op::Cut { from: dim(*from), offset: *offset, into: dim(*into) };
            along(b, &[dim(*from)], x[0], |_| cut)
        }
        Source::Expand(new) => b.expand(x[0], &dims(new)),
        Source::Rename(from, to) => b.rename(x[0], dim(*from), dim(*to)),
        Source::Linear(map) => linear(b, map, x),
        Source::Dropout { path } if training => b.op(Op::Dropout { path: path.clone() }, x),
        Source::Dropout { .. } => x[0],
        Source::StopGrad => b.op(Op::StopGrad, x),
        Source::Anneal { steps, start, shape } => anneal(b, x[0], x[1], *steps, *start, *shape),
        Source::Draw(_)
        | Source::Input(_)
        | Source::Pos
        | Source::Capture(_)
        | Source::Past(_)
        | Source::Lag
        | Source::State(_)
        | Source::Embed { .. }
        | Source::TokenMean
        | Source::Window { .. }
        | Source::Scan(_)
        | Source::Attend(_)
        | Source::Emit(_) => panic!("archc bug: {op:?} stands where it has no meaning"),
    }
}

/// An op over dimensions of x, which is first broadcast along those that it lacks.
fn along(b: &mut Builder<'_>, over: &[DimId], x: ValueId, op: impl FnOnce(Vec<DimId>) -> Op) -> ValueId {
    let x = b.expand(x, over);
    b.op(op(over.to_vec()), &[x])
}

/// The median; of an even count the mean of the middle two.
fn median(b: &mut Builder<'_>, over: &[DimId], x: ValueId) -> ValueId {
    let x = b.expand(x, over);
    let sizes = over.iter().map(|d| match b.dims[d.0 as usize].extent {
        Extent::Fixed(n) => n,
        other => panic!("archc bug: a median over {other:?}"),
    });
    let count: usize = sizes.product();
    let (x, dim) = match over {
        [dim] => (x, *dim),
        _ => {
            let all = b.dim("sorted", Extent::Fixed(count), FIXED);
            (b.op(Op::Flatten(over.to_vec(), all), &[x]), all)
        }
    };
    let sorted = b.op(Op::Sort(dim), &[x]);
    let upper = b.op(Op::Pick(dim, (count - 1) / 2), &[sorted]);
    if count % 2 == 1 {
        return upper;
    }
    let lower = b.op(Op::Pick(dim, count / 2), &[sorted]);
    let (sum, half) = (b.add(upper, lower), b.number(0.5));
    b.mul(sum, half)
}

/// y = sum_i sum over IN_i of x_i w_i + bias.
/// An OUT axis that is also an axis of IN has a twin in the weights (one for all of them, declared in the order of OUT), which is the
/// result's axis in the contractions.
/// under which it comes out of the contractions.
fn linear(b: &mut Builder<'_>, map: &Linear, x: &[ValueId]) -> ValueId {
    let (inputs, weights) = x.split_at(map.contracted.len());
    let both = |a: &AxisId| map.contracted.iter().flatten().any(|i| i == a);
    let twinned: Vec<DimId> = map.out.iter().filter(|a| both(a)).map(|a| dim(*a)).collect();
    let mut twins: Vec<DimId> = Vec::new();
    let mut sum: Option<ValueId> = None;
    for ((x, weight), contracted) in inputs.iter().zip(weights).zip(&map.contracted) {
        let own = dims(&[map.per.as_slice(), &map.out, contracted].concat());
        twins = b.dims_of(*weight).iter().copied().filter(|d| !own.contains(d)).collect();
        assert!(twins.len() == twinned.len(), "archc bug: a weight over {:?} for {map:?}", b.dims_of(*weight));
        let term = b.contract(*x, *weight, &dims(contracted));
        sum = Some(sum.map_or(term, |sum| b.add(sum, term)));
    }
    let sum = sum.expect("archc bug: a linear without inputs");
    let mut named = |x: ValueId| twins.iter().zip(&twinned).fold(x, |x, (twin, axis)| b.rename(x, *twin, *axis));
    let y = named(sum);
    match weights.get(inputs.len()) {
        Some(bias) if map.bias => {
            let bias = named(*bias);
            b.add(y, bias)
        }
        _ => y,
    }
}

/// Interpolation from a to b over the updates; weighted sums, exact at both ends.
fn anneal(b: &mut Builder<'_>, from: ValueId, to: ValueId, steps: f64, start: f64, shape: AnnealShape) -> ValueId {
    let step = b.op(Op::Step, &[]);
    let (start, steps, zero, one) = (b.number(start), b.number(steps), b.number(0.0), b.number(1.0));
    let moved = b.sub(step, start);
    let u = b.binary(BinaryOp::Div, moved, steps);
    let u = b.binary(BinaryOp::Max, u, zero);
    let u = b.binary(BinaryOp::Min, u, one);
    let u = match shape {
        AnnealShape::Linear => u,
        AnnealShape::Cosine => {
            let (pi, two) = (b.number(std::f64::consts::PI), b.number(2.0));
            let angle = b.mul(u, pi);
            let cos = b.unary(UnaryOp::Cos, angle);
            let twice = b.sub(one, cos);
            b.binary(BinaryOp::Div, twice, two)
        }
        AnnealShape::Exp => {
            let ratio = b.binary(BinaryOp::Div, to, from);
            let power = b.binary(BinaryOp::Pow, ratio, u);
            return b.mul(from, power);
        }
    };
    let rest = b.sub(one, u);
    let (left, right) = (b.mul(from, rest), b.mul(to, u));
    b.add(left, right)
}
