//! Reduction of failing programs: all parts that can be removed without losing the fault are removed.

use crate::agree::Finding;
use crate::generate::Program;
use crate::setting::{Setting, Style};
use archc_grammar::ast::{Expr, ExprKind, File, Pattern, StmtKind};
use archc_grammar::{Span, edit, format, parse};

/// A program that fails in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The program.
    pub program: Program,
    /// The run.
    pub setting: Setting,
    /// The finding.
    pub finding: Finding,
}

/// Maximum number of smaller programs that are tried.
const TRIES: usize = 3000;

/// Reduces a failure. `fails` runs a program and returns a finding of the wanted kind, if there still is one.
pub fn reduce(failure: Failure, fails: &mut dyn FnMut(&Program, &Setting) -> Option<Finding>) -> Failure {
    let mut left = TRIES;
    let mut best = failure;
    loop {
        let before = best.clone();
        settings(&mut best, fails, &mut left);
        programs(&mut best, fails, &mut left);
        sizes(&mut best, fails, &mut left);
        if best == before || left == 0 {
            return best;
        }
    }
}

fn attempt(
    best: &mut Failure,
    program: Program,
    setting: Setting,
    fails: &mut dyn FnMut(&Program, &Setting) -> Option<Finding>,
    left: &mut usize,
) -> bool {
    if *left == 0 || (program == best.program && setting == best.setting) {
        return false;
    }
    *left -= 1;
    match fails(&program, &setting) {
        Some(finding) => {
            *best = Failure { program, setting, finding };
            true
        }
        None => false,
    }
}

/// Reduces the setting: fewer tokens, sequences, documents, pieces; ordinary numbers.
fn settings(best: &mut Failure, fails: &mut dyn FnMut(&Program, &Setting) -> Option<Finding>, left: &mut usize) {
    loop {
        let now = best.setting.clone();
        let mut smaller = Vec::new();
        smaller
            .extend([1, 2, 3, 4, 5, 8, 16, 17, 33, 65].into_iter().filter(|n| *n < now.len).map(|n| now.shortened(n)));
        if now.len > 1 {
            smaller.push(now.shortened(now.len - 1));
        }
        for batch in 1..now.batch {
            let starts = now.starts.iter().copied().filter(|s| s.0 < batch).collect();
            smaller.push(Setting { batch, starts, ..now.clone() });
        }
        for i in 0..now.starts.len() {
            let mut starts = now.starts.clone();
            starts.remove(i);
            smaller.push(Setting { starts, ..now.clone() });
        }
        for i in 0..now.ends.len().saturating_sub(1) {
            let mut ends = now.ends.clone();
            ends.remove(i);
            smaller.push(Setting { ends, ..now.clone() });
        }
        if now.style != Style::Ordinary {
            smaller.push(Setting { style: Style::Ordinary, ..now.clone() });
            if now.style != Style::Equal {
                smaller.push(Setting { style: Style::Equal, ..now.clone() });
            }
        }
        let program = best.program.clone();
        if !smaller.into_iter().any(|s| attempt(best, program.clone(), s, fails, left)) {
            return;
        }
    }
}

/// Reduces the sizes of axes.
fn sizes(best: &mut Failure, fails: &mut dyn FnMut(&Program, &Setting) -> Option<Finding>, left: &mut usize) {
    for i in 0..best.program.set.len() {
        for size in [1, 2, 3] {
            let mut program = best.program.clone();
            if size >= program.set[i].1 {
                break;
            }
            program.set[i].1 = size;
            let setting = best.setting.clone();
            if attempt(best, program, setting, fails, left) {
                break;
            }
        }
    }
}

/// Removes statements and parts of expressions.
fn programs(best: &mut Failure, fails: &mut dyn FnMut(&Program, &Setting) -> Option<Finding>, left: &mut usize) {
    let mut at = 0;
    loop {
        let Some(file) = parsed(&best.program.text) else { return };
        let edits = edits(&file);
        if at >= edits.len() || *left == 0 {
            return;
        }
        let mut changed = file.clone();
        let text = if edits[at].apply(&mut changed) { format(&changed) } else { String::new() };
        let shorter = !text.is_empty() && text.len() < best.program.text.len();
        let set = best.program.set.iter().filter(|(name, _)| mentions(&text, name)).cloned().collect();
        let program = Program { text, set, ..best.program.clone() };
        let setting = best.setting.clone();
        if !(shorter && attempt(best, program, setting, fails, left)) {
            at += 1;
        }
    }
}

/// Whether a name is a word of the text.
fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name)
}

fn parsed(text: &str) -> Option<File> {
    let parsed = parse(text);
    parsed.errors.is_empty().then_some(parsed.file)
}

/// One part to remove.
enum Edit {
    /// An item of the file.
    Item(usize),
    /// A statement.
    Statement(Span),
    /// A `let`, whose value replaces its name.
    Inline(Span, String, Expr),
    /// An expression, replaced by this part of it or by a number.
    Replace(Span, Expr),
    /// An axis of a callable's brackets.
    Axis(usize, usize),
    /// A hyperparameter of a callable.
    Hyper(usize, usize),
}

impl Edit {
    fn apply(&self, file: &mut File) -> bool {
        match self {
            Self::Item(i) => {
                file.items.remove(*i);
                !file.items.is_empty()
            }
            Self::Statement(span) => edit::remove_stmt(file, *span).is_some(),
            Self::Inline(span, name, value) => {
                if edit::remove_stmt(file, *span).is_none() {
                    return false;
                }
                edit::visit_exprs_mut(file, &mut |e| {
                    if matches!(&e.kind, ExprKind::Name(n) if n == name) {
                        e.kind = ExprKind::Paren(Box::new(value.clone()));
                    }
                });
                true
            }
            Self::Replace(span, with) => edit::replace_expr(file, *span, with.clone()),
            Self::Axis(callable, i) => match &mut edit::callables_mut(file)[*callable].axes {
                Some(brackets) if brackets.left.len() > 1 => {
                    brackets.left.remove(*i);
                    true
                }
                _ => false,
            },
            Self::Hyper(callable, i) => {
                let params = &mut edit::callables_mut(file)[*callable].params;
                params.iter_mut().for_each(|p| drop(p.remove(*i)));
                if params.as_ref().is_some_and(Vec::is_empty) {
                    *params = None;
                }
                true
            }
        }
    }
}

/// All parts that may be removed, large ones first.
fn edits(file: &File) -> Vec<Edit> {
    let mut all = Vec::new();
    if file.items.len() > 1 {
        all.extend((0..file.items.len()).map(Edit::Item));
    }
    let mut statements = Vec::new();
    edit::visit_stmts(file, &mut |s| statements.push(s));
    all.extend(statements.iter().map(|s| Edit::Statement(s.span)));
    let number = |x: f64| Expr::number(x);
    for stmt in &statements {
        for expr in edit::exprs_of(stmt) {
            edit::visit_expr(expr, &mut |e| {
                for child in edit::children(e) {
                    all.push(Edit::Replace(e.span, child.clone()));
                }
                if !matches!(e.kind, ExprKind::Number { .. } | ExprKind::Name(_)) {
                    all.push(Edit::Replace(e.span, number(1.0)));
                } else if matches!(e.kind, ExprKind::Name(_)) {
                    all.push(Edit::Replace(e.span, number(1.0)));
                    all.push(Edit::Replace(e.span, number(0.0)));
                }
            });
        }
    }
    for stmt in &statements {
        if let StmtKind::Let { pattern: Pattern::Name { name, .. }, values } = &stmt.kind
            && let [value] = &values[..]
        {
            all.push(Edit::Inline(stmt.span, name.name.clone(), value.clone()));
        }
    }
    for (n, callable) in edit::callables(file).into_iter().enumerate() {
        all.extend((0..callable.axes.as_ref().map_or(0, |b| b.left.len())).map(|i| Edit::Axis(n, i)));
        all.extend((0..callable.params.as_ref().map_or(0, Vec::len)).map(|i| Edit::Hyper(n, i)));
    }
    all
}
