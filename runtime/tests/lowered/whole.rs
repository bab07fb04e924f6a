//! The interpreter against the reference device in f64: the standard library, seeds and examples.

use crate::agree::{Bounds, Subject};
use crate::check::{packed, random_batch};
use crate::programs::{files, programs};
use archc_compiler::graph::Graph;
use archc_runtime::Dtype;
use archc_runtime::compiled::Interpreted;
use std::path::PathBuf;
use std::sync::Arc;

/// Both sides sum the same terms in f64 in other orders, and decays are sums of logarithms on one side and products on the
/// other: 1e-16 a term, some thousand terms.
const EXACT: Bounds = Bounds { dtype: Dtype::F64, forward: 1e-9, gradient: 1e-9, largest: 1e-8 };

/// Runs a check over all programs of some files; gives everything that is off at once.
fn each(files: &[PathBuf], check: impl Fn(&Subject<'_>, &Arc<Graph>) -> Vec<String>) {
    let device = Interpreted::default();
    let subject = Subject { device: &device, bounds: EXACT };
    let mut found = Vec::new();
    for path in files {
        for (name, graph) in programs(path) {
            let start = std::time::Instant::now();
            found.extend(check(&subject, &graph).into_iter().map(|f| format!("{name}, {f}")));
            eprintln!("{name}: {:.2?}", start.elapsed());
        }
    }
    assert!(found.is_empty(), "{} findings\n{}", found.len(), found.join("\n"));
}

fn all() -> Vec<PathBuf> {
    ["stdlib", "seeds", "examples"].into_iter().flat_map(files).collect()
}

/// Lengths around a chunk of 64 and a tile, and shorter than what is chunked at all.
fn lengths(subject: &Subject<'_>, graph: &Arc<Graph>) -> Vec<String> {
    let mut found = Vec::new();
    for len in [1, 2, 5, 63, 64, 65, 130] {
        let batch = random_batch(graph, 2, len);
        let mut here = subject.compare(graph, &batch);
        if len > 4 {
            here.extend(subject.compare(graph, &packed(batch)).into_iter().map(|f| format!("packed, {f}")));
        }
        found.extend(here.into_iter().map(|f| format!("length {len}, {f}")));
    }
    found
}

#[test]
fn the_standard_library() {
    each(&files("stdlib"), lengths);
}

#[test]
fn seeds() {
    each(&files("seeds"), lengths);
}

#[test]
fn examples() {
    each(&files("examples"), lengths);
}

#[test]
fn pieces() {
    each(&all(), |subject, graph| {
        let whole = random_batch(graph, 2, 40);
        let short = packed(random_batch(graph, 2, 9));
        let tokens: Vec<usize> = (1..=9).collect();
        let mut found = subject.compare_pieces(graph, &whole, &[17, 20, 40]);
        found.extend(subject.compare_pieces(graph, &packed(whole.clone()), &[1, 20, 40]));
        found.extend(subject.compare_pieces(graph, &short, &tokens));
        found
    });
}

#[test]
fn training_steps() {
    each(&all(), |subject, graph| {
        let trains = graph.vocab.is_some() || !graph.losses.is_empty();
        if trains { subject.compare_steps(graph, 20) } else { Vec::new() }
    });
}

/// Documents that start at the edges of chunks and in the middle of them.
#[test]
fn documents_at_the_edges_of_chunks() {
    let device = Interpreted { chunk: 16 };
    let subject = Subject { device: &device, bounds: EXACT };
    let mut found = Vec::new();
    for (name, graph) in files("stdlib").iter().flat_map(|f| programs(f)) {
        let mut batch = random_batch(&graph, 2, 50);
        batch.reset = (0..100).map(|i| [0, 16, 17, 31, 48, 50, 55, 82, 98].contains(&i)).collect();
        found.extend(subject.compare(&graph, &batch).into_iter().map(|f| format!("{name}, {f}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
