//! Words of the language: builtins and keywords, each with a line and the section of the reference that describes it
//! fully.

use archc_compiler::graph::{ReduceOp, UnaryOp};
use std::borrow::Cow;

/// Builtin or keyword.
#[derive(Clone, Debug)]
pub struct Word {
    /// Spelling, with arguments.
    pub signature: Cow<'static, str>,
    /// Meaning, in one line.
    pub text: &'static str,
    /// Slug of the section of the reference.
    pub section: &'static str,
    /// Whether it is a function or a constant; otherwise it is a keyword.
    pub builtin: bool,
}

impl Word {
    /// Name: the first word of the signature.
    pub fn name(&self) -> &str {
        let end = self.signature.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &self.signature[..end.unwrap_or(self.signature.len())]
    }
}

type Rows = &'static [(&'static str, &'static str)];

/// Section of the functions of one value, which the compiler lists.
const ELEMENTWISE: &str = "element-by-element";

/// Section of the reductions, which the compiler lists.
const REDUCTIONS: &str = "over-named-axes";

const BUILTINS: &[(&str, Rows)] = &[
    (
        ELEMENTWISE,
        &[
            ("min(a, b)", "the smaller of two values, or of two sizes; min[A](x): the smallest along A"),
            ("max(a, b)", "the larger of two values, or of two sizes; max[A](x): the largest along A"),
            ("clamp(x, low, high)", "x, kept between low and high"),
            ("select(condition, a, b)", "a where the condition is not 0, else b"),
        ],
    ),
    (
        REDUCTIONS,
        &[
            ("softmax[A](x)", "exponentials along A, divided by their sum; [A, B] is one softmax over both"),
            ("sparsemax[A](x)", "the nearest point of the simplex: like softmax, with small entries exactly 0"),
            ("cumsum[A](x)", "running sums along A"),
            ("sort[A](x)", "sorted along A, the largest first"),
            ("topk[A](x, n)", "x where it is among the n largest along A, else 0"),
        ],
    ),
    (
        "layout",
        &[
            ("index[A]", "0, 1, .. along A; index[A, B] counts row by row"),
            ("stack[P](a, b, c = expr)", "puts values along an axis P whose labels are the names"),
            ("split[D -> H, K](x)", "one axis to several, row by row"),
            ("flatten[H, V -> D](x)", "several axes to one, row by row"),
            ("cat[K + R -> E](a, b)", "joins values along an axis"),
            ("cut[E -> K + R](x)", "takes an axis apart: let (a, b) = cut[E -> K + R](x)"),
            ("rename[K -> J](x)", "the same numbers along an axis of another name"),
            ("expand[A](x)", "repeats x along A"),
        ],
    ),
    (
        "learned-maps",
        &[(
            "linear[IN -> OUT](x, y, .., per = [], bias = none, init = fan)",
            "a learned map: contracts exactly the axes IN and makes OUT; linear[OUT](x) where x has one axis",
        )],
    ),
    ("time", &[("pos", "the number of tokens since the start of the document, from 0")]),
    ("window", &[("window[W](x, step = 1)", "adds the axis W: x now, `step` tokens ago, 2 `step` ago, ..")]),
    (
        "attend",
        &[
            ("past(x)", "in attend: x at an earlier token, or at this one"),
            ("lag", "in attend: the distance to the earlier token, from 0"),
        ],
    ),
    (
        "parameters",
        &[
            ("zeros", "0, as an init"),
            ("ones", "1, as an init"),
            ("normal(std)", "a draw: normal, of mean 0"),
            ("uniform(a, b)", "a draw: uniform between a and b"),
            ("log_uniform(a, b)", "a draw: uniform in the logarithm"),
            ("fan", "a draw: uniform(-1/sqrt(n), 1/sqrt(n)), n the contracted elements; what linear and conv use"),
            ("orthogonal(gain)", "a draw: orthonormal rows or columns, times gain"),
            ("eye", "the identity, as an init and as a state's start; eye[K, J] is a value"),
            ("dirac", "1 at index 0 of the contracted axes, as an init; for conv that is the present token"),
        ],
    ),
    (
        "training",
        &[
            ("token_mean(x)", "in loss: the mean over the unmasked tokens of the batch"),
            ("dropout(x, p)", "in training: 0 with probability p, the rest scaled up"),
            ("stop_grad(x)", "x, through which no gradient goes"),
            ("step", "the number of updates so far"),
            (
                "anneal(a, b, steps = n, start = 0, shape = linear)",
                "a number that moves from a to b in n updates; shapes linear, cosine, exp",
            ),
        ],
    ),
    ("functions", &[("none", "an option that is not given")]),
    (
        "models",
        &[
            ("tokens", "the tokens of a model"),
            ("embed[D](tokens)", "the embedding of tokens"),
            ("head(x, tie = embedding)", "logits; with `tie` by the matrix of that embedding"),
        ],
    ),
    ("spelling", &[("pi", "3.14159.."), ("inf", "infinity")]),
];

const KEYWORDS: &[(&str, Rows)] = &[
    (
        "files-and-items",
        &[("use std::mixers::{A, B}", "brings in items of the library, or of a file beside this one (self::file)")],
    ),
    (
        "functions",
        &[
            ("fn name[AXES](arguments, option = default) = expr", "a function, checked at each call"),
            ("return expr", "the result of a function with a body"),
        ],
    ),
    (
        "blocks",
        &[
            ("block Name[AXES](hyperparameter = default) { .. }", "a block: inputs, what happens to them, outputs"),
            ("input name[AXES]", "an input of a block, with all of its axes"),
            ("output expr", "the result of a block or model; output name = expr where there are several"),
        ],
    ),
    (
        "models",
        &[
            ("model Name[D](hyperparameter = default) { .. }", "a whole model: tokens in, logits out"),
            ("shared A = name[AXES](options)", "one instance: every A(x) has the same weights"),
            ("prefix name[M, D] = init", "learned tokens before each document"),
        ],
    ),
    (
        "statements",
        &[
            ("let name[AXES] = expr", "names a value; let (a, b) = expr takes a tuple apart"),
            ("mut name[AXES] = expr", "a value that may be assigned again"),
            ("for i in a..b { .. }", "unrolled, b excluded; i is a number"),
            ("in", "of a loop: for i in a..b"),
            ("if c { .. } else if d { .. } else { .. }", "a choice that is made when the program is built"),
            ("else", "of an if: what stands for the other case"),
        ],
    ),
    ("axes-and-sizes", &[("axis NAME = size", "a new axis; its size is an exact integer")]),
    (
        "expressions",
        &[
            ("not x", "1 - x"),
            ("and", "a and b: the smaller of two conditions"),
            ("or", "a or b: the larger of two conditions"),
        ],
    ),
    (
        "scan",
        &[
            ("scan { .. }", "a recurrent memory: once a token, in order"),
            ("state S[AXES] = init", "a state of a scan, with its value before the first token"),
            ("emit name = expr", "what a scan or an attend makes visible outside"),
        ],
    ),
    (
        "attend",
        &[
            ("attend { .. }", "a pairwise memory: attention, long convolutions"),
            ("where condition", "in attend: which earlier tokens are visible"),
            ("score expr", "in attend: the weights are the softmax of the scores"),
            ("weight expr", "in attend: the weights themselves"),
            ("sink expr", "in attend: adds exp(expr) to the denominator, a way to look at nothing"),
        ],
    ),
    ("parameters", &[("param name[AXES] = init", "a learned tensor")]),
    ("training", &[("loss expr", "is added to what training minimises")]),
];

/// All builtins and keywords, by section.
pub fn all() -> impl Iterator<Item = Word> {
    let of = |table: &'static [(&'static str, Rows)], builtin: bool| {
        table.iter().flat_map(move |&(section, rows)| {
            rows.iter().map(move |&(signature, text)| Word { signature: signature.into(), text, section, builtin })
        })
    };
    let function = |f: &UnaryOp| {
        let row = f.row();
        Word { signature: format!("{}(x)", row.name).into(), text: row.doc, section: ELEMENTWISE, builtin: true }
    };
    let reduction = |r: &ReduceOp| {
        let row = r.row();
        let signature = row.signature.unwrap_or(row.name);
        Word { signature: signature.into(), text: row.doc, section: REDUCTIONS, builtin: true }
    };
    let listed = UnaryOp::CALLED.iter().map(function).chain(ReduceOp::CALLED.iter().map(reduction));
    listed.chain(of(BUILTINS, true)).chain(of(KEYWORDS, false))
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::doc::reference;
    use archc_compiler::hir::builtins;
    use archc_grammar::KEYWORDS;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_of_the_language_is_here_once() {
        for builtin in [true, false] {
            let words: Vec<_> = all().filter(|w| w.builtin == builtin).collect();
            let named: Vec<&str> = words.iter().map(|w| w.name()).collect();
            let set: BTreeSet<&str> = named.iter().copied().collect();
            assert_eq!(set.len(), named.len(), "a word stands twice in {named:?}");
            let known: BTreeSet<&str> = if builtin {
                builtins::names().collect()
            } else {
                KEYWORDS.iter().copied().chain(["where", "score", "sink", "weight"]).collect()
            };
            assert_eq!(set, known);
        }
    }

    #[test]
    fn the_section_of_every_word_names_it() {
        for word in all() {
            let section = reference::section(word.section).unwrap_or_else(|| panic!("no section {}", word.section));
            let mut words = section.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            assert!(words.any(|w| w == word.name()), "{} is not in {}", word.name(), word.section);
        }
    }
}
