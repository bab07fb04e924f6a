//! Short convolutions and token shifts: mixing of neighbouring tokens before any memory.

use super::build::{let_parts, option, pipe_of, quote, set_option, stage_name, stages};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{Call, Expr, ExprKind};

rewrites! {
    /// A short convolution lets a token compare itself with its neighbours, which associative recall needs in its keys
    /// and induction needs in its queries; a longer or dilated one sees phrases; without one the block is cheaper.
    struct ChangeConv = "change a convolution";

    /// A token shift is the cheapest convolution: every map sees a learned share of the token before, enough for the
    /// bigrams of induction and text.
    struct ShiftTokens = "shift tokens";
}

/// Kind of the sites of maps without a convolution.
pub(super) const NONE: &str = "no convolution";

const WIDTHS: &[f64] = &[2.0, 3.0, 4.0, 6.0, 8.0, 16.0];

/// Convolution, or a map after which one can be inserted.
pub(super) enum At {
    Conv(usize),
    Map(usize),
}

impl Rewrite for ChangeConv {
    type At = At;

    fn find(&self, program: &Program) -> Vec<Found<At>> {
        let convs = convs(program).into_iter().enumerate();
        let mut found: Vec<_> = convs.map(|(i, (label, ..))| Found::new("convolution", label, At::Conv(i))).collect();
        let maps = maps(program).into_iter().enumerate();
        found.extend(maps.map(|(i, (name, ..))| Found::new(NONE, format!("map to {name}"), At::Map(i))));
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, at: &At, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        match *at {
            At::Conv(i) => {
                let (label, expr, pipe) = convs(program).into_iter().nth(i)?;
                if let Some((whole, stage)) = pipe
                    && stream.chance(0.25)
                {
                    let kept = stages(whole).into_iter().enumerate().filter(|(j, _)| *j != stage);
                    draft.replace(whole, pipe_of(kept.map(|(_, e)| e.clone()).collect()));
                    return Some(format!("{label}: dropped"));
                }
                let ExprKind::Call(call) = &expr.kind else { return None };
                let mut call = call.clone();
                let old = option(&call, "width").map(ToString::to_string).unwrap_or_default();
                let dilated = option(&call, "dilation").is_some();
                let text = if call.callee.name == "conv" && stream.chance(0.35) {
                    let dilation = if dilated { None } else { stream.pick(&[2.0, 4.0]).copied() };
                    set_option(&mut call, "dilation", dilation.map(Expr::number));
                    dilation.map_or("not dilated".to_owned(), |d| format!("dilation {d}"))
                } else {
                    let widths: Vec<f64> = WIDTHS.iter().copied().filter(|w| w.to_string() != old).collect();
                    let width = *stream.pick(&widths)?;
                    set_width(&mut call, width);
                    format!("width {old} -> {width}")
                };
                draft.replace(expr, Expr::new(ExprKind::Call(call)));
                Some(format!("{label}: {text}"))
            }
            At::Map(i) => {
                let (name, whole, stage) = maps(program).into_iter().nth(i)?;
                let mut all: Vec<Expr> = stages(whole).into_iter().cloned().collect();
                let text = *stream.pick(&[
                    "conv(width = 4)",
                    "conv(width = 3)",
                    "fir(width = 4)",
                    "conv(width = 4, dilation = 2)",
                ])?;
                all.insert(stage + 1, quote(text, &[]));
                draft.replace(whole, pipe_of(all));
                Some(format!("{name}: {text} behind its map"))
            }
        }
    }
}

/// Sets the width in place, keeping the order of the arguments.
fn set_width(call: &mut Call, width: f64) {
    for arg in call.args.iter_mut().flatten() {
        if arg.name.as_ref().is_some_and(|n| n.name == "width") {
            arg.value = Expr::number(width);
        }
    }
}

/// Label, call, and the pipe and stage from which it can be removed.
type Conv<'a> = (String, &'a Expr, Option<(&'a Expr, usize)>);

/// Calls of `conv` and similar functions with an explicit width: label, call, and the pipe and stage from which it can
/// be removed.
fn convs(program: &Program) -> Vec<Conv<'_>> {
    let mut found = Vec::new();
    program.each_expr(|_, stmt, expr| {
        let ExprKind::Call(call) = &expr.kind else { return };
        let width = option(call, "width").is_some_and(|w| matches!(w.kind, ExprKind::Number { .. }));
        if !width || !["conv", "fir", "dynamic_conv"].contains(&call.callee.name.as_str()) {
            return;
        }
        let name = super::tidy::bound(stmt).into_iter().next();
        let pipe = let_parts(stmt).and_then(|(_, whole)| {
            let at = stages(whole).iter().position(|s| s.span == expr.span)?;
            (at > 0).then_some((whole, at))
        });
        let label = format!("{} of {}", call.callee.name, name.unwrap_or_else(|| "the output".to_owned()));
        found.push((label, expr, pipe));
    });
    found
}

/// Lets that are a linear map of a value without a convolution: name, pipe, index of the linear stage.
fn maps(program: &Program) -> Vec<(String, &Expr, usize)> {
    let lets = program.lets().filter_map(|(_, _, name, whole)| {
        let all = stages(whole);
        let linear = all.iter().position(|s| stage_name(s) == Some("linear"))?;
        let plain = linear == 1 && all.iter().all(|s| !s.to_string().contains("conv") && stage_name(s) != Some("fir"));
        let wide = program.value(name).is_some_and(|v| v.axes.len() > 1);
        (plain && wide).then(|| (name.to_owned(), whole, linear))
    });
    lets.collect()
}

impl Rewrite for ShiftTokens {
    type At = String;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        let Some((input, _)) = program.input() else { return Vec::new() };
        let starts = program.lets().filter_map(|(_, _, name, whole)| {
            let all = stages(whole);
            let mapped = all.len() > 1 && all[0].to_string() == input && stage_name(all[1]) == Some("linear");
            let shifted = all.len() > 1 && all[0].to_string() == input && stage_name(all[1]) == Some("token_shift");
            match (mapped, shifted) {
                (true, _) => Some(Found::new("map of the input", format!("map to {name}"), name.to_owned())),
                (_, true) => Some(Found::new("token shift", format!("shift of {name}"), name.to_owned())),
                _ => None,
            }
        });
        starts.collect()
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, stream: &mut Stream) -> Option<String> {
        let program = draft.program;
        let (_, axis) = program.input()?;
        let whole = program.definition(name)?;
        let mut all: Vec<Expr> = stages(whole).into_iter().cloned().collect();
        if stage_name(&all[1]) == Some("token_shift") {
            all.remove(1);
            draft.replace(whole, pipe_of(all));
            return Some(format!("{name} no longer shifts its tokens"));
        }
        let text = if stream.chance(0.7) { format!("token_shift[{axis}]") } else { format!("ddlerp[{axis}]") };
        all.insert(1, quote(&text, &[]));
        draft.replace(whole, pipe_of(all));
        Some(format!("{name} sees {text} of the input"))
    }
}
