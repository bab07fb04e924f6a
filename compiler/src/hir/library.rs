//! Modules of one compilation: the user's files and the embedded library, each resolved once.

use super::{Callable, CallableKind, ItemRef, Module, resolve::errors, resolve_module};
use crate::diag::Diagnostic;
use crate::source::{FileId, SourceMap, sibling};
use crate::stdlib;
use archc_grammar::ast::{self, ItemKind};
use archc_grammar::parse;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Id of a module, which is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

/// Fns and blocks by name.
pub type Names = BTreeMap<String, ItemRef>;

/// The resolved modules that a program can reach.
#[derive(Clone, Debug, Default)]
pub struct Library {
    user: BTreeMap<ModuleId, Arc<Module>>,
    /// Imports of each module, in order.
    imported: BTreeMap<ModuleId, Vec<(String, ItemRef)>>,
}

impl Library {
    /// Parses and resolves a user's file and all files that it uses.
    ///
    /// Returns the modules and the diagnostics; in case of syntax errors, only those.
    pub fn load(sources: &SourceMap, root: FileId) -> (Self, Vec<Diagnostic>) {
        let mut loader = Loader { sources, library: Self::default(), diagnostics: Vec::new(), open: Vec::new() };
        loader.module(root);
        let Loader { library, mut diagnostics, .. } = loader;
        diagnostics.retain(|d| !library.allows(None, d));
        (library, diagnostics)
    }

    /// A module by id.
    ///
    /// # Panics
    /// Never for an id that came from this library.
    pub fn module(&self, id: ModuleId) -> Arc<Module> {
        if (id.0 as usize) < stdlib::FILES.len() { standard(id) } else { Arc::clone(&self.user[&id]) }
    }

    /// The module of a user's file; none where it has syntax errors.
    pub fn user_module(&self, file: FileId) -> Option<Arc<Module>> {
        self.user.get(&ModuleId(file.0)).map(Arc::clone)
    }

    /// Blocks and models that a user's file imports, by their imported names.
    pub fn imports(&self, file: FileId) -> Vec<(String, ItemRef)> {
        // a file with errors of its own is not included
        let known = |m: ModuleId| (m.0 as usize) < stdlib::FILES.len() || self.user.contains_key(&m);
        let is_target = |item: ItemRef| known(item.module) && self.callable(item).1.kind != CallableKind::Fn;
        let imported = self.imported.get(&ModuleId(file.0)).into_iter().flatten();
        imported.filter(|(_, item)| is_target(*item)).cloned().collect()
    }

    /// Whether the item that contains a warning allows it; a warning outside of all items belongs to the target.
    pub fn allows(&self, target: Option<ItemRef>, finding: &Diagnostic) -> bool {
        if finding.is_error() {
            return false;
        }
        let place = finding.primary.as_ref().map(|label| label.place);
        let around = place.and_then(|place| {
            let module = self.user_module(place.file)?;
            let inside = |c: &&Arc<Callable>| c.span.start <= place.span.start && place.span.end <= c.span.end;
            module.callables.iter().find(inside).map(Arc::clone)
        });
        let item = around.or_else(|| target.map(|t| self.callable(t).1));
        item.is_some_and(|item| item.allows.iter().any(|code| code == finding.code))
    }

    /// A callable by reference, with its module.
    pub fn callable(&self, item: ItemRef) -> (Arc<Module>, Arc<Callable>) {
        let module = self.module(item.module);
        let callable = Arc::clone(&module.callables[item.index as usize]);
        (module, callable)
    }
}

/// The standard library's file, parsed once per process.
fn standard_ast(index: usize) -> &'static ast::File {
    static TREES: OnceLock<Vec<OnceLock<ast::File>>> = OnceLock::new();
    let trees = TREES.get_or_init(|| stdlib::FILES.iter().map(|_| OnceLock::new()).collect());
    trees[index].get_or_init(|| parse(stdlib::FILES[index].text).file)
}

/// The standard library's module, resolved once per process. Its sources are checked by the test suite.
pub(super) fn standard(id: ModuleId) -> Arc<Module> {
    static MODULES: OnceLock<Vec<OnceLock<Arc<Module>>>> = OnceLock::new();
    let modules = MODULES.get_or_init(|| stdlib::FILES.iter().map(|_| OnceLock::new()).collect());
    let module = modules[id.0 as usize].get_or_init(|| {
        let tree = standard_ast(id.0 as usize);
        let mut names = prelude().clone();
        for item in &tree.items {
            if let ItemKind::Use { path, names: used } = &item.kind {
                let path: Vec<&str> = path.iter().map(|p| p.name.as_str()).collect();
                if let Some(exported) = offered(&path.join("::")) {
                    names.extend(used.iter().filter_map(|n| Some((n.name.clone(), *exported.get(&n.name)?))));
                }
            }
        }
        names.extend(exported(id, tree));
        if stdlib::FILES[id.0 as usize].module == "std::stack" {
            names.insert("Mixer".into(), crate::elaborate::MIXER);
        }
        Arc::new(resolve_module(id, FileId(id.0), tree, &names, false).0)
    });
    Arc::clone(module)
}

/// Items of a file by name.
fn exported(id: ModuleId, tree: &ast::File) -> Names {
    callables(tree)
        .enumerate()
        .map(|(i, (_, c, _))| (c.name.name.clone(), ItemRef { module: id, index: i as u32 }))
        .collect()
}

/// Items that a module of the library exports, from all its files; none if there is no such module.
fn offered(module: &str) -> Option<Names> {
    let all = stdlib::files(module).map(|(index, _)| exported(ModuleId(index as u32), standard_ast(index)));
    all.reduce(|mut names, more| {
        names.extend(more);
        names
    })
}

/// Fns, blocks and models of a file in order, which is the order of [`Module::callables`].
pub(super) fn callables(tree: &ast::File) -> impl Iterator<Item = (&ast::Item, &ast::Callable, CallableKind)> {
    tree.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Fn(c) => Some((item, c, CallableKind::Fn)),
        ItemKind::Block(c) => Some((item, c, CallableKind::Block)),
        ItemKind::Model(c) => Some((item, c, CallableKind::Model)),
        ItemKind::Use { .. } | ItemKind::Error => None,
    })
}

/// Fns that need no `use`.
pub(super) fn prelude() -> &'static Names {
    static PRELUDE: OnceLock<Names> = OnceLock::new();
    PRELUDE.get_or_init(|| {
        (0..stdlib::FILES.len())
            .filter(|i| stdlib::is_prelude(*i))
            .flat_map(|i| exported(ModuleId(i as u32), standard_ast(i)))
            .collect()
    })
}

/// The library module that exports a block or fn of this name, for a hint.
pub(super) fn module_of(name: &str) -> Option<&'static str> {
    (0..stdlib::FILES.len())
        .find(|i| callables(standard_ast(*i)).any(|(_, c, _)| c.name.name == name))
        .map(|i| stdlib::FILES[i].module)
}

struct Loader<'a> {
    sources: &'a SourceMap,
    library: Library,
    diagnostics: Vec<Diagnostic>,
    /// Files being loaded, outermost first.
    open: Vec<FileId>,
}

impl Loader<'_> {
    /// Loads a user's file; returns its items even if their bodies have errors, none if it does not parse.
    fn module(&mut self, file: FileId) -> Option<Names> {
        let id = ModuleId(file.0);
        let text = &self.sources.file(file).text;
        let parsed = parse(text);
        if !parsed.errors.is_empty() {
            self.diagnostics.extend(parsed.errors.iter().map(|e| errors::syntax(file, e)));
            return None;
        }
        let own = exported(id, &parsed.file);
        if self.library.user.contains_key(&id) {
            return Some(own);
        }
        self.open.push(file);
        let mut names = prelude().clone();
        let mut imported = Vec::new();
        let mut complete = true;
        for item in &parsed.file.items {
            let ItemKind::Use { path, names: used } = &item.kind else { continue };
            let place = crate::source::Place { file, span: item.span };
            let Some(exported) = self.used(file, path, place) else {
                complete = false;
                continue;
            };
            for name in used {
                match exported.get(&name.name) {
                    Some(item) => {
                        names.insert(name.name.clone(), *item);
                        imported.push((name.name.clone(), *item));
                    }
                    None => {
                        complete = false;
                        self.diagnostics.push(errors::not_exported(file, name, path, &exported));
                    }
                }
            }
        }
        names.extend(own.clone());
        self.open.pop();
        // a missing import would only be reported again as an unknown name at every use
        if complete {
            let (module, findings) = resolve_module(id, file, &parsed.file, &names, true);
            self.diagnostics.extend(findings);
            self.library.user.insert(id, Arc::new(module));
            self.library.imported.insert(id, imported);
        }
        Some(own)
    }

    fn used(&mut self, from: FileId, path: &[ast::Ident], place: crate::source::Place) -> Option<Names> {
        let parts: Vec<&str> = path.iter().map(|p| p.name.as_str()).collect();
        match parts.as_slice() {
            ["std", ..] => {
                let names = offered(&parts.join("::"));
                if names.is_none() {
                    self.diagnostics.push(errors::unknown_library(place, &parts.join("::")));
                }
                names
            }
            ["self", module] => {
                let name = sibling(&self.sources.file(from).name, module);
                let Some(file) = self.sources.find(&name) else {
                    self.diagnostics.push(errors::missing_file(place, &name));
                    return None;
                };
                if self.open.contains(&file) {
                    let chain = self.open.iter().map(|f| self.sources.file(*f).name.clone()).collect::<Vec<_>>();
                    self.diagnostics.push(errors::cyclic_use(place, &chain, &name));
                    return None;
                }
                self.module(file)
            }
            _ => {
                self.diagnostics.push(errors::bad_use(place, &parts.join("::")));
                None
            }
        }
    }
}

/// Files that a text uses by `use self::...`, for the loader that reads them.
pub fn uses(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for item in &parse(text).file.items {
        if let ItemKind::Use { path, .. } = &item.kind
            && let [root, module] = path.as_slice()
            && root.name == "self"
        {
            modules.push(module.name.clone());
        }
    }
    modules
}
