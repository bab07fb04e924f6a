//! Equivalents of other languages' notation in this language.

/// This language's equivalent of a foreign operator.
pub(crate) fn foreign_operator(found: &str) -> Option<&'static str> {
    Some(match found {
        "**" => "a power is `a ^ b`",
        "&&" | "&" => "write `a and b`",
        "||" | "|" => "write `a or b`",
        "!" => "write `not a`",
        ":=" => "write `let x = ...`, or `x = ...` for a name that is bound",
        "=>" => "write `->` between axes, `=` elsewhere",
        "?" => "write `select(condition, a, b)`",
        "@" => "a contraction names its axis: `sum[K](a * b)`, or `linear[K -> V](a)` with learned weights",
        "~" => "write `not a`",
        _ => return None,
    })
}

/// This language's equivalent of a foreign keyword.
pub(crate) fn foreign_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "def" | "func" | "function" | "fun" | "defn" => "a function is `fn name(x) = expr` or `fn name(x) { ... }`",
        "class" | "struct" | "module" => "a mixer is `block Name[D] { ... }`, a network is `model Name[D] { ... }`",
        "import" | "from" | "include" | "require" => "write `use std::mixers::{Name}` or `use self::file::{Name}`",
        "elif" | "elsif" | "elseif" => "write `else if`",
        "while" | "loop" | "repeat" => "a loop is `for i in 0..N { ... }` with a count known before use",
        "var" | "const" | "val" | "auto" => {
            "write `let name = ...`, or `mut name = ...` for one that is assigned again"
        }
        "lambda" => "write a `fn` beside the block",
        "pass" => "leave the body empty",
        "parameter" => "write `param name[AXES] = init`",
        "then" => "write `if c { ... }`",
        _ => return None,
    })
}

/// The ASCII spelling of a character that looks like an operator.
pub(crate) fn lookalike(character: char) -> Option<&'static str> {
    Some(match character {
        '×' | '·' | '∗' | '⋅' => "*",
        '−' | '–' | '—' => "-",
        '÷' | '∕' => "/",
        '≤' => "<=",
        '≥' => ">=",
        '≠' => "!=",
        '→' => "->",
        '⊤' | '“' | '”' | '„' | '‘' | '’' | '\'' | '`' => "\"",
        '∧' => "and",
        '∨' => "or",
        '¬' => "not",
        '∞' => "inf",
        'π' => "pi",
        '∑' | 'Σ' => "sum[A](...)",
        '\u{a0}' | '\u{2003}' | '\u{200b}' | '\u{3000}' => " ",
        _ => return None,
    })
}

/// This language's equivalent of a method call.
pub(crate) fn foreign_method(value: &str, name: &str) -> String {
    match name {
        "view" | "reshape" | "unflatten" => format!(
            "axes have names: `split[D -> H, K]({value})` makes two of one, `flatten[H, K -> D]({value})` one of two"
        ),
        "transpose" | "permute" | "t" | "swapaxes" | "contiguous" | "unsqueeze" | "squeeze" => {
            "leave it out: axes have names, and no order matters".to_owned()
        }
        "sum" | "mean" | "max" | "min" | "var" | "std" | "norm" | "softmax" | "cumsum" | "sort" | "logsumexp" => {
            format!("write `{name}[A]({value})`, where A is the axis")
        }
        "chunk" | "split" => format!("write `cut[A -> B + C]({value})`"),
        "expand" | "repeat" => format!("write `expand[A]({value})`"),
        _ => format!("write `{name}({value})` or `{value} |> {name}`"),
    }
}
