//! Typed edits of trees.

use archc_grammar::ast::{Body, Callable, Expr, ExprKind, File, ItemKind, StmtKind};
use archc_grammar::edit::*;
use archc_grammar::{Span, format, parse, parse_expr, parse_stmt};

const PROGRAM: &str = "block X[D](H = 4) {
    input x[D]
    // about a
    let a = f(x, per = [x..]) + 1
    scan {
        state s[x..] = 0
        s = s + a
        emit y = s
    }
    for i in 0..H {
        if i == 0 {
            let p = stack[P](a, y, c = x)
            let r = p[P = a] + P{a = 1, y = 2}
            let t = p[N = i]
        }
    }
    output y |> a
}
";

fn program() -> File {
    let parsed = parse(PROGRAM);
    assert_eq!(parsed.errors, []);
    parsed.file
}

/// The place of a text that occurs once.
fn span(text: &str) -> Span {
    assert_eq!(PROGRAM.matches(text).count(), 1, "{text}");
    let start = PROGRAM.find(text).unwrap_or(0);
    Span::new(start, start + text.len())
}

#[test]
fn visits_see_everything_once_and_in_order() {
    let file = program();
    let (mut stmts, mut exprs) = (Vec::new(), Vec::new());
    visit_stmts(&file, &mut |stmt| stmts.push(stmt.span.start));
    visit_exprs(&file, &mut |expr| exprs.push(expr.span));
    assert_eq!(stmts.len(), 12);
    assert!(stmts.is_sorted(), "outer before inner, in the order of the text");
    let text = |span: &Span| &PROGRAM[span.start as usize..span.end as usize];
    for wanted in
        ["4", "f(x, per = [x..]) + 1", "f(x, per = [x..])", "[x..]", "i == 0", "p[P = a]", "P{a = 1, y = 2}", "y |> a"]
    {
        assert_eq!(exprs.iter().filter(|e| text(e) == wanted).count(), 1, "{wanted}");
    }
    let (mut stmts_again, mut exprs_again) = (Vec::new(), Vec::new());
    let mut file = file;
    visit_stmts_mut(&mut file, &mut |stmt| stmts_again.push(stmt.span.start));
    visit_exprs_mut(&mut file, &mut |expr| exprs_again.push(expr.span));
    assert_eq!((stmts, exprs), (stmts_again, exprs_again));
}

#[test]
fn expressions_are_found_and_replaced_by_span() {
    let mut file = program();
    let place = span("s + a");
    assert!(matches!(find_expr(&file, place).map(|e| &e.kind), Some(ExprKind::Binary(..))));
    let new = Expr::binary(archc_grammar::ast::BinaryOp::Mul, Expr::name("decay"), parse_expr("s + a").expect("good"));
    assert!(replace_expr(&mut file, place, new));
    assert!(format(&file).contains("s = decay * (s + a)\n"));
    // What was put in is found at the old place, its parts nowhere.
    assert_eq!(find_expr(&file, place).map(|e| e.to_string()).as_deref(), Some("decay * (s + a)"));
    let before = file.clone();
    assert!(!replace_expr(&mut file, Span::new(0, 1), Expr::number(1.0)));
    assert!(!replace_expr(&mut file, Span::default(), Expr::number(1.0)));
    assert_eq!(file, before);
}

#[test]
fn statements_are_inserted_replaced_and_removed() {
    let mut file = program();
    let assignment = span("s = s + a");
    let stmt = |text| parse_stmt(text).expect("a statement");
    assert!(insert_stmt_before(&mut file, assignment, stmt("s = decay * s")));
    assert!(insert_stmt_after(&mut file, assignment, stmt("s = s * 2 // after")));
    assert!(
        format(&file).contains("        s = decay * s\n        s = s + a\n        s = s * 2 // after\n        emit y")
    );
    let a = span("let a = f(x, per = [x..]) + 1");
    assert!(replace_stmt(&mut file, a, stmt("let a = x")));
    assert!(format(&file).contains("    // about a\n    let a = x\n"));
    assert!(remove_stmt(&mut file, a).is_none(), "a replaced statement has no place");
    assert_eq!(
        remove_stmt(&mut file, span("let t = p[N = i]")).map(|s| s.to_string()).as_deref(),
        Some("let t = p[N = i]")
    );
    assert!(!format(&file).contains("let t"));
    assert!(!insert_stmt_before(&mut file, Span::default(), stmt("x = 1")));
    assert!(find_stmt(&file, assignment).is_some() && find_stmt(&file, a).is_none());
}

fn renamed(old: &str, new: &str) -> String {
    let mut file = program();
    let ItemKind::Block(callable) = &mut file.items[0].kind else { panic!("a block") };
    rename_value(callable, old, new);
    let text = format(&file);
    assert_eq!(parse(&text).errors, [], "{text}");
    text
}

#[test]
fn renaming_keeps_labels_options_and_functions() {
    let text = renamed("a", "b");
    for line in [
        "let b = f(x, per = [x..]) + 1",
        "s = s + b",
        "let p = stack[P](a = b, y, c = x)",
        "let r = p[P = a] + P{a = 1, y = 2}",
        "output y |> a",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let text = renamed("x", "z");
    for line in ["input z[D]", "let a = f(z, per = [z..]) + 1", "state s[z..] = 0", "stack[P](a, y, c = z)"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // An index is a number wherever it stands.
    let text = renamed("i", "j");
    for line in ["for j in 0..H", "if j == 0", "let t = p[N = j]"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(renamed("s", "memory").contains("memory = memory + a\n        emit y = memory"));
}

#[test]
fn erased_trees_compare_by_what_they_say() {
    let spread = PROGRAM.replace(" = ", "  =\n ");
    let (mut one, mut two) = (program(), parse(&spread).file);
    assert_ne!(one, two);
    erase_spans(&mut one);
    erase_spans(&mut two);
    assert_eq!(one, two);
    let mut spans = Vec::new();
    visit_exprs(&one, &mut |e| spans.push(e.span));
    visit_stmts(&one, &mut |s| {
        spans.push(s.span);
        if let StmtKind::Scan(body) = &s.kind {
            spans.push(body.span);
        }
    });
    assert!(spans.iter().all(|&span| span == Span::default()));
    assert!(
        matches!(&one.items[0].kind, ItemKind::Block(Callable { body: Body::Block(b), .. }) if b.span == Span::default())
    );
}

/// Words of an attribute have spans as well. Found by the fuzz target `parse`.
#[test]
fn erased_attributes_compare_by_what_they_say() {
    let block = "block A[D]() {\n    input x[D]\n    output x\n}\n";
    let [mut one, mut two] = ["", "// moves everything behind it\n\n"]
        .map(|before| parse(&format!("{before}#[allow(W0604, W9999)]\n{block}")).file);
    one.items.iter_mut().chain(&mut two.items).for_each(|item| item.trivia = Default::default());
    assert_ne!(one, two);
    erase_spans(&mut one);
    erase_spans(&mut two);
    assert_eq!(one, two);
}
