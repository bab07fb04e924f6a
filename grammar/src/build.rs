//! From the parser's pairs to the tree.
//!
//! The pairs mirror `arch.pest` rule by rule. Two things are decided here rather than in the grammar:
//! the flat operator lists of `expr` are folded into a tree (`Folder`), and limits are kept on how long
//! and how deep an expression may become, because everyone downstream walks the tree recursively.

use pest::iterators::{Pair, Pairs};

use crate::ast::*;
use crate::errors::{self, SyntaxError};
use crate::lex::{POISON, Token};
use crate::parser::Rule;
use crate::span::Span;

/// The most operators in one expression outside of brackets.
const MAX_OPERATORS: usize = 200;

/// The most `.name` and `[P = label]` after one operand.
const MAX_SUFFIXES: usize = 20;

/// The deepest expression.
const MAX_EXPR_DEPTH: usize = 250;

/// A slice that no rule took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadSlice {
    /// What it should have been.
    pub wanted: Rule,
    /// Where it is.
    pub span: Span,
    /// The good item or statement right before it, if nothing separates the two: the slice may be its tail.
    pub previous: Option<Span>,
}

/// Builds the tree; collects what is wrong on the way.
pub(crate) struct Builder<'a> {
    /// The text that was parsed (bad slices blanked out).
    pub text: &'a str,
    /// Its tokens.
    pub tokens: &'a [Token],
    /// Errors found while building.
    pub errors: Vec<SyntaxError>,
    /// Slices that still need a message.
    pub bad: Vec<BadSlice>,
}

/// An expression and the height of its tree.
struct Node {
    expr: Expr,
    depth: usize,
}

impl Node {
    fn leaf(kind: ExprKind, span: Span) -> Self {
        Self { expr: Expr { kind, span }, depth: 1 }
    }

    fn over(kind: ExprKind, span: Span, below: usize) -> Self {
        Self { expr: Expr { kind, span }, depth: below + 1 }
    }
}

type Parts<'a> = Pairs<'a, Rule>;

impl<'a> Builder<'a> {
    /// The span of a pair without the white space and comments that the parser may have left at its end.
    fn span(&self, pair: &Pair<'a, Rule>) -> Span {
        let span = pair.as_span();
        let last = self.tokens.partition_point(|t| t.end <= span.end());
        let end = last.checked_sub(1).map_or(span.end(), |last| self.tokens[last].end);
        Span::new(span.start(), end.max(span.start()))
    }

    /// `file`
    pub fn file(&mut self, pair: Pair<'a, Rule>) -> File {
        let mut file = File::default();
        let mut previous = None;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::item => {
                    let item = self.item(part);
                    previous = Some(item.span);
                    file.items.push(item);
                }
                Rule::bad_item => {
                    let span = self.bad_slice(&part, Rule::one_item, previous.take());
                    file.items.push(bad_item(span));
                }
                _ => {}
            }
        }
        file
    }

    fn bad_slice(&mut self, pair: &Pair<'a, Rule>, wanted: Rule, previous: Option<Span>) -> Span {
        let span = self.span(pair);
        if self.text.as_bytes().get(span.start as usize) != Some(&POISON) {
            let adjacent = previous.filter(|p| !self.text[p.end as usize..span.start as usize].contains(';'));
            self.bad.push(BadSlice { wanted, span, previous: adjacent });
        }
        span
    }

    /// `item`
    pub fn item(&mut self, pair: Pair<'a, Rule>) -> Item {
        let mut item = bad_item(self.span(&pair));
        for part in pair.into_inner() {
            if part.as_rule() == Rule::attribute {
                item.attributes.push(self.attribute(part));
                continue;
            }
            item.span = self.span(&part);
            item.kind = match part.as_rule() {
                Rule::use_item => {
                    let (mut path, mut names, mut braces) = (Vec::new(), Vec::new(), false);
                    for word in part.into_inner() {
                        match word.as_rule() {
                            Rule::name if braces => names.push(ident(&word)),
                            Rule::name => path.push(ident(&word)),
                            // The names follow the last `::`, which no name of the path follows.
                            Rule::path_sep => braces = self.text[word.as_span().end()..].trim_start().starts_with('{'),
                            _ => {}
                        }
                    }
                    ItemKind::Use { path, names }
                }
                Rule::fn_item => ItemKind::Fn(self.callable(part)),
                Rule::block_item => ItemKind::Block(self.callable(part)),
                _ => ItemKind::Model(self.callable(part)),
            };
        }
        item
    }

    fn attribute(&mut self, pair: Pair<'a, Rule>) -> Attribute {
        let (mut name, mut value) = (missing(pair.as_span().start()), String::new());
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => name = ident(&part),
                Rule::string => value = part.as_str().trim_matches('"').to_owned(),
                _ => {}
            }
        }
        Attribute { name, value }
    }

    fn callable(&mut self, pair: Pair<'a, Rule>) -> Callable {
        let mut callable = Callable {
            name: missing(pair.as_span().start()),
            axes: None,
            params: None,
            body: Body::Block(Block::default()),
        };
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::signature => {
                    for piece in part.into_inner() {
                        match piece.as_rule() {
                            Rule::name => callable.name = ident(&piece),
                            Rule::brackets => callable.axes = Some(self.brackets(piece)),
                            _ => callable.params = Some(self.parameters(piece)),
                        }
                    }
                }
                Rule::expr => callable.body = Body::Expr(self.expr(part)),
                Rule::body => callable.body = Body::Block(self.block(part)),
                _ => {}
            }
        }
        callable
    }

    fn parameters(&mut self, pair: Pair<'a, Rule>) -> Vec<Parameter> {
        let parameters = pair.into_inner().filter(|p| p.as_rule() == Rule::parameter);
        parameters
            .map(|parameter| {
                let mut parts = parameter.into_inner();
                let name = self.name(&mut parts);
                Parameter { name, default: self.value(&mut parts) }
            })
            .collect()
    }

    /// The next `name`; the grammar has seen to it that there is one.
    fn name(&mut self, parts: &mut Parts<'a>) -> Ident {
        parts.find(|p| p.as_rule() == Rule::name).map_or_else(|| missing(0), |p| ident(&p))
    }

    /// The next `expr`, or `brackets` where an axis list may be a value.
    fn value(&mut self, parts: &mut Parts<'a>) -> Option<Expr> {
        self.value_node(parts).map(|node| node.expr)
    }

    fn value_node(&mut self, parts: &mut Parts<'a>) -> Option<Node> {
        let part = parts.find(|p| matches!(p.as_rule(), Rule::expr | Rule::brackets))?;
        Some(if part.as_rule() == Rule::expr {
            self.expr_node(part)
        } else {
            let brackets = self.brackets(part);
            let span = brackets.span;
            Node::leaf(ExprKind::AxisList(brackets), span)
        })
    }

    fn required(&mut self, parts: &mut Parts<'a>) -> Expr {
        self.value(parts).unwrap_or(Expr { kind: ExprKind::Error, span: Span::default() })
    }

    fn brackets(&mut self, pair: Pair<'a, Rule>) -> Brackets {
        let span = self.span(&pair);
        let mut lists = pair.into_inner().filter(|p| p.as_rule() == Rule::axes).map(|axes| {
            let sums = axes.into_inner().filter(|p| p.as_rule() == Rule::axis_sum);
            sums.map(|sum| AxisSum {
                terms: sum
                    .into_inner()
                    .filter_map(|term| {
                        let mut parts = term.into_inner();
                        let name = ident(&parts.next()?);
                        Some(AxisTerm { name, spread: parts.next().is_some() })
                    })
                    .collect(),
            })
            .collect()
        });
        Brackets { left: lists.next().unwrap_or_default(), right: lists.next(), span }
    }

    // ---- statements

    fn block(&mut self, pair: Pair<'a, Rule>) -> Block {
        let mut block = Block { span: self.span(&pair), ..Block::default() };
        let open = block.span.start as usize;
        if !self.text[..open].ends_with(|c: char| c.is_ascii_whitespace()) {
            self.errors.push(errors::brace_touches(Span::new(open, open + 1)));
        }
        let wanted = if pair.as_rule() == Rule::attend_body { Rule::one_pair_stmt } else { Rule::one_stmt };
        let mut previous = None;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::close_brace => {}
                Rule::bad_stmt | Rule::bad_pair_stmt => {
                    let span = self.bad_slice(&part, wanted, previous.take());
                    block.stmts.push(Stmt { trivia: Trivia::default(), kind: StmtKind::Error, span });
                }
                _ => {
                    let stmt = self.stmt(part);
                    previous = Some(stmt.span);
                    block.stmts.push(stmt);
                }
            }
        }
        block
    }

    /// Any of the statement rules.
    pub fn stmt(&mut self, pair: Pair<'a, Rule>) -> Stmt {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let parts = &mut pair.into_inner();
        let kind = match rule {
            Rule::let_stmt => {
                let pattern = parts.find(|p| matches!(p.as_rule(), Rule::names | Rule::declared));
                let pattern = match pattern {
                    Some(p) if p.as_rule() == Rule::names => {
                        let span = self.span(&p);
                        Pattern::Tuple { names: names(p), span }
                    }
                    Some(p) => {
                        let (name, axes) = self.declaration(p);
                        Pattern::Name { name, axes }
                    }
                    None => Pattern::Tuple { names: Vec::new(), span },
                };
                StmtKind::Let { pattern, value: self.required(parts) }
            }
            Rule::input_stmt => {
                let (name, axes) = self.declared(parts);
                StmtKind::Input { name, axes: axes.unwrap_or_default() }
            }
            Rule::prefix_stmt => {
                let (name, axes) = self.declared(parts);
                StmtKind::Prefix { name, axes: axes.unwrap_or_default(), init: self.required(parts) }
            }
            Rule::param_stmt => {
                let (name, axes) = self.declared(parts);
                StmtKind::Param { name, axes, init: self.required(parts) }
            }
            Rule::mut_stmt => {
                let (name, axes) = self.declared(parts);
                StmtKind::Mut { name, axes, value: self.required(parts) }
            }
            Rule::state_stmt => {
                let (name, axes) = self.declared(parts);
                StmtKind::State { name, axes, init: self.required(parts) }
            }
            Rule::axis_stmt => StmtKind::Axis { name: self.name(parts), size: self.required(parts) },
            Rule::emit_stmt => StmtKind::Emit { name: self.name(parts), value: self.required(parts) },
            Rule::scan_stmt => StmtKind::Scan(self.body(parts)),
            Rule::attend_stmt => StmtKind::Attend(self.body(parts)),
            Rule::for_stmt => StmtKind::For {
                index: self.name(parts),
                from: self.required(parts),
                to: self.required(parts),
                body: self.body(parts),
            },
            Rule::if_stmt => {
                let (mut arms, mut otherwise, mut condition) = (Vec::new(), None, None);
                for part in parts {
                    match part.as_rule() {
                        Rule::expr => condition = Some(self.expr(part)),
                        Rule::body => {
                            let block = self.block(part);
                            match condition.take() {
                                Some(condition) => arms.push((condition, block)),
                                None => otherwise = Some(block),
                            }
                        }
                        _ => {}
                    }
                }
                StmtKind::If { arms, otherwise }
            }
            Rule::shared_stmt => {
                let name = self.name(parts);
                let call = parts.find(|p| p.as_rule() == Rule::application);
                let call = call.map_or(Expr { kind: ExprKind::Error, span }, |p| self.application(p).expr);
                StmtKind::Shared { name, call }
            }
            Rule::output_stmt => {
                let mut name = None;
                let mut value = Expr { kind: ExprKind::Error, span };
                for part in parts {
                    match part.as_rule() {
                        Rule::name => name = Some(ident(&part)),
                        Rule::expr => value = self.expr(part),
                        _ => {}
                    }
                }
                StmtKind::Output { name, value }
            }
            Rule::return_stmt => StmtKind::Return(self.values(parts)),
            Rule::assign_stmt => {
                let targets = match parts.next() {
                    Some(p) if p.as_rule() == Rule::names => names(p),
                    Some(p) => vec![ident(&p)],
                    None => Vec::new(),
                };
                StmtKind::Assign { targets, values: self.values(parts) }
            }
            Rule::loss_stmt => StmtKind::Loss(self.required(parts)),
            Rule::where_stmt => StmtKind::Where(self.required(parts)),
            Rule::score_stmt => StmtKind::Score(self.required(parts)),
            Rule::weight_stmt => StmtKind::Weight(self.required(parts)),
            Rule::sink_stmt => StmtKind::Sink(self.required(parts)),
            _ => StmtKind::Error,
        };
        Stmt { trivia: Trivia::default(), kind, span }
    }

    fn body(&mut self, parts: &mut Parts<'a>) -> Block {
        let body = parts.find(|p| matches!(p.as_rule(), Rule::body | Rule::attend_body));
        body.map_or_else(Block::default, |body| self.block(body))
    }

    fn declared(&mut self, parts: &mut Parts<'a>) -> (Ident, Option<Brackets>) {
        match parts.find(|p| matches!(p.as_rule(), Rule::declared | Rule::declared_axes)) {
            Some(pair) => self.declaration(pair),
            None => (missing(0), None),
        }
    }

    fn declaration(&mut self, pair: Pair<'a, Rule>) -> (Ident, Option<Brackets>) {
        let mut parts = pair.into_inner();
        let name = self.name(&mut parts);
        (name, parts.next().map(|brackets| self.brackets(brackets)))
    }

    /// `expr` or `tuple`
    fn values(&mut self, parts: &mut Parts<'a>) -> Vec<Expr> {
        match parts.find(|p| matches!(p.as_rule(), Rule::expr | Rule::tuple)) {
            Some(p) if p.as_rule() == Rule::expr => vec![self.expr(p)],
            Some(p) => p.into_inner().filter(|p| p.as_rule() == Rule::expr).map(|p| self.expr(p)).collect(),
            None => Vec::new(),
        }
    }

    // ---- expressions

    /// `expr`
    pub fn expr(&mut self, pair: Pair<'a, Rule>) -> Expr {
        self.expr_node(pair).expr
    }

    fn expr_node(&mut self, pair: Pair<'a, Rule>) -> Node {
        let span = self.span(&pair);
        let operators = pair.clone().into_inner().filter(|p| !matches!(p.as_rule(), Rule::operand | Rule::application));
        if operators.count() > MAX_OPERATORS {
            self.errors.push(errors::too_long(span, "operators", MAX_OPERATORS));
            return Node::leaf(ExprKind::Error, span);
        }
        let pieces: Vec<Piece> = pair
            .into_inner()
            .map(|part| match part.as_rule() {
                Rule::operand => Piece::Operand(self.operand(part)),
                Rule::application => Piece::Operand(self.application(part)),
                rule => Piece::Operator(operator(rule, part.as_str()), part.as_span().start()),
            })
            .collect();
        let node = Folder { pieces: pieces.into_iter().peekable() }.fold(0);
        if node.depth > MAX_EXPR_DEPTH {
            self.errors.push(errors::too_long(span, "levels", MAX_EXPR_DEPTH));
            return Node::leaf(ExprKind::Error, span);
        }
        node
    }

    fn operand(&mut self, pair: Pair<'a, Rule>) -> Node {
        let whole = self.span(&pair);
        let mut parts = pair.into_inner();
        let Some(first) = parts.next() else { return Node::leaf(ExprKind::Error, whole) };
        let mut node = match first.as_rule() {
            Rule::number => self.number(&first),
            Rule::paren => {
                let span = self.span(&first);
                let inner = first.into_inner().find(|p| p.as_rule() == Rule::expr).map(|p| self.expr_node(p));
                let inner = inner.unwrap_or_else(|| Node::leaf(ExprKind::Error, span));
                Node::over(ExprKind::Paren(Box::new(inner.expr)), span, inner.depth)
            }
            Rule::labels => self.labels(first),
            _ => self.application(first),
        };
        for (count, suffix) in parts.enumerate() {
            if count == MAX_SUFFIXES {
                self.errors.push(errors::too_long(whole, "selections", MAX_SUFFIXES));
                return Node::leaf(ExprKind::Error, whole);
            }
            let span = node.expr.span.to(self.span(&suffix));
            let rule = suffix.as_rule();
            let mut inner = suffix.into_inner();
            let name = self.name(&mut inner);
            node = if rule == Rule::field {
                Node::over(ExprKind::Field(Box::new(node.expr), name), span, node.depth)
            } else {
                let at = self.value_node(&mut inner).unwrap_or_else(|| Node::leaf(ExprKind::Error, span));
                let depth = node.depth.max(at.depth);
                let kind = ExprKind::Pick { base: Box::new(node.expr), axis: name, at: Box::new(at.expr) };
                Node::over(kind, span, depth)
            };
        }
        node
    }

    fn number(&mut self, pair: &Pair<'a, Rule>) -> Node {
        let (text, span) = (pair.as_str(), self.span(pair));
        // The grammar's numbers are a subset of Rust's.
        let value: f64 = text.parse().unwrap_or(f64::INFINITY);
        if value.is_infinite() {
            self.errors.push(errors::number_too_large(text, span));
        }
        Node::leaf(ExprKind::Number { value, text: text.to_owned() }, span)
    }

    fn labels(&mut self, pair: Pair<'a, Rule>) -> Node {
        let span = self.span(&pair);
        let (mut axis, mut entries, mut below) = (missing(span.start as usize), Vec::new(), 0);
        for part in pair.into_inner() {
            if part.as_rule() == Rule::name {
                axis = ident(&part);
                continue;
            }
            for entry in part.into_inner().filter(|p| p.as_rule() == Rule::entry) {
                let mut parts = entry.into_inner();
                let name = self.name(&mut parts);
                if let Some(node) = self.value_node(&mut parts) {
                    below = below.max(node.depth);
                    entries.push((name, node.expr));
                }
            }
        }
        Node::over(ExprKind::Labels { axis, entries }, span, below)
    }

    /// `application`: a call, or a mere name.
    fn application(&mut self, pair: Pair<'a, Rule>) -> Node {
        let span = self.span(&pair);
        let mut call = Call { callee: missing(span.start as usize), brackets: None, args: None };
        let mut below = 0;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::name => call.callee = ident(&part),
                Rule::brackets => call.brackets = Some(self.brackets(part)),
                _ => {
                    let mut args = Vec::new();
                    for argument in part.into_inner().filter(|p| p.as_rule() == Rule::argument) {
                        let mut parts = argument.into_inner();
                        let named = parts.peek().filter(|p| p.as_rule() == Rule::name).map(|p| ident(&p));
                        if let Some(node) = self.value_node(&mut parts) {
                            below = below.max(node.depth);
                            args.push(Argument { name: named, value: node.expr });
                        }
                    }
                    call.args = Some(args);
                }
            }
        }
        if call.brackets.is_none() && call.args.is_none() {
            return Node::leaf(ExprKind::Name(call.callee.name), span);
        }
        Node::over(ExprKind::Call(call), span, below)
    }
}

fn ident(pair: &Pair<'_, Rule>) -> Ident {
    let span = pair.as_span();
    Ident { name: pair.as_str().to_owned(), span: Span::new(span.start(), span.end()) }
}

/// Stands where the grammar promises a name; never seen in a tree.
fn missing(at: usize) -> Ident {
    Ident { name: String::new(), span: Span::new(at, at) }
}

fn names(pair: Pair<'_, Rule>) -> Vec<Ident> {
    pair.into_inner().filter(|p| p.as_rule() == Rule::name).map(|p| ident(&p)).collect()
}

fn bad_item(span: Span) -> Item {
    Item { trivia: Trivia::default(), docs: Vec::new(), attributes: Vec::new(), kind: ItemKind::Error, span }
}

// ---- folding

#[derive(Clone, Copy)]
enum Operator {
    Prefix(UnaryOp),
    Infix(BinaryOp),
    Pipe,
}

enum Piece {
    Operator(Operator, usize),
    Operand(Node),
}

fn operator(rule: Rule, text: &str) -> Operator {
    match (rule, text) {
        (Rule::minus, _) => Operator::Prefix(UnaryOp::Neg),
        (Rule::kw_not, _) => Operator::Prefix(UnaryOp::Not),
        (Rule::pipe, _) => Operator::Pipe,
        (Rule::kw_and, _) => Operator::Infix(BinaryOp::And),
        (Rule::kw_or, _) => Operator::Infix(BinaryOp::Or),
        (_, "^") => Operator::Infix(BinaryOp::Pow),
        (_, "*") => Operator::Infix(BinaryOp::Mul),
        (_, "/") => Operator::Infix(BinaryOp::Div),
        (_, "%") => Operator::Infix(BinaryOp::Rem),
        (_, "+") => Operator::Infix(BinaryOp::Add),
        (_, "-") => Operator::Infix(BinaryOp::Sub),
        (_, "==") => Operator::Infix(BinaryOp::Eq),
        (_, "!=") => Operator::Infix(BinaryOp::Ne),
        (_, "<") => Operator::Infix(BinaryOp::Lt),
        (_, "<=") => Operator::Infix(BinaryOp::Le),
        (_, ">") => Operator::Infix(BinaryOp::Gt),
        _ => Operator::Infix(BinaryOp::Ge),
    }
}

/// Precedence climbing over a list that the grammar has checked.
struct Folder {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
}

impl Folder {
    /// Reads an operand and every operator after it that binds at least as tightly as `least`.
    fn fold(&mut self, least: u8) -> Node {
        let mut left = match self.pieces.next() {
            Some(Piece::Operand(node)) => node,
            Some(Piece::Operator(Operator::Prefix(op), start)) => {
                let inner = self.fold(unary_level(op));
                let span = Span::new(start, inner.expr.span.end as usize);
                Node::over(ExprKind::Unary(op, Box::new(inner.expr)), span, inner.depth)
            }
            _ => Node::leaf(ExprKind::Error, Span::default()),
        };
        while let Some(Piece::Operator(operator, _)) = self.pieces.peek() {
            let (level, above) = match operator {
                Operator::Pipe => (PIPE_LEVEL, PIPE_LEVEL + 1),
                // `^` groups to the right, and its right operand may start with a sign.
                Operator::Infix(BinaryOp::Pow) => (binary_level(BinaryOp::Pow), unary_level(UnaryOp::Neg)),
                Operator::Infix(op) => (binary_level(*op), binary_level(*op) + 1),
                Operator::Prefix(_) => break,
            };
            if level < least {
                break;
            }
            let operator = *operator;
            self.pieces.next();
            let right = self.fold(above);
            let (span, below) = (left.expr.span.to(right.expr.span), left.depth.max(right.depth));
            let (a, b) = (Box::new(left.expr), Box::new(right.expr));
            let kind = match operator {
                Operator::Infix(op) => ExprKind::Binary(op, a, b),
                _ => ExprKind::Pipe(a, b),
            };
            left = Node::over(kind, span, below);
        }
        left
    }
}

/// How tightly `|>` binds.
pub(crate) const PIPE_LEVEL: u8 = 1;

/// How tightly a prefix operator binds its operand.
pub(crate) fn unary_level(op: UnaryOp) -> u8 {
    match op {
        UnaryOp::Not => 4,
        UnaryOp::Neg => 8,
    }
}

/// How tightly an infix operator binds, loosest first.
pub(crate) fn binary_level(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 2,
        BinaryOp::And => 3,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 5,
        BinaryOp::Add | BinaryOp::Sub => 6,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 7,
        BinaryOp::Pow => 9,
    }
}
