//! Text form of hir: one line per statement, names resolved, pipes as calls, types where known.

use super::*;
use std::fmt::Write;

/// Prints one callable of a module; types come from the elaboration of that callable, if there was one.
pub fn print(module: &Module, callable: &Callable, types: &TypeTable) -> String {
    let printer = Printer { module, callable, types, written: false };
    let mut text = printer.signature();
    text.push('\n');
    printer.body(&mut text, &callable.body, 1);
    text
}

/// Signature of a callable for messages, as written: `fn f[A..](x, n = 4)`.
pub fn signature(module: &Module, callable: &Callable) -> String {
    Printer { module, callable, types: &TypeTable::new(), written: true }.signature()
}

/// Text of an expression for messages, as written.
pub fn expr_text(module: &Module, callable: &Callable, id: ExprId) -> String {
    Printer { module, callable, types: &TypeTable::new(), written: true }.expr(id)
}

/// `[A, B -> C + D]`
pub fn brackets_text(brackets: &Brackets) -> String {
    let side = |sums: &[archc_grammar::ast::AxisSum]| {
        let sums: Vec<String> = sums
            .iter()
            .map(|s| {
                let terms: Vec<String> =
                    s.terms.iter().map(|t| format!("{}{}", t.name.name, if t.spread { ".." } else { "" })).collect();
                terms.join(" + ")
            })
            .collect();
        sums.join(", ")
    };
    match &brackets.right {
        Some(right) => format!("[{} -> {}]", side(&brackets.left), side(right)),
        None => format!("[{}]", side(&brackets.left)),
    }
}

struct Printer<'a> {
    module: &'a Module,
    callable: &'a Callable,
    types: &'a TypeTable,
    /// Whether to print as in the source: an axis's size by its name, parentheses only where needed.
    written: bool,
}

impl Printer<'_> {
    fn signature(&self) -> String {
        let kind = match self.callable.kind {
            CallableKind::Fn => "fn",
            CallableKind::Block => "block",
            CallableKind::Model => "model",
        };
        let mut text = format!("{kind} {}", self.callable.name.name);
        if let Some(axes) = &self.callable.axes {
            text.push_str(&brackets_text(axes));
        }
        let params = self.callable.params.iter().map(|p| match p.default {
            Some(d) => format!("{} = {}", p.name.name, self.expr(d)),
            None => p.name.name.clone(),
        });
        let params: Vec<String> = params.collect();
        if !params.is_empty() {
            let _ = write!(text, "({})", params.join(", "));
        }
        text
    }

    fn local(&self, id: LocalId) -> &str {
        &self.callable.locals[id.0 as usize].name
    }

    fn locals(&self, ids: &[LocalId]) -> String {
        let names: Vec<&str> = ids.iter().map(|l| self.local(*l)).collect();
        if names.len() == 1 { names[0].to_string() } else { format!("({})", names.join(", ")) }
    }

    fn typed(&self, id: ExprId) -> String {
        let Some(note) = self.types.get(&id) else { return self.expr(id) };
        let rate = match (note.inner, note.token) {
            (true, _) => " inner",
            (false, true) => "",
            (false, false) => " fixed",
        };
        format!("{} : [{}]{rate}", self.expr(id), note.axes.join(", "))
    }

    fn body(&self, text: &mut String, body: &[Stmt], depth: usize) {
        let indent = "  ".repeat(depth);
        for stmt in body {
            let axes = |b: &Option<BoundBrackets>| b.as_ref().map(|b| brackets_text(&b.syntax)).unwrap_or_default();
            let line = match &stmt.kind {
                StmtKind::Input { local, axes } => {
                    format!("input {}{}", self.local(*local), brackets_text(&axes.syntax))
                }
                StmtKind::Axis { name, size } => format!("axis {} = {}", name.name, self.expr(*size)),
                StmtKind::Let { targets, axes: a, values } => {
                    let values: Vec<String> = values.iter().map(|v| self.typed(*v)).collect();
                    format!("let {}{} = {}", self.locals(targets), axes(a), values.join(", "))
                }
                StmtKind::Mut { local, axes: a, value } => {
                    format!("mut {}{} = {}", self.local(*local), axes(a), self.typed(*value))
                }
                StmtKind::Assign { targets, values } => {
                    let values: Vec<String> = values.iter().map(|v| self.typed(*v)).collect();
                    format!("{} = {}", self.locals(targets), values.join(", "))
                }
                StmtKind::Param { local, axes: a, init } => {
                    format!("param {}{} = {}", self.local(*local), axes(a), self.expr(*init))
                }
                StmtKind::State { local, axes: a, init } => {
                    format!("state {}{} = {}", self.local(*local), axes(a), self.expr(*init))
                }
                StmtKind::Emit { local, value } => format!("emit {} = {}", self.local(*local), self.typed(*value)),
                StmtKind::Prefix { local, axes, init } => {
                    format!("prefix {}{} = {}", self.local(*local), brackets_text(&axes.syntax), self.expr(*init))
                }
                StmtKind::Shared { local, call } => format!("shared {} = {}", self.local(*local), self.expr(*call)),
                StmtKind::Loss(e) => format!("loss {}", self.typed(*e)),
                StmtKind::Output { name, value } => match name {
                    Some(name) => format!("output {} = {}", name.name, self.typed(*value)),
                    None => format!("output {}", self.typed(*value)),
                },
                StmtKind::Return(values) => {
                    let values: Vec<String> = values.iter().map(|v| self.typed(*v)).collect();
                    format!("return {}", values.join(", "))
                }
                StmtKind::Where(e) => format!("where {}", self.typed(*e)),
                StmtKind::Score(e) => format!("score {}", self.typed(*e)),
                StmtKind::Weight(e) => format!("weight {}", self.typed(*e)),
                StmtKind::Sink(e) => format!("sink {}", self.typed(*e)),
                StmtKind::Scan(inner) => {
                    let _ = writeln!(text, "{indent}scan");
                    self.body(text, inner, depth + 1);
                    continue;
                }
                StmtKind::Attend(inner) => {
                    let _ = writeln!(text, "{indent}attend");
                    self.body(text, inner, depth + 1);
                    continue;
                }
                StmtKind::For { index, from, to, body } => {
                    let _ = writeln!(
                        text,
                        "{indent}for {} in {}..{}",
                        self.local(*index),
                        self.expr(*from),
                        self.expr(*to)
                    );
                    self.body(text, body, depth + 1);
                    continue;
                }
                StmtKind::If { arms, otherwise } => {
                    for (i, (condition, body)) in arms.iter().enumerate() {
                        let word = if i == 0 { "if" } else { "else if" };
                        let _ = writeln!(text, "{indent}{word} {}", self.expr(*condition));
                        self.body(text, body, depth + 1);
                    }
                    if !otherwise.is_empty() {
                        let _ = writeln!(text, "{indent}else");
                        self.body(text, otherwise, depth + 1);
                    }
                    continue;
                }
            };
            let _ = writeln!(text, "{indent}{line}");
        }
    }

    fn expr(&self, id: ExprId) -> String {
        match &self.module.expr(id).kind {
            ExprKind::Number(x) => format!("{x}"),
            ExprKind::Local(l) => self.local(*l).to_string(),
            ExprKind::AxisSize(a) if self.written => a.clone(),
            ExprKind::AxisSize(a) => format!("|{a}|"),
            ExprKind::Word(w) => w.clone(),
            ExprKind::Unary(UnaryOp::Neg, x) => format!("-{}", self.operand(*x)),
            ExprKind::Unary(UnaryOp::Not, x) => format!("not {}", self.operand(*x)),
            ExprKind::Binary(op, a, b) => {
                let side = |id: ExprId, right: bool| match self.module.expr(id).kind {
                    ExprKind::Binary(inner, ..) if self.written && (inner.level(), !right) > (op.level(), false) => {
                        self.expr(id)
                    }
                    _ => self.operand(id),
                };
                format!("{} {} {}", side(*a, false), op.symbol(), side(*b, true))
            }
            ExprKind::Call(call) => self.call(call),
            ExprKind::Pick { base, axis, at } => format!("{}[{} = {}]", self.operand(*base), axis.name, self.expr(*at)),
            ExprKind::Labels { axis, entries } => {
                let entries: Vec<String> =
                    entries.iter().map(|(l, e)| format!("{} = {}", l.name, self.expr(*e))).collect();
                format!("{}{{{}}}", axis.name, entries.join(", "))
            }
            ExprKind::Field(base, name) => format!("{}.{}", self.operand(*base), name.name),
            ExprKind::AxisList(b) => brackets_text(&b.syntax),
            ExprKind::Error => "<error>".into(),
        }
    }

    /// Text of an operand, in parentheses if it is an operator.
    fn operand(&self, id: ExprId) -> String {
        match self.module.expr(id).kind {
            ExprKind::Binary(..) | ExprKind::Unary(..) => format!("({})", self.expr(id)),
            _ => self.expr(id),
        }
    }

    fn call(&self, call: &Call) -> String {
        let mut text = call.name.name.clone();
        if let Some(b) = &call.brackets {
            text.push_str(&brackets_text(&b.syntax));
        }
        let mut args: Vec<String> = call
            .args
            .iter()
            .map(|a| match &a.name {
                Some(name) => format!("{} = {}", name.name, self.expr(a.value)),
                None => self.expr(a.value),
            })
            .collect();
        args.extend(call.pin.iter().map(|p| format!("name = {p}")));
        if !args.is_empty() {
            let _ = write!(text, "({})", args.join(", "));
        }
        text
    }
}
