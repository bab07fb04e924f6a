//! Explanations of E02xx to E05xx, for `archc explain`.

use crate::diag::Code;

/// Codes of axes and sizes, calls, time and parameters.
pub const CODES: &[Code] = &[
    Code {
        code: "E0201",
        title: "an outer product where none may be",
        text: "\
Only `*` and `/` may form outer products. For every other element-wise operator (`+ - ^`, comparisons, `min`, \
`clamp`, `select`, `stack`) the axes of one operand must contain every other's, because a slip such as adding \
[H, K] to [H, V] would otherwise silently build [H, K, V].\n\n\
Wrong:\n    let y = k + v                       // [H, K] + [H, V]\nRight:\n    let y = k * v                       // the outer product is meant\n    let y = rename[K -> V](k) + v       // the same positions are meant\n    let y = mean[K](k) + v              // a number for each head is meant\n",
    },
    Code {
        code: "E0202",
        title: "unknown axis",
        text: "\
An axis is declared in the block's brackets, as an upper-case hyperparameter, by `axis NAME = size`, or made by \
`stack`, `flatten`, `cat` and `rename`, whose targets may be new. `linear`, `split`, `cut`, `window` and `expand` \
need their axes declared before, since nothing else says how large they are.\n\n\
Wrong:\n    let h = linear[D -> F](x)\nRight:\n    axis F = 4 * D\n    let h = linear[D -> F](x)\n",
    },
    Code {
        code: "E0203",
        title: "the value lacks the axis",
        text: "\
An op over a named axis needs a value that has it.\n\nWrong:\n    let m = mean[V](k)                  // k has [H, K]\nRight:\n    let m = mean[K](k)\n",
    },
    Code {
        code: "E0204",
        title: "brackets of the wrong form",
        text: "\
Each function says in its declaration which axes it wants: `sum[A](x)`, `linear[IN -> OUT](x)`, \
`cat[K + R -> E](a, b)`, `rmsnorm[A..](x)`. Blocks may be called without brackets; then the caller's axes of the \
same names are taken.\n",
    },
    Code {
        code: "E0205",
        title: "not a size",
        text: "\
Sizes (axes, widths, bounds of loops) are exact integers known before anything runs. `/` must come out even; \
`floor(a / b)` rounds on purpose. Conditions of `if` and lower-case hyperparameters are numbers, never tensors.\n\n\
Wrong:\n    axis J = K / 2                      // K = 15\nRight:\n    axis J = floor(K / 2)\n",
    },
    Code {
        code: "E0206",
        title: "a size out of range, or not given",
        text: "\
An axis has between 1 and 16777216 elements. The first axis of a block is 64 unless `--set D=...` says otherwise; \
other bracket axes have no default.\n",
    },
    Code {
        code: "E0207",
        title: "--set names something unknown",
        text: "\
`--set NAME=VALUE` sets an axis of the block's brackets or one of its hyperparameters.\n",
    },
    Code {
        code: "E0208",
        title: "sizes do not agree",
        text: "\
The two sides of `split`, `cut`, `flatten`, `cat` and `rename` hold the same number of elements.\n\n\
Wrong:\n    let y = split[D -> H, K](x)         // 64 -> 4 * 12\nRight:\n    let y = split[D -> H, K](x)         // 64 -> 4 * 16\n",
    },
    Code {
        code: "E0209",
        title: "an axis twice",
        text: "\
No value has the same axis twice. To compare a vector with itself pairwise, rename one side.\n\n\
Right:\n    let pairs = x * rename[K -> J](x)   // [K, J]\n",
    },
    Code {
        code: "E0210",
        title: "labels",
        text: "\
The labels of an axis are the names that `stack` was given, in the order written; a second `stack` over the same \
axis must have the same. `x[P = label]` picks one; `P{a = 1}` is a constant along P, 0 where nothing is said. \
An axis without labels is picked by index: `x[N = 0]`.\n",
    },
    Code {
        code: "E0211",
        title: "linear",
        text: "\
`linear[IN -> OUT](x, y)` contracts exactly the axes IN, each over the inputs that have it; every other axis is \
mapped over with the same weights, or with its own where it is in `per`. So a forgotten axis is an error and not a \
silent loop. `linear[OUT](x)` is the short form for inputs of one axis.\n\n\
Wrong:\n    linear[V -> D](o)                   // o has [H, V]; did you mean to sum over heads?\nRight:\n    linear[H, V -> D](o)\n",
    },
    Code {
        code: "E0212",
        title: "other axes than declared",
        text: "\
`let name[AXES] = ...`, inputs and outputs say which axes a value has. They are checked and never coerced.\n",
    },
    Code {
        code: "E0213",
        title: "an axis leaves its fn",
        text: "\
Axes that a fn makes are its own. One that it returns must be named in its brackets, so that the caller has a name \
for it.\n\nWrong:\n    fn pairs(x, y) = stack[P](x, y)\nRight:\n    fn pairs[P](x, y) = stack[P](x, y)\n",
    },
    Code {
        code: "E0214",
        title: "parts of cat and cut",
        text: "\
`cat[K + R -> E](a, b)` joins as many values as there are summands; `cut[E -> K + R](x)` gives as many.\n",
    },
    Code {
        code: "E0310",
        title: "arguments",
        text: "\
Positional arguments come in the order of the declaration; any may be given by name. Inputs of a block are \
positional, its hyperparameters named.\n",
    },
    Code {
        code: "E0311",
        title: "not a tensor",
        text: "\
Tuples are unpacked with `let (a, b) = ...`; outputs of a block with several are read as `t.name`; lists of axes \
and words are options.\n",
    },
    Code {
        code: "E0312",
        title: "a call that cannot be made",
        text: "\
Calls are inlined, so a fn or block may not call itself; models are not called; `shared A = Block[D](options)` \
makes one instance that is applied as `A(x)`.\n",
    },
    Code {
        code: "E0313",
        title: "the program is too large",
        text: "\
Loops are unrolled and calls inlined. A program of more than 200000 ops is refused.\n",
    },
    Code {
        code: "E0314",
        title: "what is to be compiled",
        text: "\
Commands work on one block or model. A file with several needs `--block NAME`. Training puts a block with one \
input and one output over one axis into the standard stack; other blocks are used by a `model`.\n",
    },
    Code {
        code: "E0315",
        title: "an option out of range",
        text: "\
The message says which values the option takes.\n",
    },
    Code {
        code: "E0316",
        title: "compiling takes too much work",
        text: "\
Each stage of the compiler counts its steps and stops at a bound, so that no program can hold it up for ever. The label says for \
what most of them were: mostly a scan or an attend in a loop with very many rounds, each of which reads what the one before it gave.\n",
    },
    Code {
        code: "E0399",
        title: "a bug of archc: no graph and no reason",
        text: "\
The compiler gave no graph for a program and found nothing wrong with it. One of the two is false. Please report the program and the \
command; the process ends with exit code 101.\n",
    },
    Code {
        code: "E0401",
        title: "a value leaves its scan or attend",
        text: "\
What depends on a state, on `lag` or on `past` exists only inside its `scan` or `attend`; `emit` brings it out. \
Time operators do not nest on such values, because a window of states would need every past state.\n\n\
Wrong:\n    scan { state s[D] = 0; s = conv(s, width = 4) + x; emit y = s }\nRight:\n    let c = conv(x, width = 4)\n    scan { state s[D] = 0; s = s + c; emit y = s }\n",
    },
    Code {
        code: "E0402",
        title: "a state's first value depends on a token",
        text: "\
A state starts, at every document, from a value that is the same everywhere: 0, a number, or a `param`.\n",
    },
    Code {
        code: "E0403",
        title: "a scan without a state",
        text: "\
Without memory there is nothing to scan; write the expressions outside.\n",
    },
    Code {
        code: "E0404",
        title: "a state changes its axes",
        text: "\
A state keeps its axes from token to token. Usually a sum was forgotten.\n\n\
Wrong:\n    S = S + beta * k * (v - k * S)\nRight:\n    S = S + beta * k * (v - sum[K](k * S))\n",
    },
    Code {
        code: "E0405",
        title: "past and lag",
        text: "\
Inside `attend`, `past(x)` is x at an earlier-or-equal token and `lag` the distance to it. x may be any expression \
without `lag` or another `past`.\n",
    },
    Code {
        code: "E0406",
        title: "where, score and sink",
        text: "\
`where` hides tokens, `sink` adds exp(expr) to the softmax's denominator; their axes are within the score's, and a \
sink is the same for all past tokens.\n",
    },
    Code {
        code: "E0407",
        title: "only in models",
        text: "\
`tokens`, `embed`, `head` and `prefix` belong to models. A block works on its inputs; in training the standard \
stack adds an embedding and a head.\n",
    },
    Code {
        code: "E0408",
        title: "token_mean outside of a loss",
        text: "\
`token_mean(x)` averages over all tokens of the batch, the future included, so it may only be part of a `loss`.\n",
    },
    Code {
        code: "E0501",
        title: "random numbers outside of an init",
        text: "\
A draw is a recipe with its parameter's shape: each parameter draws for itself, seeded by (seed, path). Noise at \
run time is `dropout`.\n",
    },
    Code {
        code: "E0502",
        title: "an init depends on a token or a parameter",
        text: "\
An init is computed once, before there is a token: from numbers, sizes, hyperparameters, `index`, labels and draws.\n",
    },
    Code {
        code: "E0503",
        title: "an init with other axes",
        text: "\
An init has the axes of its parameter or fewer; along the others it is repeated.\n",
    },
    Code {
        code: "E0504",
        title: "one path, two parameters",
        text: "\
A parameter's path is instance/binding/op, so that checkpoints survive reformatting. Two that come out equal are \
refused: rename a binding, or pin another `name`.\n",
    },
    Code {
        code: "E0505",
        title: "fan without a contraction",
        text: "\
`fan` is uniform(-1/sqrt(n), 1/sqrt(n)), n the contracted elements of a `linear` or `conv`. A `param` contracts \
nothing.\n",
    },
];
