//! Section of programs with their texts, origins and outcomes.

use super::words::{ahead, titled};
use super::{View, code, experiments, link};
use crate::record::{Candidate, CandidateId, Origin};
use archc_page::Page;

/// Boxes of the leading programs, their ancestors, the anchors, and others.
pub(super) fn programs(page: &mut Page, view: &View<'_>) {
    page.section(
        "programs",
        "Programs",
        "The leading programs, then what they were made from, the anchors, and the best of the others: text, difference from the parent, \
         why it was tried, and what came of it.",
    );
    if view.boxes.is_empty() {
        page.note("No program has been compared yet; all are listed under Experiments.");
        return;
    }
    let rank = |id: &CandidateId| {
        let anchor = view.history.candidate(*id).is_some_and(|c| c.origin == Origin::Anchor);
        let place = view.leading.iter().position(|l| l == id);
        match place {
            Some(place) => (0, place),
            None if view.kept.contains(id) && !anchor => (1, usize::MAX - id.0 as usize),
            None if anchor => (2, id.0 as usize),
            None => (3, view.board.standing.iter().position(|s| s.id == *id).unwrap_or(usize::MAX)),
        }
    };
    let mut ids: Vec<CandidateId> = view.boxes.iter().copied().collect();
    ids.sort_by_key(|id| rank(id));
    for (i, id) in ids.into_iter().enumerate() {
        if let Some(c) = view.history.candidate(id) {
            program(page, view, c, i == 0);
        }
    }
}

fn program(page: &mut Page, view: &View<'_>, c: &Candidate, open: bool) {
    if open {
        page.open("details", &[("id", &c.id), ("open", &"open")]);
    } else {
        page.open("details", &[("id", &c.id)]);
    }
    page.raw("<summary>").text(titled(c));
    match view.ranking.rows.iter().find(|r| r.candidate == c.id && !r.anchor) {
        Some(row) => {
            let class = if row.discovery == Some(true) { "tag yes" } else { "tag no" };
            page.element("span", &[("class", &class)], row.verdict());
        }
        None if view.ranking.fixed == Some(c.id) => {
            page.element("span", &[("class", &"tag")], "the fixed anchor");
        }
        None => {}
    }
    let lead = view.board.stand(c.id).filter(|_| view.ranking.fixed != Some(c.id));
    let lead = lead.map_or_else(String::new, |s| format!("{} in the search, corrected · ", ahead(s.corrected.mean)));
    page.element("small", &[], format!("{lead}{}", c.change)).raw("</summary>\n<div>");
    page.raw("<ol class=\"lineage\">");
    let mut at = Some(c);
    while let Some(c) = at {
        page.raw("<li>");
        link(page, view.history, c.id);
        page.text(": ").element("b", &[], &c.change);
        if let Some(h) = &c.hypothesis {
            page.element("small", &[], format!("Why: {}", h.why));
        }
        page.element("small", &[], format!("Outcome: {}", experiments::outcome(view.history, c)));
        if let Some(analysis) = view.history.analysis(c.id) {
            page.element("small", &[], &analysis.text);
        }
        page.raw("</li>");
        // Parents precede their children; the check ends the loop on a log that violates this.
        at = c.parents.first().filter(|&&parent| parent < c.id).and_then(|&parent| view.history.candidate(parent));
    }
    page.raw("</ol><div class=\"two\"><div><h3>Program</h3>");
    code::program(page, &c.source);
    page.raw("</div>");
    if !c.diff.is_empty() {
        page.raw("<div><h3>Difference from its parent</h3>");
        code::diff(page, &c.diff);
        page.raw("</div>");
    }
    page.raw("</div></div></details>\n");
}
