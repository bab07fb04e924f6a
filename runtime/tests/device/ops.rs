//! Tests of every op that does not involve time: values by hand, gradients against differences.

use crate::build::{Build, Nodes};
use crate::check::{check_gradients, exact, known, random_batch, session, within};
use archc_compiler::graph::*;
use archc_compiler::ops::Trait;
use archc_runtime::{Batch, Objective, Tensor};

/// Checks the gradients of y = op(x), for one input over [D, E] scaled and shifted into the op's domain.
fn check_op(scale: f64, shift: f64, op: impl FnOnce(&mut Build, NodeId, AxisId, AxisId) -> NodeId) {
    let mut g = Build::new();
    let (d, e) = (g.axis("D", 3), g.axis("E", 4));
    let x = g.input("x", &[d, e]);
    let (a, b) = (g.number(scale), g.number(shift));
    let scaled = g.mul(x, a);
    let moved = g.add(scaled, b);
    let y = op(&mut g, moved, d, e);
    g.output(y);
    let graph = g.done();
    check_gradients(&graph, &random_batch(&graph, 2, 2));
}

/// The outputs and input gradients of a graph of one input of shape [1, 1, n].
fn at(x: &[f64], op: impl FnOnce(&mut Build, NodeId, AxisId) -> NodeId) -> (Vec<f64>, Vec<f64>) {
    let mut g = Build::new();
    let d = g.axis("D", x.len());
    let input = g.input("x", &[d]);
    let y = op(&mut g, input, d);
    g.output(y);
    let graph = g.done();
    let tensor = Tensor { shape: vec![1, 1, x.len()], data: x.to_vec() };
    let batch = Batch { batch: 1, len: 1, inputs: [("x".to_string(), tensor)].into(), ..Default::default() };
    let mut session = session(&graph, exact());
    let output = session.forward(&batch, None).unwrap().outputs.remove("output").unwrap();
    let ones = Tensor { shape: output.shape.clone(), data: (1..=output.data.len()).map(|i| i as f64).collect() };
    let r = [("output".to_string(), ones)].into();
    let gradients = session.gradients(&batch, Objective::Cotangents(&r)).unwrap();
    (output.data, gradients.inputs["x"].data.clone())
}

fn unary_at(op: UnaryOp, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    at(x, |g, x, _| g.unary(op, x))
}

#[test]
fn smooth_unary_ops() {
    use UnaryOp::*;
    // at 0 these are not
    let smooth = UnaryOp::CALLED.iter().copied().filter(|op| op.is(Trait::Smooth) && ![Abs, Relu].contains(op));
    let all: Vec<UnaryOp> = smooth.chain([Neg, Not, Powi(2), Powi(3), Powi(-1), Powi(-2), Powi(1)]).collect();
    for op in all.iter().copied().filter(|op| !op.domain().has_pole()) {
        check_op(1.0, 0.1, |g, x, _, _| g.unary(op, x));
    }
    for op in all.into_iter().filter(|op| op.domain().has_pole()) {
        // exp keeps the argument positive and away from 0.
        check_op(0.3, 0.5, |g, x, _, _| {
            let positive = g.unary(Exp, x);
            g.unary(op, positive)
        });
    }
}

#[test]
fn unary_ops_where_they_are_not_smooth() {
    assert_eq!(unary_at(UnaryOp::Abs, &[-2.0, 0.0, 3.0]), (vec![2.0, 0.0, 3.0], vec![-1.0, 0.0, 3.0]));
    assert_eq!(unary_at(UnaryOp::Sign, &[-2.0, 0.0, 3.0]), (vec![-1.0, 0.0, 1.0], vec![0.0; 3]));
    assert_eq!(unary_at(UnaryOp::Floor, &[-1.5, 0.5, 2.0]), (vec![-2.0, 0.0, 2.0], vec![0.0; 3]));
    assert_eq!(unary_at(UnaryOp::Relu, &[-1.0, 0.0, 2.0]), (vec![0.0, 0.0, 2.0], vec![0.0, 0.0, 3.0]));
    assert_eq!(unary_at(UnaryOp::Sqrt, &[0.0, 4.0]), (vec![0.0, 2.0], vec![0.0, 0.5]));
    assert_eq!(unary_at(UnaryOp::Elu, &[0.0, 4.0]), (vec![0.0, 4.0], vec![1.0, 2.0]));
    assert_eq!(unary_at(UnaryOp::Powi(3), &[-2.0, 0.0]), (vec![-8.0, 0.0], vec![12.0, 0.0]));
    assert_eq!(unary_at(UnaryOp::Powi(0), &[-2.0, 0.0]), (vec![1.0, 1.0], vec![0.0, 0.0]));
}

#[test]
fn unary_ops_far_out() {
    let big = 800.0;
    assert_eq!(unary_at(UnaryOp::Sigmoid, &[-big, big]), (vec![0.0, 1.0], vec![0.0, 0.0]));
    assert_eq!(unary_at(UnaryOp::Softplus, &[-big, big]), (vec![0.0, big], vec![0.0, 2.0]));
    assert_eq!(unary_at(UnaryOp::Silu, &[-big, big]), (vec![-0.0, big], vec![0.0, 2.0]));
    assert_eq!(unary_at(UnaryOp::Tanh, &[-big, big]).0, [-1.0, 1.0]);
    let (y, _) = unary_at(UnaryOp::Gelu, &[1.0]);
    // Phi(1) by table.
    assert!((y[0] - 0.841_344_746_068_542_9).abs() < within(1e-15));
}

#[test]
fn binary_ops_broadcast_by_name() {
    use BinaryOp::*;
    for op in [Add, Sub, Mul, Div, Pow, Min, Max, Rem] {
        for swapped in [false, true] {
            let mut g = Build::new();
            let (d, e, f) = (g.axis("D", 2), g.axis("E", 3), g.axis("F", 2));
            let wide = g.input("x", &[e, d]);
            // Mul and Div may form outer products; the others broadcast one into the other.
            let axes = if matches!(op, Mul | Div) { vec![f, d] } else { vec![d] };
            let narrow = g.param("w", &axes, ParamKind::Free);
            let (wide, narrow) = (g.unary(UnaryOp::Exp, wide), g.unary(UnaryOp::Exp, narrow));
            let y = if swapped { g.binary(op, narrow, wide) } else { g.binary(op, wide, narrow) };
            g.output(y);
            let graph = g.done();
            check_gradients(&graph, &random_batch(&graph, 2, 2));
        }
    }
}

#[test]
fn binary_ops_where_they_are_not_smooth() {
    let constant = |value: f64, op: BinaryOp, x: f64| {
        at(&[x], |g, x, _| {
            let c = g.number(value);
            g.binary(op, x, c)
        })
    };
    assert_eq!(constant(2.0, BinaryOp::Max, 2.0), (vec![2.0], vec![0.5]), "a tie is shared");
    assert_eq!(constant(2.0, BinaryOp::Min, 2.0), (vec![2.0], vec![0.5]), "a tie is shared");
    assert_eq!(constant(2.0, BinaryOp::Max, 1.0), (vec![2.0], vec![0.0]));
    assert_eq!(constant(2.0, BinaryOp::Pow, 0.0), (vec![0.0], vec![0.0]));
    assert_eq!(constant(1.0, BinaryOp::Pow, 0.0), (vec![0.0], vec![1.0]));
    assert_eq!(constant(3.0, BinaryOp::Rem, -1.0), (vec![2.0], vec![1.0]));
    for (op, less, same, more) in [
        (BinaryOp::Eq, 0.0, 1.0, 0.0),
        (BinaryOp::Ne, 1.0, 0.0, 1.0),
        (BinaryOp::Lt, 1.0, 0.0, 0.0),
        (BinaryOp::Le, 1.0, 1.0, 0.0),
        (BinaryOp::Gt, 0.0, 0.0, 1.0),
        (BinaryOp::Ge, 0.0, 1.0, 1.0),
    ] {
        for (x, want) in [(1.0, less), (2.0, same), (3.0, more)] {
            assert_eq!(constant(2.0, op, x), (vec![want], vec![0.0]), "{op:?} {x}");
        }
    }
    // The exponent's gradient at base 0 is the limit, not NaN.
    let (_, g) = at(&[2.0], |g, x, _| {
        let zero = g.number(0.0);
        g.binary(BinaryOp::Pow, zero, x)
    });
    assert_eq!(g, [0.0]);
}

#[test]
fn select_hides_what_it_does_not_choose() {
    // log of the negative numbers is NaN; neither value nor gradient may show it.
    let (y, g) = at(&[-1.0, 4.0], |g, x, _| {
        let zero = g.number(0.0);
        let positive = g.binary(BinaryOp::Gt, x, zero);
        let log = g.unary(UnaryOp::Log, x);
        g.op(Op::Select, &[positive, log, x])
    });
    known(&y, &[-1.0, 4f64.ln()], "values");
    known(&g, &[1.0, 0.5], "gradients");
    check_op(1.0, 0.0, |g, x, d, _| {
        let c = g.op(Op::Index(vec![d]), &[]);
        let narrow = g.param("w", &[d], ParamKind::Free);
        g.op(Op::Select, &[c, x, narrow])
    });
}

#[test]
fn reductions() {
    use ReduceOp::*;
    let all = [
        Sum,
        Mean,
        Max,
        Min,
        Var { sample: false },
        Var { sample: true },
        Std { sample: false },
        Std { sample: true },
        Norm,
        LogSumExp,
        Median,
    ];
    for op in all {
        check_op(1.0, 0.2, |g, x, _, e| g.reduce(op, &[e], x));
        check_op(1.0, 0.2, |g, x, d, _| g.reduce(op, &[d], x));
        check_op(1.0, 0.2, |g, x, d, e| g.reduce(op, &[e, d], x));
    }
}

#[test]
fn reductions_at_ties_and_zeros() {
    let reduce = |op, x: &[f64]| at(x, |g, x, d| g.reduce(op, &[d], x));
    assert_eq!(reduce(ReduceOp::Max, &[1.0, 3.0, 3.0]), (vec![3.0], vec![0.0, 0.5, 0.5]));
    assert_eq!(reduce(ReduceOp::Min, &[1.0, 1.0, 3.0]), (vec![1.0], vec![0.5, 0.5, 0.0]));
    assert_eq!(reduce(ReduceOp::Norm, &[0.0, 0.0]), (vec![0.0], vec![0.0, 0.0]));
    assert_eq!(reduce(ReduceOp::Std { sample: false }, &[2.0, 2.0]), (vec![0.0], vec![0.0, 0.0]));
    assert_eq!(reduce(ReduceOp::Var { sample: true }, &[1.0, 3.0]), (vec![2.0], vec![-2.0, 2.0]));
    assert_eq!(reduce(ReduceOp::LogSumExp, &[1000.0]), (vec![1000.0], vec![1.0]));
    assert_eq!(reduce(ReduceOp::Median, &[7.0]), (vec![7.0], vec![1.0]));
    assert_eq!(reduce(ReduceOp::Median, &[3.0, 1.0, 2.0]), (vec![2.0], vec![0.0, 0.0, 1.0]));
    assert_eq!(reduce(ReduceOp::Median, &[4.0, 1.0, 3.0, 2.0]), (vec![2.5], vec![0.0, 0.0, 0.5, 0.5]));
    // sorted from the largest, equal ones by index: 3 3 1 1
    assert_eq!(reduce(ReduceOp::Median, &[1.0, 3.0, 1.0, 3.0]), (vec![2.0], vec![0.5, 0.0, 0.0, 0.5]));
}

#[test]
fn contractions() {
    // Shared kept axes, axes of one side, several contracted axes, and one that only one side has.
    let mut g = Build::new();
    let [h, k, v, d, o] = [("H", 2), ("K", 3), ("V", 2), ("D", 2), ("O", 2)].map(|(n, s)| g.axis(n, s));
    let a = g.input("a", &[h, k, d, o]);
    let b = g.param("b", &[k, v, d, h], ParamKind::Free);
    let y = g.contract(&[k, d, o], a, b);
    g.output(y);
    let graph = g.done();
    check_gradients(&graph, &random_batch(&graph, 2, 2));
}

#[test]
fn a_contraction_is_the_sum_of_the_product() {
    // Sizes on both sides of the switch to packed matrix products.
    for size in [2, 40] {
        let mut g = Build::new();
        let [k, v, d] = [("K", size), ("V", 7), ("D", 9)].map(|(n, s)| g.axis(n, s));
        let a = g.input("a", &[v, k]);
        let b = g.input("b", &[k, d]);
        let y = g.contract(&[k], a, b);
        let product = g.mul(a, b);
        let sum = g.reduce(ReduceOp::Sum, &[k], product);
        g.output(y);
        g.output(sum);
        let graph = g.done();
        let out = session(&graph, exact()).forward(&random_batch(&graph, 3, 5), None).unwrap().outputs;
        // Two orders of up to 40 additions.
        assert!(crate::check::distance(&out["output"], &out["output1"]) < within(1e-14));
    }
}

#[test]
fn ops_along_an_axis() {
    check_op(1.0, 0.0, |g, x, d, _| g.op(Op::Softmax(vec![d]), &[x]));
    check_op(1.0, 0.0, |g, x, d, e| g.op(Op::Softmax(vec![e, d]), &[x]));
    check_op(1.0, 0.0, |g, x, d, _| g.op(Op::Sparsemax(d), &[x]));
    check_op(1.0, 0.0, |g, x, d, _| g.op(Op::Cumsum(d), &[x]));
    check_op(1.0, 0.0, |g, x, _, e| g.op(Op::Sort(e), &[x]));
    check_op(1.0, 0.0, |g, x, d, _| g.op(Op::Sort(d), &[x]));
    check_op(1.0, 0.0, |g, x, _, e| g.op(Op::TopK(e, 2), &[x]));
}

#[test]
fn ops_along_an_axis_by_hand() {
    let op = |op: fn(AxisId) -> Op, x: &[f64]| at(x, |g, x, d| g.op(op(d), &[x]));
    assert_eq!(op(Op::Cumsum, &[1.0, 2.0, 3.0]), (vec![1.0, 3.0, 6.0], vec![6.0, 5.0, 3.0]));
    assert_eq!(op(Op::Sort, &[1.0, 3.0, 2.0]), (vec![3.0, 2.0, 1.0], vec![3.0, 1.0, 2.0]));
    // 0 and -0 are a tie as well: sorting keeps their order, and so does its gradient.
    assert_eq!(op(Op::Sort, &[-0.0, 0.0, 1.0]).1, [2.0, 3.0, 1.0]);
    assert_eq!(op(|d| Op::TopK(d, 1), &[-0.0, 0.0]).1, [1.0, 0.0]);
    // Ties: the lower index first.
    assert_eq!(op(|d| Op::TopK(d, 2), &[1.0, 3.0, 1.0]), (vec![1.0, 3.0, 0.0], vec![1.0, 2.0, 0.0]));
    // 0.75 and 0.25 are on the simplex already; the support's mean gradient is taken off.
    assert_eq!(op(Op::Sparsemax, &[0.75, 0.25, -1.0]), (vec![0.75, 0.25, 0.0], vec![-0.5, 0.5, 0.0]));
    let (y, _) = op(|d| Op::Softmax(vec![d]), &[1e4, 0.0]);
    assert_eq!(y, [1.0, 0.0]);
}

#[test]
fn layout_ops() {
    let part = |g: &mut Build, n: usize| g.axis("P", n);
    check_op(1.0, 0.0, |g, x, d, _| {
        let p = part(g, 2);
        let w = g.param("w", &[d], ParamKind::Free);
        let stacked = g.op(Op::Stack(p), &[w, x]);
        let weights = g.op(Op::Table(p, vec![2.0, -3.0]), &[]);
        g.mul(stacked, weights)
    });
    check_op(1.0, 0.0, |g, x, d, _| g.op(Op::Pick(d, 1), &[x]));
    check_op(1.0, 0.0, |g, x, _, e| {
        let (a, b) = (part(g, 2), part(g, 2));
        let i = g.op(Op::Index(vec![b, a]), &[]);
        let y = g.op(Op::Split(e, vec![a, b]), &[x]);
        g.mul(y, i)
    });
    check_op(1.0, 0.0, |g, x, d, e| {
        let f = part(g, 12);
        let y = g.op(Op::Flatten(vec![e, d], f), &[x]);
        let i = g.op(Op::Index(vec![f]), &[]);
        g.mul(y, i)
    });
    check_op(1.0, 0.0, |g, x, d, e| {
        let (k, j) = (part(g, 2), part(g, 6));
        let w = g.param("w", &[k], ParamKind::Free);
        let y = g.op(Op::Cat(vec![e, k], j), &[x, w]);
        let cut = part(g, 3);
        let y = g.op(Op::Cut { from: j, offset: 2, into: cut }, &[y]);
        let i = g.op(Op::Index(vec![cut, d]), &[]);
        g.mul(y, i)
    });
    check_op(1.0, 0.0, |g, x, d, _| {
        let (p, q) = (part(g, 2), part(g, 3));
        let wide = g.op(Op::Expand(vec![p]), &[x]);
        let i = g.op(Op::Index(vec![p]), &[]);
        let y = g.mul(wide, i);
        g.op(Op::Rename(d, q), &[y])
    });
}

#[test]
fn layout_ops_by_hand() {
    // [[0, 1, 2], [3, 4, 5]] over [A, B]; flattened [B, A] it is read by columns.
    let (y, _) = at(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], |g, x, d| {
        let (a, b, f) = (g.axis("A", 2), g.axis("B", 3), g.axis("F", 6));
        let y = g.op(Op::Split(d, vec![a, b]), &[x]);
        g.op(Op::Flatten(vec![b, a], f), &[y])
    });
    assert_eq!(y, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn linears() {
    // Several inputs, own weights per axis, an axis in IN and OUT, a bias, an input without a kept axis.
    let mut g = Build::new();
    let [h, d, m, o, d2] = [("H", 2), ("D", 3), ("M", 2), ("O", 2), ("D'", 3)].map(|(n, s)| g.axis(n, s));
    let x = g.input("x", &[d]);
    let y = g.input("y", &[h, m, d]);
    let w0 = g.param("w0", &[h, o, d2, d], ParamKind::Weight);
    let w1 = g.param("w1", &[h, o, d2, d, m], ParamKind::Weight);
    let bias = g.param("bias", &[h, o, d2], ParamKind::Bias);
    let map = Linear { contracted: vec![vec![d], vec![d, m]], per: vec![h], out: vec![o, d], bias: true };
    let z = g.op(Op::Linear(map), &[x, y, w0, w1, bias]);
    g.output(z);
    let graph = g.done();
    check_gradients(&graph, &random_batch(&graph, 2, 2));
}

#[test]
fn a_linear_with_the_same_axis_on_both_sides() {
    let mut g = Build::new();
    let d = g.axis("D", 2);
    let x = g.input("x", &[d]);
    let y = g.linear("w", &[d], &[d], x);
    g.output(y);
    let graph = g.done();
    let mut session = session(&graph, exact());
    let mut start = session.snapshot().unwrap();
    start.params.get_mut("w").unwrap().data = vec![1.0, 2.0, 3.0, 4.0];
    session.restore(&start).unwrap();
    let tensor = Tensor { shape: vec![1, 1, 2], data: vec![10.0, 1.0] };
    let batch = Batch { batch: 1, len: 1, inputs: [("x".to_string(), tensor)].into(), ..Default::default() };
    assert_eq!(session.forward(&batch, None).unwrap().outputs["output"].data, [12.0, 34.0]);
}

#[test]
fn stop_grad_and_anneal() {
    let (y, g) = at(&[2.0], |g, x, _| {
        let still = g.op(Op::StopGrad, &[x]);
        g.mul(x, still)
    });
    assert_eq!((y, g), (vec![4.0], vec![2.0]));
    for (shape, start, want) in [
        (AnnealShape::Linear, 5.0, 1.0),
        (AnnealShape::Linear, -1.0, 2.5),
        (AnnealShape::Cosine, -1.0, 2.5),
        (AnnealShape::Exp, -1.0, 2.0),
        (AnnealShape::Exp, -2.0, 4.0),
        (AnnealShape::Cosine, -9.0, 4.0),
    ] {
        // Half of the way from 1 to 4 after one of two updates.
        let (y, _) = at(&[0.0], |g, x, _| {
            let (a, b) = (g.number(1.0), g.number(4.0));
            let op = Op::Anneal { steps: 2.0, start, shape };
            let y = g.op(op, &[a, b]);
            g.add(x, y)
        });
        assert!((y[0] - want).abs() < within(1e-15), "{shape:?} from {start}: {}", y[0]);
    }
    check_op(1.0, 0.0, |g, x, d, _| {
        let (a, b) = (g.param("a", &[d], ParamKind::Free), g.param("b", &[d], ParamKind::Free));
        let (a, b) = (g.unary(UnaryOp::Exp, a), g.unary(UnaryOp::Exp, b));
        let exp = g.op(Op::Anneal { steps: 3.0, start: -1.0, shape: AnnealShape::Exp }, &[a, b]);
        let linear = g.op(Op::Anneal { steps: 3.0, start: -1.0, shape: AnnealShape::Linear }, &[a, b]);
        let sum = g.add(exp, linear);
        g.mul(x, sum)
    });
}

#[test]
fn nodes_that_nothing_reads_are_not_run() {
    let (y, _) = at(&[1.0], |g: &mut Build, x, d| {
        let nodes: &mut Nodes = g;
        nodes.op(Op::Pick(d, 0), &[x]);
        nodes.unary(UnaryOp::Neg, x)
    });
    assert_eq!(y, [-1.0]);
}
