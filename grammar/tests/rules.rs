//! One test for each lexical and grammatical rule of the language.

use archc_grammar::ast::*;
use archc_grammar::{KEYWORDS, parse, parse_expr, parse_stmt};

fn is_expr(text: &str) -> bool {
    parse_expr(text).is_ok()
}

fn is_stmt(text: &str) -> bool {
    parse_stmt(text).is_ok()
}

fn is_file(text: &str) -> bool {
    parse(text).errors.is_empty()
}

fn expr(text: &str) -> Expr {
    parse_expr(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

fn stmt(text: &str) -> StmtKind {
    parse_stmt(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).kind
}

fn file(text: &str) -> File {
    let parsed = parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed.file
}

/// The statements of the first item's body.
fn body(text: &str) -> Vec<Stmt> {
    match file(text).items.swap_remove(0).kind {
        ItemKind::Fn(Callable { body: Body::Block(body), .. })
        | ItemKind::Block(Callable { body: Body::Block(body), .. })
        | ItemKind::Model(Callable { body: Body::Block(body), .. }) => body.stmts,
        other => panic!("no body: {other:?}"),
    }
}

/// How an expression groups: every operator with parentheses of its own, written ones as `<>`.
fn shape(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Number { text, .. } => text.clone(),
        ExprKind::Name(name) => name.clone(),
        ExprKind::Paren(a) => format!("<{}>", shape(a)),
        ExprKind::Unary(UnaryOp::Neg, a) => format!("(-{})", shape(a)),
        ExprKind::Unary(UnaryOp::Not, a) => format!("(not {})", shape(a)),
        ExprKind::Binary(op, a, b) => format!("({} {} {})", shape(a), op.symbol(), shape(b)),
        ExprKind::Pipe(a, b) => format!("({} |> {})", shape(a), shape(b)),
        ExprKind::Pick { base, axis, at } => format!("{}[{}={}]", shape(base), axis.name, shape(at)),
        ExprKind::Field(a, name) => format!("{}.{}", shape(a), name.name),
        ExprKind::Call(_) | ExprKind::Labels { .. } | ExprKind::AxisList(_) => e.to_string(),
        ExprKind::Error => panic!("an error node"),
    }
}

#[track_caller]
fn groups(text: &str, expected: &str) {
    assert_eq!(shape(&expr(text)), expected, "{text}");
}

// ---- lexical rules

#[test]
fn newlines_mean_nothing_and_semicolons_may_separate() {
    let spread = body("block\nX\n[D]\n{\ninput\nx[D]\nlet\na\n=\nb\n+\nc\noutput\na\n}".replace("X\n", "X").as_str());
    let packed = body("block X[D] { input x[D] let a = b + c output a }");
    let separated = body("block X[D] {; input x[D];; let a = b + c; output a; };");
    for stmts in [spread, packed, separated] {
        assert_eq!(
            stmts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["input x[D]", "let a = b + c", "output a"]
        );
    }
    assert!(is_file("fn f(x) = x;\r\nfn g(x) = x\r\n"));
}

#[test]
fn a_keyword_is_a_whole_word() {
    assert!(matches!(stmt("letter = 3"), StmtKind::Assign { targets, .. } if targets[0].name == "letter"));
    assert!(!is_stmt("letx = 3 y"));
    for keyword in KEYWORDS {
        assert!(!is_expr(keyword), "{keyword} is reserved");
        assert!(!is_stmt(&format!("let {keyword} = 1")), "{keyword} is reserved");
        assert!(is_expr(&format!("{keyword}_ + _{keyword} + {keyword}2 + x{keyword}")), "{keyword} is a whole word");
    }
    assert_eq!(KEYWORDS.len(), 25);
    groups("not_a and nota", "(not_a and nota)");
}

#[test]
fn words_of_attend_are_keywords_only_at_the_start_of_its_statements() {
    let stmts = body(
        "fn f(x) { attend { where where < 3 score score weight weight sink sink let score = sink emit o = weight } }",
    );
    let StmtKind::Attend(inner) = &stmts[0].kind else { panic!("{stmts:?}") };
    let kinds: Vec<String> = inner.stmts.iter().map(ToString::to_string).collect();
    assert_eq!(
        kinds,
        ["where where < 3", "score score", "weight weight", "sink sink", "let score = sink", "emit o = weight"]
    );
    assert!(is_file("fn f(x) { param weight = 1 where = weight score = 2 sink = 3 return weight * sink }"));
    assert!(!is_file("fn f(x) { attend { weight = 3 } }"));
    assert!(!is_file("fn f(x) { attend { if a { score x } } }"));
}

#[test]
fn parts_of_an_application_touch() {
    for good in [
        "f",
        "f[A]",
        "f(a)",
        "f()",
        "f[A]()",
        "f[A](a)",
        "f[A -> B](a, b = 1)",
        "P{a = 1}",
        "x[P = a]",
        "f[ A ]( a )",
        "t.name",
    ] {
        assert!(is_expr(good), "{good}");
    }
    for bad in ["f [A]", "f (a)", "f[A] (a)", "P {a = 1}", "x [P = a]", "f(a)(b)", "f[A][B]", "f\n(a)"] {
        assert!(!is_expr(bad), "{bad}");
    }
    // What does not touch starts a new statement.
    let stmts = body("fn f(x) { let a = g\n(b, c) = (d, e) return a }");
    assert_eq!(stmts.len(), 3);
}

#[test]
fn the_brace_of_a_body_follows_white_space() {
    assert!(is_file("fn f(x) { if x { y = 1 } else { y = 2 } return y }"));
    assert!(is_file("fn f(x) { if x// why\n{ y = 1 } return y }"));
    assert!(!is_file("fn f(x){ return x }"));
    assert!(!is_file("fn f(x) { if x{ y = 1 } return y }"));
    assert!(!is_file("fn f(x) { scan{ state s = 0 } }"));
}

#[test]
fn numbers_have_digits_on_both_sides_of_the_point() {
    for (text, value) in
        [("0", 0.0), ("12", 12.0), ("0.5", 0.5), ("1e-5", 1e-5), ("1E3", 1e3), ("2.5e+3", 2500.0), ("007", 7.0)]
    {
        assert_eq!(expr(text).kind, ExprKind::Number { value, text: text.to_owned() });
    }
    for bad in ["1.", ".5", "1.e5", "1_000", "0x10", "1e", "1e+", "3x", "1.5.2", "1.x", "1e999"] {
        assert!(!is_expr(bad), "{bad}");
    }
    let range = |text| Stmt::new(stmt(text)).to_string();
    assert_eq!(range("for i in 0..4 { x = i }"), range("for i in 0 .. 4 { x = i }"));
}

#[test]
fn comments_may_stand_anywhere() {
    let text = "// a\nfn // b\nf(x) // c\n= // d\nx // e\n+ // f\n1 // g\n// h";
    let parsed = file(text);
    let item = &parsed.items[0];
    assert_eq!(item.trivia.leading, ["// a", "// b", "// c", "// d", "// e", "// f"]);
    assert_eq!(item.trivia.trailing.as_deref(), Some("// g"));
    assert_eq!(parsed.dangling, ["// h"]);
    // Not in a text in quotes.
    let cited = file("#[cite(\"https://arxiv.org\")] fn f = 1");
    assert_eq!(cited.items[0].attributes[0].text("cite"), Some("https://arxiv.org"));
}

#[test]
fn comments_find_their_place() {
    let text = "block X[D] { // opening\n    // first\n\n    input x[D] // trailing\n\n    // own line\n    if x { y = 1 } // if\n    \
                else { // else\n        y = f(a, // inside\n            b) // end\n        // last of else\n    }\n    // last\n}";
    let stmts = body(text);
    assert_eq!(stmts[0].trivia.leading, ["// first", ""]);
    assert_eq!(stmts[0].trivia.trailing.as_deref(), Some("// trailing"));
    assert!(!stmts[0].trivia.blank_before && stmts[1].trivia.blank_before);
    let StmtKind::If { arms, otherwise: Some(otherwise) } = &stmts[1].kind else { panic!("{stmts:?}") };
    assert_eq!(arms[0].1.dangling, ["// if"]);
    assert_eq!(otherwise.opening.as_deref(), Some("// else"));
    assert_eq!(otherwise.stmts[0].trivia.leading, ["// inside"]);
    assert_eq!(otherwise.stmts[0].trivia.trailing.as_deref(), Some("// end"));
    assert_eq!(otherwise.dangling, ["// last of else"]);
    let ItemKind::Block(Callable { body: Body::Block(block), .. }) = &file(text).items[0].kind else { panic!() };
    assert_eq!(block.opening.as_deref(), Some("// opening"));
    assert_eq!(block.dangling, ["// last"]);
}

#[test]
fn docs_and_attributes_belong_to_items() {
    let parsed =
        file("/// One.\n///two\n///\n#[cite(\"a\")]\n#[cite(\"b\")]\nfn f(x) = x\n//// not a doc\nfn g(x) = x");
    assert_eq!(parsed.items[0].docs, ["One.", "two", ""]);
    let cites: Vec<_> =
        parsed.items[0].attributes.iter().map(|a| (a.name.name.as_str(), a.text("cite").unwrap())).collect();
    assert_eq!(cites, [("cite", "a"), ("cite", "b")]);
    assert_eq!(parsed.items[1].docs, Vec::<String>::new());
    assert_eq!(parsed.items[1].trivia.leading, ["//// not a doc"]);
}

// ---- items

#[test]
fn imports() {
    let ItemKind::Use { path, names } = &file("use std::mixers::{A, B,}").items[0].kind else { panic!() };
    assert_eq!(path.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["std", "mixers"]);
    assert_eq!(names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    assert!(is_file("use self::file::{names}"));
    for bad in ["use std", "use std::{}", "use {A}", "use std::mixers::A", "use std::mixers"] {
        assert!(!is_file(bad), "{bad}");
    }
}

#[test]
fn functions() {
    for good in [
        "fn pi2 = 2 * pi",
        "fn alibi[H] = index[H]",
        "fn f(x) = x",
        "fn f() = 1",
        "fn f(x, per = [], b = [H, x..], c = none, d = 2 * x) = x",
        "fn f[IN.. -> OUT..](x) { return x }",
        "fn f[E -> K + R](x) { let (a, b) = cut[E -> K + R](x) return (a, b) }",
        "fn f(x,) { return x }",
    ] {
        assert!(is_file(good), "{good}");
    }
    for bad in ["fn f(x)", "fn (x) = x", "fn f(x) = (x, x)", "fn f(1) = 1", "fn f(x) = ", "fn f x = x"] {
        assert!(!is_file(bad), "{bad}");
    }
}

#[test]
fn blocks_and_models() {
    for good in [
        "block X[D] { input x[D] output x }",
        "block X[D](H = 4) { }",
        "block X[D]() { }",
        "model X[D](N = 12, every = 4) { output h }",
        "block X { }",
    ] {
        assert!(is_file(good), "{good}");
    }
    for bad in ["block X[D] = x", "model X", "block { }"] {
        assert!(!is_file(bad), "{bad}");
    }
}

// ---- statements

#[test]
fn every_statement() {
    for good in [
        "input x[D]",
        "input x[]",
        "axis J = K / 2",
        "let q[H, K] = x",
        "let q = x",
        "let (a, b) = f(x)",
        "let (a, b) = (c, d)",
        "let (a, b, c,) = f(x)",
        "mut h[D] = x",
        "param A_log[H] = log(uniform(1, 16))",
        "param temp = 1",
        "h = h + 1",
        "(a, b) = (b, a)",
        "(a, b) = f(x)",
        "scan { state S[H, K] = 0 state n = 0 emit o = S }",
        "attend { where lag < 512 score q * past(k) sink a emit o = past(v) }",
        "for i in 0..N { x = i }",
        "for i in a + 1..2 * b - 1 { }",
        "if a { }",
        "if a == 1 { x = 1 } else if b and c { x = 2 } else if d { } else { x = 3 }",
        "prefix meta[M, D] = normal(0.02)",
        "shared A = Block[D](H = 2)",
        "shared A = f",
        "loss 0.1 * x",
        "output x |> f",
        "output name = x",
        "return x",
        "return (x, y)",
        "return (x + y) * z",
        "where a",
        "score a",
        "weight a",
        "sink sink",
    ] {
        assert!(is_stmt(good), "{good}");
        assert_eq!(parse_stmt(good).map(|s| s.kind == StmtKind::Error), Ok(false));
    }
    for bad in [
        "input x",
        "input x[D] = 1",
        "axis J",
        "axis J[K] = 2",
        "let (a) = f(x)",
        "let a = (c, d)",
        "let a[H]",
        "mut (a, b) = f(x)",
        "x = (a, b)",
        "emit o[H] = a",
        "for i in N { }",
        "for i in 0..N x",
        "for (i, j) in 0..N { }",
        "if { }",
        "else { }",
        "if a { } else b { }",
        "shared A = 1 + 2",
        "shared A[D] = B",
        "prefix m = 1",
        "return",
        "output",
        "x",
        "f(x)",
        "x[H] = 1",
        "use a::{b}",
    ] {
        assert!(!is_stmt(bad), "{bad}");
    }
}

#[test]
fn an_output_may_have_a_name() {
    assert!(matches!(stmt("output a = b"), StmtKind::Output { name: Some(name), .. } if name.name == "a"));
    assert!(matches!(stmt("output a == b"), StmtKind::Output { name: None, .. }));
    assert_eq!(body("block X { output a\n b = c }").len(), 2);
}

#[test]
fn tuples() {
    assert!(matches!(stmt("return (a, b)"), StmtKind::Return(values) if values.len() == 2));
    assert!(matches!(stmt("return (a)"), StmtKind::Return(values) if values.len() == 1));
    assert!(
        matches!(stmt("(a, b) = (c, d)"), StmtKind::Assign { targets, values } if targets.len() == 2 && values.len() == 2)
    );
    assert!(
        matches!(stmt("(a, b) = f(c)"), StmtKind::Assign { targets, values } if targets.len() == 2 && values.len() == 1)
    );
    assert!(matches!(stmt("(a, b) = (c + d) * e"), StmtKind::Assign { values, .. } if values.len() == 1));
}

// ---- axis lists

#[test]
fn axis_lists() {
    let brackets = |text: &str| match expr(text).kind {
        ExprKind::Call(call) => call.brackets.map(|b| (b.left.len(), b.right.map(|right| right.len()))),
        other => panic!("{other:?}"),
    };
    assert_eq!(brackets("f[]"), Some((0, None)));
    assert_eq!(brackets("f[A]"), Some((1, None)));
    assert_eq!(brackets("f[A, x.., B]"), Some((3, None)));
    assert_eq!(brackets("f[W -> ]"), Some((1, Some(0))));
    assert_eq!(brackets("f[->D]"), Some((0, Some(1))));
    assert_eq!(brackets("f[H, V -> D]"), Some((2, Some(1))));
    assert_eq!(brackets("f[U + J + J -> E](a, b)"), Some((1, Some(1))));
    for bad in ["f[A,]", "f[A B]", "f[A -> B -> C]", "f[1]", "f[A *  B]", "f[A...]", "f[A = ]", "f[A = a, B = b]"] {
        assert!(!is_expr(bad), "{bad}");
    }
}

#[test]
fn an_axis_list_is_the_value_of_an_option_only() {
    assert!(is_expr("f(x, per = [H, x..])"));
    assert!(is_expr("f(x, per = [])"));
    for bad in ["[H]", "f([H])", "1 + [H]", "f(per = [H] + 1)", "P{a = [H]}"] {
        assert!(!is_expr(bad), "{bad}");
    }
}

// ---- expressions

#[test]
fn precedence() {
    groups("-x ^ 2", "(-(x ^ 2))");
    groups("a ^ b ^ c", "(a ^ (b ^ c))");
    groups("2 ^ -0.5", "(2 ^ (-0.5))");
    groups("2 ^ -a ^ b", "(2 ^ (-(a ^ b)))");
    groups("a ^ -b * c", "((a ^ (-b)) * c)");
    groups("-a * b", "((-a) * b)");
    groups("a * -b", "(a * (-b))");
    groups("a - -b", "(a - (-b))");
    groups("--a", "(-(-a))");
    groups("a - b - c", "((a - b) - c)");
    groups("a / b * c % d", "(((a / b) * c) % d)");
    groups("a + b * c ^ d", "(a + (b * (c ^ d)))");
    groups("a + b < c * d", "((a + b) < (c * d))");
    groups("not a == b", "(not (a == b))");
    groups("not not a", "(not (not a))");
    groups("not a and not b or c", "(((not a) and (not b)) or c)");
    groups("a or b and c", "(a or (b and c))");
    groups("a + b |> f |> g[H]", "(((a + b) |> f) |> g[H])");
    groups("a or b |> f", "((a or b) |> f)");
    groups("(a + b) * c", "(<(a + b)> * c)");
    groups("((a))", "<<a>>");
    groups("-1 ^ 2", "(-(1 ^ 2))");
    groups("f(a)[P = b].c", "f(a)[P=b].c");
    groups("x.y ^ 2", "(x.y ^ 2)");
}

#[test]
fn what_operators_do_not_take() {
    for bad in [
        "a < b < c",
        "a == b == c",
        "a < b != c",
        "a and",
        "not",
        "a not b",
        "a == not b",
        "a + not b",
        "- not a",
        "+a",
        "a + + b",
        "a ^ + b",
        "a |> 1",
        "a |> (f)",
        "a |> -f",
        "a |> f + 1",
        "a |> f and b",
        "a |> x[P = b]",
        "a |> P{b = 1}",
        "a |> t.f",
        "|> f",
        "1[P = a]",
        "1.a",
    ] {
        assert!(!is_expr(bad), "{bad}");
    }
}

#[test]
fn calls_labels_and_selections() {
    let ExprKind::Call(call) = expr("f[A](x, b = 1, c = [H],)").kind else { panic!() };
    let names: Vec<_> = call.args.iter().flatten().map(|a| a.name.as_ref().map(|n| n.name.as_str())).collect();
    assert_eq!(names, [None, Some("b"), Some("c")]);
    assert!(is_expr("f(a == b, c = d == e)"));
    let ExprKind::Labels { axis, entries } = expr("P{short = -1, value = 3,}").kind else { panic!() };
    assert_eq!((axis.name.as_str(), entries.len()), ("P", 2));
    for good in [
        "x[P = short]",
        "x[N = 0]",
        "x[N = i + 1]",
        "(x + y)[N = 0]",
        "x[P = a][N = 0]",
        "x.first[N = 0]",
        "P{a = 1}[P = a]",
    ] {
        assert!(is_expr(good), "{good}");
    }
    for bad in ["P{}", "P{a}", "x[0]", "x[P == a]", "x.1", "x.", "x..y", "f(,)", "f(a,,b)", "f(a b)"] {
        assert!(!is_expr(bad), "{bad}");
    }
}

#[test]
fn spans_are_exact() {
    let text = "block X[D] {\n    let a[H] = f( x ) + 2 * b // c\n    scan { s = 1 } \n}\n";
    let stmts = body(text);
    let at = |span: archc_grammar::Span| &text[span.start as usize..span.end as usize];
    assert_eq!(at(stmts[0].span), "let a[H] = f( x ) + 2 * b");
    assert_eq!(at(stmts[1].span), "scan { s = 1 }");
    let StmtKind::Let { pattern: Pattern::Name { name, axes }, values } = &stmts[0].kind else { panic!() };
    let [value] = &values[..] else { panic!() };
    assert_eq!((at(name.span), axes.as_ref().map(|b| at(b.span))), ("a", Some("[H]")));
    assert_eq!(at(value.span), "f( x ) + 2 * b");
    let ExprKind::Binary(BinaryOp::Add, left, right) = &value.kind else { panic!() };
    assert_eq!((at(left.span), at(right.span)), ("f( x )", "2 * b"));
    let ItemKind::Block(Callable { body: Body::Block(block), .. }) = &file(text).items[0].kind else { panic!() };
    assert_eq!(at(block.span), text[11..].trim_end());
    assert_eq!(at(file("\u{FEFF}  fn f(x) = x  \n").items[0].span).len(), 11);
}
