//! Standard library by name: description, location and execution of an item.

use super::examples::examples;
use super::reference;
use crate::check;
use archc_compiler::graph::Graph;
use archc_compiler::source::{Place, SourceMap};
use archc_compiler::{COST_TOKENS, DEFAULT_D, Options, compile, stdlib};
use archc_grammar::ast::{self, Expr, ExprKind, ItemKind, StmtKind};
use archc_grammar::{Span, edit, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Item of the library.
pub struct Item {
    /// Module, for example `std::mixers`.
    pub module: &'static str,
    /// Index of its file.
    pub file: usize,
    /// Name.
    pub name: String,
    /// Signature, for example `block GLA[D](H = 4)`: everything before the body.
    pub signature: String,
    /// Lines of its `///` comment.
    pub docs: Vec<String>,
    /// Values of `#[cite("...")]`.
    pub cites: Vec<String>,
    /// Text of the item without its comment.
    pub text: &'static str,
    span: Span,
    tree: ast::Item,
}

impl Item {
    /// Path, for example `std::mixers::GLA`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }

    /// First sentence of its comment.
    pub fn first_sentence(&self) -> String {
        let text = self.docs.join(" ");
        let end = text.find(". ").map_or(text.len(), |i| i + 1);
        text[..end].trim_end_matches('.').to_owned()
    }

    /// Location: for example `stdlib/mixers/gated.arch`, with its first and last line there.
    pub fn place(&self) -> (&'static str, usize, usize) {
        let text = stdlib::FILES[self.file].text;
        let line = |offset: u32| text[..offset as usize].matches('\n').count() + 1;
        (stdlib::FILES[self.file].path, line(self.span.start), line(self.span.end))
    }

    /// Whether `archc train` accepts its path: a model, or a block of one input.
    pub fn trains(&self) -> bool {
        trains(&self.tree.kind)
    }

    /// Whether it is a function; otherwise it is a block or a model.
    pub fn is_fn(&self) -> bool {
        matches!(self.tree.kind, ItemKind::Fn(_))
    }
}

/// Comment at the head of a file.
pub fn about(file: &stdlib::LibraryFile) -> String {
    let comment = file.text.lines().map_while(|line| line.strip_prefix("//").filter(|rest| !rest.starts_with('/')));
    comment.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// All items, in the order of their files.
pub fn items() -> &'static [Item] {
    static ITEMS: LazyLock<Vec<Item>> =
        LazyLock::new(|| stdlib::FILES.iter().enumerate().flat_map(|(file, library)| of_file(file, library)).collect());
    &ITEMS
}

/// Whether an item is a model, or a block of one input, as the standard stack requires.
pub fn trains(kind: &ItemKind) -> bool {
    match kind {
        ItemKind::Block(ast::Callable { body: ast::Body::Block(body), .. }) => {
            body.stmts.iter().filter(|stmt| matches!(stmt.kind, StmtKind::Input { .. })).count() == 1
        }
        kind => matches!(kind, ItemKind::Model(_)),
    }
}

fn of_file(file: usize, library: &'static stdlib::LibraryFile) -> Vec<Item> {
    let mut items = Vec::new();
    for item in parse(library.text).file.items {
        let (ItemKind::Fn(callable) | ItemKind::Block(callable) | ItemKind::Model(callable)) = &item.kind else {
            continue;
        };
        let text = &library.text[item.span.start as usize..item.span.end as usize];
        items.push(Item {
            module: library.module,
            file,
            name: callable.name.name.clone(),
            signature: signature(text),
            docs: item.docs.clone(),
            cites: item.attributes.iter().filter_map(|a| a.text("cite")).map(str::to_owned).collect(),
            text,
            span: item.span,
            tree: item,
        });
    }
    items
}

/// Text before the body: up to the `{` or `=` outside of all brackets.
fn signature(text: &str) -> String {
    let mut depth = 0;
    let mut end = text.len();
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | '=' if depth == 0 => {
                end = i;
                break;
            }
            _ => {}
        }
    }
    text[..end].split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Execution of an item, one line each: its time in the length T of a document, its cost, its memories.
pub fn runs(item: &Item) -> Vec<String> {
    if item.is_fn() { fn_runs(item) } else { block_runs(item) }
}

/// Execution of a block or model, compiled at its default sizes.
fn block_runs(item: &Item) -> Vec<String> {
    let mut sources = SourceMap::new();
    let file = sources.add("doc", format!("use {}::{{{}}}\n", item.module, item.name));
    let compilation = compile(&sources, file, &Options::default());
    let (Some(graph), Some(cost)) = (&compilation.graph, &compilation.cost) else {
        // the standard stack's own model, which encloses a block
        return vec!["around a block, as `archc train` runs it".into()];
    };
    let mut lines = vec![
        format!("in {} of a document's length T", cost.time),
        format!(
            "{} parameters, {} FLOPs a token and {} numbers of state at D = {DEFAULT_D} and T = {COST_TOKENS}",
            cost.params,
            cost.forward.at(COST_TOKENS).round(),
            cost.state.at(COST_TOKENS)
        ),
    ];
    lines.extend(memories(graph, &|_| true));
    lines
}

/// Execution of a function, derived from its own and its callees' operators. How a memory runs depends on the
/// arguments; they are taken from the reference, which calls every function.
fn fn_runs(item: &Item) -> Vec<String> {
    let parts = reached(item);
    let mut lines = vec![time_of(&parts).to_owned()];
    if parts.iter().any(|part| Uses::of(part).scan) {
        lines.extend(called_memories(&item.name));
    }
    lines
}

fn time_of(parts: &[&Item]) -> &'static str {
    let uses = parts.iter().map(|part| Uses::of(part)).fold(Uses::default(), Uses::or);
    match uses {
        Uses { attend: true, bounded: true, .. } => {
            "in O(T^2) of a document's length T, in O(T w) where only the last w tokens are visible"
        }
        Uses { attend: true, .. } => "in O(T^2) of a document's length T",
        Uses { scan: true, .. } => "in O(T) of a document's length T",
        Uses { window: true, .. } => "in O(T) of a document's length T: it looks back over a window",
        _ => "at each token by itself",
    }
}

/// Operators over time that an item uses.
#[derive(Clone, Copy, Default)]
struct Uses {
    attend: bool,
    bounded: bool,
    scan: bool,
    window: bool,
}

impl Uses {
    fn of(item: &Item) -> Self {
        let file = alone(item);
        let mut uses = Self::default();
        edit::visit_stmts(&file, &mut |stmt| match stmt.kind {
            StmtKind::Attend(_) => uses.attend = true,
            StmtKind::Where(_) => uses.bounded = true,
            StmtKind::Scan(_) => uses.scan = true,
            _ => {}
        });
        uses.window = called(item).contains("window");
        uses
    }

    fn or(self, other: Self) -> Self {
        Self {
            attend: self.attend || other.attend,
            bounded: self.bounded || other.bounded,
            scan: self.scan || other.scan,
            window: self.window || other.window,
        }
    }
}

fn alone(item: &Item) -> ast::File {
    ast::File { items: vec![item.tree.clone()], dangling: Vec::new() }
}

/// Names that an item applies, with or without arguments; those of its own arguments are values.
fn called(item: &Item) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let file = alone(item);
    edit::visit_exprs(&file, &mut |expr| {
        let name = match &expr.kind {
            ExprKind::Call(call) => &call.callee.name,
            ExprKind::Name(name) => name,
            _ => return,
        };
        names.insert(name.clone());
    });
    for callable in edit::callables(&file) {
        for argument in callable.params.iter().flatten() {
            names.remove(&argument.name.name);
        }
    }
    names
}

/// An item and everything that it calls, directly or indirectly.
fn reached(item: &Item) -> Vec<&Item> {
    let known: BTreeMap<&str, &Item> = items().iter().map(|i| (i.name.as_str(), i)).collect();
    let mut found = vec![item];
    let mut next = 0;
    while let Some(item) = found.get(next) {
        for name in called(item) {
            if let Some(item) = known.get(name.as_str()).copied()
                && !found.iter().any(|f| f.name == name)
            {
                found.push(item);
            }
        }
        next += 1;
    }
    found
}

/// Execution of a function's memories at the calls in the reference's examples.
fn called_memories(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for example in examples(reference::TEXT).into_iter().filter(|example| example.code.is_none()) {
        let calls = calls(&parse(&example.program).file, name);
        if calls.is_empty() {
            continue;
        }
        let mut sources = SourceMap::new();
        let file = sources.add("example", example.program);
        if let Some(graph) = compile(&sources, file, &Options::default()).graph {
            found.extend(memories(&graph, &|place| place.file == file && calls.contains(&place.span)));
        }
    }
    found
}

/// Spans of the calls of a function in a file; a pipe into it is a call.
fn calls(file: &ast::File, name: &str) -> Vec<Span> {
    let is_call = |expr: &Expr| match &expr.kind {
        ExprKind::Call(call) => call.callee.name == name,
        ExprKind::Name(known) => known == name,
        _ => false,
    };
    let mut spans = Vec::new();
    edit::visit_exprs(file, &mut |expr| {
        let piped = matches!(&expr.kind, ExprKind::Pipe(_, right) if is_call(right));
        if piped || is_call(expr) {
            spans.push(expr.span);
        }
    });
    spans
}

/// Execution of a graph's memories at the selected places.
fn memories(graph: &Graph, wanted: &dyn Fn(Place) -> bool) -> Vec<String> {
    let Ok(scans) = check::classified(graph) else { return Vec::new() };
    let parts = scans.classes.parts.values().filter(|part| wanted(part.place));
    parts.map(|part| format!("memory {}: {}", part.states.join(", "), check::how(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_says_how_it_runs() {
        let items = items();
        let of = |name: &str| {
            let item = items.iter().find(|item| item.name == name).expect("an item of the library");
            runs(item).join("\n")
        };
        assert_eq!(of("rmsnorm"), "at each token by itself");
        assert!(of("conv").contains("over a window") && of("fir").contains("over a window"));
        assert!(of("attention").contains("O(T^2)") && of("attention").contains("O(T w)"));
        for name in ["ema", "novelty", "running_max", "softmax_average"] {
            assert!(of(name).contains("O(T)") && of(name).contains("memory"), "{name}: {}", of(name));
        }
        assert!(of("GLA").contains("memory S: in chunks") && of("SLSTM").contains("token by token"), "{}", of("GLA"));
        for item in items {
            let (file, first, last) = item.place();
            let lines = stdlib::FILES[item.file].text.lines().skip(first - 1).take(last + 1 - first);
            assert_eq!(lines.collect::<Vec<_>>().join("\n"), item.text, "{file}");
            assert!(item.signature.contains(&item.name) && !item.first_sentence().is_empty(), "{}", item.signature);
        }
    }
}
