//! Random trees: everything the tree type can say that is a program of the language, and parentheses
//! left out where the meaning needs them.

use archc_grammar::Span;
use archc_grammar::ast::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: &[&str] =
    &["x", "y", "K", "V2", "weight", "score", "sink", "where_", "letter", "_a", "pos", "e5", "in_", "iff"];

const BINARY: &[BinaryOp] = &[
    BinaryOp::Pow,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Rem,
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Eq,
    BinaryOp::Ne,
    BinaryOp::Lt,
    BinaryOp::Le,
    BinaryOp::Gt,
    BinaryOp::Ge,
    BinaryOp::And,
    BinaryOp::Or,
];

const NUMBERS: &[&str] = &["0", "1", "12", "0.5", "1e-5", "2.50", "1E3", "3e+2", "1234567890123", "1e300", "007"];

const COMMENTS: &[&str] = &["// c", "//", "// let x = {", "//// rule", "// \u{e9}\u{1F600}", "// \"quoted"];

/// The text of the simplest expression.
pub fn one() -> &'static str {
    "1"
}

fn ident() -> impl Strategy<Value = Ident> + Clone {
    select(NAMES).prop_map(Ident::new)
}

fn axis_sums() -> impl Strategy<Value = Vec<AxisSum>> {
    let term = (ident(), any::<bool>()).prop_map(|(name, spread)| AxisTerm { name, spread });
    vec(vec(term, 1..3).prop_map(|terms| AxisSum { terms }), 0..4)
}

fn brackets() -> impl Strategy<Value = Brackets> {
    (axis_sums(), option::of(axis_sums())).prop_map(|(left, right)| Brackets { left, right, span: Span::default() })
}

fn call(argument: impl Strategy<Value = Argument>) -> impl Strategy<Value = Expr> {
    (ident(), option::of(brackets()), option::of(vec(argument, 1..4))).prop_map(|(callee, brackets, args)| {
        Expr::new(match (brackets, args) {
            (None, None) => ExprKind::Name(callee.name),
            (brackets, args) => ExprKind::Call(Call { callee, brackets, args }),
        })
    })
}

fn argument(expr: impl Strategy<Value = Expr> + Clone + 'static) -> impl Strategy<Value = Argument> {
    let axis_list = brackets().prop_map(|list| Expr::new(ExprKind::AxisList(list)));
    prop_oneof![
        3 => expr.clone().prop_map(|value| Argument { name: None, value }),
        2 => (ident(), expr).prop_map(|(name, value)| Argument { name: Some(name), value }),
        1 => (ident(), axis_list).prop_map(|(name, value)| Argument { name: Some(name), value }),
    ]
}

/// Any expression that may stand by itself.
pub fn expr() -> BoxedStrategy<Expr> {
    let number = select(NUMBERS)
        .prop_map(|text| Expr::new(ExprKind::Number { value: text.parse().unwrap_or(0.0), text: text.to_owned() }));
    let leaf = prop_oneof![number, select(NAMES).prop_map(Expr::name)];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            6 => (select(BINARY), inner.clone(), inner.clone()).prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            2 => boxed.clone().prop_map(|a| Expr::new(ExprKind::Unary(UnaryOp::Neg, a))),
            1 => boxed.clone().prop_map(|a| Expr::new(ExprKind::Unary(UnaryOp::Not, a))),
            1 => boxed.clone().prop_map(|a| Expr::new(ExprKind::Paren(a))),
            3 => call(argument(inner.clone())),
            2 => (boxed.clone(), call(argument(inner.clone())).prop_map(Box::new))
                .prop_map(|(a, f)| Expr::new(ExprKind::Pipe(a, f))),
            1 => (boxed.clone(), ident(), boxed.clone())
                .prop_map(|(base, axis, at)| Expr::new(ExprKind::Pick { base, axis, at })),
            1 => (boxed, ident()).prop_map(|(a, name)| Expr::new(ExprKind::Field(a, name))),
            1 => (ident(), vec((ident(), inner), 1..3))
                .prop_map(|(axis, entries)| Expr::new(ExprKind::Labels { axis, entries })),
        ]
    })
    .boxed()
}

fn comment() -> impl Strategy<Value = String> {
    select(COMMENTS).prop_map(str::to_owned)
}

/// Comment lines with single blank lines between them, none at the start.
fn comments(blank_end: bool) -> impl Strategy<Value = Vec<String>> {
    vec((comment(), any::<bool>()), 0..3).prop_map(move |lines| {
        let mut out: Vec<String> = lines
            .into_iter()
            .flat_map(|(line, blank)| if blank { vec![line, String::new()] } else { vec![line] })
            .collect();
        if !blank_end && out.last().is_some_and(String::is_empty) {
            out.pop();
        }
        out
    })
}

fn trivia() -> impl Strategy<Value = Trivia> {
    let some = (any::<bool>(), comments(true), option::of(comment()))
        .prop_map(|(blank_before, leading, trailing)| Trivia { blank_before, leading, trailing });
    prop_oneof![2 => Just(Trivia::default()), 1 => some]
}

fn block(stmt: impl Strategy<Value = Stmt>) -> impl Strategy<Value = Block> {
    (vec(stmt, 0..4), option::weighted(0.2, comment()), comments(false)).prop_map(|(mut stmts, opening, dangling)| {
        // There is no blank line at the start of a body.
        if let Some(first) = stmts.first_mut() {
            first.trivia.blank_before = false;
        }
        Block { opening, stmts, dangling, span: Span::default() }
    })
}

fn simple_kind() -> impl Strategy<Value = StmtKind> {
    let axes = || option::of(brackets());
    let shared = (ident(), call(argument(expr()))).prop_map(|(name, call)| StmtKind::Shared { name, call });
    prop_oneof![
        (ident(), brackets()).prop_map(|(name, axes)| StmtKind::Input { name, axes }),
        (ident(), expr()).prop_map(|(name, size)| StmtKind::Axis { name, size }),
        (ident(), axes(), expr()).prop_map(|(name, axes, value)| StmtKind::Let {
            pattern: Pattern::Name { name, axes },
            values: vec![value]
        }),
        (vec(ident(), 2..4), vec(expr(), 1..4)).prop_map(|(names, values)| {
            StmtKind::Let { pattern: Pattern::Tuple { names, span: Span::default() }, values }
        }),
        (ident(), axes(), expr()).prop_map(|(name, axes, value)| StmtKind::Mut { name, axes, value }),
        (ident(), axes(), expr()).prop_map(|(name, axes, init)| StmtKind::Param { name, axes, init }),
        (ident(), axes(), expr()).prop_map(|(name, axes, init)| StmtKind::State { name, axes, init }),
        (ident(), brackets(), expr()).prop_map(|(name, axes, init)| StmtKind::Prefix { name, axes, init }),
        // Inside `attend` these four names would start another statement.
        (select(&["x", "y", "K"][..]), expr())
            .prop_map(|(name, value)| StmtKind::Assign { targets: vec![Ident::new(name)], values: vec![value] }),
        (vec(ident(), 2..4), vec(expr(), 1..4)).prop_map(|(targets, values)| StmtKind::Assign { targets, values }),
        (ident(), expr()).prop_map(|(name, value)| StmtKind::Emit { name, value }),
        (option::of(ident()), expr()).prop_map(|(name, value)| StmtKind::Output { name, value }),
        vec(expr(), 1..3).prop_map(StmtKind::Return),
        expr().prop_map(StmtKind::Loss),
        shared,
    ]
}

fn with_trivia(kind: impl Strategy<Value = StmtKind>) -> impl Strategy<Value = Stmt> {
    (kind, trivia()).prop_map(|(kind, trivia)| Stmt { trivia, kind, span: Span::default() })
}

fn pair_stmt() -> impl Strategy<Value = Stmt> {
    with_trivia(prop_oneof![
        expr().prop_map(StmtKind::Where),
        expr().prop_map(StmtKind::Score),
        expr().prop_map(StmtKind::Weight),
        expr().prop_map(StmtKind::Sink),
        simple_kind(),
    ])
}

/// A statement that may stand in any body.
pub fn stmt() -> BoxedStrategy<Stmt> {
    with_trivia(simple_kind())
        .prop_recursive(3, 12, 3, |inner| {
            let arm = (expr(), block(inner.clone()));
            with_trivia(prop_oneof![
                2 => simple_kind(),
                1 => block(inner.clone()).prop_map(StmtKind::Scan),
                1 => block(pair_stmt()).prop_map(StmtKind::Attend),
                1 => (ident(), expr(), expr(), block(inner.clone()))
                    .prop_map(|(index, from, to, body)| StmtKind::For { index, from, to, body }),
                1 => (vec(arm, 1..3), option::of(block(inner)))
                    .prop_map(|(arms, otherwise)| StmtKind::If { arms, otherwise }),
            ])
        })
        .boxed()
}

/// A statement as an edit makes it: without comments.
pub fn plain_stmt() -> BoxedStrategy<Stmt> {
    with_trivia(simple_kind())
        .prop_map(|mut stmt| {
            stmt.trivia = Trivia::default();
            stmt
        })
        .boxed()
}

/// A file that holds one statement.
pub fn file_of(stmt: Stmt) -> File {
    let body = Body::Block(Block { stmts: vec![stmt], ..Block::default() });
    let callable = Callable { name: Ident::new("F"), axes: None, params: None, body };
    File { items: vec![item_of(ItemKind::Block(callable))], dangling: Vec::new() }
}

fn item_of(kind: ItemKind) -> Item {
    Item { trivia: Trivia::default(), docs: Vec::new(), attributes: Vec::new(), kind, span: Span::default() }
}

fn callable(body: impl Strategy<Value = Body>) -> impl Strategy<Value = Callable> {
    let axis_list = brackets().prop_map(|list| Expr::new(ExprKind::AxisList(list)));
    let default = prop_oneof![3 => expr(), 1 => axis_list];
    let parameter = (ident(), option::of(default)).prop_map(|(name, default)| Parameter { name, default });
    (ident(), option::of(brackets()), option::of(vec(parameter, 1..4)), body)
        .prop_map(|(name, axes, params, body)| Callable { name, axes, params, body })
}

fn item() -> impl Strategy<Value = Item> {
    let body = || block(stmt()).prop_map(Body::Block);
    let kind = prop_oneof![
        1 => (vec(ident(), 1..3), vec(ident(), 1..4)).prop_map(|(path, names)| ItemKind::Use { path, names }),
        1 => callable(expr().prop_map(Body::Expr)).prop_map(ItemKind::Fn),
        1 => callable(body()).prop_map(ItemKind::Fn),
        2 => callable(body()).prop_map(ItemKind::Block),
        1 => callable(body()).prop_map(ItemKind::Model),
    ];
    let doc = select(&["A norm.", "", "  indented", "x |> f // not a comment", "\u{e9}"][..]).prop_map(str::to_owned);
    let attribute = select(&["arXiv:2412.06464", "https://arxiv.org/abs/1", ""][..])
        .prop_map(|value| Attribute { name: Ident::new("cite"), value: AttributeValue::Text(value.to_owned()) });
    (trivia(), vec(doc, 0..3), vec(attribute, 0..2), kind).prop_map(|(trivia, docs, attributes, kind)| Item {
        trivia,
        docs,
        attributes,
        kind,
        span: Span::default(),
    })
}

/// Any file.
pub fn file() -> impl Strategy<Value = File> {
    (vec(item(), 1..4), comments(false)).prop_map(|(mut items, dangling)| {
        if let Some(first) = items.first_mut() {
            first.trivia.blank_before = false;
        }
        File { items, dangling }
    })
}
