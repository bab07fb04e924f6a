//! Numerical tests of every shipped block and model on the reference device at small sizes, for the properties that the
//! language guarantees by construction: outputs and gradients are finite; a later token never changes an earlier
//! output; sequences of a batch are independent; a sequence processed in two pieces gives the same outputs.

mod shipped;

use archc_compiler::Sizes;
use archc_compiler::graph::Graph;
use archc_compiler::hash::canonical_hash;
use archc_compiler::hir::CallableKind;
use archc_grammar::format_source;
use archc_runtime::{Batch, BatchShape, Device, Dtype, Objective, Reference, Session, SessionOptions, Tensor, Tensors};
use shipped::{Shipped, files};
use std::collections::BTreeMap;
use std::sync::Arc;

const BATCH: usize = 2;
const LEN: usize = 10;
/// First token that is changed; the outputs before it must not change.
const CUT: usize = 6;
const VOCAB: usize = 11;

/// Tolerance for the order of f64 summation, over some hundred operations.
const SAME: f64 = 1e-9;

/// Name of the standard stack, whose text is a pattern with a hole for the block.
const PATTERN: &str = "stdlib-stack";

fn sizes(program: &Shipped, block: &str, kind: CallableKind) -> Sizes {
    let module = program.module.as_ref().expect("it has no errors");
    let callable = module.callables.iter().find(|c| c.name.name == block).expect("it is there");
    let axes = callable.axes.iter().flat_map(|a| &a.left).flat_map(|s| &s.terms).map(|t| t.name.name.clone());
    let mut set: BTreeMap<String, f64> = axes.map(|a| (a, 16.0)).collect();
    // Two layers are enough depth for these properties.
    if kind == CallableKind::Model && callable.params.iter().any(|p| p.name.name == "N") {
        set.insert("N".into(), 2.0);
    }
    Sizes { set, vocab: VOCAB, layers: None }
}

/// Pseudorandom number between -1 and 1, the same on every machine.
fn noise(seed: u64, at: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for _ in 0..3 {
        x ^= x >> 31;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Batch whose tokens before `changed_from` are drawn with seed 1, and the later ones with another seed.
fn batch(graph: &Graph, changed_from: usize) -> Batch {
    let mut batch = Batch { batch: BATCH, len: LEN, ..Batch::default() };
    let seed = |token: usize| if token % LEN < changed_from { 1 } else { 2 };
    for (i, input) in graph.inputs.iter().enumerate() {
        let axes: Vec<usize> = input.axes.iter().map(|&a| graph.size(a)).collect();
        let each: usize = axes.iter().product();
        let data = (0..BATCH * LEN * each).map(|n| noise(seed(n / each) + 10 * i as u64, n as u64)).collect();
        batch.inputs.insert(input.name.clone(), Tensor { shape: [&[BATCH, LEN], &axes[..]].concat(), data });
    }
    if graph.vocab.is_some() {
        let token = |n: usize| ((noise(seed(n), n as u64) + 1.0) * VOCAB as f64 / 2.0) as u32;
        batch.tokens = (0..BATCH * LEN).map(token).collect();
    }
    batch
}

/// Tokens `tokens` of the rows `rows` of a batch.
fn part(batch: &Batch, rows: std::ops::Range<usize>, tokens: std::ops::Range<usize>) -> Batch {
    let pick = |t: &Tensor| {
        let each: usize = t.shape[2..].iter().product();
        let at = |b: usize| (b * LEN + tokens.start) * each..(b * LEN + tokens.end) * each;
        let data = rows.clone().flat_map(|b| t.data[at(b)].to_vec()).collect();
        Tensor { shape: [&[rows.len(), tokens.len()], &t.shape[2..]].concat(), data }
    };
    let ids = |b: usize| batch.tokens.get(b * LEN + tokens.start..b * LEN + tokens.end).unwrap_or(&[]).to_vec();
    Batch {
        batch: rows.len(),
        len: tokens.len(),
        inputs: batch.inputs.iter().map(|(n, t)| (n.clone(), pick(t))).collect(),
        tokens: rows.clone().flat_map(ids).collect(),
        ..Batch::default()
    }
}

/// Largest difference of the outputs at some tokens of some rows, relative to their largest absolute value.
fn apart(a: &Tensors, b: &Tensors, rows: std::ops::Range<usize>, tokens: std::ops::Range<usize>) -> f64 {
    let mut worst: f64 = 0.0;
    for (name, x) in a {
        let y = &b[name];
        let each: usize = x.shape[2..].iter().product();
        // Either may be a part with the same start.
        let at = |t: &Tensor, b: usize, n: usize| (b * t.shape[1] + n) * each;
        let scale = x.data.iter().fold(1e-12, |m: f64, v| m.max(v.abs()));
        for (b, n) in rows.clone().flat_map(|b| tokens.clone().map(move |n| (b, n))) {
            let pairs = x.data[at(x, b, n)..at(x, b, n) + each].iter().zip(&y.data[at(y, b, n)..]);
            worst = pairs.fold(worst, |w, (p, q)| w.max((p - q).abs() / scale));
        }
    }
    worst
}

/// Runs one program and reports the first property that fails.
fn problem(graph: &Arc<Graph>) -> Result<(), String> {
    let told = |d: archc_compiler::diag::Diagnostic| format!("{}: {}", d.code, d.message);
    let shape = BatchShape { batch: BATCH, len: LEN };
    let options = SessionOptions { dtype: Dtype::F64, seed: 3, ..SessionOptions::default() };
    let mut session: Box<dyn Session> = Reference.compile(graph, shape, &options).map_err(told)?;
    // A map that is initialized to 0 hides its input.
    let mut start = session.snapshot().map_err(told)?;
    for tensor in start.params.values_mut().filter(|t| t.data.iter().all(|x| *x == 0.0)) {
        tensor.data.iter_mut().enumerate().for_each(|(i, x)| *x = 0.1 * noise(11, i as u64));
    }
    session.restore(&start).map_err(told)?;
    let mut forward = |b: &Batch| session.forward(b, None).map(|f| f.outputs).map_err(told);

    let plain = batch(graph, LEN);
    let whole = forward(&plain)?;
    if whole.values().any(|t| t.data.iter().any(|x| !x.is_finite())) {
        return Err("an output is not finite".into());
    }
    let changed = forward(&batch(graph, CUT))?;
    let before = apart(&whole, &changed, 0..BATCH, 0..CUT);
    if before > SAME {
        return Err(format!("later tokens change earlier outputs by {before:e}"));
    }
    if apart(&whole, &changed, 0..BATCH, CUT..LEN) < 1e-6 {
        return Err("the outputs do not depend on the tokens".into());
    }
    let alone = apart(&forward(&part(&plain, 0..1, 0..LEN))?, &whole, 0..1, 0..LEN);
    if alone > SAME {
        return Err(format!("a sequence depends on the others of its batch, by {alone:e}"));
    }
    let first = session.forward(&part(&plain, 0..BATCH, 0..CUT), None).map_err(told)?;
    let prefix = apart(&first.outputs, &whole, 0..BATCH, 0..CUT);
    if prefix > SAME {
        return Err(format!("a prefix alone gives other outputs, by {prefix:e}"));
    }
    let rest = session.forward(&part(&plain, 0..BATCH, CUT..LEN), Some(&first.carry)).map_err(told)?.outputs;
    let tail: Tensors = whole
        .iter()
        .map(|(n, t)| {
            let each: usize = t.shape[2..].iter().product();
            let row = |b: usize| t.data[(b * LEN + CUT) * each..(b + 1) * LEN * each].to_vec();
            let shape = [&[BATCH, LEN - CUT], &t.shape[2..]].concat();
            (n.clone(), Tensor { shape, data: (0..BATCH).flat_map(row).collect() })
        })
        .collect();
    let split = apart(&rest, &tail, 0..BATCH, 0..LEN - CUT);
    if split > SAME {
        return Err(format!("going on from the carry gives other outputs, by {split:e}"));
    }

    let weigh =
        |t: &Tensor| Tensor { shape: t.shape.clone(), data: (0..t.data.len()).map(|n| noise(7, n as u64)).collect() };
    let weights: Tensors = whole.iter().map(|(n, t)| (n.clone(), weigh(t))).collect();
    let gradients = session.gradients(&plain, Objective::Cotangents(&weights)).map_err(told)?;
    let bad = gradients.params.iter().chain(&gradients.inputs).find(|(_, t)| t.data.iter().any(|x| !x.is_finite()));
    if let Some((path, _)) = bad {
        return Err(format!("the gradient of {path} is not finite"));
    }
    let moved = |t: &Tensor| t.data.iter().any(|x| *x != 0.0);
    if !gradients.params.is_empty() && !gradients.params.values().any(moved) {
        return Err("no parameter has a gradient".into());
    }
    if let Some((name, _)) = gradients.inputs.iter().find(|(_, t)| !moved(t)) {
        return Err(format!("the input {name} has no gradient"));
    }
    Ok(())
}

/// Checks all programs of the files, of which there must be at least `least`.
fn check(paths: &[std::path::PathBuf], least: usize) {
    let mut problems = Vec::new();
    let mut seen = 0;
    for path in paths {
        let program = Shipped::read(path);
        if program.name == PATTERN {
            continue;
        }
        for (block, kind) in program.blocks() {
            let compilation = program.compile(&block, sizes(&program, &block, kind));
            let result = match compilation.into_graph() {
                Ok(graph) => problem(&Arc::new(graph)),
                Err(findings) => Err(findings.iter().map(|d| format!("{} {}", d.code, d.message)).collect()),
            };
            seen += 1;
            problems.extend(result.err().map(|p| format!("{} {block}: {p}", program.name)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen >= least, "only {seen} programs found");
}

#[test]
fn seeds() {
    check(&files("seeds"), 5);
}

#[test]
fn examples() {
    check(&files("examples"), 16);
}

#[test]
fn mixers() {
    check(&files("stdlib/mixers"), 50);
}

#[test]
fn found_programs() {
    check(&files("docs/search"), 2);
}

#[test]
fn models() {
    check(&[shipped::root().join("stdlib/models.arch")], 8);
}

#[test]
fn formatting_changes_no_meaning() {
    let all = ["seeds", "examples", "stdlib", "docs/search"].into_iter().flat_map(files);
    for path in all {
        let program = Shipped::read(&path);
        let printed = format_source(program.text()).expect("it has no errors");
        assert_eq!(
            format_source(&printed).as_ref(),
            Ok(&printed),
            "{}: formatting twice is formatting once",
            program.name
        );
        if program.name == PATTERN {
            continue;
        }
        for (block, kind) in program.blocks() {
            let sizes = sizes(&program, &block, kind);
            let hash = |p: &Shipped| p.compile(&block, sizes.clone()).graph.as_ref().map(canonical_hash);
            let mut sources = program.sources.clone();
            let file = sources.add("printed.arch", printed.clone());
            let again = Shipped { name: String::new(), sources, file, module: None };
            let before = hash(&program);
            assert!(before.is_some(), "{} {block}", program.name);
            assert_eq!(before, hash(&again), "{} {block}", program.name);
        }
    }
}
