//! Shipped programs: standard library, seeds, examples.

use archc_compiler::hir::{CallableKind, Library, Module};
use archc_compiler::source::{FileId, SourceMap, sibling};
use archc_compiler::{Compilation, Options, Sizes, compile, targets};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All `.arch` files of a folder and its subfolders, in order.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "arch") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "there are no programs in {folder}");
    found
}

/// File with its imports.
#[allow(dead_code, reason = "not every test binary compiles them")]
pub struct Shipped {
    /// Name, for example `examples-03_router`.
    pub name: String,
    /// Texts of the file and its imports.
    pub sources: SourceMap,
    /// The file itself.
    pub file: FileId,
    /// Module of the file; none for a file with errors.
    pub module: Option<Arc<Module>>,
}

#[allow(dead_code, reason = "not every test binary compiles them")]
impl Shipped {
    /// Reads a file; texts are named by their path from the root, so that findings do not depend on the machine.
    pub fn read(path: &Path) -> Self {
        let shown = path.strip_prefix(root()).expect("a file of the repository").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(path).expect("a readable program");
        let mut sources = SourceMap::new();
        for used in archc_compiler::hir::uses(&text) {
            let used = sibling(&shown, &used);
            // A broken program may import a missing file.
            if let Ok(text) = fs::read_to_string(root().join(&used)) {
                sources.add(used, text);
            }
        }
        let name = shown.trim_end_matches(".arch").replace('/', "-");
        let file = sources.add(shown, text);
        let module = Library::load(&sources, file).0.user_module(file);
        Self { name, sources, file, module }
    }

    /// Text of the file.
    pub fn text(&self) -> &str {
        &self.sources.file(self.file).text
    }

    /// Blocks and models of the file.
    pub fn blocks(&self) -> Vec<(String, CallableKind)> {
        let Some(module) = &self.module else { return Vec::new() };
        let callable = |i: u32| &module.callables[i as usize];
        targets(module).into_iter().map(|t| (callable(t.index).name.name.clone(), callable(t.index).kind)).collect()
    }

    /// Compiles one block or model.
    pub fn compile(&self, block: &str, sizes: Sizes) -> Compilation {
        compile(&self.sources, self.file, &Options { block: Some(block.to_owned()), sizes })
    }
}
