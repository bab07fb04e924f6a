//! Codes of the command line itself, and the table of all codes for `archc explain`.

use archc_compiler::diag::Code;

/// Codes reported by the command line alone.
const OWN: &[Code] = &[
    Code {
        code: "E0841",
        title: "a map of names that cannot be used",
        text: "`archc forward --names map.json` reads weights that were saved under other names, or in other shapes. The file is \
one JSON object from archc's paths to the names in the weights file; what is not in it keeps its name:

    {
        \"q.linear.weight\": \"attn.q_proj.weight\",
        \"k.linear.weight\": [\"attn.qkv.weight\", {\"rows\": [64, 128]}, {\"reshape\": [2, 32, 64]}],
        \"v.linear.weight\": [\"attn.v.kernel\", {\"permute\": [1, 0]}],
        \"k.conv.linear.weight\": [\"attn.k_conv1d.weight\", {\"flip\": [2]}],
        \"attn.rotary.inv_freq\": null
    }

A list is a name and what is done to the tensor, in this order: `permute` puts its axes (from 0) into another order, `reshape` gives \
the same numbers in their order another shape, `rows` takes a part of the first axis, from the first number to before the second, `flip` turns axes round. \
A name with null is a tensor of the file that is left out. One tensor may feed several paths.

Where the map says nothing, the order of the numbers stays. A tensor of the parameter's own shape is taken as it is. One whose axes \
are joined or split, or have an axis of length 1 more or less, is taken as well: [H*K, D] for [H, K, D], [D, H*V] for [D, H, V], [1] for \
a number. But where another order of its axes fits too, as with a square [H*K, D], the map must say which is meant: a reshape, or a \
permute before it. (PyTorch's linear is [out, in] and needs the reshape alone; flax's kernel is [in, out] and needs both.) And \
a convolution in another shape, [C, 1, W] or [H*K, 1, W], must be flipped or reshaped: PyTorch has the present token's tap last, archc has \
it first.

Every path must be a parameter of the program (`archc params` lists them), and every name must be in the file. All that does not fit \
is told at once.",
    },
    Code {
        code: "E0842",
        title: "no such code",
        text: "Codes are a letter (E for errors, W for warnings) and four digits. `archc explain` without a code lists \
all of them. Names of the language and of its library are looked up with `archc doc NAME`.",
    },
    Code {
        code: "E0843",
        title: "a folder without programs",
        text: "Programs are files whose names end in `.arch`; folders are searched through all their folders, hidden \
ones left out. A file may be given by its path whatever its name.",
    },
    Code {
        code: "E0844",
        title: "gradients without weights of the outputs",
        text: "`archc forward --grads` writes the gradients of sum(output * R). R is in the input file: a tensor `R` of \
the output's shape, [batch, tokens, axes of the output]; for a program of several outputs one tensor `R.NAME` for each \
of them, where those left out count as 0.",
    },
    Code {
        code: "E0845",
        title: "a program that does not fit into memory",
        text: "The reference device holds every parameter and its two moments as 8-byte numbers, so it takes at most \
2^28 parameters (6 GiB). It also computes every value for all tokens of a batch at once, at most 2^30 numbers each. \
`archc check` counts any program; smaller sizes (`--set D=...`, `--layers`, `--vocab`), or fewer tokens at a time, make it \
fit.",
    },
    Code {
        code: "E0846",
        title: "a carry of another program",
        text: "`archc forward --carry-out` writes what the next tokens of a batch of sequences need: memories, the last \
tokens of windows, keys and values, positions. `--carry-in` reads it for the same program with the same sizes, on any \
device. The weights must be the same too, which nobody checks.",
    },
    Code {
        code: "E0847",
        title: "a Python without PyTorch",
        text: "`archc bench train --torch PYTHON` measures PyTorch beside archc. PYTHON is a program or a path, as in \
`--torch python3` or `--torch venv/bin/python`; it must have the packages torch, numpy and safetensors. Nothing else of \
archc needs Python.",
    },
    Code {
        code: "E0848",
        title: "a block that the standard library has not",
        text: "`archc bench` measures blocks of the standard library, by name: `--block GLA`. `archc bench train` measures \
a program of your own as well, which stands by itself as for other commands, and then `--block` names the block of it:

    archc bench train block.arch --set H=4
    archc bench train models.arch --block Hybrid",
    },
    Code {
        code: "E0849",
        title: "a measurement that failed",
        text: "`archc bench scaling` runs each length in a process of its own. One of them could not be started, or ended \
early; a length that needs more memory than there is ends like that.",
    },
    Code {
        code: "E0860",
        title: "an instruction set that this machine has not",
        text: "The kernels of the cpu device use the best instructions that the machine has: avx512, avx2 or sse2 on x86-64, neon on \
aarch64. Sums are added in other orders with each, so results differ in their last bits, and a training by a little more. \
The variable ARCHC_ISA keeps to a lower set, so that two machines give the same bits:

    ARCHC_ISA=avx2 archc eval block.arch --tier search

It names one of those that the machine has; an empty one counts as none.",
    },
    Code {
        code: "E0861",
        title: "two widths for one measurement",
        text: "`archc bench train FILE` measures a program at one or several shapes: `--shape D,L,T,B` says the width D, the layers \
of the standard stack, the tokens of a sequence and the sequences of a batch. `--set` is for its other axes and hyperparameters:

    archc bench train block.arch --shape 128,2,512,8 --set H=4",
    },
    Code {
        code: "E0870",
        title: "nothing of this name to show",
        text: "`archc doc NAME` shows builtins and keywords of the language, chapters of its reference, functions, blocks, \
models and modules of the standard library, and codes. `archc doc` lists them all.",
    },
    Code {
        code: "E0871",
        title: "a file's name that cannot name a block",
        text:
            "`archc new NAME` writes NAME.arch with a block that is called as the file, in CamelCase. So the name is \
letters, digits and `_`, and begins with a letter; other programs can then bring the block in by its file's name.

Wrong:
    archc new fast-memory
Right:
    archc new fast_memory         the block FastMemory",
    },
    Code {
        code: "E0872",
        title: "a new file where there is one",
        text: "`archc new NAME` writes a new file and never over another. Choose another name, or remove the file.",
    },
];

/// Every code that archc reports, in order.
pub fn all() -> Vec<Code> {
    let grammar = archc_grammar::CODES.iter().map(|&(code, title, text)| Code { code, title, text });
    let tables = [
        archc_compiler::hir::CODES,
        archc_compiler::elaborate::CODES,
        archc_compiler::checks::CODES,
        archc_runtime::CODES,
        archc_train::CODES,
        archc_search::CODES,
        OWN,
    ];
    let mut codes: Vec<Code> = grammar.chain(tables.into_iter().flatten().copied()).collect();
    codes.sort_by_key(|c| c.code);
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_explanation() {
        let codes = all();
        assert!(codes.len() > 60, "tables are missing: {} codes", codes.len());
        for pair in codes.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} is explained twice", pair[0].code);
        }
        for code in codes {
            let (letter, digits) = code.code.split_at(1);
            assert!(matches!(letter, "E" | "W") && digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()));
            assert!(!code.title.is_empty() && code.text.len() > 40, "{} is hardly explained", code.code);
        }
    }
}
