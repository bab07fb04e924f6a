//! Explanations of the syntax errors, for `archc explain`.
//!
//! The lines `wrong:` and `right:` are programs, statements or expressions of one line each; a test parses them and checks that the wrong
//! one has the code and the right one none.

/// (code, title, explanation), sorted by code.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "E0001",
        "a file without items",
        "A program is a file with at least one `fn`, `block` or `model`. This file is empty, or holds only
comments.

    wrong: // nothing here
    right: block Identity[D] { input x[D] output x }",
    ),
    (
        "E0002",
        "not a text file",
        "Programs are UTF-8 text. This file holds control characters, which no text does: it is probably a
checkpoint, an archive or another binary file. Give the path of an `.arch` file.",
    ),
    (
        "E0003",
        "a file that is too large",
        "A source file has at most 4 MiB. A program of that size was not written by hand; if a generator wrote
it, use `for` and `fn` instead of repetition, or split it into files and import them:

    right: use self::layers::{Layer}",
    ),
    (
        "E0004",
        "brackets nested too deep",
        "Brackets of all kinds may be nested 100 deep. Name inner expressions with `let`, or write a `fn`.",
    ),
    (
        "E0005",
        "an expression that is too long",
        "One expression holds at most 200 operators outside of brackets, 20 selections (`.name`, `[P = label]`)
in a row, and a tree of 250 levels. Name parts of it with `let`.",
    ),
    (
        "E0006",
        "a bracket that is not closed",
        "Every `(`, `[` and `{` is closed by its partner. `(` and `[` cannot reach over the start of the next
statement, nor `{` over the start of the next item, so the message names the place where the partner was
missed at the latest. Items do not stand inside items.

    wrong: let a = exp(b * (c + d)
    right: let a = exp(b * (c + d))",
    ),
    (
        "E0007",
        "a bracket that closes nothing",
        "A `)`, `]` or `}` stands where no such bracket is open. Either it is one too many, or an earlier one
closed the body too soon.

    wrong: let a = b + c)
    right: let a = b + c",
    ),
    (
        "E0008",
        "an unknown character",
        "Names are of ASCII letters, digits and `_`; operators are `+ - * / % ^ == != < <= > >= |>` and the words
`not and or`. Comments, which start with `//`, and the texts in attributes may hold anything.

    wrong: let a = b × c
    right: let a = b * c",
    ),
    (
        "E0009",
        "an operator of another language",
        "The operators are `+ - * / %`, `^` for powers, `== != < <= > >=`, the words `not and or`, and `|>`.
There are no compound assignments. `=` binds a name, `==` compares.

    wrong: let a = b ** 2
    right: let a = b ^ 2",
    ),
    (
        "E0010",
        "something else was expected",
        "The text cannot go on like this; the message says what could stand there. Statements need no `;`, but
each starts with a keyword or is an assignment, so two expressions side by side are an error.

    wrong: let a b
    right: let a = b",
    ),
    (
        "E0011",
        "an expression was expected",
        "An operand is missing: a number, a name, an application such as `f[A](x)`, or an expression in
parentheses. There is no unary plus.

    wrong: let a = b +
    right: let a = b + 1",
    ),
    (
        "E0012",
        "a chain of comparisons",
        "A comparison gives 0 or 1, so `a < b < c` would compare a truth value with c. Comparisons do not
chain.

    wrong: let inside = a < b < c
    right: let inside = a < b and b < c",
    ),
    (
        "E0013",
        "something other than an axis in brackets",
        "Dimensions have names and no positions. Brackets after a name hold axes; one element is picked by its
axis and label or index, and a size is given a name with `axis`.

    wrong: let first = x[0]
    right: let first = x[N = 0]",
    ),
    (
        "E0014",
        "a malformed number",
        "A number has digits on both sides of its point, an optional exponent, and no letters or underscores:
`12`, `0.5`, `1e-5`, `2.5e3`.

    wrong: let a = 1. * b
    right: let a = 1.0 * b",
    ),
    (
        "E0015",
        "a number that is too large",
        "Numbers are read in 64-bit floating point, which ends at about 1.8e308. Infinity is `inf`.

    wrong: let a = 1e999
    right: let a = inf",
    ),
    (
        "E0016",
        "a reserved word as a name",
        "These words are keywords everywhere: use fn block model shared prefix input output let mut param axis
scan state emit attend for in if else return loss not and or. `where score sink weight` are keywords only
at the start of a statement in `attend`, and names elsewhere.

    wrong: let state = 0
    right: let state_0 = 0",
    ),
    (
        "E0017",
        "white space inside an application",
        "The parts of an application touch: `f[AXES](args)`. So do the label braces of `P{a = 1}` and the
brackets of `x[P = a]`. Because newlines mean nothing, the white space is what tells `f(a)` from `f` and a
new statement `(a, b) = ...`.

    wrong: let a = exp (b)
    right: let a = exp(b)",
    ),
    (
        "E0018",
        "a pipe into something that is not an application",
        "`x |> f(a)` means `f(x, a)`, so the right side is a function to apply: `f`, `f[AXES]`, `f(args)` or
`f[AXES](args)`.

    wrong: let a = b |> 2 * c
    right: let a = b |> silu",
    ),
    (
        "E0019",
        "an operator after a pipe",
        "`|>` binds loosest and its right side is a single application, after which only another `|>` may
follow. Put the pipe in parentheses to compute with its result.

    wrong: let a = b |> silu + c
    right: let a = (b |> silu) + c",
    ),
    (
        "E0020",
        "a body without white space before its brace",
        "`P{a = 1}` with a touching brace is a constant along the axis P. The `{` of a body therefore follows
white space.

    wrong: scan{ state s = 0 s = s + x emit y = s }
    right: scan { state s = 0 s = s + x emit y = s }",
    ),
    (
        "E0021",
        "empty parentheses",
        "Parentheses hold a value. Only those of a function may be empty, `fan()`, where `archc fmt` drops them.

    wrong: let a = ()
    right: let a = 0",
    ),
    (
        "E0022",
        "a keyword of another language",
        "The word starts something in another language; the help says how this one writes it.

    wrong: def f(x) = x ^ 2
    right: fn f(x) = x ^ 2",
    ),
    (
        "E0023",
        "not a statement",
        "A statement starts with a keyword or is an assignment `name = expr`. A value by itself is no
statement, since nothing would be done with it. `else` follows the `}` of an `if`.

    wrong: exp(a) * b
    right: let c = exp(a) * b",
    ),
    (
        "E0024",
        "a statement outside of an item",
        "A file holds `use`, `fn`, `block` and `model`; statements stand in the bodies of these.

    wrong: x = 3
    right: fn three = 3",
    ),
    (
        "E0025",
        "a statement of `attend` elsewhere",
        "`where`, `score`, `weight` and `sink` open statements only directly inside the braces of `attend`.

    wrong: where lag < 512
    right: attend { where lag < 512 score a emit o = past(v) }",
    ),
    (
        "E0026",
        "a tuple in the wrong place",
        "Tuples are not values. They bind or assign several names at once, `let (a, b) = cut[E -> K + R](x)`
and `(a, b) = (b, a)`, and are what a fn returns, `return (a, b)`. A tuple has two or more parts.

    wrong: let a = (b, c)
    right: let (a, b) = cut[E -> K + R](x)",
    ),
    (
        "E0027",
        "axes in the wrong place",
        "The axes of a value touch its name where it is declared: `let x[H, K] = ...`. They are checked, never
coerced. Assignments, `emit` and the results of fns carry none.

    wrong: let a: [H] = b
    right: let a[H] = b",
    ),
    (
        "E0028",
        "an import without braces",
        "The names that a file takes from another are listed in braces.

    wrong: use std::mixers::GLA
    right: use std::mixers::{GLA}",
    ),
    (
        "E0029",
        "a number where a name is wanted",
        "A name starts with a letter or `_`, and goes on with letters, digits and `_`.

    wrong: let 3 = b
    right: let x3 = b",
    ),
    (
        "E0030",
        "`if` as an expression",
        "`if` chooses between statements, over numbers that are known before the program runs. To choose
between values at each token, use `select(condition, a, b)`.

    wrong: let a = if b > 0 { c } else { d }
    right: let a = select(b > 0, c, d)",
    ),
    (
        "E0031",
        "a method",
        "Values have no methods: a function is applied to them, in front or behind a `|>`. `x.name` without
parentheses is an output of a block that has several.

    wrong: let a = x.relu()
    right: let a = relu(x)",
    ),
];
