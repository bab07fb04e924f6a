//! Moves: typed edits that make one program from another.
//!
//! A [`Move`] lists the places in a program where it applies ([`Move::sites`]) and makes the edit there ([`Move::apply`]). It
//! uses the compiler's view of the program (`view`: types by place, visible values, terms of a state's update), and edits the
//! syntax tree, never the text (`draft`); parts that are no longer needed are removed (`tidy`), and the formatter prints the
//! result, so that candidates are readable: comments and names stay, and a new value gets a descriptive name.
//!
//! - Sites are listed in the order of the text and numbered from 0, so that a site recorded in the log means
//!   the same place when the run is replayed.
//! - A move is a pure function of its arguments; all randomness comes from the stream.
//! - A move may return nothing (the site turned out not to fit). Its result parses and prints back to itself;
//!   it should also check at the sizes of its parent; the static screen decides, and counts.
//! - A move's doc is the hypothesis behind it: why it may help, and which tasks should move.
//!
//! | file | moves |
//! |---|---|
//! | `activation` | swap an activation, a gate, the feature map of queries and keys |
//! | `decay` | give a state another decay, or none |
//! | `update` | add, drop or gate a term of a state's update |
//! | `strength` | change the range of a write strength |
//! | `read` | read before or after the update, with the query or the key, with a skip |
//! | `conv` | add, widen, dilate or drop a convolution; shift tokens |
//! | `norm` | add, swap or drop a norm |
//! | `gate` | add or drop a gate |
//! | `router` | add or drop a path, change the mixing, the statistics, the temperature |
//! | `attend` | window, sink, positions, forgetting, normalisation of a pairwise memory |
//! | `init` | change initial values of parameters |
//! | `swap` | replace a value by another |
//! | `graft` | take a value or a whole memory from another program |
//! | `number` | change a hyperparameter, a width, a floor |
//! | `size` | change heads, and the sizes of a memory |
//!
//! The smallest example: on `let gate = x |> linear[D] |> silu` the site `gate` of `SwapActivation` makes
//! `let gate = x |> linear[D] |> gelu`.

mod activation;
mod attend;
mod build;
mod conv;
mod decay;
mod draft;
mod gate;
mod graft;
mod init;
mod norm;
mod number;
mod read;
mod router;
mod size;
mod strength;
mod swap;
mod tidy;
mod update;
mod view;

#[cfg(test)]
mod tests;

use crate::random::Stream;
use crate::record::Site;
use archc_compiler::source::SourceMap;
use archc_compiler::{Compilation, Options, Sizes, compile};
use archc_grammar::Span;
use archc_grammar::ast::{Block, Body, Callable, File, ItemKind};
use draft::Draft;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::Value;

/// Program in the form that moves use.
#[derive(Clone, Debug)]
pub struct Program {
    /// Source text.
    pub source: String,
    /// Syntax tree, with spans into the text.
    pub file: File,
    /// Index of the edited item of the file: its block.
    item: usize,
    /// Axes of the expressions of the block, by span.
    types: Arc<BTreeMap<Span, Vec<String>>>,
    /// Values that the block binds, in the order of the text.
    values: Arc<Vec<Value>>,
}

impl Program {
    /// Reads a program, whose last block is edited; none if it does not parse or check, or is a model.
    pub fn new(source: &str) -> Option<Self> {
        let parsed = archc_grammar::parse(source);
        if !parsed.errors.is_empty() {
            return None;
        }
        let mut sources = SourceMap::new();
        let file = sources.add("candidate.arch", source);
        let sizes = Sizes { set: BTreeMap::from([("D".to_owned(), WIDTH)]), ..Sizes::default() };
        let block = crate::compile::main(&parsed.file).map(|c| c.name.name.clone());
        let compilation = compile(&sources, file, &Options { block, sizes });
        Self::from_compilation(source, parsed.file, &compilation)
    }

    fn from_compilation(source: &str, file: File, compilation: &Compilation) -> Option<Self> {
        if compilation.failed() {
            return None;
        }
        let module = compilation.module.as_ref()?;
        let target = &module.callables[compilation.target?.index as usize];
        let item = file.items.iter().position(|item| match &item.kind {
            ItemKind::Block(callable) => callable.name == target.name && matches!(callable.body, Body::Block(_)),
            _ => false,
        })?;
        let types = view::types(module, &compilation.types);
        let values = view::values(module, target, &compilation.types);
        Some(Self { source: source.to_owned(), file, item, types: Arc::new(types), values: Arc::new(values) })
    }

    /// The edited block.
    fn callable(&self) -> &Callable {
        callable(&self.file, self.item)
    }

    /// Statements of the edited block.
    fn body(&self) -> &Block {
        body(self.callable())
    }
}

/// Width at which programs are analysed; the default sizes of all seeds work with it.
const WIDTH: f64 = 32.0;

fn callable(file: &File, item: usize) -> &Callable {
    match &file.items[item].kind {
        ItemKind::Block(callable) => callable,
        _ => unreachable!("the edited item is a block"),
    }
}

fn body(callable: &Callable) -> &Block {
    match &callable.body {
        Body::Block(block) => block,
        Body::Expr(_) => unreachable!("the edited block has statements"),
    }
}

/// Result of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Source text of the whole new program.
    pub source: String,
    /// Description of the change: `gate of the output: sigmoid -> silu`.
    pub summary: String,
}

/// Kind of change.
pub trait Move: Send + Sync {
    /// Name in records and beliefs; stable.
    fn name(&self) -> &'static str;

    /// Hypothesis behind the move: why it may help and which tasks should move.
    fn doc(&self) -> &'static str;

    /// Whether it takes something from a second program.
    fn needs_other(&self) -> bool {
        false
    }

    /// Sites where it applies, in the order of the text; `index` counts from 0.
    fn sites(&self, program: &Program) -> Vec<Site>;

    /// Makes the change at one of the sites of [`Move::sites`], or nothing if it does not fit.
    fn apply(&self, program: &Program, site: &Site, other: Option<&Program>, stream: &mut Stream) -> Option<Edit>;
}

/// Edit that is known to matter. A program that a search calls better than another should also be better than that other
/// program with this edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variation {
    /// Name of the move.
    pub action: &'static str,
    /// Kind of its sites.
    pub site: &'static str,
    /// Maximum number of variants of a program.
    pub most: usize,
    /// Whether the screen's tasks show its effect, so that only a variant that helps there is evaluated further.
    pub screened: bool,
}

/// Variations of a search: a short convolution before a memory, which matters most for recall (H3, arXiv 2212.14052; Based,
/// arXiv 2402.18668), and the range of a delta rule's write strength, which determines whether parity can be learned (arXiv
/// 2411.12537).
pub const VARIATIONS: [Variation; 2] = [
    Variation { action: conv::ChangeConv::NAME, site: conv::NONE, most: 3, screened: true },
    Variation { action: strength::ChangeStrength::NAME, site: strength::SITE, most: 1, screened: false },
];

/// All moves, in a fixed order.
pub fn all() -> Vec<Box<dyn Move>> {
    vec![
        Box::new(activation::SwapActivation),
        Box::new(activation::SwapFeatureMap),
        Box::new(decay::ChangeDecay),
        Box::new(update::ChangeErase),
        Box::new(update::GateWrite),
        Box::new(update::AddMomentum),
        Box::new(strength::ChangeStrength),
        Box::new(read::MoveRead),
        Box::new(read::ChangeQuery),
        Box::new(read::ChangeSkip),
        Box::new(conv::ChangeConv),
        Box::new(conv::ShiftTokens),
        Box::new(norm::ChangeNorm),
        Box::new(gate::ChangeOutputGate),
        Box::new(gate::GateValue),
        Box::new(router::AddPath),
        Box::new(router::DropPath),
        Box::new(router::ChangeMixing),
        Box::new(router::ChangeStatistics),
        Box::new(attend::ChangeWindow),
        Box::new(attend::ChangeSink),
        Box::new(attend::AddDistance),
        Box::new(attend::ChangeRotary),
        Box::new(attend::ChangeWeighing),
        Box::new(init::ChangeInit),
        Box::new(init::ChangeBias),
        Box::new(swap::SwapValue),
        Box::new(graft::GraftValue),
        Box::new(graft::GraftMemory),
        Box::new(size::ChangeSize),
        Box::new(number::ChangeNumber),
    ]
}

/// Place where a rewrite applies.
struct Found<At> {
    /// Kind of place.
    kind: &'static str,
    /// Label for users.
    label: String,
    /// Data that the rewrite needs at this place.
    at: At,
}

impl<At> Found<At> {
    fn new(kind: &'static str, label: impl Into<String>, at: At) -> Self {
        Self { kind, label: label.into(), at }
    }
}

/// Name and doc, written by [`rewrites`].
trait Named {
    const NAME: &'static str;
    const DOC: &'static str;
}

/// Move that edits the tree.
trait Rewrite: Named + Send + Sync {
    /// Data that it needs at a place.
    type At;

    /// Whether it takes something from a second program.
    const NEEDS_OTHER: bool = false;

    /// Places where it applies, in the order of the text.
    fn find(&self, program: &Program) -> Vec<Found<Self::At>>;

    /// Makes the change and returns its description.
    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, stream: &mut Stream) -> Option<String>;
}

impl<R: Rewrite> Move for R {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn doc(&self) -> &'static str {
        R::DOC.trim_ascii()
    }

    fn needs_other(&self) -> bool {
        R::NEEDS_OTHER
    }

    fn sites(&self, program: &Program) -> Vec<Site> {
        let site = |(index, f): (usize, Found<R::At>)| Site { kind: f.kind.to_owned(), index, label: f.label };
        self.find(program).into_iter().enumerate().map(site).collect()
    }

    fn apply(&self, program: &Program, site: &Site, other: Option<&Program>, stream: &mut Stream) -> Option<Edit> {
        let found = self.find(program).into_iter().nth(site.index)?;
        let mut draft = Draft::new(program, other);
        let summary = self.rewrite(&mut draft, &found.at, stream)?;
        draft.finish(summary)
    }
}

/// Declares moves; the doc comment of each is also the text that the search prints.
macro_rules! rewrites {
    ($($(#[doc = $doc:literal])+ struct $name:ident = $text:literal;)+) => { $(
        $(#[doc = $doc])+
        pub(super) struct $name;

        impl super::Named for $name {
            const NAME: &'static str = $text;
            const DOC: &'static str = concat!($($doc),+);
        }
    )+ };
}
use rewrites;
