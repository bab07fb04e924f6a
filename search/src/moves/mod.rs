//! Moves: typed edits that make one program from another.
//!
//! A [`Move`] knows where in a program it applies ([`Move::sites`]) and makes the edit there
//! ([`Move::apply`]). It reads the program as the compiler sees it (`view`: types by place, what is visible
//! where, what a state's update consists of), and edits the syntax tree, never the text (`draft`); what
//! nothing needs any more is swept away (`tidy`), and the formatter prints the result, so that a person can
//! read every candidate: comments and names stay, and a new value gets a name that says what it is.
//!
//! - Sites are listed in the order of the text and numbered from 0, so that a site recorded in the log means
//!   the same place when the run is replayed.
//! - A move is a pure function of its arguments; all chance comes from the stream.
//! - A move may return nothing (the site turned out not to fit). What it returns parses and prints back to itself;
//!   it should check, too, at whatever sizes its parent does; the static screen decides, and counts.
//! - A move's doc is the hypothesis behind it: why it may help, and which tasks should move.
//!
//! | file | moves |
//! |---|---|
//! | `activation` | swap an activation, a gate, the feature map of queries and keys |
//! | `decay` | give a state another decay, or none |
//! | `update` | add, drop or gate a term of a state's update |
//! | `strength` | the range of a write strength |
//! | `read` | read before or after the update, with the query or the key, with a skip |
//! | `conv` | add, widen, dilate or drop a convolution; shift tokens |
//! | `norm` | add, swap or drop a norm |
//! | `gate` | add or drop a gate |
//! | `router` | add or drop a path, change the mixing, the statistics, the temperature |
//! | `attend` | window, sink, positions, forgetting, normalisation of a pairwise memory |
//! | `init` | where parameters start |
//! | `swap` | one value in the place of another |
//! | `graft` | take a value or a whole memory from another program |
//! | `number` | a hyperparameter, a width, a floor |
//! | `size` | heads, and the sizes of a memory |
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

/// A program as a move sees it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its text.
    pub source: String,
    /// Its tree, with spans into the text.
    pub file: File,
    /// The item of the file that is edited: its block.
    item: usize,
    /// The axes of the expressions of the block, by place.
    types: Arc<BTreeMap<Span, Vec<String>>>,
    /// What the block binds, in the order of the text.
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

    /// The block that is edited.
    fn callable(&self) -> &Callable {
        callable(&self.file, self.item)
    }

    /// Its statements.
    fn body(&self) -> &Block {
        body(self.callable())
    }
}

/// The width at which programs are looked at; the default sizes of all seeds work with it.
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

/// What a move made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The whole new program.
    pub source: String,
    /// What was changed, in words: `gate of the output: sigmoid -> silu`.
    pub summary: String,
}

/// A kind of change.
pub trait Move: Send + Sync {
    /// Its name in records and beliefs; stable.
    fn name(&self) -> &'static str;

    /// The hypothesis behind it: why it may help and which tasks should move.
    fn doc(&self) -> &'static str;

    /// It takes something from a second program.
    fn needs_other(&self) -> bool {
        false
    }

    /// Where it applies, in the order of the text; `index` counts from 0.
    fn sites(&self, program: &Program) -> Vec<Site>;

    /// Makes the change at one of the sites of [`Move::sites`], or nothing if it does not fit.
    fn apply(&self, program: &Program, site: &Site, other: Option<&Program>, stream: &mut Stream) -> Option<Edit>;
}

/// An edit that is known to matter. What a search calls better than a program should be better than the program with this edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variation {
    /// The move.
    pub action: &'static str,
    /// Where: the kind of its sites.
    pub site: &'static str,
    /// Most variants of a program.
    pub most: usize,
    /// The screen's tasks tell whether it helps, so that only a variant that does is evaluated further.
    pub screened: bool,
}

/// The variations of a search: a short convolution before a memory, which matters most for recall (H3, arXiv 2212.14052; Based,
/// arXiv 2402.18668), and the range of a delta rule's write strength, which decides about parity (arXiv 2411.12537).
pub const VARIATIONS: [Variation; 2] = [
    Variation { action: conv::ChangeConv::NAME, site: conv::NONE, most: 3, screened: true },
    Variation { action: strength::ChangeStrength::NAME, site: strength::SITE, most: 1, screened: false },
];

/// Every move, in a fixed order.
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

/// A place where a rewrite applies.
struct Found<At> {
    /// What kind of place.
    kind: &'static str,
    /// For people.
    label: String,
    /// What the rewrite needs to know to work there.
    at: At,
}

impl<At> Found<At> {
    fn new(kind: &'static str, label: impl Into<String>, at: At) -> Self {
        Self { kind, label: label.into(), at }
    }
}

/// A name and a doc, written by [`rewrites`].
trait Named {
    const NAME: &'static str;
    const DOC: &'static str;
}

/// A move that edits the tree.
trait Rewrite: Named + Send + Sync {
    /// What it needs to know to work at a place.
    type At;

    /// It takes something from a second program.
    const NEEDS_OTHER: bool = false;

    /// Where it applies, in the order of the text.
    fn find(&self, program: &Program) -> Vec<Found<Self::At>>;

    /// Makes the change and says what it was.
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

/// Declares moves; the doc comment of each is also what the search prints.
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
