//! Norms.

use super::build::{list, pipe_of, plain_axes, quote, stage_name, stages, unpipe};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_compiler::hir::LocalKind;
use archc_grammar::ast::{Expr, ExprKind};

rewrites! {
    /// A norm keeps the size of a read, a key or a query in hand: it steadies training and lets heads of very different
    /// spans count alike; but it also hides how sure a memory was. Every task may move; depth and length most.
    struct ChangeNorm = "add, swap or drop a norm";
}

/// Interchangeable norms over the same axes.
const NORMS: &[&str] = &["rmsnorm", "layernorm", "dyt", "rms"];

pub(super) enum At {
    /// Norm, by its index in the text.
    Norm(usize),
    /// Value without a norm.
    Value(String),
}

impl Rewrite for ChangeNorm {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let norms = norms(program).into_iter().enumerate();
        let mut found: Vec<_> = norms
            .map(|(i, (place, _, name))| {
                let kind = if name == "l2norm" { "length" } else { "norm" };
                Found::new(kind, format!("{name} of {place}"), At::Norm(i))
            })
            .collect();
        for (_, _, name, value) in program.lets() {
            let bare = stages(value).iter().all(|s| !s.to_string().contains("norm"));
            let mapped = stages(value).get(1).is_some_and(|s| stage_name(s) == Some("linear"));
            if bare && mapped && program.value(name).is_some_and(|v| v.axes.len() > 1 && v.token) {
                found.push(Found::new("no norm", format!("value {name}"), At::Value(name.to_owned())));
            }
        }
        let reads = program.values.iter().filter(|v| v.kind == LocalKind::Emit && v.axes.len() > 1);
        for value in reads.filter(|v| !is_normed(program, &v.name)) {
            found.push(Found::new("read without norm", format!("read {}", value.name), At::Value(value.name.clone())));
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        match at {
            At::Norm(i) => {
                let (place, expr, name) = norms(program).into_iter().nth(*i)?;
                let (call, inner) = parts(expr)?;
                if stream.chance(0.3) || name == "l2norm" {
                    draft.replace(expr, inner.clone());
                    return Some(format!("{name} of {place} dropped"));
                }
                let axes = plain_axes(call.brackets.as_ref())?;
                let others: Vec<&str> = NORMS.iter().copied().filter(|n| *n != name).collect();
                let new = *stream.pick(&others)?;
                let text = format!("{new}[{}]", list(&axes));
                draft.replace(
                    expr,
                    match &expr.kind {
                        ExprKind::Pipe(a, _) => pipe_of(vec![(**a).clone(), quote(&text, &[])]),
                        _ => quote(&format!("{text}(x_)"), &[("x_", inner)]),
                    },
                );
                Some(format!("norm of {place}: {name} -> {new}"))
            }
            At::Value(name) => {
                let value = program.value(name)?;
                let axis = value.axes.last()?.clone();
                if let Some(definition) = program.definition(name) {
                    let norm = *stream.pick(&["l2norm", "rmsnorm", "rms"])?;
                    draft.replace(definition, quote(&format!("x_ |> {norm}[{axis}]"), &[("x_", definition)]));
                    return Some(format!("{name} gets {norm}[{axis}]"));
                }
                let (holder, _) = program.body().stmts.get(value.top).map(|s| (s, ()))?;
                let next = program.body().stmts.get(value.top + 1)?;
                let normed = draft.fresh(&format!("{name}_normed"));
                draft.redirect(name, next.span, &Expr::name(&normed));
                let text = format!("let {normed} = rmsnorm[{axis}]({name})");
                draft.after(holder, super::build::quote_stmt(&text, &[]));
                Some(format!("{name} gets rmsnorm[{axis}]"))
            }
        }
    }
}

/// Applications of norms: label of the place, application, name of the norm.
fn norms(program: &Program) -> Vec<(String, &Expr, String)> {
    let mut found = Vec::new();
    program.each_expr(|_, stmt, expr| {
        let Some((call, _)) = parts(expr) else { return };
        let name = call.callee.name.as_str();
        if NORMS.contains(&name) || name == "groupnorm" || name == "l2norm" {
            let place = super::tidy::bound(stmt).into_iter().next().unwrap_or_else(|| "the output".to_owned());
            found.push((place, expr, name.to_owned()));
        }
    });
    found
}

/// Call and argument x of `f[A](x)` or `x |> f[A]`.
fn parts(expr: &Expr) -> Option<(&archc_grammar::ast::Call, &Expr)> {
    match &expr.kind {
        ExprKind::Pipe(a, f) => match &f.kind {
            ExprKind::Call(call) => Some((call, a)),
            _ => None,
        },
        ExprKind::Call(call) => {
            let first = call.args.iter().flatten().find(|a| a.name.is_none())?;
            Some((call, &first.value))
        }
        _ => None,
    }
}

/// Whether a norm is applied to an expression that contains this name.
fn is_normed(program: &Program, name: &str) -> bool {
    let has = |e: &Expr| super::build::mentions(&unpipe(e), name);
    norms(program).iter().any(|(_, expr, _)| has(expr)) || swish(program, name)
}

fn swish(program: &Program, name: &str) -> bool {
    let mut found = false;
    program.each_expr(|_, _, e| {
        if let ExprKind::Call(call) = &e.kind {
            found |= call.callee.name == "swish_gate" && super::build::mentions(e, name);
        }
    });
    found
}
