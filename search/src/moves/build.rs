//! Construction of syntax trees from text with holes, and queries on trees.

use archc_grammar::ast::{
    Argument, AxisSum, AxisTerm, BinaryOp, Brackets, Call, Expr, ExprKind, Ident, Pattern, Stmt, StmtKind, UnaryOp,
};
use archc_grammar::edit::{erase_expr_spans, erase_stmt_spans, visit_expr};
use archc_grammar::{parse_expr, parse_stmt};

// ---- making

/// Parses an expression, with each name of `holes` replaced by a tree.
///
/// # Panics
/// If the text does not parse: it is a constant of a move, and the tests apply every move.
pub(super) fn quote(text: &str, holes: &[(&str, &Expr)]) -> Expr {
    let mut expr = parse_expr(text).unwrap_or_else(|e| panic!("archc bug: a move wrote `{text}`: {e:?}"));
    erase_expr_spans(&mut expr);
    fill(&mut expr, holes);
    expr
}

/// Parses a statement, with each name of `holes` replaced by a tree.
///
/// # Panics
/// If the text does not parse.
pub(super) fn quote_stmt(text: &str, holes: &[(&str, &Expr)]) -> Stmt {
    let mut stmt = parse_stmt(text).unwrap_or_else(|e| panic!("archc bug: a move wrote `{text}`: {e:?}"));
    erase_stmt_spans(&mut stmt);
    archc_grammar::edit::exprs_of_mut(&mut stmt).into_iter().for_each(|e| fill(e, holes));
    stmt
}

fn fill(expr: &mut Expr, holes: &[(&str, &Expr)]) {
    if holes.is_empty() {
        return;
    }
    match &mut expr.kind {
        ExprKind::Name(name) => {
            if let Some((_, tree)) = holes.iter().find(|(hole, _)| hole == name) {
                *expr = (*tree).clone();
            }
        }
        // The right side of a pipe is a fn, whatever its name; the name in a pick is a label.
        ExprKind::Pipe(a, f) if matches!(f.kind, ExprKind::Name(_)) => fill(a, holes),
        ExprKind::Pick { base, at, .. } if matches!(at.kind, ExprKind::Name(_)) => fill(base, holes),
        ExprKind::Call(call) => {
            let labelled = call.callee.name == "stack";
            for arg in call.args.iter_mut().flatten() {
                if let (true, None, ExprKind::Name(name)) = (labelled, &arg.name, &arg.value.kind)
                    && holes.iter().any(|(hole, _)| hole == name)
                {
                    arg.name = Some(Ident::new(name.clone()));
                }
                fill(&mut arg.value, holes);
            }
        }
        _ => archc_grammar::edit::children_mut(expr).into_iter().for_each(|child| fill(child, holes)),
    }
}

/// Formats axes as `A, B`.
pub(super) fn list(axes: &[String]) -> String {
    axes.join(", ")
}

/// Formats axes as `[A, B]`; empty without axes.
pub(super) fn bracket(axes: &[String]) -> String {
    if axes.is_empty() { String::new() } else { format!("[{}]", list(axes)) }
}

/// Sum `a + b - c` of terms with signs.
pub(super) fn sum_of(terms: Vec<Term<Expr>>) -> Expr {
    let mut sum: Option<Expr> = None;
    for Term { minus, value } in terms {
        sum = Some(match (sum, minus) {
            (None, false) => value,
            (None, true) => Expr::new(ExprKind::Unary(UnaryOp::Neg, Box::new(value))),
            (Some(sum), false) => Expr::binary(BinaryOp::Add, sum, value),
            (Some(sum), true) => Expr::binary(BinaryOp::Sub, sum, value),
        });
    }
    sum.unwrap_or_else(|| Expr::number(0.0))
}

/// Product `a * b * c` of factors.
pub(super) fn product_of(factors: Vec<Expr>) -> Expr {
    factors.into_iter().reduce(|a, b| Expr::binary(BinaryOp::Mul, a, b)).unwrap_or_else(|| Expr::number(1.0))
}

// ---- taking apart

/// Term of a sum.
#[derive(Clone, Debug)]
pub(super) struct Term<E> {
    /// Whether it is subtracted.
    pub(super) minus: bool,
    /// Value without its sign.
    pub(super) value: E,
}

impl Term<&Expr> {
    pub(super) fn owned(&self) -> Term<Expr> {
        Term { minus: self.minus, value: self.value.clone() }
    }
}

/// Expression without enclosing parentheses.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => bare(inner),
        _ => expr,
    }
}

/// Terms of a sum, in order.
pub(super) fn terms(expr: &Expr) -> Vec<Term<&Expr>> {
    fn collect<'a>(expr: &'a Expr, minus: bool, into: &mut Vec<Term<&'a Expr>>) {
        match &expr.kind {
            ExprKind::Paren(inner)
                if matches!(bare(inner).kind, ExprKind::Binary(BinaryOp::Add | BinaryOp::Sub, ..)) =>
            {
                collect(inner, minus, into);
            }
            ExprKind::Binary(BinaryOp::Add, a, b) => {
                collect(a, minus, into);
                collect(b, minus, into);
            }
            ExprKind::Binary(BinaryOp::Sub, a, b) => {
                collect(a, minus, into);
                collect(b, !minus, into);
            }
            ExprKind::Unary(UnaryOp::Neg, inner) => collect(inner, !minus, into),
            _ => into.push(Term { minus, value: expr }),
        }
    }
    let mut found = Vec::new();
    collect(expr, false, &mut found);
    found
}

/// Factors of a product, in order; a quotient is one factor.
pub(super) fn factors(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Paren(inner) if matches!(bare(inner).kind, ExprKind::Binary(BinaryOp::Mul, ..)) => factors(inner),
        ExprKind::Binary(BinaryOp::Mul, a, b) => {
            let mut all = factors(a);
            all.extend(factors(b));
            all
        }
        _ => vec![expr],
    }
}

/// Name, if the expression is a name.
pub(super) fn name_of(expr: &Expr) -> Option<&str> {
    match &bare(expr).kind {
        ExprKind::Name(name) => Some(name),
        _ => None,
    }
}

/// Whether a name occurs in the expression.
pub(super) fn mentions(expr: &Expr, name: &str) -> bool {
    let mut found = false;
    visit_expr(expr, &mut |e| found |= matches!(&e.kind, ExprKind::Name(n) if n == name));
    found
}

/// Replaces a name by a tree.
pub(super) fn substitute(expr: &mut Expr, name: &str, tree: &Expr) {
    fill(expr, &[(name, tree)]);
}

/// Name of the fn that an expression applies: `f` of `f(x)`, `f[A](x)`, `x |> f`.
pub(super) fn applied(expr: &Expr) -> Option<&str> {
    match &bare(expr).kind {
        ExprKind::Call(call) => Some(&call.callee.name),
        ExprKind::Pipe(_, f) => match &f.kind {
            ExprKind::Name(name) => Some(name),
            ExprKind::Call(call) => Some(&call.callee.name),
            _ => None,
        },
        _ => None,
    }
}

/// Stages of a pipe, the source first: `x |> f |> g` is `x`, `f`, `g`.
pub(super) fn stages(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Pipe(a, f) => {
            let mut all = stages(a);
            all.push(f);
            all
        }
        ExprKind::Paren(inner) if matches!(bare(inner).kind, ExprKind::Pipe(..)) => stages(inner),
        _ => vec![expr],
    }
}

/// Pipe of these stages.
pub(super) fn pipe_of(stages: Vec<Expr>) -> Expr {
    let join = |a, f| Expr::new(ExprKind::Pipe(Box::new(a), Box::new(f)));
    stages.into_iter().reduce(join).unwrap_or_else(|| Expr::number(0.0))
}

/// Name of the fn of a stage of a pipe.
pub(super) fn stage_name(stage: &Expr) -> Option<&str> {
    match &stage.kind {
        ExprKind::Name(name) => Some(name),
        ExprKind::Call(call) => Some(&call.callee.name),
        _ => None,
    }
}

/// Rewrites an outermost pipe `x |> f(rest)` as `f(x, rest)`; other expressions stay.
pub(super) fn unpipe(expr: &Expr) -> Expr {
    match &expr.kind {
        ExprKind::Paren(inner) => unpipe(inner),
        ExprKind::Pipe(a, f) => {
            let argument = Argument { name: None, value: unpipe(a) };
            let call = match &f.kind {
                ExprKind::Name(name) => Call { callee: Ident::new(name), brackets: None, args: Some(vec![argument]) },
                ExprKind::Call(call) => {
                    let mut call = call.clone();
                    call.args.get_or_insert_default().insert(0, argument);
                    call
                }
                _ => return expr.clone(),
            };
            Expr::new(ExprKind::Call(call))
        }
        _ => expr.clone(),
    }
}

/// Axes of brackets that are plain lists: no arrow, sum or spread.
pub(super) fn plain_axes(brackets: Option<&Brackets>) -> Option<Vec<String>> {
    let Some(brackets) = brackets else { return Some(Vec::new()) };
    let plain = |sum: &AxisSum| match sum.terms.as_slice() {
        [AxisTerm { name, spread: false }] => Some(name.name.clone()),
        _ => None,
    };
    if brackets.right.is_some() {
        return None;
    }
    brackets.left.iter().map(plain).collect()
}

/// Name and value of a `let` that binds one name.
pub(super) fn let_parts(stmt: &Stmt) -> Option<(&str, &Expr)> {
    match &stmt.kind {
        StmtKind::Let { pattern: Pattern::Name { name, .. }, values } => Some((&name.name, values.first()?)),
        _ => None,
    }
}

/// Value of a named argument of a call.
pub(super) fn option<'a>(call: &'a Call, name: &str) -> Option<&'a Expr> {
    let arg = call.args.iter().flatten().find(|a| a.name.as_ref().is_some_and(|n| n.name == name));
    arg.map(|a| &a.value)
}

/// Sets a named argument, or removes it.
pub(super) fn set_option(call: &mut Call, name: &str, value: Option<Expr>) {
    let args = call.args.get_or_insert_default();
    args.retain(|a| a.name.as_ref().is_none_or(|n| n.name != name));
    if let Some(value) = value {
        args.push(Argument { name: Some(Ident::new(name)), value });
    }
    if args.is_empty() && call.brackets.is_some() {
        call.args = None;
    }
}
