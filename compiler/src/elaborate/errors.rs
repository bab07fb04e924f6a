//! Diagnostics of elaboration: E02xx axes and sizes, E03xx calls, E04xx time, E05xx parameters.

use crate::diag::Diagnostic;
use crate::hir::nearest;
use crate::source::Place;

fn error(code: &'static str, place: Place, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, message).at(place, label)
}

// ---- E02xx: axes and sizes

pub fn not_contained(place: Place, what: &str, axes: &[String], stray: &str, partner: Option<&str>) -> Diagnostic {
    let rename =
        partner.map(|p| format!(", `rename[{stray} -> {p}](...)` if they are the same thing")).unwrap_or_default();
    error(
        "E0201",
        place,
        format!("`{what}` would build an outer product of {}", axes.join(" and ")),
        format!("no operand has all axes; `{stray}` is on one side only"),
    )
    .note("only `*` and `/` form outer products; for every other operator one operand's axes contain the others'")
    .help(format!(
        "reduce it with `sum[{stray}](...)`{rename}, or add it to the other side with `expand[{stray}](...)`"
    ))
}

pub fn unknown_axis(place: Place, name: &str, known: &[&str]) -> Diagnostic {
    let d = error("E0202", place, format!("no axis is called `{name}` here"), "not declared");
    match (name, nearest(name, known.iter().copied())) {
        ("True" | "False", _) => d.help(
            "there are no truth values: a number, or the option left out; `bias = zeros` or `bias = fan` adds a bias",
        ),
        ("None", _) => d.help("write `none`, or leave the option out"),
        (_, Some(near)) => d.help(format!("did you mean `{near}`?")),
        (_, None) => {
            d.help(format!("declare it: `axis {name} = 16`, or as a hyperparameter of the block: `({name} = 16)`"))
        }
    }
}

pub fn axis_declared_later(place: Place, name: &str, later: Place) -> Diagnostic {
    error("E0202", place, format!("no axis is called `{name}` yet"), "used here")
        .label(later, "declared here, later")
        .help(format!("move `axis {name} = ...` before its first use"))
}

pub fn no_axes(place: Place, name: &str) -> Diagnostic {
    error("E0202", place, format!("`{name}` has no axes"), "not a tensor and not a list of axes")
        .help("`x..` stands for the axes of a tensor x, or for a list given as an option: `per = [H]`")
}

pub fn axis_missing(place: Place, name: &str, has: &str) -> Diagnostic {
    error("E0203", place, format!("the value has no axis `{name}`"), format!("its axes are {has}"))
        .help(format!("name an axis of {has}, or add one with `expand[{name}](...)`"))
}

pub fn pack_as_axis(place: Place, name: &str) -> Diagnostic {
    error("E0204", place, format!("`{name}` is a pack of axes, not one axis"), "")
        .help(format!("write `{name}..` where several axes may stand"))
}

pub fn sum_of_axes(place: Place) -> Diagnostic {
    error("E0204", place, "a sum of axes may not stand here", "")
        .help("only `cat` and `cut` take sums: `cat[K + R -> E](a, b)`")
}

pub fn one_sum(place: Place) -> Diagnostic {
    error("E0204", place, "one sum of axes is wanted here", "")
        .help("write `cat[K + R -> E](a, b)` or `cut[E -> K + R](x)`")
}

pub fn one_axis(place: Place, what: &str) -> Diagnostic {
    error("E0204", place, format!("`{what}` takes one axis here"), "")
        .help("name one axis; `flatten[A, B -> C](x)` makes one of several")
}

pub fn arrow(place: Place) -> Diagnostic {
    error("E0204", place, "an arrow may not stand in these brackets", "").help("list the axes: `[A, B]`")
}

pub fn no_arrow(place: Place, name: &str, example: &str) -> Diagnostic {
    error("E0204", place, format!("`{name}` needs an arrow in its brackets"), "").help(format!("write `{example}`"))
}

/// `has`: axes of the argument, if they are known.
pub fn brackets_missing(place: Place, name: &str, example: &str, has: Option<&str>) -> Diagnostic {
    let has = has.map(|has| format!("; the value has {has}")).unwrap_or_default();
    error("E0204", place, format!("`{name}` needs its axes in brackets"), "").help(format!("write `{example}`{has}"))
}

pub fn brackets_refused(place: Place, name: &str) -> Diagnostic {
    error("E0204", place, format!("`{name}` takes no axes"), "").help("remove the brackets; it works on all axes alike")
}

pub fn bracket_count(place: Place, name: &str, wanted: usize, pack: bool, given: usize) -> Diagnostic {
    let wanted = if pack { format!("at least {wanted}") } else { format!("{wanted}") };
    error("E0204", place, format!("`{name}` takes {wanted} axes in its brackets, {given} are given"), "")
        .help("give one axis for each name in its declaration; a pack `A..` takes the rest")
}

pub fn pack_of_open(place: Place) -> Diagnostic {
    error("E0204", place, "a new axis may not go into a pack", "").help("declare the axis before: `axis A = 4`")
}

pub fn bind_by_name(place: Place, block: &str, axis: &str) -> Diagnostic {
    error("E0204", place, format!("`{block}` needs an axis for its `{axis}`"), "no axis of this name here")
        .help(format!("name it: `{block}[D](x)`; without brackets the caller's axis of the same name is taken"))
}

/// Error for an inexact division; the last argument has the texts of both sides and of the whole.
pub fn inexact_size(place: Place, x: f64, y: f64, [left, right, whole]: &[String; 3]) -> Diagnostic {
    let sides = [(left, x), (right, y)].into_iter().filter(|(text, value)| **text != format!("{value}"));
    let sides: Vec<String> = sides.map(|(text, value)| format!("{text} = {value}")).collect();
    error("E0205", place, format!("{x} / {y} is no integer"), sides.join(", "))
        .help(format!("choose sizes that divide, or round on purpose: `floor({whole})`"))
}

pub fn size_by_zero(place: Place) -> Diagnostic {
    error("E0205", place, "a size is divided by zero", "").help("sizes are at least 1")
}

pub fn not_an_integer(place: Place, x: f64) -> Diagnostic {
    error("E0205", place, format!("{x} is no integer, so it is no size"), "")
        .help("sizes, widths and bounds of loops are whole numbers")
}

pub fn not_a_size(place: Place, what: &str) -> Diagnostic {
    error("E0205", place, format!("{what} does not make a size"), "")
        .help("sizes are made with + - * / % ^, `min`, `max` and `floor(a / b)`")
}

pub fn not_a_number(place: Place) -> Diagnostic {
    error("E0205", place, "a number known before the program runs is wanted here", "this depends on a tensor")
        .help("use sizes, hyperparameters and literals; a condition on a tensor is `select(c, a, b)`")
}

pub fn bad_size(place: Place, name: &str, size: f64) -> Diagnostic {
    error("E0206", place, format!("axis `{name}` cannot have the size {size}"), "")
        .help("a size is an integer from 1 to 16777216")
}

pub fn size_not_given(place: Place, name: &str) -> Diagnostic {
    error("E0206", place, format!("the size of axis `{name}` is not known"), "").help(format!(
        "give it on the command line: `--set {name}=16`; only the first axis of a block has a default, 64"
    ))
}

pub fn unknown_set(place: Place, block: &str, name: &str, known: &[&str]) -> Diagnostic {
    let d = error("E0207", place, format!("`{block}` has no axis or hyperparameter `{name}`"), "`--set` names it");
    match nearest(name, known.iter().copied()) {
        Some(near) => d.help(format!("did you mean `--set {near}=...`?")),
        None => d.help(format!("it has {}", known.join(", "))),
    }
}

pub fn target_size(place: Place, name: &str, own: usize, wanted: usize) -> Diagnostic {
    error("E0208", place, format!("`{name}` has size {own}, but the result has size {wanted}"), "")
        .help("use another name: an undeclared one is made with the right size")
}

pub fn sizes_differ(place: Place, what: &str, from: usize, into: usize) -> Diagnostic {
    error(
        "E0208",
        place,
        format!("`{what}` cannot make {into} of {from} elements"),
        format!("{from} on one side, {into} on the other"),
    )
    .help("the sizes on both sides of the arrow must agree")
}

pub fn axis_twice(place: Place, name: &str) -> Diagnostic {
    error("E0209", place, format!("a value would have the axis `{name}` twice"), "")
        .help(format!("give one of them another name: `rename[{name} -> J](x)`"))
}

pub fn listed_twice(place: Place, name: &str) -> Diagnostic {
    error("E0209", place, format!("the axis `{name}` is listed twice"), "the second time")
        .help(format!("another axis of the same size is declared, `axis J = {name}`, and listed: `[{name}, J]`"))
}

pub fn other_labels(place: Place, name: &str, old: &[String], new: &[String]) -> Diagnostic {
    error("E0210", place, format!("`{name}` already has other labels"), format!("here: {}", new.join(", ")))
        .note(format!("before: {}", old.join(", ")))
        .help("stack the same names in the same order, or use another axis")
}

pub fn unknown_label(place: Place, axis: &str, label: &str, labels: &[String]) -> Diagnostic {
    let d = error("E0210", place, format!("axis `{axis}` has no label `{label}`"), "");
    if labels.is_empty() {
        return d.help(format!("it has no labels; write an index: `x[{axis} = 0]`"));
    }
    match nearest(label, labels.iter().map(String::as_str)) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d.help(format!("its labels are {}", labels.join(", "))),
    }
}

pub fn no_labels(place: Place, axis: &str) -> Diagnostic {
    error("E0210", place, format!("axis `{axis}` has no labels"), "")
        .help(format!("`stack[{axis}](a, b)` makes an axis with labels"))
}

pub fn label_twice(place: Place, label: &str) -> Diagnostic {
    error("E0210", place, format!("the label `{label}` is there twice"), "")
        .help("name one of them: `stack[P](a, other = b)`")
}

pub fn stack_label(place: Place) -> Diagnostic {
    error("E0210", place, "this entry of `stack` has no name", "")
        .help("a positional argument is a bare name; write `stack[P](a, rest = a - b)`")
}

pub fn index_range(place: Place, axis: &str, i: f64, size: usize) -> Diagnostic {
    error("E0210", place, format!("there is no index {i} along `{axis}`"), format!("its size is {size}"))
        .help(format!("indices are 0..{}", size - 1))
}

pub fn linear_needs_in(place: Place, has: &str) -> Diagnostic {
    error("E0211", place, format!("which axes of {has} should `linear` contract?"), format!("its axes are {has}"))
        .help("name them: `linear[IN -> OUT](x)`; the short form `linear[OUT](x)` is for inputs of one axis")
}

pub fn linear_contracts_nothing(place: Place, has: &str, wanted: &str) -> Diagnostic {
    error(
        "E0211",
        place,
        format!("`linear` contracts nothing of this input: it has none of {wanted}"),
        format!("its axes are {has}"),
    )
    .help("every input has an axis of IN")
}

pub fn kept_in_out(place: Place, name: &str) -> Diagnostic {
    error("E0211", place, format!("`{name}` is kept and also an axis of OUT"), "the result would have it twice")
        .help(format!("contract it (put `{name}` before the arrow), or give OUT another axis"))
}

pub fn kept_and_contracted(place: Place, name: &str) -> Diagnostic {
    error("E0211", place, format!("`{name}` is contracted in one input and kept in another"), "")
        .help("an axis of IN is contracted wherever it is")
}

pub fn per_not_kept(place: Place, name: &str, kept: &str) -> Diagnostic {
    error("E0211", place, format!("`per` names `{name}`, which is no kept axis"), format!("the kept axes are {kept}"))
        .help("`per` lists axes that are mapped over, each index with weights of its own")
}

pub fn per_axes(place: Place) -> Diagnostic {
    error("E0211", place, "`per` wants a list of axes", "").help("write `per = [H]`")
}

pub fn other_axes(place: Place, what: &str, own: &str, has: &str) -> Diagnostic {
    error("E0212", place, format!("{what} wants {own}, but this has {has}"), format!("its axes are {has}"))
        .help(format!("give it a value with the axes {own}"))
}

pub fn constant_not_finite(place: Place, code: &'static str, text: &str, result: f64) -> Diagnostic {
    let what = match result {
        x if x.is_nan() => "is not a number",
        x if x.is_finite() => "does not fit f32",
        _ => "is infinite",
    };
    error(code, place, format!("`{text}` {what}"), "a constant that is computed now")
        .help("change the numbers that it is computed from; an infinity that is meant is written `inf`")
}

/// Error for a program that is refused without another diagnostic.
pub fn silent(place: Place) -> Diagnostic {
    error("E0399", place, "archc bug: this was refused without a reason", "")
        .help("please report it with the program and the command")
}

pub fn emit_axes(place: Place, name: &str, own: &str, other: &str) -> Diagnostic {
    error("E0308", place, format!("`{name}` has {own} in one branch and {other} in another"), format!("here {own}"))
        .help("emit values of the same axes in every branch")
}

pub fn declared_axes(place: Place, declared: Place, own: &str, has: &str) -> Diagnostic {
    error("E0212", place, format!("declared as {own}, but the value has {has}"), format!("its axes are {has}"))
        .label(declared, "declared here")
        .help("declared axes are checked, never coerced: correct the list or the value")
}

/// `own` and `has` are lists of names in brackets, `text` is the value as written.
pub fn output_axes(place: Place, own: &str, has: &str, text: &str) -> Diagnostic {
    let inner = |list: &str| list.trim_matches(['[', ']']).to_owned();
    let (from, into) = (inner(has), inner(own));
    error(
        "E0212",
        place,
        format!("the output has {has}, but the block's brackets say {own}"),
        format!("its axes are {has}"),
    )
    .help(format!("map back to the block's axes: `linear[{from} -> {into}]({text})`, or list the axis in the brackets"))
}

pub fn model_output(place: Place, has: &str) -> Diagnostic {
    error("E0212", place, format!("the output of a model is its logits over the vocabulary, this has {has}"), "")
        .help("write `output head(h)` or `output head(h, tie = embedding)`")
}

pub fn axis_escapes(place: Place, name: &str, axis: &str) -> Diagnostic {
    error("E0213", place, format!("`{name}` returns its own axis `{axis}`"), "the caller has no name for it")
        .help(format!("name the axis in the fn's brackets: `fn {name}[{axis}](...)`"))
}

pub fn cat_arity(place: Place, parts: usize, given: usize) -> Diagnostic {
    error("E0214", place, format!("`cat` joins {parts} axes but has {given} arguments"), "")
        .help("one summand for each argument, two or more: `cat[K + R -> E](a, b)`")
}

pub fn cut_summands(place: Place) -> Diagnostic {
    error("E0214", place, "`cut` needs two or more parts", "").help("write `cut[E -> K + R](x)`")
}

// ---- E03xx: calls and values

pub fn too_many_arguments(place: Place, name: &str, takes: usize) -> Diagnostic {
    error(
        "E0310",
        place,
        format!("`{name}` takes {takes} positional argument{}", if takes == 1 { "" } else { "s" }),
        "too many are given",
    )
    .help("give options by name: `f(x, width = 4)`")
}

pub fn unknown_option(place: Place, callee: &str, name: &str, known: &[&str]) -> Diagnostic {
    let d = error("E0310", place, format!("`{callee}` has no argument `{name}`"), "");
    match nearest(name, known.iter().copied()) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => d.help("it takes no arguments"),
        None => d.help(format!("it takes {}", known.join(", "))),
    }
}

pub fn argument_twice(place: Place, callee: &str, name: &str) -> Diagnostic {
    error("E0310", place, format!("`{name}` of `{callee}` is given twice"), "the second time").help("remove one")
}

/// `line` is the call with all that it needs; `declared` its declaration.
pub fn missing_argument(place: Place, callee: &str, name: &str, line: &str, declared: Option<&str>) -> Diagnostic {
    let declared = declared.map(|text| format!("; it is declared `{text}`")).unwrap_or_default();
    error("E0310", place, format!("`{callee}` needs `{name}`"), "not given").help(format!("write `{line}`{declared}"))
}

pub fn missing_input(place: Place, callee: &str, what: &str, line: &str, declared: &str) -> Diagnostic {
    error("E0310", place, format!("`{callee}` needs {what}"), "not given")
        .help(format!("write `{line}`; it is declared `{declared}`"))
}

/// Error for a hyperparameter without a default, of a block that is never called.
pub fn not_set(place: Place, name: &str, parameter: &str) -> Diagnostic {
    error("E0310", place, format!("`{name}` needs `{parameter}`"), "not given")
        .help(format!("give it a default, `{parameter} = 4`, or a value on the command line, `--set {parameter}=4`"))
}

pub fn not_a_tensor(place: Place, what: &str, help: &str) -> Diagnostic {
    error("E0311", place, format!("{what} is no tensor"), "a tensor is wanted here").help(help)
}

pub fn tuple_length(place: Place, wanted: usize, given: usize) -> Diagnostic {
    error("E0311", place, format!("{wanted} values are wanted, {given} given"), "")
        .help("`cut` and fns with `return (a, b)` give several values")
}

pub fn unknown_field(place: Place, name: &str, known: &[&str]) -> Diagnostic {
    error("E0311", place, format!("there is no output `{name}`"), "")
        .help(format!("its outputs are {}", known.join(", ")))
}

pub fn no_fields(place: Place, name: &str) -> Diagnostic {
    error("E0311", place, format!("this value has no output `{name}`"), "")
        .help("only the result of a block with several outputs has fields")
}

pub fn recursion(place: Place, name: &str) -> Diagnostic {
    error("E0312", place, format!("`{name}` calls itself"), "")
        .help("calls are inlined, so they may not recur; write a `for`")
}

pub fn model_called(place: Place, name: &str) -> Diagnostic {
    error("E0312", place, format!("`{name}` is a model, which cannot be called"), "")
        .help("call the blocks it is made of")
}

pub fn shared_call(place: Place) -> Diagnostic {
    error("E0312", place, "`shared` wants a call of a block or fn without its inputs", "")
        .help("write `shared A = Attention[D](H = 4)`")
}

pub fn shared_option(place: Place, name: &str) -> Diagnostic {
    error("E0312", place, format!("options of `{name}` belong to its `shared` declaration"), "")
        .help("give the inputs only")
}

pub fn too_large(place: Place) -> Diagnostic {
    error("E0313", place, format!("the program has more than {} ops", super::MAX_NODES), "the limit is reached here")
        .help("loops are unrolled and calls inlined: use fewer or smaller ones")
}

pub fn not_a_block(place: Place, name: &str) -> Diagnostic {
    error("E0314", place, format!("`{name}` is a fn; a block or model is wanted"), "")
        .help("write a block that calls it")
}

pub fn not_stackable(place: Place, name: &str) -> Diagnostic {
    error("E0314", place, format!("`{name}` does not fit into the standard stack"), "")
        .note("the stack trains blocks with one input and one output over one axis: `block Name[D](...) { input x[D] ... output ... }`")
        .help("write a `model` that uses it; `check`, `build`, `params` and `forward` take any block")
}

pub fn no_brackets(place: Place, name: &str) -> Diagnostic {
    error("E0314", place, format!("`{name}` has no axes in brackets"), "")
        .help(format!("list the axes of its inputs and outputs: `block {name}[D]`"))
}

pub fn dropout_rate(place: Place, p: f64) -> Diagnostic {
    error("E0315", place, format!("`dropout` cannot drop with probability {p}"), "").help("0 <= p < 1")
}

pub fn fixed_scalar(place: Place, what: &str) -> Diagnostic {
    error("E0315", place, format!("{what} must be the same at every token"), "")
        .help("use a number or an expression of `step`")
}

pub fn anneal_steps(place: Place, steps: f64, start: f64) -> Diagnostic {
    error("E0315", place, format!("`anneal` cannot move for {steps} steps from step {start}"), "")
        .help("steps is at least 1, start at least 0")
}

pub fn anneal_shape(place: Place) -> Diagnostic {
    error("E0315", place, "unknown shape of `anneal`", "").help("`linear`, `cosine` or `exp`")
}

pub fn topk_count(place: Place, n: f64, size: usize) -> Diagnostic {
    error("E0315", place, format!("`topk` cannot keep {n} of {size}"), "").help(format!("1 to {size}"))
}

pub fn window_step(place: Place, step: f64) -> Diagnostic {
    error("E0315", place, format!("the step of a window is {step}"), "")
        .help("it is at least 1; lag 0 is always the present token")
}

pub fn sample_of_one(place: Place) -> Diagnostic {
    error("E0315", place, "the sample variance of one element is undefined", "").help("leave `sample` out")
}

// ---- E04xx: time

pub fn state_dependent(place: Place) -> Diagnostic {
    error(
        "E0401",
        place,
        "a time operator or outer value would depend on a value inside a `scan` or `attend`",
        "this depends on the state, the past token or `lag`",
    )
    .help("only `emit` brings values out; scans and windows work on values that do not depend on the state")
}

pub fn state_init_token(place: Place, name: &str) -> Diagnostic {
    error("E0402", place, format!("the first value of `{name}` depends on a token"), "")
        .help("a state starts from 0, a number or a `param`; write `scan { state s[K] = 0 ... }`")
}

pub fn scan_without_state(place: Place) -> Diagnostic {
    error("E0403", place, "this `scan` has no state", "")
        .help("write `state S[K, V] = 0`; without memory no scan is needed")
}

pub fn state_axes(place: Place, name: &str, own: &str, has: &str) -> Diagnostic {
    error("E0404", place, format!("`{name}` has {own}, but its new value has {has}"), format!("its axes are {has}"))
        .help("the axes of a state (and of a `mut` that declares them) do not change: `sum` those that are too many, `expand` those that are missing")
}

pub fn only_in_attend(place: Place, what: &str) -> Diagnostic {
    error("E0405", place, format!("`{what}` has a meaning only inside `attend`"), "")
        .help("for the value n tokens ago write `shift(x, n)`")
}

pub fn past_of_inner(place: Place) -> Diagnostic {
    error("E0405", place, "`past` of something that depends on `lag` or another `past`", "")
        .help("apply `past` to each value of the token: `past(k) * f(lag)`")
}

pub fn attend_axes(place: Place, own: &str, has: &str) -> Diagnostic {
    error("E0406", place, format!("this has {has}, but the score has {own}"), "")
        .help("`where` and `sink` have axes within the score's")
}

pub fn sink_pairwise(place: Place) -> Diagnostic {
    error("E0406", place, "a `sink` may not depend on the past token", "")
        .help("it is one number for each present token (and axis of the score)")
}

pub fn nothing_visible(place: Place) -> Diagnostic {
    error("E0406", place, "this condition hides every token", "")
        .help("`where` says which tokens are seen: `where lag < 512`")
}

pub fn only_in_models(place: Place, what: &str) -> Diagnostic {
    error("E0407", place, format!("`{what}` has a meaning only in a `model`"), "")
        .help("a block works on its inputs; the standard stack adds embedding and head")
}

pub fn embed_tokens(place: Place) -> Diagnostic {
    error("E0407", place, "`embed` embeds `tokens`", "").help("write `embed[D](tokens)`")
}

pub fn tie(place: Place) -> Diagnostic {
    error("E0407", place, "`tie` wants a name bound to one `embed` call", "")
        .help("write `let embedding = embed[D](tokens)` and `head(h, tie = embedding)`")
}

pub fn prefix_place(place: Place) -> Diagnostic {
    error("E0407", place, "a model has one `prefix`, before its `embed`", "")
        .help("write `prefix meta[M, D] = normal(0.02)` at the top")
}

pub fn prefix_axes(place: Place, own: &str, axes: &str) -> Diagnostic {
    error("E0407", place, format!("the prefix has tokens of {own}, the embedding {axes}"), "")
        .help("write `prefix meta[M, D]` with the embedding's D")
}

pub fn only_in_loss(place: Place) -> Diagnostic {
    error("E0408", place, "`token_mean` has a meaning only inside `loss`", "a mean over tokens would read the future")
        .help("a causal mean is `causal_mean(x)`")
}

// ---- E05xx: parameters

pub fn draw_outside_init(place: Place) -> Diagnostic {
    error("E0501", place, "random numbers outside of an init", "a draw takes the shape of a parameter")
        .help("write `param p[A] = normal(0.02)`; a state starts from a number, a `param`, or `eye`")
}

pub fn empty_brackets(place: Place, name: &str) -> Diagnostic {
    error("E0204", place, format!("the brackets of `{name}` are empty"), "no axis is named")
        .help(format!("name the axes, as in `{name}[A](x)`"))
}

pub fn eye_axes(place: Place, count: usize) -> Diagnostic {
    error("E0204", place, format!("an identity has two axes, not {count}"), "").help("write `eye[K, J]`")
}

pub fn eye_sizes(place: Place, names: &[String; 2], sizes: [usize; 2]) -> Diagnostic {
    let [a, b] = names;
    let text = format!("an identity over {a} = {} and {b} = {}", sizes[0], sizes[1]);
    error("E0208", place, text, "its axes have one size")
        .help(format!("declare `axis J = {a}` and write `eye[{a}, J]`"))
}

pub fn init_depends(place: Place) -> Diagnostic {
    error("E0502", place, "an init depends on a token, a step or a parameter", "")
        .help("inits are made of numbers, sizes, `index`, labels and draws")
}

pub fn init_axes(place: Place, what: &str, stray: &str, own: &str) -> Diagnostic {
    error(
        "E0503",
        place,
        format!("the init of {what} has the axis `{stray}`, which the parameter lacks"),
        format!("its axes are {own}"),
    )
    .help("an init has the parameter's axes or fewer")
}

pub fn path_twice(place: Place, path: &str, first: Place) -> Diagnostic {
    error("E0504", place, format!("two parameters are called `{path}`"), "the second one")
        .label(first, "the first one")
        .help("give one binding or pinned `name` another name")
}

pub fn fan_without_contraction(place: Place) -> Diagnostic {
    error(
        "E0505",
        place,
        "`fan` has a meaning only for the weights of `linear` and `conv`",
        "nothing is contracted here",
    )
    .help("write `uniform(-0.1, 0.1)` or `normal(0.02)`")
}
