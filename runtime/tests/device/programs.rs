//! Programs from their text: those of the standard library, the seeds and the examples, at small sizes.

use archc_compiler::graph::Graph;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The graph of a program whose file has one block.
pub fn compiled(name: &str, text: &str, sizes: &[(&str, usize)]) -> Arc<Graph> {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text);
    let mut options = Options::default();
    for (axis, size) in sizes {
        options.sizes.set.insert((*axis).to_string(), *size as f64);
    }
    match compile(&sources, file, &options).into_graph() {
        Ok(graph) => Arc::new(graph),
        Err(found) => panic!("{name}: {found:?}"),
    }
}

fn root() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect()
}

/// Every block and model of a file, at small sizes; the standard stack alone is none, since it calls the block put into it.
pub fn programs(path: &Path) -> Vec<(String, Arc<Graph>)> {
    archc_selftest::run::programs(&path.display().to_string(), &std::fs::read_to_string(path).unwrap())
}

pub fn files(folder: &str) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "arch") && !path.ends_with("stack.arch") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
