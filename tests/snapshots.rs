//! Snapshots of every compiler stage for each shipped program, and of the findings for each broken one:
//! `snapshots/<stage>/<name>.snap`, source first, then output.
//!
//! | stage | input | content |
//! |---|---|---|
//! | `hir`, `graph`, `cost` | each block and model of library, seeds and examples | output of `archc build` and `archc check` |
//! | `lowered`, `joint`, `plan` | each seed | output of `archc build` for a training step, B = 4, T = 128 |
//! | `findings` | each of their files | all findings (there are few) |
//! | `broken` | each file of `tests/broken` | all findings |
//!
//! `INSTA_UPDATE=always cargo test --test snapshots` rewrites them. A snapshot that no test refers to fails.

mod shipped;

use archc_compiler::diag::{Diagnostic, render};
use archc_compiler::hir::{CallableKind, TypeTable};
use archc_compiler::lower::lower;
use archc_compiler::lowered::Shape;
use archc_compiler::{Purpose, Sizes, Target, graph, hir, joint, lowered, plan, plan_for};
use archc_grammar::ast::ItemKind;
use shipped::{Shipped, files, root};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

/// Snapshots in the order of their creation, and those that differ.
#[derive(Default)]
struct Snapshots {
    made: BTreeSet<PathBuf>,
    wrong: Vec<String>,
}

impl Snapshots {
    fn check(&mut self, stage: &str, name: &str, source: &str, output: &str) {
        let folder = root().join("snapshots").join(stage);
        let body = format!("{}\n{}\n{}", source.trim_end(), "-".repeat(80), output.trim_end());
        let compare = || {
            insta::with_settings!({
                snapshot_path => &folder, prepend_module_to_snapshot => false, omit_expression => true,
            }, { insta::assert_snapshot!(name, body) });
        };
        // One difference must not hide the others.
        if catch_unwind(AssertUnwindSafe(compare)).is_err() {
            self.wrong.push(format!("{stage}/{name}"));
        }
        assert!(self.made.insert(folder.join(format!("{name}.snap"))), "{stage}/{name} is made twice");
    }
}

/// Text of a block, with its doc comment.
fn source_of<'a>(program: &'a Shipped, block: &str) -> &'a str {
    let text = program.text();
    let parsed = archc_grammar::parse(text);
    let items = parsed.file.items.iter();
    let mut after = 0;
    for item in items {
        let name = match &item.kind {
            ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) => c.name.name.as_str(),
            ItemKind::Use { .. } | ItemKind::Error => "",
        };
        if name == block {
            return text[after..item.span.end as usize].trim_start();
        }
        after = item.span.end as usize;
    }
    panic!("{} has no {block}", program.name)
}

/// Findings as `archc check` prints them, each once.
fn all_findings(program: &Shipped) -> String {
    let mut found: Vec<Diagnostic> = hir::Library::load(&program.sources, program.file).1;
    for (block, _) in program.blocks() {
        for finding in program.compile(&block, Sizes::default()).diagnostics {
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    let text: Vec<String> = found.iter().map(|d| render(d, &program.sources, false)).collect();
    if text.is_empty() { "no findings".to_owned() } else { text.join("\n") }
}

/// Snapshots of a block through the stages.
fn stages(snapshots: &mut Snapshots, program: &Shipped, block: &str) {
    let name = format!("{}-{block}", program.name);
    let source = source_of(program, block);
    let compilation = program.compile(block, Sizes::default());
    let (Some(module), Some(target)) = (&compilation.module, compilation.target) else { panic!("{name} has errors") };
    let callable = &module.callables[target.index as usize];
    snapshots.check("hir", &name, source, &hir::print(module, callable, &compilation.types));
    let (Some(graph), Some(cost)) = (&compilation.graph, &compilation.cost) else { panic!("{name} is refused") };
    snapshots.check("graph", &name, source, &graph::print(graph));
    snapshots.check("cost", &name, source, &cost.to_string());
    if program.name.starts_with("seeds-") {
        let (graph, shape) = (Arc::new(graph.clone()), Shape { batch: 4, len: 128, carried: 0 });
        let purpose = Purpose::training(&graph, Target::cpu(), shape.len);
        snapshots.check("lowered", &name, source, &lowered::print(&lower(&graph, &purpose.options)));
        snapshots.check("joint", &name, source, &lowered::print(&joint(&graph, &purpose, &mut |_| ())));
        let plan = plan_for(&graph, &purpose, shape, &mut |_| ());
        plan::verify(&plan).expect("the plan keeps its invariants");
        snapshots.check("plan", &name, source, &plan::print(&plan));
    }
}

#[test]
fn programs_print_as_they_did() {
    let mut snapshots = Snapshots::default();
    for path in ["stdlib", "seeds", "examples"].into_iter().flat_map(files) {
        let program = Shipped::read(&path);
        let module = program.module.as_ref().expect("what ships has no errors");
        // The standard stack has a hole for the block, so it has no graph of its own.
        let stack = program.name == "stdlib-stack";
        for (block, _) in program.blocks().iter().filter(|_| !stack) {
            stages(&mut snapshots, &program, block);
        }
        // Fns have types only at their calls; the library's are printed without types.
        let fns = module.callables.iter().filter(|c| c.kind == CallableKind::Fn);
        let fns: Vec<String> = fns.map(|c| hir::print(module, c, &TypeTable::new())).collect();
        if program.name.starts_with("stdlib-") && !fns.is_empty() {
            snapshots.check("hir", &format!("{}-fns", program.name), program.text(), &fns.join("\n"));
        }
        if !stack {
            let file = &program.sources.file(program.file).name;
            snapshots.check("findings", &program.name, file, &all_findings(&program));
        }
    }
    for path in files("tests/broken") {
        let program = Shipped::read(&path);
        let name = program.name.trim_start_matches("tests-broken-").to_owned();
        snapshots.check("broken", &name, program.text(), &all_findings(&program));
    }
    assert!(snapshots.made.len() > 150, "only {} snapshots", snapshots.made.len());
    assert!(snapshots.wrong.is_empty(), "differ: {}", snapshots.wrong.join(", "));

    let mut unreferenced = Vec::new();
    let mut open = vec![root().join("snapshots")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is in the repository") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "snap") && !snapshots.made.contains(&path) {
                unreferenced.push(path.display().to_string());
            }
        }
    }
    unreferenced.sort();
    assert!(unreferenced.is_empty(), "no test refers to these; remove them:\n{}", unreferenced.join("\n"));
}
