//! Expressions: operands, and the flat operator lists that are folded into trees.

use super::{Builder, ident, missing};
use crate::ast::*;
use crate::errors;
use crate::parser::Rule;
use crate::span::Span;
use pest::iterators::Pair;

/// Maximum number of operators in one expression outside of brackets.
const MAX_OPERATORS: usize = 200;

/// Maximum number of `.name` and `[P = label]` after one operand.
const MAX_SUFFIXES: usize = 20;

/// Maximum depth of an expression.
const MAX_EXPR_DEPTH: usize = 250;

/// An expression and the height of its tree.
pub(super) struct Node {
    pub expr: Expr,
    depth: usize,
}

impl Node {
    pub fn leaf(kind: ExprKind, span: Span) -> Self {
        Self { expr: Expr { kind, span }, depth: 1 }
    }

    fn over(kind: ExprKind, span: Span, below: usize) -> Self {
        Self { expr: Expr { kind, span }, depth: below + 1 }
    }
}

impl<'a> Builder<'a> {
    /// `expr`
    pub fn expr(&mut self, pair: Pair<'a, Rule>) -> Expr {
        self.expr_node(pair).expr
    }

    /// `expr`, with its height.
    pub(super) fn expr_node(&mut self, pair: Pair<'a, Rule>) -> Node {
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
        // the grammar's numbers are a subset of Rust's
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

    /// `application`: a call, or a name alone.
    pub(super) fn application(&mut self, pair: Pair<'a, Rule>) -> Node {
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
                    // `f()` is `f`
                    call.args = Some(args).filter(|args| !args.is_empty());
                }
            }
        }
        if call.brackets.is_none() && call.args.is_none() {
            return Node::leaf(ExprKind::Name(call.callee.name), span);
        }
        Node::over(ExprKind::Call(call), span, below)
    }
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
                // `^` groups to the right, and its right operand may start with a sign
                Operator::Infix(BinaryOp::Pow) => (BinaryOp::Pow.level(), unary_level(UnaryOp::Neg)),
                Operator::Infix(op) => (op.level(), op.level() + 1),
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

/// Binding strength of `|>`.
pub(crate) const PIPE_LEVEL: u8 = 1;

/// Binding strength of a prefix operator on its operand.
pub(crate) fn unary_level(op: UnaryOp) -> u8 {
    match op {
        UnaryOp::Not => 4,
        UnaryOp::Neg => 8,
    }
}
