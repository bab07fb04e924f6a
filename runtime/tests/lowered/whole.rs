//! Tests of the device against the reference in f64: the standard library, seeds and examples.

use crate::agree::{Finding, NOT_JUDGED, lines, named};
use crate::batches::{packed, random_batch};
use crate::case::{Subject, Wanted};
use crate::check::exact;
use crate::programs::{files, programs};
use crate::{LARGE, chunked, device};
use archc_compiler::graph::{Graph, Op};
use archc_runtime::compiled::Interpreted;
use archc_runtime::{Device, Reference};
use archc_selftest::battery::unseen;
use std::path::PathBuf;
use std::sync::Arc;

/// Runs a check over all programs of some files and reports all findings at once.
pub fn each(files: &[PathBuf], check: impl Fn(&Subject<'_>, &Arc<Graph>) -> Vec<Finding>) {
    each_on(&device(), files, check);
}

/// Runs a check on another device.
fn each_on(device: &dyn Device, files: &[PathBuf], check: impl Fn(&Subject<'_>, &Arc<Graph>) -> Vec<Finding>) {
    let subject = Subject::new(device, exact());
    let mut found = Vec::new();
    for path in files {
        for (name, graph) in programs(path) {
            let start = std::time::Instant::now();
            found.extend(named(check(&subject, &graph), &name));
            eprintln!("{name}: {:.2?}", start.elapsed());
        }
    }
    assert!(found.is_empty(), "{} findings\n{}", found.len(), lines(&found));
}

pub fn all() -> Vec<PathBuf> {
    ["stdlib", "seeds", "examples", "tests/scans"].into_iter().flat_map(files).collect()
}

/// Compares lengths around a chunk of 64 and a tile, and lengths too short to be chunked.
fn lengths(subject: &Subject<'_>, graph: &Arc<Graph>) -> Vec<Finding> {
    let mut found = Vec::new();
    for len in [1, 2, 5, 63, 64, 65, 130] {
        let batch = random_batch(graph, 2, len);
        let mut here = subject.compare(graph, &batch);
        if len > 4 {
            here.extend(named(subject.compare(graph, &packed(batch)), "packed"));
        }
        found.extend(named(here, &format!("length {len}")));
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

/// Recurrences that no library ships.
#[test]
fn made_up_scans() {
    each(&files("tests/scans"), lengths);
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

/// Decodes token by token over more known tokens than are allocated for an attend at once.
#[test]
fn decoding() {
    each(&all(), |subject, graph| {
        if !graph.dag.ids().any(|id| matches!(graph.dag.op(id), Op::Attend(_))) {
            return Vec::new();
        }
        let ends: Vec<usize> = std::iter::once(110).chain(125..=131).collect();
        let whole = random_batch(graph, 2, 131);
        let mut found = subject.compare_pieces(graph, &whole, &ends);
        let mut late = whole;
        // the second sequence has a document that goes back less far
        late.reset = (0..2 * 131).map(|i| i == 0 || i == 131 || i == 131 + 105).collect();
        found.extend(named(subject.compare_pieces(graph, &late, &ends), "packed"));
        found
    });
}

#[test]
fn training_steps() {
    each(&all(), |subject, graph| {
        let trains = graph.vocab.is_some() || !graph.losses.is_empty();
        if trains { subject.compare_steps(graph, &random_batch(graph, 2, 20)) } else { Vec::new() }
    });
}

/// Graphs for tensor libraries: loops without mapped dimensions, and nothing in them that depends on no state. Forward, gradients, packed
/// documents and pieces.
#[test]
fn loops_over_whole_tensors() {
    each_on(&Interpreted { mapped: false, chunk: 16 }, &all(), |subject, graph| {
        let batch = random_batch(graph, 2, 37);
        let mut found = subject.compare(graph, &batch);
        let packed = packed(batch);
        found.extend(named(subject.compare(graph, &packed), "packed"));
        found.extend(subject.compare_pieces(graph, &packed, &[1, 20, 37]));
        found
    });
}

/// Chunks of 16 and 32 tokens, the last one ragged; documents that start at chunk boundaries and within chunks.
#[test]
fn other_chunks() {
    let files: Vec<PathBuf> = ["stdlib", "tests/scans"].into_iter().flat_map(files).collect();
    for chunk in [16, 32] {
        each_on(&*chunked(chunk), &files, |subject, graph| {
            let mut batch = random_batch(graph, 2, 70);
            let mut found = subject.compare(graph, &batch);
            let starts = [0, 16, 17, 31, 32, 48, 50, 70, 75, 102, 133, 134];
            batch.reset = (0..140).map(|i| starts.contains(&i)).collect();
            found.extend(named(subject.compare(graph, &batch), "packed"));
            named(found, &format!("chunks of {chunk}"))
        });
    }
}

/// Inputs so large that gates reach their bounds: decays of 1 and next to 0, steps of 0 and 1.
#[test]
fn gates_at_their_bounds() {
    each(&all(), |subject, graph| {
        let mut batch = random_batch(graph, 2, 70);
        batch.inputs.values_mut().flat_map(|t| &mut t.data).for_each(|x| *x *= LARGE);
        // At such gates the divisors of linear attention come near 0 and amplify rounding too much to be judged.
        let mut found = subject.compare(graph, &batch);
        found.retain(|f| !f.run.contains(NOT_JUDGED));
        found
    });
}

#[test]
fn the_future_and_other_sequences_change_nothing() {
    each(&all(), |subject, graph| {
        let check = |len: usize| {
            let wanted = Wanted::of(&Reference, subject.bounds.dtype, graph, &random_batch(graph, 2, len));
            named(unseen(subject, &wanted, 0, 0..len / 2, 1.0), &format!("length {len}"))
        };
        [6, 70].into_iter().flat_map(check).collect()
    });
}
