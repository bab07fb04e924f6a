//! Whole programs from their text: the standard library, seeds and examples, each compared with differences, with
//! itself in pieces, and with itself packed.

use crate::check::{cotangents, exact, noise, packed, random_batch, reference, relative_rms, session};
use crate::decode::check_pieces;
use crate::programs::{files, programs};
use archc_compiler::graph::Graph;
use archc_runtime::{Dtype, Forward, Objective, Tensors};
use std::path::PathBuf;
use std::sync::Arc;

fn weighed(forward: &Forward, r: &Tensors) -> f64 {
    forward.outputs.iter().map(|(n, t)| t.data.iter().zip(&r[n].data).map(|(a, b)| a * b).sum::<f64>()).sum()
}

/// Compares the derivative along a random direction of all parameters with a central difference in f64.
fn check_direction(name: &str, graph: &Arc<Graph>) {
    let batch = packed(random_batch(graph, 2, 7));
    let mut s = session(graph, exact());
    let start = s.snapshot().unwrap();
    let r = cotangents(&s.forward(&batch, None).unwrap());
    let gradients = s.gradients(&batch, Objective::Cotangents(&r)).unwrap();
    let mut along: Tensors = start.params.iter().map(|(p, t)| (p.clone(), noise(p, &t.shape))).collect();
    let length = along.values().flat_map(|t| &t.data).map(|u| u * u).sum::<f64>().sqrt();
    along.values_mut().flat_map(|t| &mut t.data).for_each(|u| *u /= length);
    let step = 1e-5;
    let mut at = |by: f64| {
        let mut moved = start.clone();
        for (path, t) in &mut moved.params {
            t.data.iter_mut().zip(&along[path].data).for_each(|(x, u)| *x += by * u);
        }
        s.restore(&moved).unwrap();
        weighed(&s.forward(&batch, None).unwrap(), &r)
    };
    let difference = (at(step) - at(-step)) / (2.0 * step);
    let dot = |(path, t): (&String, &archc_runtime::Tensor)| -> f64 {
        t.data.iter().zip(&along[path].data).map(|(g, u)| g * u).sum()
    };
    let slope: f64 = gradients.params.iter().map(dot).sum();
    let size: f64 = gradients.params.values().flat_map(|t| &t.data).map(|g| g * g).sum::<f64>().sqrt();
    // The curvature times 1e-10, and the rounding of outputs of size 1e3 over 1e-5.
    assert!(
        (difference - slope).abs() < 1e-7 * size.max(1.0),
        "{name}: {slope} by gradient, {difference} by difference"
    );
    assert!(slope != 0.0 || graph.params.is_empty(), "{name}");
}

/// Compares f32 with f64, within the design's bound on every f32 path.
fn check_short(name: &str, graph: &Arc<Graph>) {
    let mut batch = packed(random_batch(graph, 2, 20));
    batch.inputs.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x = f64::from(*x as f32));
    let (mut exact, mut short) = (reference(graph), session(graph, Dtype::F32));
    exact.restore(&short.snapshot().unwrap()).unwrap();
    let (want, have) = (exact.forward(&batch, None).unwrap(), short.forward(&batch, None).unwrap());
    for (output, t) in &want.outputs {
        let error = relative_rms(&have.outputs[output], t);
        assert!(error < 1e-5, "{name} {output}: {error}");
    }
}

fn check_all(files: &[PathBuf]) {
    for path in files {
        for (name, graph) in programs(path) {
            eprintln!("{} {name}: {} nodes", path.display(), graph.dag.len());
            check_direction(&name, &graph);
            check_short(&name, &graph);
            check_pieces(&name, &graph, &packed(random_batch(&graph, 2, 5)));
        }
    }
}

#[test]
fn the_standard_library() {
    check_all(&files("stdlib"));
}

#[test]
fn seeds() {
    check_all(&files("seeds"));
}

#[test]
fn examples() {
    check_all(&files("examples"));
}

#[test]
fn first_values_of_a_program_are_finite_and_its_outputs_too() {
    for (name, graph) in files("stdlib").iter().flat_map(|f| programs(f)) {
        let y = session(&graph, Dtype::F32).forward(&random_batch(&graph, 1, 33), None).unwrap();
        assert!(y.outputs.values().all(|t| t.data.iter().all(|x| x.is_finite())), "{name}");
    }
}
