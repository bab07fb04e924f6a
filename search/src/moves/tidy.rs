//! Removal of dead code after an edit: values, states, emits, scans and hyperparameters that nothing needs.
//!
//! Without this a child would accumulate dead code, and parameters without a gradient, which the checker refuses. Names
//! are unique in a block, so liveness does not depend on order: a statement is needed if a needed expression uses a
//! name that it binds.

use archc_grammar::ast::{Block, Body, Brackets, Callable, Expr, ExprKind, Pattern, Stmt, StmtKind};
use archc_grammar::edit::{blocks_of, blocks_of_mut, exprs_of};
use std::collections::BTreeSet;

/// Removes unneeded parts of a block; hyperparameters only if the original needed them or did not have them.
pub(super) fn tidy(callable: &mut Callable, original: &Callable) {
    let live = Live::of(callable).names;
    let before = Live::of(original).names;
    let had = |name: &str| original.params.iter().flatten().any(|p| p.name.name == name);
    if let Some(params) = &mut callable.params {
        params.retain(|p| {
            let name = p.name.name.as_str();
            live.contains(name) || had(name) && !before.contains(name)
        });
    }
    if let Body::Block(block) = &mut callable.body {
        sweep(block, &live);
    }
}

/// Names that a statement binds: values and axes.
pub(super) fn bound(stmt: &Stmt) -> Vec<String> {
    match &stmt.kind {
        StmtKind::Let { pattern: Pattern::Tuple { names, .. }, .. } | StmtKind::Assign { targets: names, .. } => {
            names.iter().map(|n| n.name.clone()).collect()
        }
        StmtKind::Let { pattern: Pattern::Name { name, .. }, .. }
        | StmtKind::Input { name, .. }
        | StmtKind::Axis { name, .. }
        | StmtKind::Mut { name, .. }
        | StmtKind::Param { name, .. }
        | StmtKind::State { name, .. }
        | StmtKind::Emit { name, .. }
        | StmtKind::Prefix { name, .. }
        | StmtKind::Shared { name, .. }
        | StmtKind::For { index: name, .. } => vec![name.name.clone()],
        _ => Vec::new(),
    }
}

/// Collects all names in an expression, axes included, without the fns it applies.
pub(super) fn named(expr: &Expr, into: &mut BTreeSet<String>) {
    match &expr.kind {
        ExprKind::Name(name) => {
            into.insert(name.clone());
        }
        ExprKind::Pipe(a, f) if matches!(f.kind, ExprKind::Name(_)) => return named(a, into),
        ExprKind::Call(call) => call.brackets.iter().for_each(|b| named_axes(b, into)),
        ExprKind::AxisList(b) => named_axes(b, into),
        ExprKind::Pick { axis, .. } | ExprKind::Labels { axis, .. } => {
            into.insert(axis.name.clone());
        }
        _ => {}
    }
    archc_grammar::edit::children(expr).into_iter().for_each(|child| named(child, into));
}

/// Collects all names in brackets.
pub(super) fn named_axes(brackets: &Brackets, into: &mut BTreeSet<String>) {
    let sums = brackets.left.iter().chain(brackets.right.iter().flatten());
    into.extend(sums.flat_map(|s| &s.terms).map(|t| t.name.name.clone()));
}

/// Brackets after the name that a statement binds.
pub(super) fn declared(stmt: &Stmt) -> Option<&Brackets> {
    match &stmt.kind {
        StmtKind::Let { pattern: Pattern::Name { axes, .. }, .. }
        | StmtKind::Mut { axes, .. }
        | StmtKind::Param { axes, .. }
        | StmtKind::State { axes, .. } => axes.as_ref(),
        StmtKind::Input { axes, .. } | StmtKind::Prefix { axes, .. } => Some(axes),
        _ => None,
    }
}

/// Set of the needed names.
struct Live {
    names: BTreeSet<String>,
}

impl Live {
    fn of(callable: &Callable) -> Self {
        let mut live = Self { names: BTreeSet::new() };
        let Body::Block(block) = &callable.body else { return live };
        loop {
            let before = live.names.len();
            live.block(block, false);
            for parameter in callable.params.iter().flatten() {
                if live.names.contains(&parameter.name.name) {
                    parameter.default.iter().for_each(|e| named(e, &mut live.names));
                }
            }
            if live.names.len() == before {
                return live;
            }
        }
    }

    /// Processes a block; returns whether something in it is needed.
    fn block(&mut self, block: &Block, attend: bool) -> bool {
        let read = attend && emits(block, &self.names);
        // All statements, not just up to the first that is needed.
        let mut any = false;
        for stmt in &block.stmts {
            any |= self.stmt(stmt, read);
        }
        any
    }

    fn stmt(&mut self, stmt: &Stmt, read: bool) -> bool {
        let mut inner = false;
        for block in blocks_of(stmt) {
            inner |= self.block(block, matches!(stmt.kind, StmtKind::Attend(_)));
        }
        let needed = inner || is_needed(stmt, &self.names, read);
        if needed {
            exprs_of(stmt).into_iter().for_each(|e| named(e, &mut self.names));
            declared(stmt).into_iter().for_each(|b| named_axes(b, &mut self.names));
        }
        needed
    }
}

/// Whether an emit of an attend is needed.
fn emits(block: &Block, live: &BTreeSet<String>) -> bool {
    block.stmts.iter().any(|s| matches!(&s.kind, StmtKind::Emit { name, .. } if live.contains(&name.name)))
}

/// Whether a statement is needed for itself or for a name that it binds.
fn is_needed(stmt: &Stmt, live: &BTreeSet<String>, read: bool) -> bool {
    match &stmt.kind {
        StmtKind::Output { .. }
        | StmtKind::Loss(_)
        | StmtKind::Return(_)
        | StmtKind::Input { .. }
        | StmtKind::Error => true,
        StmtKind::Where(_) | StmtKind::Score(_) | StmtKind::Weight(_) | StmtKind::Sink(_) => read,
        StmtKind::Scan(_) | StmtKind::Attend(_) | StmtKind::For { .. } | StmtKind::If { .. } => false,
        _ => bound(stmt).iter().any(|name| live.contains(name)),
    }
}

fn sweep(block: &mut Block, live: &BTreeSet<String>) {
    let read = emits(block, live);
    let mut kept = Vec::with_capacity(block.stmts.len());
    let mut blank = false;
    for mut stmt in std::mem::take(&mut block.stmts) {
        let mut full = false;
        for inner in blocks_of_mut(&mut stmt) {
            sweep(inner, live);
            full |= !inner.stmts.is_empty();
        }
        if full || is_needed(&stmt, live, read) {
            stmt.trivia.blank_before |= blank;
            blank = false;
            kept.push(stmt);
        } else {
            blank |= stmt.trivia.blank_before;
        }
    }
    block.stmts = kept;
}
