//! Pairwise memories: visibility, weighting and positions.

use super::build::{bracket, mentions, name_of, pipe_of, quote, quote_stmt, set_option, stage_name, stages};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Block, Call, Expr, ExprKind, Stmt, StmtKind};

rewrites! {
    /// A window makes attention linear in time and exact nearby; a larger one sees more and costs more. Beside a
    /// recurrent memory a small one is often enough (text, induction); alone it is blind beyond (recall).
    struct ChangeWindow = "change an attention window";

    /// A sink takes weight and gives nothing, so that a head may look at nothing: steadier with short contexts, and
    /// less noise where nothing matches (noisy recall).
    struct ChangeSink = "add or drop an attention sink";

    /// Where a token stands can be told by a penalty on distance (ALiBi, with spans per head) or by forget gates that
    /// the data chooses (the forgetting transformer); both extrapolate in length where rotary positions fail.
    struct AddDistance = "add distance to an attention score";

    /// Rotary positions let a score depend on distance without parameters: good for patterns at fixed offsets
    /// (induction, copying), in the way of pure content lookup (recall) and of longer texts than trained on.
    struct ChangeRotary = "add or drop rotary positions";

    /// Softmax makes past tokens compete; independent sigmoid weights let a head add up evidence, or find none.
    struct ChangeWeighing = "change how attention weighs";
}

/// Pairwise memory: an `attend` of the block, or a call of `attention`.
enum Pairwise<'a> {
    Attend { stmt: &'a Stmt, top: usize, body: &'a Block },
    Call { expr: &'a Expr, top: usize, call: &'a Call },
}

fn all(program: &Program) -> Vec<Pairwise<'_>> {
    let stmts = program.body().stmts.iter().enumerate();
    let mut found: Vec<_> = stmts
        .filter_map(|(top, stmt)| match &stmt.kind {
            StmtKind::Attend(body) => Some(Pairwise::Attend { stmt, top, body }),
            _ => None,
        })
        .collect();
    program.each_expr(|top, _, expr| {
        if let ExprKind::Call(call) = &expr.kind
            && call.callee.name == "attention"
        {
            found.push(Pairwise::Call { expr, top, call });
        }
    });
    found.sort_by_key(|p| match p {
        Pairwise::Attend { top, .. } | Pairwise::Call { top, .. } => *top,
    });
    found
}

fn find_all(program: &Program, kind: impl Fn(&Pairwise<'_>) -> Option<&'static str>) -> Vec<Found<usize>> {
    let found = all(program).into_iter().enumerate();
    found
        .filter_map(|(i, p)| {
            let label = match &p {
                Pairwise::Attend { body, .. } => {
                    let emit = body.stmts.iter().find(|s| matches!(s.kind, StmtKind::Emit { .. }));
                    format!("attend for {}", emit.map(super::tidy::bound).unwrap_or_default().join(", "))
                }
                Pairwise::Call { expr, .. } => expr.to_string(),
            };
            Some(Found::new(kind(&p)?, label, i))
        })
        .collect()
}

fn score(body: &Block) -> Option<(&Stmt, &Expr)> {
    body.stmts.iter().find_map(|s| match &s.kind {
        StmtKind::Score(e) => Some((s, e)),
        _ => None,
    })
}

fn condition(body: &Block) -> Option<(&Stmt, &Expr)> {
    body.stmts.iter().find_map(|s| match &s.kind {
        StmtKind::Where(e) => Some((s, e)),
        _ => None,
    })
}

// ---- window

impl Rewrite for ChangeWindow {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        find_all(program, |p| match p {
            Pairwise::Attend { body, .. } => Some(if condition(body).is_some() { "window" } else { "no window" }),
            Pairwise::Call { call, .. } => {
                Some(if super::build::option(call, "window").is_some() { "window" } else { "no window" })
            }
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let width = *stream.pick(&[4.0, 8.0, 16.0, 32.0])?;
        let widen = stream.chance(0.2);
        match all(draft.program).into_iter().nth(*at)? {
            Pairwise::Attend { body, .. } => match condition(body) {
                Some((stmt, _)) if widen => {
                    draft.remove(stmt);
                    Some("attention without a window".to_owned())
                }
                Some((_, e)) => {
                    draft.replace(e, quote(&format!("lag < {width}"), &[]));
                    Some(format!("attention window: {e} -> lag < {width}"))
                }
                None => {
                    draft.before(body.stmts.first()?, quote_stmt(&format!("where lag < {width}"), &[]));
                    Some(format!("attention over the last {width} tokens"))
                }
            },
            Pairwise::Call { expr, call, .. } => {
                let had = super::build::option(call, "window").is_some();
                let mut call = call.clone();
                set_option(&mut call, "window", (!(had && widen)).then(|| Expr::number(width)));
                draft.replace(expr, Expr::new(ExprKind::Call(call)));
                Some(if had && widen {
                    "attention without a window".to_owned()
                } else {
                    format!("attention over the last {width} tokens")
                })
            }
        }
    }
}

// ---- sink

impl Rewrite for ChangeSink {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        find_all(program, |p| match p {
            Pairwise::Attend { body, .. } => {
                let has = body.stmts.iter().any(|s| matches!(s.kind, StmtKind::Sink(_)));
                score(body).map(|_| if has { "sink" } else { "no sink" })
            }
            Pairwise::Call { call, .. } => {
                Some(if super::build::option(call, "sink").is_some() { "sink" } else { "no sink" })
            }
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, _: &mut Stream) -> Option<String> {
        let program = draft.program;
        match all(program).into_iter().nth(*at)? {
            Pairwise::Attend { stmt, body, .. } => {
                if let Some(sink) = body.stmts.iter().find(|s| matches!(s.kind, StmtKind::Sink(_))) {
                    draft.remove(sink);
                    return Some("attention without a sink".to_owned());
                }
                let (line, value) = score(body)?;
                let axes = program.axes_of(value)?.to_vec();
                let name = draft.fresh("rest");
                draft.lead(stmt, quote_stmt(&format!("param {name}{} = zeros", bracket(&axes)), &[]));
                draft.after(line, quote_stmt(&format!("sink {name}"), &[]));
                Some(format!("attention gets the sink {name}"))
            }
            Pairwise::Call { expr, top, call } => {
                let mut new = call.clone();
                if super::build::option(call, "sink").is_some() {
                    set_option(&mut new, "sink", None);
                    draft.replace(expr, Expr::new(ExprKind::Call(new)));
                    return Some("attention without a sink".to_owned());
                }
                let key = super::build::plain_axes(call.brackets.as_ref())?;
                let query = call.args.as_ref()?.first()?;
                let axes: Vec<String> =
                    program.axes_of(&query.value)?.iter().filter(|a| !key.contains(a)).cloned().collect();
                let name = draft.fresh("rest");
                let holder = program.body().stmts.get(top)?;
                draft.lead(holder, quote_stmt(&format!("param {name}{} = zeros", bracket(&axes)), &[]));
                set_option(&mut new, "sink", Some(Expr::name(&name)));
                draft.replace(expr, Expr::new(ExprKind::Call(new)));
                Some(format!("attention gets the sink {name}"))
            }
        }
    }
}

// ---- distance

impl Rewrite for AddDistance {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        find_all(program, |p| match p {
            Pairwise::Attend { body, .. } => {
                let one = score(body).and_then(|(_, e)| program.axes_of(e)).is_some_and(|a| a.len() == 1);
                let free = score(body).is_some_and(|(_, e)| !mentions(e, "lag"));
                (one && free).then_some("score")
            }
            Pairwise::Call { .. } => None,
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let Pairwise::Attend { stmt, body, .. } = all(program).into_iter().nth(*at)? else { return None };
        let (_, value) = score(body)?;
        let [head] = program.axes_of(value)? else { return None };
        let (text, how) = if stream.chance(0.5) {
            (format!("s_ - alibi[{head}] * lag"), "a penalty on distance (ALiBi)")
        } else {
            let (input, _) = program.input()?;
            let name = draft.fresh("kept");
            let text = format!("let {name}[{head}] = {input} |> linear[{head}](bias = 4) |> logsigmoid |> running_sum");
            draft.lead(stmt, quote_stmt(&text, &[]));
            (format!("s_ + {name} - past({name})"), "forget gates")
        };
        draft.replace(value, quote(&text, &[("s_", value)]));
        Some(format!("the attention score gets {how}"))
    }
}

// ---- rotary positions

/// Pairs of values that are multiplied and summed: a query and a key, with the summed axis.
fn pairs(program: &Program) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for memory in program.memories() {
        let Some(read) = memory.reads.first() else { continue };
        let [key] = read.keys.as_slice() else { continue };
        let Some(query) = read.query.first().and_then(|q| name_of(q)) else { continue };
        let Some(axes) = program.value(query).map(|v| &v.axes) else { continue };
        let mut rival = program.visible(memory.top).filter(|v| v.axes == *axes && v.name != query);
        let written = rival.find(|v| memory.updates.iter().any(|(_, u)| mentions(u, &v.name)));
        if let Some(written) = written {
            found.push((query.to_owned(), written.name.clone(), key.clone()));
        }
    }
    for pairwise in all(program) {
        match pairwise {
            Pairwise::Call { call, .. } => {
                let names: Vec<&str> = call.args.iter().flatten().take(2).filter_map(|a| name_of(&a.value)).collect();
                let axes = super::build::plain_axes(call.brackets.as_ref()).unwrap_or_default();
                if let ([q, k], [axis]) = (names.as_slice(), axes.as_slice()) {
                    found.push(((*q).to_owned(), (*k).to_owned(), axis.clone()));
                }
            }
            Pairwise::Attend { body, .. } => {
                let Some((_, value)) = score(body) else { continue };
                archc_grammar::edit::visit_expr(value, &mut |e| {
                    if let Some(pair) = scored(e) {
                        found.push(pair);
                    }
                });
            }
        }
    }
    // Only a declared axis is known to be even.
    let declared = |axis: &str| program.callable().params.iter().flatten().any(|p| p.name.name == axis);
    found.retain(|(_, _, axis)| declared(axis));
    found.retain(|(q, k, _)| [q, k].iter().all(|n| program.definition(n).is_some_and(|v| stages(v).len() > 1)));
    found.sort();
    found.dedup();
    found
}

/// Parts of a score `sum[K](q * past(k))`: query, key and axis.
fn scored(expr: &Expr) -> Option<(String, String, String)> {
    let ExprKind::Call(call) = &expr.kind else { return None };
    let axes = super::build::plain_axes(call.brackets.as_ref())?;
    let [arg] = call.args.as_deref()? else { return None };
    let parts = super::build::factors(&arg.value);
    let ([q, k], [axis], "sum") = (parts.as_slice(), axes.as_slice(), call.callee.name.as_str()) else { return None };
    let ExprKind::Call(past) = &k.kind else { return None };
    let key = past.args.as_deref()?.first().and_then(|a| name_of(&a.value))?;
    (past.callee.name == "past").then_some(())?;
    Some((name_of(q)?.to_owned(), key.to_owned(), axis.clone()))
}

fn is_rotary(program: &Program, name: &str) -> bool {
    program.definition(name).is_some_and(|v| stages(v).iter().any(|s| stage_name(s) == Some("rope")))
}

impl Rewrite for ChangeRotary {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        let found = pairs(program).into_iter().enumerate();
        found
            .map(|(i, (q, k, _))| {
                let kind = if is_rotary(program, &q) { "rotary" } else { "not rotary" };
                Found::new(kind, format!("{q} and {k}"), i)
            })
            .collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, _: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (q, k, axis) = pairs(program).into_iter().nth(*at)?;
        let had = is_rotary(program, &q);
        for name in [&q, &k] {
            let value = program.definition(name)?;
            let mut kept: Vec<Expr> =
                stages(value).into_iter().filter(|s| stage_name(s) != Some("rope")).cloned().collect();
            if !had {
                kept.push(quote(&format!("rope[{axis}]"), &[]));
            }
            if kept.len() != stages(value).len() {
                draft.replace(value, pipe_of(kept));
            }
        }
        Some(format!("{q} and {k} {} rotary positions", if had { "lose" } else { "get" }))
    }
}

// ---- weighing

impl Rewrite for ChangeWeighing {
    type At = usize;

    fn find(&self, program: &Program) -> Vec<Found<usize>> {
        find_all(program, |p| match p {
            Pairwise::Attend { body, .. } => {
                score(body)?;
                let plain = body.stmts.iter().all(|s| !matches!(s.kind, StmtKind::Sink(_)));
                plain.then_some("softmax weights")
            }
            Pairwise::Call { call, .. } => {
                let plain = call.args.iter().flatten().all(|a| a.name.is_none());
                plain.then_some("softmax weights")
            }
        })
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &usize, _: &mut Stream) -> Option<String> {
        match all(draft.program).into_iter().nth(*at)? {
            Pairwise::Attend { body, .. } => {
                let (stmt, value) = score(body)?;
                let mut new = quote_stmt("weight sigmoid(s_ - 4)", &[("s_", value)]);
                new.trivia = stmt.trivia.clone();
                draft.replace_stmt(stmt, new);
            }
            Pairwise::Call { expr, call, .. } => {
                let mut call = call.clone();
                call.callee.name = "sigmoid_attention".to_owned();
                draft.replace(expr, Expr::new(ExprKind::Call(call)));
            }
        }
        Some("attention weighs each pair by a sigmoid".to_owned())
    }
}
