//! Options of every command that needs sizes.

use archc_compiler::{Options, Sizes};

/// For which block and which sizes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SizeArgs {
    /// The block or model; needed where the file has several
    #[arg(long, value_name = "NAME")]
    pub block: Option<String>,
    /// Size of an axis or value of a hyperparameter, e.g. --set D=64 --set H=8
    #[arg(long, value_name = "NAME=NUMBER", value_parser = setting)]
    pub set: Vec<(String, f64)>,
}

impl SizeArgs {
    /// Compiler options. With `layers` a block is put into the standard stack.
    pub fn options(&self, layers: Option<usize>, vocab: usize) -> Options {
        Options { block: self.block.clone(), sizes: Sizes { set: self.set.iter().cloned().collect(), vocab, layers } }
    }
}

/// Default vocabulary size: bytes.
pub const BYTES: usize = 256;

/// The stack and vocabulary of a program that becomes a model.
#[derive(clap::Args, Clone, Debug)]
pub struct ModelArgs {
    /// Put the block into the standard stack of this number of layers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub layers: Option<u16>,
    /// Tokens of a model's vocabulary [default: 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub vocab: Option<u32>,
}

impl SizeArgs {
    /// Compiler options with the stack and vocabulary of a model.
    pub fn with(&self, model: &ModelArgs) -> Options {
        self.options(model.layers.map(usize::from), model.vocab.map_or(BYTES, |n| n as usize))
    }
}

/// Parses `NAME=NUMBER`.
///
/// # Errors
/// Message for the command line.
pub fn setting(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=NUMBER, as in D=64")?;
    let name = name.trim();
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!("`{name}` is not the name of an axis or hyperparameter"));
    }
    let number: f64 = value.trim().parse().map_err(|_| format!("`{value}` is not a number"))?;
    Ok((name.to_owned(), number))
}
