//! Built-in functions; all others are written in the language.

use crate::graph::{Draw, ReduceOp, UnaryOp};

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builtin {
    /// Element-wise, one argument.
    Unary(UnaryOp),
    /// `min max` of two values, or a reduction with brackets.
    MinMax {
        /// Whether it is `max`.
        max: bool,
    },
    /// `clamp(x, low, high)`
    Clamp,
    /// `select(c, a, b)`
    Select,
    /// `sum[A](x)` and its like.
    Reduce(ReduceOp),
    /// `softmax[A](x)`
    Softmax,
    /// `sparsemax[A](x)`
    Sparsemax,
    /// `cumsum[A](x)`
    Cumsum,
    /// `sort[A](x)`
    Sort,
    /// `topk[A](x, n)`
    TopK,
    /// `index[A]`
    Index,
    /// `stack[P](a, b, c = e)`
    Stack,
    /// `split[D -> H, K](x)`
    Split,
    /// `flatten[H, K -> D](x)`
    Flatten,
    /// `cat[K + R -> E](a, b)`
    Cat,
    /// `cut[E -> K + R](x)`
    Cut,
    /// `expand[A](x)`
    Expand,
    /// `rename[K -> J](x)`
    Rename,
    /// `linear[IN -> OUT](x, ...)`
    Linear,
    /// `embed[D](tokens)`
    Embed,
    /// `head(x, tie = e)`
    Head,
    /// `dropout(x, p)`
    Dropout,
    /// `stop_grad(x)`
    StopGrad,
    /// `anneal(a, b, steps = n)`
    Anneal,
    /// `token_mean(x)`
    TokenMean,
    /// `window[W](x, step = 1)`
    Window,
    /// `past(x)`
    Past,
    /// `lag`
    Lag,
    /// `pos`
    Pos,
    /// `step`
    Step,
    /// `tokens`
    Tokens,
    /// `pi`, `inf`, `zeros`, `ones`
    Number(f64),
    /// `none`
    None,
    /// A draw of an init.
    Draw(Draw),
    /// `fan`: uniform(-1/sqrt(n), 1/sqrt(n)) with n contracted elements
    Fan,
}

/// Names and built-ins, sorted by name; functions of one value and reductions are rows of `ops`.
const BUILTINS: &[(&str, Builtin)] = &[
    ("anneal", Builtin::Anneal),
    ("cat", Builtin::Cat),
    ("clamp", Builtin::Clamp),
    ("cumsum", Builtin::Cumsum),
    ("cut", Builtin::Cut),
    ("dirac", Builtin::Draw(Draw::Dirac)),
    ("dropout", Builtin::Dropout),
    ("embed", Builtin::Embed),
    ("expand", Builtin::Expand),
    ("eye", Builtin::Draw(Draw::Eye)),
    ("fan", Builtin::Fan),
    ("flatten", Builtin::Flatten),
    ("head", Builtin::Head),
    ("index", Builtin::Index),
    ("inf", Builtin::Number(f64::INFINITY)),
    ("lag", Builtin::Lag),
    ("linear", Builtin::Linear),
    ("log_uniform", Builtin::Draw(Draw::LogUniform)),
    ("max", Builtin::MinMax { max: true }),
    ("min", Builtin::MinMax { max: false }),
    ("none", Builtin::None),
    ("normal", Builtin::Draw(Draw::Normal)),
    ("ones", Builtin::Number(1.0)),
    ("orthogonal", Builtin::Draw(Draw::Orthogonal)),
    ("past", Builtin::Past),
    ("pi", Builtin::Number(std::f64::consts::PI)),
    ("pos", Builtin::Pos),
    ("rename", Builtin::Rename),
    ("select", Builtin::Select),
    ("softmax", Builtin::Softmax),
    ("sort", Builtin::Sort),
    ("sparsemax", Builtin::Sparsemax),
    ("split", Builtin::Split),
    ("stack", Builtin::Stack),
    ("step", Builtin::Step),
    ("stop_grad", Builtin::StopGrad),
    ("token_mean", Builtin::TokenMean),
    ("tokens", Builtin::Tokens),
    ("topk", Builtin::TopK),
    ("uniform", Builtin::Draw(Draw::Uniform)),
    ("window", Builtin::Window),
    ("zeros", Builtin::Number(0.0)),
];

/// The built-in function with this name.
pub fn builtin(name: &str) -> Option<Builtin> {
    let own = BUILTINS.binary_search_by_key(&name, |(n, _)| n).ok().map(|i| BUILTINS[i].1);
    let function = || UnaryOp::CALLED.iter().find(|f| f.row().name == name).map(|f| Builtin::Unary(*f));
    let reduction = || ReduceOp::CALLED.iter().find(|r| r.row().name == name).map(|r| Builtin::Reduce(*r));
    own.or_else(function).or_else(reduction)
}

/// Names of all built-in functions.
pub fn names<'n>() -> impl Iterator<Item = &'n str> {
    let functions = UnaryOp::CALLED.iter().map(|f| f.row().name);
    BUILTINS.iter().map(|b| b.0).chain(functions).chain(ReduceOp::CALLED.iter().map(|r| r.row().name))
}

#[cfg(test)]
mod tests {
    use super::BUILTINS;

    #[test]
    fn names_are_sorted_for_the_binary_search() {
        assert!(BUILTINS.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
