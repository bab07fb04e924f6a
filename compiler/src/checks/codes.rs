//! Codes of the checks, with their explanations for `archc explain`.

use crate::diag::Code;

/// Codes E06xx and W06xx (dataflow), E07xx and W07xx (ranges).
pub const CODES: &[Code] = &[
    Code {
        code: "E0601",
        title: "an output depends on no input",
        text: "An output that is computed from parameters and constants alone is the same for every sequence, so \
there is nothing to learn from data.

Wrong:

    block Constant[D] {
        input x[D]
        param w[D] = ones
        output w
    }

Right:

    block Scaled[D] {
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

    block Mlp[D] {
        input x[D]
        output swiglu[D](x)                      // W0604
    }

    block Mixer[D] {
        input x[D]
        output swiglu[D](x + shift_delta(x))     // reads the token before
    }
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
    Code {
        code: "E0701",
        title: "a logarithm of values that are never positive",
        text: "Every value that the operand can take is outside of the domain of `log` (positive numbers) or `log1p` \
(numbers above -1): the result would be NaN or -inf at every token. The message shows the operand's range.

Wrong:

    let g = log(-sigmoid(x))

Right:

    let g = -softplus(-x)                        // log(sigmoid(x)), without rounding to log(0)
",
    },
    Code {
        code: "W0701",
        title: "a logarithm of values that may be 0 or negative",
        text:
            "The operand of `log` may be 0 or negative (of `log1p`: -1 or less). Values that only come near 0, such as \
a sigmoid, a softmax or an exp, are not reported.

Wrong:

    let g = log(linear[H](x))
    let h = log(relu(x))                         // log(0) wherever x is negative

Right:

    let g = log(softplus(linear[H](x)) + 1e-6)
    let h = log1p(relu(x))
",
    },
    Code {
        code: "E0702",
        title: "a square root of values that are never allowed",
        text: "Every value that the operand can take is negative (for `rsqrt`: or 0).

Wrong:

    let s = sqrt(tanh(x) - 2)

Right:

    let s = sqrt(2 - tanh(x))
",
    },
    Code {
        code: "W0702",
        title: "a square root of values that may not be allowed",
        text: "The operand of `sqrt` may be negative, or that of `rsqrt` negative or 0.

Wrong:

    let y = x * rsqrt(mean[D](x ^ 2))            // 0 for an input of zeros

Right:

    let y = x * rsqrt(mean[D](x ^ 2) + 1e-5)
",
    },
    Code {
        code: "E0703",
        title: "a division by zero",
        text: "The divisor is 0 whatever the input.

Wrong:

    let y = x / (D % 2)                          // D is even

Right: divide by something else, or decide with `if`, which is done before anything runs.
",
    },
    Code {
        code: "W0703",
        title: "a division by what may be zero",
        text: "The divisor's range contains 0. Near it the quotient and its gradient are without bound, and one such \
token spoils a whole batch. A divisor that only comes near 0 (exp, softplus, a softmax) is not reported.

Wrong:

    let y = v / sum[K](k)                        // k has both signs
    param temp = 1
    let p = softmax[E](logits / temp)            // nothing keeps temp from passing through 0

Right:

    let y = v / (sum[K](abs(k)) + 1e-6)
    param temp = softplus_inverse(1)
    let p = softmax[E](logits / (softplus(temp) + 1e-4))
",
    },
    Code {
        code: "E0704",
        title: "a power of values that are never allowed",
        text: "`a ^ b` with an exponent that is no integer literal is exp(b log a), and every value of the base is \
negative.

Wrong:

    let y = (-softplus(x)) ^ 0.5

Right:

    let y = softplus(x) ^ 0.5
",
    },
    Code {
        code: "W0704",
        title: "a power of values that may not be allowed",
        text: "`a ^ b` with an exponent that is no integer literal is exp(b log a): the base must be positive (0 is \
allowed with a positive exponent). `x ^ 2` with an integer literal holds for any sign.

Wrong:

    param p = 2
    let y = x ^ p

Right:

    let y = (abs(x) + 1e-6) ^ p
",
    },
    Code {
        code: "E0705",
        title: "an exp that always overflows",
        text: "exp(x) is finite in f32 up to x = 88.7, and every value of the operand is above that.

Wrong:

    let y = exp(100 + softplus(x))

Right: subtract what is common to numerator and denominator before the exp.
",
    },
    Code {
        code: "W0705",
        title: "an exp that may overflow",
        text:
            "exp(x) is finite in f32 up to x = 88.7, and nothing bounds the operand from above. An exp of parameters \
alone is not reported, nor one that goes into a function that is bounded there, as in `exp(-exp(x))`, or below a \
fraction bar.

Wrong:

    let f = exp(linear[F](x))

Right, each for another purpose:

    let a = exp(-softplus(linear[F](x)))         // a decay
    let p = softmax[F](linear[F](x))             // shares
    let f = softplus(linear[F](x))               // a positive feature
    m = max(f + m, i)                            // a running maximum, in a scan
    let keep = exp(f + old - m)                  // at most 1, which the checker sees
",
    },
    Code {
        code: "W0706",
        title: "a state may grow: its decay is not bounded by 1",
        text:
            "The state is multiplied at every token by something that may be larger than 1 in size, so that it grows \
exponentially with the length of the sequence. The message shows the range of the factor.

Wrong:

    scan { state s[D] = 0; s = linear[D](x) * s + x; emit y = s }

Right:

    let a = x |> linear[D] |> sigmoid
    scan { state s[D] = 0; s = a * s + (1 - a) * x; emit y = s }
",
    },
    Code {
        code: "W0707",
        title: "a state may grow: the keys of its delta rule are not normalised",
        text: "A delta step multiplies the state by I - beta k k^T, whose eigenvalue along k is 1 - beta |k|^2. With \
|k| <= 1 and beta in [0, 2] it stays in [-1, 1]; with longer keys the state grows at every token.

Wrong:

    let k[H, K] = x |> linear[H, K] |> silu
    ...
    S = S + beta * k * (v - sum[K](k * S))

Right:

    let k[H, K] = x |> linear[H, K] |> silu |> l2norm[K]
",
    },
    Code {
        code: "W0708",
        title: "a state may grow: the step of its delta rule is out of range",
        text: "A delta step multiplies the state by I - beta k k^T. With normalised keys it is a contraction for beta \
in [0, 2] (in [1, 2] it reflects, which is what solves parity); for other beta, or with the sign turned, it grows.

Wrong:

    let beta[H] = x |> linear[H] |> softplus     // no upper bound
    S = S + beta * k * (v + sum[K](k * S))       // adds what it should subtract

Right:

    let beta[H] = 2 * sigmoid(linear[H](x))
    S = S + beta * k * (v - sum[K](k * S))
",
    },
    Code {
        code: "E0709",
        title: "a constant that is not finite",
        text: "Numbers that are known when the program is compiled are computed then. An operator whose operands are finite must \
give a finite number, and a constant of a tensor must fit f32 (up to 3.4e38): everything that it reaches would be infinite or no number at \
all. `inf` as written is allowed, and so is what a `select` with a known condition leaves out.

Wrong:

    let y = x * (1e200 * 1e200)
    let z = x / 1e-50 * 1e39

Right:

    where lag < inf
",
    },
];
