//! Programs with smaller hidden sizes, for comparison at equal size.
//!
//! A move that adds a part adds parameters, and a lead may be due to the parameters. The same program with a smaller `K`, `V`
//! or hidden width has as many as its anchor. A hidden size is one that the block sets for itself, in its header: a size with a
//! default, by which no other size is divided. `D` is set from outside, and therefore not among them; a number of heads `H` in
//! `K = D / H` is not either, as fewer heads make larger ones.

use crate::compile::{Source, main};
use archc_grammar::ast::{
    Argument, BinaryOp, Body, Call, Callable, Expr, ExprKind, File, Ident, ItemKind, Parameter, StmtKind,
};
use archc_grammar::edit::{visit_block_stmts, visit_expr};
use archc_grammar::{format, parse};
use archc_train::evaluate::ModelSize;

/// Sizes in the header of a program's block that can be made smaller, in order.
pub fn hidden_sizes(source: &str) -> Vec<String> {
    let file = parse(source).file;
    let Some(block) = main(&file) else { return Vec::new() };
    let sizes = block.params.iter().flatten().filter(|p| is_size(p) && !is_divisor(block, &p.name.name));
    sizes.map(|p| p.name.name.clone()).collect()
}

/// Scales one of a program's hidden sizes down: `V = D / H` by 0.75 becomes `V = floor(0.75 * (D / H))`, `K = 16` becomes `K =
/// 12`. An axis of pairs (`rope[K]`) is kept even. None if the size is not one of [`hidden_sizes`], the factor is not between 0
/// and 1, or the result does not check at the widths of the tiers.
pub fn shrink(source: &str, axis: &str, factor: f64) -> Option<String> {
    let known = hidden_sizes(source).iter().any(|size| size == axis);
    if !(known && factor > 0.0 && factor < 1.0) {
        return None;
    }
    let file = parse(source).file;
    let name = main(&file)?.name.clone();
    let old = main(&file)?.params.iter().flatten().find(|p| p.name.name == axis)?.default.clone()?;
    [1.0, 2.0].into_iter().find_map(|step| {
        let text = with_default(file.clone(), &name, axis, scaled(&old, factor, step)?);
        checks(&text).then_some(text)
    })
}

/// Widths at which programs are trained.
const WIDTHS: [usize; 2] = [32, 64];

fn checks(text: &str) -> bool {
    let source = Source::new("shrunk.arch", text);
    WIDTHS.iter().all(|&width| !source.compile(ModelSize { vocab: 16, width, layers: 1 }).failed())
}

fn with_default(mut file: File, name: &Ident, axis: &str, new: Expr) -> String {
    for item in &mut file.items {
        if let ItemKind::Block(c) | ItemKind::Model(c) = &mut item.kind
            && c.name == *name
        {
            let parameter = c.params.iter_mut().flatten().find(|p| p.name.name == axis);
            parameter.into_iter().for_each(|p| p.default = Some(new.clone()));
        }
    }
    format(&file)
}

/// Whether a parameter is a size: an upper-case hyperparameter with a default.
fn is_size(parameter: &Parameter) -> bool {
    parameter.name.name.starts_with(|c: char| c.is_ascii_uppercase()) && parameter.default.is_some()
}

/// Whether something in the header or an `axis` of the block is divided by this size.
fn is_divisor(block: &Callable, name: &str) -> bool {
    let mut found = false;
    let mut divides = |expr: &Expr| {
        if let ExprKind::Binary(BinaryOp::Div | BinaryOp::Rem, _, by) = &expr.kind {
            visit_expr(by, &mut |e| found |= matches!(&e.kind, ExprKind::Name(n) if n == name));
        }
    };
    block.params.iter().flatten().filter_map(|p| p.default.as_ref()).for_each(|d| visit_expr(d, &mut divides));
    if let Body::Block(body) = &block.body {
        visit_block_stmts(body, &mut |stmt| {
            if let StmtKind::Axis { size, .. } = &stmt.kind {
                visit_expr(size, &mut divides);
            }
        });
    }
    found
}

/// Scaled size `floor(factor * size)`, a multiple of `step`, with numbers folded; none if it is below 1.
fn scaled(size: &Expr, factor: f64, step: f64) -> Option<Expr> {
    let size = bare(size);
    if let Some(value) = number(size) {
        let new = (rounded(factor / step) * value).floor() * step;
        return (new >= 1.0).then(|| Expr::number(new));
    }
    // A size that was shrunk before has its number inside.
    if let Some(inner) = floored(size) {
        let (n, rest) = leading(inner);
        return Some(product(step, floor(product(rounded(n * factor / step), rest))));
    }
    let (n, rest) = leading(size);
    if floored(&rest).is_some() {
        return scaled(&rest, n * factor, step);
    }
    let n = rounded(n * factor / step);
    // A whole multiple of a size needs no `floor`.
    Some(product(step, if n.fract() == 0.0 { product(n, rest) } else { floor(product(n, rest)) }))
}

/// Splits a leading number from an expression: `2 * D / H` gives 2 and `D / H`.
fn leading(expr: &Expr) -> (f64, Expr) {
    match &bare(expr).kind {
        ExprKind::Binary(BinaryOp::Mul, a, b) => match (number(a), number(b)) {
            (Some(n), None) => (n, bare(b).clone()),
            (None, Some(n)) => (n, bare(a).clone()),
            _ => (1.0, bare(expr).clone()),
        },
        ExprKind::Binary(BinaryOp::Div, a, b) => {
            let (n, rest) = leading(a);
            (n, Expr::binary(BinaryOp::Div, rest, (**b).clone()))
        }
        _ => (1.0, bare(expr).clone()),
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match &bare(expr).kind {
        ExprKind::Number { value, .. } => Some(*value),
        _ => None,
    }
}

/// Argument of `floor(..)`.
fn floored(expr: &Expr) -> Option<&Expr> {
    match &bare(expr).kind {
        ExprKind::Call(Call { callee, brackets: None, args: Some(args) }) if callee.name == "floor" => {
            match args.as_slice() {
                [Argument { name: None, value }] => Some(value),
                _ => None,
            }
        }
        _ => None,
    }
}

fn floor(value: Expr) -> Expr {
    let args = Some(vec![Argument { name: None, value }]);
    Expr::new(ExprKind::Call(Call { callee: Ident::new("floor"), brackets: None, args }))
}

fn product(n: f64, rest: Expr) -> Expr {
    if n == 1.0 { rest } else { Expr::binary(BinaryOp::Mul, Expr::number(n), rest) }
}

fn bare(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => bare(inner),
        _ => expr,
    }
}

/// Rounds to six significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use archc_grammar::parse_expr;

    #[test]
    fn sizes_are_scaled_and_folded() {
        let check = |size: &str, factor, step, expected: &str| {
            let new = scaled(&parse_expr(size).unwrap(), factor, step).map(|e| e.to_string());
            assert_eq!(new.as_deref(), Some(expected).filter(|e| !e.is_empty()), "{size} by {factor}");
        };
        check("D / H", 0.75, 1.0, "floor(0.75 * (D / H))");
        check("D / H", 0.75, 2.0, "2 * floor(0.375 * (D / H))");
        check("floor(0.75 * (D / H))", 0.9, 1.0, "floor(0.675 * (D / H))");
        check("2 * floor(0.375 * (D / H))", 0.5, 1.0, "floor(0.375 * (D / H))");
        check("2 * D / H", 0.75, 1.0, "floor(1.5 * (D / H))");
        check("2 * D", 0.5, 1.0, "D");
        check("4 * D", 0.5, 1.0, "2 * D");
        check("D", 0.5, 1.0, "floor(0.5 * D)");
        check("V", 0.9, 1.0, "floor(0.9 * V)");
        check("floor((D + 15) / 16)", 0.5, 1.0, "floor(0.5 * ((D + 15) / 16))");
        check("16", 0.75, 1.0, "12");
        check("16", 0.9, 2.0, "14");
        check("1", 0.9, 1.0, "");
    }

    #[test]
    fn every_hidden_size_of_every_seed_can_be_made_smaller() {
        let mut made = 0;
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../seeds")).unwrap() {
            let path = entry.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            let sizes = hidden_sizes(&source);
            assert!(!sizes.is_empty() && !sizes.iter().any(|s| s == "D" || s == "H"), "{path:?}: {sizes:?}");
            for size in &sizes {
                for factor in [0.9, 0.75, 0.5] {
                    let text = shrink(&source, size, factor).unwrap_or_else(|| panic!("{path:?}: {size} by {factor}"));
                    assert!(checks(&text), "{text}");
                    assert_eq!(archc_grammar::format_source(&text).as_ref(), Ok(&text));
                    let changed = text.lines().zip(source.lines()).filter(|(a, b)| a != b).count();
                    assert_eq!((changed, text.lines().count()), (1, source.lines().count()), "{text}");
                    let params = |text: &str| {
                        let compiled =
                            Source::new("a.arch", text).compile(ModelSize { vocab: 16, width: 64, layers: 1 });
                        compiled.cost.expect("it checks").params
                    };
                    assert!(params(&text) < params(&source), "{text}");
                    // Shrunk again, from that result.
                    assert!(
                        factor < 0.75 || shrink(&text, size, factor).is_some_and(|t| params(&t) < params(&text)),
                        "{text}"
                    );
                    made += 1;
                }
            }
        }
        assert!(made >= 6 * 2 * 3, "{made}");
    }

    #[test]
    fn what_is_no_hidden_size_is_not_touched() {
        let source = "block B[D](H = 2, K = D / H, n = 4, E = 7, F = E) {\n    input x[D]\n    axis G = D / E\n    output x\n}\n";
        assert_eq!(hidden_sizes(source), ["K", "F"]);
        for (size, factor) in [("H", 0.5), ("D", 0.5), ("n", 0.5), ("E", 0.5), ("K", 1.0), ("K", 0.0), ("K", f64::NAN)]
        {
            assert_eq!(shrink(source, size, factor), None);
        }
        assert_eq!((hidden_sizes("block {"), shrink("block {", "K", 0.5)), (Vec::new(), None));
    }

    #[test]
    fn pairs_stay_pairs() {
        let source = "block B[D](K = D / 2) {\n    input x[D]\n    let q = x |> linear[K] |> rope[K]\n    output linear[D](shift(q, n = 1))\n}\n";
        let text = shrink(source, "K", 0.7).unwrap();
        assert!(text.contains("K = 2 * floor(0.35 * (D / 2))"), "{text}");
    }
}
