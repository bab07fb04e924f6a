//! Numbers: a hyperparameter's default, the width of a conv, a floor, an initial value.

use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Callable, Expr, ExprKind, StmtKind};
use archc_grammar::edit::{callables, exprs_of, visit_block_stmts, visit_expr};

rewrites! {
    /// Published designs differ from each other as much in widths, floors and scales as in structure.
    struct ChangeNumber = "change a number";
}

/// Number in the text.
struct Place<'a> {
    kind: &'static str,
    label: String,
    expr: &'a Expr,
    value: f64,
    text: &'a str,
}

impl Rewrite for ChangeNumber {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        places(program).into_iter().enumerate().map(|(i, p)| Found::new(p.kind, p.label, i)).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let place = places(draft.program).into_iter().nth(*at)?;
        let v = place.value;
        let whole = v.fract() == 0.0 && !place.text.contains(['.', 'e']);
        let options: Vec<f64> = if place.kind == "size" {
            // Sizes divide each other; doubling and halving preserves that.
            vec![v * 2.0, v / 2.0].into_iter().filter(|n| *n >= 1.0 && n.fract() == 0.0).collect()
        } else if whole {
            vec![v * 2.0, (v / 2.0).floor(), v + 1.0, v - 1.0].into_iter().filter(|n| *n >= 1.0 && *n != v).collect()
        } else {
            [0.25, 0.5, 0.8, 1.25, 2.0, 4.0].iter().map(|f| rounded(v * f)).filter(|n| *n != v).collect()
        };
        let new = Expr::number(*stream.pick(&options)?);
        let summary = format!("{}: {} -> {new}", place.label, place.text);
        draft.replace(place.expr, new);
        Some(summary)
    }
}

/// Rounds to four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// Numbers that can be changed alone: defaults, inits, label constants, and named arguments.
fn places(program: &Program) -> Vec<Place<'_>> {
    let mut found = Vec::new();
    for callable in callables(&program.file) {
        defaults(callable, &mut found);
        if let archc_grammar::ast::Body::Block(body) = &callable.body {
            visit_block_stmts(body, &mut |stmt| {
                if let StmtKind::Param { name, init, .. } | StmtKind::State { name, init, .. } = &stmt.kind {
                    number(init, "init", format!("init of {}", name.name), &mut found);
                }
                for expr in exprs_of(stmt) {
                    visit_expr(expr, &mut |e| inside(e, &mut found));
                }
            });
        }
    }
    found.sort_by_key(|p| p.expr.span.start);
    found
}

fn defaults<'a>(callable: &'a Callable, found: &mut Vec<Place<'a>>) {
    for parameter in callable.params.iter().flatten() {
        let name = &parameter.name.name;
        let kind = if name.starts_with(char::is_uppercase) { "size" } else { "hyperparameter" };
        // The stack sets these two.
        let set = name == "layer" || name == "depth";
        if let (Some(default), false) = (&parameter.default, set) {
            number(default, kind, format!("default of {name}"), found);
        }
    }
}

fn inside<'a>(expr: &'a Expr, found: &mut Vec<Place<'a>>) {
    match &expr.kind {
        ExprKind::Labels { axis, entries } => {
            for (label, value) in entries {
                number(value, "label constant", format!("{} of {}", label.name, axis.name), found);
            }
        }
        ExprKind::Call(call) => {
            for argument in call.args.iter().flatten() {
                if let Some(name) = &argument.name {
                    number(&argument.value, "option", format!("{} of {}", name.name, call.callee.name), found);
                }
            }
        }
        _ => {}
    }
}

/// Collects a number, also behind a sign or inside parentheses.
fn number<'a>(expr: &'a Expr, kind: &'static str, label: String, found: &mut Vec<Place<'a>>) {
    match &expr.kind {
        ExprKind::Number { value, text } if *value != 0.0 => {
            found.push(Place { kind, label, expr, value: *value, text });
        }
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => number(inner, kind, label, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Move;
    use super::*;

    #[test]
    fn numbers_change_one_at_a_time() {
        let source = "block B[D](H = 4, n = 3) {\n    input x[D]\n    let y = x |> linear[H] |> conv(width = 4, init = normal(0.02))\n    param t = 0.5\n    output (y * t |> linear[H -> D]) * n\n}\n";
        let program = Program::new(source).unwrap();
        let sites = ChangeNumber.sites(&program);
        let labels: Vec<_> = sites.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["default of H", "default of n", "width of conv", "init of t"]);
        for site in &sites {
            for seed in 0..20 {
                let edit = ChangeNumber.apply(&program, site, None, &mut Stream::new(seed, "test", &[])).unwrap();
                let changed = edit.source.lines().zip(source.lines()).filter(|(a, b)| a != b).count();
                assert_eq!(changed, 1, "{}", edit.source);
                assert!(Program::new(&edit.source).is_some(), "{}", edit.source);
            }
        }
    }

    #[test]
    fn rounding_keeps_what_means_something() {
        assert_eq!(rounded(0.02 / 4.0), 0.005);
        assert_eq!(rounded(1e-5 * 0.8), 8e-6);
        assert_eq!(rounded(1.0 / 3.0), 0.3333);
    }
}
