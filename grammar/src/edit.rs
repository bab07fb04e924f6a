//! Traversals of the tree, and edits addressed by span.
//!
//! A search reads a program's spans from the compiler, edits the tree here, prints it and parses the
//! print: an edit never changes text. Inserted nodes have no place in the text, so their spans are
//! erased (the root of a replaced expression keeps the old one's span); an erased span addresses nothing.

use crate::ast::*;
use crate::span::Span;

// ---- what a node consists of

/// Direct parts of expressions and statements, once for shared and once for mutable access.
macro_rules! parts {
    ($children:ident, $exprs:ident, $blocks:ident, $bodies:ident, $($mutable:tt)?) => {
        /// Expressions directly inside an expression, in the order of the text.
        pub fn $children(expr: &$($mutable)? Expr) -> Vec<&$($mutable)? Expr> {
            match &$($mutable)? expr.kind {
                ExprKind::Number { .. } | ExprKind::Name(_) | ExprKind::AxisList(_) | ExprKind::Error => Vec::new(),
                ExprKind::Paren(a) | ExprKind::Unary(_, a) | ExprKind::Field(a, _) => vec![a],
                ExprKind::Binary(_, a, b) | ExprKind::Pipe(a, b) | ExprKind::Pick { base: a, at: b, .. } => vec![a, b],
                ExprKind::Call(Call { args, .. }) => {
                    args.into_iter().flatten().map(|arg| &$($mutable)? arg.value).collect()
                }
                ExprKind::Labels { entries, .. } => entries.into_iter().map(|(_, value)| value).collect(),
            }
        }

        /// Expressions directly inside a statement, without those of its blocks.
        pub fn $exprs(stmt: &$($mutable)? Stmt) -> Vec<&$($mutable)? Expr> {
            match &$($mutable)? stmt.kind {
                StmtKind::Input { .. } | StmtKind::Scan(_) | StmtKind::Attend(_) | StmtKind::Error => Vec::new(),
                StmtKind::Axis { size: e, .. }
                | StmtKind::Mut { value: e, .. }
                | StmtKind::Param { init: e, .. }
                | StmtKind::State { init: e, .. }
                | StmtKind::Prefix { init: e, .. }
                | StmtKind::Emit { value: e, .. }
                | StmtKind::Shared { call: e, .. }
                | StmtKind::Output { value: e, .. }
                | StmtKind::Loss(e)
                | StmtKind::Where(e)
                | StmtKind::Score(e)
                | StmtKind::Weight(e)
                | StmtKind::Sink(e) => vec![e],
                StmtKind::For { from, to, .. } => vec![from, to],
                StmtKind::If { arms, .. } => arms.into_iter().map(|(condition, _)| condition).collect(),
                StmtKind::Let { values, .. } | StmtKind::Assign { values, .. } | StmtKind::Return(values) => {
                    values.into_iter().collect()
                }
            }
        }

        /// Blocks of a statement.
        pub fn $blocks(stmt: &$($mutable)? Stmt) -> Vec<&$($mutable)? Block> {
            match &$($mutable)? stmt.kind {
                StmtKind::Scan(body) | StmtKind::Attend(body) | StmtKind::For { body, .. } => vec![body],
                StmtKind::If { arms, otherwise } => arms.into_iter().map(|(_, body)| body).chain(otherwise).collect(),
                _ => Vec::new(),
            }
        }

        /// Callables of a file.
        pub fn $bodies(file: &$($mutable)? File) -> Vec<&$($mutable)? Callable> {
            let kinds = (&$($mutable)? file.items).into_iter().map(|item| &$($mutable)? item.kind);
            kinds
                .filter_map(|kind| match kind {
                    ItemKind::Fn(callable) | ItemKind::Block(callable) | ItemKind::Model(callable) => Some(callable),
                    ItemKind::Use { .. } | ItemKind::Error => None,
                })
                .collect()
        }
    };
}

parts!(children, exprs_of, blocks_of, callables,);
parts!(children_mut, exprs_of_mut, blocks_of_mut, callables_mut, mut);

// ---- walks

/// Calls `visit` on every statement of a file, outer before inner.
pub fn visit_stmts<'a>(file: &'a File, visit: &mut impl FnMut(&'a Stmt)) {
    for callable in callables(file) {
        if let Body::Block(body) = &callable.body {
            visit_block_stmts(body, visit);
        }
    }
}

/// Calls `visit` on every statement of a block, outer before inner.
pub fn visit_block_stmts<'a>(block: &'a Block, visit: &mut impl FnMut(&'a Stmt)) {
    for stmt in &block.stmts {
        visit(stmt);
        for inner in blocks_of(stmt) {
            visit_block_stmts(inner, visit);
        }
    }
}

/// Calls `visit` on every expression of a file, outer before inner; defaults of parameters included.
pub fn visit_exprs<'a>(file: &'a File, visit: &mut impl FnMut(&'a Expr)) {
    for callable in callables(file) {
        for default in callable.params.iter().flatten().filter_map(|p| p.default.as_ref()) {
            visit_expr(default, visit);
        }
        match &callable.body {
            Body::Expr(value) => visit_expr(value, visit),
            Body::Block(body) => visit_block_exprs(body, visit),
        }
    }
}

/// Calls `visit` on every expression of a block's statements, outer before inner.
pub fn visit_block_exprs<'a>(block: &'a Block, visit: &mut impl FnMut(&'a Expr)) {
    visit_block_stmts(block, &mut |stmt| {
        for expr in exprs_of(stmt) {
            visit_expr(expr, visit);
        }
    });
}

/// Calls `visit` on an expression and every expression inside it.
pub fn visit_expr<'a>(expr: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(expr);
    for child in children(expr) {
        visit_expr(child, visit);
    }
}

/// As `visit_stmts`; a statement's blocks are visited as `visit` left them.
pub fn visit_stmts_mut(file: &mut File, visit: &mut impl FnMut(&mut Stmt)) {
    for callable in callables_mut(file) {
        if let Body::Block(body) = &mut callable.body {
            visit_block_stmts_mut(body, visit);
        }
    }
}

/// As `visit_block_stmts`; a statement's blocks are visited as `visit` left them.
pub fn visit_block_stmts_mut(block: &mut Block, visit: &mut impl FnMut(&mut Stmt)) {
    for stmt in &mut block.stmts {
        visit(stmt);
        for inner in blocks_of_mut(stmt) {
            visit_block_stmts_mut(inner, visit);
        }
    }
}

/// As `visit_exprs`; an expression's parts are visited as `visit` left them.
pub fn visit_exprs_mut(file: &mut File, visit: &mut impl FnMut(&mut Expr)) {
    for callable in callables_mut(file) {
        visit_callable_exprs_mut(callable, visit);
    }
}

/// As `visit_exprs_mut`, for one callable.
pub fn visit_callable_exprs_mut(callable: &mut Callable, visit: &mut impl FnMut(&mut Expr)) {
    for default in callable.params.iter_mut().flatten().filter_map(|p| p.default.as_mut()) {
        visit_expr_mut(default, visit);
    }
    match &mut callable.body {
        Body::Expr(value) => visit_expr_mut(value, visit),
        Body::Block(body) => visit_block_stmts_mut(body, &mut |stmt| {
            for expr in exprs_of_mut(stmt) {
                visit_expr_mut(expr, visit);
            }
        }),
    }
}

/// As `visit_expr`; an expression's parts are visited as `visit` left them.
pub fn visit_expr_mut(expr: &mut Expr, visit: &mut impl FnMut(&mut Expr)) {
    visit(expr);
    for child in children_mut(expr) {
        visit_expr_mut(child, visit);
    }
}

// ---- edits by span

/// The expression with exactly this span; the outermost if there are several.
pub fn find_expr(file: &File, span: Span) -> Option<&Expr> {
    let mut found = None;
    visit_exprs(file, &mut |expr| {
        if found.is_none() && expr.span == span && span != Span::default() {
            found = Some(expr);
        }
    });
    found
}

/// The statement with exactly this span.
pub fn find_stmt(file: &File, span: Span) -> Option<&Stmt> {
    let mut found = None;
    visit_stmts(file, &mut |stmt| {
        if found.is_none() && stmt.span == span && span != Span::default() {
            found = Some(stmt);
        }
    });
    found
}

/// Replaces the expression at `span` by `new`; false (and no change) if there is none.
pub fn replace_expr(file: &mut File, span: Span, new: Expr) -> bool {
    let mut new = Some(new);
    visit_exprs_mut(file, &mut |expr| {
        if expr.span == span
            && span != Span::default()
            && let Some(mut new) = new.take()
        {
            erase_expr_spans(&mut new);
            new.span = span;
            *expr = new;
        }
    });
    new.is_none()
}

/// Inserts a statement before the one at `span`; false (and no change) if there is none.
pub fn insert_stmt_before(file: &mut File, span: Span, new: Stmt) -> bool {
    insert_stmt(file, span, new, 0)
}

/// Inserts a statement after the one at `span`; false (and no change) if there is none.
pub fn insert_stmt_after(file: &mut File, span: Span, new: Stmt) -> bool {
    insert_stmt(file, span, new, 1)
}

fn insert_stmt(file: &mut File, span: Span, mut new: Stmt, offset: usize) -> bool {
    erase_stmt_spans(&mut new);
    edit_around(file, span, &mut |stmts, at| stmts.insert(at + offset, new.clone()))
}

/// Removes the statement at `span`, with its comments, and returns it.
pub fn remove_stmt(file: &mut File, span: Span) -> Option<Stmt> {
    let mut removed = None;
    edit_around(file, span, &mut |stmts, at| removed = Some(stmts.remove(at)));
    removed
}

/// Replaces the statement at `span`, whose comments the new one inherits if it has none; false (and no change) if there is none.
pub fn replace_stmt(file: &mut File, span: Span, mut new: Stmt) -> bool {
    erase_stmt_spans(&mut new);
    edit_around(file, span, &mut |stmts, at| {
        let mut new = new.clone();
        if new.trivia == Trivia::default() {
            new.trivia = std::mem::take(&mut stmts[at].trivia);
        }
        stmts[at] = new;
    })
}

/// Finds the statement at `span` and edits the list that holds it.
fn edit_around(file: &mut File, span: Span, edit: &mut impl FnMut(&mut Vec<Stmt>, usize)) -> bool {
    fn search(block: &mut Block, span: Span, edit: &mut impl FnMut(&mut Vec<Stmt>, usize)) -> bool {
        if let Some(at) = block.stmts.iter().position(|stmt| stmt.span == span) {
            edit(&mut block.stmts, at);
            return true;
        }
        block.stmts.iter_mut().flat_map(blocks_of_mut).any(|inner| search(inner, span, edit))
    }
    span != Span::default()
        && callables_mut(file).into_iter().any(|callable| match &mut callable.body {
            Body::Block(body) => search(body, span, edit),
            Body::Expr(_) => false,
        })
}

// ---- renaming

/// Renames a value (not an axis) of a fn, block or model wherever it is bound or used. Labels and option names stay: a bare name that
/// labels a path of a `stack` becomes `old = new`. `new` must not be in use.
pub fn rename_value(callable: &mut Callable, old: &str, new: &str) {
    let rename = Rename { old, new, is_number: binds_number(callable, old) };
    for parameter in callable.params.iter_mut().flatten() {
        rename.ident(&mut parameter.name);
        parameter.default.iter_mut().for_each(|default| rename.expr(default));
    }
    match &mut callable.body {
        Body::Expr(value) => rename.expr(value),
        Body::Block(body) => visit_block_stmts_mut(body, &mut |stmt| rename.stmt(stmt)),
    }
}

struct Rename<'a> {
    old: &'a str,
    new: &'a str,
    /// Whether the name is a parameter or an index: `x[N = name]` means its value. Else `name` is a label there.
    is_number: bool,
}

impl Rename<'_> {
    fn ident(&self, ident: &mut Ident) {
        if ident.name == self.old {
            self.new.clone_into(&mut ident.name);
        }
    }

    fn stmt(&self, stmt: &mut Stmt) {
        for expr in exprs_of_mut(stmt) {
            self.expr(expr);
        }
        match &mut stmt.kind {
            StmtKind::Let { pattern: Pattern::Tuple { names, .. }, .. } | StmtKind::Assign { targets: names, .. } => {
                names.iter_mut().for_each(|name| self.ident(name));
            }
            StmtKind::Let { pattern: Pattern::Name { name, axes }, .. }
            | StmtKind::Mut { name, axes, .. }
            | StmtKind::Param { name, axes, .. }
            | StmtKind::State { name, axes, .. } => {
                self.ident(name);
                axes.iter_mut().for_each(|axes| self.spreads(axes));
            }
            StmtKind::Input { name, axes } | StmtKind::Prefix { name, axes, .. } => {
                self.ident(name);
                self.spreads(axes);
            }
            StmtKind::Emit { name, .. } | StmtKind::For { index: name, .. } => self.ident(name),
            // axes, instances and outputs are other namespaces
            StmtKind::Axis { .. } | StmtKind::Shared { .. } | StmtKind::Output { .. } => {}
            StmtKind::Scan(_) | StmtKind::Attend(_) | StmtKind::If { .. } => {}
            StmtKind::Loss(_) | StmtKind::Return(_) => {}
            StmtKind::Where(_) | StmtKind::Score(_) | StmtKind::Weight(_) | StmtKind::Sink(_) | StmtKind::Error => {}
        }
    }

    fn expr(&self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::Name(name) if name == self.old => self.new.clone_into(name),
            ExprKind::Pick { base, at, .. } if !self.is_number && matches!(at.kind, ExprKind::Name(_)) => {
                return self.expr(base);
            }
            // the right side of a pipe is a function, whatever its name
            ExprKind::Pipe(left, right) if matches!(right.kind, ExprKind::Name(_)) => return self.expr(left),
            ExprKind::Call(call) => {
                if call.callee.name == "stack" {
                    for arg in call.args.iter_mut().flatten().filter(|arg| arg.name.is_none()) {
                        if matches!(&arg.value.kind, ExprKind::Name(name) if name == self.old) {
                            arg.name = Some(Ident { name: self.old.to_owned(), span: arg.value.span });
                        }
                    }
                }
                call.brackets.iter_mut().for_each(|list| self.spreads(list));
            }
            ExprKind::AxisList(list) => self.spreads(list),
            _ => {}
        }
        children_mut(expr).into_iter().for_each(|child| self.expr(child));
    }

    /// Renames `x..`, which stands for the axes of the value x.
    fn spreads(&self, list: &mut Brackets) {
        let sums = list.left.iter_mut().chain(list.right.iter_mut().flatten());
        let terms = sums.flat_map(|sum| &mut sum.terms).filter(|term| term.spread);
        terms.for_each(|term| self.ident(&mut term.name));
    }
}

fn binds_number(callable: &Callable, name: &str) -> bool {
    let mut found = callable.params.iter().flatten().any(|p| p.name.name == name);
    if let Body::Block(body) = &callable.body {
        visit_block_stmts(body, &mut |stmt| {
            found |= matches!(&stmt.kind, StmtKind::For { index, .. } if index.name == name);
        });
    }
    found
}

// ---- equality up to spans

/// Sets every span of a file to `0..0`, so that files can be compared.
pub fn erase_spans(file: &mut File) {
    // a field that is added here has to be looked at
    let File { items, dangling: _ } = file;
    for Item { trivia: _, docs: _, attributes, kind, span } in items {
        *span = Span::default();
        for Attribute { name, value } in attributes {
            erase_ident(name);
            match value {
                AttributeValue::Text(_) => {}
                AttributeValue::Words(words) => words.iter_mut().for_each(erase_ident),
            }
        }
        match kind {
            ItemKind::Use { path, names } => path.iter_mut().chain(names).for_each(erase_ident),
            ItemKind::Fn(callable) | ItemKind::Block(callable) | ItemKind::Model(callable) => {
                erase_callable_spans(callable);
            }
            ItemKind::Error => {}
        }
    }
}

fn erase_callable_spans(callable: &mut Callable) {
    erase_ident(&mut callable.name);
    callable.axes.iter_mut().for_each(erase_brackets);
    for parameter in callable.params.iter_mut().flatten() {
        erase_ident(&mut parameter.name);
        parameter.default.iter_mut().for_each(erase_expr_spans);
    }
    match &mut callable.body {
        Body::Expr(value) => erase_expr_spans(value),
        Body::Block(body) => erase_block_spans(body),
    }
}

fn erase_block_spans(block: &mut Block) {
    block.span = Span::default();
    block.stmts.iter_mut().for_each(erase_stmt_spans);
}

/// As `erase_spans`, for a statement.
pub fn erase_stmt_spans(stmt: &mut Stmt) {
    stmt.span = Span::default();
    exprs_of_mut(stmt).into_iter().for_each(erase_expr_spans);
    blocks_of_mut(stmt).into_iter().for_each(erase_block_spans);
    match &mut stmt.kind {
        StmtKind::Let { pattern: Pattern::Tuple { names, span }, .. } => {
            *span = Span::default();
            names.iter_mut().for_each(erase_ident);
        }
        StmtKind::Let { pattern: Pattern::Name { name, axes }, .. }
        | StmtKind::Mut { name, axes, .. }
        | StmtKind::Param { name, axes, .. }
        | StmtKind::State { name, axes, .. } => {
            erase_ident(name);
            axes.iter_mut().for_each(erase_brackets);
        }
        StmtKind::Input { name, axes } | StmtKind::Prefix { name, axes, .. } => {
            erase_ident(name);
            erase_brackets(axes);
        }
        StmtKind::Axis { name, .. }
        | StmtKind::Emit { name, .. }
        | StmtKind::For { index: name, .. }
        | StmtKind::Shared { name, .. }
        | StmtKind::Output { name: Some(name), .. } => erase_ident(name),
        StmtKind::Assign { targets, .. } => targets.iter_mut().for_each(erase_ident),
        StmtKind::Output { name: None, .. } | StmtKind::Scan(_) | StmtKind::Attend(_) | StmtKind::If { .. } => {}
        StmtKind::Loss(_) | StmtKind::Return(_) => {}
        StmtKind::Where(_) | StmtKind::Score(_) | StmtKind::Weight(_) | StmtKind::Sink(_) | StmtKind::Error => {}
    }
}

/// As `erase_spans`, for an expression.
pub fn erase_expr_spans(expr: &mut Expr) {
    visit_expr_mut(expr, &mut |expr| {
        expr.span = Span::default();
        match &mut expr.kind {
            ExprKind::Call(call) => {
                erase_ident(&mut call.callee);
                call.brackets.iter_mut().for_each(erase_brackets);
                call.args.iter_mut().flatten().filter_map(|arg| arg.name.as_mut()).for_each(erase_ident);
            }
            ExprKind::Pick { axis: name, .. } | ExprKind::Field(_, name) => erase_ident(name),
            ExprKind::Labels { axis, entries } => {
                erase_ident(axis);
                entries.iter_mut().for_each(|(label, _)| erase_ident(label));
            }
            ExprKind::AxisList(list) => erase_brackets(list),
            ExprKind::Number { .. } | ExprKind::Name(_) | ExprKind::Paren(_) | ExprKind::Error => {}
            ExprKind::Unary(..) | ExprKind::Binary(..) | ExprKind::Pipe(..) => {}
        }
    });
}

fn erase_brackets(list: &mut Brackets) {
    list.span = Span::default();
    let sums = list.left.iter_mut().chain(list.right.iter_mut().flatten());
    sums.flat_map(|sum| &mut sum.terms).for_each(|term| erase_ident(&mut term.name));
}

fn erase_ident(ident: &mut Ident) {
    ident.span = Span::default();
}

// ---- small constructors, for edits

impl Ident {
    /// A name without a place.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), span: Span::default() }
    }
}

impl Expr {
    /// An expression without a place.
    pub fn new(kind: ExprKind) -> Self {
        Self { kind, span: Span::default() }
    }

    /// A number as the language spells it: a negative one is a negation, infinity is a name.
    pub fn number(value: f64) -> Self {
        if value.is_sign_negative() && !value.is_nan() {
            return Self::new(ExprKind::Unary(UnaryOp::Neg, Box::new(Self::number(-value))));
        }
        if value.is_infinite() {
            return Self::name("inf");
        }
        Self::new(ExprKind::Number { value, text: crate::print::spell(value) })
    }

    /// A name.
    pub fn name(name: impl Into<String>) -> Self {
        Self::new(ExprKind::Name(name.into()))
    }

    /// Expression `a op b`; the printer adds the necessary parentheses.
    pub fn binary(op: BinaryOp, a: Self, b: Self) -> Self {
        Self::new(ExprKind::Binary(op, Box::new(a), Box::new(b)))
    }
}

impl Stmt {
    /// A statement without a place and comments.
    pub fn new(kind: StmtKind) -> Self {
        Self { trivia: Trivia::default(), kind, span: Span::default() }
    }
}
