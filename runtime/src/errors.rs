//! Named constructors of the diagnostics of the runtime; `codes.rs` has their long texts.

use archc_compiler::diag::Diagnostic;
use archc_compiler::hir::nearest;

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    match names.len() {
        0 => "none".into(),
        n if n > 12 => format!("{} and {} more", names[..12].join(", "), n - 12),
        _ => names.join(", "),
    }
}

pub(crate) fn empty_batch(batch: usize, len: usize) -> Diagnostic {
    Diagnostic::error("E0801", format!("a batch of {batch} sequences of {len} tokens has no tokens"))
        .help("give at least one sequence of at least one token")
}

pub(crate) fn batch_too_large(batch: usize, len: usize) -> Diagnostic {
    Diagnostic::error("E0801", format!("a batch of {batch} sequences of {len} tokens is too large"))
        .help("give fewer or shorter sequences at a time; a carry joins the pieces of a long one")
}

pub(crate) fn too_many_pairs(batch: usize, len: usize) -> Diagnostic {
    Diagnostic::error("E0801", format!("{batch} sequences of {len} tokens have too many pairs of tokens to attend to"))
        .note("the reference device builds every pair of tokens of an `attend`")
        .help("give fewer or shorter sequences at a time")
}

pub(crate) fn token_count(what: &str, have: usize, batch: usize, len: usize) -> Diagnostic {
    Diagnostic::error("E0802", format!("`{what}` has {have} entries for {batch} sequences of {len} tokens"))
        .help(format!("give {} entries, sequence by sequence", batch * len))
}

pub(crate) fn missing_input<'a>(name: &str, have: impl IntoIterator<Item = &'a String>) -> Diagnostic {
    Diagnostic::error("E0802", format!("the input `{name}` is missing"))
        .note(format!("given are: {}", listed(have)))
        .help(format!("add a tensor `{name}` of shape [batch, tokens, axes of {name}]"))
}

pub(crate) fn unknown_input<'a>(name: &str, have: impl IntoIterator<Item = &'a String>) -> Diagnostic {
    Diagnostic::error("E0802", format!("the program has no input `{name}`"))
        .help(format!("its inputs are: {}", listed(have)))
}

pub(crate) fn tokens_for_block(name: &str) -> Diagnostic {
    Diagnostic::error("E0802", format!("`{name}` is a block and reads no token ids"))
        .help("give its inputs as tensors, or run a model")
}

pub(crate) fn input_shape(name: &str, have: &[usize], numbers: usize, want: &[usize]) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("E0803", format!("the input `{name}` has shape {have:?}, not {want:?}"))
        .help("an input is [batch, tokens, its axes in the order in which the program lists them]");
    if numbers != have.iter().product::<usize>() {
        diagnostic = diagnostic.note(format!("it holds {numbers} numbers"));
    }
    diagnostic
}

pub(crate) fn token_out_of_vocabulary(what: &str, id: u32, row: usize, at: usize, vocab: usize) -> Diagnostic {
    Diagnostic::error("E0804", format!("{what} {id} (sequence {row}, position {at}) is outside of the vocabulary"))
        .help(format!("ids go from 0 to {}; check the tokenizer or the size of the vocabulary", vocab - 1))
}

pub(crate) fn input_not_finite(name: &str, value: f64, at: usize) -> Diagnostic {
    Diagnostic::error("E0805", format!("the input `{name}` holds {value} at element {at}"))
        .help("inputs must be finite numbers")
}

pub(crate) fn mask_not_finite(value: f64, at: usize) -> Diagnostic {
    Diagnostic::error("E0805", format!("the mask holds {value} at token {at}"))
        .help("a mask holds 1 for tokens that count and 0 for the others")
}

pub(crate) fn missing_param<'a>(path: &str, have: impl IntoIterator<Item = &'a String>) -> Diagnostic {
    let diagnostic = Diagnostic::error("E0806", format!("the weights lack `{path}`"));
    match nearest(path, have.into_iter().map(String::as_str)) {
        Some(near) => diagnostic.help(format!("they hold `{near}`; is this the same parameter under another name?")),
        None => diagnostic.help("`archc params` lists the paths and shapes that the program has"),
    }
}

pub(crate) fn unknown_param<'a>(path: &str, have: impl IntoIterator<Item = &'a String>) -> Diagnostic {
    let diagnostic = Diagnostic::error("E0807", format!("the program has no parameter `{path}`"));
    match nearest(path, have.into_iter().map(String::as_str)) {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
        None => diagnostic.help("`archc params` lists the paths and shapes that the program has"),
    }
}

pub(crate) fn param_shape(path: &str, have: &[usize], numbers: usize, want: &[usize]) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("E0808", format!("`{path}` has shape {have:?}, the program wants {want:?}"))
        .help("were the weights made with other sizes? `--set AXIS=SIZE` changes the program's");
    if numbers != have.iter().product::<usize>() {
        diagnostic = diagnostic.note(format!("it holds {numbers} numbers"));
    }
    diagnostic
}

pub(crate) fn param_not_finite(path: &str, value: f64, at: usize) -> Diagnostic {
    Diagnostic::error("E0809", format!("`{path}` holds {value} at element {at}"))
        .help("weights and moments must be finite; take an earlier checkpoint")
}

pub(crate) fn init_not_finite(path: &str, value: f64) -> Diagnostic {
    Diagnostic::error("E0810", format!("the init of `{path}` gives {value}"))
        .help("check the domain of its functions: log and sqrt of negative numbers, division by zero")
}

pub(crate) fn carry_mismatch(why: String) -> Diagnostic {
    Diagnostic::error("E0811", format!("the carry does not fit: {why}"))
        .help("give the carry that the same program returned for the same number of sequences")
}

pub(crate) fn objective(message: String, help: &str) -> Diagnostic {
    Diagnostic::error("E0812", message).help(help)
}

pub(crate) fn cannot_draw(path: &str, why: String) -> Diagnostic {
    Diagnostic::error("E0813", format!("the init of `{path}` cannot be drawn: {why}"))
        .help("uniform(a, b) wants a <= b, log_uniform(a, b) wants 0 < a <= b, normal(std) wants std >= 0")
}

pub(crate) fn unreadable(path: &std::path::Path, why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error("E0820", format!("cannot read {}: {why}", path.display()))
        .help("check the path and its permissions")
}

pub(crate) fn not_safetensors(path: &std::path::Path, why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error("E0821", format!("{} is not a whole safetensors file: {why}", path.display()))
        .help("was the file cut off, or written in another format?")
}

pub(crate) fn unreadable_dtype(path: &std::path::Path, name: &str, dtype: impl std::fmt::Debug) -> Diagnostic {
    Diagnostic::error("E0822", format!("`{name}` in {} holds numbers of type {dtype:?}", path.display()))
        .help("store it as F64, F32, F16, BF16 or an integer type")
}

pub(crate) fn unwritable(path: &std::path::Path, why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error("E0823", format!("cannot write {}: {why}", path.display()))
        .help("is the disk full, or the folder not writable? an older file of that name is still whole")
}

/// The device computes in f32 only.
pub(crate) fn single_precision() -> Diagnostic {
    Diagnostic::error("E0814", "the cpu device computes in f32 only")
        .help("use the reference device for f64: `--device reference`")
}

/// The system refuses an allocation of `bytes` bytes.
pub(crate) fn no_memory(bytes: usize, why: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error("E0815", format!("there is no memory for a buffer of {:.1} GB: {why}", bytes as f64 / 1e9))
        .help("give fewer or shorter sequences at a time, or smaller axes; `archc check` counts what a program takes")
}

/// A failure that no input should be able to cause.
pub(crate) fn bug(stage: &str, why: impl std::fmt::Display) -> Diagnostic {
    // candle appends a backtrace after its message when one is enabled.
    let text = why.to_string();
    let first = text.lines().next().unwrap_or_default();
    Diagnostic::error("E0899", format!("archc bug in {stage}: {first}"))
        .help("please report it with the program and the command")
}
