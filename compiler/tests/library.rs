//! Every block and model of the standard library, the seeds and the examples compiles, alone and in the stack.

use archc_compiler::diag::render;
use archc_compiler::hir::Library;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Sizes, compile, targets};
use std::path::Path;

fn check_folder(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut problems = Vec::new();
    let entries = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "arch")).collect();
    files.sort();
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        if name == "stack.arch" {
            continue;
        }
        let mut sources = SourceMap::new();
        for other in files.iter().filter(|p| *p != path) {
            sources.add(other.file_name().unwrap().to_string_lossy(), std::fs::read_to_string(other).unwrap());
        }
        let file = sources.add(name.clone(), std::fs::read_to_string(path).unwrap());
        let (library, found) = Library::load(&sources, file);
        problems.extend(found.iter().map(|d| render(d, &sources, false)));
        let Some(module) = library.user_module(file) else { continue };
        for target in targets(&module) {
            let block = module.callables[target.index as usize].name.name.clone();
            let stackable = module.callables[target.index as usize].axes.as_ref().is_some_and(|a| a.left.len() == 1);
            for layers in [None, Some(2)] {
                if layers.is_some() && !stackable {
                    continue;
                }
                let options = Options { block: Some(block.clone()), sizes: Sizes { layers, ..Sizes::default() } };
                let result = compile(&sources, file, &options);
                // E0314: made to be called, not to be stacked. W0604: mixes nothing, and says so in its comment.
                let errors = result.diagnostics.iter().filter(|d| match layers {
                    None => d.code != "W0604",
                    Some(_) => d.is_error() && d.code != "E0314",
                });
                problems.extend(errors.map(|d| format!("{name} {block} {layers:?}\n{}", render(d, &sources, false))));
            }
        }
    }
    problems
}

#[test]
fn everything_that_ships_compiles_without_findings() {
    let problems: Vec<String> = ["stdlib", "stdlib/mixers", "stdlib/prelude", "seeds", "examples"]
        .iter()
        .flat_map(|f| check_folder(f))
        .collect();
    assert!(problems.is_empty(), "{} findings\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_embedded_list_is_the_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../stdlib");
    let mut found = Vec::new();
    for folder in ["", "mixers/", "prelude/"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "arch") {
                found.push(format!("stdlib/{folder}{}", path.file_name().unwrap().to_string_lossy()));
            }
        }
    }
    let mut listed: Vec<String> = archc_compiler::stdlib::FILES.iter().map(|f| f.path.to_string()).collect();
    found.sort();
    listed.sort();
    assert_eq!(listed, found);
}

#[test]
fn the_library_itself_parses_and_resolves_without_findings() {
    for file in archc_compiler::stdlib::FILES {
        let mut sources = SourceMap::new();
        // `std::stack` calls the block under test by a name that only the compiler knows.
        let text = file.text.replace("Mixer[D](", "rmsnorm[D](").replace(", layer = i, depth = N", "");
        let id = sources.add(file.path, text);
        let (_, found) = Library::load(&sources, id);
        let shown: Vec<String> = found.iter().map(|d| render(d, &sources, false)).collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
    }
}
