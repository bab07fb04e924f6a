//! Checks the table of `docs/mixers.md` against the library: `ARCHC_UPDATE_DOCS=1 cargo test --test mixers` rewrites it.

mod pages;

use archc_compiler::graph::Op;
use archc_compiler::scan::{ScanClass, Scans};
use archc_compiler::source::SourceMap;
use archc_compiler::{COST_TOKENS, Options, compile, stdlib};
use archc_grammar::ast::{self, Block, Body, Item, ItemKind, StmtKind};
use archc_grammar::parse;
use pages::{filled, held};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Line counts of the published kernels of a mixer: those of flash-linear-attention at bc3b101, all backends, or of the authors.
const KERNELS: &[(&str, &str)] = &[
    ("ABC", "1,346"),
    ("GLA", "2,791"),
    ("GSA", "1,882"),
    ("GatedDeltaNet", "3,894"),
    ("GatedDeltaNet2", "2,908"),
    ("GatedOja", "3,053"),
    ("KDA", "8,224"),
    ("Kaczmarz", "1,402"),
    ("LogLinearGatedDeltaNet", "1,222"),
    ("LogLinearMamba2", "1,581"),
    ("Mamba3", "3,485"),
    ("MesaNet", "2,060"),
    ("MomentumDeltaNet", "3,269"),
    ("Parallax", "1,272"),
    ("PreconditionedGatedDeltaNet", "2,759"),
    ("PreconditionedKDA", "4,410"),
    ("QDelta", "841"),
    ("RWKV7", "1,703"),
    ("TTTLinearBatch", "2,506"),
    ("WallAttention", "1,495"),
];

/// Tests of blocks in the suite: token loops of their formulas, their authors' numbers.
const HELD: [(&str, &str, &str); 2] = [
    (include_str!("../selftest/tests/literature/main.rs"), "block: ", "loop"),
    (include_str!("fixtures/mixers/manifest.json"), "\"block\": ", "numbers"),
];

/// Tests that cover a block.
fn held_by(name: &str) -> String {
    let by = HELD.iter().filter(|(text, key, _)| text.contains(&format!("{key}\"{name}\"")));
    by.map(|(_, _, word)| *word).collect::<Vec<_>>().join(", ")
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Recurrences of a block as written, one statement after the other.
fn recurrence(text: &str, body: &Block) -> Vec<String> {
    let at = |span: archc_grammar::Span| words(&text[span.start as usize..span.end as usize]);
    let mut lines = Vec::new();
    for stmt in &body.stmts {
        match &stmt.kind {
            StmtKind::Scan(block) | StmtKind::Attend(block) => lines.extend(recurrence(text, block)),
            StmtKind::Assign { .. } | StmtKind::Let { .. } | StmtKind::Mut { .. } | StmtKind::For { .. }
                if is_inside(body) =>
            {
                lines.push(at(stmt.span));
            }
            StmtKind::Emit { .. } | StmtKind::Where(_) | StmtKind::Score(_) | StmtKind::Weight(_) => {
                lines.push(at(stmt.span));
            }
            _ => {}
        }
    }
    lines
}

/// Whether a block is the body of a `scan` or an `attend`.
fn is_inside(block: &Block) -> bool {
    block.stmts.iter().any(|stmt| matches!(stmt.kind, StmtKind::Emit { .. }))
}

/// Sentences of the comment about when the block helps: those after the first, up to the sentences on sizes, deviations and cost.
fn helps(docs: &[String]) -> String {
    let text = docs.join(" ");
    let sentences = text.split_inclusive(". ").skip(1);
    let said = sentences.take_while(|s| !["Cost:", "Published", "Differs", "Written"].iter().any(|w| s.starts_with(w)));
    words(&said.collect::<String>())
}

fn row(text: &str, item: &Item, callable: &ast::Callable) -> String {
    let name = &callable.name.name;
    let mut sources = SourceMap::new();
    let file = sources.add("table.arch", format!("use std::mixers::{{{name}}}\n"));
    let compilation = compile(&sources, file, &Options::default());
    let (Some(graph), Some(cost)) = (&compilation.graph, &compilation.cost) else { panic!("{name} does not compile") };
    let scans = Scans::of(graph);
    let mut runs: BTreeSet<&str> = scans
        .classes
        .parts
        .values()
        .map(|part| match part.class {
            ScanClass::Chunk(_) => "chunks",
            ScanClass::Elementwise(_) => "elements",
            ScanClass::Sequential(_) => "tokens",
        })
        .collect();
    runs.extend(graph.dag.ids().any(|id| matches!(graph.dag.op(id), Op::Attend(_))).then_some("pairs"));
    let Body::Block(body) = &callable.body else { panic!("{name} has no body") };
    let mut memories = recurrence(text, body);
    if memories.is_empty() {
        // its memory is inside a function of the prelude
        let outputs = body.stmts.iter().filter(|stmt| matches!(stmt.kind, StmtKind::Output { .. }));
        memories.extend(outputs.map(|stmt| words(&text[stmt.span.start as usize..stmt.span.end as usize])));
    }
    let cites = item.attributes.iter().filter_map(|a| a.text("cite"));
    let paper = |cite: &str| match cite.strip_prefix("arXiv:") {
        Some(id) => format!("[{id}](https://arxiv.org/abs/{id})"),
        None => format!("[web]({cite})"),
    };
    let lines = text[item.span.start as usize..item.span.end as usize].lines();
    let code = lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
    let kernels = KERNELS.iter().find(|(of, _)| of == name).map_or(String::new(), |(_, lines)| format!(" : {lines}"));
    format!(
        "| `{name}` | {} | {} | {} | {} | {} | {} | {code}{kernels} | {} |\n",
        cites.map(paper).collect::<Vec<_>>().join(", "),
        memories.iter().map(|line| format!("`{line}`")).collect::<Vec<_>>().join("<br>"),
        runs.into_iter().collect::<Vec<_>>().join(", "),
        cost.state.at(COST_TOKENS),
        cost.forward.at(COST_TOKENS).round(),
        helps(&item.docs),
        held_by(name),
    )
}

fn tables() -> String {
    let mut page = String::new();
    for (_, file) in stdlib::files("std::mixers") {
        let about: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("// ")).collect();
        let _ = write!(page, "## {}\n\n", about.join(" ").trim_end_matches('.'));
        page += "| block | paper | recurrence | runs | state | FLOPs | when it helps | lines | held by |\n|---|---|---|---|---|---|---|---|---|\n";
        for item in &parse(file.text).file.items {
            if let ItemKind::Block(callable) = &item.kind {
                page += &row(file.text, item, callable);
            }
        }
        page.push('\n');
    }
    page
}

#[test]
fn the_table_is_that_of_the_library() {
    held("docs/mixers.md", |text| filled(text, "mixers", &tables()));
}
