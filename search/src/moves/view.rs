//! Properties of a program that moves need: types by place, visible values, memories and their parts.

use super::Program;
use super::build::{bare, factors, let_parts, name_of, plain_axes};
use archc_compiler::hir::{self, ExprId, LocalId, LocalKind, Module, StmtKind as Hir, TypeTable};
use archc_grammar::Span;
use archc_grammar::ast::{Block, Call, Expr, ExprKind, Stmt, StmtKind};
use archc_grammar::edit::{exprs_of, visit_block_stmts, visit_expr};
use std::collections::BTreeMap;

// ---- values and types

/// Value that the block binds.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Name.
    pub(super) name: String,
    /// Kind of binding.
    pub(super) kind: LocalKind,
    /// Axes, in order of declaration.
    pub(super) axes: Vec<String>,
    /// Whether it differs per token.
    pub(super) token: bool,
    /// Whether it is bound inside a scan or attend; emits are not.
    pub(super) inner: bool,
    /// Index of the block's statement that binds it or contains its binding.
    pub(super) top: usize,
}

/// Axes of expressions by span. If two have the same span, the outer one.
pub(super) fn types(module: &Module, table: &TypeTable) -> BTreeMap<Span, Vec<String>> {
    table.iter().map(|(id, note)| (module.expr(*id).span, note.axes.clone())).collect()
}

/// Values that a callable binds, with their types: those of their uses, or of the bound expression.
pub(super) fn values(module: &Module, callable: &hir::Callable, table: &TypeTable) -> Vec<Value> {
    let mut collector = Collector { callable, table, uses: BTreeMap::new(), values: Vec::new() };
    for (id, note) in table {
        if let hir::ExprKind::Local(local) = module.expr(*id).kind {
            collector.uses.insert(local, note);
        }
    }
    for (top, stmt) in callable.body.iter().enumerate() {
        collector.stmt(stmt, top, false);
    }
    collector.values
}

struct Collector<'a> {
    callable: &'a hir::Callable,
    table: &'a TypeTable,
    uses: BTreeMap<LocalId, &'a hir::TypeNote>,
    values: Vec<Value>,
}

impl Collector<'_> {
    fn bind(&mut self, id: LocalId, value: Option<ExprId>, top: usize, inner: bool) {
        let note = self.uses.get(&id).copied().or_else(|| value.and_then(|e| self.table.get(&e)));
        let local = &self.callable.locals[id.0 as usize];
        if let Some(note) = note {
            let (name, axes) = (local.name.clone(), note.axes.clone());
            self.values.push(Value { name, kind: local.kind, axes, token: note.token, inner, top });
        }
    }

    fn stmt(&mut self, stmt: &hir::Stmt, top: usize, inner: bool) {
        match &stmt.kind {
            Hir::Let { targets, values, .. } => {
                for (i, target) in targets.iter().enumerate() {
                    let own = values.get(i).copied().filter(|_| values.len() == targets.len());
                    self.bind(*target, own, top, inner);
                }
            }
            Hir::Mut { local, value, .. } => self.bind(*local, Some(*value), top, inner),
            Hir::Input { local, .. } | Hir::Param { local, .. } | Hir::State { local, .. } => {
                self.bind(*local, None, top, inner);
            }
            // An attend's emit also has the axes of the score, which appear only in its uses.
            Hir::Emit { local, .. } => self.bind(*local, None, top, false),
            Hir::Scan(body) | Hir::Attend(body) => body.iter().for_each(|s| self.stmt(s, top, true)),
            // Names inside a loop or branch are local to it.
            _ => {}
        }
    }
}

/// Memory of a scan, decomposed.
#[derive(Clone, Debug)]
pub(super) struct Memory<'a> {
    /// Index of the block's statement that contains it.
    pub(super) top: usize,
    /// Its `scan` statement.
    pub(super) scan: &'a Stmt,
    /// Body of the scan.
    pub(super) body: &'a Block,
    /// Its `state` statement.
    pub(super) state: &'a Stmt,
    /// Name of the state.
    pub(super) name: &'a str,
    /// Axes of the state.
    pub(super) axes: Vec<String>,
    /// Assignments to the state alone, directly in the scan.
    pub(super) updates: Vec<(&'a Stmt, &'a Expr)>,
    /// Contractions of the state with a query.
    pub(super) reads: Vec<Read<'a>>,
}

/// Read of a memory: `sum[K](q * S)`.
#[derive(Clone, Debug)]
pub(super) struct Read<'a> {
    /// Statement of the scan that contains it.
    pub(super) stmt: &'a Stmt,
    /// Contracted axes.
    pub(super) keys: Vec<String>,
    /// Factors beside the state.
    pub(super) query: Vec<&'a Expr>,
}

impl Memory<'_> {
    /// Axes that are contracted in its first read.
    pub(super) fn keys(&self) -> Vec<String> {
        self.reads.first().map(|r| r.keys.clone()).unwrap_or_default()
    }
}

impl Program {
    /// Axes of an expression of the block.
    pub(super) fn axes_of(&self, expr: &Expr) -> Option<&[String]> {
        self.types.get(&bare(expr).span).map(Vec::as_slice)
    }

    /// Value with this name.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|v| v.name == name)
    }

    /// Values of the block that are visible to a statement.
    pub(super) fn visible(&self, top: usize) -> impl Iterator<Item = &Value> {
        self.values.iter().filter(move |v| v.top < top && !v.inner)
    }

    /// First input with one axis: its name and axis.
    pub(super) fn input(&self) -> Option<(&str, &str)> {
        let inputs = self.values.iter().filter(|v| v.kind == LocalKind::Input);
        inputs.filter(|v| v.axes.len() == 1).map(|v| (v.name.as_str(), v.axes[0].as_str())).next()
    }

    /// All `let`s directly in the block that bind one name: index, statement, name, value.
    pub(super) fn lets(&self) -> impl Iterator<Item = (usize, &Stmt, &str, &Expr)> {
        let stmts = self.body().stmts.iter().enumerate();
        stmts.filter_map(|(i, s)| let_parts(s).map(|(name, value)| (i, s, name, value)))
    }

    /// Value of the `let` of this name directly in the block.
    pub(super) fn definition(&self, name: &str) -> Option<&Expr> {
        self.lets().find(|(_, _, n, _)| *n == name).map(|(_, _, _, value)| value)
    }

    /// Calls `visit` on each expression of the block with the statement of the block that holds it.
    pub(super) fn each_expr<'a>(&'a self, mut visit: impl FnMut(usize, &'a Stmt, &'a Expr)) {
        for (top, stmt) in self.body().stmts.iter().enumerate() {
            let mut one = |inner: &'a Stmt| {
                for expr in exprs_of(inner) {
                    visit_expr(expr, &mut |e| visit(top, inner, e));
                }
            };
            one(stmt);
            for block in archc_grammar::edit::blocks_of(stmt) {
                visit_block_stmts(block, &mut one);
            }
        }
    }

    /// Memories of all scans.
    pub(super) fn memories(&self) -> Vec<Memory<'_>> {
        let mut found = Vec::new();
        for (top, scan) in self.body().stmts.iter().enumerate() {
            let StmtKind::Scan(body) = &scan.kind else { continue };
            for state in &body.stmts {
                if let StmtKind::State { name, axes, .. } = &state.kind
                    && let Some(axes) = plain_axes(axes.as_ref())
                {
                    let name = name.name.as_str();
                    let (updates, reads) = (updates(body, name), reads(body, name));
                    found.push(Memory { top, scan, body, state, name, axes, updates, reads });
                }
            }
        }
        found
    }

    /// Axes that distinguish heads: those that a state shares with its query, except the contracted ones. If the query
    /// has none (keys shared by the heads), the first axis that is not contracted.
    pub(super) fn heads(&self, memory: &Memory<'_>) -> Vec<String> {
        let keys = memory.keys();
        let outer: Vec<&String> = memory.axes.iter().filter(|a| !keys.contains(a)).collect();
        let query = memory.reads.first().map(|r| r.query.as_slice()).unwrap_or_default();
        let shared = |a: &&String| query.iter().any(|q| self.axes_of(q).is_some_and(|axes| axes.contains(a)));
        let heads: Vec<String> = outer.iter().filter(|a| shared(a)).map(|a| (*a).clone()).collect();
        if heads.is_empty() { outer.first().map(|a| vec![(*a).clone()]).unwrap_or_default() } else { heads }
    }
}

fn updates<'a>(body: &'a Block, name: &str) -> Vec<(&'a Stmt, &'a Expr)> {
    let one = |stmt: &'a Stmt| match &stmt.kind {
        StmtKind::Assign { targets, values } => match (targets.as_slice(), values.as_slice()) {
            ([target], [value]) if target.name == name => Some((stmt, value)),
            _ => None,
        },
        _ => None,
    };
    body.stmts.iter().filter_map(one).collect()
}

fn reads<'a>(body: &'a Block, name: &str) -> Vec<Read<'a>> {
    let mut found = Vec::new();
    for stmt in &body.stmts {
        for expr in exprs_of(stmt) {
            visit_expr(expr, &mut |sum| {
                if let Some(read) = as_read(stmt, sum, name) {
                    found.push(read);
                }
            });
        }
    }
    // An emit identifies the query best; an erased key is the second choice.
    found.sort_by_key(|r| !matches!(r.stmt.kind, StmtKind::Emit { .. }));
    found
}

/// Decomposes `sum[K](q * S)`; none for other expressions.
pub(super) fn as_read<'a>(stmt: &'a Stmt, sum: &'a Expr, name: &str) -> Option<Read<'a>> {
    let ExprKind::Call(Call { callee, brackets, args }) = &sum.kind else { return None };
    let [arg] = args.as_deref()? else { return None };
    if callee.name != "sum" {
        return None;
    }
    let all = factors(&arg.value);
    let query: Vec<&Expr> = all.iter().copied().filter(|f| name_of(f) != Some(name)).collect();
    let whole = query.len() + 1 == all.len() && !query.is_empty();
    whole.then(|| Read { stmt, keys: plain_axes(brackets.as_ref()).unwrap_or_default(), query })
}
