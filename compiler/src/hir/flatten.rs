//! A program of several files as one text, for callers that store programs as texts: a search, a log.
//!
//! Items used by `use self::...` are put before the file's own items, after the items that they use in turn; `use std::...` stays
//! unchanged. This is done on the trees, after name resolution: a callee is identified by its place, so that a local or a
//! label of the same name is not changed. An inserted item keeps its name unless the name means something else
//! somewhere in the text: another item, or a fn of the library that its own file hides; then a number is appended.
//!
//! Meaning and cost are preserved: the flat text has the canonical hash of the program. Only the names of renamed items in the paths of
//! their parameters change.

use super::library::callables;
use super::{Callee, ExprKind, ItemRef, Library, Module, ModuleId, builtins};
use crate::diag::Diagnostic;
use crate::source::{FileId, SourceMap};
use crate::stdlib;
use archc_grammar::ast::{self, Ident, Item, ItemKind};
use archc_grammar::edit::visit_callable_exprs_mut;
use archc_grammar::{Span, format, is_keyword, parse};
use std::collections::{BTreeMap, BTreeSet};

/// One text that is equivalent to the file with all files that it uses. A file that uses no other is returned unchanged. A file of imports
/// only becomes the imported blocks, as written in the library.
///
/// # Errors
/// The diagnostics, if the file or one that it uses has errors.
///
/// # Panics
/// If the resulting text does not load: a bug of archc.
pub fn flatten(sources: &SourceMap, file: FileId) -> Result<String, Vec<Diagnostic>> {
    let text = &sources.file(file).text;
    let root = parse(text).file;
    let uses_files = root.items.iter().any(|item| own_module(item).is_some());
    let of_library = !uses_files && callables(&root).next().is_none();
    if !uses_files && !of_library {
        return Ok(text.to_string());
    }
    let (library, findings) = Library::load(sources, file);
    let errors: Vec<Diagnostic> = findings.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    if of_library {
        return Ok(format(&opened(root)));
    }
    let flat = format(&Flat::new(sources, &library, ModuleId(file.0)).file(root));
    let mut alone = SourceMap::new();
    let id = alone.add("flat.arch", flat.as_str());
    if let Some(e) = Library::load(&alone, id).1.into_iter().find(Diagnostic::is_error) {
        panic!("archc bug: several files as one text: {} {}\n{flat}", e.code, e.message);
    }
    Ok(flat)
}

/// The library blocks that a file imports, as its own items; items of their module that they call are imported.
fn opened(root: ast::File) -> ast::File {
    let (mut applied, mut items) = (BTreeMap::new(), Vec::new());
    for item in root.items {
        let ItemKind::Use { path, names } = item.kind else { continue };
        let module = path.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join("::");
        let trees: Vec<ast::File> = stdlib::files(&module).map(|(_, file)| parse(file.text).file).collect();
        let theirs: BTreeSet<&str> = trees.iter().flat_map(callables).map(|(_, c, _)| c.name.name.as_str()).collect();
        for wanted in names {
            let mut all = trees.iter().flat_map(callables);
            let Some((found, ..)) = all.find(|(_, c, _)| c.name.name == wanted.name) else { continue };
            let mut own = found.clone();
            own.trivia = ast::Trivia { blank_before: true, ..ast::Trivia::default() };
            if let ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) = &mut own.kind {
                visit_callable_exprs_mut(c, &mut |expr| {
                    let (ast::ExprKind::Name(name) | ast::ExprKind::Call(ast::Call { callee: Ident { name, .. }, .. })) =
                        &expr.kind
                    else {
                        return;
                    };
                    if theirs.contains(name.as_str()) {
                        applied.entry(module.clone()).or_insert_with(BTreeSet::new).insert(name.clone());
                    }
                });
            }
            items.push(own);
        }
    }
    let mut all = imports(applied);
    all.append(&mut items);
    ast::File { items: all, dangling: root.dangling }
}

/// `use` items for names by module.
fn imports(names: BTreeMap<String, BTreeSet<String>>) -> Vec<Item> {
    let import = |(module, names): (String, BTreeSet<String>)| Item {
        trivia: ast::Trivia::default(),
        docs: Vec::new(),
        attributes: Vec::new(),
        kind: ItemKind::Use {
            path: module.split("::").map(Ident::new).collect(),
            names: names.into_iter().map(Ident::new).collect(),
        },
        span: Span::default(),
    };
    names.into_iter().map(import).collect()
}

/// Places at which a module names a fn or block, with the item; built-in functions are not included.
pub fn references(module: &Module) -> BTreeMap<Span, ItemRef> {
    let named = |kind: &ExprKind| match kind {
        ExprKind::Call(call) => match call.callee {
            Callee::Item(item) => Some((call.name.span, item)),
            Callee::Builtin(_) | Callee::Shared(_) => None,
        },
        _ => None,
    };
    module.exprs.iter().filter_map(|e| named(&e.kind)).collect()
}

/// Renames the fns and blocks that a callable references, where `new` returns a name for their place.
pub fn rename_references(callable: &mut ast::Callable, new: impl Fn(Span) -> Option<String>) {
    visit_callable_exprs_mut(callable, &mut |expr| match &mut expr.kind {
        ast::ExprKind::Name(name) => {
            if let Some(new) = new(expr.span) {
                *name = new;
            }
        }
        ast::ExprKind::Call(call) => {
            if let Some(new) = new(call.callee.span) {
                call.callee.name = new;
            }
        }
        _ => {}
    });
}

/// The file that an item uses: `other` of `use self::other::{..}`.
fn own_module(item: &Item) -> Option<&str> {
    match &item.kind {
        ItemKind::Use { path, .. } => match path.as_slice() {
            [root, module] if root.name == "self" => Some(&module.name),
            _ => None,
        },
        _ => None,
    }
}

fn is_standard(item: ItemRef) -> bool {
    (item.module.0 as usize) < stdlib::FILES.len()
}

/// A file of the program.
struct Part {
    /// Fns, blocks and models of the file, in order.
    items: Vec<Item>,
    /// Items that its expressions reference, by place.
    references: BTreeMap<Span, ItemRef>,
    /// Names that mean an axis or a built-in function, by place.
    others: BTreeMap<Span, String>,
}

impl Part {
    fn name(&self, item: ItemRef) -> &str {
        callable(&self.items[item.index as usize]).map_or("", |c| &c.name.name)
    }

    /// Items that an item references, in the order of the text.
    fn inside(&self, item: ItemRef) -> impl Iterator<Item = ItemRef> {
        within(&self.references, self.items[item.index as usize].span).copied()
    }
}

/// Values at places inside a span.
fn within<T>(places: &BTreeMap<Span, T>, span: Span) -> impl Iterator<Item = &T> {
    places.range(Span { start: span.start, end: 0 }..).take_while(move |(at, _)| at.start < span.end).map(|(_, v)| v)
}

fn callable(item: &Item) -> Option<&ast::Callable> {
    match &item.kind {
        ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) => Some(c),
        ItemKind::Use { .. } | ItemKind::Error => None,
    }
}

struct Flat<'a> {
    sources: &'a SourceMap,
    library: &'a Library,
    root: ModuleId,
    parts: BTreeMap<ModuleId, Part>,
    /// Needed items of the user, each after those that it references.
    order: Vec<ItemRef>,
    needed: BTreeSet<ItemRef>,
}

impl<'a> Flat<'a> {
    fn new(sources: &'a SourceMap, library: &'a Library, root: ModuleId) -> Self {
        let mut flat =
            Self { sources, library, root, parts: BTreeMap::new(), order: Vec::new(), needed: BTreeSet::new() };
        let own = flat.part(root).items.len() as u32;
        (0..own).for_each(|index| flat.need(ItemRef { module: root, index }));
        if own == 0 {
            // a file without items of its own offers its imports
            library.imports(FileId(root.0)).into_iter().for_each(|(_, item)| flat.need(item));
        }
        flat
    }

    fn part(&mut self, id: ModuleId) -> &Part {
        let (sources, library) = (self.sources, self.library);
        self.parts.entry(id).or_insert_with(|| {
            let module = library.module(id);
            let tree = parse(&sources.file(module.file).text).file;
            let other = |e: &super::Expr| match &e.kind {
                ExprKind::AxisSize(name) => Some((e.span, name.clone())),
                ExprKind::Call(call) if matches!(call.callee, Callee::Builtin(_)) => {
                    Some((call.name.span, call.name.name.clone()))
                }
                _ => None,
            };
            Part {
                items: callables(&tree).map(|(item, ..)| item.clone()).collect(),
                references: references(&module),
                others: module.exprs.iter().filter_map(other).collect(),
            }
        })
    }

    /// Adds an item after the items that it references.
    fn need(&mut self, item: ItemRef) {
        if is_standard(item) || !self.needed.insert(item) {
            return;
        }
        let inside: Vec<ItemRef> = self.part(item.module).inside(item).collect();
        inside.into_iter().for_each(|named| self.need(named));
        self.order.push(item);
    }

    /// The whole text as a tree.
    fn file(self, root: ast::File) -> ast::File {
        let names = self.names();
        let item = |item: &ItemRef| {
            let part = &self.parts[&item.module];
            let mut new = part.items[item.index as usize].clone();
            if let ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) = &mut new.kind {
                c.name.name.clone_from(&names[item]);
                rename_references(c, |at| names.get(part.references.get(&at)?).cloned());
            }
            new
        };
        let mut items = self.imports(&root);
        for foreign in self.order.iter().filter(|item| item.module != self.root) {
            let mut foreign = item(foreign);
            foreign.trivia.blank_before = true;
            items.push(foreign);
        }
        // comments before a removed `use` stay, before the next item
        let mut comments = Vec::new();
        let mut index = 0;
        for mut own in root.items {
            if own_module(&own).is_some() {
                comments.append(&mut own.trivia.leading);
                continue;
            }
            if callable(&own).is_none() {
                continue;
            }
            let trivia = std::mem::take(&mut own.trivia);
            own = item(&ItemRef { module: self.root, index });
            own.trivia = trivia;
            own.trivia.leading.splice(0..0, comments.drain(..));
            own.trivia.blank_before |= !items.is_empty();
            index += 1;
            items.push(own);
        }
        comments.extend(root.dangling);
        ast::File { items, dangling: comments }
    }

    /// Imports from the library: those of the file, and those that the other files add.
    fn imports(&self, root: &ast::File) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let mut known = BTreeSet::new();
        for item in &root.items {
            if let ItemKind::Use { names, .. } = &item.kind
                && own_module(item).is_none()
            {
                known.extend(names.iter().map(|n| n.name.clone()));
                items.push(item.clone());
            }
        }
        let mut added: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for item in self.order.iter().flat_map(|&item| self.parts[&item.module].inside(item)) {
            let module = item.module.0 as usize;
            if is_standard(item) && !stdlib::is_prelude(module) {
                let name = self.library.callable(item).1.name.name.clone();
                if !known.contains(&name) {
                    added.entry(stdlib::FILES[module].module.to_owned()).or_default().insert(name);
                }
            }
        }
        items.extend(imports(added));
        items
    }

    /// Name of each item in the text. The file's own items come first, the last of them before all others, because it is the main one.
    fn names(&self) -> BTreeMap<ItemRef, String> {
        let mut meant: BTreeMap<String, BTreeSet<ModuleId>> = BTreeMap::new();
        for &item in &self.order {
            let part = &self.parts[&item.module];
            let standard = part.inside(item).filter(|i| is_standard(*i));
            let standard = standard.map(|i| self.library.callable(i).1.name.name.clone());
            let others = within(&part.others, part.items[item.index as usize].span).cloned();
            for name in standard.chain(others) {
                meant.entry(name).or_default().insert(item.module);
            }
        }
        let words: BTreeSet<&str> =
            self.parts.keys().flat_map(|id| words(&self.sources.file(FileId(id.0)).text)).collect();
        let mut names: BTreeMap<ItemRef, String> = BTreeMap::new();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let (own, foreign): (Vec<ItemRef>, Vec<ItemRef>) = self.order.iter().partition(|i| i.module == self.root);
        for item in own.into_iter().rev().chain(foreign) {
            let wish = self.parts[&item.module].name(item);
            // in its own file the name means the item; in another it may mean an axis or a fn of the library
            let elsewhere = meant.get(wish).is_some_and(|files| files.iter().any(|f| *f != item.module));
            let name = if elsewhere || taken.contains(wish) {
                let free = |name: &String| {
                    let known = builtins::builtin(name).is_some() || super::library::module_of(name).is_some();
                    !known && !is_keyword(name) && !words.contains(name.as_str()) && !taken.contains(name)
                };
                (2..).map(|n| format!("{wish}{n}")).find(free).unwrap_or_else(|| wish.to_owned())
            } else {
                wish.to_owned()
            };
            taken.insert(name.clone());
            names.insert(item, name);
        }
        names
    }
}

/// All words of a text that could be names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elaborate::Sizes;
    use crate::hash::{Hash, canonical_hash};
    use crate::{Options, compile};

    fn hash(sources: &SourceMap, file: FileId, block: &str) -> Hash {
        let options = Options { block: Some(block.to_owned()), sizes: Sizes::default() };
        canonical_hash(&compile(sources, file, &options).into_graph().unwrap_or_else(|e| panic!("{e:?}")))
    }

    /// Flattens the first of the files and compares both programs.
    fn check(files: &[(&str, &str)], block: &str, flat_block: &str) -> String {
        let mut sources = SourceMap::new();
        let ids: Vec<FileId> = files.iter().map(|(name, text)| sources.add(*name, *text)).collect();
        let flat = flatten(&sources, ids[0]).unwrap_or_else(|e| panic!("{e:?}"));
        assert!(!flat.contains("self::"), "{flat}");
        assert_eq!(archc_grammar::format_source(&flat).as_ref(), Ok(&flat));
        let mut alone = SourceMap::new();
        let id = alone.add("flat.arch", flat.as_str());
        assert_eq!(hash(&alone, id, flat_block), hash(&sources, ids[0], block), "{flat}");
        let last = parse(&flat).file.items.iter().rev().find_map(|item| callable(item).map(|c| c.name.name.clone()));
        assert_eq!(last.as_deref(), Some(flat_block), "what the text is about comes last:\n{flat}");
        flat
    }

    #[test]
    fn a_used_fn_comes_in_and_nothing_else_does() {
        let common = "fn gate(x) = sigmoid(x)\nfn idle(x) = x\nblock Idle[D] {\n    input x[D]\n    output x\n}\n";
        let main = "// About this file.\n\nuse self::common::{gate, idle}\n\n/// A gate.\nblock Uses[D] {\n    input x[D]\n    \
                    let gate = x |> linear[D] |> gate\n    output gate * x\n}\n";
        let flat = check(&[("seeds/uses.arch", main), ("seeds/common.arch", common)], "Uses", "Uses");
        let expected = "fn gate(x) = sigmoid(x)\n\n// About this file.\n\n/// A gate.\nblock Uses[D] {\n    input x[D]\n    \
                        let gate = x |> linear[D] |> gate\n    output gate * x\n}\n";
        assert_eq!(flat, expected);
    }

    #[test]
    fn what_is_used_may_use_others_blocks_and_the_library() {
        let main = "use self::parts::{Part, twice}\nblock Main[D] {\n    input x[D]\n    output twice(Part(x)) |> linear[D]\n}\n";
        let parts = "use std::mixers::{DeltaNet}\nuse self::deep::{half}\nfn twice(x) = half(x) * 4\nblock Part[D] {\n    input x[D]\n    \
                     shared net = DeltaNet[D]\n    output half(net(x)) + half(DeltaNet(x))\n}\n";
        let deep = "fn half(x) = quarter(x) * 2\nfn quarter(x) = x / 4\n";
        let flat = check(&[("main.arch", main), ("parts.arch", parts), ("deep.arch", deep)], "Main", "Main");
        assert!(flat.starts_with("use std::mixers::{DeltaNet}\n"), "{flat}");
        assert_eq!(flat.matches("fn half").count(), 1);
    }

    #[test]
    fn names_that_clash_get_numbers() {
        // Three fns `gate`; one file has its own `silu`, another means the library's; `P` is a block here and an axis there.
        let main = "use self::a::{open}\nuse self::b::{shut, P}\nfn gate(x) = x * 2\nfn gate2(x) = x + 1\nfn silu(x) = x\n\
                    block Main[D] {\n    input x[D]\n    let p = P(x)\n    let q = stack[Q](a = gate(x), b = open(silu(x)))\n    \
                    output gate2(shut(p + sum[Q](q) * Q))\n}\n";
        let a = "use self::b::{shut}\nfn gate(x) = sigmoid(x)\nfn open(x) = shut(gate(x) |> silu)\n";
        let b = "fn gate(x) = tanh(x)\nfn shut(x) = gate(x) * Q(x)\nfn Q(x) = x - 1\nblock P[D] {\n    input x[D]\n    output gate(x)\n}\n";
        let flat = check(&[("main.arch", main), ("a.arch", a), ("b.arch", b)], "Main", "Main");
        assert!(flat.contains("fn gate3(") && flat.contains("fn gate4(") && flat.contains("fn silu2("), "{flat}");
        assert!(flat.contains("stack[Q](") && flat.contains("fn Q2("), "{flat}");
    }

    #[test]
    fn the_file_gives_way_where_only_the_library_can_have_the_name() {
        let main = "use self::other::{Twice}\nblock GLA[D] {\n    input x[D]\n    output Twice(x)\n}\n";
        let other = "use std::mixers::{GLA}\nblock Twice[D] {\n    input x[D]\n    output GLA(GLA(x))\n}\n";
        check(&[("main.arch", main), ("other.arch", other)], "GLA", "GLA2");
    }

    #[test]
    fn a_file_that_only_imports_is_what_it_imports_last() {
        let blocks = "fn one(x) = x + 1\nblock A[D] {\n    input x[D]\n    output one(x)\n}\nblock B[D] {\n    input x[D]\n    output A(x)\n}\n";
        check(&[("dir/main.arch", "use self::blocks::{A, B}\n"), ("dir/blocks.arch", blocks)], "B", "B");
    }

    #[test]
    fn a_file_of_imports_of_the_library_is_what_they_are() {
        for name in stdlib::files("std::mixers").flat_map(|(_, f)| {
            let tree = parse(f.text).file;
            callables(&tree).map(|(_, c, _)| c.name.name.clone()).collect::<Vec<_>>()
        }) {
            let main = format!("use std::mixers::{{{name}}}\n");
            let flat = check(&[("main.arch", &main)], &name, &name);
            assert!(flat.contains(&format!("block {name}[")), "{flat}");
        }
    }

    #[test]
    fn what_has_errors_is_refused_and_what_uses_nothing_is_left_alone() {
        let one = |text: &str| {
            let mut sources = SourceMap::new();
            let file = sources.add("one.arch", text);
            flatten(&sources, file).map_err(|e| e[0].code)
        };
        assert_eq!(one("use self::lost::{f}\nblock B[D] { input x[D]; output f(x) }"), Err("E0106"));
        assert_eq!(one("block  B[D] { input x[D]; output x }"), Ok("block  B[D] { input x[D]; output x }".to_owned()));
    }

    #[test]
    fn the_library_uses_each_name_once() {
        let texts = stdlib::FILES.iter().map(|f| parse(f.text).file);
        let names: Vec<String> =
            texts.flat_map(|tree| callables(&tree).map(|(_, c, _)| c.name.name.clone()).collect::<Vec<_>>()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
