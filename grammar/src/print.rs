//! The formatter: prints a tree in the canonical layout.
//!
//! - `parse(format(file))` is `file` up to spans, and formatting is idempotent.
//! - The author's choices are kept: pipes, parentheses, blank lines (at most one), the spelling of numbers,
//!   comments in the place that `trivia` assigned.
//! - Necessary parentheses that a tree lacks (an edit put a sum under a product) are added, so
//!   every tree has the same meaning after printing.
//! - A line has at most 100 columns where it can be broken: a list becomes one item per line, a chain of
//!   operators or pipes one operand per line.

use std::fmt;

use crate::ast::*;
use crate::build::{PIPE_LEVEL, unary_level};
use crate::doc::{Doc, INDENT};
use crate::errors::SyntaxError;

/// Level of an operand: nothing binds tighter.
const OPERAND: u8 = 10;

/// Prints a file.
pub fn format(file: &File) -> String {
    let mut printer = Printer::default();
    for item in &file.items {
        printer.item(item);
    }
    printer.comments(&file.dangling);
    printer.out
}

/// Formats a text; a text with errors is not formatted.
pub fn format_source(text: &str) -> Result<String, Vec<SyntaxError>> {
    let parsed = crate::parser::parse(text);
    if parsed.errors.is_empty() { Ok(format(&parsed.file)) } else { Err(parsed.errors) }
}

/// Prints the expression on one line.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&expr(self, 0).flat())
    }
}

/// Prints the statement as in a file, without indentation and without a newline at the end.
impl fmt::Display for Stmt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer::default();
        printer.stmt(self);
        f.write_str(printer.out.trim_end())
    }
}

/// Prints the file.
impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(self))
    }
}

/// Prints the brackets on one line.
impl fmt::Display for Brackets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&brackets(self).flat())
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

#[derive(Default)]
struct Printer {
    out: String,
    indent: usize,
}

impl Printer {
    // ---- lines

    fn start_line(&mut self) {
        self.out.extend(std::iter::repeat_n(' ', self.indent));
    }

    /// Adds a blank line, unless there is one or a body or the file has just begun.
    fn blank(&mut self) {
        let fresh = self.out.is_empty() || self.out.ends_with("\n\n") || self.after_opening();
        if !fresh {
            self.out.push('\n');
        }
    }

    fn after_opening(&self) -> bool {
        let line = self.out.trim_end_matches('\n').rsplit('\n').next().unwrap_or("");
        let code = line.split("//").next().unwrap_or("");
        code.trim_end().ends_with('{')
    }

    fn comments(&mut self, lines: &[String]) {
        for line in lines {
            if line.is_empty() {
                self.blank();
            }
            for line in line.lines() {
                self.start_line();
                self.out.push_str(&comment(line));
                self.out.push('\n');
            }
        }
    }

    fn end_line(&mut self, trailing: Option<&String>) {
        if let Some(text) = trailing {
            self.out.push(' ');
            self.out.push_str(&comment(&text.replace(['\n', '\r'], " ")));
        }
        self.out.push('\n');
    }

    /// Writes `text` and then `doc`, broken where necessary.
    fn write(&mut self, text: &str, doc: &Doc) {
        self.out.push_str(text);
        doc.render(self.indent, &mut self.out);
    }

    // ---- items

    fn item(&mut self, item: &Item) {
        if item.trivia.blank_before {
            self.blank();
        }
        self.comments(&item.trivia.leading);
        for line in item.docs.iter().flat_map(|doc| doc.split('\n')) {
            self.out.push_str(format!("/// {line}").trim_end());
            self.out.push('\n');
        }
        for Attribute { name, value } in &item.attributes {
            let value = match value {
                AttributeValue::Text(text) => format!("\"{}\"", text.replace(['"', '\n', '\r'], "'")),
                AttributeValue::Words(words) => words.iter().map(|w| w.name.as_str()).collect::<Vec<_>>().join(", "),
            };
            self.out.push_str(&format!("#[{}({value})]\n", name.name));
        }
        match &item.kind {
            ItemKind::Use { path, names } => {
                let path: Vec<&str> = path.iter().map(|p| p.name.as_str()).collect();
                let names = names.iter().map(|n| Doc::text(&n.name)).collect();
                self.write(&format!("use {}::", path.join("::")), &Doc::list("{", names, "}", true));
            }
            ItemKind::Fn(callable) => self.callable("fn ", callable),
            ItemKind::Block(callable) => self.callable("block ", callable),
            ItemKind::Model(callable) => self.callable("model ", callable),
            ItemKind::Error => self.out.push_str(ERROR),
        }
        self.end_line(item.trivia.trailing.as_ref());
    }

    fn callable(&mut self, keyword: &str, callable: &Callable) {
        let mut head = vec![Doc::text(&callable.name.name)];
        head.extend(callable.axes.as_ref().map(brackets));
        if let Some(params) = callable.params.as_ref().filter(|p| !p.is_empty()) {
            let params = params.iter().map(|p| {
                named(
                    Some(&p.name).filter(|_| p.default.is_some()),
                    match &p.default {
                        Some(default) => expr(default, 0),
                        None => Doc::text(&p.name.name),
                    },
                )
            });
            head.push(Doc::list("(", params.collect(), ")", true));
        }
        match &callable.body {
            Body::Expr(value) => {
                head.extend([Doc::text(" = "), expr(value, 0)]);
                self.write(keyword, &Doc::All(head));
            }
            Body::Block(body) => {
                head.push(Doc::text(" "));
                head.push(Doc::text(OPEN));
                self.write(keyword, &Doc::All(head));
                self.rest_of_body(body);
            }
        }
    }

    // ---- statements

    /// Writes a body: ` { ... }`.
    fn body(&mut self, body: &Block) {
        self.out.push(' ');
        self.out.push_str(OPEN);
        self.rest_of_body(body);
    }

    /// Writes the part of a body after the opening brace.
    fn rest_of_body(&mut self, body: &Block) {
        if body.opening.is_none() && body.stmts.is_empty() && body.dangling.is_empty() {
            self.out.push('}');
            return;
        }
        self.end_line(body.opening.as_ref());
        self.indent += INDENT;
        for stmt in &body.stmts {
            self.stmt(stmt);
        }
        self.comments(&body.dangling);
        self.indent -= INDENT;
        self.start_line();
        self.out.push('}');
    }

    fn stmt(&mut self, stmt: &Stmt) {
        if stmt.trivia.blank_before {
            self.blank();
        }
        self.comments(&stmt.trivia.leading);
        self.start_line();
        match &stmt.kind {
            StmtKind::Input { name, axes } => self.binding("input ", &declared(name, Some(axes)), None),
            StmtKind::Axis { name, size } => self.binding("axis ", &name.name, Some(size)),
            StmtKind::Let { pattern, values } => {
                let left = match pattern {
                    Pattern::Name { name, axes } => declared(name, axes.as_ref()),
                    Pattern::Tuple { names, .. } => targets(names),
                };
                self.write(&format!("let {left} = "), &tuple(values));
            }
            StmtKind::Mut { name, axes, value } => self.binding("mut ", &declared(name, axes.as_ref()), Some(value)),
            StmtKind::Param { name, axes, init } => self.binding("param ", &declared(name, axes.as_ref()), Some(init)),
            StmtKind::State { name, axes, init } => self.binding("state ", &declared(name, axes.as_ref()), Some(init)),
            StmtKind::Prefix { name, axes, init } => self.binding("prefix ", &declared(name, Some(axes)), Some(init)),
            StmtKind::Shared { name, call } => self.binding("shared ", &name.name, Some(call)),
            StmtKind::Emit { name, value } => self.binding("emit ", &name.name, Some(value)),
            StmtKind::Output { name: Some(name), value } => self.binding("output ", &name.name, Some(value)),
            StmtKind::Output { name: None, value } => self.write("output ", &expr(value, 0)),
            StmtKind::Assign { targets: names, values } => {
                let left = if let [name] = &names[..] { name.name.clone() } else { targets(names) };
                self.write(&format!("{left} = "), &tuple(values));
            }
            StmtKind::Return(values) => self.write("return ", &tuple(values)),
            StmtKind::Loss(value) => self.write("loss ", &expr(value, 0)),
            StmtKind::Where(value) => self.write("where ", &expr(value, 0)),
            StmtKind::Score(value) => self.write("score ", &expr(value, 0)),
            StmtKind::Weight(value) => self.write("weight ", &expr(value, 0)),
            StmtKind::Sink(value) => self.write("sink ", &expr(value, 0)),
            StmtKind::Scan(body) => {
                self.out.push_str("scan");
                self.body(body);
            }
            StmtKind::Attend(body) => {
                self.out.push_str("attend");
                self.body(body);
            }
            StmtKind::For { index, from, to, body } => {
                let range = vec![expr(from, 0), Doc::text(".."), expr(to, 0), Doc::text(" "), Doc::text(OPEN)];
                self.write(&format!("for {} in ", index.name), &Doc::All(range));
                self.rest_of_body(body);
            }
            StmtKind::If { arms, otherwise } => {
                for (at, (condition, body)) in arms.iter().enumerate() {
                    let head = Doc::All(vec![expr(condition, 0), Doc::text(" "), Doc::text(OPEN)]);
                    self.write(if at == 0 { "if " } else { " else if " }, &head);
                    self.rest_of_body(body);
                }
                if let Some(body) = otherwise {
                    self.out.push_str(" else");
                    self.body(body);
                }
            }
            StmtKind::Error => self.out.push_str(ERROR),
        }
        self.end_line(stmt.trivia.trailing.as_ref());
    }

    fn binding(&mut self, keyword: &str, left: &str, value: Option<&Expr>) {
        self.out.push_str(keyword);
        self.out.push_str(left);
        if let Some(value) = value {
            self.write(" = ", &expr(value, 0));
        }
    }
}

const OPEN: &str = "{";

/// Text for a node that did not parse; it does not parse either, so that nothing is lost silently.
const ERROR: &str = "<error>";

fn comment(line: &str) -> String {
    let line = line.trim_end();
    if line.trim_start().starts_with("//") { line.trim_start().to_owned() } else { format!("// {line}") }
}

fn declared(name: &Ident, axes: Option<&Brackets>) -> String {
    let axes = axes.map(|axes| brackets(axes).flat()).unwrap_or_default();
    format!("{}{axes}", name.name)
}

fn targets(names: &[Ident]) -> String {
    let names: Vec<&str> = names.iter().map(|n| n.name.as_str()).collect();
    format!("({})", names.join(", "))
}

fn tuple(values: &[Expr]) -> Doc {
    match values {
        [value] => expr(value, 0),
        _ => Doc::list("(", values.iter().map(|value| expr(value, 0)).collect(), ")", true),
    }
}

fn named(name: Option<&Ident>, value: Doc) -> Doc {
    match name {
        Some(name) => Doc::All(vec![Doc::text(format!("{} = ", name.name)), value]),
        None => value,
    }
}

fn brackets(brackets: &Brackets) -> Doc {
    let sums = |sums: &[AxisSum]| sums.iter().map(|sum| Doc::text(axis_sum(sum))).collect::<Vec<_>>();
    let mut items = sums(&brackets.left);
    if let Some(right) = &brackets.right {
        let mut right = sums(right).into_iter();
        let last = items.pop();
        let mut middle = Vec::new();
        if let Some(last) = last {
            middle.extend([last, Doc::text(" ")]);
        }
        middle.push(Doc::text("-> "));
        middle.extend(right.next());
        items.push(Doc::All(middle));
        items.extend(right);
    }
    Doc::list("[", items, "]", false)
}

fn axis_sum(sum: &AxisSum) -> String {
    let terms = sum.terms.iter().map(|t| format!("{}{}", t.name.name, if t.spread { ".." } else { "" }));
    terms.collect::<Vec<_>>().join(" + ")
}

// ---- expressions

/// Binding strength of the outermost operator of an expression.
fn level(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Pipe(..) => PIPE_LEVEL,
        ExprKind::Binary(op, ..) => op.level(),
        ExprKind::Unary(op, _) => unary_level(*op),
        ExprKind::Number { value, text } if number(*value, text).starts_with('-') => unary_level(UnaryOp::Neg),
        _ => OPERAND,
    }
}

/// An expression in a position that requires at least this level.
fn expr(expr: &Expr, least: u8) -> Doc {
    let inner = bare(expr);
    if level(expr) < least { parenthesised(inner) } else { inner }
}

fn parenthesised(inner: Doc) -> Doc {
    Doc::list("(", vec![inner], ")", false)
}

fn bare(whole: &Expr) -> Doc {
    match &whole.kind {
        ExprKind::Number { value, text } => Doc::text(number(*value, text)),
        ExprKind::Name(name) => Doc::text(name),
        ExprKind::Paren(inner) => parenthesised(expr(inner, 0)),
        ExprKind::Unary(op, inner) => {
            let sign = match op {
                UnaryOp::Neg => "-",
                UnaryOp::Not => "not ",
            };
            Doc::All(vec![Doc::text(sign), expr(inner, unary_level(*op))])
        }
        ExprKind::Binary(..) | ExprKind::Pipe(..) => chain(whole),
        ExprKind::Call(call) => {
            let mut parts = vec![Doc::text(&call.callee.name)];
            parts.extend(call.brackets.as_ref().map(brackets));
            if let Some(args) = call.args.as_ref().filter(|args| !args.is_empty()) {
                let args = args.iter().map(|arg| named(arg.name.as_ref(), expr(&arg.value, 0)));
                parts.push(Doc::list("(", args.collect(), ")", true));
            }
            Doc::All(parts)
        }
        ExprKind::Pick { base, axis, at } => {
            let at = named(Some(axis), expr(at, 0));
            Doc::All(vec![selected(base), Doc::list("[", vec![at], "]", false)])
        }
        ExprKind::Labels { axis, entries } => {
            let entries = entries.iter().map(|(label, value)| named(Some(label), expr(value, 0)));
            Doc::All(vec![Doc::text(&axis.name), Doc::list("{", entries.collect(), "}", true)])
        }
        ExprKind::Field(base, name) => Doc::All(vec![selected(base), Doc::text(format!(".{}", name.name))]),
        ExprKind::AxisList(list) => brackets(list),
        ExprKind::Error => Doc::text(ERROR),
    }
}

/// Document of the operand of `.name` or `[P = label]`: not a number.
fn selected(base: &Expr) -> Doc {
    let number = matches!(base.kind, ExprKind::Number { .. });
    expr(base, if number { OPERAND + 1 } else { OPERAND })
}

/// Document of a chain; operators of one level are broken together: `a + b - c` becomes a line for each operand.
fn chain(whole: &Expr) -> Doc {
    let own = level(whole);
    let mut links = Vec::new();
    let mut first = whole;
    // only left-associative operators form a chain; `a ^ b ^ c` nests in its right operand
    loop {
        match &first.kind {
            ExprKind::Binary(op, left, right) if level(first) == own => {
                let (left_least, right_least) = operand_levels(*op);
                links.push((op.symbol(), expr(right, right_least)));
                first = left;
                if left_least > own {
                    break;
                }
            }
            ExprKind::Pipe(left, right) if level(first) == own => {
                links.push(("|>", expr(right, OPERAND)));
                first = left;
            }
            _ => break,
        }
    }
    let least = match &whole.kind {
        ExprKind::Binary(op, ..) => operand_levels(*op).0,
        _ => PIPE_LEVEL,
    };
    let mut rest = Vec::new();
    for (symbol, operand) in links.into_iter().rev() {
        rest.extend([Doc::Line, Doc::text(format!("{symbol} ")), operand]);
    }
    Doc::All(vec![expr(first, least), Doc::All(rest).nest()]).group()
}

/// Levels that the operands of a binary operator must have.
fn operand_levels(op: BinaryOp) -> (u8, u8) {
    let own = op.level();
    match op {
        BinaryOp::Pow => (OPERAND, unary_level(UnaryOp::Neg)),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => (own + 1, own + 1),
        _ => (own, own + 1),
    }
}

/// Spelling of a number: the author's while it is correct, else one that parses to the same value.
pub(crate) fn number(value: f64, text: &str) -> String {
    if text.parse() == Ok(value) && text.starts_with(|c: char| c.is_ascii_digit()) && crate::parser::is_number(text) {
        text.to_owned()
    } else {
        spell(value)
    }
}

/// Spelling of a value in the language.
pub(crate) fn spell(value: f64) -> String {
    if value.is_nan() {
        return "(inf - inf)".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{}", value as i64) } else { format!("{value:?}") }
}
