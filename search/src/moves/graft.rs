//! Crossover: a value or a whole memory of another program, with everything that it depends on.
//!
//! A graft is a slice of the other block: the statements that a value depends on. Axes are mapped by name, or by position
//! where the two values' axes differ; an axis missing in this block becomes a new hyperparameter with the other's
//! default. Values of the same name and axes are shared or copied, at random; copied values get a free name.

use super::build::{bracket, list, quote_stmt};
use super::draft::Draft;
use super::tidy::{bound, declared, named, named_axes};
use super::{Found, Program, Rewrite, Value, rewrites};
use crate::random::Stream;
use archc_compiler::hir::LocalKind;
use archc_grammar::Span;
use archc_grammar::ast::{Brackets, Callable, Expr, ExprKind, Ident, ItemKind, Pattern, Stmt, StmtKind};
use archc_grammar::edit::{self, blocks_of, blocks_of_mut, exprs_of, exprs_of_mut};
use std::collections::{BTreeMap, BTreeSet};

rewrites! {
    /// What works in one program may work in another: its way to make a key, a gate or a decay, in the place of
    /// the value of the same type here.
    struct GraftValue = "graft a value";

    /// Two memories with different habits (a delta rule that recalls, a decay that forgets, a window that is exact) cover
    /// for each other: the other program's memory is read beside this one's, or instead of it.
    struct GraftMemory = "graft a memory";
}

impl Rewrite for GraftValue {
    type At = String;
    const NEEDS_OTHER: bool = true;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        let lets =
            program.lets().filter(|(_, _, name, _)| program.value(name).is_some_and(|v| v.token && !v.axes.is_empty()));
        lets.map(|(_, _, name, _)| Found::new("value", format!("let {name}"), name.to_owned())).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, stream: &mut Stream) -> Option<String> {
        let (program, other) = (draft.program, draft.other?);
        let (_, stmt, _, old) = program.lets().find(|(_, _, n, _)| n == name)?;
        let here = program.value(name)?;
        let lets: Vec<&Value> = other
            .values
            .iter()
            .filter(|v| v.kind == LocalKind::Let && !v.inner && v.token && v.axes.len() == here.axes.len())
            .filter(|v| other.definition(&v.name).is_some_and(|e| !matches!(e.kind, ExprKind::Name(_))))
            .collect();
        let same: Vec<&Value> = lets.iter().copied().filter(|v| v.name == *name || v.axes == here.axes).collect();
        let from = *stream.pick(if same.is_empty() { &lets } else { &same })?;
        let mut graft = Graft::new(draft, other, stmt, &from.axes, &here.axes, stream.chance(0.6))?;
        graft.names.insert(from.name.clone(), name.clone());
        let mut stmts = graft.slice(&from.name)?;
        let mut value = other.definition(&from.name)?.clone();
        graft.rename(&mut value);
        let summary = format!("{name} is made as in {}: {value}", other.callable().name.name);
        // The value itself replaces the old one; its own statement is not inserted.
        stmts.retain(|s| !bound(s).contains(name));
        graft.insert(stmt, stmts);
        draft.replace(old, value);
        Some(summary)
    }
}

impl Rewrite for GraftMemory {
    type At = String;
    const NEEDS_OTHER: bool = true;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        let emits = program.values.iter().filter(|v| v.kind == LocalKind::Emit && !v.axes.is_empty());
        emits.map(|v| Found::new("memory", format!("read {}", v.name), v.name.clone())).collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, stream: &mut Stream) -> Option<String> {
        let (program, other) = (draft.program, draft.other?);
        let here = program.value(name)?;
        let emits: Vec<&Value> = other
            .values
            .iter()
            .filter(|v| v.kind == LocalKind::Emit && v.axes.len() == here.axes.len() && v.token)
            .collect();
        let from = *stream.pick(&emits)?;
        let next = program.body().stmts.get(here.top + 1)?;
        let mut graft = Graft::new(draft, other, next, &from.axes, &here.axes, stream.chance(0.6))?;
        let read = graft.fresh(&from.name);
        graft.names.insert(from.name.clone(), read.clone());
        let stmts = graft.slice(&from.name)?;
        graft.insert(next, stmts);
        let donor = &other.callable().name.name;
        if stream.chance(0.35) {
            draft.redirect(name, next.span, &Expr::name(&read));
            return Some(format!("the memory of {donor} instead of the one read as {name}"));
        }
        let (input, _) = program.input()?;
        let heads = &here.axes[..here.axes.len() - 1];
        let both = draft.fresh("both");
        draft.redirect(name, next.span, &Expr::name(&both));
        let text = if heads.is_empty() {
            format!("let {both} = mix_gate[{}]({input}, {name}, {read})", list(&here.axes))
        } else {
            format!("let {both} = mix_gate{}({input}, {name}, {read})", bracket(heads))
        };
        draft.before(next, quote_stmt(&text, &[]));
        Some(format!("the memory of {donor} beside the one read as {name}, under a gate"))
    }
}

/// Slice of another program being inserted into this one.
struct Graft<'d, 'a> {
    draft: &'d mut Draft<'a>,
    other: &'a Program,
    /// Map from names of the other program to names of this one: axes and values.
    names: BTreeMap<String, String>,
    /// Index of the statement of this block before which the slice is inserted.
    top: usize,
    /// Whether values of the same name and axes are shared instead of copied.
    share: bool,
}

impl<'d, 'a> Graft<'d, 'a> {
    fn new(
        draft: &'d mut Draft<'a>,
        other: &'a Program,
        before: &Stmt,
        from: &[String],
        to: &[String],
        share: bool,
    ) -> Option<Self> {
        let top = draft.program.body().stmts.iter().position(|s| s.span == before.span)?;
        let own_fns = other.file.items.iter().any(|i| matches!(i.kind, ItemKind::Fn(_) | ItemKind::Use { .. }));
        let (input, axis) = draft.program.input()?;
        let (other_input, other_axis) = other.input()?;
        let mut names =
            BTreeMap::from([(other_input.to_owned(), input.to_owned()), (other_axis.to_owned(), axis.to_owned())]);
        if from != to {
            // By name where the names are equal, else by position.
            for (a, b) in from.iter().zip(to) {
                names.entry(a.clone()).or_insert_with(|| b.clone());
            }
        }
        (!own_fns).then_some(Self { draft, other, names, top, share })
    }

    fn fresh(&mut self, wish: &str) -> String {
        self.draft.fresh(wish)
    }

    /// Statements that a value of the other block depends on, in order, renamed.
    fn slice(&mut self, target: &str) -> Option<Vec<Stmt>> {
        let body = self.other.body();
        let mut needed = BTreeSet::from([target.to_owned()]);
        let mut chosen = Vec::new();
        for (i, stmt) in body.stmts.iter().enumerate().rev() {
            let binds = everything_bound(stmt);
            if !binds.iter().any(|n| needed.contains(n)) || matches!(stmt.kind, StmtKind::Input { .. }) {
                continue;
            }
            if binds.iter().any(|n| n != target && needed.contains(n) && self.is_shared(n)) && !binds.contains(target) {
                continue;
            }
            uses(stmt, &mut needed);
            chosen.push(i);
        }
        chosen.reverse();
        for name in &needed {
            if self.is_shared(name) && name != target {
                self.names.insert(name.clone(), name.clone());
            }
        }
        // Names of copied values first, then the axes and numbers that they need.
        for i in &chosen {
            for name in everything_bound(&body.stmts[*i]) {
                if !self.names.contains_key(&name) {
                    let new = self.draft.fresh(&name);
                    self.names.insert(name, new);
                }
            }
        }
        for name in needed.clone() {
            self.hyperparameter(&name);
        }
        let mut made = BTreeSet::new();
        for i in &chosen {
            axes_made(&body.stmts[*i], &mut made);
        }
        for axis in made {
            if !self.names.contains_key(&axis) {
                let new = self.draft.fresh(&axis);
                self.names.insert(axis, new);
            }
        }
        let stmts: Vec<Stmt> = chosen.iter().map(|i| self.renamed(&body.stmts[*i])).collect();
        (!stmts.is_empty()).then_some(stmts)
    }

    /// Whether a value is shared: both programs have it, under one name and with the same axes.
    fn is_shared(&self, name: &str) -> bool {
        let here = self.draft.program.visible(self.top).find(|v| v.name == name);
        let there = self.other.value(name);
        match (here, there) {
            (Some(here), Some(there)) => {
                let map = |a: &String| self.names.get(a).unwrap_or(a).clone();
                let plain = here.kind == LocalKind::Let && there.kind == LocalKind::Let;
                self.share && plain && here.axes == there.axes.iter().map(map).collect::<Vec<_>>()
            }
            _ => false,
        }
    }

    /// Maps a hyperparameter of the other program: to the one of the same name, or to a new one with its default.
    fn hyperparameter(&mut self, name: &str) {
        if self.names.contains_key(name) {
            return;
        }
        let there = |c: &'a Callable| c.params.iter().flatten().find(|p| p.name.name == name);
        let Some(parameter) = there(self.other.callable()) else { return };
        let here = self.draft.program.callable().params.iter().flatten().any(|p| p.name.name == name);
        if here || name == "layer" || name == "depth" {
            self.names.insert(name.to_owned(), name.to_owned());
        }
        if here {
            return;
        }
        let new = if self.names.contains_key(name) { name.to_owned() } else { self.draft.fresh(name) };
        self.names.insert(name.to_owned(), new.clone());
        let Some(default) = &parameter.default else { return };
        let mut used = BTreeSet::new();
        named(default, &mut used);
        for n in used {
            self.hyperparameter(&n);
        }
        let mut default = default.clone();
        self.rename(&mut default);
        self.draft.hyperparameter(&new, default);
    }

    fn renamed(&self, stmt: &Stmt) -> Stmt {
        let mut stmt = stmt.clone();
        stmt.trivia.leading.clear();
        stmt.trivia.blank_before = false;
        self.rename_stmt(&mut stmt);
        edit::erase_stmt_spans(&mut stmt);
        stmt
    }

    fn rename_stmt(&self, stmt: &mut Stmt) {
        exprs_of_mut(stmt).into_iter().for_each(|e| self.rename(e));
        for block in blocks_of_mut(stmt) {
            block.stmts.iter_mut().for_each(|s| self.rename_stmt(s));
        }
        match &mut stmt.kind {
            StmtKind::Let { pattern: Pattern::Tuple { names, .. }, .. } | StmtKind::Assign { targets: names, .. } => {
                names.iter_mut().for_each(|n| self.ident(n));
            }
            StmtKind::Let { pattern: Pattern::Name { name, axes }, .. }
            | StmtKind::Mut { name, axes, .. }
            | StmtKind::Param { name, axes, .. }
            | StmtKind::State { name, axes, .. } => {
                self.ident(name);
                axes.iter_mut().for_each(|b| self.brackets(b));
            }
            StmtKind::Axis { name, .. } | StmtKind::Emit { name, .. } | StmtKind::For { index: name, .. } => {
                self.ident(name);
            }
            _ => {}
        }
    }

    fn ident(&self, ident: &mut Ident) {
        if let Some(new) = self.names.get(&ident.name) {
            ident.name.clone_from(new);
        }
    }

    fn brackets(&self, brackets: &mut Brackets) {
        let sums = brackets.left.iter_mut().chain(brackets.right.iter_mut().flatten());
        sums.flat_map(|s| &mut s.terms).for_each(|t| self.ident(&mut t.name));
    }

    /// Renames the values and axes in an expression, but not labels, options and fns.
    fn rename(&self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Name(name) => {
                if let Some(new) = self.names.get(name) {
                    name.clone_from(new);
                }
            }
            ExprKind::Pipe(a, f) if matches!(f.kind, ExprKind::Name(_)) => return self.rename(a),
            ExprKind::Pick { base, axis, at } => {
                self.ident(axis);
                let index = matches!(&at.kind, ExprKind::Name(n) if self.names.contains_key(n));
                let label = matches!(at.kind, ExprKind::Name(_)) && !(index && self.is_number(at));
                self.rename(base);
                if !label {
                    self.rename(at);
                }
                return;
            }
            ExprKind::Labels { axis, .. } => self.ident(axis),
            ExprKind::AxisList(b) => self.brackets(b),
            ExprKind::Call(call) => {
                call.brackets.iter_mut().for_each(|b| self.brackets(b));
                if call.callee.name == "stack" {
                    for arg in call.args.iter_mut().flatten() {
                        if let (None, ExprKind::Name(name)) = (&arg.name, &arg.value.kind)
                            && self.names.get(name).is_some_and(|new| new != name)
                        {
                            arg.name = Some(Ident::new(name.clone()));
                        }
                    }
                }
            }
            _ => {}
        }
        edit::children_mut(expr).into_iter().for_each(|child| self.rename(child));
    }

    /// Whether a name is the index of a `for` in the other program: `x[N = i]` then means its number.
    fn is_number(&self, at: &Expr) -> bool {
        let ExprKind::Name(name) = &at.kind else { return false };
        let mut found = false;
        edit::visit_block_stmts(self.other.body(), &mut |s| {
            found |= matches!(&s.kind, StmtKind::For { index, .. } if index.name == *name);
        });
        found
    }

    /// Inserts the statements before one of this block, as a separate paragraph.
    fn insert(self, before: &Stmt, stmts: Vec<Stmt>) {
        let span: Span = before.span;
        let blank = before.trivia.blank_before;
        for (i, mut stmt) in stmts.into_iter().enumerate() {
            stmt.trivia.blank_before = i == 0 && blank;
            self.draft.before(before, stmt);
            if i == 0 {
                self.draft.each_stmt(span, |s| s.trivia.blank_before = false);
            }
        }
    }
}

/// Names that a statement of a block binds, for later statements and inside.
fn everything_bound(stmt: &Stmt) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = match &stmt.kind {
        StmtKind::Assign { .. } => BTreeSet::new(),
        _ => bound(stmt).into_iter().collect(),
    };
    for block in blocks_of(stmt) {
        for inner in &block.stmts {
            names.extend(everything_bound(inner));
        }
    }
    names
}

/// Collects the names that a statement uses, inside its blocks too.
fn uses(stmt: &Stmt, into: &mut BTreeSet<String>) {
    exprs_of(stmt).into_iter().for_each(|e| named(e, into));
    declared(stmt).into_iter().for_each(|b| named_axes(b, into));
    for block in blocks_of(stmt) {
        block.stmts.iter().for_each(|s| uses(s, into));
    }
}

/// Collects the axes that calls in a statement create: those of `stack flatten cat rename`, and of library fns.
fn axes_made(stmt: &Stmt, into: &mut BTreeSet<String>) {
    let mut visit = |e: &Expr| {
        if let ExprKind::Call(call) = &e.kind {
            call.brackets.iter().for_each(|b| named_axes(b, into));
        }
    };
    for expr in exprs_of(stmt) {
        edit::visit_expr(expr, &mut visit);
    }
    for block in blocks_of(stmt) {
        edit::visit_block_exprs(block, &mut visit);
    }
}
