//! The real implementations: the compiler as the screen, the trainer as the evaluator, on tiers of a few steps.

use archc_runtime::Reference;
use archc_search::cache::Cache;
use archc_search::compile::Compiler;
use archc_search::evaluate::{Evaluator, Job};
use archc_search::plan::Tier;
use archc_search::record::{CandidateId, Status, TimeClass};
use archc_search::screen::{Screen, Screened};
use archc_search::trained::{Setting, Trained};
use archc_search::{Budget, SearchOptions, Silent, report, run, store};
use archc_train::corpus::Corpus;
use archc_train::tier::{self, tier};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn seeds() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let named = |p: &std::path::PathBuf| p.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|p| (named(p), std::fs::read_to_string(p).unwrap())).collect()
}

fn screen(text: &str) -> Screened {
    Compiler.screen(text)
}

fn refused_by(text: &str) -> &'static str {
    screen(text).refusal.unwrap_or_else(|| panic!("{text} is admitted")).check
}

#[test]
fn every_seed_passes_the_screen() {
    let mut hashes = std::collections::BTreeSet::new();
    for (name, text) in seeds() {
        let screened = screen(&text);
        assert_eq!(screened.refusal, None, "{name}");
        let cost = screened.cost.unwrap();
        assert!(cost.params > 1000 && cost.flops_per_token > 1000.0 && cost.state > 0, "{name}: {cost:?}");
        assert!(hashes.insert(screened.hash) && !screened.family.is_empty());
    }
    let mixer = |name: &str| {
        let (_, text) = seeds().into_iter().find(|(n, _)| n == name).unwrap();
        screen(&text).cost.unwrap().mixer
    };
    assert_eq!(mixer("delta_net.arch"), "delta rule");
    assert_eq!(mixer("gla.arch"), "matrix memory");
}

#[test]
fn each_check_refuses_what_is_its_own() {
    assert_eq!(refused_by("block B[D] { input x[D] output"), "parse");
    assert_eq!(refused_by("block B[D] { input x[D]\n output unknown(x) }"), "check");
    assert_eq!(refused_by("block B[D] { input x[D]\n output linear[D -> D](x) }"), "time");
    assert_eq!(
        refused_by("block B[D](H = 3, K = D / H) { input x[D]\n output x |> linear[H, K] |> linear[H, K -> D] }"),
        "check"
    );
    let attention = "block B[D] { input x[D]\n let q = linear[D -> D](x)\n attend { score sum[D](q * past(x)); emit o = past(x) }\n output o }";
    let cost = screen(attention).cost.unwrap();
    assert_eq!((cost.time, cost.mixer.as_str()), (TimeClass::Quadratic, "attention"));
}

#[test]
fn names_do_not_make_a_program_another_one() {
    let program = |name: &str, k: &str| {
        format!(
            "block {name}[D] {{\n    input x[D]\n    let {k} = linear[D -> D](x)\n    output running_sum({k}) * silu(x)\n}}\n"
        )
    };
    assert_eq!(screen(&program("A", "k")).hash, screen(&program("B", "other")).hash);
    let other = program("A", "k").replace("silu", "tanh");
    assert_ne!(screen(&program("A", "k")).hash, screen(&other).hash);
}

/// Evaluator on the trainer's tiers, shortened to `steps` steps.
fn evaluator(steps: u64) -> Trained {
    let corpus: String = (0..400).map(|i| format!("Line {i} of a text.\n\n")).collect();
    let corpus = Corpus::carried(&corpus).unwrap().map(Arc::new);
    let short = |name: &str| {
        let mut tier = tier(name).unwrap();
        tier.tasks.truncate(1);
        for run in &mut tier.tasks {
            (run.steps, run.batch, run.score_batches) = (steps, 4, 1);
        }
        tier
    };
    let search = tier::Tier { name: "search".to_owned(), ..short("search") };
    let setting = Setting { screen: short("screen"), search, corpus };
    setting.check().unwrap();
    Trained::new(Arc::new(Reference), Box::new(|_, _| Ok(())), setting, Cache::default())
}

fn job(text: &str, seed: u64) -> Job {
    Job {
        candidate: CandidateId(0),
        name: "candidate".to_owned(),
        source: Arc::from(text),
        hash: screen(text).hash,
        tier: Tier::Screen,
        seed,
        rate: Some(1.0),
        anchor: false,
    }
}

#[test]
fn the_same_evaluation_gives_the_same_scores() {
    let (_, text) = seeds().into_iter().find(|(n, _)| n == "gla.arch").unwrap();
    let (evaluator, go) = (evaluator(3), AtomicBool::new(false));
    let scores = |seed| {
        let report = evaluator.evaluate(&job(&text, seed), &go);
        assert_eq!(report.status, Status::Ok, "{:?}", report.findings);
        assert!(report.tokens > 0 && report.params > 1000);
        report.tasks.into_iter().map(|(name, t)| (name, t.score, t.loss, t.curve)).collect::<Vec<_>>()
    };
    assert_eq!(scores(1), scores(1));
    assert_ne!(scores(1), scores(2));
    let stopped = evaluator.evaluate(&job(&text, 1), &AtomicBool::new(true));
    assert_eq!(stopped.status, Status::Cancelled);
    let broken = evaluator.evaluate(&job("block B[D] { input x[D]\n output y }", 1), &go);
    assert_eq!(broken.status, Status::Invalid);
    assert!(broken.findings.iter().any(|f| f.code.starts_with('E')), "{:?}", broken.findings);
}

#[test]
fn a_search_with_the_real_judges_comes_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = SearchOptions {
        seeds: seeds().into_iter().filter(|(n, _)| n == "gla.arch" || n == "ssm.arch").collect(),
        out: Some(dir.path().join("run")),
        budget: Budget { candidates: Some(12), ..Budget::default() },
        seed: 1,
        jobs: 2,
        ..SearchOptions::default()
    };
    let summary = run(&options, &Compiler, &evaluator(2), &mut Silent).unwrap();
    assert_eq!((summary.reason.as_str(), summary.counts.proposed), ("candidates", 12));
    assert!(summary.counts.trained > 0 && !summary.counts.statuses.contains_key("bug"), "{:?}", summary.counts);
    let history = store::read(&summary.folder).unwrap();
    for c in history.candidates().iter().filter(|c| c.verdict.admitted()) {
        assert_eq!(archc_grammar::parse(&c.source).errors, []);
    }
    report::write(&summary.folder).unwrap();
}
