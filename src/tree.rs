//! Syntax tree as text: one statement per line with its place, expressions in prefix form.
//!
//! `let y = a + b * c |> f` prints as `3:5 let y = (|> (+ a (* b c)) f)`, so that operator precedence is visible.
//! Comments are not shown.

use archc_compiler::diag::line_column;
use archc_grammar::ast::*;
use std::fmt::Write;

/// Prints a file. `text` is its source.
pub fn print(file: &File, text: &str) -> String {
    let mut printer = Printer { text, out: String::new(), depth: 0 };
    file.items.iter().for_each(|item| printer.item(item));
    printer.out
}

struct Printer<'a> {
    text: &'a str,
    out: String,
    depth: usize,
}

impl Printer<'_> {
    fn line(&mut self, at: usize, what: &str) {
        let (line, column) = line_column(self.text, at.min(self.text.len()));
        let _ = writeln!(self.out, "{:<8}{:indent$}{what}", format!("{line}:{column}"), "", indent = 2 * self.depth);
    }

    fn item(&mut self, item: &Item) {
        let at = item.span.start as usize;
        match &item.kind {
            ItemKind::Use { path, names } => {
                let part = |list: &[Ident], by: &str| list.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(by);
                self.line(at, &format!("use {} {{{}}}", part(path, "::"), part(names, ", ")));
            }
            ItemKind::Fn(c) => self.callable(at, "fn", c),
            ItemKind::Block(c) => self.callable(at, "block", c),
            ItemKind::Model(c) => self.callable(at, "model", c),
            ItemKind::Error => self.line(at, "error"),
        }
    }

    fn callable(&mut self, at: usize, kind: &str, callable: &Callable) {
        let mut head = format!("{kind} {}{}", callable.name.name, axes(callable.axes.as_ref()));
        if let Some(params) = &callable.params {
            let params: Vec<String> = params
                .iter()
                .map(|p| match &p.default {
                    Some(default) => format!("{} = {}", p.name.name, expr(default)),
                    None => p.name.name.clone(),
                })
                .collect();
            let _ = write!(head, "({})", params.join(", "));
        }
        match &callable.body {
            Body::Expr(e) => self.line(at, &format!("{head} = {}", expr(e))),
            Body::Block(block) => {
                self.line(at, &head);
                self.block(block);
            }
        }
    }

    fn block(&mut self, block: &Block) {
        self.depth += 1;
        block.stmts.iter().for_each(|s| self.stmt(s));
        self.depth -= 1;
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let at = stmt.span.start as usize;
        let list = |exprs: &[Expr]| exprs.iter().map(expr).collect::<Vec<_>>().join(", ");
        let text = match &stmt.kind {
            StmtKind::Input { name, axes: a } => format!("input {}{}", name.name, axes(Some(a))),
            StmtKind::Axis { name, size } => format!("axis {} = {}", name.name, expr(size)),
            StmtKind::Let { pattern, values } => format!("let {} = {}", pattern_text(pattern), list(values)),
            StmtKind::Mut { name, axes: a, value } => {
                format!("mut {}{} = {}", name.name, axes(a.as_ref()), expr(value))
            }
            StmtKind::Assign { targets, values } => {
                let targets: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
                format!("assign {} = {}", targets.join(", "), list(values))
            }
            StmtKind::Param { name, axes: a, init } => {
                format!("param {}{} = {}", name.name, axes(a.as_ref()), expr(init))
            }
            StmtKind::State { name, axes: a, init } => {
                format!("state {}{} = {}", name.name, axes(a.as_ref()), expr(init))
            }
            StmtKind::Emit { name, value } => format!("emit {} = {}", name.name, expr(value)),
            StmtKind::Prefix { name, axes: a, init } => {
                format!("prefix {}{} = {}", name.name, axes(Some(a)), expr(init))
            }
            StmtKind::Shared { name, call } => format!("shared {} = {}", name.name, expr(call)),
            StmtKind::Loss(e) => format!("loss {}", expr(e)),
            StmtKind::Output { name: Some(name), value } => format!("output {} = {}", name.name, expr(value)),
            StmtKind::Output { name: None, value } => format!("output {}", expr(value)),
            StmtKind::Return(values) => format!("return {}", list(values)),
            StmtKind::Where(e) => format!("where {}", expr(e)),
            StmtKind::Score(e) => format!("score {}", expr(e)),
            StmtKind::Weight(e) => format!("weight {}", expr(e)),
            StmtKind::Sink(e) => format!("sink {}", expr(e)),
            StmtKind::Error => "error".to_owned(),
            StmtKind::Scan(block) => return self.nested(at, "scan", block),
            StmtKind::Attend(block) => return self.nested(at, "attend", block),
            StmtKind::For { index, from, to, body } => {
                let head = format!("for {} in {}..{}", index.name, expr(from), expr(to));
                return self.nested(at, &head, body);
            }
            StmtKind::If { arms, otherwise } => {
                for (i, (condition, body)) in arms.iter().enumerate() {
                    let word = if i == 0 { "if" } else { "else if" };
                    self.nested(condition.span.start as usize, &format!("{word} {}", expr(condition)), body);
                }
                if let Some(body) = otherwise {
                    self.nested(body.span.start as usize, "else", body);
                }
                return;
            }
        };
        self.line(at, &text);
    }

    fn nested(&mut self, at: usize, head: &str, body: &Block) {
        self.line(at, head);
        self.block(body);
    }
}

fn axes(brackets: Option<&Brackets>) -> String {
    brackets.map_or_else(String::new, ToString::to_string)
}

fn pattern_text(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name { name, axes: a } => format!("{}{}", name.name, axes(a.as_ref())),
        Pattern::Tuple { names, .. } => {
            format!("({})", names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Prints an expression in prefix form.
fn expr(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Number { text, .. } => text.clone(),
        ExprKind::Name(name) => name.clone(),
        // the prefix form has its own parentheses
        ExprKind::Paren(inner) => expr(inner),
        ExprKind::Unary(UnaryOp::Neg, x) => format!("(- {})", expr(x)),
        ExprKind::Unary(UnaryOp::Not, x) => format!("(not {})", expr(x)),
        ExprKind::Binary(op, a, b) => format!("({} {} {})", op.symbol(), expr(a), expr(b)),
        ExprKind::Pipe(x, f) => format!("(|> {} {})", expr(x), expr(f)),
        ExprKind::Call(call) => {
            let mut text = format!("{}{}", call.callee.name, axes(call.brackets.as_ref()));
            if let Some(args) = &call.args {
                let argument = |a: &Argument| match &a.name {
                    Some(name) => format!("{} = {}", name.name, expr(&a.value)),
                    None => expr(&a.value),
                };
                let _ = write!(text, "({})", args.iter().map(argument).collect::<Vec<_>>().join(", "));
            }
            text
        }
        ExprKind::Pick { base, axis, at } => format!("(pick {} {} = {})", expr(base), axis.name, expr(at)),
        ExprKind::Labels { axis, entries } => {
            let entries: Vec<String> = entries.iter().map(|(l, v)| format!("{} = {}", l.name, expr(v))).collect();
            format!("{}{{{}}}", axis.name, entries.join(", "))
        }
        ExprKind::Field(base, name) => format!("(field {} {})", expr(base), name.name),
        ExprKind::AxisList(brackets) => brackets.to_string(),
        ExprKind::Error => "error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::print;

    #[test]
    fn binding_shows() {
        let text = "block B[D] {\n    input x[D]\n    let y[D] = -x + x * 2 ^ -1 |> silu\n    output y[P = a]\n}\n";
        let parsed = archc_grammar::parse(text);
        assert_eq!(parsed.errors, []);
        let shown = "1:1     block B[D]\n2:5       input x[D]\n3:5       let y[D] = \
                     (|> (+ (- x) (* x (^ 2 (- 1)))) silu)\n4:5       output (pick y P = a)\n";
        assert_eq!(print(&parsed.file, text), shown);
    }
}
