//! Every block and model that ships lowers to a valid graph, alone and in the stack, whatever it is lowered for.

use archc_compiler::gradient::Seed;
use archc_compiler::graph::Graph;
use archc_compiler::hir::Library;
use archc_compiler::lower::{LowerOptions, lower};
use archc_compiler::lowered::{Dag, Loop, Op, StepKind, print, verify};
use archc_compiler::scan::{Elementwise, ScanClass, Scans};
use archc_compiler::source::SourceMap;
use archc_compiler::{Call, Options, Purpose, Sizes, Target, compile, joint, targets};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Every target of a folder's files, with its name.
fn graphs(folder: &str) -> Vec<(String, Arc<Graph>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "arch")).collect();
    files.sort();
    let mut graphs = Vec::new();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let mut sources = SourceMap::new();
        for other in files.iter().filter(|p| *p != path) {
            sources.add(other.file_name().unwrap().to_string_lossy(), std::fs::read_to_string(other).unwrap());
        }
        let file = sources.add(name.clone(), std::fs::read_to_string(path).unwrap());
        let (library, _) = Library::load(&sources, file);
        let Some(module) = library.user_module(file) else { continue };
        for target in targets(&module) {
            let block = module.callables[target.index as usize].name.name.clone();
            for layers in [None, Some(2)] {
                let options = Options { block: Some(block.clone()), sizes: Sizes { layers, ..Sizes::default() } };
                if let Ok(graph) = compile(&sources, file, &options).into_graph() {
                    graphs.push((format!("{name} {block} {layers:?}"), Arc::new(graph)));
                }
            }
        }
    }
    graphs
}

/// All combinations.
fn options() -> impl Iterator<Item = LowerOptions> {
    (0..32).map(|bits| LowerOptions {
        target: Target::cpu(),
        chunk: (bits & 1 != 0).then_some(16),
        resets: bits & 2 != 0,
        carry: bits & 4 != 0,
        losses: bits & 8 != 0,
        training: bits & 16 != 0,
        careful: false,
    })
}

fn check_folder(folder: &str) {
    let graphs = graphs(folder);
    assert!(!graphs.is_empty());
    for (name, graph) in graphs {
        for options in options() {
            let lowered = lower(&graph, &options);
            if let Err(why) = verify(&lowered) {
                panic!("{name} {options:?}: {why}\n{}", print(&lowered));
            }
        }
    }
}

#[test]
fn the_library_lowers() {
    check_folder("stdlib");
    check_folder("stdlib/mixers");
}

#[test]
fn seeds_and_examples_lower() {
    check_folder("seeds");
    check_folder("examples");
}

/// The loops of a graph, those inside of others included.
fn each_loop<'g>(dag: &'g Dag, f: &mut dyn FnMut(&'g Loop)) {
    for id in dag.ids() {
        if let Op::Loop(l) = &dag.node(id).op {
            f(l);
            each_loop(&l.body, f);
        }
    }
}

/// Recurrences are read from a loop's body; the classes of scans come from the algebra of the program as written. A scan without a chunk form
/// becomes a loop over tokens in one body, so both must name one kind, with every dimension of its states independent.
#[test]
fn loops_over_tokens_have_the_recurrences_of_their_scans() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, graph) in ["stdlib/mixers", "tests/scans", "tests/accepted"].iter().flat_map(|folder| graphs(folder)) {
        let scans = Scans::of(&graph);
        for resets in [false, true] {
            let options = LowerOptions { resets, chunk: None, ..LowerOptions::plain(Target::cpu(), 16) };
            let lowered = lower(&graph, &options);
            let mut loops: Vec<&Loop> = Vec::new();
            each_loop(&lowered.dag, &mut |l| loops.push(l));
            for part in scans.classes.parts.values() {
                let states = |l: &Loop| l.states.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
                let Some(at) = loops.iter().position(|l| states(l) == part.states) else { continue };
                let l = loops.remove(at);
                let ScanClass::Elementwise(class) = &part.class else { continue };
                let recurrences = l.recurrences();
                // one of its states reads the next value of another, but not the other way round
                if recurrences.len() > 1 && matches!(class, Elementwise::Blocks(_)) {
                    assert!(recurrences.iter().all(|r| r.step == StepKind::Affine), "{name}: {recurrences:?}");
                    continue;
                }
                let [recurrence] = &recurrences[..] else { panic!("{name}, {:?}: {recurrences:?}", part.states) };
                let kind = match class {
                    // a sum that starts again at documents is multiplied by 0 there
                    Elementwise::Sum(_) if resets => StepKind::Affine,
                    Elementwise::Sum(_) => StepKind::Sum,
                    Elementwise::Affine => StepKind::Affine,
                    Elementwise::Blocks(_) => StepKind::Blocks,
                    Elementwise::LogSumExp => StepKind::LogSumExp,
                    Elementwise::MaxPlus if recurrence.step == StepKind::MinPlus => StepKind::MinPlus,
                    Elementwise::MaxPlus => StepKind::MaxPlus,
                };
                assert_eq!(recurrence.step, kind, "{name}, {:?}: {}", part.states, print(&lowered));
                for dim in l.states.iter().flat_map(|s| &s.dims).chain(&l.map) {
                    assert!(recurrence.independent.contains(dim), "{name}, {:?}: {}", part.states, print(&lowered));
                }
                *kinds.entry(kind.name()).or_default() += 1;
            }
        }
    }
    assert_eq!(kinds.len(), 6, "one of each but opaque: {kinds:?}");
}

/// A chunk form is affine in its state, and the cotangents of any recurrence are affine in those of the iteration after it.
#[test]
fn chunks_and_cotangents_are_affine() {
    let mut seen = 0;
    for (name, graph) in ["stdlib/mixers", "tests/scans", "tests/accepted"].iter().flat_map(|folder| graphs(folder)) {
        for chunk in [None, Some(16)] {
            let mut purpose = Purpose::of(Call::Gradients(Seed::Cotangents), Target::cpu(), 64, true);
            purpose.options.chunk = chunk;
            let joint = joint(&graph, &purpose, &mut |_| ());
            each_loop(&joint.dag, &mut |l| {
                for recurrence in l.recurrences() {
                    let cotangent = |s: &usize| ["d ", "sum "].iter().any(|p| l.states[*s].name.starts_with(p));
                    let chunked = joint.dim(l.over).name == "chunks"
                        && !l.body.nodes().iter().any(|n| matches!(n.op, Op::Loop(_)));
                    if chunked || recurrence.states.iter().all(cotangent) {
                        seen += 1;
                        let fine = [StepKind::Sum, StepKind::Affine, StepKind::Blocks].contains(&recurrence.step);
                        assert!(fine, "{name}, {chunk:?}: {recurrence:?} of {:?}", l.states);
                    }
                }
            });
        }
    }
    assert!(seen > 200, "{seen}");
}
