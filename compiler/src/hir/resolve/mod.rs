//! Name resolution, ast -> hir: every name is resolved once, on the source.

pub(super) mod errors;
mod lints;
mod stmts;

pub use errors::CODES;
pub(crate) use stmts::emits;

use super::builtins::builtin;
use super::library::{ModuleId, Names, callables};
use super::scope::nearest;
use super::*;
use crate::diag::Diagnostic;
use archc_grammar::ast;
use std::collections::BTreeSet;

/// Resolves the bodies of a file. `names` are the fns and blocks it may call, its own included.
pub fn resolve_module(
    id: ModuleId,
    file: FileId,
    tree: &ast::File,
    names: &Names,
    lint: bool,
) -> (Module, Vec<Diagnostic>) {
    let mut resolver =
        Resolver { file, names, exprs: Vec::new(), diagnostics: Vec::new(), lint, frame: Frame::default() };
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    let mut resolved = Vec::new();
    for (item, callable, kind) in callables(tree) {
        if let Some(first) = seen.insert(&callable.name.name, callable.name.span) {
            let help = "rename one; fns, blocks and models share one namespace";
            resolver.diagnostics.push(errors::same_name(file, "items", &callable.name, first, help));
        }
        resolved.push(Arc::new(resolver.callable(item, callable, kind)));
    }
    (Module { id, file, exprs: resolver.exprs, callables: resolved }, resolver.diagnostics)
}

/// Names of the callable being resolved.
#[derive(Default)]
struct Frame {
    kind: Option<CallableKind>,
    locals: Vec<Local>,
    /// Number of reads of each local.
    reads: Vec<usize>,
    scopes: Vec<BTreeMap<String, LocalId>>,
    /// Axes in scope that were declared in brackets, as hyperparameters and by `axis`, with their places.
    axes: BTreeMap<String, Span>,
    /// All declared axes, including those out of scope.
    axes_declared: Vec<Ident>,
    /// Axes named anywhere in the callable.
    axes_used: BTreeSet<String>,
    /// Statements around the current one, outermost first.
    around: Vec<Around>,
}

/// A statement with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Scan,
    Attend,
    For,
    If,
}

struct Resolver<'a> {
    file: FileId,
    names: &'a Names,
    exprs: Vec<Expr>,
    diagnostics: Vec<Diagnostic>,
    lint: bool,
    frame: Frame,
}

impl Resolver<'_> {
    fn callable(&mut self, item: &ast::Item, callable: &ast::Callable, kind: CallableKind) -> Callable {
        self.frame = Frame { kind: Some(kind), scopes: vec![BTreeMap::new()], ..Frame::default() };
        if let Some(axes) = &callable.axes {
            for term in bracket_terms(axes) {
                self.declare_axis(&term.name);
                self.frame.axes_used.insert(term.name.name.clone());
            }
        }
        let mut params: Vec<Parameter> = Vec::new();
        for parameter in callable.params.iter().flatten() {
            if let Some(first) = params.iter().find(|p| p.name.name == parameter.name.name) {
                self.diagnostics.push(errors::duplicate_parameter(self.file, &parameter.name, first.name.span));
            }
            let default = parameter.default.as_ref().map(|d| self.expr(d));
            let local = if is_axis_name(&parameter.name.name) {
                self.declare_axis(&parameter.name);
                None
            } else {
                Some(self.declare(&parameter.name, LocalKind::Argument))
            };
            params.push(Parameter { name: parameter.name.clone(), local, default });
        }
        let body = match &callable.body {
            ast::Body::Expr(e) => {
                let value = self.expr(e);
                vec![Stmt { kind: StmtKind::Return(vec![value]), span: e.span }]
            }
            ast::Body::Block(block) => self.body(block),
        };
        self.check_shape(callable, kind, &body);
        if self.lint {
            self.lint_unused(kind);
        }
        let allows = self.allows(item);
        let frame = std::mem::take(&mut self.frame);
        Callable {
            kind,
            name: callable.name.clone(),
            docs: item.docs.clone(),
            cites: item.attributes.iter().filter_map(|a| a.text("cite")).map(str::to_owned).collect(),
            allows,
            axes: callable.axes.clone(),
            params,
            body,
            locals: frame.locals,
            span: item.span,
        }
    }

    /// Warnings that an item allows.
    fn allows(&mut self, item: &ast::Item) -> Vec<String> {
        let words = item.attributes.iter().flat_map(|a| a.words("allow"));
        let (known, others): (Vec<&Ident>, Vec<&Ident>) = words.partition(|word| crate::is_warning(&word.name));
        self.diagnostics.extend(others.into_iter().map(|word| errors::allow(self.file, word)));
        known.into_iter().map(|word| word.name.clone()).collect()
    }

    fn push(&mut self, kind: ExprKind, span: Span) -> ExprId {
        self.exprs.push(Expr { kind, span });
        ExprId(self.exprs.len() as u32 - 1)
    }

    fn expr(&mut self, e: &ast::Expr) -> ExprId {
        let kind = match &e.kind {
            ast::ExprKind::Number { value, .. } => ExprKind::Number(*value),
            ast::ExprKind::Name(name) => self.name(name, e.span),
            ast::ExprKind::Paren(inner) => return self.expr(inner),
            ast::ExprKind::Unary(op, x) => ExprKind::Unary(*op, self.expr(x)),
            ast::ExprKind::Binary(op, a, b) => {
                let a = self.expr(a);
                ExprKind::Binary(*op, a, self.expr(b))
            }
            ast::ExprKind::Pipe(x, call) => {
                let first = Argument { name: None, value: self.expr(x) };
                match &call.kind {
                    ast::ExprKind::Name(name) => {
                        let callee = Ident { name: name.clone(), span: call.span };
                        self.application(&callee, None, &[], Some(first))
                    }
                    ast::ExprKind::Call(c) => {
                        self.application(&c.callee, c.brackets.as_ref(), c.args.as_deref().unwrap_or(&[]), Some(first))
                    }
                    _ => {
                        self.diagnostics.push(errors::pipe_target(self.file, call.span));
                        ExprKind::Error
                    }
                }
            }
            ast::ExprKind::Call(c) => {
                self.application(&c.callee, c.brackets.as_ref(), c.args.as_deref().unwrap_or(&[]), None)
            }
            ast::ExprKind::Pick { base, axis, at } => {
                let base = self.expr(base);
                self.frame.axes_used.insert(axis.name.clone());
                // a bare name is a label, unless it is a local (the index of a `for`, for instance)
                let at = match &at.kind {
                    ast::ExprKind::Name(name) if self.lookup(name).is_none() => {
                        self.push(ExprKind::Word(name.clone()), at.span)
                    }
                    _ => self.expr(at),
                };
                ExprKind::Pick { base, axis: axis.clone(), at }
            }
            ast::ExprKind::Labels { axis, entries } => {
                self.frame.axes_used.insert(axis.name.clone());
                let entries = entries.iter().map(|(label, e)| (label.clone(), self.expr(e))).collect();
                ExprKind::Labels { axis: axis.clone(), entries }
            }
            ast::ExprKind::Field(base, name) => {
                let base = self.expr(base);
                ExprKind::Field(base, name.clone())
            }
            ast::ExprKind::AxisList(brackets) => ExprKind::AxisList(self.brackets(brackets)),
            ast::ExprKind::Error => ExprKind::Error,
        };
        self.push(kind, e.span)
    }

    /// Resolves a name without arguments: a local, an axis's size, or a call.
    fn name(&mut self, name: &str, span: Span) -> ExprKind {
        if let Some(local) = self.lookup(name) {
            self.frame.reads[local.0 as usize] += 1;
            return ExprKind::Local(local);
        }
        if self.frame.axes.contains_key(name) {
            self.frame.axes_used.insert(name.to_string());
            return ExprKind::AxisSize(name.to_string());
        }
        let ident = Ident { name: name.to_string(), span };
        if self.names.contains_key(name) || builtin(name).is_some() {
            return self.application(&ident, None, &[], None);
        }
        if is_axis_name(name) {
            // possibly an axis that `stack` or a similar function creates; elaboration decides
            self.frame.axes_used.insert(name.to_string());
            return ExprKind::AxisSize(name.to_string());
        }
        self.unknown_value(&ident);
        ExprKind::Error
    }

    fn application(
        &mut self,
        callee: &Ident,
        brackets: Option<&Brackets>,
        args: &[ast::Argument],
        first: Option<Argument>,
    ) -> ExprKind {
        let target = self.callee(callee);
        let brackets = brackets.map(|b| self.brackets(b));
        let mut pin = None;
        let mut resolved: Vec<Argument> = first.into_iter().collect();
        for arg in args {
            let word = match (&arg.name, &arg.value.kind) {
                (Some(name), ast::ExprKind::Name(word)) if name.name == "name" => {
                    pin = Some(word.clone());
                    continue;
                }
                (Some(name), ast::ExprKind::Name(word))
                    if name.name == "shape" && target == Some(Callee::Builtin(Builtin::Anneal)) =>
                {
                    Some(word)
                }
                _ => None,
            };
            let value = match word {
                Some(word) => self.push(ExprKind::Word(word.clone()), arg.value.span),
                None => self.expr(&arg.value),
            };
            resolved.push(Argument { name: arg.name.clone(), value });
        }
        match target {
            Some(target) => {
                ExprKind::Call(Call { callee: target, name: callee.clone(), brackets, args: resolved, pin })
            }
            None => {
                self.unknown_function(callee);
                ExprKind::Error
            }
        }
    }

    fn callee(&mut self, name: &Ident) -> Option<Callee> {
        if let Some(local) = self.lookup(&name.name)
            && self.frame.locals[local.0 as usize].kind == LocalKind::Shared
        {
            self.frame.reads[local.0 as usize] += 1;
            return Some(Callee::Shared(local));
        }
        let item = self.names.get(&name.name).map(|i| Callee::Item(*i));
        item.or_else(|| builtin(&name.name).map(Callee::Builtin))
    }

    fn brackets(&mut self, brackets: &Brackets) -> BoundBrackets {
        let mut values = BTreeMap::new();
        for term in bracket_terms(brackets) {
            if term.spread
                && let Some(local) = self.lookup(&term.name.name)
            {
                self.frame.reads[local.0 as usize] += 1;
                values.insert(term.name.name.clone(), local);
            } else if !is_axis_name(&term.name.name) {
                self.diagnostics.push(errors::lower_case_axis(self.file, &term.name, term.spread));
            } else {
                self.frame.axes_used.insert(term.name.name.clone());
            }
        }
        BoundBrackets { syntax: brackets.clone(), values }
    }

    fn lookup(&self, name: &str) -> Option<LocalId> {
        self.frame.scopes.iter().rev().find_map(|s| s.get(name).copied())
    }

    fn new_local(&mut self, name: &Ident, kind: LocalKind) -> LocalId {
        self.frame.locals.push(Local { name: name.name.clone(), kind, span: name.span });
        self.frame.reads.push(0);
        LocalId(self.frame.locals.len() as u32 - 1)
    }

    fn declare(&mut self, name: &Ident, kind: LocalKind) -> LocalId {
        if let Some(axis) = self.frame.axes.get(&name.name) {
            self.diagnostics.push(errors::two_meanings(self.file, name, *axis));
        } else if let Some(earlier) = self.lookup(&name.name)
            && self.lint
        {
            let earlier = self.frame.locals[earlier.0 as usize].span;
            self.diagnostics.push(errors::shadowed(self.file, name, earlier));
        }
        let local = self.new_local(name, kind);
        self.bind(name, local);
        local
    }

    fn bind(&mut self, name: &Ident, local: LocalId) {
        if let Some(scope) = self.frame.scopes.last_mut() {
            scope.insert(name.name.clone(), local);
        }
    }

    fn declare_axis(&mut self, name: &Ident) {
        if !is_axis_name(&name.name) {
            self.diagnostics.push(errors::lower_case_axis(self.file, name, false));
        }
        if let Some(local) = self.lookup(&name.name) {
            let earlier = self.frame.locals[local.0 as usize].span;
            self.diagnostics.push(errors::two_meanings(self.file, name, earlier));
        } else if let Some(earlier) = self.frame.axes.insert(name.name.clone(), name.span) {
            self.diagnostics.push(errors::duplicate_parameter(self.file, name, earlier));
        }
        self.frame.axes_declared.push(name.clone());
    }

    fn unknown_value(&mut self, name: &Ident) {
        let locals = self.frame.scopes.iter().flat_map(|s| s.keys().map(String::as_str));
        let functions = self.names.keys().map(String::as_str).chain(builtins::names());
        let near = nearest(&name.name, locals.chain(self.frame.axes.keys().map(String::as_str)).chain(functions));
        self.diagnostics.push(errors::unknown_value(self.file, name, near));
    }

    fn unknown_function(&mut self, name: &Ident) {
        let functions = self.names.keys().map(String::as_str).chain(builtins::names());
        let near = nearest(&name.name, functions).map(str::to_string);
        let is_value = self.lookup(&name.name).is_some();
        let library = library::module_of(&name.name);
        self.diagnostics.push(errors::unknown_function(self.file, name, near.as_deref(), is_value, library));
    }
}

/// Whether a name is that of an axis: it starts with a capital letter.
pub(crate) fn is_axis_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
}

fn bracket_terms(brackets: &Brackets) -> impl Iterator<Item = &ast::AxisTerm> {
    brackets.left.iter().chain(brackets.right.iter().flatten()).flat_map(|s| &s.terms)
}
