//! Sections on the reliability of the numbers, and on the beliefs of the search.

use super::words::count;
use super::{View, charts, or_dash};
use crate::record::Candidate;
use crate::stats::spread::Spread;
use archc_page::Page;
use std::collections::BTreeMap;

/// Section of controls, error rates, standard deviations and shrinkage.
pub(super) fn trust(page: &mut Page, view: &View<'_>) {
    page.section(
        "trust",
        "Trust",
        "How often the search calls something better that is not. Controls are anchors with a change that changes nothing, trained and \
         compared as candidates are, by the rule of \"it helps\": the 95\u{a0}% interval over the parent on the search tier lies above zero. \
         This is the rule that guides the search; the finals have a stricter one.",
    );
    let c = view.ranking.controls;
    let columns = [("comparisons with the parent", ""), ("compared", "n"), ("called better", "n"), ("share", "n")];
    page.open_table(&[("class", &"cards")], &columns);
    for (name, tried, won) in [("controls", c.tried, c.won), ("candidates", c.candidates, c.claims)] {
        page.raw("<tr>").field("comparisons with the parent", "", name);
        page.field("compared", "n", tried);
        page.field("called better", "n", won);
        let share = (tried > 0).then(|| format!("{:.0} %", 100.0 * f64::from(won) / f64::from(tried)));
        page.field("share", "n", or_dash(share));
        page.raw("</tr>\n");
    }
    page.close_table();
    page.raw("<dl>").element("dt", &[], "type-I rate");
    let type_one = c.type_one.map_or_else(
        || "not known: no control has been compared yet".to_owned(),
        |r| {
            format!(
                "{:.0} % [{:.0} %, {:.0} %] of one comparison (Clopper-Pearson, 95 %), from {}",
                100.0 * r.rate,
                100.0 * r.low,
                100.0 * r.high,
                count(r.trials as usize, "control")
            )
        },
    );
    page.element("dd", &[], type_one);
    page.element("dt", &[], "false-discovery rate of claims");
    let rate = match (c.false_discovery, c.type_one, c.claims) {
        (_, None, _) => "not known: no control has been compared yet".to_owned(),
        (Some(share), _, _) => format!(
            "at most about {:.0} % (Storey, as if no candidate were better): of {} \"it helps\", so many come by chance alone",
            100.0 * share,
            c.claims
        ),
        (None, Some(_), _) => "nothing was claimed".to_owned(),
    };
    page.element("dd", &[], rate).raw("</dl>\n<div class=\"grids\">");
    spreads(page, view);
    charts::shrinkage(page, view);
    page.raw("</div>\n");
}

/// Table of the standard deviations of paired differences, by time-mixing mechanism.
fn spreads(page: &mut Page, view: &View<'_>) {
    let mut kinds: BTreeMap<&str, (&Candidate, u32)> = BTreeMap::new();
    for c in view.history.evaluated() {
        let Some(cost) = &c.cost else { continue };
        kinds.entry(&cost.mixer).or_insert((c, 0)).1 += 1;
    }
    if kinds.is_empty() {
        return;
    }
    page.raw("<div>").element("h3", &[], "Spread of one seed's difference");
    page.note(
        "Standard deviation of a paired difference in score between two seeds, by what mixes time, moderated towards each other (with its \
         degrees of freedom): a lead on one seed is known to about twice that.",
    );
    let columns = [("kind", ""), ("programs", "n"), ("to the parent", "n"), ("to the anchor", "n")];
    page.open_table(&[("class", &"cards")], &columns);
    let text = |s: Spread| format!("{:.3} ({:.0})", s.deviation, s.freedom);
    for (kind, (c, n)) in kinds {
        page.raw("<tr>").field("kind", "", if kind.is_empty() { "–" } else { kind });
        page.field("programs", "n", n);
        page.field("to the parent", "n", text(view.board.spread(c, true)));
        page.field("to the anchor", "n", text(view.board.spread(c, false)));
        page.raw("</tr>\n");
    }
    page.close_table();
    page.raw("</div>\n");
}

/// Section of the beliefs about kinds of change.
pub(super) fn beliefs(page: &mut Page, view: &View<'_>) {
    page.section(
        "beliefs",
        "Beliefs",
        "For each kind of change, the expected share of children that are better than their parent; old evidence fades, and drafts that \
         were refused count a quarter. They say what is tried next, not what is true.",
    );
    let mut beliefs: Vec<_> = view.history.beliefs().iter().collect();
    if beliefs.is_empty() {
        page.note("Nothing is believed before the first generation is closed.");
        return;
    }
    beliefs.sort_by(|a, b| b.mean().total_cmp(&a.mean()).then_with(|| (&a.action, &a.site).cmp(&(&b.action, &b.site))));
    page.open_table(&[("class", &"cards")], &[("change", ""), ("at a", ""), ("tried", "n"), ("expected to help", "n")]);
    for b in beliefs {
        let times = if b.tries == 1 { "once".to_owned() } else { format!("{} times", b.tries) };
        page.raw("<tr>").field("change", "", &b.action);
        page.field("at a", "", &b.site);
        page.field("tried", "n", times);
        page.field("expected to help", "n", format!("{:.0} %", 100.0 * b.mean()));
        page.raw("</tr>\n");
    }
    page.close_table();
}
