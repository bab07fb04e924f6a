//! The codes of the command line itself, and the table of all codes for `archc explain`.

use archc_compiler::diag::Code;

/// Codes that no crate below reports.
const OWN: &[Code] = &[
    Code {
        code: "E0841",
        title: "a map of names that cannot be used",
        text: "`archc forward --names map.json` reads weights that were saved under other names. The file is one JSON \
object from archc's paths to the names in the weights file; what is not in it keeps its name:

    { \"q.linear.weight\": \"attn.q_proj.weight\", \"k.linear.weight\": \"attn.k_proj.weight\" }

Every path must be a parameter of the program (`archc params` lists them), and every name must be in the file.",
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
        text: "`archc bench` measures blocks of the standard library, by name: `--block GLA`. `archc build` and `archc \
check` take any file.",
    },
    Code {
        code: "E0849",
        title: "a measurement that failed",
        text: "`archc bench scaling` runs each length in a process of its own. One of them could not be started, or ended \
early; a length that needs more memory than there is ends like that.",
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
