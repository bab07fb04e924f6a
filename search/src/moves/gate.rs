//! Gates on the output of the block, and on the values that a memory stores.

use super::build::{bracket, factors, list, name_of, pipe_of, product_of, quote_stmt, stage_name, stages};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Expr, ExprKind, Stmt, StmtKind};

rewrites! {
    /// An output gate lets a token ignore what it read, channel by channel; nearly every strong mixer has one. Text and
    /// noisy recall should gain; without it the block has more room elsewhere at the same parameters.
    struct ChangeOutputGate = "add or drop an output gate";

    /// A gate on a value lets a token say nothing: noise and blanks leave no trace in a memory (noisy recall, selective
    /// copying), at the cost of one more map.
    struct GateValue = "gate a value";
}

/// Output statement of the block: index, statement, value.
fn output(program: &Program) -> Option<(usize, &Stmt, &Expr)> {
    let mut outputs = program.body().stmts.iter().enumerate().filter_map(|(i, s)| match &s.kind {
        StmtKind::Output { name: None, value } => Some((i, s, value)),
        _ => None,
    });
    outputs.next()
}

/// Factor of the output's first stage that is a gate: a name bound to a map of the input.
fn gate_of<'a>(program: &'a Program, base: &'a Expr) -> Option<&'a Expr> {
    let (input, _) = program.input()?;
    let all = factors(base);
    let is_gate = |f: &&Expr| {
        let value = name_of(f).and_then(|n| program.definition(n));
        value.is_some_and(|v| {
            let all = stages(v);
            let mapped =
                all.len() > 2 && name_of(all[0]) == Some(input) && all.iter().any(|s| stage_name(s) == Some("linear"));
            mapped && all.last().and_then(|s| stage_name(s)).is_some_and(|n| GATES.contains(&n))
        })
    };
    (all.len() > 1).then(|| all.iter().copied().find(|f| is_gate(f))).flatten()
}

const GATES: &[&str] = &["sigmoid", "silu", "gelu", "tanh", "relu2", "relu"];

impl Rewrite for ChangeOutputGate {
    type At = ();

    fn find(&self, program: &Program) -> Vec<Found<()>> {
        let Some((_, _, value)) = output(program) else { return Vec::new() };
        let base = stages(value)[0];
        let mapped = stages(value).iter().any(|s| stage_name(s) == Some("linear"));
        let wide = program.axes_of(base).is_some_and(|a| a.len() > 1);
        match gate_of(program, base) {
            Some(gate) => vec![Found::new("output gate", format!("gate {gate}"), ())],
            None if mapped && wide => vec![Found::new("no output gate", "output", ())],
            None => Vec::new(),
        }
    }

    fn rewrite(&self, draft: &mut Draft<'_>, (): &(), stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (_, stmt, value) = output(program)?;
        let all = stages(value);
        let base = all[0];
        if let Some(gate) = gate_of(program, base) {
            let rest = factors(base).into_iter().filter(|f| f.span != gate.span).cloned().collect();
            let mut kept: Vec<Expr> = all.into_iter().cloned().collect();
            kept[0] = product_of(rest);
            let summary = format!("the output loses its gate {gate}");
            draft.replace(value, pipe_of(kept));
            return Some(summary);
        }
        let axes = program.axes_of(base)?.to_vec();
        let kind = *stream.pick(&["silu", "sigmoid", "gelu"])?;
        let (gate, how) = make_gate(draft, stmt, &axes, kind, stream.chance(0.3), "gate")?;
        let linear = all.iter().position(|s| stage_name(s) == Some("linear"))?;
        // All stages before the last map are gated: norms stay inside the gate.
        let mut kept: Vec<Expr> = all.iter().map(|e| (*e).clone()).collect();
        let rest = kept.split_off(linear);
        let mut gated = factors(&kept[0]).into_iter().cloned().collect::<Vec<_>>();
        if kept.len() > 1 {
            gated = vec![super::build::unpipe(&pipe_of(kept))];
        }
        gated.push(Expr::name(gate));
        let mut new = vec![product_of(gated)];
        new.extend(rest);
        draft.replace(value, pipe_of(new));
        Some(format!("the output gets a gate: {how}"))
    }
}

/// Binds a gate of the input on some axes before a statement; returns its name and definition.
fn make_gate(
    draft: &mut Draft<'_>,
    before: &Stmt,
    axes: &[String],
    kind: &str,
    low_rank: bool,
    wish: &str,
) -> Option<(String, String)> {
    let (input, _) = draft.program.input()?;
    let name = draft.fresh(wish);
    let map = if low_rank {
        let rank = draft.fresh("R");
        draft.hyperparameter(&rank, Expr::number(8.0));
        format!("{input} |> linear[{rank}] |> linear[{rank} -> {}](bias = fan) |> {kind}", list(axes))
    } else {
        format!("{input} |> linear{} |> {kind}", bracket(axes))
    };
    let mut stmt = quote_stmt(&format!("let {name}{} = {map}", bracket(axes)), &[]);
    stmt.trivia.blank_before = before.trivia.blank_before;
    draft.before(before, stmt);
    draft.each_stmt(before.span, |s| s.trivia.blank_before = false);
    Some((name, map))
}

impl Rewrite for GateValue {
    type At = String;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        let mut found: Vec<Found<String>> = Vec::new();
        for memory in program.memories() {
            let keys = memory.keys();
            for (_, update) in &memory.updates {
                archc_grammar::edit::visit_expr(update, &mut |e| {
                    let ExprKind::Name(name) = &e.kind else { return };
                    let value = program.value(name).filter(|v| !v.inner && v.token && v.axes.len() > 1);
                    let stored = value.is_some_and(|v| v.axes.iter().all(|a| !keys.contains(a)));
                    if stored && program.definition(name).is_some() && found.iter().all(|f| f.at != *name) {
                        found.push(Found::new("value", format!("value {name}"), name.clone()));
                    }
                });
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (_, stmt, _, value) = program.lets().find(|(_, _, n, _)| n == name)?;
        let axes = program.value(name)?.axes.clone();
        let heads = axes[..axes.len() - 1].to_vec();
        let per_head = stream.chance(0.5);
        let axes = if per_head { heads } else { axes };
        let (gate, how) = make_gate(draft, stmt, &axes, "sigmoid", false, &format!("{name}_gate"))?;
        let new = super::build::quote(&format!("{gate} * v_"), &[("v_", &super::build::unpipe(value))]);
        draft.replace(value, new);
        Some(format!("{name} is gated: {how}"))
    }
}
