//! Tests of the initial values of parameters.

use crate::build::{Build, nowhere};
use archc_compiler::graph::*;
use archc_runtime::{Tensors, initial_params};
use std::sync::Arc;

/// One parameter `w` of these axes with a draw of these arguments.
fn drawn(sizes: &[usize], parts: (usize, usize), draw: Draw, arguments: &[f64]) -> Arc<Graph> {
    let mut g = Build::new();
    let axes: Vec<AxisId> = sizes.iter().map(|&n| g.axis("A", n)).collect();
    let all = axes.clone();
    g.param_with("w", &axes, ParamKind::Weight, parts, |n| {
        let given: Vec<NodeId> = arguments.iter().map(|&a| n.number(a)).collect();
        let ty = Type { axes: all, rate: Rate::Fixed };
        n.0.add(Node { op: Op::Draw(draw), ty, name: String::new(), place: nowhere() }, &given)
    });
    g.done()
}

fn values(graph: &Graph, seed: u64) -> Vec<f64> {
    initial_params(graph, seed).unwrap().remove("w").unwrap().data
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

#[test]
fn distributions() {
    let n = 20_000;
    let z = values(&drawn(&[n], (0, 0), Draw::Normal, &[2.0]), 1);
    let square: Vec<f64> = z.iter().map(|x| x * x).collect();
    // Four standard errors: 2/sqrt(n) for the mean, 4 sqrt(2/n) for the variance.
    assert!(mean(&z).abs() < 0.057 && (mean(&square) - 4.0).abs() < 0.16);
    let u = values(&drawn(&[n], (0, 0), Draw::Uniform, &[-1.0, 3.0]), 1);
    assert!(u.iter().all(|x| (-1.0..3.0).contains(x)) && (mean(&u) - 1.0).abs() < 0.033);
    let l: Vec<f64> =
        values(&drawn(&[n], (0, 0), Draw::LogUniform, &[0.01, 1.0]), 1).iter().map(|x| x.log10()).collect();
    assert!(l.iter().all(|x| (-2.0..=0.0).contains(x)) && (mean(&l) + 1.0).abs() < 0.0164);
}

#[test]
fn orthogonal_matrices() {
    for (out, inn) in [(3, 5), (5, 3), (4, 4), (1, 6)] {
        let w = values(&drawn(&[2, out, inn], (1, 1), Draw::Orthogonal, &[2.0]), 9);
        assert_ne!(w[..out * inn], w[out * inn..], "each `per` index draws its own");
        for m in w.chunks(out * inn) {
            let at = |i: usize, j: usize| if out <= inn { m[i * inn + j] } else { m[j * inn + i] };
            let (short, long) = (out.min(inn), out.max(inn));
            for (a, b) in (0..short).flat_map(|a| (0..short).map(move |b| (a, b))) {
                let dot: f64 = (0..long).map(|j| at(a, j) * at(b, j)).sum();
                assert!((dot - if a == b { 4.0 } else { 0.0 }).abs() < 1e-13);
            }
        }
    }
}

#[test]
fn structured_draws() {
    assert_eq!(values(&drawn(&[2, 3], (0, 1), Draw::Eye, &[]), 0), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    // A conv's weight [axes of x, W]: 1 at the present token.
    assert_eq!(values(&drawn(&[2, 3], (1, 0), Draw::Dirac, &[]), 0), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn draws_depend_on_seed_and_path_alone() {
    let graph = |first: bool, path: &str| {
        let mut g = Build::new();
        let d = g.axis("D", 5);
        if first {
            g.param("other", &[d], ParamKind::Free);
        }
        g.param(path, &[d], ParamKind::Free);
        g.done()
    };
    let take = |g: Arc<Graph>, path: &str, seed: u64| -> Vec<f64> {
        let all: Tensors = initial_params(&g, seed).unwrap();
        all[path].data.clone()
    };
    let a = take(graph(false, "a"), "a", 1);
    assert_eq!(a, take(graph(true, "a"), "a", 1), "another parameter reseeds nothing");
    assert_ne!(a, take(graph(false, "b"), "b", 1));
    assert_ne!(a, take(graph(false, "a"), "a", 2));
}

#[test]
fn one_written_draw_is_one_value_and_two_are_two() {
    let mut g = Build::new();
    let d = g.axis("D", 8);
    let draw = |n: &mut crate::build::Nodes| {
        let std = n.number(1.0);
        let ty = Type { axes: vec![d], rate: Rate::Fixed };
        n.0.add(Node { op: Op::Draw(Draw::Normal), ty, name: String::new(), place: nowhere() }, &[std])
    };
    g.param_with("same", &[d], ParamKind::Free, (0, 0), |n| {
        let z = draw(n);
        n.sub(z, z)
    });
    g.param_with("two", &[d], ParamKind::Free, (0, 0), |n| {
        let (a, b) = (draw(n), draw(n));
        n.sub(a, b)
    });
    let all = initial_params(&g.done(), 0).unwrap();
    assert!(all["same"].data.iter().all(|x| *x == 0.0));
    assert!(all["two"].data.iter().all(|x| *x != 0.0));
}

#[test]
fn recipes_are_broadcast_along_their_parameter() {
    let mut g = Build::new();
    let (h, k) = (g.axis("H", 2), g.axis("K", 3));
    g.param_with("w", &[k, h], ParamKind::Free, (0, 0), |n| n.op(Op::Index(vec![h]), &[]));
    let all = initial_params(&g.done(), 0).unwrap();
    assert_eq!(all["w"].data, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
}

#[test]
fn bad_recipes_are_refused() {
    let code = |draw, arguments: &[f64]| initial_params(&drawn(&[2], (0, 0), draw, arguments), 0).unwrap_err().code;
    assert_eq!(code(Draw::Uniform, &[1.0, 0.0]), "E0813");
    assert_eq!(code(Draw::LogUniform, &[0.0, 1.0]), "E0813");
    assert_eq!(code(Draw::Normal, &[-1.0]), "E0813");
    assert_eq!(code(Draw::Normal, &[f64::INFINITY]), "E0810");
    let mut g = Build::new();
    let d = g.axis("D", 2);
    g.param_with("w", &[d], ParamKind::Free, (0, 0), |n| {
        let bad = n.number(-1.0);
        n.unary(UnaryOp::Log, bad)
    });
    assert_eq!(initial_params(&g.done(), 0).unwrap_err().code, "E0810");
}
