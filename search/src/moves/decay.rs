//! Decays of memories.

use super::build::{Term, bracket, factors, list, mentions, name_of, product_of, quote, quote_stmt, sum_of, terms};
use super::draft::Draft;
use super::view::Memory;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Expr, Stmt};

rewrites! {
    /// How a memory forgets is what most separates linear mixers: a fixed decay is a prior of recency, a learned one
    /// fits it, a data-dependent one wipes on demand (selective copying, text), one per key channel forgets
    /// selectively, and none keeps everything (recall of dense pairs).
    struct ChangeDecay = "change a decay";
}

/// Kind of decay, as text of the language.
struct Kind {
    name: &'static str,
    /// Text with `AXES` for the axes and `x` for the input.
    text: &'static str,
    /// Axes of the decay: per head only, per head and key channel only, or both.
    scope: Scope,
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Head,
    Key,
    Any,
}

const KINDS: &[Kind] = &[
    Kind { name: "fixed per head", text: "retnet_decay[AXES]", scope: Scope::Head },
    Kind { name: "learned", text: "learned_decay[AXES](init = 0.98)", scope: Scope::Any },
    Kind { name: "data-dependent (Mamba2)", text: "mamba_decay[AXES](x)", scope: Scope::Head },
    Kind { name: "data-dependent (sigmoid)", text: "sigmoid_decay[AXES](x)", scope: Scope::Any },
    Kind { name: "data-dependent with a floor", text: "sigmoid_decay[AXES](x, least = 0.5)", scope: Scope::Any },
    Kind { name: "vector (GLA)", text: "gla_decay[AXES](x)", scope: Scope::Key },
    Kind { name: "vector (RWKV)", text: "rwkv_decay[AXES](x)", scope: Scope::Key },
];

/// State whose carry can be changed.
pub(super) struct At {
    memory: usize,
}

impl Rewrite for ChangeDecay {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let memories = program.memories().into_iter().enumerate();
        memories
            .filter_map(|(i, m)| {
                let kind = match carry(&m)? {
                    Carry::Bare(..) => "undecayed state",
                    Carry::Decayed { .. } => "decay",
                };
                Some(Found::new(kind, format!("state {}", m.name), At { memory: i }))
            })
            .collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let memory = program.memories().into_iter().nth(at.memory)?;
        let carry = carry(&memory)?;
        let had = match &carry {
            Carry::Bare(..) => "none".to_owned(),
            Carry::Decayed { decay, .. } => product_of(decay.iter().map(|e| (*e).clone()).collect()).to_string(),
        };
        if matches!(carry, Carry::Decayed { .. }) && stream.chance(0.15) {
            drop_decay(draft, &memory, carry);
            return Some(format!("decay of {}: {had} -> none", memory.name));
        }
        let (kind, decay) = new_decay(draft, &memory, stream)?;
        match carry {
            Carry::Bare(stmt, value) if own_mentions(value, memory.name) > 1 => {
                let text = format!("{0} = {decay} * {0}", memory.name);
                let mut first = quote_stmt(&text, &[]);
                first.trivia.blank_before = stmt.trivia.blank_before;
                draft.before(stmt, first);
                draft.each_stmt(stmt.span, |s| s.trivia.blank_before = false);
            }
            Carry::Bare(_, value) => replace_carry(draft, value, memory.name, Some(&decay)),
            Carry::Decayed { value, .. } => replace_carry(draft, value, memory.name, Some(&decay)),
        }
        Some(format!("decay of {}: {had} -> {kind}", memory.name))
    }
}

/// Binds a new decay before the memory's scan; returns its kind and name.
fn new_decay(draft: &mut Draft<'_>, memory: &Memory<'_>, stream: &mut Stream) -> Option<(&'static str, String)> {
    let program = draft.program;
    let heads = program.heads(memory);
    let keys: Vec<String> =
        memory.axes.iter().filter(|a| heads.contains(a) || memory.keys().contains(a)).cloned().collect();
    let kinds: Vec<(&Kind, &[String])> = KINDS
        .iter()
        .flat_map(|k| match k.scope {
            Scope::Head => vec![(k, heads.as_slice())],
            Scope::Key => vec![(k, keys.as_slice())],
            Scope::Any => vec![(k, heads.as_slice()), (k, keys.as_slice())],
        })
        .filter(|(k, axes)| !axes.is_empty() && (k.name != "fixed per head" || axes.len() == 1))
        .collect();
    let (kind, axes) = *stream.pick(&kinds)?;
    let (input, _) = program.input()?;
    let text = kind.text.replace("AXES", &list(axes)).replace("(x", &format!("({input}"));
    let name = draft.fresh("decay");
    let stmt = quote_stmt(&format!("let {name}{} = {text}", bracket(axes)), &[]);
    draft.lead(memory.scan, stmt);
    Some((kind.name, name))
}

/// Term of an update that carries the state on.
enum Carry<'a> {
    /// Without decay: `S + ...`.
    Bare(&'a Stmt, &'a Expr),
    /// With decay: `decay * S + ...`.
    Decayed { stmt: &'a Stmt, value: &'a Expr, decay: Vec<&'a Expr> },
}

fn carry<'a>(memory: &Memory<'a>) -> Option<Carry<'a>> {
    let mut undecayed = None;
    for (stmt, value) in &memory.updates {
        for term in terms(value) {
            let all = factors(term.value);
            if term.minus || !all.iter().any(|f| name_of(f) == Some(memory.name)) {
                continue;
            }
            let decay: Vec<&Expr> = all.into_iter().filter(|f| name_of(f) != Some(memory.name)).collect();
            if !decay.is_empty() {
                return Some(Carry::Decayed { stmt, value, decay });
            }
            undecayed.get_or_insert(Carry::Bare(stmt, value));
        }
    }
    undecayed
}

fn own_mentions(value: &Expr, name: &str) -> usize {
    terms(value).into_iter().filter(|t| mentions(t.value, name)).count()
}

fn drop_decay(draft: &mut Draft<'_>, memory: &Memory<'_>, carry: Carry<'_>) {
    let Carry::Decayed { stmt, value, .. } = carry else { return };
    if terms(value).len() == 1 && memory.updates.len() > 1 {
        draft.remove(stmt);
    } else {
        replace_carry(draft, value, memory.name, None);
    }
}

/// Rewrites `... * S + rest` as `decay * S + rest`, or `S + rest`.
fn replace_carry(draft: &mut Draft<'_>, value: &Expr, name: &str, decay: Option<&str>) {
    let new = terms(value).into_iter().map(|term| {
        let carries = factors(term.value).iter().any(|f| name_of(f) == Some(name));
        match (carries, decay) {
            (false, _) => term.owned(),
            (true, None) => Term { minus: false, value: Expr::name(name) },
            (true, Some(decay)) => Term { minus: false, value: quote(&format!("{decay} * {name}"), &[]) },
        }
    });
    let new = sum_of(new.collect());
    draft.replace(value, new);
}
