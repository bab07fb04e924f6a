//! The codes of the checks, with the long texts of `archc explain`.

use crate::diag::Code;

/// E06xx and W06xx dataflow, E07xx and W07xx ranges.
pub const CODES: &[Code] = &[
    Code {
        code: "E0601",
        title: "an output depends on no input",
        text: "An output that is computed from parameters and constants alone is the same for every sequence, so \
there is nothing to learn from data.

Wrong:

    block Constant[D]() {
        input x[D]
        param w[D] = ones
        output w
    }

Right:

    block Scaled[D]() {
        input x[D]
        param w[D] = ones
        output w * x
    }
",
    },
    Code {
        code: "E0602",
        title: "a parameter can never receive a gradient",
        text: "The parameter changes the output, but every way from it to an output or a loss leads through something \
whose gradient is 0 everywhere: `floor`, `sign`, a comparison, the condition of `select` or of `where`, the mask of \
`topk`. It would keep its first value for ever.

Wrong:

    param threshold[D] = zeros
    let gate = x > threshold

Right, with a gate that is smooth in the threshold:

    param threshold[D] = zeros
    let gate = sigmoid(8 * (x - threshold))
",
    },
    Code {
        code: "W0602",
        title: "a parameter is frozen by stop_grad",
        text: "Every way from the parameter to an output or a loss leads through `stop_grad`, so it keeps its first \
value. That is right for random features that are meant to stay as drawn, and a slip otherwise.

    let features = stop_grad(linear[F](x))       // the weight never learns, and x gets no gradient here

To freeze the features but let x learn there is no way around a second path for x.
",
    },
    Code {
        code: "W0603",
        title: "a parameter reaches no output and no loss",
        text: "The parameter is declared, drawn, saved in checkpoints and counted, but nothing that it computes is \
used.

Wrong:

    let gate = x |> linear[D] |> sigmoid         // a weight of D * D numbers
    output x

Right: use the value, or remove it.

    output gate * x
",
    },
    Code {
        code: "W0604",
        title: "nothing mixes time",
        text: "Each token's output depends on that token alone. A feed-forward map is a fine part of a model, but a \
mixer needs at least one op that reads the past: `window` (and so `conv` and `shift`), a state of a `scan`, `past` in \
an `attend`.

    block Mlp[D]() {
        input x[D]
        output swiglu[D](x)                      // W0604
    }

    block Mixer[D]() {
        input x[D]
        output swiglu[D](x + shift_delta(x))     // reads the token before
    }
",
    },
    Code {
        code: "W0605",
        title: "an emit is never read",
        text: "Nothing that this scan or attend emits is used, so it does no work.

Wrong:

    scan { state s[D] = 0; s = s + x; emit total = s }
    output x

Right:

    scan { state s[D] = 0; s = s + x; emit total = s }
    output x + total / (pos + 1)
",
    },
    Code {
        code: "W0606",
        title: "no output depends on a state",
        text: "The state is updated at every token, but no emit reads it, directly or through another state.

Wrong:

    scan {
        state S[H, K, V] = 0
        state n[H, K] = 0
        S = S + k * v
        n = n + k                                // W0606
        emit o = sum[K](q * S)
    }

Right:

        emit o = sum[K](q * S) / (sum[K](q * n) + 1)
",
    },
];
