//! Write strength of a delta rule.

use super::build::{applied, bare, mentions, name_of, quote, stages, terms, unpipe};
use super::draft::Draft;
use super::{Found, Program, Rewrite, rewrites};
use crate::random::Stream;
use archc_grammar::ast::{BinaryOp, Expr, ExprKind};

rewrites! {
    /// With a write strength in (0, 2) the transition of a delta rule has a negative eigenvalue: parity and other state
    /// tracking become possible and extrapolate in length; in (0, 1) it is a plain, steadier overwrite.
    struct ChangeStrength = "change the range of a write strength";
}

/// Kind of the move's sites.
pub(super) const SITE: &str = "write strength";

impl Rewrite for ChangeStrength {
    type At = String;

    fn find(&self, program: &Program) -> Vec<Found<String>> {
        let mut found: Vec<Found<String>> = Vec::new();
        for memory in program.memories() {
            for term in memory.updates.iter().flat_map(|(_, v)| terms(v)) {
                let all = super::build::factors(term.value);
                let erases = all.iter().any(|f| mentions(f, memory.name) && name_of(f).is_none());
                for name in all.iter().filter_map(|f| name_of(f)) {
                    let ranged = program.definition(name).is_some_and(|v| range(v).is_some());
                    if erases && ranged && found.iter().all(|f| f.at != name) {
                        found.push(Found::new(SITE, format!("strength {name}"), name.to_owned()));
                    }
                }
            }
        }
        found
    }

    fn rewrite(&self, draft: &mut Draft<'_>, name: &String, _: &mut Stream) -> Option<String> {
        let value = draft.program.definition(name)?;
        let (top, inner) = range(value)?;
        let (new, text) = match top {
            Top::One => (quote("2 * s_", &[("s_", &unpipe(inner))]), "2"),
            Top::Two => (inner.clone(), "1"),
        };
        draft.replace(value, new);
        Some(format!("strength {name}: now in (0, {text})"))
    }
}

enum Top {
    One,
    Two,
}

/// Range of `sigmoid(..)` or `2 * sigmoid(..)`, and the sigmoid.
fn range(value: &Expr) -> Option<(Top, &Expr)> {
    if applied(value) == Some("sigmoid") && !stages(value).is_empty() {
        return Some((Top::One, value));
    }
    match &bare(value).kind {
        ExprKind::Binary(BinaryOp::Mul, two, inner) if applied(inner) == Some("sigmoid") => {
            matches!(&bare(two).kind, ExprKind::Number { value, .. } if *value == 2.0).then_some((Top::Two, inner))
        }
        _ => None,
    }
}
