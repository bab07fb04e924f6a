//! Broken texts: the code, the place and the words of their errors.

use archc_grammar::{CODES, SyntaxError, parse, parse_expr, parse_stmt};

/// A statement in a block of its own.
fn in_block(stmt: &str) -> String {
    format!("block X[D] {{\n    input x[D]\n    {stmt}\n    output x\n}}\n")
}

/// Parses statements inside a block: for each error its code and the text under it.
fn check(stmt: &str) -> Vec<(&'static str, String)> {
    check_file(&in_block(stmt))
}

fn check_file(text: &str) -> Vec<(&'static str, String)> {
    let errors = parse(text).errors;
    errors.iter().map(|e| (e.code, under(text, e).to_owned())).collect()
}

fn under<'a>(text: &'a str, error: &SyntaxError) -> &'a str {
    &text[error.span.start as usize..error.span.end as usize]
}

#[track_caller]
fn one(stmt: &str, code: &'static str, place: &str) {
    assert_eq!(check(stmt), [(code, place.to_owned())], "{stmt}");
}

#[track_caller]
fn one_item(text: &str, code: &'static str, place: &str) {
    assert_eq!(check_file(text), [(code, place.to_owned())], "{text}");
}

#[test]
fn expressions() {
    one("let a =", "E0011", "=");
    one("let a = b c", "E0010", "c");
    one("x = f(a,, b)", "E0011", ",");
    one("x = f(a b)", "E0010", "b");
    one("x = + 3", "E0011", "+");
    one("x = -", "E0011", "-");
    one("x = \"hello\"", "E0011", "\"hello\"");
    one("x = a < b < c", "E0012", "<");
    one("x = a == b != c", "E0012", "!=");
    one("x = (a < b == c)", "E0012", "==");
    one("x = ()", "E0021", ")");
    one("x = a + ()", "E0021", ")");
    one("x = (a, b)", "E0026", ",");
    one("x = f([H])", "E0011", "[");
    one("x = if a { x = b } else { x = c }", "E0030", "if");
    one("x = P{a}", "E0010", "}");
    one("x = P{}", "E0010", "}");
}

#[test]
fn operators_of_other_languages() {
    one("x = a ** b", "E0009", "**");
    one("x = a && b", "E0009", "&&");
    one("x = a || b", "E0009", "||");
    one("x = !b", "E0009", "!");
    one("x += 1", "E0009", "+=");
    one("x = a @ b", "E0009", "@");
    one("x = a ? b : c", "E0009", "?");
    one("if a = b { x = 1 }", "E0009", "=");
    one("let a == b", "E0009", "==");
    one("x = a × b", "E0008", "×");
    one("x = σ(b)", "E0008", "σ");
    one("let α = b", "E0008", "α");
    one("x = a\u{a0}+ b", "E0008", "\u{a0}");
    assert_eq!(check("x = a != b"), []);
}

#[test]
fn numbers() {
    one("x = 1.", "E0014", "1.");
    one("x = .5", "E0014", ".5");
    one("x = 1.e5", "E0014", "1.e5");
    one("x = 1_000", "E0014", "1_000");
    one("x = 3abc", "E0014", "3abc");
    one("x = 1e999", "E0015", "1e999");
    one("let 3 = b", "E0029", "3");
}

#[test]
fn touching() {
    one("x = f (a)", "E0017", "(");
    one("x = linear [H](a)", "E0017", "[");
    one("x = linear[H] (a)", "E0017", "(");
    one("x = P {a = 1}", "E0017", "{");
    one("let y [H] = a", "E0017", "[");
    one("input y [H]", "E0017", "[");
    one_item("fn f (x) = x", "E0017", "(");
    one("scan{ state s = 0 }", "E0020", "{");
    one("if a{ x = 1 }", "E0020", "{");
    one("if (a){ x = 1 }", "E0020", "{");
    one("if (a) { x = 1 } else{ x = 2 }", "E0020", "{");
    one_item("block X[D]{ input x[D] output x }", "E0020", "{");
}

#[test]
fn pipes() {
    one("x = a |> 3", "E0018", "3");
    one("x = a |>", "E0018", "|>");
    one("x = a |> (f)", "E0018", "(");
    one("x = a |> -f", "E0018", "-");
    one("x = a |> f + 1", "E0019", "+");
    one("x = (a |> f * 2)", "E0019", "*");
    one("x = a |> f and b", "E0019", "and");
    assert_eq!(check("x = (a |> f) + 1"), []);
    assert_eq!(check("x = 1 + a |> f |> g[H](b)"), []);
}

#[test]
fn brackets_hold_axes() {
    one("x = y[0]", "E0013", "0");
    one("x = y[-1]", "E0013", "-");
    one("x = y[:, 0]", "E0013", ":");
    one("x = y[H, 2]", "E0013", "2");
    one("x = y[2 * H]", "E0013", "2");
    one("input y[64]", "E0013", "64");
}

#[test]
fn reserved_words() {
    one("let state = 3", "E0016", "state");
    one("x = state * 2", "E0016", "state");
    one("x = f(input, 3)", "E0016", "input");
    one("let mut y = 3", "E0016", "mut");
    one_item("block block { output x }", "E0016", "block");
    // Words that only start with a keyword, and the four that are keywords in `attend` alone.
    assert_eq!(check("let letter = 3 letx = 4 inputs = 5 iff = 1"), []);
    assert_eq!(check("let weight = 3 score = 4 let where = 5 sink = weight * score"), []);
}

#[test]
fn statements() {
    one("foo", "E0023", "foo");
    one("f(x)", "E0023", "f");
    one("x + 1", "E0023", "x");
    one("else { x = 1 }", "E0023", "else");
    one("where x > 3", "E0025", "where");
    one("let", "E0010", "output");
    one("let a b", "E0010", "b");
    one("let a: [H] = b", "E0027", ":");
    one("emit a[H] = b", "E0027", "[");
    one("let (a) = f(x)", "E0026", ")");
    one("let a = (c, d)", "E0026", ",");
    one("let a, b = f(x)", "E0026", ",");
    one("a, b = b, a", "E0026", ",");
    one("x = a.relu()", "E0031", ".relu");
    one("x = a[K = 0..4]", "E0013", "..");
    one("for i in 3 { x = 1 }", "E0010", "{");
    one("for i = 0 { x = 1 }", "E0010", "=");
    one("scan x", "E0010", "x");
    one("input y", "E0010", "y");
    one("shared A = 3", "E0029", "3");
    one("if a { x = 1 } else b", "E0010", "b");
    one("while a < b { x = 1 }", "E0022", "while");
    one("elif x { y = 1 }", "E0022", "elif");
    one("attend { score }", "E0011", "score");
}

#[test]
fn items() {
    one_item("", "E0001", "");
    one_item(" \n\t // only a comment\n", "E0001", "");
    one_item("\u{FEFF}", "E0001", "");
    one_item("let x = 3", "E0024", "let");
    one_item("hello", "E0024", "hello");
    one_item("def f(x) { return x }", "E0022", "def");
    one_item("import torch", "E0022", "import");
    one_item("use std::mixers::GLA", "E0028", "GLA");
    one_item("fn f(x: D) = x", "E0027", ":");
    one_item("fn f(x) -> y = x", "E0027", "->");
    one_item("fn f(x)", "E0010", ")");
    one_item("#[cite(3)] fn f(x) = x", "E0010", "3");
    one_item("#[cite(W0604)] fn f(x) = x", "E0010", "W0604");
    one_item("#[allow(\"W0604\")] fn f(x) = x", "E0010", "\"W0604\"");
    one_item("#[cite(\"a\")]", "E0010", "]");
}

#[test]
fn brackets_that_do_not_match() {
    one("x = f(a", "E0006", "(");
    one("x = f(a, g[H](b", "E0006", "(");
    one("let a = b)", "E0007", ")");
    one("let a = [b)", "E0006", "[");
    one("let a = b]", "E0007", "]");
    one_item("block X[D] { input x[D] output x", "E0006", "{");
    one_item("block X[D] { input x[D] output x } }", "E0007", "}");
    one_item("fn f(x) = (x", "E0006", "(");
    one_item("fn g(x) = y)", "E0007", ")");
    // The item that is cut short has one error, and leaves its `}` behind without a second one.
    one_item("block X[D] { input x[D]\n fn f(x) = x\n output x }", "E0006", "{");
    // The forgotten brace is looked for where the indentation says that it should have been.
    let text = "block X[D] {\n    scan {\n        state s = 0\n    let y = 3\n    output y\n}\n";
    let error = &parse(text).errors[0];
    assert_eq!((error.code, error.span.start as usize), ("E0006", text.find("{\n        state").unwrap_or(0)));
}

#[test]
fn every_bad_statement_and_item_has_its_own_error() {
    let text = "block A[D] {
    input x[D]
    let a = x <
    let b = f(x
    scan {
        state s = 0
        s = s + * x
        emit y = s)
    }
    let c = x[0]
    output a
}
fn broken(x = x
fn fine(x) = x
fn also broken(x) = x
block B[D] { input x[D] let = 3 output x }
";
    let found = check_file(text);
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    let expected = ["E0011", "E0006", "E0011", "E0007", "E0013", "E0006", "E0010", "E0010"];
    assert_eq!(codes, expected, "{found:#?}");
    // What is fine around them is still there.
    let file = parse(text).file;
    assert_eq!(file.items.len(), 5);
}

#[test]
fn messages_speak_of_the_language() {
    let errors = parse(&in_block("let a = b c\nlet d")).errors;
    let messages: Vec<_> = errors.iter().map(|e| format!("{} | {} | {}", e.code, e.message, e.label)).collect();
    assert_eq!(
        messages,
        [
            "E0010 | expected an operator or the next statement after `b` | found `c`",
            "E0010 | expected `=` or axes in `[ ]` after `d` | found the end of the statement",
        ]
    );
}

#[test]
fn pieces_have_the_same_errors() {
    let code = |errors: Vec<SyntaxError>| errors.first().map(|e| e.code);
    assert_eq!(parse_expr("a +").map_err(code), Err(Some("E0011")));
    assert_eq!(parse_expr("a b").map_err(code), Err(Some("E0010")));
    assert_eq!(parse_expr("").map_err(code), Err(Some("E0011")));
    assert_eq!(parse_expr("(a").map_err(code), Err(Some("E0006")));
    assert_eq!(parse_expr("a\0").map_err(code), Err(Some("E0002")));
    assert_eq!(parse_stmt("let a = b c").map_err(code), Err(Some("E0010")));
    assert_eq!(parse_stmt("let a = b let c = d").map_err(code), Err(Some("E0010")));
    assert_eq!(parse_stmt("").map_err(code), Err(Some("E0023")));
    assert_eq!(parse_stmt("scan { let = 3 }").map_err(code), Err(Some("E0010")));
    assert!(parse_stmt("score q * past(k)").is_ok());
    assert!(parse_stmt("weight = 3").is_ok());
}

#[test]
fn codes_are_sorted_and_their_examples_are_true() {
    let codes: Vec<_> = CODES.iter().map(|(code, _, _)| *code).collect();
    let mut sorted = codes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(codes, sorted);
    for (code, _, text) in CODES {
        for line in text.lines() {
            let errors = |example: &str| {
                let item = ["use ", "fn ", "block ", "def ", "//"].iter().any(|word| example.starts_with(word));
                let text = if item || *code == "E0024" { example.to_owned() } else { in_block(example) };
                parse(&text).errors.into_iter().map(|e| e.code).collect::<Vec<_>>()
            };
            if let Some(wrong) = line.trim().strip_prefix("wrong: ") {
                assert_eq!(errors(wrong).first(), Some(code), "{wrong}");
            } else if let Some(right) = line.trim().strip_prefix("right: ") {
                assert_eq!(errors(right), Vec::<&str>::new(), "{right}");
            }
        }
    }
}
