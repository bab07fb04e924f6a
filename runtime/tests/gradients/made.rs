//! Lowered graphs by hand, and their gradients compared with differences of their values.

use archc_compiler::gradient::{Seed, Wanted, differentiate, recompute};
use archc_compiler::graph::{
    Axis, AxisId, Dag as Recipe, Derived, Graph, Input, Node, NodeId, Op as SourceOp, Output as SourceOutput, Param,
    ParamId, ParamKind, Rate, Type,
};
use archc_compiler::lowered::{
    self, BATCH, Builder, Dag, Dim, DimId, Extent, Lowered, Op, Output, Shape, TIME, ValueId, verify,
};
use archc_compiler::source::{FileId, Place};
use archc_grammar::Span;
use archc_runtime::Tensor;
use archc_runtime::compiled::Leaves;
use archc_runtime::interpret::interpret;
use archc_runtime::random::Stream;
use std::sync::Arc;

fn nowhere() -> Place {
    Place { file: FileId(0), span: Span { start: 0, end: 0 } }
}

/// A parameter or an input.
#[derive(Clone, Copy)]
pub enum Given {
    Param(usize),
    Input(usize),
}

/// A graph under construction: its dimensions and leaves.
pub struct Made {
    pub dims: Vec<Dim>,
    axes: Vec<Axis>,
    params: Vec<(Vec<DimId>, (f64, f64))>,
    inputs: Vec<(Vec<DimId>, (f64, f64))>,
    batch: usize,
    /// Position of each token in its document, sequence by sequence.
    pos: Vec<u32>,
}

impl Made {
    /// Axes with their lengths; two sequences of five tokens, of which one has two documents.
    pub fn new(axes: &[usize]) -> Self {
        let dim = |name: &str, extent, rank| Dim { name: name.into(), extent, rank };
        let mut dims = vec![dim("B", Extent::Batch, 0), dim("T", Extent::Time, 2)];
        dims.extend(axes.iter().enumerate().map(|(i, n)| dim(&format!("A{i}"), Extent::Fixed(*n), 4)));
        let axes = axes.iter().enumerate().map(|(i, &size)| Axis { name: format!("A{i}"), size, labels: None });
        let pos = vec![0, 1, 2, 0, 1, 0, 1, 2, 3, 4];
        Self { dims, axes: axes.collect(), params: Vec::new(), inputs: Vec::new(), batch: 2, pos }
    }

    /// Sets `batch` sequences of `len` tokens, one document each.
    pub fn tokens(mut self, batch: usize, len: usize) -> Self {
        self.batch = batch;
        self.pos = (0..batch).flat_map(|_| 0..len as u32).collect();
        self
    }

    pub fn axis(&self, i: usize) -> DimId {
        DimId(i as u32 + 2)
    }

    pub fn dim(&mut self, name: &str, extent: Extent, rank: u8) -> DimId {
        self.dims.push(Dim { name: name.into(), extent, rank });
        DimId(self.dims.len() as u32 - 1)
    }

    /// A parameter with elements from this range.
    pub fn param(&mut self, axes: &[DimId], range: (f64, f64)) -> Given {
        self.params.push((axes.to_vec(), range));
        Given::Param(self.params.len() - 1)
    }

    /// An input with elements from this range.
    pub fn input(&mut self, axes: &[DimId], range: (f64, f64)) -> Given {
        self.inputs.push((axes.to_vec(), range));
        Given::Input(self.inputs.len() - 1)
    }

    /// The graph with these outputs.
    pub fn lowered(
        &self,
        build: impl FnOnce(&mut Builder, &dyn Fn(&mut Builder, Given) -> ValueId) -> Vec<ValueId>,
    ) -> Lowered {
        let mut dims = self.dims.clone();
        let mut b = Builder::new(&mut dims, nowhere());
        let leaf = |b: &mut Builder, given: Given| match given {
            Given::Param(i) => b.leaf(Op::Param(ParamId(i as u32)), self.params[i].0.clone()),
            Given::Input(i) => {
                let mut all = vec![BATCH, TIME];
                all.extend(&self.inputs[i].0);
                b.leaf(Op::Input(i), all)
            }
        };
        let values = build(&mut b, &leaf);
        let dag = b.dag;
        let name = |i: usize| if i == 0 { "output".to_string() } else { format!("output{i}") };
        let outputs: Vec<Output> = values
            .into_iter()
            .enumerate()
            .map(|(i, value)| {
                let axes = dag.node(value).dims.iter().copied().filter(|d| *d != BATCH && *d != TIME).collect();
                Output { name: name(i), value, axes }
            })
            .collect();
        let lowered = Lowered {
            params: self.source(&outputs).param_layout(),
            source: Arc::new(self.source(&outputs)),
            dims,
            dag,
            outputs,
            objective: None,
            carries: Vec::new(),
            param_grads: Vec::new(),
            input_grads: Vec::new(),
            forward_nodes: 0,
            update: false,
            careful: false,
        };
        assert_valid(&lowered);
        lowered
    }

    fn source(&self, outputs: &[Output]) -> Graph {
        let axes = |dims: &[DimId]| dims.iter().map(|d| AxisId(d.0 - 2)).collect::<Vec<_>>();
        let mut recipe = Recipe::default();
        let ty = Type { axes: Vec::new(), rate: Rate::Fixed };
        let zero = recipe.add(Node { op: SourceOp::Const(0.0), ty, name: String::new(), place: nowhere() }, &[]);
        let params = self.params.iter().enumerate().map(|(i, (dims, _))| Param {
            path: format!("p{i}"),
            axes: axes(dims),
            kind: ParamKind::Free,
            per: 0,
            out: dims.len(),
            init: recipe.clone(),
            init_value: zero,
            place: nowhere(),
        });
        let inputs =
            self.inputs.iter().enumerate().map(|(i, (dims, _))| Input { name: format!("i{i}"), axes: axes(dims) });
        let value: NodeId = zero;
        let outputs = outputs.iter().map(|o| SourceOutput { name: o.name.clone(), value, axes: Vec::new() });
        Graph {
            name: "Made".into(),
            axes: self.axes.clone(),
            params: params.collect(),
            inputs: inputs.collect(),
            dag: Recipe::default(),
            outputs: outputs.collect(),
            losses: Vec::new(),
            prefix: None,
            vocab: None,
            derived: Derived::default(),
        }
    }

    fn shape(&self) -> Shape {
        Shape { batch: self.batch, len: self.pos.len() / self.batch, carried: 0 }
    }

    fn lengths(&self, dims: &[DimId]) -> Vec<usize> {
        dims.iter().map(|d| self.dims[d.0 as usize].extent.at(self.shape())).collect()
    }

    fn random(&self, stream: &mut Stream, dims: &[DimId], range: (f64, f64)) -> Tensor {
        let shape = self.lengths(dims);
        let count = shape.iter().product();
        let data = (0..count).map(|_| range.0 + (range.1 - range.0) * stream.uniform()).collect();
        Tensor { shape, data }
    }

    /// Random parameters, and leaves with random inputs and cotangents.
    pub fn numbers(&self, lowered: &Lowered) -> (Vec<Vec<f64>>, Leaves) {
        let mut stream = Stream::new(&[b"gradients"]);
        let params = self.params.iter().map(|(dims, range)| self.random(&mut stream, dims, *range).data).collect();
        let tokens = |dims: &[DimId]| [&[BATCH, TIME], dims].concat();
        let inputs = self.inputs.iter().map(|(dims, range)| self.random(&mut stream, &tokens(dims), *range)).collect();
        let cotangents =
            lowered.outputs.iter().map(|o| self.random(&mut stream, &tokens(&o.axes), (-1.0, 1.0))).collect();
        let shape = self.shape();
        let mut doc = Vec::new();
        for row in self.pos.chunks_exact(shape.len) {
            let mut starts = 0;
            for &p in row {
                starts += u32::from(p == 0);
                doc.push(starts - 1);
            }
        }
        let leaves = Leaves {
            batch: shape.batch,
            len: shape.len,
            pos: self.pos.clone(),
            doc,
            inputs,
            cotangents,
            weights: vec![1.0 / self.pos.len() as f64; self.pos.len()],
            ids: (0..self.pos.len() as u32).map(|i| i * 7 % 5).collect(),
            targets: (0..self.pos.len() as u32).map(|i| i * 3 % 4).collect(),
            dropout: Some(1),
            ..Leaves::default()
        };
        (params, leaves)
    }
}

pub fn assert_valid(graph: &Lowered) {
    if let Err(why) = verify(graph) {
        panic!("{why}\n{}", lowered::print(graph));
    }
}

/// The value sum(output * R).
fn value(lowered: &Lowered, params: &[Vec<f64>], leaves: &Leaves) -> f64 {
    let wanted: Vec<ValueId> = lowered.outputs.iter().map(|o| o.value).collect();
    let values = run(lowered, params, leaves, &wanted);
    let mut total = 0.0;
    for ((output, value), r) in lowered.outputs.iter().zip(values).zip(&leaves.cotangents) {
        let dims = &lowered.dag.node(output.value).dims;
        let mut all = vec![BATCH, TIME];
        all.extend(&output.axes);
        let strides: Vec<usize> = all
            .iter()
            .map(|d| dims.iter().position(|e| e == d).map_or(0, |i| value.shape[i + 1..].iter().product()))
            .collect();
        for (i, r) in r.data.iter().enumerate() {
            let mut left = i;
            let mut at = 0;
            for (n, stride) in leaves_shape(leaves, lowered, &all).iter().zip(&strides).rev() {
                at += left % n * stride;
                left /= n;
            }
            total += r * value.data[at];
        }
    }
    total
}

fn leaves_shape(leaves: &Leaves, lowered: &Lowered, dims: &[DimId]) -> Vec<usize> {
    dims.iter().map(|d| lowered.dim(*d).extent.at(leaves.shape())).collect()
}

pub fn run(lowered: &Lowered, params: &[Vec<f64>], leaves: &Leaves, wanted: &[ValueId]) -> Vec<Tensor> {
    match interpret(lowered, params, leaves, wanted) {
        Ok(values) => values,
        Err(e) => panic!("{e:?}\n{}", lowered::print(lowered)),
    }
}

/// The joint graph with every gradient, both as made and with its recomputations, after both were verified.
pub fn joint(lowered: &Lowered) -> (Lowered, Lowered) {
    let joint = differentiate(
        lowered,
        &Wanted { seed: Seed::Cotangents, inputs: true, params: true, update: false, exact: true },
    );
    assert_valid(&joint);
    let lean = recompute(&joint);
    assert_valid(&lean);
    (joint, lean)
}

/// Compares every gradient with central differences, and the graph with recomputations with the one without.
///
/// A step of 1e-5 leaves an error of 1e-10 times a third derivative and, from rounding, of 1e-11 times the value; 1e-7 of the largest
/// allows for third derivatives of a thousand.
pub fn check(made: &Made, lowered: &Lowered) {
    let (joint, lean) = joint(lowered);
    let (params, leaves) = made.numbers(lowered);
    let wanted: Vec<ValueId> =
        joint.param_grads.iter().map(|g| g.1).chain(joint.input_grads.iter().map(|g| g.1)).collect();
    let gradients = run(&joint, &params, &leaves, &wanted);
    let again: Vec<ValueId> =
        lean.param_grads.iter().map(|g| g.1).chain(lean.input_grads.iter().map(|g| g.1)).collect();
    for (a, b) in gradients.iter().zip(run(&lean, &params, &leaves, &again)) {
        assert_eq!(a.data, b.data, "recomputed values differ\n{}", lowered::print(&lean));
    }
    let given: Vec<Given> = joint
        .param_grads
        .iter()
        .map(|g| Given::Param(g.0.0 as usize))
        .chain(joint.input_grads.iter().map(|g| Given::Input(g.0)))
        .collect();
    let at = value(lowered, &params, &leaves);
    let shifted = |which: Given, i: usize, by: f64| {
        let (mut params, mut leaves) = (params.clone(), leaves.clone());
        match which {
            Given::Param(p) => params[p][i] += by,
            Given::Input(n) => leaves.inputs[n].data[i] += by,
        }
        value(lowered, &params, &leaves)
    };
    let step = 1e-5;
    let every = (0..params.len()).map(Given::Param).chain((0..leaves.inputs.len()).map(Given::Input));
    for which in every {
        let same = |g: &Given| match (*g, which) {
            (Given::Param(a), Given::Param(b)) | (Given::Input(a), Given::Input(b)) => a == b,
            _ => false,
        };
        let name = match which {
            Given::Param(p) => format!("parameter {p}"),
            Given::Input(i) => format!("input {i}"),
        };
        let gradient = given.iter().position(same).map(|i| &gradients[i]);
        // a parameter's elements are in its own order of axes, its gradient in canonical order
        let (dims, own) = match which {
            Given::Param(p) => (made.params[p].0.clone(), made.params[p].0.clone()),
            Given::Input(i) => {
                let all = [&[BATCH, TIME], made.inputs[i].0.as_slice()].concat();
                (all.clone(), all)
            }
        };
        let mut canonical = own;
        lowered.order(&mut canonical);
        let lengths = made.lengths(&dims);
        let count: usize = lengths.iter().product();
        let largest = gradient.map_or(0.0, |g| g.data.iter().fold(0.0, |m: f64, x| m.max(x.abs())));
        let tolerance = 1e-7 * largest.max(at.abs()).max(1.0);
        // at most 24 elements of each, spread over all
        for i in (0..count).step_by(count.div_ceil(24)) {
            let slope = (shifted(which, i, step) - shifted(which, i, -step)) / (2.0 * step);
            let mut left = i;
            let mut index = vec![0; dims.len()];
            for (j, n) in lengths.iter().enumerate().rev() {
                index[j] = left % n;
                left /= n;
            }
            let place = canonical.iter().fold(0, |at, d| {
                let j = dims.iter().position(|e| e == d).expect("the same dimensions");
                at * lengths[j] + index[j]
            });
            let found = gradient.map_or(0.0, |g| g.data[place]);
            assert!(
                (found - slope).abs() <= tolerance,
                "{name}[{i}]: {found}, by differences {slope}\n{}",
                lowered::print(&joint)
            );
        }
    }
}

/// The number of ops of a kind in a graph, bodies included.
pub fn count(dag: &Dag, is_it: &dyn Fn(&Op) -> bool) -> usize {
    let of = |n: &lowered::Node| {
        let inside = match &n.op {
            Op::Loop(l) => count(&l.body, is_it),
            Op::AttendGrad(g) => count(&g.body, is_it),
            Op::Attend(a) => count(&a.body, is_it),
            _ => 0,
        };
        inside + usize::from(is_it(&n.op))
    };
    dag.nodes().iter().map(of).sum()
}
