//! Every block and model that ships lowers to a valid graph, alone and in the stack, whatever it is lowered for.

use archc_compiler::graph::Graph;
use archc_compiler::hir::Library;
use archc_compiler::lower::{LowerOptions, lower};
use archc_compiler::lowered::{print, verify};
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Sizes, Target, compile, targets};
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
}

#[test]
fn seeds_and_examples_lower() {
    check_folder("seeds");
    check_folder("examples");
}
