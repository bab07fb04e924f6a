//! Test: what a plan says of its loops and attends is enough to compute them otherwise.
//!
//! Before each launch of a loop, an attend or an attend's gradient, its operands are read from memory through the kernel's ports, and its
//! body's DAG is interpreted op by op in f64. After the launch the results in memory must be the same. A device that makes kernels of its
//! own from bodies reads the same ports.

use super::context::Context;
use super::executor::{CpuExecutor, fill};
use super::memory::{Bases, Slot};
use crate::compiled::{Executor, Held, Leaves};
use crate::init::initial_param;
use crate::interpret::interpret_in;
use crate::session::{Batch, Dtype, SessionOptions, Tensor};
use archc_compiler::gradient::Seed;
use archc_compiler::graph::{Graph, ParamId};
use archc_compiler::lowered::{Builder, DimId, Lowered, Op, Shape, ValueId};
use archc_compiler::plan::{AttendKernel, LoopKernel, View, Work};
use archc_compiler::source::SourceMap;
use archc_compiler::{Call, Options, Purpose, Sizes, Target, compile, joint, stdlib};
use std::sync::Arc;

/// A block of the library at D = 16.
fn block(file: &str, name: &str) -> Arc<Graph> {
    let files = stdlib::files("std::mixers");
    let text = files.into_iter().find(|f| f.1.path.ends_with(file)).expect("it ships").1;
    let mut sources = SourceMap::new();
    let file = sources.add(text.path, text.text);
    let sizes = Sizes { set: [("D".to_string(), 16.0)].into(), ..Sizes::default() };
    let graph = compile(&sources, file, &Options { block: Some(name.into()), sizes }).into_graph();
    Arc::new(graph.unwrap_or_else(|found| panic!("{found:?}")))
}

/// Numbers between -1 and 1 (Knuth's MMIX generator).
fn numbers(count: usize, state: &mut u64) -> Vec<f64> {
    let mut next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((*state >> 40) as f32) / (1u32 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// Elements of a view, with dimensions in this order; constant along those that it lacks.
///
/// # Safety
/// The view belongs to the plan of these bases.
unsafe fn read(view: &View, dims: &[(DimId, usize)], bases: &Bases) -> Tensor {
    let shape: Vec<usize> = dims.iter().map(|d| d.1).collect();
    // SAFETY: the caller's contract
    let start = unsafe { bases.at(Slot::of(view)) };
    let element = |n: usize| {
        let (mut n, mut at) = (n, 0isize);
        for (dim, size) in dims.iter().rev() {
            at += (n % size) as isize * view.stride(*dim);
            n /= size;
        }
        // SAFETY: the plan's views lie inside of their buffers
        f64::from(unsafe { *start.offset(at) })
    };
    Tensor { data: (0..shape.iter().product()).map(element).collect(), shape }
}

/// The op of a kernel with its operands as leaves, and its results with their views.
struct Alone {
    graph: Lowered,
    operands: Vec<Tensor>,
    results: Vec<(ValueId, View)>,
}

impl Alone {
    /// # Safety
    /// The views belong to the plan of these bases.
    unsafe fn new(
        joint: &Lowered,
        shape: Shape,
        op: &Op,
        operands: &[Option<View>],
        results: &[(Op, View)],
        bases: &Bases,
    ) -> Self {
        let mut graph = joint.clone();
        let place = graph.dag.node(ValueId(0)).place;
        let mut dims = graph.dims.clone();
        let size = |d: &DimId| joint.dim(*d).extent.at(shape);
        let mut b = Builder::new(&mut dims, place);
        let (mut given, mut values) = (Vec::new(), Vec::new());
        for (i, view) in operands.iter().enumerate() {
            let Some(view) = view else {
                values.push(b.number(0.0));
                given.push(Tensor::default());
                continue;
            };
            let mut own: Vec<DimId> = view.axes.iter().map(|a| a.dim).collect();
            joint.order(&mut own);
            let own_sizes: Vec<(DimId, usize)> = own.iter().map(|d| (*d, size(d))).collect();
            // SAFETY: the caller's contract
            given.push(unsafe { read(view, &own_sizes, bases) });
            values.push(b.op(Op::Cotangent(i, own), &[]));
        }
        let node = b.op(op.clone(), &values);
        let results = results.iter().map(|(op, view)| (b.op(op.clone(), &[node]), view.clone())).collect();
        graph.dag = b.dag;
        Self { graph, operands: given, results }
    }
}

/// Operands of a loop in order, and its results.
fn of_loop(l: &LoopKernel) -> (Vec<Option<View>>, Vec<(Op, View)>) {
    let Op::Loop(source) = &l.definition.op else { panic!("it computes a loop") };
    let captures = source.body.ids().filter_map(|v| match source.body.node(v).op {
        Op::Capture(i, _) => Some(i + 1),
        _ => None,
    });
    let states = l.states.len();
    let mut operands: Vec<Option<View>> = vec![None; states + captures.max().unwrap_or(0)];
    for (i, state) in l.states.iter().enumerate() {
        operands[i] = Some(state.initial.whole(l, false));
    }
    for (leaf, port) in &l.definition.reads {
        let Op::Capture(i, _) = leaf else { panic!("{leaf:?} in a loop") };
        let port = l.ports[*port].as_ref().expect("a capture has a port");
        operands[states + i] = Some(port.whole(l, true));
    }
    let emits = l.definition.emits.iter().map(|(number, port)| {
        let port = l.ports[*port].as_ref().expect("an emit has a port");
        (Op::Emit(*number), port.whole(l, true))
    });
    let finals =
        l.states.iter().enumerate().filter_map(|(i, s)| Some((Op::Final(i), s.last.as_ref()?.whole(l, false))));
    (operands, emits.chain(finals).collect())
}

/// Operands of an attend or its gradient in order, and its results.
fn of_attend(a: &AttendKernel) -> (Vec<Option<View>>, Vec<(Op, View)>) {
    let (forward, grad) = match &a.definition.op {
        Op::Attend(forward) => (forward, None),
        Op::AttendGrad(grad) => (&grad.forward, Some(grad)),
        op => panic!("{op:?} is no attend"),
    };
    let whole = |port: &archc_compiler::plan::TilePort| port.whole(&forward.map, forward.past, a);
    let body = grad.map_or(&forward.body, |g| &g.body);
    let captures = body.ids().filter_map(|v| match body.node(v).op {
        Op::Capture(i, _) | Op::Past(i, _) => Some(i + 1),
        _ => None,
    });
    let captures = captures.max().unwrap_or(0);
    let statistics = if grad.is_some() && a.softmax { 3 } else { 0 };
    let cotangents = captures + statistics;
    let mut operands: Vec<Option<View>> = vec![None; cotangents + if grad.is_some() { forward.emits.len() } else { 0 }];
    for (leaf, port) in &a.definition.reads {
        let at = match leaf {
            Op::Capture(i, _) | Op::Past(i, _) => *i,
            Op::Cotangent(e, _) => cotangents + e,
            op => panic!("{op:?} in an attend"),
        };
        operands[at] = Some(whole(&a.ports[*port]));
    }
    let mut results = Vec::new();
    match &a.grad {
        None => {
            results.extend(a.definition.emits.iter().map(|(n, i)| (Op::Emit(*n), whole(&a.emits[*i].sum))));
            let statistics = a.normal.iter().enumerate();
            results
                .extend(statistics.filter_map(|(i, p)| Some((Op::Emit(forward.emits.len() + i), whole(p.as_ref()?)))));
        }
        Some(g) => {
            let known = a.normal.iter().chain([&g.delta]).enumerate().filter(|_| statistics > 0);
            known.for_each(|(i, port)| operands[captures + i] = port.as_ref().map(&whole));
            results.extend(a.definition.emits.iter().map(|(n, i)| (Op::Emit(*n), whole(&g.sums[*i].port))));
        }
    }
    (operands, results)
}

/// Runs the gradients of a block launch by launch; returns how many loops, attends and gradients of attends were computed twice.
fn check(graph: &Arc<Graph>, name: &str, chunk: usize) -> [usize; 3] {
    let target = Target { chunk, ..Target::cpu() };
    let (batch, len, mut state) = (2, 37, 7);
    let mut input = |axes: &[archc_compiler::graph::AxisId]| {
        let shape: Vec<usize> = [batch, len].into_iter().chain(axes.iter().map(|a| graph.size(*a))).collect();
        Tensor { data: numbers(shape.iter().product(), &mut state), shape }
    };
    let r = graph.outputs.iter().map(|o| (o.name.clone(), input(&o.axes))).collect();
    let inputs = graph.inputs.iter().map(|i| (i.name.clone(), input(&i.axes))).collect();
    // documents of 5 to 20 tokens
    let reset = (0..batch * len).map(|i| [0, 5, 25].contains(&(i % len))).collect();
    let batch = Batch { batch, len, inputs, reset, ..Batch::default() };
    let mut leaves: Leaves<f32> = Leaves::new(graph, &batch, None);
    leaves.set_cotangents(graph, &r);
    let exact: Leaves<f64> = Leaves::new(graph, &batch, None);
    let purpose = Purpose::of(Call::Gradients(Seed::Cotangents), target, len, true);
    let joint = Arc::new(joint(graph, &purpose, &mut |_| ()));
    let options = SessionOptions::default();
    let mut executor = CpuExecutor::new(graph, &options, target).expect("memory");
    let mut params = Vec::new();
    for (i, param) in graph.params.iter().enumerate() {
        let first = initial_param(graph, param, 3).expect("an init").data;
        executor.write(Held::Param, ParamId(i as u32), first.iter().map(|x| *x as f32).collect());
        params.push(first.into_iter().map(|x| f64::from(x as f32)).collect());
    }
    let mut compiled = executor.compile(&joint, leaves.shape()).expect("a plan");
    let scratch = compiled.arena.start();
    for (leaf, view) in &compiled.plan.leaves {
        fill(leaf, view, scratch, &leaves, None);
    }
    let bases = executor.bases(&mut compiled);
    let context = Context::new(compiled.registers.start());
    let mut seen = [0; 3];
    for (i, launch) in compiled.plan.root.launches.iter().enumerate() {
        let kernel = compiled.plan.root.launched(launch);
        let (kind, op, (operands, results)) = match &kernel.work {
            Work::Loop(l) => (0, &l.definition.op, of_loop(l)),
            Work::Attend(a) => (1 + usize::from(a.grad.is_some()), &a.definition.op, of_attend(a)),
            _ => {
                // SAFETY: memory and leaves are those of the plan
                unsafe { compiled.program.launch(i, &bases, &context) };
                continue;
            }
        };
        seen[kind] += 1;
        // SAFETY: memory and leaves are those of the plan
        let alone = unsafe { Alone::new(&joint, leaves.shape(), op, &operands, &results, &bases) };
        let given = Leaves { cotangents: alone.operands, ..exact.clone() };
        let wanted: Vec<ValueId> = alone.results.iter().map(|r| r.0).collect();
        let [expected, single] = [Dtype::F64, Dtype::F32].map(|dtype| {
            let values = interpret_in(&alone.graph, &params, &given, &wanted, dtype);
            values.unwrap_or_else(|e| panic!("{name}: {e:?}"))
        });
        // SAFETY: memory and leaves are those of the plan
        unsafe { compiled.program.launch(i, &bases, &context) };
        for (((id, view), expected), single) in alone.results.iter().zip(expected).zip(single) {
            let dims: Vec<(DimId, usize)> =
                alone.graph.dag.node(*id).dims.iter().zip(&expected.shape).map(|(d, n)| (*d, *n)).collect();
            // SAFETY: the view is of this plan
            let found = unsafe { read(view, &dims, &bases) };
            let largest = expected.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let apart = |x: &Tensor| x.data.iter().zip(&expected.data).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
            // a few hundred sums in f32, relative to the largest element; where a body amplifies rounding, what f32 costs op by op
            let bound = (2e-5 * largest.max(1e-3)).max(8.0 * apart(&single));
            assert!(apart(&found) <= bound, "{name}, {} of {}: {} > {bound}", id.0, kernel.name, apart(&found));
        }
    }
    seen
}

#[test]
fn loops_and_attends_follow_from_their_definitions() {
    let blocks = [
        ("delta.arch", "GatedDeltaNet"),
        ("gated.arch", "GLA"),
        ("recurrent.arch", "RGLRU"),
        ("recurrent.arch", "SLSTM"),
        ("recurrent.arch", "MLSTM"),
        ("learners.arch", "TTTLinear"),
        ("attention.arch", "SlidingAttention"),
        ("attention.arch", "ForgettingTransformer"),
    ];
    let mut all = [0; 3];
    for (file, name) in blocks {
        for chunk in [8, 64] {
            let seen = check(&block(file, name), name, chunk);
            assert!(seen.iter().sum::<usize>() > 0, "{name} has neither a loop nor an attend");
            all.iter_mut().zip(seen).for_each(|(all, n)| *all += n);
        }
    }
    assert!(all.iter().all(|n| *n >= 4), "{all:?}");
}
