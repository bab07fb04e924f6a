//! The compiler as the static screen, and programs in the form that the trainer needs.

use crate::propose::findings;
use crate::record::{Cost, TimeClass};
use crate::screen::{Refusal, Screen, Screened};
use crate::trained::Holds;
use archc_compiler::checks::{self, CostReport};
use archc_compiler::diag::{Diagnostic, to_json};
use archc_compiler::elaborate::Sizes;
use archc_compiler::graph::{Graph, NodeId, Op, ReduceOp};
use archc_compiler::hash::{canonical_hash, family_hash};
use archc_compiler::lowered::Shape;
use archc_compiler::plan::Plan;
use archc_compiler::source::{FileId, SourceMap};
use archc_compiler::{Compilation, Options, Purpose, Target, compile, plan_for};
use archc_grammar::ast::{Callable, ItemKind};
use archc_train::corpus::Corpus;
use archc_train::evaluate::{self, ModelSize};
use archc_train::task;
use archc_train::tier::tier;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Sizes at which costs are counted: the smallest that the tiers train at.
const SETTING: ModelSize = ModelSize { vocab: 16, width: 32, layers: 1 };

/// Further sizes at which programs are compared: those that the tiers of a search train at, and a second width. Two programs that are
/// the same at one width may differ at another, if an axis or a branch depends on it.
static OTHERS: LazyLock<Vec<ModelSize>> = LazyLock::new(|| {
    // The contents of the text are irrelevant: the vocabulary is that of bytes.
    let lines: String = (0..4000).map(|i| format!("Line {i}.\n\n")).collect();
    let corpus = Corpus::carried(&lines).ok().flatten().map(Arc::new);
    let mut sizes = vec![ModelSize { width: 2 * SETTING.width, ..SETTING }];
    for run in ["screen", "search"].iter().filter_map(|name| tier(name).ok()).flat_map(|tier| tier.tasks) {
        let task = task::build(&run.task, corpus.as_ref()).expect("the tiers' tasks are well-formed");
        let size = ModelSize { vocab: task.vocab(), width: run.width, layers: run.layers };
        if size != SETTING && !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes
});

/// Maximum number of tokens in a batch of the built-in tiers.
const BATCH_TOKENS: usize = 1024;

/// Sequence length at which state and FLOPs are counted, in tokens.
const TOKENS: usize = 32;

/// Program text for the compiler.
pub struct Source {
    sources: SourceMap,
    file: FileId,
    main: Option<String>,
}

impl Source {
    /// Source from a text; its last block or model is trained.
    pub fn new(name: &str, text: &str) -> Self {
        let mut sources = SourceMap::new();
        let file = sources.add(name, text);
        let main = main(&archc_grammar::parse(text).file).map(|c| c.name.name.clone());
        Self { sources, file, main }
    }

    /// Name of the block or model that is trained; none if the text has none.
    pub fn main(&self) -> Option<&str> {
        self.main.as_deref()
    }

    /// Compiles the program as a model of this size: a block in the standard stack.
    pub fn compile(&self, size: ModelSize) -> Compilation {
        let sizes = Sizes {
            set: BTreeMap::from([("D".to_owned(), size.width as f64)]),
            vocab: size.vocab,
            layers: Some(size.layers),
        };
        compile(&self.sources, self.file, &Options { block: self.main.clone(), sizes })
    }
}

/// Last block or model of a file.
pub fn main(file: &archc_grammar::ast::File) -> Option<&Callable> {
    file.items.iter().rev().find_map(|item| match &item.kind {
        ItemKind::Block(c) | ItemKind::Model(c) => Some(c),
        ItemKind::Use { .. } | ItemKind::Fn(_) | ItemKind::Error => None,
    })
}

/// Screen that parses, checks and counts costs, at the sizes of the search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compiler;

impl Screen for Compiler {
    fn screen(&self, text: &str) -> Screened {
        let source = Source::new("candidate.arch", text);
        let compiled = source.compile(SETTING);
        let mut screened = Screened {
            name: source.main().unwrap_or_default().to_owned(),
            findings: findings(&compiled.diagnostics),
            refusal: refuse(&compiled.diagnostics),
            ..Screened::default()
        };
        match (&compiled.graph, &compiled.cost) {
            (Some(graph), Some(cost)) => {
                screened.hash = canonical_hash(graph).to_string();
                screened.family = family_hash(graph).to_string();
                if screened.refusal.is_none() {
                    screened.cost = Some(summary(graph, cost));
                }
            }
            _ => debug_assert!(screened.refusal.is_some(), "no graph and no error"),
        }
        if screened.refusal.is_none() {
            match compare(&source, &screened.hash) {
                Ok(hash) => screened.hash = hash,
                Err(refusal) => screened.refusal = Some(refusal),
            }
        }
        screened
    }
}

/// Combined canonical hash of a program at all sizes, with `first` for the first one; or the refusal at one of them.
fn compare(source: &Source, first: &str) -> Result<String, Refusal> {
    let mut all = Sha256::new();
    all.update(first);
    for &size in OTHERS.iter() {
        let compiled = source.compile(size);
        match (&compiled.graph, refuse(&compiled.diagnostics)) {
            (Some(graph), None) => all.update(canonical_hash(graph).0),
            (_, Some(refusal)) => {
                let at = format!("at D = {} and {} tokens: {}", size.width, size.vocab, refusal.message);
                return Err(Refusal { message: at, ..refusal });
            }
            (None, None) => panic!("archc bug: no graph and no error"),
        }
    }
    Ok(all.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect())
}

/// Refusal by the first error, with the check that found it. A program in which nothing mixes time is valid by itself (a lint), but
/// not a candidate.
fn refuse(diagnostics: &[Diagnostic]) -> Option<Refusal> {
    let check = |d: &Diagnostic| match d.code.get(..3) {
        Some("E00") => "parse",
        Some("E06") => "dataflow",
        Some("E07") => "ranges",
        _ => "check",
    };
    let error = diagnostics.iter().find(|d| d.is_error()).map(|d| Refusal::by(check(d), d));
    error.or_else(|| diagnostics.iter().find(|d| d.code == NOTHING_MIXES_TIME).map(|d| Refusal::by("time", d)))
}

/// Code of the lint on a program whose tokens do not interact.
const NOTHING_MIXES_TIME: &str = "W0604";

fn summary(graph: &Graph, cost: &CostReport) -> Cost {
    Cost {
        params: cost.params as u64,
        flops_per_token: cost.forward.at(TOKENS),
        work: work(graph),
        state: cost.state.at(TOKENS),
        time: match cost.time {
            checks::TimeClass::Linear => TimeClass::Linear,
            checks::TimeClass::Windowed(_) => TimeClass::Windowed,
            checks::TimeClass::Quadratic => TimeClass::Quadratic,
        },
        mixer: mixer(graph),
    }
}

/// Rows of the batch for which a program's work is planned, as in the tiers.
const ROWS: usize = 8;

/// Predicted work per token of a training step ([`archc_compiler::plan::Plan::work`]).
fn work(graph: &Graph) -> f64 {
    training(graph, ROWS, TOKENS).work() / (ROWS * TOKENS) as f64
}

/// Plan of a training step on `batch` sequences of `len` tokens.
pub fn training(graph: &Graph, batch: usize, len: usize) -> Plan {
    let purpose = Purpose::training(graph, Target::cpu(), len);
    plan_for(&Arc::new(graph.clone()), &purpose, Shape { batch, len, carried: 0 }, &mut |_| ())
}

/// Time-mixing mechanisms of a graph, the strongest kind of each, in a fixed order: `delta rule + attention`.
///
/// A scan whose next state reads a contraction of the old one corrects its contents (delta rule); a scan with a state of several axes
/// of its own stores an outer product (matrix memory); any other is a gated average.
fn mixer(graph: &Graph) -> String {
    let (mut delta, mut matrix, mut vector, mut attention, mut filter) = (false, false, false, false, false);
    for id in graph.dag.ids() {
        match graph.dag.op(id) {
            Op::Scan(scan) => {
                let contracts = |&id: &NodeId| {
                    let op = scan.body.op(id);
                    matches!(op, Op::Contract(_) | Op::Reduce(ReduceOp::Sum | ReduceOp::Mean, _) | Op::Linear(_))
                };
                let reaches_next = scan.body.reachable(&scan.next);
                let mut from_state = vec![false; scan.body.len()];
                for (at, id) in scan.body.ids().enumerate() {
                    let state = matches!(scan.body.op(id), Op::State(_));
                    let above = scan.body.operands(id).iter().any(|o| from_state[o.0 as usize]);
                    from_state[at] = state || above;
                    delta |= contracts(&id) && above && reaches_next[at];
                }
                let wide = |s: &archc_compiler::graph::State| s.axes.iter().filter(|&&a| graph.size(a) > 1).count() > 2;
                matrix |= scan.states.iter().any(wide);
                vector |= !scan.states.iter().any(wide);
            }
            Op::Attend(_) => attention = true,
            Op::Window { .. } => filter = true,
            _ => {}
        }
    }
    let memory = if delta {
        Some("delta rule")
    } else if matrix {
        Some("matrix memory")
    } else {
        vector.then_some("gated average")
    };
    let mut kinds: Vec<&str> = memory.into_iter().collect();
    kinds.extend(attention.then_some("attention"));
    if kinds.is_empty() && filter {
        kinds.push("filter");
    }
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(" + ") }
}

/// Program as a candidate of the trainer's evaluation contract.
pub struct Trainable<'a> {
    source: Source,
    holds: &'a Holds,
}

impl<'a> Trainable<'a> {
    /// Program on a device whose capacity `holds` checks.
    pub fn new(name: &str, text: &str, holds: &'a Holds) -> Self {
        Self { source: Source::new(name, text), holds }
    }
}

impl evaluate::Candidate for Trainable<'_> {
    fn graph(&self, size: ModelSize) -> Result<Arc<Graph>, Vec<Diagnostic>> {
        let graph = self.source.compile(size).into_graph()?;
        (self.holds)(&graph, BATCH_TOKENS).map_err(|d| vec![d])?;
        Ok(Arc::new(graph))
    }

    fn cost(&self, graph: &Graph, len: usize) -> evaluate::Cost {
        let report = checks::cost(graph, len);
        evaluate::Cost { flops_per_token: report.forward.at(len), state: report.state.at(len) as f64 }
    }

    fn describe(&self, diagnostic: &Diagnostic) -> Value {
        to_json(diagnostic, &self.source.sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory with `size` numbers.
    fn memory(size: &str) -> Screened {
        let text = format!(
            "block M[D](K = {size}) {{\n    input x[D]\n    let k[K] = linear[K](x)\n    scan {{\n        state s[K] = 0\n        \
             s = 0.5 * s + k\n        emit y = s\n    }}\n    output linear[D](y)\n}}\n"
        );
        Compiler.screen(&text)
    }

    #[test]
    fn programs_are_compared_at_all_sizes_of_the_tiers() {
        assert!(OTHERS.iter().any(|size| size.width != SETTING.width), "{:?}", *OTHERS);
        // At D = 32 the three are one program; at D = 64 the first two are still the same.
        let [half, also_half, fixed] = ["D / 2", "D - D / 2", "16"].map(memory);
        assert_eq!(half.refusal, None);
        assert_eq!(half.hash, also_half.hash);
        assert_ne!(half.hash, fixed.hash);
        assert_eq!(half.family, fixed.family);
        // A program that checks only at D = 32 cannot be trained.
        let refusal = memory("4096 / (D - 30) / 128").refusal.expect("a refusal");
        assert!(refusal.message.contains("at D = 64"), "{refusal:?}");
    }
}
