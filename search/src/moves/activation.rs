//! Activations, gates, and feature maps: the element-wise functions of a block.

use super::build::{applied, bare, pipe_of, quote, stage_name, stages};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Expr, ExprKind, Ident, StmtKind};
use std::collections::BTreeSet;

rewrites! {
    /// The nonlinearity decides which features survive: a smooth one (silu, gelu) trains easily, a squared or rectified
    /// one makes sparse values that interfere less, tanh bounds outliers. Small effects everywhere; sparse ones should
    /// move memorization and recall.
    struct SwapActivation = "swap an activation";

    /// Feature maps of queries and keys decide how sharply a linear memory tells keys apart: positive and spiky maps
    /// come near to softmax attention, normed ones keep a delta rule stable. Recall and fuzzy recall should move.
    struct SwapFeatureMap = "swap a feature map";
}

/// Interchangeable functions of any value.
const SMOOTH: &[&str] = &["silu", "gelu", "relu", "relu2", "tanh"];

/// Interchangeable gate functions.
const GATES: &[&str] = &["sigmoid", "silu", "gelu", "tanh", "relu2"];

/// Application of an element-wise function that can be replaced.
pub(super) struct Activation<'a> {
    expr: &'a Expr,
    options: &'static [&'static str],
}

impl Rewrite for SwapActivation {
    type At = (usize, &'static [&'static str]);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        let found = activations(program).into_iter().enumerate();
        found.map(|(i, (kind, label, a))| Found::new(kind, label, (i, a.options))).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, stream: &mut Stream) -> Option<String> {
        let (_, label, activation) = activations(draft.program).into_iter().nth(at.0)?;
        let old = applied(activation.expr)?.to_owned();
        let options: Vec<&str> = at.1.iter().copied().filter(|n| *n != old).collect();
        let new = *stream.pick(&options)?;
        let mut expr = activation.expr.clone();
        rename_applied(&mut expr, new);
        draft.replace(activation.expr, expr);
        Some(format!("{label}: {old} -> {new}"))
    }
}

fn rename_applied(expr: &mut Expr, new: &str) {
    match &mut expr.kind {
        ExprKind::Call(call) => call.callee = Ident::new(new),
        ExprKind::Pipe(_, f) => match &mut f.kind {
            ExprKind::Call(call) => call.callee = Ident::new(new),
            kind => *kind = ExprKind::Name(new.to_owned()),
        },
        ExprKind::Paren(inner) => rename_applied(inner, new),
        _ => {}
    }
}

/// Lists activations and gates. Sigmoids count as gates only if no memory update or mixing weight depends on their
/// range.
fn activations(program: &Program) -> Vec<(&'static str, String, Activation<'_>)> {
    let ranged = ranged(program);
    let mut found = Vec::new();
    program.each_expr(|_, stmt, expr| {
        let Some(name) = applied(expr) else { return };
        if matches!(expr.kind, ExprKind::Paren(_)) {
            return;
        }
        let binding = super::tidy::bound(stmt).into_iter().next();
        let whole = binding.as_ref().and_then(|b| program.definition(b)).is_some_and(|v| bare(v).span == expr.span);
        let where_ = binding.clone().unwrap_or_else(|| "the output".to_owned());
        let safe = binding.as_ref().is_none_or(|b| !ranged.contains(b));
        if whole && safe && ["sigmoid", "silu", "gelu"].contains(&name) && is_factor(program, binding.as_deref()) {
            found.push(("gate", format!("gate `{where_}`"), Activation { expr, options: GATES }));
        } else if SMOOTH.contains(&name) && !matches!(stmt.kind, StmtKind::Param { .. }) {
            found.push(("activation", format!("activation of {where_}"), Activation { expr, options: SMOOTH }));
        }
    });
    found
}

/// Values whose range matters: those that a scan or an attend uses, and any x of `1 - x`.
fn ranged(program: &Program) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for stmt in &program.body().stmts {
        for block in archc_grammar::edit::blocks_of(stmt) {
            archc_grammar::edit::visit_block_exprs(block, &mut |e| {
                if let ExprKind::Name(name) = &e.kind {
                    names.insert(name.clone());
                }
            });
        }
    }
    program.each_expr(|_, _, e| {
        if let ExprKind::Binary(archc_grammar::ast::BinaryOp::Sub, one, x) = &e.kind
            && matches!(&bare(one).kind, ExprKind::Number { value, .. } if *value == 1.0)
            && let ExprKind::Name(name) = &bare(x).kind
        {
            names.insert(name.clone());
        }
    });
    names
}

/// Whether a value is a factor of a product, or is not bound to a name (an output's gate).
fn is_factor(program: &Program, name: Option<&str>) -> bool {
    let Some(name) = name else { return true };
    let mut found = false;
    program.each_expr(|_, _, e| {
        if let ExprKind::Binary(archc_grammar::ast::BinaryOp::Mul, a, b) = &e.kind {
            found |= [a, b].iter().any(|f| super::build::name_of(f) == Some(name));
        }
    });
    found
}

// ---- feature maps

/// Feature maps at the ends of the pipes of queries and keys, and whether each is written over an axis.
const MAPS: &[(&str, bool)] = &[
    ("silu", false),
    ("elu1", false),
    ("relu2", false),
    ("relu", false),
    ("exp_map", true),
    ("softmax_map", true),
    ("l2norm", true),
];

impl Rewrite for SwapFeatureMap {
    type At = Vec<String>;

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        let mut found = Vec::new();
        for memory in program.memories() {
            let Some(read) = memory.reads.first() else { continue };
            let query: Vec<&str> = read.query.iter().filter_map(|q| super::build::name_of(q)).collect();
            let ([query], [_]) = (query.as_slice(), read.keys.as_slice()) else { continue };
            let Some(axes) = program.value(query).map(|v| v.axes.clone()) else { continue };
            // The query, and the written value with the same axes: its key.
            let mut names = vec![(*query).to_owned()];
            for write in super::update::writes(&memory) {
                let factors = super::build::factors(write.term.value);
                let like = |n: &&str| program.value(n).is_some_and(|v| v.axes == axes && !v.inner && v.token);
                let keys = factors.iter().filter_map(|f| super::build::name_of(f)).filter(like);
                names.extend(keys.filter(|n| *n != names[0]).map(str::to_owned).collect::<Vec<_>>());
            }
            names.dedup();
            names.retain(|n| program.definition(n).is_some_and(|v| stages(v).len() > 1));
            if names.len() == 2 && names[0] == *query {
                found.push(Found::new("feature map", format!("map of {}", names.join(" and ")), names));
            }
        }
        found.dedup_by(|a, b| a.at == b.at);
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, names: &Self::At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let memory = program.memories().into_iter().find(|m| {
            m.reads
                .first()
                .is_some_and(|r| r.query.iter().any(|q| super::build::name_of(q) == names.first().map(String::as_str)))
        })?;
        let key = memory.keys().into_iter().next()?;
        let ends = |name: &String, map: &str| {
            program.definition(name).is_some_and(|v| stages(v).iter().any(|s| stage_name(s) == Some(map)))
        };
        let maps: Vec<_> = MAPS.iter().filter(|(map, _)| !names.iter().all(|n| ends(n, map))).collect();
        let (map, over) = **stream.pick(&maps)?;
        let text = if over { format!("{map}[{key}]") } else { map.to_owned() };
        let mut old = Vec::new();
        for name in names {
            let value = program.definition(name)?;
            let mut kept: Vec<Expr> = stages(value).into_iter().cloned().collect();
            // A norm at the end stays: the map is inserted before it, unless the map is a norm itself.
            let norm = kept.pop_if(|s| stage_name(s) == Some("l2norm"));
            let had = kept.pop_if(|s| stage_name(s).is_some_and(|n| MAPS.iter().any(|(m, _)| *m == n)));
            old.push(had.as_ref().and_then(stage_name).unwrap_or("none").to_owned());
            if map == "l2norm" {
                kept.extend(had);
                kept.push(quote(&text, &[]));
            } else {
                kept.push(quote(&text, &[]));
                kept.extend(norm);
            }
            draft.replace(value, pipe_of(kept));
        }
        old.dedup();
        Some(format!("map of {}: {} -> {map}", names.join(" and "), old.join(", ")))
    }
}
