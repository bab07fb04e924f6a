//! Operands of forms in f64, op by op over plain arrays.

use crate::graph::{AxisId, Graph, Op, ReduceOp};
use std::collections::BTreeMap;

/// Values along named axes, row-major in the order of the axes.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub axes: Vec<AxisId>,
    pub data: Vec<f64>,
}

/// A position: an index for each axis.
pub(super) type Index = BTreeMap<AxisId, usize>;

/// Element at a position; axes that the position lacks are at 0.
pub(super) fn at(graph: &Graph, x: &Tensor, index: &Index) -> f64 {
    let flat = x.axes.iter().fold(0, |flat, a| flat * graph.size(*a) + index.get(a).copied().unwrap_or(0));
    x.data[flat]
}

/// Evaluates an op that occurs in operands of forms; none for others.
pub(super) fn evaluate(graph: &Graph, op: &Op, axes: &[AxisId], x: &[&Tensor]) -> Option<Tensor> {
    let n: usize = axes.iter().map(|a| graph.size(*a)).product();
    let mut data = Vec::with_capacity(n);
    let mut index = Index::new();
    for flat in 0..n {
        index.clear();
        let mut rest = flat;
        for axis in axes.iter().rev() {
            index.insert(*axis, rest % graph.size(*axis));
            rest /= graph.size(*axis);
        }
        let get = |i: usize| at(graph, x[i], &index);
        let value = match op {
            Op::Const(c) => *c,
            Op::Table(axis, numbers) => numbers[index[axis]],
            Op::Index(along) => along.iter().fold(0, |i, a| i * graph.size(*a) + index[a]) as f64,
            Op::Unary(f) => f.of(get(0)),
            Op::Binary(f) => f.of(get(0), get(1)),
            Op::Select => {
                if get(0) != 0.0 {
                    get(1)
                } else {
                    get(2)
                }
            }
            Op::Expand(_) | Op::StopGrad => get(0),
            Op::Stack(axis) => get(index[axis]),
            Op::Reduce(ReduceOp::Sum, over) => {
                let count: usize = over.iter().map(|a| graph.size(*a)).product();
                let mut inner = index.clone();
                let one = |i: usize, inner: &mut Index| {
                    let mut rest = i;
                    for axis in over.iter().rev() {
                        inner.insert(*axis, rest % graph.size(*axis));
                        rest /= graph.size(*axis);
                    }
                    at(graph, x[0], inner)
                };
                (0..count).map(|i| one(i, &mut inner)).sum()
            }
            Op::Rename(from, to) => moved(graph, x[0], &index, &[(*from, index[to])]),
            Op::Pick(axis, i) => moved(graph, x[0], &index, &[(*axis, *i)]),
            Op::Cut { from, offset, into } => moved(graph, x[0], &index, &[(*from, offset + index[into])]),
            Op::Split(from, into) => {
                let flat = into.iter().fold(0, |i, a| i * graph.size(*a) + index[a]);
                moved(graph, x[0], &index, &[(*from, flat)])
            }
            Op::Flatten(from, into) => {
                let mut rest = index[into];
                let mut to = Vec::new();
                for axis in from.iter().rev() {
                    to.push((*axis, rest % graph.size(*axis)));
                    rest /= graph.size(*axis);
                }
                moved(graph, x[0], &index, &to)
            }
            _ => return None,
        };
        data.push(value);
    }
    Some(Tensor { axes: axes.to_vec(), data })
}

fn moved(graph: &Graph, x: &Tensor, index: &Index, to: &[(AxisId, usize)]) -> f64 {
    let mut index = index.clone();
    index.extend(to.iter().copied());
    at(graph, x, &index)
}
