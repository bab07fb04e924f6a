//! Tests of the library's mixers against token loops of their papers' formulas, in f64: outputs and the gradient of every parameter and
//! input.
//!
//! The loops ([`delta`], [`memories`]) were written from the papers and their authors' code, independently of the library's programs; they
//! are plain loops over tokens, heads and channels. Their derivatives come from a tape ([`tape`]), not from the compiler.

mod delta;
mod memories;
mod parts;
mod tape;

use archc_compiler::graph::Graph;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use archc_runtime::{Batch, BatchShape, Device, Dtype, Objective, Reference, Session, SessionOptions, Tensor, Tensors};
use archc_selftest::batches::noise;
use parts::{Array, Params};
use std::collections::BTreeMap;
use std::sync::Arc;
use tape::Var;

type Sequence = Vec<Vec<Var>>;

/// A block, and the loop that computes its output from the parameters and the block's inputs, in order.
struct Case {
    block: &'static str,
    set: &'static [(&'static str, f64)],
    run: fn(&Params, &[Sequence]) -> Sequence,
}

/// Number of tokens: more than two mini-batches of TTT, and five levels of a binary counter.
const TOKENS: usize = 19;

/// Bound on differences, relative in the norm of each tensor: sums of some hundred terms in another order, through up to 19 tokens and, for
/// MesaNet, thirty steps of conjugate gradients.
const TOLERANCE: f64 = 1e-10;

const WIDE: &[(&str, f64)] = &[("D", 8.0), ("H", 2.0), ("V", 3.0)];
const SQUARE: &[(&str, f64)] = &[("D", 8.0), ("H", 2.0)];

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { block: "GatedDeltaNet2", set: WIDE, run: |p, x| delta::gated_delta_net_2(p, &x[0]) },
    Case { block: "PreconditionedGatedDeltaNet", set: WIDE, run: |p, x| delta::preconditioned_gated_delta_net(p, &x[0]) },
    Case { block: "PreconditionedKDA", set: WIDE, run: |p, x| delta::preconditioned_kda(p, &x[0]) },
    Case { block: "QDelta", set: WIDE, run: |p, x| delta::q_delta(p, &x[0]) },
    Case { block: "EraseThenDelta", set: WIDE, run: |p, x| delta::erase_then_delta(p, &x[0]) },
    Case { block: "Kaczmarz", set: WIDE, run: |p, x| delta::kaczmarz(p, &x[0]) },
    Case { block: "EFLA", set: WIDE, run: |p, x| delta::efla(p, &x[0]) },
    Case { block: "MomentumDeltaNet", set: WIDE, run: |p, x| delta::momentum_delta_net(p, &x[0]) },
    Case { block: "Titans", set: WIDE, run: |p, x| delta::titans(p, &x[0]) },
    Case { block: "GatedOja", set: WIDE, run: |p, x| delta::gated_oja(p, &x[0]) },
    Case { block: "MoM", set: WIDE, run: |p, x| delta::mom(p, &x[0]) },
    Case { block: "RWKV7Residual", set: SQUARE, run: |p, x| delta::rwkv7_residual(p, &x[0], &x[1]) },
    Case { block: "Mamba3", set: &[("D", 8.0), ("H", 2.0), ("N", 8.0)], run: |p, x| memories::mamba3(p, &x[0]) },
    Case { block: "MesaNet", set: WIDE, run: |p, x| memories::mesa_net(p, &x[0]) },
    Case { block: "LogLinearMamba2", set: &[("D", 8.0), ("H", 2.0), ("L", 7.0)], run: |p, x| memories::log_linear_mamba2(p, &x[0]) },
    Case { block: "LogLinearGatedDeltaNet", set: &[("D", 8.0), ("H", 2.0), ("L", 7.0)],
        run: |p, x| memories::log_linear_gated_delta_net(p, &x[0]) },
    Case { block: "LogLinearAttention", set: &[("D", 8.0), ("H", 2.0), ("L", 7.0)], run: |p, x| memories::log_linear_attention(p, &x[0]) },
    Case { block: "Raven", set: &[("D", 8.0), ("H", 2.0), ("V", 3.0), ("M", 6.0)], run: |p, x| memories::raven(p, &x[0]) },
    Case { block: "Rodimus", set: &[("D", 8.0), ("K", 3.0)], run: |p, x| memories::rodimus(p, &x[0]) },
    Case { block: "TTTLinearBatch", set: &[("D", 8.0), ("H", 2.0), ("B", 8.0)], run: |p, x| memories::ttt_linear_batch(p, &x[0]) },
    Case { block: "HLA", set: WIDE, run: |p, x| memories::hla(p, &x[0]) },
    Case { block: "HLA", set: WIDE, run: |p, x| memories::hla_pairs(p, &x[0]) },
    Case { block: "AHLA", set: WIDE, run: |p, x| memories::ahla(p, &x[0]) },
    Case { block: "WallAttention", set: WIDE, run: |p, x| memories::wall_attention(p, &x[0]) },
    Case { block: "Parallax", set: WIDE, run: |p, x| memories::parallax(p, &x[0]) },
    Case { block: "ABC", set: &[("D", 8.0), ("H", 2.0), ("V", 3.0), ("M", 5.0)], run: |p, x| memories::abc(p, &x[0]) },
    Case { block: "GatedAttention", set: &[("D", 16.0), ("H", 4.0), ("G", 2.0), ("K", 8.0)],
        run: |p, x| memories::gated_attention(p, &x[0]) },
    Case { block: "LatentAttention", set: WIDE, run: |p, x| memories::latent_attention(p, &x[0]) },
    Case { block: "GatedRetention", set: SQUARE, run: |p, x| memories::gated_retention(p, &x[0]) },
];

fn graph(case: &Case) -> Arc<Graph> {
    let mut sources = SourceMap::new();
    let file = sources.add("case.arch", format!("use std::mixers::{{{}}}\n", case.block));
    let mut options = Options::default();
    options.sizes.set = case.set.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
    compile(&sources, file, &options).into_graph().map_or_else(|found| panic!("{}: {found:?}", case.block), Arc::new)
}

/// A session in which every parameter differs from its initial value, so that none is 0, 1, or equal to another.
fn session(graph: &Arc<Graph>) -> (Box<dyn Session>, Tensors) {
    let options = SessionOptions { dtype: Dtype::F64, seed: 3, ..SessionOptions::default() };
    let mut session = Reference.compile(graph, BatchShape { batch: 1, len: TOKENS }, &options).expect("a session");
    let mut start = session.snapshot().expect("parameters");
    for (path, tensor) in &mut start.params {
        tensor.data.iter_mut().zip(noise(path, &tensor.shape).data).for_each(|(x, y)| *x += 0.3 * y);
    }
    session.restore(&start).expect("the same parameters");
    (session, start.params)
}

/// Independent variables on the tape for the elements of a tensor.
fn variables(tensor: &Tensor) -> Vec<Var> {
    tensor.data.iter().map(|x| tape::input(*x)).collect()
}

/// |a - b| over |b|, or over `least` where |b| is less.
fn difference(a: &[f64], b: &[f64], least: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(least)
}

/// The largest differences of outputs and of gradients, with the worst tensor.
fn compare(case: &Case) -> (f64, f64, String) {
    let graph = graph(case);
    let (mut session, params) = session(&graph);
    let mut batch = Batch { batch: 1, len: TOKENS, ..Batch::default() };
    for input in &graph.inputs {
        let shape: Vec<usize> = [1, TOKENS].into_iter().chain(input.axes.iter().map(|a| graph.size(*a))).collect();
        batch.inputs.insert(input.name.clone(), noise(&input.name, &shape));
    }
    let outputs = session.forward(&batch, None).expect("outputs").outputs;
    // Of several outputs the loop computes the first; the others have cotangent 0.
    let first = graph.outputs[0].name.clone();
    let weigh = |name: &String, t: &Tensor| {
        let r = noise(&format!("R {name}"), &t.shape);
        if *name == first { r } else { Tensor { data: vec![0.0; r.data.len()], ..r } }
    };
    let r: Tensors = outputs.iter().map(|(name, t)| (name.clone(), weigh(name, t))).collect();
    let gradients = session.gradients(&batch, Objective::Cotangents(&r)).expect("gradients");

    tape::clear();
    let array = |t: &Tensor| Array { shape: t.shape.clone(), data: variables(t) };
    let by_path = Params(params.iter().map(|(path, t)| (path.clone(), array(t))).collect());
    let inputs: BTreeMap<&String, Vec<Var>> = batch.inputs.iter().map(|(name, t)| (name, variables(t))).collect();
    let sequence = |name: &String| inputs[name].chunks(inputs[name].len() / TOKENS).map(<[Var]>::to_vec).collect();
    let given: Vec<Sequence> = graph.inputs.iter().map(|input| sequence(&input.name)).collect();
    let wanted: Vec<Var> = (case.run)(&by_path, &given).concat();
    let objective: Var = wanted.iter().zip(&r[&first].data).map(|(y, r)| *y * *r).sum();

    let values: Vec<f64> = wanted.iter().map(|y| y.value).collect();
    let output = difference(&outputs[&first].data, &values, 0.0);
    let names = by_path.0.iter().map(|(path, array)| (path, &array.data, &gradients.params[path]));
    let names = names.chain(inputs.iter().map(|(name, data)| (*name, data, &gradients.inputs[*name])));
    let mut worst = (0.0, String::new());
    for (name, variables, got) in names {
        let e = difference(&got.data, &tape::gradients(objective, variables), 1e-9);
        if e.is_nan() || e > worst.0 {
            worst = (e, name.clone());
        }
    }
    (output, worst.0, worst.1)
}

#[test]
fn mixers_are_their_papers_formulas() {
    let mut wrong = Vec::new();
    for case in CASES {
        let (output, gradient, worst) = compare(case);
        println!("{:28} output {output:.1e}, gradients {gradient:.1e} ({worst})", case.block);
        if !(output < TOLERANCE && gradient < TOLERANCE) {
            wrong.push(format!("{}: output {output:.1e}, gradient of {worst} {gradient:.1e}", case.block));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares thirty steps of conjugate gradients with the solved system: their difference, 3e-3 of the outputs here, comes from the kernels'
/// eps of 1e-5 in the two divisions, not from the number of steps.
#[test]
fn mesa_net_is_near_the_solved_system() {
    let case = Case { block: "MesaNet", set: WIDE, run: |p, x| memories::mesa_net_exact(p, &x[0]) };
    let (output, ..) = compare(&case);
    assert!(output < 1e-2, "{output:.1e}");
}
