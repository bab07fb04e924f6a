//! Construction of the tree from the parser's pairs.
//!
//! The pairs mirror `arch.pest` rule by rule. Two things are done here rather than in the grammar:
//! the flat operator lists of `expr` are folded into a tree (`Folder`), and the length
//! and depth of expressions are limited, because all later stages visit the tree recursively.

use pest::iterators::{Pair, Pairs};

use crate::ast::*;
use crate::errors::{self, SyntaxError};
use crate::lex::{POISON, Token};
use crate::parser::Rule;
use crate::span::Span;

mod expr;

use expr::Node;
pub(crate) use expr::{PIPE_LEVEL, unary_level};

/// A slice that no rule matches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadSlice {
    /// Rule that was expected.
    pub wanted: Rule,
    /// Its place.
    pub span: Span,
    /// The valid item or statement right before it, if nothing separates the two: the slice may be its tail.
    pub previous: Option<Span>,
}

/// Builds the tree; collects errors on the way.
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
                            // the names follow the last `::`, which no name of the path follows
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
        let mut names = Vec::new();
        let mut text = None;
        let start = pair.as_span().start();
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::allow_word | Rule::name => names.push(ident(&part)),
                Rule::string => text = Some(part.as_str().trim_matches('"').to_owned()),
                _ => {}
            }
        }
        let name = if names.is_empty() { missing(start) } else { names.remove(0) };
        Attribute { name, value: text.map_or(AttributeValue::Words(names), AttributeValue::Text) }
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
                            // `block B[D]()` is `block B[D]`
                            _ => callable.params = Some(self.parameters(piece)).filter(|p| !p.is_empty()),
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

    /// The next `name`; the grammar guarantees that there is one.
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
                StmtKind::Let { pattern, values: self.values(parts) }
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
}

fn ident(pair: &Pair<'_, Rule>) -> Ident {
    let span = pair.as_span();
    Ident { name: pair.as_str().to_owned(), span: Span::new(span.start(), span.end()) }
}

/// Placeholder where the grammar guarantees a name; never occurs in a tree.
fn missing(at: usize) -> Ident {
    Ident { name: String::new(), span: Span::new(at, at) }
}

fn names(pair: Pair<'_, Rule>) -> Vec<Ident> {
    pair.into_inner().filter(|p| p.as_rule() == Rule::name).map(|p| ident(&p)).collect()
}

fn bad_item(span: Span) -> Item {
    Item { trivia: Trivia::default(), docs: Vec::new(), attributes: Vec::new(), kind: ItemKind::Error, span }
}
