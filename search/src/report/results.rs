//! Sections of the established programs, and of the anchors.

use super::words::{count, interval, signed, title};
use super::{View, link, or_dash};
use crate::plan::Tier;
use crate::rank::{Row, tasks};
use crate::record::{CandidateId, Cost};
use crate::stats::finals::{AFTER, ERROR, LOOKS};
use crate::store::History;
use archc_page::{Page, big};
use std::collections::BTreeMap;

/// Metric of a task, for display.
#[derive(Clone, Debug, Default)]
pub(super) struct Metric {
    /// Name, for example `accuracy`.
    pub name: String,
    /// Value for an uninformed guess.
    pub chance: f64,
}

impl Metric {
    /// Arrow in the direction of better values.
    pub fn arrow(&self) -> &'static str {
        match self.name.as_str() {
            "accuracy" => "↑",
            "bits per byte" => "↓",
            _ => "",
        }
    }
}

/// Metrics of a tier's tasks, as far as evaluations ran on it.
pub(super) fn metrics(history: &History, tier: Tier) -> BTreeMap<String, Metric> {
    let mut all = BTreeMap::new();
    for (_, report) in history.results().filter(|((_, t, _), _)| *t == tier) {
        for (task, score) in &report.tasks {
            all.entry(task.clone()).or_insert_with(|| Metric { name: score.metric.clone(), chance: score.chance });
        }
    }
    all
}

/// Section of the finals: the verdicts, the results by task, and the costs.
pub(super) fn finals(page: &mut Page, view: &View<'_>) {
    let (history, ranking) = (view.history, &view.ranking);
    let anchor = view.anchor();
    let looks = LOOKS.map(|n| n.to_string()).join(", ");
    page.section(
        "finals",
        "Finals",
        &format!(
            "The candidates with the largest corrected leads and {anchor}, each trained again on the same fresh seeds and scored on \
             held-out data that nothing in the search has seen. After {looks} seeds there is a look; a finalist is established when its \
             adjusted p is at most {ERROR}, which holds for all finalists and looks together. A discovery is also better than its \
             own seed program: it loses when its changes are taken back. What is established is measured on {AFTER} seeds more, as far as \
             time allows, against the anchor and its ancestors: on those that established it, its lead is too large.",
        ),
    );
    if ranking.rows.is_empty() {
        let yet = if history.ended().is_none() { "The finals have not begun" } else { "There were no finals" };
        page.note(format!("{yet}: nothing here is established."));
        return;
    }
    if ranking.rows.iter().filter_map(|r| r.judgement).any(|j| j.look.is_none()) {
        page.note("Before the first look there is no p, and the order of the finalists means nothing.");
    }
    let lead = format!("lead over {anchor}, 95 %");
    let columns = [
        ("program", ""),
        ("score", "n"),
        ("seeds", "n"),
        (lead.as_str(), "n"),
        ("adjusted p", "n"),
        ("in the search → corrected", "n"),
        ("survived", "n"),
        ("verdict", ""),
    ];
    page.open_table(&[("class", &"cards")], &columns);
    for row in &ranking.rows {
        result(page, history, row, &lead, columns.len());
    }
    page.close_table();
    page.note(
        "Scores and seeds: of what is established those after the looks, of the others those of the looks. In the search: the mean lead on the search tier, then that mean corrected for the choice of the best of many. Survived: the \
         share of the uncorrected lead that is left on fresh seeds. Over an ancestor: better by so much than the program without the \
         changes since.",
    );
    by_task(page, view);
    costs(page, view);
}

fn result(page: &mut Page, history: &History, row: &Row, lead: &str, columns: usize) {
    page.open("tr", &[("class", &if row.anchor { "anchor" } else { "" })]);
    page.open_field("program", "");
    link(page, history, row.candidate);
    if row.anchor {
        page.element("span", &[("class", &"tag")], "anchor");
    }
    page.raw("</td>");
    page.field("score", "n", or_dash(row.score.map(|s| format!("{s:.3}"))));
    page.field("seeds", "n", row.seeds);
    if row.anchor {
        for column in [lead, "adjusted p", "in the search → corrected", "survived"] {
            page.field(column, "n none", "–");
        }
    } else {
        let judgement = row.judgement;
        let over = row.over();
        let class = match over {
            Some(i) if i.positive() => "n up",
            Some(i) if i.negative() => "n down",
            _ => "n",
        };
        page.field(lead, class, or_dash(over.map(interval)));
        page.field("adjusted p", "n", judgement.and_then(|j| j.adjusted).map_or_else(|| "no look yet".to_owned(), p));
        let (searched, corrected) = (or_dash(row.searched.map(signed)), or_dash(row.corrected.map(signed)));
        page.field("in the search → corrected", "n", format!("{searched} → {corrected}"));
        page.field("survived", "n", or_dash(row.survival().map(|s| format!("{:.0} %", 100.0 * s))));
    }
    page.open_field("verdict", "block").text(row.verdict());
    if let (Some(_), Some(look)) = (row.effect, row.judgement.and_then(|j| j.interval)) {
        page.raw(". ").element("small", &[], format!("On the seeds that established it: {}.", interval(look)));
    }
    page.raw("</td></tr>\n");
    for ablation in &row.ablation {
        page.raw("<tr class=\"sub\">").open("td", &[("colspan", &columns), ("class", &"block")]);
        page.text("Over ");
        link(page, history, ablation.ancestor);
        let which = if Some(ablation.ancestor) == history.fixed() { "the anchor itself" } else { "an ancestor" };
        let over = ablation.over.map_or_else(|| "not run yet".to_owned(), interval);
        let p = ablation.p.map_or_else(String::new, |x| format!(", p {}", p(x)));
        page.text(format!(", {which}: {over}{p}")).raw("</td></tr>\n");
    }
}

/// Formats a p value with two significant digits.
fn p(x: f64) -> String {
    if x < 0.001 { "< 0.001".to_owned() } else { format!("{x:.3}") }
}

/// Table of score and value of each finalist on each task.
fn by_task(page: &mut Page, view: &View<'_>) {
    let metrics = metrics(view.history, Tier::Final);
    if metrics.is_empty() {
        return;
    }
    let names: Vec<String> = metrics.iter().map(|(task, m)| format!("{task}: {}\u{a0}{}", m.name, m.arrow())).collect();
    page.element("h3", &[], "By task");
    let mut columns = vec![("program", "")];
    columns.extend(names.iter().map(|name| (name.as_str(), "n")));
    page.open_table(&[("class", &"cards")], &columns);
    for row in &view.ranking.rows {
        values(page, view.history, row.candidate, row.anchor, &row.tasks, metrics.keys().zip(&names));
    }
    page.raw("<tr>").field("program", "soft", "an uninformed guess");
    for (metric, name) in metrics.values().zip(&names) {
        page.field(name, "n soft", format!("{:.3}", metric.chance));
    }
    page.raw("</tr>\n");
    page.close_table();
    page.note("In the task's own metric (↑ larger is better, ↓ smaller), and the score.");
}

fn values<'a>(
    page: &mut Page,
    history: &History,
    id: CandidateId,
    anchor: bool,
    values: &BTreeMap<String, (f64, f64)>,
    columns: impl Iterator<Item = (&'a String, &'a String)>,
) {
    page.open("tr", &[("class", &if anchor { "anchor" } else { "" })]).raw("<td>");
    link(page, history, id);
    page.raw("</td>");
    for (task, column) in columns {
        match values.get(task) {
            Some((score, value)) => {
                page.open_field(column, "n").text(format!("{value:.3}")).raw(" ");
                page.element("small", &[], format!("score {score:.3}")).raw("</td>");
            }
            None => page.field(column, "n", "–"),
        }
    }
    page.raw("</tr>\n");
}

/// Table of the finalists' costs, beside the anchor's.
fn costs(page: &mut Page, view: &View<'_>) {
    page.element("h3", &[], "Cost");
    let anchor = view.ranking.fixed.and_then(|id| view.history.candidate(id)?.cost.clone()).unwrap_or_default();
    let columns = [
        ("program", ""),
        ("parameters", "n"),
        ("FLOPs a token", "n"),
        ("work a token", "n"),
        ("state", "n"),
        ("time", "n"),
        ("mixer", ""),
    ];
    page.open_table(&[("class", &"cards")], &columns);
    for row in &view.ranking.rows {
        let Some(cost) = view.history.candidate(row.candidate).and_then(|c| c.cost.as_ref()) else { continue };
        page.open("tr", &[("class", &if row.anchor { "anchor" } else { "" })]).raw("<td>");
        link(page, view.history, row.candidate);
        page.raw("</td>");
        let numbers: [fn(&Cost) -> f64; 4] =
            [|c| c.params as f64, |c| c.flops_per_token, |c| c.work, |c| c.state as f64];
        for ((column, class), number) in columns[1..].iter().zip(numbers) {
            let (own, theirs) = (number(cost), number(&anchor));
            page.open_field(column, class).text(big(own));
            if !row.anchor && theirs > 0.0 {
                page.raw(" ").element("small", &[], format!("{:.0} %", 100.0 * own / theirs));
            }
            page.raw("</td>");
        }
        page.field("time", "n", cost.time.word());
        page.field("mixer", "", &cost.mixer);
        page.raw("</tr>\n");
    }
    page.close_table();
    page.note(format!(
        "Per cent of {}. Work: operations a token of a training step, weighed by how fast the machine does them; it is held equal \
         among candidates, not seconds. State: numbers carried from one token to the next, of one layer.",
        view.anchor()
    ));
}

/// Section of the anchors on their own seeds.
pub(super) fn anchors(page: &mut Page, view: &View<'_>) {
    let (history, ranking) = (view.history, &view.ranking);
    page.section(
        "anchors",
        "Anchors",
        &format!(
            "The seed programs and their nearest variants, measured before the search on {} of the search tier. None of this is a \
             result of the search: it says what a candidate has to beat. The best of them is fixed, and every lead on this page is over it.",
            count(history.plan().anchor_seeds as usize, "seed")
        ),
    );
    if ranking.anchors.is_empty() {
        page.note("No anchor has been measured on all of its seeds yet.");
        return;
    }
    let over = format!("difference to {}, 95 %", view.anchor());
    let columns = [
        ("anchor", ""),
        ("is", ""),
        ("score", "n"),
        ("seeds", "n"),
        (over.as_str(), "n"),
        ("learning rate", "n"),
        ("FLOPs a token", "n"),
    ];
    page.open_table(&[("class", &"cards")], &columns);
    for a in &ranking.anchors {
        let fixed = ranking.fixed == Some(a.candidate);
        page.open("tr", &[("class", &if fixed { "anchor" } else { "" })]).raw("<td>");
        link(page, history, a.candidate);
        page.raw("</td>");
        let of = history.candidate(a.candidate).and_then(|c| c.parents.first().copied());
        let is = match of {
            Some(of) if a.variant => format!("variant of {}", title(history, of)),
            _ => "seed program".to_owned(),
        };
        page.field("is", "", is);
        page.field("score", "n", format!("{:.3}", a.score));
        page.field("seeds", "n", a.seeds);
        page.field(&over, "n", if fixed { "the fixed anchor".to_owned() } else { or_dash(a.over_fixed.map(interval)) });
        page.field("learning rate", "n", or_dash(history.rate(a.candidate).map(|r| format!("× {r}"))));
        let cost = history.candidate(a.candidate).and_then(|c| c.cost.as_ref());
        page.field("FLOPs a token", "n", or_dash(cost.map(|c| big(c.flops_per_token))));
        page.raw("</tr>\n");
    }
    page.close_table();
    let metrics = metrics(history, Tier::Search);
    let names: Vec<String> = metrics.iter().map(|(task, m)| format!("{task}: {}\u{a0}{}", m.name, m.arrow())).collect();
    let mut columns = vec![("anchor, by task", "")];
    columns.extend(names.iter().map(|name| (name.as_str(), "n")));
    page.open_table(&[("class", &"cards")], &columns);
    for a in &ranking.anchors {
        let fixed = ranking.fixed == Some(a.candidate);
        values(
            page,
            history,
            a.candidate,
            fixed,
            &tasks(history, a.candidate, Tier::Search, |_| true),
            metrics.keys().zip(&names),
        );
    }
    page.close_table();
}
