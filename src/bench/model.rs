//! Benchmark models: a block of the standard library, or of a file, in the standard stack, on a batch of random next tokens.

use super::measure::Clock;
use crate::device::{self, DeviceName};
use crate::load::{Program, load};
use crate::output::{Output, Stop};
use archc_compiler::checks::CostReport;
use archc_compiler::diag::Diagnostic;
use archc_compiler::graph::Graph;
use archc_compiler::source::{FileId, SourceMap};
use archc_compiler::{Options, Sizes, compile, stdlib};
use archc_runtime::Batch;
use std::path::Path;
use std::sync::Arc;

/// Shape of a benchmark: width, layers, tokens per sequence, sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Model width D.
    pub width: usize,
    /// Number of layers of the standard stack.
    pub layers: usize,
    /// Tokens per sequence, T.
    pub len: usize,
    /// Sequences per batch, B.
    pub batch: usize,
}

impl Shape {
    /// Number of tokens of a batch.
    pub fn tokens(self) -> usize {
        self.batch * self.len
    }
}

/// What is put around a block, and where it runs: arguments of the commands that vary the tokens alone.
#[derive(clap::Args)]
pub struct Stack {
    /// D
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 14))]
    pub width: u32,
    /// Layers of the standard stack
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub layers: u16,
    /// Sequences
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub vocab: u32,
    /// What runs the model
    #[arg(long, value_name = "NAME", default_value = device::FAST, value_parser = device::parser())]
    pub device: DeviceName,
    /// Which time counts: wall, or on a busy machine cpu
    #[arg(long, value_name = "CLOCK", default_value = "wall", hide_possible_values = true)]
    pub clock: Clock,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

impl Stack {
    /// Shape with `len` tokens per sequence.
    pub fn shape(&self, len: usize) -> Shape {
        Shape { width: self.width as usize, layers: usize::from(self.layers), len, batch: usize::from(self.batch) }
    }

    /// Builds a block in the stack.
    ///
    /// # Errors
    /// Errors of [`Subject`]; an error if the device has no room for such a batch.
    pub fn build(&self, block: &str, shape: Shape, output: &Output) -> Result<(Arc<Graph>, CostReport), Stop> {
        let built = Subject::library(block)?.build(shape, self.vocab as usize, output)?;
        self.device.holds(&built.0, shape.tokens())?;
        Ok(built)
    }

    /// A batch of random tokens.
    pub fn tokens(&self, shape: Shape) -> Batch {
        batch(shape, self.vocab as usize)
    }

    /// Heading of a table.
    pub fn heading(&self) -> String {
        let Self { width, layers, batch, .. } = self;
        format!("device {}, one thread, D={width}, {layers} layers, B={batch}", self.device.name())
    }
}

/// Parses `D,L,T,B`.
///
/// # Errors
/// Message for the command line.
pub fn shape(text: &str) -> Result<Shape, String> {
    let wrong = || format!("`{text}` is not D,L,T,B, as in 64,2,512,4");
    let numbers: Vec<usize> = text
        .split(',')
        .map(|n| n.trim().parse().ok().filter(|n| (1..=1 << 20).contains(n)))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    match numbers[..] {
        [width, layers, len, batch] => Ok(Shape { width, layers, len, batch }),
        _ => Err(wrong()),
    }
}

/// Source text of a block as in a user's file: the item alone, in a file of its own.
pub fn source(name: &str) -> Option<(SourceMap, FileId)> {
    let found = blocks().into_iter().find(|b| b.name == name)?;
    let mut sources = SourceMap::new();
    let file = sources.add(format!("{name}.arch"), found.text);
    Some((sources, file))
}

/// Block or model of the standard library.
pub struct Item {
    /// Name of the item.
    pub name: String,
    /// Source text, preceded by the library file's imports.
    pub text: String,
}

/// Every model of the standard library and every block that fits into the stack, in order, except the stack itself.
pub fn blocks() -> Vec<Item> {
    use crate::doc::library::trains;
    use archc_grammar::ast::ItemKind;
    let mut items = Vec::new();
    for file in stdlib::FILES.iter().filter(|f| matches!(f.module, "std::mixers" | "std::models")) {
        let tree = archc_grammar::parse(file.text).file;
        let text = |item: &archc_grammar::ast::Item| &file.text[item.span.start as usize..item.span.end as usize];
        let uses: String = tree
            .items
            .iter()
            .filter(|i| matches!(i.kind, ItemKind::Use { .. }))
            .map(|i| format!("{}\n", text(i)))
            .collect();
        for item in &tree.items {
            if let ItemKind::Block(c) | ItemKind::Model(c) = &item.kind
                && trains(&item.kind)
            {
                items.push(Item { name: c.name.name.clone(), text: format!("{uses}{}\n", text(item)) });
            }
        }
    }
    items
}

/// Compiler options: a block is put into the stack, a model has its own.
pub fn options(shape: Shape, vocab: usize) -> Options {
    let set = [("D".to_owned(), shape.width as f64)].into();
    Options { block: None, sizes: Sizes { set, vocab, layers: Some(shape.layers) } }
}

/// Program to measure, at any shape.
pub struct Subject {
    /// Whether it is a block of the standard library, which may have a PyTorch counterpart.
    pub library: bool,
    sources: SourceMap,
    file: FileId,
    block: Option<String>,
    set: Vec<(String, f64)>,
}

impl Subject {
    /// Selects a block of the standard library by name.
    ///
    /// # Errors
    /// E0848 for a name that is not in the library.
    pub fn library(name: &str) -> Result<Self, Diagnostic> {
        let Some((sources, file)) = source(name) else {
            let error = Diagnostic::error("E0848", format!("the standard library has no block `{name}`"));
            if Path::new(name).exists() {
                return Err(error.help(format!("a file stands by itself: `archc bench train {name}`")));
            }
            let names: Vec<String> = blocks().into_iter().map(|b| b.name).collect();
            return Err(error.help(format!("it has {}", names.join(", "))));
        };
        Ok(Self { library: true, sources, file, block: None, set: Vec::new() })
    }

    /// Selects the block or model of a file, by name if the file has several, at these sizes.
    ///
    /// # Errors
    /// E0861 for a width in addition to that of the shape; errors of [`load`].
    pub fn of_file(path: &Path, block: Option<&String>, set: &[(String, f64)]) -> Result<Self, Stop> {
        if let Some((_, width)) = set.iter().find(|(name, _)| name == "D") {
            return Err(Diagnostic::error("E0861", format!("--set D={width} is a second width"))
                .help(format!("the first number of --shape is D, as in --shape {width},2,512,4"))
                .into());
        }
        let Program { sources, file, .. } = load(path)?;
        Ok(Self { library: false, sources, file, block: block.cloned(), set: set.to_vec() })
    }

    /// Builds the program as a model; returns it with its cost.
    ///
    /// # Errors
    /// The compiler's diagnostics if the program does not fit the shape.
    pub fn build(&self, shape: Shape, vocab: usize, output: &Output) -> Result<(Arc<Graph>, CostReport), Stop> {
        let mut options = options(shape, vocab);
        options.block.clone_from(&self.block);
        options.sizes.set.extend(self.set.iter().cloned());
        let mut compilation = compile(&self.sources, self.file, &options);
        let cost = compilation.cost.take();
        let warnings = compilation.diagnostics.clone();
        match (compilation.into_graph(), cost) {
            (Ok(graph), Some(cost)) => Ok((Arc::new(graph), cost)),
            (Err(findings), _) => Err(Stop::Findings(findings, Box::new(self.sources.clone()))),
            (Ok(_), None) => {
                output.findings(&warnings, &self.sources)?;
                panic!("archc bug: a compiled program without a cost")
            }
        }
    }
}

/// Batch of random sequences and their next tokens, the same for every program.
pub fn batch(shape: Shape, vocab: usize) -> Batch {
    // Knuth's 64-bit congruential generator; only its high bits are used.
    let mut state = 0x5eed_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab as u64) as u32
    };
    let mut batch = Batch { batch: shape.batch, len: shape.len, ..Batch::default() };
    for _ in 0..shape.batch {
        let row: Vec<u32> = (0..=shape.len).map(|_| draw()).collect();
        batch.tokens.extend(&row[..shape.len]);
        batch.targets.extend(&row[1..]);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read() {
        assert_eq!(shape("64,2, 512,4"), Ok(Shape { width: 64, layers: 2, len: 512, batch: 4 }));
        for text in ["", "64,2,512", "64,2,512,0", "64,2,512,4,1", "a,2,512,4", "64,-2,512,4", "64,2,99999999,4"] {
            assert!(shape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn blocks_stand_alone() {
        let names: Vec<String> = blocks().into_iter().map(|b| b.name).collect();
        assert!(names.len() > 30 && names.contains(&"GLA".to_owned()) && names.contains(&"Hybrid".to_owned()));
        let shape = Shape { width: 32, layers: 1, len: 8, batch: 1 };
        for name in names {
            let (sources, file) = source(&name).unwrap();
            let compilation = compile(&sources, file, &options(shape, 16));
            assert!(!compilation.failed(), "{name}: {:?}", compilation.diagnostics);
        }
    }

    #[test]
    fn targets_are_the_next_tokens() {
        let batch = batch(Shape { width: 32, layers: 1, len: 5, batch: 2 }, 10);
        assert_eq!((batch.tokens.len(), batch.targets.len()), (10, 10));
        assert_eq!(batch.tokens[1..5], batch.targets[..4]);
        assert!(batch.tokens.iter().all(|t| *t < 10));
    }
}
