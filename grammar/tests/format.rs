//! The formatter's layout, by example.

use archc_grammar::ast::{BinaryOp, Expr, ExprKind, Stmt, StmtKind, UnaryOp};
use archc_grammar::{format_source, parse_expr, parse_stmt};

#[track_caller]
fn formats(text: &str, expected: &str) {
    assert_eq!(format_source(text).as_deref(), Ok(expected));
    assert_eq!(format_source(expected).as_deref(), Ok(expected), "not idempotent");
}

#[test]
fn one_statement_a_line() {
    formats(
        "block   X[ D ]( H=4 , K=D/H ) {input x[D];let a=x*-2;output a}",
        "block X[D](H = 4, K = D / H) {
    input x[D]
    let a = x * -2
    output a
}
",
    );
    formats("fn f( x )=x|>g[ A->B ](c=1)", "fn f(x) = x |> g[A -> B](c = 1)\n");
    formats("fn f { scan {} }", "fn f {\n    scan {}\n}\n");
}

#[test]
fn the_branches_of_an_if() {
    formats(
        "fn f(x) { if x==1 { y=1 } else if x==2 { y=2 }
            else { if y { } } return y }",
        "fn f(x) {
    if x == 1 {
        y = 1
    } else if x == 2 {
        y = 2
    } else {
        if y {}
    }
    return y
}
",
    );
}

#[test]
fn long_lists_and_chains_break_one_per_line() {
    formats(
        "fn f(x) {
    let stats = stack[M](mean = mean[V](paths), var = var[V](paths), size = mean[V](abs(paths)), norm = norm[V](paths))
    let long = first_operand_of_the_sum * something + second_operand_of_the_sum - third_operand_of_the_sum
    let piped = x |> linear[D -> F](bias = fan) |> silu |> linear[F -> D](bias = fan) |> rmsnorm[D](per = [H])
    return (first_value_of_the_tuple + something, second_value_of_the_tuple, third_value_of_the_tuple + 1)
}
fn with_many_parameters(first_parameter, second_parameter = 1.0, third_parameter = none, fourth = []) = first_parameter
",
        "fn f(x) {
    let stats = stack[M](
        mean = mean[V](paths),
        var = var[V](paths),
        size = mean[V](abs(paths)),
        norm = norm[V](paths),
    )
    let long = first_operand_of_the_sum * something
        + second_operand_of_the_sum
        - third_operand_of_the_sum
    let piped = x
        |> linear[D -> F](bias = fan)
        |> silu
        |> linear[F -> D](bias = fan)
        |> rmsnorm[D](per = [H])
    return (
        first_value_of_the_tuple + something,
        second_value_of_the_tuple,
        third_value_of_the_tuple + 1,
    )
}
fn with_many_parameters(
    first_parameter,
    second_parameter = 1.0,
    third_parameter = none,
    fourth = [],
) = first_parameter
",
    );
}

#[test]
fn comments_and_blank_lines_survive() {
    let text = "// license

use std::mixers::{GLA}


// ---- section

/// Doc.
#[cite(\"arXiv:1\")]
fn f(x) { // opening

    // about a
    let a = g(x, // first
        y) // second


    // about b

    let b = a // why

    // the end
} // after f
// last
";
    formats(
        text,
        "// license

use std::mixers::{GLA}

// ---- section

/// Doc.
#[cite(\"arXiv:1\")]
fn f(x) { // opening
    // about a
    // first
    let a = g(x, y) // second

    // about b

    let b = a // why

    // the end
} // after f
// last
",
    );
}

#[test]
fn the_authors_choices_stay() {
    formats("fn f = ((a)) + (b * c)\n", "fn f = ((a)) + (b * c)\n");
    formats("fn f = 1.50e-5 + 1E3 + 007\n", "fn f = 1.50e-5 + 1E3 + 007\n");
    formats("fn f = x |> g(a)\n", "fn f = x |> g(a)\n");
    formats("fn f = g(x, a)\n", "fn f = g(x, a)\n");
}

#[test]
fn a_text_with_errors_is_not_formatted() {
    assert_eq!(format_source("fn f(x) = ").map_err(|errors| errors[0].code), Err("E0011"));
}

/// A tree without the parentheses that its meaning needs.
#[test]
fn missing_parentheses_are_added() {
    let (a, b, c) = (|| Expr::name("a"), || Expr::name("b"), || Expr::name("c"));
    let bin = Expr::binary;
    let pipe = |x: Expr, f: Expr| Expr::new(ExprKind::Pipe(Box::new(x), Box::new(f)));
    let neg = |x: Expr| Expr::new(ExprKind::Unary(UnaryOp::Neg, Box::new(x)));
    let not = |x: Expr| Expr::new(ExprKind::Unary(UnaryOp::Not, Box::new(x)));
    use BinaryOp::*;
    for (expr, expected) in [
        (bin(Mul, bin(Add, a(), b()), c()), "(a + b) * c"),
        (bin(Mul, a(), bin(Mul, b(), c())), "a * (b * c)"),
        (bin(Sub, a(), bin(Sub, b(), c())), "a - (b - c)"),
        (bin(Sub, bin(Sub, a(), b()), c()), "a - b - c"),
        (bin(Pow, bin(Pow, a(), b()), c()), "(a ^ b) ^ c"),
        (bin(Pow, a(), bin(Pow, b(), c())), "a ^ b ^ c"),
        (bin(Pow, neg(a()), b()), "(-a) ^ b"),
        (neg(bin(Pow, a(), b())), "-a ^ b"),
        (neg(bin(Mul, a(), b())), "-(a * b)"),
        (bin(Pow, a(), neg(b())), "a ^ -b"),
        (bin(Pow, a(), bin(Add, b(), c())), "a ^ (b + c)"),
        (bin(Lt, bin(Lt, a(), b()), c()), "(a < b) < c"),
        (bin(Lt, a(), bin(Eq, b(), c())), "a < (b == c)"),
        (not(bin(And, a(), b())), "not (a and b)"),
        (bin(And, not(a()), b()), "not a and b"),
        (bin(Add, a(), not(b())), "a + (not b)"),
        (neg(not(a())), "-(not a)"),
        (bin(Add, pipe(a(), b()), c()), "(a |> b) + c"),
        (pipe(bin(Add, a(), c()), b()), "a + c |> b"),
        (pipe(pipe(a(), b()), c()), "a |> b |> c"),
        (bin(Mul, a(), Expr::number(-2.0)), "a * -2"),
        (bin(Pow, Expr::number(-2.0), a()), "(-2) ^ a"),
        (Expr::new(ExprKind::Number { value: -2.0, text: "-2".into() }), "-2"),
        (bin(Pow, Expr::new(ExprKind::Number { value: -2.0, text: "-2".into() }), a()), "(-2) ^ a"),
    ] {
        assert_eq!(expr.to_string(), expected);
        assert!(parse_expr(expected).is_ok(), "{expected}");
    }
}

#[test]
fn numbers_read_back_to_their_value() {
    for value in [0.0, 1.0, 0.1, 1e-7, 1.5e-300, 5e-324, 1e15, 123456789.25, 1e22, f64::MAX, 0.001] {
        let text = Expr::number(value).to_string();
        assert_eq!(parse_expr(&text).map(|e| e.kind), Ok(ExprKind::Number { value, text: text.clone() }));
    }
    assert_eq!(Expr::number(f64::INFINITY).to_string(), "inf");
    assert_eq!(Expr::number(f64::NEG_INFINITY).to_string(), "-inf");
    // A spelling that an edit left behind gives way to the value.
    assert_eq!(Expr::new(ExprKind::Number { value: 2.0, text: "3".into() }).to_string(), "2");
    assert_eq!(Expr::new(ExprKind::Number { value: 2.0, text: "2.".into() }).to_string(), "2");
}

#[test]
fn a_statement_by_itself() {
    let stmt = parse_stmt("// why\nlet a = b // because").expect("a statement");
    assert_eq!(stmt.to_string(), "// why\nlet a = b // because");
    let mut comment = Stmt::new(StmtKind::Loss(Expr::name("a")));
    comment.trivia.leading = vec!["two\nlines".to_owned()];
    assert_eq!(comment.to_string(), "// two\n// lines\nloss a");
}
