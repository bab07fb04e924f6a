//! The codes of the runtime's diagnostics, for `archc explain`.

use archc_compiler::diag::Code;

/// E08xx: batches, weights, carries, inits, files.
pub const CODES: &[Code] = &[
    Code {
        code: "E0801",
        title: "a batch without tokens, or with too many",
        text: "A batch is at least one sequence of at least one token, and at most 2^32 - 1 tokens in all.\n\n\
               A long text is read in pieces: the carry that one forward pass returns is given to the next, and the \
               outputs are the same as those of one pass over the whole.",
    },
    Code {
        code: "E0802",
        title: "a batch that does not hold what the program reads",
        text: "A block reads its inputs by name, as tensors [batch, tokens, axes]; a model reads `tokens`, one id a \
               token. `reset`, `mask` and `targets` are one entry a token too, or left out.\n\n\
               For `archc forward` the input file of a block with one input holds a tensor `input` or one with the \
               input's name, that of a model `tokens`.",
    },
    Code {
        code: "E0803",
        title: "an input of the wrong shape",
        text: "An input declared as `input x[H, K]` is given as [batch, tokens, H, K]: axes in the order in which \
               the program lists them, with the sizes that the program was compiled for. `--set H=8` changes a size.",
    },
    Code {
        code: "E0804",
        title: "a token outside of the vocabulary",
        text: "Token ids and targets go from 0 to the size of the vocabulary minus 1. The vocabulary comes from the \
               task: 256 for bytes of text.",
    },
    Code {
        code: "E0805",
        title: "an input that is not finite",
        text: "Inputs and masks must be finite: one NaN reaches every later token of its sequence, and every \
               parameter's gradient.",
    },
    Code {
        code: "E0806",
        title: "weights that lack a parameter",
        text: "A checkpoint holds every parameter of the program by its path: instance, binding, op, as in \
               `layers.0.mixer.q.linear.weight`. Paths survive reformatting and reordering, but not a new name of a \
               binding; `name = old` in the call pins the old one. `archc params` lists paths and shapes, and \
               `archc forward --names map.json` reads weights under other names.",
    },
    Code {
        code: "E0807",
        title: "weights with a parameter that the program lacks",
        text: "Every tensor of a checkpoint must be a parameter of the program, so that a misspelt name is never \
               silently ignored. Remove the tensor, or see E0806 for how paths are made.",
    },
    Code {
        code: "E0808",
        title: "a parameter of the wrong shape",
        text: "The shape of a linear's weight is [per axes, OUT axes, IN axes], its bias [per axes, OUT axes]; that \
               of a conv [axes of x, W] with index 0 the present token; a norm's weight has the norm's axes; an \
               embedding is [VOCAB, D]. Weights trained with other sizes need the same `--set`.",
    },
    Code {
        code: "E0809",
        title: "a parameter that is not finite",
        text: "Weights and optimizer moments must be finite, also after rounding to the arithmetic of the session. \
               Training never writes such numbers: a step whose gradient is not finite leaves the parameters alone.",
    },
    Code {
        code: "E0810",
        title: "an init that gives no finite number",
        text: "The recipe of a parameter is evaluated in f64 before training. `param a = log(uniform(-1, 1))` gives \
               NaN for half of its elements; write `log(uniform(0.1, 1))`.",
    },
    Code {
        code: "E0811",
        title: "a carry that does not fit",
        text: "A carry holds what later tokens need: the states of scans, the last tokens of windows, what attends may \
               still see, and positions. It belongs to one program and one number of sequences.",
    },
    Code {
        code: "E0812",
        title: "nothing to differentiate",
        text: "The training objective is the cross-entropy of a model's targets plus the program's `loss` terms, so a \
               model needs targets and a block needs a `loss`. For a block alone, `archc forward --grads` \
               differentiates sum(output * R) with an R of the output's shape.",
    },
    Code {
        code: "E0813",
        title: "an init that cannot be drawn",
        text: "`uniform(a, b)` wants a <= b, `log_uniform(a, b)` wants 0 < a <= b, `normal(std)` wants std >= 0.\n\n\
               wrong: `param dt[H] = log_uniform(0, 0.1)`\nright: `param dt[H] = log_uniform(0.001, 0.1)`",
    },
    Code {
        code: "E0814",
        title: "f64 on a device that computes in f32",
        text: "The cpu device keeps and computes all numbers in 32 bits. The reference device knows both: \
               `archc forward block.arch --dtype f64 --device reference ...`.",
    },
    Code {
        code: "E0815",
        title: "no memory for the buffers",
        text: "The cpu device takes the memory of a plan before it runs: activations for so many sequences of so many \
               tokens, parameters, gradients and two moments. The system refused. Give fewer or shorter sequences at a \
               time (a carry joins the pieces of a long one), smaller axes, or fewer threads.",
    },
    Code {
        code: "E0820",
        title: "a file that cannot be read",
        text: "The file does not exist, is a folder, or may not be read by this user.",
    },
    Code {
        code: "E0821",
        title: "not a whole safetensors file",
        text: "Weights, inputs and outputs are safetensors files (a JSON header, then the numbers). A file that was \
               cut off by a full disk or a broken download is refused as a whole.",
    },
    Code {
        code: "E0822",
        title: "numbers of a type that cannot be read",
        text: "F64, F32, F16, BF16, integers and booleans are read. Packed and 8-bit float types are not.",
    },
    Code {
        code: "E0823",
        title: "a file that cannot be written",
        text: "Files are written beside their target and renamed over it once they are whole, so an older file of the \
               same name is intact. Free some space, or choose another folder.",
    },
    Code {
        code: "E0899",
        title: "a bug of archc",
        text: "The reference device met something that checked programs and checked input should never lead to. \
               Please report the program and the command.",
    },
];
