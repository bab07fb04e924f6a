//! The functions that the compiler itself knows; all others are written in the language.

use crate::graph::{Draw, ReduceOp, UnaryOp};

/// A function of the compiler.
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
    /// `fan`: uniform(-1/sqrt(n), 1/sqrt(n)), n the contracted elements
    Fan,
}

/// Names and meanings, sorted by name.
pub const BUILTINS: &[(&str, Builtin)] = &[
    ("abs", Builtin::Unary(UnaryOp::Abs)),
    ("anneal", Builtin::Anneal),
    ("atan", Builtin::Unary(UnaryOp::Atan)),
    ("cat", Builtin::Cat),
    ("clamp", Builtin::Clamp),
    ("cos", Builtin::Unary(UnaryOp::Cos)),
    ("cumsum", Builtin::Cumsum),
    ("cut", Builtin::Cut),
    ("dirac", Builtin::Draw(Draw::Dirac)),
    ("dropout", Builtin::Dropout),
    ("elu", Builtin::Unary(UnaryOp::Elu)),
    ("embed", Builtin::Embed),
    ("erf", Builtin::Unary(UnaryOp::Erf)),
    ("exp", Builtin::Unary(UnaryOp::Exp)),
    ("expand", Builtin::Expand),
    ("expm1", Builtin::Unary(UnaryOp::Expm1)),
    ("eye", Builtin::Draw(Draw::Eye)),
    ("fan", Builtin::Fan),
    ("flatten", Builtin::Flatten),
    ("floor", Builtin::Unary(UnaryOp::Floor)),
    ("gelu", Builtin::Unary(UnaryOp::Gelu)),
    ("head", Builtin::Head),
    ("index", Builtin::Index),
    ("inf", Builtin::Number(f64::INFINITY)),
    ("lag", Builtin::Lag),
    ("linear", Builtin::Linear),
    ("log", Builtin::Unary(UnaryOp::Log)),
    ("log1p", Builtin::Unary(UnaryOp::Log1p)),
    ("log_uniform", Builtin::Draw(Draw::LogUniform)),
    ("logsumexp", Builtin::Reduce(ReduceOp::LogSumExp)),
    ("max", Builtin::MinMax { max: true }),
    ("mean", Builtin::Reduce(ReduceOp::Mean)),
    ("min", Builtin::MinMax { max: false }),
    ("none", Builtin::None),
    ("norm", Builtin::Reduce(ReduceOp::Norm)),
    ("normal", Builtin::Draw(Draw::Normal)),
    ("ones", Builtin::Number(1.0)),
    ("orthogonal", Builtin::Draw(Draw::Orthogonal)),
    ("past", Builtin::Past),
    ("pi", Builtin::Number(std::f64::consts::PI)),
    ("pos", Builtin::Pos),
    ("relu", Builtin::Unary(UnaryOp::Relu)),
    ("rename", Builtin::Rename),
    ("rsqrt", Builtin::Unary(UnaryOp::Rsqrt)),
    ("select", Builtin::Select),
    ("sigmoid", Builtin::Unary(UnaryOp::Sigmoid)),
    ("sign", Builtin::Unary(UnaryOp::Sign)),
    ("silu", Builtin::Unary(UnaryOp::Silu)),
    ("sin", Builtin::Unary(UnaryOp::Sin)),
    ("softmax", Builtin::Softmax),
    ("softplus", Builtin::Unary(UnaryOp::Softplus)),
    ("sort", Builtin::Sort),
    ("sparsemax", Builtin::Sparsemax),
    ("split", Builtin::Split),
    ("sqrt", Builtin::Unary(UnaryOp::Sqrt)),
    ("stack", Builtin::Stack),
    ("std", Builtin::Reduce(ReduceOp::Std { sample: false })),
    ("step", Builtin::Step),
    ("stop_grad", Builtin::StopGrad),
    ("sum", Builtin::Reduce(ReduceOp::Sum)),
    ("tanh", Builtin::Unary(UnaryOp::Tanh)),
    ("token_mean", Builtin::TokenMean),
    ("tokens", Builtin::Tokens),
    ("topk", Builtin::TopK),
    ("uniform", Builtin::Draw(Draw::Uniform)),
    ("var", Builtin::Reduce(ReduceOp::Var { sample: false })),
    ("window", Builtin::Window),
    ("zeros", Builtin::Number(0.0)),
];

/// The function with this name.
pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.binary_search_by_key(&name, |(n, _)| n).ok().map(|i| BUILTINS[i].1)
}

#[cfg(test)]
mod tests {
    use super::BUILTINS;

    #[test]
    fn names_are_sorted_for_the_binary_search() {
        assert!(BUILTINS.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
