//! Controls: programs that are known to be no better, evaluated like candidates.
//!
//! A control is an anchor with a change without effect: the value of one `let` has another name. The parameters behind it start from
//! other random numbers, as after a real change of that value, and everything else is drawn as before; so its difference from the
//! anchor has the distribution of differences without effect. The frequency with which controls are called better is the type-I error
//! rate.

use crate::propose::diff;
use crate::random::Stream;
use crate::record::{Candidate, CandidateId, Origin};
use crate::screen::Screen;
use crate::store::History;
use archc_grammar::ast::{Body, Callable, File, ItemKind, Pattern, Stmt, StmtKind};
use archc_grammar::edit::{rename_value, visit_block_stmts};
use archc_grammar::format;
use archc_runtime::guard::caught;

/// Number of controls that a run should reach soon: a rate from fewer is too uncertain.
const FEWEST: usize = 20;

/// Additional controls per generation until then.
pub const MORE: u32 = 2;

/// Number of controls of the next generation.
pub fn count(history: &History) -> u32 {
    let drawn = history.candidates().iter().filter(|c| c.origin == Origin::Control).count();
    let more = if drawn < FEWEST { MORE } else { 0 };
    match history.plan().controls {
        0 => 0,
        controls => controls + more,
    }
}

/// Control of a place in a generation; none if no anchor has a value that can be renamed. Every second control is made from the fixed
/// anchor, the others from the anchors in turn.
pub fn control(
    history: &History,
    screen: &dyn Screen,
    generation: u32,
    turn: u32,
    id: CandidateId,
) -> Option<Candidate> {
    let plan = history.plan();
    let standing = history.standing_anchors();
    let at = generation * (plan.controls + MORE) + turn;
    let of = if at.is_multiple_of(2) {
        history.fixed()?
    } else {
        standing.get((at / 2) as usize % standing.len().max(1))?.0
    };
    let anchor = history.candidate(of)?;
    let mut stream = Stream::new(plan.seed, "control", &[u64::from(generation), u64::from(turn)]);
    let mut names = names(&anchor.source);
    while !names.is_empty() {
        let name = names.swap_remove(stream.below(names.len()));
        let Some(source) = renamed(&anchor.source, &name, at) else { continue };
        // The hash ignores names: only a program that computes the same is a control.
        if caught(|| screen.screen(&source)).is_ok_and(|s| s.refusal.is_none() && s.hash == anchor.hash) {
            return Some(Candidate {
                id,
                generation,
                slot: plan.generation + turn,
                attempt: 0,
                origin: Origin::Control,
                name: format!("{} again", anchor.name),
                parents: vec![anchor.id],
                change: format!("control: `{name}` has another name"),
                diff: diff(&anchor.source, &source),
                source,
                hypothesis: None,
                ..anchor.clone()
            });
        }
    }
    None
}

/// Block or model that is trained.
fn main(file: &mut File) -> Option<&mut Callable> {
    file.items.iter_mut().rev().find_map(|item| match &mut item.kind {
        ItemKind::Block(c) | ItemKind::Model(c) => Some(c),
        ItemKind::Use { .. } | ItemKind::Fn(_) | ItemKind::Error => None,
    })
}

/// Names that a `let` of the program binds.
fn names(source: &str) -> Vec<String> {
    let mut file = archc_grammar::parse(source).file;
    let mut names = Vec::new();
    if let Some(Body::Block(body)) = main(&mut file).map(|c| &c.body) {
        visit_block_stmts(body, &mut |stmt: &Stmt| {
            if let StmtKind::Let { pattern: Pattern::Name { name, .. }, .. } = &stmt.kind {
                names.push(name.name.clone());
            }
        });
    }
    names.sort();
    names.dedup();
    names
}

/// Program with another name for a value, numbered by the control: no two controls of a run start from the same numbers. None if the
/// new name is already used.
fn renamed(source: &str, name: &str, number: u32) -> Option<String> {
    let new = format!("{name}_again{number}");
    if source.contains(&new) {
        return None;
    }
    let mut file = archc_grammar::parse(source).file;
    rename_value(main(&mut file)?, name, &new);
    Some(format(&file))
}
