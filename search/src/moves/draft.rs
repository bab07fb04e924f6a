//! Program being edited: the original for queries, the tree for changes.

use super::tidy::tidy;
use super::{Edit, Program};
use archc_compiler::hir::Builtin;
use archc_grammar::Span;
use archc_grammar::ast::{Block, Body, Callable, Expr, ExprKind, File, ItemKind, Parameter, Stmt};
use archc_grammar::edit::{self, exprs_of_mut, visit_exprs, visit_stmts};
use std::collections::BTreeSet;

/// Program being edited. Spans of the original stay valid until their contents are replaced.
pub(super) struct Draft<'a> {
    /// Original program.
    pub(super) program: &'a Program,
    /// Second program that parts may be taken from.
    pub(super) other: Option<&'a Program>,
    file: File,
    /// Names in use, including new ones.
    taken: BTreeSet<String>,
    /// Whether an edit did not find its place.
    failed: bool,
}

impl<'a> Draft<'a> {
    /// Starts a draft as a copy of a program.
    pub(super) fn new(program: &'a Program, other: Option<&'a Program>) -> Self {
        let file = program.file.clone();
        let taken = names(&file);
        Self { program, other, file, taken, failed: false }
    }

    pub(super) fn callable_mut(&mut self) -> &mut Callable {
        match &mut self.file.items[self.program.item].kind {
            ItemKind::Block(callable) => callable,
            _ => unreachable!("the edited item is a block"),
        }
    }

    pub(super) fn body_mut(&mut self) -> &mut Block {
        match &mut self.callable_mut().body {
            Body::Block(block) => block,
            Body::Expr(_) => unreachable!("the edited block has statements"),
        }
    }

    pub(super) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    // ---- names

    /// Unused name: the wished one, or with a number appended.
    pub(super) fn fresh(&mut self, wish: &str) -> String {
        let free =
            |name: &String| !self.taken.contains(name) && !archc_grammar::is_keyword(name) && !names_a_constant(name);
        let numbered = (2..).map(|i| format!("{wish}{i}"));
        let name = std::iter::once(wish.to_owned()).chain(numbered).find(free).unwrap_or_else(|| wish.to_owned());
        self.taken.insert(name.clone());
        name
    }

    // ---- edits

    /// Replaces an expression of the original.
    pub(super) fn replace(&mut self, old: &Expr, new: Expr) {
        self.failed |= !edit::replace_expr(&mut self.file, old.span, new);
    }

    /// Inserts a statement before one of the original.
    pub(super) fn before(&mut self, stmt: &Stmt, new: Stmt) {
        self.failed |= !edit::insert_stmt_before(&mut self.file, stmt.span, new);
    }

    /// Inserts a statement before one of the original; it takes over the blank line before that statement.
    pub(super) fn lead(&mut self, stmt: &Stmt, mut new: Stmt) {
        new.trivia.blank_before = stmt.trivia.blank_before;
        self.before(stmt, new);
        self.each_stmt(stmt.span, |s| s.trivia.blank_before = false);
    }

    /// Inserts a statement after one of the original.
    pub(super) fn after(&mut self, stmt: &Stmt, new: Stmt) {
        self.failed |= !edit::insert_stmt_after(&mut self.file, stmt.span, new);
    }

    /// Replaces a statement of the original.
    pub(super) fn replace_stmt(&mut self, old: &Stmt, new: Stmt) {
        self.failed |= !edit::replace_stmt(&mut self.file, old.span, new);
    }

    /// Removes a statement of the original; its comments go with it.
    pub(super) fn remove(&mut self, stmt: &Stmt) {
        self.failed |= edit::remove_stmt(&mut self.file, stmt.span).is_none();
    }

    /// Changes the statement of the original at a span.
    pub(super) fn each_stmt(&mut self, span: Span, mut change: impl FnMut(&mut Stmt)) {
        edit::visit_stmts_mut(&mut self.file, &mut |stmt| {
            if stmt.span == span {
                change(stmt);
            }
        });
    }

    /// Adds a hyperparameter or an axis with a default.
    pub(super) fn hyperparameter(&mut self, name: &str, default: Expr) {
        let parameter = Parameter { name: archc_grammar::ast::Ident::new(name), default: Some(default) };
        self.callable_mut().params.get_or_insert_default().push(parameter);
    }

    /// Replaces the uses of a value in the block's statements from the given one on.
    pub(super) fn redirect(&mut self, name: &str, from: Span, tree: &Expr) {
        let mut after = false;
        for stmt in &mut self.body_mut().stmts {
            after |= stmt.span == from;
            if after {
                for expr in exprs_of_mut(stmt) {
                    super::build::substitute(expr, name, tree);
                }
                for block in edit::blocks_of_mut(stmt) {
                    edit::visit_block_stmts_mut(block, &mut |inner| {
                        exprs_of_mut(inner).into_iter().for_each(|e| super::build::substitute(e, name, tree));
                    });
                }
            }
        }
        self.failed |= !after;
    }

    // ---- the end

    /// Sweeps unused parts, prints, and reparses the print; none if nothing changed or an edit did not find its place.
    pub(super) fn finish(mut self, summary: String) -> Option<Edit> {
        if self.failed {
            return None;
        }
        let original = self.program.callable();
        tidy(self.callable_mut(), original);
        let source = archc_grammar::format(&self.file);
        let parsed = archc_grammar::parse(&source);
        let faithful = parsed.errors.is_empty() && archc_grammar::format(&parsed.file) == source;
        (faithful && source != archc_grammar::format(&self.program.file)).then_some(Edit { source, summary })
    }
}

/// All names of a file.
fn names(file: &File) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in &file.items {
        if let ItemKind::Fn(c) | ItemKind::Block(c) | ItemKind::Model(c) = &item.kind {
            names.insert(c.name.name.clone());
            let brackets = c.axes.iter().flat_map(|b| &b.left).flat_map(|s| &s.terms).map(|t| &t.name.name);
            names.extend(brackets.cloned());
            names.extend(c.params.iter().flatten().map(|p| p.name.name.clone()));
        }
    }
    visit_stmts(file, &mut |stmt| names.extend(super::tidy::bound(stmt)));
    visit_exprs(file, &mut |expr| match &expr.kind {
        ExprKind::Name(name) => {
            names.insert(name.clone());
        }
        // `stack[P](..)` and similar calls create their axis.
        ExprKind::Call(call) => {
            let sums = call.brackets.iter().flat_map(|b| b.left.iter().chain(b.right.iter().flatten()));
            names.extend(sums.flat_map(|s| &s.terms).map(|t| t.name.name.clone()));
        }
        _ => {}
    });
    names
}

/// Whether a bare name is a builtin constant: `pos`, `ones`.
fn names_a_constant(name: &str) -> bool {
    let builtin = archc_compiler::hir::builtins::builtin(name);
    builtin.is_some_and(|b| !matches!(b, Builtin::Reduce(_) | Builtin::Unary(_)))
}
