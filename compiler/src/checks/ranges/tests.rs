use super::*;
use crate::ops::testing::{Build, binary, node};

/// Range of an expression over an input `[D]` (D = 4), and the reported codes.
fn range(body: impl FnOnce(&mut Build, NodeId) -> NodeId) -> (String, Vec<&'static str>) {
    let mut b = Build::new();
    let d = b.axis("D", 4);
    let x = b.input(&[d]);
    let y = body(&mut b, x);
    b.output(y);
    let flow = Flow::new(&b.graph);
    let ranges = Ranges::new(&flow);
    (ranges.of_node(y).to_string(), check_ranges(&ranges).iter().map(|d| d.code).collect())
}

fn along(b: &mut Build, op: fn(Vec<AxisId>) -> Op, x: NodeId) -> NodeId {
    let axes = b.graph.dag.ty(x).axes.clone();
    b.node(op(axes.clone()), &axes, &[x])
}

const FINE: Vec<&str> = Vec::new();

#[test]
fn what_is_divided_by_itself_and_more_is_a_share() {
    let over = |divisor: fn(&mut Build, NodeId) -> NodeId, above: fn(&mut Build, NodeId) -> NodeId| {
        range(move |b, x| {
            let (below, one, x) = (divisor(b, x), b.constant(1.0), above(b, x));
            let below = b.add(below, one);
            b.binary(BinaryOp::Div, x, below)
        })
    };
    let square: fn(&mut Build, NodeId) -> NodeId = |b, x| b.unary(UnaryOp::Powi(2), x);
    let size: fn(&mut Build, NodeId) -> NodeId = |b, x| b.unary(UnaryOp::Abs, x);
    let thrice: fn(&mut Build, NodeId) -> NodeId = |b, x| {
        let three = b.constant(3.0);
        b.mul(three, x)
    };
    let softsign = over(size, |_, x| x);
    assert_eq!(softsign, ("[-1, 1]".into(), FINE));
    assert_eq!(over(square, square), ("[0, 1]".into(), FINE));
    assert_eq!(over(size, thrice), ("[-3, 3]".into(), FINE));
    // a term of the divisor that may be negative removes the bound
    let open = over(
        |b, x| {
            let square = b.unary(UnaryOp::Powi(2), x);
            b.add(square, x)
        },
        square,
    );
    assert_ne!(open.0, "[0, 1]");
}

#[test]
fn norms_and_decays_of_the_library_are_fine() {
    let d = AxisId(0);
    let rms = range(|b, x| {
        let square = b.unary(UnaryOp::Powi(2), x);
        let mean = b.node(Op::Reduce(ReduceOp::Mean, vec![d]), &[], &[square]);
        let eps = b.constant(1e-5);
        let mean = b.add(mean, eps);
        let scale = b.unary(UnaryOp::Rsqrt, mean);
        b.mul(x, scale)
    });
    assert_eq!(rms, ("[-2, 2]".into(), FINE), "|x| / rms(x) <= sqrt(D)");
    assert_eq!(range(|b, x| b.l2norm(&[d], x)), ("[-1, 1]".into(), FINE));
    let decay = range(|b, x| {
        let a_log = b.param("A_log", &[d]);
        let rate = b.unary(UnaryOp::Exp, a_log);
        let dt = b.unary(UnaryOp::Softplus, x);
        let rate = b.mul(rate, dt);
        let rate = b.unary(UnaryOp::Neg, rate);
        b.unary(UnaryOp::Exp, rate)
    });
    assert_eq!(decay, ("(0, 1)".into(), FINE));
    let rwkv = range(|b, x| {
        let inner = b.unary(UnaryOp::Exp, x);
        let inner = b.unary(UnaryOp::Neg, inner);
        b.unary(UnaryOp::Exp, inner)
    });
    assert_eq!(rwkv, ("(0, 1)".into(), FINE), "a large inner exp does no harm");
    let temperature = range(|b, x| {
        let temp = b.param("temp", &[]);
        let temp = b.unary(UnaryOp::Softplus, temp);
        let eps = b.constant(1e-4);
        let temp = b.add(temp, eps);
        b.binary(BinaryOp::Div, x, temp)
    });
    assert_eq!(temperature.1, FINE);
}

#[test]
fn domains() {
    let of = |op: UnaryOp| range(|b, x| b.unary(op, x)).1;
    assert_eq!(of(UnaryOp::Log), ["W0701"]);
    assert_eq!(of(UnaryOp::Log1p), ["W0701"]);
    assert_eq!(of(UnaryOp::Sqrt), ["W0702"]);
    assert_eq!(of(UnaryOp::Rsqrt), ["W0702"]);
    assert_eq!(of(UnaryOp::Exp), ["W0705"]);
    assert_eq!(range(|b, x| b.binary(BinaryOp::Div, x, x)).1, ["W0703"]);
    // x^-1 divides as well
    assert_eq!(range(|b, x| b.unary(UnaryOp::Powi(-1), x)).1, ["W0703"]);
    assert_eq!(range(|b, x| b.unary(UnaryOp::Log2, x)).1, ["W0701"]);
    assert_eq!(range(|b, x| b.binary(BinaryOp::Pow, x, x)).1, ["W0704"]);
    let relu = range(|b, x| {
        let y = b.unary(UnaryOp::Relu, x);
        b.unary(UnaryOp::Log, y)
    });
    assert_eq!(relu.1, ["W0701"], "relu reaches 0");
    let sigmoid = range(|b, x| {
        let y = b.unary(UnaryOp::Sigmoid, x);
        b.unary(UnaryOp::Log, y)
    });
    assert_eq!(sigmoid, ("(-inf, 0)".into(), FINE), "sigmoid does not");
    let never = range(|b, x| {
        let y = b.unary(UnaryOp::Sigmoid, x);
        let y = b.unary(UnaryOp::Neg, y);
        b.unary(UnaryOp::Log, y)
    });
    assert_eq!(never.1, ["E0701"]);
    let zero = range(|b, x| {
        let zero = b.constant(0.0);
        b.binary(BinaryOp::Div, x, zero)
    });
    assert_eq!(zero.1, ["E0703"]);
    let root = range(|b, x| {
        let y = b.unary(UnaryOp::Tanh, x);
        let two = b.constant(2.0);
        let y = b.binary(BinaryOp::Sub, y, two);
        b.unary(UnaryOp::Sqrt, y)
    });
    assert_eq!(root.1, ["E0702"]);
}

#[test]
fn relations() {
    use BinaryOp::{Div, Max, Min, Sub};
    let d = AxisId(0);
    let stabilised = range(|b, x| {
        let y = b.param("y", &[d]);
        let (f, m) = (b.add(x, y), b.add(y, x)); // the same sum written twice
        let m = b.binary(Max, m, y);
        let z = b.binary(Sub, f, m);
        b.unary(UnaryOp::Exp, z)
    });
    assert_eq!(stabilised, ("(0, 1]".into(), FINE));
    let above_min = range(|b, x| {
        let y = b.param("y", &[d]);
        let m = b.binary(Min, x, y);
        b.binary(Sub, x, m)
    });
    assert_eq!(above_min.0, "[0, inf)");
    let below_lse = range(|b, x| {
        let l = b.node(Op::Reduce(ReduceOp::LogSumExp, vec![d]), &[], &[x]);
        let z = b.binary(Sub, x, l);
        b.unary(UnaryOp::Exp, z)
    });
    assert_eq!(below_lse, ("(0, 1]".into(), FINE));
    let mix = |b: &mut Build, x: NodeId, low: NodeId| {
        let a = b.unary(UnaryOp::Sigmoid, x);
        let one = b.constant(1.0);
        let rest = b.binary(Sub, one, a);
        let (p, q) = (b.mul(rest, low), b.mul(a, low));
        (a, p, q)
    };
    // a + (1 - a) b
    let floor = range(|b, x| {
        let low = b.param("low", &[d]);
        let low = b.unary(UnaryOp::Sigmoid, low);
        let (a, p, _) = mix(b, x, low);
        b.add(p, a)
    });
    assert_eq!(floor.0, "(0, 1]");
    // a y + (1 - a) y, y in [-1, 1]
    let mean = range(|b, x| {
        let low = b.param("low", &[d]);
        let low = b.unary(UnaryOp::Tanh, low);
        let (_, p, q) = mix(b, x, low);
        b.add(q, p)
    });
    assert_eq!(mean.0, "(-1, 1)");
    // y + w (x - y)
    let towards = range(|b, x| {
        let (y, z) = (b.unary(UnaryOp::Tanh, x), b.unary(UnaryOp::Sin, x));
        let w = b.unary(UnaryOp::Sigmoid, x);
        let step = b.binary(Sub, z, y);
        let step = b.mul(w, step);
        b.add(y, step)
    });
    assert_eq!(towards.0, "[-1, 1]");
    let cumulative = range(|b, x| {
        let p = along(b, Op::Softmax, x);
        b.node(Op::Cumsum(d), &[d], &[p])
    });
    assert_eq!(cumulative.0, "(0, 1]");
    let routed = range(|b, x| {
        let p = along(b, Op::Softmax, x);
        let t = b.node(Op::TopK(d, 2), &[d], &[p]);
        let total = b.sum(&[d], t);
        b.binary(Div, t, total)
    });
    assert_eq!(routed, ("[0, 1]".into(), FINE), "the largest of 4 shares is at least a quarter");
    let fused = range(|b, x| {
        let p = along(b, Op::Softmax, x);
        let y = b.unary(UnaryOp::Tanh, x);
        let y = b.mul(p, y);
        b.sum(&[d], y)
    });
    assert_eq!(fused.0, "(-1, 1)");
    let cosine = range(|b, x| {
        let (p, w) = (b.l2norm(&[d], x), b.param("w", &[d]));
        let q = b.l2norm(&[d], w);
        let y = b.mul(p, q);
        b.sum(&[d], y)
    });
    assert_eq!(cosine.0, "[-1, 1]", "Cauchy-Schwarz");
}

#[test]
fn states_find_their_range() {
    let scan = |update: fn(&mut crate::graph::Dag, [NodeId; 3]) -> NodeId| {
        range(move |b, x| {
            let d = AxisId(0);
            let gate = b.unary(UnaryOp::Sigmoid, x);
            let y = b.unary(UnaryOp::Tanh, x);
            let zero = b.constant(0.0);
            let scan = b.scan(&[("s", &[d], zero)], &[y, gate], |body| {
                let s = node(body, Op::State(0), &[d], &[]);
                let y = node(body, Op::Capture(0), &[d], &[]);
                let gate = node(body, Op::Capture(1), &[d], &[]);
                let next = update(body, [s, y, gate]);
                (vec![next], vec![("o", next)])
            });
            b.emit(scan, 0)
        })
    };
    use BinaryOp::{Add, Max, Mul, Sub};
    let mean = scan(|g, [s, y, a]| {
        let one = node(g, Op::Const(1.0), &[], &[]);
        let rest = binary(g, Sub, one, a);
        let (old, new) = (binary(g, Mul, a, s), binary(g, Mul, rest, y));
        binary(g, Add, old, new)
    });
    assert_eq!(mean.0, "(-1, 1)", "a running mean stays where its inputs are");
    let largest = scan(|g, [s, y, _]| binary(g, Max, s, y));
    assert_eq!(largest.0, "[0, 1)");
    let total = scan(|g, [s, _, a]| binary(g, Add, s, a));
    assert_eq!(total.0, "(0, inf)", "a sum of positive values is positive");
    let any = scan(|g, [s, y, _]| binary(g, Add, s, y));
    assert_eq!(any.0, "(-inf, inf)");
}

#[test]
fn recipes_of_parameters_are_checked() {
    let find = |low: f64, high: f64| {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let w = b.param("w", &[d]);
        let mut init = crate::graph::Dag::new();
        let (low, high) = (node(&mut init, Op::Const(low), &[], &[]), node(&mut init, Op::Const(high), &[], &[]));
        let draw = node(&mut init, Op::Draw(crate::graph::Draw::LogUniform), &[], &[low, high]);
        // softplus_inverse(y) = y + log(-expm1(-y))
        let n = node(&mut init, Op::Unary(UnaryOp::Neg), &[], &[draw]);
        let n = node(&mut init, Op::Unary(UnaryOp::Expm1), &[], &[n]);
        let n = node(&mut init, Op::Unary(UnaryOp::Neg), &[], &[n]);
        let n = node(&mut init, Op::Unary(UnaryOp::Log), &[], &[n]);
        b.graph.params[0].init_value = binary(&mut init, BinaryOp::Add, draw, n);
        b.graph.params[0].init = init;
        let y = b.mul(x, w);
        b.output(y);
        let flow = Flow::new(&b.graph);
        check_ranges(&Ranges::new(&flow)).iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(find(0.001, 0.1), FINE);
    assert_eq!(find(-1.0, 0.1), ["W0701"]);
}
