use super::{canonical_hash, canonical_roles, family_hash};
use crate::graph::{BinaryOp, Graph, NodeId, Op, ReduceOp, UnaryOp};
use crate::ops::testing::{Build, binary, delta_net, delta_net_with, node};
use crate::passes::optimize;

/// Hash of a block over two inputs `[D]`, D = 4, and one weight `[D]`.
fn of(body: impl FnOnce(&mut Build, NodeId, NodeId, NodeId) -> NodeId) -> String {
    canonical_hash(&graph(4, body)).to_string()
}

fn graph(size: usize, body: impl FnOnce(&mut Build, NodeId, NodeId, NodeId) -> NodeId) -> Graph {
    let mut b = Build::new();
    let d = b.axis("D", size);
    let (x, y) = (b.input(&[d]), b.input(&[d]));
    let w = b.param("w", &[d]);
    let out = body(&mut b, x, y, w);
    b.output(out);
    b.graph
}

#[test]
fn ways_to_write_the_same() {
    use BinaryOp::{Div, Gt, Lt, Max, Sub};
    type Body = fn(&mut Build, NodeId, NodeId, NodeId) -> NodeId;
    let same: &[(&str, Body, Body)] = &[
        ("x + y = y + x", |b, x, y, _| b.add(x, y), |b, x, y, _| b.add(y, x)),
        (
            "a - b = a + -b",
            |b, x, y, _| b.binary(Sub, x, y),
            |b, x, y, _| {
                let n = b.unary(UnaryOp::Neg, y);
                b.add(n, x)
            },
        ),
        ("x * x = x ^ 2", |b, x, _, _| b.mul(x, x), |b, x, _, _| b.unary(UnaryOp::Powi(2), x)),
        (
            "x + x = 2 * x",
            |b, x, _, _| b.add(x, x),
            |b, x, _, _| {
                let two = b.constant(2.0);
                b.mul(x, two)
            },
        ),
        (
            "--x = 1 * x + 0",
            |b, x, _, _| {
                let n = b.unary(UnaryOp::Neg, x);
                b.unary(UnaryOp::Neg, n)
            },
            |b, x, _, _| {
                let (one, zero) = (b.constant(1.0), b.constant(0.0));
                let x = b.mul(one, x);
                b.add(x, zero)
            },
        ),
        (
            "1 - sigmoid(x) = sigmoid(-x)",
            |b, x, _, _| {
                let (one, s) = (b.constant(1.0), b.unary(UnaryOp::Sigmoid, x));
                b.binary(Sub, one, s)
            },
            |b, x, _, _| {
                let n = b.unary(UnaryOp::Neg, x);
                b.unary(UnaryOp::Sigmoid, n)
            },
        ),
        (
            "(x * w) * y = w * (y * x)",
            |b, x, y, w| {
                let p = b.mul(x, w);
                b.mul(p, y)
            },
            |b, x, y, w| {
                let p = b.mul(y, x);
                b.mul(w, p)
            },
        ),
        (
            "a common subexpression written twice",
            |b, x, y, _| {
                let (p, q) = (b.unary(UnaryOp::Tanh, x), b.unary(UnaryOp::Tanh, x));
                let p = b.mul(p, y);
                b.add(p, q)
            },
            |b, x, y, _| {
                let p = b.unary(UnaryOp::Tanh, x);
                let q = b.mul(y, p);
                b.add(q, p)
            },
        ),
        (
            "x / sqrt(y) = x * rsqrt(y)",
            |b, x, y, _| {
                let r = b.unary(UnaryOp::Sqrt, y);
                b.binary(Div, x, r)
            },
            |b, x, y, _| {
                let r = b.unary(UnaryOp::Rsqrt, y);
                b.mul(r, x)
            },
        ),
        ("x > y = y < x", |b, x, y, _| b.binary(Gt, x, y), |b, x, y, _| b.binary(Lt, y, x)),
        (
            "max is associative",
            |b, x, y, w| {
                let m = b.binary(Max, x, y);
                b.binary(Max, m, w)
            },
            |b, x, y, w| {
                let m = b.binary(Max, w, y);
                b.binary(Max, x, m)
            },
        ),
        (
            "constants fold",
            |b, x, _, _| {
                let (two, three) = (b.constant(2.0), b.constant(3.0));
                let six = b.mul(two, three);
                b.mul(x, six)
            },
            |b, x, _, _| {
                let six = b.constant(6.0);
                b.mul(six, x)
            },
        ),
        (
            "dead code",
            |b, x, y, w| {
                let _ = b.mul(y, w);
                b.unary(UnaryOp::Tanh, x)
            },
            |b, x, _, _| b.unary(UnaryOp::Tanh, x),
        ),
    ];
    for (what, left, right) in same {
        assert_eq!(of(left), of(right), "{what}");
    }
}

#[test]
fn different_programs_differ() {
    type Body = fn(&mut Build, NodeId, NodeId, NodeId) -> NodeId;
    let programs: &[Body] = &[
        |b, x, y, _| b.add(x, y),
        |b, x, y, _| b.binary(BinaryOp::Sub, x, y),
        |b, x, y, _| b.binary(BinaryOp::Sub, y, x),
        |b, x, y, _| b.mul(x, y),
        |b, x, _, w| b.mul(x, w),
        |b, _, y, w| b.mul(y, w),
        |b, x, _, _| b.add(x, x),
        |b, x, _, _| b.mul(x, x),
        |b, x, y, _| b.binary(BinaryOp::Lt, x, y),
        |b, x, y, _| b.binary(BinaryOp::Le, x, y),
        |b, x, _, _| b.unary(UnaryOp::Sigmoid, x),
        |b, x, _, _| b.unary(UnaryOp::Silu, x),
    ];
    let hashes: std::collections::BTreeSet<String> = programs.iter().map(of).collect();
    assert_eq!(hashes.len(), programs.len());
}

#[test]
fn names_and_the_passes_change_nothing() {
    let graph = delta_net();
    let mut renamed = graph.clone();
    renamed.name = "Other".into();
    for (i, axis) in renamed.axes.iter_mut().enumerate() {
        axis.name = format!("A{i}");
    }
    for (i, param) in renamed.params.iter_mut().enumerate() {
        param.path = format!("p{i}.weight");
    }
    for id in graph.dag.ids() {
        renamed.dag.node_mut(id).name = format!("n{}", id.0);
    }
    assert_eq!(canonical_hash(&graph), canonical_hash(&renamed));
    assert_eq!(canonical_hash(&graph), canonical_hash(&optimize(&graph)));
    let other_gate = delta_net_with(true, |b, x| b.unary(UnaryOp::Softplus, x));
    assert_ne!(canonical_hash(&graph), canonical_hash(&other_gate));
    assert_ne!(canonical_hash(&graph), canonical_hash(&delta_net_with(false, |b, x| b.unary(UnaryOp::Sigmoid, x))));
}

#[test]
fn families_ignore_sizes_and_numbers() {
    let scaled = |size: usize, by: f64| {
        graph(size, move |b, x, y, w| {
            let c = b.constant(by);
            let p = b.mul(x, c);
            let p = b.mul(p, w);
            b.add(p, y)
        })
    };
    assert_ne!(canonical_hash(&scaled(4, 0.5)), canonical_hash(&scaled(8, 0.5)));
    assert_ne!(canonical_hash(&scaled(4, 0.5)), canonical_hash(&scaled(4, 0.25)));
    assert_eq!(family_hash(&scaled(4, 0.5)), family_hash(&scaled(8, 0.25)));
    assert_ne!(family_hash(&scaled(4, 0.5)), family_hash(&scaled(4, -0.5)));
    assert_ne!(family_hash(&scaled(4, 0.5)), family_hash(&scaled(4, 1.0)));
}

/// Two learned maps of x; one of them gates the other by `gate`, in the order given.
fn two_sites(first_gates: bool, norm_on_gate: bool) -> Graph {
    let mut b = Build::new();
    let d = b.axis("D", 4);
    let e = b.axis("E", 6);
    let x = b.input(&[d]);
    let p = b.linear("p", x, &[d], &[e]);
    let q = b.linear("q", x, &[d], &[e]);
    let (gate, value) = if first_gates { (p, q) } else { (q, p) };
    let value = if norm_on_gate { value } else { b.l2norm(&[e], value) };
    let gate = b.unary(UnaryOp::Sigmoid, gate);
    let gate = if norm_on_gate { b.l2norm(&[e], gate) } else { gate };
    let y = b.mul(gate, value);
    let y = b.linear("out", y, &[e], &[d]);
    b.output(y);
    b.graph
}

#[test]
fn sites_are_known_by_their_use() {
    assert_eq!(canonical_hash(&two_sites(true, false)), canonical_hash(&two_sites(false, false)));
    assert_ne!(canonical_hash(&two_sites(true, false)), canonical_hash(&two_sites(true, true)));
    let (a, b) = (canonical_roles(&two_sites(true, false)), canonical_roles(&two_sites(false, false)));
    assert_eq!((a[0].1, a[1].1, a[2].1), (b[1].1, b[0].1, b[2].1), "p and q have swapped their roles");
    assert_ne!(a[0].1, a[1].1);
}

#[test]
fn sites_never_merge() {
    // x w + x w with one weight is 2 x w; with two weights it is not
    let two = |shared: bool| {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let p = b.param("p", &[d]);
        let q = if shared { p } else { b.param("q", &[d]) };
        let (p, q) = (b.mul(x, p), b.mul(x, q));
        let y = b.add(p, q);
        b.output(y);
        b.graph
    };
    assert_ne!(canonical_hash(&two(true)), canonical_hash(&two(false)));
    let roles = canonical_roles(&two(false));
    assert_ne!(roles[0].1, roles[1].1, "interchangeable sites still draw different numbers");
}

#[test]
fn the_border_of_a_body_does_not_count() {
    let build = |inside: bool| {
        let mut b = Build::new();
        let d = b.axis("D", 4);
        let x = b.input(&[d]);
        let zero = b.constant(0.0);
        let half = b.constant(0.5);
        let scan = b.scan(&[("s", &[d], zero)], &[x], |body| {
            let s = node(body, Op::State(0), &[d], &[]);
            let x = node(body, Op::Capture(0), &[d], &[]);
            let next = binary(body, BinaryOp::Add, s, x);
            let half = node(body, Op::Const(0.5), &[], &[]);
            let out = if inside { binary(body, BinaryOp::Mul, next, half) } else { next };
            (vec![next], vec![("o", out)])
        });
        let o = b.emit(scan, 0);
        let o = if inside { o } else { b.mul(half, o) };
        b.output(o);
        b.graph
    };
    assert_eq!(canonical_hash(&build(true)), canonical_hash(&build(false)));
}

#[test]
fn means_and_nested_sums_are_sums() {
    let build = |how: u8| {
        let mut b = Build::new();
        let (h, d) = (b.axis("H", 2), b.axis("D", 4));
        let x = b.input(&[h, d]);
        let y = match how {
            0 => b.node(Op::Reduce(ReduceOp::Mean, vec![h, d]), &[], &[x]),
            1 => {
                let s = b.sum(&[d], x);
                let s = b.sum(&[h], s);
                let n = b.constant(8.0);
                b.binary(BinaryOp::Div, s, n)
            }
            _ => b.sum(&[h, d], x),
        };
        b.output(y);
        canonical_hash(&b.graph)
    };
    assert_eq!(build(0), build(1));
    assert_ne!(build(0), build(2));
}
