//! Terms of a state's update: carried, written, erased.

use super::build::{
    Term, bare, bracket, factors, list, mentions, name_of, product_of, quote, quote_stmt, stage_name, stages, sum_of,
    terms,
};
use super::draft::Draft;
use super::view::{Memory, as_read};
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Expr, ExprKind, Stmt};
use archc_grammar::edit::visit_expr;

rewrites! {
    /// A delta rule takes out what the key held before it writes: keys can be reused, so recall at equal state is best
    /// of all linear mixers; without it a write is cheaper and memories blend, which smooth text may prefer.
    struct ChangeErase = "add or drop an erase";

    /// A write that is gated lets a token decide whether it is worth remembering (selective copying, noisy recall);
    /// tied to the decay it fills just what was forgotten; ungated it never misses a token.
    struct GateWrite = "gate a write";

    /// Writes through a momentum state arrive over several tokens: an update can follow a trend instead of the last
    /// surprise (Titans). Text and fuzzy recall should move, sharp recall may lose.
    struct AddMomentum = "add momentum to a write";
}

/// Term of an update that does not carry the state on.
pub(super) struct Write<'a> {
    stmt: &'a Stmt,
    value: &'a Expr,
    /// The term itself.
    pub(super) term: Term<&'a Expr>,
    /// Whether it reads the state, that is, erases.
    erases: bool,
}

/// Writes of a memory, in order.
pub(super) fn writes<'a>(memory: &Memory<'a>) -> Vec<Write<'a>> {
    let mut found = Vec::new();
    for (stmt, value) in &memory.updates {
        for term in terms(value) {
            let carries = factors(term.value).iter().any(|f| name_of(f) == Some(memory.name));
            if !carries {
                let erases = mentions(term.value, memory.name);
                found.push(Write { stmt, value, term, erases });
            }
        }
    }
    found
}

/// Memory and write at a site; sites are numbered over all memories.
fn nth<'a>(program: &'a Program, at: (usize, usize)) -> Option<(Memory<'a>, Write<'a>)> {
    let memory = program.memories().into_iter().nth(at.0)?;
    let write = writes(&memory).into_iter().nth(at.1)?;
    Some((memory, write))
}

fn find<'a>(
    program: &'a Program,
    kind: impl Fn(&Memory<'a>, &Write<'a>) -> Option<&'static str>,
) -> Vec<Found<(usize, usize)>> {
    let mut found = Vec::new();
    for (i, memory) in program.memories().iter().enumerate() {
        for (j, write) in writes(memory).iter().enumerate() {
            if let Some(kind) = kind(memory, write) {
                found.push(Found::new(kind, format!("{} in {}", write.term.value, memory.name), (i, j)));
            }
        }
    }
    found
}

/// Update with the write's term replaced, or removed for none.
fn with_term(write: &Write<'_>, new: Option<Term<Expr>>) -> Expr {
    let others = terms(write.value);
    let swap = |t: &Term<&Expr>| if t.value.span == write.term.value.span { new.clone() } else { Some(t.owned()) };
    sum_of(others.iter().filter_map(swap).collect())
}

// ---- erase

/// Key and value of a plain write, identified by their axes.
fn key_and_value<'a>(program: &Program, memory: &Memory<'_>, write: &Write<'a>) -> Option<(&'a Expr, &'a Expr)> {
    let keys = memory.keys();
    let heads = program.heads(memory);
    let all = factors(write.term.value);
    let has = |e: &Expr, axis: &String| program.axes_of(e).is_some_and(|axes| axes.contains(axis));
    let mut key = all.iter().filter(|f| keys.iter().any(|k| has(f, k)));
    let outer = |f: &&&Expr| memory.axes.iter().any(|a| !keys.contains(a) && !heads.contains(a) && has(f, a));
    let mut value = all.iter().filter(|f| !keys.iter().any(|k| has(f, k))).filter(outer);
    let pair = (*key.next()?, *value.next()?);
    (key.next().is_none() && value.next().is_none() && name_of(pair.0).is_some()).then_some(pair)
}

impl Rewrite for ChangeErase {
    type At = (usize, usize);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        find(program, |memory, write| {
            if write.erases {
                return without_erase(write.term.value, memory.name).map(|_| "erase");
            }
            let plain = memory.updates.iter().all(|(_, v)| !erases(v, memory.name));
            (plain && !write.term.minus && key_and_value(program, memory, write).is_some()).then_some("no erase")
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, _: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (memory, write) = nth(program, *at)?;
        if write.erases {
            let rest = without_erase(write.term.value, memory.name)?;
            let new = with_term(&write, rest.map(|value| Term { minus: write.term.minus, value }));
            draft.replace(write.value, new);
            return Some(format!("{}: {} no longer erases", memory.name, write.term.value));
        }
        let (key, value) = key_and_value(program, &memory, &write)?;
        let (key_name, keys, state) = (name_of(key)?, list(&memory.keys()), memory.name);
        let heads = program.heads(&memory);
        let (input, _) = program.input()?;
        let value_part = quote(&format!("v_ - sum[{keys}]({key_name} * {state})"), &[("v_", value)]);
        let mut new: Vec<Expr> = factors(write.term.value)
            .into_iter()
            .map(|f| if f.span == value.span { value_part.clone() } else { f.clone() })
            .collect();
        // The strength lies in (0, 1) and the key has length one: then the transition cannot grow.
        let gated = factors(write.term.value).len() > 2;
        if !gated {
            let strength = draft.fresh("beta");
            let text = format!("let {strength}{} = {input} |> linear{} |> sigmoid", bracket(&heads), bracket(&heads));
            draft.lead(memory.scan, quote_stmt(&text, &[]));
            new.insert(0, Expr::name(strength));
        }
        let unit = format!("l2norm[{keys}]");
        match program.definition(key_name) {
            Some(definition) if stages(definition).last().is_none_or(|s| stage_name(s) != Some("l2norm")) => {
                draft.replace(definition, quote(&format!("k_ |> {unit}"), &[("k_", definition)]));
            }
            _ => {}
        }
        let decayed: Vec<Term<&Expr>> = terms(write.value)
            .into_iter()
            .filter(|t| factors(t.value).len() > 1 && factors(t.value).iter().any(|f| name_of(f) == Some(state)))
            .collect();
        let written = Term { minus: false, value: product_of(new) };
        if let [decay] = decayed.as_slice() {
            // The erased content must be the content after the decay.
            let mut first = quote_stmt(&format!("{state} = carried"), &[("carried", decay.value)]);
            first.trivia.blank_before = write.stmt.trivia.blank_before;
            draft.before(write.stmt, first);
            draft.each_stmt(write.stmt.span, |s| s.trivia.blank_before = false);
            let carried = Term { minus: false, value: Expr::name(state) };
            let rest = terms(write.value).into_iter().map(|t| {
                if t.value.span == decay.value.span {
                    carried.clone()
                } else if t.value.span == write.term.value.span {
                    written.clone()
                } else {
                    t.owned()
                }
            });
            let rest = sum_of(rest.collect());
            draft.replace(write.value, rest);
        } else {
            draft.replace(write.value, with_term(&write, Some(written)));
        }
        Some(format!("{state}: the write of {value} at {key_name} erases what the key held"))
    }
}

/// Whether an update reads the state through a key.
fn erases(value: &Expr, name: &str) -> bool {
    let mut found = false;
    visit_expr(value, &mut |e| {
        found |= matches!(&e.kind, ExprKind::Call(_)) && mentions(e, name);
    });
    found
}

/// Term of a write without its erase: `k * (v - sum[K](k * S))` is `k * v`; the inner option is none if nothing is
/// left.
fn without_erase(term: &Expr, name: &str) -> Option<Option<Expr>> {
    let all = factors(term);
    if all.iter().any(|f| reads(f, name)) {
        return Some(None);
    }
    let mut found = false;
    let kept = all.into_iter().map(|factor| {
        let parts = terms(factor);
        let rest: Vec<Term<&Expr>> = parts.iter().filter(|t| !mentions(t.value, name)).cloned().collect();
        if rest.len() == parts.len() || rest.is_empty() {
            return factor.clone();
        }
        found = true;
        sum_of(rest.iter().map(Term::owned).collect())
    });
    let kept: Vec<Expr> = kept.collect();
    (found && kept.iter().all(|f| !mentions(f, name))).then(|| Some(product_of(kept)))
}

fn reads(factor: &Expr, name: &str) -> bool {
    let factor = bare(factor);
    // The statement is irrelevant here.
    as_read(&Stmt::new(archc_grammar::ast::StmtKind::Error), factor, name).is_some()
}

// ---- gates of writes

impl Rewrite for GateWrite {
    type At = (usize, usize);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        find(program, |memory, write| {
            if write.term.minus
                || without_factor(program, memory, write).is_none() && factors(write.term.value).len() > 3
            {
                return None;
            }
            Some(if without_factor(program, memory, write).is_some() { "gated write" } else { "write" })
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (memory, write) = nth(program, *at)?;
        let all = factors(write.term.value);
        if let Some(gate) = without_factor(program, &memory, &write) {
            let rest = all.iter().filter(|f| f.span != gate.span).map(|f| (*f).clone()).collect();
            let new = with_term(&write, Some(Term { minus: write.term.minus, value: product_of(rest) }));
            draft.replace(write.value, new);
            return Some(format!("{}: the write loses its factor {gate}", memory.name));
        }
        let decay = terms(write.value).into_iter().find_map(|t| {
            let all = factors(t.value);
            let carries = all.iter().any(|f| name_of(f) == Some(memory.name));
            let rest: Vec<Expr> = all.into_iter().filter(|f| name_of(f) != Some(memory.name)).cloned().collect();
            (carries && !rest.is_empty()).then(|| product_of(rest))
        });
        let mut new: Vec<Expr> = all.into_iter().cloned().collect();
        let how = match decay {
            Some(decay) if stream.chance(0.5) => {
                new.insert(0, quote("1 - decay", &[("decay", &decay)]));
                "fills just what was forgotten".to_owned()
            }
            _ => {
                let (input, _) = program.input()?;
                let heads = program.heads(&memory);
                let gate = draft.fresh("write");
                let text = format!("let {gate}{0} = {input} |> linear{0} |> sigmoid", bracket(&heads));
                draft.lead(memory.scan, quote_stmt(&text, &[]));
                new.insert(0, Expr::name(&gate));
                format!("is gated by {gate}")
            }
        };
        let new = with_term(&write, Some(Term { minus: false, value: product_of(new) }));
        draft.replace(write.value, new);
        Some(format!("{}: the write {how}", memory.name))
    }
}

/// Gate of a write: a factor without key and value axes, if the remaining factors still have all axes of the state.
fn without_factor<'a>(program: &Program, memory: &Memory<'_>, write: &Write<'a>) -> Option<&'a Expr> {
    let all = factors(write.term.value);
    let keys = memory.keys();
    let values: Vec<&String> =
        memory.axes.iter().filter(|a| !keys.contains(a) && !program.heads(memory).contains(a)).collect();
    let axes = |e: &Expr| program.axes_of(e).map(<[String]>::to_vec).unwrap_or_default();
    let gate = all.iter().copied().find(|f| {
        program.axes_of(f).is_some_and(|a| a.iter().all(|a| !keys.contains(a) && !values.contains(&a)))
            && !mentions(f, memory.name)
    })?;
    let rest: Vec<String> = all.iter().filter(|f| f.span != gate.span).flat_map(|f| axes(f)).collect();
    (all.len() > 1 && memory.axes.iter().all(|a| rest.contains(a))).then_some(gate)
}

// ---- momentum

impl Rewrite for AddMomentum {
    type At = (usize, usize);

    fn find(&self, program: &Program) -> Vec<Found<Self::At>> {
        find(program, |memory, write| {
            let alone = writes(memory).len() == 1 && !write.term.minus && memory.axes.len() > 1;
            let known = memory.body.stmts.iter().filter(|s| mentions_state(s, memory.name)).count();
            (alone && known > 0).then_some("write")
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &Self::At, _: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (memory, write) = nth(program, *at)?;
        let heads = program.heads(&memory);
        let (name, rate) = (draft.fresh("M"), draft.fresh("momentum"));
        let text = format!("let {rate}{0} = learned_decay{0}(init = 0.5)", bracket(&heads));
        draft.lead(memory.scan, quote_stmt(&text, &[]));
        draft.after(memory.state, quote_stmt(&format!("state {name}{} = 0", bracket(&memory.axes)), &[]));
        let mut step = quote_stmt(&format!("{name} = {rate} * {name} + write"), &[("write", write.term.value)]);
        step.trivia.blank_before = write.stmt.trivia.blank_before;
        draft.before(write.stmt, step);
        draft.each_stmt(write.stmt.span, |s| s.trivia.blank_before = false);
        draft.replace(write.value, with_term(&write, Some(Term { minus: false, value: Expr::name(&name) })));
        Some(format!("{}: writes arrive through the momentum state {name}", memory.name))
    }
}

fn mentions_state(stmt: &Stmt, name: &str) -> bool {
    archc_grammar::edit::exprs_of(stmt).iter().any(|e| mentions(e, name))
}
