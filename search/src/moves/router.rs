//! Routers: several paths over one value, and the weights that mix them.

use super::build::{bare, list, name_of, quote, quote_stmt, set_option};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_compiler::hir::LocalKind;
use archc_grammar::Span;
use archc_grammar::ast::{Argument, Call, Expr, ExprKind, Ident};
use archc_grammar::edit::visit_exprs_mut;

rewrites! {
    /// A path beside the memory is right where the memory is weak: a short filter for local patterns (text, induction),
    /// a running mean for the gist (compression), the value itself for the present token. The router learns which.
    struct AddPath = "add a path";

    /// A path that the router never opens costs parameters and noise; without it the others train faster.
    struct DropPath = "drop a path";

    /// How paths are mixed decides whether they compete: softmax lets one win, sigmoid lets several be open,
    /// sparsemax switches paths off exactly, a floor keeps all of them alive.
    struct ChangeMixing = "change how paths are mixed";

    /// A router that reads what its paths have to say (their size, spread, sharpness) can trust the one that is sure;
    /// each statistic is another kind of sureness.
    struct ChangeStatistics = "change a router's statistics";
}

/// Router: a `stack` of paths that a sum over its axis mixes.
struct Router<'a> {
    top: usize,
    span: Span,
    /// Axis of the paths.
    axis: String,
    /// Axes of one path.
    axes: Vec<String>,
    /// Labels and values of the paths.
    paths: Vec<(String, &'a Expr)>,
}

fn stacks(program: &Program) -> Vec<Router<'_>> {
    let mut found = Vec::new();
    program.each_expr(|top, _, expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let Some(axis) = call.brackets.as_ref().and_then(|b| b.left.first()).and_then(|s| s.terms.first()) else {
            return;
        };
        if call.callee.name != "stack" {
            return;
        }
        let label = |a: &Argument| match (&a.name, name_of(&a.value)) {
            (Some(name), _) => name.name.clone(),
            (None, name) => name.unwrap_or_default().to_owned(),
        };
        let args = call.args.iter().flatten();
        let axis = axis.name.name.clone();
        let axes =
            program.axes_of(expr).map(|a| a.iter().filter(|a| **a != axis).cloned().collect()).unwrap_or_default();
        let paths = args.map(|a| (label(a), &a.value)).collect();
        found.push(Router { top, span: expr.span, axis, axes, paths });
    });
    found
}

/// Stacks that are summed over. The other stacks are statistics.
fn routers(program: &Program) -> Vec<Router<'_>> {
    let mut summed = Vec::new();
    program.each_expr(|_, _, e| {
        if let ExprKind::Call(call) = &e.kind
            && call.callee.name == "sum"
            && let Some(brackets) = &call.brackets
        {
            summed.extend(brackets.left.iter().flat_map(|s| &s.terms).map(|t| t.name.name.clone()));
        }
    });
    stacks(program).into_iter().filter(|r| summed.contains(&r.axis) && !r.axes.is_empty()).collect()
}

// ---- paths

/// Paths that can be made from a value `v`: label and text.
const PATHS: &[(&str, &str)] = &[
    ("short", "fir(v_, width = 3)"),
    ("medium", "fir(v_, width = 8)"),
    ("long", "fir(v_, width = 24)"),
    ("dilated", "conv(v_, width = 4, dilation = 4)"),
    ("recent", "window_mean(v_, 8)"),
    ("gist", "causal_mean(v_)"),
    ("fading", "ema(v_, 0.9)"),
    ("previous", "shift(v_, 1)"),
    ("change", "v_ - shift(v_, 1)"),
];

pub(super) enum At {
    /// Router, by its index.
    Router(usize),
    /// Read without a router.
    Read(String),
}

/// Values from which a path of these axes can be made, visible to a statement of the block.
fn sources<'a>(program: &'a Program, top: usize, axes: &'a [String]) -> impl Iterator<Item = &'a super::Value> {
    program
        .visible(top)
        .filter(move |v| v.axes == axes && v.token && matches!(v.kind, LocalKind::Let | LocalKind::Emit))
}

impl Rewrite for AddPath {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let routers = routers(program);
        if !routers.is_empty() {
            let found = routers.iter().enumerate();
            let sized = found.filter(|(_, r)| r.paths.len() < 8 && sources(program, r.top, &r.axes).next().is_some());
            return sized
                .map(|(i, r)| Found::new("router", format!("router over {}", r.axis), At::Router(i)))
                .collect();
        }
        let reads = program.values.iter().filter(|v| v.kind == LocalKind::Emit && v.axes.len() > 1);
        let fed = reads.filter(|v| sources(program, v.top, &v.axes).next().is_some());
        fed.map(|v| Found::new("read without router", format!("read {}", v.name), At::Read(v.name.clone()))).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        match at {
            At::Router(i) => {
                let router = routers(program).into_iter().nth(*i)?;
                let holder = program.body().stmts.get(router.top)?;
                let (label, value) = new_path(draft, &router, stream)?;
                let made = format!("{label} = {value}");
                let argument = if name_of(&value).is_some() && name_of(&value) == Some(&label) {
                    Argument { name: None, value }
                } else if name_of(&value).is_some() {
                    Argument { name: Some(Ident::new(&label)), value }
                } else {
                    let let_ = quote_stmt(&format!("let {label} = v_"), &[("v_", &value)]);
                    draft.before(holder, let_);
                    Argument { name: None, value: Expr::name(&label) }
                };
                edit_call(draft, router.span, |call| call.args.get_or_insert_default().push(argument.clone()));
                set_constant(draft, &router.axis, &label, Some(0.0));
                Some(format!("router over {}: new path {made}", router.axis))
            }
            At::Read(read) => {
                let read = program.value(read)?;
                let holder = program.body().stmts.get(read.top)?;
                let next = program.body().stmts.get(read.top + 1)?;
                let source = sources(program, read.top, &read.axes).collect::<Vec<_>>();
                let source = *stream.pick(&source)?;
                let (wish, text) = *stream.pick(PATHS)?;
                let (input, _) = program.input()?;
                let path = draft.fresh(wish);
                let (paths, route, mixed) = (draft.fresh("paths"), draft.fresh("route"), draft.fresh("mixed"));
                let axis = draft.fresh("P");
                let heads = list(&read.axes[..read.axes.len() - 1]);
                let name = &read.name;
                draft.redirect(name, next.span, &Expr::name(&mixed));
                let text = text.replace("v_", &source.name);
                // The memory has the larger initial weight: the router must learn to use the other path.
                let lines = [
                    format!("let {path} = {text}"),
                    format!("let {paths} = stack[{axis}]({name}, {path})"),
                    format!(
                        "let {route} = {input} |> linear[{heads}, {axis}](bias = {axis}{{{name} = 1}}) |> softmax[{axis}]"
                    ),
                    format!("let {mixed} = sum[{axis}]({route} * {paths})"),
                ];
                for line in lines.iter().rev() {
                    draft.after(holder, quote_stmt(line, &[]));
                }
                Some(format!("{name} and a path {path} = {text} under a router"))
            }
        }
    }
}

/// Path that the router does not have yet: its label and value.
fn new_path(draft: &mut Draft<'_>, router: &Router<'_>, stream: &mut Stream) -> Option<(String, Expr)> {
    let program = draft.program;
    let used = |name: &str| router.paths.iter().any(|(l, v)| l == name || name_of(v) == Some(name));
    let all: Vec<&super::Value> = sources(program, router.top, &router.axes).collect();
    let spare: Vec<&&super::Value> = all.iter().filter(|v| !used(&v.name)).collect();
    if stream.chance(0.3)
        && let Some(value) = stream.pick(&spare)
    {
        return Some((value.name.clone(), Expr::name(&value.name)));
    }
    let source = stream.pick(&all)?;
    let (wish, text) = *stream.pick(PATHS)?;
    let label = draft.fresh(wish);
    Some((label, quote(text, &[("v_", &Expr::name(&source.name))])))
}

fn edit_call(draft: &mut Draft<'_>, span: Span, change: impl Fn(&mut Call)) {
    visit_exprs_mut(draft.file_mut(), &mut |e| {
        if e.span == span
            && let ExprKind::Call(call) = &mut e.kind
        {
            change(call);
        }
    });
}

/// Sets or removes the number of a label in every constant along an axis.
fn set_constant(draft: &mut Draft<'_>, axis: &str, label: &str, number: Option<f64>) {
    visit_exprs_mut(draft.file_mut(), &mut |e| {
        if let ExprKind::Labels { axis: own, entries } = &mut e.kind
            && own.name == axis
        {
            entries.retain(|(l, _)| l.name != label);
            if let Some(number) = number {
                entries.push((Ident::new(label), Expr::number(number)));
            }
        }
        if matches!(&e.kind, ExprKind::Labels { entries, .. } if entries.is_empty()) {
            *e = Expr::number(0.0);
        }
    });
}

impl Rewrite for DropPath {
    type At = (usize, usize);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        let mut found = Vec::new();
        for (i, router) in routers(program).into_iter().enumerate() {
            for (j, (label, _)) in router.paths.iter().enumerate().filter(|_| router.paths.len() > 2) {
                if !picked(program, &router.axis, label) {
                    found.push(Found::new("path", format!("path {label} of {}", router.axis), (i, j)));
                }
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, _: &mut Stream) -> Option<String> {
        let router = routers(draft.program).into_iter().nth(at.0)?;
        let (label, _) = router.paths.get(at.1)?;
        edit_call(draft, router.span, |call| {
            call.args.get_or_insert_default().remove(at.1);
        });
        set_constant(draft, &router.axis, label, None);
        Some(format!("router over {}: path {label} dropped", router.axis))
    }
}

/// Whether a pick `x[P = label]` needs the path.
fn picked(program: &Program, axis: &str, label: &str) -> bool {
    let mut found = false;
    program.each_expr(|_, _, e| {
        if let ExprKind::Pick { axis: own, at, .. } = &e.kind {
            found |= own.name == axis && name_of(at) == Some(label);
        }
    });
    found
}

// ---- mixing

impl Rewrite for ChangeMixing {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        let found = mixings(program).into_iter().enumerate();
        found.map(|(i, (axis, expr))| Found::new("mixing", format!("weights over {axis}: {expr}"), i)).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let (axis, expr) = mixings(draft.program).into_iter().nth(*at)?;
        let (name, logits) = match &expr.kind {
            ExprKind::Pipe(a, f) => (super::build::stage_name(f)?, (**a).clone()),
            ExprKind::Call(call) => (call.callee.name.as_str(), call.args.as_ref()?.first()?.value.clone()),
            _ => return None,
        };
        let temp = options(expr).filter(|(n, _)| n == "temp").map(|(_, v)| v).next();
        let kinds = [
            ("softmax", format!("softmax[{axis}](l_)")),
            ("softmax with a floor", format!("soft_route[{axis}](l_, least = 0.02)")),
            ("sigmoid", "sigmoid_route(l_)".to_owned()),
            ("sparsemax", format!("sparse_route[{axis}](l_)")),
            ("sparsemax with a floor", format!("sparse_route[{axis}](l_, least = 0.02)")),
            ("softmax with a temperature", format!("softmax[{axis}](l_ / temperature(init = 0.7))")),
        ];
        let others: Vec<_> = kinds
            .iter()
            .filter(|(_, text)| !text.starts_with(&format!("{name}[")) && !text.starts_with(&format!("{name}(")))
            .collect();
        let (kind, text) = *stream.pick(&others)?;
        let mut new = quote(text, &[("l_", &logits)]);
        if let (Some(temp), ExprKind::Call(call)) = (temp, &mut new.kind)
            && call.callee.name.ends_with("_route")
        {
            set_option(call, "temp", Some(temp));
        }
        draft.replace(expr, new);
        Some(format!("weights over {axis}: {name} -> {kind}"))
    }
}

fn options(expr: &Expr) -> impl Iterator<Item = (String, Expr)> {
    let call = match &expr.kind {
        ExprKind::Pipe(_, f) => bare(f),
        _ => expr,
    };
    let args = match &call.kind {
        ExprKind::Call(call) => call.args.clone().unwrap_or_default(),
        _ => Vec::new(),
    };
    args.into_iter().filter_map(|a| Some((a.name?.name, a.value)))
}

/// Applications that turn logits into the weights of a router: axis and application.
fn mixings(program: &Program) -> Vec<(String, &Expr)> {
    let axes: Vec<String> = routers(program).into_iter().map(|r| r.axis).collect();
    let mut found = Vec::new();
    program.each_expr(|_, _, expr| {
        let known = ["softmax", "sparsemax", "soft_route", "sparse_route", "sigmoid_route"];
        let weighs = super::build::applied(expr).is_some_and(|n| known.contains(&n));
        let over = program.axes_of(expr).and_then(|a| a.iter().find(|a| axes.contains(a)));
        if let (true, Some(axis), false) = (weighs, over, matches!(expr.kind, ExprKind::Paren(_))) {
            found.push((axis.clone(), expr));
        }
    });
    found
}

// ---- statistics

/// Statistics of a path over its channels that a router may read.
const STATISTICS: &[(&str, &str)] = &[
    ("mean", "mean[A](p_)"),
    ("var", "var[A](p_)"),
    ("std", "std[A](p_)"),
    ("size", "mean[A](abs(p_))"),
    ("norm", "norm[A](p_)"),
    ("peak", "max[A](p_)"),
    ("change", "mean[A](abs(p_ - shift(p_, 1)))"),
];

impl Rewrite for ChangeStatistics {
    type At = (usize, Option<usize>);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        let mut found = Vec::new();
        for (i, stats) in statistics(program).iter().enumerate() {
            if stats.paths.len() < 6 {
                found.push(Found::new("statistics", format!("statistics over {}", stats.axis), (i, None)));
            }
            for (j, (label, _)) in stats.paths.iter().enumerate().filter(|_| stats.paths.len() > 1) {
                found.push(Found::new("statistic", format!("statistic {label}"), (i, Some(j))));
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let stats = statistics(program).into_iter().nth(at.0)?;
        if let Some(j) = at.1 {
            let (label, _) = stats.paths.get(j)?;
            edit_call(draft, stats.span, |call| {
                call.args.get_or_insert_default().remove(j);
            });
            return Some(format!("the router no longer reads {label}"));
        }
        let router = routers(program).into_iter().next()?;
        let paths = program.lets().find(|(_, _, _, v)| v.span == router.span).map(|(_, _, n, _)| n.to_owned())?;
        let over: Vec<String> = router.axes.iter().filter(|a| !stats.axes.contains(a)).cloned().collect();
        let [channel] = over.as_slice() else { return None };
        let fresh = STATISTICS.iter().filter(|(label, _)| stats.paths.iter().all(|(l, _)| l != label));
        let fresh: Vec<_> = fresh.collect();
        let (label, text) = stream.pick(&fresh)?;
        let value = quote(&text.replace("[A]", &format!("[{channel}]")), &[("p_", &Expr::name(&paths))]);
        let argument = Argument { name: Some(Ident::new(*label)), value };
        edit_call(draft, stats.span, |call| call.args.get_or_insert_default().push(argument.clone()));
        Some(format!("the router also reads {label} of its paths"))
    }
}

/// Stacks of statistics of the paths of a router.
fn statistics(program: &Program) -> Vec<Router<'_>> {
    let axes: Vec<String> = routers(program).into_iter().map(|r| r.axis).collect();
    stacks(program).into_iter().filter(|s| !axes.contains(&s.axis) && s.axes.iter().any(|a| axes.contains(a))).collect()
}
