//! Tests of the moves on the seeds and the library: the results are parsed, checked, and printed back.

use super::*;
use archc_grammar::edit::erase_spans;
use std::collections::BTreeSet;

/// Every mixer of the library as a separate program, and the seeds.
pub(super) fn parents() -> Vec<(String, Program)> {
    let mut parents = Vec::new();
    for item in
        archc_compiler::stdlib::files("std::mixers").flat_map(|(_, file)| archc_grammar::parse(file.text).file.items)
    {
        let name = match &item.kind {
            ItemKind::Block(c) => c.name.name.clone(),
            _ => continue,
        };
        let source = archc_grammar::format(&File { items: vec![item], dangling: Vec::new() });
        let program = Program::new(&source).unwrap_or_else(|| panic!("{name} does not check"));
        parents.push((name, program));
    }
    for entry in std::fs::read_dir("../seeds").unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let program = Program::new(&source).unwrap_or_else(|| panic!("{path:?} does not check"));
        parents.push((path.file_stem().unwrap().to_string_lossy().into_owned(), program));
    }
    parents.sort_by(|a, b| a.0.cmp(&b.0));
    parents
}

/// Compiles a program in the standard stack at the search's sizes.
fn compile_small(source: &str) -> Compilation {
    let mut sources = SourceMap::new();
    let file = sources.add("child.arch", source);
    let sizes = Sizes { set: BTreeMap::from([("D".to_owned(), 32.0)]), layers: Some(1), ..Sizes::default() };
    compile(&sources, file, &Options { block: None, sizes })
}

fn erased(source: &str) -> File {
    let parsed = archc_grammar::parse(source);
    assert!(parsed.errors.is_empty(), "{:?}\n{source}", parsed.errors);
    let mut file = parsed.file;
    erase_spans(&mut file);
    file
}

#[test]
fn a_thousand_tries_make_hundreds_of_programs() {
    let tries: u64 = std::env::var("ARCHC_MOVE_TRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let parents = parents();
    let moves = all();
    let mut stream = Stream::new(1, "moves", &[]);
    let mut distinct = BTreeSet::new();
    let (mut applied, mut checked) = (0, 0);
    let mut tally: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..tries {
        let (parent_name, parent) = stream.pick(&parents).unwrap();
        let (_, other) = stream.pick(&parents).unwrap();
        let m = stream.pick(&moves).unwrap();
        let sites = m.sites(parent);
        let Some(site) = stream.pick(&sites) else { continue };
        let count = tally.entry(m.name()).or_default();
        count.0 += 1;
        let Some(edit) = m.apply(parent, site, Some(other), &mut stream) else { continue };
        count.1 += 1;
        applied += 1;
        let file = erased(&edit.source);
        assert_eq!(erased(&archc_grammar::format(&file)), file, "{}", edit.source);
        assert_eq!(archc_grammar::format(&file), edit.source);
        let compilation = compile_small(&edit.source);
        if compilation.failed() {
            let d = compilation.diagnostics.iter().find(|d| d.is_error()).unwrap();
            let text =
                format!("{parent_name} / {} / {}: {} {}\n{}", m.name(), edit.summary, d.code, d.message, edit.source);
            refused.entry(m.name().to_owned()).or_default().push(text);
            continue;
        }
        count.2 += 1;
        checked += 1;
        distinct.insert(archc_compiler::hash::canonical_hash(compilation.graph.as_ref().unwrap()));
    }
    println!("{tries} tries, {applied} applied, {checked} check, {} distinct", distinct.len());
    for (name, (tried, applied, checked)) in &tally {
        println!("  {name}: {tried} tried, {applied} applied, {checked} check");
    }
    for text in refused.values().flat_map(|all| all.iter().take(3)) {
        println!("---- {text}");
    }
    assert!(distinct.len() * 1000 >= 300 * tries as usize, "{} distinct programs", distinct.len());
    assert!(checked * 10 >= applied * 9, "{checked} of {applied} edits check");
}

// ---- one example of each move

const DELTA: &str = "block Delta[D](H = 2, K = D / H, V = D / H) {
    input x[D]

    let q[H, K] = x |> linear[H, K] |> conv(width = 4) |> silu |> l2norm[K]
    let k[H, K] = x |> linear[H, K] |> conv(width = 4) |> silu |> l2norm[K]
    let v[H, V] = x |> linear[H, V]
    let beta[H] = x |> linear[H] |> sigmoid      // how much is overwritten
    scan {
        state S[H, K, V] = 0
        S = S + beta * k * (v - sum[K](k * S))
        emit o = sum[K](q * S)
    }
    output rmsnorm[V](o) |> linear[H, V -> D]
}
";

const GATED: &str = "block Gated[D](H = 2, K = D / H, V = D / H) {
    input x[D]

    let q[H, K] = x |> linear[H, K]
    let k[H, K] = x |> linear[H, K]
    let v[H, V] = x |> linear[H, V]
    let a[H, K] = x |> linear[H, K](bias = 4) |> sigmoid
    scan {
        state S[H, K, V] = 0
        S = a * S + k * v
        emit o = sum[K](q * S)
    }
    let gate = x |> linear[H, V] |> silu
    output rmsnorm[V](o) * gate |> linear[H, V -> D]
}
";

const ROUTER: &str = "block Paths[D](H = 2, V = D / H, F = D / 2) {
    input x[D]

    let v[H, V] = x |> linear[H, V]
    let short = conv(v, width = 3)
    let long = conv(v, width = 16)
    let paths = stack[P](short, long, value = v)
    let stats = stack[M](mean = mean[V](paths), size = mean[V](abs(paths)))
    let hidden[H, F] = linear[D, P, M -> F](x, stats, bias = fan) |> gelu
    let logits[H, P] = linear[F -> P](hidden, bias = P{long = 1, value = 2})
    let route = softmax[P](logits)
    output sum[P](route * paths) |> linear[H, V -> D]
}
";

const ATTEND: &str = "block Attend[D](H = 2, K = D / H, V = D / H) {
    input x[D]

    let q[H, K] = x |> linear[H, K] |> rope[K]
    let k[H, K] = x |> linear[H, K] |> rope[K]
    let v[H, V] = x |> linear[H, V]
    attend {
        score sum[K](q * past(k)) * K ^ -0.5
        emit o = past(v)
    }
    output o |> linear[H, V -> D]
}
";

/// Effect of a move at its first site of a kind: the removed and added lines.
fn example(m: &dyn Move, source: &str, kind: &str, seed: u64) -> String {
    let program = Program::new(source).unwrap();
    let other = Program::new(GATED).unwrap();
    let sites = m.sites(&program);
    let site =
        sites.iter().find(|s| s.kind == kind).unwrap_or_else(|| panic!("{}: no `{kind}` in {sites:?}", m.name()));
    let edit = m.apply(&program, site, Some(&other), &mut Stream::new(seed, "example", &[])).unwrap();
    let compilation = compile_small(&edit.source);
    assert!(!compilation.failed(), "{:?}\n{}", compilation.diagnostics, edit.source);
    let before = archc_grammar::format(&program.file);
    let diff = similar::TextDiff::from_lines(before.as_str(), edit.source.as_str());
    let mut text = format!("{}\n", edit.summary);
    for change in diff.iter_all_changes() {
        match change.tag() {
            similar::ChangeTag::Delete => text += &format!("- {}\n", change.value().trim()),
            similar::ChangeTag::Insert => text += &format!("+ {}\n", change.value().trim()),
            similar::ChangeTag::Equal => {}
        }
    }
    text
}

macro_rules! examples {
    ($($test:ident: $move:expr, $source:expr, $kind:literal, $seed:literal => $text:literal;)+) => { $(
        #[test]
        fn $test() {
            insta::assert_snapshot!(example(&$move, $source, $kind, $seed), @$text);
        }
    )+ };
}

examples! {
    swap_activation: activation::SwapActivation, GATED, "gate", 1 => r"
        gate `gate`: silu -> sigmoid
        - let gate = x |> linear[H, V] |> silu
        + let gate = x |> linear[H, V] |> sigmoid
    ";
    swap_feature_map: activation::SwapFeatureMap, GATED, "feature map", 1 => r"
        map of q and k: none -> silu
        - let q[H, K] = x |> linear[H, K]
        - let k[H, K] = x |> linear[H, K]
        + let q[H, K] = x |> linear[H, K] |> silu
        + let k[H, K] = x |> linear[H, K] |> silu
    ";
    change_decay: decay::ChangeDecay, DELTA, "undecayed state", 1 => r"
        decay of S: none -> learned
        + let decay[H] = learned_decay[H](init = 0.98)
        + S = decay * S
    ";
    change_decay_kind: decay::ChangeDecay, GATED, "decay", 2 => r"
        decay of S: a -> learned
        - let a[H, K] = x |> linear[H, K](bias = 4) |> sigmoid
        + let decay[H, K] = learned_decay[H, K](init = 0.98)
        - S = a * S + k * v
        + S = decay * S + k * v
    ";
    drop_erase: update::ChangeErase, DELTA, "erase", 1 => r"
        S: beta * k * (v - sum[K](k * S)) no longer erases
        - S = S + beta * k * (v - sum[K](k * S))
        + S = S + beta * k * v
    ";
    add_erase: update::ChangeErase, GATED, "no erase", 1 => r"
        S: the write of v at k erases what the key held
        - let k[H, K] = x |> linear[H, K]
        + let k[H, K] = x |> linear[H, K] |> l2norm[K]
        + let beta[H] = x |> linear[H] |> sigmoid
        - S = a * S + k * v
        + S = a * S
        + S = S + beta * k * (v - sum[K](k * S))
    ";
    gate_write: update::GateWrite, GATED, "write", 1 => r"
        S: the write fills just what was forgotten
        - S = a * S + k * v
        + S = a * S + (1 - a) * k * v
    ";
    ungate_write: update::GateWrite, DELTA, "gated write", 1 => r"
        S: the write loses its factor beta
        - let beta[H] = x |> linear[H] |> sigmoid // how much is overwritten
        - S = S + beta * k * (v - sum[K](k * S))
        + S = S + k * (v - sum[K](k * S))
    ";
    add_momentum: update::AddMomentum, DELTA, "write", 1 => r"
        S: writes arrive through the momentum state M
        + let momentum[H] = learned_decay[H](init = 0.5)
        - S = S + beta * k * (v - sum[K](k * S))
        + state M[H, K, V] = 0
        + M = momentum * M + beta * k * (v - sum[K](k * S))
        + S = S + M
    ";
    change_strength: strength::ChangeStrength, DELTA, "write strength", 1 => r"
        strength beta: now in (0, 2)
        - let beta[H] = x |> linear[H] |> sigmoid // how much is overwritten
        + let beta[H] = 2 * sigmoid(linear[H](x)) // how much is overwritten
    ";
    read_before: read::MoveRead, DELTA, "read after", 1 => r"
        o is read before the update of S
        + emit o = sum[K](q * S)
        - emit o = sum[K](q * S)
    ";
    change_query: read::ChangeQuery, DELTA, "query", 1 => r"
        S is read with k instead of q
        - let q[H, K] = x |> linear[H, K] |> conv(width = 4) |> silu |> l2norm[K]
        - emit o = sum[K](q * S)
        + emit o = sum[K](k * S)
    ";
    add_skip: read::ChangeSkip, GATED, "read", 1 => r"
        o + sum[K](q * skip * k) * v instead of o
        + param skip[H, K] = ones
        + let o_skip = o + sum[K](q * skip * k) * v
        - output rmsnorm[V](o) * gate |> linear[H, V -> D]
        + output rmsnorm[V](o_skip) * gate |> linear[H, V -> D]
    ";
    change_conv: conv::ChangeConv, DELTA, "convolution", 1 => r"
        conv of q: dropped
        - let q[H, K] = x |> linear[H, K] |> conv(width = 4) |> silu |> l2norm[K]
        + let q[H, K] = x |> linear[H, K] |> silu |> l2norm[K]
    ";
    add_conv: conv::ChangeConv, GATED, "no convolution", 1 => r"
        q: conv(width = 4) behind its map
        - let q[H, K] = x |> linear[H, K]
        + let q[H, K] = x |> linear[H, K] |> conv(width = 4)
    ";
    shift_tokens: conv::ShiftTokens, GATED, "map of the input", 1 => r"
        q sees token_shift[D] of the input
        - let q[H, K] = x |> linear[H, K]
        + let q[H, K] = x |> token_shift[D] |> linear[H, K]
    ";
    swap_norm: norm::ChangeNorm, GATED, "norm", 1 => r"
        rmsnorm of the output dropped
        - output rmsnorm[V](o) * gate |> linear[H, V -> D]
        + output o * gate |> linear[H, V -> D]
    ";
    add_norm: norm::ChangeNorm, GATED, "no norm", 1 => r"
        q gets l2norm[K]
        - let q[H, K] = x |> linear[H, K]
        + let q[H, K] = x |> linear[H, K] |> l2norm[K]
    ";
    add_output_gate: gate::ChangeOutputGate, DELTA, "no output gate", 1 => r"
        the output gets a gate: x |> linear[R] |> linear[R -> H, V](bias = fan) |> silu
        - block Delta[D](H = 2, K = D / H, V = D / H) {
        + block Delta[D](H = 2, K = D / H, V = D / H, R = 8) {
        - output rmsnorm[V](o) |> linear[H, V -> D]
        + let gate[H, V] = x |> linear[R] |> linear[R -> H, V](bias = fan) |> silu
        + output rmsnorm[V](o) * gate |> linear[H, V -> D]
    ";
    drop_output_gate: gate::ChangeOutputGate, GATED, "output gate", 1 => r"
        the output loses its gate gate
        - let gate = x |> linear[H, V] |> silu
        - output rmsnorm[V](o) * gate |> linear[H, V -> D]
        + output rmsnorm[V](o) |> linear[H, V -> D]
    ";
    gate_value: gate::GateValue, GATED, "value", 1 => r"
        v is gated: x |> linear[H] |> sigmoid
        - let v[H, V] = x |> linear[H, V]
        + let v_gate[H] = x |> linear[H] |> sigmoid
        + let v[H, V] = v_gate * linear[H, V](x)
    ";
    add_path: router::AddPath, ROUTER, "router", 1 => r"
        router over P: new path change = v - shift(v, 1)
        - let paths = stack[P](short, long, value = v)
        + let change = v - shift(v, 1)
        + let paths = stack[P](short, long, value = v, change)
        - let logits[H, P] = linear[F -> P](hidden, bias = P{long = 1, value = 2})
        + let logits[H, P] = linear[F -> P](hidden, bias = P{long = 1, value = 2, change = 0})
    ";
    add_router: router::AddPath, DELTA, "read without router", 1 => r"
        o and a path long = fir(v, width = 24) under a router
        - output rmsnorm[V](o) |> linear[H, V -> D]
        + let long = fir(v, width = 24)
        + let paths = stack[P](o, long)
        + let route = x |> linear[H, P](bias = P{o = 1}) |> softmax[P]
        + let mixed = sum[P](route * paths)
        + output rmsnorm[V](mixed) |> linear[H, V -> D]
    ";
    drop_path: router::DropPath, ROUTER, "path", 1 => r"
        router over P: path short dropped
        - let short = conv(v, width = 3)
        - let paths = stack[P](short, long, value = v)
        + let paths = stack[P](long, value = v)
    ";
    change_mixing: router::ChangeMixing, ROUTER, "mixing", 1 => r"
        weights over P: softmax -> softmax with a floor
        - let route = softmax[P](logits)
        + let route = soft_route[P](logits, least = 0.02)
    ";
    add_statistic: router::ChangeStatistics, ROUTER, "statistics", 1 => r"
        the router also reads var of its paths
        - let stats = stack[M](mean = mean[V](paths), size = mean[V](abs(paths)))
        + let stats = stack[M](mean = mean[V](paths), size = mean[V](abs(paths)), var = var[V](paths))
    ";
    drop_statistic: router::ChangeStatistics, ROUTER, "statistic", 1 => r"
        the router no longer reads mean
        - let stats = stack[M](mean = mean[V](paths), size = mean[V](abs(paths)))
        + let stats = stack[M](size = mean[V](abs(paths)))
    ";
    add_window: attend::ChangeWindow, ATTEND, "no window", 1 => r"
        attention over the last 4 tokens
        + where lag < 4
    ";
    add_sink: attend::ChangeSink, ATTEND, "no sink", 1 => r"
        attention gets the sink rest
        + param rest[H] = zeros
        + sink rest
    ";
    add_distance: attend::AddDistance, ATTEND, "score", 1 => r"
        the attention score gets a penalty on distance (ALiBi)
        - score sum[K](q * past(k)) * K ^ -0.5
        + score sum[K](q * past(k)) * K ^ -0.5 - alibi[H] * lag
    ";
    drop_rotary: attend::ChangeRotary, ATTEND, "rotary", 1 => r"
        q and k lose rotary positions
        - let q[H, K] = x |> linear[H, K] |> rope[K]
        - let k[H, K] = x |> linear[H, K] |> rope[K]
        + let q[H, K] = x |> linear[H, K]
        + let k[H, K] = x |> linear[H, K]
    ";
    change_weighing: attend::ChangeWeighing, ATTEND, "softmax weights", 1 => r"
        attention weighs each pair by a sigmoid
        - score sum[K](q * past(k)) * K ^ -0.5
        + weight sigmoid(sum[K](q * past(k)) * K ^ -0.5 - 4)
    ";
    change_init: init::ChangeInit, GATED, "init of a map", 1 => r"
        init of the map to q: fan -> orthogonal(1)
        - let q[H, K] = x |> linear[H, K]
        + let q[H, K] = x |> linear[H, K](init = orthogonal(1))
    ";
    change_bias: init::ChangeBias, GATED, "bias", 1 => r"
        bias of the map to a: 4 -> zeros
        - let a[H, K] = x |> linear[H, K](bias = 4) |> sigmoid
        + let a[H, K] = x |> linear[H, K](bias = zeros) |> sigmoid
    ";
    swap_value: swap::SwapValue, GATED, "use of a value", 1 => r"
        S uses q instead of k
        - let k[H, K] = x |> linear[H, K]
        - S = a * S + k * v
        + S = a * S + q * v
    ";
    graft_value: graft::GraftValue, DELTA, "value", 1 => r"
        q is made as in Gated: x |> linear[H, K]
        - let q[H, K] = x |> linear[H, K] |> conv(width = 4) |> silu |> l2norm[K]
        + let q[H, K] = x |> linear[H, K]
    ";
    graft_memory: graft::GraftMemory, DELTA, "memory", 1 => r"
        the memory of Gated instead of the one read as o
        - let beta[H] = x |> linear[H] |> sigmoid // how much is overwritten
        + let a[H, K] = x |> linear[H, K](bias = 4) |> sigmoid
        - state S[H, K, V] = 0
        - S = S + beta * k * (v - sum[K](k * S))
        - emit o = sum[K](q * S)
        + state S2[H, K, V] = 0
        + S2 = a * S2 + k * v
        + emit o2 = sum[K](q * S2)
        - output rmsnorm[V](o) |> linear[H, V -> D]
        + output rmsnorm[V](o2) |> linear[H, V -> D]
    ";
    change_size: size::ChangeSize, GATED, "size", 1 => r"
        K: D / H -> 2 * D / H
        - block Gated[D](H = 2, K = D / H, V = D / H) {
        + block Gated[D](H = 2, K = 2 * D / H, V = D / H) {
    ";
    change_number: number::ChangeNumber, GATED, "size", 1 => r"
        default of H: 2 -> 4
        - block Gated[D](H = 2, K = D / H, V = D / H) {
        + block Gated[D](H = 4, K = D / H, V = D / H) {
    ";
}

#[test]
fn variations_name_moves_and_sites_that_there_are() {
    let (all, parents) = (all(), parents());
    for variation in VARIATIONS {
        let by = all.iter().find(|m| m.name() == variation.action).expect("a move");
        assert!(parents.iter().any(|(_, p)| by.sites(p).iter().any(|s| s.kind == variation.site)), "{variation:?}");
    }
}
