//! Lowered graphs mean what the source graphs mean: every program that ships, interpreted in f64, held against the
//! reference device on the source graph, whole and in pieces, with ragged chunks and packed documents.

use archc_compiler::graph::Graph;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile, targets};
use archc_runtime::compiled::Interpreted;
use archc_runtime::random::Stream;
use archc_runtime::{Batch, BatchShape, Carry, Device, Dtype, Reference, Session, SessionOptions, Tensor, Tensors};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Both sides sum in f64, in different orders; deep graphs magnify rounding errors of 1e-16.
const TOLERANCE: f64 = 1e-9;

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path());
    let arch = |p: &PathBuf| p.extension().is_some_and(|e| e == "arch") && !p.ends_with("stack.arch");
    let mut files: Vec<PathBuf> = entries.filter(arch).collect();
    files.sort();
    files
}

/// Every block and model of a file, small.
fn programs(path: &Path) -> Vec<(String, Arc<Graph>)> {
    let mut sources = SourceMap::new();
    let file = sources.add(path.file_name().unwrap().to_string_lossy(), std::fs::read_to_string(path).unwrap());
    let module = compile(&sources, file, &Options::default()).module.unwrap();
    let names = targets(&module).into_iter().map(|t| module.callables[t.index as usize].name.name.clone());
    let graph = |block: String| {
        let mut options = Options { block: Some(block.clone()), ..Options::default() };
        options.sizes.set.insert("D".into(), 16.0);
        options.sizes.vocab = 11;
        let graph = compile(&sources, file, &options).into_graph().unwrap_or_else(|d| panic!("{block}: {d:?}"));
        (block, Arc::new(graph))
    };
    names.map(graph).collect()
}

fn noise(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(&[name.as_bytes()]);
    let data = (0..shape.iter().product()).map(|_| stream.normal_pair()[0]).collect();
    Tensor { shape: shape.to_vec(), data }
}

fn random_batch(graph: &Graph, batch: usize, len: usize) -> Batch {
    let mut all = Batch { batch, len, ..Default::default() };
    for input in &graph.inputs {
        let axes = input.axes.iter().map(|&a| graph.size(a));
        let shape: Vec<usize> = [batch, len].into_iter().chain(axes).collect();
        all.inputs.insert(input.name.clone(), noise(&input.name, &shape));
    }
    if let Some(vocab) = graph.vocab {
        let mut stream = Stream::new(&[b"tokens"]);
        let mut ids = || (0..batch * len).map(|_| (stream.uniform() * graph.size(vocab) as f64) as u32).collect();
        (all.tokens, all.targets) = (ids(), ids());
        all.mask = (0..batch * len).map(|i| if i % 5 == 1 { 0.0 } else { 1.0 }).collect();
    }
    all
}

fn packed(mut batch: Batch) -> Batch {
    let starts = |b: usize, t: usize| t == 0 || (b == 0 && t == 3) || (b == 1 && (t == 1 || t == 12));
    batch.reset = (0..batch.batch * batch.len).map(|i| starts(i / batch.len, i % batch.len)).collect();
    batch
}

fn session(device: &dyn Device, graph: &Arc<Graph>) -> Box<dyn Session> {
    let options = SessionOptions { dtype: Dtype::F64, seed: 7, ..Default::default() };
    device.compile(graph, BatchShape { batch: 1, len: 1 }, &options).unwrap()
}

/// The largest difference by the size of the larger of both, or of 1.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape, b.shape);
    let size = a.data.iter().chain(&b.data).fold(1.0, |m: f64, x| m.max(x.abs()));
    let worst = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs());
    worst.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) }) / size
}

fn farthest(a: &Tensors, b: &Tensors) -> (f64, String) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let each = a.iter().map(|(name, t)| (distance(t, &b[name]), name.clone()));
    each.fold((0.0, String::new()), |m, d| if d.0 > m.0 { d } else { m })
}

/// Tokens `times` of all sequences.
fn piece(batch: &Batch, times: std::ops::Range<usize>) -> Batch {
    fn some<T: Clone>(all: &[T], batch: &Batch, times: &std::ops::Range<usize>, width: usize) -> Vec<T> {
        let row = |b: usize| &all[b * batch.len * width..(b + 1) * batch.len * width];
        match all.is_empty() {
            true => Vec::new(),
            false => (0..batch.batch).flat_map(|b| row(b)[times.start * width..times.end * width].to_vec()).collect(),
        }
    }
    let part = |(name, t): (&String, &Tensor)| {
        let data = some(&t.data, batch, &times, t.shape[2..].iter().product());
        (name.clone(), Tensor { shape: [&[batch.batch, times.len()], &t.shape[2..]].concat(), data })
    };
    Batch {
        batch: batch.batch,
        len: times.len(),
        inputs: batch.inputs.iter().map(part).collect(),
        tokens: some(&batch.tokens, batch, &times, 1),
        reset: some(&batch.reset, batch, &times, 1),
        ..Default::default()
    }
}

fn check(path: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, graph) in programs(path) {
        let mut reference = session(&Reference, &graph);
        let plain = random_batch(&graph, 2, 21);
        let mut note = |what: &str, (error, at): (f64, String)| {
            if error > TOLERANCE {
                problems.push(format!("{name}, {what}: {at} is off by {error:.1e}"));
            }
        };
        for (what, batch) in [("one document", plain.clone()), ("packed", packed(plain))] {
            let wanted = reference.forward(&batch, None).unwrap().outputs;
            // 8: two whole chunks and a ragged one; 32: less than a chunk; 64 with 15 tokens: token by token
            for chunk in [8, 32] {
                let mut lowered = session(&Interpreted { chunk }, &graph);
                let whole = lowered.forward(&batch, None).unwrap().outputs;
                note(&format!("{what}, chunks of {chunk}"), farthest(&wanted, &whole));
            }
            let mut lowered = session(&Interpreted { chunk: 8 }, &graph);
            let (mut before, mut carry): (Option<Carry>, Option<Carry>) = (None, None);
            for times in [0..2, 2..3, 3..20, 20..21] {
                let part = piece(&batch, times.clone());
                let want = reference.forward(&part, before.as_ref()).unwrap();
                let got = lowered.forward(&part, carry.as_ref()).unwrap();
                note(&format!("{what}, tokens {times:?}"), farthest(&want.outputs, &got.outputs));
                (before, carry) = (Some(want.carry), Some(got.carry));
            }
        }
    }
    problems
}

fn check_folder(folder: &str) {
    let problems: Vec<String> = files(folder).iter().flat_map(|f| check(f)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_library_means_the_same() {
    check_folder("stdlib");
}

#[test]
fn seeds_and_examples_mean_the_same() {
    check_folder("seeds");
    check_folder("examples");
}
