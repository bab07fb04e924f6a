//! Reads of a memory: their position and query, and values beside them.

use super::build::{bracket, list, mentions, name_of, quote, quote_stmt};
use super::draft::Draft;
use super::view::Memory;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_compiler::hir::LocalKind;
use archc_grammar::ast::{Expr, Stmt, StmtKind};

rewrites! {
    /// Read before the write, a memory answers from the past alone and the present token needs its own path; read
    /// after it, a token can find itself. State tracking and induction should tell them apart.
    struct MoveRead = "move a read";

    /// What asks decides what is found: the query, the key itself (what does the memory hold where I am about to
    /// write?), or the query corrected by the key (Comba). Recall and noisy recall should move.
    struct ChangeQuery = "change what a memory is asked with";

    /// A skip gives the present value to the output beside what the memory says, scaled per head (Mamba's D, RWKV's
    /// bonus): the memory need not spend room on the present token. Text and copying should gain.
    struct ChangeSkip = "add a skip around a memory";
}

/// Emit of a memory: index of the memory, and of the statement in its scan.
type At = (usize, usize);

fn emits<'a>(memory: &Memory<'a>) -> Vec<(usize, &'a Stmt, &'a str, &'a Expr)> {
    let stmts = memory.body.stmts.iter().enumerate();
    let one = |(i, s): (usize, &'a Stmt)| match &s.kind {
        StmtKind::Emit { name, value } if mentions(value, memory.name) => Some((i, s, name.name.as_str(), value)),
        _ => None,
    };
    stmts.filter_map(one).collect()
}

fn updates_at(memory: &Memory<'_>) -> Option<(usize, usize)> {
    let at = |s: &Stmt| memory.body.stmts.iter().position(|t| t.span == s.span);
    let all: Vec<usize> = memory.updates.iter().filter_map(|(s, _)| at(s)).collect();
    Some((*all.first()?, *all.last()?))
}

impl Rewrite for MoveRead {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let mut found = Vec::new();
        for (i, memory) in program.memories().iter().enumerate() {
            let Some((first, last)) = updates_at(memory) else { continue };
            // Names bound inside the scan must be bound before the emit.
            let own =
                memory.body.stmts.iter().filter(|s| matches!(s.kind, StmtKind::Let { .. } | StmtKind::Mut { .. }));
            let own: Vec<String> = own.flat_map(super::tidy::bound).collect();
            for (at, _, name, value) in emits(memory) {
                let free = own.iter().all(|n| !mentions(value, n));
                let kind = if at > last && free { "read after" } else { "read before" };
                if at > last && free || at < first {
                    found.push(Found::new(kind, format!("emit {name}"), (i, at)));
                }
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, _: &mut Stream) -> Option<String> {
        let memory = draft.program.memories().into_iter().nth(at.0)?;
        let (first, last) = updates_at(&memory)?;
        let emit = memory.body.stmts.get(at.1)?;
        let name = super::tidy::bound(emit).into_iter().next()?;
        let mut moved = emit.clone();
        draft.remove(emit);
        if at.1 > last {
            let stmt = &memory.body.stmts[first];
            moved.trivia.blank_before = stmt.trivia.blank_before;
            draft.before(stmt, moved);
            draft.each_stmt(stmt.span, |s| s.trivia.blank_before = false);
            Some(format!("{name} is read before the update of {}", memory.name))
        } else {
            draft.after(&memory.body.stmts[last], moved);
            Some(format!("{name} is read after the update of {}", memory.name))
        }
    }
}

impl Rewrite for ChangeQuery {
    type At = (usize, usize);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        let mut found = Vec::new();
        for (i, memory) in program.memories().iter().enumerate() {
            for (j, read) in memory.reads.iter().enumerate() {
                let [query] = read.query.as_slice() else { continue };
                let Some(name) = name_of(query) else { continue };
                if matches!(read.stmt.kind, StmtKind::Emit { .. }) && !rivals(program, memory, name).is_empty() {
                    found.push(Found::new("query", format!("{} read with {name}", memory.name), (i, j)));
                }
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let memory = program.memories().into_iter().nth(at.0)?;
        let read = memory.reads.get(at.1)?;
        let query = *read.query.first()?;
        let old = name_of(query)?;
        let rivals = rivals(program, &memory, old);
        let new = stream.pick(&rivals)?.clone();
        let heads = program.heads(&memory);
        let how = if stream.chance(0.5) {
            draft.replace(query, Expr::name(&new));
            new
        } else {
            let share = draft.fresh("correction");
            let text = format!("{old} - {share} * {new}");
            draft.lead(memory.scan, quote_stmt(&format!("param {share}{} = 0.02", bracket(&heads)), &[]));
            draft.replace(query, quote(&text, &[]));
            text
        };
        Some(format!("{} is read with {how} instead of {old}", memory.name))
    }
}

/// Values with the query's axes that are visible to the memory's scan.
fn rivals(program: &Program, memory: &Memory<'_>, query: &str) -> Vec<String> {
    let Some(axes) = program.value(query).map(|v| v.axes.clone()) else { return Vec::new() };
    let same = program.visible(memory.top).filter(|v| v.axes == axes && v.token && v.name != query);
    same.filter(|v| v.kind == LocalKind::Let).map(|v| v.name.clone()).collect()
}

impl Rewrite for ChangeSkip {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let mut found = Vec::new();
        for (i, memory) in program.memories().iter().enumerate() {
            for (at, _, name, _) in emits(memory) {
                if !values_like(program, memory, name).is_empty() {
                    found.push(Found::new("read", format!("emit {name}"), (i, at)));
                }
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let memory = program.memories().into_iter().nth(at.0)?;
        let (_, _, name, _) = emits(&memory).into_iter().find(|e| e.0 == at.1)?;
        let values = values_like(program, &memory, name);
        let value = stream.pick(&values)?.clone();
        let heads = program.heads(&memory);
        let query = memory.reads.first().and_then(|r| r.query.first()).and_then(|q| name_of(q));
        let key = query.map(|q| rivals(program, &memory, q)).unwrap_or_default().into_iter().next();
        let next = program.body().stmts.get(memory.top + 1)?;
        let skip = draft.fresh("skip");
        let (axes, term) = match (query, key) {
            (Some(q), Some(k)) if stream.chance(0.4) => {
                let axes = program.value(q)?.axes.clone();
                (axes, format!("sum[{}]({q} * {skip} * {k}) * {value}", list(&memory.keys())))
            }
            _ => (heads, format!("{skip} * {value}")),
        };
        let read = draft.fresh(&format!("{name}_skip"));
        draft.redirect(name, next.span, &Expr::name(&read));
        draft.after(memory.scan, quote_stmt(&format!("let {read} = {name} + {term}"), &[]));
        draft.after(memory.scan, quote_stmt(&format!("param {skip}{} = ones", bracket(&axes)), &[]));
        Some(format!("{name} + {term} instead of {name}"))
    }
}

/// Values with the axes of an emit.
fn values_like(program: &Program, memory: &Memory<'_>, emit: &str) -> Vec<String> {
    let Some(axes) = program.value(emit).map(|v| v.axes.clone()) else { return Vec::new() };
    let like = program.visible(memory.top).filter(|v| v.axes == axes && v.token && v.kind == LocalKind::Let);
    like.map(|v| v.name.clone()).collect()
}
