//! Sections that consist mostly of drawings, and the page's head and foot.

use super::words::{count, foreign, headline, place, signed, title};
use super::{View, charts, link, or_dash, results};
use crate::archive::Archive;
use crate::front::points;
use crate::plan::Tier;
use crate::rank::tasks as values;
use crate::record::CandidateId;
use archc_page::{Page, big};

/// Head of the page: headline, state of the run, contents, numbers.
pub(super) fn header(page: &mut Page, view: &View<'_>) {
    let history = view.history;
    let counts = history.counts();
    page.raw("<header>\n").element("h1", &[], headline(history, &view.ranking));
    let state = match history.ended() {
        Some("interrupted") => "interrupted; it can be resumed".to_owned(),
        Some(reason) => format!("ended: {reason}"),
        None => "still running, or killed".to_owned(),
    };
    page.element(
        "p",
        &[],
        format!("Run {} · seed {} · researcher {} · {state}", view.run, history.plan().seed, history.plan().researcher),
    );
    let open = history.ended().is_none_or(|reason| reason == "interrupted");
    if let Some(place) = place(history).filter(|_| open && !foreign(history)) {
        let at = if history.ended().is_none() { "Now" } else { "Where it stopped" };
        page.element("p", &[("class", &"now")], format!("{at}: {place}"));
    }
    if foreign(history) {
        let text = "This run has no fixed anchor: it was made by another evaluator, by other rules. Its programs and numbers are shown as \
                    they are; nothing of it is compared or ranked.";
        page.element("p", &[("class", &"now")], text);
    }
    page.raw("\n<nav>");
    let contents = [
        ("finals", "Finals"),
        ("anchors", "Anchors"),
        ("methods", "Methods"),
        ("front", "Pareto front"),
        ("progress", "Progress"),
        ("tasks", "Tasks"),
        ("lineage", "Lineage"),
        ("trust", "Trust"),
        ("archive", "Archive"),
        ("drafts", "Drafts"),
        ("beliefs", "Beliefs"),
        ("programs", "Programs"),
        ("all", "Experiments"),
    ];
    for (id, title) in contents {
        page.element("a", &[("href", &format!("#{id}"))], title);
    }
    page.raw("</nav>\n</header>\n");
    let spent = history.spent().as_secs();
    page.numbers(&[
        (counts.proposed.to_string(), "proposed"),
        (counts.refused().to_string(), "refused by a check"),
        ((counts.duplicates + counts.outranked).to_string(), "known already, or passed over"),
        (counts.trained.to_string(), "trained"),
        (counts.evaluations.to_string(), "evaluations, anchors' included"),
        (big(counts.tokens as f64), "tokens"),
        (format!("{}:{:02}", spent / 60, spent % 60), "min:s of search"),
        (format!("{}:{:02}", counts.seconds as u64 / 60, counts.seconds as u64 % 60), "min:s of training, all workers"),
    ]);
}

/// Section of score against cost.
pub(super) fn front(page: &mut Page, view: &View<'_>) {
    page.section(
        "front",
        "Pareto front",
        "Programs that no other program equals or beats in corrected lead, FLOPs a token and state at once. Corrected leads of the search \
         tier, on few seeds: an order of what to look at, not a finding.",
    );
    let points = points(view.history, &view.board);
    if points.is_empty() {
        page.note("Nothing has been compared yet.");
        return;
    }
    page.raw("<p class=\"legend\">");
    for (class, what) in
        [("node win", "on the front"), ("node anchor", "anchor on the front"), ("node", "beaten (square: an anchor)")]
    {
        charts::key(page, class, what);
    }
    page.raw("</p>\n<div class=\"grids\">");
    charts::front(page, view, &points, "FLOPs a token", |p| p.flops_per_token);
    charts::front(page, view, &points, "state", |p| p.state as f64);
    page.raw("</div>\n");
    let columns = [
        ("on the front", ""),
        ("corrected lead", "n"),
        ("measured lead", "n"),
        ("seeds", "n"),
        ("mean score", "n"),
        ("FLOPs a token", "n"),
        ("work a token", "n"),
        ("state", "n"),
        ("time", "n"),
    ];
    page.open_table(&[("class", &"cards")], &columns);
    for p in points.iter().filter(|p| p.on_front) {
        page.open("tr", &[("class", &if p.anchor { "anchor" } else { "" })]).raw("<td>");
        link(page, view.history, p.candidate);
        page.raw("</td>");
        page.field("corrected lead", "n", signed(p.corrected));
        page.field("measured lead", "n", signed(p.lead));
        page.field("seeds", "n", p.seeds);
        page.field("mean score", "n", or_dash(p.score.map(|s| format!("{s:.3}"))));
        page.field("FLOPs a token", "n", big(p.flops_per_token));
        page.field("work a token", "n", big(p.work));
        page.field("state", "n", big(p.state as f64));
        page.field("time", "n", p.time.word());
        page.raw("</tr>\n");
    }
    page.close_table();
}

/// Section of leads over time.
pub(super) fn progress(page: &mut Page, view: &View<'_>) {
    let note = format!(
        "Each mark is one evaluation on the search tier, on one seed, beside {} on the same seed. Single seeds scatter: how far is shown \
         by the controls, which are anchors and change nothing.",
        view.anchor()
    );
    page.section("progress", "Progress", &note);
    charts::progress(page, view);
}

/// Section of the leading programs' results on each task.
pub(super) fn tasks(page: &mut Page, view: &View<'_>) {
    let history = view.history;
    let tier = if view.ranking.rows.iter().any(|r| r.seeds > 0) { Tier::Final } else { Tier::Search };
    let on =
        if tier == Tier::Final { "the fresh seeds of the finals" } else { "the search tier; there were no finals yet" };
    page.section(
        "tasks",
        "Tasks",
        &format!("The leading programs beside the anchor on each task, means over seeds, on {on}: beside each bar the score, then the value in the task's own metric; below, the training loss."),
    );
    let mut ids: Vec<CandidateId> = view.leading.clone();
    if let Some(fixed) = view.ranking.fixed {
        // The anchor has the second colour, also if it leads.
        ids.insert(ids.len().min(1), fixed);
    }
    let metrics = results::metrics(history, tier);
    if ids.is_empty() || metrics.is_empty() {
        page.note("Nothing has been scored yet.");
        return;
    }
    page.raw("<p class=\"legend\">");
    for (i, &id) in ids.iter().enumerate() {
        charts::key(page, &format!("s{}", i % charts::COLOURS), &title(history, id));
    }
    page.raw("</p>\n<div class=\"grids\">");
    for (task, metric) in &metrics {
        page.raw("<div>").element("h3", &[], task);
        page.element(
            "p",
            &[("class", &"note")],
            format!("{} {}, chance {:.3}", metric.name, metric.arrow(), metric.chance),
        );
        let bars: Vec<(String, f64, String, &str)> = ids
            .iter()
            .enumerate()
            .filter_map(|(i, &id)| {
                let (score, value) = *values(history, id, tier, |_| true).get(task)?;
                let class = ["s0", "s1", "s2", "s3", "s4", "s5"][i % charts::COLOURS];
                Some((title(history, id), score, format!("{score:.3} · {value:.3}"), class))
            })
            .collect();
        charts::bars(page, &bars);
        if !charts::curves(page, history, &ids, tier, task) {
            page.note("No curve was kept.");
        }
        page.raw("</div>\n");
    }
    page.raw("</div>\n");
}

/// Section of the lineage.
pub(super) fn lineage(page: &mut Page, view: &View<'_>) {
    let note = format!(
        "Programs that came to the search tier, by generation and corrected lead over {}; lines come from the parents. A mark leads to the \
         program, where its changes and their reasons are told.",
        view.anchor()
    );
    page.section("lineage", "Lineage", &note);
    charts::lineage(page, view);
}

/// Section of the archive.
pub(super) fn archive(page: &mut Page, view: &View<'_>) {
    page.section(
        "archive",
        "Archive",
        "The best program of each kind (what mixes time, size of the state, FLOPs a token; sizes to the next power of two), by corrected \
         lead. Parents are drawn from it, so that a kind that is behind is still worked on.",
    );
    charts::archive(page, view.history, &Archive::of(view.history, &view.board));
}

/// Section of the outcomes of drafts.
pub(super) fn drafts(page: &mut Page, view: &View<'_>) {
    let counts = view.history.counts();
    page.section(
        "drafts",
        "Drafts",
        "Each slot of a generation has several drafts. One is refused by the first check it fails, before any training; it is known \
         already if the same program is there, whatever its names and order; it is passed over if another draft of the slot was expected \
         to do better.",
    );
    if counts.proposed == 0 {
        page.note("Nothing has been proposed yet.");
    }
    let bar = |name: String, n: u32, class| (name, f64::from(n), n.to_string(), class);
    let mut drafts = vec![
        bar("admitted".to_owned(), counts.admitted, "s0"),
        bar("passed over".to_owned(), counts.outranked, "s5"),
        bar("known already".to_owned(), counts.duplicates, "s5"),
    ];
    drafts.extend(counts.rejected.iter().map(|(check, n)| bar(format!("refused by {check}"), *n, "s1")));
    if counts.proposed > 0 {
        charts::bars(page, &drafts);
    }
    page.element("h3", &[], "Evaluations by how they ended");
    page.note("Of all programs, anchors and controls included.");
    let ended = counts
        .statuses
        .iter()
        .map(|(status, n)| bar((*status).to_owned(), *n, if *status == "ok" { "s0" } else { "s1" }));
    charts::bars(page, &ended.collect::<Vec<_>>());
    let tiers: Vec<String> = Tier::ALL
        .into_iter()
        .map(|tier| {
            let n = view.history.results().filter(|((_, t, _), _)| *t == tier).count();
            format!("{} {n}", tier.word())
        })
        .collect();
    page.note(format!(
        "By tier: {}. Of the proposed, {} trained.",
        tiers.join(", "),
        count(counts.trained as usize, "program")
    ));
}

/// Foot of the page: origin of the data.
pub(super) fn footer(page: &mut Page, view: &View<'_>) {
    page.raw("<footer>");
    page.text(format!("archc {} · the log and every number are in run.sqlite", view.history.version()));
    page.raw("</footer>\n");
}
