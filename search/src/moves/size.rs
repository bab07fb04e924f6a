//! Sizes that depend on others: channels of keys and values, widths of hidden layers.

use super::build::quote;
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{BinaryOp, Expr, ExprKind};

rewrites! {
    /// A larger key space holds more pairs without mixing them up, larger values carry more each; a smaller state is
    /// cheaper and leaves room for other parts. Recall and memorization follow the size of the state.
    struct ChangeSize = "change a size";
}

impl Rewrite for ChangeSize {
    type At = String;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        sizes(program)
            .map(|(name, default)| Found::new("size", format!("{name} = {default}"), name.to_owned()))
            .collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, stream: &mut Stream) -> Option<String> {
        let (_, default) = sizes(draft.program).find(|(n, _)| n == name)?;
        let new = if stream.chance(0.5) { twice(default) } else { half(default) };
        let summary = format!("{name}: {default} -> {new}");
        draft.replace(default, new);
        Some(summary)
    }
}

/// Axes whose default depends on other sizes.
fn sizes(program: &Program) -> impl Iterator<Item = (&str, &Expr)> {
    let params = program.callable().params.iter().flatten();
    params.filter_map(|p| {
        let default = p.default.as_ref()?;
        let follows = matches!(default.kind, ExprKind::Binary(BinaryOp::Div | BinaryOp::Mul, ..) | ExprKind::Name(_));
        (p.name.name.starts_with(char::is_uppercase) && follows).then_some((p.name.name.as_str(), default))
    })
}

fn number(expr: &Expr, wanted: f64) -> bool {
    matches!(&expr.kind, ExprKind::Number { value, .. } if *value == wanted)
}

fn twice(size: &Expr) -> Expr {
    match &size.kind {
        ExprKind::Binary(BinaryOp::Div, a, b) => match &super::build::bare(b).kind {
            ExprKind::Number { value, .. } if *value == 2.0 => (**a).clone(),
            ExprKind::Binary(BinaryOp::Mul, two, rest) if number(two, 2.0) => {
                Expr::binary(BinaryOp::Div, (**a).clone(), (**rest).clone())
            }
            _ => Expr::binary(BinaryOp::Div, quote("2 * a_", &[("a_", a)]), (**b).clone()),
        },
        _ => quote("2 * a_", &[("a_", size)]),
    }
}

fn half(size: &Expr) -> Expr {
    match &size.kind {
        ExprKind::Binary(BinaryOp::Mul, two, rest) if number(two, 2.0) => (**rest).clone(),
        ExprKind::Binary(BinaryOp::Div, a, b) => match &a.kind {
            ExprKind::Binary(BinaryOp::Mul, two, rest) if number(two, 2.0) => {
                Expr::binary(BinaryOp::Div, (**rest).clone(), (**b).clone())
            }
            _ => Expr::binary(BinaryOp::Div, (**a).clone(), quote("2 * b_", &[("b_", b)])),
        },
        _ => quote("a_ / 2", &[("a_", size)]),
    }
}
