//! Replacement of a value by another of the same type, and sharing of one map by two values.

use super::build::{factors, name_of, terms};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_compiler::hir::LocalKind;
use archc_grammar::ast::{Expr, ExprKind, StmtKind};

rewrites! {
    /// The same value in another role is the freest of the typed changes: a key as the query, a gated value as
    /// the plain one, a path's read as another's control. Mostly it hurts, and now and then it shows what was not needed.
    struct SwapValue = "use another value";
}

impl Rewrite for SwapValue {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        let found = uses(program).into_iter().enumerate();
        found.map(|(i, (place, expr, _))| Found::new("use of a value", format!("{expr} in {place}"), i)).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let (place, expr, rivals) = uses(draft.program).into_iter().nth(*at)?;
        let new = stream.pick(&rivals)?;
        draft.replace(expr, Expr::name(new));
        Some(format!("{place} uses {new} instead of {expr}"))
    }
}

/// Uses of values for which another value has the same axes: label of the place, use, alternatives.
fn uses(program: &Program) -> Vec<(String, &Expr, Vec<String>)> {
    let mut found = Vec::new();
    let mut fixed = Vec::new();
    // A factor of a state is a decay: another value there could let it grow.
    for memory in program.memories() {
        for term in memory.updates.iter().flat_map(|(_, update)| terms(update)) {
            let all = factors(term.value);
            if all.iter().any(|f| name_of(f) == Some(memory.name)) {
                fixed.extend(all.iter().map(|f| f.span));
            }
        }
    }
    program.each_expr(|top, stmt, expr| {
        match &expr.kind {
            // These names are labels and fns, not values.
            ExprKind::Pick { at, .. } => fixed.push(at.span),
            ExprKind::Pipe(_, f) => fixed.push(f.span),
            ExprKind::Call(call) if call.callee.name == "stack" => {
                fixed.extend(call.args.iter().flatten().filter(|a| a.name.is_none()).map(|a| a.value.span));
            }
            _ => {}
        }
        let ExprKind::Name(name) = &expr.kind else { return };
        let Some(value) = program.value(name) else { return };
        let kinds = [LocalKind::Let, LocalKind::Emit];
        if fixed.contains(&expr.span) || value.inner || !value.token || !kinds.contains(&value.kind) {
            return;
        }
        let rivals = program.visible(top).filter(|v| v.name != *name && v.axes == value.axes && v.token);
        let rivals: Vec<String> = rivals.filter(|v| kinds.contains(&v.kind)).map(|v| v.name.clone()).collect();
        let place = match &stmt.kind {
            StmtKind::Assign { targets, .. } => targets.first().map(|t| t.name.clone()),
            _ => super::tidy::bound(stmt).into_iter().next(),
        };
        if !rivals.is_empty() && name_of(expr).is_some() {
            found.push((place.unwrap_or_else(|| "the output".to_owned()), expr, rivals));
        }
    });
    found
}
