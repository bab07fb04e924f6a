//! Properties over random trees, random text and random edits of good programs.

mod trees;

use archc_grammar::ast::{Expr, ExprKind, File, ItemKind, Stmt, StmtKind};
use archc_grammar::edit::{
    erase_spans, find_expr, insert_stmt_after, insert_stmt_before, remove_stmt, replace_expr, visit_exprs,
    visit_exprs_mut, visit_stmts,
};
use archc_grammar::{Span, format, parse};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;

fn programs() -> Vec<&'static str> {
    vec![
        include_str!("programs/alibi.arch"),
        include_str!("programs/content_aware_fusion.arch"),
        include_str!("programs/every_rule.arch"),
        include_str!("programs/gated_delta_net.arch"),
        include_str!("programs/hybrid.arch"),
        include_str!("programs/std_sample.arch"),
    ]
}

/// A file up to spans.
fn bare(mut file: File) -> File {
    erase_spans(&mut file);
    file
}

/// A file up to spans and parentheses: what it means.
fn meaning(file: &File) -> File {
    let mut file = bare(file.clone());
    visit_exprs_mut(&mut file, &mut |expr| {
        while let ExprKind::Paren(inner) = &mut expr.kind {
            *expr = std::mem::replace(&mut **inner, Expr::number(0.0));
        }
    });
    file
}

/// What holds for any text at all.
fn check_any(text: &str) {
    let parsed = parse(text);
    for error in &parsed.errors {
        assert!(text.get(error.span.start as usize..error.span.end as usize).is_some(), "{error:?}\n{text}");
        assert!(!error.message.is_empty() && !error.label.is_empty());
    }
    if parsed.errors.is_empty() {
        check_good(&parsed.file, text);
    }
}

/// What holds for a program without errors.
fn check_good(file: &File, text: &str) {
    assert!(!has_errors(file), "an error node without an error\n{text}");
    let printed = format(file);
    let again = parse(&printed);
    assert_eq!(again.errors, [], "printed:\n{printed}\nfrom:\n{text}");
    assert_eq!(bare(again.file.clone()), bare(file.clone()), "printed:\n{printed}\nfrom:\n{text}");
    assert_eq!(format(&again.file), printed, "formatting is not idempotent");
}

fn has_errors(file: &File) -> bool {
    let mut found = file.items.iter().any(|item| item.kind == ItemKind::Error);
    visit_stmts(file, &mut |stmt| found |= stmt.kind == StmtKind::Error);
    visit_exprs(file, &mut |expr| found |= expr.kind == ExprKind::Error);
    found
}

/// A text in pieces: words, single characters, white space.
fn pieces(text: &str) -> Vec<String> {
    let class = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            0
        } else if c.is_whitespace() {
            1
        } else {
            2
        }
    };
    let mut out: Vec<String> = Vec::new();
    for c in text.chars() {
        match out.last_mut() {
            Some(last) if class(c) < 2 && last.ends_with(|b| class(b) == class(c)) => last.push(c),
            _ => out.push(c.to_string()),
        }
    }
    out
}

#[derive(Clone, Debug)]
enum Change {
    Delete(Index, usize),
    Duplicate(Index, Index, usize),
    Swap(Index, Index),
    Insert(Index, &'static str),
}

const SNIPPETS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    " ",
    "\n",
    ";",
    ",",
    "=",
    "==",
    "->",
    "|>",
    "..",
    ".",
    "-",
    "^",
    "not ",
    "let ",
    "fn ",
    "block ",
    "scan ",
    "attend ",
    "if ",
    "else ",
    "for ",
    "in ",
    "where ",
    "score ",
    "output ",
    "return ",
    "x",
    "3",
    "1e",
    "1.",
    "//",
    "///",
    "#[",
    "\"",
    "\u{e9}",
    "\u{1F600}",
    "\u{1}",
    "use ",
    "P{",
    "f(",
    " (",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..6usize).prop_map(|(at, n)| Change::Delete(at, n)),
        (any::<Index>(), any::<Index>(), 1..30usize).prop_map(|(from, to, n)| Change::Duplicate(from, to, n)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
        (any::<Index>(), select(SNIPPETS)).prop_map(|(at, snippet)| Change::Insert(at, snippet)),
    ]
}

fn apply(pieces: &mut Vec<String>, change: &Change) {
    if pieces.is_empty() {
        return;
    }
    let length = pieces.len();
    match change {
        Change::Delete(at, count) => {
            let at = at.index(length);
            pieces.drain(at..(at + count).min(length));
        }
        Change::Duplicate(from, to, count) => {
            let from = from.index(length);
            let copy = pieces[from..(from + count).min(length)].to_vec();
            let to = to.index(length);
            pieces.splice(to..to, copy);
        }
        Change::Swap(a, b) => pieces.swap(a.index(length), b.index(length)),
        Change::Insert(at, snippet) => pieces.insert(at.index(length), (*snippet).to_owned()),
    }
}

fn expr_spans(file: &File) -> Vec<Span> {
    let mut spans = Vec::new();
    visit_exprs(file, &mut |expr| spans.push(expr.span));
    spans
}

fn stmt_spans(file: &File) -> Vec<Span> {
    let mut spans = Vec::new();
    visit_stmts(file, &mut |stmt| spans.push(stmt.span));
    spans
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 3 / 4,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// Any tree, parentheses missing or not, prints to a text that means the same.
    #[test]
    fn trees_print_to_what_they_mean(file in trees::file()) {
        let printed = format(&file);
        let parsed = parse(&printed);
        prop_assert_eq!(&parsed.errors, &[], "{}", printed);
        prop_assert_eq!(meaning(&parsed.file), meaning(&file), "{}", printed);
        check_good(&parsed.file, &printed);
    }

    /// The same for one expression, printed on one line.
    #[test]
    fn expressions_print_to_what_they_mean(expr in trees::expr()) {
        let whole = |expr: Expr| {
            let text = format!("fn f = {}", trees::one());
            let mut file = parse(&text).file;
            let span = expr_spans(&file)[0];
            replace_expr(&mut file, span, expr);
            meaning(&file)
        };
        let text = expr.to_string();
        prop_assert!(!text.contains('\n'));
        let parsed = archc_grammar::parse_expr(&text);
        prop_assert!(parsed.is_ok(), "{}: {:?}", text, parsed);
        prop_assert_eq!(whole(parsed.unwrap_or_else(|_| Expr::number(0.0))), whole(expr), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check_any(&text);
    }

    #[test]
    fn no_soup_of_tokens_makes_the_parser_panic(tokens in prop::collection::vec(select(SNIPPETS), 0..60)) {
        check_any(&tokens.concat());
        check_any(&format!("block X[D] {{ {} }}", tokens.concat()));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_any(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn damaged_programs_do_not_make_the_parser_panic(
        program in select(programs()),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let mut pieces = pieces(program);
        for change in &changes {
            apply(&mut pieces, change);
        }
        check_any(&pieces.concat());
    }

    /// An expression put anywhere: only there does the program change, and it prints and reads back.
    #[test]
    fn edits_of_expressions_survive_printing(
        program in select(programs()),
        edits in prop::collection::vec((any::<Index>(), trees::expr()), 1..6),
    ) {
        let mut file = parse(program).file;
        for (at, new) in edits {
            let spans = expr_spans(&file);
            let span = spans[at.index(spans.len())];
            // The right side of a pipe and a `shared` call take applications only.
            let takes_any = find_expr(&file, span).is_some_and(|old| !matches!(old.kind, ExprKind::Name(_) | ExprKind::Call(_) | ExprKind::AxisList(_)));
            if takes_any {
                prop_assert!(replace_expr(&mut file, span, new));
            }
        }
        let printed = format(&file);
        let parsed = parse(&printed);
        prop_assert_eq!(&parsed.errors, &[], "{}", printed);
        prop_assert_eq!(meaning(&parsed.file), meaning(&file));
    }

    /// Statements moved about: what was put in is there, what was taken out is gone.
    #[test]
    fn edits_of_statements_survive_printing(
        program in select(programs()),
        at in any::<Index>(),
        new in trees::plain_stmt(),
        before in any::<bool>(),
    ) {
        let original = parse(program).file;
        let mut file = original.clone();
        let spans = stmt_spans(&file);
        let span = spans[at.index(spans.len())];
        let inserted = if before { insert_stmt_before } else { insert_stmt_after }(&mut file, span, new.clone());
        prop_assert!(inserted);
        let inner = stmt_spans(&trees::file_of(new)).len();
        prop_assert_eq!(stmt_spans(&file).len(), spans.len() + inner);
        let parsed = parse(&format(&file));
        prop_assert_eq!(&parsed.errors, &[], "{}", format(&file));
        prop_assert_eq!(meaning(&parsed.file), meaning(&file));
        let removed: Option<Stmt> = remove_stmt(&mut file, span);
        prop_assert!(removed.is_some());
        prop_assert!(remove_stmt(&mut file, span).is_none());
    }
}
