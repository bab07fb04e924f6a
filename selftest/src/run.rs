//! The whole self-test: the library, then random programs, on a few threads.

use crate::agree::{Fault, Finding, Quantity};
use crate::battery::{Outcome, hold};
use crate::case::Subject;
use crate::generate::{Dice, Program, program};
use crate::reduce::{Failure, reduce};
use crate::setting::Setting;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, compile, stdlib, targets};
use archc_runtime::guard::{caught, worker};
use archc_runtime::{Device, Dtype};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// The plan of a self-test.
pub struct Plan<'a> {
    /// The device under test.
    pub device: &'a (dyn Device + Sync),
    /// Its arithmetic.
    pub dtype: Dtype,
    /// Seed of the random programs.
    pub seed: u64,
    /// Number of the first random program.
    pub first: u64,
    /// Number of random programs.
    pub programs: u64,
    /// Whether the library is tested first.
    pub library: bool,
    /// Time after which no program is begun.
    pub until: Option<Instant>,
    /// Number of programs that run side by side.
    pub jobs: usize,
    /// Set when the caller wants to stop.
    pub stop: &'a AtomicBool,
}

/// A program that was tested.
#[derive(Clone, Debug)]
pub enum Tested {
    /// A block or model of the library, with its findings.
    Library(String, Vec<Finding>, Counts),
    /// A random program without findings.
    Right(u64, Counts),
    /// A failing random program, as drawn and in its smallest form.
    Wrong(u64, Box<(Failure, Failure)>),
    /// A random program without a verdict: the checker refuses it, or its values are not finite.
    Void(u64, String, Program),
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of quantities that were compared.
    pub judged: usize,
    /// Number of quantities that amplify rounding too much.
    pub unjudged: usize,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.judged += outcome.judged;
        self.unjudged += outcome.unjudged;
    }
}

/// One program in `CHECKED` compares the reference with differences.
const CHECKED: u64 = 20;

/// Runs the self-test; `tell` is called with each program when it is done, in any order. Returns the number of random programs begun.
///
/// # Errors
/// If the machine refuses a thread.
pub fn run(plan: &Plan<'_>, tell: &mut dyn FnMut(Tested)) -> std::io::Result<u64> {
    let library = if plan.library { library() } else { Vec::new() };
    let (next, begun) = (AtomicU64::new(0), AtomicU64::new(0));
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for i in 0..plan.jobs.max(1) {
            let (send, library, next, begun) = (send.clone(), &library, &next, &begun);
            worker(&format!("selftest {i}")).spawn_scoped(scope, move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let late = plan.until.is_some_and(|end| Instant::now() >= end) || plan.stop.load(Ordering::Relaxed);
                    if late || at >= library.len() as u64 + plan.programs {
                        return;
                    }
                    let tested = match library.get(at as usize) {
                        Some((name, graph)) => {
                            let (findings, counts) = of_library(plan, graph);
                            Tested::Library(name.clone(), findings, counts)
                        }
                        None => {
                            begun.fetch_add(1, Ordering::Relaxed);
                            random(plan, plan.first + at - library.len() as u64)
                        }
                    };
                    if send.send(tested).is_err() {
                        return;
                    }
                }
            })?;
        }
        drop(send);
        receive.iter().for_each(&mut *tell);
        std::io::Result::Ok(())
    })?;
    Ok(begun.into_inner())
}

/// The sizes at which a block or model is tested: few steps of a solver, few levels and few experts test as much as many.
fn small(name: &str) -> BTreeMap<String, f64> {
    let own = match name {
        "MesaNet" => Some(("n", 4.0)),
        "LogLinearMamba2" | "LogLinearGatedDeltaNet" | "LogLinearAttention" => Some(("L", 5.0)),
        "Qwen3Next" | "KimiLinear" => Some(("E", 3.0)),
        _ => None,
    };
    own.into_iter().chain([("D", 16.0)]).map(|(name, size)| (name.to_owned(), size)).collect()
}

/// Every block and model of the library, at small sizes.
pub fn library() -> Vec<(String, Arc<Graph>)> {
    let files = stdlib::FILES.iter().filter(|f| matches!(f.module, "std::mixers" | "std::models"));
    files.flat_map(|file| programs(file.path, file.text)).collect()
}

/// Every block and model of a shipped file, at small sizes.
///
/// # Panics
/// If one does not compile.
pub fn programs(path: &str, text: &str) -> Vec<(String, Arc<Graph>)> {
    let mut sources = SourceMap::new();
    // A map with initial value 0 hides its operand.
    let file = sources.add(path, text.replace("init = zeros", "init = fan"));
    let Some(module) = compile(&sources, file, &Options::default()).module else {
        panic!("archc bug: {path} does not check")
    };
    let graph = |name: &str| {
        let mut options = Options { block: Some(name.to_owned()), ..Options::default() };
        options.sizes.set = small(name);
        options.sizes.vocab = 11;
        let graph = compile(&sources, file, &options).into_graph();
        graph.unwrap_or_else(|found| panic!("archc bug: {path} {name}: {found:?}"))
    };
    let names = targets(&module).into_iter().map(|t| module.callables[t.index as usize].name.name.clone());
    names.map(|name| (name.clone(), Arc::new(graph(&name)))).collect()
}

fn of_library(plan: &Plan<'_>, graph: &Arc<Graph>) -> (Vec<Finding>, Counts) {
    let subject = Subject::new(plan.device, plan.dtype);
    let mut dice = Dice::new(&[b"library", graph.name.as_bytes(), &plan.seed.to_le_bytes()]);
    let (mut findings, mut counts) = (Vec::new(), Counts::default());
    for setting in Setting::three(&mut dice) {
        let outcome = guarded(&subject, graph, &setting, false);
        counts.add(&outcome);
        findings.extend(crate::agree::named(outcome.findings, &setting.to_string()));
    }
    (findings, counts)
}

/// The graph of a program.
///
/// # Errors
/// The diagnostics of the checker.
pub fn graph(program: &Program) -> Result<Arc<Graph>, Vec<Diagnostic>> {
    let mut sources = SourceMap::new();
    let file = sources.add("program.arch", program.text.as_str());
    let mut options = Options { block: Some(program.block.clone()), ..Options::default() };
    options.sizes.set = program.set.iter().map(|(name, size)| (name.clone(), *size as f64)).collect();
    options.sizes.vocab = program.vocab;
    compile(&sources, file, &options).into_graph().map(Arc::new)
}

fn guarded(subject: &Subject<'_>, graph: &Arc<Graph>, setting: &Setting, check_reference: bool) -> Outcome {
    caught(|| hold(subject, graph, setting, check_reference)).unwrap_or_else(|message| Outcome {
        findings: vec![Finding { run: String::new(), of: Quantity::Run, fault: Fault::Panicked(message) }],
        ..Outcome::default()
    })
}

fn random(plan: &Plan<'_>, number: u64) -> Tested {
    let drawn = match caught(|| program(plan.seed, number)) {
        Ok(drawn) => drawn,
        Err(message) => return Tested::Void(number, format!("archc bug: {message}"), Program::default()),
    };
    let subject = Subject::new(plan.device, plan.dtype);
    let graph = match caught(|| graph(&drawn)) {
        Ok(Ok(graph)) => graph,
        Ok(Err(found)) => {
            let first = found.iter().find(|d| d.is_error());
            return Tested::Void(
                number,
                first.map_or_else(String::new, |d| format!("{}: {}", d.code, d.message)),
                drawn,
            );
        }
        Err(message) => {
            let finding = Finding { run: String::new(), of: Quantity::Run, fault: Fault::Panicked(message) };
            let setting = Setting::three(&mut Dice::new(&[b"none"])).remove(2);
            let failure = Failure { program: drawn, setting, finding };
            return Tested::Wrong(number, Box::new((failure.clone(), failure)));
        }
    };
    let mut dice = Dice::new(&[b"settings", &plan.seed.to_le_bytes(), &number.to_le_bytes()]);
    let mut counts = Counts::default();
    let mut void = 0;
    let check_reference = number.is_multiple_of(CHECKED);
    for setting in Setting::three(&mut dice) {
        let outcome = guarded(&subject, &graph, &setting, check_reference);
        counts.add(&outcome);
        void += u32::from(outcome.without_values);
        if let Some(finding) = outcome.findings.into_iter().next() {
            let failure = Failure { program: drawn.clone(), setting, finding };
            let small = smallest(&subject, failure.clone(), check_reference);
            return Tested::Wrong(number, Box::new((failure, small)));
        }
    }
    if void == 3 {
        return Tested::Void(number, "values that are not finite".into(), drawn);
    }
    Tested::Right(number, counts)
}

/// The smallest form of a failure.
pub fn smallest(subject: &Subject<'_>, failure: Failure, check_reference: bool) -> Failure {
    let wanted = failure.finding.clone();
    let same_run = |f: &Finding| f.run.split([' ', ',']).next() == wanted.run.split([' ', ',']).next();
    let mut fails = |program: &Program, setting: &Setting| {
        let graph = caught(|| graph(program)).ok()?.ok()?;
        let outcome = guarded(subject, &graph, setting, check_reference);
        outcome.findings.into_iter().find(|f| f.fault.same_kind(&wanted.fault) && same_run(f))
    };
    reduce(failure, &mut fails)
}
