//! Changes a number: a hyperparameter's default, the width of a conv, a floor, an initial value.

use super::{Edit, Move, Program};
use crate::random::Stream;
use crate::record::Site;
use archc_grammar::Span;
use archc_grammar::ast::{Block, Body, Call, Callable, Expr, ExprKind, ItemKind, StmtKind};

/// Half, double, or one step up or down, of one written number.
pub(super) struct ChangeNumber;

/// A number in the text.
struct Place {
    span: Span,
    text: String,
    value: f64,
    kind: &'static str,
    label: String,
}

impl Move for ChangeNumber {
    fn name(&self) -> &'static str {
        "change a number"
    }

    fn doc(&self) -> &'static str {
        "Published designs differ from each other as much in widths, floors and scales as in structure"
    }

    fn sites(&self, program: &Program) -> Vec<Site> {
        let places = places(program);
        let site = |(index, p): (usize, Place)| Site { kind: p.kind.to_owned(), index, label: p.label };
        places.into_iter().enumerate().map(site).collect()
    }

    fn apply(&self, program: &Program, site: &Site, _: Option<&Program>, stream: &mut Stream) -> Option<Edit> {
        let place = places(program).into_iter().nth(site.index)?;
        let whole = place.value.fract() == 0.0 && !place.text.contains(['.', 'e']);
        let options: Vec<f64> = if whole {
            let v = place.value;
            vec![v * 2.0, (v / 2.0).floor(), v + 1.0, v - 1.0].into_iter().filter(|n| *n >= 1.0 && *n != v).collect()
        } else {
            [0.25, 0.5, 0.8, 1.25, 2.0, 4.0].iter().map(|f| place.value * f).collect()
        };
        let text = spelled(*stream.pick(&options)?, whole);
        if text == place.text {
            return None;
        }
        let (start, end) = (place.span.start as usize, place.span.end as usize);
        let source = format!("{}{text}{}", program.source.get(..start)?, program.source.get(end..)?);
        Some(Edit { source, summary: format!("{}: {} -> {text}", place.label, place.text) })
    }
}

/// Digits on both sides of the point, as the language wants, and no more of them than mean something.
fn spelled(value: f64, whole: bool) -> String {
    if whole {
        return format!("{value:.0}");
    }
    let digits = format!("{value:.3e}");
    let rounded: f64 = digits.parse().unwrap_or(value);
    if (1e-3..1e4).contains(&rounded.abs()) { format!("{rounded:?}") } else { format!("{rounded:e}") }
}

/// Numbers that mean something when changed alone: defaults, and named or sole arguments of calls.
fn places(program: &Program) -> Vec<Place> {
    let mut found = Vec::new();
    for item in &program.file.items {
        if let ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) = &item.kind {
            callable(c, &mut found);
        }
    }
    found.sort_by_key(|p| p.span.start);
    found
}

fn callable(c: &Callable, found: &mut Vec<Place>) {
    for parameter in c.params.iter().flatten() {
        if let Some(default) = &parameter.default {
            number(default, "hyperparameter", format!("default of {}", parameter.name.name), found);
        }
    }
    match &c.body {
        Body::Expr(e) => expr(e, found),
        Body::Block(b) => block(b, found),
    }
}

fn block(b: &Block, found: &mut Vec<Place>) {
    for stmt in &b.stmts {
        match &stmt.kind {
            StmtKind::Let { value, .. }
            | StmtKind::Mut { value, .. }
            | StmtKind::Emit { value, .. }
            | StmtKind::Output { value, .. } => expr(value, found),
            StmtKind::Assign { values, .. } | StmtKind::Return(values) => values.iter().for_each(|e| expr(e, found)),
            StmtKind::Param { name, init, .. } | StmtKind::State { name, init, .. } => {
                number(init, "init", format!("init of {}", name.name), found);
                expr(init, found);
            }
            StmtKind::Where(e) | StmtKind::Score(e) | StmtKind::Weight(e) | StmtKind::Sink(e) | StmtKind::Loss(e) => {
                expr(e, found);
            }
            StmtKind::Scan(b) | StmtKind::Attend(b) => block(b, found),
            StmtKind::For { body, .. } => block(body, found),
            StmtKind::If { arms, otherwise } => {
                arms.iter().for_each(|(_, b)| block(b, found));
                otherwise.iter().for_each(|b| block(b, found));
            }
            StmtKind::Input { .. }
            | StmtKind::Axis { .. }
            | StmtKind::Prefix { .. }
            | StmtKind::Shared { .. }
            | StmtKind::Error => {}
        }
    }
}

fn expr(e: &Expr, found: &mut Vec<Place>) {
    match &e.kind {
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) | ExprKind::Field(inner, _) => expr(inner, found),
        ExprKind::Pick { base, .. } => expr(base, found),
        ExprKind::Binary(_, a, b) | ExprKind::Pipe(a, b) => {
            expr(a, found);
            expr(b, found);
        }
        ExprKind::Call(c) => call(c, found),
        ExprKind::Labels { axis, entries } => {
            for (label, value) in entries {
                number(value, "label constant", format!("{} of {}", label.name, axis.name), found);
            }
        }
        ExprKind::Number { .. } | ExprKind::Name(_) | ExprKind::AxisList(_) | ExprKind::Error => {}
    }
}

fn call(c: &Call, found: &mut Vec<Place>) {
    for argument in c.args.iter().flatten() {
        match &argument.name {
            Some(name) => {
                number(&argument.value, "option", format!("{} of {}", name.name, c.callee.name), found);
                expr(&argument.value, found);
            }
            None => expr(&argument.value, found),
        }
    }
}

fn number(e: &Expr, kind: &'static str, label: String, found: &mut Vec<Place>) {
    match &e.kind {
        ExprKind::Number { value, text } if *value != 0.0 => {
            found.push(Place { span: e.span, text: text.clone(), value: *value, kind, label });
        }
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => number(inner, kind, label, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_change_one_at_a_time() {
        let source = "block B[D](H = 4) {\n    input x[D]\n    let y = conv(x, width = 4, init = normal(0.02))\n    param t = 0.5\n    output y * t\n}\n";
        let program = Program::new(source).unwrap();
        let labels: Vec<_> = ChangeNumber.sites(&program).into_iter().map(|s| s.label).collect();
        assert_eq!(labels, ["default of H", "width of conv", "init of t"]);
        for site in ChangeNumber.sites(&program) {
            for seed in 0..20 {
                let edit = ChangeNumber.apply(&program, &site, None, &mut Stream::new(seed, "test", &[])).unwrap();
                assert_ne!(edit.source, source);
                assert!(Program::new(&edit.source).is_some(), "{}", edit.source);
            }
        }
    }

    #[test]
    fn spelling() {
        assert_eq!(spelled(0.02 / 4.0, false), "0.005");
        assert_eq!(spelled(2.0, false), "2.0");
        assert_eq!(spelled(1e-5 * 0.8, false), "8e-6");
        assert_eq!(spelled(16.0, true), "16");
    }
}
