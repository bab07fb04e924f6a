//! Section of all experiments, in plain words.

use super::words::count;
use super::{View, link};
use crate::plan::Tier;
use crate::record::{Candidate, Origin, Verdict};
use crate::stats;
use crate::store::History;
use archc_page::Page;

/// Table of all proposals.
pub(super) fn experiments(page: &mut Page, view: &View<'_>) {
    page.section(
        "all",
        "Every experiment",
        "What was changed and why, what became of it, and what was learned. Scores are means over seeds.",
    );
    page.raw("<p class=\"tools\"><input type=\"search\" id=\"filter\" placeholder=\"Filter\" aria-label=\"Filter the experiments\">");
    page.raw("<label><input type=\"checkbox\" id=\"hide\" checked=\"checked\"> hide drafts that were not trained</label></p>\n");
    let columns = [("id", ""), ("gen.", "n"), ("from", ""), ("change, and why", ""), ("outcome", ""), ("learned", "")];
    page.open_table(&[("id", &"experiments"), ("class", &"cards")], &columns);
    for c in view.history.candidates() {
        let class = match (c.origin, &c.verdict) {
            (Origin::Anchor, _) => "anchor",
            (_, Verdict::Admitted) => "",
            _ => "unused",
        };
        // The id of a program with a box is on the box.
        if view.boxes.contains(&c.id) {
            page.open("tr", &[("class", &class)]).raw("<td>");
            page.element("a", &[("href", &format!("#{}", c.id))], c.id).raw("</td>");
        } else {
            page.open("tr", &[("class", &class), ("id", &c.id)]);
            page.cell(c.id);
        }
        page.field("gen.", "n", c.generation);
        page.open_field("from", "");
        for (i, &parent) in c.parents.iter().enumerate() {
            page.raw(if i == 0 { "" } else { ", " });
            link(page, view.history, parent);
        }
        page.raw("</td>").open_field("change, and why", "block").text(&c.change);
        if let Some(h) = &c.hypothesis {
            page.raw("<br>").element("small", &[], &h.why);
        }
        page.raw("</td>");
        page.field("outcome", "block", outcome(view.history, c));
        page.field("learned", "block", view.history.analysis(c.id).map_or("", |a| a.text.as_str()));
        page.raw("</tr>\n");
    }
    page.close_table();
}

/// Outcome of a candidate.
pub(super) fn outcome(history: &History, c: &Candidate) -> String {
    match &c.verdict {
        Verdict::Duplicate { of } => format!("known already: the same program as {of}"),
        Verdict::Outranked { by } => format!("passed over: {by} was expected to do better"),
        Verdict::Rejected { check, code, message } if code.is_empty() => format!("refused by {check}: {message}"),
        Verdict::Rejected { check, code, message } => format!("refused by {check} ({code}): {message}"),
        Verdict::Admitted => {
            let tiers: Vec<String> = Tier::ALL.into_iter().rev().filter_map(|tier| on_tier(history, c, tier)).collect();
            if tiers.is_empty() { "waiting to be trained".to_owned() } else { tiers.join("; ") }
        }
    }
}

/// Lead in words: `0.210 ahead of`, `0.028 behind`.
fn beside(lead: f64) -> String {
    let side = if lead < 0.0 { "behind" } else { "ahead of" };
    format!("{:.3} {side}", lead.abs())
}

/// Result of a candidate on a tier; none if it did not reach that tier.
fn on_tier(history: &History, c: &Candidate, tier: Tier) -> Option<String> {
    let results: Vec<_> = history.results_of(c.id).filter(|(t, _, _)| *t == tier).collect();
    if results.is_empty() {
        return None;
    }
    let scores: Vec<f64> = history.scores(c.id, tier).map(|(_, score)| score).collect();
    let mut parts = Vec::new();
    if let Some(mean) = stats::mean(&scores) {
        let at = match history.rate(c.id).filter(|_| tier == Tier::Tune) {
            Some(rate) => format!(", learning rate × {rate}"),
            None => String::new(),
        };
        parts.push(format!("{mean:.3} on {}{at}", count(scores.len(), "seed")));
    }
    if tier == Tier::Search
        && let Some(lead) = stats::mean(&history.leads(c.id))
    {
        parts.push(format!("{} the fixed anchor", beside(lead)));
    }
    if let Some((_, _, failed)) = results.iter().find(|(_, _, r)| r.score().is_none()) {
        let bad = results.len() - scores.len();
        let why = failed.findings.first().map_or_else(String::new, |f| format!(" ({})", f.message));
        parts.push(format!("{} on {}{why}", failed.status.word(), count(bad, "seed")));
    }
    Some(format!("{}: {}", tier.word(), parts.join(", ")))
}
