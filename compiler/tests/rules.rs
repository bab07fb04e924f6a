//! The rules of the language, each with a program that keeps it and one that breaks it.

use archc_compiler::graph::{Graph, print};
use archc_compiler::source::SourceMap;
use archc_compiler::{Compilation, Options, Sizes, compile};

fn run(text: &str, options: &Options) -> (Compilation, String) {
    let mut sources = SourceMap::new();
    let file = sources.add("test.arch", text);
    let result = compile(&sources, file, options);
    let shown = result.diagnostics.iter().map(|d| archc_compiler::diag::render(d, &sources, false)).collect();
    (result, shown)
}

/// Wraps statements into a block over [D = 8] with H = 2, K = 4, V = 4.
fn block(body: &str) -> String {
    format!("block B[D](H = 2, K = 4, V = 4) {{ input x[D]\n let _sizes = H + K + V\n {body} }}")
}

fn options() -> Options {
    let sizes = Sizes { set: [("D".to_string(), 8.0)].into(), ..Sizes::default() };
    Options { block: None, sizes }
}

fn graph(body: &str) -> Graph {
    let (result, shown) = run(&block(body), &options());
    assert!(!result.failed(), "{body}\n{shown}");
    result.graph.unwrap()
}

/// The first error's code.
fn code(body: &str) -> String {
    let (result, shown) = run(&block(body), &options());
    let error = result.diagnostics.iter().find(|d| d.is_error());
    error.unwrap_or_else(|| panic!("no error in {body}\n{shown}")).code.to_string()
}

fn paths(graph: &Graph) -> Vec<String> {
    graph.params.iter().map(|p| p.path.clone()).collect()
}

fn output_axes(graph: &Graph) -> Vec<String> {
    graph.outputs[0].axes.iter().map(|a| graph.axis(*a).name.clone()).collect()
}

const QKV: &str = "let q[H, K] = linear[H, K](x)
    let k[H, K] = linear[H, K](x)
    let v[H, V] = linear[H, V](x)\n";

#[test]
fn only_products_form_outer_products() {
    graph(&format!("{QKV} let o = k * v; output linear[H, K, V -> D](o + q * v)"));
    for wrong in ["k + v", "max(k, v)", "select(k > 0, k, v)", "k < v", "sum[V](stack[P](k, v))"] {
        assert_eq!(
            code(&format!("{QKV} let o = ({wrong}) + 0 * q * v; output linear[H, K, V -> D](o)")),
            "E0201",
            "{wrong}"
        );
    }
}

#[test]
fn axes_are_nominal_and_never_twice() {
    // K and V have the same size and never unify.
    assert_eq!(code(&format!("{QKV} output linear[H, K -> D](q * k + v)")), "E0201");
    graph(&format!("{QKV} output linear[H, V -> D](rename[K -> V](q) + v)"));
    assert_eq!(code(&format!("{QKV} output sum[H, V](rename[K -> V](q * v)) + x")), "E0209");
}

#[test]
fn declared_axes_are_checked_never_coerced() {
    assert_eq!(code("let y[H] = x; output x + sum[H](y)"), "E0212");
    assert_eq!(code("let y[D, H] = x; output x + sum[H](y)"), "E0212");
    graph("let y[D, H] = expand[H](x); output sum[H](y)");
}

#[test]
fn sizes_are_exact_integers() {
    assert_eq!(code("axis J = D / 3; output sum[J](linear[J](x)) + x"), "E0205");
    let g = graph("axis J = floor(D / 3); output sum[J](linear[J](x)) + x");
    assert!(g.axes.iter().any(|a| a.name == "J" && a.size == 2));
    let g = graph("axis J = min(D, 2 ^ 2 + 7 % 4); output sum[J](linear[J](x)) + x");
    assert!(g.axes.iter().any(|a| a.name == "J" && a.size == 7));
    assert_eq!(code("axis J = D - 8; output sum[J](linear[J](x)) + x"), "E0206");
    assert_eq!(code("axis J = sum[D](x); output sum[J](linear[J](x)) + x"), "E0205");
}

#[test]
fn an_axis_name_in_an_expression_is_its_size_and_division_is_real() {
    let text = print(&graph("output x * (K ^ -0.5) + x / 3 * (D / 3)"));
    assert!(text.contains("const 0.5") && text.contains(&format!("const {}", 8.0 / 3.0)), "{text}");
}

#[test]
fn linear_contracts_exactly_in() {
    let g = graph(&format!("{QKV} output linear[H, V -> D](v)"));
    assert_eq!(g.param_shape(archc_compiler::graph::ParamId(3)), [8, 2, 4]);
    // A forgotten axis is an error: the output would keep H.
    assert_eq!(code(&format!("{QKV} output linear[V -> D](v)")), "E0212");
    // Inputs with several axes need IN.
    assert_eq!(code(&format!("{QKV} output linear[D](v)")), "E0211");
    // Every input has an axis of IN; no kept axis is in OUT.
    assert_eq!(code(&format!("{QKV} output linear[V -> D](v, k)")), "E0211");
    assert_eq!(code(&format!("{QKV} output linear[V -> H](v) * x")), "E0211");
    // An axis may be in IN and OUT: its weight has it twice.
    let g = graph("output linear[D -> D](x)");
    assert_eq!(g.param_shape(archc_compiler::graph::ParamId(0)), [8, 8]);
    // OUT may be empty.
    graph("output x * linear[D -> ](x)");
}

#[test]
fn several_inputs_have_a_weight_each_and_per_has_its_own() {
    let g = graph(&format!(
        "{QKV} let y[H, V] = linear[D, K -> V](x, k, per = [H], bias = 0); output linear[H, V -> D](y + v + sum[K](q))"
    ));
    let shapes: Vec<(String, Vec<usize>)> = (0..g.params.len())
        .map(|i| (g.params[i].path.clone(), g.param_shape(archc_compiler::graph::ParamId(i as u32))))
        .collect();
    assert!(shapes.contains(&("y.linear.weight_0".into(), vec![2, 4, 8])), "{shapes:?}");
    assert!(shapes.contains(&("y.linear.weight_1".into(), vec![2, 4, 4])));
    assert!(shapes.contains(&("y.linear.bias".into(), vec![2, 4])));
    assert_eq!(code("output linear[D -> D](x, per = [H])"), "E0211");
}

#[test]
fn paths_are_instance_binding_op_numbered_in_evaluation_order() {
    let g = graph(
        "let a = linear[D -> D](linear[D -> D](x)) |> linear[D -> D]; output swiglu[D](rmsnorm[D](a)) |> rmsnorm[D]",
    );
    assert_eq!(
        paths(&g),
        [
            "a.linear.weight",
            "a.linear_2.weight",
            "a.linear_3.weight",
            "output.rmsnorm.weight",
            "output.swiglu.gate.linear.weight",
            "output.swiglu.up.linear.weight",
            "output.swiglu.linear.weight",
            "output.rmsnorm_2.weight"
        ]
    );
    // A pipe and its call form agree.
    let pipe = graph("output x |> linear[D -> D] |> rmsnorm[D]");
    let call = graph("output rmsnorm[D](linear[D -> D](x))");
    assert_eq!(paths(&pipe), paths(&call));
}

#[test]
fn loops_follow_the_binding_and_names_pin() {
    let g = graph(
        "mut h = x; for i in 0..2 { h = h + linear[D -> D](rmsnorm[D](h)); h = h + i * rmsnorm[D](h) } output linear[D -> D](h, name = up)",
    );
    assert_eq!(
        paths(&g),
        [
            "h.0.rmsnorm.weight",
            "h.0.linear.weight",
            "h.0.rmsnorm_2.weight",
            "h.1.rmsnorm.weight",
            "h.1.linear.weight",
            "h.1.rmsnorm_2.weight",
            "output.up.weight"
        ]
    );
}

#[test]
fn the_untaken_branch_has_no_params() {
    let g = graph(
        "mut h = x; if K > 8 { h = linear[D -> D](h) } else if K == 4 { h = rmsnorm[D](h) } else { h = h } output h + 1",
    );
    assert_eq!(paths(&g), ["h.rmsnorm.weight"]);
}

#[test]
fn shared_instances_share_weights_not_memory() {
    let g = graph("shared A = rmsnorm[D]; shared R = lora[D -> D](R = 2); output R(A(x)) + R(A(2 * x))");
    assert_eq!(paths(&g), ["A.weight", "R.linear.weight", "R.linear_2.weight"]);
    let (result, shown) = run(
        "block M[D](H = 2, V = 4) { input x[D]\n let v[H, V] = linear[H, V](x)\n scan { state s[H, V] = 0; s = s + v; emit y = s } output linear[H, V -> D](y) }
         model T[D] { let e = embed[D](tokens); shared A = M[D](H = 2); output head(A(A(e)), tie = e) }",
        &Options { block: Some("T".into()), ..options() },
    );
    assert!(!result.failed(), "{shown}");
    let g = result.graph.unwrap();
    assert_eq!(paths(&g), ["e.embed.weight", "A.v.linear.weight", "A.output.linear.weight"]);
    assert_eq!(print(&g).matches(" = scan ").count(), 2);
}

#[test]
fn state_free_expressions_of_a_scan_land_outside() {
    let g = graph(&format!(
        "{QKV} scan {{ state S[H, K, V] = 0; S = sigmoid(k) * S + silu(k) * v; emit o = sum[K](q * S) }} output linear[H, V -> D](o)"
    ));
    let text = print(&g);
    let body: Vec<&str> = text.lines().filter(|l| l.starts_with("    ")).collect();
    assert!(!body.iter().any(|l| l.contains("sigmoid") || l.contains("silu")), "{text}");
}

#[test]
fn scans_keep_their_rules() {
    let scan = |body: &str| format!("{QKV} scan {{ {body} }} output linear[H, V -> D](o) + 0 * sum[H, K](q * k)");
    graph(&scan("state S[H, V] = 0; S = S + v; emit o = S"));
    // Simultaneous assignment reads the old values.
    graph(&scan("state a[H, V] = 0; state b[H, V] = 1; (a, b) = (b + v, a); emit o = a"));
    assert_eq!(code(&scan("state S[H, V] = v; S = S + v; emit o = S")), "E0402");
    assert_eq!(code(&scan("state S[H, V] = 0; S = S + k * v; emit o = S")), "E0404");
    assert_eq!(code(&scan("state S[H, V] = 0; S = conv(S, width = 4) + v; emit o = S")), "E0401");
    assert_eq!(code(&scan("state S[H, V] = 0; S = S + v; for i in 0..2 { emit o = S * i }")), "E0303");
    assert_eq!(
        code(&scan("state S[H, V] = 0; emit o = S; scan { state T[H, V] = 0; T = T + v; emit p = T }")),
        "E0303"
    );
    assert_eq!(code(&scan("let o2 = v; emit o = o2")), "E0403");
    // A linear on a state is allowed: an RNN.
    graph(&scan("state S[H, V] = 0; S = tanh(linear[V -> V](S) + v); emit o = S"));
    // A learned first value.
    graph(&format!(
        "{QKV} param s0[V] = normal(0.1); scan {{ state S[H, V] = s0; S = S + v; emit o = S }} output linear[H, V -> D](o) + 0 * sum[H, K](q * k)"
    ));
}

#[test]
fn attends_keep_their_rules() {
    let attend = |body: &str| format!("{QKV} attend {{ {body} }} output linear[H, V -> D](o)");
    let g = graph(&attend(
        "where lag < 4 and past(pos) >= 0; score sum[K](q * past(k)) * K ^ -0.5 - 0.1 * lag; sink 0; emit o = past(v)",
    ));
    assert_eq!(output_axes(&g), ["D"]);
    for (body, expected) in [
        ("score past(v)", "E0304"),
        ("emit o = past(v)", "E0304"),
        ("weight lag; sink 0; emit o = past(v)", "E0304"),
        ("score sum[K](q * past(past(k))); emit o = past(v)", "E0405"),
        ("score sum[K](q * past(k * lag)); emit o = past(v)", "E0405"),
        ("score sum[K](q * past(k)); sink sum[V](v); where k; emit o = past(v)", "E0406"),
        ("score sum[K](q * past(k)); sink sum[K](past(k)); emit o = past(v)", "E0406"),
        ("where 1 < 0; score sum[K](q * past(k)); emit o = past(v)", "E0406"),
    ] {
        assert_eq!(code(&attend(body)), expected, "{body}");
    }
    assert_eq!(code("output x + lag"), "E0405");
    // Score and emit axes form outer products.
    graph(&format!(
        "{QKV} attend {{ score sum[K](q * past(k)); emit o = past(x) }} output sum[H](o) + 0 * sum[H, V](v)"
    ));
}

#[test]
fn inits_are_recipes() {
    let g = graph(
        "param a[D] = log(uniform(1, 16)); param b[D, H] = 0.1 * normal(index[H] + 1) + 1; output x * a + sum[H](b)",
    );
    assert!(print(&g).contains("log(draw uniform(1, 16))"), "{}", print(&g));
    assert_eq!(code("param a[D] = normal(x); output x * a"), "E0502");
    assert_eq!(code("param b = 1; param a[D] = normal(b); output x * a"), "E0502");
    assert_eq!(code("param a[D] = index[H]; output x * a"), "E0503");
    assert_eq!(code("output x * normal(1)"), "E0501");
    assert_eq!(code("param a[D] = fan; output x * a"), "E0505");
    // Passed on through a fn, drawn by the parameter that takes it.
    graph("output conv(x, width = 3, init = normal(0.02), bias = fan)");
}

#[test]
fn labels_are_the_names_in_order() {
    graph(
        "let y = 2 * x; let p = stack[P](x, y, z = x + y); param w[P] = P{x = 1, z = -1}; output sum[P](w * p) + p[P = z]",
    );
    assert_eq!(code("let y = 2 * x; let p = stack[P](x, y); output p[P = z]"), "E0210");
    assert_eq!(code("let y = 2 * x; let p = stack[P](x, y); let r = stack[P](y, x); output sum[P](p * r)"), "E0210");
    assert_eq!(code("let p = stack[P](x, 2 * x); output sum[P](p)"), "E0210");
    graph("let y = 2 * x; let p = stack[P](x, y); for i in 0..2 { let _q = p[P = i] } output sum[P](p)");
    assert_eq!(code("let y = split[D -> H, K](x); output y[H = 2] + x"), "E0210");
}

#[test]
fn layout_sizes_agree() {
    graph("let y = split[D -> H, K](x); output flatten[H, K -> D](y)");
    assert_eq!(code("axis J = 3; let y = split[D -> H, J](x); output flatten[H, J -> D](y)"), "E0208");
    graph("axis A = 3; axis B = 5; let (a, b) = cut[D -> A + B](x); output cat[A + B -> D](a, b)");
    assert_eq!(code("axis A = 3; axis B = 4; let (a, b) = cut[D -> A + B](x); output cat[A + B -> D](a, b)"), "E0208");
    assert_eq!(code("output cut[D -> H + K](x)"), "E0208");
    graph("axis J = D / 2; let (a, b) = cut[D -> J + J](x); output cat[J + J -> D](b, -a)");
}

#[test]
fn fns_are_hygienic_and_checked_at_each_call() {
    let fns = |f: &str, body: &str| format!("{f}\n{}", block(body));
    let ok = |text: &str| {
        let (result, shown) = run(text, &options());
        assert!(!result.failed(), "{text}\n{shown}");
        result.graph.unwrap()
    };
    let code = |text: &str| {
        let (result, _) = run(text, &options());
        result.diagnostics.iter().find(|d| d.is_error()).map(|d| d.code).unwrap_or("none").to_string()
    };
    ok(&fns("fn f[A..](x, n = 2) = n * sum[A..](x ^ 2)", "output x * f[D](x)"));
    assert_eq!(code(&fns("fn f(x) { axis J = 2; return x * index[J] }", "output sum[D](x) * f(x)")), "E0213");
    ok(&fns("fn f[P](x, y) = stack[P](x, y)", "output sum[P](f[P](x, 2 * x))"));
    assert_eq!(code(&fns("fn f(x) = f(x)", "output f(x)")), "E0312");
    assert_eq!(code(&fns("fn f(x) = x", "output f(x, 1)")), "E0310");
    assert_eq!(code(&fns("fn f(x, width) = x", "output f(x)")), "E0310");
    // A file's own name wins over the prelude and the builtins.
    let g = ok(&fns("fn silu(x) = 3 * x", "output silu(x)"));
    assert!(print(&g).contains("const 3"));
}

#[test]
fn blocks_are_called_with_inputs_by_position_and_hyperparameters_by_name() {
    let text = |call: &str| {
        format!(
            "block Inner[D](H = 2, K = D / H, scale = 1) {{ input x[D]\n let k[H, K] = linear[H, K](x)\n output linear[H, K -> D](k) * scale }}
             block Two[D] {{ input x[D]\n output left = 2 * x\n output right = 3 * x }}
             block B[D](H = 4) {{ input x[D]\n let t = Two(x)\n output {call} + t.left * H }}"
        )
    };
    let named = |call: &str| run(&text(call), &Options { block: Some("B".into()), ..options() });
    for call in ["Inner(x)", "Inner[D](x, H = H)", "Inner(x, H = 8, scale = 0.5)"] {
        let (result, shown) = named(call);
        assert!(!result.failed(), "{call}\n{shown}");
    }
    for (call, expected) in [
        ("Inner(x, 3)", "E0310"),
        ("Inner(x, G = 3)", "E0310"),
        ("Inner(x, H = 3)", "E0205"),
        ("Inner[H](x)", "E0212"),
        ("t", "E0311"),
        ("t.middle", "E0311"),
    ] {
        let (result, shown) = named(call);
        let first = result.diagnostics.iter().find(|d| d.is_error()).map(|d| d.code);
        assert_eq!(first, Some(expected), "{call}\n{shown}");
    }
}

#[test]
fn models_embed_tokens_and_give_logits() {
    let model = |body: &str| format!("model M[D] {{ {body} }}");
    let first = |text: &str| {
        let (result, shown) = run(text, &options());
        (result.diagnostics.iter().find(|d| d.is_error()).map(|d| d.code), shown)
    };
    for body in [
        "let e = embed[D](tokens); output head(conv(e, width = 2), tie = e)",
        "output head(conv(embed[D](tokens), width = 2))",
        "prefix meta[M, D] = normal(0.02); let e = embed[D](tokens); output head(conv(e, width = 2), tie = e)",
    ] {
        let text =
            model(body).replace("model M[D]", if body.contains("M, D") { "model Q[D](M = 4)" } else { "model Q[D]" });
        let (code, shown) = first(&text);
        assert_eq!(code, None, "{body}\n{shown}");
    }
    assert_eq!(first(&model("let e = embed[D](tokens); output e")).0, Some("E0212"));
    assert_eq!(first(&model("let e = embed[D](tokens); output head(e, tie = 2 * e)")).0, Some("E0407"));
    assert_eq!(code("output embed[D](tokens)"), "E0407");
}

#[test]
fn losses_may_average_over_tokens_and_nothing_else_may() {
    graph(
        "let p = softmax[D](linear[D -> D](x)); loss 0.01 * sum[D](token_mean(p) ^ 2); output p * conv(x, width = 2)",
    );
    assert_eq!(code("output x - token_mean(x)"), "E0408");
}

#[test]
fn the_standard_stack_has_the_documented_paths() {
    let sizes = Sizes { layers: Some(2), vocab: 16, ..options().sizes };
    let (result, shown) =
        run(&block("let q = linear[D -> D](x); output conv(q, width = 2)"), &Options { sizes, ..options() });
    assert!(!result.failed(), "{shown}");
    let g = result.graph.unwrap();
    let paths = paths(&g);
    for expected in [
        "embedding.embed.weight",
        "layers.0.mixer.q.linear.weight",
        "layers.1.mixer.output.conv.linear.weight",
        "layers.1.mlp.gate.linear.weight",
        "output.norm.weight",
    ] {
        assert!(paths.iter().any(|p| p == expected), "{expected} is not in {paths:?}");
    }
    assert_eq!(g.size(g.vocab.unwrap()), 16);
}

#[test]
fn findings_in_the_library_are_shown_at_the_users_call() {
    let (result, shown) = run(&block("output rope[D](sum[D](x) * index[K])"), &options());
    let error = result.diagnostics.iter().find(|d| d.is_error()).unwrap();
    assert_eq!(error.primary.as_ref().unwrap().place.file.0 as usize, archc_compiler::stdlib::FILES.len(), "{shown}");
}

#[test]
fn one_slip_gives_one_error() {
    let (result, shown) = run(&block("let y = silou(x); let z = y + 1; output z * y"), &options());
    assert_eq!(result.diagnostics.iter().filter(|d| d.is_error()).count(), 1, "{shown}");
    let (result, shown) = run(&block("let y = x + index[H]; let z = sum[H](x); output z * y + q"), &options());
    assert_eq!(result.diagnostics.iter().filter(|d| d.is_error()).count(), 1, "{shown}");
}

#[test]
fn huge_programs_are_refused_not_built() {
    assert_eq!(code("mut h = x; for i in 0..1000000 { h = h + i } output h"), "E0313");
    assert_eq!(code("mut n = 0; for i in 0..100000000 { n = n + i } output x * n"), "E0313");
}

#[test]
fn every_code_in_use_has_a_long_text() {
    let codes = archc_compiler::codes();
    assert!(codes.windows(2).all(|w| w[0].code < w[1].code), "a code is there twice");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for (i, _) in text.match_indices("\"E0").chain(text.match_indices("\"W0")) {
                let code = &text[i + 1..i + 6];
                if text[i + 6..].starts_with('"') {
                    assert!(codes.iter().any(|c| c.code == code), "{code} of {} has no long text", path.display());
                }
            }
        }
    }
}
