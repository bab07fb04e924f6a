//! The classes of scans: of the standard library, and of programs that no library ships.

use archc_compiler::diag::render;
use archc_compiler::graph::{Graph, NodeId, verify};
use archc_compiler::scan::{Classes, ScanClass, check_form, classify_scans, derive, split_scans};
use archc_compiler::source::SourceMap;
use archc_compiler::{Options, Sizes, compile, stdlib, targets};
use std::path::Path;

/// A block's split graph and its classes.
fn classified(name: &str, text: &str, block: Option<&str>) -> (Graph, Classes) {
    let mut sources = SourceMap::new();
    let file = sources.add(name, text);
    // small enough for plain loops in f64; the classes do not depend on sizes
    let sizes = Sizes { set: [("D".to_string(), 16.0)].into(), ..Sizes::default() };
    let graph = compile(&sources, file, &Options { block: block.map(String::from), sizes }).into_graph();
    let graph = graph.unwrap_or_else(|found| {
        let texts: String = found.iter().map(|d| render(d, &sources, false)).collect();
        panic!("{texts}")
    });
    let split = split_scans(&graph);
    verify(&split).unwrap_or_else(|why| panic!("{name}: {why}"));
    let classes = classify_scans(&split);
    (split, classes)
}

/// `S = chunk, m = elementwise`: every state with its class, sorted.
fn summary(classes: &Classes) -> Vec<String> {
    let parts = classes.parts.values();
    let all = parts.flat_map(|p| p.states.iter().map(move |s| format!("{s} = {}", p.class.name())));
    let mut all: Vec<String> = all.collect();
    all.sort();
    all
}

/// The states that run in one loop, in order.
fn loops(classes: &Classes) -> Vec<String> {
    let one = |members: &Vec<NodeId>| {
        let states: Vec<String> = members.iter().flat_map(|id| classes.parts[id].states.clone()).collect();
        states.join(", ")
    };
    classes.loops.iter().map(one).collect()
}

/// Every form agrees with itself: two ways to compute the same in f64, a few hundred sums of numbers below 1 apart.
fn check_forms(name: &str, graph: &Graph, classes: &Classes) {
    for part in classes.parts.values() {
        if let ScanClass::Chunk(form) = &part.class {
            let difference = check_form(graph, form);
            assert!(difference.is_some_and(|d| d < 1e-12), "{name}, {:?}: {difference:?}", part.states);
            let derivation = derive(graph, form);
            assert!(derivation.text().contains("S' =") && derivation.latex().contains("\\begin{align*}"));
        }
    }
}

#[test]
fn made_up_scans_have_the_class_that_they_announce() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scans");
    let entries = std::fs::read_dir(folder).expect("the folder is part of the repository");
    let mut paths: Vec<_> = entries.map(|e| e.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= 20);
    let mut wrong = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let announced = text.lines().next().and_then(|l| l.strip_prefix("// class: ")).expect("it announces its class");
        let mut announced: Vec<String> = announced.split(", ").map(String::from).collect();
        announced.sort();
        let (graph, classes) = classified(&name, &text, None);
        let together: Vec<String> =
            text.lines().filter_map(|l| l.strip_prefix("// one loop: ")).map(String::from).collect();
        if loops(&classes) != together {
            wrong += &format!("{name}: loops {:?}, not {together:?}\n", loops(&classes));
        }
        if summary(&classes) != announced {
            let why: Vec<&str> = classes.parts.values().map(|p| p.why.as_str()).collect();
            wrong += &format!("{name}: {:?}, not {announced:?}: {why:?}\n", summary(&classes));
        }
        check_forms(&name, &graph, &classes);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn rotations_are_told_and_derived() {
    let text = include_str!("../../tests/scans/turned_keys.arch");
    let (graph, classes) = classified("turned_keys.arch", text, None);
    let part = classes.parts.values().next().expect("it has a scan");
    assert_eq!(part.why, "one write of rank one under a decay a head, turned by an angle for each key channel");
    let ScanClass::Chunk(form) = &part.class else { panic!("{}", part.why) };
    let text = derive(&graph, form).text();
    for line in ["th  = -w", "b   = (cos(turn) * k, sin(turn) * k)", "S <- exp(g) Rot(th) S", "b_j <- Rot(-Th_j) b_j"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// What is no chunk says why, and vectors that are read whole say what they always said.
#[test]
fn states_that_turn_without_a_chunk_say_why() {
    let why = |text: &str| {
        let (_, classes) = classified("turned.arch", text, None);
        classes.parts.values().next().expect("it has a scan").why.clone()
    };
    let affine = "its 2 states are affine in each other, number by number";
    assert_eq!(why(include_str!("../../tests/scans/rotation.arch")), affine);
    let both_ways = why(include_str!("../../tests/scans/turned_both_ways.arch"));
    assert_eq!(both_ways, format!("{affine}; they turn, but no chunk: it is read over keys and over values"));
    // a decay that may be too large
    let grows = include_str!("../../tests/scans/turned.arch").replace("|> sigmoid", "|> exp");
    assert!(why(&grows).starts_with(&format!("{affine}; they turn, but no chunk: their decay lies in ")));
    // two angles, two sizes, and two sines of one sign are no rotation
    let turned = include_str!("../../tests/scans/turned.arch");
    for (from, to) in
        [("sin(w) * re", "sin(2 * w) * re"), ("(sin(w) * re", "(2 * sin(w) * re"), ("cos(w) * re -", "cos(w) * re +")]
    {
        assert!(turned.contains(from));
        assert_eq!(why(&turned.replace(from, to)), affine, "{to}");
    }
}

#[test]
fn the_library_s_scans_have_their_classes() {
    let mut found = String::new();
    for (_, mixers) in stdlib::files("std::mixers") {
        let mut sources = SourceMap::new();
        let file = sources.add(mixers.path, mixers.text);
        let (library, _) = archc_compiler::hir::Library::load(&sources, file);
        let module = library.user_module(file).expect("it parses");
        for target in targets(&module) {
            let name = &module.callables[target.index as usize].name.name;
            let (graph, classes) = classified(mixers.path, mixers.text, Some(name));
            check_forms(name, &graph, &classes);
            if !classes.parts.is_empty() {
                let together = loops(&classes).iter().map(|l| format!("; one loop: {l}")).collect::<String>();
                found += &format!("{name}: {}{together}\n", summary(&classes).join(", "));
            }
        }
    }
    // thirty steps of conjugate gradients read it
    let found = found.replace(&"P = chunk, ".repeat(30), "30 of P = chunk, ");
    assert_eq!(
        found,
        "\
ForgettingTransformer: s = elementwise
WallAttention: s = elementwise
LinearAttention: S = chunk, z = chunk; one loop: S, z
Based: S = chunk, z = chunk; one loop: S, z
RetNet: S = chunk
LightningAttention: S = chunk
ABC: den = elementwise, den = elementwise, num = elementwise, num = elementwise, top = elementwise, top = elementwise
HLA: C = chunk, G = chunk, P = chunk
AHLA: E = chunk, P = chunk
GLA: S = chunk
GatedRetention: S = chunk
Mamba1: h = elementwise
Mamba2: S = chunk
Mamba3: S = chunk, s = elementwise
HGRN2: S = chunk
RWKV6: S = chunk
GSA: A = chunk, B = chunk
Raven: A = chunk, B = chunk
Rodimus: S = chunk
DeltaNet: S = chunk
GatedDeltaNet: S = chunk
KDA: S = chunk
GatedDeltaNet2: S = chunk
DeltaProduct: S = chunk
EraseThenDelta: S = chunk
Comba: S = chunk
QDelta: S = chunk
PreconditionedGatedDeltaNet: A = elementwise, S = chunk
PreconditionedKDA: A = elementwise, S = chunk
Kaczmarz: S = chunk
EFLA: S = chunk
RWKV7: S = chunk
RWKV7Residual: S = chunk
MomentumDeltaNet: M = sequential, S = sequential
GatedOja: S = sequential
MoM: S = chunk, a = elementwise, a = elementwise, a = elementwise, b = elementwise, b = elementwise, b = elementwise, c = elementwise, c = elementwise, c = elementwise
LogLinearMamba2: S = chunk
LogLinearGatedDeltaNet: S = sequential
LogLinearAttention: s = elementwise
Longhorn: h = elementwise
MesaNet: 30 of P = chunk, S = chunk
TTTLinear: S = sequential, b = sequential
TTTLinearBatch: G = sequential, S = sequential, b = sequential, g = sequential
Titans: M = sequential, S = sequential
RGLRU: h = elementwise
MinGRU: s = elementwise
LRU: hi = elementwise, hr = elementwise
MLSTM: S = chunk, m = elementwise, n = chunk; one loop: S, n
SLSTM: c = sequential, h = sequential, m = sequential, n = sequential
ContentSharpRouter: S = chunk
FusionGatedFIRNet: S = chunk
"
    );
}
