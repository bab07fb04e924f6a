//! Diagnostics about names and statements, E01xx, W01xx and E03xx, with their explanations.

use crate::diag::{Code, Diagnostic, Severity};
use crate::hir::{LocalKind, library::Names};
use crate::source::{FileId, Place};
use archc_grammar::ast::Ident;
use archc_grammar::{Span, SyntaxError};

fn at(file: FileId, span: Span) -> Place {
    Place { file, span }
}

/// Diagnostic of a parser error.
pub fn syntax(file: FileId, error: &SyntaxError) -> Diagnostic {
    Diagnostic {
        help: error.help.clone(),
        ..Diagnostic::error(error.code, &error.message).at(at(file, error.span), &error.label)
    }
}

pub fn unknown_value(file: FileId, name: &Ident, near: Option<&str>) -> Diagnostic {
    let d = Diagnostic::error("E0101", format!("nothing is called `{}` here", name.name))
        .at(at(file, name.span), "not found in this scope");
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help("bind it before with `let`, `param`, `input` or as a hyperparameter"),
    }
}

pub fn unknown_function(
    file: FileId,
    name: &Ident,
    near: Option<&str>,
    is_value: bool,
    library: Option<&str>,
) -> Diagnostic {
    let d = Diagnostic::error("E0102", format!("no fn or block is called `{}`", name.name))
        .at(at(file, name.span), "not found");
    if let Some(instead) = foreign_function(&name.name).filter(|_| !is_value && library.is_none()) {
        return d.help(instead);
    }
    match (is_value, library, near) {
        (true, _, _) => d.help(format!(
            "`{0}` is a value; pick one entry of an axis with `{0}[A = label]`, multiply with `{0} * ...`",
            name.name
        )),
        (_, Some(module), _) => d.help(format!("write `use {module}::{{{}}}` at the top of the file", name.name)),
        (_, _, Some(near)) => d.help(format!("did you mean `{near}`?")),
        _ => d.help("define it in this file with `fn`, or import it with `use`"),
    }
}

/// This language's equivalent of a function of PyTorch or NumPy.
fn foreign_function(name: &str) -> Option<&'static str> {
    Some(match name {
        "argmax" | "argmin" => {
            "there is none, for it has no gradient: `topk[A](x, 1)` keeps the largest entry, `softmax[A](x)` weighs all"
        }
        "roll" => {
            "along time write `shift(x, n)`; along an axis there is none: `cut` it and `cat` the parts in another order"
        }
        "matmul" | "mm" | "bmm" | "dot" | "einsum" | "inner" => {
            "a contraction names its axis: `sum[K](a * b)`, or `linear[K -> V](a)` with learned weights"
        }
        "outer" => "write `a * b`: values of different axes make an outer product",
        "transpose" | "permute" | "swapaxes" | "unsqueeze" | "squeeze" => {
            "leave it out: axes have names, and no order matters"
        }
        "reshape" | "view" | "unflatten" => "write `split[D -> H, K](x)`, or `flatten[H, K -> D](x)`",
        "concat" | "concatenate" | "hstack" => "write `cat[A + B -> C](a, b)`",
        "chunk" => "write `let (a, b) = cut[C -> A + B](x)`",
        "where" => "write `select(condition, a, b)`",
        "repeat" | "tile" | "broadcast_to" => "write `expand[A](x)`",
        "arange" | "range" => "write `index[A]`, 0 to the size of A less 1",
        "zeros_like" => "write `0 * x`, or 0: numbers fit any axes",
        "ones_like" | "full" => "write the number: numbers fit any axes",
        "randn" => "a learned start is `param p[A] = normal(1)`",
        "rand" => "a learned start is `param p[A] = uniform(0, 1)`",
        "gather" | "scatter" | "take" | "index_select" => {
            "nothing is addressed by a computed index: weigh all entries, `sum[N](softmax[N](score) * values)`"
        }
        "Linear" | "nn" => "write `linear[IN -> OUT](x)`",
        "Conv1d" | "conv1d" => "write `conv(x, width = 4)`: causal, each channel by itself",
        "LayerNorm" | "layer_norm" => "write `layernorm[D](x)`",
        "RMSNorm" | "rms_norm" => "write `rmsnorm[D](x)`",
        "swish" | "SiLU" => "write `silu(x)`",
        "pow" => "write `a ^ b`",
        _ => return None,
    })
}

pub fn same_name(file: FileId, what: &str, name: &Ident, first: Span, help: &str) -> Diagnostic {
    Diagnostic::error("E0103", format!("two {what} are called `{}`", name.name))
        .at(at(file, name.span), "the second one")
        .label(at(file, first), "the first one")
        .help(help)
}

pub fn duplicate_parameter(file: FileId, name: &Ident, first: Span) -> Diagnostic {
    Diagnostic::error("E0103", format!("`{}` is declared twice", name.name))
        .at(at(file, name.span), "again here")
        .label(at(file, first), "first here")
        .help("rename one of them")
}

pub fn allow(file: FileId, word: &Ident) -> Diagnostic {
    Diagnostic::error("E0110", format!("`{}` is the code of no warning", word.name))
        .at(at(file, word.span), "")
        .help("a warning's code stands behind `warning[...]`, as in `#[allow(W0706)]`; errors are not allowed away")
}

pub fn two_meanings(file: FileId, name: &Ident, other: Span) -> Diagnostic {
    Diagnostic::error("E0104", format!("`{}` is already the name of an axis or value", name.name))
        .at(at(file, name.span), "second meaning")
        .label(at(file, other), "first meaning")
        .help("axes, values and hyperparameters share one namespace: rename one of them")
}

pub fn lower_case_axis(file: FileId, name: &Ident, spread: bool) -> Diagnostic {
    let d = Diagnostic::error("E0105", format!("`{}` is no axis", name.name));
    if spread {
        d.at(at(file, name.span), "no value of this name")
            .help("`x..` stands for the axes of a value `x`, `A..` for a pack named in the fn's brackets")
    } else {
        d.at(at(file, name.span), "axes are written with a capital first")
            .help("name an axis here, such as `[H, K]`; use `x..` for the axes of a value x")
    }
}

pub fn not_exported(file: FileId, name: &Ident, path: &[Ident], exported: &Names) -> Diagnostic {
    let path: Vec<&str> = path.iter().map(|p| p.name.as_str()).collect();
    let near = crate::hir::scope::nearest(&name.name, exported.keys().map(String::as_str));
    let d = Diagnostic::error("E0106", format!("`{}` has no `{}`", path.join("::"), name.name))
        .at(at(file, name.span), "not found there");
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => {
            let names: Vec<&str> = exported.keys().take(40).map(String::as_str).collect();
            d.help(format!("it has {}", names.join(", ")))
        }
    }
}

pub fn unknown_library(place: Place, path: &str) -> Diagnostic {
    let mut modules: Vec<&str> = crate::stdlib::FILES
        .iter()
        .enumerate()
        .filter(|(i, f)| !crate::stdlib::is_prelude(*i) && f.module != "std::stack")
        .map(|(_, f)| f.module)
        .collect();
    modules.dedup();
    Diagnostic::error("E0106", format!("the standard library has no module `{path}`"))
        .at(place, "unknown module")
        .help(format!("its modules are {}; the fns of the prelude need no `use`", modules.join(", ")))
}

pub fn missing_file(place: Place, name: &str) -> Diagnostic {
    Diagnostic::error("E0106", format!("there is no file `{name}`"))
        .at(place, "used here")
        .help("`use self::file::{A}` reads `file.arch` beside this file")
}

pub fn bad_use(place: Place, path: &str) -> Diagnostic {
    Diagnostic::error("E0106", format!("`{path}` is no module"))
        .at(place, "used here")
        .help("write `use std::mixers::{GLA}` or `use self::file::{A}`")
}

pub fn cyclic_use(place: Place, chain: &[String], back: &str) -> Diagnostic {
    Diagnostic::error("E0107", format!("`{back}` uses itself"))
        .at(place, "this `use` closes the circle")
        .note(format!("{} -> {back}", chain.join(" -> ")))
        .help("move what both files need into a third one")
}

pub fn pipe_target(file: FileId, span: Span) -> Diagnostic {
    Diagnostic::error("E0109", "the right of `|>` is no application")
        .at(at(file, span), "not a function")
        .help("write `x |> f` or `x |> f[A](b)`, which is `f[A](x, b)`")
}

pub fn unknown_target(file: FileId, name: &Ident, near: Option<&str>) -> Diagnostic {
    let d = Diagnostic::error("E0301", format!("`{}` is assigned before it is declared", name.name))
        .at(at(file, name.span), "nothing of this name");
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!("write `let {} = ...`, or `mut` if it changes later", name.name)),
    }
}

pub fn not_mutable(file: FileId, name: &Ident, declared: Span, kind: LocalKind) -> Diagnostic {
    let what = match kind {
        LocalKind::Let => "a `let`",
        LocalKind::Param => "a `param`",
        LocalKind::Input => "an `input`",
        LocalKind::Index => "the index of a `for`",
        _ => "not a `mut` or `state`",
    };
    Diagnostic::error("E0302", format!("`{}` may not be reassigned", name.name))
        .at(at(file, name.span), "assigned here")
        .label(at(file, declared), format!("declared here as {what}"))
        .help(match kind {
            LocalKind::Let => "declare it with `mut` instead of `let`".to_string(),
            _ => format!("bind the new value to another name: `let {}2 = ...`", name.name),
        })
}

pub fn misplaced(file: FileId, span: Span, what: &str, position: &str, help: &str) -> Diagnostic {
    Diagnostic::error("E0303", format!("{what} may not stand {position}")).at(at(file, span), "not here").help(help)
}

/// A second statement of a kind that an `attend` has only once.
pub fn attend_again(file: FileId, [first, second]: [Span; 2], what: &str, help: &str) -> Diagnostic {
    Diagnostic::error("E0304", format!("this `attend` has more than one {what}"))
        .at(at(file, second), "the second one")
        .label(at(file, first), "the first one")
        .help(help)
}

pub fn attend_shape(file: FileId, span: Span, what: &str, help: &str) -> Diagnostic {
    Diagnostic::error("E0304", format!("this `attend` {what}")).at(at(file, span), "").help(help)
}

pub fn silent_scan(file: FileId, span: Span) -> Diagnostic {
    Diagnostic::error("E0304", "this `scan` emits nothing")
        .at(at(file, span), "its states are never seen")
        .help("write `emit y = expr` in it; `y` is visible after the scan")
}

pub fn emitted_in_some(file: FileId, name: &Ident, choice: Span) -> Diagnostic {
    Diagnostic::error("E0308", format!("`{}` is emitted in some branches only", name.name))
        .at(at(file, name.span), "emitted here")
        .label(at(file, choice), "but not in every branch of this `if`, the `else` included")
        .help(format!(
            "emit `{0}` in every branch; or assign to a `mut` in the branches, and emit that after the `if`",
            name.name
        ))
}

pub fn fn_return(file: FileId, name: &Ident, returns: usize) -> Diagnostic {
    let what = if returns == 0 { "returns nothing" } else { "does not return exactly once, at its end" };
    Diagnostic::error("E0305", format!("fn `{}` {what}", name.name))
        .at(at(file, name.span), "")
        .help("end the body with one `return expr`, or write `fn name(x) = expr`")
}

pub fn no_input(file: FileId, name: &Ident) -> Diagnostic {
    Diagnostic::error("E0306", format!("block `{}` has no input", name.name))
        .at(at(file, name.span), "")
        .help("write `input x[D]`")
}

pub fn no_output(file: FileId, name: &Ident) -> Diagnostic {
    Diagnostic::error("E0306", format!("`{}` has no output", name.name))
        .at(at(file, name.span), "")
        .help("write `output expr`")
}

pub fn unnamed_outputs(file: FileId, span: Span, model: bool) -> Diagnostic {
    let d = Diagnostic::error("E0307", if model { "a model has one output" } else { "several outputs need names" });
    d.at(at(file, span), "the second output").help(if model {
        "the one output of a model is its logits: `output head(h)`"
    } else {
        "write `output name = expr`; the caller reads `t.name`"
    })
}

pub fn unused(file: FileId, name: &Ident, kind: LocalKind) -> Diagnostic {
    let what = match kind {
        LocalKind::Input => "input",
        LocalKind::Param => "param",
        LocalKind::Argument => "argument",
        LocalKind::State => "state",
        LocalKind::Emit => "emit",
        LocalKind::Shared => "shared instance",
        _ => "value",
    };
    let d =
        Diagnostic::warning("W0101", format!("the {what} `{}` is never used", name.name)).at(at(file, name.span), "");
    match kind {
        LocalKind::Let => d.help(format!("remove it, or call it `_{}`", name.name)),
        _ => d.help("use it or remove it"),
    }
}

pub fn unused_axis(file: FileId, name: &Ident) -> Diagnostic {
    Diagnostic::warning("W0101", format!("the axis `{}` is never used", name.name))
        .at(at(file, name.span), "")
        .help("use it or remove it")
}

pub fn shadowed(file: FileId, name: &Ident, earlier: Span) -> Diagnostic {
    let d = Diagnostic::warning("W0102", format!("`{}` hides an earlier value of the same name", name.name))
        .at(at(file, name.span), "from here on it means this one")
        .label(at(file, earlier), "the earlier one");
    debug_assert_eq!(d.severity, Severity::Warning);
    d.help("rename it; if one value changes, declare it with `mut` and assign to it")
}

/// Explanations of the codes above.
pub const CODES: &[Code] = &[
    Code {
        code: "E0101",
        title: "unknown name",
        text: "\
A name in an expression must be a local value, an axis (its size as a number), a hyperparameter, or a \
function without arguments such as `pos`, `pi` or `fan`.\n\nWrong:\n    output y * 2\nRight:\n    let y = x |> silu\n    output y * 2\n",
    },
    Code {
        code: "E0102",
        title: "unknown fn or block",
        text: "\
An application needs a fn of this file, of the standard library's prelude, an imported block, or a builtin. \
Blocks of the standard library are imported: `use std::mixers::{GLA}`.\n\nWrong:\n    output atention[K](q, k, v)\nRight:\n    output attention[K](q, k, v)\n",
    },
    Code {
        code: "E0103",
        title: "declared twice",
        text: "\
Fns, blocks and models of a file share one namespace; so do the arguments and axes of one declaration, the inputs of a block, and \
its outputs. \
A second declaration of the same name is refused, because a reader could not tell which is meant.\n",
    },
    Code {
        code: "E0104",
        title: "one name for an axis and a value",
        text: "\
Axes, values and hyperparameters share one namespace, since an axis's name in an expression is its size.\n\n\
Wrong:\n    axis S = 4\n    scan { state S[K] = 0 ... }\nRight:\n    axis S = 4\n    scan { state memory[K] = 0 ... }\n",
    },
    Code {
        code: "E0105",
        title: "not an axis",
        text: "\
Brackets hold axes, written with a capital first, packs (`A..`) and the axes of a value (`x..`).\n\n\
Wrong:\n    let q[h, k] = linear[h, k](x)\nRight:\n    let q[H, K] = linear[H, K](x)\n",
    },
    Code {
        code: "E0106",
        title: "nothing of this name to import",
        text: "\
`use std::module::{names}` imports from the embedded standard library, `use self::file::{names}` from \
`file.arch` beside the file that says so. Imported names are fns, blocks and models.\n",
    },
    Code {
        code: "E0107",
        title: "circular use",
        text: "\
Two files may not use each other, directly or through others. Move what both need into a third file.\n",
    },
    Code {
        code: "E0109",
        title: "pipe into something that is not an application",
        text: "\
`x |> f(a)` means `f(x, a)`. The right side is a function name or an application, nothing else.\n",
    },
    Code {
        code: "E0110",
        title: "an `allow` of something that is no warning",
        text: "\
`#[allow(W0706)]` before a `fn`, `block` or `model` silences warnings that are known and meant, in that item. Several codes are \
separated by commas. Errors cannot be silenced.\n",
    },
    Code {
        code: "E0301",
        title: "assignment to an undeclared name",
        text: "\
`name = expr` changes a `mut` or a `state`. A new value is bound with `let`, or with `mut` if it changes later.\n",
    },
    Code {
        code: "E0302",
        title: "assignment to something that does not change",
        text: "\
Only `mut` values and the states of a `scan` may be reassigned.\n\n\
Wrong:\n    let h = x\n    h = h + 1\nRight:\n    mut h = x\n    h = h + 1\n",
    },
    Code {
        code: "E0303",
        title: "a statement in the wrong place",
        text: "\
`state` belongs at the top of a `scan`; `emit` in a `scan` or `attend`, outside loops; `where`, `score`, \
`weight`, `sink` in an `attend`; `input` in a block; `prefix` in a model; `output` in a block or model; \
`return` in a fn. Time operators do not nest: what does not depend on the state is computed outside.\n",
    },
    Code {
        code: "E0304",
        title: "a scan or an attend of the wrong shape",
        text: "\
A `scan` has at least one `emit`. \
An `attend` has at most one `where`, exactly one of `score` (softmax) and `weight` (plain sum), at most one \
`sink` (only with `score`), and at least one `emit`.\n\nRight:\n    attend {\n        where lag < 512\n        score sum[K](q * past(k)) * K ^ -0.5\n        emit o = past(v)\n    }\n",
    },
    Code {
        code: "E0305",
        title: "a fn without one return at its end",
        text: "\
The body of a fn ends with its only `return`. A fn of one expression is written `fn f(x) = expr`.\n",
    },
    Code {
        code: "E0306",
        title: "a block or model without input or output",
        text: "\
A block has at least one `input name[AXES]` and at least one `output expr`; a model reads `tokens` and has one \
`output`, its logits.\n",
    },
    Code {
        code: "E0307",
        title: "several outputs",
        text: "\
A block may have several outputs if each has a name: `output left = a`. The caller reads `t.left`. \
A model has exactly one output.\n",
    },
    Code {
        code: "E0308",
        title: "branches that emit different things",
        text: "\
What a `scan` emits must not depend on which branch of an `if` is taken: all branches, the `else` included, emit the same names \
with the same axes.\n\n\
Wrong:\n    if H > 8 { emit y = s }\nRight:\n    if H > 8 { emit y = s } else { emit y = 2 * s }\n",
    },
    Code {
        code: "W0101",
        title: "never used",
        text: "\
A value, axis, argument or hyperparameter is declared and never read. Often a slip: the old name is used where \
the new one was meant. A name that starts with `_` is not reported.\n",
    },
    Code {
        code: "W0102",
        title: "a name is hidden",
        text: "\
A second `let` of the same name hides the first. It is allowed, but easily misread; a value that changes is \
better declared with `mut`.\n",
    },
];
