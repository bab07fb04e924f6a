//! Hostile and huge texts: a clean error (or a tree), on the default stack of a test thread, in linear time.

use std::time::{Duration, Instant};

use archc_grammar::edit::erase_expr_spans;
use archc_grammar::{MAX_BYTES, MAX_DEPTH, Parsed, format, parse, parse_expr, parse_stmt};

/// Generous, since test machines are slow and shared; a cost that is not linear takes minutes here.
const PATIENCE: Duration = Duration::from_secs(20);

fn timed(text: &str) -> Parsed {
    let start = Instant::now();
    let parsed = parse(text);
    assert!(start.elapsed() < PATIENCE, "{:?} for {} bytes", start.elapsed(), text.len());
    parsed
}

fn codes(text: &str) -> Vec<&'static str> {
    timed(text).errors.iter().map(|e| e.code).collect()
}

fn nested(open: &str, middle: &str, close: &str, depth: usize) -> String {
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
}

#[test]
fn nesting_is_limited() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{", "}"), ("f(", ")"), ("P{a = ", "}"), ("x[N = ", "]"), ("-(", ")")]
    {
        assert_eq!(codes(&format!("fn f(x) = {}", nested(open, "x", close, 10_000))), ["E0004"], "{open}");
    }
    assert_eq!(codes(&format!("block X {{ {} }}", nested("if 1 { ", "", "} ", 10_000))), ["E0004"]);
    assert_eq!(codes(&"(".repeat(1 << 20)), ["E0004"]);
    assert_eq!(codes(&"([{".repeat(1 << 18)), ["E0004"]);
    assert_eq!(codes(&nested("(", "", ")", 1 << 19)), ["E0004"]);
    assert_eq!(parse_expr(&nested("(", "x", ")", 10_000)).map_err(|e| e[0].code), Err("E0004"));
}

/// The deepest nesting that is allowed fits the stack, in parsing, printing, comparing and dropping.
#[test]
fn the_deepest_allowed_nesting_works() {
    for (open, close) in
        [("(", ")"), ("f(", ")"), ("f[A](a, b = 1, c = ", ")"), ("P{a = ", "}"), ("x[N = ", "]"), ("3 + 2 ^ -(", ")")]
    {
        // Brackets that stay open; operators make levels too, of which there may be 250.
        let brackets = open.matches(['(', '{', '[']).count() - open.matches(']').count();
        let depth = if open.contains('+') { 50 } else { MAX_DEPTH / brackets };
        let text = nested(open, "x", close, depth);
        let mut expr = parse_expr(&text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let mut again = parse_expr(&expr.to_string()).expect("what was printed");
        erase_expr_spans(&mut expr);
        erase_expr_spans(&mut again);
        assert_eq!(expr, again);
        // And as an error: the innermost operand is missing.
        assert!(parse_expr(&nested(open, "x +", close, depth)).is_err());
    }
    for (open, close) in [("if a { ", "} "), ("scan { ", "} "), ("for i in 0..2 { ", "} "), ("if a { } else { ", "} ")]
    {
        let text = format!("block X[D] {{ {} }}", nested(open, "x = 1 ", close, MAX_DEPTH - 1));
        let parsed = timed(&text);
        assert_eq!(parsed.errors, []);
        assert_eq!(timed(&format(&parsed.file)).errors, []);
        let broken = format!("block X[D] {{ {} }}", nested(open, "x = ", close, MAX_DEPTH - 1));
        assert_eq!(codes(&broken), ["E0011"]);
    }
}

/// Chains need no brackets to make deep trees.
#[test]
fn chains_are_limited() {
    for link in ["a + ", "a * ", "a ^ ", "- ", "not ", "a and ", "a |> "] {
        for count in [150, 10_000] {
            let text = format!("fn f(a) = {}a", link.repeat(count));
            let expected: &[&str] = if count < 200 { &[] } else { &["E0005"] };
            assert_eq!(codes(&text), expected, "{link}");
        }
    }
    assert_eq!(codes(&format!("fn f(a) = a{}", ".b".repeat(10_000))), ["E0005"]);
    assert_eq!(codes(&format!("fn f(a) = a{}", "[P = b]".repeat(10_000))), ["E0005"]);
    // Each level is short, but together they are too deep.
    let level = format!("{}(", "not ".repeat(100));
    assert_eq!(codes(&format!("fn f(a) = {}", nested(&level, "a", ")", 50))).first(), Some(&"E0005"));
    // Wide is not deep.
    assert_eq!(codes(&format!("fn f(a) = g({})", vec!["a"; 10_000].join(", "))), Vec::<&str>::new());
    let arms = " else if a { x = 1 }".repeat(2_000);
    assert_eq!(codes(&format!("block X[D] {{ if a {{ x = 1 }}{arms} }}")), Vec::<&str>::new());
}

#[test]
fn what_is_not_text_is_refused() {
    assert_eq!(codes("\0"), ["E0002"]);
    assert_eq!(codes("fn f(x) = x\u{1}"), ["E0002"]);
    assert_eq!(codes(&"\u{7f}\u{0}".repeat(1 << 19)), ["E0002"]);
    assert_eq!(codes(&String::from_utf8_lossy(&(0..=255).collect::<Vec<u8>>())), ["E0002"]);
    assert_eq!(codes(&" ".repeat(MAX_BYTES + 1)), ["E0003"]);
    assert_eq!(codes(&" ".repeat(MAX_BYTES)), ["E0001"]);
}

#[test]
fn long_files_take_linear_time() {
    let program = "/// A.\nblock A[D](H = 4) {\n    input x[D] // in\n    let y = linear[D -> D](x) |> silu\n    output y * 2\n}\n";
    let repeated = program.repeat(1_000);
    let parsed = timed(&repeated);
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.file.items.len(), 1_000);
    let printed = format(&parsed.file);
    assert_eq!(printed.len(), repeated.len());

    let one_line = format!("block A[D] {{ {} }}", "let y = a + f[B](c) ".repeat(4_000));
    assert_eq!(codes(&one_line), Vec::<&str>::new());
}

#[test]
fn many_errors_take_linear_time() {
    // One error each, of which the first fifty are shown.
    for bad in [
        "let = 3\n",
        "x = (\n",
        "x = y)\n",
        "x + 1\n",
        "x = 1 2\n",
        "}\n",
        "{\n } \n",
        "fn f(\n",
        "if a b\n",
        "× ",
        "let ",
        "#[",
        "\"\n",
        "x = a < b < c ",
    ] {
        let text = format!("block A[D] {{\n{}}}\n", bad.repeat(40_000 / bad.len()));
        let found = codes(&text);
        assert!(!found.is_empty() && found.len() <= 50, "{bad:?}: {found:?}");
        assert!(!codes(&bad.repeat(40_000 / bad.len())).is_empty());
    }
    // A good statement that is long, before a bad one, is parsed twice and no more.
    let text = format!("block A[D] {{ {} }}", "scan { x = 1 } 3 ".repeat(3_000));
    assert_eq!(codes(&text).len(), 50);
}

#[test]
fn other_alphabets_are_safe() {
    let text = "// ααα βββ\nblock X[D] { // 終\n    let a = 「x」\n    let c = 3\n    let é = 3\n    let c = 4\n    let b = \u{1F600}\n    output a\n}\n/// ñ\n";
    let parsed = timed(text);
    for error in &parsed.errors {
        assert!(text.get(error.span.start as usize..error.span.end as usize).is_some(), "{error:?}");
    }
    assert_eq!(parsed.errors.iter().map(|e| e.code).collect::<Vec<_>>(), ["E0008"; 3], "{:#?}", parsed.errors);
    assert!(parse_stmt("let a = b // ü").is_ok());
}
