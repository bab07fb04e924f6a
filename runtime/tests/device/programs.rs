//! Programs from their text: what the standard library, the seeds and the examples hold, small.

use archc_compiler::graph::Graph;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile, targets};
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

/// Every block and model of a file, small; the standard stack alone is none, since it calls the block put into it.
pub fn programs(path: &Path) -> Vec<(String, Arc<Graph>)> {
    // A map that starts at 0 hides what it is applied to.
    let text = std::fs::read_to_string(path).unwrap().replace("init = zeros", "init = fan");
    let mut sources = SourceMap::new();
    let file = sources.add(path.file_name().unwrap().to_string_lossy(), text);
    let module = compile(&sources, file, &Options::default()).module.unwrap_or_else(|| panic!("{}", path.display()));
    let names = targets(&module).into_iter().map(|t| module.callables[t.index as usize].name.name.clone());
    let mut graphs = Vec::new();
    for block in names {
        let mut options = Options { block: Some(block.clone()), ..Options::default() };
        options.sizes.set = archc_selftest::run::small(&block);
        options.sizes.vocab = 11;
        let compiled = compile(&sources, file, &options);
        let graph = compiled.into_graph().unwrap_or_else(|d| panic!("{} {block}: {d:?}", path.display()));
        graphs.push((block, Arc::new(graph)));
    }
    graphs
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
