//! The checks and hashes over whole programs: what they say about wrong ones, that they say nothing about
//! right ones, and which programs count as the same.

use archc_compiler::checks::{CODES, CostReport, StateBound, TimeClass};
use archc_compiler::diag::render;
use archc_compiler::elaborate::elaborate;
use archc_compiler::graph::{Graph, verify};
use archc_compiler::hash::{canonical_hash, canonical_roles, family_hash};
use archc_compiler::hir::Library;
use archc_compiler::passes::optimize;
use archc_compiler::source::SourceMap;
use archc_compiler::stdlib::LibraryFile;
use archc_compiler::{Compilation, Options, Sizes, compile, stdlib, targets};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

fn compile_text(name: &str, text: &str, block: Option<&str>, sizes: Sizes) -> (Compilation, SourceMap) {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text);
    let compilation = compile(&sources, file, &Options { block: block.map(String::from), sizes });
    (compilation, sources)
}

/// `input x[D]`, some statements, `output y`.
fn block(statements: &str) -> String {
    format!("block Test[D](H = 2, K = D / H, V = D / H) {{\n    input x[D]\n    {statements}\n    output y\n}}\n")
}

fn codes_of(text: &str) -> Vec<&'static str> {
    let (compilation, _) = compile_text("test.arch", text, None, Sizes::default());
    compilation.diagnostics.iter().map(|d| d.code).collect()
}

fn graph_of(text: &str) -> Graph {
    let (compilation, sources) = compile_text("test.arch", text, None, Sizes::default());
    compilation.into_graph().unwrap_or_else(|found| {
        panic!("{}{text}", found.iter().map(|d| render(d, &sources, false)).collect::<String>())
    })
}

/// A program that the repository carries, and what is known about it.
struct Program {
    file: String,
    block: String,
    /// Findings, rendered, without W0604: a part of a larger program need not mix time by itself.
    findings: String,
    cost: Option<CostReport>,
    states: Vec<String>,
    hash: Option<String>,
}

/// The library's mixers and models, the seeds, the examples; compiled once for all tests.
fn programs() -> &'static [Program] {
    static PROGRAMS: OnceLock<Vec<Program>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
        let library = stdlib::FILES.iter().filter(|f| f.module == "std::mixers" || f.module == "std::models");
        let mut files: Vec<(String, String)> = library.map(|f| (f.module.to_string(), f.text.to_string())).collect();
        for folder in ["seeds", "examples"] {
            let entries = std::fs::read_dir(root.join(folder)).expect("the folder is part of the repository");
            let mut paths: Vec<_> = entries.map(|e| e.expect("readable").path()).collect();
            paths.sort();
            for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "arch")) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push((name, std::fs::read_to_string(path).expect("readable")));
            }
        }
        files.iter().flat_map(|(file, text)| all_blocks(file, text)).collect()
    })
}

fn all_blocks(file: &str, text: &str) -> Vec<Program> {
    let (compilation, _) = compile_text(file, text, None, Sizes::default());
    let module = compilation.module.unwrap_or_else(|| panic!("{file} has syntax errors"));
    let program = |block: String| {
        let (compilation, sources) = compile_text(file, text, Some(&block), Sizes::default());
        let findings = compilation.diagnostics.iter().filter(|d| d.code != "W0604");
        Program {
            file: file.to_string(),
            findings: findings.map(|d| render(d, &sources, false)).collect(),
            states: compilation.states.iter().map(StateBound::to_string).collect(),
            cost: compilation.cost,
            hash: compilation.graph.map(|g| canonical_hash(&g).to_string()),
            block,
        }
    };
    targets(&module).iter().map(|t| program(module.callables[t.index as usize].name.name.clone())).collect()
}

#[test]
fn no_false_alarms() {
    let programs = programs();
    assert!(programs.len() > 40, "only {} programs were found", programs.len());
    for program in programs {
        assert!(program.findings.is_empty(), "{} {}:\n{}", program.file, program.block, program.findings);
    }
}

#[test]
fn every_code_has_a_program_that_earns_it() {
    let delta = |keys: &str, beta: &str, sign: &str| {
        block(&format!(
            "let k[H, K] = x |> linear[H, K] {keys}
             let v[H, V] = x |> linear[H, V]
             let beta[H] = {beta}
             scan {{ state S[H, K, V] = 0; S = S + beta * k * (v {sign} sum[K](k * S)); emit o = sum[K](k * S) }}
             let y = o |> linear[H, V -> D]"
        ))
    };
    let shifted = |expression: &str| block(&format!("let y = {expression} + shift(x, 1)"));
    let learned = |expression: &str| block(&format!("param t[D] = ones\n let y = {expression} + shift(x, 1)"));
    let programs: &[(&str, String)] = &[
        ("E0601", block("param w[D] = ones\n let y = w")),
        ("E0602", learned("x * floor(t)")),
        ("W0602", learned("x * stop_grad(t)")),
        ("W0603", learned("x")),
        ("W0604", block("let y = silu(x)")),
        ("W0606", block("scan { state s[D] = 0; state t[D] = 0; s = s + x; t = t + x; emit o = s }\n let y = o")),
        ("E0701", shifted("log(-sigmoid(x))")),
        ("W0701", shifted("log(x)")),
        ("E0702", shifted("sqrt(tanh(x) - 2)")),
        ("W0702", shifted("rsqrt(x ^ 2)")),
        ("E0703", shifted("x / (0 * 3)")),
        ("W0703", shifted("x / sum[D](x)")),
        ("E0704", shifted("(-softplus(x)) ^ 0.5")),
        ("W0704", shifted("x ^ 0.5")),
        ("E0705", shifted("exp(100 + softplus(x))")),
        ("W0705", shifted("exp(x)")),
        ("E0709", shifted("x * (1e200 * 1e200)")),
        ("E0709", shifted("x * 1e39")),
        ("W0706", block("scan { state s[D] = 0; s = x * s + x; emit o = s }\n let y = o")),
        ("W0707", delta("|> silu", "x |> linear[H] |> sigmoid", "-")),
        ("W0708", delta("|> l2norm[K]", "x |> linear[H] |> softplus", "-")),
        ("W0708", delta("|> l2norm[K]", "x |> linear[H] |> sigmoid", "+")),
    ];
    for (code, text) in programs {
        let found = codes_of(text);
        assert!(found.contains(code), "{code} is not among {found:?}:\n{text}");
    }
    let tried: BTreeSet<&str> = programs.iter().map(|(code, _)| *code).collect();
    for code in CODES {
        assert!(tried.contains(code.code), "no program earns {}", code.code);
        assert!(code.text.contains("    "), "{} has no example", code.code);
    }
}

#[test]
fn time_classes_and_states_of_the_literature() {
    let mixers = programs().iter().filter(|p| p.file == "std::mixers");
    let found: BTreeMap<&str, &Program> = mixers.map(|p| (p.block.as_str(), p)).collect();
    let time = |block: &str| found[block].cost.as_ref().map(|c| c.time);
    assert_eq!(time("Attention"), Some(TimeClass::Quadratic));
    assert_eq!(time("SlidingAttention"), Some(TimeClass::Windowed(16)));
    assert_eq!(time("GatedDeltaNet"), Some(TimeClass::Linear));
    let bounded = [
        "DeltaNet",
        "GatedDeltaNet",
        "KDA",
        "DeltaProduct",
        "Comba",
        "GLA",
        "Mamba2",
        "RGLRU",
        "LRU",
        "MLSTM",
        "Longhorn",
    ];
    for block in bounded {
        for state in &found[block].states {
            assert!(state.contains("contraction"), "{block}: {state}");
        }
    }
    assert!(found["LinearAttention"].states[0].contains("grows at most linearly"));
}

#[test]
fn a_cost_report_in_full() {
    let text = block(
        "let q[H, K] = x |> linear[H, K]
         let k[H, K] = x |> linear[H, K]
         let v[H, V] = x |> linear[H, V] |> conv(width = 4)
         let o = attention[K](q, k, v, window = 128)
         let y = o |> linear[H, V -> D]",
    );
    let (compilation, _) = compile_text("test.arch", &text, None, Sizes::default());
    let report = compilation.cost.expect("the program is right");
    // by hand: three maps 64 -> 64 and one back, the conv's 4 taps, scores and reads of 16 a tile, softmax 4 a head
    assert_eq!(report.params, 4 * 64 * 64 + 64 * 4);
    assert_eq!(report.forward.per_pair.len(), 1);
    let (reach, per_pair) = report.forward.per_pair[0];
    assert_eq!(reach, Some(128));
    // q k, the scale, softmax of two heads, the read of v
    assert_eq!(per_pair, 2.0 * 64.0 + 2.0 + 4.0 * 2.0 + 2.0 * 64.0);
    // the condition is one of the lag alone: once a lag, whichever the pair
    assert_eq!(report.forward.per_token, 4.0 * 2.0 * 64.0 * 64.0 + 2.0 * 4.0 * 64.0 + 1.0);
    assert_eq!(report.state.at(1 << 20), 3 * 64 + 128 * 128);
    let printed = report.to_string();
    assert!(printed.contains("O(T*w), w = 128"), "{printed}");
}

#[test]
fn one_program_in_several_ways() {
    let plain = block(
        "let q[H, K] = x |> linear[H, K] |> l2norm[K]
         let k[H, K] = x |> linear[H, K] |> l2norm[K]
         let v[H, V] = x |> linear[H, V]
         let beta[H] = x |> linear[H] |> sigmoid
         scan { state S[H, K, V] = 0; S = S + beta * k * (v - sum[K](k * S)); emit o = sum[K](q * S) }
         let y = o |> linear[H, V -> D]",
    );
    let other = "
        fn unit[K](x) = x * rsqrt(1e-6 + sum[K](x * x))
        block Other[C](N = 2, A = C / N, B = C / N) {
            input z[C]
            let rate[N] = sigmoid(linear[N](z))
            let value = linear[N, B](z)
            let key = unit[A](linear[N, A](z))
            let query = unit[A](linear[N, A](z))
            scan {
                state M[N, A, B] = 0
                let seen = sum[A](M * key)
                M = (value - seen) * key * rate + M
                emit r = sum[A](query * M)
            }
            output linear[N, B -> C](r)
        }";
    let swapped = plain.replace("beta * k * (v - sum[K](k * S))", "beta * k * (v - sum[K](q * S))");
    let sizes = |d: f64| {
        let (compilation, _) = compile_text(
            "test.arch",
            &plain,
            None,
            Sizes { set: BTreeMap::from([("D".into(), d)]), ..Sizes::default() },
        );
        compilation.into_graph().expect("right")
    };
    let graph = graph_of(&plain);
    assert_eq!(canonical_hash(&graph), canonical_hash(&graph_of(other)));
    assert_ne!(canonical_hash(&graph), canonical_hash(&graph_of(&swapped)), "another read key is another program");
    assert_ne!(canonical_hash(&graph), canonical_hash(&sizes(32.0)));
    assert_eq!(family_hash(&graph), family_hash(&sizes(32.0)));
    let roles: BTreeSet<String> = canonical_roles(&graph).iter().map(|(_, hash)| hash.to_string()).collect();
    let others: BTreeSet<String> = canonical_roles(&graph_of(other)).iter().map(|(_, hash)| hash.to_string()).collect();
    assert_eq!((roles.len(), &roles), (5, &others));
}

#[test]
fn different_programs_have_different_hashes() {
    let mut seen: BTreeMap<&str, &Program> = BTreeMap::new();
    for program in programs() {
        let Program { file, block, .. } = program;
        let hash = program.hash.as_deref().unwrap_or_else(|| panic!("{file} {block} has no graph"));
        assert_eq!(hash.len(), 32);
        if let Some(other) = seen.insert(hash, program) {
            // an example may be a mixer of the library
            assert_eq!(&other.block, block, "{} and {file} have one hash", other.file);
        }
    }
}

#[test]
fn long_and_doubling_programs_are_checked_in_time() {
    // 2^60 terms if taken apart, and chains far deeper than a stack of recursive calls
    let bodies = [
        "for i in 0..60 { h = h + h }",
        "for i in 0..60 { h = h * h }",
        "for i in 0..60 { h = max(h, h) - min(h, h) }",
        "for i in 0..60 { h = h * sigmoid(x) + h * (1 - sigmoid(x)) }",
        "for i in 0..1500 { h = h + x }",
        "for i in 0..6000 { h = -h * x }",
        "for i in 0..1000 { h = max(h, x) - exp(-h) }",
        "for i in 0..400 { h = h + sin(i * x) }",
        "for i in 0..400 { h = h * sin(i * x) }",
    ];
    for body in bodies {
        let outside = block(&format!("mut h = x\n {body}\n let y = h * sum[D](h) + shift(x, 1)"));
        let inside = block(&format!(
            "scan {{ state s[D] = 0; mut h = s + x; {body}\n s = h; emit o = sum[D](h * x) }}\n let y = o * x"
        ));
        for text in [outside, inside] {
            let start = std::time::Instant::now();
            let graph = graph_of(&text);
            canonical_hash(&graph);
            let took = start.elapsed();
            assert!(took.as_secs() < 20, "{took:?} for {body}");
        }
    }
}

#[test]
fn the_passes_change_no_identity() {
    for (_, LibraryFile { path, text, .. }) in stdlib::files("std::mixers") {
        let mut sources = SourceMap::new();
        let file = sources.add(*path, *text);
        let (library, _) = Library::load(&sources, file);
        let module = library.user_module(file).expect("the library has no syntax errors");
        for target in targets(&module) {
            let graph = elaborate(&library, target, &Sizes::default()).graph.expect("the library is right");
            let after = optimize(&graph);
            verify(&after).unwrap_or_else(|why| panic!("{}: {why}", graph.name));
            assert_eq!(canonical_hash(&graph), canonical_hash(&after), "{}", graph.name);
        }
    }
}

#[test]
fn programs_in_the_long_texts_are_programs() {
    let mut count = 0;
    for code in CODES {
        let mut program = String::new();
        for line in code.text.lines() {
            let inside = !program.is_empty();
            if line.starts_with("    block ") || inside {
                program.push_str(line);
                program.push('\n');
            }
            if inside && line == "    }" {
                let (compilation, sources) = compile_text("test.arch", &program, None, Sizes::default());
                let found: String = compilation.diagnostics.iter().map(|d| render(d, &sources, false)).collect();
                assert!(compilation.module.is_some(), "{}: {found}", code.code);
                count += 1;
                program.clear();
            }
        }
    }
    assert!(count >= 4, "{count} programs");
}
