//! Initial values of parameters.

use super::build::{option, quote, set_option};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Expr, ExprKind, StmtKind};

rewrites! {
    /// Where a parameter starts decides what is learned first: slow decays remember from the first step, a closed path
    /// stays out of the way until it is needed, an orthogonal map keeps keys apart. Short training shows it most.
    struct ChangeInit = "change an init";

    /// A bias says what a gate or a decay does before it has learned to listen: open, closed, or neither.
    struct ChangeBias = "change a bias";
}

const PARAMS: &[&str] = &["zeros", "ones", "0.5", "normal(0.02)", "uniform(0, 1)", "-1", "2"];
const RATES: &[&str] =
    &["log(uniform(1, 16))", "log(uniform(1, 4))", "log(uniform(0.1, 1))", "log(log_uniform(0.01, 16))"];
const MAPS: &[&str] = &["orthogonal(1)", "normal(0.02)", "orthogonal(0.5)"];
const CONVS: &[&str] = &["dirac + normal(0.02)", "dirac", "normal(0.1)", "uniform(0, 0.5)"];
const BIASES: &[&str] = &["zeros", "fan", "2", "-2", "4", "uniform(-4, 4)"];

impl Rewrite for ChangeInit {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        let found = places(program).into_iter().enumerate();
        found.map(|(i, (kind, label, _))| Found::new(kind, label, i)).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let (kind, label, expr) = places(draft.program).into_iter().nth(*at)?;
        if kind == "init of a parameter" {
            let old = expr.to_string();
            let menu = if old.starts_with("log(") { RATES } else { PARAMS };
            let others: Vec<&str> = menu.iter().copied().filter(|t| *t != old).collect();
            let new = *stream.pick(&others)?;
            draft.replace(expr, quote(new, &[]));
            return Some(format!("{label}: {old} -> {new}"));
        }
        let ExprKind::Call(call) = &expr.kind else { return None };
        let old = option(call, "init").map(ToString::to_string);
        let menu = if kind == "init of a map" { MAPS } else { CONVS };
        let mut others: Vec<Option<&str>> =
            menu.iter().copied().map(Some).filter(|t| t.map(str::to_owned) != old).collect();
        others.extend(old.is_some().then_some(None));
        let new = *stream.pick(&others)?;
        let mut call = call.clone();
        set_option(&mut call, "init", new.map(|t| quote(t, &[])));
        draft.replace(expr, Expr::new(ExprKind::Call(call)));
        Some(format!("{label}: {} -> {}", old.as_deref().unwrap_or("fan"), new.unwrap_or("fan")))
    }
}

/// Parameters, and calls of learned maps: kind, label, and the init or the call.
fn places(program: &Program) -> Vec<(&'static str, String, &Expr)> {
    let mut found = Vec::new();
    program.each_expr(|_, stmt, expr| {
        let name = super::tidy::bound(stmt).into_iter().next().unwrap_or_else(|| "the output".to_owned());
        match &stmt.kind {
            StmtKind::Param { init, .. } if init.span == expr.span => {
                found.push(("init of a parameter", format!("init of {name}"), expr));
            }
            _ => {}
        }
        if let ExprKind::Call(call) = &expr.kind {
            match call.callee.name.as_str() {
                "linear" => found.push(("init of a map", format!("init of the map to {name}"), expr)),
                "conv" => found.push(("init of a convolution", format!("init of the conv of {name}"), expr)),
                _ => {}
            }
        }
    });
    found
}

impl Rewrite for ChangeBias {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        let found = maps(program).into_iter().enumerate();
        found
            .map(|(i, (label, expr))| {
                let has = matches!(&expr.kind, ExprKind::Call(c) if option(c, "bias").is_some());
                Found::new(if has { "bias" } else { "no bias" }, label, i)
            })
            .collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let (label, expr) = maps(draft.program).into_iter().nth(*at)?;
        let ExprKind::Call(call) = &expr.kind else { return None };
        let old = option(call, "bias").map(ToString::to_string);
        let mut others: Vec<Option<&str>> =
            BIASES.iter().copied().map(Some).filter(|t| t.map(str::to_owned) != old).collect();
        others.extend(old.is_some().then_some(None));
        let new = *stream.pick(&others)?;
        let mut call = call.clone();
        set_option(&mut call, "bias", new.map(|t| quote(t, &[])));
        draft.replace(expr, Expr::new(ExprKind::Call(call)));
        Some(format!("{label}: {} -> {}", old.as_deref().unwrap_or("none"), new.unwrap_or("none")))
    }
}

/// Linear maps inside statements that bind a value.
fn maps(program: &Program) -> Vec<(String, &Expr)> {
    let mut found = Vec::new();
    program.each_expr(|_, stmt, expr| {
        if let (ExprKind::Call(call), Some(name)) = (&expr.kind, super::tidy::bound(stmt).first())
            && call.callee.name == "linear"
        {
            found.push((format!("bias of the map to {name}"), expr));
        }
    });
    found
}
